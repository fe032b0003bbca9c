"""Two installed builds beside each other: `sigbridge bench pair A B`.

Runs of the benchmark that follow each other cannot tell small changes: the machine itself moves more from one to the
next. Here both builds serve at the same time on one core, the load on another, and slices of load alternate between
them: some thousand messages to A and right after as many to B, then first B and then A, so that whatever drifts
cancels. What is kept is each pair's ratio; `pair_statistics` says how these become one, and its interval.

Rule 1: a build is a black box: `bin/sigbridge serve` of its environment, settings in the environment variables, and
both protocols; so older and newer builds can be compared, and one build with itself under another setting. Rule 2: both
are restarted for every generation, at once and in alternating order, with one hash seed, another in each generation.
Rule 3: only one of both is loaded at any moment, and its CPU time is read from the kernel when it rests, before and
after. Rule 4: whatever goes wrong in a slice ends the run; no slice is repeated or left out.
"""

import secrets
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar, cast

from sigbridge_bench.errors import BenchError
from sigbridge_bench.figures import way_text
from sigbridge_bench.header_blocks import USUAL
from sigbridge_bench.load import MOST_CONNECTIONS, Endpoint, Load, LoadError
from sigbridge_bench.machine import Cores
from sigbridge_bench.measurements import Pairs
from sigbridge_bench.pair_builds import ALONE, Build, Name
from sigbridge_bench.pair_plan import RETURNS, SLICES, TOGETHER, Figure, Opening, Plan
from sigbridge_bench.pair_statistics import Pair
from sigbridge_bench.payloads import hello
from sigbridge_bench.progress import Progress
from sigbridge_bench.run import allow_files, most_sessions, now
from sigbridge_bench.servers import Server, StartedServer, Subject, sigbridge_subject

PEER_PAIRS = 8

REST_SECONDS = 0.0003
"""A server whose CPU clock stands still for so long has done what it was asked for."""
REST_LIMIT_SECONDS = 10.0

Samples = Mapping[Figure, list[list[Pair]]]
"""The pairs of each figure, by generation; CPU seconds of a message or a session, or bytes of a session."""

_T = TypeVar("_T")


@dataclass(kw_only=True)
class Comparison:
    """Two builds and where they are measured."""

    builds: Mapping[Name, Build]
    variables: Mapping[Name, Mapping[str, str]] = field(default_factory=lambda: {"A": {}, "B": {}})
    """Environment variables that are set for the server of one build; they replace the benchmark's own."""
    tokens: tuple[str, ...] = ()
    """The tokens that sessions show in turn; none: as many as the benchmark makes for each server."""
    resumable: Collection[Name] = ()
    """The builds whose sessions ask to be resumable."""
    plan: Plan
    cores: Cores = field(default_factory=Cores.chosen)
    began: str = field(default_factory=now)

    def check(self) -> None:
        """Checks that the machine has the cores, open files and connections that the plan needs.

        :raises BenchError: if it has not
        """
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
        """Measures every generation; returns, for each figure, the pairs of slices of each generation.

        :raises LoadError: if a build or the load fails
        """
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
        """Returns how a build is started: its variables, and the hash seed of the generation."""
        command = (str(self.builds[name].program), "serve")
        subject = sigbridge_subject(name, self.plan.engine, command)
        seed = ("PYTHONHASHSEED", str(generation + 1))
        tokens = self.tokens or subject.tokens
        shared = ("GRPC_AUTH_TOKENS", ",".join(tokens))
        environment = (*subject.environment, *ALONE, seed, shared, *self.variables[name].items())
        return subject._replace(environment=environment, tokens=tokens, resumable=name in self.resumable)


