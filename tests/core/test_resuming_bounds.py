"""Bounds of what is kept for resuming on a bare hub: while a peer is held, while its session stands, and at its return."""

import pytest

from resuming_peers import LOST, candidates, send
from sigbridge import (
    Announce,
    DisconnectReason,
    IceCandidate,
    IceCandidateReceived,
    PeerJoined,
    PeerLeft,
    errors,
    holding,
)
from sigbridge.errors import Code
from stage import outcome_of

# While it is held: bounds.


def test_a_relay_over_the_bounds_of_a_held_peer_is_refused(make_stage):
    stage = make_stage(resume_max_messages=2)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    send(bob, 2, 3)
    before = stage.state()
    assert bob.refused(IceCandidate("alice", "4")) == errors.peer_unavailable("alice")
    assert stage.state() == before
    again, reply = stage.come_back("alice", token, 1)
    assert (reply.resumed, again.numbered()) == (True, candidates(2, 3))


def test_the_bounds_are_in_bytes_too(make_stage):
    stage = make_stage(resume_max_bytes=1000)
    alice, _ = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    send(bob, "x" * 800)
    assert bob.refused(IceCandidate("alice", "x" * 200)).code is Code.UNAVAILABLE


def test_a_roster_event_over_the_bounds_ends_a_held_peer_at_once(make_stage):
    stage = make_stage(resume_max_messages=1)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    carol = stage.open("carol")
    assert stage.ids() == ["alice", "bob", "carol"]
    stage.open("dave")
    assert stage.ids() == ["bob", "carol", "dave"]
    assert [type(event) for event in bob.heard()] == [PeerJoined, PeerJoined, PeerLeft]
    assert [type(event) for event in carol.heard()] == [PeerJoined, PeerLeft]
    _, reply = stage.come_back("alice", token)
    assert reply.resumed is False
    assert stage.hub.counters.held_ends["overflow"] == 1


def test_relays_to_a_held_peer_are_counted_for_its_last_protocol(stage):
    alice, _ = stage.resumable("alice", protocol="websocket")
    bob = stage.open("bob")
    alice.close(LOST)
    send(bob, 1)
    assert stage.hub.counters.relays["grpc", "websocket", "ice_candidate"] == 1


# What a standing session keeps.


