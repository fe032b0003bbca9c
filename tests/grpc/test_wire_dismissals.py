"""The gRPC wire: calls that end before their client has ended its side, which is reset only where it does not."""

from collections.abc import Callable

import pytest

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, SIGNAL, GrpcLine, WiredServer, make_server, nothing_is_left
from http2_bytes import END_STREAM
from sigbridge.disconnects import DisconnectReason
from sigbridge_grpc.framing import framed
from sigbridge_http2.frames import DATA, frame, reset_frame
from sigbridge_http2.streams import DISMISSAL_SECONDS, NEVER


def too_big(line: GrpcLine) -> int:
    stream_id = line.open(SIGNAL)
    line.http2.send_data(stream_id, b"\0\x7f\xff\xff\xff")
    return stream_id


def revoked(line: GrpcLine) -> int:
    call = line.session("a")
    for session in list(line.server.hub._sessions.values()):
        line.server.hub.end(session, DisconnectReason.REVOKED, line.clock.now)
    return call.stream_id


def two_questions(line: GrpcLine) -> int:
    stream_id = line.open(GET_PEERS)
    line.http2.send_data(stream_id, framed(b"") * 2)
    return stream_id


ENDED = {
    "a session": (revoked, 7),
    "a message that is too big": (too_big, 8),
    "a unary call with two messages": (two_questions, 12),
    "a method that is unknown": (lambda line: line.open("/no/Method"), 12),
    "an encoding that is unknown": (lambda line: line.open(SIGNAL, (b"grpc-encoding", b"br")), 12),
}
ended = pytest.mark.parametrize(("begin", "status"), ENDED.values(), ids=ENDED)


@ended
@pytest.mark.parametrize("own_end", [frame(DATA, END_STREAM, 1, b""), reset_frame(1, 0)], ids=["end", "reset"])
def test_there_is_no_reset_where_the_client_ends_its_side(
    server: WiredServer, begin: Callable[[GrpcLine], int], status: int, own_end: bytes
) -> None:
    line = server.line()
    stream_id = begin(line)
    line.pump()
    outcome = line.outcomes[stream_id]
    assert (stream_id, outcome.status, outcome.ended, outcome.reset) == (1, status, True, None)
    line.feed(own_end)
    assert line.wire._http2.resets_due == NEVER
    for _ in range(3):
        line.outlast_dismissals()
    assert outcome.reset is None
    assert line.call(CHECK, b"").status == 0
    nothing_is_left(line)


@ended
def test_there_is_one_later_where_it_does_not(
    server: WiredServer, begin: Callable[[GrpcLine], int], status: int
) -> None:
    line = server.line()
    stream_id = begin(line)
    line.pump()
    outcome = line.outcomes[stream_id]
    assert (outcome.status, outcome.reset) == (status, None)
    # A carrier looks at this alone.
    assert line.wire.due <= line.clock.now.monotonic + DISMISSAL_SECONDS
    line.clock.advance(DISMISSAL_SECONDS / 2)
    line.expire()
    line.pump()
    assert outcome.reset is None
    line.outlast_dismissals()
    assert (outcome.reset, outcome.order[-1]) == (0, "reset")
    nothing_is_left(line)


def test_what_is_still_sent_is_nobodys(server: WiredServer) -> None:
    line = server.line()
    line.session("other")
    stream_id = revoked(line)
    line.pump()
    begun = line.server.hub.counters.sessions["grpc"]
    line.feed(frame(DATA, 0, stream_id, bytes(16384)) * 3)
    assert line.wire._calls == {}
    assert line.wire._door.unfinished.kept == 0
    assert line.server.hub.counters.sessions["grpc"] == begun
    assert line.call(CHECK, b"").status == 0


@pytest.mark.parametrize(
    "own_end", [frame(DATA, END_STREAM, 1, b""), reset_frame(1, 0), b""], ids=["end", "reset", "none"]
)
def test_a_drain_waits_for_it_and_for_no_more(clock: Clock, own_end: bytes) -> None:
    """Else clients of grpc's C core, which count the stream as open, lose the trailers of some calls."""
    server = make_server(clock)
    line = server.line()
    revoked(line)
    line.pump()
    assert line.wire._http2.resets_due != NEVER
    line.wire.drain(clock.now)
    line.pump()
    assert ([code for _, code, _ in line.goaways], line.wire.finished) == ([0], False)
    if own_end:
        line.feed(own_end)
    else:
        line.outlast_dismissals()
    assert ([code for _, code, _ in line.goaways], line.wire.finished) == ([0, 0], True)
    assert line.outcomes[1].reset == (None if own_end else 0)


def test_a_connection_that_is_idle_leaves_when_it_would(clock: Clock) -> None:
    server = make_server(clock, grpc_max_connection_idle_seconds=1.5)
    line = server.line()
    line.open("/no/Method")
    line.pump()
    line.outlast_dismissals()
    assert line.outcomes[1].reset == 0
    assert line.goaways == []
    clock.advance(0.5)
    line.expire()
    line.pump()
    assert line.wire.finished
