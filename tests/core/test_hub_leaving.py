"""Hanging up and leaving on the bare hub, and peers that are there without a session."""

import pytest

from hub_outcomes import joined
from sigbridge import (
    Announce,
    Announced,
    Capabilities,
    Code,
    Disconnect,
    Disconnected,
    DisconnectReason,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    Relayed,
    SignalingError,
    errors,
)

# Hanging up and leaving.


def test_a_hang_up_names_the_sender(stage):
    alice, bob = stage.pair()
    assert alice.do(Disconnect("bob")) == Disconnected("bob")
    assert bob.took() == [PeerDisconnected("alice")]
    assert stage.ids() == ["alice", "bob"]


def test_a_hang_up_on_nobody_is_the_same(stage):
    alice = stage.open("alice")
    assert alice.do(Disconnect("nobody")) == Disconnected("nobody")
    assert not stage.hub.counters.relays


def test_ones_own_id_means_leaving(stage):
    alice, bob = stage.pair()
    assert alice.do(Disconnect("alice")) == Disconnected("alice")
    assert bob.took() == [PeerLeft("alice")]
    assert alice.took() == ["Disconnected"]
    assert stage.ids() == ["bob"]
    assert alice.refused(Disconnect("alice")) == errors.not_announced()
    assert alice.do(Announce("alice", room="elsewhere")) == Announced("alice", 0, ())


def test_who_left_must_announce_in_time_again(make_stage):
    stage = make_stage(announce_timeout_seconds=10)
    alice = stage.open("alice")
    stage.wait(100)
    stage.expire()
    alice.do(Disconnect("alice"))
    alice.took()
    stage.wait(9)
    stage.expire()
    assert alice.ends == []
    stage.wait(1)
    stage.expire()
    assert alice.ends == [DisconnectReason.ANNOUNCE_TIMEOUT]


def test_an_old_sessions_end_spares_the_new_incarnation(stage):
    old, bob = stage.pair()
    peer = old.session.peer
    old.do(Disconnect("alice"))
    new = stage.open("alice")
    bob.took()
    # Even a session that still believed to be its peer could not remove the new one.
    old.session.peer = peer
    old.close()
    assert stage.ids() == ["bob", "alice"]
    assert bob.took() == []
    bob.do(IceCandidate("alice", "c"))
    assert new.heard() == [IceCandidateReceived("bob", "c", None, 0)]


@pytest.mark.parametrize("reason", list(DisconnectReason))
def test_the_end_of_a_session_tells_the_room_once(stage, reason):
    alice, bob = stage.pair()
    carol = stage.open("carol", room="other")
    alice.close(reason)
    alice.close(DisconnectReason.CONNECTION_LOST)
    assert bob.took() == [PeerLeft("alice")]
    assert carol.took() == []
    assert alice.ends == [], "a carrier that is gone is not told"
    assert stage.hub.counters.disconnects == {("grpc", reason.word): 1}
    assert stage.hub.counters.sessions == {"grpc": 1, "websocket": 1}


def test_peer_left_is_the_last_that_comes(stage):
    alice, bob = stage.pair()
    alice.do(IceCandidate("bob", "c"))
    alice.close()
    assert alice.do(IceCandidate("bob", "late")) == errors.session_ended()
    assert bob.took() == [IceCandidateReceived("alice", "c", None, 0), PeerLeft("alice")]


def test_an_empty_room_is_forgotten(stage):
    alice = stage.open("alice", room="one")
    assert stage.hub.room_count == 1
    alice.close()
    assert (stage.hub.room_count, stage.hub.peer_count, stage.hub.session_count) == (0, 0, 0)


def test_a_reply_after_the_end_goes_nowhere(stage):
    alice = stage.open("alice")
    alice.close()
    stage.hub.put_array(alice.session, b"late", stage.now)
    stage.hub.respond(alice.session, "discover", Relayed("late"), [], stage.now)
    stage.hub.respond(alice.session, "unknown", errors.malformed_request(), [], stage.now)
    assert alice.took() == []


# Peers without a session.


@pytest.fixture
def absent(stage):
    """A peer, `ghost`, that is in the room and has no session."""
    actor = stage.open("ghost", capabilities=Capabilities(audio=True), metadata={"n": 1})
    peer = actor.session.peer
    actor.session.peer = peer.session = None
    return peer


def test_what_is_relayed_to_a_peer_without_a_session_is_refused(stage, absent, relays):
    alice = stage.open("alice")
    before = stage.state()
    for request in (*relays("ghost"), Disconnect("ghost")):
        assert alice.refused(request) == SignalingError(Code.UNAVAILABLE, "Peer unavailable: ghost", peer_id="ghost")
    assert stage.state() == before
    assert stage.hub.pending_offer_count == 0
    assert not stage.hub.counters.relays
    with pytest.raises(SignalingError) as refused:
        stage.hub.deliver("", "ghost", PeerLeft("x"), "grpc", stage.now)
    assert refused.value == errors.peer_unavailable("ghost")


def test_a_room_with_a_peer_without_a_session_hears_what_it_should(stage, absent):
    alice = stage.open()
    assert alice.do(Announce("alice")) == Announced("alice", 1, ("ghost",))
    assert alice.took() == ["Announced", PeerJoined("ghost", Capabilities(audio=True), {"n": 1})]
    bob = stage.open("bob", protocol="websocket")
    assert alice.took() == joined("bob")
    bob.close()
    assert alice.took() == [PeerLeft("bob")]
    assert stage.hub.counters.events == {
        ("grpc", "peer_joined"): 2,
        ("websocket", "peer_joined"): 2,
        ("grpc", "peer_left"): 1,
    }


def test_a_peer_without_a_session_is_listed_and_its_id_taken(stage, absent):
    alice = stage.open("alice")
    page = alice.do(ListPeers())
    ghost = PeerInfo("ghost", Capabilities(audio=True), "available", {"n": 1}, 1_700_000_000)
    assert (page.count, page.peers[0]) == (2, ghost)
    assert stage.hub.peer_count == 2
    assert stage.hub.health(stage.now).connected_peers == 2
    assert stage.open().refused(Announce("ghost")) == errors.already_announced("ghost")


def test_a_peer_without_a_session_leaves_like_any_other(stage, absent):
    alice = stage.open("alice")
    stage.hub._parts.leaving.remove(absent, stage.now)
    assert alice.took() == [PeerLeft("ghost")]
    assert stage.ids() == ["alice"]
    # A second time is none, and a newer peer of that id stays.
    new = stage.open("ghost")
    alice.took()
    stage.hub._parts.leaving.remove(absent, stage.now)
    assert (alice.took(), new.took()) == ([], [])
    assert stage.ids() == ["alice", "ghost"]


def test_the_last_peer_of_a_room_may_be_without_a_session(stage, absent):
    stage.hub._parts.leaving.remove(absent, stage.now)
    assert (stage.hub.room_count, stage.hub.peer_count) == (0, 0)


def test_a_session_whose_peer_was_taken_from_it_ends_without_a_word(stage):
    alice, bob = stage.pair()
    peer = bob.session.peer
    bob.session.peer = peer.session = None
    bob.close()
    assert alice.took() == []
    assert stage.ids() == ["alice", "bob"]


def test_draining_spares_no_session_where_a_peer_has_none(stage, absent):
    alice = stage.open("alice")
    stage.hub.drain(stage.now)
    assert alice.ends == [DisconnectReason.DRAINING]
    assert alice.took() == []