def test_nothing_is_kept_longer_than_anybody_could_ask_for_it(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    send(bob, 2)
    alice.took()
    settings = stage.hub.settings
    stage.wait(
        settings.resume_window_seconds
        + settings.send_deadline_seconds
        + settings.ping_interval_seconds
        + settings.ping_timeout_seconds
        - 0.1
    )
    stage.expire()
    assert len(alice.session.continuity.journal) == 2
    stage.wait(0.2)
    # What is too old is looked for every quarter of that time.
    for _ in range(5):
        stage.wait(max(0.0, stage.expire() - stage.now.monotonic))
    assert alice.session.continuity.is_idle
    assert not stage.hub._parts.holding._busy
    alice.close(LOST)
    _, reply = stage.come_back("alice", token, 2)
    assert reply.resumed


@pytest.mark.skipif(not holding.__file__.endswith(".py"), reason="a constant of compiled code cannot be replaced")
def test_many_busy_peers_are_looked_through_a_part_at_a_time(make_stage, monkeypatch):
    monkeypatch.setattr("sigbridge.holding.PEERS_PER_SWEEP", 2)
    stage = make_stage()
    actors = [stage.resumable(f"p{number}")[0] for number in range(5)]
    for actor in actors:
        actor.took()
    busy = stage.hub._parts.holding._busy
    assert len(busy) == 5
    stage.wait(1000)
    left = []
    while busy:
        stage.expire()
        left.append(len(busy))
    assert left == [3, 1, 0]


def test_a_roster_larger_than_the_bounds_is_kept_until_it_is_sent(make_stage):
    stage = make_stage(resume_max_messages=2)
    for number in range(5):
        stage.open(f"p{number}")
    alice = stage.open()
    token = alice.do(Announce("alice", resumable=True)).resume_token
    assert len(alice.session.continuity.journal) == 5
    alice.close(LOST)
    again, reply = stage.come_back("alice", token)
    assert reply.resumed
    assert [number for number, _ in again.numbered()] == [1, 2, 3, 4, 5]
    stage.open("bob")
    assert len(again.session.continuity.journal) == 2


def test_an_event_that_did_not_fit_is_told_at_the_resume_and_nothing_overtakes_it(make_stage):
    stage = make_stage(outbox_max_messages=1, outbox_max_bytes=100_000)
    alice, token = stage.resumable("alice")
    # Two notices fit: what cannot be refused may use the bound twice.
    for peer_id in ("b", "c"):
        stage.open(peer_id)
    stage.hub.spread_farewells(lambda: None, stage.now)
    told = len(alice.session.outbox)
    assert told == 2
    dave = stage.open("d")
    assert alice.ends == [DisconnectReason.SLOW_CONSUMER]
    assert "alice" in stage.ids()
    send(dave, "x")
    again, reply = stage.come_back("alice", token, 2)
    assert reply.resumed
    assert [(number, type(event)) for number, event in again.numbered()] == [
        (3, PeerJoined),
        (4, IceCandidateReceived),
    ]


def test_nothing_overtakes_within_one_turn(make_stage):
    """Several farewells of one turn: the first does not fit, the others would."""
    stage = make_stage(outbox_max_bytes=300)
    alice, token = stage.resumable("alice")
    others = [stage.open(name) for name in ("n" * 250, "b", "c")]
    alice.took()
    stage.hub.spread_farewells(lambda: None, stage.now)
    stage.hub._parts.farewells._told = 10**6
    # Relays may take 300 bytes, and what cannot be refused as many again.
    send(others[1], "y" * 180)
    for actor in others:
        actor.close()
    stage.open("d")
    stage.hub.go_on(stage.now)
    assert alice.ends == [DisconnectReason.SLOW_CONSUMER]
    assert [number for number, _ in alice.numbered()] == [4, 5]
    again, reply = stage.come_back("alice", token, 5)
    assert reply.resumed
    assert [(number, event.peer_id[0]) for number, event in again.numbered()] == [(6, "n"), (7, "b"), (8, "c")]


# Many, and much.


def test_a_replay_may_be_larger_than_the_outbox(make_stage):
    stage = make_stage(outbox_max_messages=10, resume_max_messages=100)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    send(bob, *range(2, 102))
    again, reply = stage.come_back("alice", token, 1)
    assert reply.resumed
    # Relays go on fitting behind it.
    send(bob, 102)
    assert again.numbered() == candidates(2, 102)


def test_who_does_not_read_the_replay_is_slow_and_may_come_back(make_stage):
    stage = make_stage(send_deadline_seconds=5.0)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    send(bob, 2, 3)
    again, _ = stage.come_back("alice", token, 1)
    stage.wait(6)
    stage.expire()
    assert again.ends == [DisconnectReason.SLOW_CONSUMER]
    send(bob, 4)
    third, reply = stage.come_back("alice", token, 2)
    assert (reply.resumed, third.numbered()) == (True, candidates(3, 4))


@pytest.mark.parametrize("reads", [False, True])
def test_who_resumes_and_never_gets_on_keeps_no_more_than_anybody(make_stage, reads):
    """The carrier has taken everything, or nothing, when the connection is lost once more."""
    stage = make_stage(resume_max_messages=10)
    actor, token = stage.resumable("alice")
    bob = stage.open("bob")
    most = 0
    for number in range(200):
        actor.close(LOST)
        outcome_of(stage.hub, bob.session, IceCandidate("alice", str(number)), stage.now)
        journal = stage.hub._rooms.find("").peers["alice"].continuity.journal
        most = max(most, len(journal))
        actor, reply = stage.come_back("alice", token, max(0, journal.last - len(journal)))
        assert reply.resumed
        if reads:
            actor.took()
    assert 10 <= most <= 21


def test_the_replay_counts_for_the_share_and_the_rate(make_stage):
    stage = make_stage(rate_kib_per_token=1, rate_burst=10, rate_per_second=1.0, resume_max_messages=1000)
    alice, token = stage.resumable("alice", remote="192.0.2.1")
    bob = stage.open("bob")
    alice.close(LOST)
    send(bob, "x" * 4000, "x" * 4000)
    again, reply = stage.come_back("alice", token, 1, remote="192.0.2.1")
    assert reply.resumed
    assert again.session.share.used >= 3
    # Two announces, and 8 KiB at 1 KiB a token: the bucket of ten is as good as empty.
    tries = [stage.come_back("alice", token, 3, remote="192.0.2.1")[1] for _ in range(2)]
    assert [getattr(one, "resumed", None) for one in tries].count(True) <= 1
    refused = tries[-1]
    assert refused.code is Code.RESOURCE_EXHAUSTED
    assert refused.retry_after_ms
    assert "alice" in stage.ids()


def test_a_farewell_that_waits_reaches_who_has_resumed(stage):
    alice, token = stage.resumable("alice")
    bob, carol = stage.open("bob"), stage.open("carol")
    alice.took()
    stage.hub.spread_farewells(lambda: None, stage.now)
    stage.hub._parts.farewells._told = 10**6
    bob.close()
    alice.close(LOST)
    again, reply = stage.come_back("alice", token, 2)
    assert (reply.resumed, reply.other_peers) == (True, ("carol",))
    assert again.numbered() == []
    stage.hub.go_on(stage.now)
    assert again.numbered() == [(3, PeerLeft("bob"))]
    assert carol.heard() == [PeerLeft("bob")]


def test_a_held_peer_gets_farewells(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    stage.hub.spread_farewells(lambda: None, stage.now)
    stage.hub._parts.farewells._told = 10**6
    alice.close(LOST)
    bob.close()
    stage.hub.go_on(stage.now)
    again, reply = stage.come_back("alice", token, 1)
    assert (reply.resumed, again.numbered()) == (True, [(2, PeerLeft("bob"))])
