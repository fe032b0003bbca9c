"""Reasons why a connection ends, or may not begin: one word, the same on both protocols, in the log and the counters.

Source: `docs/protocol.md`, section "How a connection ends". Each adapter holds the codes of its own protocol.
"""

from enum import Enum
from typing import Final


class DisconnectReason(Enum):
    """Reason of a session's end; `reconnect` says whether its client should come back (`None`: nobody to tell)."""

    CLIENT_LEFT = ("client_left", None)
    DRAINING = ("draining", True)
    SLOW_CONSUMER = ("slow_consumer", True)
    TOKEN_EXPIRED = ("token_expired", True)
    ANNOUNCE_TIMEOUT = ("announce_timeout", True)
    FLOODING = ("flooding", True)
    MESSAGE_TOO_BIG = ("message_too_big", True)
    MESSAGE_TIMEOUT = ("message_timeout", True)
    OVERLOAD = ("overload", True)
    NOT_UTF8 = ("not_utf8", False)
    PROTOCOL_ERROR = ("protocol_error", False)
    MAX_AGE = ("max_age", True)
    KEEPALIVE_TIMEOUT = ("keepalive_timeout", True)
    CONNECTION_LOST = ("connection_lost", True)
    REPLACED = ("replaced", False)
    REVOKED = ("revoked", False)
    INTERNAL_ERROR = ("internal_error", True)

    def __init__(self, word: str, reconnect: bool | None) -> None:
        self.word = word
        self.reconnect = reconnect


REFUSALS: Final = {
    "unauthenticated": False,
    "origin": False,
    "throttled": True,
    "held_off": True,
    "draining": True,
    "sessions": True,
    "memory": True,
}
"""The words for who is refused at the door, and whether its client should come back."""

_ADVICE: Final = {**REFUSALS, **{reason.word: reason.reconnect for reason in DisconnectReason}}


def reconnect_advice(word: str) -> bool | None:
    """Returns whether a client should come back that was told this word; `None` where the word says nothing of that."""
    return _ADVICE.get(word)
