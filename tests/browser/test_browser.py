"""A real browser, headless: its WebSocket and its gRPC-Web calls reach one address, which serves gRPC beside them."""

import asyncio
import base64
import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sigbridge import Settings
from sigbridge_client import connect
from sigbridge_server.server import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = Path(__file__).with_name("page.html")
TIME_LIMIT_SECONDS = 60

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: tools/install_test_tools.py installs it")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


@pytest.fixture
def origin() -> Iterator[str]:
    """An origin of its own, that serves the page."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(PAGE.parent))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def results_in(origin: str, address: str, profile: Path) -> dict[str, Any]:
    """What the page found when it was opened."""
    assert CHROMIUM is not None
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"),
        *("--virtual-time-budget=20000", "--dump-dom", f"{origin}/{PAGE.name}?address={address}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            page, _ = await browser.communicate()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
    found = re.search(rb'<pre id="results">([^<]+)</pre>', page)
    assert found is not None, page
    results: dict[str, Any] = json.loads(base64.b64decode(found[1]))
    return results


async def test_one_address_serves_a_browser_by_both_protocols(origin: str, tmp_path: Path) -> None:
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine="native",
            allowed_origins=(origin,),
        )
    )
    await server.start()
    try:
        async with await connect(f"grpc://127.0.0.1:{server.grpc_port}") as peer:
            await peer.announce("grpc-peer")
            results = await results_in(origin, f"127.0.0.1:{server.grpc_port}", tmp_path)
    finally:
        await server.stop()
    assert "error" not in results, results
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
    assert all("grpc-status: 0\r\n" in results[name]["bytes"] for name in ("binary", "text"))


async def test_a_page_of_another_origin_gets_neither(origin: str, tmp_path: Path) -> None:
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
