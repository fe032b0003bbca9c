"""Our decoder reads what hpack and libnghttp2 read, and refuses what they refuse: random blocks, and real clients'."""

from contextlib import suppress
from pathlib import Path

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

from http2_bytes import END_HEADERS, END_STREAM, HEADERS, PREFACE, block, frame
from http2_bytes import settings as settings_frame
from sigbridge_http2.decoder import FieldDecoder
from sigbridge_http2.errors import ConnectionFault, ErrorCode
from sigbridge_http2.events import Header
from sigbridge_http2.huffman import CODE_LENGTHS, codes, huffman_decoded
from sigbridge_http2.static_table import STATIC_TABLE

BLOCKS = sorted((Path(__file__).parent / "blocks").glob("*.hex"))
MOST = 65536


def read(kept: Path) -> list[bytes]:
    return [bytes.fromhex(line) for line in kept.read_text().split()]


def by_hpack(decoder: hpack.Decoder, data: bytes) -> list[Header] | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(data, raw=True)]
    except hpack.HPACKError:
        return None


def by_ours(decoder: FieldDecoder, data: bytes) -> list[Header] | None:
    try:
        return decoder.decode(data)
    except ConnectionFault:
        return None


# The tables.


def test_the_static_table_is_the_rfcs() -> None:
    assert tuple(STATIC_TABLE[1:]) == HeaderTable.STATIC_TABLE


def test_the_code_is_the_rfcs() -> None:
    assert list(CODE_LENGTHS) == REQUEST_CODES_LENGTH
    assert codes() == REQUEST_CODES


@given(st.binary(max_size=300))
def test_what_is_coded_is_decoded(plain: bytes) -> None:
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(plain)
    assert huffman_decoded(b"-" + coded + b"-", 1, 1 + len(coded)) == plain


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused_as_hpack_does(coded: bytes) -> None:
    try:
        theirs = decode_huffman(coded)
    except hpack.HPACKDecodingError:
        theirs = None
    try:
        ours = huffman_decoded(coded, 0, len(coded))
    except ConnectionFault:
        ours = None
    assert ours == theirs


# Blocks.


names = st.one_of(
    st.sampled_from([name for name, _ in HeaderTable.STATIC_TABLE] + [b"grpc-timeout", b"x", b"traceparent"]),
    st.binary(min_size=1, max_size=40),
)
values = st.one_of(st.sampled_from([b"", b"POST", b"application/grpc", b"trailers"]), st.binary(max_size=200))
lists = st.lists(st.tuples(names, values), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(lists, st.booleans(), st.sampled_from([None, 0, 40, 100, 4096])), min_size=1, max_size=8))
def test_what_hpack_encodes_we_decode(blocks: list[tuple[list[Header], bool, int | None]]) -> None:
    encoder, decoder = hpack.Encoder(), FieldDecoder(MOST)
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        assert decoder.decode(encoder.encode(fields, huffman=huffman)) == fields


pieces = st.one_of(
    st.binary(max_size=8),
    st.integers(0x80, 0xFF).map(lambda index: bytes((index,))),
    st.tuples(st.sampled_from(b"\x00\x10\x40"), st.binary(max_size=20), st.binary(max_size=20)).map(
        lambda parts: bytes((parts[0], len(parts[1]))) + parts[1] + bytes((len(parts[2]),)) + parts[2]
    ),
    st.tuples(st.integers(0x41, 0x7F), st.binary(max_size=30)).map(
        lambda parts: bytes((parts[0], len(parts[1]))) + parts[1]
    ),
    st.integers(0x20, 0x3F).map(lambda size: bytes((size,))),
    st.sampled_from([b"\x3f\xe1\x1f", b"\x3f\xe2\x1f", b"\x20", b"\xff\xff\xff\xff\x0f", b"\xff\x80\x80\x00"]),
)


def is_odd_but_legal(data: bytes) -> bool:
    """Numbers of more than five bytes, which we refuse whatever they are, and hpack where they are too large."""
    run = longest = 0
    for byte in data:
        run = run + 1 if byte >= 0x80 else 0
        longest = max(longest, run)
    return longest >= 4


@settings(max_examples=4 * settings().max_examples)
@given(st.lists(st.lists(pieces, max_size=10).map(b"".join), min_size=1, max_size=6))
def test_any_blocks_are_decoded_or_refused_as_hpack_does(blocks: list[bytes]) -> None:
    ours, theirs = FieldDecoder(MOST), hpack.Decoder()
    theirs.max_allowed_table_size = 4096
    for data in blocks:
        one, other = by_ours(ours, data), by_hpack(theirs, data)
        if one is None and other is not None:
            assert is_odd_but_legal(data)
        else:
            assert one == other
        if one is None:
            # The connection is over.
            return


