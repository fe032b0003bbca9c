"""The call that the README begins with, as it stands there: its page in Chromium and its backend hear each other.

The page's microphone is Chromium's pretended one. What each of the two hears is measured: in the page by WebAudio, in the
backend's process from the frames that its track brings it.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from browsing import NEEDS_CHROMIUM
from devtools import BEEPS, BY_HERTZ, Page, is_beep, looked_at
from page_commands import ANY_PORT, ROOT, Running, blocks, commands, shell
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS, until

pytestmark = NEEDS_CHROMIUM
pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

README = ROOT / "README.md"
HEARING = ROOT / "tests" / "shared" / "hearing.py"
TONE_HERTZ = 440


class Readme:
    """The server of the README's commands, with its page on a web server, and its backend, which has not begun."""

    def __init__(self, page: str, websocket: str, backend: str) -> None:
        self.page = page
        self.websocket = websocket
        self._backend = backend

    def backend(self) -> contextlib.AbstractAsyncContextManager[Running]:
        """The backend as a process, which says besides what it hears."""
        return shell(f"{sys.executable} -W error::UserWarning {HEARING} {self._backend}")


@pytest.fixture
async def readme(tmp_path: Path) -> AsyncIterator[Readme]:
    (page,) = blocks(README, "html")
    (backend,) = blocks(README, "python")
    serve, start_backend, serve_page = [line for line in commands(README) if "make demo" not in line]
    assert start_backend == ".venv/bin/python examples/talk.py"
    folder, program = tmp_path / "page", tmp_path / "talk.py"
    folder.mkdir()
    async with shell(serve, **ANY_PORT) as server:
        grpc = (await server.says(r"gRPC listening on (127\.0\.0\.1:\d+)\n"))[1]
        websocket = (await server.says(r"WebSocket listening on (127\.0\.0\.1:\d+)\n"))[1]
        (folder / "talk.html").write_text(page.replace("127.0.0.1:8080", websocket))
        program.write_text(backend.replace("127.0.0.1:50051", grpc))
        async with shell(serve_page.replace(" 8000 ", " 0 ").replace(" examples", f" {folder}")) as pages:
            port = (await pages.says(r"port (\d+)"))[1]
            yield Readme(f"http://127.0.0.1:{port}/talk.html", f"ws://{websocket}", str(program))


async def test_a_page_that_comes_second_calls_the_backend(readme: Readme, tmp_path: Path) -> None:
    async with readme.backend() as backend:
        await backend.says("backend is here\n")
        async with looked_at(readme.page, tmp_path / "profile") as page:
            await backend.says(r"page-\S+ calls\n")
            await they_hear_each_other(page, backend)


async def test_a_backend_that_comes_second_calls_the_page(readme: Readme, tmp_path: Path) -> None:
    async with looked_at(readme.page, tmp_path / "profile") as page:
        await announced(readme.websocket)
        async with readme.backend() as backend:
            await they_hear_each_other(page, backend)
            assert " calls" not in backend.stdout


async def test_a_second_page_talks_with_both(readme: Readme, tmp_path: Path) -> None:
    async with readme.backend() as backend:
        await backend.says("backend is here\n")
        async with looked_at(readme.page, tmp_path / "one") as one, looked_at(readme.page, tmp_path / "two") as two:
            for page in (one, two):
                # Of the other page's microphone a filter leaves more than the beep.
                heard = [await page.hears(number, (TONE_HERTZ, *BEEPS)) for number in (0, 1)]
                assert sorted(map(is_beep, heard)) == [False, True], heard
        assert backend.stdout.count(" calls\n") == 2


async def they_hear_each_other(page: Page, backend: Running) -> None:
    assert await page.hears() == pytest.approx(TONE_HERTZ, abs=BY_HERTZ)
    await until(lambda: any(is_beep(tone["hertz"]) and tone["amplitude"] >= 0.1 for tone in tones(backend)))
    await backend.says("#")


def tones(backend: Running) -> list[dict[str, float]]:
    """The tones that the backend's track has brought."""
    return [json.loads(line) for line in backend.stderr.splitlines() if line.startswith('{"hertz"') and line[-1] == "}"]


async def announced(url: str) -> None:
    """Returns as soon as a peer is in the room."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS), await connect(url) as client:
        while not (await client.list_peers()).peers:
            await asyncio.sleep(0.02)
