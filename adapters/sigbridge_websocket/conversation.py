"""JSON-RPC 2.0: from the text of a message to the hub, and back to the text of a response.

Rule 1: announces, offers, answers and candidates that are written as usual take the usual path, decoded in one pass;
everything else takes the general path, where jsonrpcserver dispatches one request at a time. What one accepts the other
answers alike, and what the usual path does not take it has not touched. Rule 2: a batch is processed in order; what it
causes for its own sender follows the array. Rule 3: no text of an exception reaches a client.
Source: `docs/protocol.md`, section "JSON-RPC over WebSocket"; https://www.jsonrpc.org/specification.
"""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from sigbridge import errors
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub, Outcome
from sigbridge.instant import Instant
from sigbridge.messages import Request
from sigbridge.pending import Pending
from sigbridge.session import Session
from sigbridge_websocket.error_codes import INVALID_REQUEST, PARSE_ERROR
from sigbridge_websocket.methods import DISCOVER, DISCOVER_METHOD, METHODS, Call, dispatch
from sigbridge_websocket.shapes import RequestId, decode_usual_call
from sigbridge_websocket.translate import (
    REQUESTS,
    error_to_jsonrpc,
    fault_to_jsonrpc,
    reply_to_jsonrpc,
    request_from_call,
)

logger = logging.getLogger("sigbridge.websocket")

QUESTIONS = ("list_peers", "health_check", DISCOVER_METHOD)
"""Methods that change nothing: where nobody hears the answer, none is made. A listing may be long."""
UNKNOWN = "unknown"
"""The kind under which a message is counted that is no request of ours."""

# Names of this module's own, which compiled code finds without asking a dictionary.
_decode: Final = decode_usual_call
_unset: Final = UNSET

Answer: TypeAlias = bytes | Pending[bytes | None] | None
"""The response to one request: its text, its text later, or none."""


class Batch:
    """A batch on its way: the elements that are left, and the answers so far."""

    __slots__ = ("answers", "left", "running", "size")

    def __init__(self, elements: list[Any]) -> None:
        self.left = deque(elements)
        self.answers: list[bytes] = []
        self.size = 0
        """Bytes of the answers."""
        self.running = False
        """Whether elements are being processed now, rather than an answer awaited."""

    def add(self, answer: bytes) -> None:
        """Keep the answer to an element."""
        self.answers.append(answer)
        self.size += len(answer)


