"""Two installed builds beside each other: `sigbridge bench pair A B`.

Runs of the benchmark that follow each other cannot tell small changes: the machine itself moves more from one to the
next. Here both builds serve at the same time on one core, the load on another, and slices of load alternate between
them: some thousand messages to A and right after as many to B, then first B and then A, so that whatever drifts
cancels. What is kept is each pair's ratio; `pair_statistics` says how these become one, and its interval.

Rule 1: a build is a black box: `bin/sigbridge serve` of its environment, settings in the environment variables, and
both protocols; so older and newer builds can be compared. Rule 2: both are restarted for every generation, at once and
in alternating order, with one hash seed, another in each generation. Rule 3: only one of both is loaded at any moment,
and its CPU time is read from the kernel when it rests, before and after. Rule 4: whatever goes wrong in a slice ends
the run; no slice is repeated or left out.
"""

import math
import os
import secrets
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast

import msgspec

from sigbridge_bench.errors import BenchError
from sigbridge_bench.figures import NOTHING, RANGE, number, plain, session_text, way_text
from sigbridge_bench.header_blocks import CLIENTS, USUAL, Client
from sigbridge_bench.load import MOST_CONNECTIONS, Endpoint, Load, LoadError
from sigbridge_bench.machine import Cores, machine
from sigbridge_bench.measurements import Pairs
from sigbridge_bench.pair_statistics import CONFIDENCE, Estimate, Generations, Pair, estimate, overall
from sigbridge_bench.payloads import hello
from sigbridge_bench.progress import Progress
from sigbridge_bench.records import Protocol
from sigbridge_bench.report import Table, terminal_table, terminal_text
from sigbridge_bench.run import allow_files, most_sessions, now
from sigbridge_bench.servers import Server, StartedServer, Subject, pairings, sigbridge_subject

Engine = Literal["native", "grpcio"]
Name = Literal["A", "B"]
What = Literal["relays", "setup", "memory"]

ENGINES: tuple[Engine, ...] = ("native", "grpcio")
WHATS: tuple[What, ...] = ("relays", "setup", "memory")
PAIRINGS = pairings(("grpc", "websocket"))
MESSAGES: tuple[Literal["offer", "candidate"], ...] = ("offer", "candidate")
IN_FLIGHT = (1, 8)
"""Messages that each pair of peers has under way: one, and bursts."""
PEER_PAIRS = 8


class Opening(NamedTuple):
    """A way of opening sessions."""

    protocol: Protocol
    headers: Client | Literal[""] = ""
    """Whose headers begin a call of gRPC."""

    def __str__(self) -> str:
        return session_text(self.protocol, self.headers)

    def figure(self, what: What, of: str = "") -> "Figure":
        """Returns a figure of sessions that are opened so."""
        return Figure(what, self.protocol, of, headers=self.headers)


SLICES, TOGETHER = "by slice", "all together"
"""Of sessions that are set up: slices in pairs, or all of a generation at once, collections of garbage included."""

GOOD_HALF_WIDTH = 0.02
"""A relay whose interval is wider than this to both sides, as a share of the ratio, is pointed out."""

REST_SECONDS = 0.0003
"""A server whose CPU clock stands still for so long has done what it was asked for."""
REST_LIMIT_SECONDS = 10.0
VERSION_SECONDS = 60.0


class Build(NamedTuple):
    """An installed build."""

    environment: str
    """The virtual environment, as it was given."""
    version: str
    """The line that its `sigbridge version` prints."""
    python: str

    @property
    def program(self) -> Path:
        """The command of that environment."""
        return Path(self.environment).absolute() / "bin" / "sigbridge"

    def __str__(self) -> str:
        compiled = "" if "(compiled)" in self.version else ", not compiled"
        return f"{self.environment}: {self.version}{compiled}, {self.python or 'Python unknown'}"


