"""The gRPC wire: responses without a session that wait are bounded, and what is asked above the bound waits."""

import itertools

import pytest
from grpc_reflection.v1alpha import reflection_pb2

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, REFLECT, GrpcLine, WiredServer, make_server, nothing_is_left
from sigbridge.outbox import CROWDED_BYTES
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.turns import RESPONSES

BOUND = 200_000
PAGE = 55_000
"""About what the listing of the room takes."""
WIDE = 2**31 - 1


def crowd(server: WiredServer, count: int = 4) -> GrpcLine:
    """Peers whose listing is a large response."""
    line = server.line()
    for number in range(count):
        call = line.session()
        call.send("1", announce=pb.AnnounceRequest(peer_id=str(number), metadata={"k": "x" * 13_000}))
    return line


def full_server(clock: Clock, **options: int) -> WiredServer:
    server = make_server(clock, **{"max_unary_bytes": BOUND, **options})
    crowd(server)
    return server


def ask(line: GrpcLine, count: int = 1, path: str = GET_PEERS, message: bytes = b"", **headers: bytes) -> list[int]:
    """Asks without reading anything."""
    streams = []
    for _ in range(count):
        streams.append(line.open(path, **headers))
        line.http2.send_data(streams[-1], framed(message))
        line.http2.end_stream(streams[-1])
        line.push(line.http2.data_to_send())
    return streams


def carried_out(server: WiredServer) -> int:
    return server.hub.counters.tally("grpc", "list_peers").accepted


def held(line: GrpcLine) -> int:
    return line.wire._door.backlog.held


def widen_connection(line: GrpcLine) -> None:
    line.push(b"\0\0\4\x08\0\0\0\0\0" + (WIDE - 65535).to_bytes(4, "big"))


def batched(streams: list[int]) -> list[list[int]]:
    return [streams[at : at + 2] for at in range(0, len(streams), 2)]


def everything_is_given_back(line: GrpcLine) -> None:
    backlog = line.wire._backlog
    assert backlog is not None
    assert (held(line), backlog.held, backlog.leaving, backlog.waiting) == (0, 0, 0, {})


@pytest.mark.thorough
@pytest.mark.parametrize("window", [0, 1000])
def test_a_thousand_listings_that_nobody_reads_are_carried_out_as_far_as_the_bound_goes(
    clock: Clock, window: int
) -> None:
    server = full_server(clock)
    line = server.line(window=window)
    ask(line, 1000)
    line.pump()
    assert carried_out(server) == BOUND // PAGE + 1
    assert BOUND <= held(line) <= BOUND + PAGE
    # Nobody asks the carrier for a turn, since nothing can leave.
    assert not line.pull()
    # Somebody else is answered.
    assert len(pb.GetPeersResponse.FromString(server.line().call(GET_PEERS, b"").messages[0]).peers) == 4


def test_what_windows_let_out_and_nobody_takes_counts(clock: Clock) -> None:
    server = full_server(clock)
    line = server.line(window=WIDE)
    widen_connection(line)
    ask(line, 900)
    # A carrier that may write no more asks for nothing more.
    for _ in range(4):
        assert line.wire.take_output(1000, clock.now)
        assert held(line) <= BOUND + PAGE
    assert carried_out(server) <= BOUND // PAGE + 1
    # Its client is gone.
    line.wire.connection_lost(clock.now)
    everything_is_given_back(line)


@pytest.mark.parametrize("most", [5000, 65536])
def test_who_reads_gets_every_response(clock: Clock, most: int) -> None:
    server = full_server(clock)
    line = server.line(most=most)
    streams = ask(line, 60)
    ended: list[int] = []
    most_held = 0
    while line.push(line.http2.data_to_send()) or line.pull():
        most_held = max(most_held, held(line))
        ended += [stream for stream in streams if line.outcomes[stream].ended and stream not in ended]
    # Two are carried out in a turn, and which of these leaves first does not matter.
    assert [sorted(pair) for pair in batched(ended)] == batched(streams)
    assert {line.outcomes[stream].status for stream in streams} == {0}
    assert most_held <= BOUND + PAGE
    everything_is_given_back(line)
    nothing_is_left(line)


def test_in_one_turn_a_little_is_carried_out(clock: Clock) -> None:
    server = full_server(clock, max_unary_bytes=1 << 30)
    line = server.line(window=WIDE)
    widen_connection(line)
    ask(line, 10)
    # Its bytes are above what a turn may have after the second.
    assert carried_out(server) == 2
    turns = [carried_out(server)]
    while turns[-1] < 10:
        while line.wire.take_output(65536, clock.now):
            pass
        turns.append(carried_out(server))
    assert max(after - before for before, after in itertools.pairwise(turns)) == 2
    ask(line, 2 * RESPONSES, path=CHECK)
    assert len(line.wire._backlog.waiting) == RESPONSES


@pytest.mark.parametrize("how", ["cancelled", "deadline", "limit"])
def test_who_waits_and_ends_is_never_carried_out(clock: Clock, how: str) -> None:
    server = full_server(clock, max_timeout_seconds=3, send_deadline_seconds=100, close_timeout_seconds=100)
    line = server.line(window=1000)
    headers = {"grpc-timeout": b"2S"} if how == "deadline" else {}
    streams = ask(line, 20, **headers)
    line.pump()
    before = carried_out(server)
    waiting = streams[before:]
    assert len(waiting) == len(line.wire._backlog.waiting) == 20 - before
    if how == "cancelled":
        for stream in waiting:
            line.http2.reset_stream(stream, 8)
    else:
        clock.advance(3 if how == "limit" else 2)
        line.expire()
    line.pump()
    if how != "cancelled":
        assert {line.outcomes[stream].status for stream in waiting} == {4}
    assert line.wire._backlog.waiting == {}
    # There is room again.
    for stream in streams[:before]:
        line.http2.reset_stream(stream, 8)
    line.pump()
    assert carried_out(server) == before
    everything_is_given_back(line)
    nothing_is_left(line)


