"""The gRPC wire: resets, pings, streams, frames and garbage, more than anybody needs."""

import struct

import pytest

from clock import Clock
from grpc_lines import SIGNAL, WiredServer, ended, nothing_is_left
from sigbridge_grpc import wire as wire_module
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.lifetime import MAX_PINGS_IN_A_ROW, MAX_REFUSED_CALLS
from sigbridge_http2.floods import MAX_UNWRITTEN_PINGS


def test_a_reset_flood_leaves_nothing(server: WiredServer) -> None:
    line, other_line = server.line(), server.line()
    other = other_line.session("other")
    for _ in range(1500):
        stream_id = line.open(SIGNAL)
        line.push(line.http2.data_to_send())
        line.http2.reset_stream(stream_id, 8)
        line.push(line.http2.data_to_send())
        if not line.wire.take_output(65536, line.clock.now) and line.wire.finished:
            break
    assert line.wire.finished
    assert server.hub.session_count == 1
    nothing_is_left(line)
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_a_call_that_is_cancelled_in_the_bytes_that_begin_it_never_was(server: WiredServer) -> None:
    line = server.line()
    kept = line.session("kept")
    for _ in range(10):
        line.http2.reset_stream(line.open(SIGNAL), 8)
    line.pump()
    assert (server.hub.session_count, ended(server)) == (1, {})
    assert kept.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    nothing_but = [call.stream_id for call in line.wire._calls.values()]
    assert nothing_but == [kept.stream_id]


def test_of_a_thousand_pings_at_once_most_are_not_looked_at(server: WiredServer) -> None:
    line, other_line = server.line(), server.line()
    line.session("a")
    other = other_line.session("other")
    line.push(b"\0\0\x08\6\0\0\0\0\0pingpong" * 1000)
    said = b""
    while output := line.wire.take_output(65536, line.clock.now):
        said += b"".join(output)
    assert said.count(b"pingpong") == MAX_UNWRITTEN_PINGS
    assert said.count(b"too_many_pings") == 1
    assert (line.wire.finished, ended(server)) == (True, {"protocol_error": 1})
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_a_ping_flood_is_sent_away(server: WiredServer) -> None:
    line = server.line()
    line.session("a")
    for _ in range(MAX_PINGS_IN_A_ROW + 1):
        line.http2.ping()
        line.pump()
    assert [(code, text) for _, code, text in line.goaways] == [(11, b"too_many_pings")]
    assert (line.wire.finished, ended(server)) == (True, {"protocol_error": 1})


def test_a_listener_may_ping_for_days(server: WiredServer, clock: Clock) -> None:
    line = server.line()
    line.session("a")
    for _ in range(1000):
        clock.advance(10)
        line.http2.ping()
        line.pump()
        line.expire()
    assert (line.goaways, line.pings_answered, line.wire.finished) == ([], 1000, False)


def test_pings_that_what_we_send_causes_are_no_flood(server: WiredServer) -> None:
    line, sender_line = server.line(), server.line()
    line.session("a")
    sender = sender_line.session("b")
    for number in range(300):
        sender.send(str(number), offer=pb.OfferRequest(to_peer_id="a", sdp="s"))
        line.pump()
        line.http2.ping()
        line.pump()
    assert line.goaways == []


def test_more_streams_than_allowed_are_refused(server: WiredServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "MAX_STREAMS", 5)
    line = server.line()
    calls = [line.session() for _ in range(5)]
    stream_id = line.open(SIGNAL)
    line.pump()
    assert line.outcomes[stream_id].headers == {}
    assert server.hub.session_count == 5
    calls[0].cancel()
    line.pump()
    assert line.outcomes[stream_id].headers[":status"] == "200"


def test_garbage_ends_the_connection_after_what_came_before(server: WiredServer) -> None:
    line = server.line()
    call = line.session()
    line.http2.send_data(1, framed(pb.SignalingRequest(request_id="1").SerializeToString()))
    line.push(line.http2.data_to_send() + b"\xff" * 40)
    assert server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] == 1
    line.pump()
    assert line.wire.finished
    assert ended(server) == {"protocol_error": 1}
    assert call.outcome.status is None


def test_empty_fragments_without_end(server: WiredServer) -> None:
    line = server.line()
    call = line.session("a")
    line.push((b"\0\0\0\0\0" + struct.pack("!I", call.stream_id)) * 3000)
    assert call.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    line.push((b"\0\0\0\0\0" + struct.pack("!I", call.stream_id)) * 30000)
    while line.wire.take_output(65536, line.clock.now):
        pass
    assert line.wire.finished
    assert server.hub.session_count == 0


@pytest.mark.parametrize("most", [1, 5, 20, 65536])
def test_continuations_without_end(server: WiredServer, most: int) -> None:
    line = server.line(most=most)
    line.push(struct.pack("!I", 0)[1:] + b"\x01\0" + struct.pack("!I", 1))
    for _ in range(100):
        line.push(b"\0\0\0\x09\0" + struct.pack("!I", 1))
    while line.wire.take_output(most, line.clock.now):
        pass
    assert line.wire.finished


@pytest.mark.parametrize(
    "refused",
    [{"path": "/no.Such/Method"}, {"te": None}, {"method": b"GET"}, {"content_type": b"text/html"}],
    ids=lambda refused: next(iter(refused)),
)
def test_calls_to_unknown_methods_without_end(server: WiredServer, refused: dict[str, bytes | str | None]) -> None:
    """And all others that are refused before they begin, in 100 kB at most: each costs far more than its bytes."""
    line, other_line = server.line(), server.line()
    other = other_line.session("other")
    sent = 0
    for _ in range(2 * MAX_REFUSED_CALLS):
        line.open(end=True, **{"path": SIGNAL, **refused})
        data = line.http2.data_to_send()
        sent += len(data)
        line.push(data)
        line.pull()
        line.pull()
        if line.wire.finished:
            break
    assert sent < 100_000
    line.pump()
    assert [(code, text) for _, code, text in line.goaways] == [(11, b"too_many_refused_calls")]
    assert line.wire.finished
    nothing_is_left(line)
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_a_client_that_is_refused_now_and_then_is_let_be(server: WiredServer, clock: Clock) -> None:
    line = server.line()
    for _ in range(2 * MAX_REFUSED_CALLS):
        clock.advance(0.1)
        assert line.call("/no.Such/Method").status == 12
    assert line.goaways == []
