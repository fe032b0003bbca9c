"""Ids whose old sessions are not dead yet: who may take one, how often, and what others hear."""

import pytest

from sigbridge import Announce, Announced, DisconnectReason, Offer, PeerJoined, PeerLeft, errors
from sigbridge.auth import ANYBODY, Identity
from sigbridge.errors import Code
from sigbridge.takeovers import MAX_KEYS, Takeovers
from sigbridge_compat.deferred import Deferral

LOST = DisconnectReason.CONNECTION_LOST
ALICE, MALLORY = Identity("alice", source="jwt"), Identity("mallory", source="jwt")
KEY = ("taker", "", "id")
HERE = "192.0.2.1"


def kinds(actor):
    return [type(event) for event in actor.heard()]


# A session that stands.


@pytest.mark.parametrize("old_is_resumable", [True, False])
@pytest.mark.parametrize(
    ("setting", "identity", "asks", "allowed"),
    [
        ("never", ALICE, {"resumable": True}, False),
        ("same-identity", ALICE, {"resumable": True}, True),
        ("same-identity", ALICE, {"resume_token": "unknown"}, True),
        ("same-identity", ALICE, {}, False),
        ("same-identity", ALICE, {"notices": True}, False),
        ("same-identity", MALLORY, {"resumable": True}, False),
        ("same-identity", ANYBODY, {"resumable": True}, False),
        ("always", MALLORY, {}, True),
        ("always", ANYBODY, {}, True),
    ],
)
def test_who_may_take_an_id(make_stage, setting, identity, asks, allowed, old_is_resumable):
    stage = make_stage(takeover=setting)
    old = stage.open("alice", identity=ALICE, resumable=old_is_resumable)
    bob = stage.open("bob")
    old.do(Offer("bob", "v=0"))
    bob.took()
    newcomer = stage.open(identity=identity)
    before = stage.state()
    outcome = newcomer.do(Announce("alice", **asks))
    if not allowed:
        assert outcome == errors.already_announced("alice")
        assert (stage.state(), old.ends, bob.heard()) == (before, [], [])
        return
    assert isinstance(outcome, Announced)
    assert (outcome.peers_count, outcome.other_peers) == (1, ("bob",))
    assert old.ends == [DisconnectReason.REPLACED]
    # Of the old incarnation, then of the new one; its offers end.
    assert kinds(bob) == [PeerLeft, PeerJoined]
    assert stage.hub.pending_offer_count == 0
    assert stage.ids() == ["bob", "alice"]
    assert stage.hub.counters.takeovers == {"held": 0, "standing": 1, "refused": 0}


def test_nobody_in_particular_is_no_identity(stage):
    stage.open("alice", remote=HERE)
    assert stage.open(remote=HERE).refused(Announce("alice", resumable=True)).code is Code.ALREADY_EXISTS


def test_rights_come_first(make_stage):
    stage = make_stage(takeover="always")
    stage.open("alice")
    narrow = stage.open(identity=Identity("bob", peer_ids=frozenset({"bob"})))
    assert narrow.refused(Announce("alice")).code is Code.PERMISSION_DENIED


def test_who_was_replaced_is_not_held(make_stage):
    stage = make_stage(takeover="always")
    old, token = stage.resumable("alice")
    stage.open("alice")
    old.close(LOST)
    assert stage.ids() == ["alice"]
    assert not len(stage.hub._parts.holding.held)
    # The old token is worth nothing: it is a takeover like any other.
    _, reply = stage.come_back("alice", token)
    assert reply.resumed is False


def test_a_taken_id_leaves_one_farewell_where_these_are_spread(make_stage):
    stage = make_stage(takeover="always")
    stage.open("alice")
    bob = stage.open("bob")
    stage.hub.spread_farewells(lambda: None, stage.now)
    stage.hub._parts.farewells._told = 10**6
    stage.open("alice")
    assert kinds(bob) == [PeerLeft, PeerJoined]
    stage.hub.go_on(stage.now)
    assert bob.heard() == []


# How often.


def take_in_turn(stage, times, **who):
    for _ in range(times):
        taker = stage.open(**who)
        assert isinstance(taker.do(Announce("alice", resumable=True)), Announced)
        stage.wait(1)


def test_two_live_clients_do_not_take_an_id_for_ever(make_stage):
    stage = make_stage(takeover_per_minute=3)
    take_in_turn(stage, 4, identity=ALICE)
    taker = stage.open(identity=ALICE)
    before = stage.state()
    refused = taker.refused(Announce("alice", resumable=True))
    assert (refused.code, refused.extra["limit"]) == (Code.RESOURCE_EXHAUSTED, "SIGNALING_TAKEOVER_PER_MINUTE")
    assert stage.state() == before
    assert stage.hub.counters.takeovers == {"held": 0, "standing": 3, "refused": 1}
    # Another id is another matter, and so is a minute later.
    assert isinstance(taker.do(Announce("alice", room="r", resumable=True)), Announced)
    stage.wait(refused.retry_after_ms / 1000)
    assert isinstance(stage.open(identity=ALICE).do(Announce("alice", resumable=True)), Announced)


@pytest.mark.parametrize(("other", "same"), [("192.0.2.2", False), ("::ffff:192.0.2.1", True)])
def test_without_an_identity_the_address_is_the_taker(make_stage, other, same):
    stage = make_stage(takeover="always", takeover_per_minute=1)
    take_in_turn(stage, 2, remote=HERE)
    outcome = stage.open(remote=other).do(Announce("alice"))
    assert isinstance(outcome, Announced) is not same


