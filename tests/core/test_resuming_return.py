"""Coming back on a bare hub: who gets the peer, and what it is told."""

import pytest

from resuming_peers import ALICE, LOST, MALLORY, candidates, send
from sigbridge import (
    Announce,
    Announced,
    Capabilities,
    Disconnect,
    DisconnectReason,
    IceCandidate,
    Offer,
    OfferReceived,
    PeerJoined,
    PeerLeft,
    errors,
)
from sigbridge.auth import ANYBODY, Identity
from sigbridge.errors import Code
from stage import PlainEncoding


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_what_was_missed_comes_after_the_answer_in_order(stage, protocol):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    assert alice.numbered() == [(1, PeerJoined("bob", Capabilities(), {}))]
    bob.do(Offer("alice", "v=0"))
    alice.close(LOST)
    send(bob, "c")
    carol = stage.open("carol")
    again, reply = stage.come_back("alice", token, 1, protocol=protocol)
    assert reply == Announced(
        "alice", 2, ("bob", "carol"), resumable=True, resume_token=token, resume_window_seconds=30.0, resumed=True
    )
    frames = again.session.outbox.take(10**9)
    assert frames[0] == b"reply Announced"
    assert [frame.rpartition(b" ")[2] for frame in frames[1:]] == [b"#2", b"#3", b"#4"]
    assert [frame.partition(b" ")[0] for frame in frames[1:]] == [
        b"OfferReceived",
        b"IceCandidateReceived",
        b"PeerJoined",
    ]
    # Life goes on, and nobody else has noticed anything.
    send(bob, 5)
    assert again.numbered() == candidates(5, 5)
    assert bob.heard() == [PeerJoined("carol", Capabilities(), {})]
    assert carol.heard() == []
    assert stage.hub.counters.resumes == {("grpc", protocol, "resumed"): 1}
    assert stage.hub.counters.repeated_events == {protocol: 3}


def test_the_answer_counts_the_newcomer_where_old_fleets_need_it(make_stage):
    stage = make_stage(legacy_peers_count=True)
    _, token = stage.resumable("alice")
    stage.open("bob")
    _, reply = stage.come_back("alice", token)
    assert (reply.resumed, reply.peers_count) == (True, 2)


