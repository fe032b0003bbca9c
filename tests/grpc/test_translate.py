"""Messages survive the way to protobuf and back, and what is no message is refused."""

import json
from typing import Any

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
    Claimed,
    Code,
    Control,
    Disconnect,
    Disconnected,
    Event,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    Reply,
    Request,
    SignalingError,
    errors,
    results,
)
from sigbridge_grpc import translate
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TYPE = st.sampled_from(("offer", "answer", "pranswer"))
UINT32 = st.integers(0, 2**32 - 1)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CAPABILITIES = st.builds(Capabilities, st.booleans(), st.booleans(), st.booleans(), st.dictionaries(TEXT, JSON))
METADATA = st.dictionaries(TEXT, TEXT, max_size=4)
CANDIDATE = (TEXT, TEXT, st.none() | TEXT, st.none() | UINT32, st.none() | TEXT, TEXT)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.builds(Announce, TEXT, CAPABILITIES, METADATA, TEXT),
    st.builds(Offer, TEXT, TEXT, TEXT),
    st.builds(Answer, TEXT, TEXT, TEXT, TEXT),
    st.builds(IceCandidate, *CANDIDATE),
    st.builds(Disconnect, TEXT, TEXT),
    st.builds(ListPeers, st.none() | TEXT, UINT32, TEXT),
    st.builds(Authenticate, TEXT),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(PeerJoined, TEXT, CAPABILITIES, METADATA),
    st.builds(PeerLeft, TEXT),
    st.builds(OfferReceived, TEXT, TEXT, TEXT, TYPE),
    st.builds(AnswerReceived, TEXT, TEXT, TYPE, TEXT),
    st.builds(IceCandidateReceived, *CANDIDATE),
    st.builds(PeerDisconnected, TEXT, TEXT),
)
PEER_INFO = st.builds(PeerInfo, TEXT, CAPABILITIES, st.just("available"), METADATA, st.integers(0, 2**63))
PAGES = st.builds(PeerList, st.lists(PEER_INFO, max_size=3).map(tuple), st.integers(3, 2**32 - 1), TEXT)
RESPONDING: st.SearchStrategy[tuple[Request, Reply]] = st.one_of(
    st.tuples(st.just(Announce("a")), st.builds(Announced, TEXT, UINT32, st.lists(TEXT).map(tuple))),
    st.tuples(st.just(Offer("a", "s")), st.builds(OfferRelayed, TEXT, TEXT)),
    st.tuples(st.just(Answer("a", "s")), st.builds(Relayed, TEXT)),
    st.tuples(st.just(IceCandidate("a")), st.builds(Relayed, TEXT)),
    st.tuples(st.just(Disconnect("a")), st.builds(Disconnected, TEXT)),
    st.tuples(st.just(ListPeers()), PAGES),
    st.tuples(st.just(Authenticate("t")), st.builds(Authenticated, TEXT, st.none() | st.integers(0, 2**53))),
)
REFUSALS = st.builds(
    lambda code, message, extra: SignalingError(code, message, **extra),
    st.sampled_from(Code).filter(bool),
    TEXT,
    st.dictionaries(st.sampled_from(["field", "limit", "value", "peer_id"]), TEXT | UINT32),
)


@given(REQUESTS, TEXT)
def test_requests_come_back_as_they_were(request_: Request, request_id: str) -> None:
    wire = translate.request_to_proto(request_, request_id).SerializeToString()
    message = pb.SignalingRequest.FromString(wire)
    assert message.request_id == request_id
    assert translate.request_from_proto(message) == request_


@given(EVENTS)
def test_events_come_back_as_they_were(event: Event) -> None:
    message = pb.SignalingResponse.FromString(translate.event_to_proto(event).SerializeToString())
    assert message.request_id == ""
    assert translate.event_from_proto(message.notification) == event


@given(RESPONDING, TEXT)
def test_replies_come_back_as_they_were(answered: tuple[Request, Reply], request_id: str) -> None:
    request, reply = answered
    message = pb.SignalingResponse.FromString(translate.response_to_proto(reply, request_id).SerializeToString())
    assert message.request_id == request_id
    assert translate.reply_from_proto(message, request) == reply


@given(REFUSALS, TEXT)
def test_refusals_come_back_as_they_were(error: SignalingError, request_id: str) -> None:
    message = pb.SignalingResponse.FromString(translate.response_to_proto(error, request_id).SerializeToString())
    assert translate.reply_from_proto(message, Offer("a", "s")) == error


@given(PAGES)
def test_pages_without_a_session_come_back_as_they_were(page: PeerList) -> None:
    assert translate.page_from_proto(translate.page_to_proto(page, pb.GetPeersResponse)) == page


def test_health_comes_back_as_it_was() -> None:
    health = Health("healthy", 7, 3, {"rooms": 1, "sessions": {"grpc": 3}})
    message = translate.health_to_proto(health)
    assert json.loads(message.metrics) == health.metrics
    assert translate.health_from_proto(message) == health


