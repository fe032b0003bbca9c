"""A program in a page of headless Chromium that takes and tells lines, by a WebSocket to the test that opened it."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chromium import opened
from waiting import TIME_LIMIT_SECONDS

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

TYPES: Final = {".html": "text/html", ".js": "text/javascript"}


class PageLines:
    """The lines of one page, in both directions, and the browser that shows it."""

    def __init__(self, browser: asyncio.subprocess.Process, connection: "ServerConnection") -> None:
        self.browser = browser
        self._connection = connection
        self._unsent: asyncio.Queue[str] = asyncio.Queue()
        self.serving = [asyncio.create_task(self._send())]

    def say(self, line: str) -> None:
        """Sends a line to the page."""
        self._unsent.put_nowait(line)

    def listen(self, take: Callable[[Any], None], end: Callable[[str], None]) -> None:
        """Hands the page's lines to `take` from now on, and says to `end` when it is gone."""
        self.serving.append(asyncio.create_task(self._read(take, end)))

    async def _send(self) -> None:
        while True:
            await self._connection.send(await self._unsent.get())

    async def _read(self, take: Callable[[Any], None], end: Callable[[str], None]) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            async for line in self._connection:
                take(line)
        end("the page is gone")


@contextlib.asynccontextmanager
async def lines_of_page(folder: Path, *options: str) -> AsyncIterator[PageLines]:
    """Opens `page.html` of a folder with a profile of its own and options of Chromium, and yields its lines."""
    # Tests that start no process need not wait for these.
    from websockets.asyncio.server import serve
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    came: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    def page(_: "ServerConnection", request: "Request") -> "Response | None":
        if request.path == "/lines":
            return None
        file = folder / (request.path.removeprefix("/") or "page.html")
        if not file.is_file():
            return Response(HTTPStatus.NOT_FOUND, "Not Found", Headers())
        body = file.read_bytes()
        headers = Headers({"Content-Type": TYPES[file.suffix], "Content-Length": str(len(body))})
        return Response(HTTPStatus.OK, "OK", headers, body)

    async def serve_lines(connection: "ServerConnection") -> None:
        came.set_result(connection)
        await over.wait()

    with tempfile.TemporaryDirectory(prefix="page-lines-", ignore_cleanup_errors=True) as profile:
        async with serve(
            serve_lines, "127.0.0.1", 0, process_request=page, max_size=None, ping_interval=None
        ) as server:
            address = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
            async with opened(address, Path(profile), *options) as browser:
                async with asyncio.timeout(TIME_LIMIT_SECONDS):
                    lines = PageLines(browser, await came)
                try:
                    yield lines
                finally:
                    for task in lines.serving:
                        task.cancel()
                    await asyncio.gather(*lines.serving, return_exceptions=True)
                    over.set()
