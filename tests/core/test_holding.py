"""Held peers: how many, how much, whose; reviews, draining, the log and the counters."""

import logging

import pytest

from sigbridge import Announce, Announced, DisconnectReason, IceCandidate, PeerLeft, SignalingError
from sigbridge.auth import ANYBODY, Identity
from sigbridge.counters import HELD_ENDS, TAKEOVERS
from sigbridge.errors import Code
from sigbridge.hub import Phase
from sigbridge.remembered import REQUEST_BYTES
from stage import outcome_of

LOST = DisconnectReason.CONNECTION_LOST
ALICE, BOB = Identity("alice", source="jwt"), Identity("bob", source="jwt")
HERE, THERE = "192.0.2.1", "192.0.2.2"


def lose(stage, *peer_ids, **who):
    tokens = []
    for peer_id in peer_ids:
        actor, token = stage.resumable(peer_id, **who)
        actor.close(LOST)
        tokens.append(token)
    return tokens


def held(stage):
    return stage.hub._parts.holding.held


def send(stage, actor, to, text):
    return outcome_of(stage.hub, actor.session, IceCandidate(to, text), stage.now)


# Bounds of all together.


def test_over_the_bound_goes_the_oldest_of_whoever_has_most(make_stage):
    stage = make_stage(max_held_peers=4)
    lose(stage, "b1", identity=BOB)
    lose(stage, "a1", "a2", "a3", identity=ALICE)
    assert stage.ids() == ["b1", "a1", "a2", "a3"]
    lose(stage, "x1", remote=HERE)
    assert stage.ids() == ["b1", "a2", "a3", "x1"]
    lose(stage, "x2", remote=THERE)
    assert stage.ids() == ["b1", "a3", "x1", "x2"]
    assert (len(held(stage)), stage.hub.counters.held_ends["bounds"]) == (4, 2)


def test_nobody_pushes_others_out_by_losing_many_sessions(make_stage):
    stage = make_stage(max_held_peers=3)
    lose(stage, "b1", identity=BOB)
    lose(stage, *(f"a{number}" for number in range(20)), identity=ALICE)
    assert stage.ids() == ["b1", "a18", "a19"]


def test_without_an_identity_the_group_of_addresses_has_them(make_stage):
    stage = make_stage(max_held_peers=2)
    lose(stage, "a", remote="2001:db8::1")
    lose(stage, "b", remote="2001:db9::1")
    lose(stage, "c", remote="2001:db8::2")
    assert stage.ids() == ["b", "c"]


def test_by_default_as_many_may_be_held_as_have_sessions(make_stage):
    stage = make_stage(max_sessions=2)
    lose(stage, "a", "b", "c")
    assert stage.ids() == ["b", "c"]


def test_the_bytes_of_all_are_bounded(make_stage):
    stage = make_stage(max_held_bytes=10_000)
    sender = stage.open("sender")
    lose(stage, "a1", "a2", identity=ALICE)
    lose(stage, "b1", identity=BOB)
    for size in (4000, 1500):
        assert not isinstance(send(stage, sender, "a2", "x" * size), SignalingError)
    assert stage.ids() == ["sender", "a1", "a2", "b1"]
    rooms = [stage.ids()]
    for _ in range(20):
        send(stage, sender, "b1", "x" * 200)
        assert held(stage).bytes <= 10_000
        if stage.ids() != rooms[-1]:
            rooms.append(stage.ids())
    # Hers are most: her oldest goes, and then the one that has so much.
    assert rooms[1:] == [["sender", "a2", "b1"], ["sender", "b1"]]
    assert stage.hub.counters.held_ends["bounds"] == 2


def test_what_was_kept_before_counts_too(make_stage):
    stage = make_stage(max_held_bytes=5000)
    sender = stage.open("sender")
    alice, _ = stage.resumable("alice")
    for _ in range(4):
        send(stage, sender, "alice", "x" * 1500)
    alice.close(LOST)
    assert stage.ids() == ["sender"]


def test_remembered_requests_count_as_well(stage):
    alice, _ = stage.resumable("alice")
    stage.open("bob")
    alice.took()
    for number in range(3):
        alice.do(IceCandidate("bob", "c"), id=str(number))
    kept = alice.session.continuity.journal.bytes
    alice.close(LOST)
    assert held(stage).bytes == kept + 3 * REQUEST_BYTES


def test_the_books_are_balanced_when_nobody_is_held(stage):
    tokens = lose(stage, "a", "b", "c", identity=ALICE)
    again, _ = stage.come_back("a", tokens[0], identity=ALICE)
    stage.open("b", identity=ALICE)
    again.took()
    stage.wait(31)
    stage.expire()
    table = held(stage)
    assert (len(table), table.bytes, table._of_holder) == (0, 0, {})
    assert (table.of_identity._peers, table.of_group._peers) == ({}, {})
    assert (table._by_peers._weights, table._by_bytes._weights) == ({}, {})


