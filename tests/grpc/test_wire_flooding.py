"""The gRPC wire: sessions and unary calls that keep coming over the rate limit, and such that do not."""

import pytest

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, CallOutcome, GrpcLine, WiredServer, ended, make_server, nothing_is_left
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.lifetime import LEAVING
from sigbridge_grpc.service import SERVICE_NAME

HEALTH = f"/{SERVICE_NAME}/HealthCheck"
ASKED = {
    "a request": pb.SignalingRequest(request_id="1", list_peers=pb.ListPeersRequest()).SerializeToString(),
    "a relay": pb.SignalingRequest(
        request_id="1", ice_candidate=pb.IceCandidateRequest(to_peer_id="b", candidate="c")
    ).SerializeToString(),
    "no request": pb.SignalingRequest(request_id="1").SerializeToString(),
    "no protobuf": b"\xff",
    "a wrong field": pb.SignalingRequest(request_id="1", list_peers=pb.ListPeersRequest(room="\n")).SerializeToString(),
}


@pytest.fixture
def strict(clock: Clock) -> WiredServer:
    return make_server(clock, rate_per_second=1.0, rate_burst=10)


@pytest.mark.parametrize("message", ASKED.values(), ids=ASKED)
def test_a_session_that_keeps_sending_is_ended_and_its_connection_goes_on(
    strict: WiredServer, clock: Clock, message: bytes
) -> None:
    line = strict.line()
    other, call = line.session("other"), line.session()
    begun = clock.now.monotonic
    sent = 0
    while not call.outcome.ended and clock.now.monotonic < begun + 5:
        call.send_bytes(framed(message))
        sent += 1
        clock.advance(0.025)
    assert 2.0 <= clock.now.monotonic - begun <= 3.0
    assert call.outcome.status == 8
    assert call.outcome.message == "Session ended: flooding"
    assert call.outcome.trailers["signaling-disconnect"] == "flooding"
    assert call.outcome.trailers["signaling-reconnect"] == "yes"
    assert len(call.outcome.responses) == sent
    assert call.outcome.responses[-1].error.code == 8
    assert ended(strict) == {"flooding": 1}
    assert other.send("2", disconnect=pb.DisconnectRequest(peer_id="other"))[-1].ack.message
    assert line.goaways == []


def test_what_was_pipelined_at_once_is_no_flooding(strict: WiredServer, clock: Clock) -> None:
    call = strict.line().session()
    call.send_bytes(framed(ASKED["a request"]) * 1000)
    assert len(call.outcome.responses) == 1000
    assert sum(response.HasField("error") for response in call.outcome.responses) == 990
    clock.advance(1.0)
    call.send_bytes(framed(ASKED["a request"]))
    assert call.outcome.responses[-1].HasField("peer_list")


def test_a_session_that_floods_is_held_off_at_the_door(strict: WiredServer, clock: Clock) -> None:
    call = strict.line().session()
    while not call.outcome.ended:
        call.send_bytes(framed(ASKED["a request"]))
        clock.advance(0.025)
    for refused in (strict.line().session().outcome, strict.line().call(GET_PEERS, b"")):
        assert (refused.status, refused.message.partition(":")[0]) == (8, "Held off after flooding")
        said = refused.trailers or refused.headers
        assert (said["signaling-disconnect"], said["signaling-retry-after-ms"]) == ("held_off", "4976")
    assert strict.hub.counters.refusals["grpc", "held_off"] == 2
    assert strict.line().call(CHECK, b"").status == 0, "the standard health service asks nobody"
    clock.advance(5.0)
    assert strict.line().call(GET_PEERS, b"").status == 0
    assert strict.line().session().send("1", list_peers=pb.ListPeersRequest())[-1].HasField("peer_list")


def flood(
    line: GrpcLine, clock: Clock, path: str = GET_PEERS, question: bytes = b"", seconds: float = 5
) -> CallOutcome:
    """Asks without end, until the client is told to stop; returns the last response."""
    begun = clock.now.monotonic
    while True:
        outcome = line.call(path, question)
        if line.goaways or clock.now.monotonic > begun + seconds:
            return outcome
        clock.advance(0.025)


@pytest.mark.parametrize(("path", "question"), [(GET_PEERS, b""), (HEALTH, b""), (GET_PEERS, b"\xff")])
def test_unary_calls_that_keep_coming_end_their_connection(
    strict: WiredServer, clock: Clock, path: str, question: bytes
) -> None:
    line = strict.line()
    begun = clock.now.monotonic
    last = flood(line, clock, path, question)
    assert 2.0 <= clock.now.monotonic - begun <= 3.0
    assert (last.status, last.message.partition(" ")[0]) == (8, "Too"), "the last one has its response"
    assert [(code, text) for _, code, text in line.goaways] == [(11, b"flooding")]
    assert line.wire.finished
    nothing_is_left(line)
    again = strict.line()
    assert again.call(path, question).message.startswith("Held off after flooding")
    assert again.session().outcome.message.startswith("Held off after flooding")
    assert strict.hub.counters.refusals["grpc", "held_off"] == 2
    clock.advance(5.0)
    assert strict.line().call(GET_PEERS, b"").status == 0


def test_a_session_beside_them_goes_on_and_its_connection_takes_no_more_calls(
    strict: WiredServer, clock: Clock
) -> None:
    line = strict.line()
    call = line.session("a")
    flood(line, clock)
    assert (line.wire.finished, line.wire._lifetime.state) == (False, LEAVING)
    assert call.send("2", disconnect=pb.DisconnectRequest(peer_id="a"))[-1].ack.message
    call.half_close()
    assert call.outcome.status == 0
    assert line.wire.finished


def test_who_keeps_asking_while_held_off_is_held_off_on(strict: WiredServer, clock: Clock) -> None:
    flood(strict.line(), clock)
    flood(strict.line(), clock)
    # More than five seconds after the first time, and less than that after the second.
    clock.advance(3.0)
    assert strict.line().call(GET_PEERS, b"").message.startswith("Held off")
    clock.advance(2.0)
    assert strict.line().call(GET_PEERS, b"").status == 0


def test_unary_calls_that_wait_as_long_as_told_are_let_be(strict: WiredServer, clock: Clock) -> None:
    line = strict.line()
    refused = 0
    while refused < 300:
        outcome = line.call(GET_PEERS, b"")
        if outcome.status == 8:
            refused += 1
            clock.advance(1.001)
    assert line.goaways == []


@pytest.mark.thorough
def test_a_thousand_unary_calls_at_once_are_no_flooding(strict: WiredServer, clock: Clock) -> None:
    line = strict.line()
    stream_ids = [line.open(GET_PEERS) for _ in range(900)]
    for stream_id in stream_ids:
        line.http2.send_data(stream_id, framed(b""))
        line.http2.end_stream(stream_id)
    line.pump()
    assert [line.outcomes[stream_id].status for stream_id in stream_ids].count(8) == 890
    clock.advance(1.0)
    assert (line.call(GET_PEERS, b"").status, line.goaways) == (0, [])


def test_connections_are_counted_apart(strict: WiredServer, clock: Clock) -> None:
    lines = [strict.line() for _ in range(3)]
    for _ in range(50):
        for line in lines:
            line.call(GET_PEERS, b"")
        clock.advance(0.07)
    assert [line.goaways for line in lines] == [[], [], []]


def test_nothing_is_kept_of_a_connection_that_is_never_refused(strict: WiredServer) -> None:
    line = strict.line()
    assert line.call(GET_PEERS, b"").status == 0
    assert line.wire._lifetime._floods is None
