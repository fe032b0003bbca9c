"""The fast path of what is said most: relays and their acknowledgements, written as protobuf by hand.

Building and serialising one of these by the protobuf library takes three microseconds. Where all its texts are ASCII,
as SDP, candidates and most ids are, a character is a byte and the whole message is one formatted string: half a
microsecond. Rule 1: the bytes are those that the library gives for the same message, to the letter; a test compares
them for every kind and any text. Rule 2: what is not written here, or is not ASCII, or is very long, the library
writes. Source: https://protobuf.dev/programming-guides/encoding; field numbers of `protos/webrtc_signaling.proto`.
"""

from collections.abc import Callable
from functools import lru_cache
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

TABLE_SIZE = 8192
"""What is longer, the library writes: what it takes for that is little beside the copying."""
_KNOWN_PEERS = 4096
"""Of so many peers the acknowledgement of what is relayed to them is kept; all of one peer's are alike."""


def _varint(number: int) -> str:
    """Seven bits a byte, the least first; every byte but the last has its highest bit set."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return parts.decode("latin-1")


_VARINT = [_varint(number) for number in range(TABLE_SIZE)]

# A tag, as the letters below, is the field's number and wire type: 2 for what has a length, 0 for a varint. Of
# `SignalingResponse` `request_id` is \n (1), `ack` R (10) and `notification` b (12). Fields 1 to 5 of a message are
# \n, \x12, \x1a, " and *, where they are texts; a varint as field 4 is a space.


def event_bytes(event: Event) -> bytes:
    """The `SignalingResponse` of an event."""
    write = _EVENTS.get(type(event))
    try:
        text = write(event) if write is not None else None
    except IndexError:
        text = None
    return translate.event_to_proto(event).SerializeToString() if text is None else text.encode("latin-1")


def reply_bytes(reply: Reply | SignalingError, request_id: str) -> bytes:
    """The `SignalingResponse` of a reply, or refusal, to the request of that id."""
    ack = None
    try:
        if type(reply) is Relayed:
            ack = _relayed(reply.to_peer_id)
        elif type(reply) is OfferRelayed:
            ack = _ack(reply)
        if ack is not None and request_id.isascii():
            number = f"\n{_VARINT[len(request_id)]}{request_id}" if request_id else ""
            return f"{number}{ack}".encode("latin-1")
    except IndexError:
        pass
    return translate.reply_to_proto(reply, request_id).SerializeToString()


@lru_cache(_KNOWN_PEERS)
def _relayed(to_peer_id: str) -> str | None:
    return _ack(Relayed(to_peer_id))


def _ack(reply: Relayed | OfferRelayed) -> str | None:
    message, data = acknowledgement(reply), result_json(reply).decode()
    if not (message.isascii() and data.isascii()):
        return None
    ack = f"\n{_VARINT[len(message)]}{message}\x12{_VARINT[len(data)]}{data}"
    return f"R{_VARINT[len(ack)]}{ack}"


def _offer(event: OfferReceived) -> str | None:
    sender, offer_id, sdp, kind = event.from_peer_id, event.offer_id, event.sdp, event.type
    if not (sdp.isascii() and sender.isascii() and offer_id.isascii() and kind.isascii()):
        return None
    if not (sdp and sender and offer_id and kind):
        return None
    return _notification(
        "\x1a",
        f"\n{_VARINT[len(sender)]}{sender}\x12{_VARINT[len(offer_id)]}{offer_id}"
        f'\x1a{_VARINT[len(sdp)]}{sdp}"{_VARINT[len(kind)]}{kind}',
    )


def _answer(event: AnswerReceived) -> str | None:
    sender, sdp, kind = event.from_peer_id, event.sdp, event.type
    if not (sdp.isascii() and sender.isascii() and kind.isascii()):
        return None
    if not (sdp and sender and kind):
        return None
    return _notification(
        '"', f"\n{_VARINT[len(sender)]}{sender}\x12{_VARINT[len(sdp)]}{sdp}\x1a{_VARINT[len(kind)]}{kind}"
    )


def _ice_candidate(event: IceCandidateReceived) -> str | None:
    sender, candidate = event.from_peer_id, event.candidate
    mid, index, fragment = event.sdp_mid, event.sdp_mline_index, event.username_fragment
    # Sizes of 128 and above are no ASCII, so the texts are looked at one by one.
    if not (sender and sender.isascii() and candidate.isascii()):
        return None
    body = f"\n{_VARINT[len(sender)]}{sender}"
    if candidate:
        body += f"\x12{_VARINT[len(candidate)]}{candidate}"
    # An `optional` field is written where it is present, its empty value included.
    if mid is not None:
        if not mid.isascii():
            return None
        body += f"\x1a{_VARINT[len(mid)]}{mid}"
    if index is not None:
        body += f" {_VARINT[index]}"
    if fragment is not None:
        if not fragment.isascii():
            return None
        body += f"*{_VARINT[len(fragment)]}{fragment}"
    return _notification("*", body)


def _notification(tag: str, body: str) -> str:
    size = _VARINT[len(body)]
    return f"b{_VARINT[1 + len(size) + len(body)]}{tag}{size}{body}"


_EVENTS: dict[type[Any], Callable[[Any], str | None]] = {
    OfferReceived: _offer,
    AnswerReceived: _answer,
    IceCandidateReceived: _ice_candidate,
}
