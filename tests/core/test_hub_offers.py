"""Offers on the bare hub: how long they are pending, and which of them a message belongs to."""

import msgspec
import pytest

from sigbridge import (
    Answer,
    AnswerReceived,
    Code,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    PeerDisconnected,
    PeerLeft,
    Relayed,
    SignalingError,
    errors,
)

# Pending offers.


def test_an_answer_ends_its_offer_a_pranswer_does_not(stage):
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    assert stage.hub.pending_offer_count == 1
    bob.do(Answer("alice", "v=0", "pranswer"))
    assert stage.hub.pending_offer_count == 1
    bob.do(Answer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 0
    assert bob.do(Answer("alice", "v=0")) == Relayed("alice")


def test_the_callers_own_answer_ends_nothing(stage):
    alice, _bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    alice.do(Answer("bob", "v=0"))
    assert stage.hub.pending_offer_count == 1


def test_glare_is_two_offers(stage):
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    bob.do(Offer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 2
    bob.do(Answer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 1
    alice.do(Answer("bob", "v=0"))
    assert stage.hub.pending_offer_count == 0


def test_a_newer_offer_replaces_the_older(make_stage):
    stage = make_stage(send_deadline_seconds=1000)
    alice, _bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    stage.wait(59)
    alice.do(Offer("bob", "v=1"))
    assert stage.hub.pending_offer_count == 1
    stage.wait(59)
    stage.expire()
    assert stage.hub.pending_offer_count == 1
    stage.wait(1)
    stage.expire()
    assert stage.hub.pending_offer_count == 0


@pytest.mark.parametrize(("who", "request_"), [("alice", Disconnect("bob")), ("bob", Disconnect("alice"))])
def test_a_hang_up_by_either_ends_both_directions(stage, who, request_):
    alice, bob = stage.pair()
    carol = stage.open("carol")
    alice.do(Offer("bob", "v=0"))
    bob.do(Offer("alice", "v=0"))
    carol.do(Offer("bob", "v=0"))
    {"alice": alice, "bob": bob}[who].do(request_)
    assert stage.hub.pending_offer_count == 1


@pytest.mark.parametrize("leaver", ["alice", "bob"])
@pytest.mark.parametrize("way", ["close", "leave"])
def test_leaving_ends_the_offers_of_either(stage, leaver, way):
    alice, bob = stage.pair()
    stage.open("carol").do(Offer("alice" if leaver == "bob" else "bob", "v=0"))
    alice.do(Offer("bob", "v=0"))
    one = alice if leaver == "alice" else bob
    if way == "close":
        one.close()
    else:
        one.do(Disconnect(leaver))
    assert stage.hub.pending_offer_count == 1


def test_offers_expire_after_their_time_and_are_announced_in_time(make_stage):
    stage = make_stage(pending_offer_seconds=5, send_deadline_seconds=1000)
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    alice.took()
    bob.took()
    assert stage.expire() == stage.now.monotonic + 5
    stage.wait(4.999)
    stage.expire()
    assert stage.hub.pending_offer_count == 1
    stage.wait(0.001)
    stage.expire()
    assert stage.hub.pending_offer_count == 0


def test_a_refused_offer_is_not_pending(stage):
    alice, _bob = stage.pair()
    alice.refused(Offer("nobody", "v=0"))
    alice.refused(Offer("bob", ""))
    assert stage.hub.pending_offer_count == 0


# Which offer a message belongs to.

NAMED = {
    "answer": (lambda offer_id: Answer("alice", "v=0", "", offer_id), AnswerReceived("bob", "v=0", "answer", "x")),
    "pranswer": (
        lambda offer_id: Answer("alice", "v=0", "pranswer", offer_id),
        AnswerReceived("bob", "v=0", "pranswer", "x"),
    ),
    "ice_candidate": (
        lambda offer_id: IceCandidate("alice", "c", "0", 0, "u", offer_id),
        IceCandidateReceived("bob", "c", "0", 0, "u", "x"),
    ),
    "disconnect": (lambda offer_id: Disconnect("alice", offer_id), PeerDisconnected("bob", "x")),
}


@pytest.fixture
def called(make_stage):
    """A stage whose sessions read slowly without harm; two peers; and the first of them offers to the second."""
    stage = make_stage(send_deadline_seconds=1000)
    alice, bob = stage.pair()
    return stage, alice, bob, lambda: alice.do(Offer("bob", "v=0")).offer_id


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("offer_id", ["", "alice_bob_1", "anything \n\0", "x" * 1000, "é" * 500])
def test_what_a_message_says_of_its_offer_is_passed_on(called, kind, offer_id):
    _, alice, bob, _ = called
    request, event = NAMED[kind]
    assert not isinstance(bob.do(request(offer_id)), SignalingError)
    assert alice.heard() == [msgspec.structs.replace(event, offer_id=offer_id)]


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("offer_id", ["x" * 1001, "é" * 501, "😀" * 251])
def test_an_offer_id_of_more_than_1000_bytes_is_a_wrong_field(called, kind, offer_id):
    stage, alice, bob, _ = called
    wrong = errors.invalid_params("offer_id", "is longer than 1000 bytes")
    before = stage.state()
    assert bob.refused(NAMED[kind][0](offer_id)) == wrong
    assert stage.open().refused(NAMED[kind][0](offer_id)) == wrong, "fields come before who is asking"
    assert alice.heard() == []
    assert stage.state()[:4] == before[:4]


def stale(offer_id):
    return SignalingError(Code.FAILED_PRECONDITION, f"Offer {offer_id} is over", offer_id=offer_id)


@pytest.mark.parametrize("type_", ["", "answer", "pranswer"])
@pytest.mark.parametrize("hang_up", ["", "first"])
def test_the_answer_to_the_call_before_is_refused_and_nobody_told(called, hang_up, type_):
    stage, alice, bob, call = called
    first = call()
    alice.do(Disconnect("bob", hang_up and first))
    assert bob.refused(Answer("alice", "v=0", type_, first)) == stale(first)
    second = call()
    assert bob.refused(Answer("alice", "v=0", type_, first)) == stale(first)
    assert alice.heard() == []
    assert stage.hub.pending_offer_count == 1
    assert stage.hub.counters.refused_requests == {("websocket", "answer", "FAILED_PRECONDITION"): 2}
    assert bob.do(Answer("alice", "v=0", "", second)) == Relayed("alice")
    assert alice.heard() == [AnswerReceived("bob", "v=0", "answer", second)]


def test_an_answer_to_a_replaced_offer_is_refused(called):
    _, alice, bob, call = called
    first, second = call(), call()
    assert bob.refused(Answer("alice", "v=0", "", first)) == stale(first)
    assert bob.do(Answer("alice", "v=0", "", second)) == Relayed("alice")
    assert bob.refused(Answer("alice", "v=0", "", first)) == stale(first)
    assert alice.heard() == [AnswerReceived("bob", "v=0", "answer", second)]


def test_an_answer_is_the_last_a_pranswer_is_not(called):
    _, _, bob, call = called
    offer_id = call()
    for type_ in ("pranswer", "pranswer", "answer"):
        assert bob.do(Answer("alice", "v=0", type_, offer_id)) == Relayed("alice")
    for type_ in ("pranswer", "answer"):
        assert bob.refused(Answer("alice", "v=0", type_, offer_id)) == stale(offer_id)


def test_an_answer_that_says_nothing_ends_the_offer_and_is_never_stale(called):
    _, alice, bob, call = called
    offer_id = call()
    assert bob.do(Answer("alice", "v=0")) == Relayed("alice")
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == stale(offer_id)
    alice.do(Disconnect("bob"))
    assert bob.do(Answer("alice", "v=0")) == Relayed("alice")


@pytest.mark.parametrize("end", [Disconnect("bob"), None])
def test_what_is_over_is_known_for_a_minute(called, end):
    stage, alice, bob, call = called
    offer_id = call()
    if end is not None:
        alice.do(end)
    else:
        bob.do(Answer("alice", "v=0"))
    stage.wait(59.999)
    stage.expire()
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == stale(offer_id)
    stage.wait(0.001)
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice")


def test_an_offer_that_has_expired_may_be_answered(called):
    stage, alice, bob, call = called
    offer_id = call()
    stage.wait(60)
    stage.expire()
    assert stage.hub.pending_offer_count == 0
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice")
    assert alice.heard() == [AnswerReceived("bob", "v=0", "answer", offer_id)]
    call()
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == stale(offer_id)


def test_an_offer_the_other_way_is_another_one(called):
    _, alice, bob, call = called
    there = call()
    back = bob.do(Offer("alice", "v=0")).offer_id
    assert bob.refused(Answer("alice", "v=0", "", back)) == stale(back)
    assert alice.do(Answer("bob", "v=0", "", back)) == Relayed("bob")
    assert bob.do(Answer("alice", "v=0", "", there)) == Relayed("alice")


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_hang_up_that_says_an_offer_ends_it_alone(called, who):
    stage, alice, bob, call = called
    there = call()
    back = bob.do(Offer("alice", "v=0")).offer_id
    one, other = (alice, "bob") if who == "alice" else (bob, "alice")
    one.do(Disconnect(other, "another"))
    assert stage.hub.pending_offer_count == 2
    one.do(Disconnect(other, there))
    assert stage.hub.pending_offer_count == 1
    assert bob.refused(Answer("alice", "v=0", "", there)) == stale(there)
    assert alice.do(Answer("bob", "v=0", "", back)) == Relayed("bob")


def test_a_hang_up_on_the_call_before_spares_the_new_one(called):
    _, alice, bob, call = called
    first = call()
    alice.do(Disconnect("bob", first))
    second = call()
    assert bob.do(Disconnect("alice", first)) == Disconnected("alice")
    assert bob.do(Answer("alice", "v=0", "", second)) == Relayed("alice")
    assert alice.heard() == [PeerDisconnected("bob", first), AnswerReceived("bob", "v=0", "answer", second)]


def test_candidates_and_hang_ups_are_never_stale(called):
    _, alice, bob, call = called
    offer_id = call()
    alice.do(Disconnect("bob"))
    assert bob.do(IceCandidate("alice", "c", "0", offer_id=offer_id)) == Relayed("alice")
    assert bob.do(Disconnect("alice", offer_id)) == Disconnected("alice")
    assert alice.heard() == [
        IceCandidateReceived("bob", "c", "0", offer_id=offer_id),
        PeerDisconnected("bob", offer_id),
    ]


def test_where_the_caller_has_left_it_is_not_found(called):
    stage, alice, bob, call = called
    offer_id = call()
    alice.do(Disconnect("bob"))
    alice.close()
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == errors.peer_not_found("alice")
    stage.open("alice")
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice"), "nothing is known of who was here before"


def test_rooms_know_nothing_of_each_others_offers(called):
    stage, alice, _, call = called
    offer_id = call()
    alice.do(Disconnect("bob"))
    stage.open("alice", room="other")
    bob = stage.open("bob", room="other")
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice")


def test_with_ones_own_id_an_offer_changes_nothing(called):
    stage, alice, bob, call = called
    offer_id = call()
    bob.took()
    assert alice.do(Disconnect("alice", offer_id)) == Disconnected("alice")
    assert bob.took() == [PeerLeft("alice")]
    assert stage.hub.pending_offer_count == 0
