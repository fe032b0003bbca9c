"""The end of a call on gRPC: its status, and trailers that say more than a status can.

Source: `docs/protocol.md`, sections "How a connection ends" and "Refused at the door".
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import DisconnectReason, reconnect_advice
from sigbridge.errors import Code, SignalingError

DISCONNECT_TRAILER = "signaling-disconnect"
"""The trailing metadata that holds the reason word."""
RECONNECT_TRAILER = "signaling-reconnect"
"""The trailing metadata that says whether to come back: `yes` or `no`."""
RETRY_TRAILER = "signaling-retry-after-ms"
"""The trailing metadata that says after how many milliseconds trying again helps."""

Trailers: TypeAlias = tuple[tuple[str, str], ...]

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
    # Of these two mostly nobody is left to tell; UNAVAILABLE is what the client's own library calls them.
    DisconnectReason.KEEPALIVE_TIMEOUT: Code.UNAVAILABLE,
    DisconnectReason.CONNECTION_LOST: Code.UNAVAILABLE,
    DisconnectReason.REPLACED: Code.ABORTED,
    DisconnectReason.REVOKED: Code.PERMISSION_DENIED,
    DisconnectReason.INTERNAL_ERROR: Code.INTERNAL,
}


def code_of(reason: DisconnectReason) -> Code:
    """Returns the status with which a call ends for this reason."""
    return _CODES[reason]


def message_of(reason: DisconnectReason) -> str:
    """Returns the status message for this reason; nothing of an exception."""
    return "Internal error" if reason is DisconnectReason.INTERNAL_ERROR else f"Session ended: {reason.word}"


def trailers_of(reason: DisconnectReason, retry_after_ms: int | None = None) -> Trailers:
    """Returns the trailing metadata for this reason; without advice where there is none to give."""
    return _with_retry(_trailers(reason.word, reason.reconnect), retry_after_ms)


def trailers_of_refusal(error: SignalingError) -> Trailers:
    """Returns the trailing metadata of a call that this error refuses; none where its status says all."""
    trailers = _trailers(error.word, reconnect_advice(error.word)) if error.word else ()
    return _with_retry(trailers, error.retry_after_ms)


def _with_retry(trailers: Trailers, retry_after_ms: int | None) -> Trailers:
    return trailers if retry_after_ms is None else (*trailers, (RETRY_TRAILER, str(retry_after_ms)))


def _trailers(word: str, reconnect: bool | None) -> Trailers:
    said = (DISCONNECT_TRAILER, word)
    return (said,) if reconnect is None else (said, (RECONNECT_TRAILER, "yes" if reconnect else "no"))


def closed_from_trailers(trailers: Iterable[Any], otherwise: str, advice: bool | None = None) -> ConnectionClosed:
    """Returns the end of a call as its trailers (pairs of name and value) say it.

    Without a word in them it is the word `otherwise`, with its own advice, or else `advice`.
    """
    found = dict(trailers)
    said = str(found.get(DISCONNECT_TRAILER, ""))
    word = said or otherwise
    known = reconnect_advice(word)
    if known is None and not said:
        known = advice
    advice = {"yes": True, "no": False}.get(str(found.get(RECONNECT_TRAILER)), known)
    return ConnectionClosed(word, advice, retry_from_trailers(trailers))


def retry_from_trailers(trailers: Iterable[Any]) -> int | None:
    """Returns the milliseconds after which trying again helps, where trailers say so."""
    retry = str(dict(trailers).get(RETRY_TRAILER, ""))
    return int(retry) if retry.isascii() and retry.isdecimal() else None
