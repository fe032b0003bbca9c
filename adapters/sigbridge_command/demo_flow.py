"""Drawing of what the demo sees: one line for each message, in three columns, as in a sequence diagram."""

from typing import Literal, TypeAlias

from msgspec import Struct

from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Event,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerJoined,
    Reply,
    Request,
)

Role: TypeAlias = Literal["caller", "callee"]
What: TypeAlias = Literal["sent", "received", "opened", "bytes", "sound"]

_WIDTH = 32
_TIME_WIDTH = 12
"""With these, a line fits into a terminal of 80 columns."""


class Report(Struct, frozen=True):
    """One thing that a peer of the demo did or saw; `at` is monotonic time in seconds, the same clock in every process.

    `sent` and `received` are signaling messages, between the peer and the server; `opened`, `bytes` and `sound` happen
    between the peers, and are reported by the one that sees them happen.
    """

    at: float
    role: Role
    what: What
    text: str


def described(message: Request | Reply | Event) -> tuple[What, str]:
    """Returns which way a message of a peer goes, and what is drawn of it."""
    match message:
        case Announce(peer_id=peer_id):
            return "sent", f"announce {peer_id}"
        case Offer(sdp=sdp) | Answer(sdp=sdp):
            return "sent", f"{message.kind}, {size_of(sdp)}"
        case IceCandidate(candidate=candidate):
            return "sent", f"ice_candidate, {port_of(candidate)}"
        case Announced(peers_count=count):
            return "received", f"ack, {count} here before"
        case OfferRelayed():
            return "received", "ack, offer relayed"
        case PeerJoined(peer_id=peer_id):
            return "received", f"peer_joined {peer_id}"
        case OfferReceived(sdp=sdp) | AnswerReceived(sdp=sdp):
            return "received", f"{message.kind}, {size_of(sdp)}"
        case IceCandidateReceived(candidate=candidate):
            return "received", f"ice_candidate, {port_of(candidate)}"
        case _:
            return "received", getattr(message, "kind", "ack")


def size_of(sdp: str) -> str:
    """Returns how long a description is."""
    return f"{len(sdp.encode()) / 1000:.1f} kB"


def port_of(candidate: str) -> str:
    """Returns the port of a candidate (RFC 8839, section 5.1), and that there are no more of one that is empty."""
    fields = candidate.split()
    return f"port {fields[5]}" if len(fields) > 5 else "no more"


def heading(caller: str, callee: str) -> str:
    """Returns the names above the three columns."""
    left = " " * _TIME_WIDTH + caller
    middle = left.ljust(_TIME_WIDTH + _WIDTH - 1) + "server"
    return middle.ljust(_TIME_WIDTH + 2 * _WIDTH - len(callee) + 4) + callee


def drawn(report: Report, started_at: float) -> str:
    """Returns a report as one line: milliseconds since the start, then an arrow from sender to receiver."""
    time = f"{(report.at - started_at) * 1000:7.1f} ms  "
    blank = " " * _WIDTH
    is_caller = report.role == "caller"
    if report.what == "opened":
        return f"{time}│{_both_ways(report.text, 2 * _WIDTH + 1)}│"
    if report.what in ("bytes", "sound"):
        return f"{time}│{_arrow(report.text, 2 * _WIDTH + 1, '═', rightwards=not is_caller)}│"
    arrow = _arrow(report.text, _WIDTH, "─", rightwards=is_caller == (report.what == "sent"))
    return f"{time}│{arrow}│{blank}│" if is_caller else f"{time}│{blank}│{arrow}│"


def _arrow(text: str, width: int, stroke: str, *, rightwards: bool) -> str:
    """Returns an arrow of this width, with a text near its beginning."""
    line = f"{stroke * 2} {text} "
    if rightwards:
        return line.ljust(width - 1, stroke) + "►"
    return "◄" + f" {text} {stroke * 2}".rjust(width - 1, stroke)


def _both_ways(text: str, width: int) -> str:
    return "◄" + f" {text} ".center(width - 2, "═") + "►"
