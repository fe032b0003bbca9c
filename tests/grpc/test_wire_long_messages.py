"""The gRPC wire: messages that are not whole yet, which may not add up without a bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clock import Clock
from grpc_lines import GrpcLine, WiredServer, make_server, nothing_is_left
from sigbridge_grpc import long_messages
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.long_messages import UNFINISHED_BYTES
from sigbridge_http2.streams import RECEIVE_WINDOW_BYTES


def kept(line: GrpcLine) -> int:
    """Returns the bytes that the wire keeps of what clients have sent."""
    return sum(len(call.deframer.buffer) for call in line.wire._calls.values() if call.deframer is not None)


def acknowledged(line: GrpcLine) -> int:
    """The part of it that the client may send again as much as."""
    return kept(line) - sum(call.unacknowledged for call in line.wire._calls.values())


def long_message(size: int) -> bytes:
    """A request that is refused for its id, whole and framed."""
    filler = pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id="x" * (size - 20))).SerializeToString()
    return framed(filler)


@pytest.mark.thorough
def test_messages_without_an_end_add_up_to_a_bound(server: WiredServer) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    message = long_message(limit)
    calls = [line.session() for _ in range(100)]
    for call in calls:
        call.send_bytes(message[:-1])
        assert acknowledged(line) <= UNFINISHED_BYTES + limit
        assert kept(line) <= UNFINISHED_BYTES + limit + 100 * RECEIVE_WINDOW_BYTES
    assert kept(line) < 12 * limit
    # Nobody else notices, and messages that their windows hold go through.
    other = line.session("other")
    assert other.send("o", list_peers=pb.ListPeersRequest())[-1].request_id == "o"
    other.send_bytes(long_message(60_000))
    assert other.outcome.responses[-1].error.message.startswith("Invalid params: peer_id")
    # And where the clients are honest, each message comes to its end.
    for call in calls:
        call.send_bytes(message[-1:])
    assert [len(call.outcome.responses) for call in calls] == [1] * 100
    assert server.hub.session_count == 101
    for call in (*calls, other):
        call.half_close()
    nothing_is_left(line)


@pytest.mark.parametrize("how", ["cancel", "lost", "half_close"])
def test_who_goes_in_the_middle_of_a_long_message_leaves_its_room(server: WiredServer, how: str) -> None:
    line = server.line()
    message = long_message(server.hub.settings.max_message_bytes)
    calls = [line.session() for _ in range(10)]
    for call in calls:
        call.send_bytes(message[:-1])
    assert line.wire._long._withheld
    if how == "lost":
        line.wire.connection_lost(line.clock.now)
    else:
        for call in calls:
            call.cancel() if how == "cancel" else call.half_close()
    nothing_is_left(line)
    assert server.hub.session_count == 0


def test_a_message_that_keeps_others_waiting_has_its_time(clock: Clock) -> None:
    server = make_server(clock, announce_timeout_seconds=1000, ping_interval_seconds=1000)
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    message = long_message(limit)
    stalled, *waiting = [line.session() for _ in range(6)]
    for call in (stalled, *waiting):
        call.send_bytes(message[:-1])
    assert line.wire._long._withheld
    clock.advance(30 + limit / 8000 - 0.1)
    line.expire()
    line.pump()
    assert stalled.outcome.status is None
    clock.advance(0.2)
    assert line.wire.due <= clock.now.monotonic
    line.expire()
    line.pump()
    assert stalled.outcome.status == 4
    assert stalled.outcome.trailers["signaling-disconnect"] == "message_timeout"
    # Those that came in the first time are over with it; those that waited have all their time.
    withheld = [call for call in waiting if call.outcome.status is None]
    assert withheld
    clock.advance(30)
    line.expire()
    for call in withheld:
        call.send_bytes(message[-1:])
        assert len(call.outcome.responses) == 1


def test_long_messages_take_turns(server: WiredServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that has sent one and begins another goes behind those that wait."""
    monkeypatch.setattr(long_messages, "UNFINISHED_BYTES", 0)
    line = server.line()
    message = long_message(200_000)
    first, second = line.session(), line.session()
    first.send_bytes(message[:-1])
    second.send_bytes(message)
    assert second.outcome.responses == []
    first.send_bytes(message[-1:] + message[:-1])
    assert (len(first.outcome.responses), len(second.outcome.responses)) == (1, 1)
    first.send_bytes(message[-1:])
    assert len(first.outcome.responses) == 2
    first.half_close()
    second.half_close()
    nothing_is_left(line)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(400, 150_000), min_size=1, max_size=4), min_size=1, max_size=6),
    order=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 90_000)), max_size=40),
    room=st.sampled_from((0, 30_000, 100_000)),
)
def test_whatever_is_sent_in_whatever_pieces_arrives(
    sizes: list[list[int]], order: list[tuple[int, int]], room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_messages, "UNFINISHED_BYTES", room)
        line = make_server(Clock()).line()
        calls = [line.session() for _ in sizes]
        bodies = [b"".join(long_message(size) for size in several) for several in sizes]
        for who, size in order:
            if who < len(calls) and bodies[who]:
                calls[who].send_bytes(bodies[who][:size])
                bodies[who] = bodies[who][size:]
                assert line.wire._long._credited_early_bytes <= room + 150_000
        for call, body in zip(calls, bodies, strict=True):
            if body:
                call.send_bytes(body)
        assert [len(call.outcome.responses) for call in calls] == [len(several) for several in sizes]
        for call in calls:
            call.half_close()
        nothing_is_left(line)
