"""Resuming on a bare hub: who is resumable, the numbers of events, and what a lost session leaves behind."""

import re

import msgspec
import pytest

from resuming_peers import LOST, candidates, send
from sigbridge import (
    Announce,
    Capabilities,
    Control,
    Disconnect,
    Disconnected,
    DisconnectReason,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    errors,
)
from sigbridge.endings import HOLDING_REASONS
from sigbridge.errors import Code
from stage import PlainEncoding, Stage

# Asking to be resumable.


def test_who_asks_for_nothing_is_told_nothing(stage):
    alice = stage.open()
    reply = alice.do(Announce("alice"))
    assert (reply.resumable, reply.resume_token, reply.resume_window_seconds, reply.resumed) == (None, "", None, None)
    assert (alice.session.continuity, alice.session.wants_notices) == (None, False)
    bob = stage.open("bob")
    send(bob, 1)
    assert alice.numbered() == []
    alice.close(LOST)
    assert stage.ids() == ["bob"]


def test_who_asks_is_told_how(make_stage):
    stage = make_stage(resume_window_seconds=12.5)
    alice = stage.open()
    reply = alice.do(Announce("alice", resumable=True))
    assert (reply.resumable, reply.resume_window_seconds, reply.resumed) == (True, 12.5, None)
    assert alice.session.wants_notices
    # Something to look the peer up by, and a secret of 128 bits or more.
    assert re.fullmatch(r"[A-Za-z0-9_-]{36}", reply.resume_token)


def test_every_incarnation_has_a_token_of_its_own(stage):
    alice, token = stage.resumable("alice")
    alice.do(Disconnect("alice"))
    other = alice.do(Announce("alice", resumable=True)).resume_token
    assert len({token[:12], token[12:], other[:12], other[12:]}) == 4


def test_showing_a_token_asks_to_be_resumable(stage):
    alice, reply = stage.come_back("alice", "of nobody")
    assert (reply.resumable, reply.resumed) == (True, False)
    assert reply.resume_token
    assert alice.session.wants_notices


def test_a_window_of_nothing_holds_nobody(make_stage):
    stage = make_stage(resume_window_seconds=0.0)
    alice = stage.open()
    reply = alice.do(Announce("alice", resumable=True))
    assert (reply.resumable, reply.resume_token, reply.resume_window_seconds, reply.resumed) == (False, "", None, None)
    assert alice.session.wants_notices
    alice.close(LOST)
    assert stage.ids() == []
    _, reply = stage.come_back("alice", "a token of before")
    assert (reply.resumable, reply.resumed) == (False, False)


def test_notices_alone_may_be_asked_for(stage):
    alice = stage.open("alice", notices=True)
    assert (alice.session.wants_notices, alice.session.continuity) == (True, None)


def test_no_repr_shows_a_token(stage):
    alice, token = stage.resumable("alice")
    secret = token[12:]
    continuity = alice.session.continuity
    shown = [Announce("alice", resume_token=token), alice.session, alice.session.peer, continuity]
    shown.append(stage.come_back("alice", token)[1])
    assert secret not in "".join(map(repr, shown))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"resume_token": "x" * 257}, "resume_token"),
        ({"last_seq": -1}, "last_seq"),
        ({"last_seq": 2**64}, "last_seq"),
        ({"capabilities": Capabilities(extensions={"audio": 1})}, None),
        ({"metadata": {"n": "x" * 20000}}, None),
    ],
)
def test_fields_are_checked_even_where_they_are_ignored(stage, wrong, field):
    alice, token = stage.resumable("alice")
    alice.close(LOST)
    again = stage.open()
    before = stage.state()
    error = again.refused(Announce("alice", **({"resume_token": token} | wrong)))
    assert error.code in (Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED)
    assert field is None or error.extra["field"] == field
    assert stage.state() == before
    assert again.do(Announce("alice", resume_token=token)).resumed


# Numbers.


