"""Messages, metadata and time limits as bytes, in every split."""

import gzip
import re
import struct
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigbridge.errors import Code, SignalingError
from sigbridge_grpc.framing import Deframer, MessageTooBig, framed, percent_encoded, timeout_seconds


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(0, 90), max_size=60))
def test_messages_in_every_split(messages: list[bytes], cuts: list[int]) -> None:
    body = b"".join(framed(message) for message in messages)
    deframer = Deframer(300)
    found = []
    for cut in [*cuts, len(body)]:
        deframer.feed(body[:cut])
        body = body[cut:]
        while (message := deframer.next_message()) is not None:
            found.append(message)
    assert found == messages
    assert not deframer.unfinished


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_messages_or_refused(data: bytes, compressed: bool) -> None:
    deframer = Deframer(50)
    if compressed:
        deframer.allow_gzip(lambda _: None)
    deframer.feed(data)
    try:
        while deframer.next_message() is not None:
            pass
    except (MessageTooBig, SignalingError):
        return
    assert len(deframer.buffer) < 55


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_limit_is_exact(beyond: int, compressed: bool) -> None:
    message = bytes(1000 + beyond)
    deframer = Deframer(1000)
    deframer.allow_gzip(lambda _: None)
    packed = gzip.compress(message)
    deframer.feed(struct.pack("!BI", 1, len(packed)) + packed if compressed else framed(message))
    if beyond > 0:
        with pytest.raises(MessageTooBig):
            deframer.next_message()
    else:
        assert deframer.next_message() == message


def test_a_size_is_refused_before_its_message_comes() -> None:
    deframer = Deframer(1000)
    deframer.feed(struct.pack("!BI", 0, 0xFFFFFFFF))
    with pytest.raises(MessageTooBig):
        deframer.next_message()
    assert not deframer.unfinished


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_a_flag_without_an_encoding_is_refused(flag: int) -> None:
    deframer = Deframer(1000)
    deframer.feed(bytes((flag, 0, 0, 0, 0)))
    with pytest.raises(SignalingError) as error:
        deframer.next_message()
    assert error.value.code is Code.INTERNAL


def test_with_an_encoding_messages_may_be_plain() -> None:
    deframer = Deframer(1000)
    deframer.allow_gzip(lambda _: None)
    deframer.feed(framed(b"plain"))
    assert deframer.next_message() == b"plain"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"99999999H", 359999996400),
    ],
)
def test_timeouts(text: bytes, seconds: float) -> None:
    assert timeout_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", [b"", b"S", b"1", b"1s", b"-1S", b"+1S", b"1.5S", b"123456789S", b"1S\n", b" 1S", b"\xd9\xa1S"]
)
def test_what_is_no_timeout(text: bytes) -> None:
    assert timeout_seconds(text) is None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_status_messages_survive(message: str) -> None:
    encoded = percent_encoded(message)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote_to_bytes(encoded.decode()) == message.encode()
    assert re.fullmatch(rb"([^%]|%[0-9A-F]{2})*", encoded)
