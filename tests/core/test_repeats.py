"""Requests of resumable peers that come again: one effect, one response, whatever session or protocol asks."""

import pytest

from sigbridge import (
    Announce,
    Answer,
    Authenticate,
    Claimed,
    Disconnect,
    Disconnected,
    DisconnectReason,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    OfferForAnswer,
    OfferRelayed,
    SignalingError,
    errors,
)
from sigbridge.errors import Code
from sigbridge.share import EVENTS_PER_ELEMENT, EVENTS_PER_TURN, SPENT
from sigbridge_compat.deferred import Deferral
from stage import Recorder

LOST = DisconnectReason.CONNECTION_LOST
RELAYS = [Offer("bob", "v=0"), Answer("bob", "v=0"), IceCandidate("bob", "c"), Disconnect("bob")]


@pytest.fixture
def alice(stage):
    """A resumable peer; `alice.token` is its token, and there is a `bob` who asked for nothing."""
    stage.bob = stage.open("bob", protocol="websocket")
    actor, actor.token = stage.resumable("alice")
    stage.bob.took()
    return actor


def heard_kinds(actor):
    return [type(event).__name__ for event in actor.heard()]


@pytest.mark.parametrize("request_", RELAYS, ids=lambda request: request.kind)
@pytest.mark.parametrize("where", ["here", "after a resume", "on the other protocol"])
def test_the_same_again_gets_the_same_response_and_changes_nothing(stage, alice, request_, where):
    first = alice.do(request_, id="7")
    assert len(stage.bob.heard()) == 1
    pending = stage.hub.pending_offer_count
    asks = alice
    if where != "here":
        alice.close(LOST)
        protocol = "grpc" if where == "after a resume" else "websocket"
        asks, _ = stage.come_back("alice", alice.token, 1, protocol=protocol)
    assert asks.do(request_, id="7") == first
    assert (stage.bob.heard(), stage.hub.pending_offer_count) == ([], pending)
    assert stage.hub.counters.repeated_requests == {asks.session.protocol: 1}


def test_a_refusal_is_remembered_too(stage, alice):
    refused = alice.refused(IceCandidate("carol", "c"), id="1")
    assert refused == errors.peer_not_found("carol")
    stage.open("carol")
    assert alice.refused(IceCandidate("carol", "c"), id="1") == refused
    wrong = alice.refused(Offer("bob", ""), id="2")
    assert alice.refused(Offer("bob", ""), id="2") == wrong


def test_a_fault_of_ours_is_remembered_as_one(stage, alice):
    encoding = stage.encodings["websocket"]
    encoding.fails_on = tuple(kind for kind in map(type, stage.bob.heard())) or (object,)
    stage.hub._rules[IceCandidate] = lambda *_: 1 / 0
    assert alice.refused(IceCandidate("bob", "c"), id="1") == errors.internal_error()
    assert alice.refused(IceCandidate("bob", "c"), id="1") == errors.internal_error()
    assert stage.hub.counters.repeated_requests == {"grpc": 1}


def test_the_same_id_with_another_request_is_a_wrong_field(stage, alice):
    alice.do(Offer("bob", "v=0"), id="7")
    stage.bob.took()
    for other in (Offer("bob", "v=1"), Answer("bob", "v=0"), Disconnect("bob"), Disconnect("alice")):
        refused = alice.refused(other, id="7")
        assert (refused.code, refused.extra["field"]) == (Code.INVALID_ARGUMENT, "id")
    assert stage.bob.heard() == []
    assert alice.session.peer is not None
    # What is never remembered may have any id.
    assert not isinstance(alice.do(ListPeers(), id="7"), SignalingError)
    assert stage.hub.counters.refused_requests["grpc", "offer", "INVALID_ARGUMENT"] == 1


def test_without_an_id_nothing_is_remembered(stage, alice):
    for _ in range(2):
        alice.do(IceCandidate("bob", "c"))
    assert len(stage.bob.heard()) == 2
    assert len(alice.session.continuity.requests) == 0


def test_an_id_that_is_too_long_is_a_wrong_field(stage, alice):
    refused = alice.refused(IceCandidate("bob", "c"), id="x" * 129)
    assert (refused.code, refused.extra) == (Code.INVALID_ARGUMENT, {"field": "id"})
    assert stage.bob.heard() == []
    # Only where it would be remembered.
    assert not isinstance(stage.bob.do(IceCandidate("alice", "c"), id="x" * 129), SignalingError)
    assert not isinstance(alice.do(HealthCheck(), id="x" * 129), SignalingError)


