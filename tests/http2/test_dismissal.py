"""Streams whose response is whole before their client has ended its side: it may, and is told to only when it does not."""

import pytest

from http2_bytes import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    RawClient,
    block,
    frame,
    number,
    reset,
)
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import RequestReceived
from sigbridge_http2.floods import MAX_GLITCHES
from sigbridge_http2.streams import (
    CLOSED,
    CLOSED_BY_RESET,
    DISMISSAL_SECONDS,
    DISMISSED,
    NEVER,
    RECEIVE_WINDOW_BYTES,
)
from sigbridge_http2.windows import CREDIT_BYTES, connection_window_bytes

MAX_STREAMS = 10
OURS = [(RST_STREAM, 1, number(ErrorCode.NO_ERROR))]
ENDS = {
    "an end without data": frame(DATA, END_STREAM, 1),
    "an end with data": frame(DATA, END_STREAM, 1, b"the rest"),
    "an end with padding": frame(DATA, END_STREAM | PADDED, 1, b"\1x\0"),
    "trailers": frame(HEADERS, END_HEADERS | END_STREAM, 1, block((b"a", b"b"))),
    "trailers in two frames": frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, END_HEADERS, 1, block((b"a", b"b"))),
    "a reset": reset(1),
}


def dismissed(client: RawClient, *, end: bool = False) -> int:
    """Returns a stream whose response is whole, and of which nothing more is wanted."""
    (request,) = client.receive(client.request(end=end))
    assert isinstance(request, RequestReceived)
    client.server.send_headers(request.stream_id, [(b":status", b"200")], end=True)
    client.server.dismiss(request.stream_id, client.now)
    return request.stream_id


def one_dismissed() -> RawClient:
    client = RawClient(max_streams=MAX_STREAMS)
    assert dismissed(client) == 1
    assert client.kinds() == [HEADERS]
    return client


def accounted(client: RawClient) -> int:
    """The bytes of the connection's window that are not kept from the client for good."""
    window = client.server._receive_window
    return window.left + window.taken + sum(stream.unacknowledged_bytes for stream in client.server._active.values())


@pytest.mark.parametrize("name", ENDS)
def test_no_reset_follows_the_clients_own_end(name: str) -> None:
    client = one_dismissed()
    assert client.receive(ENDS[name]) == []
    assert (client.server._streams.state_of(1), client.server.resets_due) == (CLOSED, NEVER)
    client.server.reset_due(client.now + 100)
    assert (client.sent(), client.server.broken) == ([], False)


@pytest.mark.parametrize(
    "meanwhile",
    [
        b"",
        frame(DATA, 0, 1, b"more"),
        frame(DATA, 0, 1),
        frame(WINDOW_UPDATE, 0, 1, number(1)),
        frame(WINDOW_UPDATE, 0, 1, number(0)),
        frame(WINDOW_UPDATE, 0, 1, number(0x7FFFFFFF)) * 3,
        frame(PRIORITY, 0, 1, number(3) + b"\0"),
        frame(HEADERS, END_HEADERS, 1, block((b"a", b"b"))),
    ],
)
def test_a_reset_follows_later_where_the_client_does_not_end_its_side(meanwhile: bytes) -> None:
    client = one_dismissed()
    due = client.server.resets_due
    assert due == client.now + DISMISSAL_SECONDS
    assert client.receive(meanwhile) == []
    client.server.reset_due(due - 0.01)
    assert (client.server._streams.state_of(1), client.sent()) == (DISMISSED, [])
    client.server.reset_due(due)
    assert (client.server._streams.state_of(1), client.sent()) == (CLOSED_BY_RESET, OURS)
    assert client.server.resets_due == NEVER
    # What crosses it is late, and no fault.
    for late in ENDS.values():
        assert client.receive(late) == []
    assert (client.sent(), client.server.broken) == ([], False)


def test_each_has_its_own_time() -> None:
    client = RawClient(max_streams=MAX_STREAMS)
    first, began = dismissed(client), client.now
    client.now += DISMISSAL_SECONDS / 2
    second = dismissed(client)
    client.sent()
    assert client.server.resets_due == began + DISMISSAL_SECONDS
    client.server.reset_due(client.server.resets_due)
    assert client.sent() == [(RST_STREAM, first, number(0))]
    assert client.server.resets_due == client.now + DISMISSAL_SECONDS
    client.server.reset_due(client.server.resets_due)
    assert client.sent() == [(RST_STREAM, second, number(0))]


def test_only_a_response_that_is_whole_is_waited_behind() -> None:
    client = RawClient()
    client.receive(client.request())
    client.respond(1)
    client.server.dismiss(1, client.now)
    client.server.dismiss(99, client.now)
    assert client.server.resets_due == NEVER
    assert dismissed(client, end=True) == 3
    assert (client.server.resets_due, client.server._streams.state_of(3)) == (NEVER, CLOSED)


