"""The answer in the result of `peer.offer`, and `control.…`, on the wire; frames compressed or not."""

import pytest

from dotted_lines import ask, error, request, told, wrong_field

SERVER = "remotemedia-server"


def offer(line, request_id, to=SERVER, **params):
    """Offers to the peer that answers in results; returns all that comes back at once."""
    return line.say(request("peer.offer", {"to": to, "sdp": "v=0", **params}, id=request_id))


def late(message, code, status, *, jsonrpc_code=-32000, **data):
    return error(jsonrpc_code, message, {"code": code, "status": status, **data})


NOT_IN_TIME = late("No answer in time", 4, "DEADLINE_EXCEEDED", jsonrpc_code=-32006, peer_id=SERVER)


@pytest.fixture
def pair(enter):
    """A caller and the peer that answers in results, with nothing to be heard."""
    server, caller = enter(SERVER), enter("alice")
    told(server)
    told(caller)
    return caller, server


def heard(line):
    line.pump()
    return line.heard()


def test_the_answer_is_the_result_and_no_event(pair):
    caller, server = pair
    assert offer(caller, 7) == []
    ((method, params),) = told(server)
    assert (method, params["from"], params["to"], params["sdp"]) == ("peer.offer", "alice", SERVER, "v=0")
    assert ask(server, "peer.answer", to="alice", sdp="v=1") == {"success": True, "to_peer_id": "alice"}
    assert heard(caller) == [
        {"jsonrpc": "2.0", "result": {"type": "answer", "sdp": "v=1", "from": SERVER, "to": "alice"}, "id": 7}
    ]


@pytest.mark.parametrize("request_id", [1, "x", None])
def test_any_id_has_its_answer(pair, request_id):
    caller, server = pair
    offer(caller, request_id)
    ask(server, "peer.answer", to="alice", sdp="v=1")
    (response,) = heard(caller)
    assert response["id"] == request_id
    assert response["result"]["sdp"] == "v=1"


def test_it_holds_nothing_up_and_takes_its_place_among_the_events(pair):
    caller, server = pair
    offer(caller, 1)
    assert ask(caller, "peer.ice_candidate", to=SERVER, candidate="c")["success"]
    assert ask(caller, "peer.list")["count"] == 2
    for method, params in (
        ("peer.ice_candidate", {"candidate": "before"}),
        ("peer.answer", {"sdp": "pr", "type": "pranswer"}),
        ("peer.answer", {"sdp": "v=1"}),
        ("peer.ice_candidate", {"candidate": "after"}),
    ):
        assert ask(server, method, to="alice", **params)["success"]
    assert [one.get("result", one.get("params")).get("candidate", "answer") for one in heard(caller)] == [
        "before",
        "answer",
        "after",
    ]


def test_a_notification_and_other_peers_get_the_event(pair, enter):
    caller, server = pair
    assert caller.say(request("peer.offer", {"to": SERVER, "sdp": "v=0"})) == []
    ask(server, "peer.answer", to="alice", sdp="v=1")
    assert [method for method, _ in told(caller)] == ["peer.answer"]
    bob = enter("bob")
    told(caller)
    assert offer(caller, 2, to="bob")[0]["result"]["success"] is True
    ask(bob, "peer.answer", to="alice", sdp="v=1")
    assert [method for method, _ in told(caller)] == ["peer.answer"]


def test_a_plain_caller_is_told_as_ever(pair, enter):
    _, server = pair
    paul = enter("paul", plain=True)
    assert set(ask(paul, "offer", to_peer_id=SERVER, sdp="v=0")) == {"offer_id", "to_peer_id"}
    ask(server, "peer.answer", to="paul", sdp="v=1")
    assert [method for method, _ in told(paul)] == ["answer"]


def test_the_plain_name_in_a_dotted_session_waits_too(pair):
    caller, server = pair
    assert caller.say(request("offer", {"to_peer_id": SERVER, "sdp": "v=0", "from": "alice"}, id=1)) == []
    ask(server, "answer", to_peer_id="alice", sdp="v=1")
    assert heard(caller)[0]["result"]["type"] == "answer"


def test_a_plain_answerer_will_do(enter):
    server, caller = enter(SERVER, plain=True), enter("alice")
    told(caller)
    offer(caller, 1)
    assert ask(server, "answer", to_peer_id="alice", sdp="v=1") == {"to_peer_id": "alice"}
    assert heard(caller)[0]["result"] == {"type": "answer", "sdp": "v=1", "from": SERVER, "to": "alice"}


def test_when_time_is_up_later_answers_are_events(pair, enter, clock):
    caller, server = pair
    offer(caller, 5)
    told(server)
    clock.advance(29.0)
    enter.hub.expire(clock.now)
    assert heard(caller) == []
    clock.advance(1.0)
    enter.hub.expire(clock.now)
    assert heard(caller) == [{"jsonrpc": "2.0", "error": NOT_IN_TIME, "id": 5}]
    ask(server, "peer.answer", to="alice", sdp="v=1")
    assert [method for method, _ in told(caller)] == ["peer.answer"]


def test_a_newer_offer_ends_the_older_one_and_waits_itself(pair):
    caller, server = pair
    offer(caller, 1)
    assert offer(caller, 2) == [{"jsonrpc": "2.0", "error": NOT_IN_TIME, "id": 1}]
    ask(server, "peer.answer", to="alice", sdp="v=1")
    assert heard(caller)[0]["id"] == 2


