"""Frames for outboxes of gRPC: events, their numbers and responses, as a parser of protobuf reads them."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from sigbridge import (
    AnswerReceived,
    Capabilities,
    Event,
    Health,
    IceCandidateReceived,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    Reply,
    SignalingError,
    errors,
)
from sigbridge_grpc import translate
from sigbridge_grpc.encoding import FRAMED_PROTOBUF, PROTOBUF, FramedProtobufEncoding, ProtobufEncoding
from sigbridge_grpc.framing import Deframer
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

ENCODINGS = pytest.mark.parametrize("encoding", [PROTOBUF, FRAMED_PROTOBUF], ids=["bare", "framed"])
NUMBERS = (
    0,
    1,
    127,
    128,
    16383,
    16384,
    2097151,
    2097152,
    2**28 - 1,
    2**28,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
"""Around every border at which a varint of some use becomes longer."""

EVENTS = {
    "peer_joined": lambda text: PeerJoined("é", Capabilities(audio=True, extensions={"x": [1]}), {"k": text}),
    "peer_left": PeerLeft,
    "offer": lambda text: OfferReceived("a", "a_b_1", text, "offer"),
    "answer": lambda text: AnswerReceived("a", text, "pranswer"),
    "ice_candidate": lambda text: IceCandidateReceived("a", text, "0", 0, ""),
    "peer_disconnected": PeerDisconnected,
}
SIZES = (*range(100, 134), *range(16384 - 40, 16384 + 4), *range(65536 - 44, 65536 + 4))
"""Lengths of an event's text, so that messages are a little shorter and longer than each border, numbered or not."""


def _numbered_response() -> type[Message]:
    """The `SignalingResponse` of a client that knows `seq`."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    response = next(message for message in file.message_type if message.name == "SignalingResponse")
    if "seq" not in [field.name for field in response.field]:
        field = response.field.add(name="seq", number=2)
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_UINT64
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.SignalingResponse"))


NUMBERED_RESPONSE = _numbered_response()


def message_of(encoding: ProtobufEncoding, frame: bytes) -> bytes:
    """The only message of a frame."""
    if not isinstance(encoding, FramedProtobufEncoding):
        return frame
    deframer = Deframer(1 << 30)
    deframer.feed(frame)
    message = deframer.next_message()
    assert message is not None
    assert not deframer.unfinished
    return message


@ENCODINGS
@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_is_what_the_library_writes(encoding: ProtobufEncoding, kind: str) -> None:
    for size in (0, 1, *SIZES):
        event: Event = EVENTS[kind]("x" * size)
        assert event.kind == kind
        message = message_of(encoding, encoding.encode_event(event))
        assert message == translate.event_to_proto(event).SerializeToString()


@ENCODINGS
@pytest.mark.parametrize("kind", EVENTS)
def test_a_number_is_read_and_nothing_else_is_changed(encoding: ProtobufEncoding, kind: str) -> None:
    for size in (0, 1, *SIZES):
        frame = encoding.encode_event(EVENTS[kind]("x" * size))
        plain = message_of(encoding, frame)
        for number in NUMBERS if size < 200 else NUMBERS[1:6]:
            message = message_of(encoding, encoding.number_event(frame, number))
            response = NUMBERED_RESPONSE.FromString(message)
            assert response.seq == number  # type: ignore[attr-defined]
            if number:
                assert response.SerializeToString() == message, "to the letter what the library writes"
            response.ClearField("seq")
            assert response.SerializeToString() == plain


@ENCODINGS
def test_a_relay_that_is_encoded_with_its_number_is_as_one_that_gets_it_later(encoding: ProtobufEncoding) -> None:
    event = OfferReceived("a", "a_b_1", "x" * 200, "offer")
    for number in NUMBERS[1:]:
        later = encoding.number_event(encoding.encode_relay(event, "b"), number)
        assert encoding.encode_numbered_relay(event, "b", number) == later


@ENCODINGS
def test_a_client_that_knows_no_number_reads_the_event(encoding: ProtobufEncoding) -> None:
    frame = encoding.encode_event(OfferReceived("a", "a_b_1", "v=0\r\n\0é👋", "offer"))
    response = pb.SignalingResponse.FromString(message_of(encoding, encoding.number_event(frame, 300)))
    assert (response.request_id, response.WhichOneof("response")) == ("", "notification")
    assert response.notification.offer == pb.OfferNotification(
        from_peer_id="a", offer_id="a_b_1", sdp="v=0\r\n\0é👋", type="offer"
    )


@ENCODINGS
def test_an_event_may_be_numbered_again_and_again(encoding: ProtobufEncoding) -> None:
    frame = encoding.encode_event(PeerLeft("a"))
    before = bytes(frame)
    messages = [message_of(encoding, encoding.number_event(frame, number)) for number in (1, 1000, 2)]
    assert [NUMBERED_RESPONSE.FromString(message).seq for message in messages] == [1, 1000, 2]  # type: ignore[attr-defined]
    assert frame == before


@ENCODINGS
@pytest.mark.parametrize("request_id", ["", "7", "é" * 100])
@pytest.mark.parametrize(
    "outcome",
    [
        Relayed("b"),
        OfferRelayed("a_b_1", "b"),
        PeerList((), 0),
        Health("healthy", 1, 2, {"rooms": 1}),
        errors.peer_not_found("b"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_a_response_is_what_the_library_writes(
    encoding: ProtobufEncoding, outcome: Reply | SignalingError, request_id: str
) -> None:
    message = message_of(encoding, encoding.encode_response(outcome, request_id))
    assert message == translate.response_to_proto(outcome, request_id).SerializeToString()
    assert pb.SignalingResponse.FromString(message).request_id == request_id
