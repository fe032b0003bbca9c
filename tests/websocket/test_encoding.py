"""Frames for outboxes of WebSocket: events, their numbers and responses, as parsers of frames and JSON read them."""

import json

import pytest
from msgspec import UNSET
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from sigbridge import (
    AnswerReceived,
    Capabilities,
    ControlReceived,
    HealthCheck,
    IceCandidateReceived,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Relayed,
    errors,
)
from sigbridge_websocket.encoding import BARE_DOTTED, BARE_JSON, FRAMED_DOTTED, FRAMED_JSON, FramedJson, text_frame
from sigbridge_websocket.error_codes import INVALID_REQUEST, PARSE_ERROR, NoRequest

ENCODINGS = pytest.mark.parametrize("encoding", [BARE_JSON, FRAMED_JSON], ids=["bare", "framed"])
ALL_ENCODINGS = pytest.mark.parametrize(
    "encoding",
    [BARE_JSON, FRAMED_JSON, BARE_DOTTED, FRAMED_DOTTED],
    ids=["bare", "framed", "bare dotted", "framed dotted"],
)
NUMBERS = (0, 1, 9, 10, 99, 100, 127, 128, 65535, 65536, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**64 - 1)
EVENTS = {
    "peer_joined": lambda text: PeerJoined("é", Capabilities(audio=True, extensions={"x": [1, {}]}), {"k": {"": text}}),
    "peer_left": PeerLeft,
    "offer": lambda text: OfferReceived("a", "a_b_1", text, "offer"),
    "answer": lambda text: AnswerReceived("a", text, "pranswer"),
    "ice_candidate": lambda text: IceCandidateReceived("a", text, "0", 0, ""),
    "peer_disconnected": PeerDisconnected,
}
BORDERS = (126, 65536)
"""Lengths of a text from which on its frame has a longer head (RFC 6455, section 5.2)."""
LARGE_NUMBERS = (7, 65536, 2**64 - 1)
"""Those of large texts: few, since reading these takes long."""
SIZES = sorted(
    border + beside - grown
    for border in BORDERS
    for grown in (0, *(len(f',"seq":{number}') for number in LARGE_NUMBERS))
    for beside in (-1, 0, 1)
)
"""Sizes of texts that are at a border, or one beside it, with a number or without."""
TEXTS = ("", "}}", '"}},', "\\", "v=0\r\n\0é👋\u2028", '{"seq":5}')


def text_of(encoding, frame):
    """The text of a message, read from its frame by the library where it is in one."""
    if not isinstance(encoding, FramedJson):
        return frame
    client = ClientProtocol(parse_uri("ws://server/"), state=State.OPEN, max_size=None)
    client.receive_data(frame)
    (one,) = client.events_received()
    assert (one.opcode, one.fin, one.rsv1) == (Opcode.TEXT, True, False)
    return bytes(one.data)


