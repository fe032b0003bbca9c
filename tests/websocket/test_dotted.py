"""Names, shapes and codes of the dotted dialect on the wire; frames compressed or not."""

import json

import pytest

from dotted_lines import NOT_ANNOUNCED, ask, error, request, told, wrong_field

INDEX = "must be a whole number from 0 to 65535"
ARRAY = "must be an array of names, or an object"


# Methods and their results.


def test_every_request_and_event_by_its_dotted_name(enter):
    alice, bob = enter(), enter()
    assert ask(alice, "peer.announce", peer_id="alice") == {
        "success": True,
        "peer_id": "alice",
        "peers_count": 1,
        "other_peers": [],
    }
    assert ask(bob, "peer.announce", peer_id="bob") == {
        "success": True,
        "peer_id": "bob",
        "peers_count": 2,
        "other_peers": ["alice"],
    }
    assert told(alice) == [("peer.joined", {"peer_id": "bob", "capabilities": [], "metadata": {}})]
    offered = ask(alice, "peer.offer", to="bob", sdp="v=0")
    offer_id = offered["offer_id"]
    assert offered == {"success": True, "offer_id": offer_id, "to_peer_id": "bob"}
    offer = {"from": "alice", "to": "bob", "offer_id": offer_id, "sdp": "v=0", "type": "offer"}
    assert told(bob) == [("peer.offer", offer)]
    assert ask(bob, "peer.answer", to="alice", sdp="v=1") == {"success": True, "to_peer_id": "alice"}
    assert told(alice) == [("peer.answer", {"from": "bob", "to": "alice", "sdp": "v=1", "type": "answer"})]
    candidate = {"candidate": "c", "sdp_mid": "0", "sdp_m_line_index": 1, "username_fragment": "u"}
    assert ask(bob, "peer.ice_candidate", to="alice", **candidate) == {"success": True, "to_peer_id": "alice"}
    assert told(alice) == [("peer.ice_candidate", {"from": "bob", "to": "alice", **candidate})]
    listed = ask(bob, "peer.list")
    assert set(listed) == {"peers", "count"}
    assert listed["count"] == 2
    assert listed["peers"][0] == {
        "peer_id": "alice",
        "capabilities": [],
        "state": "available",
        "metadata": {},
        "connected_at": 1_700_000_000,
    }
    assert ask(bob, "peer.disconnect", peer_id="alice") == {"success": True, "peer_id": "alice"}
    assert told(alice) == [("peer.disconnected", {"peer_id": "bob"})]
    assert ask(bob, "peer.disconnect", peer_id="bob") == {"success": True, "peer_id": "bob"}
    assert told(alice) == [("peer.left", {"peer_id": "bob"})]


def test_the_plain_names_are_understood_and_answered_in_dotted_shapes(enter):
    alice, bob = enter("alice"), enter("bob")
    told(alice)
    told(bob)
    assert ask(alice, "announce", peer_id="x")["code"] == -32602
    offered = ask(alice, "offer", to_peer_id="bob", sdp="v=0")
    assert set(offered) == {"success", "offer_id", "to_peer_id"}
    assert ask(bob, "answer", to="alice", sdp="v=1", offer_id=offered["offer_id"]) == {
        "success": True,
        "to_peer_id": "alice",
    }
    assert ask(bob, "ice_candidate", to="alice", candidate="c", sdp_m_line_index=2) == {
        "success": True,
        "to_peer_id": "alice",
    }
    assert set(ask(bob, "list_peers")) == {"peers", "count"}
    assert ask(bob, "disconnect", peer_id="bob", reason="bye") == {"success": True, "peer_id": "bob"}
    of_a_call = {"offer_id": offered["offer_id"]}
    assert told(alice) == [
        ("peer.answer", {"from": "bob", "to": "alice", "sdp": "v=1", "type": "answer", **of_a_call}),
        ("peer.ice_candidate", {"from": "bob", "to": "alice", "candidate": "c", "sdp_m_line_index": 2}),
        ("peer.left", {"peer_id": "bob", "reason": "bye"}),
    ]


def test_a_listing_has_pages(enter):
    alice = enter("alice", user_data={"a": [1]}, capabilities=["data", "audio", "x"])
    enter("bob")
    page = ask(alice, "peer.list", page_size=1)
    assert page["count"] == 2
    assert page["peers"][0]["capabilities"] == ["audio", "data", "x"]
    assert page["peers"][0]["metadata"] == {"a": [1]}
    last = ask(alice, "peer.list", page_size=1, page_token=page["next_page_token"])
    assert [peer["peer_id"] for peer in last["peers"]] == ["bob"]
    assert "next_page_token" not in last


