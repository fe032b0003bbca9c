"""Calls whose client is looked up: what may come and go until it is known who that is."""

from typing import Any

import pytest

from clock import Clock
from grpc_lines import (
    CHECK,
    GET_PEERS,
    REFLECT,
    SIGNAL,
    CallOutcome,
    GrpcLine,
    WiredServer,
    framed,
    nothing_is_left,
    pb,
)
from later import ALICE, AtOnce, Full, Later
from sigbridge import Hub, Settings, errors
from sigbridge.errors import Code
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.service import SignalingService
from sigbridge_grpc.wire import grpc_wires

ANNOUNCE = framed(pb.SignalingRequest(request_id="1", announce=pb.AnnounceRequest(peer_id="alice")).SerializeToString())
TOKEN = (b"authorization", b"Bearer token")


class AwaitedLine(GrpcLine):
    """A client whom an authenticator lets wait."""

    def __init__(self, door: Any = None, **settings: Any) -> None:
        clock = Clock()
        self.door = Later() if door is None else door
        server = WiredServer(Hub(Settings(**settings), clock.now), clock)
        methods = signaling_methods(SignalingService(server.hub, encoding=FRAMED_PROTOBUF), server.board)
        server.factory = grpc_wires(methods, server.hub.settings, authenticator=self.door, counters=server.hub.counters)
        super().__init__(server)

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def decide(self, outcome: Any = ALICE) -> None:
        woken = self.woken
        self.door.decide(outcome, self.clock.now)
        assert self.woken > woken
        self.pump()

    def begin(self, path: str = SIGNAL, *headers: tuple[bytes, bytes], **options: Any) -> tuple[int, CallOutcome]:
        stream_id = self.open(path, TOKEN, *headers, **options)
        self.pump()
        return stream_id, self.outcomes[stream_id]


def test_a_session_begins_when_it_is_known_whose_it_is() -> None:
    line = AwaitedLine()
    stream_id, outcome = line.begin()
    line.http2.send_data(stream_id, ANNOUNCE)
    line.pump()
    assert (outcome.order, line.hub.session_count) == ([], 0)
    assert [shown.token for shown in line.door.shown] == ["token"]
    line.decide()
    (session,) = line.hub._sessions.values()
    assert (session.identity, session.authenticator, session.remote) == (ALICE, line.door, "192.0.2.1")
    assert [response.WhichOneof("response") for response in outcome.responses] == ["ack"]
    line.http2.end_stream(stream_id)
    line.pump()
    assert outcome.status == 0
    nothing_is_left(line)


def test_who_is_looked_up_is_the_client_that_a_proxy_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    line = AwaitedLine(client_address_from="x-forwarded-for", trusted_proxies=("192.0.2.1",))
    for address in (b"203.0.113.1", b"203.0.113.2"):
        line.begin(SIGNAL, (b"x-forwarded-for", address))
    line.decide()
    assert [shown.address for shown in line.door.shown] == ["203.0.113.1", "203.0.113.2"]
    assert [session.remote for session in line.hub._sessions.values()] == ["203.0.113.1", "203.0.113.2"]
    line.begin(SIGNAL, (b"x-forwarded-for", b"203.0.113.3"))
    line.wire.drain(line.clock.now)
    assert [vars(record)["remote"] for record in caplog.records if record.getMessage() == "client refused"] == [
        "203.0.113.3"
    ]


def test_a_client_that_has_said_all_before_is_answered() -> None:
    line = AwaitedLine()
    session, peers = line.call(SIGNAL, ANNOUNCE[5:]), line.call(GET_PEERS, b"")
    assert not session.order
    line.decide()
    assert [response.WhichOneof("response") for response in session.responses] == ["ack"]
    assert (session.status, peers.status, len(peers.messages)) == (0, 0, 1)
    nothing_is_left(line)


def test_what_a_client_sends_meanwhile_is_held_back_by_its_window() -> None:
    line = AwaitedLine()
    stream_id, outcome = line.begin()
    big = pb.SignalingRequest(request_id="1", offer=pb.OfferRequest(to_peer_id="x", sdp="x" * 300_000))
    line.http2.send_data(stream_id, framed(big.SerializeToString()))
    line.pump()
    assert 0 < line.wire._calls[stream_id].unacknowledged < 100_000
    line.decide()
    assert [response.WhichOneof("response") for response in outcome.responses] == ["error"]


def test_others_of_the_connection_go_on() -> None:
    line = AwaitedLine()
    line.begin()
    assert line.call(CHECK, b"").status == 0


@pytest.mark.parametrize("path", [SIGNAL, GET_PEERS, REFLECT, "/a/b"])
@pytest.mark.parametrize("resolved", [False, True])
def test_who_is_refused_learns_why_and_not_which_methods_there_are(path: str, resolved: bool) -> None:
    error = errors.throttled(1500)
    line = AwaitedLine(AtOnce(error) if resolved else None)
    outcome = line.call(path, b"")
    if not resolved:
        line.decide(error)
    assert (outcome.order[0], outcome.status, outcome.message) == ("headers", 8, error.message)
    assert outcome.headers["signaling-disconnect"] == "throttled"
    assert outcome.headers["signaling-reconnect"] == "yes"
    assert outcome.headers["signaling-retry-after-ms"] == "1500"
    assert not line.hub.counters.requests
    nothing_is_left(line)


def test_which_methods_there_are_is_said_to_who_is_let_in() -> None:
    line = AwaitedLine()
    outcome = line.call("/a/b", b"")
    line.decide()
    assert outcome.status == Code.UNIMPLEMENTED
    nothing_is_left(line)


