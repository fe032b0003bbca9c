"""The load: a program in C (`load.c`, which says what it does and why), and how to speak to it."""

import hashlib
import os
import select
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import msgspec

from sigbridge_bench.errors import BenchError
from sigbridge_bench.header_blocks import USUAL, Client, header_block
from sigbridge_bench.payloads import NO_TOKEN, Encoded, Kind

SOURCE = Path(__file__).with_name("load.c")

MOST_CONNECTIONS = 65536
"""The most connections that a load makes, closed ones included."""

NO_ATTACK = ("none", 0)
"""The attack of nobody: what is done, in the words of load.c, and on which connection."""

SILENCE_SECONDS = 600.0
"""The load gives up long before, whatever a server does; this is for a fault of its own."""


class LoadError(BenchError):
    """The load cannot be built, or something went wrong on the way; its text says what."""


class Endpoint(NamedTuple):
    """Address of a server, and the way in which clients of one protocol reach it."""

    kind: Kind
    address: str
    """Numeric, IPv4 or IPv6."""
    port: int
    tokens: tuple[str, ...] = ()
    """API tokens that connections show in turn; none where none is asked for."""
    path: str = "/"
    client: Client = USUAL
    """Client whose headers begin a call; of gRPC."""
    resumable: bool = False
    """True where sessions ask to be resumable, and come back as who they were when they are set up again."""

    @property
    def authority(self) -> str:
        """Address and port as URLs have them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The load's account of a command; times in seconds."""

    seconds: float
    load_cpu: float
    bytes_to_server: int
    bytes_from_server: int
    messages: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    undelivered: int = 0
    load_behind: float = 0.0
    cut_off: int = 0
    last_in: float = 0.0
    """Of a storm, until its last connection was greeted."""


