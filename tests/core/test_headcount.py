"""Sessions per identity and per address: who is refused, and that the counts stay exact."""

import pytest

from sigbridge import Authenticate, Authenticated, DisconnectReason, SignalingError, errors
from sigbridge.auth import ANYBODY, Identity

ALICE, BOB = Identity("alice"), Identity("bob")
HERE, THERE = "192.0.2.1", "192.0.2.2"
PER_IDENTITY, PER_ADDRESS = "SIGNALING_MAX_SESSIONS_PER_IDENTITY", "SIGNALING_MAX_SESSIONS_PER_ADDRESS"


def refused(stage, **who):
    with pytest.raises(SignalingError) as refusal:
        stage.open(**who)
    assert refusal.value.word == "sessions"
    return refusal.value


def counts(stage):
    count = stage.hub._headcount
    return count._of_identity, count._of_address


def test_sessions_of_an_identity_are_limited_on_both_protocols_together(make_stage):
    stage = make_stage(max_sessions_per_identity=2)
    stage.open(identity=ALICE, remote=HERE, protocol="grpc")
    stage.open(identity=ALICE, remote=THERE, protocol="websocket")
    before = stage.state()
    for protocol in ("grpc", "websocket"):
        error = refused(stage, identity=ALICE, remote=HERE, protocol=protocol)
        assert error == errors.too_many_sessions(PER_IDENTITY, 2)
        assert error.message.startswith(f"Too many sessions (limit {PER_IDENTITY} is 2)")
        assert stage.hub.counters.refusals[protocol, "sessions"] == 1
    assert stage.state() == before
    stage.open(identity=BOB, remote=HERE)
    assert counts(stage) == ({"alice": 2, "bob": 1}, {})


def test_identities_of_two_sources_are_two(make_stage):
    stage = make_stage(max_sessions_per_identity=1)
    stage.open(identity=Identity("alice", source="jwt", issuer="idp"))
    stage.open(identity=Identity("alice", source="cert"))
    refused(stage, identity=Identity("alice", source="cert"))


def test_nobody_in_particular_is_no_identity(make_stage):
    stage = make_stage(max_sessions_per_identity=1)
    for _ in range(5):
        stage.open(remote=HERE)
    assert counts(stage) == ({}, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8::1", "2001:db8::ffff"), ("fe80::1%eth0", "fe80::2")],
)
def test_sessions_of_a_group_of_addresses_are_limited(make_stage, one, other):
    stage = make_stage(max_sessions_per_address=2)
    stage.open(remote=one, identity=ALICE)
    stage.open(remote=other, protocol="websocket")
    assert refused(stage, remote=one, identity=BOB) == errors.too_many_sessions(PER_ADDRESS, 2)
    refused(stage, remote=other)
    stage.open(remote="198.51.100.7")


def test_a_unix_socket_is_no_address(make_stage):
    stage = make_stage(max_sessions_per_address=1)
    for _ in range(5):
        stage.open()
    assert counts(stage) == ({}, {})


@pytest.mark.parametrize("reason", DisconnectReason)
def test_whatever_ends_a_session_makes_room_once(make_stage, reason):
    stage = make_stage(max_sessions_per_identity=1, max_sessions_per_address=1)
    for _ in range(3):
        actor = stage.open("alice", identity=ALICE, remote=HERE)
        refused(stage, identity=ALICE, remote=THERE)
        refused(stage, identity=BOB, remote=HERE)
        stage.hub.end(actor.session, reason, stage.now)
        stage.hub.end(actor.session, reason, stage.now)
        assert counts(stage) == ({}, {})


def test_a_session_that_does_not_begin_is_not_counted(make_stage):
    stage = make_stage(max_sessions=2, max_sessions_per_identity=5, max_sessions_per_address=1)
    stage.open(identity=ALICE, remote=HERE)
    refused(stage, identity=ALICE, remote=HERE)
    stage.open(identity=ALICE, remote=THERE)
    assert refused(stage, identity=ALICE, remote="192.0.2.3") == errors.too_many_sessions("SIGNALING_MAX_SESSIONS", 2)
    assert counts(stage) == ({"alice": 2}, {HERE: 1, THERE: 1})


def test_what_ends_a_session_of_its_own_accord_makes_room(make_stage):
    stage = make_stage(max_sessions_per_identity=1, announce_timeout_seconds=3)
    stage.open(identity=ALICE)
    stage.wait(3)
    stage.expire()
    actor = stage.open(identity=ALICE)
    stage.hub.drain(stage.now)
    assert (actor.session.open, counts(stage)) == (False, ({}, {}))


def test_a_session_counts_for_the_identity_that_it_has(make_stage):
    stage = make_stage(max_sessions_per_identity=1)
    headcount = stage.hub._headcount
    actor = stage.open()
    headcount.give(actor.session, ALICE)
    assert counts(stage) == ({"alice": 1}, {})
    refused(stage, identity=ALICE)
    wider = Identity("alice", expires_at=1e10)
    headcount.give(actor.session, wider)
    assert (actor.session.identity, counts(stage)) == (wider, ({"alice": 1}, {}))
    other = stage.open(identity=BOB)
    with pytest.raises(SignalingError) as full:
        headcount.give(other.session, ALICE)
    assert full.value == errors.too_many_sessions(PER_IDENTITY, 1)
    assert (other.session.identity, counts(stage)) == (BOB, ({"alice": 1, "bob": 1}, {}))
    headcount.give(other.session, ANYBODY)
    actor.close()
    other.close()
    assert counts(stage) == ({}, {})


def test_without_limits_nothing_is_counted(make_stage):
    stage = make_stage()
    actor = stage.open(identity=ALICE, remote=HERE)
    stage.hub._headcount.give(actor.session, BOB)
    assert (actor.session.identity, counts(stage)) == (BOB, ({}, {}))
    actor.close()


class Tokens:
    """Takes a token for its owner's name."""

    def authenticate(self, credentials, now):
        return Identity(credentials.token)


def test_a_session_that_takes_an_identity_by_a_token_is_one_of_its_sessions(make_stage):
    stage = make_stage(max_sessions_per_identity=1)
    alice, one, other = (stage.open(authenticator=Tokens()) for _ in range(3))
    assert isinstance(alice.do(Authenticate("alice")), Authenticated)
    before = stage.state()
    assert one.refused(Authenticate("alice")) == errors.too_many_sessions(PER_IDENTITY, 1)
    assert (stage.state(), one.session.identity) == (before, ANYBODY)
    assert isinstance(one.do(Authenticate("bob")), Authenticated), "the refusal has changed nothing"
    assert isinstance(alice.do(Authenticate("alice")), Authenticated), "its own place is no further one"
    assert counts(stage) == ({"alice": 1, "bob": 1}, {})
    alice.close()
    assert isinstance(other.do(Authenticate("alice")), Authenticated)
    stage.hub.review(lambda identity: None, stage.now)
    assert (stage.hub.session_count, counts(stage)) == (0, ({}, {}))
