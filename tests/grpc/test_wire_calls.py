"""The gRPC wire: sessions and unary calls, in bytes split anywhere, and faults of ours."""

import json

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, REFLECT, SIGNAL, WATCH, WiredServer, ended, make_server, nothing_is_left
from sigbridge_grpc.encoding import FramedProtobufEncoding
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME


def test_a_session_from_its_first_word_to_its_last(server: WiredServer) -> None:
    line = server.line()
    call = line.session()
    assert call.outcome.headers == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,gzip",
    }
    (reply,) = call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    assert (reply.request_id, json.loads(reply.ack.data)["peers_count"]) == ("1", 0)
    call.half_close()
    assert (call.outcome.status, call.outcome.trailers["signaling-disconnect"]) == (0, "client_left")
    assert (call.outcome.ended, call.outcome.reset) == (True, None)
    assert ended(server) == {"client_left": 1}
    nothing_is_left(line)


def test_peers_on_one_connection_and_on_others(server: WiredServer) -> None:
    first, second = server.line(), server.line()
    a, b = first.session("a"), first.session("b")
    c = second.session("c")
    a.send("1", offer=pb.OfferRequest(to_peer_id="c", sdp="s"))
    a.send("2", offer=pb.OfferRequest(to_peer_id="b", sdp="s"))
    second.pump()
    assert b.outcome.responses[-1].notification.offer.from_peer_id == "a"
    assert c.outcome.responses[-1].notification.offer.from_peer_id == "a"


@pytest.mark.parametrize("most", [1, 9, 100, 65536])
@pytest.mark.parametrize("piece", [1, 2, 7, 0])
def test_any_fragmentation_says_the_same(clock: Clock, piece: int, most: int) -> None:
    line = make_server(clock).line(piece=piece, most=most)
    call = line.session("a")
    for number in range(3):
        call.send(str(number), list_peers=pb.ListPeersRequest())
    call.send_bytes(framed(b"\xff"))
    call.half_close()
    assert [outcome.request_id for outcome in call.outcome.responses] == ["announce", "0", "1", "2", ""]
    assert call.outcome.status == 0
    assert line.call("/no/Method").status == 12
    assert line.call(GET_PEERS, b"").status == 0


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    cuts=st.lists(st.integers(1, 400), max_size=60),
    most=st.integers(1, 3000),
    window=st.integers(15, 70000),
    frame=st.integers(1, 300),
)
def test_bytes_in_every_split(cuts: list[int], most: int, window: int, frame: int) -> None:
    """Input cut anywhere, output taken in any size, frames and windows of any size: the same words in the same order."""
    line = make_server(Clock()).line(window=window, most=most)
    stream_id = line.open(SIGNAL)
    body = framed(pb.SignalingRequest(request_id="a", announce=pb.AnnounceRequest(peer_id="a")).SerializeToString())
    for number in range(12):
        body += framed(pb.SignalingRequest(request_id=str(number) * 90).SerializeToString())
    for start in range(0, len(body), frame):
        line.http2.send_data(stream_id, body[start : start + frame])
        # One DATA frame each.
        line.push(line.http2.data_to_send())
    line.http2.end_stream(stream_id)
    data = line.http2.data_to_send()
    for cut in cuts:
        line.push(data[:cut])
        data = data[cut:]
    line.push(data)
    outcome = line.outcomes[stream_id]
    while True:
        moved = line.pull()
        unread = len(outcome.body) - getattr(outcome, "read", 0)
        if unread:
            line.http2.acknowledge_received_data(unread, stream_id)
            outcome.read = len(outcome.body)  # type: ignore[attr-defined]
        if not line.push(line.http2.data_to_send()) and not moved:
            break
    assert [one.request_id for one in outcome.responses] == ["a", *(str(number) * 90 for number in range(12))]
    assert (outcome.status, outcome.order[0], outcome.order[-1], outcome.reset) == (0, "headers", "trailers", None)
    nothing_is_left(line)


@pytest.mark.parametrize(("path", "code"), [("/no.Such/Method", 12), (f"/{SERVICE_NAME}/Nothing", 12), ("/", 12)])
def test_what_is_not_there_is_unimplemented(server: WiredServer, path: str, code: int) -> None:
    outcome = server.line().call(path, b"")
    assert (outcome.status, outcome.message, outcome.order) == (code, f"Method not found: {path}", ["headers"])


