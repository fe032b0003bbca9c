"""gRPC on one connection, without I/O: HTTP/2 streams become calls, calls have methods.

Rule 1: data frames are made of what methods give, joined; a stream is given no more than its window takes, and the rest
waits in the method's own queue, whose age the hub watches. Rule 2: what a client sends is acknowledged, and so more of
it let in, only when its method is ready for it. Rule 3: a call ends with trailers after what is queued; a client that
does not read gets a reset instead, and where that was its last call the connection goes too. Rule 4: every wait has a
deadline, of which `due` tells the carrier.
Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; RFC 9113.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping

from sigbridge.auth import ANYBODY, OPEN_DOOR, Authenticator, Credentials, Identity, bearer_token
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError
from sigbridge.messages import Instant
from sigbridge.settings import Settings
from sigbridge_grpc.framing import Deframer, MessageTooBig, percent_encoded, timeout_seconds
from sigbridge_grpc.http2 import (
    DataReceived,
    ErrorCode,
    Header,
    Http2,
    Http2Error,
    PingReceived,
    RequestReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from sigbridge_grpc.methods import (
    HEALTH_SERVICE_NAME,
    REFLECTION_SERVICE_NAMES,
    Ending,
    Method,
    MethodFactory,
    SignalMethod,
    Trailers,
)
from sigbridge_net.wire import Client, WireFactory

logger = logging.getLogger("sigbridge.grpc")

SEND_AHEAD_BYTES = 16384
"""How much of a call's body is given to HTTP/2 before its window is known to take it."""
MAX_STREAMS = 1000
"""Calls at once on one connection."""
MAX_HEADER_BYTES = 16384
"""Metadata of a call above this is refused; what clients are told."""
MOST_HEADER_BYTES = 4 * MAX_HEADER_BYTES
"""Metadata above this ends the connection: HTTP/2 cannot refuse a call whose headers it has not read."""
HEADER_OVERHEAD_BYTES = 32
"""What each header counts besides its name and value (RFC 9113, section 10.5.1)."""
MAX_PINGS_IN_A_ROW = 100
"""Pings with nothing else between them after which a client is sent away."""
SLOW_CONSUMER_SECONDS = 1.0
"""How long a connection that is closed for reading too slowly may take to read why."""
AGE_JITTER = 0.1
"""Ages are drawn from this much around their setting, so that clients do not come back all at once."""

_RESPONSE_HEADERS: tuple[Header, ...] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
)
_OPEN_TO_ALL = (f"/{HEALTH_SERVICE_NAME}/",)
_REFLECTION = tuple(f"/{name}/" for name in REFLECTION_SERVICE_NAMES)


class StreamCall:
    """One call on one stream; see `sigbridge_grpc.methods.Call` for what its method sees."""

    def __init__(self, wire: "GrpcWire", stream_id: int, *, remote: str, identity: Identity, traceparent: str) -> None:
        self._wire = wire
        self.stream_id = stream_id
        self.remote = remote
        self.identity = identity
        self.traceparent = traceparent
        self.method: Method | None = None
        self.deframer: Deframer | None = None
        self.unacknowledged = 0
        self.half_closed = False
        self.half_close_told = False
        self.deadline: float | None = None
        self.ending: Ending | None = None
        self.headers_sent = False
        self.trailers_queued = False

    def wake(self) -> None:
        """There is something to take, or the method is ready again."""
        self._wire.touch(self)

    def finish(self, ending: Ending) -> None:
        """End the call, after what is queued; a second end is ignored."""
        if self.ending is None:
            self.ending = ending
            self.wake()


