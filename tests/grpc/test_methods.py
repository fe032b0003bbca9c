"""The methods alone: messages in, messages and endings out, no HTTP/2."""

from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from clock import NOW
from directories import Elsewhere
from sigbridge import Hub, Instant, Settings
from sigbridge.auth import Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError
from sigbridge.instant import NEVER
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge.session import Caller
from sigbridge.share import Share
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.method import Ending, UnaryMethod
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.reflection import ReflectionMethod
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.signal_method import SignalMethod

CALLER = Caller(address="192.0.2.1")


class FakeCall:
    def __init__(self) -> None:
        self.ending: Ending | None = None
        self.woken = 0
        self.share = Share()
        self.rests = 0

    def rest(self) -> None:
        self.rests += 1

    def wake(self) -> None:
        self.woken += 1

    def finish(self, ending: Ending) -> None:
        self.ending = self.ending or ending

    def may_respond(self) -> bool:
        return True

    def hold(self, size: int) -> None:
        pass

    def last_heard(self) -> float:
        return -NEVER


@pytest.fixture
def hub() -> Hub:
    return Hub(Settings(max_sessions=2), NOW)


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard()


@pytest.fixture
def begin(hub: Hub, board: HealthBoard) -> Any:
    methods = signaling_methods(SignalingService(hub, encoding=FRAMED_PROTOBUF), board)

    def make(path: str) -> tuple[FakeCall, Any]:
        call = FakeCall()
        return call, methods[path](call, CALLER, NOW)

    return make


SIGNAL = f"/{SERVICE_NAME}/Signal"
WATCH = "/grpc.health.v1.Health/Watch"


def test_a_session(hub: Hub, begin: Any) -> None:
    call, method = begin(SIGNAL)
    assert isinstance(method, SignalMethod)
    method.receive(pb.SignalingRequest(request_id="1").SerializeToString(), NOW)
    (frame,) = method.outbox.take(100)
    assert pb.SignalingResponse.FromString(frame[5:]).request_id == "1"
    assert method.outbox.take(100) == []
    method.half_close(NOW)
    assert call.ending == Ending(0, "", (("signaling-disconnect", "client_left"),))
    assert hub.session_count == 0
    method.receive(b"", NOW)
    assert method.outbox.take(100) == []


def test_a_session_that_is_crowded_is_not_ready(begin: Any) -> None:
    _, method = begin(SIGNAL)
    for _ in range(CROWDED_MESSAGES):
        assert method.ready()
        method.receive(b"", NOW)
    assert not method.ready()
    method.outbox.take(1)
    assert method.ready()


def test_who_is_gone_is_told_nothing(hub: Hub, begin: Any) -> None:
    call, method = begin(SIGNAL)
    method.receive(b"", NOW)
    method.cancel(DisconnectReason.CONNECTION_LOST, NOW)
    assert (call.ending, method.outbox.take(100), hub.session_count) == (None, [], 0)
    method.half_close(NOW)
    method.fail(DisconnectReason.INTERNAL_ERROR, "", NOW)
    assert call.ending is None
    assert hub.counters.disconnects == {("grpc", "connection_lost"): 1}


def test_while_a_response_is_awaited_a_session_is_not_ready() -> None:
    elsewhere = Elsewhere()
    hub = Hub(Settings(), NOW, directory=elsewhere)
    make = signaling_methods(SignalingService(hub, encoding=FRAMED_PROTOBUF), HealthBoard())[SIGNAL]
    call = FakeCall()
    method = make(call, CALLER, NOW)
    announce = pb.SignalingRequest(request_id="1", announce=pb.AnnounceRequest(peer_id="a"))
    method.receive(announce.SerializeToString(), NOW)
    assert (method.ready(), method.outbox.take(1000), call.woken) == (False, [], 0)
    elsewhere.asked[0].resolve(None, NOW)
    assert method.ready()
    assert call.woken >= 1
    (frame,) = method.outbox.take(1000)
    assert pb.SignalingResponse.FromString(frame[5:]).request_id == "1"


def test_a_session_is_its_caller_s(hub: Hub) -> None:
    make = signaling_methods(SignalingService(hub, encoding=FRAMED_PROTOBUF), HealthBoard())[SIGNAL]
    make(FakeCall(), Caller(Identity("alice"), "192.0.2.1", "app/1", "00-trace"), NOW)
    (session,) = hub._sessions.values()
    assert (session.holder, session.remote, session.client, session.traceparent) == (
        "alice",
        "192.0.2.1",
        "app/1",
        "00-trace",
    )