def build() -> Path:
    """Returns the path of the load's program, built if this source has not been built yet.

    :raises LoadError: if there is no C compiler, or it fails
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sigbridge"
    program = folder / f"load-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if program.exists():
        return program
    said = os.environ.get("CC") or ""
    try:
        compiler = shlex.split(said) or [found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))][:1]
    except ValueError as error:
        raise LoadError(f"CC is {said!r}: expected a compiler and its arguments ({error})") from None
    if not compiler or shutil.which(compiler[0]) is None:
        raise LoadError(
            f"the load is a C program, and no compiler is here: install {compiler[0] if compiler else 'cc'} "
            "(Debian: apt-get install gcc libc6-dev)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"load.{os.getpid()}"
    command = [*compiler, "-O2", "-o", str(made), str(SOURCE)]
    built = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise LoadError(f"{compiler[0]} cannot build the load: {built.stderr.strip()}")
    made.replace(program)
    return program


class Load(AbstractContextManager["Load"]):
    """The running load. Connections, messages and lanes are numbered from 0, in the order of their making."""

    def __init__(self, cpu: int | None = None, *, polling: bool = False) -> None:
        """Starts the load on a core.

        `polling` is for a core that nothing else uses: see `load.c`.
        """
        command = [str(build()), "--polling"] if polling else [str(build())]
        self._process = pinned(command, cpu, stdin=subprocess.PIPE)
        self._connections = 0
        self._lanes = 0
        self._messages: dict[tuple[Kind, Encoded], int] = {}

    def open(self, endpoint: Endpoint, hello: bytes, peer_id: str = "") -> int:
        """Defines a connection that sends `hello` first, with its token; `setup` connects it."""
        path, extra = endpoint.path, b""
        token = endpoint.tokens[self._connections % len(endpoint.tokens)] if endpoint.tokens else ""
        if endpoint.kind == "grpc":
            path = ""
            extra = header_block(endpoint.client, endpoint.authority, token)
        elif endpoint.kind == "ws" and token:
            extra = f"Authorization: Bearer {token}\r\n".encode()
        elif endpoint.kind == "peerjs":
            path = f"/peerjs?key=peerjs&id={peer_id}&token=t{peer_id}"
        token_at = max(0, hello.find(NO_TOKEN.encode()))
        lengths = f"{len(path)} {len(extra)} {len(hello)} {token_at}"
        head = f"open {endpoint.kind} {endpoint.address} {endpoint.port} {lengths}\n"
        self._say(head.encode() + path.encode() + extra + hello)
        self._connections += 1
        return self._connections - 1

    def lane(self, ends: tuple[int, int], kinds: tuple[Kind, Kind], steps: Sequence[tuple[int, Encoded]]) -> int:
        """Defines a lane: steps, each of a sending side (0 or 1) and a message."""
        numbers = [f"{side}:{self.message(kinds[side], message)}" for side, message in steps]
        self._say(f"lane {ends[0]} {ends[1]} {len(numbers)} {' '.join(numbers)}\n".encode())
        self._lanes += 1
        return self._lanes - 1

    def setup(self, first: int, count: int, at_once: int = 16) -> Result:
        """Connects connections, sends their hellos, and waits for the acknowledgements.

        At most `at_once` are under way at a time; 0: all connect first, then all hellos are sent together.
        """
        return self._ask(f"setup {first} {count} {at_once}")

    def run(self, first: int, count: int, burst: int, steps: int) -> Result:
        """Closed loop over so many lanes: each sends `burst` steps, awaits them, sends the next, `steps` in all."""
        return self._ask(f"run {first} {count} {burst} {steps}")

    def pace(self, first: int, count: int, rate: float, seconds: float, attack: tuple[str, int] = NO_ATTACK) -> Result:
        """Sends in an open loop: steps leave at their times over all lanes in turn, whatever became of earlier ones."""
        return self._ask(f"pace {first} {count} {rate} {seconds} {attack[0]} {attack[1]}")

    def storm(self, first: int, count: int, lanes: tuple[int, int], rate: float) -> Result:
        """Lets so many connect and say hello at once; meanwhile lanes (the first, how many) send as in `pace`."""
        return self._ask(f"storm {first} {count} {lanes[0]} {lanes[1]} {rate}")

    def join(self, connection: int, first: int, count: int) -> Result:
        """Lets one say hello; until so many others have heard of it."""
        return self._ask(f"join {connection} {first} {count}")

    def calls(self, first: int, count: int, calls: int, phases: Iterable[int]) -> Result:
        """Calls over so many lanes, each on new connections; phases of so many steps, each awaited."""
        sizes = list(phases)
        return self._ask(f"calls {first} {count} {calls} {len(sizes)} {' '.join(map(str, sizes))}")

    def quiet(self) -> None:
        """Reads until nothing comes any more."""
        self._ask("quiet")

    def stall(self, first: int, count: int) -> None:
        """Lets connections that are not set up yet read nothing once they are greeted."""
        self._say(f"stall {first} {count}\n".encode())

    def close(self, first: int, count: int) -> None:
        """Closes connections."""
        self._ask(f"close {first} {count}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kills the load's process and closes its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def message(self, kind: Kind, message: Encoded) -> int:
        """Returns the number of a message, which is sent to the load the first time only."""
        number = self._messages.get((kind, message))
        if number is None:
            number = self._messages[kind, message] = len(self._messages)
            words = f"message {kind} {len(message.data)} {message.least} {message.id_at}\n"
            self._say(words.encode() + message.data)
        return number

    def _say(self, data: bytes) -> None:
        """Writes bytes to the load.

        :raises LoadError: if it has ended
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            self._hear()

    def _ask(self, command: str) -> Result:
        """Sends a command and waits for its result.

        :raises LoadError: if the load refuses it, ends, or says nothing for too long
        """
        self._say(command.encode() + b"\n")
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.flush()
        return msgspec.convert(self._hear(), Result)

    def _hear(self) -> Any:
        """Reads one line from the load, decoded.

        :raises LoadError: if it says an error, has ended, or says nothing for too long
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], SILENCE_SECONDS)[0]:
            raise LoadError(f"the load says nothing for {SILENCE_SECONDS:.0f} s")
        line = self._process.stdout.readline()
        result = (
            msgspec.json.decode(line) if line else {"error": f"the load ended with exit code {self._process.wait()}"}
        )
        if "error" in result:
            raise LoadError(result["error"])
        return result


def pinned(
    command: Sequence[str],
    cpu: int | None,
    *,
    stdin: int = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    environment: dict[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a process that runs on one core, all its threads included; None: wherever it likes.

    It is ended when this process is, however that comes about. The load sees to that: a function of this process would
    run after a fork, in which libraries that have threads here, such as gRPC's, may abort.
    """
    command = [str(build()), "--while", str(os.getpid()), *command]
    before = os.sched_getaffinity(0)
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
        )
    finally:
        os.sched_setaffinity(0, before)
