"""The fast path of what is said most: relays and their acknowledgements, written as protobuf by hand.

Building and serialising each of these by the protobuf library takes about half as long as the hub takes for the whole
request; written out, half of that. Rule 1: the bytes are those that the library gives for the same message, to the
letter; a test compares them for every kind and any text. Rule 2: what is not written here, the library
writes. Source: https://protobuf.dev/programming-guides/encoding; field numbers of `protos/webrtc_signaling.proto`.
"""

from collections.abc import Callable
from typing import Any

from sigbridge.errors import SignalingError
from sigbridge.messages import (
    AnswerReceived,
    Event,
    IceCandidateReceived,
    OfferReceived,
    OfferRelayed,
    Relayed,
    Reply,
)
from sigbridge.results import acknowledgement, result_json
from sigbridge_grpc import translate

# A tag is the field's number and wire type: 2 for what has a length, 0 for a varint.
_REQUEST_ID = b"\x0a"
_ACK = b"\x52"
_NOTIFICATION = b"\x62"
_OFFER, _ANSWER, _ICE_CANDIDATE = b"\x1a", b"\x22", b"\x2a"
_FIELD_1, _FIELD_2, _FIELD_3, _FIELD_4, _FIELD_5 = b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a"
_FIELD_4_VARINT = b"\x20"

_ONE_BYTE = [bytes((number,)) for number in range(128)]


def event_bytes(event: Event) -> bytes:
    """The `SignalingResponse` of an event."""
    write = _EVENTS.get(type(event))
    if write is None:
        return translate.event_to_proto(event).SerializeToString()
    return _field(_NOTIFICATION, write(event))


def reply_bytes(reply: Reply | SignalingError, request_id: str) -> bytes:
    """The `SignalingResponse` of a reply, or refusal, to the request of that id."""
    if not isinstance(reply, Relayed | OfferRelayed):
        return translate.reply_to_proto(reply, request_id).SerializeToString()
    ack = _text(_FIELD_1, acknowledgement(reply)) + _field(_FIELD_2, result_json(reply))
    return _text(_REQUEST_ID, request_id) + _field(_ACK, ack)


def _offer(event: OfferReceived) -> bytes:
    return _field(
        _OFFER,
        _text(_FIELD_1, event.from_peer_id)
        + _text(_FIELD_2, event.offer_id)
        + _text(_FIELD_3, event.sdp)
        + _text(_FIELD_4, event.type),
    )


def _answer(event: AnswerReceived) -> bytes:
    return _field(
        _ANSWER, _text(_FIELD_1, event.from_peer_id) + _text(_FIELD_2, event.sdp) + _text(_FIELD_3, event.type)
    )


def _ice_candidate(event: IceCandidateReceived) -> bytes:
    body = _text(_FIELD_1, event.from_peer_id) + _text(_FIELD_2, event.candidate)
    # An `optional` field is written where it is present, its empty value included.
    if event.sdp_mid is not None:
        body += _field(_FIELD_3, event.sdp_mid.encode())
    if event.sdp_mline_index is not None:
        body += _FIELD_4_VARINT + _varint(event.sdp_mline_index)
    if event.username_fragment is not None:
        body += _field(_FIELD_5, event.username_fragment.encode())
    return _field(_ICE_CANDIDATE, body)


_EVENTS: dict[type[Any], Callable[[Any], bytes]] = {
    OfferReceived: _offer,
    AnswerReceived: _answer,
    IceCandidateReceived: _ice_candidate,
}


def _text(tag: bytes, text: str) -> bytes:
    """A string field; where it is empty, nothing, as proto3 has it."""
    return _field(tag, text.encode()) if text else b""


def _field(tag: bytes, value: bytes) -> bytes:
    """A field that has a length."""
    size = len(value)
    return tag + (_ONE_BYTE[size] if size < 128 else _varint(size)) + value


def _varint(number: int) -> bytes:
    """Seven bits a byte, the least first; every byte but the last has its highest bit set."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
