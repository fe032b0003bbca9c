"""The fast path through JSON-RPC, which does what the general one does; faults of ours on either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import NOW
from json_rpc_messages import error, not_found, request
from json_texts import CAPABILITIES, OBJECTS, OFFER_IDS, TEXTS, VALUES, calls, likely, members, texts_of
from sigbridge_websocket import dialects, methods
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON
from three_sessions import ThreeSessions

# Both paths.

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


ANY_CALLS = st.one_of(
    calls(["offer", "answer"], RELAYS), calls(["ice_candidate"], CANDIDATES), calls(["announce"], ANNOUNCES)
)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), texts_of(ANY_CALLS)), min_size=1, max_size=4))
def test_both_paths_are_one(said):
    fast, general = ThreeSessions(), ThreeSessions()
    for speaker, text in said:
        fast.conversations[speaker].receive(text, NOW)
        general.conversations[speaker]._receive_any(text, NOW)
    assert fast.outcome() == general.outcome()


@given(texts_of(ANY_CALLS), st.integers(0), st.integers(128, 255))
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
