"""The gRPC wire: limits of messages, compressed or not, and messages that are none."""

import gzip
import struct

import pytest

from clock import Clock
from grpc_lines import (
    CHECK,
    GET_PEERS,
    SIGNAL,
    GrpcLine,
    WiredServer,
    ended,
    make_server,
    nothing_is_left,
)
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.turns import TurnBudget
from sigbridge_grpc.wire import MAX_QUESTION_BYTES


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_limit_of_a_message_is_exact(clock: Clock, beyond: int, compressed: bool) -> None:
    server = make_server(clock, max_message_bytes=10_000)
    line = server.line()
    message = pb.SignalingRequest(request_id="x" * (10_000 + beyond - 3)).SerializeToString()
    assert len(message) == 10_000 + beyond
    call = line.session("a")
    if compressed:
        stream_id = line.open(SIGNAL, (b"grpc-encoding", b"gzip"))
        packed = gzip.compress(message)
        line.http2.send_data(stream_id, struct.pack("!BI", 1, len(packed)) + packed)
        line.pump()
        outcome = line.outcomes[stream_id]
    else:
        call.send_bytes(framed(message))
        outcome = call.outcome
    if beyond <= 0:
        assert outcome.responses[-1].error.message == "No request provided"
        assert outcome.status is None
        return
    assert outcome.status == 8
    assert (outcome.trailers or outcome.headers)["signaling-disconnect"] == "message_too_big"
    line.outlast_dismissals()
    assert (outcome.order[-1], outcome.reset) == ("reset", 0)
    assert line.call(CHECK, b"").status == 0