def test_events_are_numbered_and_responses_are_not(stage):
    for peer_id in ("x", "y"):
        stage.open(peer_id)
    alice = stage.open()
    alice.do(Announce("alice", resumable=True))
    frames = alice.session.outbox.take(10**9)
    assert [frame.rpartition(b" #")[2] for frame in frames[1:]] == [b"1", b"2"]
    assert b"#" not in frames[0]
    bob = stage.open("bob")
    send(bob, 4)
    bob.do(Offer("alice", "v=0"))
    bob.do(Disconnect("alice"))
    alice.do(ListPeers())
    bob.close()
    numbers = alice.numbered()
    assert [number for number, _ in numbers] == [3, 4, 5, 6, 7]
    assert [type(event) for _, event in numbers] == [
        PeerJoined,
        IceCandidateReceived,
        OfferReceived,
        PeerDisconnected,
        PeerLeft,
    ]


def test_control_messages_have_no_number_and_are_not_kept(make_stage):
    stage = make_stage(answer_in_result=("server",))
    server, token = stage.resumable("server", protocol="websocket", encoding=PlainEncoding(takes_control=True))
    page = stage.open("page", protocol="websocket", encoding=stage.dotted)
    server.took()
    page.do(Offer("server", "v=0"))
    page.session.peer.called = ("server", server.session.peer.incarnation)
    page.do(Control("subscribe", {}))
    assert [number for number, _ in server.numbered()] == [2]
    server.close(LOST)
    assert page.refused(Control("subscribe", {})) == errors.peer_not_found("server")
    again, _ = stage.come_back("server", token, 2, protocol="websocket", encoding=PlainEncoding(takes_control=True))
    assert again.numbered() == []


def test_a_fan_out_is_encoded_once_for_all(stage):
    for peer_id in "abc":
        stage.resumable(peer_id)
    encoded = stage.encodings["grpc"].encoded
    encoded.clear()
    stage.open("bob")
    assert len([event for event in encoded if event.peer_id == "bob"]) == 1


def test_a_relay_that_does_not_fit_has_no_number(make_stage):
    stage = make_stage(outbox_max_messages=2)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.took()
    send(bob, 2, 3)
    assert bob.refused(IceCandidate("alice", "x")).code is Code.UNAVAILABLE
    assert alice.numbered() == candidates(2, 3)
    send(bob, 4)
    assert alice.numbered() == candidates(4, 4)
    again, reply = stage.come_back("alice", token, 1)
    assert (reply.resumed, again.numbered()) == (True, candidates(2, 4))


# Losing a session.


@pytest.mark.parametrize("reason", DisconnectReason)
def test_these_ends_hold_the_peer_and_no_others(reason):
    stage = Stage()
    alice, _ = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(reason)
    assert stage.ids() == (["alice", "bob"] if reason in HOLDING_REASONS else ["bob"])
    assert bob.heard() == ([] if reason in HOLDING_REASONS else [PeerLeft("alice")])


def test_the_ends_that_hold():
    assert {reason.word for reason in HOLDING_REASONS} == {
        "connection_lost",
        "keepalive_timeout",
        "slow_consumer",
        "max_age",
        "token_expired",
        "message_timeout",
        "overload",
        "internal_error",
    }


