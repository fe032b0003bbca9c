"""Counters: buckets of time, and tables that clients cannot make grow."""

import pytest

from clock import NOW
from sigbridge import Announce, Disconnect, DisconnectReason, Hub, Offer, Settings, errors
from sigbridge.counters import SECONDS_BOUNDS, Counters, Histogram
from sigbridge.errors import Code
from stage import PlainEncoding


def test_the_bounds_rise():
    assert list(SECONDS_BOUNDS) == sorted(set(SECONDS_BOUNDS))


@pytest.mark.parametrize("place", range(len(SECONDS_BOUNDS)))
def test_a_value_falls_below_the_first_bound_that_is_not_smaller(place):
    histogram = Histogram()
    bound = SECONDS_BOUNDS[place]
    histogram.add(bound)
    assert histogram.counts[place] == 1
    histogram.add(bound * 1.0001)
    assert histogram.counts[place + 1] == 1
    histogram.add(0.0)
    assert histogram.counts[0] == (2 if place == 0 else 1)
    assert sum(histogram.counts) == 3
    assert histogram.total == pytest.approx(2.0001 * bound)


def test_what_is_longer_than_all_bounds_is_counted_last():
    histogram = Histogram()
    histogram.add(1000.0)
    assert histogram.counts == [0] * len(SECONDS_BOUNDS) + [1]


def test_times_are_kept_by_protocol_and_kind():
    counters = Counters()
    counters.tallies("grpc").of("offer").observe(0.5)
    counters.tallies("websocket").of("offer").observe(0.5)
    counters.tallies("grpc").of("offer").observe(0.25)
    assert counters.seconds["grpc", "offer"].total == 0.75
    assert sum(counters.seconds["websocket", "offer"].counts) == 1


def open_session(hub, protocol="grpc"):
    return hub.open(protocol=protocol, encoding=PlainEncoding(), on_end=lambda reason: None, now=NOW)


def test_a_request_is_timed_from_its_beginning_to_its_reply():
    time = [0.0]
    hub = Hub(Settings(), NOW, stopwatch=lambda: time[0])
    session = open_session(hub)
    hub.apply(session, Announce("a"), NOW)
    time[0] = 0.003
    hub.reply(session, b"reply", NOW)
    histogram = hub.counters.seconds["grpc", "announce"]
    assert (sum(histogram.counts), histogram.total) == (1, 0.003)
    # Nothing is timed twice, and an answer that no request precedes is none.
    hub.reply(session, b"more", NOW)
    assert sum(histogram.counts) == 1


def test_without_a_stopwatch_nothing_is_timed():
    hub = Hub(Settings(), NOW)
    session = open_session(hub)
    hub.apply(session, Announce("a"), NOW)
    hub.reply(session, b"reply", NOW)
    assert hub.counters.seconds == {}


def test_sessions_and_relays_are_counted_by_protocol():
    hub = Hub(Settings(), NOW)
    alice, bob = open_session(hub, "grpc"), open_session(hub, "websocket")
    hub.apply(alice, Announce("alice"), NOW)
    hub.apply(bob, Announce("bob"), NOW)
    hub.apply(alice, Offer("bob", "v=0"), NOW)
    hub.apply(bob, Offer("nobody", "v=0"), NOW)
    counters = hub.counters
    assert counters.relays == {("grpc", "websocket", "offer"): 1}
    assert counters.requests["grpc", "offer", "ok"] == 1
    assert counters.requests["websocket", "offer", "NOT_FOUND"] == 1
    assert counters.sessions == {"grpc": 1, "websocket": 1}
    hub.close(alice, DisconnectReason.CLIENT_LEFT, NOW)
    hub.close(alice, DisconnectReason.CONNECTION_LOST, NOW)
    assert counters.sessions == {"grpc": 0, "websocket": 1}
    assert counters.disconnects == {("grpc", "client_left"): 1}


def test_no_table_grows_by_what_clients_say():
    hub = Hub(Settings(rate_per_second=0), NOW, stopwatch=lambda: 0.0)
    session = open_session(hub)
    for number in range(2000):
        hub.apply(session, Announce(f"peer {number}", room=f"room {number}"), NOW)
        hub.apply(session, Offer(f"nobody {number}", "v=0", type=f"type {number}"), NOW)
        hub.apply(session, Disconnect(f"peer {number}"), NOW)
        hub.refuse(session, "unknown", errors.method_not_found(f"method {number}"), NOW)
        hub.reply(session, None, NOW)
    words = {code.name for code in Code} | {"ok"}
    assert {outcome for _, _, outcome in hub.counters.requests} <= words
    assert len(hub.counters.requests) < 10
    assert len(hub.counters.events) < 5
    assert len(hub.counters.seconds) < 5
