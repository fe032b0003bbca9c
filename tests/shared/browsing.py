"""A headless browser, and an origin whose pages it opens and that is told what came of them."""

import asyncio
import contextlib
import functools
import http.server
import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import time_limits
import waiting
from chromium import WHY_NOT_CHROMIUM, Browsers, opened

NEEDS_CHROMIUM = pytest.mark.skipif(bool(WHY_NOT_CHROMIUM), reason=WHY_NOT_CHROMIUM)
TIME_LIMIT_SECONDS = 300
"""Time limit of what a page posts next, beyond its own, by which it says what has not come about: many calls on a slow machine."""


class Origin(http.server.ThreadingHTTPServer):
    """Serves the pages of a folder, and keeps what they post back."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
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


@contextlib.contextmanager
def origin_of(folder: Path) -> Iterator[Origin]:
    """An origin that serves the pages of a folder while the block runs."""
    with Origin(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def opened_page(
    origin: Origin,
    address: str,
    where: Path | Browsers,
    query: str = "",
    *,
    page: str = "page.html",
    secure: bool = False,
    hides_addresses: bool = False,
) -> contextlib.AbstractAsyncContextManager[object]:
    """A page of the origin in a browser of its own, whose profile is a folder, or in one of several; it ends with the block.

    A browser that hides its addresses names them by mDNS, as browsers do to pages that may not use the microphone.
    """
    url = f"{origin}/{page}?address={address}{'&secure' * secure}{query}"
    options = (
        # A WebRTC peer of this machine is reached by an address, and by that of the loopback.
        *(() if hides_addresses else ("--disable-features=WebRtcHideLocalIpsWithMdns",)),
        "--allow-loopback-in-peer-connection",
        # Nobody has signed the certificates of tests that it would trust.
        *(("--ignore-certificate-errors",) if secure else ()),
    )
    return where.page(url, *options) if isinstance(where, Browsers) else opened(url, where, *options)


async def next_results(origin: Origin) -> dict[str, Any]:
    """Returns what a page posts next, however slow the machine is."""
    time_limits.allow(TIME_LIMIT_SECONDS + waiting.TIME_LIMIT_SECONDS)
    return await asyncio.to_thread(origin.results.get, timeout=TIME_LIMIT_SECONDS)


async def results_in(
    origin: Origin,
    address: str,
    where: Path | Browsers,
    query: str = "",
    *,
    look: Callable[[], None] = lambda: None,
    **options: Any,
) -> dict[str, Any]:
    """Returns what the page posted when it was opened: it stays open until then.

    Then, before it is closed, `look` is called; `options` are those of `opened_page`.
    """
    async with opened_page(origin, address, where, query, **options):
        results = await next_results(origin)
        look()
        return results
