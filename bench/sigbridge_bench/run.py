"""A run: which measurements, of which servers, how often and in which order.

Rule 1: rounds are interleaved: every cell is measured once before any is measured again, so that what slows the machine
down for a while slows all of them down. Rule 2: a server is warm before its first counted round. Rule 3: every record
is in the file as soon as it is made, so that a run that is broken off is not lost. Rule 4: whatever cannot be measured
is named, with the reason, before anything is measured.
"""

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, cast

from sigbridge_bench import measurements
from sigbridge_bench.header_blocks import CLIENTS, USUAL, Client
from sigbridge_bench.load import Load, LoadError
from sigbridge_bench.machine import Cores, commit, machine, versions
from sigbridge_bench.measurements import Attackers, Crowd, Mark, Pairs
from sigbridge_bench.payloads import Message
from sigbridge_bench.progress import Progress
from sigbridge_bench.records import Disturber, Listeners, Protocol, Record, Run, append
from sigbridge_bench.servers import AttachedServer, Server, StartedServer, Subject, bare_echo, pairings

MEASUREMENTS = ("without-io", "cpu", "latency", "ceiling", "sessions", "join", "storm", "calls", "disturbance", "stall")
"""In their order. The echo takes part in every run."""

SPARE_FILES = 200
"""The descriptors that a server needs besides those of its sessions."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The amounts: of rounds, messages, sessions and seconds."""

    rounds: Mapping[str, int]
    """Of each measurement, and of the echo."""
    pairs: int = 8
    in_flight: tuple[int, ...] = (1, 8)
    messages: int = 3000
    """Relayed for a figure of CPU time."""
    warm_up: int = 4000
    """Relayed of each kind by each server before it counts; what compiles while it runs needs some thousand."""
    rates: tuple[float, ...] = (1000.0, 4000.0)
    """Messages per second, over all pairs, at which latencies are measured."""
    pace_seconds: float = 1.0
    ceiling_from: float = 2000.0
    ceiling_most: float = 256000.0
    ceiling_seconds: float = 0.4
    bisections: int = 3
    sessions: int = 1000
    room: int = 2000
    storm: int = 8000
    storm_rate: float = 500.0
    calls: int = 200
    disturbed_rate: float = 1000.0
    mixed_pairs: int = 500
    """Pairs of one peer on each protocol, beside whom two listeners stall."""
    without_io: int = 10000


FULL = Profile(
    rounds={
        "without-io": 5,
        "echo": 5,
        "cpu": 5,
        "latency": 3,
        "ceiling": 2,
        "sessions": 3,
        "join": 3,
        "storm": 3,
        "calls": 3,
        "disturbance": 3,
        "stall": 5,
    }
)
QUICK = Profile(
    rounds=dict.fromkeys((*MEASUREMENTS, "echo"), 1),
    messages=320,
    warm_up=160,
    rates=(500.0,),
    pace_seconds=0.2,
    ceiling_from=4000.0,
    ceiling_most=16000.0,
    ceiling_seconds=0.2,
    bisections=1,
    sessions=50,
    room=50,
    storm=200,
    calls=8,
    mixed_pairs=10,
    without_io=500,
)


class Cell(NamedTuple):
    """One thing that is measured once in every round."""

    subject: Subject
    way: str
    """A pairing, or one protocol; or empty."""
    message: str = ""
    """The message that is sent, the disturber, the listeners, or the client whose headers begin a call; or empty."""
    setting: float = 0.0
    """Messages in flight, or messages per second."""

    def __str__(self) -> str:
        words = (self.subject.name, self.way, self.message, f"{self.setting:g}" if self.setting else "")
        return " ".join(word for word in words if word)


Measure = Callable[[Cell, int], Record]
Say = Callable[[str], None]


class Phase(NamedTuple):
    """Everything of one measurement."""

    name: str
    cells: Sequence[Cell]
    seconds: float
    """About the time that a cell takes, for the bar."""
    begin: Callable[[ExitStack, Sequence[Cell], Say], Measure]
    """Starts what is measured, and warms it up; what is returned makes a cell's record of a round."""