def test_server_info_is_exactly_this_before_and_after_announcing(enter):
    line = enter()
    assert ask(line, "server.info") == {"addresses": [], "hostname": ""}
    assert ask(line, "peer.announce", peer_id="alice")["success"]
    assert ask(line, "server.info", anything=1) == {"addresses": [], "hostname": ""}
    assert line.say(request("server.info")) == []
    counted = {key: count for key, count in enter.hub.counters.requests.items() if key[1] == "server_info"}
    assert counted == {("websocket", "server_info", "ok"): 3}


def test_requests_are_counted_under_the_words_of_the_contract(enter):
    alice = enter("alice")
    ask(alice, "peer.list")
    ask(alice, "list_peers")
    ask(alice, "peer.offer", to="bob", sdp="v")
    assert enter.hub.counters.requests == {
        ("websocket", "announce", "ok"): 1,
        ("websocket", "list_peers", "ok"): 2,
        ("websocket", "offer", "NOT_FOUND"): 1,
    }


def test_questions_that_nobody_hears_are_not_answered(enter, monkeypatch):
    alice = enter("alice")
    monkeypatch.setattr("sigbridge.rules.list.page_of", lambda *_, **__: pytest.fail("a page was made"))
    assert alice.say(request("peer.list")) == []


@pytest.mark.parametrize("legacy", [False, True])
def test_the_newcomer_is_counted_once_whatever_the_setting(enter, legacy):
    enter("alice", settings={"legacy_peers_count": legacy})
    assert ask(enter(), "peer.announce", peer_id="bob")["peers_count"] == 2
    assert ask(enter(), "announce", peer_id="carol")["peers_count"] == 2 + legacy


# Where `jsonrpc` is missing.


@pytest.mark.parametrize("batch", [False, True])
def test_jsonrpc_may_be_missing_where_the_name_is_dotted(enter, batch):
    enter("bob")
    line = enter()

    def say(method, params, **members):
        message = {"method": method, "params": params, **members}
        heard = line.say([message] if batch else message)
        return heard[0][0] if batch and heard and isinstance(heard[0], list) else heard[0] if heard else None

    announced = say("peer.announce", {"peer_id": "alice"}, id=1)
    assert announced["jsonrpc"] == "2.0"
    assert announced["result"]["success"] is True
    told(line)
    assert say("peer.offer", {"to": "bob", "sdp": "v"}, id=2)["result"]["to_peer_id"] == "bob"
    assert say("peer.list", {}, id="x")["result"]["count"] == 2
    assert say("server.info", {}, id=None)["result"] == {"addresses": [], "hostname": ""}
    assert say("control.x", {}, id=3)["error"]["data"]["status"] == "NOT_FOUND"
    # Without an id it is a notification.
    assert say("peer.list", {}) is None
    assert say("peer.offer", {"to": "nobody", "sdp": "v"}) is None
    assert say("peer.offer", {"to": 1}) is None


def test_jsonrpc_is_missing_in_no_other_request(enter):
    line = enter("alice")
    refusal = error(-32600, 'Invalid Request: jsonrpc must be "2.0"')
    for method in ("list_peers", "offer", "health_check", "rpc.discover", "peer.foo", "nothing", 5, None):
        for message in ({"method": method, "id": 1}, [{"method": method, "id": 1}]):
            expected = {"jsonrpc": "2.0", "error": refusal, "id": 1}
            assert line.say(message) == [[expected] if isinstance(message, list) else expected]
    assert line.say({"id": 1}) == [{"jsonrpc": "2.0", "error": refusal, "id": 1}]


def test_in_a_plain_session_the_first_request_may_be_without_it(enter):
    line = enter("alice", plain=True)
    assert line.say({"method": "list_peers", "id": 1})[0]["error"]["code"] == -32600
    assert line.say({"method": "peer.list", "id": 1})[0]["result"]["count"] == 1


