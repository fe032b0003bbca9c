"""The errors: the root of all there are, and the refusal of a request: one exception, one table of codes, every text.

Rule 1: a refused request has changed nothing, and its session goes on. Rule 2: a text names what the client sent or may
know, never the inside of the server. Rule 3: codes are gRPC's; each adapter maps them to its protocol's own. Rule 4:
whatever a caller or a user may have to handle descends from `SigbridgeError`; any other exception is a bug.
Source: `docs/protocol.md`, section "Errors".

    SigbridgeError                      sigbridge.errors
    ├── SignalingError                  sigbridge.errors
    │   ├── NotAnnounced                sigbridge.errors
    │   ├── AlreadyAnnounced            sigbridge.errors
    │   ├── AsSpelled                   sigbridge_websocket.dotted
    │   └── NoRequest                   sigbridge_websocket.error_codes
    ├── SettingError (ValueError)       sigbridge.settings.declare
    ├── ConnectionClosed                sigbridge.client
    │   └── OutcomeUnknown              sigbridge.client
    ├── ListenError (OSError)           sigbridge_net.errors
    ├── AccessError (ValueError)        sigbridge_net.errors
    ├── DescriptorsError                sigbridge_server.descriptors
    ├── UrlError (ValueError)           sigbridge_client.opening
    ├── DialectError (ValueError)       sigbridge_client.opening
    ├── CallEnded                       sigbridge_client.webrtc.call
    ├── BadDescription (ValueError)     sigbridge_client.webrtc.descriptions
    ├── UsageError                      sigbridge_command.errors
    ├── DemoError                       sigbridge_command.demo_processes
    ├── BrokenServerError               sigbridge_compat.probing
    └── BenchError                      sigbridge_bench.errors
        └── LoadError                   sigbridge_bench.load

In brackets is what an error is besides, for callers that know no other name. These stay apart, because the package that
raises them catches them, and one that gets out is a bug:

    Exception
    ├── MessageTooBig                   sigbridge_grpc.framing
    ├── BadProxyHeader                  sigbridge_net.proxy_protocol
    ├── ConnectionFault                 sigbridge_http2.errors
    ├── StreamFault                     sigbridge_http2.errors
    ├── MalformedFields                 sigbridge_http2.errors
    ├── Fault                           sigbridge_websocket.error_codes
    ├── BadKeys                         sigbridge_auth.keys
    ├── BadToken                        sigbridge_auth.verdicts
    │   └── UnknownKey                  sigbridge_auth.verdicts
    └── NotCompiledError                hatch_build
"""

from enum import IntEnum
from typing import Any, Final, Self

MAX_UINT32: Final = 0xFFFFFFFF
MAX_UINT64: Final = 0xFFFFFFFFFFFFFFFF
UINT64_EXPECTED: Final = f"must be a whole number from 0 to {MAX_UINT64}"
UINT32_EXPECTED: Final = f"must be a whole number from 0 to {MAX_UINT32}"


class Code(IntEnum):
    """The gRPC status codes that a request or a connection can end with."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class SigbridgeError(Exception):
    """The root of every error of this project; its text is for people."""


class SignalingError(SigbridgeError):
    """A request was refused: `code` says why to programs, `message` to people, `extra` holds what else is known."""

    def __init__(self, code: Code, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = extra
        self.word = ""
        """The word of a refusal at the door, for counters, logs and clients; empty for the refusal of a request."""
        self.detail = ""
        """The cause as the log says it, and no client is told: never with credentials."""

    @property
    def retry_after_ms(self) -> int | None:
        """The milliseconds after which trying again helps, where that is known."""
        milliseconds = self.extra.get("retry_after_ms")
        return milliseconds if isinstance(milliseconds, int) else None

    def bare(self) -> Self:
        """Returns the error without its traceback, and what led to it, for those who keep it.

        A traceback holds every function on the way, and its locals: where one of these holds the error, they stay.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    def data(self) -> dict[str, Any]:
        """Returns the JSON object that accompanies the error on both protocols."""
        return {"code": int(self.code), "status": self.code.name, **self.extra}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SignalingError):
            return NotImplemented
        return (self.code, self.message, self.extra) == (other.code, other.message, other.extra)

    __hash__ = Exception.__hash__

    def __repr__(self) -> str:
        return f"SignalingError({self.code.name}, {self.message!r}, {self.extra!r})"


