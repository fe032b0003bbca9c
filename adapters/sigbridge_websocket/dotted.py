"""The dotted dialect: how deployed clients of the second generation say what the contract says.

Rule 1: the plain names are understood as well, and every spelling of a param; what is said is always dotted. Rule 2: a
session changes to it with the first request that it owns, and does not change back.
Source: `docs/protocol.md`, section "The dotted dialect".
"""

from typing import Any, Final

import msgspec

from sigbridge import errors
from sigbridge.checks import is_control_name
from sigbridge.errors import AlreadyAnnounced, NotAnnounced, SignalingError
from sigbridge.fast_paths import is_on
from sigbridge.messages import (
    AnswerReceived,
    Control,
    ControlReceived,
    Event,
    IceCandidateReceived,
    IceServersChanged,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    RelayedEvent,
    Reply,
    Request,
    ServerNotice,
)
from sigbridge_websocket.dialects import PLAIN, SERVER_INFO, Dialect
from sigbridge_websocket.dotted_shapes import OWN_NAMES, decode_dotted_call
from sigbridge_websocket.dotted_translate import (
    REQUESTS,
    capability_names,
    control_from_params,
    relay_params,
    request_from_dotted_call,
    request_from_dotted_params,
    result_text,
)
from sigbridge_websocket.error_codes import INVALID_PARAMS, INVALID_REQUEST
from sigbridge_websocket.shapes import CallId, ErrorObject, ErrorResponse, RequestId, encode_json

METHODS: Final[dict[str, str]] = {
    "peer.announce": "announce",
    "peer.offer": "offer",
    "peer.answer": "answer",
    "peer.ice_candidate": "ice_candidate",
    "peer.disconnect": "disconnect",
    "peer.list": "list_peers",
}
"""The dialect's names of requests, and the plain ones."""
CONTROL: Final = "control."
"""The beginning of methods that go on to another peer under their own name."""

_FAST_CALL: Final = is_on("fast_call")

_decode: Final = decode_dotted_call
_encode: Final = encode_json
_joined: Final = PeerJoined
_left: Final = PeerLeft
_of_server: Final = (ServerNotice, IceServersChanged)
"""Events that are alike in every dialect."""
_control: Final = ControlReceived

_heads: Final[dict[type[Any], bytes]] = {
    event: b'{"jsonrpc":"2.0","method":"%b","params":' % name
    for event, name in (
        (PeerJoined, b"peer.joined"),
        (PeerLeft, b"peer.left"),
        (OfferReceived, b"peer.offer"),
        (AnswerReceived, b"peer.answer"),
        (IceCandidateReceived, b"peer.ice_candidate"),
        (PeerDisconnected, b"peer.disconnected"),
        (ServerNotice, b"server_notice"),
        (IceServersChanged, b"ice_servers"),
    )
}
"""The beginning of the notification of each kind of event."""


class AsSpelled(SignalingError):
    """A wrong field that is called what the client called it, be that a name of this dialect or not."""


class Dotted(Dialect):
    """The dialect of the second generation of clients."""

    name = "dotted"
    takes_control = True

    def __init__(self) -> None:
        super().__init__()
        self.kinds |= {dotted: self.kinds[plain] for dotted, plain in METHODS.items()}
        self.kinds["server.info"] = SERVER_INFO

    def kind(self, method: str) -> str | None:
        """Returns the kind under which a method is counted; None where there is no such method."""
        if method.startswith(CONTROL) and is_control_name(method.removeprefix(CONTROL)):
            return Control.kind
        return self.kinds.get(method)

    def owns(self, method: str) -> bool:
        """Returns whether a method is this dialect's own: whoever asks for it speaks this dialect from then on."""
        return method in METHODS or method == "server.info" or method.startswith(CONTROL)

    def may_omit_version(self, method: object) -> bool:
        """Returns whether a request for a method may come without `jsonrpc`, as one deployed client has it."""
        return isinstance(method, str) and self.owns(method)

    def fast_call(self, text: bytes) -> tuple[Request, CallId, str] | None:
        """Returns the request, id and trace context of a call as nearly all are written; None for the general path."""
        if not _FAST_CALL:
            return None
        try:
            call = _decode(text)
            return request_from_dotted_call(call), call.id, call.traceparent
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, SignalingError):
            return None

    def request(self, method: str, params: dict[str, Any], *, has_id: bool = True, in_batch: bool = False) -> Request:
        """Returns the request of a method with these params.

        :raises SignalingError: if a field has the wrong type.
        """
        plain = METHODS.get(method, method)
        try:
            if plain in REQUESTS:
                return request_from_dotted_params(plain, params, has_id=has_id, in_batch=in_batch)
            if plain.startswith(CONTROL):
                return control_from_params(plain.removeprefix(CONTROL), params)
        except SignalingError as error:
            raise AsSpelled(error.code, error.message, **error.extra) from None
        return super().request(plain, params)

    def response(self, outcome: Reply | SignalingError, request_id: RequestId) -> bytes:
        """Returns the JSON text of the response to a request, or to what is no request (`NoRequest`)."""
        if isinstance(outcome, SignalingError):
            return _encode(ErrorResponse("2.0", self.error(outcome), request_id))
        number = str(request_id).encode() if type(request_id) is int else _encode(request_id)
        return b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (result_text(outcome), number)

    def error(self, error: SignalingError) -> ErrorObject:
        """Returns the error object of a refusal, with this dialect's codes, and its names of methods and fields."""
        if isinstance(error, NotAnnounced):
            return ErrorObject(INVALID_REQUEST, "Not announced: call peer.announce first", error.data())
        if isinstance(error, AlreadyAnnounced):
            return ErrorObject(INVALID_PARAMS, error.message, error.data())
        field = error.extra.get("field", "")
        if field not in OWN_NAMES or isinstance(error, AsSpelled):
            return super().error(error)
        named = errors.invalid_params(OWN_NAMES[field], error.message.removeprefix(f"Invalid params: {field} "))
        return super().error(named)

    def event(self, event: Event) -> bytes:
        """Returns the JSON text of the notification of an event about a room.

        :raises ValueError: for an event for one peer.
        """
        if type(event) is _joined:
            params: Any = {
                "peer_id": event.peer_id,
                "capabilities": capability_names(event.capabilities),
                "metadata": event.metadata,
            }
        elif type(event) is _left:
            params = event if event.reason else {"peer_id": event.peer_id}
        elif type(event) in _of_server:
            params = event
        else:
            raise ValueError(f"{event.kind} is for one peer, and says for which")
        return b"%b%b}" % (_heads[type(event)], _encode(params))

    def relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the JSON text of the notification of an event for one peer, with its sender and its target."""
        if type(event) is _control:
            method, params = _encode(CONTROL + event.name), _encode({**event.params, "from": event.from_peer_id})
            return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (method, params)
        return b"%b%b}" % (_heads[type(event)], _encode(relay_params(event, to_peer_id)))


DOTTED = Dotted()
PLAIN.successors = (DOTTED,)