class Conversation:
    """The JSON-RPC side of one session: takes messages one at a time and puts the answers into its outbox."""

    __slots__ = (
        "_frame",
        "_hub",
        "_session",
        "busy",
        "on_idle",
    )

    def __init__(self, hub: Hub, session: Session, frame: Callable[[bytes], bytes]) -> None:
        self._hub = hub
        self._session = session
        self._frame = frame
        self.busy = False
        """Whether an answer is awaited; until then no further message may be received."""
        self.on_idle: Callable[[Instant], None] = lambda now: None
        """Called when an awaited answer has come."""

    def receive(self, text: bytes, now: Instant) -> None:
        """Process one message, which must be UTF-8 where it was a text frame."""
        if not self.receive_usual(text, now):
            self._receive_any(text, now)

    def receive_usual(self, text: bytes, now: Instant) -> bool:
        """Process one message if it is a usual call, which is UTF-8, or else the usual path would not take it."""
        try:
            call = _decode(text)
            request = request_from_call(call)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, SignalingError):
            return False
        request_id = call.id
        outcome = self._apply(request, call.traceparent, now)
        if isinstance(outcome, Pending):
            self.busy = True
            _later(outcome, None if request_id is UNSET else request_id, notification=request_id is UNSET).then(
                self._resume
            )
        elif request_id is _unset:
            self._reply(None, now)
        else:
            self._reply(response(outcome, request_id), now)
        return True

    def _apply(self, request: Request, traceparent: str, now: Instant) -> Outcome | Pending[Outcome]:
        try:
            return self._hub.apply(self._session, request, now, traceparent=traceparent)
        except Exception:
            logger.exception("%s failed", request.kind, extra={"session": self._session.id})
            return self._hub.refuse(self._session, request.kind, errors.internal_error(), now)

    def _receive_any(self, text: bytes, now: Instant) -> None:
        """Process one message by the general path."""
        try:
            message = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self._reply(self._fault(PARSE_ERROR, "Parse error", None, now), now)
            return
        if isinstance(message, list):
            most = self._hub.settings.max_batch_requests
            # A batch is processed in one go, while everybody else waits.
            if 0 < len(message) <= most:
                self._process_batch(Batch(message), now)
                return
            answer: Answer = self._invalid(f"a batch of more than {most}" if message else "an empty batch", None, now)
        else:
            answer = self._answer(message, now)
        if isinstance(answer, Pending):
            self.busy = True
            answer.then(self._resume)
        else:
            self._reply(answer, now)

    def _process_batch(self, batch: Batch, now: Instant) -> None:
        """Process what is left of a batch; where an answer is awaited, the rest follows when it has come."""
        batch.running = True
        while batch.left:
            answer = self._answer(batch.left.popleft(), now)
            if isinstance(answer, Pending):
                self.busy = True
                answer.then(partial(self._resume_batch, batch))
                if self.busy:
                    batch.running = False
                    return
            elif answer is not None:
                batch.add(answer)
            # A small batch may ask for far more than its sender can take: a listing for each element.
            if batch.size > 2 * self._hub.settings.outbox_max_bytes:
                self._hub.end(self._session, DisconnectReason.SLOW_CONSUMER, now)
                return
        self._reply(b"[" + b",".join(batch.answers) + b"]" if batch.answers else None, now)

    def _resume_batch(self, batch: Batch, word: bytes | SignalingError | None, now: Instant) -> None:
        self.busy = False
        if isinstance(word, bytes):
            batch.add(word)
        # An answer that is known at once comes while the loop is running, which goes on by itself.
        if not batch.running:
            self._process_batch(batch, now)
            if not self.busy:
                self.on_idle(now)

    def _answer(self, request: Any, now: Instant) -> Answer:
        """The answer to one element: checked as a request, then dispatched."""
        if not isinstance(request, dict):
            return self._invalid("not an object", None, now)
        if "method" not in request and ("result" in request or "error" in request):
            self._hub.counters.ignored_responses += 1
            return None
        request_id = request.get("id")
        if not isinstance(request_id, str | int | None) or isinstance(request_id, bool):
            return self._invalid("id must be a string, an integer or null", None, now)
        method = request.get("method")
        params = request.get("params", {})
        if request.get("jsonrpc") != "2.0":
            return self._invalid('jsonrpc must be "2.0"', request_id, now)
        if not isinstance(method, str):
            return self._invalid("method must be a string", request_id, now)
        if not isinstance(params, dict | list):
            return self._invalid("params must be an object", request_id, now)
        if method not in METHODS:
            error = self._hub.refuse(self._session, UNKNOWN, errors.method_not_found(method), now)
        elif isinstance(params, list):
            kind = method if method in REQUESTS else UNKNOWN
            error = self._hub.refuse(self._session, kind, errors.invalid_params("params", "must be an object"), now)
        elif method in QUESTIONS and "id" not in request:
            self._hub.note(self._session, DISCOVER if method == DISCOVER_METHOD else method, now)
            return None
        else:
            return self._dispatch(request, method, now)
        return error_to_jsonrpc(error, request_id) if "id" in request else None

    def _dispatch(self, request: dict[str, Any], method: str, now: Instant) -> Answer:
        traceparent = request.get("traceparent")
        call = Call(
            self._hub, self._session, method, now, traceparent=traceparent if isinstance(traceparent, str) else ""
        )
        text = dispatch(request, call)
        if call.pending is not None:
            return _later(call.pending, request.get("id"), notification="id" not in request)
        return text

    def _invalid(self, why: str, request_id: RequestId, now: Instant) -> bytes:
        return self._fault(INVALID_REQUEST, f"Invalid Request: {why}", request_id, now)

    def _fault(self, code: int, message: str, request_id: RequestId, now: Instant) -> bytes:
        """The answer to what is no request at all; where these come too often, that is the answer."""
        fault = errors.malformed_request()
        error = self._hub.refuse(self._session, UNKNOWN, fault, now)
        return fault_to_jsonrpc(code, message, request_id) if error is fault else error_to_jsonrpc(error, request_id)

    def _resume(self, word: bytes | SignalingError | None, now: Instant) -> None:
        self.busy = False
        self._reply(word if isinstance(word, bytes) else None, now)
        self.on_idle(now)

    def _reply(self, text: bytes | None, now: Instant) -> None:
        self._hub.reply(self._session, None if text is None else self._frame(text), now)


def response(outcome: Outcome, request_id: RequestId) -> bytes:
    """The response that says an outcome."""
    if isinstance(outcome, SignalingError):
        return error_to_jsonrpc(outcome, request_id)
    return reply_to_jsonrpc(outcome, request_id)


def _later(outcome: Pending[Outcome], request_id: RequestId, *, notification: bool) -> Pending[bytes | None]:
    """The response to a request whose outcome is awaited; `None` for a notification."""
    answer: Pending[bytes | None] = Pending()
    outcome.then(lambda word, now: answer.resolve(None if notification else response(word, request_id), now))
    return answer
