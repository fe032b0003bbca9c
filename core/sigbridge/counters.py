"""What has happened so far, in plain integers. Every key is a word of ours: clients cannot make the tables grow."""

from bisect import bisect_left
from collections import Counter

REFUSALS = (
    *((protocol, reason) for protocol in ("grpc", "websocket") for reason in ("unauthenticated", "origin")),
    *((protocol, reason) for protocol in ("grpc", "websocket") for reason in ("draining", "memory", "sessions")),
    ("tcp", "connections"),
)
"""What may be refused at the door, by (protocol, reason); on `tcp` no protocol has been spoken yet."""

SECONDS_BOUNDS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1.0)
"""Upper bounds of the histogram of request times."""


class Histogram:
    """How many values fell below each of `SECONDS_BOUNDS` and above the one before; the last count is of the rest."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(SECONDS_BOUNDS, seconds)] += 1
        self.total += seconds


class Counters:
    """Counts since the hub was made."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """By (protocol, kind, outcome); an outcome is `ok` or the name of a `Code`."""
        self.relays: Counter[tuple[str, str, str]] = Counter()
        """Messages put into a target's outbox, by (sender's protocol, target's protocol, kind)."""
        self.events: Counter[tuple[str, str]] = Counter()
        """Events about rooms put into outboxes, by (receiver's protocol, kind)."""
        self.disconnects: Counter[tuple[str, str]] = Counter()
        """Ended sessions, by (protocol, reason)."""
        self.sessions: Counter[str] = Counter()
        """Sessions that are open now, by protocol."""
        self.seconds: dict[tuple[str, str], Histogram] = {}
        """From taking a request to queueing its reply, by (protocol, kind)."""
        self.refusals: Counter[tuple[str, str]] = Counter(dict.fromkeys(REFUSALS, 0))
        """Who was not let in, by (protocol, reason), which are those of `REFUSALS`."""
        self.ignored_responses = 0
        """JSON-RPC results and errors that clients sent us."""

    def observe(self, protocol: str, kind: str, seconds: float) -> None:
        """Count the time of one request."""
        histogram = self.seconds.get((protocol, kind))
        if histogram is None:
            histogram = self.seconds[protocol, kind] = Histogram()
        histogram.add(seconds)
