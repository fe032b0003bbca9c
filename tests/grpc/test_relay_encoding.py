"""The fast path writes what the protobuf library writes, to the letter, and reads what it reads, or leaves it be."""

import msgspec
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sigbridge.errors import SignalingError, peer_not_found
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Authenticate,
    Disconnect,
    Event,
    Health,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    Request,
)
from sigbridge_grpc import translate
from sigbridge_grpc.encoding import PROTOBUF
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.relay_encoding import fast_event, fast_request, fast_response

TEXT = st.text(max_size=300) | st.sampled_from(["", "x" * 127, "x" * 128, "é" * 64, "x" * 16384, "\0", "\r\n😀\u2028"])
MAYBE_TEXT = st.none() | TEXT
MAYBE_INDEX = st.none() | st.sampled_from([0, 1, 127, 128, 2**32 - 1]) | st.integers(0, 2**32 - 1)
RELAYS = st.one_of(
    st.builds(OfferReceived, TEXT, TEXT, TEXT, TEXT),
    st.builds(AnswerReceived, TEXT, TEXT, TEXT, TEXT),
    st.builds(IceCandidateReceived, TEXT, TEXT, MAYBE_TEXT, MAYBE_INDEX, MAYBE_TEXT, TEXT),
)


@pytest.mark.fast_paths
@given(RELAYS)
@example(IceCandidateReceived("", "", "", 0, ""))
@example(IceCandidateReceived("", ""))
@example(OfferReceived("a", "b", "x" * 131072, "offer"))
@example(AnswerReceived("a", "v=0", "answer", "x" * 1000))
@example(IceCandidateReceived("a", "c", "0", 0, "u", "x" * 1000))
def test_a_relay_is_what_the_library_writes(event: Event) -> None:
    assert fast_event(event) == translate.event_to_proto(event).SerializeToString()


@pytest.mark.fast_paths
@given(st.builds(Relayed, TEXT) | st.builds(OfferRelayed, TEXT, TEXT), TEXT)
def test_an_acknowledgement_is_what_the_library_writes(reply: Relayed | OfferRelayed, request_id: str) -> None:
    assert fast_response(reply, request_id) == translate.response_to_proto(reply, request_id).SerializeToString()


@pytest.mark.parametrize(
    "event",
    [PeerJoined("a", NO_CAPABILITIES, {"k": "v"}), PeerLeft("a"), PeerDisconnected("a", "a_b_1")],
    ids=lambda e: e.kind,
)
def test_other_events_are_the_librarys(event: Event) -> None:
    assert fast_event(event) is None
    assert PROTOBUF.encode_event(event) == translate.event_to_proto(event).SerializeToString()


@pytest.mark.parametrize("reply", [Announced("a", 1, ("b",)), PeerList((), 0), Health("healthy", 1, 2, {})])
def test_other_replies_are_the_librarys(reply) -> None:
    assert fast_response(reply, "7") is None
    assert PROTOBUF.encode_response(reply, "7") == translate.response_to_proto(reply, "7").SerializeToString()


def test_an_error_is_the_librarys() -> None:
    error = peer_not_found("a")
    assert fast_response(error, "7") is None
    assert PROTOBUF.encode_response(error, "7") == translate.response_to_proto(error, "7").SerializeToString()


REQUESTS = st.one_of(
    st.builds(Offer, TEXT, TEXT, TEXT),
    st.builds(Answer, TEXT, TEXT, TEXT, TEXT),
    st.builds(IceCandidate, TEXT, TEXT, MAYBE_TEXT, MAYBE_INDEX, MAYBE_TEXT, TEXT),
)


def read_by_the_library(data: bytes) -> tuple[str, Request] | None:
    """Id and request that the general path makes of these bytes; `None` where it refuses them."""
    try:
        message = pb.SignalingRequest.FromString(data)
        return message.request_id, translate.request_from_proto(message)
    except (DecodeError, SignalingError):
        return None