class _Generation:
    """Both builds, newly started, with a load of their own; they end with the stack."""

    def __init__(self, stack: ExitStack, comparison: Comparison, at: int) -> None:
        """Starts both builds' servers and a load, until the stack ends."""
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
        """Returns the pairs of every figure.

        :raises LoadError: if a build fails; its text says in what, and which build.
        """
        # Relays come first: sessions whose memory is measured are left open, since those that close leave gaps for the
        # next to fill. Others come last.
        self._relays([figure for figure in self._pairs if figure.what == "relays"])
        for opening in _alternating(self._plan.kept, self._at):
            self._memory(opening)
        # Another comes first in each generation, so that each row meets servers of all ages.
        openings = self._plan.closed
        first = self._at % len(openings) if openings else 0
        for opening in (*openings[first:], *openings[:first]):
            self._set_up(opening)
        for opening in _alternating(self._plan.returning, self._at):
            self._return(opening)
        return self._pairs

    def _relays(self, figures: Sequence[Figure]) -> None:
        """Takes pairs of slices of messages, one of each figure in turn."""
        ways = dict.fromkeys(figure.way for figure in figures)
        peers = {way: self._on_both(f"connecting {way_text(way)}", partial(self._connected, way)) for way in ways}
        for figure in figures:
            warm_up = partial(_relay, peers[figure.way], figure, self._plan.warm_up)
            self._on_both(f"warming up {figure}", warm_up)
        for turn in range(self._plan.rounds):
            for figure in figures:
                self._pair_of_slices(turn, figure, partial(_relay, peers[figure.way], figure, self._plan.messages))

    def _memory(self, opening: Opening) -> None:
        """Opens sessions, and leaves them open: what each costs in memory."""
        figure = opening.figure("memory")
        counted = self._plan.slice_sessions * self._plan.rounds
        sessions = self._first_sessions(opening)

        def grow(name: Name) -> float:
            """Opens counted sessions at one server, and returns the bytes it grew by per session.

            :raises LoadError: if it did not grow
            """
            before = _rested_memory(self._servers[name])
            sessions[name].open(counted)
            grown = (_rested_memory(self._servers[name]) - before) / counted
            if grown <= 0:
                raise LoadError(f"{counted} sessions made it no larger: take more by --sessions")
            return grown

        grown = self._on_both(str(figure), grow)
        self._pairs[figure].append(Pair(grown["A"], grown["B"]))

    def _set_up(self, opening: Opening) -> None:
        """Opens sessions in slices: what each costs to set up. Then all of them are closed."""
        setup, together = (opening.figure("setup", of) for of in (SLICES, TOGETHER))
        sessions = self._first_sessions(opening)
        for turn in range(self._plan.rounds):
            self._pair_of_slices(turn, setup, lambda name: sessions[name].open(self._plan.slice_sessions))
        means = (statistics.fmean(values) for values in zip(*self._pairs[setup], strict=True))
        self._pairs[together].append(Pair(*means))
        self._on_both(f"closing sessions, {opening}", lambda name: sessions[name].close())

    def _return(self, opening: Opening) -> None:
        """Loses sessions and sets them up again, in slices: what each costs then. Resumable ones are resumed."""
        plan, figure, sessions = self._plan, opening.figure(RETURNS), self._first_sessions(opening)
        self._on_both(
            f"opening sessions, {opening}", lambda name: sessions[name].open(plan.slice_sessions * plan.rounds)
        )
        for turn in range(plan.rounds):
            begin = plan.first_sessions + turn * plan.slice_sessions
            self._on_both(f"losing sessions, {opening}", partial(_lose, sessions, begin, plan.slice_sessions))
            self._pair_of_slices(turn, figure, partial(_set_up_again, sessions, begin, plan.slice_sessions))
        self._on_both(f"closing sessions, {opening}", lambda name: sessions[name].close())

    def _connected(self, way: str, name: Name) -> Pairs:
        """Connects pairs of peers, announced to the server of one build."""
        peers = Pairs(self._load, self._servers[name], way, PEER_PAIRS)
        peers.connect()
        return peers

    def _first_sessions(self, opening: Opening) -> "Mapping[Name, _Sessions]":
        """Returns both builds' sessions, those open that do not count."""

        def first(name: Name) -> _Sessions:
            """Opens the first sessions at one server."""
            endpoint = self._servers[name].endpoints[opening.protocol]._replace(client=opening.headers or USUAL)
            sessions = _Sessions(self._load, endpoint, self._plan.all_sessions)
            sessions.open(self._plan.first_sessions)
            return sessions

        return self._on_both(f"first sessions, {opening}", first)

    def _pair_of_slices(self, turn: int, figure: Figure, work: Callable[[Name], int]) -> None:
        """Lets both builds do the same work, and appends what it cost each to the figure's pairs.

        The cost is CPU seconds, divided by the messages or sessions that `work` returns.
        """

        def cost(name: Name) -> float:
            before = _rested_cpu(self._servers[name])
            count = work(name)
            return _cpu_since(before, self._servers[name]) / count

        costs = self._on_both(str(figure), cost, turn)
        self._pairs[figure].append(Pair(costs["A"], costs["B"]))

    def _on_both(self, doing: str, do: Callable[[Name], _T], turn: int = 0) -> Mapping[Name, _T]:
        """Does the same with both builds, in the turn's order, and returns what came of it.

        :raises LoadError: if a build fails; its text says which, in what, and how its server has ended.
        """
        done: dict[Name, _T] = {}
        for name in self._order(turn):
            try:
                done[name] = do(name)
            except (LoadError, OSError) as error:
                ended = self._servers[name].ended()
                raise LoadError(f"{name}: {doing}: {error}{f'; {ended}' if ended else ''}") from None
        return done

    def _order(self, turn: int) -> Sequence[Name]:
        """Returns both names; the first alternates with the turns, and with the generations."""
        return _alternating(("A", "B"), turn + self._at)