def test_a_client_may_cancel_meanwhile() -> None:
    line = AwaitedLine()
    stream_id, _ = line.begin()
    line.http2.reset_stream(stream_id, 8)
    line.pump()
    nothing_is_left(line)
    line.door.decide(ALICE, line.clock.now)
    line.pump()
    assert line.hub.session_count == 0


@pytest.mark.parametrize("way", ["lost", "eof"])
def test_a_connection_may_be_lost_meanwhile_and_nothing_is_kept_of_it(way: str) -> None:
    line = AwaitedLine()
    line.begin()
    if way == "lost":
        line.wire.connection_lost(line.clock.now)
    else:
        line.end_input()
    nothing_is_left(line)
    line.door.decide(ALICE, line.clock.now)
    assert line.hub.session_count == 0


@pytest.mark.parametrize(
    ("path", "headers", "seconds"),
    [(SIGNAL, [], 10.0), (SIGNAL, [(b"grpc-timeout", b"3S")], 3.0), (GET_PEERS, [(b"grpc-timeout", b"60S")], 10.0)],
)
def test_it_is_not_waited_longer_than_for_a_handshake_nor_than_the_client_will(
    path: str, headers: list[tuple[bytes, bytes]], seconds: float
) -> None:
    line = AwaitedLine(handshake_timeout_seconds=10.0)
    _, outcome = line.begin(path, *headers)
    line.clock.advance(seconds - 0.1)
    line.expire()
    line.pump()
    assert not outcome.ended
    line.clock.advance(0.1)
    line.expire()
    line.pump()
    assert (outcome.status, outcome.ended) == (Code.DEADLINE_EXCEEDED, True)
    nothing_is_left(line)
    line.door.decide(ALICE, line.clock.now)
    assert line.hub.session_count == 0


def test_a_call_s_own_time_is_counted_from_its_beginning() -> None:
    line = AwaitedLine()
    _, outcome = line.begin(SIGNAL, (b"grpc-timeout", b"3S"))
    line.clock.advance(2)
    line.decide()
    assert line.hub.session_count == 1
    line.clock.advance(1)
    line.expire()
    line.pump()
    assert outcome.status == Code.DEADLINE_EXCEEDED


def test_without_a_time_of_its_own_a_session_has_none() -> None:
    line = AwaitedLine(handshake_timeout_seconds=10.0, announce_timeout_seconds=1000.0)
    _, outcome = line.begin()
    line.decide()
    line.clock.advance(15)
    line.expire()
    line.pump()
    assert (outcome.ended, line.hub.session_count) == (False, 1)


def test_who_waits_when_the_server_shuts_down_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    line = AwaitedLine()
    _, outcome = line.begin()
    line.hub.drain(line.clock.now)
    line.wire.drain(line.clock.now)
    line.pump()
    assert outcome.status == Code.UNAVAILABLE
    assert outcome.headers["signaling-disconnect"] == "draining"
    line.outlast_dismissals()
    assert line.wire.finished
    assert line.hub.counters.refusals["grpc", "draining"] == 1
    assert [vars(record)["remote"] for record in caplog.records if record.getMessage() == "client refused"] == [
        "192.0.2.1"
    ]


def test_who_asks_when_the_server_shuts_down_does_not_wait() -> None:
    line = AwaitedLine()
    _, first = line.begin()
    line.decide()
    # A call that stays keeps the connection open.
    line.wire.drain(line.clock.now)
    stream_id = line.open(GET_PEERS, TOKEN, end=True)
    line.pump()
    line.door.decide(ALICE, line.clock.now)
    line.pump()
    assert line.outcomes[stream_id].status == Code.UNAVAILABLE
    assert not first.ended


def test_the_age_of_a_connection_ends_a_call_that_waits() -> None:
    line = AwaitedLine(grpc_max_connection_age_seconds=5.0, shutdown_grace_seconds=1.0, handshake_timeout_seconds=100.0)
    _, outcome = line.begin()
    for _ in range(20):
        line.clock.advance(0.5)
        line.expire()
        line.pump()
    assert outcome.headers["signaling-disconnect"] == "max_age"
    nothing_is_left(line)


def test_floods_of_calls_that_are_refused_later_are_floods_too() -> None:
    line = AwaitedLine()
    for _ in range(2):
        for _ in range(600):
            line.open(SIGNAL, TOKEN)
        line.pump()
        line.door.decide(errors.unauthenticated(), line.clock.now)
        line.pump()
    assert line.goaways[-1][1:] == (11, b"too_many_refused_calls")


def test_a_fault_at_the_beginning_costs_one_call(caplog: pytest.LogCaptureFixture) -> None:
    door = Later()
    broken, fine = AwaitedLine(door), AwaitedLine(door)
    (_, failed), (_, other) = broken.begin(), fine.begin()
    broken.hub._sessions = Full()
    door.decide(ALICE, broken.clock.now)
    for line in (broken, fine):
        line.pump()
    assert (failed.status, failed.message) == (Code.INTERNAL, "Internal error")
    assert (other.status, fine.hub.session_count) == (None, 1)
    assert "a call could not be opened" in caplog.text


def test_a_wrong_time_limit_is_refused_without_a_look() -> None:
    line = AwaitedLine()
    _, outcome = line.begin(SIGNAL, (b"grpc-timeout", b"soon"))
    assert outcome.status == Code.INTERNAL
    line.door.decide(ALICE, line.clock.now)
    nothing_is_left(line)