def build_at(environment: str) -> Build:
    """The build in a virtual environment; raises BenchError where there is none that says its version."""
    build = Build(environment, "", "")
    if not build.program.is_file():
        raise BenchError(f"{environment} is no environment with sigbridge: it has no bin/sigbridge")
    version = _said(str(build.program), "version")
    if not version.startswith("sigbridge "):
        raise BenchError(f"{environment} is no environment with sigbridge: its `sigbridge version` does not say one")
    return Build(environment, version, _said(str(build.program.with_name("python")), "--version"))


def _said(*command: str) -> str:
    """The first line that a command prints; empty where it fails."""
    environ = {**os.environ, **dict(_ALONE)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=False,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


# An environment has its own packages, and not those of whoever measures it.
_ALONE = (("PYTHONPATH", ""), ("PYTHONHOME", ""))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The figures of a run, and how often each is measured."""

    generations: int = 12
    rounds: int = 8
    """Pairs of slices of each figure in a generation."""
    messages: int = 2000
    """Of a slice, about: each pair of peers sends as many as all others."""
    sessions: int = 1000
    """Opened in each way with each build in a generation; in slices, as many as there are rounds."""
    engine: Engine = "native"
    only: Sequence[What] = WHATS
    ways: Sequence[str] = PAIRINGS

    @property
    def warm_up(self) -> int:
        """Messages of each figure before anything counts."""
        return self.messages * 3 // 4

    @property
    def figures(self) -> "list[Figure]":
        """Everything that is measured, in the table's order."""
        found = [
            Figure("relays", way, message, in_flight)
            for message in MESSAGES
            for in_flight in IN_FLIGHT
            for way in self.ways
            if "relays" in self.only
        ]
        found += [opening.figure("setup", of) for opening in self.closed for of in (SLICES, TOGETHER)]
        found += [opening.figure("memory") for opening in self.kept]
        return found

    @property
    def kept(self) -> Sequence[Opening]:
        """The ways of opening the sessions that stay; they show what memory a session takes."""
        return self._openings((USUAL,)) if "memory" in self.only else []

    @property
    def closed(self) -> Sequence[Opening]:
        """The ways of opening the sessions whose set-up is measured; they are closed after that."""
        return self._openings(CLIENTS) if "setup" in self.only else []

    def _openings(self, clients: Sequence[Client]) -> Sequence[Opening]:
        """Over gRPC with these clients' headers; and over WebSocket, which is the same with either engine."""
        openings = [Opening("grpc", client) for client in clients]
        return openings if self.engine == "grpcio" else [*openings, Opening("websocket")]

    @property
    def slice_sessions(self) -> int:
        """Sessions that are opened in a slice."""
        return max(1, self.sessions // self.rounds)

    @property
    def first_sessions(self) -> int:
        """Sessions that are opened before those that count, so that these meet a server that has some."""
        return self.slice_sessions * self.rounds // 2

    @property
    def all_sessions(self) -> int:
        """Sessions that are opened in one way with one build."""
        return self.first_sessions + self.slice_sessions * self.rounds

    @property
    def connections(self) -> int:
        """Sessions that the load opens in a generation."""
        return 2 * self.all_sessions * len([*self.kept, *self.closed])

    @property
    def most_at_once(self) -> int:
        """Sessions that are open at once."""
        return 2 * self.all_sessions * len([*self.kept, *self.closed[:1]])


def planned(engine: Engine, *, quick: bool) -> Plan:
    """All figures that an engine has: some minutes of them, or a first look."""
    plan = Plan(generations=4, rounds=4, messages=1000, sessions=400) if quick else Plan()
    if engine == "native":
        return plan
    # A message costs grpcio several times as much. From WebSocket to WebSocket both engines are one program.
    ways = tuple(way for way in PAIRINGS if "grpc" in way)
    return replace(plan, engine=engine, messages=plan.messages // 2, ways=ways)


class Figure(NamedTuple):
    """One thing that is measured of both builds."""

    what: What
    way: str
    """A pairing, the sender's protocol first; or one protocol."""
    of: str = ""
    """A relay's message; of set-ups, how they are put together."""
    in_flight: int = 0
    headers: Client | Literal[""] = ""
    """Whose headers begin a call; of sessions of gRPC."""

    def __str__(self) -> str:
        words = (
            f"{self.what} {session_text(self.way, self.headers)}",
            self.of,
            f"{self.in_flight} in flight" if self.in_flight else "",
        )
        return ", ".join(word for word in words if word)


Samples = Mapping[Figure, list[list[Pair]]]
"""The pairs of each figure, by generation; CPU seconds of a message or a session, or bytes of a session."""


# Measuring.


@dataclass(kw_only=True)
class Comparison:
    """Two builds and where they are measured."""

    builds: Mapping[Name, Build]
    plan: Plan
    cores: Cores = field(default_factory=Cores.chosen)
    began: str = field(default_factory=now)

    def check(self) -> None:
        """Raises BenchError where this machine cannot measure it."""
        if self.cores.server is None:
            raise BenchError("both servers need one core and the load another, and there is only one")
        plan = self.plan
        for sessions, most, why in (
            (plan.most_at_once, most_sessions(), "files may be open (ulimit -Hn)"),
            (plan.connections, MOST_CONNECTIONS, "connections are made by the load in a generation"),
        ):
            if sessions > most:
                raise BenchError(f"{sessions} sessions are wanted, and only {most} {why}: take fewer with --sessions")

    def measure(self) -> Samples:
        """Every pair of every generation. Raises LoadError where something goes wrong on the way."""
        allow_files()
        samples: dict[Figure, list[list[Pair]]] = {figure: [] for figure in self.plan.figures}
        progress = Progress(self.plan.generations * len(self.plan.figures))
        try:
            for at in range(self.plan.generations):
                progress.say(f"generation {at + 1} of {self.plan.generations}")
                with ExitStack() as stack:
                    taken = _Generation(stack, self, at).pairs()
                for figure, of in samples.items():
                    of.append(taken[figure])
                progress.step(len(samples))
        finally:
            progress.end()
        return samples

    def subject(self, name: Name, generation: int) -> Subject:
        """A build as the benchmark starts servers; its hash seed is the generation's."""
        command = (str(self.builds[name].program), "serve")
        subject = sigbridge_subject(name, self.plan.engine, command)
        seed = ("PYTHONHASHSEED", str(generation + 1))
        return subject._replace(environment=(*subject.environment, *_ALONE, seed))


class _Generation:
    """Both builds, newly started, with a load of their own; they end with the stack."""

    def __init__(self, stack: ExitStack, comparison: Comparison, at: int) -> None:
        self._plan = comparison.plan
        self._at = at
        cores = comparison.cores
        self._servers: dict[Name, Server] = {
            name: stack.enter_context(StartedServer(comparison.subject(name, at), cores.server))
            for name in self._order(0)
        }
        self._load = stack.enter_context(Load(cores.load, polling=True))
        self._pairs: dict[Figure, list[Pair]] = {figure: [] for figure in comparison.plan.figures}

    def pairs(self) -> Mapping[Figure, list[Pair]]:
        """The pairs of every figure. Raises LoadError; its text says of what and of which build."""
        # Relays come first: sessions whose memory is measured are left open, since those that close leave gaps for the
        # next to fill. Others come last.
        relays = [figure for figure in self._pairs if figure.what == "relays"]
        if relays:
            self._relays(relays)
        for opening in _alternating(self._plan.kept, self._at):
            self._memory(opening)
        # Another comes first in each generation, so that each row meets servers of all ages.
        openings = self._plan.closed
        first = self._at % len(openings) if openings else 0
        for opening in (*openings[first:], *openings[:first]):
            self._set_up(opening)
        return self._pairs

    def _relays(self, figures: Sequence[Figure]) -> None:
        plan = self._plan
        peers: dict[tuple[Name, str], Pairs] = {}
        for way in dict.fromkeys(figure.way for figure in figures):
            for name in self._order(0):
                with self._said_of(name, f"connecting {way_text(way)}"):
                    peers[name, way] = Pairs(self._load, self._servers[name], way, PEER_PAIRS)
                    peers[name, way].connect()
        for figure in figures:
            for name in self._order(0):
                with self._said_of(name, f"warming up {figure}"):
                    _relay(peers[name, figure.way], figure, plan.warm_up)
        for turn in range(plan.rounds):
            for figure in figures:
                cost: dict[Name, float] = {}
                for name in self._order(turn):
                    with self._said_of(name, str(figure)):
                        before = _rested_cpu(self._servers[name])
                        count = _relay(peers[name, figure.way], figure, plan.messages)
                        cost[name] = _cpu_since(before, self._servers[name]) / count
                self._pairs[figure].append(Pair(cost["A"], cost["B"]))

    def _memory(self, opening: Opening) -> None:
        """Open sessions, and leave them open: what each costs in memory."""
        counted = self._plan.slice_sessions * self._plan.rounds
        sessions = self._first_sessions(opening)
        grown: dict[Name, float] = {}
        for name in self._order(0):
            with self._said_of(name, str(opening.figure("memory"))):
                before = _rested_memory(self._servers[name])
                sessions[name].open(counted)
                grown[name] = (_rested_memory(self._servers[name]) - before) / counted
                if grown[name] <= 0:
                    raise LoadError(f"{counted} sessions made it no larger: take more by --sessions")
        self._pairs[opening.figure("memory")] = [Pair(grown["A"], grown["B"])]

    def _set_up(self, opening: Opening) -> None:
        """Open sessions in slices: what each costs to set up. Then all of them are closed."""
        plan = self._plan
        setup, together = (opening.figure("setup", of) for of in (SLICES, TOGETHER))
        sessions = self._first_sessions(opening)
        for turn in range(plan.rounds):
            cost: dict[Name, float] = {}
            for name in self._order(turn):
                with self._said_of(name, str(setup)):
                    before = _rested_cpu(self._servers[name])
                    sessions[name].open(plan.slice_sessions)
                    cost[name] = _cpu_since(before, self._servers[name]) / plan.slice_sessions
            self._pairs[setup].append(Pair(cost["A"], cost["B"]))
        means = (statistics.fmean(values) for values in zip(*self._pairs[setup], strict=True))
        self._pairs[together].append(Pair(*means))
        for name in self._order(0):
            with self._said_of(name, f"closing sessions, {opening}"):
                sessions[name].close()

    def _first_sessions(self, opening: Opening) -> "Mapping[Name, _Sessions]":
        """Sessions of both builds, of which those are open that do not count."""
        sessions: dict[Name, _Sessions] = {}
        for name in self._order(0):
            with self._said_of(name, f"first sessions, {opening}"):
                endpoint = self._servers[name].endpoints[opening.protocol]._replace(client=opening.headers or USUAL)
                sessions[name] = _Sessions(self._load, endpoint, self._plan.all_sessions)
                sessions[name].open(self._plan.first_sessions)
        return sessions

    def _order(self, turn: int) -> Sequence[Name]:
        """Returns both names; the first alternates with the turns, and with the generations."""
        return _alternating(("A", "B"), turn + self._at)

    @contextmanager
    def _said_of(self, name: Name, doing: str) -> Iterator[None]:
        """Says of what goes wrong which build did what, and whether its server is still there."""
        try:
            yield
        except (LoadError, OSError) as error:
            ended = self._servers[name].ended()
            raise LoadError(f"{name}: {doing}: {error}{f'; {ended}' if ended else ''}") from None


class _Sessions:
    """Sessions of one protocol, a room each, that are opened bit by bit."""

    def __init__(self, load: Load, endpoint: Endpoint, count: int) -> None:
        rooms = [secrets.token_hex(6) for _ in range(count)]
        self._load = load
        self._first, *_ = [load.open(endpoint, hello(endpoint.kind, f"{room}-a", room)) for room in rooms]
        self._next = self._first

    def open(self, count: int) -> None:
        """Connect and announce so many more, one after the other: many at once are served in batches that vary."""
        self._load.setup(self._next, count, at_once=1)
        self._next += count

    def close(self) -> None:
        """Close those that are open."""
        self._load.close(self._first, self._next - self._first)


def _relay(peers: Pairs, figure: Figure, messages: int) -> int:
    """Let so many messages through, or a few more; returns how many. Raises LoadError where some are missing."""
    message = cast(Literal["offer", "candidate"], figure.of)
    relayed = peers.run(message, figure.in_flight, messages).messages
    sent = peers.count * peers.steps(message, messages)
    if relayed != sent:
        raise LoadError(f"{sent} messages were sent and {relayed} relayed")
    return relayed


_T = TypeVar("_T")


def _alternating(of: "Sequence[_T]", turn: int) -> "Sequence[_T]":
    return of[::-1] if turn % 2 else of


def _rested_cpu(server: Server) -> float:
    """CPU seconds of a server so far, once it does nothing. Raises LoadError where it never rests.

    What it does after its last answer belongs to the slice, and the kernel accounts for it when it sleeps.
    """
    give_up = time.monotonic() + REST_LIMIT_SECONDS
    seen = server.cpu()
    while time.monotonic() < give_up:
        time.sleep(REST_SECONDS)
        later = server.cpu()
        if later == seen and later is not None:
            return later
        seen = later
    raise LoadError(f"it works on for {REST_LIMIT_SECONDS:g} s after all was answered")


def _cpu_since(before: float, server: Server) -> float:
    """CPU seconds since then. Raises LoadError where there are none: a slice is work."""
    cost = _rested_cpu(server) - before
    if cost <= 0:
        raise LoadError("the kernel says that it took no time")
    return cost


def _rested_memory(server: Server) -> int:
    """Resident bytes of a server, once it does nothing."""
    _rested_cpu(server)
    return server.resident() or 0


# What came of it.


def estimates(samples: Samples) -> dict[Figure, Estimate]:
    """Each figure's ratio and interval; raises ValueError for fewer than two generations."""
    return {figure: estimate(generations) for figure, generations in samples.items()}


def slower(found: Mapping[Figure, Estimate], limit_percent: float) -> list[Figure]:
    """The relays that are slower in B by more than that: their whole interval lies above it."""
    return [figure for figure, of in found.items() if figure.what == "relays" and of.low > 1 + limit_percent / 100]


def heading(comparison: Comparison) -> str:
    """Returns the lines above the tables: the builds, and how they are measured."""
    plan, cores = comparison.plan, comparison.cores
    lines = [f"{name}: {build}" for name, build in comparison.builds.items()]
    slices = [f"{plain(plan.messages)} messages"] if "relays" in plan.only else []
    slices += [f"{plain(plan.slice_sessions)} sessions"] if {"setup", "memory"} & set(plan.only) else []
    lines += [
        f"engine {plan.engine}; both servers on core {cores.server}, the load on core {cores.load}",
        f"{plan.generations} generations of {plan.rounds} pairs; a slice is {' or '.join(slices)}",
    ]
    return "\n".join(lines)


_UNITS: Mapping[What, tuple[str, str, float]] = {
    "relays": ("server CPU per relay", "µs", 1e6),
    "setup": ("server CPU per session set up", "µs", 1e6),
    "memory": ("memory per idle session", "KiB", 1 / 1024),
}


def tables(samples: Samples, found: Mapping[Figure, Estimate]) -> str:
    """The tables of a comparison, in at most 120 columns, and how they are read."""
    parts = []
    for what, (title, unit, scale) in _UNITS.items():
        figures = [figure for figure in found if figure.what == what]
        if not figures:
            continue
        rows = [[*_words(figure), *_numbers(found[figure], scale)] for figure in figures]
        words = {"relays": ["message", "in flight", "pairing"], "setup": ["protocol", "set-ups"]}.get(
            what, ["protocol"]
        )
        if what == "relays" and len(figures) > 1:
            together: Sequence[Generations] = [samples[figure] for figure in figures]
            of = overall(together)
            rows.append(["all", "", "", NOTHING, NOTHING, *_numbers(of, scale)[2:]])
        head = [
            *words,
            f"A, {unit}",
            f"B, {unit}",
            "ratio B/A",
            f"{CONFIDENCE:.0%} interval".replace("%", " %"),
            "pairs",
        ]
        parts.append(terminal_table(Table(f"{title}, {unit}", head, len(words), rows)))
    return "\n\n".join([*parts, *map(terminal_text, _explained(found))]) + "\n"


def _words(figure: Figure) -> list[str]:
    if figure.what == "relays":
        return [figure.of, str(figure.in_flight), way_text(figure.way)]
    way = session_text(figure.way, figure.headers)
    return [way, figure.of] if figure.of else [way]


def _numbers(of: Estimate, scale: float) -> list[str]:
    interval = f"{of.low:.3f}{RANGE}{of.high:.3f}"
    return [number(of.a * scale), number(of.b * scale), f"{of.ratio:.3f}", interval, str(of.pairs)]


_METHOD = """\
A and B are medians over all slices. The ratio is the median of the pairs' ratios in each generation, and of these the
geometric mean; its interval is Student's over the generations, and so holds what differs from one start of a build to
the next."""


def _explained(found: Mapping[Figure, Estimate]) -> list[str]:
    """Returns paragraphs: how the intervals are made, and how good those of the relays are."""
    said = [_METHOD]
    relays = [of for figure, of in found.items() if figure.what == "relays"]
    if relays:
        widest = max(of.half_width for of in relays)
        text = f"The widest interval of a relay is {_plus_minus(widest)}"
        wide = sum(of.half_width > GOOD_HALF_WIDTH for of in relays)
        if wide:
            text += (
                f"; {wide} of {len(relays)} are wider than {_plus_minus(GOOD_HALF_WIDTH)}: the machine was busy, or "
                "more generations are needed"
            )
        said.append(f"{text}.")
    return said


def _plus_minus(half_width: float) -> str:
    return f"±{math.ceil(half_width * 1000) / 10:.1f} %"


# What is kept.


class PairRun(msgspec.Struct, tag_field="kind", tag="pair", kw_only=True, frozen=True):
    """Two builds were compared: which, where, and how much was asked for."""

    run: str
    """The time at which it began, ISO 8601 in UTC; its figures have the same."""
    builds: dict[str, str]
    """Environment and version of `A` and `B`."""
    machine: dict[str, str]
    engine: Engine
    generations: int
    rounds: int
    messages: int
    sessions: int


class Paired(msgspec.Struct, tag_field="kind", tag="paired", kw_only=True, frozen=True):
    """One figure of both builds; CPU seconds of a relay or a set-up, or bytes of a session."""

    run: str
    what: What
    way: str
    of: str
    in_flight: int
    headers: str = ""
    """Whose headers begin a call of gRPC, of sessions."""
    a: float
    b: float
    ratio: float
    low: float
    high: float
    generations: list[list[Pair]]
    """Every pair that was measured, by generation: A and B."""


def records(comparison: Comparison, samples: Samples, found: Mapping[Figure, Estimate]) -> Iterable[PairRun | Paired]:
    """Yields the lines that a file keeps of a comparison, each a JSON object."""
    plan, run = comparison.plan, comparison.began
    yield PairRun(
        run=run,
        builds={name: str(build) for name, build in comparison.builds.items()},
        machine=machine(comparison.cores),
        engine=plan.engine,
        generations=plan.generations,
        rounds=plan.rounds,
        messages=plan.messages,
        sessions=plan.sessions,
    )
    for figure, of in found.items():
        yield Paired(
            run=run,
            what=figure.what,
            way=figure.way,
            of=figure.of,
            in_flight=figure.in_flight,
            headers=figure.headers,
            a=of.a,
            b=of.b,
            ratio=of.ratio,
            low=of.low,
            high=of.high,
            generations=samples[figure],
        )


def keep(file: Path, lines: Iterable[PairRun | Paired]) -> None:
    """Append what is kept to a file. Raises OSError."""
    with file.open("ab") as stream:
        for line in lines:
            stream.write(msgspec.json.encode(line) + b"\n")
