"""`sigbridge demo --pairing browser-…`: a server, a backend in Python, and the address of a page that calls it.

Rule 1: the page is opened where there is a display, and nowhere else. Rule 2: what the page reports is checked, like
what anybody sends, and taken from the page alone. Rule 3: it ends well when the page hangs up, and each has heard the
other.
"""

import asyncio
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from sigbridge_command.demo_flow import Report, heading, port_of, size_of
from sigbridge_command.demo_processes import NAMES, SCHEMES, SERVE, DemoError, Flow, PeerChild, ServerChild, say
from sigbridge_command.printable import printable

PAGE: Final = Path(__file__).with_name("demo_page.html")
BACKEND = (sys.executable, "-m", "sigbridge_command.demo_backend")
_ADDRESS_IN_PAGE = "127.0.0.1:8080"
_MAX_REPORT_BYTES = 1 << 20
_WIDTH = 27
"""Most letters for which an arrow of the drawing has room."""
_SETTLE_SECONDS = 0.3
"""Wait of a report before it is drawn: the page's come by HTTP."""


class PageReport(msgspec.Struct, frozen=True):
    """A thing that a page has seen, `at` a Unix time in ms: a message of JSON-RPC, a sound, or why there is no call."""

    at: float
    what: Literal["sent", "received", "sound", "failed"]
    text: str


class PageServer(ThreadingHTTPServer):
    """Serves the page of the demo, and takes its reports."""

    daemon_threads = True

    def __init__(self, page: bytes, on_report: Callable[[PageReport], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page = page
        self.on_report = on_report

    @property
    def origin(self) -> str:
        """The page's origin."""
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serves while the block runs."""
        with self:
            thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield
            finally:
                self.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = 10.0

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if self.headers.get("origin") != self.server.origin:
            self.send_error(HTTPStatus.FORBIDDEN)
        elif not length.isdecimal() or int(length) > _MAX_REPORT_BYTES:
            self.send_error(413)
        else:
            self._take(self.rfile.read(int(length)))

    def _take(self, body: bytes) -> None:
        try:
            report = msgspec.json.decode(body, type=PageReport)
        except msgspec.MsgspecError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        self.server.on_report(report)
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


async def show_page(protocol: str) -> None:
    """Shows a page that calls a backend on `protocol`, until it hangs up.

    :raises DemoError: if one of them has heard nothing.
    """
    started_at = time.monotonic()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as running:
        server = ServerChild("server")
        await running.enter_async_context(server.running(*SERVE, SIGNALING_SERVE_CLIENT="true"))
        addresses = await server.addresses()
        flow = Flow(started_at, _SETTLE_SECONDS)
        backend = PeerChild("backend", flow)
        url = f"{SCHEMES[protocol]}://{addresses[protocol]}"
        heard = _Heard(flow)
        page = PAGE.read_text(encoding="utf-8").replace(_ADDRESS_IN_PAGE, addresses["websocket"])
        pages = PageServer(page.encode(), lambda report: _threadsafe(loop, heard.take, report))
        running.enter_context(pages.serving())
        say(f"server: gRPC on {addresses['grpc']}, WebSocket on {addresses['websocket']}")
        say(f"page:   {pages.origin}/ (open it, and allow the microphone; its button, or Ctrl-C, ends the demo)\n")
        say(heading("page (WebSocket)", f"backend ({NAMES[protocol]})"))
        await running.enter_async_context(backend.running(*BACKEND, url))
        if has_display(os.environ):
            # Some browsers return when they are closed, and nobody waits for that.
            threading.Thread(target=webbrowser.open, args=(f"{pages.origin}/",), daemon=True).start()
        finished_at = await _ended(backend, server)
        await asyncio.sleep(_SETTLE_SECONDS)
        flow.draw_until(time.monotonic())
    if heard.at is None:
        raise DemoError("the page has hung up, and had not heard the backend")
    milliseconds = (max(finished_at, heard.at) - heard.began_at) * 1000
    say(f"\npage and backend heard each other, {milliseconds:.0f} ms after the page's announce")


def has_display(environ: Mapping[str, str]) -> bool:
    """Returns whether there is somebody who would see a browser: there is a display, and this is no CI."""
    return not environ.get("CI") and any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


class _Heard:
    """The page's half of the demo: what it reports is drawn, and remembered where it is a sound."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.at: float | None = None
        self.began_at = time.monotonic()

    def take(self, report: PageReport) -> None:
        at = time.monotonic() - time.time() + report.at / 1000
        match report.what:
            case "failed":
                say(f"page:   there is no call: {printable(report.text[:200])}")
            case "sound":
                self.at = at if self.at is None else self.at
                self._flow.add(Report(at, "caller", "sound", printable(report.text[:_WIDTH])))
            case "sent" | "received":
                text = described_json(report.text)
                if text.startswith("announce "):
                    self.began_at = at
                self._flow.add(Report(at, "caller", report.what, printable(text[:_WIDTH])))


def described_json(text: str) -> str:
    """Returns what is drawn of a message of JSON-RPC."""
    try:
        message = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return "no JSON"
    method, params, result = message.get("method"), message.get("params"), message.get("result")
    match params:
        case {"sdp": str(sdp)}:
            return f"{method}, {size_of(sdp)}"
        case {"candidate": str(candidate)}:
            return f"{method}, {port_of(candidate)}"
        case {"peer_id": str(peer_id)}:
            return f"{method} {peer_id}"
    match result:
        case {"offer_id": str()}:
            return "ack, offer relayed"
        case {"peers_count": int(count)}:
            return f"ack, {count} here before"
    return str(method) if method else "refused" if "error" in message else "ack"


async def _ended(backend: PeerChild, server: ServerChild) -> float:
    """Returns the moment at which the backend heard the page, once that has hung up.

    :raises DemoError: if it or the server ends badly.
    """
    tasks = [asyncio.create_task(backend.succeed()), asyncio.create_task(server.succeed())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _threadsafe(loop: asyncio.AbstractEventLoop, call: Callable[[PageReport], None], report: PageReport) -> None:
    try:
        loop.call_soon_threadsafe(call, report)
    except RuntimeError:
        # The demo is over.
        return
