"""The dotted dialect as a client speaks it: what it says is what our server reads, and it reads what servers say."""

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
    Capabilities,
    Claimed,
    Code,
    Control,
    ControlReceived,
    ControlRelayed,
    Disconnect,
    Disconnected,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge.client import common_request
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_websocket.client_dialects import ClientDialect
from sigbridge_websocket.client_dotted import DottedClientDialect
from sigbridge_websocket.dotted import DOTTED

TEXT = st.text(max_size=10)
NAME = st.text(min_size=1, max_size=10)
OBJECT = st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=3)
NAMES = st.dictionaries(TEXT.filter(lambda name: name not in ("audio", "video", "data")), st.just(True), max_size=3)
BOOLEANS = (st.booleans(), st.booleans(), st.booleans())
CAPABILITIES = st.builds(Capabilities, *BOOLEANS, NAMES)
OPTIONAL = st.none() | TEXT
TYPE = st.sampled_from(("", "offer", "answer", "pranswer"))
INDEX = st.none() | st.integers(0, 65535)

REQUESTS = st.one_of(
    st.builds(Announce, TEXT, CAPABILITIES | st.builds(Capabilities, *BOOLEANS, st.just({"n": [1]})), OBJECT, TEXT),
    st.builds(OfferForAnswer, TEXT, TEXT, TYPE),
    st.builds(Answer, TEXT, TEXT, TYPE, TEXT),
    st.builds(IceCandidate, TEXT, TEXT, OPTIONAL, INDEX, OPTIONAL, TEXT),
    st.builds(Disconnect, TEXT, TEXT, TEXT),
    st.builds(ListPeers, OPTIONAL, st.integers(0, 2**32 - 1), TEXT),
    st.just(HealthCheck()),
)
ANSWER = Answer("b", "v=0")
REPLIES = st.one_of(
    st.lists(TEXT, max_size=3).map(lambda ids: (Announce("x"), Announced("x", len(ids), tuple(ids)))),
    st.tuples(st.just(Offer("x", "y")), st.builds(OfferRelayed, TEXT, TEXT)),
    st.tuples(st.just(OfferForAnswer("x", "y")), st.builds(OfferAnswered, TEXT, TEXT, TEXT)),
    st.tuples(st.just(ANSWER), st.builds(Relayed, TEXT)),
    st.tuples(st.just(Disconnect("x")), st.builds(Disconnected, TEXT)),
    st.just((Control("x", {}), ControlRelayed())),
    st.tuples(
        st.just(ListPeers()),
        st.builds(
            PeerList,
            st.lists(st.builds(PeerInfo, TEXT, CAPABILITIES, TEXT, OBJECT, st.integers(0)), max_size=3).map(tuple),
            st.integers(0),
            TEXT,
        ),
    ),
)
EVENTS = st.one_of(
    st.builds(PeerJoined, TEXT, CAPABILITIES, OBJECT),
    st.builds(PeerLeft, TEXT, TEXT),
)
RELAYED = st.one_of(
    st.builds(OfferReceived, TEXT, TEXT, TEXT, NAME),
    st.builds(AnswerReceived, TEXT, TEXT, NAME, TEXT),
    st.builds(IceCandidateReceived, TEXT, TEXT, OPTIONAL, INDEX, OPTIONAL, TEXT),
    st.builds(PeerDisconnected, TEXT, TEXT, TEXT),
    st.builds(
        ControlReceived,
        st.text("aZ0_.-", min_size=1, max_size=64),
        TEXT,
        st.dictionaries(TEXT.filter(lambda name: name != "from"), TEXT, max_size=3),
    ),
)


@pytest.fixture
def dialect():
    return DottedClientDialect()


def said(dialect, request, number=1):
    message = json.loads(dialect.call(request, number))
    assert (message["jsonrpc"], message["id"]) == ("2.0", number)
    return message["method"], message["params"]


@given(REQUESTS, st.none() | NAME)
def test_requests_are_what_the_server_reads(request, sender):
    asked = request if sender is None or isinstance(request, HealthCheck) else Claimed(sender, request)
    method, params = said(DottedClientDialect(), asked)
    assert DOTTED.request(method, params) == asked


def test_a_message_of_control_is_what_the_server_reads(dialect):
    method, params = said(dialect, Control("subscribe", {"topics": [1]}))
    assert (method, DOTTED.request(method, params)) == ("control.subscribe", Control("subscribe", {"topics": [1]}))