def test_a_newer_session_replaces_the_one_that_stands(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    send(bob, 2)
    again, reply = stage.come_back("alice", token, 1)
    assert reply.resumed
    assert alice.ends == [DisconnectReason.REPLACED]
    assert again.session.peer.session is again.session
    # What the old one was about to send is part of what is missing, and it takes no more requests.
    assert again.numbered() == candidates(2, 2)
    before = stage.state()
    assert alice.refused(IceCandidate("bob", "late")) == errors.session_ended()
    assert (stage.state(), bob.heard(), stage.ids()) == (before, [], ["alice", "bob"])
    assert stage.hub.counters.resumes == {("grpc", "grpc", "replaced"): 1}
    # The end of the old one's connection removes nothing.
    alice.close(LOST)
    assert stage.ids() == ["alice", "bob"]


def test_the_later_of_two_resumes_wins(stage):
    alice, token = stage.resumable("alice")
    alice.close(LOST)
    first, reply = stage.come_back("alice", token)
    second, again = stage.come_back("alice", token)
    assert (reply.resumed, again.resumed) == (True, True)
    assert (first.ends, second.ends) == ([DisconnectReason.REPLACED], [])
    assert stage.ids() == ["alice"]


def test_a_session_that_is_a_peer_resumes_nothing(stage):
    _, token = stage.resumable("alice")
    bob = stage.open("bob")
    before = stage.state()
    assert bob.refused(Announce("alice", resume_token=token)) == errors.already_announced("bob")
    again, _ = stage.come_back("alice", token)
    assert again.refused(Announce("alice", resume_token=token)) == errors.already_announced("alice")
    assert stage.ids() == ["alice", "bob"]
    assert before[5] == set()


@pytest.mark.parametrize("standing", [True, False])
@pytest.mark.parametrize("last_seq", [3, 2**64 - 1])
def test_a_number_that_was_never_sent_makes_a_newcomer(stage, standing, last_seq):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    send(bob, 2)
    if not standing:
        alice.close(LOST)
    again, reply = stage.come_back("alice", token, last_seq)
    assert (reply.resumed, reply.resume_token != token) == (False, True)
    assert alice.ends == ([DisconnectReason.REPLACED] if standing else [])
    assert [type(event) for event in bob.heard()] == [PeerLeft, PeerJoined]
    assert [number for number, _ in again.numbered()] == [1]
    assert stage.ids() == ["bob", "alice"]
    # The old token is worth nothing any more.
    assert stage.come_back("alice", token)[1] == errors.already_announced("alice")


def test_events_that_are_missing_make_a_newcomer(make_stage):
    stage = make_stage(resume_max_messages=2)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    for number in range(2, 6):
        send(bob, number)
        alice.took()
    alice.close(LOST)
    _, reply = stage.come_back("alice", token, 2)
    assert reply.resumed is False
    assert stage.hub.counters.resumes["grpc", "grpc", "missing"] == 1
    assert stage.hub.counters.held_ends["not_resumed"] == 1
    assert [type(event) for event in bob.heard()] == [PeerLeft, PeerJoined]


@pytest.mark.parametrize(
    "shown",
    [
        {"peer_id": "alicia"},
        {"room": "elsewhere"},
        {"token": lambda token: token[:-1] + ("A" if token[-1] != "A" else "B")},
        {"token": lambda token: token + "A"},
        {"token": lambda token: token[:-1]},
        {"token": lambda token: "é" + token[1:]},
        {"token": lambda token: token[:12] + "é" * 24},
        {"token": lambda token: "x"},
    ],
)
def test_a_token_names_one_peer_of_one_room(stage, shown):
    alice, token = stage.resumable("alice")
    alice.close(LOST)
    peer_id, room = shown.get("peer_id", "alice"), shown.get("room", "")
    other = stage.open()
    reply = other.do(Announce(peer_id, room=room, resume_token=shown.get("token", str)(token)))
    assert reply.resumed is False
    assert stage.hub.counters.resumes == {("none", "grpc", "unknown"): 1}
    if (peer_id, room) != ("alice", ""):
        # Nothing has become of the one that it does name.
        assert stage.come_back("alice", token)[1].resumed


def test_a_resume_that_cannot_be_encoded_changes_nothing(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    bob.do(Offer("alice", "v=0"))
    broken = PlainEncoding()
    broken.fails_on = (OfferReceived,)
    again = stage.open(encoding=broken)
    before = stage.state()
    assert again.refused(Announce("alice", resume_token=token)) == errors.internal_error()
    assert stage.state() == before
    assert again.numbered() == []
    assert stage.come_back("alice", token)[1].resumed


def test_a_newcomer_that_cannot_be_encoded_ends_nobody(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    stage.encodings["grpc"].fails_on = (PeerJoined,)
    before = stage.state()
    assert stage.open().refused(Announce("alice")) == errors.internal_error()
    assert bob.heard() == []
    assert stage.state()[0] == before[0]
    stage.encodings["grpc"].fails_on = ()
    assert stage.come_back("alice", token, 1)[1].resumed


def test_a_refused_announce_changes_nothing_and_the_token_may_be_shown_again(make_stage):
    stage = make_stage()
    alice, token = stage.resumable("alice", identity=ALICE)
    alice.close(LOST)
    other, refused = stage.come_back("alice", token, identity=MALLORY)
    assert refused == errors.already_announced("alice")
    assert stage.ids() == ["alice"]
    _, reply = stage.come_back("alice", token, identity=ALICE)
    assert reply.resumed
    assert other.session.peer is None


def test_a_token_is_worth_nothing_to_another_identity(stage):
    for standing in (True, False):
        alice, token = stage.resumable("alice", identity=ALICE)
        if not standing:
            alice.close(LOST)
        for identity in (MALLORY, ANYBODY):
            assert stage.come_back("alice", token, identity=identity)[1] == errors.already_announced("alice")
        again, reply = stage.come_back("alice", token, identity=ALICE)
        assert reply.resumed
        again.do(Disconnect("alice"))


def test_a_fleet_may_move_from_nobody_in_particular_to_identities(stage):
    alice, token = stage.resumable("alice")
    alice.close(LOST)
    again, reply = stage.come_back("alice", token, identity=ALICE)
    assert reply.resumed
    again.close(LOST)
    # From then on it is hers.
    for identity in (MALLORY, ANYBODY):
        assert stage.come_back("alice", token, identity=identity)[1] == errors.already_announced("alice")
    assert stage.come_back("alice", token, identity=ALICE)[1].resumed


def test_rights_are_checked_anew(stage):
    alice, token = stage.resumable("alice", identity=ALICE)
    alice.close(LOST)
    narrowed = Identity("alice", source="jwt", peer_ids=frozenset({"bob"}))
    again, refused = stage.come_back("alice", token, identity=narrowed)
    assert refused.code is Code.PERMISSION_DENIED
    assert (stage.ids(), again.session.peer) == (["alice"], None)
    silent = Identity("alice", source="jwt", rights=frozenset({"announce"}))
    again, reply = stage.come_back("alice", token, identity=silent)
    assert reply.resumed
    stage.open("bob")
    assert again.refused(IceCandidate("bob", "c")) == errors.right_missing("relay")


def test_the_new_sessions_expiry_counts(stage):
    early = Identity("alice", source="jwt", expires_at=stage.now.unix + 10)
    late = Identity("alice", source="jwt", expires_at=stage.now.unix + 100)
    alice, token = stage.resumable("alice", identity=early)
    stage.wait(11)
    stage.expire()
    assert alice.ends == [DisconnectReason.TOKEN_EXPIRED]
    assert stage.ids() == ["alice"]
    again, reply = stage.come_back("alice", token, identity=late)
    assert reply.resumed
    again.took()
    stage.wait(80)
    stage.expire()
    assert again.ends == []


def test_whoever_asks_for_nothing_takes_the_id_of_its_shadow(stage):
    alice, _ = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    plain = stage.open()
    reply = plain.do(Announce("alice"))
    assert (reply.resumable, reply.resumed) == (None, None)
    assert [type(event) for event in bob.heard()] == [PeerLeft, PeerJoined]