class _Sessions:
    """Sessions of one protocol, a room each, that are opened bit by bit."""

    def __init__(self, load: Load, endpoint: Endpoint, count: int) -> None:
        """Defines so many sessions at a server, none of them open."""
        rooms = [secrets.token_hex(6) for _ in range(count)]
        self._load = load
        hellos = (hello(endpoint.kind, f"{room}-a", room, resumable=endpoint.resumable) for room in rooms)
        self._first, *_ = [load.open(endpoint, said) for said in hellos]
        self._next = self._first

    def open(self, count: int) -> int:
        """Connects and announces so many more, one after the other, and returns how many.

        Many at once would be served in batches that vary.
        """
        self._load.setup(self._next, count, at_once=1)
        self._next += count
        return count

    def lose(self, begin: int, count: int) -> None:
        """Closes some of those that are open without a word."""
        self._load.close(self._first + begin, count)

    def open_again(self, begin: int, count: int) -> int:
        """Connects and announces some that were lost, one after the other, and returns how many."""
        self._load.setup(self._first + begin, count, at_once=1)
        return count

    def close(self) -> None:
        """Closes those that are open."""
        self._load.close(self._first, self._next - self._first)


def _relay(peers: Mapping[Name, Pairs], figure: Figure, messages: int, name: Name) -> int:
    """Lets a build relay so many messages or a few more; returns how many.

    :raises LoadError: if some are not delivered
    """
    message = cast(Literal["offer", "candidate"], figure.of)
    relayed = peers[name].run(message, figure.in_flight, messages).messages
    sent = peers[name].count * peers[name].steps(message, messages)
    if relayed != sent:
        raise LoadError(f"{sent} messages were sent and {relayed} relayed")
    return relayed


def _lose(sessions: "Mapping[Name, _Sessions]", begin: int, count: int, name: Name) -> None:
    """Loses so many of a build's sessions."""
    sessions[name].lose(begin, count)


def _set_up_again(sessions: "Mapping[Name, _Sessions]", begin: int, count: int, name: Name) -> int:
    """Sets up so many of a build's sessions that were lost; returns how many."""
    return sessions[name].open_again(begin, count)


def _alternating(of: Sequence[_T], turn: int) -> Sequence[_T]:
    return of[::-1] if turn % 2 else of


def _rested_cpu(server: Server) -> float:
    """Returns CPU seconds of a server so far, once it does nothing.

    What it does after its last response belongs to the slice, and the kernel accounts for it when it sleeps.

    :raises LoadError: if it never rests.
    """
    give_up = time.monotonic() + REST_LIMIT_SECONDS
    seen = server.cpu()
    while time.monotonic() < give_up:
        time.sleep(REST_SECONDS)
        later = server.cpu()
        if later == seen and later is not None:
            return later
        seen = later
    raise LoadError(f"it works on for {REST_LIMIT_SECONDS:g} s after the last response")


def _cpu_since(before: float, server: Server) -> float:
    """Returns a server's CPU seconds since an earlier reading.

    :raises LoadError: if there are none, where a slice is work
    """
    cost = _rested_cpu(server) - before
    if cost <= 0:
        raise LoadError("the kernel says that it took no time")
    return cost


def _rested_memory(server: Server) -> int:
    """Resident bytes of a server, once it does nothing."""
    _rested_cpu(server)
    return server.resident() or 0
