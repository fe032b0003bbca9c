"""The methods that the gRPC wire serves, each as a small machine that takes messages and gives messages.

Rule 1: no I/O and no HTTP/2: a method sees its `Call` and nothing of what carries it. Rule 2: a method that cannot
begin raises SignalingError or CallRefused, and the call ends with its status before anything is kept. Rule 3: a method
says when it takes no more messages for now (`ready`); the client is held back meanwhile.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError, malformed_request, server_draining
from sigbridge.instant import Instant
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge.session import Caller, no_end
from sigbridge_grpc import status
from sigbridge_grpc.access import HEALTH_SERVICE_NAME, REFLECTION_SERVICE_NAMES
from sigbridge_grpc.framing import framed
from sigbridge_grpc.service import SERVICE_NAME, SignalingService

UnaryAnswer: TypeAlias = Callable[[bytes, Caller, Instant], bytes]
"""A method of one message and one response; raises SignalingError where it is refused."""

Trailers: TypeAlias = Sequence[tuple[str, str]]


class Ending(NamedTuple):
    """How a call ends."""

    code: int
    message: str = ""
    trailers: Trailers = ()
    at_once: bool = False
    """Do not wait for what is queued: its client does not read."""


class CallRefused(Exception):
    """A call may not begin, and ends with more than a status."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


class Call(Protocol):
    """One call, as its method sees it."""

    def wake(self) -> None:
        """There is something to take, or the method is ready again."""

    def finish(self, ending: Ending) -> None:
        """End the call, after what is queued; a second end is ignored."""


class Method(Protocol):
    """What happens on one call."""

    def ready(self) -> bool:
        """Whether the next message may come."""

    def receive(self, message: bytes, now: Instant) -> None:
        """A message of the client."""

    def half_close(self, now: Instant) -> None:
        """The client will send no more."""

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """The call has ended without us."""

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """End the call for this reason, after what is queued; a session's own words come before `message`."""

    def drain(self, now: Instant) -> None:
        """The server is shutting down: end what would not end by itself."""

    def take(self, most: int) -> list[bytes]:
        """What to send now, with its prefix: about `most` bytes, and at least one message where there is one."""


MethodFactory: TypeAlias = Callable[[Call, Caller, Instant], Method]


class SignalMethod:
    """`Signal`: one session."""

    __slots__ = ("_call", "_service", "_session")

    def __init__(self, service: SignalingService, call: Call, caller: Caller, now: Instant) -> None:
        self._service = service
        self._call = call
        try:
            self._session = service.open(caller, self._on_end, now)
        except SignalingError as error:
            if service.hub.serving:
                raise
            trailers = status.trailers_of(DisconnectReason.DRAINING)
            raise CallRefused(Ending(int(error.code), error.message, trailers)) from None
        self._session.outbox.wake = call.wake
        self._session.on_ready = self._on_ready

    def ready(self) -> bool:
        """Whether no response is awaited, and the client reads what it is told."""
        return not self._session.awaiting and not self._session.outbox.crowded

    def receive(self, message: bytes, now: Instant) -> None:
        """One request."""
        if self._session.end_reason is None:
            self._service.signal(self._session, message, now)

    def _on_ready(self, now: Instant) -> None:
        self._call.wake()

    def half_close(self, now: Instant) -> None:
        """Half-close means "I leave": what has been read is answered, the peer is gone, the call ends OK."""
        self._service.hub.end(self._session, DisconnectReason.CLIENT_LEFT, now)

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """The client has cancelled, or is gone: nobody is left to tell."""
        self._session.on_end = no_end
        self._service.hub.end(self._session, reason, now)
        self._session.outbox.clear()

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """End the session for this reason, in the words that it has on every connection."""
        self._service.hub.end(self._session, reason, now)

    def drain(self, now: Instant) -> None:
        """The hub ends its sessions itself."""

    def take(self, most: int) -> list[bytes]:
        """What the outbox holds."""
        return self._session.outbox.take(most)

    def _on_end(self, reason: DisconnectReason) -> None:
        slow = reason is DisconnectReason.SLOW_CONSUMER
        if slow:
            self._session.outbox.clear()
        code = status.code_of(reason)
        message = "" if code is Code.OK else status.message_of(reason)
        self._call.finish(Ending(int(code), message, status.trailers_of(reason), at_once=slow))


