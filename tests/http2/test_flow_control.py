"""Windows: what may be received is told in time, what may be sent is never exceeded, and neither is made expensive."""

import pytest

from http2_bytes import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawClient,
    frame,
    frames_of,
    number,
    reset,
    window_of,
)
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import DataReceived, RequestReceived, StreamReset, WindowUpdated
from sigbridge_http2.literals import header_block


@pytest.mark.parametrize("first", [window_of(0), window_of(0) + frame(WINDOW_UPDATE, 0, 0, number(1000)), window_of(3)])
def test_trailers_wait_for_no_window_but_for_their_body(first: bytes) -> None:
    client = RawClient(first)
    client.receive(client.request() + frame(WINDOW_UPDATE, 0, 1, number(4)))
    client.respond(1)
    client.server.send_data(1, b"four")
    client.receive(window_of(0))
    client.server.send_trailers(1, [(b"grpc-status", b"0")])
    assert client.kinds() == [HEADERS, DATA, SETTINGS, HEADERS]


def test_the_end_waits_for_its_body() -> None:
    client = RawClient(window_of(3))
    client.receive(client.request(end=True))
    client.respond(1)
    assert client.server.send_data(1, b"four") == 1
    assert client.server.send_data(1, b"", end=True) == 1
    assert client.kinds() == [HEADERS, DATA]
    client.receive(frame(WINDOW_UPDATE, 0, 1, number(4)))
    assert client.sent_with_flags() == [(DATA, END_STREAM, 1, b"r")]
    assert not client.server._active


def test_nothing_follows_an_end_that_an_opening_window_lets_out() -> None:
    client = RawClient(window_of(3))
    client.receive(client.request(end=True))
    client.respond(1)
    client.server.send_data(1, b"four")
    client.server.send_trailers(1, [(b"grpc-status", b"0")])
    client.receive(frame(WINDOW_UPDATE, 0, 1, number(9)))
    assert client.server.send_data(1, b"too late", end=True) == 0
    assert client.kinds() == [HEADERS, DATA, DATA, HEADERS]


@pytest.mark.parametrize("ending", ["none", "data", "trailers"])
def test_trailers_at_once_are_sent_instead_of_what_waits(ending: str) -> None:
    client = RawClient(window_of(3))
    client.receive(client.request(end=True))
    client.respond(1)
    client.server.send_data(1, b"four", end=ending == "data")
    if ending == "trailers":
        client.server.send_trailers(1, [(b"grpc-status", b"0")])
    assert client.kinds() == [HEADERS, DATA]
    client.server.send_trailers(1, [(b"grpc-status", b"8")], at_once=True)
    assert client.sent_with_flags() == [(HEADERS, END_HEADERS | END_STREAM, 1, header_block([(b"grpc-status", b"8")]))]
    assert not client.server._active
    # The stream waits for no window any more.
    client.receive(frame(WINDOW_UPDATE, 0, 0, number(9)) + window_of(100))
    assert client.kinds() == [SETTINGS]


def test_trailers_at_once_come_behind_what_an_open_window_lets_out() -> None:
    client = RawClient(window_of(3))
    client.receive(client.request())
    client.respond(1)
    client.server.send_data(1, b"a longer one")
    client.receive(frame(WINDOW_UPDATE, 0, 1, number(4)))
    client.server.send_trailers(1, [(b"grpc-status", b"8")], at_once=True)
    assert [(kind, payload) for kind, _, payload in client.sent()[1:]] == [
        (DATA, b"a l"),
        (DATA, b"onge"),
        (HEADERS, header_block([(b"grpc-status", b"8")])),
    ]
    assert client.server.unsent(1) == 0


def test_trailers_at_once_do_not_follow_an_end_that_an_opening_window_lets_out() -> None:
    client = RawClient(window_of(3))
    client.receive(client.request(end=True))
    client.respond(1)
    client.server.send_data(1, b"four", end=True)
    client.receive(frame(WINDOW_UPDATE, 0, 1, number(9)))
    client.server.send_trailers(1, [(b"grpc-status", b"8")], at_once=True)
    assert client.kinds() == [HEADERS, DATA, DATA]


def test_a_window_that_overflows_ends_its_stream_and_that_of_the_connection_everything() -> None:
    client = RawClient()
    events = client.receive(client.request() + client.request() + frame(WINDOW_UPDATE, 0, 1, number(MAX_WINDOW)))
    assert [type(event) for event in events] == [RequestReceived, RequestReceived, StreamReset]
    assert client.sent() == [(RST_STREAM, 1, number(ErrorCode.FLOW_CONTROL_ERROR))]
    client.receive(frame(WINDOW_UPDATE, 0, 3, number(0x7FFF0000)) + window_of(65535))
    assert not client.server.broken
    client.receive(frame(WINDOW_UPDATE, 0, 0, number(MAX_WINDOW)))
    assert (client.server.broken, client.said_why()) == (True, ErrorCode.FLOW_CONTROL_ERROR)


