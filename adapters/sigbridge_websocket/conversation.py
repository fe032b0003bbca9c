"""JSON-RPC 2.0: from the text of a message to the hub, which queues the response.

Rule 1: calls that are written as nearly all are take the fast path, decoded in one pass; everything else takes the
general path, where jsonrpcserver dispatches one request at a time. What one accepts the other treats alike, and what
the fast path does not take it has not touched. Rule 2: a batch is processed in order; what it causes for its own sender
follows the array. Rule 3: no text of an exception reaches a client. Rule 4: once the responses to a batch are over
their bound, nothing more of it is carried out: the rest is refused, in which a response is little more than its id.
Rule 5: a batch that has used up its session's share of a turn goes on in a later one; what is left of it when its
session ends is not carried out.
The states of a batch, of which a conversation has one at most:

    going on ──an element's outcome is awaited──▶ waiting ──resume──▶ going on
        ├──the share of the turn is spent──▶ resting ──resume──▶ going on
        ├──no element is left──▶ (its array is put)
        └──an element has ended the session──▶ (the array of those before is put, unless the client does not read)

Source: `docs/protocol.md`, section "JSON-RPC over WebSocket"; https://www.jsonrpc.org/specification.
"""

import logging
from collections import deque
from typing import Any, Final

import msgspec
from msgspec import UNSET

from sigbridge import errors
from sigbridge.addresses import UNIX
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.session import Outcome, RequestId, Session
from sigbridge.share import EVENTS_PER_ELEMENT, FRESH
from sigbridge_websocket.dialects import DISCOVER, SERVER_INFO, Dialect
from sigbridge_websocket.encoding import BareJson
from sigbridge_websocket.error_codes import INVALID_REQUEST, PARSE_ERROR, NoRequest
from sigbridge_websocket.methods import Call, dispatch
from sigbridge_websocket.shapes import CallId

logger = logging.getLogger("sigbridge.websocket")

QUESTIONS = ("list_peers", "health_check", DISCOVER, SERVER_INFO)
"""Kinds of requests that change nothing: where nobody hears the response, none is made. A listing may be long."""
UNKNOWN = "unknown"
"""The kind under which a message is counted that is no request of ours."""

_unset: Final = UNSET


class Batch:
    """A batch on its way: a sink for the hub's responses, and the elements that are left."""

    __slots__ = ("_most", "_responses", "_size", "dialect", "left")

    def __init__(self, elements: list[Any], dialect: Dialect, most: int) -> None:
        self.dialect = dialect
        """The dialect of the responses from now on."""
        self._most = most
        self._responses: list[bytes] = []
        self._size = 1
        """Bytes of the array so far."""
        self.left = deque(elements)

    @property
    def full(self) -> bool:
        """True once its responses are over their bound: nothing more of it is carried out."""
        return self._size > self._most

    def too_much(self) -> SignalingError:
        """Returns the error that refuses the rest of a batch whose responses are over their bound."""
        return errors.limit_exceeded(
            "Too many bytes of responses in this batch",
            "SIGNALING_MAX_BATCH_RESPONSE_BYTES",
            self._most,
            "send it again in another batch",
        )

    def respond(self, outcome: Outcome, request_id: RequestId, now: Instant) -> None:
        """Keeps the response to an element; a notification gets none."""
        if request_id is not _unset:
            text = self.dialect.response(outcome, request_id)
            self._responses.append(text)
            self._size += len(text) + 1

    def array(self) -> bytes | None:
        """Returns the responses as one array; `None` where all elements were notifications."""
        return b"[%b]" % b",".join(self._responses) if self._responses else None


