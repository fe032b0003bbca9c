"""gRPC on one connection, without I/O: HTTP/2 streams become calls, calls have methods.

Rule 1: data frames are made of what methods give, joined; a stream is given no more than its window takes, and the rest
waits in the method's own queue, whose age the hub watches. Rule 2: what a client sends is acknowledged, and so more of
it let in, only when its method is ready for it. Rule 3: a call ends with trailers after what is queued; a client that
does not read gets a reset instead, and where that was its last call the connection goes too. Rule 4: every wait has a
deadline, of which `due` tells the carrier. Rule 5: a stream is never reset before all that was said on it is out, since
a reset overtakes and drops what waits. Rule 6: a fault in a method ends its call, and no text of it leaves the server.
Rule 7: what costs far more than the bytes that were sent for it, compressed messages and those that were held back, is
looked at a little in one turn of the event loop, and the rest in the next. Rule 8: of messages that are not whole yet,
a connection keeps what its streams' windows hold, and beyond that so much for all of them together; the one that came
first always goes on, and the others wait, held back by their windows.
Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; RFC 9113.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sigbridge.auth import ALLOW_ALL, ANYBODY, Authenticator, Credentials, Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError, internal_error, method_not_found
from sigbridge.instant import Instant
from sigbridge.session import Caller
from sigbridge.settings import Settings
from sigbridge_grpc import status
from sigbridge_grpc.access import open_prefixes
from sigbridge_grpc.framing import Deframer, MessageTooBig, percent_encoded, timeout_seconds
from sigbridge_grpc.methods import (
    CallRefused,
    Ending,
    Method,
    MethodFactory,
    SignalMethod,
    UnaryMethod,
)
from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import (
    DataReceived,
    Event,
    Header,
    PingReceived,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from sigbridge_net.credentials import bearer_token
from sigbridge_net.keepalive import Silence, closing_seconds, judge_silence, silence_due
from sigbridge_net.wire import Client, WireFactory

logger = logging.getLogger("sigbridge.grpc")

SEND_AHEAD_BYTES: Final = 16384
"""How much of a call's body is given to HTTP/2 before its window is known to take it."""
MAX_STREAMS = 1000
"""Calls at once on one connection."""
MAX_HEADER_BYTES: Final = 16384
"""Metadata of a call above this is refused; what clients are told."""
MOST_HEADER_BYTES: Final = 4 * MAX_HEADER_BYTES
"""Metadata above this ends the connection: HTTP/2 cannot refuse a call whose headers it has not read."""
HEADER_OVERHEAD_BYTES: Final = 32
"""What each header counts besides its name and value (RFC 9113, section 10.5.1)."""
MAX_PINGS_IN_A_ROW: Final = 100
"""Pings within `PING_WINDOW_SECONDS`, nothing being said by either side between, that send a client away."""
PING_WINDOW_SECONDS: Final = 10.0
"""Clients that only listen send keepalive pings and nothing else for days: what counts is how fast they come."""
MAX_QUESTION_BYTES: Final = 16384
"""The largest message of a method other than `Signal`: some are open to everybody, and none has long questions."""
INFLATED_BYTES = 262144
"""After so many bytes of decompressed messages the rest waits for the next turn: a byte may hold a thousand."""
HELD_BACK_CALLS = 8
"""So many calls that were held back go on in one turn: each may have sent a window full of messages meanwhile."""
LONG_MESSAGE_BYTES = 24576
"""An unfinished message is let in beyond its stream's window from here on; above what `MAX_QUESTION_BYTES` lets be."""
UNFINISHED_BYTES = 4194304
"""How much of long messages one connection lets in before they are whole; the first is let in all the same."""
AGE_JITTER: Final = 0.1
"""Ages are drawn from this much around their setting, so that clients do not come back all at once."""

_RESPONSE_HEADERS: Final[tuple[Header, ...]] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
)
INTERNAL_ERROR = Ending(
    int(Code.INTERNAL), internal_error().message, status.trailers_of(DisconnectReason.INTERNAL_ERROR)
)
"""How a call ends that fails before its method stands; nothing of the exception is in it."""


