"""States of streams: every frame in every state does what the tables say, and the tables say what the RFC does."""

import pytest

from http2_bytes import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    RawClient,
    block,
    frame,
    number,
    reset,
)
from sigbridge_http2 import streams
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import DataReceived, RequestReceived, StreamReset, TrailersReceived
from sigbridge_http2.streams import IGNORED, ON_END_RECEIVED, ON_END_SENT, ON_FRAME, STATE_NAMES, TAKEN

STATES = range(len(STATE_NAMES))
FRAMES = {
    DATA: lambda stream_id: frame(DATA, 0, stream_id, b"body"),
    HEADERS: lambda stream_id: frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block((b"a", b"b"))),
    RST_STREAM: reset,
    WINDOW_UPDATE: lambda stream_id: frame(WINDOW_UPDATE, 0, stream_id, number(1)),
}


def in_state(state: int) -> tuple[RawClient, int]:
    """A connection, and a stream of it that is in that state."""
    client = RawClient()
    if state == streams.IDLE:
        return client, 1
    if state == streams.CLOSED_UNUSED:
        client.next_stream = 5
        client.receive(client.request())
        return client, 1
    client.receive(client.request(end=state in (streams.HALF_CLOSED_REMOTE, streams.CLOSED)))
    if state in (streams.HALF_CLOSED_LOCAL, streams.DISMISSED, streams.CLOSED):
        client.server.send_headers(1, [(b":status", b"200")], end=True)
    if state == streams.DISMISSED:
        client.server.dismiss(1, client.now)
    if state == streams.CLOSED_BY_RESET:
        client.server.reset(1, ErrorCode.CANCEL)
    client.sent()
    assert client.server._streams.state_of(1) == state
    return client, 1


@pytest.mark.parametrize("state", STATES, ids=STATE_NAMES)
@pytest.mark.parametrize("kind", ON_FRAME)
def test_every_frame_in_every_state(kind: int, state: int) -> None:
    client, stream_id = in_state(state)
    events = client.receive(FRAMES[kind](stream_id))
    verdict = ON_FRAME[kind][state]
    if verdict == IGNORED:
        assert (events, client.sent(), client.server.broken) == ([], [], False)
    elif verdict == TAKEN:
        assert not client.server.broken
        if kind == HEADERS and state == streams.IDLE:
            # As a request this is malformed, and its stream was open for a moment.
            assert client.sent() == [(RST_STREAM, 1, number(ErrorCode.PROTOCOL_ERROR))]
        elif kind != WINDOW_UPDATE:
            kinds = {DATA: DataReceived, HEADERS: TrailersReceived, RST_STREAM: StreamReset}
            assert [type(event) for event in events] == [kinds[kind]]
    else:
        assert (events, client.server.broken, client.said_why()) == ([], True, verdict)


def test_ends_lead_to_the_states_of_the_rfc() -> None:
    names = {
        "received": {STATE_NAMES[state]: STATE_NAMES[ON_END_RECEIVED[state]] for state in (1, 3)},
        "sent": {STATE_NAMES[state]: STATE_NAMES[ON_END_SENT[state]] for state in (1, 2)},
    }
    assert names == {
        "received": {"open": "half-closed (remote)", "half-closed (local)": "closed"},
        "sent": {"open": "half-closed (local)", "half-closed (remote)": "closed"},
    }


def test_late_frames_of_a_stream_that_we_have_reset_keep_tables_and_windows_in_step() -> None:
    client, stream_id = in_state(streams.CLOSED_BY_RESET)
    indexed = b"\x40\x04late\x05entry"
    client.receive(frame(HEADERS, END_HEADERS, stream_id, indexed))
    client.receive(frame(HEADERS, 0, stream_id, indexed[:4]) + frame(CONTINUATION, END_HEADERS, stream_id, indexed[4:]))
    before = client.server._receive_window.left + client.server._receive_window.taken
    client.receive(frame(DATA, 0, stream_id, bytes(1000)))
    assert client.server._receive_window.left + client.server._receive_window.taken == before
    following = client.request()
    (request,) = client.receive(following[:2] + bytes((following[2] + 1,)) + following[3:] + b"\xbe")
    assert isinstance(request, RequestReceived)
    assert request.headers[-1] == (b"late", b"entry")


@pytest.mark.parametrize("stream_id", [0, 2])
def test_streams_that_are_not_the_clients(stream_id: int) -> None:
    for kind in (DATA, HEADERS, RST_STREAM):
        client = RawClient()
        client.receive(FRAMES[kind](stream_id))
        assert client.said_why() == ErrorCode.PROTOCOL_ERROR


def test_the_id_of_a_stream_is_31_bits() -> None:
    client = RawClient()
    client.receive(client.request())
    (event,) = client.receive(frame(DATA, 0, 0x80000001, b"reserved"))
    assert isinstance(event, DataReceived)
    assert event.stream_id == 1


def test_streams_beyond_the_limit_are_refused_and_those_behind_our_goodbye_ignored() -> None:
    client = RawClient(max_streams=2)
    client.receive(client.request() + client.request())
    assert client.receive(client.request()) == []
    assert client.sent() == [(RST_STREAM, 5, number(ErrorCode.REFUSED_STREAM))]
    client.receive(reset(1))
    client.server.goaway()
    client.sent()
    assert client.receive(client.request() + frame(DATA, END_STREAM, 7, b"body")) == []
    assert (client.sent(), client.server.broken) == ([], False)
    (event,) = client.receive(frame(DATA, 0, 3, b"goes on"))
    assert isinstance(event, DataReceived)


def test_blocks_behind_our_goodbye_keep_the_table_in_step() -> None:
    client = RawClient()
    client.receive(client.request())
    client.server.goaway()
    ignored = client.request()
    client.receive(ignored[:2] + bytes((ignored[2] + 12,)) + ignored[3:] + b"\x40\x04late\x05entry")
    (event,) = client.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xbe"))
    assert isinstance(event, TrailersReceived)
    assert event.headers == [(b"late", b"entry")]


@pytest.mark.parametrize(("begun", "late"), [([1, 5], 3), ([5], 1), ([5], 3), ([1, 3, 9], 7)])
def test_streams_that_are_jumped_over_are_closed_unused(begun: list[int], late: int) -> None:
    client = RawClient()
    for stream_id in begun:
        client.next_stream = stream_id
        client.receive(client.request())
    assert client.server._streams.state_of(late) == streams.CLOSED_UNUSED
    client.receive(FRAMES[HEADERS](late))
    assert client.said_why() == ErrorCode.PROTOCOL_ERROR