def test_notifications_get_no_response(enter):
    bob, alice = enter("bob"), enter("alice")
    told(bob)
    for method, params in (
        ("peer.offer", {"to": "bob", "sdp": "v=0"}),
        ("peer.answer", {"to": "bob", "sdp": "v=0"}),
        ("peer.ice_candidate", {"to": "bob", "candidate": "c"}),
        ("peer.disconnect", {"peer_id": "bob"}),
        ("peer.list", {}),
        ("peer.offer", {"to": "nobody", "sdp": "v=0"}),
        ("peer.offer", {}),
        ("peer.foo", {}),
        ("control.x", {}),
        ("peer.disconnect", {"peer_id": "alice"}),
    ):
        assert alice.say(request(method, params)) == []
    assert [method for method, _ in told(bob)] == [
        "peer.offer",
        "peer.answer",
        "peer.ice_candidate",
        "peer.disconnected",
        "peer.left",
    ]


# To whom, and from whom.


def test_to_has_two_spellings(enter):
    alice, bob = enter("alice"), enter("bob")
    told(alice)
    for params in (
        {"to": "alice"},
        {"to_peer_id": "alice"},
        {"to": "alice", "to_peer_id": "alice"},
        {"to": None, "to_peer_id": "alice"},
        {"to": "alice", "to_peer_id": None},
    ):
        assert ask(bob, "peer.answer", sdp="v", **params) == {"success": True, "to_peer_id": "alice"}
    assert len(told(alice)) == 5
    for params, refusal in (
        ({"to": "alice", "to_peer_id": "bob"}, wrong_field("to", "differs from to_peer_id")),
        ({}, wrong_field("to", "is missing")),
        ({"to": None}, wrong_field("to", "is missing")),
        ({"to": ""}, wrong_field("to", "is missing")),
        ({"to": 5}, wrong_field("to", "must be a string")),
        ({"to_peer_id": 5}, wrong_field("to_peer_id", "must be a string")),
        ({"to": "bob"}, wrong_field("to", "is the sender itself")),
        ({"to": "x" * 257}, wrong_field("to", "is longer than 256 bytes")),
    ):
        for method in ("peer.answer", "peer.offer", "answer"):
            assert ask(bob, method, sdp="v", **params) == refusal
    assert ask(bob, "peer.ice_candidate", to=5) == wrong_field("to", "must be a string")


def test_from_is_absent_or_null_or_the_senders_own_id(enter):
    alice, bob = enter("alice"), enter("bob")
    told(alice)
    requests = (
        ("peer.offer", {"to": "alice", "sdp": "v"}),
        ("peer.answer", {"to": "alice", "sdp": "v"}),
        ("peer.ice_candidate", {"to": "alice", "candidate": "c"}),
        ("peer.ice_candidate", {"to": "alice", "candidate": "c", "more": 1}),
        ("peer.disconnect", {"peer_id": "alice"}),
        ("peer.list", {}),
        ("offer", {"to": "alice", "sdp": "v"}),
    )
    mismatch = "Peer ID mismatch: this session may not send as alice"
    data = {"code": 7, "status": "PERMISSION_DENIED", "peer_id": "alice"}
    for method, params in requests:
        for sender in (None, "bob"):
            assert "message" not in ask(bob, method, from_=sender, **params), method
        assert ask(bob, method, from_="alice", **params) == error(-32000, mismatch, data)
        assert ask(bob, method, from_=5, **params) == wrong_field("from", "must be a string")
    events = told(alice)
    assert {params["from"] for method, params in events if "from" in params} == {"bob"}
    # "Not announced" comes first.
    assert ask(enter(), "peer.offer", to="alice", sdp="v", from_="alice") == NOT_ANNOUNCED


# Capabilities and user data.


@pytest.mark.parametrize(
    ("given", "dotted", "plain"),
    [
        (None, [], {}),
        ([], [], {}),
        (["video", "audio"], ["audio", "video"], {"audio": True, "video": True}),
        (["data", "x", "audio", "b", "a"], ["audio", "data", "x", "b", "a"], {"audio": True, "data": True, "x": True, "b": True, "a": True}),
        (["x", "x", "audio", "audio", "x"], ["audio", "x"], {"audio": True, "x": True}),
        (["", "é"], ["", "é"], {"": True, "é": True}),
        ({"video": True, "audio": False}, ["video"], {"video": True}),
        ({"x": True, "y": False, "z": 1, "codecs": ["a"], "audio": True, "n": None}, ["audio", "x"],
         {"audio": True, "x": True, "y": False, "z": 1, "codecs": ["a"], "n": None}),
        ({}, [], {}),
    ],
)  # fmt: skip
def test_capabilities_are_an_array_here_and_an_object_there(enter, given, dotted, plain):
    listeners = enter("alice"), enter("paul", plain=True)
    for line in listeners:
        told(line)
    enter("bob", capabilities=given)
    (event,), (other,) = told(listeners[0]), told(listeners[1])
    assert event == ("peer.joined", {"peer_id": "bob", "capabilities": dotted, "metadata": {}})
    everything = {"audio": False, "video": False, "data": False, **plain}
    assert other == ("peer_joined", {"peer_id": "bob", "capabilities": everything, "metadata": {}})
    assert list(other[1]["capabilities"])[3:] == [name for name in plain if name not in ("audio", "video", "data")]
    assert ask(listeners[0], "peer.list")["peers"][2]["capabilities"] == dotted


