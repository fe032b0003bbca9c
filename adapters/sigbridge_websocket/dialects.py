"""Dialects of JSON-RPC: the names, shapes and codes in which a session says what the contract says.

The contract's own results and error objects are the core's (`sigbridge.results`); a dialect is how a session's JSON
differs from them. Rule 1: every method name, field name, error code and event of a session goes through its dialect.
Rule 2: a session may change its dialect, and its encoding with it, while it lives. Today there is one dialect, in which
nothing differs. Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

from typing import Any, Final

import msgspec

from sigbridge.errors import SignalingError
from sigbridge.fast_paths import is_on
from sigbridge.messages import (
    AnswerReceived,
    Event,
    IceCandidateReceived,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Reply,
    Request,
)
from sigbridge.results import capabilities_object, result_object
from sigbridge_websocket.error_codes import NoRequest, jsonrpc_code
from sigbridge_websocket.shapes import CallId, ErrorObject, ErrorResponse, RequestId, decode_call, encode_json
from sigbridge_websocket.translate import REQUESTS, request_from_call, request_from_params

DISCOVER_METHOD = "rpc.discover"
DISCOVER = "discover"
"""The kind under which `rpc.discover` is counted."""

_FAST_CALL: Final = is_on("fast_call")

_decode: Final = decode_call
_encode: Final = encode_json
_joined: Final = PeerJoined

_heads: Final[dict[type[Any], bytes]] = {
    event: b'{"jsonrpc":"2.0","method":"%b","params":' % event.kind.encode()
    for event in (PeerJoined, PeerLeft, OfferReceived, AnswerReceived, IceCandidateReceived, PeerDisconnected)
}
"""The beginning of the notification of each kind of event."""


class Dialect:
    """The dialect of the first generation of clients: the contract's own names and shapes."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {**{name: name for name in REQUESTS}, DISCOVER_METHOD: DISCOVER}
        """The kind under which each method is counted, by the method's name."""

    def fast_call(self, text: bytes) -> tuple[Request, CallId, str] | None:
        """Returns the request, id and trace context of a call as nearly all are written; None for the general path."""
        if not _FAST_CALL:
            return None
        try:
            call = _decode(text)
            return request_from_call(call), call.id, call.traceparent
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, SignalingError):
            return None

    def request(self, method: str, params: dict[str, Any]) -> Request:
        """The request that a method with these params asks for; SignalingError where a field has the wrong type."""
        return request_from_params(method, params)

    def response(self, outcome: Reply | SignalingError, request_id: RequestId) -> bytes:
        """The text of the response to a request, or to what is no request at all (`NoRequest`)."""
        if isinstance(outcome, SignalingError):
            if isinstance(outcome, NoRequest):
                error = ErrorObject(outcome.jsonrpc_code, outcome.message)
            else:
                error = ErrorObject(jsonrpc_code(outcome.code), outcome.message, outcome.data())
            return _encode(ErrorResponse("2.0", error, request_id))
        result = _encode(result_object(outcome))
        number = str(request_id).encode() if type(request_id) is int else _encode(request_id)
        return b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (result, number)

    def event(self, event: Event) -> bytes:
        """The text of the notification of an event; fields that are `None` are absent."""
        params: Any = event
        if type(event) is _joined:
            params = {
                "peer_id": event.peer_id,
                "capabilities": capabilities_object(event.capabilities),
                "metadata": event.metadata,
            }
        return b"%b%b}" % (_heads[type(event)], _encode(params))


PLAIN = Dialect()