def test_a_session_has_its_own_words_for_its_end(begin: Any) -> None:
    call, method = begin(SIGNAL)
    method.fail(DisconnectReason.MESSAGE_TOO_BIG, "other words", NOW)
    assert call.ending.code == Code.RESOURCE_EXHAUSTED
    assert call.ending.message == "Session ended: message_too_big"
    method.fail(DisconnectReason.INTERNAL_ERROR, "a second end", NOW)
    assert call.ending.code == Code.RESOURCE_EXHAUSTED


def test_a_slow_consumer_ends_at_once(hub: Hub, begin: Any) -> None:
    call, method = begin(SIGNAL)
    method.receive(b"", NOW)
    hub.expire(Instant(NOW.monotonic + 15, NOW.unix + 15))
    assert call.ending.at_once
    assert method.outbox.take(100) == []


def test_who_may_not_begin(hub: Hub, begin: Any) -> None:
    for _ in range(2):
        begin(SIGNAL)
    with pytest.raises(SignalingError, match="SIGNALING_MAX_SESSIONS"):
        begin(SIGNAL)
    hub.drain(NOW)
    with pytest.raises(SignalingError) as refused:
        begin(SIGNAL)
    assert (refused.value.code, refused.value.word) == (Code.UNAVAILABLE, "draining")


def test_a_unary_call() -> None:
    call = FakeCall()
    method = UnaryMethod(call, CALLER, lambda message, caller, now: message + caller.address.encode())
    method.receive(b"from ", NOW)
    assert method.outbox.take(10) == []
    method.half_close(NOW)
    assert (method.outbox.take(10), call.ending) == ([framed(b"from 192.0.2.1")], Ending(0))


def test_a_unary_call_that_is_refused() -> None:
    def refuse(message: bytes, caller: Caller, now: Instant) -> bytes:
        raise SignalingError(Code.NOT_FOUND, "gone")

    call = FakeCall()
    method = UnaryMethod(call, CALLER, refuse)
    method.receive(b"", NOW)
    method.half_close(NOW)
    assert (method.outbox.take(10), call.ending) == ([], Ending(5, "gone"))


def test_watching(board: HealthBoard, begin: Any) -> None:
    def told(method: Any) -> list[int]:
        return [health_pb2.HealthCheckResponse.FromString(frame[5:]).status for frame in method.outbox.take(1000)]

    calls = {}
    for service, status in (("", 1), (SERVICE_NAME, 1), ("no.Such", 3)):
        call, method = calls[service] = begin(WATCH)
        method.receive(health_pb2.HealthCheckRequest(service=service).SerializeToString(), NOW)
        method.half_close(NOW)
        assert (told(method), call.ending) == ([status], None)
    board.not_serving()
    board.not_serving()
    assert [told(method) for _, method in calls.values()] == [[2], [2], []]
    for call, method in calls.values():
        method.drain(NOW)
        assert call.ending.code == Code.UNAVAILABLE
    assert board.watchers == set()


@pytest.mark.parametrize("bad", [b"\xff", b"\x0a\x01\xff"])
def test_a_question_that_is_no_protobuf(begin: Any, board: HealthBoard, bad: bytes) -> None:
    for path in (WATCH, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
        call, method = begin(path)
        method.receive(bad, NOW)
        assert call.ending == Ending(int(Code.INVALID_ARGUMENT), "Malformed request")
    assert board.watchers == set()


def test_reflection_answers_every_kind_of_question(begin: Any) -> None:
    call, method = begin("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    assert isinstance(method, ReflectionMethod)
    message = "google.protobuf.FileOptions"

    def ask(**question: Any) -> Any:
        request = reflection_pb2.ServerReflectionRequest(host="h", **question)
        method.receive(request.SerializeToString(), NOW)
        (frame,) = method.outbox.take(10**6)
        response = reflection_pb2.ServerReflectionResponse.FromString(frame[5:])
        assert (response.valid_host, response.original_request) == ("h", request)
        return response

    assert len(ask(list_services="").list_services_response.service) == 4
    assert ask(file_by_filename="webrtc_signaling.proto").file_descriptor_response.file_descriptor_proto
    assert ask(all_extension_numbers_of_type=message).all_extension_numbers_response.base_type_name == message
    kind = reflection_pb2.ExtensionRequest(containing_type=message, extension_number=99999)
    assert ask(file_containing_extension=kind).error_response.error_code == Code.NOT_FOUND
    assert ask().error_response.error_code == Code.INVALID_ARGUMENT
    method.half_close(NOW)
    assert call.ending == Ending(0)
