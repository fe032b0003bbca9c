"""Both paths through the dotted dialect are one: what the fast one takes, the general one answers alike."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from clock import NOW
from dotted_lines import ask, request
from json_texts import CAPABILITIES, OBJECTS, OFFER_IDS, TEXTS, VALUES, Members, calls, likely, members, texts_of
from sigbridge import Announce, Answer, Capabilities, IceCandidate
from sigbridge.messages import Claimed, OfferForAnswer
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.dotted import DOTTED
from sigbridge_websocket.encoding import BARE_DOTTED
from three_sessions import SETTINGS, ThreeSessions

BOB_ANSWERS_IN_RESULTS = dataclasses.replace(SETTINGS, answer_in_result=("bob",))
OPTIONAL = likely(st.one_of(st.none(), TEXTS))
INDEX = likely(st.one_of(st.none(), st.integers(0, 5), st.sampled_from([65535, 65536])))
PEERS = likely(st.sampled_from(["bob", "bob", "alice", None]))
RELAYS = members(
    "to",
    "sdp",
    "from",
    **{"from": likely(st.sampled_from(["alice", "bob", None]))},
    to=PEERS,
    to_peer_id=PEERS,
    sdp=likely(TEXTS),
    type=likely(st.sampled_from(["offer", "answer", "pranswer", "", None])),
    offer_id=OFFER_IDS,
    more=VALUES,
)
CANDIDATES = members(
    "to",
    "candidate",
    "sdp_m_line_index",
    **{"from": likely(st.sampled_from(["alice", "bob", None]))},
    to=PEERS,
    to_peer_id=PEERS,
    candidate=OPTIONAL,
    sdp_mid=OPTIONAL,
    sdpMid=OPTIONAL,
    sdp_m_line_index=INDEX,
    sdp_mline_index=INDEX,
    sdpMLineIndex=INDEX,
    username_fragment=OPTIONAL,
    usernameFragment=OPTIONAL,
    offer_id=OFFER_IDS,
)
NAMES = likely(st.lists(likely(st.sampled_from(["audio", "data", "x", "y"])), max_size=4))
USER_DATA = likely(st.one_of(st.none(), OBJECTS))
ANNOUNCES = members(
    "peer_id",
    "capabilities",
    peer_id=likely(TEXTS),
    capabilities=likely(st.one_of(st.none(), CAPABILITIES, NAMES)),
    user_data=USER_DATA,
    metadata=USER_DATA,
    room=likely(st.one_of(st.none(), st.sampled_from(["", "lobby"]))),
)
OTHERS = members(peer_id=PEERS, reason=OPTIONAL, to=PEERS, page_size=INDEX)
ANY_CALLS = st.one_of(
    calls(["peer.offer", "peer.answer", "offer"], RELAYS),
    calls(["peer.ice_candidate", "ice_candidate"], CANDIDATES),
    calls(["peer.announce", "announce"], ANNOUNCES),
    calls(["peer.disconnect", "peer.list", "control.event", "control.x", "server.info", "peer.foo"], OTHERS),
).flatmap(
    # One deployed client omits `jsonrpc`.
    lambda call: st.sampled_from([call, call, Members(pair for pair in call if pair[0] != "jsonrpc")])
)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), texts_of(ANY_CALLS)), min_size=1, max_size=4))
def test_both_paths_are_one(said):
    fast, general = (ThreeSessions(BOB_ANSWERS_IN_RESULTS, encoding=BARE_DOTTED) for _ in range(2))
    for speaker, text in said:
        fast.conversations[speaker].receive(text, NOW)
        general.conversations[speaker]._receive_any(text, NOW)
    assert fast.outcome() == general.outcome()


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), texts_of(ANY_CALLS)), min_size=1, max_size=4))
def test_a_session_that_changes_its_dialect_has_one_path_as_well(said):
    fast, general = ThreeSessions(), ThreeSessions()
    for speaker, text in said:
        fast.conversations[speaker].receive(text, NOW)
        general.conversations[speaker]._receive_any(text, NOW)
    assert fast.outcome() == general.outcome()


@given(texts_of(ANY_CALLS), st.integers(0), st.integers(128, 255))
def test_the_fast_path_takes_nothing_that_is_no_utf8(text, at, byte):
    text = text[: at % len(text)] + bytes([byte]) + text[at % len(text) :]
    if DOTTED.fast_call(text) is not None:
        text.decode()


OFFER = b'{"jsonrpc":"2.0","method":"peer.offer","params":{%b},"id":1}'


@pytest.mark.fast_paths
@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (OFFER % b'"to":"b","sdp":"x"', True),
        (OFFER % b'"to":"b","sdp":"x","from":"a","type":"offer"', True),
        (OFFER % b'"to":"b","sdp":"x","from":null,"type":null', True),
        (b'{"method":"peer.offer","params":{"to":"b","sdp":"x"}}', True),
        (b'{"method":"peer.announce","params":{"peer_id":"b","capabilities":["audio"],"user_data":null},"id":1}', True),
        (b'{"method":"peer.announce","params":{"peer_id":"b","capabilities":{"audio":true}},"id":"x"}', True),
        (b'{"method":"peer.ice_candidate","params":{"to":"b","candidate":null,"sdp_m_line_index":65535},"id":"x"}', True),
        (b'{"method":"peer.ice_candidate","params":{"to":"b","candidate":"c","sdp_m_line_index":65536},"id":"x"}', False),
        (b'{"method":"peer.ice_candidate","params":{"to":"b","candidate":"c","sdpMid":"0"},"id":"x"}', False),
        (OFFER % b'"to_peer_id":"b","sdp":"x"', False),
        (OFFER % b'"to":null,"sdp":"x"', False),
        (OFFER % b'"to":"b","sdp":"x","more":1', False),
        (b'{"jsonrpc":"1.0","method":"peer.offer","params":{"to":"b","sdp":"x"},"id":1}', False),
        (b'{"jsonrpc":null,"method":"peer.offer","params":{"to":"b","sdp":"x"},"id":1}', False),
        (b'{"method":"peer.announce","params":{"peer_id":"b","capabilities":{"audio":1}},"id":1}', False),
        (b'{"method":"peer.announce","params":{"peer_id":"b","capabilities":[1]},"id":1}', False),
        (b'{"method":"offer","params":{"to":"b","sdp":"x"},"id":1}', False),
        (b'{"method":"peer.list","params":{},"id":1}', False),
        (b"[" + OFFER % b'"to":"b","sdp":"x"' + b"]", False),
        (b"[" * 100_000, False),
        (b"\xff", False),
        (b"", False),
    ],
)  # fmt: skip
def test_the_fast_path_takes_what_nearly_all_write(text, taken):
    assert (DOTTED.fast_call(text) is not None) is taken


@pytest.mark.fast_paths
@pytest.mark.parametrize(
    ("method", "params", "asked_for"),
    [
        ("peer.offer", b'{"to":"b","sdp":"x"}', OfferForAnswer("b", "x")),
        ("peer.answer", b'{"to":"b","sdp":"x","type":"pranswer","offer_id":"i"}', Answer("b", "x", "pranswer", "i")),
        ("peer.ice_candidate", b'{"to":"b","from":"a"}', Claimed("a", IceCandidate("b"))),
        ("peer.ice_candidate", b'{"to":"b","candidate":"c","sdp_mid":"0","sdp_m_line_index":1,"username_fragment":"u"}',
         IceCandidate("b", "c", "0", 1, "u")),
        ("peer.announce", b'{"peer_id":"b","capabilities":["x","video"],"user_data":{"a":1},"room":"r"}',
         Announce("b", Capabilities(video=True, extensions={"x": True}), {"a": 1}, "r")),
    ],
)  # fmt: skip
def test_a_call_of_the_fast_path_is_the_request_of_the_core(method, params, asked_for):
    text = b'{"jsonrpc":"2.0","method":"%b","params":%b,"id":"7","traceparent":"t"}' % (method.encode(), params)
    assert DOTTED.fast_call(text) == (asked_for, "7", "t")
    _, request_id, _ = DOTTED.fast_call(text.replace(b',"id":"7"', b""))
    assert request_id is UNSET


@pytest.mark.fast_paths
def test_an_offer_without_an_id_wants_no_reply():
    asked_for, _, _ = DOTTED.fast_call(b'{"method":"peer.offer","params":{"to":"b","sdp":"x"}}')
    assert asked_for == OfferForAnswer("b", "x", wants_reply=False)
    asked_for, _, _ = DOTTED.fast_call(b'{"method":"peer.offer","params":{"to":"b","sdp":"x"},"id":null}')
    assert asked_for == OfferForAnswer("b", "x")


@pytest.mark.fast_paths
def test_the_usual_takes_the_fast_path(enter, monkeypatch):
    enter("bob")
    alice, carol = enter("alice"), enter()
    ask(carol, "peer.list")

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(Conversation, "_receive_any", never)
    sdp, of_a_call = {"from": "alice", "to": "bob", "sdp": "v=0"}, {"offer_id": "bob_alice_1"}
    candidate = {"to": "bob", "candidate": "c", "sdp_mid": "0", "sdp_m_line_index": 0, "username_fragment": "u"}
    announce = {"peer_id": "carol", "capabilities": ["audio", "x"], "user_data": {"a": [1]}, "room": "lobby"}
    assert ask(carol, "peer.announce", **announce)["success"]
    for method, params in (
        ("peer.offer", sdp),
        ("peer.answer", {**sdp, "type": "pranswer"}),
        ("peer.ice_candidate", candidate),
        ("peer.answer", {**sdp, **of_a_call}),
        ("peer.ice_candidate", {**candidate, **of_a_call, "candidate": None}),
    ):
        assert ask(alice, method, **params)["success"]
    assert alice.say(request("peer.ice_candidate", candidate)) == []