def test_capabilities_of_plain_peers_arrive_as_an_array(enter):
    alice = enter("alice")
    enter("paul", plain=True, capabilities={"x": True, "data": True, "y": 0}, metadata={"k": [None]})
    assert told(alice) == [
        ("peer.joined", {"peer_id": "paul", "capabilities": ["data", "x"], "metadata": {"k": [None]}})
    ]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (["audio", 1], wrong_field("capabilities", ARRAY)),
        ([None], wrong_field("capabilities", ARRAY)),
        ([["audio"]], wrong_field("capabilities", ARRAY)),
        ("audio", wrong_field("capabilities", ARRAY)),
        (5, wrong_field("capabilities", ARRAY)),
        ({"audio": 1}, wrong_field("capabilities", "has audio, which must be true or false")),
    ],
)
def test_capabilities_that_are_none(enter, given, refusal):
    assert ask(enter(), "peer.announce", peer_id="alice", capabilities=given) == refusal


def test_capabilities_have_their_size(enter):
    refusal = ask(enter(), "peer.announce", peer_id="alice", capabilities=["x" * 17_000])
    assert refusal["data"]["limit"] == "SIGNALING_MAX_CAPABILITIES_BYTES"


def test_user_data_is_any_object_or_null(enter):
    alice = enter("alice")
    for number, data in enumerate(({}, None, {"a": {"b": [1, None, "x", 1.5]}, "": True})):
        enter(f"u{number}", user_data=data)
        assert told(alice)[0][1]["metadata"] == (data or {})
    same = {"a": True, "b": [1]}
    for number, params in enumerate(
        (
            {"metadata": same},
            {"metadata": same, "user_data": {"b": [1], "a": True}},
            {"metadata": None, "user_data": same},
        )
    ):
        enter(f"m{number}", **params)
        assert told(alice)[0][1]["metadata"] == same


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"user_data": []}, wrong_field("user_data", "must be an object")),
        ({"user_data": "x"}, wrong_field("user_data", "must be an object")),
        ({"metadata": 5}, wrong_field("metadata", "must be an object")),
        ({"user_data": {"a": 1}, "metadata": {"a": 2}}, wrong_field("user_data", "differs from metadata")),
        ({"user_data": {"a": 1}, "metadata": {}}, wrong_field("user_data", "differs from metadata")),
        ({"user_data": {"a": 1}, "metadata": {"a": True}}, wrong_field("user_data", "differs from metadata")),
        ({"user_data": {"a": 1}, "metadata": {"a": 1.0}}, wrong_field("user_data", "differs from metadata")),
    ],
)
def test_user_data_that_is_none(enter, params, refusal):
    assert ask(enter(), "peer.announce", peer_id="alice", **params) == refusal


def test_user_data_that_is_nested_too_deep_is_refused_in_either_spelling(enter):
    line = enter()
    deep = json.loads('{"a":' * 40 + "1" + "}" * 40)
    refusal = wrong_field("user_data", "is nested more than 32 deep")
    for params in ({"user_data": deep}, {"metadata": deep}, {"user_data": deep, "metadata": deep}):
        assert ask(line, "peer.announce", peer_id="alice", **params) == refusal
    # As deep as a reader follows, and a writer does not.
    deepest = b'{"a":' * 900 + b"1" + b"}" * 900
    text = b'{"method":"peer.announce","params":{"peer_id":"a","user_data":%b,"metadata":%b},"id":1}'
    assert line.say(text % (deepest, deepest))[0]["error"]["code"] in (-32602, -32700)


# Candidates.