def test_settings_that_make_a_window_overflow_end_the_connection() -> None:
    client = RawClient()
    client.receive(client.request() + client.request() + frame(WINDOW_UPDATE, 0, 1, number(0x7FFF0000)))
    client.receive(reset(1) + window_of(70_000))
    assert not client.server.broken, "that stream is gone"
    client.receive(frame(WINDOW_UPDATE, 0, 3, number(0x7FFF0000 - 70_000)) + window_of(140_000))
    assert (client.server.broken, client.said_why()) == (True, ErrorCode.FLOW_CONTROL_ERROR)


def test_settings_may_make_windows_less_than_nothing() -> None:
    client = RawClient(window_of(10))
    client.receive(client.request())
    client.respond(1)
    client.server.send_data(1, b"0123456789")
    client.receive(window_of(0))
    assert client.server.send_data(1, b"more") == 4
    client.sent()
    assert client.receive(frame(WINDOW_UPDATE, 0, 1, number(10))) == []
    (event,) = client.receive(frame(WINDOW_UPDATE, 0, 1, number(1)))
    assert isinstance(event, WindowUpdated)
    assert client.sent() == [(DATA, 1, b"m")]


@pytest.mark.parametrize("length", [(), ((b"content-length", b"60000"),)])
@pytest.mark.parametrize("end", ["cancelled", "reset", "behind"])
def test_streams_that_end_untaken_cost_the_connection_nothing(
    length: tuple[tuple[bytes, bytes], ...], end: str
) -> None:
    client = RawClient()
    for _ in range(300):
        stream_id = client.next_stream
        client.receive(client.request(*length) + frame(DATA, 0, stream_id, bytes(16000)))
        if end == "cancelled":
            client.receive(frame(DATA, 0, stream_id, bytes(16000)) + reset(stream_id))
        else:
            client.server.reset(stream_id, ErrorCode.CANCEL)
            client.sent()
            client.receive(frame(DATA, 0, stream_id, bytes(16000)))
        client.server.acknowledge(stream_id, 32000)
        client.may_send -= 32000
        client.sent()
        assert client.may_send >= 65536
    assert not client.server.broken


def test_streams_that_are_held_back_leave_the_others_their_window() -> None:
    client = RawClient(max_streams=4)
    for stream_id in (1, 3):
        client.receive(client.request() + frame(DATA, 0, stream_id, bytes(16384)) * 4)
    client.receive(client.request((b"content-length", b"900000000")) + client.request())
    client.may_send -= 2 * 65536
    for _ in range(400):
        for stream_id in (5, 7):
            client.receive(frame(DATA, PADDED, stream_id, b"\xff" + bytes(16383)))
            client.server.acknowledge(stream_id, 16384 - 256)
            client.may_send -= 16384
            client.sent()
            assert client.may_send >= 65536
    assert not client.server.broken


def test_a_client_that_has_ended_its_side_is_told_of_no_window() -> None:
    client = RawClient()
    client.receive(client.request() + frame(DATA, 0, 1, bytes(16384)) * 3 + frame(DATA, END_STREAM, 1, b"x"))
    client.server.acknowledge(1, 3 * 16384 + 1)
    assert client.sent() == []


def test_who_reads_nothing_makes_nothing_pile_up() -> None:
    client = RawClient(window_of(0))
    client.receive(client.request())
    client.respond(1)
    client.server.send_data(1, bytes(100_000))
    client.sent()
    told = [event for _ in range(1000) for event in client.receive(frame(WINDOW_UPDATE, 0, 1, number(1)))]
    assert [type(event) for event in told] == [WindowUpdated]
    assert client.sent() == [(DATA, 1, bytes(1000))]


def test_those_that_wait_go_before_what_is_new() -> None:
    client = RawClient()
    client.receive(client.request() + client.request())
    for stream_id in (1, 3):
        client.respond(stream_id)
    client.server.send_data(1, b"a" * 65535)
    client.sent()
    client.receive(frame(WINDOW_UPDATE, 0, 1, number(100)))
    client.server.send_data(1, b"b" * 10)
    client.receive(frame(WINDOW_UPDATE, 0, 0, number(15)))
    client.server.send_data(3, b"c" * 10)
    assert client.sent() == [(DATA, 1, b"b" * 10), (DATA, 3, b"c" * 5)]


def test_a_blocked_stream_that_is_gone_waits_no_more() -> None:
    client = RawClient(window_of(0))
    client.receive(client.request() + client.request())
    for stream_id in (1, 3):
        client.respond(stream_id)
        client.server.send_data(stream_id, b"waits")
    client.receive(reset(1))
    client.server.reset(3, ErrorCode.CANCEL)
    client.sent()
    assert client.receive(window_of(100)) != []
    assert not client.server._windows.blocked
    assert client.kinds() == [SETTINGS]


