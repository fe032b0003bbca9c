"""The fast path writes what the protobuf library writes, to the letter."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sigbridge.errors import peer_not_found
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announced,
    AnswerReceived,
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
)
from sigbridge_grpc import translate
from sigbridge_grpc.relay_encoding import event_bytes, reply_bytes

TEXT = st.text(max_size=300) | st.sampled_from(["", "x" * 127, "x" * 128, "é" * 64, "x" * 16384, "\0", "\r\n😀\u2028"])
MAYBE_TEXT = st.none() | TEXT
MAYBE_INDEX = st.none() | st.sampled_from([0, 1, 127, 128, 2**32 - 1]) | st.integers(0, 2**32 - 1)
RELAYS = st.one_of(
    st.builds(OfferReceived, TEXT, TEXT, TEXT, TEXT),
    st.builds(AnswerReceived, TEXT, TEXT, TEXT),
    st.builds(IceCandidateReceived, TEXT, TEXT, MAYBE_TEXT, MAYBE_INDEX, MAYBE_TEXT),
)


@given(RELAYS)
@example(IceCandidateReceived("", "", "", 0, ""))
@example(IceCandidateReceived("", ""))
@example(OfferReceived("a", "b", "x" * 131072, "offer"))
def test_a_relay_is_what_the_library_writes(event: Event) -> None:
    assert event_bytes(event) == translate.event_to_proto(event).SerializeToString()


@given(st.builds(Relayed, TEXT) | st.builds(OfferRelayed, TEXT, TEXT), TEXT)
def test_an_acknowledgement_is_what_the_library_writes(reply: Relayed | OfferRelayed, request_id: str) -> None:
    assert reply_bytes(reply, request_id) == translate.reply_to_proto(reply, request_id).SerializeToString()


@pytest.mark.parametrize(
    "event", [PeerJoined("a", NO_CAPABILITIES, {"k": "v"}), PeerLeft("a"), PeerDisconnected("a")], ids=lambda e: e.kind
)
def test_other_events_are_the_librarys(event: Event) -> None:
    assert event_bytes(event) == translate.event_to_proto(event).SerializeToString()


@pytest.mark.parametrize("reply", [Announced("a", 1, ("b",)), PeerList((), 0), Health("healthy", 1, 2, {})])
def test_other_replies_are_the_librarys(reply) -> None:
    assert reply_bytes(reply, "7") == translate.reply_to_proto(reply, "7").SerializeToString()


def test_an_error_is_the_librarys() -> None:
    error = peer_not_found("a")
    assert reply_bytes(error, "7") == translate.reply_to_proto(error, "7").SerializeToString()
