"""The plan of a comparison of two builds: the figures, and how often and with how much load each is measured.

Rule: a plan is arithmetic and nothing else. It asks neither the machine nor the builds; whether this machine can do it
`pair` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from sigbridge_bench.figures import session_text
from sigbridge_bench.header_blocks import CLIENTS, USUAL, Client
from sigbridge_bench.records import Protocol
from sigbridge_bench.servers import pairings

Engine = Literal["native", "grpcio"]
What = Literal["relays", "setup", "memory", "returns"]

ENGINES: tuple[Engine, ...] = ("native", "grpcio")
WHATS: tuple[What, ...] = ("relays", "setup", "memory")
RETURNS: What = "returns"
"""Sessions that are lost and set up again; measured where those of a build ask to be resumable."""
PAIRINGS = pairings(("grpc", "websocket"))
MESSAGES: tuple[Literal["offer", "candidate"], ...] = ("offer", "candidate")
IN_FLIGHT = (1, 8)
"""Messages that each pair of peers has under way: one, and bursts."""

SLICES, TOGETHER = "by slice", "all together"
"""Of sessions that are set up: slices in pairs, or all of a generation at once, collections of garbage included."""


class Figure(NamedTuple):
    """One thing that is measured of both builds."""

    what: What
    way: str
    """A pairing, the sender's protocol first; or one protocol."""
    of: str = ""
    """A relay's message; of set-ups, how they are put together."""
    in_flight: int = 0
    headers: Client | Literal[""] = ""
    """Client whose headers begin a call; of sessions of gRPC."""

    def __str__(self) -> str:
        """Returns the figure's name as it is printed."""
        words = (
            f"{self.what} {session_text(self.way, self.headers)}",
            self.of,
            f"{self.in_flight} in flight" if self.in_flight else "",
        )
        return ", ".join(word for word in words if word)


class Opening(NamedTuple):
    """A way of opening sessions."""

    protocol: Protocol
    headers: Client | Literal[""] = ""
    """Client whose headers begin a call of gRPC."""

    def __str__(self) -> str:
        return session_text(self.protocol, self.headers)

    def figure(self, what: What, of: str = "") -> Figure:
        """Returns a figure of sessions that are opened so."""
        return Figure(what, self.protocol, of, headers=self.headers)


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
    def figures(self) -> list[Figure]:
        """Returns every figure that the plan measures, in the table's order."""
        found = [
            Figure("relays", way, message, in_flight)
            for message in MESSAGES
            for in_flight in IN_FLIGHT
            for way in self.ways
            if "relays" in self.only
        ]
        found += [opening.figure("setup", of) for opening in self.closed for of in (SLICES, TOGETHER)]
        found += [opening.figure("memory") for opening in self.kept]
        found += [opening.figure(RETURNS) for opening in self.returning]
        return found

    @property
    def kept(self) -> Sequence[Opening]:
        """The ways of opening the sessions that stay; they show what memory a session takes."""
        return self._openings((USUAL,)) if "memory" in self.only else []

    @property
    def closed(self) -> Sequence[Opening]:
        """The ways of opening the sessions whose set-up is measured; they are closed after that."""
        return self._openings(CLIENTS) if "setup" in self.only else []

    @property
    def returning(self) -> Sequence[Opening]:
        """The ways of opening the sessions that are lost and set up again; they are closed after that."""
        return self._openings((USUAL,)) if RETURNS in self.only else []

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
        return 2 * self.all_sessions * len([*self.kept, *self.closed, *self.returning])

    @property
    def most_at_once(self) -> int:
        """Sessions that are open at once."""
        return 2 * self.all_sessions * len([*self.kept, *([*self.closed, *self.returning][:1])])


def planned(engine: Engine, *, quick: bool) -> Plan:
    """Returns the plan of all figures that an engine has, a long or a quick one."""
    plan = Plan(generations=4, rounds=4, messages=1000, sessions=400) if quick else Plan()
    if engine == "native":
        return plan
    # A message costs grpcio several times as much. From WebSocket to WebSocket both engines are one program.
    ways = tuple(way for way in PAIRINGS if "grpc" in way)
    return replace(plan, engine=engine, messages=plan.messages // 2, ways=ways)