@pytest.mark.parametrize(
    "reply",
    [Announced("a", 1, ("b",)), OfferRelayed("a_b_1", "b"), Relayed("b"), Disconnected("b"), Authenticated("a", None)],
)
def test_an_acknowledgement_carries_the_result_of_json_rpc(reply: Reply) -> None:
    message = translate.response_to_proto(reply, "7")
    assert message.WhichOneof("response") == "ack"
    assert message.ack.data.encode() == results.result_json(reply)
    assert message.ack.message == results.acknowledgement(reply)


def test_an_error_carries_the_data_of_json_rpc() -> None:
    error = errors.peer_not_found("x")
    message = translate.error_to_proto(error)
    assert (message.code, message.message) == (5, "Peer not found: x")
    assert json.loads(message.details) == {"code": 5, "status": "NOT_FOUND", "peer_id": "x"}


@pytest.mark.parametrize("value", [None, 0, 2**32 - 1])
@pytest.mark.parametrize("text", [None, "", "x"])
def test_absent_and_empty_are_two_things(value: int | None, text: str | None) -> None:
    request = IceCandidate("b", "", text, value, text)
    message = pb.SignalingRequest.FromString(translate.request_to_proto(request, "").SerializeToString())
    assert message.ice_candidate.HasField("sdp_mid") == (text is not None)
    assert message.ice_candidate.HasField("sdp_mline_index") == (value is not None)
    assert translate.request_from_proto(message) == request


@pytest.mark.parametrize(
    "extensions",
    [
        "[]",
        "1",
        "null",
        "{",
        "{} x",
        " ",
        "\ufeff{}",
        '{"a":NaN}',
        '{"a":1e400}',
        '{"a":' + "1" * 5000 + "}",
        '{"a":"\\ud800"}',
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        "{'a':1}",
        '{"a":"\x01"}',
    ],
)
def test_extensions_that_are_no_json_object_are_refused(extensions: str) -> None:
    announce = pb.AnnounceRequest(peer_id="a", capabilities=pb.PeerCapabilities(extensions=extensions))
    with pytest.raises(SignalingError) as refused:
        translate.request_from_proto(pb.SignalingRequest(announce=announce))
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.message.startswith("Invalid params: capabilities ")


def test_the_last_of_two_members_of_one_name_counts() -> None:
    capabilities = translate.capabilities_from_proto(pb.PeerCapabilities(extensions='{"a":1,"a":2}'))
    assert capabilities.extensions == {"a": 2}


@given(CAPABILITIES)
def test_extensions_are_compact_json_or_empty(capabilities: Capabilities) -> None:
    text = translate.capabilities_to_proto(capabilities).extensions
    if not capabilities.extensions:
        assert text == ""
    else:
        assert text.encode() == msgspec.json.encode(capabilities.extensions)


def test_metadata_that_is_not_text_becomes_its_json_text() -> None:
    metadata = {"text": "1", "number": 1, "null": None, "yes": True, "object": {"a": [1, 2]}}
    assert translate.metadata_to_proto(metadata) == {
        "text": "1",
        "number": "1",
        "null": "null",
        "yes": "true",
        "object": '{"a":[1,2]}',
    }


def test_an_empty_message_is_no_request() -> None:
    with pytest.raises(SignalingError, match=r"^No request provided$"):
        translate.request_from_proto(pb.SignalingRequest(request_id="7"))


@pytest.mark.parametrize("index", [-1, 2**32])
def test_a_client_does_not_send_an_index_that_the_wire_cannot_carry(index: int) -> None:
    with pytest.raises(SignalingError, match="sdp_mline_index"):
        translate.request_to_proto(IceCandidate("b", "c", None, index), "1")
    with pytest.raises(SignalingError, match="page_size"):
        translate.request_to_proto(ListPeers(None, index), "1")


def test_a_client_does_not_send_what_is_no_text() -> None:
    with pytest.raises(SignalingError) as refused:
        translate.request_to_proto(Offer("b", "\ud800"), "1")
    assert refused.value.code is Code.INVALID_ARGUMENT


def test_a_health_check_is_not_sent_on_a_stream() -> None:
    with pytest.raises(ValueError, match="health check"):
        translate.request_to_proto(HealthCheck(), "1")


def test_what_the_dotted_dialect_has_alone_is_not_said() -> None:
    for request_ in (Control("x", {}), Claimed("a", Offer("b", "s"))):
        with pytest.raises(SignalingError, match="is one of the dotted dialect"):
            translate.request_to_proto(request_, "1")
    message = translate.request_to_proto(OfferForAnswer("b", "s"), "1")
    assert message == translate.request_to_proto(Offer("b", "s"), "1")


def test_a_client_bears_a_server_that_is_newer_or_odd() -> None:
    none = pb.ErrorResponse(message="?")
    assert translate.error_from_proto(none) == SignalingError(Code.INTERNAL, "?")
    odd = pb.ErrorResponse(code=2, message="?", details="no json")
    assert translate.error_from_proto(odd) == SignalingError(Code.INTERNAL, "?")
    hostile = pb.ErrorResponse(code=5, message="m", details='{"message":1,"self":2,"code":3,"field":"f"}')
    assert translate.error_from_proto(hostile) == SignalingError(Code.NOT_FOUND, "m", field="f")
    assert translate.event_from_proto(pb.SignalingNotification()) is None
    with pytest.raises(ValueError, match="replied"):
        translate.reply_from_proto(pb.SignalingResponse(), Offer("a", "s"))
