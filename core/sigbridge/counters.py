"""What has happened so far, in plain integers. Every key is a word of ours: clients cannot make the tables grow.

Rule 1: what every request counts stands in a `Tally`, which its session finds by one word; the tables by all their
labels are made of these when somebody reads them. Rule 2: `requests`, `relays` and `seconds` are made
anew for each reader; the other tables are counted in where it happens. Rule 3:
names of protocols are the adapters': each is made known once, and its counts are seen from then on.
"""

from collections import Counter
from typing import Final, TypeAlias

REFUSAL_REASONS = ("unauthenticated", "throttled", "held_off", "origin", "draining", "memory", "sessions")
"""Words for those who are not let in by a protocol."""
CONNECTIONS_REFUSED = ("tcp", "connections")
"""The refusal of a connection on which no protocol has been spoken yet, since there are too many."""
DESCRIPTORS_SHORT = ("tcp", "descriptors")
"""The same where the process has no file descriptor for it."""
TLS_ON_PLAIN = ("tcp", "tls_on_plain")
"""The refusal of a client that speaks TLS to a port without TLS."""
PLAIN_ON_TLS = ("tcp", "plain_on_tls")
"""The refusal of a client that speaks HTTP without TLS to a port with TLS."""
TLS_FAILED = ("tcp", "tls")
"""The refusal of a client with which the handshake of TLS fails: that shows no certificate which is any good, say."""
TCP_REFUSALS = (CONNECTIONS_REFUSED, DESCRIPTORS_SHORT, TLS_ON_PLAIN, PLAIN_ON_TLS, TLS_FAILED)
"""All refusals on which no protocol has been spoken yet."""

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


class Tally:
    """What there was of one kind of request on one protocol."""

    __slots__ = ("accepted", "kind", "relayed", "seconds")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.accepted = 0
        self.relayed: dict[str, int] = {}
        """Messages put into a target's outbox, by the target's protocol."""
        self.seconds: Histogram | None = None
        """From taking a request to queueing its response; `None` where none was timed."""

    def observe(self, seconds: float) -> None:
        """Count the time of one request."""
        histogram = self.seconds
        if histogram is None:
            histogram = self.seconds = Histogram()
        place = 0
        # From the least, since nearly all are there.
        for bound in SECONDS_BOUNDS:
            if seconds <= bound:
                break
            place += 1
        histogram.counts[place] += 1
        histogram.total += seconds


Tallies: TypeAlias = dict[str, Tally]
"""The tallies of one protocol by kind of request, each made when its kind first comes."""


def add_tally(tallies: Tallies, kind: str) -> Tally:
    """Make the tally of a kind that comes for the first time; returns the one that is there otherwise."""
    return tallies.setdefault(kind, Tally(kind))


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
        """Sessions that are open now, by protocol; every known protocol is there."""
        self.refusals: Counter[tuple[str, str]] = Counter(dict.fromkeys(TCP_REFUSALS, 0))
        """Clients that were not let in, by (protocol, reason): each of `REFUSAL_REASONS`, and `TCP_REFUSALS`."""
        self.ignored_responses = 0
        """JSON-RPC results and errors that clients sent us, which nobody had asked for; on gRPC there are none."""

    def know(self, protocol: str) -> None:
        """Show the counts of a protocol from now on, at 0 where nothing has happened; a second time changes nothing."""
        self.sessions[protocol] += 0
        for reason in REFUSAL_REASONS:
            self.refusals[protocol, reason] += 0

    def tallies(self, protocol: str) -> Tallies:
        """Tallies of the requests on one protocol."""
        return self._tallies.setdefault(protocol, {})

    def tally(self, protocol: str, kind: str) -> Tally:
        """The tally of one kind of request on one protocol."""
        return add_tally(self.tallies(protocol), kind)

    @property
    def requests(self) -> Counter[tuple[str, str, str]]:
        """Requests by (protocol, kind, outcome), a table of this moment; an outcome is `ok` or the name of a `Code`."""
        table = self.refused_requests.copy()
        for protocol, tallies in self._tallies.items():
            table.update({(protocol, tally.kind, "ok"): tally.accepted for tally in tallies.values() if tally.accepted})
        return table

    @property
    def relays(self) -> Counter[tuple[str, str, str]]:
        """Relays by (sender's protocol, target's protocol, kind), a table of this moment."""
        return Counter(
            {
                (protocol, target, tally.kind): count
                for protocol, tallies in self._tallies.items()
                for tally in tallies.values()
                for target, count in tally.relayed.items()
            }
        )

    @property
    def seconds(self) -> dict[tuple[str, str], Histogram]:
        """Times by (protocol, kind), those that were taken."""
        return {
            (protocol, tally.kind): tally.seconds
            for protocol, tallies in self._tallies.items()
            for tally in tallies.values()
            if tally.seconds is not None
        }
