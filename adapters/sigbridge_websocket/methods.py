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
from msgspec import UNSET

from sigbridge import errors
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.messages import Control
from sigbridge.session import Session, Sink
from sigbridge_websocket.dialects import DISCOVER, SERVER_INFO, Dialect
from sigbridge_websocket.openrpc import openrpc_document
from sigbridge_websocket.shapes import CallId
from sigbridge_websocket.translate import REQUESTS

logger = logging.getLogger("sigbridge.websocket")


class Call:
    """One request on its way through jsonrpcserver: what its method needs."""

    __slots__ = ("dialect", "hub", "id", "kind", "method", "now", "session", "sink", "taken", "traceparent")

    def __init__(self, hub: Hub, session: Session, dialect: Dialect, method: str, now: Instant) -> None:
        self.hub = hub
        self.session = session
        self.dialect = dialect
        self.method = method
        self.now = now
        self.kind = ""
        """The kind under which it is counted, which says what carries it out."""
        self.id: CallId = None
        self.sink: Sink | None = None
        self.traceparent = ""
        self.taken = False
        """True once its method was called: it has responded, or will."""

    def refuse(self, error: SignalingError) -> None:
        """Counts the request as refused, and responds."""
        self.hub.respond(self.session, self.kind, error, self.id, self.now, sink=self.sink)


def apply_method(call: Call, /, **params: Any) -> Result:
    """Applies a request of the protocol; its outcome goes to the hub."""
    call.taken = True
    try:
        has_id, in_batch = call.id is not UNSET, call.sink is not None
        request = call.dialect.request(call.method, params, has_id=has_id, in_batch=in_batch)
    except SignalingError as error:
        call.refuse(error)
    except Exception:
        logger.exception("%s failed", call.method, extra={"session": call.session.id})
        call.refuse(errors.internal_error())
    else:
        call.hub.apply(call.session, request, call.id, call.now, sink=call.sink, traceparent=call.traceparent)
    return Success(None)


def discover(call: Call, /, **_: Any) -> Result:
    """Responds to `rpc.discover` with the OpenRPC document of this server; see https://spec.open-rpc.org."""
    document = openrpc_document()
    call.taken = True
    call.hub.respond(call.session, DISCOVER, document, call.id, call.now, sink=call.sink)
    return Success(None)


def server_info(call: Call, /, **_: Any) -> Result:
    """Responds to `server.info`, which clients of older servers ask for, with empty values."""
    call.taken = True
    call.hub.respond(call.session, SERVER_INFO, _INFO, call.id, call.now, sink=call.sink)
    return Success(None)


_INFO: Mapping[str, Any] = {"addresses": [], "hostname": ""}

METHODS: Mapping[str, Callable[..., Result]] = {
    **dict.fromkeys((*REQUESTS, Control.kind), apply_method),
    DISCOVER: discover,
    SERVER_INFO: server_info,
}
"""The function that carries out a request, by its kind: the names of methods are a dialect's."""

for _method in (apply_method, discover, server_info):
    # The library asks for it at every request, and finding it takes longer than all the rest.
    _method.__dict__["__signature__"] = inspect.signature(_method)


def _no_text(_: object) -> str:
    """Gives the library no text: the hub has queued the response."""
    return ""


def dispatch(request: dict[str, Any], call: Call) -> None:
    """Carries out a request whose kind is one of `METHODS`; the hub queues its response, now or later."""
    # The library takes absent params for an array. What it makes of an id nobody looks at.
    known = {"method": call.kind, "params": request.get("params", {})}
    library_dispatch(
        "",
        METHODS,
        context=call,
        deserializer=lambda _: known,
        validator=lambda _: None,
        serializer=_no_text,
    )
    if not call.taken:
        # What the library refuses by itself has passed our checks, so this is a fault of ours.
        logger.error("jsonrpcserver did not call %s", call.method)
        call.refuse(errors.internal_error())
