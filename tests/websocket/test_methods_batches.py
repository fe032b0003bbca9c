"""Responses that must be awaited, and batches whose responses are over their bound."""

import msgspec
import pytest

from directories import KnownAtOnce
from json_rpc_messages import error, invalid_request, request
from sigbridge import errors
from sigbridge.disconnects import DisconnectReason
from sigbridge_compat.deferred import Deferral

# Answers that must be awaited.


@pytest.fixture
def deferral():
    return Deferral()


@pytest.fixture
def slow_hub(make_hub, deferral):
    hub = make_hub(directory=deferral, bus=deferral)
    deferral.attach(hub)
    return hub


@pytest.fixture
def slow_pair(talk, slow_hub, deferral, clock):
    talkers = []
    for name in ("alice", "bob"):
        talker = talk(hub=slow_hub)
        assert talker.say(request("announce", {"peer_id": name}, id=1)) == []
        assert talker.session.awaiting
        deferral.complete(now=clock.now)
        assert not talker.session.awaiting
        talkers.append(talker)
    assert [one.get("method", "reply") for one in talkers[1].taken()] == ["reply", "peer_joined"]
    talkers[0].taken()
    return talkers


OFFER = {"to_peer_id": "bob", "sdp": "v=0"}


def test_an_awaited_answer_comes_when_it_is_known(slow_pair, deferral, clock):
    alice, bob = slow_pair
    assert alice.say(request("offer", OFFER, id="x")) == []
    assert alice.session.awaiting
    ready = []
    alice.session.on_ready = ready.append
    deferral.complete(now=clock.now)
    assert alice.taken()[0]["id"] == "x"
    assert bob.taken()[0]["method"] == "offer"
    assert ready == [clock.now]


def test_an_awaited_refusal_says_why(slow_pair, deferral, clock):
    alice, _ = slow_pair
    for params in ({"to_peer_id": "nobody", "sdp": "x"}, {"to_peer_id": "nobody", "sdp": "x", "more": 1}):
        assert alice.say(request("offer", params, id=1)) == []
        deferral.complete(now=clock.now)
        assert alice.taken() == [
            error(-32000, "Peer not found: nobody", 1, {"code": 5, "status": "NOT_FOUND", "peer_id": "nobody"})
        ]


@pytest.mark.parametrize("more", [{}, {"more": 1}])
def test_an_awaited_notification_stays_silent(slow_pair, deferral, clock, more):
    alice, bob = slow_pair
    assert alice.say(request("offer", OFFER | more)) == []
    assert alice.session.awaiting
    deferral.complete(now=clock.now)
    assert not alice.session.awaiting
    assert alice.taken() == []
    assert len(bob.taken()) == 1


def test_a_batch_waits_for_each_of_its_elements(slow_pair, deferral, clock):
    alice, bob = slow_pair
    batch = [request("offer", OFFER | {"sdp": str(number)}, id=number) for number in range(3)]
    batch[1:1] = [request("offer", OFFER | {"sdp": "silent"}), {"jsonrpc": "2.0"}]
    batch.append(request("list_peers", id="last"))
    assert alice.say(batch) == []
    for _ in range(4):
        assert alice.taken() == []
        assert len(deferral.waiting) == 1
        deferral.complete(now=clock.now)
    (answers,) = alice.taken()
    assert [answer["id"] for answer in answers] == [0, None, 1, 2, "last"]
    assert [event["params"]["sdp"] for event in bob.taken()] == ["0", "silent", "1", "2"]
    assert not alice.session.awaiting


def test_a_session_that_ends_while_its_answer_is_awaited(slow_pair, slow_hub, deferral, clock):
    alice, bob = slow_pair
    alice.say([request("offer", OFFER, id=1), request("offer", OFFER, id=2)])
    slow_hub.end(alice.session, DisconnectReason.CONNECTION_LOST, clock.now)
    while deferral.waiting:
        deferral.complete(now=clock.now)
    assert alice.taken() == []
    assert [event["method"] for event in bob.taken()].count("peer_left") == 1
    assert not slow_hub.pending_offer_count


def test_a_long_batch_of_answers_that_are_known_at_once(talk, make_hub):
    alice = talk("alice", hub=make_hub(bus=KnownAtOnce(errors.peer_not_found("bob"))))
    answers = alice.ask([request("offer", OFFER, id=number) for number in range(1000)])
    assert [answer["id"] for answer in answers] == list(range(1000))
    assert not alice.session.awaiting


# Batches whose responses are over their bound.