@given(REPLIES)
def test_replies_go_round(both):
    request, reply = both
    message = json.loads(DOTTED.response(reply, 1))
    assert DottedClientDialect().reply(request, message["result"]) == reply


@given(EVENTS)
def test_events_go_round(event):
    message = json.loads(DOTTED.event(event))
    assert DottedClientDialect().event(message["method"], message["params"]) == event


@given(RELAYED, TEXT)
def test_relays_go_round(event, to):
    message = json.loads(DOTTED.relay(event, to))
    assert DottedClientDialect().event(message["method"], message["params"]) == event


@pytest.mark.parametrize(
    "refusal",
    [
        errors.not_announced(),
        errors.already_announced("a"),
        errors.peer_not_found("b"),
        errors.no_answer_in_time("b"),
        errors.sender_mismatch("b"),
        errors.offer_over("x"),
        errors.invalid_params("to_peer_id", "is the sender itself"),
        errors.invalid_params("metadata", "must be an object"),
        errors.invalid_params("sdp_mline_index", "must be something else"),
        errors.invalid_params("sdp", "is missing"),
        errors.invalid_params("peer_id", "contains control characters"),
        errors.limit_exceeded("metadata is too large", "SIGNALING_MAX_METADATA_BYTES", 1, "send it smaller"),
        errors.internal_error(),
    ],
    ids=lambda refusal: refusal.message,
)
def test_refusals_are_in_the_cores_words(dialect, refusal):
    message = json.loads(DOTTED.response(refusal, 1))
    assert dialect.refusal(HealthCheck(), message["error"]) == refusal


# Older servers.


def test_members_that_an_older_server_leaves_out_are_empty(dialect):
    assert dialect.reply(Offer("b", "v=0"), {"success": True, "to_peer_id": "b"}) == OfferRelayed("", "b")
    assert dialect.reply(ANSWER, {"success": True}) == Relayed("b")
    announced = {"success": True, "peer_id": "a", "peers_count": 3, "other_peers": ["b", "c"]}
    assert dialect.reply(Announce("a"), announced) == Announced("a", 2, ("b", "c"))
    assert dialect.reply(Announce("a"), {"other_peers": ["b"]}) == Announced("a", 1, ("b",))
    answer = {"type": "answer", "sdp": "v=0", "from": None}
    assert dialect.reply(Offer("b", "v=0"), answer) == OfferAnswered("v=0", "b", "a")
    listed = {"peers": [{"peer_id": "b", "capabilities": ["audio"], "metadata": None, "connected_at": 7}], "count": 1}
    one = PeerInfo("b", Capabilities(audio=True), "unspecified", {}, 7)
    assert dialect.reply(ListPeers(), listed) == PeerList((one,), 1)
    for method, params, event in (
        ("peer.joined", {"peer_id": "b", "metadata": None}, PeerJoined("b", NO_CAPABILITIES, {})),
        ("peer.left", {"peer_id": "b", "reason": None}, PeerLeft("b")),
        ("peer.offer", {"from": "b", "to": "a", "sdp": "v=0"}, OfferReceived("b", "", "v=0", "offer")),
        ("peer.answer", {"from": "b", "sdp": "v=0"}, AnswerReceived("b", "v=0", "answer")),
        (
            "peer.ice_candidate",
            {"from": "b", "candidate": None, "sdp_mid": None, "sdp_m_line_index": 1},
            IceCandidateReceived("b", "", None, 1),
        ),
        ("control.event", {}, ControlReceived("event", "", {})),
    ):
        assert dialect.event(method, params) == event


@pytest.mark.parametrize("method", ["peer.state_change", "peer_joined", "offer", "peer.", "joined", "weather", ""])
def test_an_event_that_is_not_known_is_none(dialect, method):
    assert dialect.event(method, {"peer_id": "b"}) is None