class _Queueing:
    """What methods without a session share: a queue of messages to send."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._queue: deque[bytes] = deque()

    def ready(self) -> bool:
        """Whether the client reads what it is told."""
        return len(self._queue) < CROWDED_MESSAGES

    def take(self, most: int) -> list[bytes]:
        """What is queued."""
        frames: list[bytes] = []
        size = 0
        while self._queue and size < most:
            frame = self._queue.popleft()
            size += len(frame)
            frames.append(frame)
        return frames

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Nothing is kept."""
        self._queue.clear()

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """End the call for this reason."""
        self._call.finish(Ending(int(status.code_of(reason)), message))

    def drain(self, now: Instant) -> None:
        """One question and its answer end by themselves."""

    def _send(self, message: bytes) -> None:
        self._queue.append(framed(message))
        self._call.wake()

    def _refuse(self, error: SignalingError) -> None:
        self._call.finish(Ending(int(error.code), error.message))


class UnaryMethod(_Queueing):
    """A method of one question and one answer."""

    def __init__(self, call: Call, caller: Caller, answer: UnaryAnswer) -> None:
        super().__init__(call)
        self._caller = caller
        self._answer = answer
        self._question: bytes | None = None

    def receive(self, message: bytes, now: Instant) -> None:
        """The question; a second one is one too many."""
        if self._question is not None:
            self._refuse(one_message())
        self._question = message

    def half_close(self, now: Instant) -> None:
        """Answer."""
        if self._question is None:
            self._refuse(one_message())
            return
        try:
            answer = self._answer(self._question, self._caller, now)
        except SignalingError as error:
            self._refuse(error)
        else:
            self._send(answer)
            self._call.finish(Ending(0))


class HealthBoard:
    """What `grpc.health.v1.Health` says, and who is watching it."""

    def __init__(self, services: Iterable[str] = (SERVICE_NAME,)) -> None:
        self._serving = dict.fromkeys(("", *services), True)
        self.watchers: set[WatchMethod] = set()

    def status_of(self, service: str) -> int:
        """The status of a service: SERVING, NOT_SERVING or SERVICE_UNKNOWN."""
        words: Any = health_pb2.HealthCheckResponse
        serving = self._serving.get(service)
        return int(words.SERVICE_UNKNOWN if serving is None else words.SERVING if serving else words.NOT_SERVING)

    def not_serving(self) -> None:
        """Say NOT_SERVING from now on, to those who watch as well."""
        self._serving = dict.fromkeys(self._serving, False)
        for watcher in list(self.watchers):
            watcher.tell()

    def check(self, message: bytes, caller: Caller, now: Instant) -> bytes:
        """The unary `Check`."""
        service = _parsed(health_pb2.HealthCheckRequest, message).service
        found = self.status_of(service)
        if found == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            raise SignalingError(Code.NOT_FOUND, "No such service")
        answer: bytes = health_pb2.HealthCheckResponse(status=found).SerializeToString()
        return answer


