"""Every message of the core survives its way through JSON, in both directions."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Authenticate,
    Authenticated,
    Capabilities,
    Code,
    Disconnect,
    Disconnected,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    SignalingError,
)
from sigbridge_websocket import shapes, translate
from sigbridge_websocket.client_dialects import ClientDialect
from sigbridge_websocket.dialects import PLAIN

CLIENT = ClientDialect()

TEXT = st.text(max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
EXTENSIONS = st.dictionaries(TEXT.filter(lambda name: name not in ("audio", "video", "data")), JSON, max_size=3)
CAPABILITIES = st.builds(Capabilities, st.booleans(), st.booleans(), st.booleans(), EXTENSIONS)
INDEX = st.none() | st.integers(0, 2**32 - 1)
OPTIONAL = st.none() | TEXT

REQUESTS = st.one_of(
    st.builds(Announce, TEXT, CAPABILITIES, OBJECT, TEXT),
    st.builds(Offer, TEXT, TEXT, TEXT),
    st.builds(Answer, TEXT, TEXT, TEXT, TEXT),
    st.builds(IceCandidate, TEXT, TEXT, OPTIONAL, INDEX, OPTIONAL, TEXT),
    st.builds(Disconnect, TEXT, TEXT),
    st.builds(ListPeers, OPTIONAL, st.integers(0, 2**32 - 1), TEXT),
    st.builds(Authenticate, TEXT),
    st.just(HealthCheck()),
)
REPLIES = st.one_of(
    st.tuples(st.just(Announce("x")), st.builds(Announced, TEXT, st.integers(0), st.lists(TEXT).map(tuple))),
    st.tuples(st.just(Offer("x", "y")), st.builds(OfferRelayed, TEXT, TEXT)),
    st.tuples(st.just(Answer("x", "y")), st.builds(Relayed, TEXT)),
    st.tuples(st.just(IceCandidate("x")), st.builds(Relayed, TEXT)),
    st.tuples(st.just(Disconnect("x")), st.builds(Disconnected, TEXT)),
    st.tuples(
        st.just(ListPeers()),
        st.builds(
            PeerList,
            st.lists(st.builds(PeerInfo, TEXT, CAPABILITIES, TEXT, OBJECT, st.integers(0)), max_size=3).map(tuple),
            st.integers(0),
            TEXT,
        ),
    ),
    st.tuples(st.just(Authenticate("t")), st.builds(Authenticated, TEXT, st.none() | st.integers(0))),
    st.tuples(st.just(HealthCheck()), st.builds(Health, TEXT, st.integers(0), st.integers(0), OBJECT)),
)
EVENTS = st.one_of(
    st.builds(PeerJoined, TEXT, CAPABILITIES, OBJECT),
    st.builds(PeerLeft, TEXT),
    st.builds(OfferReceived, TEXT, TEXT, TEXT, TEXT),
    st.builds(AnswerReceived, TEXT, TEXT, TEXT, TEXT),
    st.builds(IceCandidateReceived, TEXT, TEXT, OPTIONAL, INDEX, OPTIONAL, TEXT),
    st.builds(PeerDisconnected, TEXT, TEXT),
)


@given(REQUESTS, st.integers(0))
def test_requests_go_round(request, number):
    message = json.loads(CLIENT.call(request, number))
    assert (message["jsonrpc"], message["id"]) == ("2.0", number)
    assert translate.request_from_params(message["method"], message.get("params", {})) == request


OF_A_CALL = [
    (Answer("b", "v=0"), AnswerReceived("a", "v=0", "answer")),
    (IceCandidate("b", "c"), IceCandidateReceived("a", "c")),
    (Disconnect("b"), PeerDisconnected("a")),
]


@pytest.mark.parametrize(("request_", "event"), OF_A_CALL, ids=lambda one: one.kind)
def test_an_offer_id_that_is_empty_is_not_written(request_, event):
    assert b"offer_id" not in CLIENT.call(request_, 1)
    assert b"offer_id" not in PLAIN.event(event)
    named, told = msgspec.structs.replace(request_, offer_id="x"), msgspec.structs.replace(event, offer_id="x")
    assert json.loads(CLIENT.call(named, 1))["params"]["offer_id"] == "x"
    assert json.loads(PLAIN.event(told))["params"]["offer_id"] == "x"


@given(REPLIES)
def test_replies_go_round(both):
    request, reply = both
    message = json.loads(PLAIN.response(reply, 1))
    assert set(message) == {"jsonrpc", "result", "id"}
    assert CLIENT.reply(request, message["result"]) == reply


@given(TEXT, st.integers() | TEXT | st.none() | st.booleans())
def test_responses_are_written_as_msgspec_writes_them(peer_id, number):
    whole = msgspec.json.encode({"jsonrpc": "2.0", "result": {"to_peer_id": peer_id}, "id": number})
    assert PLAIN.response(Relayed(peer_id), number) == whole


@given(EVENTS)
def test_events_go_round(event):
    message = json.loads(PLAIN.event(event))
    assert set(message) == {"jsonrpc", "method", "params"}
    assert None not in [value for name, value in message["params"].items() if name not in ("metadata", "capabilities")]
    assert CLIENT.event(message["method"], message["params"]) == event


@given(st.sampled_from(Code).filter(bool), TEXT, st.dictionaries(st.sampled_from(["peer_id", "field", "limit"]), TEXT))
def test_errors_go_round(code, text, extra):
    refusal = SignalingError(code, text, **extra)
    message = json.loads(PLAIN.response(refusal, "x"))
    assert set(message) == {"jsonrpc", "error", "id"}
    assert CLIENT.refusal(HealthCheck(), message["error"]) == refusal


def test_an_event_that_is_not_known_is_none():
    assert CLIENT.event("peer.joined", {}) is None


def test_an_error_without_data_has_a_code_all_the_same():
    assert CLIENT.refusal(HealthCheck(), {"code": -32700, "message": "Parse error"}).code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "sdp", ["v=0\r\no=- 1\r\n", "v=0\r\n\n", "😀", "a\u2028b\u2029", "nul\0", '"\\/\b\f', "\x7f\x80\xa0"]
)
def test_sdp_is_opaque(sdp):
    for text in (json.dumps(sdp).encode(), msgspec.json.encode(sdp)):
        call = shapes.decode_call(
            b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":%b},"id":1}' % text
        )
        assert translate.request_from_call(call) == Offer("b", sdp)
    event = PLAIN.event(OfferReceived("a", "i", sdp, "offer"))
    assert json.loads(event)["params"]["sdp"] == sdp


def test_answers_encode_no_line_break_that_ends_a_log_line():
    assert b"\n" not in PLAIN.event(PeerLeft("a\nb\r"))


def test_false_is_not_zero_in_capabilities():
    for value in (0, 1, "true", None, [], {}):
        with pytest.raises(SignalingError, match="capabilities has video"):
            translate.capabilities_from_object({"video": value})


@pytest.mark.parametrize(
    "params",
    [
        b'{"to_peer_id":"b","sdp":"x","sdp_mid":"0"}',
        b'{"to_peer_id":"b","sdp":"x","from_peer_id":"c"}',
        b"[]",
        b"null",
        b'{"to_peer_id":null,"sdp":"x"}',
        b'{"to_peer_id":"b","sdp":"x","type":null}',
    ],
)
def test_the_fast_path_leaves_the_unusual_alone(params):
    with pytest.raises(msgspec.ValidationError):
        shapes.decode_call(b'{"jsonrpc":"2.0","method":"offer","params":%b,"id":1}' % params)
