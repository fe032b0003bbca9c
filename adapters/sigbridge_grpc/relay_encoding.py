"""The fast path of what is said most: relays and their acknowledgements, as protobuf, without the library's objects.

The library takes two microseconds to read a relay and three to write one, most of it for objects that are looked at
once. Rule 1: what is written are the bytes that the library gives for the same message, to the letter. Rule 2: what is
read is a relay as every library writes it, each field once and in the order of their numbers; of everything else
`fast_request` returns None, and the library reads it and judges it.
Source: https://protobuf.dev/programming-guides/encoding; field numbers of `protos/webrtc_signaling.proto`.
"""

from functools import lru_cache
from typing import Final

from sigbridge.fast_paths import is_on
from sigbridge.messages import (
    Answer,
    AnswerReceived,
    Event,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    OfferRelayed,
    Relayed,
)
from sigbridge.results import acknowledgement, result_json
from sigbridge.session import Outcome
from sigbridge_grpc.framing import BYTE

_FAST_EVENT: Final = is_on("fast_event")
_FAST_RESPONSE: Final = is_on("fast_response")
_FAST_REQUEST: Final = is_on("fast_request")

_CACHED_ACKNOWLEDGEMENTS: Final = 4096
"""Number of acknowledgements cached, one for each target: all acknowledgements of relays to one peer are alike."""


# A field begins with its tag, which is its number and its wire type (2 for what has a length, 0 for a varint), and a
# varint: its length, or the number itself.


def _varint(number: int) -> bytes:
    """Returns a number as a varint: seven bits a byte, the least first.

    All bytes but the last have the highest bit set.
    """
    if number < 128:
        return BYTE[number]
    if number < 16384:
        return b"%b%b" % (BYTE[number & 127 | 128], BYTE[number >> 7])
    parts = b""
    while number > 127:
        parts += BYTE[number & 127 | 128]
        number >>= 7
    return parts + BYTE[number]


def _heads(tag: int) -> list[bytes]:
    return [bytes((tag, number)) for number in range(128)]


def _head(heads: list[bytes], number: int) -> bytes:
    """Returns the beginning of a field: its tag, and its length or number."""
    if number < 128:
        return heads[number]
    return b"%b%b" % (BYTE[heads[0][0]], _varint(number))


# Fields 1 to 6 of a message, where they are texts or messages; the fourth as a number, too.
_FIRST: Final = _heads(0x0A)
_SECOND: Final = _heads(0x12)
_THIRD: Final = _heads(0x1A)
_FOURTH: Final = _heads(0x22)
_FOURTH_NUMBER: Final = _heads(0x20)
_FIFTH: Final = _heads(0x2A)
_SIXTH: Final = _heads(0x32)
# `seq`, `ack` and `notification` of `SignalingResponse`.
_SEQ: Final = _heads(0x10)
_ACK: Final = _heads(0x52)
_NOTIFICATION: Final = _heads(0x62)
# `request_id`, `offer`, `answer` and `ice_candidate` of `SignalingRequest`, and `sdp_mline_index` of the last.
_REQUEST_ID_TAG: Final = 0x0A
_INDEX_TAG: Final = 0x20
_OFFER_TAG: Final = 0x5A
_ANSWER_TAG: Final = 0x62
_ICE_CANDIDATE_TAG: Final = 0x6A


# Writing.


def fast_event(event: Event) -> bytes | None:
    """Returns the `SignalingResponse` of a relay; None for other events."""
    if not _FAST_EVENT:
        return None
    if type(event) is IceCandidateReceived:
        return _ice_candidate(event)
    if type(event) is OfferReceived:
        return _offer(event)
    if type(event) is AnswerReceived:
        return _answer(event)
    return None


def fast_response(outcome: Outcome, request_id: str) -> bytes | None:
    """Returns the `SignalingResponse` that acknowledges the relay of that id; None for other outcomes."""
    if not _FAST_RESPONSE:
        return None
    if type(outcome) is Relayed:
        ack = _relayed(outcome.to_peer_id)
    elif type(outcome) is OfferRelayed:
        ack = _ack(outcome)
    else:
        return None
    if not request_id:
        return ack
    number = request_id.encode()
    if len(number) < 128:
        return b"%b%b%b" % (_FIRST[len(number)], number, ack)
    return b"%b%b%b" % (_head(_FIRST, len(number)), number, ack)


def sequence_field(number: int) -> bytes:
    """Returns `SignalingResponse.seq`, the number of an event."""
    return _head(_SEQ, number)


@lru_cache(_CACHED_ACKNOWLEDGEMENTS)
def _relayed(to_peer_id: str) -> bytes:
    return _ack(Relayed(to_peer_id))


def _ack(reply: Relayed | OfferRelayed) -> bytes:
    """Returns the `SignalingResponse` that acknowledges a relay, without its request id."""
    message, data = acknowledgement(reply).encode(), result_json(reply)
    if len(message) + len(data) < 124:
        # Short enough for one byte of each length.
        ack = b"%b%b%b%b" % (_FIRST[len(message)], message, _SECOND[len(data)], data)
        return b"%b%b" % (_ACK[len(ack)], ack)
    ack = b"%b%b%b%b" % (_head(_FIRST, len(message)), message, _head(_SECOND, len(data)), data)
    return b"%b%b" % (_head(_ACK, len(ack)), ack)