class WatchMethod(_Queueing):
    """`Watch`: the status of a service, now and whenever it changes."""

    def __init__(self, board: HealthBoard, call: Call) -> None:
        super().__init__(call)
        self._board = board
        self._service: str | None = None
        self._told: int | None = None

    def receive(self, message: bytes, now: Instant) -> None:
        """Which service to watch; a second question is one too many."""
        if self._service is not None:
            self._board.watchers.discard(self)
            self._refuse(one_message())
            return
        try:
            self._service = _parsed(health_pb2.HealthCheckRequest, message).service
        except SignalingError as error:
            self._refuse(error)
            return
        self._board.watchers.add(self)
        self.tell()

    def tell(self) -> None:
        """Say the status, where it is another than the last one told."""
        if self._service is not None and (found := self._board.status_of(self._service)) != self._told:
            self._told = found
            self._send(health_pb2.HealthCheckResponse(status=found).SerializeToString())

    def half_close(self, now: Instant) -> None:
        """A watcher asks once and listens from then on."""
        if self._service is None:
            self._refuse(one_message())

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """End the watch; what was told before still goes out."""
        self._board.watchers.discard(self)
        super().fail(reason, message, now)

    def drain(self, now: Instant) -> None:
        """Nothing more is to be told."""
        self.fail(DisconnectReason.DRAINING, server_draining().message, now)

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Nobody watches any more."""
        super().cancel(reason, now)
        self._board.watchers.discard(self)


class Descriptors:
    """The descriptors of this process, and what tools ask for that they lack: `grpc.reflection.v1`, and methods."""

    def __init__(self) -> None:
        self._present: Any = descriptor_pool.Default()
        # The package has the file of `v1alpha` alone; that of `v1` says the same under another name.
        alpha = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        text = json_format.MessageToJson(alpha).replace(alpha.package, "grpc.reflection.v1")
        file = json_format.Parse(text, descriptor_pb2.FileDescriptorProto())
        file.name = "grpc/reflection/v1/reflection.proto"
        self._added: Any = descriptor_pool.DescriptorPool()
        self._added.Add(file)

    def FindFileByName(self, name: str) -> Any:  # noqa: N802 - as the pool calls it
        """The file of that name; KeyError where there is none."""
        return self._find("FindFileByName", name)

    def FindFileContainingSymbol(self, name: str) -> Any:  # noqa: N802
        """The file that defines a message, service or method; KeyError where there is none."""
        try:
            return self._find("FindFileContainingSymbol", name)
        except KeyError:
            # The pool knows no methods by their names.
            service, _, method = name.rpartition(".")
            return self._find("FindServiceByName", service).methods_by_name[method].containing_service.file

    def _find(self, how: str, name: str) -> Any:
        try:
            return getattr(self._present, how)(name)
        except KeyError:
            return getattr(self._added, how)(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._present, name)


class ReflectionMethod(_Queueing):
    """`ServerReflectionInfo`: which services there are, and their descriptors."""

    def __init__(self, call: Call, services: Sequence[str], descriptors: Descriptors) -> None:
        super().__init__(call)
        self._services = services
        self._descriptors = descriptors

    def receive(self, message: bytes, now: Instant) -> None:
        """One question."""
        try:
            request = _parsed(reflection_pb2.ServerReflectionRequest, message)
        except SignalingError as error:
            self._refuse(error)
            return
        response = reflection_pb2.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._answer(request, response)
        except (KeyError, ValueError):
            response.error_response.error_code = int(Code.NOT_FOUND)
            response.error_response.error_message = "not found"
        self._send(response.SerializeToString())

    def half_close(self, now: Instant) -> None:
        """Nothing more is asked."""
        self._call.finish(Ending(0))

    def drain(self, now: Instant) -> None:
        """Whoever goes on asking asks another server."""
        self.fail(DisconnectReason.DRAINING, server_draining().message, now)

    def _answer(self, request: Any, response: Any) -> None:
        pool: Any = self._descriptors
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._add_file(response, pool.FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                self._add_file(response, pool.FindFileContainingSymbol(request.file_containing_symbol))
            case "file_containing_extension":
                asked = request.file_containing_extension
                message = pool.FindMessageTypeByName(asked.containing_type)
                self._add_file(response, pool.FindExtensionByNumber(message, asked.extension_number).file)
            case "all_extension_numbers_of_type":
                message = pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                found = response.all_extension_numbers_response
                found.base_type_name = message.full_name
                found.extension_number.extend(extension.number for extension in pool.FindAllExtensions(message))
            case _:
                response.error_response.error_code = int(Code.INVALID_ARGUMENT)
                response.error_response.error_message = "no question"

    def _add_file(self, response: Any, file: Any) -> None:
        """A file and all that it imports, each before those that need it."""
        found: dict[str, bytes] = {}

        def add(one: Any) -> None:
            if one.name not in found:
                for dependency in one.dependencies:
                    add(dependency)
                found[one.name] = one.serialized_pb

        add(file)
        # Tools take the first for the file that they asked for.
        response.file_descriptor_response.file_descriptor_proto.extend(reversed(found.values()))


def one_message() -> SignalingError:
    """A method that takes one message got none, or more."""
    return SignalingError(Code.UNIMPLEMENTED, "The call has one message")


def signaling_methods(service: SignalingService, board: HealthBoard) -> Mapping[str, MethodFactory]:
    """The methods of a signaling server, by path."""
    services = (SERVICE_NAME, HEALTH_SERVICE_NAME, *REFLECTION_SERVICE_NAMES)
    descriptors = Descriptors()
    return {
        f"/{SERVICE_NAME}/Signal": lambda call, caller, now: SignalMethod(service, call, caller, now),
        f"/{SERVICE_NAME}/GetPeers": lambda call, caller, _: UnaryMethod(call, caller, service.get_peers),
        f"/{SERVICE_NAME}/HealthCheck": lambda call, caller, _: UnaryMethod(call, caller, service.health_check),
        f"/{HEALTH_SERVICE_NAME}/Check": lambda call, caller, _: UnaryMethod(call, caller, board.check),
        f"/{HEALTH_SERVICE_NAME}/Watch": lambda call, *_: WatchMethod(board, call),
        **{
            f"/{name}/ServerReflectionInfo": lambda call, *_: ReflectionMethod(call, services, descriptors)
            for name in REFLECTION_SERVICE_NAMES
        },
    }


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise malformed_request() from None