def test_a_decompression_bomb_costs_one_call(server: WiredServer) -> None:
    line = server.line()
    packed = gzip.compress(bytes(20_000_000))
    assert len(packed) < 1_048_576
    stream_id = line.open(SIGNAL, (b"grpc-encoding", b"gzip"))
    line.http2.send_data(stream_id, struct.pack("!BI", 1, len(packed)) + packed)
    line.pump()
    assert line.outcomes[stream_id].status == 8


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size that each compressed message has become, as the wire is told it."""
    found: list[int] = []
    count = TurnBudget.count_inflated

    def note(turn: TurnBudget, size: int) -> None:
        found.append(size)
        count(turn, size)

    monkeypatch.setattr(TurnBudget, "count_inflated", note)
    return found


def packed_frame(message: bytes) -> bytes:
    packed = gzip.compress(message)
    return struct.pack("!BI", 1, len(packed)) + packed


def turns_taken(line: GrpcLine, inflated: list[int]) -> list[int]:
    """Let the wire have turn after turn until it wants no more; what it has decompressed in each."""
    turns = []
    while True:
        before = sum(inflated)
        woken = line.woken
        while line.wire.take_output(line.most, line.clock.now):
            pass
        turns.append(sum(inflated) - before)
        if line.woken == woken:
            return turns


def test_many_bombs_in_one_read_are_looked_at_one_in_a_turn(server: WiredServer, inflated: list[int]) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    bomb = packed_frame(b"\xff" * limit)
    assert len(bomb) < 1200
    stream_id = line.open(SIGNAL, (b"grpc-encoding", b"gzip"))
    line.http2.send_data(stream_id, bomb * 13)
    line.push(line.http2.data_to_send())
    assert inflated == [limit]
    assert turns_taken(line, inflated)[:-1] == [0, *[limit] * 12]
    assert server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] == 13


def test_bombs_on_many_streams_share_a_turn(server: WiredServer, inflated: list[int]) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    bomb = packed_frame(bytes(limit))
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(13)]
    line.pump()
    for stream_id in streams:
        line.http2.send_data(stream_id, bomb)
    line.push(line.http2.data_to_send())
    assert inflated == [limit]
    assert max(turns_taken(line, inflated)) == limit
    assert len(inflated) == 13


@pytest.mark.parametrize("damage", ["too big", "corrupt"])
def test_bombs_that_end_their_calls_count_as_well(server: WiredServer, inflated: list[int], damage: str) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    if damage == "too big":
        bomb = packed_frame(bytes(limit + 1))
    else:
        packed = gzip.compress(bytes(limit))
        # The checksum is wrong, as only the last byte tells.
        packed = packed[:-8] + bytes((packed[-8] ^ 1,)) + packed[-7:]
        bomb = struct.pack("!BI", 1, len(packed)) + packed
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(8)]
    line.pump()
    for stream_id in streams:
        line.http2.send_data(stream_id, bomb)
    line.push(line.http2.data_to_send())
    assert len(inflated) == 1
    assert max(turns_taken(line, inflated)) <= limit + 1
    assert len(inflated) == 8
    assert server.hub.session_count == 0


def test_compressed_messages_keep_their_order_over_turns(server: WiredServer) -> None:
    line = server.line()
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(3)]
    padding = "x" * 100_000
    for stream_id in streams:
        for number in range(20):
            request = pb.SignalingRequest(request_id=f"{number:02}", announce=pb.AnnounceRequest(peer_id=padding))
            line.http2.send_data(stream_id, packed_frame(request.SerializeToString()))
        line.http2.end_stream(stream_id)
    line.pump()
    for stream_id in streams:
        outcome = line.outcomes[stream_id]
        assert [one.request_id for one in outcome.responses] == [f"{number:02}" for number in range(20)]
        assert outcome.status == 0
    nothing_is_left(line)


def test_a_call_that_is_cancelled_while_it_rests(server: WiredServer) -> None:
    line = server.line()
    bomb = packed_frame(bytes(server.hub.settings.max_message_bytes))
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(3)]
    for stream_id in streams:
        line.http2.send_data(stream_id, bomb * 2)
    line.push(line.http2.data_to_send())
    assert line.wire._turn.resting
    for stream_id in streams:
        line.http2.reset_stream(stream_id, 8)
    line.pump()
    nothing_is_left(line)
    assert server.hub.session_count == 0


@pytest.mark.parametrize("size", [MAX_QUESTION_BYTES + 1, 1 << 31])
def test_methods_that_are_open_to_all_take_no_long_questions(server: WiredServer, size: int) -> None:
    line = server.line()
    stream_id = line.open(CHECK)
    line.http2.send_data(stream_id, struct.pack("!BI", 0, size))
    line.pump()
    assert line.outcomes[stream_id].status == 8


@pytest.mark.parametrize("body", [b"\x01\0\0\0\0", b"\x02\0\0\0\x01x", b"\x01\0\0\0\x03abc"])
def test_a_flag_without_its_encoding_ends_the_call(server: WiredServer, body: bytes) -> None:
    line = server.line()
    call = line.session("a")
    call.send_bytes(body)
    assert (call.outcome.status, call.outcome.trailers["signaling-disconnect"]) == (13, "protocol_error")


def test_encodings(server: WiredServer) -> None:
    line = server.line()
    outcome = line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"br")])
    assert (outcome.status, outcome.headers["grpc-accept-encoding"]) == (12, "identity,gzip")
    assert line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"gzip")]).status == 0
    for packed in (b"nonsense", gzip.compress(b"")[:-1], gzip.compress(b"") + b"x"):
        stream_id = line.open(GET_PEERS, (b"grpc-encoding", b"gzip"))
        line.http2.send_data(stream_id, struct.pack("!BI", 1, len(packed)) + packed)
        line.pump()
        assert line.outcomes[stream_id].status == 13


def test_half_a_message_at_the_end(server: WiredServer) -> None:
    line = server.line()
    call = line.session("a")
    call.send_bytes(framed(b"abc")[:-1])
    call.half_close()
    assert (call.outcome.status, ended(server)) == (13, {"protocol_error": 1})
    stream_id = line.open(GET_PEERS)
    line.http2.send_data(stream_id, b"\0")
    line.http2.end_stream(stream_id)
    line.pump()
    assert (line.outcomes[stream_id].status, line.outcomes[stream_id].message) == (13, "The last message is not whole")


def test_bad_requests_are_answered_and_the_stream_lives(server: WiredServer) -> None:
    call = server.line().session()
    for message in (b"\xff\xff", b"\x0a\x01\xff", b""):
        call.send_bytes(framed(message))
    call.send("7")
    assert [(one.request_id, one.error.code, one.error.message) for one in call.outcome.responses] == [
        ("", 3, "Malformed request"),
        ("", 3, "Malformed request"),
        ("", 3, "No request provided"),
        ("7", 3, "No request provided"),
    ]