@pytest.mark.fast_paths
@given(REQUESTS, TEXT)
@example(IceCandidate("", "", "", 0, ""), "")
@example(IceCandidate("", ""), "")
@example(Offer("a", "x" * 131072, "offer"), "1")
def test_a_relay_is_read_as_the_library_reads_it(request: Request, request_id: str) -> None:
    data = translate.request_to_proto(request, request_id).SerializeToString()
    read = fast_request(data)
    if read is None:
        # Numbers of more than three bytes are the library's.
        assert isinstance(request, IceCandidate)
        assert (request.sdp_mline_index or 0) >= 1 << 21
    else:
        assert read == (request_id, request)
        assert type(read[1]) is type(request)
    assert read_by_the_library(data) == (request_id, request)


@st.composite
def odd_bytes(draw: st.DrawFn) -> bytes:
    """A relay of which something was changed: a byte, a piece left out, twice or in another place."""
    data = translate.request_to_proto(draw(REQUESTS), draw(TEXT)).SerializeToString()
    one, two = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    piece = draw(st.sampled_from([b"", data[one:two], data[one:two] * 2, data[one : one + 1]]) | st.binary(max_size=3))
    return data[:one] + piece + data[two:]


@settings(max_examples=10 * settings().max_examples)
@given(odd_bytes() | st.binary(max_size=20))
@example(b"")
@example(b"\n")
@example(b"\n\x05a")
@example(b"\n\x01aj")
@example(b"j\x00j\x00")
@example(b"j\x03\n\x01\xff")
@example(b"j\x05\n\x80\x80\x80\x00")
@example(b"j\x06\x12\x01b\n\x01a")
@example(b"j\x06\n\x01a\n\x01b")
@example(b"j\x08\n\x01a \xff\xff\xff\x0f")
@example(b"j\x04\n\x01a\x20")
@example(b"Z\x05\n\x01a2\x00")
@example(b"Z\x03\n\x01a\n\x011")
@example(b'Z\x05\n\x01a"\x00')
@example(b'j\x05\n\x01a"\x00')
@example(b'b\x05\n\x01a"\x00')
@example(b"b\x05\n\x01a2\x00")
@example(b"j\x05\n\x01a2\x00")
@example(b"j\x06\n\x01a2\x01\xff")
@example(b"j\x08\n\x01a2\x01a2\x00")
def test_what_is_read_at_all_is_read_as_the_library_reads_it(data: bytes) -> None:
    read = fast_request(data)
    if read is not None:
        assert read_by_the_library(data) == read


@pytest.mark.parametrize(
    "request_",
    [Announce("a", NO_CAPABILITIES, {"k": "v"}), Disconnect("a", "a_b_1"), ListPeers()],
    ids=lambda r: r.kind,
)
def test_other_requests_are_the_librarys(request_: Request) -> None:
    assert fast_request(translate.request_to_proto(request_, "7").SerializeToString()) is None


@pytest.mark.fast_paths
@pytest.mark.parametrize(
    "request_", [Answer("b", "v=0", "answer", "a_b_1"), IceCandidate("b", "c", "0", 0, "u", "a_b_1")]
)
def test_a_relay_that_says_its_offer_takes_the_fast_path(request_: Request) -> None:
    data = translate.request_to_proto(request_, "7").SerializeToString()
    assert fast_request(data) == ("7", request_)


def test_an_offer_id_that_is_empty_is_not_written() -> None:
    for one in (Answer("b", "v=0"), IceCandidate("b", "c"), Disconnect("b")):
        named = translate.request_to_proto(msgspec.structs.replace(one, offer_id="x"), "").SerializeToString()
        assert len(named) == len(translate.request_to_proto(one, "").SerializeToString()) + 3
    for event in (AnswerReceived("a", "v=0", "answer"), IceCandidateReceived("a", "c"), PeerDisconnected("a")):
        told = PROTOBUF.encode_event(msgspec.structs.replace(event, offer_id="x"))
        assert len(told) == len(PROTOBUF.encode_event(event)) + 3


@pytest.mark.parametrize("request_id", ["", "1", "x" * 200])
def test_a_token_takes_the_general_path(request_id):
    """The number of its field is the first that takes two bytes."""
    for size in (*range(300), 20_000):
        message = translate.request_to_proto(Authenticate("x" * size), request_id)
        assert fast_request(message.SerializeToString()) is None
