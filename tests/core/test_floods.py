"""Flooding: what counts as it, who is kept out for it and for how long, and what the hub makes of both."""

import pytest

from sigbridge import (
    Announce,
    Authenticate,
    Authenticated,
    Code,
    DisconnectReason,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge.auth import ANYBODY, Identity
from sigbridge.floods import MAX_REFUSALS, FloodCount, FloodCounts, HeldOff
from sigbridge.session import Caller

HERE = "192.0.2.1"
MALLORY, ALICE = Identity("mallory"), Identity("alice")


def refuse(count: FloodCount, times: int, now: float, *, kind: str = "offer", retry_after_ms: int = 9000) -> list[bool]:
    return [count.count(kind, retry_after_ms, now) for _ in range(times)]


# What counts.


@pytest.mark.parametrize("last", [2.0, 2.5, 2.999])
def test_too_many_in_each_of_three_seconds_are_flooding(last):
    count = FloodCount()
    assert not any(refuse(count, 60, 0.0) + refuse(count, 40, 1.0))
    assert not count.flooded
    assert refuse(count, 1, last) == [True]
    assert count.flooded


def test_as_many_as_are_let_be_are_none():
    count = FloodCount()
    assert not any(refuse(count, 50, 0.0) + refuse(count, MAX_REFUSALS - 51, 1.0) + refuse(count, 1, 2.0))
    assert refuse(count, 1, 2.0) == [True]


def test_whatever_comes_at_once_is_none():
    count = FloodCount()
    assert not any(refuse(count, 10_000, 0.0) + refuse(count, 10_000, 1.999))


def test_a_second_without_any_ends_the_run():
    count = FloodCount()
    assert not any(refuse(count, 200, 0.0) + refuse(count, 200, 1.9))
    assert not any(refuse(count, 200, 3.0) + refuse(count, 200, 4.0) + refuse(count, 200, 4.9))
    assert refuse(count, 1, 5.0) == [True], "which begins anew with the first one after it"


def test_few_in_each_second_are_flooding_in_the_long_run():
    count = FloodCount()
    seen = [any(refuse(count, 11, float(second))) for second in range(12)]
    assert seen.index(True) == 9


@pytest.mark.parametrize("rate", [0.5, 10, 1000])
def test_who_waits_as_long_as_told_never_floods(rate):
    count, now, wait = FloodCount(), 0.0, int(1000 / rate)
    for _ in range(5000):
        assert not count.count("offer", wait, now)
        now += wait / 1000


def test_each_kind_has_a_time_of_its_own():
    count, now = FloodCount(), 0.0
    for _ in range(5000):
        assert not count.count("offer", 2, now)
        assert not count.count("ice_candidate", 2, now + 0.001)
        now += 0.002


def test_after_flooding_a_count_begins_anew():
    count = FloodCount()
    refuse(count, 200, 0.0)
    refuse(count, 1, 1.0)
    assert refuse(count, 1, 2.0) == [True]
    assert not any(refuse(count, 200, 2.25) + refuse(count, 1, 3.25))
    assert refuse(count, 1, 4.25) == [True]


def test_connections_are_counted_apart_and_forgotten():
    counts = FloodCounts(max_connections=3)
    for moment in (0.0, 1.0):
        for name in ("a", "b", "c"):
            assert not any(counts.count(name, "offer", 9000, moment) for _ in range(100))
    assert counts.count("a", "offer", 9000, 2.0)
    assert not counts.count("d", "offer", 100, 2.0)
    assert len(counts) == 3, "the one that was refused longest ago is forgotten"
    assert not counts.count("b", "offer", 100, 2.0)
    assert not counts.count("e", "offer", 100, 10.0)
    assert len(counts) == 1


# Who is kept out.


def held(who: HeldOff, name: str, address: str, now: float) -> int:
    """The milliseconds for which somebody is held off; 0: not at all."""
    refused: SignalingError | None = None
    try:
        who.check(name, address, now)
    except SignalingError as error:
        refused = error
    if refused is None:
        return 0
    retry_after_ms = refused.extra["retry_after_ms"]
    assert refused == errors.held_off(retry_after_ms)
    return retry_after_ms


def test_an_identity_is_held_off_for_a_while():
    who = HeldOff(5.0)
    assert who.hold("mallory", HERE, 100.0)
    assert held(who, "mallory", HERE, 100.0) == 5001
    assert held(who, "mallory", "192.0.2.9", 104.9995) == 1
    assert held(who, "mallory", HERE, 105.0) == 0
    for name, address in (("", HERE), ("alice", HERE), ("", "mallory"), (HERE, HERE)):
        assert held(who, name, address, 100.0) == 0


def test_an_address_is_held_off_where_there_is_no_identity():
    who = HeldOff(5.0)
    assert who.hold("", "2001:db8::1", 100.0)
    assert who.hold("", "::ffff:192.0.2.1", 100.0)
    assert held(who, "", "2001:db8::2", 100.0) == 5001, "a /64 is one client's"
    assert held(who, "", "192.0.2.1", 100.0) == 5001
    assert held(who, "", "2001:db8:0:1::1", 100.0) == 0
    assert held(who, "alice", "192.0.2.1", 100.0) == 0
    assert held(who, "2001:db8::/64", "", 100.0) == 0, "a name that looks like an address is none"


@pytest.mark.parametrize(("seconds", "name", "address"), [(0.0, "mallory", HERE), (5.0, "", "")])
def test_nobody_is_held_off(seconds, name, address):
    who = HeldOff(seconds)
    assert not who.hold(name, address, 100.0)
    assert held(who, name, address, 100.0) == 0
    assert not who.until


def test_who_floods_again_is_held_off_longer():
    who = HeldOff(5.0)
    who.hold("mallory", HERE, 100.0)
    who.hold("other", HERE, 101.0)
    who.hold("mallory", HERE, 103.0)
    assert held(who, "mallory", HERE, 105.0) == 3001
    who.expire(106.5)
    assert list(who.until) == [("mallory", "")]
    who.expire(108.0)
    assert not who.until


def test_the_oldest_is_let_in_where_too_many_are_held_off():
    who = HeldOff(5.0, max_held=3)
    for number in range(5):
        who.hold(str(number), HERE, 100.0 + number / 10)
    assert [held(who, str(number), HERE, 100.5) > 0 for number in range(5)] == [False, False, True, True, True]


# What the hub makes of it.


def flood(stage, ask, *, seconds=3, every=0.025, limit=10_000):
    """Asks again and again, whatever comes of it; returns how often, until it is told that it is enough."""
    for number in range(int(seconds / every)):
        if ask():
            return number
        stage.wait(every)
    return None


def flood_session(stage, actor, request=None):
    """Sends requests in a session until it ends, in about the time that is said for it."""
    begun = stage.now.monotonic

    def ask():
        actor.do(request or ListPeers())
        return not actor.session.open

    assert flood(stage, ask) is not None
    assert 2.0 <= stage.now.monotonic - begun <= 3.0
    assert actor.ends == [DisconnectReason.FLOODING]


@pytest.fixture
def strict(make_stage):
    """A hub that lets ten requests of a kind through in a second."""
    return make_stage(rate_per_second=1.0, rate_burst=10, flood_hold_seconds=5.0)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_who_keeps_sending_over_the_rate_is_ended(strict, protocol):
    mallory = strict.open("mallory", protocol=protocol, remote=HERE)
    alice = strict.open("alice", remote="192.0.2.9")
    mallory.took()
    flood_session(strict, mallory)
    assert strict.hub.counters.disconnects == {(protocol, "flooding"): 1}
    told = mallory.took()
    assert told[-1] == "SignalingError", "the last refusal is said before the end"
    assert len(told) == strict.hub.counters.requests.total() - 2, "and every other response"
    assert [event.peer_id for event in alice.heard() if event.kind == "peer_left"] == ["mallory"]
    assert mallory.refused(ListPeers()) == errors.session_ended()


@pytest.mark.parametrize("kind", ["unknown", "announce"])
def test_what_is_no_request_counts_as_flooding_too(strict, kind):
    mallory = strict.open()

    def ask():
        strict.hub.respond(mallory.session, kind, errors.malformed_request(), [], strict.now)
        return not mallory.session.open

    assert flood(strict, ask) is not None
    assert mallory.ends == [DisconnectReason.FLOODING]


def test_what_an_adapter_answers_by_itself_counts_too(strict):
    mallory = strict.open()

    def ask():
        strict.hub.respond(mallory.session, "discover", Relayed("document"), [], strict.now)
        return not mallory.session.open

    assert flood(strict, ask) is not None


def test_who_waits_as_long_as_told_is_never_ended(strict):
    alice = strict.open(remote=HERE)
    refused = 0
    while refused < 3 * MAX_REFUSALS:
        outcome = alice.do(ListPeers())
        alice.took()
        if isinstance(outcome, SignalingError):
            refused += 1
            strict.wait(outcome.extra["retry_after_ms"] / 1000)
    assert strict.now.monotonic - 1000 > 10
    assert (alice.session.open, strict.hub._parts.held_off.until) == (True, {})


def test_who_waits_while_others_of_the_address_flood_is_never_ended(strict):
    alice, mallory = strict.open(remote=HERE), strict.open(remote=HERE)
    may_ask_at = 0.0
    for _ in range(1000):
        if alice.session.open and strict.now.monotonic >= may_ask_at:
            outcome = alice.do(ListPeers())
            if isinstance(outcome, SignalingError):
                may_ask_at = strict.now.monotonic + outcome.extra["retry_after_ms"] / 1000
        if not mallory.session.open:
            strict.wait(5.0)
            mallory = strict.open(remote=HERE)
        mallory.do(ListPeers())
        strict.wait(0.01)
    assert strict.hub.counters.disconnects["grpc", "flooding"] > 1
    assert alice.session.open


def test_other_refusals_are_no_flooding(make_stage):
    stage = make_stage(rate_per_second=0.0)
    alice = stage.open("alice")
    assert flood(stage, lambda: not isinstance(alice.do(Offer("nobody", "s")), SignalingError)) is None
    assert (alice.session.open, alice.session.floods) == (True, None)


def test_nothing_is_kept_of_who_was_never_refused(strict):
    alice = strict.open("alice")
    alice.do(ListPeers())
    alice.do(IceCandidate("nobody", "c"))
    assert alice.session.floods is None


def test_the_identity_is_held_off_at_the_door_and_its_other_sessions_go_on(strict):
    mallory, other = strict.open(identity=MALLORY, remote=HERE), strict.open("other", identity=MALLORY, remote=HERE)
    flood_session(strict, mallory)
    for protocol in ("grpc", "websocket"):
        with pytest.raises(SignalingError) as refused:
            strict.open(protocol=protocol, identity=MALLORY, remote="192.0.2.9")
        assert (refused.value.word, refused.value.extra["retry_after_ms"]) == ("held_off", 5001)
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        with pytest.raises(SignalingError) as refused:
            strict.hub.query(protocol, HealthCheck(), Caller(MALLORY, HERE), strict.now)
        assert refused.value.word == "held_off"
        unreadable = strict.hub.refuse_query(
            protocol, "health_check", errors.malformed_request(), Caller(MALLORY, HERE), strict.now
        )
        assert unreadable.word == "held_off"
        assert strict.hub.counters.refusals[protocol, "held_off"] == 3
        assert strict.hub.counters.requests[protocol, "health_check", "RESOURCE_EXHAUSTED"] == 2
    assert other.do(Announce("elsewhere")) == errors.already_announced("other")
    assert other.do(IceCandidate("nobody", "c")).code is Code.NOT_FOUND
    # Nobody else is, behind the same address, with a name or without.
    strict.open(identity=ALICE, remote=HERE)
    strict.open(remote=HERE)
    strict.hub.query("grpc", HealthCheck(), Caller(ALICE, HERE), strict.now)
    strict.wait(5.0)
    strict.open(identity=MALLORY, remote=HERE)
    strict.hub.query("grpc", HealthCheck(), Caller(MALLORY, HERE), strict.now)


def test_without_an_identity_the_address_is_held_off_and_identities_behind_it_are_not(strict):
    flood_session(strict, strict.open(remote=HERE))
    with pytest.raises(SignalingError) as refused:
        strict.open(remote=HERE)
    assert refused.value.word == "held_off"
    strict.open(identity=ALICE, remote=HERE)
    strict.open(remote="192.0.2.9")
    assert len(strict.hub._parts.held_off.until) == 1
    strict.wait(5.0)
    strict.expire()
    assert not strict.hub._parts.held_off.until
    strict.open(remote=HERE)


def test_where_nobody_is_to_be_held_off_the_session_ends_all_the_same(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=10, flood_hold_seconds=0.0)
    flood_session(stage, stage.open(identity=MALLORY, remote=HERE))
    stage.open(identity=MALLORY, remote=HERE)
    stage = make_stage(rate_per_second=1.0, rate_burst=10)
    flood_session(stage, stage.open())
    stage.open()


def test_the_hold_is_logged_once_and_says_of_whom(strict, caplog):
    caplog.set_level("INFO", logger="sigbridge.session")
    flood_session(strict, strict.open(identity=MALLORY, remote=HERE))
    (record,) = (record for record in caplog.records if record.message == "held off after flooding")
    assert (record.identity, record.remote, record.hold_seconds) == ("mallory", HERE, 5.0)


def test_a_draining_server_says_that_it_drains(strict):
    strict.hub.hold_off(ANYBODY, HERE, strict.now)
    strict.hub.leave()
    with pytest.raises(SignalingError) as refused:
        strict.open(remote=HERE)
    assert refused.value.word == "draining"


class Tokens:
    """Takes a token for its owner's name."""

    def authenticate(self, credentials, now):
        return Identity(credentials.token)


def test_nobody_becomes_an_identity_that_is_held_off(strict):
    one = strict.open(authenticator=Tokens(), remote=HERE)
    mallory = strict.open(identity=MALLORY, authenticator=Tokens(), remote=HERE)
    flood_session(strict, strict.open(identity=MALLORY, remote=HERE))
    refusal = one.refused(Authenticate("mallory"))
    assert (refusal.word, one.session.identity) == ("held_off", ANYBODY)
    assert mallory.do(Authenticate("mallory")) == Authenticated("mallory", None), "a session of its own goes on"
    strict.wait(5.0)
    assert one.do(Authenticate("mallory")) == Authenticated("mallory", None)
