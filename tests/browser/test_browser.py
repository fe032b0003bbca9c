"""A real browser, headless: its WebSocket and its gRPC-Web calls reach one address, which serves gRPC beside them.

With TLS its calls come over HTTP/2, which the address offers, and its WebSocket over HTTP/1.1, which browsers choose.
"""

import asyncio
import base64
import functools
import http.server
import json
import os
import queue
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from sigbridge import IceCandidateReceived, Settings, SignalingClient, SignalingError
from sigbridge.auth import Credentials
from sigbridge_client import connect
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = Path(__file__).with_name("page.html")
TIME_LIMIT_SECONDS = 110
BROWSERS_CANDIDATE = "candidate:1 1 udp 1 127.0.0.1 9 typ host"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: tools/install_test_tools.py installs it")


class Origin(http.server.ThreadingHTTPServer):
    """Serves the page, and keeps what the page posts back."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(PAGE.parent)))
        self.results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def __str__(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Origin

    def do_POST(self) -> None:
        self.server.results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin of its own, that serves the page."""
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def results_in(
    origin: Origin,
    address: str,
    profile: Path,
    query: str = "",
    *,
    secure: bool = False,
    look: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """What the page posted when it was opened: the browser stays open until then, however slow the machine is.

    Then, before it is closed, `look` is called.
    """
    assert CHROMIUM is not None
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"),
        # Nobody has signed the certificates of tests that it would trust.
        *(("--ignore-certificate-errors",) if secure else ()),
        *("--remote-debugging-port=0", f"{origin}/{PAGE.name}?address={address}{'&secure' * secure}{query}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        results = await asyncio.to_thread(origin.results.get, timeout=TIME_LIMIT_SECONDS)
        look()
        return results
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        await browser.wait()


async def answer_a_candidate(peer: SignalingClient) -> IceCandidateReceived:
    """Waits for a browser's candidate, and sends one back that names no media section."""
    async for event in peer.events():
        if isinstance(event, IceCandidateReceived):
            await peer.ice_candidate("browser", "candidate:2 1 udp 1 127.0.0.1 9 typ host")
            return event
    raise AssertionError("no candidate came")


@pytest.mark.parametrize(
    ("engine", "secure", "speaks_http2"), [("native", False, False), ("native", True, True), ("grpcio", True, False)]
)
async def test_one_address_serves_a_browser_by_both_protocols(
    origin: Origin, tmp_path: Path, engine: str, secure: bool, speaks_http2: bool
) -> None:
    files, roots = {}, None
    if secure:
        (tmp_path / "tls").mkdir()
        authority = Authority(tmp_path / "tls")
        files["tls_cert_file"], files["tls_key_file"] = authority.issue("localhost")
        roots = authority.pem
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine=engine,
            allowed_origins=(str(origin),),
            **files,
        )
    )
    await server.start()
    kinds: list[str] = []

    def look() -> None:
        kinds.extend(type(connection.wire).__name__ for connection in server._carrier._connections)

    try:
        url = f"{'grpcs' if secure else 'grpc'}://localhost:{server.grpc_port}"
        async with await connect(url, root_certificates=roots) as peer, asyncio.TaskGroup() as group:
            await peer.announce("grpc-peer")
            answering = group.create_task(answer_a_candidate(peer))
            address = f"127.0.0.1:{server.websocket_port}"
            results = await results_in(origin, address, tmp_path, secure=secure, look=look)
            assert "error" not in results, results
    finally:
        await server.stop()
    # Beside the peer's connection, with the native engine, and the browser's WebSocket.
    assert kinds.count("WebSocketWire") == 1
    assert kinds.count("GrpcWire") == (engine == "native") + speaks_http2
    assert ("FrontWire" in kinds) is not speaks_http2
    assert results["websocket"]["protocol"] == "jsonrpc"
    assert results["websocket"]["reply"]["result"] == {
        "peer_id": "browser",
        "peers_count": 1,
        "other_peers": ["grpc-peer"],
    }
    assert results["binary"]["status"] == results["text"]["status"] == 200
    assert results["binary"]["type"] == "application/grpc-web+proto"
    for peer_id in ("grpc-peer", "browser"):
        assert peer_id in results["binary"]["bytes"]
    assert "healthy" in results["text"]["bytes"]
    assert answering.result() == IceCandidateReceived("browser", BROWSERS_CANDIDATE, "audio", 1, "k0pD")
    assert results["candidate"]["sdpMLineIndex"] == 0
    assert all("grpc-status: 0\r\n" in results[name]["bytes"] for name in ("binary", "text"))


async def test_a_page_of_another_origin_gets_neither(origin: Origin, tmp_path: Path) -> None:
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine="native",
            allowed_origins=("https://elsewhere.example",),
        )
    )
    await server.start()
    try:
        results = await results_in(origin, f"127.0.0.1:{server.websocket_port}", tmp_path)
    finally:
        await server.stop()
    assert results == {"error": "Error: the WebSocket failed"}
    assert server.hub.counters.requests.total() == 0


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"auth_tokens": ("right",)}, (4401, r"unauthenticated")),
        ({"auth_tokens": ("right",), "websocket_compression": True}, (4401, r"unauthenticated")),
        ({"guesses": 21}, (4429, r"throttled retry-after-ms=\d+")),
        ({"leaving": True}, (4503, r"draining")),
    ],
    ids=["unauthenticated", "compressed", "throttled", "draining"],
)
async def test_a_page_reads_why_its_websocket_was_refused(
    origin: Origin, tmp_path: Path, settings: dict[str, Any], expected: tuple[int, str], encrypted: bool
) -> None:
    settings = dict(settings)
    guesses, leaving = settings.pop("guesses", 0), settings.pop("leaving", False)
    if guesses:
        settings["auth_tokens"] = ("right",)
    if encrypted:
        files = Authority(tmp_path, "ca").issue("server")
        settings |= {"tls_cert_file": files[0], "tls_key_file": files[1]}
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine="native",
            allowed_origins=(str(origin),),
            **settings,
        )
    )
    await server.start()
    if leaving:
        server.hub.leave()
    for number in range(guesses):
        with pytest.raises(SignalingError):
            server._websocket_authenticator.authenticate(
                Credentials(f"wrong-{number}", None, "127.0.0.1"), read_clock()
            )
    encoded = base64.urlsafe_b64encode(b"wrong").decode().rstrip("=")
    query = f"&refused&subprotocol=bearer.{encoded}"
    try:
        address = f"127.0.0.1:{server.websocket_port}"
        results = await results_in(origin, address, tmp_path / "profile", query, secure=encrypted)
    finally:
        await server.stop()
    assert len(results["refusals"]) == 2, results
    for refusal in results["refusals"]:
        assert (refusal["code"], refusal["wasClean"]) == (expected[0], True)
        assert re.fullmatch(expected[1], refusal["reason"])
    assert server.hub.counters.refusals["websocket", expected[1].split()[0]] >= 2
    assert server.hub.counters.disconnects.total() == 0