# What is still sent on it.


def test_what_is_dropped_is_given_back_to_the_connection_and_not_to_the_stream() -> None:
    client = RawClient(max_streams=MAX_STREAMS)
    client.receive(client.request() + frame(DATA, 0, 1, bytes(10_000)))
    client.server.send_headers(1, [(b":status", b"200")], end=True)
    # Nothing of what has come was acknowledged.
    client.server.dismiss(1, client.now)
    assert accounted(client) == connection_window_bytes(MAX_STREAMS)
    for _ in range(5):
        client.receive(frame(DATA, 0, 1, bytes(10_000)))
    assert accounted(client) == connection_window_bytes(MAX_STREAMS)
    assert WINDOW_UPDATE not in client.kinds()
    client.receive(frame(DATA, 0, 1, bytes(RECEIVE_WINDOW_BYTES - 60_000)))
    assert not client.server.broken
    client.receive(frame(DATA, 0, 1, b"x"))
    assert client.said_why() == ErrorCode.FLOW_CONTROL_ERROR


def test_the_connections_window_stays_as_wide_over_many() -> None:
    client = RawClient(max_streams=MAX_STREAMS)
    widened = 0
    for _ in range(3 * CREDIT_BYTES // RECEIVE_WINDOW_BYTES):
        stream_id = dismissed(client)
        client.receive(frame(DATA, 0, stream_id, bytes(16384)) * 4)
        client.now += DISMISSAL_SECONDS
        client.server.reset_due(client.now)
        widened += sum(kind == WINDOW_UPDATE for kind in client.kinds())
        assert accounted(client) == connection_window_bytes(MAX_STREAMS)
    assert (widened, client.server.broken) == (3, False)


def test_headers_on_it_keep_the_table_in_step() -> None:
    client = one_dismissed()
    client.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40\x04late\x05entry"))
    following = client.request()
    (request,) = client.receive(following[:2] + bytes((following[2] + 1,)) + following[3:] + b"\xbe")
    assert isinstance(request, RequestReceived)
    assert request.headers[-1] == (b"late", b"entry")


# Many.


def test_the_clients_own_resets_take_nothing_back_and_are_no_flood() -> None:
    client = RawClient(max_streams=MAX_STREAMS)
    for _ in range(3 * MAX_GLITCHES):
        client.receive(reset(dismissed(client), ErrorCode.NO_ERROR))
    assert (client.server.broken, client.server._streams.dismissed) == (False, {})


def test_of_very_many_those_that_wait_longest_are_reset_at_once() -> None:
    """So half of the streams can be opened, also by a client that counts as open what it has not ended."""
    client = RawClient(max_streams=MAX_STREAMS)
    streams = [dismissed(client) for _ in range(100)]
    resets = [stream_id for kind, stream_id, _ in client.sent() if kind == RST_STREAM]
    assert resets == streams[: -MAX_STREAMS // 2]
    assert list(client.server._streams.dismissed) == streams[-MAX_STREAMS // 2 :]
    # They are none of the streams that are open.
    for _ in range(MAX_STREAMS):
        client.receive(client.request())
    assert client.kinds() == []
    client.receive(client.request())
    assert client.kinds() == [RST_STREAM]


# The end of the connection.


def goodbye(client: RawClient, whose: str) -> None:
    if whose == "ours":
        client.server.goaway()
    else:
        client.receive(frame(GOAWAY, 0, 0, bytes(8)))


both_goodbyes = pytest.mark.parametrize("whose", ["ours", "the client's"])


def test_it_is_reset_before_our_goodbye() -> None:
    """Clients of grpc's C core lose the end of a response whose stream is open for them when the connection ends."""
    client = one_dismissed()
    assert client.server.awaits_ends
    goodbye(client, "ours")
    assert (client.server.over, client.server.awaits_ends, client.server.resets_due) == (True, False, NEVER)
    assert client.kinds() == [RST_STREAM, GOAWAY]


@both_goodbyes
@pytest.mark.parametrize("name", [*ENDS, ""])
def test_behind_a_goodbye_the_connection_is_not_over_without_its_end(name: str, whose: str) -> None:
    client = RawClient(max_streams=MAX_STREAMS)
    client.receive(client.request())
    goodbye(client, whose)
    client.server.send_headers(1, [(b":status", b"200")], end=True)
    client.server.dismiss(1, client.now)
    client.sent()
    assert not client.server.over
    if name:
        assert client.receive(ENDS[name]) == []
    else:
        client.server.reset_due(client.server.resets_due)
    assert (client.server.over, client.sent()) == (True, [] if name else OURS)


def test_nothing_is_kept_of_it_when_the_connection_breaks() -> None:
    client = one_dismissed()
    client.receive(frame(DATA, 0, 0))
    assert (client.server.broken, client.server._streams.dismissed) == (True, {})