def test_leaving_holds_nothing(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    assert alice.do(Disconnect("alice")) == Disconnected("alice")
    assert (stage.ids(), bob.heard()) == (["bob"], [PeerLeft("alice")])
    alice.close(LOST)
    _, reply = stage.come_back("alice", token)
    assert reply.resumed is False


def test_an_announce_after_leaving_is_a_new_peer(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    offered = alice.do(Offer("bob", "v=0"), id="1")
    alice.do(Disconnect("alice"), id="2")
    alice.took()
    reply = alice.do(Announce("alice", resume_token=token, last_seq=1))
    assert (reply.resumed, reply.resume_token != token) == (False, True)
    assert alice.numbered() == [(1, PeerJoined("bob", Capabilities(), {}))]
    assert alice.do(Offer("bob", "v=0"), id="1") != offered
    assert [type(event) for event in bob.heard()] == [OfferReceived, PeerLeft, PeerJoined, OfferReceived]


def test_who_announces_again_may_ask_for_less(stage):
    alice, _ = stage.resumable("alice")
    alice.do(Disconnect("alice"))
    reply = alice.do(Announce("alice"))
    assert (reply.resumable, alice.session.continuity, alice.session.wants_notices) == (None, None, False)
    alice.close(LOST)
    assert stage.ids() == []


def test_a_held_peer_is_in_its_place_and_away(make_stage):
    stage = make_stage(max_room_peers=3)
    stage.open("first")
    alice, token = stage.resumable("alice", protocol="websocket")
    bob = stage.open("bob")
    (before,) = [peer for peer in bob.do(ListPeers()).peers if peer.peer_id == "alice"]
    position = bob.do(ListPeers(page_size=2)).next_page_token
    alice.close(LOST)
    stage.wait(5)
    page = bob.do(ListPeers())
    assert [(peer.peer_id, peer.state) for peer in page.peers] == [
        ("first", "available"),
        ("alice", "away"),
        ("bob", "available"),
    ]
    assert (page.count, stage.hub.peer_count, stage.hub.health(stage.now).connected_peers) == (3, 3, 3)
    assert msgspec.structs.replace(page.peers[1], state="available") == before
    # It counts for the room's limit, and newcomers hear of it.
    assert stage.open().refused(Announce("carol")).code is Code.RESOURCE_EXHAUSTED
    again, reply = stage.come_back("alice", token, 2)
    assert reply.resumed
    page = bob.do(ListPeers())
    assert page.peers[1] == before
    assert bob.do(ListPeers(page_size=2, page_token=position)).peers == page.peers[2:]
    assert again.session.peer.incarnation == alice_incarnation(stage)


def alice_incarnation(stage):
    return stage.hub._rooms.find("").peers["alice"].incarnation


def test_a_newcomers_roster_has_held_peers(stage):
    alice, _ = stage.resumable("alice")
    alice.close(LOST)
    bob = stage.open()
    assert bob.do(Announce("bob")).other_peers == ("alice",)
    assert [event.peer_id for event in bob.heard()] == ["alice"]


def test_what_is_announced_at_a_resume_changes_nothing(stage):
    alice = stage.open()
    token = alice.do(Announce("alice", Capabilities(audio=True), {"n": 1}, resumable=True)).resume_token
    alice.close(LOST)
    stage.wait(3)
    again = stage.open()
    reply = again.do(Announce("alice", Capabilities(video=True), {"client": "x/2"}, resume_token=token))
    assert reply.resumed
    (info,) = again.do(ListPeers()).peers
    assert (info.capabilities, info.metadata, info.state) == (Capabilities(audio=True), {"n": 1}, "available")
    assert info.connected_at == int(stage.now.unix - 3)
    # For the log.
    assert again.session.client == "x/2"


def test_offers_stay_pending_while_a_peer_is_held(stage):
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.do(Offer("bob", "v=0"))
    bob.do(Offer("alice", "v=0"))
    alice.close(LOST)
    assert stage.hub.pending_offer_count == 2
    stage.wait(20)
    stage.come_back("alice", token)
    assert stage.hub.pending_offer_count == 2
    stage.wait(41)
    stage.expire()
    assert stage.hub.pending_offer_count == 0


def test_the_window_ends(make_stage):
    stage = make_stage(resume_window_seconds=30.0)
    alice, token = stage.resumable("alice")
    bob = stage.open("bob")
    alice.close(LOST)
    stage.wait(29.9)
    assert stage.expire() <= stage.now.monotonic + 0.11
    assert stage.ids() == ["alice", "bob"]
    stage.wait(0.2)
    stage.expire()
    assert (stage.ids(), bob.heard()) == (["bob"], [PeerLeft("alice")])
    _, reply = stage.come_back("alice", token)
    assert reply.resumed is False
    assert stage.hub.counters.held_ends["expired"] == 1