class StreamCall:
    """One call on one stream; see `sigbridge_grpc.methods.Call` for what its method sees."""

    __slots__ = (
        "_wire",
        "deadline",
        "deframer",
        "end_by",
        "ending",
        "gone",
        "half_close_told",
        "half_closed",
        "headers_sent",
        "held_back",
        "let_in",
        "method",
        "next_touched",
        "stream_id",
        "touched",
        "trailers_queued",
        "unacknowledged",
    )

    def __init__(self, wire: "GrpcWire", stream_id: int) -> None:
        self._wire = wire
        self.stream_id = stream_id
        self.method: Method | None = None
        self.deframer: Deframer | None = None
        self.unacknowledged = 0
        self.let_in = 0
        """How much of its long message, that is not whole yet, has been acknowledged all the same."""
        self.half_closed = False
        self.half_close_told = False
        self.held_back = False
        """Whether its method was not ready for the next message."""
        self.deadline: float | None = None
        self.ending: Ending | None = None
        self.end_by: float | None = None
        """Until when its client may take what is left to say."""
        self.headers_sent = False
        self.trailers_queued = False
        self.touched = False
        self.next_touched: StreamCall | None = None
        self.gone = False

    def wake(self) -> None:
        """There is something to take, or the method is ready again."""
        if not self.gone:
            if not self.touched:
                self._wire.touch(self)
            self._wire.wake()

    def finish(self, ending: Ending) -> None:
        """End the call, after what is queued; a second end is ignored."""
        if self.ending is None:
            self.ending = ending
            # The next `expire` sets its deadline, also where the carrier cannot write and so takes nothing.
            self._wire.due = 0.0
            self.wake()


