"""Dialects of JSON-RPC: the names, shapes and codes in which a session says what the contract says.

The contract's own results and error objects are the core's (`sigbridge.results`); a dialect is how a session's JSON
differs from them. Rule 1: every method name, field name, error code and event of a session goes through its dialect.
Rule 2: a session may change its dialect, and its encoding with it, while it lives. The dialect of this module is the
plain one, in which nothing differs; `docs/dialects.md` says how another one is added.
Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

from typing import Any, Final

import msgspec

from sigbridge.errors import SignalingError
from sigbridge.fast_paths import is_on
from sigbridge.messages import (
    AnswerReceived,
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
from sigbridge.results import capabilities_object, result_object
from sigbridge_websocket.error_codes import NoRequest, jsonrpc_code
from sigbridge_websocket.shapes import CallId, ErrorObject, ErrorResponse, RequestId, decode_call, encode_json
from sigbridge_websocket.translate import REQUESTS, request_from_call, request_from_params

DISCOVER_METHOD = "rpc.discover"
DISCOVER = "discover"
"""The kind under which `rpc.discover` is counted."""
SERVER_INFO = "server_info"
"""The kind under which `server.info` is counted, which some dialects have."""

_FAST_CALL: Final = is_on("fast_call")

_decode: Final = decode_call
_encode: Final = encode_json
_joined: Final = PeerJoined
_left: Final = PeerLeft
_disconnected: Final = PeerDisconnected

_heads: Final[dict[type[Any], bytes]] = {
    event: b'{"jsonrpc":"2.0","method":"%b","params":' % event.kind.encode()
    for event in (
        PeerJoined,
        PeerLeft,
        OfferReceived,
        AnswerReceived,
        IceCandidateReceived,
        PeerDisconnected,
        ServerNotice,
        IceServersChanged,
    )
}
"""The beginning of the notification of each kind of event."""


class Dialect:
    """The dialect of the first generation of clients: the contract's own names and shapes. Others descend from it."""

    name = "plain"
    """Its name, for the log and metrics."""
    takes_control = False
    """True where its sessions are told `ControlReceived`."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {**{name: name for name in REQUESTS}, DISCOVER_METHOD: DISCOVER}
        """The kind under which each method is counted, by the method's name."""
        self.successors: tuple[Dialect, ...] = ()
        """The dialects to which a session may change from this one."""

    def kind(self, method: str) -> str | None:
        """Returns the kind under which a method is counted; None where there is no such method."""
        return self.kinds.get(method)

    def owns(self, method: str) -> bool:
        """Returns whether a method belongs to this dialect alone.

        A session that asks for it speaks this dialect from then on.
        """
        return False

    def successor(self, method: str) -> "Dialect | None":
        """Returns the dialect to which asking for a method changes a session; None if it stays."""
        for dialect in self.successors:
            if dialect.owns(method):
                return dialect
        return None

    def may_omit_version(self, method: object) -> bool:
        """Returns whether a request for a method may come without `jsonrpc`; it may be no text at all."""
        return False

    def fast_call(self, text: bytes) -> tuple[Request, CallId, str] | None:
        """Returns the request, id and trace context of a call as nearly all are written; None for the general path."""
        if not _FAST_CALL:
            return None
        try:
            call = _decode(text)
            return request_from_call(call), call.id, call.traceparent
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, SignalingError):
            return None

    def request(self, method: str, params: dict[str, Any], *, has_id: bool = True, in_batch: bool = False) -> Request:
        """Returns the request of a method with these params.

        It may depend on whether the call has an id, and is in a batch.

        :raises SignalingError: if a field has the wrong type.
        """
        return request_from_params(method, params)

    def response(self, outcome: Reply | SignalingError, request_id: RequestId) -> bytes:
        """Returns the JSON text of the response to a request, or to what is no request (`NoRequest`).

        The outcome of methods that are no requests of the core, `rpc.discover` and `server.info`, is a mapping.
        """
        if isinstance(outcome, SignalingError):
            return _encode(ErrorResponse("2.0", self.error(outcome), request_id))
        result = _encode(result_object(outcome))
        number = str(request_id).encode() if type(request_id) is int else _encode(request_id)
        return b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (result, number)

    def error(self, error: SignalingError) -> ErrorObject:
        """Returns the error object of a refusal."""
        if isinstance(error, NoRequest):
            return ErrorObject(error.jsonrpc_code, error.message)
        return ErrorObject(jsonrpc_code(error.code), error.message, error.data())

    def event(self, event: Event) -> bytes:
        """Returns the JSON text of an event's notification; fields that are `None` are absent."""
        params: Any = event
        if type(event) is _joined:
            params = {
                "peer_id": event.peer_id,
                "capabilities": capabilities_object(event.capabilities),
                "metadata": event.metadata,
            }
        elif type(event) is _left:
            params = {"peer_id": event.peer_id}
        return b"%b%b}" % (_heads[type(event)], _encode(params))

    def relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the JSON text of the notification of an event for one peer, whose id is not in it."""
        params: Any = event
        if type(event) is _disconnected and event.reason:
            params = PeerDisconnected(event.peer_id, event.offer_id)
        return b"%b%b}" % (_heads[type(event)], _encode(params))


PLAIN = Dialect()