def test_entries_of_the_heap_that_are_not_true_any_more_do_not_pile_up(stage):
    (token,) = lose(stage, "alice")
    for _ in range(500):
        actor, reply = stage.come_back("alice", token)
        assert reply.resumed
        actor.close(LOST)
    assert len(held(stage)._by_peers._heap) < 100


def test_an_event_that_many_are_told_is_kept_once(stage):
    actors = [stage.resumable(f"p{number}")[0] for number in range(4)]
    actors[3].close(LOST)
    before = [actor.session.continuity.journal for actor in actors[:3]]
    stage.open("last")
    (one,) = {id(journal._kept[-1]) for journal in before}
    assert one == id(actors[0].session.continuity.journal._kept[-1])
    # And so is what newcomers are told of one who is there.
    rosters = [stage.resumable(f"n{number}")[0].session.continuity.journal for number in range(2)]
    assert len({id(journal._kept[0]) for journal in rosters}) == 1


# Limits of an identity and an address.


@pytest.mark.parametrize(
    ("limit", "who"),
    [
        ({"max_sessions_per_identity": 2}, {"identity": ALICE}),
        ({"max_sessions_per_address": 2}, {"remote": HERE}),
        ({"max_sessions_per_address": 2}, {"remote": HERE, "identity": ALICE}),
    ],
)
def test_held_peers_count_for_the_limits_and_yield(make_stage, limit, who):
    stage = make_stage(**limit)
    lose(stage, "one", "two", **who)
    other = stage.open("other", remote=THERE, identity=BOB)
    # Whoever comes is let in while held ones are among the counted.
    first, second = stage.open(**who), stage.open(**who)
    with pytest.raises(SignalingError) as full:
        stage.open(**who)
    assert full.value.code is Code.RESOURCE_EXHAUSTED
    assert stage.ids() == ["one", "two", "other"]
    assert isinstance(first.do(Announce("three")), Announced)
    # Two sessions count already: the oldest leave for them.
    assert stage.ids() == ["other", "three"]
    assert other.heard()[1:] == [PeerLeft("one"), PeerLeft("two")]
    assert isinstance(second.do(Announce("four")), Announced)
    assert stage.hub.counters.held_ends["limited"] == 2


def test_who_resumes_takes_nobodys_place(make_stage):
    stage = make_stage(max_sessions_per_identity=2)
    tokens = lose(stage, "one", "two", identity=ALICE)
    for peer_id, token in zip(("one", "two"), tokens, strict=True):
        assert stage.come_back(peer_id, token, identity=ALICE)[1].resumed
    assert stage.ids() == ["one", "two"]


def test_one_may_take_as_much_as_is_free(make_stage):
    stage = make_stage(max_sessions_per_identity=3)
    lose(stage, "one", "two", identity=ALICE)
    stage.open("three", identity=ALICE)
    assert stage.ids() == ["one", "two", "three"]
    stage.open("four", identity=ALICE)
    assert stage.ids() == ["two", "three", "four"]


def test_nobody_in_particular_is_not_counted(make_stage):
    stage = make_stage(max_sessions_per_identity=1, max_sessions_per_address=1)
    lose(stage, "one", "two")
    stage.open("three")
    assert stage.ids() == ["one", "two", "three"]


# Reviews.


def only(*names):
    return lambda identity: identity if identity.name in names else None


def test_held_peers_whose_identities_are_gone_leave_and_no_others(stage):
    bob = stage.open("bob", identity=BOB)
    tokens = lose(stage, "a", identity=ALICE) + lose(stage, "b", identity=BOB) + lose(stage, "c")
    stage.hub.review(only("jwt:bob", ""), stage.now)
    assert stage.ids() == ["bob", "b", "c"]
    assert bob.heard()[-1] == PeerLeft("a")
    assert stage.hub.counters.held_ends["revoked"] == 1
    assert stage.come_back("a", tokens[0], identity=BOB)[1].resumed is False
    assert stage.come_back("b", tokens[1], identity=BOB)[1].resumed


def test_a_held_peer_that_its_identity_may_not_be_any_more_leaves(stage):
    lose(stage, "a", "b", identity=ALICE)
    narrowed = Identity("alice", source="jwt", peer_ids=frozenset({"b"}))
    stage.hub.review(lambda identity: narrowed, stage.now)
    assert stage.ids() == ["b"]