def read(text):
    """A JSON text, in which no object has two members of one name."""

    def members(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    return json.loads(text, object_pairs_hook=members)


def encoded(encoding, event):
    """The event as it goes into the outbox of a peer."""
    is_of_a_room = isinstance(event, PeerJoined | PeerLeft)
    return encoding.encode_event(event) if is_of_a_room else encoding.encode_relay(event, "b")


@ALL_ENCODINGS
@pytest.mark.parametrize("kind", EVENTS)
def test_a_number_is_read_and_nothing_else_is_changed(encoding, kind):
    shortest = len(text_of(encoding, encoded(encoding, EVENTS[kind](""))))
    for text in (*TEXTS, *("x" * (size - shortest) for size in SIZES if size >= shortest)):
        event = EVENTS[kind](text)
        assert event.kind == kind
        frame = encoded(encoding, event)
        plain = read(text_of(encoding, frame))
        for number in NUMBERS if len(text) < 20 else LARGE_NUMBERS:
            numbered = read(text_of(encoding, encoding.number_event(frame, number)))
            assert list(numbered["params"])[-1] == "seq"
            assert type(numbered["params"]["seq"]) is int
            assert numbered["params"].pop("seq") == number
            assert json.dumps(numbered) == json.dumps(plain), "in the same order, too"


@ALL_ENCODINGS
def test_a_relay_that_is_encoded_with_its_number_is_as_one_that_gets_it_later(encoding):
    for event in (OfferReceived("a", "i", "s" * 200, "offer"), PeerDisconnected("a", "i", "r")):
        for number in NUMBERS:
            later = encoding.number_event(encoding.encode_relay(event, "b"), number)
            assert encoding.encode_numbered_relay(event, "b", number) == later


@ENCODINGS
def test_a_numbered_event_is_one_text(encoding):
    frame = encoding.encode_event(IceCandidateReceived("a", "c"))
    assert text_of(encoding, frame) == (
        b'{"jsonrpc":"2.0","method":"ice_candidate","params":{"from_peer_id":"a","candidate":"c"}}'
    )
    assert text_of(encoding, encoding.number_event(frame, 12)) == (
        b'{"jsonrpc":"2.0","method":"ice_candidate","params":{"from_peer_id":"a","candidate":"c","seq":12}}'
    )


@pytest.mark.parametrize("encoding", [BARE_DOTTED, FRAMED_DOTTED], ids=["bare", "framed"])
def test_dotted_events(encoding):
    def text(event):
        return text_of(encoding, encoded(encoding, event))

    head = b'{"jsonrpc":"2.0","method":"%b","params":%b}'
    for event, method, params in (
        (PeerLeft("a"), b"peer.left", b'{"peer_id":"a"}'),
        (PeerLeft("a", "bye"), b"peer.left", b'{"peer_id":"a","reason":"bye"}'),
        (PeerJoined("a", Capabilities(data=True), {}), b"peer.joined", b'{"peer_id":"a","capabilities":["data"],"metadata":{}}'),
        (OfferReceived("a", "i", "s", "offer"), b"peer.offer", b'{"from":"a","to":"b","offer_id":"i","sdp":"s","type":"offer"}'),
        (AnswerReceived("a", "s", "answer"), b"peer.answer", b'{"from":"a","to":"b","sdp":"s","type":"answer"}'),
        (IceCandidateReceived("a", "c", None, 0), b"peer.ice_candidate", b'{"from":"a","to":"b","candidate":"c","sdp_m_line_index":0}'),
        (PeerDisconnected("a"), b"peer.disconnected", b'{"peer_id":"a"}'),
        (PeerDisconnected("a", "i", "r"), b"peer.disconnected", b'{"peer_id":"a","offer_id":"i","reason":"r"}'),
        (ControlReceived("x.y", "a", {"n": [1], "from": "z"}), b"control.x.y", b'{"n":[1],"from":"a"}'),
    ):  # fmt: skip
        assert text(event) == head % (method, params)
    with pytest.raises(ValueError, match="offer is for one peer"):
        encoding.encode_event(OfferReceived("a", "i", "s", "offer"))


@ALL_ENCODINGS
def test_an_event_may_be_numbered_again_and_again(encoding):
    frame = encoding.encode_event(PeerLeft("a"))
    before = bytes(frame)
    texts = [text_of(encoding, encoding.number_event(frame, number)) for number in (1, 1000, 2)]
    assert [json.loads(text)["params"] for text in texts] == [
        {"peer_id": "a", "seq": number} for number in (1, 1000, 2)
    ]
    assert frame == before


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (1, b"\x81\x01"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (127, b"\x81\x7e\x00\x7f"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_head_of_a_frame(size, head):
    assert text_frame(b"x" * size) == head + b"x" * size
    assert FRAMED_JSON.frame(b"x" * size) == head + b"x" * size
    assert BARE_JSON.frame(b"x" * size) == b"x" * size


@ALL_ENCODINGS
@pytest.mark.parametrize("outcome", [Relayed("b"), errors.peer_not_found("b"), NoRequest(PARSE_ERROR, "Parse error")])
def test_a_notification_gets_no_response(encoding, outcome):
    assert encoding.encode_response(outcome, UNSET) is None
    assert encoding.encode_response(outcome, None) is not None


@ENCODINGS
def test_responses(encoding):
    def response(outcome, request_id):
        return read(text_of(encoding, encoding.encode_response(outcome, request_id)))

    assert response(Relayed("b"), 7) == {"jsonrpc": "2.0", "result": {"to_peer_id": "b"}, "id": 7}
    assert response(errors.peer_not_found("b"), "x") == {
        "jsonrpc": "2.0",
        "error": {
            "code": -32000,
            "message": "Peer not found: b",
            "data": {"code": 5, "status": "NOT_FOUND", "peer_id": "b"},
        },
        "id": "x",
    }


def test_what_is_no_request_has_a_code_of_its_own_and_no_data():
    for code, text in ((PARSE_ERROR, "Parse error"), (INVALID_REQUEST, "Invalid Request: not an object")):
        response = read(BARE_JSON.encode_response(NoRequest(code, text), None))
        assert response == {"jsonrpc": "2.0", "error": {"code": code, "message": text}, "id": None}


@pytest.mark.fast_paths
@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"},"id":1}', True),
        (b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"}}', True),
        (b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"b"},"traceparent":"t","id":"1"}', True),
        (b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"b","capabilities":{"audio":1}},"id":1}', False),
        (b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x","more":1},"id":1}', False),
        (b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"},"id":1.5}', False),
        (b'{"jsonrpc":"2.0","method":"list_peers","params":{},"id":1}', False),
        (b'[{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"},"id":1}]', False),
        (b"\xff", False),
        (b"[" * 100_000, False),
        (b"", False),
    ],
)
def test_the_fast_path_takes_what_nearly_all_write(text, taken):
    assert (BARE_JSON.dialect.fast_call(text) is not None) is taken


@pytest.mark.fast_paths
def test_a_call_of_the_fast_path_keeps_its_id_and_its_trace():
    offer = b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"}%b}'
    request, request_id, traceparent = BARE_JSON.dialect.fast_call(offer % b',"id":"7","traceparent":"t"')
    assert (request.to_peer_id, request.sdp, request_id, traceparent) == ("b", "x", "7", "t")
    _, request_id, traceparent = BARE_JSON.dialect.fast_call(offer % b"")
    assert (request_id, traceparent) == (UNSET, "")
    _, request_id, _ = BARE_JSON.dialect.fast_call(offer % b',"id":null')
    assert request_id is None


def test_every_method_has_its_kind():
    assert BARE_JSON.dialect.kinds == {
        "announce": "announce",
        "offer": "offer",
        "answer": "answer",
        "ice_candidate": "ice_candidate",
        "disconnect": "disconnect",
        "list_peers": "list_peers",
        "authenticate": "authenticate",
        "get_ice_servers": "get_ice_servers",
        "health_check": "health_check",
        "rpc.discover": "discover",
    }
    assert BARE_JSON.dialect.request("health_check", {}) == HealthCheck()
