"""Dialects of JSON-RPC: the names, shapes and codes in which a session says what the contract says.

The contract's own results and error objects are the core's (`sigbridge.results`); a dialect is how a session's JSON
differs from them. Rule 1: every method name, field name, error code and event of a session goes through its dialect.
Rule 2: a session may change its dialect, and its encoding with it, while it lives. Today there is one dialect, in which
nothing differs. Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

from typing import Any, Final, NamedTuple

import msgspec

from sigbridge.errors import SignalingError
from sigbridge.messages import Event, Reply, Request
from sigbridge_websocket.shapes import CallId, RequestId, decode_call
from sigbridge_websocket.translate import (
    REQUESTS,
    error_to_jsonrpc,
    event_to_jsonrpc,
    reply_to_jsonrpc,
    request_from_call,
    request_from_params,
)

DISCOVER_METHOD = "rpc.discover"
DISCOVER = "discover"
"""The kind under which `rpc.discover` is counted."""

# A name of this module's own, which compiled code finds without asking a dictionary.
_decode: Final = decode_call


class FastCall(NamedTuple):
    """A call that the fast path has decoded: what is asked for, by which id, in which trace."""

    request: Request
    id: CallId
    traceparent: str


class Dialect:
    """The dialect of the first generation of clients: the contract's own names and shapes."""

    kinds: dict[str, str]
    """The kind under which each method is counted, by the method's name."""

    def __init__(self) -> None:
        self.kinds = {**{name: name for name in REQUESTS}, DISCOVER_METHOD: DISCOVER}

    def fast_call(self, text: bytes) -> FastCall | None:
        """A call, decoded in one pass, that is written as nearly all are; `None` for the general path.

        What it takes is UTF-8, and means what the general path reads in it.
        """
        try:
            call = _decode(text)
            return FastCall(request_from_call(call), call.id, call.traceparent)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, SignalingError):
            return None

    def request(self, method: str, params: dict[str, Any]) -> Request:
        """The request that a method with these params asks for; SignalingError where a field has the wrong type."""
        return request_from_params(method, params)

    def response(self, outcome: Reply | SignalingError, request_id: RequestId) -> bytes:
        """The text of the response to a request."""
        if isinstance(outcome, SignalingError):
            return error_to_jsonrpc(outcome, request_id)
        return reply_to_jsonrpc(outcome, request_id)

    def event(self, event: Event) -> bytes:
        """The text of the notification of an event."""
        return event_to_jsonrpc(event)


PLAIN = Dialect()
