"""The methods of JSON-RPC, one request at a time, as jsonrpcserver dispatches them.

Rule 1: a request is a checked object, and its answer is text or, where that must wait, left in the `Call`. Rule 2: no
text of an exception reaches a client. Rule 3: this file is not compiled: compiled code knows no parameters that are
positional only beside `**params`, and the library reads signatures.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from jsonrpcserver import Error, Result, Success
from jsonrpcserver import dispatch as library_dispatch

from sigbridge import errors
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub, Outcome
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.results import result_object
from sigbridge.session import Session
from sigbridge_websocket.error_codes import jsonrpc_code
from sigbridge_websocket.openrpc import openrpc_document
from sigbridge_websocket.shapes import encode_json
from sigbridge_websocket.translate import REQUESTS, error_to_jsonrpc, request_from_params

logger = logging.getLogger("sigbridge.websocket")

DISCOVER_METHOD = "rpc.discover"
DISCOVER = "discover"
"""The kind under which `rpc.discover` is counted."""


class Call:
    """One request on its way through jsonrpcserver: what its method needs, and what it leaves behind."""

    __slots__ = ("hub", "method", "now", "pending", "session", "traceparent")

    def __init__(self, hub: Hub, session: Session, method: str, now: Instant, *, traceparent: str = "") -> None:
        self.hub = hub
        self.session = session
        self.method = method
        self.now = now
        self.traceparent = traceparent
        self.pending: Pending[Outcome] | None = None


def apply_method(call: Call, /, **params: Any) -> Result:
    """Apply a request of the protocol; its outcome as jsonrpcserver wants it."""
    hub, session = call.hub, call.session
    try:
        request = request_from_params(call.method, params)
        outcome = hub.apply(session, request, call.now, traceparent=call.traceparent)
    except SignalingError as error:
        outcome = hub.refuse(session, call.method, error, call.now)
    except Exception:
        logger.exception("%s failed", call.method, extra={"session": session.id})
        outcome = hub.refuse(session, call.method, errors.internal_error(), call.now)
    if isinstance(outcome, Pending):
        call.pending = outcome
        return Success(None)
    if isinstance(outcome, SignalingError):
        return Error(jsonrpc_code(outcome.code), outcome.message, outcome.data())
    return Success(result_object(outcome))


def discover(call: Call, /, **_: Any) -> Result:
    """Describe the methods and events of this server; see https://spec.open-rpc.org."""
    refused = call.hub.note(call.session, DISCOVER, call.now)
    if refused is not None:
        return Error(jsonrpc_code(refused.code), refused.message, refused.data())
    return Success(openrpc_document())


METHODS: Mapping[str, Callable[..., Result]] = {
    **dict.fromkeys(REQUESTS, apply_method),
    DISCOVER_METHOD: discover,
}
for _method in (apply_method, discover):
    # The library asks for it at every request, and finding it takes longer than all the rest.
    _method.__dict__["__signature__"] = inspect.signature(_method)


def dispatch(request: dict[str, Any], call: Call) -> bytes | None:
    """The response to a request whose method is one of `METHODS`; `None` for a notification, or where it must wait."""
    if "params" not in request:
        # The library takes absent params for an array.
        request = {**request, "params": {}}
    text: Any = library_dispatch(
        "",
        METHODS,
        context=call,
        deserializer=lambda _: request,
        validator=lambda _: None,
        serializer=_serialize,
    )
    # What the library calls text is whatever its serializer gives; no response is an empty text.
    return text if isinstance(text, bytes) else None


def _serialize(message: Any) -> Any:
    """Encode what jsonrpcserver made of a method's result; an error of its own is a fault of ours."""
    error = message.get("error")
    if error is not None and not (isinstance(error.get("data"), dict) and "status" in error["data"]):
        logger.error("jsonrpcserver failed with code %s", error.get("code"))
        return error_to_jsonrpc(errors.internal_error(), message.get("id"))
    return encode_json(message)
