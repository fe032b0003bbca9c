"""Requests and trailers that break HTTP's rules are malformed, and our own blocks can be read by anybody."""

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from http2_bytes import END_HEADERS, HEADERS, REQUEST, RST_STREAM, RawClient, block, frame, number
from sigbridge_http2.errors import ErrorCode, MalformedFields
from sigbridge_http2.events import Header, StreamReset
from sigbridge_http2.fields import check_request, check_trailers
from sigbridge_http2.literals import TABLE_SIZE_ZERO, header_block
from sigbridge_http2.streams import UNKNOWN_LENGTH

WITHOUT_AUTHORITY = REQUEST[:3]


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (REQUEST, UNKNOWN_LENGTH),
        ([*WITHOUT_AUTHORITY, (b"host", b"a")], UNKNOWN_LENGTH),
        ([*REQUEST, (b"content-length", b"12")], 12),
        ([*REQUEST, (b"content-length", b"12"), (b"content-length", b"12")], 12),
        ([*REQUEST, (b"te", b"trailers"), (b"x-any.thing_1", b"a\tb \xff"), (b"empty", b"")], UNKNOWN_LENGTH),
        ([(b":method", b"CONNECT"), (b":authority", b"a:1")], UNKNOWN_LENGTH),
        ([(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), (b":authority", b"a")], UNKNOWN_LENGTH),
    ],
)
def test_a_request_says_how_long_it_is(fields: list[Header], length: int) -> None:
    assert check_request(fields) == length


MALFORMED = {
    "no method": REQUEST[1:],
    "no scheme": [REQUEST[0], *REQUEST[2:]],
    "no path": [*REQUEST[:2], REQUEST[3]],
    "no authority and no host": WITHOUT_AUTHORITY,
    "a method twice": [*REQUEST, (b":method", b"GET")],
    "a path twice": [*REQUEST, (b":path", b"/y")],
    "an unknown pseudo-header": [*REQUEST, (b":protocol", b"websocket")],
    "a response's pseudo-header": [*REQUEST, (b":status", b"200")],
    "a pseudo-header behind a field": [*WITHOUT_AUTHORITY, (b"a", b"b"), REQUEST[3]],
    "an empty path": [*REQUEST[:2], (b":path", b""), REQUEST[3]],
    "a path without a slash": [*REQUEST[:2], (b":path", b"x"), REQUEST[3]],
    "a star for another method": [*REQUEST[:2], (b":path", b"*"), REQUEST[3]],
    "CONNECT with a path": [(b":method", b"CONNECT"), *REQUEST[2:]],
    "CONNECT without authority": [(b":method", b"CONNECT")],
    "a capital letter": [*REQUEST, (b"Name", b"v")],
    "a space in a name": [*REQUEST, (b"na me", b"v")],
    "a colon in a name": [*REQUEST, (b"na:me", b"v")],
    "no name": [*REQUEST, (b"", b"v")],
    "a line feed": [*REQUEST, (b"name", b"a\nb: c")],
    "a carriage return": [*REQUEST, (b"name", b"a\rb")],
    "a NUL": [*REQUEST, (b"name", b"a\0b")],
    "a NUL in a path": [*REQUEST[:2], (b":path", b"/\0"), REQUEST[3]],
    "a space before a value": [*REQUEST, (b"name", b" a")],
    "a tab behind a value": [*REQUEST, (b"name", b"a\t")],
    "connection": [*REQUEST, (b"connection", b"close")],
    "upgrade": [*REQUEST, (b"upgrade", b"websocket")],
    "transfer-encoding": [*REQUEST, (b"transfer-encoding", b"chunked")],
    "another te": [*REQUEST, (b"te", b"gzip")],
    "a length that is no number": [*REQUEST, (b"content-length", b"-1")],
    "a length without end": [*REQUEST, (b"content-length", b"9" * 5000)],
    "two lengths": [*REQUEST, (b"content-length", b"1"), (b"content-length", b"2")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_reset(fields: list[Header]) -> None:
    with pytest.raises(MalformedFields):
        check_request(fields)
    if max(len(value) for _, value in fields) < 127:
        client = RawClient()
        assert client.receive(frame(HEADERS, END_HEADERS, 1, block(*fields))) == []
        assert client.sent() == [(RST_STREAM, 1, number(ErrorCode.PROTOCOL_ERROR))]
        assert not client.server.broken


@pytest.mark.parametrize("field", [(b":path", b"/x"), (b"A", b"b"), (b"a", b"\0"), (b"upgrade", b"x")])
def test_malformed_trailers_reset_their_stream(field: Header) -> None:
    check_trailers([(b"digest", b"x")])
    with pytest.raises(MalformedFields):
        check_trailers([field])
    client = RawClient()
    client.receive(client.request())
    (event,) = client.receive(frame(HEADERS, END_HEADERS | 1, 1, block(field)))
    assert isinstance(event, StreamReset)
    assert client.sent() == [(RST_STREAM, 1, number(ErrorCode.PROTOCOL_ERROR))]


@given(
    st.sampled_from([b"200", b"204", b"404", b"101"]),
    st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=40_000)), max_size=6),
    st.booleans(),
)
@example(b"200", [(b":status", b"\0\0\0\x81")], False)
def test_what_we_write_hpack_reads(status: bytes, fields: list[Header], resized: bool) -> None:
    fields = [(b":status", status), *fields]
    decoder = hpack.Decoder(max_header_list_size=1 << 30)
    data = TABLE_SIZE_ZERO * resized + header_block(fields)
    assert [(bytes(name), bytes(value)) for name, value in decoder.decode(data, raw=True)] == fields
    assert not decoder.header_table.dynamic_entries
