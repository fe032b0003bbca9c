"""The programs that play clients in TypeScript: Node, and a page in headless Chromium.

Each is built of the sources as they are, and ended when its block ends. `why_not_node` and `why_not_chromium` say what is
missing on a machine, in words for a skipped test.
"""

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from chromium import WHY_NOT_CHROMIUM
from driven_client import DrivenClient, Driver
from page_lines import lines_of_page
from processes import clean_environment
from sigbridge_compat.ways import WayIn
from waiting import TIME_LIMIT_SECONDS

PACKAGE: Final = Path(__file__).parents[2] / "clients" / "typescript"
NODE: Final = shutil.which("node")
LEAST_NODE: Final = 20
READ_BYTES: Final = 65536
MOST_COMPLAINTS: Final = 40


@functools.cache
def why_not_node() -> str:
    """Returns what keeps the driver from running in Node; empty: nothing."""
    if NODE is None:
        return "Node is not there"
    said = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True, timeout=TIME_LIMIT_SECONDS)
    if int(said.stdout.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        return f"Node {LEAST_NODE} is wanted, and this one is {said.stdout.strip()}"
    if not (PACKAGE / "node_modules" / "esbuild").exists():
        return "the client's packages are not installed: python tools/install_foreign_clients.py, or make typescript"
    return ""


def why_not_chromium() -> str:
    """Returns what keeps the driver from running in Chromium; empty: nothing."""
    return why_not_node() or WHY_NOT_CHROMIUM


WHY_NOT: Final = {"node": why_not_node, "chromium": why_not_chromium}


@contextlib.contextmanager
def built() -> Iterator[Path]:
    """A folder with the driver, within the package, whose modules it finds from there."""
    assert NODE is not None
    (PACKAGE / ".driver").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGE / ".driver") as folder:
        subprocess.run(
            [NODE, str(PACKAGE / "driver" / "build.mjs"), folder],
            cwd=PACKAGE,
            env=clean_environment(),
            check=True,
            timeout=TIME_LIMIT_SECONDS,
        )
        yield Path(folder)


class DriverProcess:
    """A driver and its process."""

    def __init__(self, process: asyncio.subprocess.Process, driver: Driver) -> None:
        self.driver = driver
        self._process = process

    @property
    def pid(self) -> int:
        """The number of the process, and of its group, which has all that it starts."""
        return self._process.pid


def driven_way(name: str, process: DriverProcess, url: str) -> WayIn:
    """The way in by clients that it drives, which do not come back by themselves."""

    async def connect() -> DrivenClient:
        return await process.driver.connect(url, resume=False, keepaliveSeconds=0)

    return WayIn(name, connect)


@contextlib.asynccontextmanager
async def drive_node() -> AsyncIterator[DriverProcess]:
    """The driver in a process of Node; it may say nothing on stderr."""
    assert NODE is not None
    with built() as folder:
        process = await asyncio.create_subprocess_exec(
            NODE,
            str(folder / "node.js"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(NODE_OPTIONS="--enable-source-maps"),
            start_new_session=True,
        )
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        driver = Driver(lambda lines: stdin.write("\n".join([*lines, "", ""]).encode()))
        complaints: list[str] = []

        async def complain() -> None:
            while line := await stderr.readline():
                if len(complaints) < MOST_COMPLAINTS:
                    complaints.append(line.decode(errors="replace"))

        async def read() -> None:
            unread = b""
            while data := await stdout.read(READ_BYTES):
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    driver.take(line)
            await complaining
            driver.end("".join(complaints))

        complaining = asyncio.create_task(complain())
        reading = asyncio.create_task(read())
        try:
            yield DriverProcess(process, driver)
            stdin.close()
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await reading
            assert not complaints, "".join(complaints)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            reading.cancel()
            complaining.cancel()
            await asyncio.gather(reading, complaining, return_exceptions=True)


@contextlib.asynccontextmanager
async def drive_chromium() -> AsyncIterator[DriverProcess]:
    """The driver in a page of headless Chromium, that has a profile of its own."""
    with built() as folder:
        async with lines_of_page(folder) as lines:
            driver = Driver(lambda said: lines.say("\n".join(said)))
            lines.listen(driver.take, driver.end)
            yield DriverProcess(lines.browser, driver)


DRIVE: Final = {"node": drive_node, "chromium": drive_chromium}
