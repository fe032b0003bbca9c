"""Refusals at every door: each is counted, and told to the log in a line of one shape.

Rule 1: each refusal is one line and one count, with one word in both. Rule 2: a line holds the word, the protocol and
the address, and a detail that clients cannot make long; credentials are never given to it. Lines that repeat
themselves are gathered by whoever writes the log. Source: `docs/protocol.md`, section "Refused at the door".
"""

import logging
from typing import Final

from sigbridge.addresses import UNIX
from sigbridge.counters import REFUSAL_REASONS, TCP_REFUSALS, TLS_FAILED, Counters
from sigbridge.errors import SignalingError

logger = logging.getLogger("sigbridge.door")

MAX_DETAIL_LENGTH: Final = 128
"""Characters of a detail; some are a client's own words."""

_OURS: Final = frozenset({"sessions", "memory", *(word for _, word in TCP_REFUSALS)} - {TLS_FAILED[1]})
"""The words that tell of a limit of the server's, or of clients at the wrong port: its operator should look.

Those who fail in the handshake of TLS are not among them: whoever looks for open ports does.
"""


def note_refused(counters: Counters, protocol: str, word: str, remote: str, detail: str = "") -> None:
    """Counts a client that is not let in, and logs it.

    `remote` is its address, empty for a unix socket; `detail` is what else is known of the cause.
    """
    counters.refusals[protocol, word] += 1
    logger.log(
        logging.WARNING if word in _OURS else logging.INFO,
        "client refused",
        extra={"protocol": protocol, "remote": remote or UNIX, "reason": word, "detail": detail[:MAX_DETAIL_LENGTH]},
    )


def note_refusal(counters: Counters, protocol: str, error: SignalingError, remote: str) -> None:
    """Counts and logs a client that an error refuses, by the word of the error."""
    # An authenticator by somebody else may say words of its own, which make no label.
    word = error.word if error.word in REFUSAL_REASONS else "unauthenticated"
    note_refused(counters, protocol, word, remote, error.detail or str(error.extra.get("limit", "")))


def log_hidden(error: Exception, **facts: object) -> None:
    """Logs that an authenticator has failed and where, without the exception's text, which may hold the credentials."""
    hidden = RuntimeError(f"{type(error).__name__}, whose text may hold a token")
    logger.error("checking credentials failed", exc_info=(RuntimeError, hidden, error.__traceback__), extra=facts)