def _text(heads: list[bytes], text: str) -> bytes:
    """Returns a text field; nothing if the text is empty."""
    if not text:
        return b""
    data = text.encode()
    return b"%b%b" % (_head(heads, len(data)), data)


def _offer(event: OfferReceived) -> bytes:
    sender, offer_id = _text(_FIRST, event.from_peer_id), _text(_SECOND, event.offer_id)
    return _notification(_THIRD, b"%b%b%b%b" % (sender, offer_id, _text(_THIRD, event.sdp), _text(_FOURTH, event.type)))


def _answer(event: AnswerReceived) -> bytes:
    """Returns the `SignalingResponse` of an SDP answer."""
    sender, sdp = _text(_FIRST, event.from_peer_id), _text(_SECOND, event.sdp)
    return _notification(
        _FOURTH, b"%b%b%b%b" % (sender, sdp, _text(_THIRD, event.type), _text(_FOURTH, event.offer_id))
    )


def _ice_candidate(event: IceCandidateReceived) -> bytes:
    """Returns the `SignalingResponse` of an ICE candidate."""
    # Most messages are these, so the fields are put together once.
    sender, candidate = event.from_peer_id.encode(), event.candidate.encode()
    mid, index, fragment = event.sdp_mid, event.sdp_mline_index, event.username_fragment
    mid_head = mid_data = index_head = fragment_head = fragment_data = offer_id = b""
    # An `optional` field is written where it is present, its empty value included.
    if mid is not None:
        mid_data = mid.encode()
        mid_head = _head(_THIRD, len(mid_data))
    if index is not None:
        index_head = _head(_FOURTH_NUMBER, index)
    if fragment is not None:
        fragment_data = fragment.encode()
        fragment_head = _head(_FIFTH, len(fragment_data))
    if event.offer_id:
        offer_id = _text(_SIXTH, event.offer_id)
    return _notification(
        _FIFTH,
        b"%b%b%b%b%b%b%b%b%b%b"
        % (
            _head(_FIRST, len(sender)) if sender else b"",
            sender,
            _head(_SECOND, len(candidate)) if candidate else b"",
            candidate,
            mid_head,
            mid_data,
            index_head,
            fragment_head,
            fragment_data,
            offer_id,
        ),
    )


def _notification(heads: list[bytes], body: bytes) -> bytes:
    head = _head(heads, len(body))
    return b"%b%b%b" % (_head(_NOTIFICATION, len(head) + len(body)), head, body)


# Reading.


def fast_request(data: bytes) -> tuple[str, Offer | Answer | IceCandidate] | None:
    """Returns the request id and the relay of a `SignalingRequest`; None if it is no relay, or written unusually."""
    if not _FAST_REQUEST:
        return None
    request_id = ""
    at = 0
    try:
        if data[0] == _REQUEST_ID_TAG:
            size, at = data[1], 2
            if size > 127:
                size, at = _varint_at(data, 1)
            request_id = data[at : at + size].decode()
            at += size
        kind = data[at]
        size, at = _varint_at(data, at + 1)
        if size != len(data) - at:
            return None
        request = _read_fields(data, at, kind)
    except (IndexError, ValueError):
        return None
    return None if request is None else (request_id, request)


def _read_fields(data: bytes, at: int, kind: int) -> Offer | Answer | IceCandidate | None:
    """Returns the relay whose fields begin at `at`; None if a field is unknown, repeated or out of order."""
    to_peer_id = text = ""
    third: str | None = None
    fourth: str | None = None
    fragment: str | None = None
    sixth: str | None = None
    index: int | None = None
    end = len(data)
    last_tag = 0
    while at < end:
        # The tags here are below 128, so each is one byte.
        tag = data[at]
        if tag <= last_tag:
            return None
        last_tag = tag
        number = data[at + 1]
        at += 2
        if number > 127:
            number, at = _varint_at(data, at - 1)
        if tag == _INDEX_TAG:
            index = number
            continue
        value = data[at : at + number].decode()
        at += number
        if tag == 0x0A:
            to_peer_id = value
        elif tag == 0x12:
            text = value
        elif tag == 0x1A:
            third = value
        elif tag == 0x2A:
            fragment = value
        elif tag == 0x32:
            sixth = value
        elif tag == 0x22:
            fourth = value
        else:
            return None
    if kind == _ICE_CANDIDATE_TAG and at == end and fourth is None:
        return IceCandidate(to_peer_id, text, third, index, fragment, sixth or "")
    if at != end or index is not None or fragment is not None or sixth is not None:
        return None
    if kind == _ANSWER_TAG:
        return Answer(to_peer_id, text, third or "", fourth or "")
    if kind == _OFFER_TAG and fourth is None:
        return Offer(to_peer_id, text, third or "")
    return None


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number of at most three bytes, and the index behind it.

    :raises ValueError: if it has more bytes.
    :raises IndexError: if the data ends before it does.
    """
    number = data[at]
    if number < 128:
        return number, at + 1
    second = data[at + 1]
    if second < 128:
        return number - 128 + (second << 7), at + 2
    third = data[at + 2]
    if third > 127:
        raise ValueError
    return number - 128 + (second - 128 << 7) + (third << 14), at + 3
