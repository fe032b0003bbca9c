"""The gRPC wire: messages that do not become whole have their time, and all together a bound."""

import gzip
import struct
from typing import Any

import pytest

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, REFLECT, GrpcLine, SignalCall, WiredServer, ended, make_server, nothing_is_left
from sigbridge_grpc import long_messages
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

LIMIT = 1048576
QUIET: dict[str, Any] = {"announce_timeout_seconds": 100_000, "ping_interval_seconds": 100_000}
LIST = framed(pb.SignalingRequest(request_id="7" * 20, list_peers=pb.ListPeersRequest()).SerializeToString())


def message_of(size: int) -> bytes:
    """A request that is refused for its id, whole and framed."""
    return framed(pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id="x" * (size - 20))).SerializeToString())


@pytest.fixture
def patient(clock: Clock) -> WiredServer:
    """A server that has time for all but messages."""
    return make_server(clock, **QUIET)


def wait(line: GrpcLine, seconds: float) -> None:
    line.clock.advance(seconds)
    line.expire()
    line.pump()


@pytest.mark.parametrize("size", [3000, 40_000, LIMIT])
@pytest.mark.parametrize("announced", [True, False])
def test_a_message_that_comes_byte_by_byte_has_its_time(patient: WiredServer, size: int, announced: bool) -> None:
    line = patient.line()
    call, other = line.session("alice" if announced else ""), line.session("other")
    message = message_of(size)
    began = line.clock.now.monotonic
    for at in range(len(message)):
        call.send_bytes(message[at : at + 1])
        wait(line, 0.5)
        if call.outcome.status is not None:
            break
    assert call.outcome.status == 4
    assert call.outcome.trailers["signaling-disconnect"] == "message_timeout"
    assert call.outcome.trailers["signaling-reconnect"] == "yes"
    assert 30 + size / 8000 <= line.clock.now.monotonic - began <= 32 + size / 8000
    assert ended(patient)["message_timeout"] == 1
    # Nobody else notices.
    assert other.send("o", list_peers=pb.ListPeersRequest())[-1].request_id == "o"
    other.half_close()
    nothing_is_left(line)


@pytest.mark.parametrize("path", [REFLECT, CHECK, GET_PEERS])
def test_a_question_without_a_session_has_its_time(clock: Clock, path: str) -> None:
    line = make_server(clock, max_timeout_seconds=1000, **QUIET).line()
    stream_id = line.open(path)
    line.http2.send_data(stream_id, framed(b"x" * 100)[:50])
    line.pump()
    wait(line, 29)
    assert line.outcomes[stream_id].status is None
    wait(line, 2)
    assert line.outcomes[stream_id].status == 4
    assert line.outcomes[stream_id].message == "The message did not become whole in time"
    nothing_is_left(line)


def test_a_compressed_message_has_its_time_by_what_comes(clock: Clock) -> None:
    line = make_server(clock, **QUIET).line()
    stream_id = line.open("/remotemedia.v1.webrtc.WebRtcSignaling/Signal", (b"grpc-encoding", b"gzip"))
    body = gzip.compress(b"x" * 100_000)
    line.http2.send_data(stream_id, (struct.pack("!BI", 1, len(body)) + body)[:-1])
    line.pump()
    wait(line, 31)
    assert line.outcomes[stream_id].status == 4


def test_a_client_whose_messages_are_always_cut_stays(patient: WiredServer) -> None:
    """The rest of each piece is the beginning of another message."""
    line = patient.line()
    call = line.session("alice")
    before = len(call.outcome.responses)
    data, cut = LIST * 100, len(LIST) // 2
    call.send_bytes(data[:cut])
    for start in range(cut, len(data), len(LIST)):
        wait(line, 1)
        call.send_bytes(data[start : start + len(LIST)])
    assert len(call.outcome.responses) == before + 100
    assert call.outcome.status is None


def test_time_in_which_its_method_is_not_ready_does_not_count(clock: Clock) -> None:
    server = make_server(clock, outbox_max_bytes=10_000_000, send_deadline_seconds=1000, **QUIET)
    line, other = server.line(window=10), server.line()
    call, sender = line.session("alice"), other.session("bob")
    call.send_bytes(LIST[:9])
    wait(line, 20)
    for _ in range(30):
        sender.send("", offer=pb.OfferRequest(to_peer_id="alice", sdp="x" * 100_000))
    call.send_bytes(LIST[9:10])
    wait(line, 500)
    wait(line, 20)
    assert call.outcome.status is None
    (kept,) = line.wire._calls.values()
    assert kept.held_back
    # All of it is read at last.
    kept.method.outbox.clear()  # type: ignore[union-attr]
    kept.wake()
    line.pump()
    assert not kept.held_back
    wait(line, 9)
    assert not ended(server).get("message_timeout")
    wait(line, 2)
    assert ended(server)["message_timeout"] == 1


def test_time_in_which_it_waits_for_another_of_its_connection_does_not_count(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_messages, "UNFINISHED_BYTES", 0)
    line = make_server(clock, **QUIET).line()
    first, second = line.session(), line.session()
    message = message_of(200_000)
    first.send_bytes(message[:-1])
    second.send_bytes(message[:-1])
    wait(line, 54)
    assert (first.outcome.status, second.outcome.status) == (None, None)
    wait(line, 2)
    assert (first.outcome.status, second.outcome.status) == (4, None)
    wait(line, 54)
    assert second.outcome.status is None
    wait(line, 2)
    assert second.outcome.status == 4
    nothing_is_left(line)


