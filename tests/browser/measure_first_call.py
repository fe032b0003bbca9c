"""Measures how long it takes from `git clone` to sound in both directions, by pasting the README.

`PYTHONPATH=tests/shared .venv/bin/python tests/browser/measure_first_call.py [REPOSITORY]` clones a repository, this one
if none is named, into a new folder, pastes each command of its README there, opens the pages in a headless Chromium, and
prints when what had happened. It installs packages, and takes the ports that the README names.
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from devtools import looked_at
from page_commands import ROOT, Running, commands, pasted

BEGAN = time.monotonic()


def happened(what: str) -> None:
    print(f"{time.monotonic() - BEGAN:7.1f} s  {what}", flush=True)


async def said(running: Running, pattern: str) -> str:
    """Returns what a command has said, however long an installation takes; SystemExit where it ends without."""
    while not (found := re.search(pattern, running.stdout)):
        if running.process.returncode is not None:
            raise SystemExit(f"it ended: {running.stdout}{running.stderr}")
        await asyncio.sleep(0.02)
    return found[1]


async def measure(repository: str, folder: Path) -> None:
    checkout = folder / "sigbridge"
    cloning = await asyncio.create_subprocess_exec("git", "clone", "--quiet", repository, str(checkout))
    if await cloning.wait():
        raise SystemExit("it cannot be cloned")
    happened("cloned")

    demo, _, *example = commands(checkout / "README.md")
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    async with pasted(demo, checkout, environment) as running:
        await said(running, "(installing) sigbridge")
        happened("a virtual environment is made, and its packages are being installed")
        url = await said(running, r"page: +(\S+) ")
        since_start = float(await said(running, r"([\d.]+) ms .* announce backend")) / 1000
        happened(f"the demo has said the address of its page, and runs since {since_start:.1f} s")
        async with looked_at(url, folder / "demo-profile") as page:
            hertz = await page.hears()
            await said(running, "(a sound from the microphone)")
            happened(f"demo: the page hears {hertz:.0f} Hz, and the backend the page")

    async with AsyncExitStack() as stack:
        runs = []
        for command, has_begun in zip(
            example, ("(WebSocket) listening", "(backend is here)", r"port (\d+)"), strict=True
        ):
            runs.append(await stack.enter_async_context(pasted(command, checkout, environment)))
            port = await said(runs[-1], has_begun)
        happened("the three commands of the example run")
        url = f"http://127.0.0.1:{port}/talk.html"
        page = await stack.enter_async_context(looked_at(url, folder / "profile"))
        hertz = await page.hears()
        await said(runs[1], "(#)")
        happened(f"example: the page hears {hertz:.0f} Hz, and the backend the page")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else str(ROOT), Path(made)))
