"""The encoding of events and responses on gRPC: the `SignalingResponse` of each, with gRPC's prefix or without.

Source: `docs/protocol.md`, section "The gRPC contract"; https://protobuf.dev/programming-guides/encoding.
"""

from sigbridge.messages import Event, RelayedEvent
from sigbridge.session import Outcome, RequestId
from sigbridge_grpc.framing import PREFIX_BYTES, framed
from sigbridge_grpc.relay_encoding import fast_event, fast_response, sequence_field
from sigbridge_grpc.translate import event_to_proto, response_to_proto


class ProtobufEncoding:
    """Messages without a prefix, for a library that adds its own."""

    takes_control = False

    def encode_event(self, event: Event) -> bytes:
        """Returns the event, as it goes into an outbox."""
        return _event_bytes(event)

    def encode_relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the event, which does not say to whom it goes, as it goes into an outbox."""
        return _event_bytes(event)

    def encode_numbered_relay(self, event: RelayedEvent, to_peer_id: str, number: int) -> bytes:
        """Returns the same with `SignalingResponse.seq`, which comes before the fields of events."""
        return sequence_field(number) + _event_bytes(event)

    def number_event(self, frame: bytes, number: int) -> bytes:
        """Returns the event's message with `SignalingResponse.seq`."""
        return sequence_field(number) + frame

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes:
        """Returns the response to the request of that id, which is text, as it goes into an outbox."""
        return _response_bytes(outcome, request_id)


class FramedProtobufEncoding(ProtobufEncoding):
    """Messages with gRPC's prefix, ready for a DATA frame."""

    def encode_event(self, event: Event) -> bytes:
        """Returns the event, as it goes into an outbox."""
        return framed(_event_bytes(event))

    def encode_relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the event, which does not say to whom it goes, as it goes into an outbox."""
        return framed(_event_bytes(event))

    def encode_numbered_relay(self, event: RelayedEvent, to_peer_id: str, number: int) -> bytes:
        """Returns the same with `SignalingResponse.seq`, which comes before the fields of events."""
        return framed(sequence_field(number) + _event_bytes(event))

    def number_event(self, frame: bytes, number: int) -> bytes:
        """Returns the event's frame with `SignalingResponse.seq`; its prefix is made anew."""
        return framed(sequence_field(number) + frame[PREFIX_BYTES:])

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes:
        """Returns the response to the request of that id, which is text, as it goes into an outbox."""
        return framed(_response_bytes(outcome, request_id))


def _event_bytes(event: Event) -> bytes:
    data = fast_event(event)
    return event_to_proto(event).SerializeToString() if data is None else data


def _response_bytes(outcome: Outcome, request_id: RequestId) -> bytes:
    data = fast_response(outcome, request_id)
    return response_to_proto(outcome, request_id).SerializeToString() if data is None else data


PROTOBUF = ProtobufEncoding()
FRAMED_PROTOBUF = FramedProtobufEncoding()
