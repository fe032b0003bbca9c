"""Servers to measure: ours and the baselines, each started on one core; or one that runs already.

Rule 1: what a server costs is asked of the kernel and never of the server. Rule 2: our own servers run with every
feature on; only limits that one machine full of clients would meet are raised. Rule 3: whatever happens, a server that
was started is ended; one that ran already is left as it was.
"""

import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from sigbridge.settings import setting_infos
from sigbridge_bench.load import Endpoint, LoadError, build, pinned
from sigbridge_bench.payloads import Kind
from sigbridge_bench.records import Protocol

_PLACES = (Path(__file__).resolve().parents[2], Path.cwd())
ROOT = next((place for place in _PLACES if (place / "bench" / "baselines").is_dir()), _PLACES[0])
"""The checkout: that of this file, or where an installed package runs in one."""
BASELINES = ROOT / "bench" / "baselines"
"""Only a checkout has them."""

START_SECONDS = 30.0
STOP_SECONDS = 10.0

KINDS: Mapping[Protocol, Kind] = {"grpc": "grpc", "websocket": "ws", "tcp": "tcp"}
"""Kind of connection by which the load speaks each protocol."""
_LISTENING: Mapping[str, Protocol] = {"gRPC listening": "grpc", "WebSocket listening": "websocket"}


class Subject(NamedTuple):
    """A server that can be measured."""

    name: str
    protocols: tuple[Protocol, ...]
    pairings: tuple[str, ...]
    command: tuple[str, ...] = ()
    """Command that starts it; empty for one that runs already."""
    environment: tuple[tuple[str, str], ...] = ()
    """Names and values."""
    kind: Kind | None = None
    """Kind of connection by which the load speaks to it, where its protocol does not say that."""
    tokens: tuple[str, ...] = ()
    """API tokens that it lets in."""
    resumable: bool = False
    """True where its sessions ask to be resumable."""

    @property
    def offers_only(self) -> bool:
        """True where it relays offers and nothing else that the load says."""
        return self.kind == "peerjs"


def pairings(protocols: Sequence[Protocol]) -> tuple[str, ...]:
    """Every pairing of these, the sender's protocol first."""
    return tuple(f"{sender}-{receiver}" for sender in protocols for receiver in protocols)


# What can be started.

OURS = ("sigbridge", "sigbridge-resumable", "sigbridge-grpcio")
NAMES = (*OURS, "tcp", "websockets", "grpc.aio", "ws", "grpc-js", "peerjs")
NODE_PACKAGES = {"ws": ("ws",), "grpc-js": ("@grpc/grpc-js", "@grpc/proto-loader"), "peerjs": ("peer",)}

_LIMITS = (
    # On, and far above what one machine can send.
    ("SIGNALING_RATE_PER_SEC", "1000000"),
    ("SIGNALING_RATE_BURST", "1000000"),
    ("SIGNALING_MAX_ROOM_PEERS", "20000"),
)


def startable(names: Sequence[str]) -> tuple[list[Subject], list[str]]:
    """Returns the servers of these names that can be started here, and for each other one why not."""
    found: list[Subject] = []
    left_out: list[str] = []
    for name in names:
        why = _why_not(name)
        if why:
            left_out.append(f"{name}: {why}")
        else:
            found.append(_subject(name))
    return found, left_out


def _why_not(name: str) -> str:
    """Returns why a server cannot be started here; "" if it can."""
    if name in OURS:
        return ""
    if not BASELINES.is_dir():
        return "baselines are in bench/baselines of a checkout, and this is none"
    if name not in NODE_PACKAGES:
        return ""
    if shutil.which("node") is None:
        return "node is not installed"
    if any(node_version(package) is None for package in NODE_PACKAGES[name]):
        return "its packages are not installed: (cd bench/baselines && npm install)"
    return ""


def node_version(package: str) -> str | None:
    """Returns the version of a package that is installed for the baselines on Node."""
    file = BASELINES / "node_modules" / package / "package.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["version"]) if file.exists() else None


def _subject(name: str) -> Subject:
    """Returns how a server is started and what it can do, by its name."""
    if name.startswith("sigbridge"):
        subject = sigbridge_subject(name, "grpcio" if name == "sigbridge-grpcio" else "native")
        return subject._replace(resumable=name == "sigbridge-resumable")
    program = {
        "tcp": "tcp_relay.py",
        "websockets": "websockets_relay.py",
        "grpc.aio": "grpcaio_relay.py",
        "ws": "ws_relay.mjs",
        "grpc-js": "grpcjs_relay.mjs",
        "peerjs": "peerjs_server.mjs",
    }[name]
    interpreter = sys.executable if program.endswith(".py") else shutil.which("node") or "node"
    arguments = (str(ROOT / "protos" / "webrtc_signaling.proto"),) if name == "grpc-js" else ()
    protocol: Protocol = "tcp" if name == "tcp" else "grpc" if name.startswith("grpc") else "websocket"
    return Subject(
        name,
        (protocol,),
        pairings((protocol,)),
        (interpreter, str(BASELINES / program), *arguments),
        kind="peerjs" if name == "peerjs" else None,
    )


