"""JSON-RPC 2.0 by its specification, and both paths through it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import NOW
from directories import KnownAtOnce
from rights import FORBIDDEN
from sigbridge import Hub, Settings, errors
from sigbridge.auth import Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge_compat.deferred import Deferral
from sigbridge_compat.identities import BAD_TOKEN, DescribedIdentities, token_of
from sigbridge_websocket import dialects, methods, translate
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON
from three_sessions import ThreeSessions


def request(method, params=None, **members):
    message = {"jsonrpc": "2.0", "method": method, **members}
    return message if params is None else message | {"params": params}


def error(code, message, request_id, data=None):
    body = {"code": code, "message": message}
    return {"jsonrpc": "2.0", "error": body if data is None else body | {"data": data}, "id": request_id}


PARSE_ERROR = error(-32700, "Parse error", None)


def invalid_request(why, request_id=None):
    return error(-32600, f"Invalid Request: {why}", request_id)


def not_found(name, request_id):
    return error(-32601, f"Method not found: {name}", request_id, {"code": 12, "status": "UNIMPLEMENTED"})


def wrong_field(field, why, request_id=1):
    data = {"code": 3, "status": "INVALID_ARGUMENT", "field": field}
    return error(-32602, f"Invalid params: {field} {why}", request_id, data)


# The examples of the specification (https://www.jsonrpc.org/specification#examples), with methods that exist here.


def test_a_call_with_named_parameters(talk):
    talk("b")
    alice = talk("alice")
    assert alice.ask(request("answer", {"sdp": "v=0", "to_peer_id": "b"}, id=3)) == {
        "jsonrpc": "2.0",
        "result": {"to_peer_id": "b"},
        "id": 3,
    }


def test_notifications_get_no_reply(talk):
    alice = talk("alice")
    assert alice.say(request("list_peers", {})) == []
    assert alice.say(request("foobar")) == []
    assert alice.say(request("offer", {"to_peer_id": "nobody", "sdp": "v=0"})) == []
    assert alice.say(request("offer", {"to_peer_id": 1, "sdp": "v=0"})) == []
    assert alice.say(request("offer", [1])) == []


def test_questions_whose_answer_nobody_hears_are_counted_and_not_answered(talk, hub, monkeypatch):
    alice = talk("alice")
    monkeypatch.setattr("sigbridge.rules.list.page_of", lambda *_, **__: pytest.fail("a page was made"))
    questions = [request(method) for method in ("list_peers", "health_check", "rpc.discover")]
    for message in (*questions, questions):
        assert alice.say(message) == []
    counted = {
        kind: hub.counters.requests["websocket", kind, "ok"] for kind in ("list_peers", "health_check", "discover")
    }
    assert counted == {"list_peers": 2, "health_check": 2, "discover": 2}


def test_a_call_of_a_method_that_is_none(talk):
    assert talk().ask(request("foobar", id="1")) == not_found("foobar", "1")


def test_a_call_that_is_no_json(talk):
    assert talk().ask(b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]') == PARSE_ERROR


def test_a_call_that_is_no_request(talk):
    assert talk().ask(b'{"jsonrpc": "2.0", "method": 1, "params": "bar"}') == invalid_request("method must be a string")


def test_a_batch_that_is_no_json(talk):
    batch = b'[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]'
    assert talk().ask(batch) == PARSE_ERROR


def test_an_empty_batch(talk):
    assert talk().ask(b"[]") == invalid_request("an empty batch")


def test_a_batch_has_a_longest(talk, make_hub):
    spoken = talk("alice", hub=make_hub(max_batch_requests=3))
    assert len(spoken.ask([request("health_check", id=number) for number in range(3)])) == 3
    too_long = [request("disconnect", {"peer_id": "alice"}, id=number) for number in range(4)]
    assert spoken.ask(too_long) == invalid_request("a batch of more than 3")
    assert spoken.ask(request("list_peers", id=1))["result"]["count"] == 1


def test_batches_of_no_requests(talk):
    talker = talk()
    assert talker.ask(b"[1]") == [invalid_request("not an object")]
    assert talker.ask(b"[1,2,3]") == [invalid_request("not an object")] * 3
    assert talker.ask(b"[[], [[]]]") == [invalid_request("not an object")] * 2


def test_a_mixed_batch_is_answered_in_order(talk):
    batch = [
        request("announce", {"peer_id": "alice"}, id="1"),
        request("list_peers", {}),
        request("disconnect", {"peer_id": "bob"}, id="2"),
        {"foo": "boo"},
        request("foo.get", {"name": "myself"}, id="5"),
        request("health_check", id=None),
        {"jsonrpc": "2.0", "result": 1, "id": 7},
        request("list_peers", id="9"),
    ]
    answers = talk().ask(batch)
    assert [answer["id"] for answer in answers] == ["1", "2", None, "5", None, "9"]
    assert answers[2] == invalid_request('jsonrpc must be "2.0"')
    assert answers[3] == not_found("foo.get", "5")
    assert answers[4]["result"]["status"] == "healthy"
    assert answers[5]["result"]["count"] == 1


def test_a_batch_of_notifications_gets_nothing(talk):
    talker = talk("alice")
    assert talker.say([request("list_peers"), request("nothing", [1])]) == []


def test_what_a_batch_causes_for_its_sender_follows_the_array(talk):
    bob = talk("bob")
    carol = talk()
    said = carol.say([request("announce", {"peer_id": "carol"}, id=1), request("list_peers", id=2)])
    assert [type(one) for one in said] == [list, dict]
    assert said[1] == request("peer_joined", {"peer_id": "bob", **said[1]["params"]})
    assert [one["method"] for one in bob.taken()] == ["peer_joined"]


def test_the_roster_comes_after_a_batch_of_notifications(talk):
    talk("bob")
    carol = talk()
    assert [one["method"] for one in carol.say([request("announce", {"peer_id": "carol"})])] == ["peer_joined"]


def test_a_thousand_elements(talk):
    answers = talk("alice").ask([request("list_peers", id=number) for number in range(1000)])
    assert [answer["id"] for answer in answers] == list(range(1000))


# Ids, params and members.


@pytest.mark.parametrize("path", ["fast", "general"])
@pytest.mark.parametrize(
    "text", ["1", '"1"', "null", "0", "-1", str(2**53 + 1), "1" * 30, '"\\u0000"', '""', '"é\\ud83d\\ude00"']
)
def test_ids_come_back_as_they_are(talk, text, path):
    talk("bob")
    alice = talk("alice")
    method, params = ("offer", {"to_peer_id": "bob", "sdp": "v=0"}) if path == "fast" else ("list_peers", {})
    message = b'{"jsonrpc":"2.0","method":"%b","params":%b,"id":%b}' % (
        method.encode(),
        msgspec.json.encode(params),
        text.encode(),
    )
    answer = alice.ask(message)
    assert "result" in answer
    assert answer["id"] == json.loads(text)
    assert type(answer["id"]) is type(json.loads(text))


@pytest.mark.parametrize("path", ["fast", "general"])
@pytest.mark.parametrize("text", [b"1.5", b"1.0", b"1e2", b"-0.0", b"true", b"false", b"{}", b"[]", b"[1]"])
def test_ids_that_are_none(talk, text, path):
    talk("bob")
    alice = talk("alice")
    method = b"offer" if path == "fast" else b"list_peers"
    message = b'{"jsonrpc":"2.0","method":"%b","params":{"to_peer_id":"bob","sdp":"x"},"id":%b}' % (method, text)
    assert alice.ask(message) == invalid_request("id must be a string, an integer or null")


def test_params_that_are_no_object(talk):
    talker = talk()
    assert talker.ask(request("list_peers", [], id=1)) == wrong_field("params", "must be an object")
    assert talker.ask(request("rpc.discover", [1], id=1)) == wrong_field("params", "must be an object")
    for text in (b"null", b'"x"', b"1", b"true"):
        message = b'{"jsonrpc":"2.0","method":"list_peers","params":%b,"id":1}' % text
        assert talker.ask(message) == invalid_request("params must be an object", 1)


@pytest.mark.parametrize("version", [b'"1.0"', b"2.0", b"2", b"null", b'"2"', b'""'])
def test_other_versions_are_no_requests(talk, version):
    message = b'{"jsonrpc":%b,"method":"offer","params":{"to_peer_id":"b","sdp":"x"},"id":7}' % version
    assert talk("alice").ask(message) == invalid_request('jsonrpc must be "2.0"', 7)


def test_a_missing_version_and_a_missing_method(talk):
    assert talk().ask({"method": "list_peers", "id": "q"}) == invalid_request('jsonrpc must be "2.0"', "q")
    assert talk().ask({"jsonrpc": "2.0", "id": "q"}) == invalid_request("method must be a string", "q")


@pytest.mark.parametrize("text", [b"null", b"1", b'"x"', b"true"])
def test_scalars_are_no_requests(talk, text):
    assert talk().ask(text) == invalid_request("not an object")


def test_unknown_members_are_ignored(talk):
    bob = talk("bob")
    alice = talk("alice")
    bob.taken()
    params = {"to_peer_id": "bob", "sdp": "v=0", "more": {"deep": [1]}, "from": "mallory"}
    assert alice.ask(request("offer", params, id=1, trace="x"))["result"]["to_peer_id"] == "bob"
    (event,) = bob.taken()
    assert event["params"]["from_peer_id"] == "alice"
    assert "more" not in event["params"]
    assert "from" not in event["params"]


@pytest.mark.parametrize("more", [b"", b',"x":1'])
def test_of_two_members_with_one_name_the_last_counts(talk, more):
    bob = talk("bob")
    alice = talk("alice")
    bob.taken()
    alice.ask(
        b'{"jsonrpc":"1.0","jsonrpc":"2.0","method":"answer","method":"offer","id":1,"id":2,'
        b'"params":{"to_peer_id":"x"},"params":{"to_peer_id":"x","sdp":"one","to_peer_id":"bob","sdp":"two"%b}}' % more
    )
    (event,) = bob.taken()
    assert (event["method"], event["params"]["sdp"]) == ("offer", "two")


def test_responses_from_a_client_are_ignored_and_counted(talk, hub):
    talker = talk()
    assert talker.say({"jsonrpc": "2.0", "result": 1, "id": 1}) == []
    assert talker.say({"jsonrpc": "2.0", "error": {"code": 1, "message": "x"}, "id": None}) == []
    assert talker.say([{"result": 1}, {"error": 1}]) == []
    assert hub.counters.ignored_responses == 4
    assert not hub.counters.requests


def test_null_is_absent_in_optional_fields(talk):
    alice = talk()
    params = {"peer_id": "alice", "capabilities": None, "metadata": None, "room": None}
    assert alice.ask(request("announce", params, id=1))["result"]["peers_count"] == 0
    page = alice.ask(request("list_peers", {"room": None, "page_size": None, "page_token": None}, id=1))["result"]
    assert page["peers"][0]["capabilities"] == {"audio": False, "video": False, "data": False}
    assert page["peers"][0]["metadata"] == {}
    bob = talk("bob")
    alice.taken()
    bob.ask(request("offer", {"to_peer_id": "alice", "sdp": "x", "type": None}, id=1))
    optional = {"sdp_mid": None, "sdp_mline_index": None, "username_fragment": None, "offer_id": None}
    bob.ask(request("ice_candidate", {"to_peer_id": "alice", "candidate": None, **optional}, id=1))
    bob.ask(request("answer", {"to_peer_id": "alice", "sdp": "x", "type": None, "offer_id": None}, id=1))
    bob.ask(request("disconnect", {"peer_id": "alice", "offer_id": None}, id=1))
    offer, candidate, answer, hang_up = alice.taken()
    assert offer["params"]["type"] == "offer"
    assert candidate["params"] == {"from_peer_id": "bob", "candidate": ""}
    assert answer["params"] == {"from_peer_id": "bob", "sdp": "x", "type": "answer"}
    assert hang_up["params"] == {"peer_id": "bob"}


def test_an_empty_offer_id_is_an_absent_one(talk):
    alice, bob = talk("alice"), talk("bob")
    alice.taken()
    bob.ask(request("answer", {"to_peer_id": "alice", "sdp": "x", "offer_id": ""}, id=1))
    bob.ask(request("ice_candidate", {"to_peer_id": "alice", "candidate": "", "offer_id": ""}, id=1))
    bob.ask(request("disconnect", {"peer_id": "alice", "offer_id": ""}, id=1))
    assert [list(event["params"]) for event in alice.taken()] == [
        ["from_peer_id", "sdp", "type"],
        ["from_peer_id", "candidate"],
        ["peer_id"],
    ]


def test_zero_and_empty_stay_what_they_are(talk):
    alice, bob = talk("alice"), talk("bob")
    alice.taken()
    optional = {"sdp_mid": "", "sdp_mline_index": 0, "username_fragment": ""}
    bob.ask(request("ice_candidate", {"to_peer_id": "alice", "candidate": "", **optional}, id=1))
    (candidate,) = alice.taken()
    assert candidate["params"] == {"from_peer_id": "bob", "candidate": "", **optional}


@pytest.mark.parametrize("candidate", ["candidate:1", ""])
@pytest.mark.parametrize(
    ("given", "arrive"),
    [
        # What `RTCIceCandidate.toJSON()` gives in browsers.
        (
            {"sdpMid": "audio", "sdpMLineIndex": 1, "usernameFragment": "k0pD"},
            {"sdp_mid": "audio", "sdp_mline_index": 1, "username_fragment": "k0pD"},
        ),
        ({"sdpMid": "0", "sdpMLineIndex": None, "usernameFragment": None}, {"sdp_mid": "0"}),
        ({"sdpMid": None, "sdpMLineIndex": 0}, {"sdp_mline_index": 0}),
        (
            {"sdpMid": "", "sdpMLineIndex": 0, "usernameFragment": ""},
            {"sdp_mid": "", "sdp_mline_index": 0, "username_fragment": ""},
        ),
        ({"sdpMLineIndex": 2**32 - 1}, {"sdp_mline_index": 2**32 - 1}),
        # Both spellings.
        ({"sdp_mid": "0", "sdpMid": "0", "sdp_mline_index": 0, "sdpMLineIndex": 0}, {"sdp_mid": "0", "sdp_mline_index": 0}),
        ({"sdp_mid": None, "sdpMid": "0", "sdp_mline_index": 2, "sdpMLineIndex": None}, {"sdp_mid": "0", "sdp_mline_index": 2}),
        ({"sdp_mid": "0", "sdpMLineIndex": 2}, {"sdp_mid": "0", "sdp_mline_index": 2}),
        # Neither says anything of a media section.
        ({}, None),
        ({"sdp_mid": None, "sdpMid": None, "sdp_mline_index": None, "sdpMLineIndex": None}, None),
        # Names are told apart to the letter.
        ({"sdpmid": "9", "SdpMid": "9", "sdpMlineIndex": 9, "sdp_m_line_index": 9, "ufrag": "9"}, None),
    ],
)  # fmt: skip
def test_a_browsers_spellings_are_synonyms(talk, candidate, given, arrive):
    alice, bob = talk("alice"), talk("bob")
    alice.taken()
    # Where a candidate names no media section, it is of the first one.
    first = {"sdp_mline_index": 0} if candidate else {}
    params = {"to_peer_id": "alice", "candidate": candidate, **given}
    assert bob.ask(request("ice_candidate", params, id=1))["result"] == {"to_peer_id": "alice"}
    (event,) = alice.taken()
    assert event["params"] == {"from_peer_id": "bob", "candidate": candidate, **(first if arrive is None else arrive)}


def test_of_two_members_with_one_spelling_the_last_counts(talk):
    alice, bob = talk("alice"), talk("bob")
    alice.taken()
    bob.ask(
        b'{"jsonrpc":"2.0","method":"ice_candidate","id":1,"params":{"to_peer_id":"alice","candidate":"c","sdpMid":1,'
        b'"sdp_mid":"x","sdp_mline_index":4,"sdpMid":"0","sdp_mid":"0","sdpMLineIndex":-1,"sdpMLineIndex":4}}'
    )
    (event,) = alice.taken()
    assert event["params"] == {"from_peer_id": "bob", "candidate": "c", "sdp_mid": "0", "sdp_mline_index": 4}


def test_a_fragment_has_its_limit_in_either_spelling(talk):
    talk("alice")
    bob = talk("bob")
    for spelling in ("username_fragment", "usernameFragment"):
        params = {"to_peer_id": "alice", "candidate": "c", spelling: "x" * 4097}
        refused = bob.ask(request("ice_candidate", params, id=1))["error"]
        assert refused["data"]["limit"] == "SIGNALING_MAX_CANDIDATE_BYTES"
        assert refused["message"].startswith("username_fragment is too large")


@pytest.mark.parametrize(
    ("method", "params", "field", "why"),
    [
        ("announce", {}, "peer_id", "is missing"),
        ("announce", {"peer_id": None}, "peer_id", "must be a string"),
        ("announce", {"peer_id": 1}, "peer_id", "must be a string"),
        ("announce", {"peer_id": "x", "capabilities": []}, "capabilities", "must be an object"),
        ("announce", {"peer_id": "x", "capabilities": "audio"}, "capabilities", "must be an object"),
        (
            "announce",
            {"peer_id": "x", "capabilities": {"audio": 1}},
            "capabilities",
            "has audio, which must be true or false",
        ),
        (
            "announce",
            {"peer_id": "x", "capabilities": {"data": None}},
            "capabilities",
            "has data, which must be true or false",
        ),
        ("announce", {"peer_id": "x", "metadata": []}, "metadata", "must be an object"),
        ("announce", {"peer_id": "x", "metadata": "{}"}, "metadata", "must be an object"),
        ("announce", {"peer_id": "x", "room": 1}, "room", "must be a string"),
        ("offer", {}, "to_peer_id", "is missing"),
        ("offer", {"to_peer_id": ["x"], "sdp": "v"}, "to_peer_id", "must be a string"),
        ("offer", {"to_peer_id": "x"}, "sdp", "is missing"),
        ("offer", {"to_peer_id": "x", "sdp": {}}, "sdp", "must be a string"),
        ("offer", {"to_peer_id": "x", "sdp": "v", "type": 1}, "type", "must be a string"),
        ("offer", {"to_peer_id": "x", "sdp": "v", "type": "answer"}, "type", "must be offer"),
        ("answer", {"to_peer_id": "x", "sdp": "v", "type": "offer"}, "type", "must be answer or pranswer"),
        ("ice_candidate", {"to_peer_id": "x", "candidate": 1}, "candidate", "must be a string"),
        *(
            (
                "ice_candidate",
                {"to_peer_id": "x", "candidate": "c", "sdp_mline_index": index},
                "sdp_mline_index",
                "must be a whole number from 0 to 4294967295",
            )
            for index in (-1, 1.5, 1.0, 2**32, "0", True, [0], 10**30)
        ),
        ("ice_candidate", {"to_peer_id": "x", "sdp_mid": 0}, "sdp_mid", "must be a string"),
        ("ice_candidate", {"to_peer_id": "x", "sdpMid": 0}, "sdpMid", "must be a string"),
        ("ice_candidate", {"to_peer_id": "x", "usernameFragment": []}, "usernameFragment", "must be a string"),
        *(
            (
                "ice_candidate",
                {"to_peer_id": "x", "candidate": "c", "sdpMLineIndex": index},
                "sdpMLineIndex",
                "must be a whole number from 0 to 4294967295",
            )
            for index in (-1, 1.5, 1.0, 2**32, "0", False, [0], 10**30)
        ),
        (
            "ice_candidate",
            {"to_peer_id": "x", "candidate": {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 0}},
            "candidate",
            "must be a string",
        ),
        ("ice_candidate", {"to_peer_id": "x", "sdp_mid": "0", "sdpMid": ""}, "sdpMid", "differs from sdp_mid"),
        (
            "ice_candidate",
            {"to_peer_id": "x", "sdpMLineIndex": 1, "sdp_mline_index": 0},
            "sdpMLineIndex",
            "differs from sdp_mline_index",
        ),
        (
            "ice_candidate",
            {"to_peer_id": "x", "sdp_mline_index": 0, "sdpMLineIndex": False},
            "sdpMLineIndex",
            "must be a whole number from 0 to 4294967295",
        ),
        (
            "ice_candidate",
            {"to_peer_id": "x", "usernameFragment": "a", "username_fragment": "b"},
            "usernameFragment",
            "differs from username_fragment",
        ),
        ("disconnect", {}, "peer_id", "is missing"),
        ("answer", {"to_peer_id": "x", "sdp": "v", "offer_id": 1}, "offer_id", "must be a string"),
        ("answer", {"to_peer_id": "x", "sdp": "v", "offer_id": "x" * 1001}, "offer_id", "is longer than 1000 bytes"),
        ("ice_candidate", {"to_peer_id": "x", "offer_id": 1}, "offer_id", "must be a string"),
        ("ice_candidate", {"to_peer_id": "x", "offer_id": "é" * 501}, "offer_id", "is longer than 1000 bytes"),
        ("disconnect", {"peer_id": "x", "offer_id": []}, "offer_id", "must be a string"),
        ("disconnect", {"peer_id": "x", "offer_id": "x" * 1001}, "offer_id", "is longer than 1000 bytes"),
        ("list_peers", {"page_size": -1}, "page_size", "must be a whole number from 0 to 4294967295"),
        ("list_peers", {"page_size": "5"}, "page_size", "must be a whole number from 0 to 4294967295"),
        ("list_peers", {"page_token": 5}, "page_token", "must be a string"),
    ],
)
def test_a_wrong_field_is_named(talk, method, params, field, why):
    assert talk().ask(request(method, params, id=1)) == wrong_field(field, why)


def test_capabilities_and_metadata_come_back_without_loss(talk):
    alice, bob = talk("alice"), talk()
    capabilities = {"screen_share": True, "audio": True, "codecs": ["av1", {"x": None}], "": 0}
    metadata = {"name": "Bób", "tags": [1, 2.5, None], "big": 2**70, "nul": "\0"}
    bob.say(request("announce", {"peer_id": "bob", "capabilities": capabilities, "metadata": metadata}, id=1))
    joined = alice.taken()[-1]["params"]
    assert joined["capabilities"] == {"video": False, "data": False, **capabilities}
    assert joined["metadata"] == metadata
    listed = alice.ask(request("list_peers", id=1))["result"]["peers"][1]
    assert (listed["capabilities"], listed["metadata"]) == (joined["capabilities"], metadata)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b'{"jsonrpc":"2.0","method":"list_peers","id":1} x',
        b'{"jsonrpc":"2.0","method":"list_peers","id":1}{}',
        b'{"jsonrpc":"2.0","method":"list_peers","id":1}\0',
        b'{"jsonrpc":"2.0","method":"list_peers","id":1} // comment',
        b'{/**/"jsonrpc":"2.0","method":"list_peers","id":1}',
        b'{"jsonrpc":"2.0","method":"list_\x01peers","id":1}',
        b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"a\nb"},"id":1}',
        b'{"jsonrpc":"2.0","method":"list_peers","id":NaN}',
        b'{"jsonrpc":"2.0","method":"list_peers","id":-Infinity}',
        b'{"jsonrpc":"2.0","method":"list_peers","id":1e400}',
        b'{"jsonrpc":"2.0","method":"list_peers","id":' + b"9" * 5000 + b"}",
        b'{"jsonrpc":"2.0","method":"list_peers","params":{"x":' + b"9" * 5000 + b'},"id":1}',
        b'{"jsonrpc":"2.0","method":"list_peers","params":{"x":1e400},"id":1}',
        b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"\\ud800","sdp":"x"},"id":1}',
        b'{"jsonrpc":"2.0","method":"list_peers","params":{"\\udc00":1},"id":1}',
        b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"\xff"},"id":1}',
        b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x","more":"\xc3("},"id":1}',
        b'{"jsonrpc":"2.0","method":"list_peers","params":{"\xff":1},"id":1}',
        b'{"jsonrpc":"2.0","method":"list_peers","id":"\xed\xa0\x80"}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'{"jsonrpc":"2.0","method":"list_peers","params":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b'},"id":1}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0",}',
        b"tru",
        b"01",
    ],
)
def test_what_is_no_json(talk, text, hub):
    talker = talk()
    assert talker.ask(text) == PARSE_ERROR
    assert hub.counters.requests["websocket", "unknown", "INVALID_ARGUMENT"] == 1
    assert "result" in talker.ask(request("list_peers", id=1))


def test_discover_describes_the_server(talk):
    document = talk().ask(request("rpc.discover", id=1))["result"]
    assert {method["name"] for method in document["methods"]} == set(translate.REQUESTS)


def test_a_long_method_name_is_cut(talk):
    answer = talk().ask(request("x" * 100_000, id=1))
    assert len(answer["error"]["message"]) < 200


def test_params_may_have_any_names(talk):
    params = {"self": 1, "call": 2, "hub": 3, "method": 4, "params": 5, "": 6, "a b": 7}
    assert "result" in talk().ask(request("list_peers", params, id=1))


def test_who_may_not_enter_a_room_may_not_look_into_it(talk):
    talk("bob", room="secret")
    alice = talk()
    alice.session.identity = Identity("device", rooms=frozenset({"lobby"}))
    refusal = error(-32000, FORBIDDEN, 1, {"code": 7, "status": "PERMISSION_DENIED"})
    for params in ({"room": "secret"}, {"room": ""}, {}):
        assert alice.ask(request("list_peers", params, id=1)) == refusal
        assert alice.ask([request("list_peers", params, id=1)]) == [refusal]
    assert alice.ask(request("list_peers", {"room": "lobby"}, id=1))["result"] == {"peers": [], "count": 0}
    assert alice.ask(request("announce", {"peer_id": "alice", "room": "lobby"}, id=1))["result"]["peers_count"] == 0
    assert alice.ask(request("list_peers", {}, id=1))["result"]["count"] == 1


def test_each_request_is_timed_by_itself_in_a_batch_too(talk, clock):
    seconds = iter(range(100))
    hub = Hub(Settings(), clock.now, stopwatch=lambda: float(next(seconds)))
    talker = talk(hub=hub)
    talker.ask([request("list_peers", id=1), request("health_check", id=2), request("list_peers", id=3)])
    timed = {kind: (sum(one.counts), one.total) for (_, kind), one in hub.counters.seconds.items()}
    assert timed == {"list_peers": (2, 2.0), "health_check": (1, 1.0)}


# Both paths.

TEXTS = st.one_of(
    st.sampled_from(
        ["", "bob", "alice", "nobody", "v=0\r\n", "\0", "é😀\u2028", "x" * 300, "offer", "answer", "pranswer"]
    ),
    st.text(max_size=8),
)
VALUES = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(-2, 2**33), st.floats(allow_nan=False, allow_infinity=False),
    st.just([]), st.just({}), st.sampled_from([0, 1, -1, 2**32 - 1, 2**32, 10**30, 1.0]),
)  # fmt: skip


def likely(values, among=VALUES):
    """Mostly as usual, now and then anything."""
    # Not `one_of`, which would take each of the many kinds of anything for as likely as what is usual.
    return st.sampled_from([False] * 14 + [True]).flatmap(lambda odd: among if odd else values)


class Members(list):
    """Pairs of a name and a value that are written as one object, in this order, doubles and all."""


def written(value, ascii_only):
    """A value as JSON."""
    if isinstance(value, Members):
        pairs = (written(name, ascii_only) + b":" + written(one, ascii_only) for name, one in value)
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(written(one, ascii_only) for one in value) + b"]"
    return json.dumps(value).encode() if ascii_only else msgspec.json.encode(value)


def members(*likely_ones, **kinds):
    """The members of an object in any order: the likely ones mostly once, the others sometimes, each with its kind."""
    pairs = {name: st.tuples(st.just(name), kind) for name, kind in kinds.items()}
    usual = st.tuples(*(pairs[name] for name in likely_ones)).map(list)
    return st.tuples(usual, st.lists(st.one_of(*pairs.values()), max_size=2)).flatmap(
        lambda both: st.permutations(both[0] + both[1])
    )


OBJECTS = st.dictionaries(TEXTS, st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3)), max_size=3)
CAPABILITIES = members(
    audio=likely(st.booleans()),
    video=st.booleans(),
    data=likely(st.booleans()),
    screen_share=VALUES,
    extensions=OBJECTS,
).map(Members)
OFFER_IDS = likely(
    st.one_of(
        st.sampled_from([None, "", "x" * 1000, "x" * 1001]),
        # Those of the first offers of a hub whose time stands still.
        st.builds(
            lambda pair, more: f"{pair}_{int(NOW.unix * 1000) + more}",
            st.sampled_from(["alice_bob", "bob_alice"]),
            st.integers(0, 3),
        ),
    )
)
RELAYS = members(
    "to_peer_id",
    "sdp",
    to_peer_id=likely(st.sampled_from(["bob", "bob", "alice"])),
    sdp=likely(TEXTS),
    type=likely(st.sampled_from(["offer", "answer", "pranswer", "", None])),
    offer_id=OFFER_IDS,
    more=VALUES,
)
CANDIDATES = members(
    "to_peer_id",
    "candidate",
    to_peer_id=likely(st.sampled_from(["bob", "bob", "alice"])),
    candidate=likely(TEXTS),
    sdp_mid=likely(st.one_of(st.none(), TEXTS)),
    sdp_mline_index=likely(st.one_of(st.none(), st.integers(0, 5))),
    username_fragment=likely(st.one_of(st.none(), TEXTS)),
    sdpMid=likely(st.one_of(st.none(), TEXTS)),
    sdpMLineIndex=likely(st.one_of(st.none(), st.integers(0, 5))),
    usernameFragment=likely(st.one_of(st.none(), TEXTS)),
    offer_id=OFFER_IDS,
    more=VALUES,
)
ANNOUNCES = members(
    "peer_id",
    peer_id=likely(TEXTS),
    capabilities=likely(st.one_of(st.none(), CAPABILITIES)),
    metadata=likely(st.one_of(st.none(), OBJECTS)),
    room=likely(st.one_of(st.none(), st.sampled_from(["", "lobby"]))),
    more=VALUES,
)


def calls(methods, params):
    """Whole calls of these methods, nearly all with these params."""
    return members(
        "jsonrpc",
        "method",
        "params",
        "id",
        jsonrpc=likely(st.just("2.0")),
        method=st.sampled_from(methods),
        params=likely(params.map(Members)),
        id=likely(st.one_of(st.integers(), st.text(max_size=3), st.none())),
        traceparent=likely(TEXTS),
        other=VALUES,
    ).map(Members)


ANY_CALLS = st.one_of(
    calls(["offer", "answer"], RELAYS), calls(["ice_candidate"], CANDIDATES), calls(["announce"], ANNOUNCES)
)


@st.composite
def messages(draw):
    """Texts of calls and batches, as different libraries write them; now and then with a byte changed."""
    call = draw(likely(ANY_CALLS, st.lists(ANY_CALLS, max_size=3)))
    text = written(call, draw(st.booleans()))
    if draw(st.sampled_from([False] * 5 + [True])):
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.binary(max_size=2)) + text[at + 1 :]
    return text


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), messages()), min_size=1, max_size=4))
def test_both_paths_are_one(said):
    fast, general = ThreeSessions(), ThreeSessions()
    for speaker, text in said:
        fast.conversations[speaker].receive(text, NOW)
        general.conversations[speaker]._receive_any(text, NOW)
    assert fast.outcome() == general.outcome()


@given(messages(), st.integers(0), st.integers(128, 255))
def test_the_fast_path_takes_nothing_that_is_no_utf8(text, at, byte):
    text = text[: at % len(text)] + bytes([byte]) + text[at % len(text) :]
    if BARE_JSON.dialect.fast_call(text) is not None:
        text.decode()


@pytest.mark.fast_paths
def test_the_usual_takes_the_fast_path(talk, monkeypatch):
    talk("bob")
    alice = talk("alice")

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(Conversation, "_receive_any", never)
    sdp = {"to_peer_id": "bob", "sdp": "v=0"}
    candidate = {"to_peer_id": "bob", "candidate": "c", "sdp_mid": "0", "sdp_mline_index": 0, "username_fragment": "u"}
    of_a_call = {"offer_id": "bob_alice_1"}
    announce = {"peer_id": "carol", "capabilities": {"audio": True, "x": 1}, "metadata": {"a": [1]}, "room": "lobby"}
    assert "result" in talk().ask(request("announce", announce, id=1))
    for message in (
        request("offer", sdp, id=1),
        request("answer", {**sdp, "type": "pranswer"}, id="x"),
        request("ice_candidate", candidate, id=None),
        request("answer", {**sdp, **of_a_call}, id=2),
        request("ice_candidate", {**candidate, **of_a_call}, id=3),
    ):
        assert "result" in alice.ask(message)
    assert alice.say(request("ice_candidate", candidate)) == []


# Faults of ours.

INTERNAL_ERROR = error(-32603, "Internal error", 1, {"code": 13, "status": "INTERNAL"})


def fail(*_, **__):
    raise RuntimeError("the secret of the house")


@pytest.mark.parametrize("method", ["offer", "disconnect"])
def test_a_rule_that_fails_tells_nothing(talk, hub, method, caplog):
    talker = talk("alice")
    hub._rules = dict.fromkeys(hub._rules, fail)
    assert talker.ask(request(method, {"to_peer_id": "x", "sdp": "x"}, id=1)) == INTERNAL_ERROR
    assert talker.ask([request(method, {"to_peer_id": "x", "sdp": "x"}, id=1)]) == [INTERNAL_ERROR]
    assert talker.say(request(method, {"to_peer_id": "x", "sdp": "x"})) == []
    assert hub.counters.requests["websocket", method, "INTERNAL"] == 3
    assert "the secret of the house" in caplog.text


@pytest.mark.parametrize("method", ["offer", "disconnect"])
def test_a_translator_that_fails_tells_nothing(talk, hub, method, monkeypatch, caplog):
    talker = talk("alice")
    monkeypatch.setattr(dialects, "request_from_params", fail)
    unusual = {"to_peer_id": "x", "sdp": "x", "more": 1}
    assert talker.ask(request(method, unusual, id=1)) == INTERNAL_ERROR
    assert talker.say(request(method, unusual)) == []
    assert hub.counters.requests["websocket", method, "INTERNAL"] == 2


def test_a_result_that_cannot_be_made_tells_nothing(talk, monkeypatch, caplog):
    talker = talk("alice")
    monkeypatch.setattr(dialects, "result_object", fail)
    assert talker.ask(request("list_peers", id=1)) == INTERNAL_ERROR
    assert talker.ask([request("list_peers", id=1), request("foobar", id=2)]) == [
        INTERNAL_ERROR,
        not_found("foobar", 2),
    ]
    assert "the secret of the house" in caplog.text
    monkeypatch.setattr(methods, "openrpc_document", fail)
    assert talker.ask(request("rpc.discover", id=1)) == INTERNAL_ERROR


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


# Tokens that are shown in a session.


@pytest.fixture
def known(talk):
    """A talker whose tokens say whom they prove."""
    one = talk()
    one.session.authenticator = DescribedIdentities()
    return one


def test_a_new_token_is_answered_with_its_subject_and_end(known, clock):
    text = json.dumps(request("authenticate", {"token": token_of("alice"), "more": 1}, id="x")).encode()
    known.conversation.receive(text, clock.now)
    assert known.session.outbox.take(2**40) == [
        b'{"jsonrpc":"2.0","result":{"subject":"alice","expires_at":null},"id":"x"}'
    ]
    expires_at = int(clock.now.unix + 60.9)
    assert known.call("authenticate", token=token_of("alice", expires_in=60.9))["result"] == {
        "subject": "alice",
        "expires_at": expires_at,
    }


def test_a_bad_token_is_refused_with_data(known):
    data = {"code": 16, "status": "UNAUTHENTICATED"}
    assert known.ask(request("authenticate", {"token": BAD_TOKEN}, id=1)) == error(
        -32000, "Invalid or missing API token", 1, data
    )
    known.call("authenticate", token=token_of("alice"))
    data = {"code": 7, "status": "PERMISSION_DENIED"}
    assert known.ask(request("authenticate", {"token": token_of("bob")}, id=1)) == error(
        -32000, "Subject mismatch", 1, data
    )


@pytest.mark.parametrize("token", [None, 7, ["canary"], {"canary": "canary"}, True])
def test_a_token_is_text(known, token):
    assert known.ask(request("authenticate", {"token": token}, id=1)) == wrong_field("token", "must be a string")
    assert known.ask(request("authenticate", {}, id=1)) == wrong_field("token", "is missing")


def test_a_token_in_a_notification_counts(known):
    assert known.say(request("authenticate", {"token": token_of("alice", rights=())})) == []
    refusal = known.call("announce", peer_id="alice")["error"]
    assert (refusal["code"], refusal["message"]) == (-32000, "Right missing: announce")
    assert refusal["data"] == {"code": 7, "status": "PERMISSION_DENIED", "right": "announce"}


def test_who_is_revoked_within_a_batch_is_told_what_was_carried_out(known, talk, hub):
    bob = talk("bob")
    known.call("authenticate", token=token_of("alice"))
    known.call("announce", peer_id="alice")
    batch = [
        request("offer", {"to_peer_id": "bob", "sdp": "1"}, id=1),
        request("authenticate", {"token": token_of("alice", peer_ids=())}, id=2),
        request("offer", {"to_peer_id": "bob", "sdp": "2"}, id=3),
    ]
    (answers,) = known.say(batch)
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"] == {"subject": "alice", "expires_at": None}
    assert known.ended == [DisconnectReason.REVOKED]
    events = [event["method"] for event in bob.taken()]
    assert events == ["peer_joined", "offer", "peer_left"]
    assert known.session.request_count == 4


def test_tokens_of_a_batch_have_turns_of_their_own(known, hub, clock):
    known.call("authenticate", token=token_of("alice"))
    batch = [request("authenticate", {"token": token_of("alice")}, id=number) for number in range(50)]
    known.conversation.receive(msgspec.json.encode(batch), clock.now)
    assert 1 < known.session.request_count < 50
    known.rest()
    (answers,) = known.taken()
    assert [answer["id"] for answer in answers] == [*range(50)]
