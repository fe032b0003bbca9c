"""Refusals at the door as HTTP and WebSocket's close frames say them: one rule for every error.

Rule 1: 401 to who is nobody; 429 where it is known when trying again helps; 503 else. Rule 2: headers say the word of
the refusal and the time in milliseconds, by the names that these have in gRPC's trailers. Rule 3: a page of a browser
learns nothing of a handshake that is refused in HTTP, so that it has a close frame instead, with a code that is HTTP's
status and 4000, and the word for its reason.
Source: `docs/protocol.md`, section "Refused at the door"; RFC 9110, section 10.2.3; RFC 6585, section 4.
"""

from typing import Final

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import DisconnectReason, reconnect_advice
from sigbridge.errors import Code, SignalingError

WORD_HEADER: Final = "Signaling-Disconnect"
RETRY_HEADER: Final = "Signaling-Retry-After-Ms"

CLOSE_CODES: Final = 4000
"""The number that is added to HTTP's status; codes from 4000 on are for applications (RFC 6455, section 7.4.2)."""
MAX_REASON_BYTES: Final = 123
"""The bytes of a close frame's reason (RFC 6455, section 5.5)."""
_RETRY: Final = " retry-after-ms="

_STATUSES: Final = frozenset({401, 429, 503})
_WORDS: Final = {401: "unauthenticated", 403: "origin"}
"""The words of responses that need none: those of proxies, and of servers that say none."""
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses that say that trying again helps (RFC 9110, section 15; RFC 6585; RFC 8470)."""


def refusal_of(error: SignalingError) -> tuple[int, list[tuple[str, str]]]:
    """Returns the HTTP status and headers of the response that refuses a client."""
    headers = [(WORD_HEADER, error.word)] if error.word else []
    if error.code is Code.UNAUTHENTICATED:
        return 401, [("WWW-Authenticate", "Bearer"), *headers]
    retry = error.retry_after_ms
    if retry is None:
        return 503, headers
    return 429, [("Retry-After", str(-(-retry // 1000))), *headers, (RETRY_HEADER, str(retry))]


def close_of_refusal(error: SignalingError) -> tuple[int, str]:
    """Returns the code and the reason of the close frame by which a page is refused.

    The reason is the word, and `retry-after-ms=N` behind it where it is known when trying again helps.
    """
    status, _ = refusal_of(error)
    return CLOSE_CODES + status, with_retry(error.word, error.retry_after_ms)


def with_retry(word: str, retry_after_ms: int | None) -> str:
    """Returns the reason of a close frame: a word, and behind it `retry-after-ms=N` if that is known."""
    told = "" if retry_after_ms is None else f"{_RETRY}{retry_after_ms}"
    # An authenticator by somebody else may say words of any length.
    return (word.encode()[: MAX_REASON_BYTES - len(told)].decode(errors="ignore") + told).strip()


def closed_by_close(code: int, reason: str) -> ConnectionClosed | None:
    """Returns the end of a connection by a refusal's close frame; None for other codes."""
    if code - CLOSE_CODES not in _STATUSES:
        return None
    word, _, retry_after_ms = reason.partition(_RETRY)
    return closed_by_refusal(code - CLOSE_CODES, word, retry_after_ms)


def closed_by_refusal(status: int, word: str, retry_after_ms: str) -> ConnectionClosed:
    """Returns the end of a connection by a refusal's HTTP status and headers, which may be empty."""
    word = word or _WORDS.get(status, "")
    if not word:
        return ConnectionClosed(f"refused with HTTP {status}", advice_of_status(status))
    return ConnectionClosed(word, reconnect_advice(word), _milliseconds(retry_after_ms))


def closed_by_reason(reason: str) -> ConnectionClosed:
    """Returns the end of a connection by the reason of any other close frame; empty if there was none."""
    word, _, retry_after_ms = reason.partition(_RETRY)
    word = word or DisconnectReason.CONNECTION_LOST.word
    return ConnectionClosed(word, reconnect_advice(word), _milliseconds(retry_after_ms))


def advice_of_status(status: int) -> bool | None:
    """Returns whether to come back where an HTTP status is all that is said, by a proxy above all; `None`: unknown."""
    return True if status in _PASSING else False if status in _WORDS else None


def _milliseconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None