_TOKENS = 128
"""API tokens that a server of ours lets in, and that sessions show in turn.

Sessions of a fleet have a token each, so that no header block is like another. As many are enough for a slice of
sessions; more would measure their comparison: the server compares what it is shown with every token that it knows.
"""
_FROM_HERE = (sys.executable, "-m", "sigbridge_command", "serve")


def sigbridge_subject(name: str, engine: str, command: tuple[str, ...] = _FROM_HERE) -> Subject:
    """Returns how Sigbridge's server is started with every feature on, by the command given or this environment's."""
    tokens = tuple(secrets.token_urlsafe(24) for _ in range(_TOKENS))
    protocols: tuple[Protocol, ...] = ("grpc", "websocket")
    # From WebSocket to WebSocket both are one and the same program.
    served = tuple(way for way in pairings(protocols) if engine == "native" or "grpc" in way)
    return Subject(
        name,
        protocols,
        served,
        command,
        (
            ("GRPC_BIND_ADDRESS", "127.0.0.1:0"),
            ("WS_BIND_ADDRESS", "127.0.0.1:0"),
            ("HTTP_BIND_ADDRESS", "127.0.0.1:0"),
            ("GRPC_ENGINE", engine),
            ("GRPC_AUTH_TOKENS", ",".join(tokens)),
            ("GRPC_REQUIRE_AUTH", "true"),
            ("WS_REQUIRE_AUTH", "true"),
            ("SIGNALING_LOG_LEVEL", "info"),
            *_LIMITS,
        ),
        tokens=tokens,
    )


def bare_echo() -> Subject:
    """Returns the load's own echo, which speaks the protocol of the floor."""
    return Subject("echo", ("tcp",), ("tcp-tcp",), (str(build()), "--echo"))


# What runs.


class Server(AbstractContextManager["Server"]):
    """A server that is running, and what the kernel says of its process."""

    name: str
    endpoints: Mapping[Protocol, Endpoint]
    pid: int | None

    def cpu(self) -> float | None:
        """Returns CPU seconds of its process so far, ended threads included; none where the process cannot be seen."""
        # The process's CPU clock, as clock_getcpuclockid(3) makes it: nanoseconds, like schedstat of all its threads.
        return None if self.pid is None else time.clock_gettime((~self.pid << 3) | 2)

    def resident(self) -> int | None:
        """Returns the bytes of its resident set; None if the process cannot be seen."""
        if self.pid is None:
            return None
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("Rss:")).split()[1]) * 1024

    def ended(self) -> str:
        """Account of how it ended by itself; empty while it runs, or where that cannot be seen."""
        return ""


class StartedServer(Server):
    """A server of our own, on one core; ended with the context."""

    def __init__(self, subject: Subject, core: int | None) -> None:
        """Starts the server's process on a core, and waits until it listens.

        :raises LoadError: if it does not listen in time
        """
        self.name = subject.name
        # What it logs goes to a file: whoever measures it reads that only where it has failed.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _stop
        ours = {info.env for info in setting_infos().values()} | {"RUST_LOG"}
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        self._process = pinned(
            subject.command, core, stderr=self._log, environment={**inherited, **dict(subject.environment)}
        )
        self.pid = self._process.pid
        try:
            self.endpoints = self._listening(subject)
        except BaseException:
            self._stop()
            raise

    def ended(self) -> str:
        """Returns how the server ended by itself, with its last words; "" while it runs."""
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return ""
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return f"it ended with exit code {code}" + (f": {said[-1]}" if said else "")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _listening(self, subject: Subject) -> dict[Protocol, Endpoint]:
        """Waits until the server has printed where it listens, and returns its endpoints by protocol.

        :raises LoadError: if it ends, or has not printed all of them in time
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        give_up = time.monotonic() + START_SECONDS
        found: dict[Protocol, Endpoint] = {}
        said = b""
        while len(found) < len(subject.protocols):
            ready, _, _ = select.select([pipe], [], [], max(0.0, give_up - time.monotonic()))
            part = os.read(pipe, 4096) if ready else b""
            if not part:
                raise LoadError(f"{self.name} does not listen: {self.ended() or f'nothing said in {START_SECONDS} s'}")
            *lines, said = (said + part).split(b"\n")
            for line in lines:
                words, _, address = line.decode().rpartition(" on ")
                protocol = subject.protocols[0] if words == "listening" else _LISTENING.get(words)
                if protocol is not None:
                    host, _, port = address.rpartition(":")
                    kind = subject.kind or KINDS[protocol]
                    found[protocol] = Endpoint(kind, host, int(port), subject.tokens, resumable=subject.resumable)
        return found

    def _stop(self) -> None:
        """Ends the server's process, by force if it takes too long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


class AttachedServer(Server):
    """A server that somebody else runs, and will go on running."""

    def __init__(self, name: str, endpoints: Mapping[Protocol, Endpoint], pid: int | None) -> None:
        self.name = name
        self.endpoints = endpoints
        self.pid = pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is ours to end."""
