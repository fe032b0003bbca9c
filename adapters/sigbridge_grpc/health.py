"""`grpc.health.v1.Health`: what a server says of itself, now and whenever it changes."""

from collections.abc import Iterable
from typing import Any

from grpc_health.v1 import health_pb2

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError, server_draining
from sigbridge.instant import Instant
from sigbridge.session import Caller
from sigbridge_grpc.method import Call, SessionlessMethod, not_one_message, parsed
from sigbridge_grpc.service import SERVICE_NAME


class HealthBoard:
    """The words of `grpc.health.v1.Health`, and its watchers."""

    def __init__(self, services: Iterable[str] = (SERVICE_NAME,)) -> None:
        self._serving = dict.fromkeys(("", *services), True)
        self.watchers: set[WatchMethod] = set()

    def status_of(self, service: str) -> int:
        """Returns the status of a service: SERVING, NOT_SERVING or SERVICE_UNKNOWN."""
        words: Any = health_pb2.HealthCheckResponse
        serving = self._serving.get(service)
        return int(words.SERVICE_UNKNOWN if serving is None else words.SERVING if serving else words.NOT_SERVING)

    def not_serving(self) -> None:
        """Says NOT_SERVING from now on, to those who watch as well."""
        self._serving = dict.fromkeys(self._serving, False)
        for watcher in list(self.watchers):
            watcher.tell()

    def check(self, message: bytes, caller: Caller, now: Instant) -> bytes:
        """Handles the unary `Check`; returns its response.

        :raises SignalingError: NOT_FOUND for a service that is not here.
        """
        service = parsed(health_pb2.HealthCheckRequest, message).service
        found = self.status_of(service)
        if found == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            raise SignalingError(Code.NOT_FOUND, "No such service")
        response: bytes = health_pb2.HealthCheckResponse(status=found).SerializeToString()
        return response


class WatchMethod(SessionlessMethod):
    """`Watch`: the status of a service, now and whenever it changes."""

    def __init__(self, board: HealthBoard, call: Call) -> None:
        super().__init__(call)
        self._board = board
        self._service: str | None = None
        self._told: int | None = None

    def receive(self, message: bytes, now: Instant) -> None:
        """Begins to watch the service that the message names, and tells its status; refuses a second message."""
        if self._service is not None:
            self._board.watchers.discard(self)
            self._refuse(not_one_message())
            return
        try:
            self._service = parsed(health_pb2.HealthCheckRequest, message).service
        except SignalingError as error:
            self._refuse(error)
            return
        self._board.watchers.add(self)
        self.tell()

    def tell(self) -> None:
        """Says the status, where it is another than the last one told."""
        if self._service is not None and (found := self._board.status_of(self._service)) != self._told:
            self._told = found
            self._send(health_pb2.HealthCheckResponse(status=found).SerializeToString())

    def half_close(self, now: Instant) -> None:
        """Does nothing where something was asked: a watcher asks once and listens from then on."""
        if self._service is None:
            self._refuse(not_one_message())

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """Ends the watch; what was told before still goes out."""
        self._board.watchers.discard(self)
        super().fail(reason, message, now)

    def drain(self, now: Instant) -> None:
        """Ends the watch: nothing more is to be told."""
        self.fail(DisconnectReason.DRAINING, server_draining().message, now)

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Forgets the watcher."""
        super().cancel(reason, now)
        self._board.watchers.discard(self)
