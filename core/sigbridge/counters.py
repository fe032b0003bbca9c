"""Counts of all that has happened, in plain integers. Every key is a word of ours: clients cannot make the tables grow.

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
PROXY_HEADER = ("tcp", "proxy_header")
"""The refusal of a proxy that is trusted and sends no good header of the PROXY protocol, or of others who send one."""
TCP_REFUSALS = (CONNECTIONS_REFUSED, DESCRIPTORS_SHORT, TLS_ON_PLAIN, PLAIN_ON_TLS, TLS_FAILED, PROXY_HEADER)
"""All refusals on which no protocol has been spoken yet."""

AWAITED_ANSWER_ENDS: Final = (
    "answered",
    "expired",
    "replaced",
    "left",
    "hung_up",
    "withdrawn",
    "forgotten",
    "refused",
)
"""Words for how an offer ends whose answer is the reply; `awaited_answers.py` says what each means."""

HELD_ENDS: Final = (
    "resumed",
    "expired",
    "overflow",
    "bounds",
    "limited",
    "taken",
    "not_resumed",
    "revoked",
    "draining",
)
"""Words for how the hold of a peer ends: it is back, or it leaves.

It leaves since its time is up; an event about its room did not fit; too many are held, or too much is kept for all; its
identity or address has too many; somebody else takes its id; its own client is back and cannot be told everything; its
identity is no more; or the server drains.
"""
RESUMES_OF_KNOWN: Final = ("resumed", "replaced", "missing")
"""Words for what becomes of a peer whose token an announce shows.

It was held; its former session still stood; or not all that it has missed is there, and it leaves. Where the token is
nobody's, or worth nothing to who shows it, the word is `unknown`.
"""
TAKEOVERS: Final = ("held", "standing", "refused")
"""Words for takeovers of ids: from a held peer, from one whose session stood, and those refused as too many."""

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
    """Counts of the values below each of `SECONDS_BOUNDS` and above the one before; the last count is of the rest."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BOUNDS) + 1)
        self.total = 0.0


class Tally:
    """Counts of one kind of request on one protocol."""

    __slots__ = ("accepted", "kind", "relayed", "seconds")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.accepted = 0
        self.relayed: dict[str, int] = {}
        """Messages put into a target's outbox, by the target's protocol."""
        self.seconds: Histogram | None = None
        """From taking a request to queueing its response; `None` where none was timed."""

    def observe(self, seconds: float) -> None:
        """Adds the time of one request to the histogram."""
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
    """Returns the tally of a kind, made if it comes for the first time."""
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
        self.dialects: Counter[str] = Counter()
        """Sessions that have changed their dialect of JSON-RPC, by the name of the one that they speak since."""
        self.refusals: Counter[tuple[str, str]] = Counter(dict.fromkeys(TCP_REFUSALS, 0))
        """Clients that were not let in, by (protocol, reason): each of `REFUSAL_REASONS`, and `TCP_REFUSALS`."""
        self.repeated_requests: Counter[str] = Counter()
        """Requests of resumable peers that came again by the same id, and changed nothing, by protocol."""
        self.repeated_events: Counter[str] = Counter()
        """Events that were told again to peers that were resumed, by the protocol on which they are told now."""
        self.held_ends: Counter[str] = Counter(dict.fromkeys(HELD_ENDS, 0))
        """Peers that are not held any more: each of `HELD_ENDS`."""
        self.resumes: Counter[tuple[str, str, str]] = Counter()
        """Tokens that were shown, by (protocol of the peer's last session, protocol, outcome).

        The outcome is one of `RESUMES_OF_KNOWN`, or `unknown`; the first is `none` then.
        """
        self.takeovers: Counter[str] = Counter(dict.fromkeys(TAKEOVERS, 0))
        """Ids that newcomers wanted of peers that did not leave: each of `TAKEOVERS`."""
        self.awaited_answers: Counter[str] = Counter(dict.fromkeys(AWAITED_ANSWER_ENDS, 0))
        """Offers whose answer was to be the reply and that wait no more: each of `AWAITED_ANSWER_ENDS`."""
        self.ignored_responses = 0
        """JSON-RPC results and errors that clients sent us, which nobody had asked for; on gRPC there are none."""

    def know(self, protocol: str) -> None:
        """Registers a protocol, so that its counts are shown, at 0 at first; a second time changes nothing."""
        self.sessions[protocol] += 0
        for reason in REFUSAL_REASONS:
            self.refusals[protocol, reason] += 0
        self.repeated_requests[protocol] += 0
        self.repeated_events[protocol] += 0
        self.resumes["none", protocol, "unknown"] += 0
        for other in self.sessions:
            for outcome in RESUMES_OF_KNOWN:
                self.resumes[protocol, other, outcome] += 0
                self.resumes[other, protocol, outcome] += 0

    def tallies(self, protocol: str) -> Tallies:
        """Tallies of the requests on one protocol."""
        return self._tallies.setdefault(protocol, {})

    def tally(self, protocol: str, kind: str) -> Tally:
        """Returns the tally of one kind of request on one protocol."""
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
