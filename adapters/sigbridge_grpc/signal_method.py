"""`Signal`: one session on one call."""

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code
from sigbridge.instant import Instant
from sigbridge.session import Caller, no_end
from sigbridge.share import FRESH
from sigbridge_grpc import status
from sigbridge_grpc.method import Call, Ending, Method
from sigbridge_grpc.service import SignalingService


class SignalMethod(Method):
    """`Signal`: one session."""

    def __init__(self, service: SignalingService, call: Call, caller: Caller, now: Instant) -> None:
        self._service = service
        self._call = call
        session = service.open(caller, self._on_end, now)
        super().__init__(session.outbox)
        self._session = session
        session.share = call.share
        session.outbox.wake = call.wake
        session.on_ready = self._on_ready
        session.last_heard = call.last_heard

    def ready(self) -> bool:
        """Returns whether no response is awaited, the client reads what it is told, and its share is not spent."""
        session = self._session
        if session.awaiting or self.outbox.crowded:
            return False
        if session.share.state == FRESH:
            return True
        self._call.rest()
        return False

    def receive(self, message: bytes, now: Instant) -> None:
        """Applies one request of the session; does nothing once that has ended."""
        if self._session.end_reason is None:
            self._service.signal(self._session, message, now)

    def _on_ready(self, now: Instant) -> None:
        self._call.wake()

    def half_close(self, now: Instant) -> None:
        """Ends the session, since half-close means "I leave": what was read has its responses, and the call ends OK."""
        self._service.hub.end(self._session, DisconnectReason.CLIENT_LEFT, now)

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Ends the session of a client that has cancelled, or is gone: nobody is left to tell."""
        self._session.on_end = no_end
        self._service.hub.end(self._session, reason, now)
        self.outbox.clear()

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """Ends the session for this reason, in the words that it has on every connection."""
        self._service.hub.end(self._session, reason, now)

    def drain(self, now: Instant) -> None:
        """Does nothing: the hub ends its sessions itself."""

    def _on_end(self, reason: DisconnectReason) -> None:
        """Ends the call with the status and trailers of the session's end."""
        slow = reason is DisconnectReason.SLOW_CONSUMER
        if slow:
            self.outbox.clear()
        code = status.code_of(reason)
        message = "" if code is Code.OK else status.message_of(reason)
        trailers = status.trailers_of(reason, self._service.hub.retry_after_ms(self._session, reason))
        self._call.finish(Ending(int(code), message, trailers, at_once=slow))