@pytest.mark.parametrize("flags", [0, PADDED, END_STREAM])
@pytest.mark.parametrize("taken", [0, 20_000])
def test_data_beyond_a_window_ends_the_connection(taken: int, flags: int) -> None:
    client = RawClient()
    client.receive(client.request() + frame(DATA, 0, 1, bytes(16384)) * 4)
    client.server.acknowledge(1, taken)
    assert not client.server.broken
    assert client.receive(frame(DATA, flags, 1, b"\0")) == []
    assert (client.server.broken, client.said_why()) == (True, ErrorCode.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize("late", [False, True])
def test_data_beyond_the_connections_window_ends_it_too(late: bool) -> None:
    client = RawClient(max_streams=1)
    client.receive(client.request())
    client.server._receive_window.left = 100
    if late:
        client.server.reset(1, ErrorCode.CANCEL)
        client.sent()
    client.receive(frame(DATA, 0, 1, bytes(101)))
    assert client.said_why() == ErrorCode.FLOW_CONTROL_ERROR


def test_what_windows_let_out_is_written_in_any_pieces() -> None:
    client = RawClient()
    client.receive(client.request())
    client.respond(1)
    for part in range(50):
        client.server.send_data(1, bytes((part,)) * 100)
    client.server.send_trailers(1, [(b"a", b"b")])
    whole = b""
    for most in (1, 9, 500, 65536, 65536):
        part = client.server.output(most)
        assert len(part) <= most
        whole += part
        assert client.server.unwritten is (most < 65536)
    kinds = [(kind, payload[:1]) for kind, _, _, payload in frames_of(whole)]
    assert kinds == [(HEADERS, b"\x88"), *((DATA, bytes((part,))) for part in range(50)), (HEADERS, b"\0")]


@pytest.mark.parametrize("size", [0, 3])
def test_a_body_is_as_long_as_its_request_says(size: int) -> None:
    def client_with(length: bytes) -> RawClient:
        client = RawClient()
        client.receive(client.request((b"content-length", length)))
        return client

    exact = client_with(b"%d" % size)
    events = exact.receive(frame(DATA, END_STREAM, 1, bytes(size)))
    assert [type(event) for event in events] == [DataReceived]
    for body in (
        frame(DATA, END_STREAM, 1, bytes(size + 1)),
        frame(DATA, 0, 1, bytes(size + 1)),
        *([frame(DATA, END_STREAM, 1), frame(HEADERS, END_HEADERS | END_STREAM, 1)] if size else []),
    ):
        client = client_with(b"%d" % size)
        assert [type(event) for event in client.receive(body)] == [StreamReset]
        assert client.sent() == [(RST_STREAM, 1, number(ErrorCode.PROTOCOL_ERROR))]
    assert client_with(b"0").server._active
    promised = RawClient()
    promised.receive(promised.request((b"content-length", b"1"), end=True))
    assert promised.kinds() == [RST_STREAM]
    assert GOAWAY not in promised.kinds()


def test_nothing_comes_behind_an_end_that_waits_and_no_headers_before_a_body_that_does() -> None:
    client = RawClient(window_of(2))
    client.receive(client.request(end=True))
    client.respond(1)
    client.server.send_data(1, b"four")
    client.server.send_headers(1, [(b":status", b"500")], end=True)
    assert client.server.send_data(1, b"!", end=True) == 3
    assert client.server.send_data(1, b"more") == 3
    client.server.send_trailers(1, [(b"a", b"b")])
    assert client.kinds() == [HEADERS, DATA]
    client.receive(window_of(100))
    assert client.sent_with_flags()[1:] == [(DATA, END_STREAM, 1, b"ur!")]


def test_a_stream_is_told_of_its_window_only_where_the_connections_is_open() -> None:
    client = RawClient()
    client.receive(client.request())
    client.respond(1)
    assert client.server.send_data(1, bytes(65536)) == 1
    client.sent()
    assert client.receive(frame(WINDOW_UPDATE, 0, 1, number(10))) == []
    assert client.sent() == []
    (event,) = client.receive(frame(WINDOW_UPDATE, 0, 0, number(10)))
    assert isinstance(event, WindowUpdated)
    assert client.sent() == [(DATA, 1, b"\0")]


def test_what_the_connections_window_lets_out_is_all_that_is_told_and_sent() -> None:
    client = RawClient()
    client.receive(client.request() + client.request() + client.request())
    for stream_id in (1, 3, 5):
        client.respond(stream_id)
        client.server.send_data(stream_id, bytes((stream_id,)) * 65535)
    client.sent()
    events = client.receive(frame(WINDOW_UPDATE, 0, 0, number(65535)))
    assert [event.stream_id for event in events if isinstance(event, WindowUpdated)] == [3]
    assert {stream_id for _, stream_id, _ in client.sent()} == {3}
    assert client.server.unsent(5) == 65535