class GrpcWire:
    """One gRPC connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    __slots__ = (
        "_authenticator",
        "_awaiting",
        "_calls",
        "_client",
        "_close_deadline",
        "_draining",
        "_first_by",
        "_first_touched",
        "_greeted",
        "_heard_at",
        "_http2",
        "_idle_since",
        "_inflated",
        "_leaving",
        "_long",
        "_methods",
        "_old_at",
        "_ping_window_ends",
        "_pinged_at",
        "_pings_in_a_row",
        "_refused",
        "_resting",
        "_resumed",
        "_settings",
        "_settling",
        "_stalled_since",
        "_unfinished",
        "_withheld",
        "aborted",
        "due",
        "finished",
        "settled",
        "wake",
    )

    successor = None

    def __init__(
        self,
        methods: Mapping[str, MethodFactory],
        settings: Settings,
        *,
        client: Client,
        wake: Callable[[], None],
        now: Instant,
        authenticator: Authenticator = ALLOW_ALL,
    ) -> None:
        self.due = now.monotonic + settings.handshake_timeout_seconds
        self.finished = False
        self.aborted = False
        self.settled = False
        self._settling = False
        """Whether nothing but messages has come and gone since all else was looked at."""
        self._methods = methods
        self._settings = settings
        self._client = client
        self.wake = wake
        self._authenticator = authenticator
        self._http2 = Connection(
            max_streams=MAX_STREAMS, max_header_bytes=MAX_HEADER_BYTES, most_header_bytes=MOST_HEADER_BYTES
        )
        self._calls: dict[int, StreamCall] = {}
        self._first_touched: StreamCall | None = None
        """The first of the calls to be looked at before the next output; each knows the next. Gone ones are passed."""
        self._awaiting: dict[StreamCall, None] = {}
        """Calls that go on when all that their windows allow is out."""
        self._resting: dict[StreamCall, None] = {}
        """Calls whose messages wait for the next turn."""
        self._inflated = 0
        """Bytes that messages of this turn were decompressed to."""
        self._resumed = 0
        """Calls that were held back and have gone on in this turn."""
        self._long: dict[StreamCall, None] = {}
        """Calls with long messages that are not whole yet; the first goes on, whatever the others have."""
        self._withheld: dict[StreamCall, None] = {}
        """Those of them that may not go on yet."""
        self._unfinished = 0
        """What they have been let in together."""
        self._first_by: float | None = None
        """Until when the first may keep others waiting, where it does."""
        self._refused: dict[int, None] = {}
        """Streams that were answered without a call, and whose clients may still be sending."""
        self._greeted = False
        self._heard_at = now.monotonic
        self._pinged_at = -1.0
        self._pings_in_a_row = 0
        self._ping_window_ends = now.monotonic
        self._idle_since = now.monotonic
        self._stalled_since: float | None = None
        """Since when the carrier has been seen to take nothing, though there is something."""
        self._close_deadline: float | None = None
        age = settings.grpc_max_connection_age_seconds
        self._old_at = now.monotonic + age * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER) if age else None  # noqa: S311
        self._leaving = False
        self._draining = False

    # What the carrier calls.

    def receive(self, data: bytes, now: Instant) -> None:
        """Take bytes that arrived."""
        self._heard_at = now.monotonic
        if self._close_deadline is not None:
            return
        if not self._greeted:
            self._greeted = True
            self.due = now.monotonic
        others: list[Event] = []
        for event in self._http2.receive(data, now.monotonic):
            if type(event) is DataReceived and not others:
                self._on_data(event.stream_id, event.data, event.end_stream, now)
            else:
                others.append(event)
        if others or self._http2.broken:
            self._receive_others(others, now)
        self.wake()

    def _receive_others(self, events: Sequence[Event], now: Instant) -> None:
        """Take what is no data, and what came behind it."""
        self._settling = False
        # A call that was begun and cancelled in one go never was: floods of these would cost a session each.
        cancelled = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for event in events:
            if isinstance(event, DataReceived):
                self._on_data(event.stream_id, event.data, event.end_stream, now)
            elif isinstance(event, PingReceived):
                self._on_ping(now)
            elif isinstance(event, RequestReceived):
                if event.stream_id in cancelled:
                    continue
                self._on_request(event.stream_id, event.headers, event.end_stream, now)
            elif isinstance(event, WindowUpdated):
                self._on_window(event.stream_id)
            elif isinstance(event, TrailersReceived):
                self._on_data(event.stream_id, b"", True, now)
            elif isinstance(event, StreamReset):
                self._on_gone(event.stream_id, now)
        if self._http2.broken:
            self._break(now)

    def receive_eof(self, now: Instant) -> None:
        """The client will send no more: gRPC has no use for half a connection."""
        self.connection_lost(now)
        self._begin_closing(now)

    def connection_lost(self, now: Instant) -> None:
        """The connection is gone."""
        self._lose_all(DisconnectReason.CONNECTION_LOST, now)

    def drain(self, now: Instant) -> None:
        """The server is shutting down: no more calls, and the connection goes when the last one has ended."""
        self._draining = True
        for call in list(self._calls.values()):
            if call.method is not None:
                call.method.drain(now)
        self._say_goodbye(now)

    def touch(self, call: StreamCall) -> None:
        """Look at a call before the next output."""
        if not call.touched:
            call.touched = True
            call.next_touched, self._first_touched = self._first_touched, call

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """What to write now."""
        self._stalled_since = None
        while True:
            while self._first_touched is not None:
                call = self._first_touched
                self._first_touched, call.next_touched = call.next_touched, None
                call.touched = False
                if call.gone:
                    continue
                if not call.held_back:
                    if call.half_closed or (call.deframer is not None and call.deframer.buffer):
                        self._advance(call, now)
                elif self._resumed < HELD_BACK_CALLS:
                    self._resumed += 1
                    self._advance(call, now)
                else:
                    self._resting[call] = None
                self._push(call, now)
            output = self._http2.output(most)
            if output:
                self.settled = self._settling and self._nothing_waits()
                if self.settled:
                    self._inflated = self._resumed = 0
                return [output]
            if not self._go_on(now):
                break
        if self._http2.over and self._close_deadline is None:
            self._break(now)
        self.settled = self._settling = self._close_deadline is None and not self._leaving
        if self._close_deadline is not None:
            self.finished = True
        self._end_turn()
        return []

    def _nothing_waits(self) -> bool:
        return self._first_touched is None and not (
            self._awaiting or self._resting or self._refused or self._http2.unwritten
        )

    def _end_turn(self) -> None:
        """All that can be said now is said: the carrier asks again in the next turn, if something waits for that."""
        self._inflated = self._resumed = 0
        if self._resting:
            # `take_output` begins at the end; who had its turn first waits longest for the next.
            first, *others = self._resting
            for call in (first, *reversed(others)):
                self.touch(call)
            self._resting.clear()
            self.settled = False
            self.wake()

    def _go_on(self, now: Instant) -> bool:
        """All that windows allow is out: end and continue what waited for it; whether there may be more to write."""
        awaiting, self._awaiting = self._awaiting, {}
        more = bool(self._refused)
        for call in awaiting:
            unsent = self._http2.unsent(call.stream_id)
            if call.trailers_queued:
                if not unsent:
                    self._end_stream(call, now)
                    more = True
            elif unsent < SEND_AHEAD_BYTES:
                self.touch(call)
                more = True
            # What is left waits for its window: `_on_window`.
        for stream_id in self._refused:
            self._http2.reset(stream_id, ErrorCode.NO_ERROR)
        self._refused.clear()
        return more

    def reading(self) -> bool:
        """Whether more input is welcome: it always is, since HTTP/2's windows hold each stream back by itself."""
        return True

    def expire(self, now: Instant) -> None:
        """Do what is due: deadlines of calls, keepalive, age, idleness, and the patience with a closing client."""
        moment = now.monotonic
        # In a local: what mypy has seen of an attribute it believes behind calls, too, and compiled code insists.
        closes = self._close_deadline
        if closes is not None:
            self.aborted = moment >= closes
            self.due = closes
            return
        if not self._greeted:
            self.aborted = moment >= self.due
            return
        dues = [
            due
            for due in (
                self._expire_calls(now),
                self._expire_unfinished(now),
                self._expire_age(now),
                self._expire_idle(now),
            )
            if due
        ]
        if self._close_deadline is None:
            dues += [self._expire_stall(now), self._expire_silence(now)]
            self.due = min(dues)
        self.wake()

    def _expire_calls(self, now: Instant) -> float | None:
        """End the calls whose time is up; returns when the next one's will be."""
        moment = now.monotonic
        dues: list[float] = []
        stuck = False
        for call in list(self._calls.values()):
            if call.ending is not None:
                at_once = call.ending.at_once
                if call.end_by is None:
                    # Where the carrier can write, what must end at once has ended before the next look.
                    call.end_by = moment + (0 if at_once else self._settings.close_timeout_seconds)
                elif moment >= call.end_by:
                    self._cut(call, now)
                    stuck = stuck or at_once
                    continue
                dues.append(call.end_by)
            elif call.deadline is not None:
                if moment >= call.deadline:
                    self._cancel(call, DisconnectReason.CONNECTION_LOST, now)
                    call.finish(Ending(int(Code.DEADLINE_EXCEEDED), "Deadline exceeded"))
                else:
                    dues.append(call.deadline)
        if stuck and not self._calls:
            self.aborted = True
        return min(dues, default=None)

    def _expire_age(self, now: Instant) -> float | None:
        """First say that the connection is old, so that new calls go elsewhere; then end those that are still here."""
        if self._old_at is None or now.monotonic < self._old_at:
            return self._old_at
        if not self._leaving:
            self._old_at = now.monotonic + self._settings.shutdown_grace_seconds
            self._say_goodbye(now)
            return self._old_at
        self._old_at = None
        for call in list(self._calls.values()):
            if call.method is not None:
                call.method.fail(DisconnectReason.MAX_AGE, "The connection has reached its age", now)
        return None

    def _expire_idle(self, now: Instant) -> float | None:
        limit = self._settings.grpc_max_connection_idle_seconds
        if not limit or self._calls:
            return None
        if now.monotonic >= self._idle_since + limit:
            self._say_goodbye(now)
        return self._idle_since + limit

    def _expire_stall(self, now: Instant) -> float:
        """Drop a client that takes nothing of what the connection has to say, while it may go on sending."""
        patience = self._settings.send_deadline_seconds
        if not self._http2.wants_write:
            return now.monotonic + self._settings.ping_interval_seconds
        if self._stalled_since is None:
            self._stalled_since = now.monotonic
        elif now.monotonic >= self._stalled_since + patience:
            self._lose_all(DisconnectReason.SLOW_CONSUMER, now)
            self.aborted = True
        return self._stalled_since + patience

    def _expire_silence(self, now: Instant) -> float:
        """Ping a silent client, and drop one that does not answer."""
        verdict = judge_silence(self._settings, self._heard_at, self._pinged_at, now.monotonic)
        if verdict is Silence.PING:
            self._http2.ping()
            self._pinged_at = now.monotonic
        elif verdict is Silence.END:
            self._lose_all(DisconnectReason.KEEPALIVE_TIMEOUT, now)
            self.aborted = True
        return silence_due(self._settings, self._heard_at, self._pinged_at)

    # Calls.

    def _on_request(self, stream_id: int, headers: Iterable[Header], end: bool, now: Instant) -> None:
        self._pings_in_a_row = 0
        fields: dict[bytes, bytes] = {}
        authorization: list[str] = []
        size = 0
        for name, value in headers:
            size += len(name) + len(value) + HEADER_OVERHEAD_BYTES
            if name == b"authorization":
                authorization.append(value.decode("utf-8", "surrogateescape"))
            fields[name] = value
        if fields.get(b":method") != b"POST":
            self._refuse_http(stream_id, b"405", end, (b"allow", b"POST"))
            return
        if not _is_grpc(fields.get(b"content-type", b"")):
            self._refuse_http(stream_id, b"415", end)
            return
        ending: Ending
        try:
            if size > MAX_HEADER_BYTES:
                raise SignalingError(
                    Code.RESOURCE_EXHAUSTED, f"Metadata is larger than {MAX_HEADER_BYTES} bytes: {size} bytes"
                )
            call = self._open(stream_id, fields, authorization, now)
        except CallRefused as refused:
            ending = refused.ending
        except SignalingError as error:
            ending = Ending(int(error.code), error.message)
        except Exception:
            logger.exception("a call could not be opened")
            ending = INTERNAL_ERROR
        else:
            self._calls[stream_id] = call
            if end:
                self._on_data(stream_id, b"", True, now)
            call.wake()
            return
        self._send_status(stream_id, ending, headers_sent=False)
        if not end:
            self._refused[stream_id] = None

    def _open(
        self, stream_id: int, fields: Mapping[bytes, bytes], authorization: list[str], now: Instant
    ) -> StreamCall:
        """Begin a call; SignalingError or CallRefused where it may not."""
        path = fields.get(b":path", b"").decode("latin-1")
        if fields.get(b"te") != b"trailers":
            raise SignalingError(Code.INTERNAL, "A gRPC request says te: trailers; a proxy may have lost it")
        identity = self._identity(path, authorization, now)
        make = self._methods.get(path)
        if make is None:
            raise method_not_found(path)
        encoding = fields.get(b"grpc-encoding", b"identity")
        if encoding not in (b"identity", b"gzip"):
            raise SignalingError(Code.UNIMPLEMENTED, f"Unknown grpc-encoding {encoding[:32].decode('latin-1')}")
        caller = Caller(
            identity,
            self._client.address,
            fields.get(b"user-agent", b"").decode("latin-1"),
            fields.get(b"traceparent", b"").decode("latin-1"),
        )
        call = StreamCall(self, stream_id)
        timeout = fields.get(b"grpc-timeout")
        limit = None if timeout is None else timeout_seconds(timeout)
        if timeout is not None and limit is None:
            raise SignalingError(Code.INTERNAL, "grpc-timeout is no time")
        call.method = make(call, caller, now)
        most = self._settings.max_message_bytes
        if not isinstance(call.method, SignalMethod):
            most = min(most, MAX_QUESTION_BYTES)
        if isinstance(call.method, UnaryMethod):
            limit = min(self._settings.max_timeout_seconds, float("inf") if limit is None else limit)
        if encoding == b"gzip":
            call.deframer = Deframer(most, gzip=True, inflated=self._count_inflated)
        else:
            call.deframer = Deframer(most)
        if limit is not None:
            call.deadline = now.monotonic + limit
            self.due = min(self.due, call.deadline)
        if self._draining:
            call.method.drain(now)
        return call

    def _identity(self, path: str, authorization: list[str], now: Instant) -> Identity:
        if path.startswith(open_prefixes(reflection_requires_token=self._settings.reflection_requires_auth)):
            return ANYBODY
        token = bearer_token(authorization, bare=True)
        return self._authenticator.authenticate(
            Credentials(token=token, certificate_subject=self._client.certificate_subject), now
        )

    def _on_data(self, stream_id: int, data: bytes, end: bool, now: Instant) -> None:
        if data:
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
        if call.held_back:
            # Each of a chunk's frames may be for another call that has much to catch up with.
            self.touch(call)
        else:
            self._advance(call, now)

    def _advance(self, call: StreamCall, now: Instant) -> None:
        """Give a method the messages that have arrived, as far as it is ready for them."""
        method, deframer = call.method, call.deframer
        if method is None or deframer is None or call.half_close_told or call.gone:
            return
        try:
            while call.ending is None:
                if not (deframer.buffer or call.half_closed):
                    self._took_all(call, now)
                    return
                call.held_back = not method.ready()
                if call.held_back:
                    if self._long:
                        self._check_long(call, deframer, now)
                    return
                if deframer.gzip and self._inflated >= INFLATED_BYTES:
                    self._resting[call] = None
                    return
                message = deframer.next_message()
                if message is None:
                    if deframer.buffer:
                        self._keep_unfinished(call, deframer, now)
                    else:
                        self._took_all(call, now)
                    if call.half_closed:
                        self._tell_half_close(call, method, deframer, now)
                    return
                method.receive(message, now)
        except MessageTooBig:
            method.fail(DisconnectReason.MESSAGE_TOO_BIG, "The message is larger than allowed", now)
        except SignalingError as error:
            method.fail(DisconnectReason.PROTOCOL_ERROR, error.message, now)
        except Exception:
            logger.exception("a method failed")
            method.fail(DisconnectReason.INTERNAL_ERROR, INTERNAL_ERROR.message, now)
        # Nothing more of it is looked at.
        deframer.clear()
        self._acknowledge(call)
        self._leave_long(call, now)

    def _took_all(self, call: StreamCall, now: Instant) -> None:
        self._acknowledge(call)
        if self._long:
            self._leave_long(call, now)

    def _tell_half_close(self, call: StreamCall, method: Method, deframer: Deframer, now: Instant) -> None:
        call.half_close_told = True
        if deframer.unfinished:
            method.fail(DisconnectReason.PROTOCOL_ERROR, "The last message is not whole", now)
        else:
            method.half_close(now)

    def _count_inflated(self, size: int) -> None:
        self._inflated += size

    # Messages that are not whole yet.

    def _keep_unfinished(self, call: StreamCall, deframer: Deframer, now: Instant) -> None:
        """Acknowledge what came before an unfinished message and, as far as there is room for that, its beginning."""
        self._check_long(call, deframer, now)
        kept = len(deframer.buffer)
        if call not in self._long:
            if call.unacknowledged > kept:
                self._http2.acknowledge(call.stream_id, call.unacknowledged - kept)
                call.unacknowledged = kept
            if kept <= LONG_MESSAGE_BYTES:
                # The window has room for more of it.
                return
            self._long[call] = None
        if call is next(iter(self._long)) or self._unfinished + call.unacknowledged <= UNFINISHED_BYTES:
            self._let_in(call)
        else:
            self._withheld[call] = None
            if self._first_by is None:
                self._give_first_its_time(now)

    def _let_in(self, call: StreamCall) -> None:
        self._withheld.pop(call, None)
        call.let_in += call.unacknowledged
        self._unfinished += call.unacknowledged
        self._acknowledge(call)

    def _check_long(self, call: StreamCall, deframer: Deframer, now: Instant) -> None:
        """See whether a long message has become whole: then something is gone of what had come."""
        if call in self._long and len(deframer.buffer) != call.let_in + call.unacknowledged:
            self._leave_long(call, now)

    def _leave_long(self, call: StreamCall, now: Instant) -> None:
        """A long message is whole, or given up; let the others go on in their order, as far as there is room now."""
        if call not in self._long:
            return
        was_first = call is next(iter(self._long))
        del self._long[call]
        self._withheld.pop(call, None)
        self._unfinished -= call.let_in
        call.let_in = 0
        if was_first and self._long:
            first = next(iter(self._long))
            if first in self._withheld:
                self._let_in(first)
        while self._withheld:
            other = next(iter(self._withheld))
            if self._unfinished + other.unacknowledged > UNFINISHED_BYTES:
                break
            self._let_in(other)
        if not self._withheld:
            self._first_by = None
        elif was_first:
            self._give_first_its_time(now)
        self.wake()

    def _give_first_its_time(self, now: Instant) -> None:
        self._first_by = now.monotonic + self._settings.send_deadline_seconds
        self.due = min(self.due, self._first_by)

    def _expire_unfinished(self, now: Instant) -> float | None:
        """End the call whose message keeps others waiting for too long."""
        if self._first_by is not None and now.monotonic >= self._first_by:
            call = next(iter(self._long))
            if call.method is not None:
                call.method.fail(DisconnectReason.MESSAGE_TOO_BIG, "The message did not end in time", now)
            self._leave_long(call, now)
        return self._first_by

    # The end of a call.

    def _cancel(self, call: StreamCall, reason: DisconnectReason, now: Instant) -> None:
        """Tell a method that its call has ended; what that method does about it must not keep the others from it."""
        if call.method is not None and call.ending is None:
            try:
                call.method.cancel(reason, now)
            except Exception:
                logger.exception("a method failed")

    def _acknowledge(self, call: StreamCall) -> None:
        if call.unacknowledged:
            self._http2.acknowledge(call.stream_id, call.unacknowledged)
            call.unacknowledged = 0

    def _push(self, call: StreamCall, now: Instant) -> None:
        """Give HTTP/2 what a call has to say, as far as its window takes it."""
        if call.method is None or call.gone:
            return
        if call.trailers_queued:
            self._awaiting[call] = None
            return
        http2, stream_id = self._http2, call.stream_id
        if call.ending is not None and call.ending.at_once and http2.unsent(stream_id):
            self._cut(call, now)
            return
        while http2.unsent(stream_id) < SEND_AHEAD_BYTES:
            try:
                frames = call.method.take(SEND_AHEAD_BYTES)
            except Exception:
                logger.exception("a method failed")
                call.method.fail(DisconnectReason.INTERNAL_ERROR, INTERNAL_ERROR.message, now)
                frames = []
            if not call.headers_sent and (frames or call.ending is None):
                call.headers_sent = True
                http2.send_headers(stream_id, _RESPONSE_HEADERS)
            if not frames:
                if call.ending is not None:
                    self._send_status(stream_id, call.ending, headers_sent=call.headers_sent)
                    call.trailers_queued = True
                    self._awaiting[call] = None
                return
            self._pings_in_a_row = 0
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            http2.send_data(stream_id, data)
            if call.held_back:
                # There may be room for another message of its client now.
                self.touch(call)
            if len(data) < SEND_AHEAD_BYTES and call.ending is None:
                return
        self._awaiting[call] = None

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

    def _refuse_http(self, stream_id: int, status: bytes, end: bool, *headers: Header) -> None:
        """A request that is no gRPC gets an answer of HTTP."""
        self._http2.send_headers(stream_id, ((b":status", status), (b"content-length", b"0"), *headers), end=True)
        if not end:
            self._refused[stream_id] = None

    def _cut(self, call: StreamCall, now: Instant) -> None:
        """End the call of a client that does not read, and its connection where nobody else uses it."""
        self._http2.reset(call.stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        self._forget(call, now)
        if not self._calls:
            self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM)
            self._begin_closing(now, DisconnectReason.SLOW_CONSUMER)

    def _on_window(self, stream_id: int) -> None:
        call = self._calls.get(stream_id)
        if call is not None:
            self.touch(call)

    def _on_gone(self, stream_id: int, now: Instant) -> None:
        """A stream has ended; where its call has not, the client has cancelled it."""
        self._refused.pop(stream_id, None)
        call = self._calls.get(stream_id)
        if call is not None:
            self._cancel(call, DisconnectReason.CONNECTION_LOST, now)
            self._forget(call, now)

    def _forget(self, call: StreamCall, now: Instant) -> None:
        self._acknowledge(call)
        if self._long:
            self._leave_long(call, now)
        call.gone = True
        self._calls.pop(call.stream_id, None)
        self._resting.pop(call, None)
        self._awaiting.pop(call, None)
        if not self._calls:
            self._idle_since = now.monotonic
            self.due = 0.0
            self._leave_when_idle(now)

    # The connection.

    def _on_ping(self, now: Instant) -> None:
        if now.monotonic >= self._ping_window_ends:
            self._ping_window_ends = now.monotonic + PING_WINDOW_SECONDS
            self._pings_in_a_row = 0
        self._pings_in_a_row += 1
        if self._pings_in_a_row > MAX_PINGS_IN_A_ROW and self._close_deadline is None:
            self._lose_all(DisconnectReason.PROTOCOL_ERROR, now)
            self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings")
            self._begin_closing(now)

    def _say_goodbye(self, now: Instant) -> None:
        """Take no more calls; the connection goes when the last one has ended."""
        if not self._leaving and self._close_deadline is None:
            self._leaving = True
            self._settling = False
            self._http2.announce_shutdown()
            self._leave_when_idle(now)
            self.wake()

    def _break(self, now: Instant) -> None:
        """The rules of HTTP/2 are broken, or the client has said that it is leaving and has left."""
        self._lose_all(DisconnectReason.PROTOCOL_ERROR, now)
        self._begin_closing(now)

    def _leave_when_idle(self, now: Instant) -> None:
        if self._leaving and not self._calls and self._close_deadline is None:
            self._http2.goaway()
            self._begin_closing(now)

    def _lose_all(self, reason: DisconnectReason, now: Instant) -> None:
        for call in list(self._calls.values()):
            call.gone = True
            self._cancel(call, reason, now)
        self._calls.clear()
        self._first_touched = None
        self._resting.clear()
        self._long.clear()
        self._withheld.clear()
        self._unfinished = 0
        self._first_by = None
        self._awaiting.clear()
        self._refused.clear()

    def _begin_closing(self, now: Instant, reason: DisconnectReason | None = None) -> None:
        self._settling = False
        if self._close_deadline is None:
            self.due = self._close_deadline = now.monotonic + closing_seconds(self._settings, reason)
            self.wake()


def grpc_wires(
    methods: Mapping[str, MethodFactory], settings: Settings, *, authenticator: Authenticator = ALLOW_ALL
) -> WireFactory:
    """The wires of a listener that serves `methods` to those whom `authenticator` lets in."""
    return lambda client, wake, now: GrpcWire(
        methods, settings, client=client, wake=wake, now=now, authenticator=authenticator
    )


def _is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, alone or with a subtype or parameters that do not matter to a server."""
    kind = b"application/grpc"
    return content_type[: len(kind)].lower() == kind and content_type[len(kind) : len(kind) + 1] in (b"", b"+", b";")