def test_for_those_who_are_not_resumable_an_id_means_nothing(stage, alice):
    for _ in range(2):
        assert not isinstance(stage.bob.do(IceCandidate("alice", "c"), id="1"), SignalingError)
    assert len(alice.heard()) == 2


def test_dialects_name_the_same_request(make_stage):
    stage = make_stage(answer_in_result=("bob",))
    bob = stage.open("bob")
    alice, _ = stage.resumable("alice")
    bob.took()
    first = alice.do(Claimed("alice", OfferForAnswer("bob", "v=0")), id="1")
    assert isinstance(first, OfferRelayed)
    assert alice.do(Offer("bob", "v=0"), id="1") == first
    assert heard_kinds(bob) == ["OfferReceived"]


def test_a_resumable_caller_gets_the_answer_as_an_event(make_stage):
    stage = make_stage(answer_in_result=("bob",))
    bob = stage.open("bob")
    alice, token = stage.resumable("alice")
    bob.took()
    for how in ({}, {"can_wait": False}, {"wants_reply": False}):
        assert isinstance(alice.do(OfferForAnswer("bob", "v=0", **how)), OfferRelayed)
    assert stage.hub.awaited_answer_count == 0
    assert alice.session.peer.called == ("bob", bob.session.peer.incarnation)
    alice.close(LOST)
    bob.do(Answer("alice", "v=1"))
    again, _ = stage.come_back("alice", token, 1)
    assert heard_kinds(again) == ["AnswerReceived"]
    assert again.session.peer.called == ("bob", bob.session.peer.incarnation)


def test_a_false_sender_is_another_request(stage, alice):
    assert alice.refused(Claimed("mallory", Offer("bob", "v=0")), id="1").code is Code.PERMISSION_DENIED
    assert alice.refused(Claimed("mallory", Offer("bob", "v=0")), id="1").code is Code.PERMISSION_DENIED
    assert alice.refused(Offer("bob", "v=0"), id="1").code is Code.INVALID_ARGUMENT
    assert stage.bob.heard() == []


# The rate.


def test_a_repeated_request_is_looked_up_before_the_rate(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=1)
    bob = stage.open("bob", remote="192.0.2.2")
    alice, _ = stage.resumable("alice", remote="192.0.2.1")
    bob.took()
    first = alice.do(IceCandidate("bob", "1"), id="1")
    refused = alice.refused(IceCandidate("bob", "2"), id="2")
    assert (refused.code, bool(refused.retry_after_ms)) == (Code.RESOURCE_EXHAUSTED, True)
    for _ in range(3):
        assert alice.do(IceCandidate("bob", "1"), id="1") == first
    # A refusal by the rate is not remembered.
    stage.wait(1.1)
    assert not isinstance(alice.do(IceCandidate("bob", "2"), id="2"), SignalingError)
    assert len(bob.heard()) == 2