class NotAnnounced(SignalingError):
    """The request needs a peer; a class of its own for dialects that have other words and another code for it."""


class AlreadyAnnounced(SignalingError):
    """The announce is one too many; likewise."""


def invalid_params(field: str, what: str) -> SignalingError:
    """Returns the refusal of a missing or wrong field.

    `what` continues a sentence that begins with the field's name.
    """
    return SignalingError(Code.INVALID_ARGUMENT, f"Invalid params: {field} {what}", field=field)


def no_uint32(field: str) -> SignalingError:
    """Returns the refusal: a number is none that 32 bits hold without a sign."""
    return invalid_params(field, UINT32_EXPECTED)


def malformed_request() -> SignalingError:
    """Returns the refusal: the bytes are no message of the protocol."""
    return SignalingError(Code.INVALID_ARGUMENT, "Malformed request")


def no_request() -> SignalingError:
    """Returns the refusal: the message is well-formed and asks for nothing."""
    return SignalingError(Code.INVALID_ARGUMENT, "No request provided")


def method_not_found(name: str) -> SignalingError:
    """Returns the refusal of an unknown method; a long name is cut, so that an error is never larger than its cause."""
    return SignalingError(Code.UNIMPLEMENTED, f"Method not found: {name if len(name) <= 128 else name[:128] + '…'}")


def not_announced() -> SignalingError:
    """Returns the refusal: the request needs a peer, and this session is none yet."""
    return NotAnnounced(Code.FAILED_PRECONDITION, "Not announced: call announce first")


def offer_over(offer_id: str) -> SignalingError:
    """Returns the refusal of an answer that comes too late.

    Another offer is out, or this one was ended by a hang-up or an answer.
    """
    return SignalingError(Code.FAILED_PRECONDITION, f"Offer {offer_id} is over", offer_id=offer_id)


def no_answer_in_time(peer_id: str) -> SignalingError:
    """Returns the refusal: the target has not answered the offer to which its answer would have been the reply."""
    return SignalingError(Code.DEADLINE_EXCEEDED, "No answer in time", peer_id=peer_id)


def sender_mismatch(peer_id: str) -> SignalingError:
    """Returns the refusal: the request says that somebody else sends it; a long id, which nobody has, is cut."""
    shown = peer_id if len(peer_id) <= 256 else peer_id[:256] + "…"
    return SignalingError(
        Code.PERMISSION_DENIED, f"Peer ID mismatch: this session may not send as {shown}", peer_id=shown
    )


def already_announced(peer_id: str) -> SignalingError:
    """Returns the refusal: the session is this peer already, or another session is."""
    return AlreadyAnnounced(Code.ALREADY_EXISTS, f"Peer {peer_id} already announced", peer_id=peer_id)


def too_many_takeovers(peer_id: str, most: int, retry_after_ms: int) -> SignalingError:
    """Returns the refusal: the id was taken from sessions that stood too often by the same taker."""
    return SignalingError(
        Code.RESOURCE_EXHAUSTED,
        f"Peer {peer_id} was taken over too often (limit SIGNALING_TAKEOVER_PER_MINUTE is {most}): "
        f"try again in {retry_after_ms} ms",
        limit="SIGNALING_TAKEOVER_PER_MINUTE",
        value=most,
        peer_id=peer_id,
        retry_after_ms=retry_after_ms,
    )


def peer_not_found(peer_id: str) -> SignalingError:
    """Returns the refusal: the sender's room has no peer of that id."""
    return SignalingError(Code.NOT_FOUND, f"Peer not found: {peer_id}", peer_id=peer_id)


def nobody_to_control() -> SignalingError:
    """Returns the refusal: the sender has offered to no peer that answers in results."""
    return SignalingError(Code.NOT_FOUND, "Peer not found: there was no offer to a peer that takes control messages")


def peer_unavailable(peer_id: str) -> SignalingError:
    """Returns the refusal: the target's outbox is full, or it has no session; sending it again later is safe."""
    return SignalingError(Code.UNAVAILABLE, f"Peer unavailable: {peer_id}", peer_id=peer_id)


def room_mismatch() -> SignalingError:
    """Returns the refusal: an announced peer sees and reaches its own room only."""
    return SignalingError(Code.PERMISSION_DENIED, "Room mismatch: an announced peer may only list its own room")


