"""Refusals at the door as HTTP says them: one rule for every error.

Rule 1: 401 to who is nobody; 429 where it is known when trying again helps; 503 else. Rule 2: headers say the word of
the refusal and the time in milliseconds, by the names that these have in gRPC's trailers.
Source: `docs/protocol.md`, section "Refused at the door"; RFC 9110, section 10.2.3; RFC 6585, section 4.
"""

from typing import Final

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import reconnect_advice
from sigbridge.errors import Code, SignalingError

WORD_HEADER: Final = "Signaling-Disconnect"
RETRY_HEADER: Final = "Signaling-Retry-After-Ms"

_WORDS: Final = {401: "unauthenticated", 403: "origin"}
"""The words of answers that need none: those of proxies, and of servers that say none."""


def refusal_of(error: SignalingError) -> tuple[int, list[tuple[str, str]]]:
    """Returns the status and the headers of the answer by which a client is refused."""
    headers = [(WORD_HEADER, error.word)] if error.word else []
    if error.code is Code.UNAUTHENTICATED:
        return 401, [("WWW-Authenticate", "Bearer"), *headers]
    retry = error.retry_after_ms
    if retry is None:
        return 503, headers
    return 429, [("Retry-After", str(-(-retry // 1000))), *headers, (RETRY_HEADER, str(retry))]


def closed_by_refusal(status: int, word: str, retry_after_ms: str) -> ConnectionClosed:
    """Returns what a client makes of such an answer: of its status and these headers, empty where there are none."""
    word = word or _WORDS.get(status, "")
    if not word:
        return ConnectionClosed(f"refused with HTTP {status}")
    known = retry_after_ms.isascii() and retry_after_ms.isdecimal()
    return ConnectionClosed(word, reconnect_advice(word), int(retry_after_ms) if known else None)