class GrpcWire:
    """One gRPC connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    def __init__(
        self,
        methods: Mapping[str, MethodFactory],
        settings: Settings,
        *,
        client: Client,
        wake: Callable[[], None],
        now: Instant,
        authenticator: Authenticator = OPEN_DOOR,
    ) -> None:
        self.due = now.monotonic + settings.handshake_timeout_seconds
        self.finished = False
        self.aborted = False
        self._methods = methods
        self._settings = settings
        self._client = client
        self._wake = wake
        self._authenticator = authenticator
        self._http2 = Http2(
            max_streams=MAX_STREAMS, max_header_bytes=MAX_HEADER_BYTES, most_header_bytes=MOST_HEADER_BYTES
        )
        self._calls: dict[int, StreamCall] = {}
        self._touched: dict[StreamCall, None] = {}
        """Calls to be looked at before the next output."""
        self._backed_up: dict[StreamCall, None] = {}
        """Calls whose last words have not gone out yet: they are looked at again after it."""
        self._refused: list[int] = []
        """Streams that were answered without a call, and whose clients may still be sending."""
        self._greeted = False
        self._heard_at = now.monotonic
        self._pinged_at = -1.0
        self._pings_in_a_row = 0
        self._idle_since = now.monotonic
        self._close_deadline: float | None = None
        age = settings.grpc_max_connection_age_seconds
        self._old_at = now.monotonic + age * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER) if age else None  # noqa: S311
        self._leaving = False

    # What the carrier calls.

    def receive(self, data: bytes, now: Instant) -> None:
        """Take bytes that arrived."""
        self._heard_at = now.monotonic
        if self._close_deadline is not None and not self._calls:
            return
        if not self._greeted:
            self._greeted = True
            self.due = now.monotonic
        try:
            events = self._http2.receive(data)
        except Http2Error:
            self._lose_all(DisconnectReason.PROTOCOL_ERROR, now)
            self._begin_closing(now)
            return
        for event in events:
            if isinstance(event, DataReceived):
                self._on_data(event.stream_id, event.data, event.end_stream, now)
            elif isinstance(event, RequestReceived):
                self._on_request(event.stream_id, event.headers, event.end_stream, now)
            elif isinstance(event, WindowUpdated):
                self._on_window(event.stream_id)
            elif isinstance(event, TrailersReceived):
                self._on_data(event.stream_id, b"", True, now)
            elif isinstance(event, StreamReset | StreamClosed):
                self._on_gone(event.stream_id, now)
            elif isinstance(event, PingReceived):
                self._on_ping(now)
        self._wake()

    def receive_eof(self, now: Instant) -> None:
        """The client will send no more: gRPC has no use for half a connection."""
        self.connection_lost(now)
        self._begin_closing(now)

    def connection_lost(self, now: Instant) -> None:
        """The connection is gone."""
        self._lose_all(DisconnectReason.CONNECTION_LOST, now)

    def drain(self, now: Instant) -> None:
        """The server is shutting down: no more calls, and the connection goes when the last one has ended."""
        if not self._leaving and self._close_deadline is None:
            self._leaving = True
            self._http2.announce_shutdown()
            self._leave_when_idle(now)
            self._wake()

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """What to write now."""
        while self._touched:
            call = next(iter(self._touched))
            del self._touched[call]
            self._advance(call, now)
            self._push(call, now)
        output = self._http2.output(most)
        if self._backed_up:
            unsent = self._http2.unsent
            ready = [call for call in self._backed_up if unsent(call.stream_id) < SEND_AHEAD_BYTES]
            for call in ready:
                del self._backed_up[call]
                self._touched[call] = None
            if ready and not output:
                return self.take_output(most, now)
        if not output and self._refused:
            for stream_id in self._refused:
                self._http2.reset(stream_id, ErrorCode.NO_ERROR)
            self._refused.clear()
            output = self._http2.output(most)
        if self._close_deadline is not None and not output:
            self.finished = True
        return [output] if output else []

    def reading(self) -> bool:
        """Whether more input is welcome: it always is, since HTTP/2's windows hold each stream back by itself."""
        return True

    def expire(self, now: Instant) -> None:
        """Do what is due: deadlines of calls, keepalive, age, idleness, and the patience with a closing client."""
        settings = self._settings
        moment = now.monotonic
        if self._close_deadline is not None:
            self.aborted = moment >= self._close_deadline
            self.due = self._close_deadline
            return
        if not self._greeted:
            self.aborted = True
            return
        dues = [self._heard_at + settings.ping_interval_seconds]
        for call in list(self._calls.values()):
            if call.deadline is not None:
                if moment >= call.deadline:
                    self._overdue(call, now)
                else:
                    dues.append(call.deadline)
        if self._pinged_at > self._heard_at:
            if moment >= self._pinged_at + settings.ping_timeout_seconds:
                self._lose_all(DisconnectReason.KEEPALIVE_TIMEOUT, now)
                self.aborted = True
                return
            dues[0] = self._pinged_at + settings.ping_timeout_seconds
        elif moment >= dues[0]:
            try:
                self._http2.ping()
            except Http2Error:
                # The library has said goodbye by itself, and the client has stayed.
                self._lose_all(DisconnectReason.PROTOCOL_ERROR, now)
                self.aborted = True
                return
            self._pinged_at = moment
            dues[0] = moment + settings.ping_timeout_seconds
        if self._old_at is not None:
            if moment >= self._old_at:
                self._grow_old(now)
            if self._old_at is not None:
                dues.append(self._old_at)
        self.due = min(dues)
        self._wake()

    # Calls.

    def touch(self, call: StreamCall) -> None:
        """Look at a call before the next output."""
        self._touched[call] = None
        self._wake()

    def _on_request(self, stream_id: int, headers: Iterable[Header], end: bool, now: Instant) -> None:
        self._pings_in_a_row = 0
        fields: dict[bytes, bytes] = {}
        authorization: list[str] = []
        size = 0
        for name, value in headers:
            size += len(name) + len(value) + HEADER_OVERHEAD_BYTES
            if name == b"authorization":
                authorization.append(value.decode("latin-1"))
            fields[name] = value
        if fields.get(b":method") != b"POST":
            self._refuse_http(stream_id, b"405", end)
            return
        if not _is_grpc(fields.get(b"content-type", b"")):
            self._refuse_http(stream_id, b"415", end)
            return
        try:
            if size > MAX_HEADER_BYTES:
                raise SignalingError(
                    Code.RESOURCE_EXHAUSTED, f"Metadata is larger than {MAX_HEADER_BYTES} bytes: {size} bytes"
                )
            call = self._open(stream_id, fields, authorization, now)
        except SignalingError as error:
            trailers: Trailers = ()
            if error.code is Code.UNIMPLEMENTED and b"grpc-encoding" in fields:
                trailers = (("grpc-accept-encoding", "identity,gzip"),)
            self._send_status(stream_id, Ending(int(error.code), error.message, trailers), headers_sent=False)
            if not end:
                self._refused.append(stream_id)
            return
        self._calls[stream_id] = call
        if end:
            self._on_data(stream_id, b"", True, now)
        self.touch(call)

    def _open(
        self, stream_id: int, fields: Mapping[bytes, bytes], authorization: list[str], now: Instant
    ) -> StreamCall:
        """Begin a call; SignalingError where it may not."""
        path = fields.get(b":path", b"").decode("latin-1")
        if fields.get(b"te") != b"trailers":
            raise SignalingError(Code.INTERNAL, "A gRPC request says te: trailers; a proxy may have lost it")
        identity = self._identity(path, authorization)
        make = self._methods.get(path)
        if make is None:
            raise SignalingError(Code.UNIMPLEMENTED, f"Method not found: {path[:128]}")
        encoding = fields.get(b"grpc-encoding", b"identity")
        if encoding not in (b"identity", b"gzip"):
            raise SignalingError(Code.UNIMPLEMENTED, f"Unknown grpc-encoding {encoding[:32].decode('latin-1')}")
        call = StreamCall(
            self,
            stream_id,
            remote=self._client.address,
            identity=identity,
            traceparent=fields.get(b"traceparent", b"").decode("latin-1"),
        )
        timeout = fields.get(b"grpc-timeout")
        if timeout is not None:
            seconds = timeout_seconds(timeout)
            if seconds is None:
                raise SignalingError(Code.INTERNAL, "grpc-timeout is no time")
            call.deadline = now.monotonic + seconds
            self.due = min(self.due, call.deadline)
        call.deframer = Deframer(self._settings.max_message_bytes, gzip=encoding == b"gzip")
        call.method = make(call, now)
        return call

    def _identity(self, path: str, authorization: list[str]) -> Identity:
        if path.startswith(_OPEN_TO_ALL):
            return ANYBODY
        if path.startswith(_REFLECTION) and not self._settings.reflection_requires_auth:
            return ANYBODY
        token = bearer_token(authorization, bare=True)
        return self._authenticator.authenticate(
            Credentials(token=token, certificate_subject=self._client.certificate_subject)
        )

    def _on_data(self, stream_id: int, data: bytes, end: bool, now: Instant) -> None:
        self._pings_in_a_row = 0
        call = self._calls.get(stream_id)
        if call is None or call.ending is not None or call.deframer is None:
            if data:
                self._http2.acknowledge(stream_id, len(data))
            if call is not None and end:
                call.half_closed = True
            return
        if data:
            call.deframer.feed(data)
            call.unacknowledged += len(data)
        if end:
            call.half_closed = True
        self._advance(call, now)

    def _advance(self, call: StreamCall, now: Instant) -> None:
        """Give a method the messages that have arrived, as far as it is ready for them."""
        method, deframer = call.method, call.deframer
        if method is None or deframer is None or call.half_close_told:
            return
        try:
            while call.ending is None and method.ready():
                message = deframer.next_message()
                if message is None:
                    self._acknowledge(call)
                    if call.half_closed:
                        call.half_close_told = True
                        if deframer.unfinished:
                            method.cancel(DisconnectReason.PROTOCOL_ERROR, now)
                            call.finish(Ending(int(Code.INTERNAL), "The last message is not whole"))
                        else:
                            method.half_close(now)
                    return
                method.receive(message, now)
        except MessageTooBig:
            if isinstance(method, SignalMethod):
                method.too_big(now)
            else:
                method.cancel(DisconnectReason.MESSAGE_TOO_BIG, now)
                call.finish(Ending(int(Code.RESOURCE_EXHAUSTED), "The message is larger than allowed"))
        except SignalingError as error:
            method.cancel(DisconnectReason.PROTOCOL_ERROR, now)
            call.finish(Ending(int(error.code), error.message))
        if call.ending is not None:
            self._acknowledge(call)

    def _acknowledge(self, call: StreamCall) -> None:
        if call.unacknowledged:
            self._http2.acknowledge(call.stream_id, call.unacknowledged)
            call.unacknowledged = 0

    def _push(self, call: StreamCall, now: Instant) -> None:
        """Give HTTP/2 what a call has to say, as far as its window takes it."""
        if call.method is None or call.stream_id not in self._calls:
            return
        http2, stream_id = self._http2, call.stream_id
        ending, unsent = call.ending, http2.unsent(call.stream_id)
        if call.trailers_queued:
            if not unsent:
                self._end_stream(call, now)
            else:
                self._backed_up[call] = None
            return
        if unsent and ending is not None and ending.at_once:
            self._cut(call, now)
            return
        if unsent >= SEND_AHEAD_BYTES:
            self._backed_up[call] = None
            return
        frames = call.method.take(SEND_AHEAD_BYTES)
        if not call.headers_sent and (frames or ending is None):
            call.headers_sent = True
            http2.send_headers(stream_id, _RESPONSE_HEADERS)
        if frames:
            http2.send_data(stream_id, frames[0] if len(frames) == 1 else b"".join(frames))
            self._touched[call] = None
            return
        if ending is not None:
            call.trailers_queued = True
            call.deadline = now.monotonic + self._settings.close_timeout_seconds
            self.due = min(self.due, call.deadline)
            self._send_status(stream_id, ending, headers_sent=call.headers_sent)
            self._backed_up[call] = None

    def _end_stream(self, call: StreamCall, now: Instant) -> None:
        """What a call had to say is out: the stream is over, also where its client has not ended its own side."""
        if not call.half_closed:
            self._http2.reset(call.stream_id, ErrorCode.NO_ERROR)
        self._forget(call, now)

    def _send_status(self, stream_id: int, ending: Ending, *, headers_sent: bool) -> None:
        fields: list[Header] = [(b"grpc-status", b"%d" % ending.code)]
        if ending.message:
            fields.append((b"grpc-message", percent_encoded(ending.message)))
        fields += [(name.encode(), value.encode()) for name, value in ending.trailers]
        if headers_sent:
            self._http2.send_trailers(stream_id, fields)
        else:
            self._http2.send_headers(stream_id, (*_RESPONSE_HEADERS, *fields), end=True)

    def _refuse_http(self, stream_id: int, status: bytes, end: bool) -> None:
        """A request that is no gRPC gets an answer of HTTP."""
        self._http2.send_headers(stream_id, ((b":status", status), (b"content-length", b"0")), end=True)
        if not end:
            self._refused.append(stream_id)

    def _cut(self, call: StreamCall, now: Instant) -> None:
        """End the call of a client that does not read, and its connection where nobody else uses it."""
        self._http2.reset(call.stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        self._forget(call, now)
        if not self._calls:
            self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM)
            self._begin_closing(now, patience=SLOW_CONSUMER_SECONDS)

    def _overdue(self, call: StreamCall, now: Instant) -> None:
        call.deadline = None
        if call.trailers_queued:
            self._cut(call, now)
        elif call.ending is None and call.method is not None:
            call.method.cancel(DisconnectReason.CLIENT_LEFT, now)
            call.finish(Ending(int(Code.DEADLINE_EXCEEDED), "Deadline exceeded"))

    def _on_window(self, stream_id: int) -> None:
        if stream_id:
            call = self._calls.get(stream_id)
            if call is not None:
                self._touched[call] = None
        else:
            self._touched.update(dict.fromkeys(self._calls.values()))

    def _on_gone(self, stream_id: int, now: Instant) -> None:
        """A stream has ended; where its call has not, the client has cancelled it."""
        if stream_id in self._refused:
            self._refused.remove(stream_id)
        call = self._calls.get(stream_id)
        if call is not None:
            if call.method is not None and call.ending is None:
                call.method.cancel(DisconnectReason.CLIENT_LEFT, now)
            self._forget(call, now)

    def _forget(self, call: StreamCall, now: Instant) -> None:
        self._acknowledge(call)
        self._calls.pop(call.stream_id, None)
        self._touched.pop(call, None)
        self._backed_up.pop(call, None)
        if not self._calls:
            self._idle_since = now.monotonic
            self._leave_when_idle(now)

    # The connection.

    def _on_ping(self, now: Instant) -> None:
        self._pings_in_a_row += 1
        if self._pings_in_a_row > MAX_PINGS_IN_A_ROW and self._close_deadline is None:
            self._lose_all(DisconnectReason.PROTOCOL_ERROR, now)
            self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings")
            self._begin_closing(now)

    def _grow_old(self, now: Instant) -> None:
        """First say that the connection is old, so that new calls go elsewhere; then end those that are still here."""
        if not self._leaving:
            self._old_at = now.monotonic + self._settings.shutdown_grace_seconds
            self.drain(now)
            return
        self._old_at = None
        for call in list(self._calls.values()):
            if isinstance(call.method, SignalMethod):
                call.method.expire_age(now)
            elif call.method is not None:
                call.method.cancel(DisconnectReason.MAX_AGE, now)
                call.finish(Ending(int(Code.UNAVAILABLE), "The connection has reached its age"))

    def _leave_when_idle(self, now: Instant) -> None:
        if self._leaving and not self._calls and self._close_deadline is None:
            self._http2.goaway()
            self._begin_closing(now)

    def _lose_all(self, reason: DisconnectReason, now: Instant) -> None:
        for call in list(self._calls.values()):
            if call.method is not None:
                call.method.cancel(reason, now)
        self._calls.clear()
        self._touched.clear()
        self._backed_up.clear()

    def _begin_closing(self, now: Instant, *, patience: float | None = None) -> None:
        if self._close_deadline is None:
            seconds = self._settings.close_timeout_seconds if patience is None else patience
            self.due = self._close_deadline = now.monotonic + seconds
            self._wake()


def grpc_wires(
    methods: Mapping[str, MethodFactory], settings: Settings, *, authenticator: Authenticator = OPEN_DOOR
) -> WireFactory:
    """The wires of a listener that serves `methods` to those whom `authenticator` lets in."""
    return lambda client, wake, now: GrpcWire(
        methods, settings, client=client, wake=wake, now=now, authenticator=authenticator
    )


def _is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, alone or with a subtype or parameters that do not matter to a server."""
    rest = content_type.removeprefix(b"application/grpc")
    return rest != content_type and rest[:1] in (b"", b"+", b";")