@pytest.mark.parametrize(
    ("method", "params", "outcome"),
    [
        ("peer.disconnect", {"peer_id": SERVER}, late(f"Peer not found: {SERVER}", 5, "NOT_FOUND", peer_id=SERVER)),
        (
            "peer.disconnect",
            {"peer_id": "alice", "reason": "busy"},
            late(f"Peer unavailable: {SERVER}", 14, "UNAVAILABLE", peer_id=SERVER),
        ),
    ],
)
def test_the_answerer_leaving_or_hanging_up_ends_it(pair, method, params, outcome):
    caller, server = pair
    offer(caller, 1)
    ask(server, method, **params)
    responses = [one for one in heard(caller) if "id" in one]
    assert responses == [{"jsonrpc": "2.0", "error": outcome, "id": 1}]


def test_in_a_batch_it_is_refused_at_once_and_not_relayed(pair):
    caller, server = pair
    batch = [
        request("peer.offer", {"to": SERVER, "sdp": "v=0"}, id=1),
        request("peer.list", {}, id=2),
        request("peer.offer", {"to": SERVER, "sdp": "v=0"}),
    ]
    (answers,) = caller.say(batch)
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[0]["error"] == NOT_IN_TIME
    assert answers[1]["result"]["count"] == 2
    # The notification is an ordinary offer.
    assert [method for method, _ in told(server)] == ["peer.offer"]


def test_others_may_be_named(enter):
    server, caller = enter("bot", settings={"answer_in_result": ("bot",)}), enter("alice")
    told(caller)
    assert offer(caller, 1, to="bot") == []
    ask(server, "peer.answer", to="alice", sdp="v=1")
    assert heard(caller)[0]["result"]["from"] == "bot"


def test_an_answer_that_does_not_fit_is_refused_and_it_still_waits(enter):
    server = enter(SERVER, settings={"outbox_max_bytes": 2000})
    caller = enter("alice")
    told(caller)
    offer(caller, 1)
    # Nothing is taken from the caller's outbox meanwhile.
    ask(server, "peer.ice_candidate", to="alice", candidate="c")
    refusal = ask(server, "peer.answer", to="alice", sdp="x" * 2000)
    assert refusal["data"]["status"] == "UNAVAILABLE"
    ask(server, "peer.answer", to="alice", sdp="v=1")
    assert [one["id"] for one in heard(caller) if "id" in one] == [1]


# Control.


def test_control_goes_to_the_peer_of_the_last_offer_and_back(pair):
    caller, server = pair
    offer(caller, 1)
    ask(server, "peer.answer", to="alice", sdp="v=1")
    assert len(heard(caller)) == 1
    params = {"topics": ["a", {"b": None}], "n": 1.5}
    assert ask(caller, "control.subscribe", **params) == {"success": True}
    assert told(server) == [("control.subscribe", {**params, "from": "alice"})]
    assert ask(server, "control.event", to="alice", data=[1]) == {"success": True}
    assert told(caller) == [("control.event", {"to": "alice", "data": [1], "from": SERVER})]


def test_a_control_message_without_params_is_relayed_too(pair):
    caller, server = pair
    offer(caller, 1)
    told(server)
    assert caller.say({"method": "control.a_b.c-9", "id": 4}) == [
        {"jsonrpc": "2.0", "result": {"success": True}, "id": 4}
    ]
    assert told(server) == [("control.a_b.c-9", {"from": "alice"})]
    assert caller.say(request("control.ping", {"from": None})) == []
    assert told(server) == [("control.ping", {"from": "alice"})]


def test_control_without_such_a_peer_is_not_found(pair, enter):
    caller, server = pair
    for line, params in ((caller, {}), (caller, {"to": SERVER}), (server, {}), (server, {"to": "alice"})):
        refusal = ask(line, "control.event", **params)
        assert (refusal["code"], refusal["data"]["status"]) == (-32000, "NOT_FOUND")
    offer(caller, 1)
    ask(server, "peer.disconnect", peer_id=SERVER)
    assert ask(caller, "control.event")["data"]["status"] == "NOT_FOUND"


def test_plain_peers_see_nothing_of_control(enter):
    server, caller = enter(SERVER, plain=True), enter("alice")
    told(caller)
    offer(caller, 1)
    told(server)
    assert ask(caller, "control.subscribe")["data"]["status"] == "NOT_FOUND"
    assert told(server) == []
    paul = enter("paul", plain=True)
    assert ask(paul, "offer", to_peer_id=SERVER, sdp="v")["offer_id"]


def test_control_is_signed_bounded_and_counted(pair, enter):
    caller, server = pair
    offer(caller, 1)
    told(server)
    assert ask(caller, "control.x", from_="alice") == {"success": True}
    assert told(server) == [("control.x", {"from": "alice"})]
    assert ask(caller, "control.x", from_=SERVER)["data"]["status"] == "PERMISSION_DENIED"
    assert ask(caller, "control.x", from_=5) == wrong_field("from", "must be a string")
    assert ask(caller, "control.x", data="x" * 5000)["data"]["limit"] == "SIGNALING_MAX_CANDIDATE_BYTES"
    assert told(server) == []
    counted = {key[2]: count for key, count in enter.hub.counters.requests.items() if key[1] == "control"}
    assert counted == {"ok": 1, "PERMISSION_DENIED": 1, "INVALID_ARGUMENT": 1, "RESOURCE_EXHAUSTED": 1}


def test_control_in_a_batch(pair):
    caller, server = pair
    offer(caller, 1)
    told(server)
    (answers,) = caller.say([request("control.x", {"n": 1}, id=1), request("control.y", id=2)])
    assert [answer["result"] for answer in answers] == [{"success": True}] * 2
    assert [method for method, _ in told(server)] == ["control.x", "control.y"]