@pytest.mark.parametrize("calls", [0, 3])
def test_a_frame_that_comes_byte_by_byte_has_its_time(patient: WiredServer, calls: int) -> None:
    """Of the message in it nobody has seen anything."""
    line = patient.line()
    sessions = [line.session(str(number)) for number in range(calls)]
    frame = struct.pack("!I", 16_384)[1:] + b"\0\0" + struct.pack("!I", 1) + bytes(16_384)
    wait(line, 5)
    for byte in frame:
        line.wire.receive(bytes((byte,)), line.clock.now)
        line.pump()
        wait(line, 0.5)
        if line.wire.finished or line.wire.aborted:
            break
    assert [call.outcome.trailers["signaling-disconnect"] for call in sessions] == ["message_timeout"] * calls
    assert line.wire.finished
    assert line.clock.now.monotonic <= 1000 + 5 + 33
    line.wire.connection_lost(line.clock.now)
    nothing_is_left(line)


def test_frames_that_are_always_cut_end_nothing(patient: WiredServer) -> None:
    line = patient.line()
    call = line.session("alice")
    line.http2.send_data(call.stream_id, LIST)
    frame = b"".join([line.http2.data_to_send()])
    frames, cut = frame * 100, len(frame) // 2
    line.push(frames[:cut])
    for start in range(cut, len(frames), len(frame)):
        wait(line, 1)
        line.push(frames[start : start + len(frame)])
        line.pump()
    assert line.wire._partial is None
    assert call.outcome.status is None
    assert len(call.outcome.responses) == 101


@pytest.mark.parametrize("how", ["cancel", "lost", "half_close", "eof", "drain"])
def test_who_goes_leaves_nothing(patient: WiredServer, how: str) -> None:
    line = patient.line()
    call = line.session("alice")
    call.send_bytes(LIST[:-1])
    line.wire.receive(b"\0\0\x08", line.clock.now)
    total = line.wire._door.unfinished
    assert total.kept == len(LIST) - 1 + 3
    if how == "lost":
        line.wire.connection_lost(line.clock.now)
    elif how == "eof":
        line.end_input()
    elif how == "drain":
        patient.hub.drain(line.clock.now)
        line.wire.drain(line.clock.now)
        line.pump()
    else:
        # Behind the beginning of a ping comes the rest of it.
        line.wire.receive(bytes([6, 0, 0, 0, 0, 0]) + bytes(8), line.clock.now)
        call.cancel() if how == "cancel" else call.half_close()
        nothing_is_left(line)
    line.wire.connection_lost(line.clock.now)
    nothing_is_left(line)


# All together.


def begin(server: WiredServer, size: int, line: GrpcLine | None = None) -> tuple[SignalCall, bytes]:
    """A session that has sent so much of a message; returns it and the rest."""
    call = (line or server.line()).session()
    message = message_of(LIMIT)
    call.send_bytes(message[:size])
    return call, message[size:]


def kept(server: WiredServer) -> int:
    return server.line().wire._door.unfinished.kept


@pytest.fixture
def bounded(clock: Clock) -> WiredServer:
    return make_server(clock, max_unfinished_bytes=1_000_000, **QUIET)


@pytest.mark.parametrize("together", [True, False])
def test_above_the_bound_nothing_more_is_let_in_of_the_largest(bounded: WiredServer, together: bool) -> None:
    line = bounded.line() if together else None
    (large, rest), (other, _) = begin(bounded, 600_000, line), begin(bounded, 350_000, line)
    one = large.line.wire._calls[large.stream_id]
    large.send_bytes(rest[:150_000])
    assert one.unfinished is not None
    assert one.unfinished.is_stopped
    assert one.unacknowledged > 0
    assert kept(bounded) <= 1_000_000 + 65_536
    # Small ones go on.
    small = (line or bounded.line()).session()
    small.send_bytes(message_of(60_000))
    assert len(small.outcome.responses) == 1
    # When another leaves there is room: what the client had not been let send comes by itself.
    other.cancel()
    large.line.pump()
    large.send_bytes(rest[150_000:])
    assert len(large.outcome.responses) == 1
    assert kept(bounded) == 0


@pytest.mark.parametrize("together", [True, False])
def test_without_room_the_largest_ends_as_overload(bounded: WiredServer, together: bool) -> None:
    line = bounded.line() if together else None
    calls = [begin(bounded, size, line)[0] for size in (100_000, 600_000, 200_000, 300_000)]
    lines = {call.line: None for call in calls}
    for one in lines:
        wait(one, 0)
    calls[0].line.clock.advance(29.9)
    for one in lines:
        wait(one, 0)
    assert [call.outcome.status for call in calls] == [None] * 4
    calls[0].line.clock.advance(0.2)
    for one in lines:
        wait(one, 0)
    assert [call.outcome.status for call in calls] == [None, 8, None, None]
    assert calls[1].outcome.trailers["signaling-disconnect"] == "overload"
    assert calls[1].outcome.trailers["signaling-reconnect"] == "yes"
    assert ended(bounded)["overload"] == 1
    assert kept(bounded) == 600_000


def test_many_that_hold_half_a_message_are_bounded(bounded: WiredServer) -> None:
    calls = [begin(bounded, LIMIT // 2)[0] for _ in range(40)]
    # What their windows have let in cannot be taken back.
    assert kept(bounded) <= 1_250_000 + 40 * 65_536
    calls[0].line.clock.advance(31)
    for call in calls:
        call.line.expire()
        call.line.pump()
    # Those that went on had a window each.
    assert kept(bounded) <= 1_250_000 + 65_536
    assert {call.outcome.status for call in calls} == {None, 8}
