"""The gRPC wire: the end of a connection, by drain, age, silence or loss, and the order of last words."""

import logging

import pytest

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, REFLECT, SIGNAL, WATCH, WiredServer, ended, make_server, nothing_is_left
from http2_bytes import ACK, DATA, PING, WINDOW_UPDATE, frame
from sigbridge.disconnects import DisconnectReason
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_net.wire import Client


@pytest.mark.parametrize("most", [*range(1, 40), 100, 1000, 65536])
def test_trailers_come_long_before_any_reset(server: WiredServer, most: int) -> None:
    """However the output is cut, a client that has not ended its own side gets data, trailers, and later a reset."""
    line = server.line(most=most)
    call = line.session("a")
    for number in range(5):
        call.send(str(number) * 200)
    (session,) = server.hub._sessions.values()
    server.hub.end(session, DisconnectReason.PROTOCOL_ERROR, line.clock.now)
    refused = line.open("/no/Method")
    line.pump()
    assert len(call.outcome.responses) == 6
    assert call.outcome.trailers["signaling-disconnect"] == "protocol_error"
    assert call.outcome.order[-2:] == ["data", "trailers"]
    assert (line.outcomes[refused].status, line.outcomes[refused].order) == (12, ["headers"])
    nothing_is_left(line)
    line.outlast_dismissals()
    assert (call.outcome.order[-2:], call.outcome.reset) == (["trailers", "reset"], 0)
    assert (line.outcomes[refused].order, line.outcomes[refused].reset) == (["headers", "reset"], 0)


# The connection's own end.


def test_draining_in_two_steps(server: WiredServer) -> None:
    line = server.line()
    call = line.session("a")
    line.wire.drain(line.clock.now)
    line.pump()
    assert [last for last, _, _ in line.goaways] == [2**31 - 1]
    assert not line.wire.finished
    call.half_close()
    assert [last for last, _, _ in line.goaways] == [2**31 - 1, call.stream_id]
    assert (call.outcome.status, line.wire.finished) == (0, True)


def test_a_drain_with_open_calls(server: WiredServer, clock: Clock) -> None:
    line = server.line()
    calls = [line.session(str(number)) for number in range(3)]
    watch, ask, reflect = line.open(WATCH), line.open(GET_PEERS), line.open(REFLECT)
    line.http2.send_data(watch, framed(b""))
    line.pump()
    server.hub.drain(clock.now)
    line.wire.drain(clock.now)
    line.pump()
    for call in calls:
        assert (call.outcome.status, call.outcome.trailers["signaling-disconnect"]) == (14, "draining")
    assert [line.outcomes[one].status for one in (watch, ask, reflect)] == [14, None, 14]
    line.http2.send_data(ask, framed(b""))
    line.http2.end_stream(ask)
    line.pump()
    assert line.outcomes[ask].status == 0
    assert not line.wire.finished
    line.outlast_dismissals()
    assert line.wire.finished


def test_a_call_after_the_drain_has_begun(server: WiredServer, clock: Clock) -> None:
    line = server.line()
    line.open(GET_PEERS)
    line.pump()
    server.hub.drain(clock.now)
    stream_id = line.open(SIGNAL)
    data = line.http2.data_to_send()
    line.wire.drain(clock.now)
    line.push(data)
    line.pull()
    outcome = line.outcomes[stream_id]
    assert (outcome.status, outcome.headers["signaling-disconnect"]) == (14, "draining")


def test_age_and_its_jitter(clock: Clock) -> None:
    server = make_server(
        clock, grpc_max_connection_age_seconds=100, shutdown_grace_seconds=7, ping_interval_seconds=1e6
    )
    lines = [server.line() for _ in range(50)]
    ages = {line.wire._lifetime._old_at - clock.now.monotonic for line in lines}
    assert len(ages) == 50
    assert all(90 <= age <= 110 for age in ages)
    line = lines[0]
    call, watch = line.session("a"), line.open(WATCH)
    line.pump()
    line.expire()
    clock.advance(110)
    line.wire.expire(clock.now)
    line.pump()
    assert (call.outcome.status, len(line.goaways)) == (None, 1)
    clock.advance(7)
    line.wire.expire(clock.now)
    line.pump()
    assert (call.outcome.status, call.outcome.trailers["signaling-disconnect"]) == (14, "max_age")
    assert line.outcomes[watch].status == 14
    assert (len(line.goaways), line.wire.finished) == (2, False)
    line.outlast_dismissals()
    assert (len(line.goaways), line.wire.finished) == (2, True)


def test_a_connection_without_calls_is_closed(clock: Clock) -> None:
    server = make_server(clock, grpc_max_connection_idle_seconds=30, ping_interval_seconds=1000)
    line = server.line()
    assert line.call(CHECK, b"").status == 0
    call = line.session("a")
    clock.advance(60)
    line.expire()
    line.pump()
    assert line.goaways == []
    call.cancel()
    line.expire()
    assert line.wire.due == pytest.approx(clock.now.monotonic + 30)
    clock.advance(30)
    line.expire()
    line.pump()
    assert [code for _, code, _ in line.goaways] == [0, 0]
    assert line.wire.finished
    clock.advance(server.hub.settings.close_timeout_seconds)
    line.expire()
    assert line.wire.aborted


