"""The gRPC wire: clients that read slowly or never, and what one of them costs the others."""

import pytest

pytest.importorskip("ngh2", reason="the client is ngh2, which has no wheel for this platform")
import ngh2

from clock import Clock
from directories import Elsewhere
from grpc_lines import CHECK, GET_PEERS, REFLECT, WiredServer, ended, make_server, nothing_is_left
from sigbridge import Instant
from sigbridge.disconnects import DisconnectReason
from sigbridge_grpc.call import StreamCall
from sigbridge_grpc.exchange import SEND_AHEAD_BYTES
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.status import code_of
from sigbridge_grpc.turns import MAX_RESUMED_CALLS_PER_TURN
from sigbridge_grpc.wire import GrpcWire
from sigbridge_http2.connection import Connection
from sigbridge_http2.frames import reset_frame, window_update_frame

WAITED_FOR = [
    reason
    for reason in DisconnectReason
    if reason
    not in (
        DisconnectReason.SLOW_CONSUMER,
        DisconnectReason.CLIENT_LEFT,
        # Nobody is left to tell.
        DisconnectReason.KEEPALIVE_TIMEOUT,
        DisconnectReason.CONNECTION_LOST,
    )
]
"""The reasons with which a client may first read what was said to it before."""


@pytest.mark.parametrize("touched_by", ["window", "data"])
def test_calls_that_were_held_back_go_on_a_few_in_a_turn(clock: Clock, touched_by: str) -> None:
    """Each has kept a window full of messages; one frame lets all of them go on."""
    directory = Elsewhere()
    server = make_server(clock, directory=directory)
    line = server.line(most=1 << 20)
    calls = [line.session(f"p{number}") for number in range(100)]
    # Of one peer: a hundred in each of thousands of responses would take seconds.
    question = pb.SignalingRequest(list_peers=pb.ListPeersRequest(page_size=1)).SerializeToString()
    for call in calls:
        call.send_bytes(framed(question) * 60)
    for pending in directory.asked:
        pending.resolve(None, clock.now)
    if touched_by == "window":
        line.http2.set_local_window_size(1 << 24)
    else:
        for call in calls:
            line.http2.send_data(call.stream_id, framed(question))
    line.push(line.http2.data_to_send())
    turns = []
    while True:
        before, woken = server.hub.counters.requests["grpc", "list_peers", "ok"], line.woken
        while line.wire.take_output(line.most, clock.now):
            pass
        turns.append(server.hub.counters.requests["grpc", "list_peers", "ok"] - before)
        if line.woken == woken:
            break
    assert sum(turns) == 100 * (60 if touched_by == "window" else 61)
    assert max(turns) <= MAX_RESUMED_CALLS_PER_TURN * 64


def test_a_client_that_never_reads_is_freed_at_the_deadline(clock: Clock) -> None:
    server = make_server(clock, send_deadline_seconds=5)
    stalled_line, line = server.line(window=100), server.line()
    stalled_line.session("stalled")
    sender = line.session("sender")
    for number in range(60):
        sender.send(str(number), offer=pb.OfferRequest(to_peer_id="stalled", sdp="x" * 100_000))
        stalled_line.pump()
    assert sender.outcome.responses[-1].error.code == 14
    unsent = stalled_line.wire._http2.unsent(1)
    assert unsent < 2 * SEND_AHEAD_BYTES + 110_000
    clock.advance(5.1)
    stalled_line.expire()
    stalled_line.pump()
    outcome = stalled_line.outcomes[1]
    # In the middle of a message, at which the window closed.
    assert len(outcome.body) == 100
    assert (outcome.status, outcome.message) == (8, "Session ended: slow_consumer")
    assert outcome.trailers["signaling-disconnect"] == "slow_consumer"
    assert outcome.trailers["signaling-reconnect"] == "yes"
    # The connection ends next, and clients would lose the trailers of a stream that they count as open.
    assert (outcome.order[-2:], outcome.reset) == (["trailers", "reset"], 0)
    assert [code for _, code, _ in stalled_line.goaways] == [0]
    assert stalled_line.wire.finished
    clock.advance(1)
    stalled_line.expire()
    assert stalled_line.wire.aborted
    assert ended(server) == {"slow_consumer": 1}


