"""Keepalive and patience: the rules of every protocol for clients that are silent, or slow to read.

Three moments say all of a connection: `heard_at`, when anything came from its client last; `sent_at`, when anything
was sent to it last, pings included; and `pinged_at`, when the first of the pings was sent that nothing followed yet.

The states, by these:

    heard    ──ping──▶ pinged ──ping──▶ pinged ──end──▶ gone
      ▲                  │
      └── anything is heard

Heard (`pinged_at` is not behind `heard_at`), a ping is due when nothing was heard for the ping interval, and when
nothing was sent for it: a proxy between may cut what the server does not use, however much its client talks. Pinged,
another ping is due when nothing was sent for the interval, and the end when the ping timeout has passed since the
first. So neither of both times delays the other, whichever is shorter.
"""

from enum import Enum

from sigbridge.disconnects import DisconnectReason
from sigbridge.settings import Settings

SHORT_CLOSING_SECONDS = 1.0
_SHORT_CLOSINGS = (DisconnectReason.SLOW_CONSUMER, DisconnectReason.FLOODING)
"""The most seconds for a client that reads too slowly to read why its connection ends."""


class KeepaliveStep(Enum):
    """The next step towards a silent client."""

    WAIT = "wait"
    PING = "ping"
    END = "end"


def judge_silence(
    settings: Settings, heard_at: float, sent_at: float, pinged_at: float, moment: float
) -> KeepaliveStep:
    """Returns what is due at `moment`: nothing, a ping or the end; all times are monotonic seconds."""
    if pinged_at > heard_at and moment >= pinged_at + settings.ping_timeout_seconds:
        return KeepaliveStep.END
    quiet_since = sent_at if pinged_at > heard_at else min(heard_at, sent_at)
    return KeepaliveStep.PING if moment >= quiet_since + settings.ping_interval_seconds else KeepaliveStep.WAIT


def silence_due(settings: Settings, heard_at: float, sent_at: float, pinged_at: float) -> float:
    """Returns the time of the next step, if nothing is heard nor sent until then (monotonic seconds)."""
    interval = settings.ping_interval_seconds
    if pinged_at > heard_at:
        return min(pinged_at + settings.ping_timeout_seconds, sent_at + interval)
    return min(heard_at, sent_at) + interval


def first_pinged_at(heard_at: float, pinged_at: float, moment: float) -> float:
    """Returns `pinged_at` of a connection that is pinged at `moment`: a second ping buys its client no time."""
    return pinged_at if pinged_at > heard_at else moment


def closing_seconds(settings: Settings, reason: DisconnectReason | None) -> float:
    """Returns the seconds that a client has to read the last messages and to close.

    That is `SIGNALING_CLOSE_TIMEOUT_SEC`, or one second if that is less, for a `slow_consumer`, which does not read,
    and for `flooding`, whose client goes on sending.
    """
    patience = settings.close_timeout_seconds
    return min(patience, SHORT_CLOSING_SECONDS) if reason in _SHORT_CLOSINGS else patience