def test_one_that_is_cancelled_makes_room_for_the_next(clock: Clock) -> None:
    server = full_server(clock)
    line = server.line(window=1000)
    streams = ask(line, 10)
    line.pump()
    before = carried_out(server)
    for number in range(3):
        line.http2.reset_stream(streams[number], 8)
        line.pump()
        assert carried_out(server) == before + number + 1


@pytest.mark.parametrize("end", ["lost", "eof", "broken", "stalled"])
def test_a_connection_that_ends_gives_back_what_it_held(clock: Clock, end: str) -> None:
    server = full_server(clock)
    line = server.line(window=1000)
    ask(line, 10)
    line.pump()
    assert held(line) > BOUND
    if end == "lost":
        line.wire.connection_lost(clock.now)
    elif end == "eof":
        line.wire.receive_eof(clock.now)
    elif end == "broken":
        line.push(b"\xff" * 40)
    else:
        for _ in range(30):
            clock.advance(1)
            line.expire()
            line.pump()
        assert line.wire.aborted or line.wire.finished
    if end != "stalled":
        line.pump()
    everything_is_given_back(line)
    line.wire.connection_lost(clock.now)
    everything_is_given_back(line)


def test_where_all_together_hold_too_much_each_connection_has_one_response_and_the_rest_in_turn(clock: Clock) -> None:
    server = full_server(clock, max_unary_bytes=10 * PAGE, max_unary_total_bytes=3 * PAGE)
    greedy, *others = [server.line(window=1000) for _ in range(4)]
    ask(greedy, 10)
    greedy.pump()
    assert carried_out(server) == 4
    for other in others:
        ask(other, 3)
        other.pump()
    # The first response of a connection always goes.
    assert carried_out(server) == 4 + 3
    woken = [other.woken for other in others]
    greedy.wire.connection_lost(clock.now)
    # Three pages wait, somewhat less than the bound: the first connection hears that there is room, and no other.
    assert [other.woken - before for other, before in zip(others, woken, strict=True)] == [1, 0, 0]
    for other in reversed(others):
        other.pump()
    assert (carried_out(server), len(others[0].wire._backlog.waiting)) == (4 + 3 + 1, 1)
    # Where two pages leave, two more are carried out.
    others[0].wire.connection_lost(clock.now)
    for other in reversed(others):
        other.pump()
    assert carried_out(server) == 4 + 3 + 1 + 2
    others[2].wire.connection_lost(clock.now)
    others[1].wire.connection_lost(clock.now)
    assert held(greedy) == 0
    assert greedy.wire._door.backlog._queue == {}


def test_reflection_and_health_wait_as_well(clock: Clock) -> None:
    server = make_server(clock, max_unary_bytes=20_000)
    line = server.line(window=10)
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.reflection.v1.ServerReflection")
    streams = [line.open(REFLECT) for _ in range(300)]
    for stream in streams:
        for _ in range(5):
            line.http2.send_data(stream, framed(question.SerializeToString()))
    line.pump()
    checks = ask(line, 5, path=CHECK)
    line.pump()
    one = max(call.held for call in line.wire._calls.values())
    assert 20_000 <= held(line) <= 20_000 + one
    assert [line.outcomes[check].status for check in checks] == [None] * 5
    for stream in streams:
        line.http2.reset_stream(stream, 8)
    line.pump()
    assert [line.outcomes[check].status for check in checks] == [0] * 5
    everything_is_given_back(line)


def test_a_reflection_call_goes_on_when_its_responses_are_read(clock: Clock) -> None:
    server = make_server(clock, max_unary_bytes=5_000)
    line = server.line()
    stream = line.open(REFLECT)
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.reflection.v1.ServerReflection")
    for _ in range(100):
        line.http2.send_data(stream, framed(question.SerializeToString()))
    line.http2.end_stream(stream)
    line.pump()
    assert (len(line.outcomes[stream].messages), line.outcomes[stream].status) == (100, 0)
    everything_is_given_back(line)
    nothing_is_left(line)


@pytest.mark.parametrize("window", [1000, WIDE])
def test_listings_of_a_session_are_bounded_by_its_outbox(clock: Clock, window: int) -> None:
    server = full_server(clock)
    line = server.line(window=window)
    widen_connection(line)
    call = line.session()
    question = framed(pb.SignalingRequest(request_id="1", list_peers=pb.ListPeersRequest()).SerializeToString())
    line.http2.send_data(call.stream_id, question * 400)
    line.push(line.http2.data_to_send())
    outbox = line.wire._calls[call.stream_id].method.outbox
    assert CROWDED_BYTES <= outbox.queued_bytes <= CROWDED_BYTES + PAGE
    taken = carried_out(server)
    # A carrier that may write no more asks for nothing more.
    for _ in range(3):
        line.wire.take_output(1000, clock.now)
    http2 = line.wire._http2
    assert outbox.queued_bytes + http2.unsent(call.stream_id) + http2.unwritten_bytes <= 3 * CROWDED_BYTES
    assert carried_out(server) - taken <= 2 * CROWDED_BYTES // PAGE