def test_only_the_stream_that_is_not_read_is_ended(clock: Clock) -> None:
    server = make_server(clock, send_deadline_seconds=5)
    line = server.line(window=1000)
    stalled, sender = line.session("stalled"), line.session("sender")
    for number in range(60):
        sender.send(str(number), offer=pb.OfferRequest(to_peer_id="stalled", sdp="x" * 100_000))
        line.http2.acknowledge_received_data(len(sender.outcome.body) - getattr(sender, "read", 0), sender.stream_id)
        sender.read = len(sender.outcome.body)  # type: ignore[attr-defined]
        line.pump()
    for _ in range(12):
        clock.advance(0.5)
        line.expire()
        line.pump()
    assert (stalled.outcome.status, stalled.outcome.trailers["signaling-disconnect"]) == (8, "slow_consumer")
    assert (sender.outcome.status, sender.outcome.reset) == (None, None)
    assert line.goaways == []
    assert not line.wire.finished


@pytest.mark.parametrize("reason", WAITED_FOR)
@pytest.mark.parametrize("reads", [True, False])
def test_last_words_behind_a_closed_window(clock: Clock, reason: DisconnectReason, reads: bool) -> None:
    server = make_server(clock, close_timeout_seconds=4, send_deadline_seconds=100)
    line = server.line(window=10)
    call = line.session()
    call.send_bytes(framed(b"") * 50)
    (session,) = server.hub._sessions.values()
    server.hub.end(session, reason, clock.now)
    line.pump()
    assert call.outcome.status is None
    for _ in range(20):
        clock.advance(0.25)
        if reads:
            # The client reads on.
            line.http2.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 100_000})
        line.pump()
        line.expire()
    line.pump()
    assert call.outcome.status == code_of(reason)
    assert call.outcome.trailers["signaling-disconnect"] == reason.word
    assert (call.outcome.order[-2:], call.outcome.reset) == (["trailers", "reset"], 0)
    assert len(call.outcome.body) > 10 if reads else len(call.outcome.body) == 10
    nothing_is_left(line)


def test_a_client_that_does_not_read_is_told_before_the_grace_of_a_shutdown_ends(clock: Clock) -> None:
    """Half of a grace is for last words, if their own time is no shorter."""
    server = make_server(clock, close_timeout_seconds=5, shutdown_grace_seconds=5)
    line = server.line(window=10)
    call = line.session()
    call.send_bytes(framed(b"") * 50)
    server.hub.drain(clock.now)
    line.wire.drain(clock.now)
    line.pump()
    for _ in range(5):
        assert call.outcome.status is None
        clock.advance(0.5)
        line.expire()
        line.pump()
    assert (call.outcome.status, call.outcome.trailers["signaling-disconnect"]) == (14, "draining")
    assert line.wire.finished


@pytest.mark.parametrize("windows", ["closed", "open"])
def test_what_was_dropped_does_not_end_in_ok(clock: Clock, windows: str) -> None:
    """A client half-closes, or asks a question, and does not read what it is answered."""
    server = make_server(clock, close_timeout_seconds=4)
    line = server.line(window=10 if windows == "closed" else 1 << 16)
    session = line.session("a")
    session.half_close()
    question = line.open(GET_PEERS)
    line.http2.send_data(question, framed(b""))
    line.http2.end_stream(question)
    line.pump()
    for _ in range(10):
        clock.advance(0.5)
        line.expire()
        line.pump()
    word = {"closed": "slow_consumer", "open": "client_left"}[windows]
    assert session.outcome.trailers["signaling-disconnect"] == word
    # No list was longer than the window: there is nobody left in the room.
    assert line.outcomes[question].status == 0
    assert session.outcome.status == (8 if windows == "closed" else 0)
    nothing_is_left(line)


