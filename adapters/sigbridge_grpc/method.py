"""The methods of the gRPC wire, by what they share: each is a small machine that takes messages and gives messages.

Rule 1: no I/O and no HTTP/2: a method sees its `Call` and nothing of what carries it. Rule 2: a method that cannot
begin raises SignalingError, and the call ends with its status before anything is kept. Rule 3: a method
says when it takes no more messages for now (`ready`); the client is held back meanwhile. Rule 4: what a method has to
say waits in its outbox, with gRPC's prefix, and the wire takes it from there. Rule 5: a method without a session takes
nothing while too much of what such methods have said waits to be written (`Call.may_respond`), and counts what it says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from google.protobuf.message import DecodeError

from sigbridge.auth import Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError, malformed_request
from sigbridge.instant import Instant
from sigbridge.outbox import Outbox
from sigbridge.session import Caller
from sigbridge.share import Share
from sigbridge_grpc import status
from sigbridge_grpc.framing import framed

Trailers: TypeAlias = Sequence[tuple[str, str]]


class Ending(NamedTuple):
    """The end of a call."""

    code: int
    message: str = ""
    trailers: Trailers = ()
    at_once: bool = False
    """Does not wait for what is queued: its client does not read."""


def refusal(error: SignalingError) -> Ending:
    """Returns the end of a call by an error."""
    return Ending(int(error.code), error.message, status.trailers_of_refusal(error))


def failure(reason: DisconnectReason, message: str) -> Ending:
    """Returns the end of a call without a session that fails for a reason."""
    slow = reason is DisconnectReason.SLOW_CONSUMER
    return Ending(int(status.code_of(reason)), message, status.trailers_of(reason), at_once=slow)


class Call(Protocol):
    """A call, as its method sees it."""

    @property
    def share(self) -> Share:
        """The share of one turn that the sessions of its client have together."""

    def wake(self) -> None:
        """Hears that there is something to take, or that the method is ready again."""

    def finish(self, ending: Ending) -> None:
        """Ends the call, after what is queued; a second end is ignored."""

    def rest(self) -> None:
        """Waits for the next turn, in which the method is asked again whether it is ready."""

    def may_respond(self) -> bool:
        """Returns whether a response may be made now; where not, the method is asked again when it may."""

    def hold(self, size: int) -> None:
        """Counts a response that begins to wait in the method's outbox."""

    def count_refusal(self, address: str, kind: str, retry_after_ms: int, now: Instant) -> bool:
        """Counts a question that came too soon, from this address; returns whether its client floods with these."""

    def last_heard(self) -> float:
        """Returns when part of a message came that is not whole yet; see `sigbridge.session.Session.last_heard`."""


class Method(ABC):
    """The work of one call."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox: Final = outbox
        """The messages to be sent."""

    @abstractmethod
    def ready(self) -> bool:
        """Returns whether the next message may come."""

    @abstractmethod
    def receive(self, message: bytes, now: Instant) -> None:
        """Takes a message of the client."""

    @abstractmethod
    def half_close(self, now: Instant) -> None:
        """Hears that the client will send no more."""

    @abstractmethod
    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Hears that the call has ended without us."""

    @abstractmethod
    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """Ends the call for this reason, after what is queued; a session's own words come before `message`."""

    @abstractmethod
    def drain(self, now: Instant) -> None:
        """Ends what would not end by itself: the server is shutting down."""


MethodFactory: TypeAlias = Callable[[Call, Caller, Instant], Method]
"""Begins a method; a SignalingError says that it may not."""

_NO_LIMIT: Final = 1 << 60


class SessionlessMethod(Method):
    """A method without a session."""

    def __init__(self, call: Call) -> None:
        # Its client is held back where it does not read, and so nothing need be refused; the backlog bounds the rest.
        super().__init__(Outbox(max_messages=_NO_LIMIT, max_bytes=_NO_LIMIT))
        self._call = call

    def ready(self) -> bool:
        """Returns whether the client reads what it is told, and not too much waits for others."""
        return not self.outbox.crowded and self._call.may_respond()

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Keeps nothing."""
        self.outbox.clear()

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """Ends the call for this reason."""
        self._call.finish(failure(reason, message))

    def drain(self, now: Instant) -> None:
        """Does nothing: one question and its response end by themselves."""

    def _send(self, message: bytes) -> None:
        """Queues a message, and counts it in the backlog."""
        frame = framed(message)
        # Nobody asks how old it is.
        self.outbox.put_response(frame, 0.0)
        self._call.hold(len(frame))
        self._call.wake()

    def _refuse(self, error: SignalingError) -> None:
        self._call.finish(refusal(error))


Responder: TypeAlias = Callable[[bytes, Caller, Instant], bytes]
"""A method of one message and one response; a SignalingError refuses it."""
HoldOff: TypeAlias = Callable[[Identity, str, Instant], None]
"""Keeps out an identity, or an address where there is none, for a while: it has flooded."""


def hold_nobody(identity: Identity, address: str, now: Instant) -> None:
    """Holds nobody off, where a method has no limit of its own."""


class UnaryMethod(SessionlessMethod):
    """A method of one question and one response."""

    def __init__(
        self, call: Call, caller: Caller, respond: Responder, kind: str = "", hold_off: HoldOff = hold_nobody
    ) -> None:
        """`kind` is what its questions are counted as, and `hold_off` is for callers who flood with them."""
        super().__init__(call)
        self._caller = caller
        self._respond = respond
        self._kind = kind
        self._hold_off = hold_off
        self._question: bytes | None = None

    def receive(self, message: bytes, now: Instant) -> None:
        """Keeps the message, to which `half_close` responds; a second message is refused."""
        if self._question is not None:
            self._refuse(not_one_message())
            return
        self._question = message

    def half_close(self, now: Instant) -> None:
        """Responds to the message and ends the call, or refuses it.

        A refusal that says when to come back counts; a caller of too many is held off.
        """
        if self._question is None:
            self._refuse(not_one_message())
            return
        try:
            message = self._respond(self._question, self._caller, now)
        except SignalingError as error:
            self._refuse(error)
            caller, retry_after_ms = self._caller, error.retry_after_ms
            if retry_after_ms is not None and self._call.count_refusal(caller.address, self._kind, retry_after_ms, now):
                self._hold_off(caller.identity, caller.address, now)
        else:
            self._send(message)
            self._call.finish(Ending(0))


def not_one_message() -> SignalingError:
    """Returns the refusal where a method that takes one message got none, or more."""
    return SignalingError(Code.UNIMPLEMENTED, "The call has one message")


def parsed(kind: Any, message: bytes) -> Any:
    """Returns a message of protobuf's.

    :raises SignalingError: if the bytes are not a message of that type.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise malformed_request() from None