def test_who_loses_its_session_during_a_review_is_not_overlooked(stage):
    actors = [stage.resumable(f"p{number}", identity=ALICE)[0] for number in range(64)]
    turns = []
    stage.hub.spread_farewells(lambda: turns.append(1), stage.now)
    stage.hub.review(only("nobody"), stage.now)
    left = [actor for actor in actors if actor.session.open]
    assert 0 < len(left) < 64
    for actor in left:
        actor.close(LOST)
    while turns:
        turns.clear()
        stage.hub.go_on(stage.now)
    assert stage.ids() == []


def test_who_is_back_is_asked_for_by_its_session_alone(stage):
    """A token file lost the identity by which the first session came; the second came by another one."""
    newer = Identity("alice", source="jwt", rights=frozenset({"announce"}))
    (token,) = lose(stage, "a", identity=ALICE)
    again, reply = stage.come_back("a", token, identity=newer)
    assert reply.resumed
    stage.hub.review(lambda identity: None if identity is ALICE else identity, stage.now)
    assert (stage.ids(), again.ends) == (["a"], [])
    again.close(LOST)
    stage.hub.review(lambda identity: None if identity is ALICE else identity, stage.now)
    assert stage.ids() == ["a"]


def test_revoked_sessions_are_not_held(stage):
    stage.resumable("a", identity=ALICE)
    stage.hub.review(only(), stage.now)
    assert stage.ids() == []


# Leaving and draining.


def test_while_the_server_leaves_peers_are_held(stage):
    alice, token = stage.resumable("alice")
    early = stage.open()
    stage.hub.leave()
    assert stage.hub.phase is Phase.LEAVING
    alice.close(LOST)
    assert early.do(Announce("alice", resume_token=token)).resumed


def test_draining_holds_nobody(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    lose(stage, "carol")
    bob.took()
    stage.hub.drain(stage.now)
    assert stage.hub.peer_count == 0
    assert (alice.ends, bob.heard(), len(held(stage))) == ([DisconnectReason.DRAINING], [], 0)
    assert stage.hub.counters.held_ends["draining"] == 1
    assert token


def test_a_session_lost_while_draining_is_not_held(stage):
    """A carrier may notice a lost connection while another one is being ended."""
    alice, _ = stage.resumable("alice")
    bob, _ = stage.resumable("bob")
    alice.session.on_end = lambda reason: stage.hub.end(bob.session, LOST, stage.now)
    stage.hub.drain(stage.now)
    assert (stage.hub.peer_count, len(held(stage))) == (0, 0)


# What operators see.


def test_the_log_tells_of_holding_and_resuming_and_of_no_token(stage, caplog):
    caplog.set_level(logging.DEBUG)
    alice, token = stage.resumable("alice", identity=ALICE, remote=HERE, room="r")
    alice.close(LOST)
    again, _ = stage.come_back("alice", token, room="r", identity=ALICE, remote=THERE, protocol="websocket")
    third, _ = stage.come_back("alice", token, room="r", identity=ALICE)
    third.close(LOST)
    stage.wait(31)
    stage.expire()
    lines = {record.message: record for record in caplog.records}
    seen = {"peer held", "peer resumed", "session replaced", "held peer left"}
    assert seen <= set(lines)
    for word in seen:
        record = lines[word]
        assert (record.peer, record.room, record.identity) == ("alice", "r", "jwt:alice")
        assert {"protocol", "remote"} <= set(vars(record))
        assert word == "held peer left" or {"session", "client"} <= set(vars(record))
    assert (lines["session replaced"].session, lines["session replaced"].by_session) == (
        again.session.id,
        third.session.id,
    )
    assert (lines["peer resumed"].from_protocol, lines["peer resumed"].repeated_events) == ("websocket", 0)
    assert (lines["held peer left"].peer, lines["held peer left"].reason) == ("alice", "expired")
    assert token not in caplog.text
    assert token[12:] not in str([vars(record) for record in caplog.records])


def test_counts_are_words_of_ours(stage):
    counters = stage.hub.counters
    assert counters.held_ends == dict.fromkeys(HELD_ENDS, 0)
    assert counters.takeovers == dict.fromkeys(TAKEOVERS, 0)
    stage.come_back("x", "of nobody")
    stage.come_back("y" * 100, "z" * 100, protocol="websocket")
    assert counters.resumes == {("none", "grpc", "unknown"): 1, ("none", "websocket", "unknown"): 1}


def test_nobody_in_particular_has_no_name(stage):
    lose(stage, "a", identity=ANYBODY, remote=HERE)
    assert (held(stage).of_identity.count(""), held(stage).of_group.count(HERE)) == (0, 1)
