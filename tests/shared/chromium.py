"""Chromium, headless: one for a page, or one for the pages of several tests.

Source: the DevTools Protocol of Chromium, domain `Target`.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from processes import clean_environment
from waiting import TIME_LIMIT_SECONDS, until

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first, which has no windows, starts and opens its pages in a fifth of the others' time, and is the same otherwise."""
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)
WHY_NOT_CHROMIUM = "" if CHROMIUM else "no Chromium: tools/install_test_tools.py installs it"
IN_THE_BACKGROUND = (
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
"""Options by which no page takes its time because another one is before it."""
_numbers = itertools.count(1)


def _words(profile: Path, *more: str) -> list[str]:
    """Returns the words that start it with a profile."""
    assert CHROMIUM is not None
    return [
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"),
        *("--remote-debugging-port=0", *more),
    ]


@contextlib.asynccontextmanager
async def opened(url: str, profile: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The browser that has opened a page; it leads a group of processes, and these end with the block."""
    browser = await asyncio.create_subprocess_exec(
        *_words(profile, *options, url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=clean_environment(),
        start_new_session=True,
    )
    try:
        yield browser
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
        await browser.wait()


async def devtools_of(profile: Path) -> list[str]:
    """Returns the port of the browser's DevTools and their path, as soon as it has them."""
    file = profile / "DevToolsActivePort"
    await until(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
    return file.read_text().splitlines()


class Browsers:
    """Browsers that stay until the end, one for each choice of options; what a page keeps is gone with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], Path]] = {}

    @contextlib.asynccontextmanager
    async def page(self, url: str, *options: str) -> AsyncIterator[None]:
        """A page as in a browser of its own, with its storage, its cache and its connections, which end with the block."""
        port, path = await devtools_of(self._profile(options))
        # A busy browser may answer no ping in time.
        limits = {"open_timeout": TIME_LIMIT_SECONDS, "ping_interval": None}
        async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None, **limits) as connection:
            context = await _asked(connection, "createBrowserContext", disposeOnDetach=True)
            await _asked(connection, "createTarget", url=url, newWindow=True, **context)
            try:
                yield
            finally:
                await _asked(connection, "disposeBrowserContext", **context)

    def end(self) -> None:
        """Ends them all."""
        for browser, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()

    def _profile(self, options: tuple[str, ...]) -> Path:
        """Returns the profile of a browser that runs."""
        if options not in self._running or self._running[options][0].poll() is not None:
            profile = self._folder / f"browser-{next(_numbers)}"
            browser = subprocess.Popen(
                _words(profile, *options, *IN_THE_BACKGROUND, "about:blank"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=clean_environment(),
                start_new_session=True,
            )
            self._running[options] = browser, profile
        return self._running[options][1]


async def _asked(connection: ClientConnection, method: str, **params: Any) -> dict[str, Any]:
    """Returns the browser's result of a method of the domain `Target`."""
    number = next(_numbers)
    await connection.send(json.dumps({"id": number, "method": f"Target.{method}", "params": params}))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while (said := json.loads(await connection.recv())).get("id") != number:
            pass
    result: dict[str, Any] = said["result"]
    return result