@pytest.mark.parametrize("kept", BLOCKS, ids=lambda kept: kept.stem)
def test_the_blocks_of_real_clients(kept: Path) -> None:
    ours, theirs = FieldDecoder(MOST), hpack.Decoder()
    for number, data in enumerate(read(kept)):
        fields = ours.decode(data)
        assert fields == by_hpack(theirs, data)
        assert dict(fields)[b":path"].startswith(b"/remotemedia.v1.webrtc.WebRtcSignaling/")
        assert (b"traceparent" in dict(fields)) is (number >= 4)


def test_four_clients_are_kept() -> None:
    assert {"grpcio", "grpc-go", "grpc-js", "tonic"} <= {kept.stem for kept in BLOCKS}


@pytest.mark.parametrize("kept", BLOCKS, ids=lambda kept: kept.stem)
@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_block_that_is_cut_off_is_refused_as_hpack_does(kept: Path, cut: int) -> None:
    data = read(kept)[0][:-cut]
    assert by_ours(FieldDecoder(MOST), data) == by_hpack(hpack.Decoder(), data)


@settings(max_examples=3 * settings().max_examples)
@given(st.lists(st.lists(pieces, max_size=6).map(b"".join), min_size=1, max_size=4))
def test_any_blocks_are_decoded_or_refused_as_libnghttp2_does(blocks: list[bytes]) -> None:
    """As the headers behind those of a request; what HTTP has against them is another matter, and the table stays."""
    ngh2 = pytest.importorskip("ngh2", reason="has no wheel for this platform")
    ours = FieldDecoder(MOST)
    library = ngh2.Connection(ngh2.Role.SERVER, ngh2.Configuration(max_inbound_header_list_size=MOST))
    library.initiate_connection({})
    library.receive_data(PREFACE + settings_frame())
    request = block((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"a"))
    for number, data in enumerate(blocks):
        one = by_ours(ours, data)
        # Sizes of the table come first in a block.
        sizes = len(data) - len(data.lstrip(bytes(range(0x20, 0x3F))))
        whole = data[:sizes] + request + data[sizes:]
        with suppress(ngh2.NGH2Error):
            library.receive_data(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, whole))
        refused = frame_kinds(library.data_to_send()).get(7) == ErrorCode.COMPRESSION_ERROR
        if refused != (one is None):
            assert is_odd_but_legal(data) or b"\x3f" in data, (refused, one)
        if one is None or refused:
            return
        for event in library.events():
            if isinstance(event, ngh2.RequestReceived):
                assert [(bytes(name), bytes(value)) for name, value in event.headers][4:] == one


def frame_kinds(data: bytes) -> dict[int, int]:
    """The kinds of frames, and of GOAWAY its code."""
    found = {}
    while data:
        found[data[3]] = int.from_bytes(data[13:17], "big")
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return found


# What is refused.


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "an entry that is not there"),
        (b"\xff\xff\xff\xff\xff\x0f", "a number without end"),
        (b"\xff", "half a number"),
        (b"\x00\x05abc", "half a name"),
        (b"\x00\x01a", "no value"),
        (b"\x00", "no name"),
        (b"\x7e\x01a", "the name of an entry that is not there"),
        (b"\x3f\xe2\x1f", "a table of 4097 bytes"),
        (b"\x82\x20", "a table's size in the midst"),
        (b"\x00\x81\xff\x01a", "padding of eight bits"),
        (b"\x00\x81\x00\x01a", "padding of zeros"),
        (b"\x00\x84\xff\xff\xff\xff\x01a", "the end of the string, coded"),
    ],
)
def test_what_is_no_block_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ConnectionFault) as caught:
        FieldDecoder(MOST).decode(data)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR, why


def test_the_oldest_entries_make_room_and_a_size_of_zero_empties_the_table() -> None:
    decoder = FieldDecoder(MOST)
    entries = [(b"n%d" % number, b"v" * 1000) for number in range(5)]
    for name, value in entries:
        decoder.decode(b"\x40" + bytes((len(name),)) + name + b"\x7f\xe9\x06" + value)
    assert decoder.decode(b"\xbe\xbf\xc0") == entries[:1:-1]
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xc1")
    assert decoder.decode(b"\x20\x3f\xe1\x1f") == []
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xbe")


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = FieldDecoder(MOST)
    decoder.decode(b"\x40\x01a\x01b")
    decoder.decode(b"\x40\x01c\x7f\xa1\x1f" + b"d" * 4128)
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xbe")


def test_fields_that_become_too_large_are_refused() -> None:
    decoder = FieldDecoder(100)
    assert decoder.decode(b"\x82" * 2) == [(b":method", b"GET")] * 2
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(b"\x82" * 3)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
