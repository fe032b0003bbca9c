"""How the end of a session looks on gRPC: the status of the call, and two trailers that say more than a status can.

Source: `docs/protocol.md`, section "How a connection ends".
"""

from collections.abc import Iterable
from typing import Any

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code

DISCONNECT_TRAILER = "signaling-disconnect"
"""The trailing metadata that holds the reason word."""
RECONNECT_TRAILER = "signaling-reconnect"
"""The trailing metadata that says whether to come back: `yes` or `no`."""

_CODES = {
    DisconnectReason.CLIENT_LEFT: Code.OK,
    DisconnectReason.DRAINING: Code.UNAVAILABLE,
    DisconnectReason.SLOW_CONSUMER: Code.RESOURCE_EXHAUSTED,
    DisconnectReason.TOKEN_EXPIRED: Code.UNAUTHENTICATED,
    DisconnectReason.ANNOUNCE_TIMEOUT: Code.DEADLINE_EXCEEDED,
    DisconnectReason.FLOODING: Code.RESOURCE_EXHAUSTED,
    DisconnectReason.MESSAGE_TOO_BIG: Code.RESOURCE_EXHAUSTED,
    DisconnectReason.MESSAGE_TIMEOUT: Code.DEADLINE_EXCEEDED,
    DisconnectReason.OVERLOAD: Code.RESOURCE_EXHAUSTED,
    # Bytes that are no UTF-8 are a bad request on gRPC and end nothing; the table is whole all the same.
    DisconnectReason.NOT_UTF8: Code.INVALID_ARGUMENT,
    DisconnectReason.PROTOCOL_ERROR: Code.INTERNAL,
    DisconnectReason.MAX_AGE: Code.UNAVAILABLE,
    # Nobody is left to tell of these two; UNAVAILABLE is what the client's own library calls them.
    DisconnectReason.KEEPALIVE_TIMEOUT: Code.UNAVAILABLE,
    DisconnectReason.CONNECTION_LOST: Code.UNAVAILABLE,
    DisconnectReason.REVOKED: Code.PERMISSION_DENIED,
    DisconnectReason.INTERNAL_ERROR: Code.INTERNAL,
}


def code_of(reason: DisconnectReason) -> Code:
    """The status with which a call ends for this reason."""
    return _CODES[reason]


def message_of(reason: DisconnectReason) -> str:
    """The status message for this reason; nothing of an exception."""
    return "Internal error" if reason is DisconnectReason.INTERNAL_ERROR else f"Session ended: {reason.word}"


def trailers_of(reason: DisconnectReason) -> tuple[tuple[str, str], ...]:
    """The trailing metadata for this reason; without advice where there is none to give."""
    word = (DISCONNECT_TRAILER, reason.word)
    if reason.reconnect is None:
        return (word,)
    return word, (RECONNECT_TRAILER, "yes" if reason.reconnect else "no")


def reason_from_trailers(trailers: Iterable[Any]) -> tuple[str, bool | None]:
    """The reason word, empty where the trailers (pairs of name and value) hold none, and whether to come back."""
    found = dict(trailers)
    word = found.get(DISCONNECT_TRAILER, "")
    advice = found.get(RECONNECT_TRAILER)
    return str(word), {"yes": True, "no": False}.get(str(advice))
