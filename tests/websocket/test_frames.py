"""Frames alone: what is cut is what the library cuts from the same bytes, and what is written is what it writes."""

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Opcode
from websockets.frames import Frame as LibraryFrame

from sigbridge.disconnects import DisconnectReason
from sigbridge_websocket.compression import Compression
from sigbridge_websocket.error_codes import Fault
from sigbridge_websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    TEXT,
    FrameReader,
    check_close,
    close_payload,
    frame,
    text_frame,
    text_of,
)
from websocket_frames import MAX_BYTES, alike, cut, cut_by_library, deflate, written
from websocket_lines import masked


def packed(payload: bytes) -> bytes:
    """A payload as the first message of a client that compresses."""
    return bytes(deflate().encode(LibraryFrame(Opcode.TEXT, payload)).data)


PAYLOADS = st.one_of(
    st.binary(max_size=130),
    st.sampled_from([b"", b"\x03\xe8", b"\x03\xed", "é😀".encode(), "é😀".encode()[:4], b"\xff", packed(b"{}" * 60)]),
    st.integers(MAX_BYTES - 1, MAX_BYTES + 1).map(lambda size: b"x" * size),
)
FRAMES = st.tuples(
    st.sampled_from([TEXT] * 4 + [BINARY, CONTINUATION, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 3, 15]),
    PAYLOADS,
    st.sampled_from([True, True, False]),
    st.sampled_from([0] * 20 + [4, 4, 1, 2, 7]),
    st.sampled_from([bytes(4)] * 3 + [b"mask", b"\xff\0\xff\0"] * 3 + [None]),
)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 3000), max_size=6), st.booleans())
def test_what_is_cut_is_what_the_library_cuts(frames, cuts, compressed):
    data = b"".join(written(*frame) for frame in frames)
    edges = sorted({0, len(data), *(at for at in cuts if at < len(data))})
    parts = [data[start:end] for start, end in pairwise(edges)]
    ours = cut(parts, Compression(deflate()) if compressed else None)
    librarys = cut_by_library([data], deflate() if compressed else None)
    assert alike(ours, librarys), (ours, librarys)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_first_byte_is_judged_as_the_library_judges_it(within, compressed):
    for first in range(256):
        data = (masked(TEXT, b"a", fin=False) if within else b"") + bytes((first, 0x82)) + bytes(4) + b"\x03\xe8"
        ours = cut([data], Compression(deflate()) if compressed else None)
        assert ours == cut_by_library([data], deflate() if compressed else None), hex(first)


def test_a_fault_is_seen_in_the_head_of_a_frame():
    """Nothing of a payload is waited for that nobody will look at."""
    assert cut([b"\x83\x80"]) == ([], DisconnectReason.PROTOCOL_ERROR)
    assert cut([b"\x81\x05"]) == ([], DisconnectReason.PROTOCOL_ERROR)
    assert cut([b"\x89\xfe"]) == ([], DisconnectReason.PROTOCOL_ERROR)
    assert cut([b"\x81\xff" + (2**63).to_bytes(8, "big")]) == ([], DisconnectReason.MESSAGE_TOO_BIG)


def test_a_text_of_several_frames_is_refused_with_the_first_that_is_none():
    assert (
        cut([masked(TEXT, b"\xc3", fin=False), masked(CONTINUATION, b"x", fin=False)])[1] is DisconnectReason.NOT_UTF8
    )


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_fits_is_the_bytes_of_the_whole_message(fragments, compressed):
    def outcome(size: int):
        data, piece = b"x" * size, size // fragments + 1
        parts = [data[at : at + piece] for at in range(0, size, piece)]
        extension = deflate()
        frames = []
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else TEXT
            fin = number == len(parts) - 1
            payload = bytes(extension.encode(LibraryFrame(Opcode(opcode), part, fin)).data) if compressed else part
            frames.append(masked(opcode, payload, fin=fin, rsv=4 if compressed and not number else 0))
        return cut(frames, Compression(deflate()) if compressed else None)

    assert outcome(MAX_BYTES) == ([(TEXT, b"x" * MAX_BYTES)], None)
    assert outcome(MAX_BYTES + 1) == ([], DisconnectReason.MESSAGE_TOO_BIG)


def test_nothing_is_inflated_into_a_message_that_is_full():
    """The decoder holds more than the first frame may have, and none of its bytes are left for the second."""
    compressor = zlib.compressobj(9, wbits=-15)
    packed = compressor.compress(b"x" * (MAX_BYTES + 1000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    for size in range(1, len(packed)):
        parts = [masked(TEXT, packed[:size], fin=False, rsv=4), masked(CONTINUATION, b"")]
        assert alike(cut(parts, Compression(deflate())), cut_by_library(parts, deflate())), size


@pytest.mark.parametrize("size", [3, 126, 70_000])
def test_a_frame_may_come_byte_by_byte(size):
    payload = b"x" * size
    data = masked(TEXT, payload) + masked(PING, b"")
    parts = [data[at : at + 1] for at in range(len(data))]
    assert cut(parts, max_bytes=10**6) == ([(TEXT, payload), (PING, b"")], None)


def test_a_long_frame_that_comes_byte_by_byte_is_looked_at_when_it_is_whole(monkeypatch):
    """Else a megabyte would be copied a million times."""
    reader = FrameReader(10**6)
    data = masked(TEXT, b"x" * 10_000)
    looked = 0
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        looked += not reader.exhausted
        frame = reader.next_frame()
    assert frame is not None
    assert looked <= 4


def test_close_frames_are_judged_as_the_library_judges_them():
    for payload in (b"", *(code.to_bytes(2, "big") + b"bye" for code in range(5100))):
        try:
            Close.parse(payload)
        except ProtocolError:
            with pytest.raises(Fault, match="protocol_error"):
                check_close(payload)
        else:
            check_close(payload)


def test_the_payload_of_a_close_frame():
    assert close_payload(1012, "draining") == Close(1012, "draining").serialize()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frames_of_ours_are_the_librarys(size):
    payload = b"x" * size
    assert text_frame(payload) == LibraryFrame(Opcode.TEXT, payload).serialize(mask=False)
    assert text_of(text_frame(payload)) == payload
    assert frame(FIN | BINARY, payload) == LibraryFrame(Opcode.BINARY, payload).serialize(mask=False)
    if size < 126:
        assert frame(FIN | PONG, payload) == LibraryFrame(Opcode.PONG, payload).serialize(mask=False)
