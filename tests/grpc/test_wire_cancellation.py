"""The gRPC wire: deadlines, calls that are cancelled, and calls whose response is awaited."""

import pytest

from clock import Clock
from directories import Elsewhere
from grpc_lines import GET_PEERS, SIGNAL, WATCH, WiredServer, ended, make_server, nothing_is_left
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb


def test_a_deadline_of_a_session(server: WiredServer, clock: Clock) -> None:
    line = server.line()
    stream_id = line.open(SIGNAL, (b"grpc-timeout", b"1500m"))
    line.pump()
    clock.advance(1.4)
    line.expire()
    line.pump()
    assert line.outcomes[stream_id].status is None
    clock.advance(0.1)
    line.expire()
    line.pump()
    assert line.outcomes[stream_id].status == 4
    assert ended(server) == {"connection_lost": 1}
    nothing_is_left(line)


@pytest.mark.parametrize("timeout", [b"", b"1", b"123456789S", b"-1S", b"1s", b"1 S", b"S"])
def test_a_timeout_that_is_none_is_refused(server: WiredServer, timeout: bytes) -> None:
    line = server.line()
    assert line.call(SIGNAL, headers=[(b"grpc-timeout", timeout)]).status == 13
    assert server.hub.session_count == 0


def test_a_deadline_that_passes_while_trailers_wait(server: WiredServer, clock: Clock) -> None:
    line = server.line(window=3)
    stream_id = line.open(SIGNAL, (b"grpc-timeout", b"2S"))
    line.http2.send_data(stream_id, framed(b""))
    line.http2.end_stream(stream_id)
    line.pump()
    assert line.wire._calls
    for _ in range(30):
        clock.advance(0.5)
        line.expire()
        line.pull()
    # What was said to it did not arrive, so its half-close does not end in OK.
    outcome = line.outcomes[stream_id]
    assert (outcome.status, outcome.reset) == (8, None)
    assert outcome.trailers["signaling-disconnect"] == "slow_consumer"
    nothing_is_left(line)


def test_a_cancelled_session_is_lost(server: WiredServer) -> None:
    line = server.line()
    other = line.session("other")
    line.session("a").cancel()
    assert other.outcome.responses[-1].notification.peer_left.peer_id == "a"
    assert ended(server) == {"connection_lost": 1}


@pytest.mark.parametrize("path", [SIGNAL, GET_PEERS, "/no/Method", WATCH])
@pytest.mark.parametrize("content_type", [b"application/grpc", b"text/html"])
def test_a_call_that_is_cancelled_in_the_same_breath(server: WiredServer, path: str, content_type: bytes) -> None:
    line = server.line()
    other = line.session("other")
    stream_id = line.open(path, content_type=content_type)
    line.http2.send_data(stream_id, framed(b""))
    data = line.http2.data_to_send()
    line.http2.reset_stream(stream_id, 8)
    line.push(data + line.http2.data_to_send())
    line.pump()
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    assert len(line.wire._calls) == 1
    assert server.board.watchers == set()


@pytest.mark.parametrize("how", ["answer", "cancel", "half_close", "lost"])
def test_nothing_is_read_while_a_response_is_awaited(clock: Clock, how: str) -> None:
    directory = Elsewhere()
    server = make_server(clock, directory=directory)
    line = server.line()
    call = line.session()
    call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    assert call.send("2", list_peers=pb.ListPeersRequest()) == []
    other = line.session()
    assert other.send("3", list_peers=pb.ListPeersRequest())[0].request_id == "3"
    if how == "cancel":
        call.cancel()
    elif how == "half_close":
        call.half_close()
    elif how == "lost":
        line.wire.connection_lost(clock.now)
    directory.asked[0].resolve(None, clock.now)
    line.pump()
    answered = [one.request_id for one in call.outcome.responses]
    assert answered == (["1", "2"] if how in ("answer", "half_close") else [])
    assert server.hub.peer_count == (1 if how == "answer" else 0)
    assert call.outcome.status == (0 if how == "half_close" else None)
