"""Sessions that speak the dotted dialect, and the message from which on they do; frames compressed or not."""

import logging

import pytest

from dotted_lines import NOT_ANNOUNCED, PLAIN_NOT_ANNOUNCED, ask, error, request, told, wrong_field
from sigbridge_websocket.dotted import METHODS
from websocket_lines import WebSocketLine

DOTTED_REQUESTS = [*METHODS, "server.info", "control.subscribe", "control.", "control.no such name"]


def speaks_dotted(line: WebSocketLine) -> bool:
    """Asks a session in a way that changes nothing which dialect it speaks."""
    refusal = ask(line, "ice_candidate", to_peer_id="x", candidate="c")
    if line.session.peer is not None:
        line.say(request("disconnect", {"peer_id": line.session.peer.peer_id}, id=1))
        refusal = ask(line, "ice_candidate", to_peer_id="x", candidate="c")
    assert refusal in (NOT_ANNOUNCED, PLAIN_NOT_ANNOUNCED)
    return refusal == NOT_ANNOUNCED


@pytest.mark.parametrize("method", DOTTED_REQUESTS)
def test_each_dotted_method_changes_the_session(enter, method):
    line = enter()
    assert not speaks_dotted(line)
    line.say(request(method, {"peer_id": "alice"}, id=1))
    assert speaks_dotted(line)


@pytest.mark.parametrize(
    "method", ["peer.foo", "peer", "peer.", "peer.state_change", "Peer.offer", "peer.Offer", "server.infos", "control",
               "controls.x", "rpc.discover", "health_check", "announce", "peer_announce", " peer.list"],
)  # fmt: skip
def test_no_other_method_does(enter, method):
    line = enter()
    line.say(request(method, {"peer_id": "alice"}, id=1))
    assert not speaks_dotted(line)


def test_discovery_health_and_authenticate_switch_nothing_and_are_the_same_in_both(enter):
    line = enter()
    before = [
        ask(line, method, **params) for method, params in (("rpc.discover", {}), ("authenticate", {"token": "t"}))
    ]
    health = set(ask(line, "health_check"))
    assert not speaks_dotted(line)
    line.say(request("server.info"))
    assert [ask(line, "rpc.discover"), ask(line, "authenticate", token="t")] == before
    assert set(ask(line, "health_check")) == health
    assert speaks_dotted(line)


INVALID = [
    ({"jsonrpc": "1.0"}, 'jsonrpc must be "2.0"', 7),
    ({"jsonrpc": None}, 'jsonrpc must be "2.0"', 7),
    ({"jsonrpc": 2.0}, 'jsonrpc must be "2.0"', 7),
    ({"params": None}, "params must be an object", 7),
    ({"params": 5}, "params must be an object", 7),
    ({"params": "x"}, "params must be an object", 7),
    ({"id": 1.5}, "id must be a string, an integer or null", None),
    ({"id": True}, "id must be a string, an integer or null", None),
    ({"id": {}}, "id must be a string, an integer or null", None),
]


@pytest.mark.parametrize(("members", "why", "request_id"), INVALID)
@pytest.mark.parametrize("batch", [False, True])
def test_what_is_no_valid_request_changes_the_session_all_the_same(enter, members, why, request_id, batch):
    line = enter()
    message = request("peer.list", id=7) | members
    expected = {"jsonrpc": "2.0", "error": error(-32600, f"Invalid Request: {why}"), "id": request_id}
    assert line.say([message] if batch else message) == ([[expected]] if batch else [expected])
    assert speaks_dotted(line)


def test_a_refused_request_changes_the_session(enter):
    line = enter()
    assert ask(line, "peer.offer", to="bob", sdp="v=0") == NOT_ANNOUNCED
    line = enter()
    assert ask(line, "peer.announce", peer_id=7) == wrong_field("peer_id", "must be a string")
    assert speaks_dotted(line)
    line = enter()
    (refusal,) = line.say(request("peer.offer", [1], id=1))
    assert refusal["error"] == wrong_field("params", "must be an object")
    assert speaks_dotted(line)


def test_a_request_beyond_the_rate_changes_the_session(enter):
    line = enter(settings={"rate_per_second": 1.0, "rate_burst": 1})
    ask(line, "list_peers")
    assert ask(line, "peer.list")["data"]["status"] == "RESOURCE_EXHAUSTED"
    assert speaks_dotted(line)


def test_a_notification_changes_the_session(enter):
    line = enter()
    assert line.say(request("peer.announce", {"peer_id": "alice"})) == []
    assert line.session.peer.peer_id == "alice"
    assert speaks_dotted(line)


def test_a_result_that_has_a_method_is_a_request(enter):
    line = enter()
    line.say({"jsonrpc": "2.0", "method": "peer.list", "result": 1, "id": 1})
    assert speaks_dotted(line)


def test_within_a_batch_what_follows_is_dotted(enter):
    enter("bob")
    line = enter()
    (answers, event) = line.say(
        [
            request("offer", {"to_peer_id": "x", "sdp": "v"}, id=1),
            request("peer.announce", {"peer_id": "alice"}, id=2),
            request("offer", {"to_peer_id": "bob", "sdp": "v"}, id=3),
        ]
    )
    assert answers[0]["error"] == PLAIN_NOT_ANNOUNCED
    assert answers[1]["result"] == {"success": True, "peer_id": "alice", "peers_count": 2, "other_peers": ["bob"]}
    assert answers[2]["result"]["success"] is True
    assert event["method"] == "peer.joined"


def test_a_session_that_has_announced_in_the_plain_dialect_may_change_and_never_changes_back(enter):
    alice = enter("alice", plain=True)
    enter("bob")
    assert [method for method, _ in told(alice)] == ["peer_joined"]
    ask(alice, "peer.list")
    carol = enter("carol", plain=True)
    assert [method for method, _ in told(alice)] == ["peer.joined"]
    ask(alice, "offer", to_peer_id="bob", sdp="v")
    ask(alice, "list_peers")
    carol.say(request("offer", {"to_peer_id": "alice", "sdp": "v"}))
    assert [method for method, _ in told(alice)] == ["peer.offer"]


def test_the_change_is_counted_and_logged_once_and_says_nothing_of_the_client(enter, caplog):
    caplog.set_level(logging.INFO)
    alice = enter("alice")
    bob = enter("bob", plain=True)
    for line in (alice, bob):
        ask(line, "list_peers")
    ask(alice, "peer.list")
    assert dict(enter.hub.counters.dialects) == {"dotted": 1}
    lines = [record for record in caplog.records if getattr(record, "dialect", None)]
    assert [(line.levelname, line.dialect, line.session) for line in lines] == [("INFO", "dotted", alice.session.id)]
    assert "alice" not in lines[0].getMessage()
