"""`sigbridge demo`: a server and two real WebRTC peers, each in its own process, and what passes between them.

Rule 1: everything happens on loopback, on ports that the system chooses. Rule 2: every process that is started here is
ended here, whatever happens; on Linux also where this process is killed. Rule 3: exit code 0 means that bytes came
through the data channel, both ways.
"""

import asyncio
import heapq
import importlib.util
import os
import re
import secrets
import signal
import sys
import time
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NoReturn

import msgspec

from sigbridge.errors import SigbridgeError
from sigbridge.settings import setting_infos
from sigbridge_command.demo_flow import Report, Role, drawn, heading
from sigbridge_command.standard_streams import complain, discard

_NAMES = {"grpc": "gRPC", "websocket": "WebSocket"}
_SCHEMES = {"grpc": "grpc", "websocket": "ws"}
_ROLES: tuple[Role, Role] = ("caller", "callee")
_SERVE = (sys.executable, "-m", "sigbridge_command", "serve")
_LISTENING = re.compile(r"(gRPC|WebSocket) listening on (\S+)")
_PAYLOAD_BYTES = 256
_STOP_SECONDS = 10.0
_SETTLE_SECONDS = 0.02
"""How long a report waits before it is drawn, so that those of the other process that happened earlier come first."""
_PR_SET_PDEATHSIG = 1
_LEASH = f"""\
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)})
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""What a process does before it becomes its command. Between fork and exec is no room for that: gRPC, where the process
that starts it has used it, has handlers for forks there, which end the new process now and then."""


class DemoError(SigbridgeError):
    """The demo did not work; the text says how far it came."""


def run_demo(pairing: tuple[str, str], *, time_limit_seconds: float = 30.0) -> int:
    """Show a caller and a callee, on the protocols of `pairing`, connecting through a server of their own.

    Returns the exit code: 0 only where the bytes came through.
    """
    if any(importlib.util.find_spec(name) is None for name in ("aiortc", "aioice")):
        complain("sigbridge demo: needs aiortc: pip install 'sigbridge[demo]'")
        return 1
    try:
        asyncio.run(_demo(pairing, time_limit_seconds))
    except DemoError as error:
        complain(f"sigbridge demo: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("sigbridge demo: stopped")
        return 130
    return 0


async def _demo(pairing: tuple[str, str], time_limit_seconds: float) -> None:
    this = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if this is not None:
            asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    try:
        async with asyncio.timeout(time_limit_seconds):
            await _show(pairing)
    except TimeoutError:
        raise DemoError(f"no bytes came through within {time_limit_seconds:g} s") from None


async def _show(pairing: tuple[str, str]) -> None:
    started_at = time.monotonic()
    async with AsyncExitStack() as processes:
        server = _Server("server")
        await processes.enter_async_context(server.running(*_SERVE))
        addresses = await server.addresses()
        _say(f"server: gRPC on {addresses['grpc']}, WebSocket on {addresses['websocket']}\n")
        _say(heading(*(f"{role} ({_NAMES[protocol]})" for role, protocol in zip(_ROLES, pairing, strict=True))))
        flow = _Flow(started_at)
        peers = [_Peer(role, flow) for role in _ROLES]
        there, back = secrets.token_hex(_PAYLOAD_BYTES), secrets.token_hex(_PAYLOAD_BYTES)
        for peer, protocol, says, hears in zip(peers, pairing, (there, back), (back, there), strict=True):
            url = f"{_SCHEMES[protocol]}://{addresses[protocol]}"
            command = (sys.executable, "-m", "sigbridge_command.demo_peer", peer.name, url)
            await processes.enter_async_context(peer.running(*command, "--says", says, "--hears", hears))
        finished_at = await _all_succeed(peers, server)
        flow.draw_until(finished_at)
    milliseconds = (finished_at - started_at) * 1000
    names = " and ".join(_NAMES[protocol] for protocol in pairing)
    _say(f"\n{names}: {_PAYLOAD_BYTES} bytes came through each way, {milliseconds:.0f} ms after the start")


async def _all_succeed(peers: "list[_Peer]", server: "_Server") -> float:
    """Wait until both peers have ended well, and say when the last bytes arrived; DemoError where one ends badly."""
    everyone: list[_Child] = [*peers, server]
    tasks = [asyncio.create_task(child.succeed()) for child in everyone]
    try:
        arrivals: list[float] = []
        for done in asyncio.as_completed(tasks):
            arrivals.append(await done)
            if len(arrivals) == len(peers):
                break
        return max(arrivals)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError:
        # Nobody reads any more; the exit code still tells.
        discard(sys.stdout)


class _Flow:
    """Draws reports as they come, in the order in which they happened."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._waiting: list[tuple[float, int, Report]] = []
        self._count = 0

    def add(self, report: Report) -> None:
        self._count += 1
        heapq.heappush(self._waiting, (report.at, self._count, report))
        asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self.draw_until, report.at)

    def draw_until(self, at: float) -> None:
        while self._waiting and self._waiting[0][0] <= at:
            _say(drawn(heapq.heappop(self._waiting)[2], self._started_at))


class _Child(ABC):
    """One process of the demo."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: Process
        self._stdout_ended: asyncio.Task[None]
        self._last_words: deque[str] = deque(maxlen=15)

    @asynccontextmanager
    async def running(self, *command: str) -> AsyncIterator[None]:
        """Start the process, and end it at the end of the block."""
        process = self._process = await asyncio.create_subprocess_exec(
            *_leashed(command),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
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
        """Wait until it has ended well, and say when it got its bytes (monotonic); DemoError where it ends badly."""

    @abstractmethod
    def _on_line(self, line: str) -> None:
        """Take one line of its stdout."""

    def _failure(self, what: str) -> DemoError:
        return DemoError("\n  ".join((f"the {self.name} {what}", *self._last_words)))


class _Server(_Child):
    """The signaling server; it says on stdout where it listens, one line for each protocol."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._addresses: dict[str, str] = {}
        self._complete = asyncio.Event()

    async def addresses(self) -> dict[str, str]:
        """Where it listens, by protocol, as soon as it says so."""
        complete = asyncio.create_task(self._complete.wait())
        try:
            await asyncio.wait((complete, self._stdout_ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            complete.cancel()
        if not self._complete.is_set():
            await self.succeed()
        return self._addresses

    async def succeed(self) -> NoReturn:
        """Raise DemoError when it ends: it serves as long as the demo runs."""
        raise self._failure(f"ended with exit code {await self._process.wait()}")

    def _on_line(self, line: str) -> None:
        if match := _LISTENING.search(line):
            self._addresses[match[1].lower()] = match[2]
            if len(self._addresses) == len(_NAMES):
                self._complete.set()


class _Peer(_Child):
    """The caller or the callee, which reports in lines of JSON."""

    def __init__(self, role: Role, flow: _Flow) -> None:
        super().__init__(role)
        self._flow = flow
        self._bytes_at: float | None = None

    async def succeed(self) -> float:
        """Wait until it has ended well, and say when it got its bytes (monotonic); DemoError where it ends badly."""
        # Whoever waits may be cancelled; the reading goes on.
        await asyncio.shield(self._stdout_ended)
        exit_code = await self._process.wait()
        if exit_code or self._bytes_at is None:
            raise self._failure(f"ended with exit code {exit_code} and without its bytes")
        return self._bytes_at

    def _on_line(self, line: str) -> None:
        report = msgspec.json.decode(line, type=Report)
        if report.what == "bytes":
            self._bytes_at = report.at
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
