"""JSON-RPC 2.0 by its specification."""

import json

import msgspec
import pytest

from json_rpc_messages import PARSE_ERROR, error, invalid_request, not_found, request, wrong_field
from rights import FORBIDDEN
from sigbridge import Hub, Settings
from sigbridge.auth import Identity
from sigbridge_websocket import translate
from sigbridge_websocket.dotted import METHODS as DOTTED_METHODS

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
    names = {method["name"] for method in document["methods"]}
    assert names == {*translate.REQUESTS, *DOTTED_METHODS, "server.info", "control.NAME"}


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