@dataclass(kw_only=True)
class Bench:
    """The servers of a run, and how its measurements are put together."""

    run: str
    subjects: Sequence[Subject]
    profile: Profile
    cores: Cores = field(default_factory=Cores.chosen)
    attached: AttachedServer | None = None
    """Stands for the subjects that have no command."""

    def phases(self, names: Sequence[str]) -> list[Phase]:
        """Returns the phases of the measurements asked for, the echo first; without those that have no cells here."""
        profile = self.profile
        relay = profile.messages * 7e-5 + 0.02
        tries = 8 * profile.ceiling_seconds
        phases = [
            Phase("echo", [Cell(bare_echo(), "tcp-tcp")], relay, self._echo),
            Phase("without-io", self._without_io_cells(), profile.without_io * 3e-5 + 0.5, self._without_io),
            Phase("cpu", self._cpu_cells(), relay, self._cpu),
            Phase("latency", self._latency_cells(), profile.pace_seconds, self._latency),
            Phase("ceiling", self._ceiling_cells(), tries, self._ceiling),
            Phase("sessions", self._session_cells(), 1.0 + profile.sessions * 1e-3, self._sessions),
            Phase("join", self._join_cells(), profile.room * 1e-3, self._join),
            Phase("storm", self._storm_cells(), 1.0 + profile.storm * 1e-3, self._storm),
            Phase("calls", self._call_cells(), profile.calls * 4e-3, self._calls),
            Phase("disturbance", self._disturbed_cells(), profile.pace_seconds, self._disturbance),
            Phase("stall", self._stall_cells(), 2 * profile.pace_seconds, self._stall),
        ]
        return [phase for phase in phases if phase.cells and phase.name in ("echo", *names)]

    def records(self, phases: Sequence[Phase]) -> Iterator[Record]:
        """Measures, and yields each record as it is made.

        :raises LoadError: if a server or the load fails
        """
        progress = Progress(sum(len(each.cells) * self.profile.rounds[each.name] * each.seconds for each in phases))
        try:
            for phase in phases:
                yield from self._records_of(phase, progress)
        finally:
            progress.end()

    def _records_of(self, phase: Phase, progress: Progress) -> Iterator[Record]:
        """Yields the records of one phase, round by round, and tells how far it is."""

        def say(text: str) -> None:
            progress.say(f"{phase.name}: {text}")

        with ExitStack() as stack:
            measure = phase.begin(stack, phase.cells, say)
            for number in range(self.profile.rounds[phase.name]):
                for cell in phase.cells:
                    say(f"round {number + 1}, {cell}")
                    yield measure(cell, number)
                    progress.step(phase.seconds)

    # Which cells there are.

    def _ways(self, subject: Subject) -> tuple[str, ...]:
        """Returns the pairings that are measured where a figure takes seconds.

        These are all of the first server's, and of the others the unmixed ones.
        """
        return tuple(way for way in subject.pairings if self._is_main(subject) or _is_unmixed(way))

    def _is_main(self, subject: Subject) -> bool:
        return subject.name == "sigbridge" or not subject.command

    def _talkers(self) -> list[Subject]:
        return [subject for subject in self.subjects if not (subject.offers_only or subject.resumable)]

    def _without_io_cells(self) -> list[Cell]:
        ours = [subject for subject in self.subjects if subject.name == "sigbridge"][:1]
        ways = pairings(("grpc", "websocket"))
        return [Cell(subject, way, message) for subject in ours for way in ways for message in ("offer", "candidate")]

    def _cpu_cells(self) -> list[Cell]:
        """Returns what is measured of CPU: each message, number in flight, server and pairing."""
        return [
            Cell(subject, way, message, in_flight)
            for message in ("offer", "candidate", "call")
            for in_flight in self.profile.in_flight
            for subject in self.subjects
            if message == "offer" or not subject.offers_only
            for way in subject.pairings
        ]

    def _latency_cells(self) -> list[Cell]:
        """Returns what is measured of latency: each rate, server and pairing."""
        return [
            Cell(subject, way, "call", rate)
            for rate in self.profile.rates
            for subject in self._talkers()
            for way in subject.pairings
        ]

    def _ceiling_cells(self) -> list[Cell]:
        return [Cell(subject, way, "call") for subject in self._talkers() for way in self._ways(subject)]

    def _session_cells(self) -> list[Cell]:
        """Returns what is measured of sessions: each server, protocol and kind of headers."""
        return [
            Cell(subject, protocol, headers)
            for subject in self.subjects
            for protocol in subject.protocols
            for headers in self._headers(subject, protocol)
            # The floor has no sessions; WebSocket of our other engine is the first one's.
            if protocol != "tcp" and not (subject.name == "sigbridge-grpcio" and protocol == "websocket")
        ]

    def _headers(self, subject: Subject, protocol: Protocol) -> tuple[Client | Literal[""], ...]:
        """Returns the kinds of headers that begin calls: all for the first server, the usual one for others."""
        if protocol != "grpc":
            return ("",)
        return CLIENTS if self._is_main(subject) else (USUAL,)

    def _join_cells(self) -> list[Cell]:
        """Returns what is measured of joining: each main server and protocol, and the floor."""
        return [
            Cell(subject, protocol)
            for subject in self.subjects
            if subject.name == "tcp" or self._is_main(subject)
            for protocol in subject.protocols
        ]

    def _storm_cells(self) -> list[Cell]:
        # Over a server that somebody uses, none is raised.
        ours = [subject for subject in self.subjects if subject.name == "sigbridge" and subject.command]
        return [Cell(subject, protocol) for subject in ours for protocol in subject.protocols]

    def _call_cells(self) -> list[Cell]:
        return [Cell(subject, way) for subject in self._talkers() for way in self._ways(subject)]

    def _disturbed_cells(self) -> list[Cell]:
        """Returns what is measured beside clients that misbehave: each server, pairing and kind of misbehaviour."""
        return [
            Cell(subject, way, by, self.profile.disturbed_rate)
            for subject in self.subjects
            if self._is_main(subject) and "grpc" in subject.protocols
            for way in subject.pairings
            if _is_unmixed(way)
            for by in measurements.DISTURBERS
            if by not in ("batch", "listing") or "websocket" in subject.protocols
        ]

    def _stall_cells(self) -> list[Cell]:
        """Returns what is measured beside peers that do not read.

        It is each main server that speaks both protocols, with each kind of listeners.
        """
        return [
            Cell(subject, "grpc-websocket", listeners, self.profile.disturbed_rate)
            for subject in self.subjects
            if self._is_main(subject) and {"grpc", "websocket"} <= set(subject.protocols)
            for listeners in measurements.LISTENERS
        ]

    # How each is measured.

    def _mark(self, cell: Cell, number: int) -> Mark:
        return {"run": self.run, "server": cell.subject.name, "round": number}

    def _start(self, stack: ExitStack, subject: Subject) -> Server:
        """Starts a server until the stack ends, or returns the one that was already running."""
        if subject.command:
            return stack.enter_context(StartedServer(subject, self.cores.server))
        assert self.attached is not None
        return self.attached

    def _started(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> tuple[Load, dict[str, Server]]:
        """Starts the load and every server of these cells; returns the load, and the servers by name."""
        servers: dict[str, Server] = {}
        for cell in cells:
            if cell.subject.name not in servers:
                say(f"starting {cell.subject.name}")
                servers[cell.subject.name] = self._start(stack, cell.subject)
        return stack.enter_context(Load(self.cores.load, polling=self.cores.load is not None)), servers

    def _connected(
        self, stack: ExitStack, cells: Sequence[Cell], say: Say
    ) -> tuple[Load, dict[str, Server], dict[tuple[str, str], Pairs]]:
        """Starts load and servers, and connects pairs for each pairing of each server; returns all three."""
        load, servers = self._started(stack, cells, say)
        pairs: dict[tuple[str, str], Pairs] = {}
        for cell in cells:
            key = cell.subject.name, cell.way
            if key not in pairs:
                with _naming(cell, servers[cell.subject.name]):
                    pairs[key] = Pairs(load, servers[cell.subject.name], cell.way, self.profile.pairs)
                    pairs[key].connect()
        return load, servers, pairs

    def _warmed(
        self, pairs: Mapping[tuple[str, str], Pairs], servers: Mapping[str, Server], cells: Sequence[Cell], say: Say
    ) -> None:
        """Lets each pairing of each server relay messages, so that nothing is done for the first time later."""
        for cell in dict.fromkeys(cell._replace(setting=0.0) for cell in cells):
            say(f"warming up {cell}")
            with _naming(cell, servers[cell.subject.name]):
                for in_flight in (1, 8):
                    pairs[cell.subject.name, cell.way].run(_message(cell), in_flight, self.profile.warm_up // 2)

    def _echo(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of how much the load itself can do."""
        _, servers, pairs = self._connected(stack, cells, say)

        def measure(cell: Cell, number: int) -> Record:
            with _naming(cell, servers["echo"]):
                return measurements.echo(pairs["echo", "tcp-tcp"], self._mark(cell, number), 10 * self.profile.messages)

        return measure

    def _without_io(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of the CPU per relay without I/O."""

        def measure(cell: Cell, number: int) -> Record:
            """Measures one cell once."""
            message = cast(Literal["offer", "candidate"], cell.message)
            return measurements.without_io(
                self.cores.server, self._mark(cell, number), cell.way, message, self.profile.without_io
            )

        return measure

    def _on_pairs(
        self,
        stack: ExitStack,
        cells: Sequence[Cell],
        say: Say,
        take: Callable[[Cell, Pairs, Server, Mark], Record],
    ) -> Measure:
        """Connects and warms up pairs, and returns a measure that has `take` make a record between them."""
        _, servers, pairs = self._connected(stack, cells, say)
        self._warmed(pairs, servers, cells, say)

        def measure(cell: Cell, number: int) -> Record:
            server = servers[cell.subject.name]
            with _naming(cell, server):
                return take(cell, pairs[server.name, cell.way], server, self._mark(cell, number))

        return measure

    def _cpu(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of CPU per relay."""

        def take(cell: Cell, pairs: Pairs, server: Server, mark: Mark) -> Record:
            return measurements.cpu(pairs, server, mark, _message(cell), int(cell.setting), self.profile.messages)

        return self._on_pairs(stack, cells, say, take)

    def _latency(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of latency against rate."""

        def take(cell: Cell, pairs: Pairs, _: Server, mark: Mark) -> Record:
            return measurements.latency(pairs, mark, _message(cell), cell.setting, self.profile.pace_seconds)

        return self._on_pairs(stack, cells, say, take)

    def _ceiling(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the search for the highest rate that keeps latency below a limit."""

        def take(cell: Cell, pairs: Pairs, _: Server, mark: Mark) -> Record:
            """Measures one cell once."""
            return measurements.ceiling(
                pairs,
                mark,
                _message(cell),
                first=self.profile.ceiling_from,
                most=self.profile.ceiling_most,
                bisections=self.profile.bisections,
                seconds=self.profile.ceiling_seconds,
            )

        return self._on_pairs(stack, cells, say, take)

    def _sessions(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of sessions, each at a new server."""

        # A process that has had sessions before has memory to spare for others.
        def take(cell: Cell, load: Load, server: Server, mark: Mark) -> Record:
            way, headers = cast(Protocol, cell.way), cast(Client, cell.message or USUAL)
            return measurements.sessions(load, server, mark, way, self.profile.sessions, headers)

        return self._on_new_servers(say, take)

    def _join(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of joining a full room: starts servers, and fills a room of each."""
        load, servers = self._started(stack, cells, say)
        crowds: dict[Cell, Crowd] = {}
        for cell in cells:
            say(f"filling a room of {cell}")
            server = servers[cell.subject.name]
            with _naming(cell, server):
                crowds[cell] = Crowd(load, server, cast(Protocol, cell.way), self.profile.room)

        def measure(cell: Cell, number: int) -> Record:
            with _naming(cell, servers[cell.subject.name]):
                return crowds[cell].join(self._mark(cell, number))

        return measure

    def _storm(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of a storm of connections, each at a new server."""

        # As after a restart: nothing is left of others.
        def take(cell: Cell, load: Load, server: Server, mark: Mark) -> Record:
            profile = self.profile
            return measurements.storm(load, server, mark, cast(Protocol, cell.way), profile.storm, profile.storm_rate)

        return self._on_new_servers(say, take)

    def _on_new_servers(self, say: Say, take: Callable[[Cell, Load, Server, Mark], Record]) -> Measure:
        """Returns a measure that starts a server and a load of its own for each cell."""

        def measure(cell: Cell, number: int) -> Record:
            """Measures one cell once, at a server started for it."""
            with ExitStack() as own:
                load, servers = self._started(own, [cell], say)
                server = servers[cell.subject.name]
                with _naming(cell, server):
                    return take(cell, load, server, self._mark(cell, number))

        return measure

    def _calls(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement of whole calls: starts servers, and warms up a pair at each."""
        load, servers = self._started(stack, cells, say)
        pairs: dict[Cell, Pairs] = {}
        for cell in cells:
            say(f"warming up {cell}")
            server = servers[cell.subject.name]
            with _naming(cell, server):
                pairs[cell] = Pairs(load, server, cell.way, 1)
                measurements.whole_call(load, pairs[cell], self._mark(cell, 0), self.profile.calls)

        def measure(cell: Cell, number: int) -> Record:
            with _naming(cell, servers[cell.subject.name]):
                return measurements.whole_call(load, pairs[cell], self._mark(cell, number), self.profile.calls)

        return measure

    def _disturbance(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement beside clients that misbehave: connects pairs, and fills rooms with the clients."""
        load, servers, pairs = self._connected(stack, cells, say)
        self._warmed(pairs, servers, cells, say)
        attackers: dict[str, Attackers] = {}
        for name, server in servers.items():
            say(f"filling rooms of {name}")
            attackers[name] = Attackers(load, server, self.profile.room)

        def measure(cell: Cell, number: int) -> Record:
            """Measures one cell once."""
            server = servers[cell.subject.name]
            with _naming(cell, server):
                return measurements.disturbance(
                    pairs[server.name, cell.way],
                    self._mark(cell, number),
                    cast(Disturber, cell.message),
                    attackers[server.name],
                    cell.setting,
                    self.profile.pace_seconds,
                )

        return measure

    def _stall(self, stack: ExitStack, cells: Sequence[Cell], say: Say) -> Measure:
        """Begins the measurement beside peers that do not read: starts servers, connects and warms up pairs."""
        load, servers = self._started(stack, cells, say)
        pairs: dict[str, Pairs] = {}
        for cell in dict.fromkeys(cell._replace(message="") for cell in cells):
            server = servers[cell.subject.name]
            say(f"connecting and warming up {cell}")
            with _naming(cell, server):
                pairs[server.name] = Pairs(load, server, cell.way, self.profile.mixed_pairs)
                pairs[server.name].connect()
                pairs[server.name].run("call", 1, 2 * self.profile.warm_up)

        def measure(cell: Cell, number: int) -> Record:
            """Measures one cell once."""
            server = servers[cell.subject.name]
            with _naming(cell, server):
                return measurements.stall(
                    pairs[server.name],
                    load,
                    server,
                    self._mark(cell, number),
                    cast(Listeners, cell.message),
                    cell.setting,
                    2 * self.profile.pace_seconds,
                )

        return measure


@contextmanager
def _naming(cell: Cell, server: Server) -> Iterator[None]:
    """Adds to a LoadError raised within the cell it belongs to, and whether its server has ended."""
    try:
        yield
    except LoadError as error:
        ended = server.ended()
        raise LoadError(f"{cell}: {error}{f'; {ended}' if ended else ''}") from None


def _is_unmixed(way: str) -> bool:
    """Returns whether both peers of a pairing have one protocol."""
    return len(set(way.split("-"))) == 1


def _message(cell: Cell) -> Message:
    return cast(Message, cell.message) if cell.message in ("offer", "candidate", "call") else "call"


def begin(
    bench: Bench, left_out: Sequence[str], options: Mapping[str, str | int | float | bool | None | list[str]]
) -> Run:
    """Returns the heading of a run's records: when, of which commit, where, with which options."""
    return Run(
        run=bench.run,
        commit=commit(),
        machine=machine(bench.cores),
        versions=versions(subject.name for subject in bench.subjects),
        options=dict(options),
        left_out=list(left_out),
    )


def write(bench: Bench, head: Run, phases: Sequence[Phase], output: Path) -> list[Record]:
    """Measures, and appends every record to a file as it is made; returns them."""
    allow_files()
    append(output, head)
    made: list[Record] = [head]
    for record in bench.records(phases):
        append(output, record)
        made.append(record)
    return made


def now() -> str:
    """Returns the moment at which a run begins: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def most_sessions() -> int:
    """Returns the number of sessions that a server started here may have at once, by its limit of open files."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_FILES


def allow_files() -> None:
    """Lets those that are started here have as many files open as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
