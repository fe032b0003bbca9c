"""Frames in any fragmentation; and each way in which a frame can be wrong by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http2_bytes import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawClient,
    block,
    frame,
    number,
    settings,
    window_of,
)
from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import DataReceived, RequestReceived, TrailersReceived

HAS_PRIORITY = 0x20
PRIORITIES = b"\x80\0\0\0\x10"


def heard(events: list[object]) -> list[tuple[object, ...]]:
    return [
        (type(event).__name__, *(getattr(event, name) for name in getattr(type(event), "__slots__", ())))
        for event in events
    ]


@given(st.lists(st.integers(1, 60), max_size=40))
def test_frames_come_in_any_pieces(sizes: list[int]) -> None:
    said = PREFACE + b"".join(
        (
            window_of(1000),
            frame(HEADERS, END_HEADERS, 1, block(*REQUEST)),
            frame(DATA, 0, 1, b"first"),
            frame(DATA, PADDED, 1, b"\x03second\0\0\0"),
            frame(HEADERS, HAS_PRIORITY, 3, PRIORITIES + block(*REQUEST[:2])),
            frame(CONTINUATION, END_HEADERS, 3, block(*REQUEST[2:])),
            frame(99, 7, 1, b"of an unknown type"),
            frame(PING, 0, 0, b"12345678"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, block((b"a", b"b"))),
        )
    )
    whole = Connection(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
    wanted = heard(whole.receive(said, 0))
    cut = Connection(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
    events: list[object] = []
    for size in sizes:
        events += cut.receive(said[:size], 0)
        said = said[size:]
    assert heard([*events, *cut.receive(said, 0)]) == wanted
    assert cut.output(65536) == whole.output(65536)
    assert [name for name, *_ in wanted] == [
        "SettingsReceived", "RequestReceived", "DataReceived", "DataReceived", "RequestReceived", "PingReceived",
        "TrailersReceived",
    ]  # fmt: skip


FAULTS = {
    "a frame that is too long": (b"\0\x40\x01\0\0\0\0\0\x01", ErrorCode.FRAME_SIZE_ERROR),
    "padding longer than its frame": (frame(DATA, PADDED, 1, b"\x04abc"), ErrorCode.PROTOCOL_ERROR),
    "padding without a length": (frame(DATA, PADDED, 1), ErrorCode.PROTOCOL_ERROR),
    "headers all padding": (frame(HEADERS, PADDED | END_HEADERS, 3, b"\x01"), ErrorCode.PROTOCOL_ERROR),
    "half a priority": (frame(HEADERS, HAS_PRIORITY | END_HEADERS, 3, b"\0\0"), ErrorCode.FRAME_SIZE_ERROR),
    "headers that depend on themselves": (
        frame(HEADERS, HAS_PRIORITY | END_HEADERS, 3, number(3) + b"\0"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a priority on itself": (frame(PRIORITY, 0, 3, number(3) + b"\0"), ErrorCode.PROTOCOL_ERROR),
    "a priority of the connection": (frame(PRIORITY, 0, 0, PRIORITIES), ErrorCode.PROTOCOL_ERROR),
    "a short priority": (frame(PRIORITY, 0, 3, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    "a short reset": (frame(RST_STREAM, 0, 1, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    "a stream's settings": (frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "half a setting": (frame(SETTINGS, 0, 0, b"\0\4\0"), ErrorCode.FRAME_SIZE_ERROR),
    "an acknowledgement that says something": (frame(SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "push that is neither on nor off": (settings((2, 2)), ErrorCode.PROTOCOL_ERROR),
    "a window that is too large": (window_of(0x80000000), ErrorCode.FLOW_CONTROL_ERROR),
    "frames that are too small": (settings((5, 16383)), ErrorCode.PROTOCOL_ERROR),
    "frames that are too large": (settings((5, 1 << 24)), ErrorCode.PROTOCOL_ERROR),
    "a push": (frame(PUSH_PROMISE, END_HEADERS, 1, number(2)), ErrorCode.PROTOCOL_ERROR),
    "a stream's ping": (frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a short ping": (frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a stream's goodbye": (frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a short goodbye": (frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a short window": (frame(WINDOW_UPDATE, 0, 0, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    "a window of nothing": (frame(WINDOW_UPDATE, 0, 0, number(0)), ErrorCode.PROTOCOL_ERROR),
    "a continuation of nothing": (frame(CONTINUATION, END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR),
    "another's continuation": (
        frame(HEADERS, 0, 3, block(*REQUEST)) + frame(CONTINUATION, END_HEADERS, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "data between headers": (frame(HEADERS, 0, 3) + frame(DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "settings between headers": (frame(HEADERS, 0, 3) + settings(), ErrorCode.PROTOCOL_ERROR),
    "an unknown frame between headers": (frame(HEADERS, 0, 3) + frame(99, 0, 0), ErrorCode.PROTOCOL_ERROR),
    "headers that are no block": (frame(HEADERS, END_HEADERS, 3, b"\xff\xff"), ErrorCode.COMPRESSION_ERROR),
}


@pytest.mark.parametrize(("fault", "code"), FAULTS.values(), ids=FAULTS)
def test_a_fault_ends_the_connection_behind_what_came_before(fault: bytes, code: ErrorCode) -> None:
    client = RawClient()
    events = client.receive(client.request() + frame(DATA, 0, 1, b"heard") + fault + frame(DATA, 0, 1, b"unheard") * 2)
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"heard"]
    assert (client.server.broken, client.receive(frame(DATA, 0, 1, b"later"))) == (True, [])
    client.respond(1)
    client.server.send_data(1, b"late")
    assert client.sent() == [(GOAWAY, 0, number(1) + number(code))]


@pytest.mark.parametrize(
    "first",
    [
        frame(WINDOW_UPDATE, 0, 0, number(1)),
        frame(SETTINGS, 1, 0),
        frame(PING, 0, 0, bytes(8)),
        frame(HEADERS, END_HEADERS, 1, block(*REQUEST)),
        frame(DATA, 0, 1, b"x"),
        frame(99, 0, 0),
    ],
)
def test_settings_come_first(first: bytes) -> None:
    server = Connection(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
    assert server.receive(PREFACE + first, 0) == []
    assert server.broken


@pytest.mark.parametrize("preface", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"\0"])
def test_another_preface_is_refused_at_its_first_wrong_byte(preface: bytes) -> None:
    server = Connection(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
    for at in range(len(preface)):
        server.receive(preface[at : at + 1], 0)
        if preface[: at + 1] != PREFACE[: at + 1]:
            break
    assert server.broken


def test_settings_that_nobody_knows_are_ignored() -> None:
    client = RawClient()
    client.receive(settings((0xFFFF, 1), (4, 10), (0x99, 0xFFFFFFFF)))
    assert client.sent() == [(SETTINGS, 0, b"")]
    assert client.server._windows.initial == 10


def test_an_answer_to_no_ping_is_no_fault() -> None:
    client = RawClient()
    client.receive(frame(PING, 1, 0, bytes(8)))
    assert not client.server.broken


def test_trailers_and_requests_in_one_chunk() -> None:
    client = RawClient()
    events = client.receive(client.request() + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"") + client.request())
    assert [type(event) for event in events] == [RequestReceived, TrailersReceived, RequestReceived]
