"""Counters: buckets of time, and tables that clients cannot make grow."""

import pytest

from clock import NOW
from sigbridge import Announce, Disconnect, DisconnectReason, HealthCheck, Hub, Offer, Settings, errors
from sigbridge.counters import REFUSAL_REASONS, SECONDS_BOUNDS, TCP_REFUSALS, Counters, Tally
from sigbridge.errors import Code
from sigbridge_compat.deferred import Deferral
from stage import PlainEncoding, Recorder


def test_the_bounds_rise():
    assert list(SECONDS_BOUNDS) == sorted(set(SECONDS_BOUNDS))


@pytest.mark.parametrize("place", range(len(SECONDS_BOUNDS)))
def test_a_value_falls_below_the_first_bound_that_is_not_smaller(place):
    tally = Tally("offer")
    bound = SECONDS_BOUNDS[place]
    tally.observe(bound)
    histogram = tally.seconds
    assert histogram.counts[place] == 1
    tally.observe(bound * 1.0001)
    assert histogram.counts[place + 1] == 1
    tally.observe(0.0)
    assert histogram.counts[0] == (2 if place == 0 else 1)
    assert sum(histogram.counts) == 3
    assert histogram.total == pytest.approx(2.0001 * bound)


def test_what_is_longer_than_all_bounds_is_counted_last():
    tally = Tally("offer")
    assert tally.seconds is None
    tally.observe(1000.0)
    assert tally.seconds.counts == [0] * len(SECONDS_BOUNDS) + [1]


def test_times_are_kept_by_protocol_and_kind():
    counters = Counters()
    counters.tally("grpc", "offer").observe(0.5)
    counters.tally("websocket", "offer").observe(0.5)
    counters.tally("grpc", "offer").observe(0.25)
    assert counters.seconds["grpc", "offer"].total == 0.75
    assert sum(counters.seconds["websocket", "offer"].counts) == 1


def test_a_tally_is_made_when_its_kind_first_comes():
    counters = Counters()
    tallies = counters.tallies("grpc")
    assert tallies == {}
    offers = counters.tally("grpc", "offer")
    assert tallies == {"offer": offers}
    assert counters.tally("grpc", "offer") is offers
    assert counters.tallies("grpc") is tallies
    assert counters.tallies("websocket") == {}


def test_a_protocol_is_seen_from_when_it_is_known():
    counters = Counters()
    assert (dict(counters.sessions), dict(counters.refusals)) == ({}, dict.fromkeys(TCP_REFUSALS, 0))
    for protocol in ("grpc", "quic", "grpc"):
        counters.know(protocol)
    assert counters.sessions == {"grpc": 0, "quic": 0}
    assert list(counters.sessions) == ["grpc", "quic"]
    every = {(protocol, reason): 0 for protocol in ("grpc", "quic") for reason in REFUSAL_REASONS}
    assert dict(counters.refusals) == {
        **{
            ("tcp", word): 0
            for word in ("connections", "descriptors", "tls_on_plain", "plain_on_tls", "tls", "proxy_header")
        },
        **every,
    }
    assert REFUSAL_REASONS == ("unauthenticated", "throttled", "held_off", "origin", "draining", "memory", "sessions")
    counters.sessions["grpc"] += 1
    counters.refusals["grpc", "origin"] += 1
    counters.know("grpc")
    assert (counters.sessions["grpc"], counters.refusals["grpc", "origin"]) == (1, 1), "a second time changes nothing"


def test_health_shows_every_protocol_that_is_known():
    hub = Hub(Settings(), NOW)
    assert hub.health(NOW).metrics["sessions"] == {}
    for protocol in ("grpc", "quic"):
        hub.counters.know(protocol)
    open_session(hub, "quic")
    assert hub.health(NOW).metrics["sessions"] == {"grpc": 0, "quic": 1}


def open_session(hub, protocol="grpc"):
    return hub.open(protocol, PlainEncoding(), lambda reason: None, NOW)


class Stopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class SlowEncoding(PlainEncoding):
    """Takes 3 milliseconds for each response."""

    def __init__(self, stopwatch):
        super().__init__()
        self._stopwatch = stopwatch

    def encode_response(self, outcome, request_id):
        self._stopwatch.seconds += 0.003
        return super().encode_response(outcome, request_id)


