"""Keepalive and patience: the rules of every protocol for clients that are silent, or slow to read.

The states of a connection's keepalive, by what was heard and pinged last:

    heard ──ping interval──► pinged ──ping timeout──► gone
      ▲                        │
      └── anything is heard ───┘
"""

from enum import Enum

from sigbridge.disconnects import DisconnectReason
from sigbridge.settings import Settings

SLOW_CONSUMER_SECONDS = 1.0
"""The most seconds for a client that reads too slowly to read why its connection ends."""


class Silence(Enum):
    """The next step towards a silent client."""

    BEAR = "bear"
    PING = "ping"
    END = "end"


def judge_silence(settings: Settings, heard_at: float, pinged_at: float, moment: float) -> Silence:
    """Returns the step due at `moment`; `heard_at` and `pinged_at` are the last times of each (monotonic seconds)."""
    if moment < silence_due(settings, heard_at, pinged_at):
        return Silence.BEAR
    return Silence.END if pinged_at > heard_at else Silence.PING


def silence_due(settings: Settings, heard_at: float, pinged_at: float) -> float:
    """Returns the time of the next step, if nothing is heard until then (monotonic seconds)."""
    if pinged_at > heard_at:
        return pinged_at + settings.ping_timeout_seconds
    return heard_at + settings.ping_interval_seconds


def closing_seconds(settings: Settings, reason: DisconnectReason | None) -> float:
    """Returns the seconds that a client has to read its last words and agree to the end.

    That is `SIGNALING_CLOSE_TIMEOUT_SEC`; for a `slow_consumer`, which has shown that it does not read, one second
    where that is less.
    """
    patience = settings.close_timeout_seconds
    return min(patience, SLOW_CONSUMER_SECONDS) if reason is DisconnectReason.SLOW_CONSUMER else patience