def test_who_does_not_greet_is_dropped(server: WiredServer, clock: Clock) -> None:
    wire = server.factory(Client("192.0.2.1"), lambda: None, clock.now)
    clock.advance(9)
    wire.expire(clock.now)
    assert not wire.aborted
    clock.advance(1)
    wire.expire(clock.now)
    assert wire.aborted


def test_a_silent_client_is_pinged_and_then_gone(clock: Clock) -> None:
    server = make_server(clock, ping_interval_seconds=20, ping_timeout_seconds=10)
    line = server.line()
    line.session("a")
    for _ in range(3):
        clock.advance(20)
        line.expire()
        line.pump()
    assert line.pinged == 3
    clock.advance(20)
    line.expire()
    line.pull()
    clock.advance(9.9)
    line.expire()
    assert not line.wire.aborted
    clock.advance(0.1)
    line.expire()
    assert (line.wire.aborted, ended(server)) == (True, {"keepalive_timeout": 1})


@pytest.mark.parametrize(
    "said",
    [
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        frame(DATA, 0, 1),
        frame(PING, ACK, 0, b"unasked!"),
        frame(99, 0, 0, b"x"),
    ],
    ids=["window updates", "empty frames", "pongs", "unknown frames"],
)
def test_a_client_that_talks_and_needs_no_response_is_pinged(clock: Clock, said: bytes) -> None:
    """Else a proxy between would cut it, since the server uses nothing of the connection."""
    server = make_server(clock, ping_interval_seconds=10, ping_timeout_seconds=5)
    line = server.line()
    line.session("a")
    for _ in range(60):
        clock.advance(1)
        line.push(said)
        line.expire()
        line.pump()
        assert not line.wire.aborted
    assert line.pinged == 6
    for _ in range(3):
        clock.advance(5)
        line.expire()
    assert (line.wire.aborted, ended(server)) == (True, {"keepalive_timeout": 1})


def test_an_interval_shorter_than_the_timeout_is_kept(clock: Clock) -> None:
    server = make_server(clock, ping_interval_seconds=2, ping_timeout_seconds=10)
    line = server.line()
    line.session("a")
    for _ in range(5):
        clock.advance(2)
        line.expire()
        line.pull()
    assert line.pinged == 5
    assert not line.wire.aborted
    clock.advance(2)
    line.expire()
    assert (line.wire.aborted, ended(server)) == (True, {"keepalive_timeout": 1})


def test_a_client_that_talks_is_not_pinged(clock: Clock) -> None:
    server = make_server(clock, ping_interval_seconds=10)
    line = server.line()
    session = line.session("a")
    for _ in range(50):
        clock.advance(3)
        line.expire()
        session.send("1", list_peers=pb.ListPeersRequest())
    assert line.pinged == 0


@pytest.mark.parametrize("how", ["connection_lost", "receive_eof"])
def test_a_lost_connection_loses_its_sessions(server: WiredServer, clock: Clock, how: str) -> None:
    line = server.line()
    line.session("a")
    watch = line.open(WATCH)
    line.http2.send_data(watch, framed(b""))
    line.pump()
    getattr(line.wire, how)(clock.now)
    assert ended(server) == {"connection_lost": 1}
    assert server.board.watchers == set()
    nothing_is_left(line)


def test_a_client_that_says_goodbye_and_has_no_calls(server: WiredServer) -> None:
    line = server.line()
    call = line.session("a")
    line.http2.send_goaway(0)
    line.pump()
    assert not line.wire.finished
    call.half_close()
    assert call.outcome.status == 0
    assert line.wire.finished


def test_one_fault_does_not_keep_the_others_from_their_end(
    server: WiredServer, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = server.line()
    line.session("a")
    line.session("b")
    end = server.hub.end
    calls = 0

    def fail_once(*what: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("canary")
        end(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(server.hub, "end", fail_once)
    line.wire.connection_lost(clock.now)
    assert server.hub.session_count == 1
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


def test_a_client_that_does_not_heed_goaway_begins_no_calls_behind_the_age(clock: Clock) -> None:
    server = make_server(
        clock, grpc_max_connection_age_seconds=100, shutdown_grace_seconds=10, send_deadline_seconds=300
    )
    line = server.line(window=0)
    line.session("old")
    late = line.open(SIGNAL)
    # The client's library would heed it.
    beginning_of_late = line.http2.data_to_send()
    clock.advance(111)
    line.expire()
    line.pull()
    clock.advance(11)
    line.expire()
    line.push(beginning_of_late)
    line.pull()
    assert ended(server) == {"max_age": 1}
    assert late not in line.wire._calls
    for _ in range(4):
        clock.advance(10)
        line.expire()
        line.pull()
    assert line.wire.aborted or line.wire.finished


def test_an_idle_connection_ends_with_its_goodbye(clock: Clock) -> None:
    """The carrier is told to look, though nothing but messages came before."""
    server = make_server(clock, grpc_max_connection_idle_seconds=50)
    line = server.line()
    line.call(CHECK, b"")
    clock.advance(51)
    line.wire.expire(clock.now)
    assert line.wire.fast_output(line.most, clock.now) is None
    while line.wire.take_output(line.most, clock.now):
        assert line.wire.fast_output(line.most, clock.now) is None
    assert line.wire.finished