def test_a_response_has_the_time_that_a_slow_link_needs(clock: Clock) -> None:
    server = make_server(clock, close_timeout_seconds=4, send_deadline_seconds=10)
    room = server.line()
    for number in range(8):
        room.session().send("1", announce=pb.AnnounceRequest(peer_id=str(number), metadata={"k": "x" * 13_000}))
    line = server.line(window=8_000)
    slow, stopped = (line.open(GET_PEERS) for _ in range(2))
    for stream_id in (slow, stopped):
        line.http2.send_data(stream_id, framed(b""))
        line.http2.end_stream(stream_id)
    line.pump()
    seconds = read = 0
    while line.outcomes[slow].status is None:
        clock.advance(1)
        seconds += 1
        line.http2.acknowledge_received_data(len(line.outcomes[slow].body) - read, slow)
        read = len(line.outcomes[slow].body)
        line.pump()
        line.expire()
    assert line.outcomes[slow].status == 0
    assert seconds > 10
    # The other one has as long, and then is told why not all of it has come.
    for _ in range(20):
        clock.advance(1)
        line.expire()
        line.pump()
    assert (line.outcomes[stopped].status, line.outcomes[stopped].trailers["signaling-disconnect"]) == (
        8,
        "slow_consumer",
    )
    nothing_is_left(line)


@pytest.mark.parametrize("path", [GET_PEERS, REFLECT])
def test_a_call_without_a_session_that_is_not_read_is_told_why(clock: Clock, path: str) -> None:
    server = make_server(clock, send_deadline_seconds=3, close_timeout_seconds=4)
    line, others = server.line(window=10), server.line()
    for number in range(5):
        others.session(str(number))
    stream_id = line.open(path)
    question = b"" if path == GET_PEERS else b"\x3a\x00"  # list_services
    line.http2.send_data(stream_id, framed(question))
    if path == GET_PEERS:
        line.http2.end_stream(stream_id)
    line.pump()
    for _ in range(10):
        clock.advance(0.5)
        line.expire()
        line.pump()
    outcome = line.outcomes[stream_id]
    assert len(outcome.body) == 10
    assert (outcome.status, outcome.trailers["signaling-disconnect"]) == (8, "slow_consumer")
    nothing_is_left(line)


def test_a_window_that_settings_open(server: WiredServer) -> None:
    line = server.line(window=0)
    call = line.session("a")
    call.half_close()
    assert call.outcome.body == b""
    line.http2.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 100_000})
    line.pump()
    assert (len(call.outcome.responses), call.outcome.status) == (1, 0)
    nothing_is_left(line)


def test_a_client_that_takes_nothing_but_goes_on_sending_is_dropped(clock: Clock) -> None:
    server = make_server(clock, send_deadline_seconds=5, ping_interval_seconds=2)
    line = server.line()
    line.session("a")
    for _ in range(40):
        line.http2.ping()
        line.http2.send_data(1, framed(b""))
        line.push(line.http2.data_to_send())
        clock.advance(0.5)
        line.expire()
        if line.wire.aborted:
            break
    assert line.wire.aborted
    assert clock.now.monotonic <= 1000 + 8
    assert server.hub.session_count == 0


def test_a_crowded_session_is_not_read_from(server: WiredServer) -> None:
    line = server.line(window=1000)
    call = line.session("a")
    before = server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"]
    for _ in range(400):
        call.send("x" * 20_000)
    assert server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] - before < 100
    assert len(line.wire._calls[1].deframer.buffer) <= 65536 + 30_000  # type: ignore[union-attr]
    assert line.call(CHECK, b"").status == 0


def test_streams_that_are_held_back_leave_others_their_window(clock: Clock) -> None:
    directory = Elsewhere()
    server = make_server(clock, directory=directory)
    line = server.line()
    for number in range(40):
        call = line.session(f"p{number}")
        call.send_bytes(framed(b"x" * 1000) * 70)
    assert line.call(GET_PEERS, b"").status == 0