def limit_exceeded(what: str, limit: str, value: int, retry: str) -> SignalingError:
    """Returns the refusal of what is over a limit.

    `limit` is the environment variable that sets it, `retry` says when trying again helps.
    """
    return SignalingError(
        Code.RESOURCE_EXHAUSTED, f"{what} (limit {limit} is {value}): {retry}", limit=limit, value=value
    )


def session_ended() -> SignalingError:
    """Returns the refusal: the session ended before the request's turn came."""
    return SignalingError(Code.UNAVAILABLE, "Session has ended")


def server_draining() -> SignalingError:
    """Returns the refusal: the server is shutting down and takes nobody in."""
    return _at_the_door("draining", SignalingError(Code.UNAVAILABLE, "Server is draining: connect again after a pause"))


def too_many_sessions(limit: str, value: int) -> SignalingError:
    """Returns the refusal of a session above a limit: of all, or of those of one identity or address.

    `limit` is the environment variable that sets it.
    """
    return _at_the_door("sessions", limit_exceeded("Too many sessions", limit, value, "connect again later"))


def too_many_streams(limit: str, value: int) -> SignalingError:
    """Returns the refusal: there are too many streams of sessions that have ended, whose clients do not read."""
    return _at_the_door(
        "sessions", limit_exceeded("Too many streams that are not read", limit, value, "connect again later")
    )


def internal_error() -> SignalingError:
    """Returns the refusal: a fault of ours, of which the client learns nothing more."""
    return SignalingError(Code.INTERNAL, "Internal error")


def unauthenticated() -> SignalingError:
    """Returns the refusal: there is no token, or a wrong one; the same words whatever is wrong with it."""
    return _at_the_door("unauthenticated", SignalingError(Code.UNAUTHENTICATED, "Invalid or missing API token"))


def throttled(retry_after_ms: int) -> SignalingError:
    """Returns the refusal: too many wrong tokens came from this address."""
    error = SignalingError(
        Code.RESOURCE_EXHAUSTED,
        f"Too many wrong tokens from this address: try again in {retry_after_ms} ms",
        retry_after_ms=retry_after_ms,
    )
    return _at_the_door("throttled", error)


def held_off(retry_after_ms: int) -> SignalingError:
    """Returns the refusal: a session of this identity or address was ended for flooding a moment ago."""
    error = SignalingError(
        Code.RESOURCE_EXHAUSTED,
        f"Held off after flooding: try again in {retry_after_ms} ms",
        limit="SIGNALING_FLOOD_HOLD_SEC",
        retry_after_ms=retry_after_ms,
    )
    return _at_the_door("held_off", error)


def right_missing(right: str) -> SignalingError:
    """Returns the refusal: the identity may not do this at all."""
    return SignalingError(Code.PERMISSION_DENIED, f"Right missing: {right}", right=right)


def subject_mismatch() -> SignalingError:
    """Returns the refusal: a new token names somebody else than the session's own."""
    return SignalingError(Code.PERMISSION_DENIED, "Subject mismatch")


def peer_id_mismatch(peer_id: str) -> SignalingError:
    """Returns the refusal: the identity may not be this peer."""
    return SignalingError(
        Code.PERMISSION_DENIED, f"Peer ID mismatch: these credentials may not announce {peer_id}", peer_id=peer_id
    )


def room_forbidden() -> SignalingError:
    """Returns the refusal: the identity may not enter this room."""
    return SignalingError(Code.PERMISSION_DENIED, "Room mismatch: these credentials may not enter this room")


def too_many_requests(kind: str, per_second: float, retry_after_ms: int) -> SignalingError:
    """Returns the refusal: the holder's bucket for this kind of request is empty."""
    return SignalingError(
        Code.RESOURCE_EXHAUSTED,
        f"Too many {kind} requests (limit SIGNALING_RATE_PER_SEC is {per_second:g}): try again in {retry_after_ms} ms",
        limit="SIGNALING_RATE_PER_SEC",
        value=per_second,
        retry_after_ms=retry_after_ms,
    )


def out_of_memory(limit_mb: int) -> SignalingError:
    """Returns the refusal: the server holds more memory than it may, and takes nobody in until that has passed."""
    return _at_the_door(
        "memory",
        limit_exceeded("Too little memory for another session", "GRPC_MAX_MEMORY_MB", limit_mb, "connect again later"),
    )


def _at_the_door(word: str, error: SignalingError) -> SignalingError:
    error.word = word
    return error
