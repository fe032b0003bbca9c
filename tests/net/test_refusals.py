"""Refusals as HTTP says them, and as a client reads them."""

import pytest

from sigbridge import errors
from sigbridge.errors import Code, SignalingError
from sigbridge_net.refusals import (
    RETRY_HEADER,
    WORD_HEADER,
    close_of_refusal,
    closed_by_close,
    closed_by_refusal,
    refusal_of,
)

CASES = [
    (errors.unauthenticated(), 401, {"WWW-Authenticate": "Bearer", WORD_HEADER: "unauthenticated"}, False),
    (errors.throttled(1), 429, {"Retry-After": "1", WORD_HEADER: "throttled", RETRY_HEADER: "1"}, True),
    (errors.throttled(2000), 429, {"Retry-After": "2", WORD_HEADER: "throttled", RETRY_HEADER: "2000"}, True),
    (errors.held_off(4001), 429, {"Retry-After": "5", WORD_HEADER: "held_off", RETRY_HEADER: "4001"}, True),
    (errors.held_off(0), 429, {"Retry-After": "0", WORD_HEADER: "held_off", RETRY_HEADER: "0"}, True),
    (errors.server_draining(), 503, {WORD_HEADER: "draining"}, True),
    (errors.too_many_sessions("SIGNALING_MAX_SESSIONS", 1), 503, {WORD_HEADER: "sessions"}, True),
    (errors.out_of_memory(1), 503, {WORD_HEADER: "memory"}, True),
]


@pytest.mark.parametrize(("error", "status", "headers", "advice"), CASES)
def test_each_error_has_its_answer_and_the_client_reads_it(error, status, headers, advice):
    said, shown = refusal_of(error)
    assert (said, dict(shown)) == (status, headers)
    closed = closed_by_refusal(said, headers[WORD_HEADER], headers.get(RETRY_HEADER, ""))
    assert (closed.reason, closed.reconnect, closed.retry_after_ms) == (error.word, advice, error.retry_after_ms)
    code, reason = close_of_refusal(error)
    assert code == 4000 + status
    again = closed_by_close(code, reason)
    assert (again.reason, again.reconnect, again.retry_after_ms) == (error.word, advice, error.retry_after_ms)


@pytest.mark.parametrize("code", [1000, 1012, 4000, 4001, 4403, 4500, 5429])
def test_other_close_frames_are_no_refusals(code):
    assert closed_by_close(code, "throttled retry-after-ms=1") is None


@pytest.mark.parametrize(
    ("error", "status", "names"),
    [
        (SignalingError(Code.PERMISSION_DENIED, "no"), 503, []),
        (SignalingError(Code.UNAUTHENTICATED, "no"), 401, ["WWW-Authenticate"]),
        (errors.too_many_requests("list_peers", 1.0, 30), 429, ["Retry-After", RETRY_HEADER]),
    ],
)
def test_an_error_without_a_word_has_an_answer_too(error, status, names):
    said, shown = refusal_of(error)
    assert (said, [name for name, _ in shown]) == (status, names)


@pytest.mark.parametrize(
    ("status", "word", "retry", "closed"),
    [
        (401, "", "", ("unauthenticated", False, None)),
        (403, "", "", ("origin", False, None)),
        (503, "", "", ("refused with HTTP 503", True, None)),
        (502, "", "5", ("refused with HTTP 502", True, None)),
        (404, "", "", ("refused with HTTP 404", None, None)),
        (503, "brewing", "", ("brewing", None, None)),
        (429, "throttled", "soon", ("throttled", True, None)),
        (429, "throttled", "-1", ("throttled", True, None)),
        (429, "throttled", "\u0661", ("throttled", True, None)),
    ],
)
def test_what_others_answer_is_read_as_far_as_it_goes(status, word, retry, closed):
    read = closed_by_refusal(status, word, retry)
    assert (read.reason, read.reconnect, read.retry_after_ms) == closed
