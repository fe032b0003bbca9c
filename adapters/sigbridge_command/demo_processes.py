"""Processes of `sigbridge demo`: the server, its peers, and the drawing of what these report.

Rule 1: every process that is started here is ended here, whatever happens; on Linux also where this process is killed.
Rule 2: what they report is drawn in the order in which it happened, a moment later.
"""

import asyncio
import heapq
import os
import re
import signal
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import msgspec

from sigbridge.errors import SigbridgeError
from sigbridge.settings import setting_infos
from sigbridge_command.demo_flow import Report, drawn
from sigbridge_command.standard_streams import discard

NAMES = {"grpc": "gRPC", "websocket": "WebSocket"}
SCHEMES = {"grpc": "grpc", "websocket": "ws"}
SERVE = (sys.executable, "-m", "sigbridge_command", "serve")
_LISTENING = re.compile(r"(gRPC|WebSocket) listening on (\S+)")
AWAITED = {"caller": "its bytes", "callee": "its bytes", "backend": "a sound from the page"}
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_LEASH = f"""\
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)})
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Program of a process before it becomes its command. Between fork and exec is no room for it: gRPC, where the process
that starts it has used it, has handlers for forks there, which end the new process now and then."""


class DemoError(SigbridgeError):
    """The demo did not work; the text says how far it came."""


def say(line: str) -> None:
    """Prints a line, where somebody reads."""
    try:
        print(line, flush=True)
    except OSError:
        # Nobody reads any more; the exit code still tells.
        discard(sys.stdout)


class Flow:
    """Draws reports as they come, in the order in which they happened.

    Each waits for `settle_seconds`, so that those of another process that happened earlier come first.
    """

    def __init__(self, started_at: float, settle_seconds: float = 0.02) -> None:
        self._started_at = started_at
        self._settle_seconds = settle_seconds
        self._waiting: list[tuple[float, int, Report]] = []
        self._count = 0

    def add(self, report: Report) -> None:
        """Draws a report in a moment."""
        self._count += 1
        heapq.heappush(self._waiting, (report.at, self._count, report))
        asyncio.get_running_loop().call_later(self._settle_seconds, self.draw_until, report.at)

    def draw_until(self, at: float) -> None:
        """Draws what happened until then (monotonic)."""
        while self._waiting and self._waiting[0][0] <= at:
            say(drawn(heapq.heappop(self._waiting)[2], self._started_at))


class Child(ABC):
    """One process of the demo."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: Process
        self._stdout_ended: asyncio.Task[None]
        self._last_words: deque[str] = deque(maxlen=15)

    @asynccontextmanager
    async def running(self, *command: str, **variables: str) -> AsyncIterator[None]:
        """Starts the process, with these variables besides, and ends it at the end of the block."""
        process = self._process = await asyncio.create_subprocess_exec(
            *_leashed(command),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment() | variables,
        )
        try:
            self._stdout_ended = asyncio.create_task(_read(process.stdout, self._on_line))
            stderr_ended = asyncio.create_task(_read(process.stderr, self._last_words.append))
            try:
                yield
            finally:
                await _end(process)
                await asyncio.gather(self._stdout_ended, stderr_ended)
        finally:
            if process.returncode is None:
                process.kill()

    @abstractmethod
    async def succeed(self) -> float:
        """Waits until it has ended well; returns the moment at which it got its bytes (monotonic seconds).

        :raises DemoError: if it ends badly.
        """

    @abstractmethod
    def _on_line(self, line: str) -> None:
        """Takes one line of its stdout."""

    def _failure(self, what: str) -> DemoError:
        return DemoError("\n  ".join((f"the {self.name} {what}", *self._last_words)))


class ServerChild(Child):
    """The signaling server; it says on stdout where it listens, one line for each protocol."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._addresses: dict[str, str] = {}
        self._complete = asyncio.Event()

    async def addresses(self) -> dict[str, str]:
        """Returns its addresses by protocol, as soon as it says them.

        :raises DemoError: if it ends before.
        """
        complete = asyncio.create_task(self._complete.wait())
        try:
            await asyncio.wait((complete, self._stdout_ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            complete.cancel()
        if not self._complete.is_set():
            await self.succeed()
        return self._addresses

    async def succeed(self) -> NoReturn:
        """Waits until the server ends, which is always a failure: it serves as long as the demo runs.

        :raises DemoError: when it ends.
        """
        raise self._failure(f"ended with exit code {await self._process.wait()}")

    def _on_line(self, line: str) -> None:
        if match := _LISTENING.search(line):
            self._addresses[match[1].lower()] = match[2]
            if len(self._addresses) == len(NAMES):
                self._complete.set()


class PeerChild(Child):
    """A peer, which reports in lines of JSON."""

    def __init__(self, name: str, flow: Flow) -> None:
        super().__init__(name)
        self._flow = flow
        self._arrived_at: float | None = None

    async def succeed(self) -> float:
        """Waits until it has ended well, and returns when it got what it waits for (monotonic seconds).

        :raises DemoError: if it ends badly.
        """
        # Whoever waits may be cancelled; the reading goes on.
        await asyncio.shield(self._stdout_ended)
        exit_code = await self._process.wait()
        if exit_code or self._arrived_at is None:
            raise self._failure(f"ended with exit code {exit_code} and without {AWAITED[self.name]}")
        return self._arrived_at

    def _on_line(self, line: str) -> None:
        report = msgspec.json.decode(line, type=Report)
        if report.what in ("bytes", "sound") and self._arrived_at is None:
            self._arrived_at = report.at
        self._flow.add(report)


async def _read(stream: asyncio.StreamReader | None, on_line: Callable[[str], None]) -> None:
    if stream is not None:
        async for line in stream:
            on_line(line.decode(errors="replace").rstrip())


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


def _environment() -> dict[str, str]:
    """The environment of this process without its settings: the demo's server is its own, and so are its ports."""
    settings = {info.env for info in setting_infos().values()}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    # A proxy cannot reach the loopback of this machine.
    return kept | {
        "GRPC_BIND_ADDRESS": "127.0.0.1:0",
        "WS_BIND_ADDRESS": "127.0.0.1:0",
        "HTTP_BIND_ADDRESS": "off",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def _leashed(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command as one that Linux kills when this process is gone, even by SIGKILL; elsewhere as it is."""
    if sys.platform != "linux":
        return command
    return (sys.executable, "-ISc", _LEASH, str(os.getpid()), *command)
