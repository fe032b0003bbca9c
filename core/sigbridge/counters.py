"""What has happened so far, in plain integers. Every key is a word of ours: clients cannot make the tables grow.

Rule 1: what every request counts stands in a `Tally`, which its session finds by one word; the tables by all their
labels are made of these when somebody reads them. Rule 2: a table is read, and changed by its counters alone.
"""

from collections import Counter
from typing import Final

REFUSALS = (
    *((protocol, reason) for protocol in ("grpc", "websocket") for reason in ("unauthenticated", "origin")),
    *((protocol, reason) for protocol in ("grpc", "websocket") for reason in ("draining", "memory", "sessions")),
    ("tcp", "connections"),
)
"""What may be refused at the door, by (protocol, reason); on `tcp` no protocol has been spoken yet."""

SECONDS_BOUNDS: Final[tuple[float, ...]] = (
    0.00001,
    0.00002,
    0.00005,
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.1,
    1.0,
)
"""Upper bounds of the histogram of request times."""


class Histogram:
    """How many values fell below each of `SECONDS_BOUNDS` and above the one before; the last count is of the rest."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        place = 0
        # From the least, since nearly all are there.
        for bound in SECONDS_BOUNDS:
            if seconds <= bound:
                break
            place += 1
        self.counts[place] += 1
        self.total += seconds


class Tally:
    """What there was of one kind of request on one protocol."""

    __slots__ = ("accepted", "kind", "relayed", "seconds")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.accepted = 0
        self.relayed: dict[str, int] = {}
        """Messages put into a target's outbox, by the target's protocol."""
        self.seconds: Histogram | None = None
        """From taking a request to queueing its reply; `None` where none was timed."""

    def observe(self, seconds: float) -> None:
        """Count the time of one request."""
        histogram = self.seconds
        if histogram is None:
            histogram = self.seconds = Histogram()
        histogram.add(seconds)


class Tallies:
    """The tallies of one protocol, each made when its kind first comes."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, Tally] = {}

    def of(self, kind: str) -> Tally:
        """The tally of a kind of request."""
        tally = self._of.get(kind)
        if tally is None:
            tally = self._of[kind] = Tally(kind)
        return tally

    def all(self) -> list[Tally]:
        """Those there are."""
        return list(self._of.values())


class Counters:
    """Counts since the hub was made."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tallies] = {}
        self.refused_requests: Counter[tuple[str, str, str]] = Counter()
        """By (protocol, kind, name of a `Code`)."""
        self.events: Counter[tuple[str, str]] = Counter()
        """Events about rooms put into outboxes, by (receiver's protocol, kind)."""
        self.disconnects: Counter[tuple[str, str]] = Counter()
        """Ended sessions, by (protocol, reason)."""
        self.sessions: Counter[str] = Counter()
        """Sessions that are open now, by protocol."""
        self.refusals: Counter[tuple[str, str]] = Counter(dict.fromkeys(REFUSALS, 0))
        """Who was not let in, by (protocol, reason), which are those of `REFUSALS`."""
        self.ignored_responses = 0
        """JSON-RPC results and errors that clients sent us."""

    def tallies(self, protocol: str) -> Tallies:
        """What is counted of the requests on one protocol."""
        tallies = self._tallies.get(protocol)
        if tallies is None:
            tallies = self._tallies[protocol] = Tallies()
        return tallies

    @property
    def requests(self) -> Counter[tuple[str, str, str]]:
        """Requests by (protocol, kind, outcome), a table of this moment; an outcome is `ok` or the name of a `Code`."""
        table = self.refused_requests.copy()
        for protocol, tallies in self._tallies.items():
            table.update({(protocol, tally.kind, "ok"): tally.accepted for tally in tallies.all() if tally.accepted})
        return table

    @property
    def relays(self) -> Counter[tuple[str, str, str]]:
        """Relays by (sender's protocol, target's protocol, kind), a table of this moment."""
        return Counter(
            {
                (protocol, target, tally.kind): count
                for protocol, tallies in self._tallies.items()
                for tally in tallies.all()
                for target, count in tally.relayed.items()
            }
        )

    @property
    def seconds(self) -> dict[tuple[str, str], Histogram]:
        """Times by (protocol, kind), those that were taken."""
        return {
            (protocol, tally.kind): tally.seconds
            for protocol, tallies in self._tallies.items()
            for tally in tallies.all()
            if tally.seconds is not None
        }
