"""The methods of JSON-RPC, one request at a time, as jsonrpcserver dispatches them.

Rule 1: jsonrpcserver finds the method and binds its params; the outcome goes to the hub, and what the library
makes of a method's result is not used. Rule 2: no text of an exception reaches a client. Rule 3: this file is not
compiled: compiled code knows no positional-only parameters beside `**params`, and the library reads signatures.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from jsonrpcserver import Result, Success
from jsonrpcserver import dispatch as library_dispatch

from sigbridge import errors
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.session import Session, Sink
from sigbridge_websocket.dialects import DISCOVER, DISCOVER_METHOD, Dialect
from sigbridge_websocket.openrpc import openrpc_document
from sigbridge_websocket.shapes import CallId
from sigbridge_websocket.translate import REQUESTS

logger = logging.getLogger("sigbridge.websocket")


class Call:
    """One request on its way through jsonrpcserver: what its method needs."""

    __slots__ = ("dialect", "hub", "id", "method", "now", "session", "sink", "taken", "traceparent")

    def __init__(self, hub: Hub, session: Session, dialect: Dialect, method: str, now: Instant) -> None:
        self.hub = hub
        self.session = session
        self.dialect = dialect
        self.method = method
        self.now = now
        self.id: CallId = None
        self.sink: Sink | None = None
        self.traceparent = ""
        self.taken = False
        """True once its method was called: it has responded, or will."""

    def refuse(self, error: SignalingError) -> None:
        """Count the request as refused, and respond."""
        kind = self.dialect.kinds[self.method]
        self.hub.respond(self.session, kind, error, self.id, self.now, sink=self.sink)


def apply_method(call: Call, /, **params: Any) -> Result:
    """Apply a request of the protocol; its outcome goes to the hub."""
    call.taken = True
    try:
        request = call.dialect.request(call.method, params)
    except SignalingError as error:
        call.refuse(error)
    except Exception:
        logger.exception("%s failed", call.method, extra={"session": call.session.id})
        call.refuse(errors.internal_error())
    else:
        call.hub.apply(call.session, request, call.id, call.now, sink=call.sink, traceparent=call.traceparent)
    return Success(None)


def discover(call: Call, /, **_: Any) -> Result:
    """Describe the methods and events of this server; see https://spec.open-rpc.org."""
    document = openrpc_document()
    call.taken = True
    call.hub.respond(call.session, DISCOVER, document, call.id, call.now, sink=call.sink)
    return Success(None)


METHODS: Mapping[str, Callable[..., Result]] = {
    **dict.fromkeys(REQUESTS, apply_method),
    DISCOVER_METHOD: discover,
}
for _method in (apply_method, discover):
    # The library asks for it at every request, and finding it takes longer than all the rest.
    _method.__dict__["__signature__"] = inspect.signature(_method)


def _no_text(_: object) -> str:
    """Gives the library no text: the hub has queued the response."""
    return ""


def dispatch(request: dict[str, Any], call: Call) -> None:
    """Carry out a request whose method is one of `METHODS`; the hub queues its response, now or later."""
    if "params" not in request:
        # The library takes absent params for an array.
        request = {**request, "params": {}}
    library_dispatch(
        "",
        METHODS,
        context=call,
        deserializer=lambda _: request,
        validator=lambda _: None,
        serializer=_no_text,
    )
    if not call.taken:
        # What the library refuses by itself has passed our checks, so this is a fault of ours.
        logger.error("jsonrpcserver did not call %s", call.method)
        call.refuse(errors.internal_error())