class Conversation:
    """The JSON-RPC side of one session: takes messages one at a time.

    While `Session.awaiting`, or its share is not fresh, no further message may be received; afterwards `resume` must be
    called first.
    """

    __slots__ = ("_batch", "_encoding", "_hub", "_session")

    def __init__(self, hub: Hub, session: Session, encoding: BareJson) -> None:
        self._hub = hub
        self._session = session
        self._encoding = encoding
        self._batch: Batch | None = None
        """The batch that is being processed, waits for the outcome of one of its elements, or rests."""

    def receive(self, text: bytes, now: Instant) -> None:
        """Processes one message, which must be UTF-8 where it was a text frame."""
        call = self._encoding.dialect.fast_call(text)
        if call is None:
            self._receive_any(text, now)
        else:
            request, call_id, traceparent = call
            self._hub.apply(self._session, request, call_id, now, traceparent=traceparent)

    def resume(self, now: Instant) -> None:
        """Goes on with a batch that waited for an outcome or rested, where nothing else holds it up."""
        session = self._session
        if session.end_reason is not None:
            self._batch = None
        elif self._batch is not None and not session.awaiting and session.share.state == FRESH:
            self._process_batch(self._batch, now)

    def _receive_any(self, text: bytes, now: Instant) -> None:
        """Processes one message by the general path."""
        try:
            message = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self._refuse(NoRequest(PARSE_ERROR, "Parse error"), None, now, None)
            return
        if not isinstance(message, list):
            self._take(message, now, None)
            return
        most = self._hub.settings.max_batch_requests
        if 0 < len(message) <= most:
            # What the batch causes for its own sender follows the array.
            self._session.outbox.hold()
            batch = Batch(message, self._encoding.dialect, self._hub.settings.max_batch_response_bytes)
            self._process_batch(batch, now)
        else:
            self._invalid(f"a batch of more than {most}" if message else "an empty batch", None, now, None)

    def _process_batch(self, batch: Batch, now: Instant) -> None:
        """Processes what is left of a batch, until an outcome is awaited or a share spent; the rest follows later."""
        self._batch = batch
        session, share = self._session, self._session.share
        while batch.left:
            if share.state != FRESH:
                return
            share.use(EVENTS_PER_ELEMENT)
            self._take(batch.left.popleft(), now, batch)
            if session.awaiting:
                return
            if session.end_reason is not None:
                self._end(batch, now)
                return
        self._batch = None
        text = batch.array()
        self._hub.put_array(session, None if text is None else self._encoding.frame(text), now)

    def _end(self, batch: Batch, now: Instant) -> None:
        """Queues the responses of a batch that has ended its own session, unless its client does not read."""
        self._batch = None
        text = batch.array()
        if text is not None and self._session.end_reason is not DisconnectReason.SLOW_CONSUMER:
            self._session.outbox.put_array(self._encoding.frame(text), now.monotonic)

    def _take(self, request: Any, now: Instant, sink: Batch | None) -> None:
        """Checks that a message or an element of a batch is a request, and dispatches it."""
        if not isinstance(request, dict):
            self._invalid("not an object", None, now, sink)
            return
        if "method" not in request and ("result" in request or "error" in request):
            self._hub.counters.ignored_responses += 1
            return
        method = request.get("method")
        if isinstance(method, str):
            self._note_dialect(method, sink)
        request_id = request.get("id")
        if not isinstance(request_id, str | int | None) or isinstance(request_id, bool):
            self._invalid("id must be a string, an integer or null", None, now, sink)
            return
        params = request.get("params", {})
        if request.get("jsonrpc") != "2.0" and (
            "jsonrpc" in request or not self._encoding.dialect.may_omit_version(method)
        ):
            self._invalid('jsonrpc must be "2.0"', request_id, now, sink)
        elif not isinstance(method, str):
            self._invalid("method must be a string", request_id, now, sink)
        elif not isinstance(params, dict | list):
            self._invalid("params must be an object", request_id, now, sink)
        else:
            self._dispatch(request, method, now, sink)

    def _dispatch(self, request: dict[str, Any], method: str, now: Instant, sink: Batch | None) -> None:
        """Carries out a well-formed request, or has the hub refuse it.

        Refused are an unknown method, params in an array, and what follows in a batch whose responses are over their
        bound. A notification that could only be responded to is counted, and not carried out.
        """
        call_id: CallId = request.get("id", UNSET)
        kind = self._encoding.dialect.kind(method)
        if sink is not None and sink.full:
            # A small batch may ask for far more than anybody wants to be sent at once: a listing for each element.
            self._hub.respond(self._session, kind or UNKNOWN, sink.too_much(), call_id, now, sink=sink)
        elif kind is None:
            self._refuse(errors.method_not_found(method), call_id, now, sink)
        elif isinstance(request.get("params"), list):
            error = errors.invalid_params("params", "must be an object")
            self._hub.respond(self._session, kind, error, call_id, now, sink=sink)
        elif kind in QUESTIONS and call_id is UNSET:
            self._hub.respond(self._session, kind, None, call_id, now, sink=sink)
        else:
            traceparent = request.get("traceparent")
            call = Call(self._hub, self._session, self._encoding.dialect, method, now)
            call.kind, call.id, call.sink = kind, call_id, sink
            call.traceparent = traceparent if isinstance(traceparent, str) else ""
            dispatch(request, call)

    def _note_dialect(self, method: str, batch: Batch | None) -> None:
        """Changes the dialect of the session for good, if a method belongs to another dialect."""
        dialect = self._encoding.dialect.successor(method)
        if dialect is None:
            return
        session = self._session
        self._encoding = session.encoding = self._encoding.speaking(dialect)
        if batch is not None:
            batch.dialect = dialect
        self._hub.counters.dialects[dialect.name] += 1
        logger.info(
            "session changes its dialect",
            extra={"session": session.id, "remote": session.remote or UNIX, "dialect": dialect.name},
        )

    def _invalid(self, why: str, request_id: CallId, now: Instant, sink: Batch | None) -> None:
        self._refuse(NoRequest(INVALID_REQUEST, f"Invalid Request: {why}"), request_id, now, sink)

    def _refuse(self, error: SignalingError, request_id: CallId, now: Instant, sink: Batch | None) -> None:
        """Refuses a message that is no request of ours."""
        self._hub.respond(self._session, UNKNOWN, error, request_id, now, sink=sink)