@pytest.mark.parametrize(
    ("given", "arrive"),
    [
        ({"sdp_m_line_index": 0}, {"sdp_m_line_index": 0}),
        ({"sdp_m_line_index": 65535}, {"sdp_m_line_index": 65535}),
        ({"sdp_mline_index": 3}, {"sdp_m_line_index": 3}),
        ({"sdpMLineIndex": 3}, {"sdp_m_line_index": 3}),
        ({"sdp_m_line_index": 3, "sdp_mline_index": 3, "sdpMLineIndex": 3}, {"sdp_m_line_index": 3}),
        ({"sdp_m_line_index": None, "sdp_mline_index": None, "sdpMLineIndex": 3}, {"sdp_m_line_index": 3}),
        ({"sdp_mid": "0", "username_fragment": "u"}, {"sdp_mid": "0", "username_fragment": "u"}),
        ({"sdpMid": "", "usernameFragment": "", "sdp_mid": None}, {"sdp_mid": "", "username_fragment": ""}),
        ({"sdp_mid": None, "sdp_m_line_index": None, "username_fragment": None}, {"sdp_m_line_index": 0}),
        ({}, {"sdp_m_line_index": 0}),
        ({"sdp_mid": "0", "offer_id": "a_b_1"}, {"sdp_mid": "0", "offer_id": "a_b_1"}),
        ({"sdp_mid": "0", "offer_id": None}, {"sdp_mid": "0"}),
    ],
)
def test_candidates_in_every_spelling(enter, given, arrive):
    alice, bob, paul = enter("alice"), enter("bob"), enter("paul", plain=True)
    for line in (alice, paul):
        told(line)
    for to in ("alice", "paul"):
        assert ask(bob, "peer.ice_candidate", to=to, candidate="c", **given) == {"success": True, "to_peer_id": to}
    assert told(alice) == [("peer.ice_candidate", {"from": "bob", "to": "alice", "candidate": "c", **arrive})]
    plain = {name.replace("m_line", "mline"): value for name, value in arrive.items()}
    assert told(paul) == [("ice_candidate", {"from_peer_id": "bob", "candidate": "c", **plain})]


@pytest.mark.parametrize("candidate", [{"candidate": ""}, {"candidate": None}, {}])
def test_the_end_of_candidates(enter, candidate):
    alice, bob = enter("alice"), enter("bob")
    told(alice)
    assert ask(bob, "peer.ice_candidate", to="alice", **candidate)["success"] is True
    assert ask(bob, "peer.ice_candidate", to="alice", sdp_mid="0", sdp_m_line_index=0, **candidate)["success"] is True
    assert told(alice) == [
        ("peer.ice_candidate", {"from": "bob", "to": "alice", "candidate": ""}),
        ("peer.ice_candidate", {"from": "bob", "to": "alice", "candidate": "", "sdp_mid": "0", "sdp_m_line_index": 0}),
    ]


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        *(
            ({name: index}, wrong_field(name, INDEX))
            for name in ("sdp_m_line_index", "sdp_mline_index", "sdpMLineIndex")
            for index in (65536, -1, 2**32, 10**30, 1.0, "0", True)
        ),
        ({"sdp_m_line_index": 1, "sdp_mline_index": 2}, wrong_field("sdp_m_line_index", "differs from sdp_mline_index")),
        ({"sdp_m_line_index": 1, "sdpMLineIndex": 2}, wrong_field("sdpMLineIndex", "differs from sdp_m_line_index")),
        ({"sdp_mline_index": 1, "sdpMLineIndex": 2}, wrong_field("sdpMLineIndex", "differs from sdp_mline_index")),
        ({"sdp_mid": "0", "sdpMid": "1"}, wrong_field("sdpMid", "differs from sdp_mid")),
        ({"username_fragment": "a", "usernameFragment": "b"}, wrong_field("usernameFragment", "differs from username_fragment")),
        ({"sdp_mid": 0}, wrong_field("sdp_mid", "must be a string")),
        ({"candidate": {"candidate": "c"}}, wrong_field("candidate", "must be a string")),
        ({"offer_id": 5}, wrong_field("offer_id", "must be a string")),
    ],
)  # fmt: skip
def test_candidates_that_are_none(enter, params, refusal):
    bob = enter("bob")
    for method in ("peer.ice_candidate", "ice_candidate"):
        assert ask(bob, method, to="alice", **params) == refusal


def test_a_plain_session_may_still_say_larger_indices(enter):
    alice, paul = enter("alice"), enter("paul", plain=True)
    told(alice)
    assert ask(paul, "ice_candidate", to_peer_id="alice", candidate="c", sdp_mline_index=65536) == {
        "to_peer_id": "alice"
    }
    assert told(alice)[0][1]["sdp_m_line_index"] == 65536


# Leaving and hanging up.