def test_all_of_a_unix_socket_are_one_taker(make_stage):
    stage = make_stage(takeover="always", takeover_per_minute=1)
    take_in_turn(stage, 2)
    assert stage.open().refused(Announce("alice")).code is Code.RESOURCE_EXHAUSTED


def test_a_resume_is_no_takeover(make_stage):
    stage = make_stage(takeover_per_minute=1)
    _, token = stage.resumable("alice", identity=ALICE)
    for _ in range(5):
        assert stage.come_back("alice", token, identity=ALICE)[1].resumed
    # Nor is it one where the token was good, and what it has missed was not there.
    for _ in range(5):
        _, reply = stage.come_back("alice", token, 99, identity=ALICE)
        assert reply.resumed is False
        token = reply.resume_token
    assert stage.hub.counters.takeovers["standing"] == 0


def test_takeovers_are_forgotten_after_a_minute():
    takeovers = Takeovers(1)
    takeovers.note(KEY, 0.0)
    with pytest.raises(errors.SignalingError) as refused:
        takeovers.check(KEY, 59.0)
    assert refused.value.retry_after_ms == 1001
    takeovers.expire(59.0)
    assert len(takeovers) == 1
    takeovers.check(KEY, 60.0)
    takeovers.expire(60.0)
    assert len(takeovers) == 0


def test_takeovers_that_are_remembered_are_bounded():
    takeovers = Takeovers(1)
    for number in range(MAX_KEYS + 1):
        takeovers.note(("taker", "", str(number)), 0.0)
    assert len(takeovers) == MAX_KEYS
    takeovers.check(("taker", "", "0"), 0.0)
    with pytest.raises(errors.SignalingError):
        takeovers.check(("taker", "", "1"), 0.0)


# A held peer.


@pytest.mark.parametrize("setting", ["never", "same-identity", "always"])
@pytest.mark.parametrize(
    ("owner", "taker", "gives_way"),
    [
        (ALICE, ALICE, True),
        (ALICE, MALLORY, False),
        (ALICE, ANYBODY, False),
        (ANYBODY, ANYBODY, True),
        (ANYBODY, MALLORY, True),
    ],
)
def test_a_held_peer_defends_its_id_against_other_identities_alone(make_stage, setting, owner, taker, gives_way):
    stage = make_stage(takeover=setting)
    alice, token = stage.resumable("alice", identity=owner)
    bob = stage.open("bob")
    alice.close(LOST)
    newcomer = stage.open(identity=taker)
    outcome = newcomer.do(Announce("alice"))
    if not gives_way:
        assert outcome == errors.already_announced("alice")
        assert bob.heard() == []
        assert stage.come_back("alice", token, identity=owner)[1].resumed
        return
    assert isinstance(outcome, Announced)
    assert kinds(bob) == [PeerLeft, PeerJoined]
    assert stage.hub.counters.takeovers == {"held": 1, "standing": 0, "refused": 0}
    assert stage.hub.counters.held_ends["taken"] == 1
    assert stage.ids() == ["bob", "alice"]


def test_a_shadow_gives_way_as_often_as_it_likes(make_stage):
    stage = make_stage(takeover_per_minute=1)
    for _ in range(5):
        alice, _ = stage.resumable("alice")
        alice.close(LOST)
    assert stage.hub.counters.takeovers["held"] == 4


def test_the_place_of_a_held_peer_is_free_for_who_takes_its_id(make_stage):
    stage = make_stage(max_room_peers=1)
    alice, _ = stage.resumable("alice")
    alice.close(LOST)
    assert stage.open().refused(Announce("bob")).code is Code.RESOURCE_EXHAUSTED
    assert isinstance(stage.open().do(Announce("alice")), Announced)
    assert stage.ids() == ["alice"]


# Where other nodes are asked for ids.


def test_an_id_that_is_taken_is_not_asked_for_and_not_given_back(make_stage):
    deferral = Deferral()
    stage = make_stage(directory=deferral, takeover="always")
    deferral.attach(stage.hub)
    alice = stage.open()
    alice.do(Announce("alice", resumable=True))
    deferral.complete(now=stage.now)
    assert deferral.owned == {("", "alice")}
    stage.open("alice")
    assert (deferral.waiting, deferral.owned, alice.ends) == ([], {("", "alice")}, [DisconnectReason.REPLACED])


def test_while_an_id_is_asked_for_nobody_takes_it(make_stage):
    deferral = Deferral()
    stage = make_stage(directory=deferral, takeover="always")
    deferral.attach(stage.hub)
    first = stage.open()
    claimed = first.do(Announce("alice", resumable=True))
    assert stage.open().refused(Announce("alice")) == errors.already_announced("alice")
    assert stage.come_back("alice", "unknown")[1] == errors.already_announced("alice")
    deferral.complete(now=stage.now)
    token = claimed[0].resume_token
    assert isinstance(stage.open().do(Announce("alice", room="", resumable=True)), Announced)
    assert first.ends == [DisconnectReason.REPLACED]
    assert stage.come_back("alice", token)[1].resumed is False


def test_an_id_is_given_back_when_a_held_peer_leaves(make_stage):
    deferral = Deferral()
    stage = make_stage(directory=deferral)
    deferral.attach(stage.hub)
    alice = stage.open()
    alice.do(Announce("alice", resumable=True))
    deferral.complete(now=stage.now)
    alice.close(LOST)
    assert deferral.owned == {("", "alice")}
    stage.wait(31)
    stage.expire()
    assert deferral.owned == set()