def test_repeated_requests_use_up_the_share_of_a_turn(stage, alice):
    alice.do(IceCandidate("bob", "1"), id="1")
    alice.session.share.begin_turn()
    for _ in range(EVENTS_PER_TURN // EVENTS_PER_ELEMENT):
        alice.do(IceCandidate("bob", "1"), id="1")
    assert alice.session.share.state == SPENT
    alice.session.share.begin_turn()
    for _ in range(EVENTS_PER_TURN // EVENTS_PER_ELEMENT):
        alice.refused(IceCandidate("bob", "2"), id="1")
    assert alice.session.share.state == SPENT


def test_responses_to_repeated_requests_count_against_the_outbox(make_stage):
    stage = make_stage(outbox_max_messages=8)
    stage.open("bob")
    alice, _ = stage.resumable("alice")
    answered = 0
    while alice.session.open:
        alice.do(IceCandidate("bob", "1"), id="1")
        answered += 1
    assert (alice.ends, answered) == ([DisconnectReason.SLOW_CONSUMER], 17)


def test_what_is_never_remembered(stage, alice):
    alice.do(ListPeers(), id="1")
    alice.do(HealthCheck(), id="2")
    alice.do(Authenticate("token"), id="3")
    alice.refused(Announce("alice"), id="4")
    stage.hub.respond(alice.session, "offer", errors.invalid_params("sdp", "is missing"), [], stage.now)
    assert len(alice.session.continuity.requests) == 0


def test_requests_are_forgotten_with_time(stage, alice):
    first = alice.do(Offer("bob", "v=0"), id="1")
    for _ in range(8):
        stage.wait(40)
        alice.took()
        stage.expire()
    assert alice.session.continuity.is_idle
    assert alice.do(Offer("bob", "v=0"), id="1") != first


def test_a_held_peer_forgets_nothing(make_stage):
    stage = make_stage(resume_window_seconds=1000.0, send_deadline_seconds=1.0)
    stage.open("bob")
    alice, token = stage.resumable("alice")
    first = alice.do(Offer("bob", "v=0"), id="1")
    alice.close(LOST)
    stage.wait(999)
    stage.expire()
    again, _ = stage.come_back("alice", token, 1)
    assert again.do(Offer("bob", "v=0"), id="1") == first


def test_what_a_resume_finds_is_as_young_as_the_session(stage, alice):
    """Its client may lose the next connection, too, before it has asked again."""
    first = alice.do(Offer("bob", "v=0"), id="1")
    asks = alice
    for _ in range(10):
        asks.close(LOST)
        stage.wait(29)
        stage.expire()
        asks, reply = stage.come_back("alice", alice.token)
        assert reply.resumed
    assert asks.do(Offer("bob", "v=0"), id="1") == first


def test_who_has_asked_to_leave_does_not_come_back_to_ask_again(stage, alice):
    assert alice.do(Disconnect("alice"), id="1") == Disconnected("alice")
    assert alice.refused(Disconnect("alice"), id="1") == errors.not_announced()
    again, reply = stage.come_back("alice", alice.token)
    assert reply.resumed is False
    assert again.do(Disconnect("alice"), id="1") == Disconnected("alice")


# Batches: the response goes to the sink that asked.


def test_a_repeated_request_answers_the_batch_that_asks(stage, alice):
    first = alice.do(IceCandidate("bob", "c"), id="1")
    alice.took()
    outcomes = type("Outcomes", (list,), {"__str__": lambda self: "1"})()
    stage.hub.apply(alice.session, IceCandidate("bob", "c"), outcomes, stage.now, sink=Recorder())
    assert outcomes == [first]
    assert alice.took() == []


# Under way: where another node's word is awaited.


@pytest.fixture
def deferral():
    return Deferral()


@pytest.fixture
def distant(make_stage, deferral):
    stage = make_stage(bus=deferral)
    deferral.attach(stage.hub)
    stage.bob = stage.open("bob")
    return stage


def test_the_second_joins_the_first_that_is_under_way(distant, deferral):
    alice, token = distant.resumable("alice")
    distant.bob.took()
    first = alice.do(IceCandidate("bob", "c"), id="1")
    assert alice.session.awaiting
    again, reply = distant.come_back("alice", token, 1)
    assert (reply.resumed, alice.ends) == (True, [DisconnectReason.REPLACED])
    ready = []
    again.session.on_ready = ready.append
    second = again.do(IceCandidate("bob", "c"), id="1")
    assert (second, again.session.awaiting) == ([], True)
    third, _ = distant.come_back("alice", token, 1)
    last = third.do(IceCandidate("bob", "c"), id="1")
    third.session.on_ready = ready.append
    deferral.complete(0, now=distant.now)
    # One effect, and the response goes to the session that asked last.
    assert (first, second, [type(one).__name__ for one in last]) == ([], [], ["Relayed"])
    assert (third.session.awaiting, ready) == (False, [distant.now])
    assert heard_kinds(distant.bob) == ["IceCandidateReceived"]
    assert third.do(IceCandidate("bob", "c"), id="1") == last[0]


def test_what_a_lost_session_had_under_way_is_remembered_with_its_peer(distant, deferral):
    alice, token = distant.resumable("alice")
    distant.bob.took()
    alice.do(Offer("bob", "v=0"), id="1")
    alice.close(LOST)
    deferral.complete(0, now=distant.now)
    assert heard_kinds(distant.bob) == ["OfferReceived"]
    assert distant.hub.pending_offer_count == 1
    again, _ = distant.come_back("alice", token, 1)
    assert isinstance(again.do(Offer("bob", "v=0"), id="1"), OfferRelayed)
    assert distant.bob.heard() == []


def test_what_was_under_way_when_its_peer_left_is_of_no_use_to_the_next(distant, deferral):
    alice, token = distant.resumable("alice")
    alice.do(IceCandidate("bob", "c"), id="1")
    alice.close()
    again, reply = distant.come_back("alice", token, 1)
    assert reply.resumed is False
    deferral.complete(0, now=distant.now)
    distant.bob.took()
    again.do(IceCandidate("bob", "c"), id="1")
    deferral.complete(0, now=distant.now)
    assert heard_kinds(distant.bob) == ["IceCandidateReceived"]
