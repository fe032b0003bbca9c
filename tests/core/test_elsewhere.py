"""A hub whose peers may be elsewhere: claims and relays take effect when another node says so."""

import msgspec
import pytest

from directories import KnownAtOnce
from sigbridge import (
    Announce,
    Announced,
    Answer,
    Disconnect,
    Disconnected,
    DisconnectReason,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Relayed,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.pending import Pending
from sigbridge_compat.deferred import Deferral
from stage import Recorder


@pytest.fixture
def deferral():
    return Deferral()


@pytest.fixture
def stage(make_stage, deferral):
    stage = make_stage(directory=deferral, bus=deferral, max_room_peers=3)
    deferral.attach(stage.hub)
    return stage


@pytest.fixture
def complete(stage, deferral):
    return lambda index=0: deferral.complete(index, now=stage.now)


@pytest.fixture
def announced(stage, complete):
    def announce(peer_id, **fields):
        actor = stage.open()
        later = actor.do(Announce(peer_id, **fields))
        complete()
        assert isinstance(later[0], Announced)
        actor.took()
        return actor

    return announce


def test_nothing_happens_until_the_claim_is_granted(stage, deferral, complete, announced):
    alice = announced("alice")
    bob = stage.open()
    later = bob.do(Announce("bob"))
    assert (later, stage.ids(), alice.took(), bob.took()) == ([], ["alice"], [], [])
    assert bob.session.awaiting
    assert [(one.what, one.peer_id) for one in deferral.waiting] == [("claim", "bob")]
    complete()
    assert later == [Announced("bob", 1, ("alice",))]
    assert bob.took() == ["Announced", PeerJoined("alice", NO_CAPABILITIES, {})]
    assert alice.took() == [PeerJoined("bob", NO_CAPABILITIES, {})]
    assert not bob.session.awaiting
    assert stage.hub.counters.requests["grpc", "announce", "ok"] == 2


def test_an_id_that_another_node_has_is_refused(stage, deferral, complete):
    deferral.owned.add(("", "alice"))
    alice = stage.open()
    later = alice.do(Announce("alice"))
    complete()
    assert later == [errors.already_announced("alice")]
    assert stage.hub.counters.requests == {("grpc", "announce", "ALREADY_EXISTS"): 1}
    assert (stage.ids(), alice.session.peer, alice.session.awaiting) == ([], None, False)
    assert deferral.owned == {("", "alice")}, "what is another node's is not given back"


def test_of_two_claims_for_one_id_the_first_wins_at_once(stage, deferral, complete):
    first, second = stage.open(), stage.open()
    later = first.do(Announce("alice"))
    assert second.refused(Announce("alice")) == errors.already_announced("alice")
    complete()
    assert later == [Announced("alice", 0, ())]
    assert deferral.owned == {("", "alice")}
    second.close()
    assert stage.ids() == ["alice"]


def test_an_id_is_free_again_when_its_claim_has_failed(stage, deferral, complete):
    deferral.owned.add(("", "alice"))
    first, second = stage.open(), stage.open()
    first.do(Announce("alice"))
    complete()
    deferral.owned.clear()
    later = second.do(Announce("alice"))
    complete()
    assert later == [Announced("alice", 0, ())]


def test_claims_of_several_ids_may_be_granted_in_any_order(stage, complete):
    first, second = stage.open(), stage.open()
    first_later, second_later = first.do(Announce("first")), second.do(Announce("second"))
    complete(1)
    complete(0)
    assert second_later == [Announced("second", 0, ())]
    assert first_later == [Announced("first", 1, ("second",))]
    assert stage.ids() == ["second", "first"]


@pytest.mark.parametrize("reason", [DisconnectReason.CLIENT_LEFT, DisconnectReason.ANNOUNCE_TIMEOUT])
def test_a_session_that_ends_while_its_claim_is_pending(stage, deferral, complete, announced, reason):
    bob = announced("bob")
    alice = stage.open()
    later = []
    stage.hub.apply(alice.session, Announce("alice"), later, stage.now, sink=Recorder())
    alice.close(reason)
    assert deferral.owned == {("", "bob")}
    complete()
    assert later == [errors.session_ended()]
    assert stage.hub.counters.requests["grpc", "announce", "UNAVAILABLE"] == 1
    assert deferral.owned == {("", "bob")}, "the id is given back"
    assert (stage.ids(), bob.took(), alice.took()) == (["bob"], [], [])
    again = stage.open()
    later = again.do(Announce("alice"))
    complete()
    assert later == [Announced("alice", 1, ("bob",))]


def test_a_room_that_fills_up_meanwhile(stage, deferral, complete, announced):
    announced("a")
    announced("b")
    third, fourth = stage.open(), stage.open()
    third.do(Announce("c"))
    later = fourth.do(Announce("d"))
    complete()
    complete()
    assert later[0].extra == {"limit": "SIGNALING_MAX_ROOM_PEERS", "value": 3}
    assert stage.ids() == ["a", "b", "c"]
    assert ("", "d") not in deferral.owned


def test_leaving_gives_the_id_back(stage, deferral, announced):
    alice, bob = announced("alice"), announced("bob", room="other")
    assert deferral.owned == {("", "alice"), ("other", "bob")}
    alice.do(Disconnect("alice"))
    bob.close()
    assert deferral.owned == set()


def test_an_announce_that_cannot_be_encoded_gives_the_id_back(stage, deferral, complete, announced, caplog):
    announced("bob")
    stage.encodings["grpc"].fails_on = (PeerJoined,)
    alice = stage.open()
    later = alice.do(Announce("alice"))
    complete()
    assert later == [errors.internal_error()]
    assert (stage.ids(), deferral.owned) == (["bob"], {("", "bob")})
    assert "announce failed" in caplog.text


def test_a_relay_is_acknowledged_when_its_target_has_it(stage, deferral, complete, announced):
    alice, bob = announced("alice"), announced("bob")
    alice.took()
    later = alice.do(Offer("bob", "v=0"))
    assert (later, bob.took(), stage.hub.pending_offer_count) == ([], [], 0)
    complete()
    (reply,) = later
    assert reply == OfferRelayed(reply.offer_id, "bob")
    assert bob.took() == [OfferReceived("alice", reply.offer_id, "v=0", "offer")]
    assert stage.hub.pending_offer_count == 1
    later = bob.do(Answer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 1
    complete()
    assert later == [Relayed("alice")]
    assert stage.hub.pending_offer_count == 0


def test_a_relay_to_nobody_is_refused_later(stage, complete, announced):
    alice = announced("alice")
    later = alice.do(Offer("nobody", "v=0"))
    complete()
    assert later == [errors.peer_not_found("nobody")]
    assert stage.hub.counters.requests["grpc", "offer", "NOT_FOUND"] == 1


def test_a_hang_up_on_nobody_is_no_error_later_either(complete, announced):
    alice = announced("alice")
    later = alice.do(Disconnect("nobody"))
    complete()
    assert later == [Disconnected("nobody")]


def test_a_hang_up_arrives_later(stage, complete, announced):
    alice, bob = announced("alice"), announced("bob")
    alice.took()
    alice.do(Disconnect("bob"))
    assert bob.took() == []
    complete()
    assert bob.took() == [PeerDisconnected("alice")]


def test_fields_are_checked_before_anybody_is_asked(deferral, announced):
    alice = announced("alice")
    assert alice.refused(Offer("", "v=0")) == errors.invalid_params("to_peer_id", "is missing")
    assert alice.refused(Offer("alice", "v=0")) == errors.invalid_params("to_peer_id", "is the sender itself")
    assert alice.refused(Announce("x")) == errors.already_announced("alice")
    assert deferral.waiting == []


def test_messages_of_two_senders_may_be_delivered_in_any_order(stage, complete, announced):
    alice, bob, carol = announced("alice"), announced("bob"), announced("carol")
    for one in (alice, bob, carol):
        one.took()
    alice.do(IceCandidate("carol", "first asked"))
    bob.do(IceCandidate("carol", "second asked"))
    complete(1)
    complete(0)
    assert carol.took() == [
        IceCandidateReceived("bob", "second asked", None, 0),
        IceCandidateReceived("alice", "first asked", None, 0),
    ]


def test_a_sender_that_leaves_before_the_word_comes_has_no_offer_pending(stage, complete, announced):
    alice, bob = announced("alice"), announced("bob")
    alice.do(Offer("bob", "v=0"))
    alice.close()
    complete()
    assert stage.hub.pending_offer_count == 0
    assert PeerLeft("alice") in bob.took()


def test_a_target_that_leaves_before_the_word_comes(stage, complete, announced):
    alice, bob = announced("alice"), announced("bob")
    later = alice.do(Offer("bob", "v=0"))
    bob.close()
    complete()
    assert later == [errors.peer_not_found("bob")]
    assert stage.hub.pending_offer_count == 0


# Awaiting.


@pytest.fixture
def ready(stage):
    """A session, and when its carrier was told that it may go on, with what it was told by then."""

    class Carrier:
        def __init__(self):
            self.actor = stage.open()
            self.session = self.actor.session
            self.times = []
            self.seen = []
            self.session.on_ready = self._on_ready

        def _on_ready(self, now):
            self.times.append(now)
            self.seen.append((self.session.awaiting, self.actor.took()))

    return Carrier()


def test_a_carrier_may_go_on_when_the_response_is_queued(stage, complete, ready):
    ready.actor.do(Announce("alice"))
    assert (ready.session.awaiting, ready.times) == (True, [])
    stage.wait(3)
    complete()
    assert (ready.session.awaiting, ready.times) == (False, [stage.now])
    assert ready.seen == [(False, ["Announced"])]


def test_a_carrier_may_go_on_after_a_refusal_too(stage, deferral, complete, ready):
    deferral.owned.add(("", "alice"))
    ready.actor.do(Announce("alice"))
    complete()
    assert ready.seen == [(False, ["SignalingError"])]


def test_a_carrier_may_apply_the_next_request_at_once(stage, complete, ready, deferral):
    ready.session.on_ready = lambda now: stage.hub.apply(ready.session, Offer("nobody", "v=0"), [], now)
    ready.actor.do(Announce("alice"))
    complete()
    assert ready.session.awaiting
    assert [one.what for one in deferral.waiting] == ["relay"]
    ready.session.on_ready = ready.times.append
    complete()
    assert (ready.session.awaiting, len(ready.times)) == (False, 1)
    assert ready.actor.took() == ["Announced", "SignalingError"]


def test_what_needs_nobody_s_word_makes_no_carrier_wait(ready):
    ready.actor.do(HealthCheck())
    ready.actor.refused(Offer("nobody", "v=0"))
    assert (ready.session.awaiting, ready.times) == (False, [])
    assert ready.actor.took() == ["Health", "SignalingError"]


@pytest.mark.parametrize("word", [None, errors.peer_not_found("nobody")])
def test_what_is_known_at_once_makes_no_carrier_wait(make_stage, word):
    stage = make_stage(bus=KnownAtOnce(word))
    alice = stage.open("alice")
    told = []
    alice.session.on_ready = told.append
    outcome = alice.do(Offer("nobody", "v=0"))
    assert isinstance(outcome, OfferRelayed) if word is None else outcome == word
    assert (alice.session.awaiting, told) == (False, [])
    assert len(alice.took()) == 1


def test_a_session_that_ended_meanwhile_is_told_nothing(stage, complete, ready):
    ready.actor.do(Announce("alice"))
    ready.actor.close()
    complete()
    assert not ready.session.awaiting
    assert ready.actor.took() == []
    assert stage.hub.counters.requests == {("grpc", "announce", "UNAVAILABLE"): 1}


def test_a_sink_takes_what_was_awaited(stage, complete):
    alice = stage.open()
    outcomes = []
    stage.hub.apply(alice.session, Announce("alice"), outcomes, stage.now, sink=Recorder())
    assert (alice.session.awaiting, outcomes) == (True, [])
    complete()
    assert (alice.session.awaiting, outcomes) == (False, [Announced("alice", 0, ())])
    assert alice.took() == [], "the sink's owner puts the response"


def test_a_relay_to_a_peer_without_a_session_is_refused_later(stage, complete, announced):
    alice, bob = announced("alice"), announced("bob")
    alice.took()
    bob.session.peer.session = None
    later = alice.do(Offer("bob", "v=0"))
    complete()
    assert later == [errors.peer_unavailable("bob")]
    assert stage.hub.pending_offer_count == 0
    later = alice.do(Disconnect("bob"))
    complete()
    assert later == [errors.peer_unavailable("bob")]


def test_who_goes_while_a_claim_is_pending_makes_room(make_stage, deferral):
    stage = make_stage(directory=deferral, max_sessions=1)
    alice = stage.open()
    alice.do(Announce("alice"))
    assert stage.hub._parts.announcing.claiming == {("", "alice")}
    alice.close()
    assert stage.open().session.open
    deferral.complete(now=stage.now)
    assert stage.hub._parts.announcing.claiming == set()
    assert stage.hub.peer_count == 0


class BrokenDirectory:
    """A directory that raises at its first claim, and at every release."""

    def __init__(self):
        self.claims = 0

    def claim(self, room, peer_id, now):
        self.claims += 1
        if self.claims == 1:
            raise ConnectionError("the directory is away")
        granted = Pending()
        granted.resolve(None, now)
        return granted

    def release(self, room, peer_id):
        raise ConnectionError("the directory is away")


def test_a_directory_that_raises_takes_no_id_and_keeps_nobody(make_stage, caplog):
    stage = make_stage(directory=BrokenDirectory())
    assert stage.open().refused(Announce("alice")) == errors.internal_error()
    assert stage.hub._parts.announcing.claiming == set()
    alice, bob = stage.open("alice"), stage.open("bob")
    alice.took()
    stage.hub.end(bob.session, DisconnectReason.MAX_AGE, stage.now)
    assert bob.ends == [DisconnectReason.MAX_AGE]
    assert alice.heard() == [PeerLeft("bob")]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "announce failed",
        "an id could not be released",
    ]


def test_an_offer_begins_when_its_target_has_it(make_stage, deferral):
    stage = make_stage(bus=deferral, pending_offer_seconds=60)
    deferral.attach(stage.hub)
    alice, bob = stage.open("alice"), stage.open("bob")
    alice.do(Offer("bob", "v=0"))
    stage.wait(50)
    bob.do(Offer("alice", "v=0"))
    deferral.complete(1, now=stage.now)
    deferral.complete(0, now=stage.now)
    alice.took(), bob.took()
    stage.wait(59)
    stage.expire()
    assert stage.hub.pending_offer_count == 2
    stage.wait(1)
    stage.expire()
    assert stage.hub.pending_offer_count == 0


@pytest.mark.parametrize("ends", [Answer("alice", "v=0", "", "FIRST"), Disconnect("alice", "FIRST")])
def test_what_was_under_way_ends_no_offer_that_came_meanwhile(make_stage, deferral, ends):
    stage = make_stage(bus=deferral)
    deferral.attach(stage.hub)
    alice, bob = stage.open("alice"), stage.open("bob")
    offers = alice.do(Offer("bob", "v=0"))
    deferral.complete(now=stage.now)
    under_way = bob.do(msgspec.structs.replace(ends, offer_id=offers[0].offer_id))
    again = alice.do(Offer("bob", "v=0"))
    deferral.complete(1, now=stage.now)
    deferral.complete(now=stage.now)
    assert len(under_way) == 1
    assert stage.hub.pending_offer_count == 1
    answer = bob.do(Answer("alice", "v=0", "", again[0].offer_id))
    deferral.complete(now=stage.now)
    assert answer == [Relayed("alice")]