def test_no_work_for_streams_that_say_nothing(server: WiredServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a message does not grow with the calls beside it, not even with those whose windows are closed."""
    line = server.line(window=10)
    for number in range(200):
        line.session().send(str(number) * 100)
    busy = line.session()
    line.http2.set_local_window_size(10_000_000, stream_id=busy.stream_id)
    line.pump()
    looked: list[int] = []
    push, unsent = GrpcWire._push, Connection.unsent

    def counted(wire: GrpcWire, call: StreamCall, now: Instant) -> None:
        looked.append(call.stream_id)
        push(wire, call, now)

    def counted_unsent(http2: Connection, stream_id: int) -> int:
        looked.append(stream_id)
        return unsent(http2, stream_id)

    monkeypatch.setattr(GrpcWire, "_push", counted)
    monkeypatch.setattr(Connection, "unsent", counted_unsent)
    line.http2.send_data(busy.stream_id, framed(b""))
    line.push(line.http2.data_to_send())
    line.pull()
    line.pull()
    assert set(looked) == {busy.stream_id}
    assert len(looked) <= 4


@pytest.mark.fast_paths
def test_a_wire_that_has_more_to_write_has_no_fast_output(server):
    """The carrier asks for nothing more behind it, so the rest of a large message would stay."""
    line = server.line()
    alice, bob = line.session("alice"), line.session("bob")
    assert line.wire.fast_output(100, line.clock.now) == []
    request = pb.SignalingRequest(offer=pb.OfferRequest(to_peer_id="bob", sdp="v=0" + "s" * 1000))
    line.http2.send_data(alice.stream_id, framed(request.SerializeToString()))
    line.push(line.http2.data_to_send())
    line.most = 100
    assert line.wire.fast_output(100, line.clock.now) is None
    line.pump()
    assert bob.outcome.responses[-1].notification.offer.sdp == request.offer.sdp


def test_a_client_that_opens_no_window_is_a_slow_consumer(clock: Clock) -> None:
    """Bytes of a call that HTTP/2 holds age as those in its outbox do, however few they are."""
    server = make_server(clock, send_deadline_seconds=5)
    closed, line = server.line(window=0), server.line()
    closed.session("closed")
    sender = line.session("sender")
    sender.send("1", offer=pb.OfferRequest(to_peer_id="closed", sdp="v=0"))
    closed.pump()
    assert closed.wire.due <= clock.now.monotonic + 5
    for _ in range(2):
        clock.advance(2.4)
        closed.expire()
        closed.pump()
    assert server.hub.peer_count == 2
    clock.advance(0.3)
    closed.expire()
    closed.pump()
    assert ended(server) == {"slow_consumer": 1}
    refused = sender.send("2", offer=pb.OfferRequest(to_peer_id="closed", sdp="v=0"))[-1]
    assert refused.error.message == "Peer not found: closed"


def test_a_client_that_reads_slowly_goes_on(clock: Clock) -> None:
    server = make_server(clock, send_deadline_seconds=5)
    slow, line = server.line(window=0), server.line()
    slow_call = slow.session("slow")
    line.session("sender").send("1", offer=pb.OfferRequest(to_peer_id="slow", sdp="x" * 100))
    slow.pump()
    for _ in range(10):
        clock.advance(4)
        slow.push(window_update_frame(slow_call.stream_id, 10))
        slow.pump()
        slow.expire()
    assert (ended(server), server.hub.peer_count) == ({}, 2)


def test_a_call_goes_on_whose_window_another_has_left_to_it(clock: Clock) -> None:
    """The connection's window opens, the call that was to have it all is cancelled, and only then output is taken."""
    server = make_server(clock)
    line, sender = server.line(window=1 << 20), server.line()
    first, second = line.session(), line.session()
    first.send("", announce=pb.AnnounceRequest(peer_id="first", room="1"))
    second.send("", announce=pb.AnnounceRequest(peer_id="second", room="2"))
    for room, peer_id, size, count in (
        ("1", "first", 60_000, 1),
        ("1", "first", 100_000, 1),
        ("2", "second", 20_000, 4),
    ):
        call = sender.session()
        call.send("", announce=pb.AnnounceRequest(peer_id=f"sender {size}", room=room))
        for number in range(count):
            call.send(str(number), offer=pb.OfferRequest(to_peer_id=peer_id, sdp="x" * size))
            line.pump()
    waiting = line.wire._calls[second.stream_id]
    assert (waiting.unsent >= SEND_AHEAD_BYTES, len(waiting.method.outbox)) == (True, 3)
    line.push(window_update_frame(0, 50_000))
    line.push(reset_frame(first.stream_id, 8))
    for _ in range(20):
        line.pull()
        line.push(window_update_frame(0, 100_000) + window_update_frame(second.stream_id, 10_000))
    line.pull()
    assert (waiting.unsent, len(waiting.method.outbox)) == (0, 0)
