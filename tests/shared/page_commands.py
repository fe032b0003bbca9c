"""Commands that stand in the project's pages, run in a shell as people run them, and what they say."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

from processes import clean_environment
from server_process import ServerProcess
from waiting import TIME_LIMIT_SECONDS, until

ROOT = Path(__file__).parents[2]
INSTALLED = tuple(f"{sys.prefix}/.{what}-installed" for what in ("runtime", "demo"))
ANY_PORT = {"GRPC_BIND_ADDRESS": "127.0.0.1:0", "WS_BIND_ADDRESS": "127.0.0.1:0", "HTTP_BIND_ADDRESS": "off"}


def blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of code of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Returns the commands of a page, without what they say in comments."""
    lines = "".join(blocks(page, "sh")).splitlines()
    return [said for line in lines if (said := re.sub(r"(^|\s+)#.*", "", line))]


@contextlib.contextmanager
def server_of_usual_ports() -> Iterator[Callable[[str], str]]:
    """Starts a server; yields what changes a text that is written for the usual ports so that it reaches this one."""
    server = ServerProcess(HTTP_BIND_ADDRESS="off")
    try:
        server.ready()
        yield lambda text: text.replace(":50051", f":{server.grpc}").replace(":8080", f":{server.ws}")
    finally:
        server.stop()


class Running:
    """A command that runs, and all that it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.reading = asyncio.create_task(self._read_all())
        self.stdout = ""
        self.stderr = ""

    async def _read_all(self) -> None:
        await asyncio.gather(self._read("stdout"), self._read("stderr"))

    async def _read(self, name: str) -> None:
        while text := await getattr(self.process, name).read(1 << 16):
            setattr(self, name, getattr(self, name) + text.decode())

    async def ended(self) -> int:
        """Returns the exit code, when it has ended and all that it has said is read."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            code = await self.process.wait()
            await asyncio.shield(self.reading)
        return code

    async def says(self, pattern: str) -> re.Match[str]:
        """Returns what it says on stdout, as soon as it has."""
        return await self._until(pattern, "stdout")

    async def complains(self, pattern: str) -> re.Match[str]:
        """Returns what it says on stderr, as soon as it has."""
        return await self._until(pattern, "stderr")

    async def _until(self, pattern: str, name: str) -> re.Match[str]:
        ended = asyncio.create_task(self.process.wait())
        try:
            await until(lambda: re.search(pattern, getattr(self, name)) or ended.done())
        except TimeoutError:
            raise AssertionError(f"{pattern!r} was not said: {self.stdout!r} {self.stderr!r}") from None
        finally:
            ended.cancel()
        found = re.search(pattern, getattr(self, name))
        assert found, f"it ended without {pattern!r}: {self.stdout!r} {self.stderr!r}"
        return found


@contextlib.asynccontextmanager
async def pasted(
    command: str, folder: Path, environment: Mapping[str, str], *, stdin: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[Running]:
    """A command in a folder, as it is; it and all that it has started end with the block."""
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env=environment,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    running = Running(process)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), TIME_LIMIT_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await running.reading


@contextlib.asynccontextmanager
async def shell(command: str, *, stdin: int = asyncio.subprocess.DEVNULL, **variables: str) -> AsyncIterator[Running]:
    """A command of a checkout's folder; it and all that it has started end with the block.

    In place of .venv it has the environment in which the tests run, where everything is installed.
    """
    as_installed = " ".join(f"-o {stamp}" for stamp in INSTALLED)
    command = re.sub(r"\bmake ", f"make --no-print-directory {as_installed} VENV={sys.prefix} ", command)
    command = re.sub(r"(?<!\S)\.venv/bin/", f"{sys.prefix}/bin/", command)
    environment = clean_environment(**{"PYTHONUNBUFFERED": "1", "CI": "true"} | variables)
    async with pasted(command, ROOT, environment, stdin=stdin) as running:
        yield running