@pytest.mark.parametrize(
    ("method", "params"),
    [("peer.left", {}), ("peer.offer", {"from": "b"}), ("control.event", []), ("peer.left", None), ("peer.left", [])],
)
def test_an_event_that_is_none_is_refused(dialect, method, params):
    with pytest.raises(msgspec.ValidationError):
        dialect.event(method, params)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-32600, Code.FAILED_PRECONDITION),
        (-32602, Code.INVALID_ARGUMENT),
        (-32000, Code.NOT_FOUND),
        (-32005, Code.RESOURCE_EXHAUSTED),
        (-32006, Code.DEADLINE_EXCEEDED),
        (-32002, Code.INVALID_ARGUMENT),
        (-32603, Code.INTERNAL),
    ],
)
def test_what_an_older_servers_codes_mean(dialect, code, expected):
    refusal = dialect.refusal(ANSWER, {"code": code, "message": "no"})
    assert refusal == SignalingError(expected, "no")


def test_a_field_that_an_older_server_names_in_its_message_alone_has_the_cores_name(dialect):
    refusal = dialect.refusal(ANSWER, {"code": -32602, "message": "Invalid params: to is missing"})
    assert refusal == SignalingError(Code.INVALID_ARGUMENT, "Invalid params: to_peer_id is missing")


# From whom.


ANSWER_SAID = ("peer.answer", {"to": "b", "sdp": "v=0"})
SIGNED_ANSWER_SAID = ("peer.answer", {"to": "b", "sdp": "v=0", "from": "a"})


def reply(dialect, request, number):
    """Lets the reply to a request come, and the program wait for it."""
    dialect.responded(number, awaited=True)
    dialect.reply(request, {})


def test_requests_say_their_sender_where_it_is_certain(dialect):
    assert said(dialect, ANSWER) == ANSWER_SAID, "it is nobody yet"
    said(dialect, Announce("a"), 2)
    assert said(dialect, ANSWER) == ANSWER_SAID, "the announce may be refused"
    reply(dialect, Announce("a"), 2)
    assert said(dialect, ANSWER) == SIGNED_ANSWER_SAID
    assert "from" not in said(dialect, ListPeers())[1]
    said(dialect, Announce("c"), 3)
    assert said(dialect, ANSWER) == ANSWER_SAID
    dialect.responded(3, awaited=True)
    dialect.refusal(Announce("c"), {"code": -32602, "message": "Peer a already announced"})
    assert said(dialect, ANSWER) == SIGNED_ANSWER_SAID
    assert said(dialect, Disconnect("b"), 4)[1]["from"] == "a"
    assert said(dialect, ANSWER) == ANSWER_SAID, "it may have left"
    reply(dialect, Disconnect("b"), 4)
    assert said(dialect, ANSWER) == SIGNED_ANSWER_SAID
    said(dialect, Disconnect("a"), 5)
    reply(dialect, Disconnect("a"), 5)
    assert said(dialect, ANSWER) == ANSWER_SAID
    assert said(dialect, Claimed("c", ANSWER)) == ("peer.answer", {"to": "b", "sdp": "v=0", "from": "c"})


@pytest.mark.parametrize(
    ("given_up", "after"),
    [(Disconnect("b"), SIGNED_ANSWER_SAID), (Disconnect("a"), ANSWER_SAID), (Announce("c"), ANSWER_SAID)],
    ids=["a hang-up", "a leaving", "an announce"],
)
def test_a_response_that_nobody_waits_for_any_more_counts_as_well(dialect, given_up, after):
    said(dialect, Announce("a"), 1)
    reply(dialect, Announce("a"), 1)
    said(dialect, given_up, 2)
    assert said(dialect, ANSWER) == ANSWER_SAID
    dialect.responded(2, awaited=False)
    assert said(dialect, ANSWER) == after
    said(dialect, Announce("a"), 3)
    reply(dialect, Announce("a"), 3)
    assert said(dialect, ANSWER) == SIGNED_ANSWER_SAID


# What other dialects and protocols have no words for.


@pytest.mark.parametrize("request_", [Control("x", {}), Claimed("a", ANSWER)], ids=["control", "claimed"])
def test_the_plain_dialect_has_no_such_request(request_):
    with pytest.raises(SignalingError, match="is one of the dotted dialect"):
        ClientDialect().call(request_, 1)


def test_elsewhere_an_offer_that_wants_its_answer_is_an_offer():
    assert common_request(OfferForAnswer("b", "v=0", "offer")) == Offer("b", "v=0", "offer")
    assert ClientDialect().reply(OfferForAnswer("b", "v=0"), {"offer_id": "x"}) == OfferRelayed("x", "b")