def test_a_request_is_timed_from_its_beginning_to_its_response():
    stopwatch = Stopwatch()
    hub = Hub(Settings(), NOW, stopwatch=stopwatch)
    session = hub.open("grpc", SlowEncoding(stopwatch), lambda reason: None, NOW)
    hub.apply(session, Announce("a"), [], NOW)
    histogram = hub.counters.seconds["grpc", "announce"]
    assert (sum(histogram.counts), histogram.total) == (1, 0.003)
    # Nothing is timed twice, and a response that no request of the hub precedes is none.
    stopwatch.seconds = 5.0
    hub.put_array(session, b"more", NOW)
    assert sum(histogram.counts) == 1
    # What is refused is timed like what is not.
    hub.apply(session, Announce("a"), [], NOW)
    assert (sum(histogram.counts), histogram.total) == (2, pytest.approx(0.006))


def test_each_request_of_a_batch_is_timed_by_itself():
    stopwatch = Stopwatch()
    hub = Hub(Settings(), NOW, stopwatch=stopwatch)
    session = open_session(hub)

    class SlowSink(Recorder):
        def respond(self, outcome, request_id, now):
            stopwatch.seconds += 0.25
            super().respond(outcome, request_id, now)

    outcomes = []
    for request in (Announce("a"), HealthCheck(), HealthCheck()):
        hub.apply(session, request, outcomes, NOW, sink=SlowSink())
        # Between one and the next is nobody's time.
        stopwatch.seconds += 100.0
    hub.put_array(session, b"array", NOW)
    assert len(outcomes) == 3
    seconds = hub.counters.seconds
    assert {key: (sum(one.counts), one.total) for key, one in seconds.items()} == {
        ("grpc", "announce"): (1, 0.25),
        ("grpc", "health_check"): (2, 0.5),
    }


def test_what_is_awaited_is_timed_until_it_is_known():
    stopwatch = Stopwatch()
    deferral = Deferral()
    hub = Hub(Settings(), NOW, directory=deferral, bus=deferral, stopwatch=stopwatch)
    session = open_session(hub)
    hub.apply(session, Announce("a"), [], NOW)
    assert hub.counters.seconds == {}
    stopwatch.seconds = 0.5
    deferral.complete(now=NOW)
    histogram = hub.counters.seconds["grpc", "announce"]
    assert (sum(histogram.counts), histogram.total) == (1, 0.5)


def test_without_a_stopwatch_nothing_is_timed():
    hub = Hub(Settings(), NOW)
    session = open_session(hub)
    hub.apply(session, Announce("a"), [], NOW)
    assert hub.counters.seconds == {}


def test_sessions_and_relays_are_counted_by_protocol():
    hub = Hub(Settings(), NOW)
    alice, bob = open_session(hub, "grpc"), open_session(hub, "websocket")
    hub.apply(alice, Announce("alice"), [], NOW)
    hub.apply(bob, Announce("bob"), [], NOW)
    hub.apply(alice, Offer("bob", "v=0"), [], NOW)
    hub.apply(bob, Offer("nobody", "v=0"), [], NOW)
    counters = hub.counters
    assert counters.relays == {("grpc", "websocket", "offer"): 1}
    assert counters.requests["grpc", "offer", "ok"] == 1
    assert counters.requests["websocket", "offer", "NOT_FOUND"] == 1
    assert counters.sessions == {"grpc": 1, "websocket": 1}
    hub.end(alice, DisconnectReason.CLIENT_LEFT, NOW)
    hub.end(alice, DisconnectReason.CONNECTION_LOST, NOW)
    assert counters.sessions == {"grpc": 0, "websocket": 1}
    assert counters.disconnects == {("grpc", "client_left"): 1}


def test_no_table_grows_by_what_clients_say():
    hub = Hub(Settings(rate_per_second=0), NOW, stopwatch=lambda: 0.0)
    session = open_session(hub)
    for number in range(2000):
        hub.apply(session, Announce(f"peer {number}", room=f"room {number}"), [], NOW)
        hub.apply(session, Offer(f"nobody {number}", "v=0", type=f"type {number}"), [], NOW)
        hub.apply(session, Disconnect(f"peer {number}"), [], NOW)
        hub.respond(session, "unknown", errors.method_not_found(f"method {number}"), [], NOW)
        session.outbox.take(10**12)
    words = {code.name for code in Code} | {"ok"}
    assert {outcome for _, _, outcome in hub.counters.requests} <= words
    assert len(hub.counters.requests) < 10
    assert len(hub.counters.events) < 5
    assert len(hub.counters.seconds) < 5
