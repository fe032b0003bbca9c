"""Token buckets: how they empty, refill and are forgotten, and what the hub makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigbridge import (
    Announce,
    Code,
    Disconnect,
    DisconnectReason,
    HealthCheck,
    Hub,
    Instant,
    ListPeers,
    Offer,
    Settings,
    SignalingError,
    errors,
)
from sigbridge.auth import ANYBODY, Identity
from sigbridge.limits import RateLimiter
from sigbridge.session import Caller
from stage import PlainEncoding, Recorder, outcome_of

KIB = 1024


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds, 1_700_000_000.0 + seconds)


def taken(limiter: RateLimiter, now: float, holder: str = "h", kind: str = "offer") -> int:
    """Number of requests that are let through at once."""
    count = 0
    try:
        while count < 10_000:
            limiter.take(holder, kind, now)
            count += 1
    except SignalingError:
        return count
    return count


def test_a_burst_then_the_rate():
    limiter = RateLimiter(per_second=10, burst=50, bytes_per_token=64 * KIB)
    assert taken(limiter, 0.0) == 50
    assert taken(limiter, 0.05) == 0
    assert taken(limiter, 0.1) == 1
    assert taken(limiter, 1.1) == 10
    assert taken(limiter, 1000.0) == 50, "never more than the burst, however long the silence"


def test_refused_requests_cost_nothing():
    limiter = RateLimiter(per_second=1, burst=1, bytes_per_token=64 * KIB)
    assert taken(limiter, 0.0) == 1
    for step in range(1, 1000):
        with pytest.raises(SignalingError):
            limiter.take("h", "offer", step / 1001)
    assert taken(limiter, 1.0) == 1


def test_what_the_refusal_says():
    limiter = RateLimiter(per_second=2.5, burst=1, bytes_per_token=64 * KIB)
    limiter.take("h", "ice_candidate", 0.0)
    with pytest.raises(SignalingError) as refused:
        limiter.take("h", "ice_candidate", 0.1)
    assert refused.value.data() == {
        "code": 8,
        "status": "RESOURCE_EXHAUSTED",
        "limit": "SIGNALING_RATE_PER_SEC",
        "value": 2.5,
        "retry_after_ms": pytest.approx(301, abs=1),
    }
    retry = refused.value.extra["retry_after_ms"]
    assert refused.value.message == (
        f"Too many ice_candidate requests (limit SIGNALING_RATE_PER_SEC is 2.5): try again in {retry} ms"
    )


@given(
    rate=st.floats(0.001, 1e6),
    burst=st.integers(1, 100),
    start=st.floats(0, 1e7),
    steps=st.lists(st.floats(0, 2), max_size=20),
)
def test_whoever_waits_as_long_as_told_is_let_in(rate, burst, start, steps):
    limiter = RateLimiter(per_second=rate, burst=burst, bytes_per_token=64 * KIB)
    now = start
    for step in [0.0, *steps]:
        now += step / rate
        for _ in range(burst + 1):
            try:
                limiter.take("h", "offer", now)
            except SignalingError as error:
                retry_after_ms = error.extra["retry_after_ms"]
                assert isinstance(retry_after_ms, int)
                assert 1 <= retry_after_ms <= 1000 / rate + 3
                now += retry_after_ms / 1000
                limiter.take("h", "offer", now)


def test_kinds_and_holders_have_buckets_of_their_own():
    limiter = RateLimiter(per_second=1, burst=3, bytes_per_token=64 * KIB)
    for holder in ("a", "b"):
        for kind in ("offer", "answer"):
            assert taken(limiter, 0.0, holder, kind) == 3
    assert taken(limiter, 0.0, "a", "offer") == 0
    assert len(limiter) == 4


def test_full_buckets_are_forgotten_and_others_are_not():
    limiter = RateLimiter(per_second=10, burst=10, bytes_per_token=64 * KIB)
    for number in range(1000):
        limiter.take(f"holder {number}", "offer", 0.0)
    for _ in range(10):
        limiter.take("busy", "offer", 0.0)
    limiter.expire(0.05)
    assert len(limiter) == 1001
    limiter.expire(0.15)
    assert len(limiter) == 1
    assert taken(limiter, 0.15, "busy") == 1, "forgetting others has not refilled it"
    limiter.expire(2.0)
    assert len(limiter) == 0
    limiter.expire(3.0)


def test_a_rate_of_zero_limits_nothing_and_keeps_nothing():
    limiter = RateLimiter(per_second=0, burst=1, bytes_per_token=64 * KIB)
    assert taken(limiter, 0.0) == 10_000
    assert len(limiter) == 0
    limiter.expire(1.0)


def test_a_long_listing_takes_a_token_for_each_so_many_bytes():
    limiter = RateLimiter(per_second=1, burst=20, bytes_per_token=64 * KIB)
    for size, tokens in ((0, 1), (1, 1), (64 * KIB, 1), (64 * KIB + 1, 2), (512 * KIB, 8)):
        holder = f"of {size} bytes"
        limiter.take(holder, "list_peers", 0.0)
        limiter.charge_listing(holder, "list_peers", size, 0.0)
        assert taken(limiter, 0.0, holder, "list_peers") == 20 - tokens


def test_what_a_listing_costs_beyond_its_bucket_is_waited_for_by_the_next():
    limiter = RateLimiter(per_second=2, burst=3, bytes_per_token=KIB)
    limiter.take("h", "list_peers", 0.0)
    limiter.charge_listing("h", "list_peers", 10 * KIB, 0.0)
    with pytest.raises(SignalingError) as refused:
        limiter.take("h", "list_peers", 0.0)
    # Seven are owed, and one is to be there.
    assert refused.value.extra["retry_after_ms"] == 4001
    limiter.expire(1.6)
    assert taken(limiter, 3.9, "h", "list_peers") == 0, "a debt is not forgotten"
    assert taken(limiter, 4.0, "h", "list_peers") == 1
    assert taken(limiter, 100.0, "h", "list_peers") == 3
    assert taken(limiter, 100.0, "h", "offer") == 3


def test_a_bucket_that_was_forgotten_before_it_is_charged_was_full():
    limiter = RateLimiter(per_second=1, burst=5, bytes_per_token=KIB)
    limiter.charge_listing("h", "list_peers", 3 * KIB, 0.0)
    assert taken(limiter, 0.0, "h", "list_peers") == 3
    limiter.take("h", "list_peers", 50.0)
    limiter.charge_listing("h", "list_peers", 2 * KIB, 200.0)
    assert taken(limiter, 200.0, "h", "list_peers") == 4


def test_rosters_are_charged_beyond_what_is_allowed_only():
    limiter = RateLimiter(per_second=10, burst=50, bytes_per_token=KIB)
    for _ in range(4):
        limiter.take("h", "announce", 0.0)
        limiter.charge_roster("h", "announce", 5 * KIB, 20 * KIB, 0.0)
    limiter.take("h", "announce", 0.0)
    limiter.charge_roster("h", "announce", 5 * KIB, 20 * KIB, 0.0)
    limiter.take("h", "announce", 0.0)
    limiter.charge_roster("h", "announce", 5 * KIB, 20 * KIB, 0.0)
    assert len(limiter) == 2
    assert taken(limiter, 0.0, "h", "announce") == 50 - 6 - 10
    # What is allowed comes back at the same rate.
    limiter.expire(1.0)
    limiter.charge_roster("h", "announce", 10 * KIB, 20 * KIB, 1.0)
    assert taken(limiter, 1.0, "h", "announce") == 10
    limiter.expire(100.0)
    assert len(limiter) == 0


@pytest.mark.parametrize("each", [lambda number: 200, lambda number: 20_000 - 9 * number, lambda number: 9 * number])
def test_2000_who_come_back_at_once_are_charged_nothing(each):
    """Whatever sizes they have, and in whichever order they come."""
    most = Settings().max_room_peers
    limiter = RateLimiter(per_second=1000, burst=10_000, bytes_per_token=64 * KIB)
    room = 0
    for number in range(2000):
        limiter.take("h", "announce", 0.0)
        if number:
            limiter.charge_roster("h", "announce", room, room * (most * (most - 1) // 2) // number, 0.0)
        room += each(number)
    assert taken(limiter, 0.0, "h", "announce") == 8000


def test_a_rate_of_zero_charges_nothing():
    limiter = RateLimiter(per_second=0, burst=1, bytes_per_token=1)
    limiter.charge_listing("h", "list_peers", 1 << 30, 0.0)
    limiter.charge_roster("h", "announce", 1 << 30, 0, 0.0)
    assert len(limiter) == 0


# In the hub.


def make_hub(**settings) -> Hub:
    return Hub(Settings(**settings), at(0))


def open_session(hub: Hub, now: float = 0, *, remote: str = "192.0.2.1", identity: Identity = ANYBODY):
    return hub.open("websocket", PlainEncoding(), lambda reason: None, at(now), Caller(identity, remote))


def test_reconnecting_does_not_refill():
    hub = make_hub(rate_per_second=1, rate_burst=2)
    codes = []
    for _ in range(4):
        session = open_session(hub)
        response = outcome_of(hub, session, ListPeers(), at(0))
        codes.append(response.code if isinstance(response, SignalingError) else None)
        hub.end(session, DisconnectReason.CLIENT_LEFT, at(0))
    assert codes == [None, None, Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED]
    assert not isinstance(outcome_of(hub, open_session(hub, remote="192.0.2.2"), ListPeers(), at(0)), SignalingError)


def test_an_identity_has_one_bucket_wherever_it_comes_from():
    hub = make_hub(rate_per_second=1, rate_burst=1)
    alice, bob = Identity(subject="alice"), Identity(subject="bob")
    assert not isinstance(outcome_of(hub, open_session(hub, identity=alice), ListPeers(), at(0)), SignalingError)
    elsewhere = open_session(hub, identity=alice, remote="192.0.2.9")
    assert outcome_of(hub, elsewhere, ListPeers(), at(0)).code is Code.RESOURCE_EXHAUSTED
    assert not isinstance(outcome_of(hub, open_session(hub, identity=bob), ListPeers(), at(0)), SignalingError)


def test_the_rate_is_checked_first_and_a_refused_request_changes_nothing():
    hub = make_hub(rate_per_second=1, rate_burst=1)
    session = open_session(hub)
    assert outcome_of(hub, session, Announce(""), at(0)).code is Code.INVALID_ARGUMENT
    refused = outcome_of(hub, session, Announce("a"), at(0))
    assert refused.code is Code.RESOURCE_EXHAUSTED
    assert (hub.peer_count, session.open) == (0, True)
    later = at(refused.extra["retry_after_ms"] / 1000)
    assert outcome_of(hub, session, Announce("a"), later).peer_id == "a"
    # Offers have a bucket of their own.
    assert outcome_of(hub, session, Offer("nobody", "v=0"), later).code is Code.NOT_FOUND


def test_what_is_no_request_is_limited_too():
    hub = make_hub(rate_per_second=1, rate_burst=2)
    session = open_session(hub)
    fault = errors.malformed_request()
    responses = []
    for _ in range(3):
        hub.respond(session, "unknown", fault, responses, at(0), sink=Recorder())
    assert responses[:2] == [fault, fault]
    assert responses[2].message.startswith("Too many unknown requests")
    assert hub.counters.requests["websocket", "unknown", "INVALID_ARGUMENT"] == 2
    assert hub.counters.requests["websocket", "unknown", "RESOURCE_EXHAUSTED"] == 1


def test_queries_without_a_session_share_the_bucket_of_their_holder():
    hub = make_hub(rate_per_second=1, rate_burst=2)
    outcome_of(hub, open_session(hub), ListPeers(), at(0))
    caller = Caller(address="192.0.2.1")
    hub.query("grpc", ListPeers(), caller, at(0))
    with pytest.raises(SignalingError) as refused:
        hub.query("grpc", ListPeers(), caller, at(0))
    assert refused.value.extra["retry_after_ms"] >= 1000
    hub.query("grpc", HealthCheck(), caller, at(0))
    assert hub.counters.requests["grpc", "list_peers", "RESOURCE_EXHAUSTED"] == 1


def test_the_hub_forgets_full_buckets():
    hub = make_hub(rate_per_second=10, rate_burst=10)
    for number in range(500):
        hub.query("grpc", HealthCheck(), Caller(address=f"192.0.2.{number}"), at(0))
    assert len(hub._limiter) == 500
    hub.expire(at(1))
    assert len(hub._limiter) == 0


def test_a_conference_that_joins_at_once_from_one_address_never_meets_the_default():
    hub = make_hub()
    sessions = [open_session(hub) for _ in range(20)]
    responses = [outcome_of(hub, session, Announce(f"p{number}"), at(0)) for number, session in enumerate(sessions)]
    for number, session in enumerate(sessions):
        responses += [outcome_of(hub, session, Offer(f"p{other}", "v=0"), at(0)) for other in range(number)]
    assert not [response for response in responses if isinstance(response, SignalingError)]


def filled(hub: Hub, count: int, size: int) -> None:
    """Lets so many announce, each with metadata of so many bytes, from addresses of their own."""
    for number in range(count):
        session = open_session(hub, remote=f"198.51.100.{number}")
        outcome_of(hub, session, Announce(f"p{number}", metadata={"about": "x" * size}), at(0))


@pytest.mark.parametrize("way", ["session", "question"])
def test_a_long_listing_is_charged_by_its_bytes_however_it_is_asked_for(way):
    hub = make_hub(rate_per_second=1, rate_burst=20)
    filled(hub, 33, 16_000)
    caller = Caller(address="192.0.2.1")
    session = open_session(hub)

    def listed() -> int:
        if way == "question":
            return len(hub.query("grpc", ListPeers(), caller, at(0)).peers)
        page = outcome_of(hub, session, ListPeers(), at(0))
        if isinstance(page, SignalingError):
            raise page
        return len(page.peers)

    # Pages of half a megabyte: eight tokens each. The third is made, though only four are left, and the fourth waits.
    assert [listed() for _ in range(3)] == [32, 32, 32]
    with pytest.raises(SignalingError) as refused:
        listed()
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert refused.value.extra["retry_after_ms"] == 5001


def test_a_short_listing_takes_one_token():
    hub = make_hub(rate_per_second=1, rate_burst=20)
    filled(hub, 33, 16_000)
    session = open_session(hub)
    responses = [outcome_of(hub, session, ListPeers(page_size=1), at(0)) for _ in range(21)]
    assert [isinstance(response, SignalingError) for response in responses] == [False] * 20 + [True]


def test_a_listing_that_is_refused_takes_one_token():
    hub = make_hub(rate_per_second=1, rate_burst=2)
    filled(hub, 33, 16_000)
    session = open_session(hub)
    assert outcome_of(hub, session, ListPeers(page_token="?"), at(0)).code is Code.INVALID_ARGUMENT
    assert not isinstance(outcome_of(hub, session, ListPeers(), at(0)), SignalingError)


def test_the_largest_room_comes_back_at_once_and_no_roster_of_it_is_charged():
    hub = make_hub(rate_per_second=1, rate_burst=40, rate_kib_per_token=1, max_room_peers=40)
    sessions = [open_session(hub) for _ in range(41)]
    responses = [outcome_of(hub, one, Announce(f"p{number}"), at(0)) for number, one in enumerate(sessions[:40])]
    assert not [response for response in responses if isinstance(response, SignalingError)]
    assert outcome_of(hub, sessions[40], Announce("more"), at(0)).code is Code.RESOURCE_EXHAUSTED


def test_who_announces_and_leaves_over_and_over_is_charged_for_its_rosters():
    hub = make_hub(rate_per_second=1, rate_burst=100, rate_kib_per_token=1, max_room_peers=10)
    filled(hub, 9, 1000)
    session = open_session(hub)
    accepted = 0
    while not isinstance(outcome_of(hub, session, Announce("p"), at(0)), SignalingError):
        accepted += 1
        outcome_of(hub, session, Disconnect("p"), at(0))
    # Nine entries each, of about 1.2 kB, of which 45 count for nothing: ten tokens, and the one of the request.
    assert 11 <= accepted <= 15
    # Rosters that are not sent cost nothing.
    quiet = make_hub(rate_per_second=1, rate_burst=100, rate_kib_per_token=1, max_room_peers=10, replay_roster=False)
    filled(quiet, 9, 1000)
    session = open_session(quiet)
    for _ in range(100):
        assert not isinstance(outcome_of(quiet, session, Announce("p"), at(0)), SignalingError)
        outcome_of(quiet, session, Disconnect("p"), at(0))


def test_who_has_no_address_holds_no_bucket_with_others():
    """Behind a unix socket nobody has an address: a question there is not limited, and a session by itself."""
    limiter = RateLimiter(per_second=1.0, burst=1, bytes_per_token=1)
    for _ in range(3):
        limiter.take("", "offer", 0.0)
    limiter.charge_listing("", "list_peers", 1000, 0.0)
    limiter.charge_roster("", "announce", 1000, 0, 0.0)
    assert len(limiter) == 0
