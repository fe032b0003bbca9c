"""gRPC on one connection, without I/O: what the carrier calls, and how HTTP/2's streams become calls.

Rule 1: every wait has a deadline, of which `due` tells the carrier. Rule 2: a fault in a method ends its call, and no
text of it leaves the server. Rule 3: a call that was begun and cancelled in one go never was.
What a call is stands in `call.py`, what it says and hears and how it ends in `exchange.py`, who may begin one in
`door.py`, what a turn may cost in `turns.py`, what is kept of messages that are not whole in `long_messages.py`, what
waits of responses without a session in `backlog.py`, and how long the connection lives in `lifetime.py`.
Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; RFC 9113.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sigbridge.auth import ALLOW_ALL, Authenticator, Identity
from sigbridge.counters import Counters
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError
from sigbridge.fast_paths import is_on
from sigbridge.instant import NEVER, Instant
from sigbridge.pending import Pending
from sigbridge.settings import Settings
from sigbridge.share import FRESH
from sigbridge_grpc import lifetime
from sigbridge_grpc.awaited_method import AwaitedMethod
from sigbridge_grpc.call import AWAITING, GONE, HALF_CLOSED, ON_ACCEPT, StreamCall
from sigbridge_grpc.door import MAX_HEADER_BYTES, Admission, Door, RequestHead
from sigbridge_grpc.exchange import Exchange
from sigbridge_grpc.framing import Deframer
from sigbridge_grpc.lifetime import CLOSING, DRAINING, GREETING, SERVING, Lifetime
from sigbridge_grpc.method import Ending, MethodFactory, UnaryMethod, refusal
from sigbridge_grpc.page_method import CONTINUE, Body, PageMethod
from sigbridge_grpc.responses import INTERNAL_ERROR, trailers_only
from sigbridge_grpc.signal_method import SignalMethod
from sigbridge_http2.connection import Connection
from sigbridge_http2.events import (
    DataReceived,
    Event,
    PingReceived,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from sigbridge_net.pages import Site
from sigbridge_net.unfinished import TotalUnfinished, Unfinished
from sigbridge_net.wire import Client, WireFactory

logger = logging.getLogger("sigbridge.grpc")

MAX_STREAMS = 1000
"""Calls at once on one connection."""
MOST_HEADER_BYTES: Final = 4 * MAX_HEADER_BYTES
"""Metadata above this ends the connection: HTTP/2 cannot refuse a call whose headers it has not read."""
MAX_QUESTION_BYTES: Final = 16384
"""The largest message of a method other than `Signal`: some are open to everybody, and none has long questions."""

_FAST_OUTPUT: Final = is_on("fast_output")


class GrpcWire(Exchange):
    """A gRPC connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    __slots__ = ("_partial",)

    successor = None

    def __init__(self, door: Door, client: Client, wake: Callable[[], None], now: Instant) -> None:
        http2 = Connection(
            max_streams=MAX_STREAMS, max_header_bytes=MAX_HEADER_BYTES, most_header_bytes=MOST_HEADER_BYTES
        )
        super().__init__(http2, Lifetime(http2, door.settings, now), wake, door, client)
        self._partial: Unfinished | None = None
        """The account of a frame, or of headers, that are not whole; None where there are none."""
        self.due = now.monotonic + door.settings.handshake_timeout_seconds

    # What the carrier calls.

    @property
    def finished(self) -> bool:
        """True when all is said."""
        return self._lifetime.state == lifetime.CONCLUDED

    @property
    def aborted(self) -> bool:
        """True when nobody is listening any more."""
        return self._lifetime.state == lifetime.ABORTED

    def receive(self, data: bytes, now: Instant) -> None:
        """Reads bytes that arrived, and handles the HTTP/2 events in them; breaks the connection at a fault."""
        life = self._lifetime
        life.heard_at = now.monotonic
        if life.state != SERVING:
            if life.state >= CLOSING:
                return
            if life.state == GREETING:
                life.greet()
                self.due = now.monotonic
        http2 = self._http2
        events = http2.receive(data, now.monotonic)
        for at, event in enumerate(events):
            if type(event) is DataReceived:
                self._on_data(event.stream_id, event.data, event.end_stream, now)
            else:
                self._receive_others(events[at:], now)
                break
        if http2.was_partial:
            self._keep_partial(len(data), now)
        if http2.broken:
            self._break(now)

    def _keep_partial(self, came: int, now: Instant) -> None:
        """Accounts for a frame or a header block that is not whole; `came` bytes have just arrived."""
        partial, kept = self._partial, self._http2.partial_bytes
        if partial is not None and kept != partial.kept + came:
            # It has become whole, and what there is now is the beginning of another one.
            partial.leave(now)
            partial = self._partial = None
        if kept and self._lifetime.state < CLOSING:
            if partial is None:
                partial = self._partial = Unfinished(
                    self._door.unfinished, self._expire_soon, self._give_up_partial, now
                )
            partial.grow(kept, 0, now)
            self.due = min(self.due, partial.due)
        elif not kept:
            self._http2.was_partial = False

    def _expire_soon(self) -> None:
        """Looks again at what is due: the frame that is not whole has another deadline."""
        self.due = 0.0

    def _give_up_partial(self, reason: DisconnectReason, now: Instant) -> None:
        """Ends all calls, since nothing can be read behind an unfinished frame."""
        self._partial = None
        for call in list(self._calls.values()):
            self.give_up(call, reason, now)
        self._lifetime.leave(now, idle=not self._calls)
        self._settling = False
        self.due = 0.0
        self.wake()

    def _receive_others(self, events: Sequence[Event], now: Instant) -> None:
        """Handles the events from the first that is no data on: data, pings, requests, windows, trailers and resets."""
        self._settling = False
        # A call that was begun and cancelled in one go never was: floods of these would cost a session each.
        cancelled = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for event in events:
            if self._lifetime.state >= CLOSING:
                return
            if isinstance(event, DataReceived):
                self._on_data(event.stream_id, event.data, event.end_stream, now)
            elif isinstance(event, PingReceived):
                if self._lifetime.count_ping(now):
                    self._break(now)
            elif isinstance(event, RequestReceived):
                if event.stream_id not in cancelled:
                    self._on_request(event, now)
            elif isinstance(event, WindowUpdated):
                waiting = self._calls.get(event.stream_id)
                if waiting is not None:
                    self.touch(waiting)
            elif isinstance(event, TrailersReceived):
                self._on_data(event.stream_id, b"", True, now)
            elif isinstance(event, StreamReset):
                lost = self._calls.get(event.stream_id)
                if lost is not None:
                    self._lose(lost, DisconnectReason.CONNECTION_LOST, now)

    def receive_eof(self, now: Instant) -> None:
        """Closes, since the client will send no more: gRPC has no use for half a connection."""
        self._lose_all(DisconnectReason.CONNECTION_LOST, now)
        self._close(now)

    def connection_lost(self, now: Instant) -> None:
        """Loses all calls: the connection is gone."""
        self._lose_all(DisconnectReason.CONNECTION_LOST, now)
        if self._backlog is not None:
            self._backlog.close()
        if self._partial is not None:
            self._partial.leave(now)
            self._partial = None

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """Takes no more calls, since the server is shutting down; the connection goes when the last one has ended."""
        for call in list(self._calls.values()):
            if call.method is not None:
                call.method.drain(now)
        self._settling = False
        life = self._lifetime
        life.drain(now, grace_seconds, idle=not self._calls)
        for call in self._calls.values():
            if call.ending is not None and not call.ending.at_once:
                # Not with the next `expire`: the grace has begun.
                until = now.monotonic + life.last_words_seconds(call.unsent_bytes)
                call.end_by = until if call.end_by is None else min(call.end_by, until)
        self.due = 0.0
        self.wake()

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns what to write now, at most `most` bytes; None if more than messages may have to come or go."""
        if not _FAST_OUTPUT:
            return None
        # The general path begins with this, too.
        self._process_touched(now)
        turn, http2 = self._turn, self._http2
        if (
            not self._settling
            or turn.was_used
            or turn.resting
            or self.share.state != FRESH
            or http2.resumed
            or not http2.can_write_all(most)
        ):
            return None
        self._lifetime.stalled_since = NEVER
        self.share.used = 0
        output = http2.output(most)
        if not output:
            return []
        self._lifetime.sent_at = now.monotonic
        return [output]

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns what to write now, at most `most` bytes; with it the work goes on that waited for this turn."""
        life, turn, http2 = self._lifetime, self._turn, self._http2
        life.stalled_since = NEVER
        output = b""
        backlog = self._backlog
        if backlog is not None and backlog.waiting:
            self._respond_more(backlog, now)
        if life.state > SERVING and not self._calls:
            self._go_on_leaving(now)
        while not output and (self.first_touched is not None or http2.wants_write):
            self._process_touched(now)
            output = http2.output(most)
            if http2.resumed:
                # Windows that opened may have let out what calls had given, so that they may give more.
                self._touch_resumed()
        backlog = self._backlog
        if backlog is not None and backlog.leaving:
            backlog.count_unwritten(http2.unwritten_bytes)
        if output:
            life.sent_at = now.monotonic
            return [output]
        if life.state < CLOSING and http2.over:
            self._break(now)
        life.conclude()
        waits = backlog is not None and bool(backlog.waiting)
        self._settling = life.state <= SERVING and not turn.resting and not waits
        # All that can be said now is said: the carrier asks again in the next turn, if something waits for that.
        turn.begin()
        self.share.begin_turn()
        if turn.resting:
            turn.wake_resting(self)
            self.wake()
        if waits and backlog is not None and backlog.has_room():
            self.wake()
        return []

    def _go_on_leaving(self, now: Instant) -> None:
        """Closes, where nothing else keeps a connection that leaves."""
        before = self._lifetime.state
        self._lifetime.go_on_leaving(now)
        if self._lifetime.state != before:
            self.due = 0.0

    def _process_touched(self, now: Instant) -> None:
        """Works the agenda off: gives methods what has arrived, and HTTP/2 what they have to say."""
        while self.first_touched is not None:
            call = self.first_touched
            self.first_touched, call.next_touched = call.next_touched, None
            call.touched = False
            if call.state == GONE:
                continue
            if call.held_back:
                if self._may_resume(call):
                    self._advance(call, now)
            elif call.deframer.buffer or call.client_side == HALF_CLOSED:
                self._advance(call, now)
            self._push(call, now)
            if call.held:
                self._let_go(call)

    def _touch_resumed(self) -> None:
        """Puts on the agenda the calls whose windows have opened."""
        for stream_id in self._http2.resumed:
            call = self._calls.get(stream_id)
            if call is not None:
                self.touch(call)
        self._http2.resumed.clear()

    def reading(self) -> bool:
        """Returns True: input is always welcome, since HTTP/2's windows hold each stream back by itself."""
        return True

    def expire(self, now: Instant) -> None:
        """Does what is due: deadlines of calls and of long messages, and those of the connection."""
        life = self._lifetime
        if life.state == GREETING or life.state >= CLOSING:
            self.due = life.expire_end(now)
            return
        # Calls that end meanwhile, this connection's or another's doing, want to be looked at again.
        self.due = NEVER
        partial = self._partial
        if partial is not None and partial.expire(now):
            partial.end(DisconnectReason.MESSAGE_TIMEOUT, now)
        reason = life.expire(now, idle=not self._calls)
        if life.state > SERVING:
            # The carrier must look whether all is said.
            self._settling = False
        if reason is DisconnectReason.MAX_AGE:
            # Whoever has not listened to the first GOAWAY begins no calls behind this one.
            self._http2.goaway()
            for call in list(self._calls.values()):
                if call.method is not None:
                    call.method.fail(reason, "The connection has reached its age", now)
        elif reason is not None:
            self._lose_all(reason, now)
        calls_due = self._expire_calls(now)
        self._http2.reset_due(now.monotonic)
        partial_due = NEVER if self._partial is None else self._partial.due
        self.due = min(self.due, calls_due, partial_due, self._http2.resets_due, life.due(now, idle=not self._calls))
        self.wake()

    def _expire_calls(self, now: Instant) -> float:
        """Ends the calls whose time is up; returns when the next one's will be."""
        moment, due, life = now.monotonic, NEVER, self._lifetime
        stuck = False
        for call in list(self._calls.values()):
            ending = call.ending
            if ending is not None:
                end_by = call.end_by
                if end_by is None:
                    # Where the carrier can write, what must end at once has ended before the next look.
                    patience = 0.0 if ending.at_once else life.last_words_seconds(call.unsent_bytes)
                    end_by = call.end_by = moment + patience
                elif moment >= end_by:
                    self._cut(call, now)
                    stuck = stuck or ending.at_once
                    continue
                due = min(due, end_by)
                continue
            message = call.unfinished
            if message is not None and message.expire(now):
                message.end(DisconnectReason.MESSAGE_TIMEOUT, now)
            stalled_by = call.unsent_since + self._send_seconds if call.unsent else NEVER
            call_due = min(stalled_by, NEVER if call.deadline is None else call.deadline)
            if call.unfinished is not None:
                due = min(due, call.unfinished.due)
            due = min(due, call_due)
            if moment < call_due:
                continue
            if moment >= stalled_by:
                if call.method is not None:
                    call.method.fail(DisconnectReason.SLOW_CONSUMER, "The client does not read", now)
            else:
                self._cancel(call, DisconnectReason.CONNECTION_LOST, now)
                call.finish(Ending(int(Code.DEADLINE_EXCEEDED), "Deadline exceeded"))
        if stuck and not self._calls:
            life.abort()
        return due

    # The beginning of a call.

    def _on_request(self, request: RequestReceived, now: Instant) -> None:
        """Begins the call of a request, or serves it as a page, or responds with the refusal.

        A call whose client's identity is still looked up is begun when that is known.
        """
        self._lifetime.pings_in_a_row = 0
        head = RequestHead(request.headers, self._door.forwarding.client_of(self._client, request.headers))
        response = head.refusal_of_http()
        if response is not None:
            site = self._door.site_of(head)
            if site is not None:
                self._on_page_request(request, head, site, now)
                return
        else:
            try:
                identity = self._door.identify(head, now)
                if isinstance(identity, Pending):
                    call = self._await(request.stream_id, identity, head, now)
                else:
                    admission = self._door.admit(identity, head)
                    call = self._new_call(request.stream_id)
                    self._begin(call, admission, now, now)
            except SignalingError as error:
                response = trailers_only(refusal(error))
            except Exception:
                logger.exception("a call could not be opened")
                response = trailers_only(INTERNAL_ERROR)
            else:
                self._calls[request.stream_id] = call
                if request.end_stream:
                    self._on_data(request.stream_id, b"", True, now)
                call.wake()
                if isinstance(identity, Pending) and call.state == AWAITING:
                    identity.then(lambda outcome, then: self._decide(call, head, outcome, now, then))
                return
        self._http2.send_headers(request.stream_id, response, end=True)
        self._dismiss(request.stream_id, now)
        self._count_refused(head, now)

    def _count_refused(self, head: RequestHead, now: Instant) -> None:
        """Counts a call that was refused; too many end the connection, unless it is shared by a proxy's clients."""
        if head.client is self._client and self._lifetime.count_refused(now):
            self._break(now)

    def _on_page_request(self, request: RequestReceived, head: RequestHead, site: Site, now: Instant) -> None:
        """Begins the call of a request that is no gRPC, whose response is a page; one that is too large is refused."""
        promised = head.text(b"content-length")
        body = Body(site.max_body_bytes, int(promised) if promised else 0)
        call = StreamCall(self, request.stream_id, body)
        call.state = AWAITING
        call.method = method = PageMethod(call, site, request.headers, body, head.client)
        call.deadline = now.monotonic + self._door.settings.max_timeout_seconds
        self.due = min(self.due, call.deadline)
        self._calls[request.stream_id] = call
        if head.is_too_large:
            method.refuse(431)
        elif body.promised_bytes > site.max_body_bytes:
            method.refuse(413)
        elif not request.end_stream and head.text(b"expect").lower() == "100-continue":
            self._http2.send_headers(request.stream_id, CONTINUE)
        if request.end_stream:
            self._on_data(request.stream_id, b"", True, now)
        call.wake()

    def _new_call(self, stream_id: int) -> StreamCall:
        return StreamCall(self, stream_id, Deframer(self._door.settings.max_message_bytes))

    def _begin(self, call: StreamCall, admission: Admission, asked: Instant, now: Instant) -> None:
        """Makes the method of a call that was asked for at `asked`, and sets its deadline.

        :raises SignalingError: if the method refuses the call.
        """
        settings = self._door.settings
        call.method = method = admission.make(call, admission.caller, now)
        if not isinstance(method, SignalMethod):
            call.deframer.limit(MAX_QUESTION_BYTES)
        if admission.gzip:
            call.deframer.allow_gzip(self._turn.count_inflated)
        limit = admission.timeout_seconds
        if isinstance(method, UnaryMethod):
            limit = min(settings.max_timeout_seconds, NEVER if limit is None else limit)
        call.state = ON_ACCEPT[call.state]
        call.deadline = None
        if limit is not None:
            call.deadline = asked.monotonic + limit
            self.due = min(self.due, call.deadline)
        if self._lifetime.state == DRAINING:
            method.drain(now)

    def _await(self, stream_id: int, identity: Pending[Identity], head: RequestHead, now: Instant) -> StreamCall:
        """Returns a call that begins when its client's identity is known, within the time of a handshake."""
        limit, patience = head.timeout_seconds(), self._door.settings.handshake_timeout_seconds
        call = self._new_call(stream_id)
        call.deadline = now.monotonic + (patience if limit is None else min(limit, patience))
        self.due = min(self.due, call.deadline)
        call.state = AWAITING
        call.method = method = AwaitedMethod(call, identity, lambda error: self._door.note_refusal(error, head.client))
        if self._lifetime.state == DRAINING:
            method.drain(now)
        return call

    def _decide(
        self, call: StreamCall, head: RequestHead, outcome: Identity | SignalingError, asked: Instant, now: Instant
    ) -> None:
        """Begins a call whose client's identity was looked up, or refuses it."""
        if call.state != AWAITING:
            return
        self._settling = False
        if isinstance(outcome, SignalingError):
            call.finish(refusal(outcome))
        else:
            try:
                self._begin(call, self._door.admit(outcome, head), asked, now)
            except SignalingError as error:
                call.finish(refusal(error))
            except Exception:
                logger.exception("a call could not be opened")
                call.finish(INTERNAL_ERROR)
            else:
                call.wake()
                return
        self._count_refused(head, now)


def grpc_wires(
    methods: Mapping[str, MethodFactory],
    settings: Settings,
    *,
    authenticator: Authenticator = ALLOW_ALL,
    unfinished: TotalUnfinished | None = None,
    site: Site | None = None,
    counters: Counters | None = None,
) -> WireFactory:
    """Returns a factory of wires that serve `methods` to those whom `authenticator` lets in; `counters` are the hub's.

    Requests that are no gRPC go to the `site`, if there is one. Listeners that are given the same `unfinished` share
    its bound.
    """
    door = Door(methods, settings, authenticator, unfinished, site, counters)
    return lambda client, wake, now: GrpcWire(door, client, wake, now)
