"""The place of a method while its client's identity is looked up, as `Authenticator.authenticate` may have to.

The call is held back meanwhile: flow control keeps what its client sends, and no response begins.

    waiting ──the identity is known──▶ (the method takes its place, or the call is refused)
       └──cancel, fail, drain──▶ (the wait is abandoned; all but a cancel end the call with a status)
"""

from collections.abc import Callable

from sigbridge.auth import Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError, server_draining
from sigbridge.instant import Instant
from sigbridge.outbox import Outbox
from sigbridge.pending import Pending
from sigbridge_grpc.method import Call, Method, failure, refusal


class AwaitedMethod(Method):
    """The method of a call whose client's identity is still looked up; whatever ends the call ends the wait."""

    def __init__(self, call: Call, identity: Pending[Identity], note_refusal: Callable[[SignalingError], None]) -> None:
        """Waits; `note_refusal` is told why its client is not let in, where that is not for its identity's sake."""
        # It says nothing.
        super().__init__(Outbox(max_messages=1, max_bytes=1))
        self._call = call
        self._identity = identity
        self._note_refusal = note_refusal

    def ready(self) -> bool:
        """Returns False: nobody is there to take a message."""
        return False

    def receive(self, message: bytes, now: Instant) -> None:
        """Does nothing: it is never ready."""

    def half_close(self, now: Instant) -> None:
        """Does nothing: that is told behind the messages."""

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Waits no more."""
        self._identity.abandon()

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """Waits no more, and ends the call for this reason."""
        self._identity.abandon()
        self._call.finish(failure(reason, message))

    def drain(self, now: Instant) -> None:
        """Waits no more, and refuses the call: the server is shutting down, and nobody is let in."""
        self._identity.abandon()
        error = server_draining()
        self._note_refusal(error)
        self._call.finish(refusal(error))