def test_a_reason_is_told_to_dotted_sessions_alone(enter):
    alice, paul, bob = enter("alice"), enter("paul", plain=True), enter("bob")
    for line in (alice, paul):
        told(line)
    for to in ("alice", "paul"):
        ask(bob, "peer.disconnect", peer_id=to, reason="busy")
        ask(bob, "peer.disconnect", peer_id=to, reason=None, offer_id="x")
    bob.say(request("peer.disconnect", {"peer_id": "bob", "reason": "bye é"}))
    assert told(alice) == [
        ("peer.disconnected", {"peer_id": "bob", "reason": "busy"}),
        ("peer.disconnected", {"peer_id": "bob", "offer_id": "x"}),
        ("peer.left", {"peer_id": "bob", "reason": "bye é"}),
    ]
    assert told(paul) == [
        ("peer_disconnected", {"peer_id": "bob"}),
        ("peer_disconnected", {"peer_id": "bob", "offer_id": "x"}),
        ("peer_left", {"peer_id": "bob"}),
    ]


def test_a_reason_of_a_plain_session_is_a_member_that_nobody_knows(enter):
    alice, paul = enter("alice"), enter("paul", plain=True)
    told(alice)
    assert ask(paul, "disconnect", peer_id="alice", reason={"any": 1}) == {"peer_id": "alice"}
    assert told(alice) == [("peer.disconnected", {"peer_id": "paul"})]


def test_a_reason_is_text_and_bounded_like_a_candidate(enter):
    bob = enter("bob")
    assert ask(bob, "peer.disconnect", peer_id="bob", reason=5) == wrong_field("reason", "must be a string")
    refusal = ask(bob, "peer.disconnect", peer_id="bob", reason="x" * 4097)
    assert refusal["data"]["limit"] == "SIGNALING_MAX_CANDIDATE_BYTES"


# Errors.


def test_codes_of_errors(enter):
    line = enter()
    for method, params in (
        ("peer.offer", {"to": "x", "sdp": "v"}),
        ("peer.answer", {"to": "x", "sdp": "v"}),
        ("peer.ice_candidate", {"to": "x", "candidate": "c"}),
        ("peer.disconnect", {"peer_id": "x"}),
        ("control.x", {}),
    ):
        assert ask(line, method, **params) == NOT_ANNOUNCED
    enter("bob")
    taken = {"code": 6, "status": "ALREADY_EXISTS", "peer_id": "bob"}
    assert ask(line, "peer.announce", peer_id="bob") == error(-32602, "Peer bob already announced", taken)
    ask(line, "peer.announce", peer_id="alice")
    again = {"code": 6, "status": "ALREADY_EXISTS", "peer_id": "alice"}
    assert ask(line, "peer.announce", peer_id="x") == error(-32602, "Peer alice already announced", again)
    nobody = {"code": 5, "status": "NOT_FOUND", "peer_id": "x"}
    assert ask(line, "peer.offer", to="x", sdp="v") == error(-32000, "Peer not found: x", nobody)
    assert ask(line, "peer.offer", to="bob") == wrong_field("sdp", "is missing")
    assert ask(line, "peer.offer", to="bob", sdp="v", type="answer") == wrong_field("type", "must be offer")
    assert ask(line, "peer.offer", to="bob", sdp="x" * 140_000)["code"] == -32000
    over = {"code": 9, "status": "FAILED_PRECONDITION", "offer_id": "x"}
    offered = ask(line, "peer.offer", to="bob", sdp="v")
    assert offered["success"]
    bob = enter("bert")
    ask(line, "peer.offer", to="bert", sdp="v")
    assert ask(bob, "peer.answer", to="alice", sdp="v", offer_id="x") == error(-32000, "Offer x is over", over)


def test_unknown_dotted_names_are_no_methods(enter):
    line = enter("alice")
    unknown = {"code": 12, "status": "UNIMPLEMENTED"}
    for method in ("peer.foo", "peer.state_change", "control.", "control.é", "control.a b", "control." + "x" * 65):
        assert ask(line, method) == error(-32601, f"Method not found: {method}", unknown)


def test_a_fault_of_ours_tells_nothing(enter, caplog):
    alice = enter("alice")
    enter.hub._rules = {kind: lambda *_: 1 / 0 for kind in enter.hub._rules}
    internal = error(-32603, "Internal error", {"code": 13, "status": "INTERNAL"})
    for method, params in (("peer.offer", {"to": "b", "sdp": "v"}), ("peer.list", {}), ("control.x", {})):
        assert ask(alice, method, **params) == internal
    assert "ZeroDivisionError" in caplog.text