def over_batch(request_id, limit):
    return error(
        -32000,
        f"Too many bytes of responses in this batch (limit SIGNALING_MAX_BATCH_RESPONSE_BYTES is {limit}): "
        "send it again in another batch",
        request_id,
        {
            "code": 8,
            "status": "RESOURCE_EXHAUSTED",
            "limit": "SIGNALING_MAX_BATCH_RESPONSE_BYTES",
            "value": limit,
        },
    )


def test_a_batch_that_asks_for_too_much_is_refused_from_there_on(talk, make_hub):
    alice = talk("alice", hub=make_hub(max_batch_response_bytes=20_000))
    answers = alice.ask([request("list_peers", id=f"{number:03}" + "x" * 1000) for number in range(100)])
    assert [answer["id"][:3] for answer in answers] == [f"{number:03}" for number in range(100)]
    carried_out = [answer for answer in answers if "result" in answer]
    assert 10 < len(carried_out) < 20
    # The one that passes the bound is the last.
    assert len(msgspec.json.encode(carried_out[:-1])) <= 20_000 < len(msgspec.json.encode(carried_out))
    assert answers[len(carried_out) :] == [over_batch(one["id"], 20_000) for one in answers[len(carried_out) :]]
    assert alice.ended == []
    assert "result" in alice.ask(request("list_peers", id=1))


def test_what_is_left_of_a_batch_that_is_full_is_not_carried_out(talk, make_hub):
    hub = make_hub(max_batch_response_bytes=1000)
    bob, alice = talk("bob", hub=hub), talk("alice", hub=hub)
    offer = {"to_peer_id": "bob", "sdp": "v=0"}
    bob.taken()
    answers = alice.ask(
        [
            request("offer", offer, id=1),
            request("list_peers", id="x" * 1000),
            request("offer", offer, id=2),
            request("offer", offer),
            request("disconnect", {"peer_id": "alice"}),
            request("nothing", id=3),
            request("offer", [1], id=4),
            request("rpc.discover", id=5),
            {"jsonrpc": "2.0", "result": 1, "id": 6},
            7,
        ]
    )
    assert [answer["id"] for answer in answers] == [1, "x" * 1000, 2, 3, 4, 5, None]
    assert ["result" in answer for answer in answers] == [True, True, *[False] * 5]
    assert answers[2:6] == [over_batch(request_id, 1000) for request_id in (2, 3, 4, 5)]
    assert answers[6] == invalid_request("not an object")
    assert [event["method"] for event in bob.taken()] == ["offer"]
    assert hub.peer_count == 2
    refused = {labels[1:]: count for labels, count in hub.counters.refused_requests.items()}
    assert refused == {
        ("offer", "RESOURCE_EXHAUSTED"): 3,
        ("disconnect", "RESOURCE_EXHAUSTED"): 1,
        ("discover", "RESOURCE_EXHAUSTED"): 1,
        ("unknown", "RESOURCE_EXHAUSTED"): 1,
        ("unknown", "INVALID_ARGUMENT"): 1,
    }
    assert hub.counters.ignored_responses == 1


def test_a_batch_of_notifications_is_never_full(talk, make_hub):
    hub = make_hub(max_batch_response_bytes=1)
    bob, alice = talk("bob", hub=hub), talk("alice", hub=hub)
    bob.taken()
    assert alice.say([request("offer", {"to_peer_id": "bob", "sdp": str(number)}) for number in range(3)]) == []
    assert len(bob.taken()) == 3


def test_the_refusals_of_a_batch_are_bounded(talk, make_hub):
    alice = talk("alice", hub=make_hub(max_batch_response_bytes=1000))
    batch = [request("nothing" * 100, id="x" * 30 + "\u0001\u2028" * 80) for number in range(1000)]
    text = msgspec.json.encode(batch)
    alice.conversation.receive(text, alice.clock.now)
    alice.rest()
    (array,) = alice.session.outbox.take(2**40)
    assert len(msgspec.json.decode(array)) == 1000
    assert len(array) < 1000 + len(text) + 1000 * 300
    assert alice.ended == []


def test_the_bound_holds_over_awaited_elements(slow_pair, deferral, clock, make_hub):
    alice, bob = slow_pair
    alice.hub.settings = make_hub(max_batch_response_bytes=1000).settings
    alice.say([request("offer", OFFER, id="x" * 1000), request("offer", OFFER, id=2), request("list_peers", id=3)])
    assert len(deferral.waiting) == 1
    deferral.complete(now=clock.now)
    (answers,) = alice.taken()
    assert answers[1:] == [over_batch(2, 1000), over_batch(3, 1000)]
    assert len(bob.taken()) == 1
    assert not alice.session.awaiting