def test_a_status_message_is_percent_encoded(server: WiredServer) -> None:
    outcome = server.line().call("/50%/\xe9", b"")
    assert outcome.headers["grpc-message"].isascii()
    assert "%25" in outcome.headers["grpc-message"]
    assert outcome.message.startswith("Method not found: /50%/")


# Unary calls, health, reflection.


@pytest.mark.parametrize("messages", [(), (b"", b"")])
@pytest.mark.parametrize("path", [GET_PEERS, CHECK, WATCH])
def test_a_call_of_one_question_has_one(server: WiredServer, path: str, messages: tuple[bytes, ...]) -> None:
    line = server.line()
    assert line.call(path, *messages).status == 12
    assert server.board.watchers == set()
    nothing_is_left(line)


def test_unary_refusals_are_statuses(server: WiredServer) -> None:
    line = server.line()
    assert (line.call(GET_PEERS, b"\xff").status, line.call(GET_PEERS, b"\x1a\x01?").status) == (3, 3)
    assert line.call(CHECK, health_pb2.HealthCheckRequest(service="x").SerializeToString()).status == 5


def test_a_unary_call_that_never_asks_ends(clock: Clock) -> None:
    line = make_server(clock, max_timeout_seconds=3).line()
    stream_id = line.open(GET_PEERS)
    line.pump()
    clock.advance(3)
    line.expire()
    line.pump()
    assert line.outcomes[stream_id].status == 4
    nothing_is_left(line)


def test_watchers_are_told_and_let_go(server: WiredServer) -> None:
    line = server.line()
    streams = [line.open(WATCH) for _ in range(300)]
    for stream_id in streams:
        line.http2.send_data(stream_id, framed(b""))
    line.pump()
    assert len(server.board.watchers) == 300
    for stream_id in streams[:299]:
        line.http2.reset_stream(stream_id, 8)
    line.pump()
    assert len(server.board.watchers) == 1
    server.board.not_serving()
    line.wire.drain(line.clock.now)
    line.pump()
    outcome = line.outcomes[streams[-1]]
    told = [health_pb2.HealthCheckResponse.FromString(message).status for message in outcome.messages]
    assert told == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert (outcome.status, server.board.watchers) == (14, set())
    line.outlast_dismissals()
    assert line.wire.finished


def test_reflection_knows_every_service_that_it_lists(server: WiredServer) -> None:
    line = server.line()
    kind = reflection_pb2.ServerReflectionRequest

    def ask(**question: str) -> reflection_pb2.ServerReflectionResponse:
        outcome = line.call(REFLECT, kind(**question).SerializeToString())
        assert outcome.status == 0
        return reflection_pb2.ServerReflectionResponse.FromString(outcome.messages[0])

    names = [service.name for service in ask(list_services="*").list_services_response.service]
    assert SERVICE_NAME in names
    for name in (*names, f"{SERVICE_NAME}.Signal"):
        assert ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto, name
    assert ask(file_containing_symbol="no.such").error_response.error_code == 5
    assert ask(file_by_filename="no/such.proto").error_response.error_code == 5
    assert line.call(REFLECT, b"\xff").status == 3


# Faults of ours.


@pytest.mark.parametrize("what", ["apply", "encode_response", "open"])
def test_a_method_that_raises_ends_its_call_alone(
    server: WiredServer, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = server.line()
    other = line.session("other")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    with monkeypatch.context() as broken:
        broken.setattr(FramedProtobufEncoding if what == "encode_response" else server.hub, what, fail)
        call = line.session()
        if what != "open":
            call.send("1", list_peers=pb.ListPeersRequest())
        assert (call.outcome.status, call.outcome.message) == (13, "Internal error")
        trailers = call.outcome.trailers or call.outcome.headers
        assert (trailers["signaling-disconnect"], trailers["signaling-reconnect"]) == ("internal_error", "yes")
    assert "canary" in caplog.text
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    assert server.hub.session_count == 1


def test_a_unary_method_that_raises(
    server: WiredServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = server.line()
    monkeypatch.setattr(server.hub, "query", lambda *_, **__: 1 / 0)
    outcome = line.call(GET_PEERS, b"")
    assert (outcome.status, outcome.message) == (13, "Internal error")
    assert "ZeroDivisionError" in caplog.text
    assert line.call(CHECK, b"").status == 0
