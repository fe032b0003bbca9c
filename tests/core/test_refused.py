"""Clients that are not let in: one count and one line each, and few lines of many."""

import logging

import pytest

from sigbridge import errors
from sigbridge.auth import Credentials, RefusalCounter
from sigbridge.counters import REFUSAL_REASONS, TCP_REFUSALS, Counters
from sigbridge.disconnects import REFUSALS
from sigbridge.errors import Code, SignalingError
from sigbridge.refused import MAX_DETAIL_LENGTH, note_refusal, note_refused
from sigbridge_server.log_gathering import Gathering

HERE = "192.0.2.1"
OF_TCP = [word for _, word in TCP_REFUSALS]


@pytest.fixture(autouse=True)
def all_levels(caplog):
    caplog.set_level(logging.INFO, logger="sigbridge.door")


def test_every_word_is_a_label():
    assert set(REFUSAL_REASONS) == set(REFUSALS)


@pytest.mark.parametrize("word", [*REFUSAL_REASONS, *OF_TCP])
def test_a_refusal_is_a_count_and_a_line(word, caplog):
    counters = Counters()
    note_refused(counters, "websocket", word, HERE, "why")
    assert +counters.refusals == {("websocket", word): 1}
    (line,) = caplog.records
    assert (line.getMessage(), line.protocol, line.remote, line.reason, line.detail) == (
        "client refused",
        "websocket",
        HERE,
        word,
        "why",
    )
    # Limits of ours, and clients at the wrong port, are for the operator to look at.
    assert (line.levelname == "WARNING") == (word in {"sessions", "memory", *OF_TCP} - {"tls"})


@pytest.mark.parametrize(
    ("error", "word", "detail"),
    [
        (errors.unauthenticated(), "unauthenticated", ""),
        (errors.throttled(1), "throttled", ""),
        (errors.held_off(1), "held_off", "SIGNALING_FLOOD_HOLD_SEC"),
        (errors.too_many_sessions("SIGNALING_MAX_SESSIONS", 2), "sessions", "SIGNALING_MAX_SESSIONS"),
        (SignalingError(Code.INTERNAL, "canary", canary="canary"), "unauthenticated", ""),
    ],
)
def test_an_error_says_its_word_and_its_limit_and_nothing_else(error, word, detail, caplog):
    counters = Counters()
    note_refusal(counters, "grpc", error, HERE)
    (line,) = caplog.records
    assert (line.reason, line.detail) == (word, detail)
    assert +counters.refusals == {("grpc", word): 1}
    assert "canary" not in str(line.__dict__)


def test_what_a_client_says_is_cut(caplog):
    note_refused(Counters(), "websocket", "origin", HERE, "x" * 10_000)
    assert caplog.records[0].detail == "x" * MAX_DETAIL_LENGTH


def test_a_detail_is_for_the_log_alone():
    class Refusing:
        def authenticate(self, credentials, now):
            error = errors.unauthenticated()
            error.detail = "canary"
            raise error

    with pytest.raises(SignalingError) as refused:
        RefusalCounter(Refusing(), Counters(), "grpc").authenticate(Credentials("t"), None)
    assert "canary" not in f"{refused.value!r} {refused.value} {refused.value.data()}"


@pytest.mark.thorough
@pytest.mark.parametrize(("addresses", "at_once", "later"), [(1, 1, 1), (10_000, 100, 1)])
def test_a_flood_of_refusals_is_few_lines(addresses, at_once, later, caplog):
    counters, gathering = Counters(), Gathering()
    for number in range(10_000):
        note_refused(counters, "tcp", "connections", f"10.0.{number % addresses // 256}.{number % addresses % 256}")
    assert sum(gathering.take(record, 1.0) for record in caplog.records) == at_once
    told = gathering.end_window()
    assert (len(told), at_once + sum(record.count for record in told)) == (later, 10_000)
    assert counters.refusals["tcp", "connections"] == 10_000
