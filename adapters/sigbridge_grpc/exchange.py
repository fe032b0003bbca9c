"""The exchange between HTTP/2 and the methods of one connection's calls: messages in and out, and how a call ends.

Rule 1: data frames are made of what methods give, joined; a stream is given at most `SEND_AHEAD_BYTES`, and one message
more, beyond what its window takes. How long these wait is bounded as the age of an outbox is, in which the rest waits.
Rule 2: what a client sends is acknowledged, and so more of it let in, only when its method is ready for it. Rule 3: a
call ends with trailers after what is queued; a client that does not read gets them instead of that, since no window
holds them up, and where that was its last call the connection goes too. Rule 4: a fault in a method ends its call, and
keeps none of the others from theirs. Rule 5: responses without a session count in the backlog until the carrier has
taken them (`backlog.py`).
"""

import logging
from collections.abc import Callable
from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError
from sigbridge.instant import Instant
from sigbridge_grpc.backlog import Backlog
from sigbridge_grpc.call import (
    ACCEPTED,
    CONCLUDED,
    FINISHED,
    GONE,
    HALF_CLOSE_TOLD,
    HALF_CLOSED,
    ON_RESPOND,
    OPEN,
    Agenda,
    StreamCall,
)
from sigbridge_grpc.door import Door
from sigbridge_grpc.framing import MessageTooBig
from sigbridge_grpc.lifetime import Lifetime
from sigbridge_grpc.long_messages import LongMessages
from sigbridge_grpc.method import Ending, Method
from sigbridge_grpc.page_method import PageMethod
from sigbridge_grpc.responses import INTERNAL_ERROR, NOT_READ, RESPONSE_HEADERS, trailers, trailers_only
from sigbridge_grpc.turns import TurnBudget
from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_net.wire import Client

logger = logging.getLogger("sigbridge.grpc")

SEND_AHEAD_BYTES: Final = 16384
"""The bytes of a call's body that are given to HTTP/2 before its window is known to take it."""
GIVEN_UP_WORDS: Final = {
    DisconnectReason.MESSAGE_TIMEOUT: "The message did not become whole in time",
    DisconnectReason.OVERLOAD: "Too much is kept of messages that are not whole",
}
UNWRITTEN_BYTES: Final = 262144
"""The bytes that windows have let out and nobody has written, above which no call that was held back goes on."""


class Exchange(Agenda):
    """The calls of one connection; `sigbridge_grpc.wire.GrpcWire` is the whole."""

    __slots__ = (
        "_backlog",
        "_calls",
        "_client",
        "_door",
        "_http2",
        "_lifetime",
        "_long",
        "_send_seconds",
        "_settling",
        "_turn",
    )

    # Five parameters: the parts of a connection, whom it lets in, and whose it is.
    def __init__(
        self,
        http2: Connection,
        lifetime: Lifetime,
        wake: Callable[[], None],
        door: Door,
        client: Client,
    ) -> None:
        """Begins without calls, each of which `door` is going to let in."""
        super().__init__(wake)
        self._door = door
        self._client = client
        self._http2 = http2
        self._lifetime = lifetime
        self._calls: dict[int, StreamCall] = {}
        self._turn = TurnBudget()
        self._backlog: Backlog[StreamCall] | None = None
        """The backlog, made with the first call that has no session: most connections have none."""
        self._send_seconds = door.settings.send_deadline_seconds
        """The time for which a client may not read."""
        self._long = LongMessages(http2, wake, door.unfinished)
        self._settling = False
        """True while nothing but messages has come and gone since all else was looked at."""

    # The messages of a client.

    def _on_data(self, stream_id: int, data: bytes, end: bool, now: Instant) -> None:
        """Appends part of a call's body, with `end` the last, and gives the method the messages it completes.

        What comes for a call that has ended is acknowledged and dropped.
        """
        self._lifetime.pings_in_a_row = 0
        call = self._calls.get(stream_id)
        if call is None or call.state >= FINISHED:
            if data:
                self._http2.acknowledge(stream_id, len(data))
            if call is not None and end:
                call.client_side = HALF_CLOSED
            return
        if data:
            # As `feed` does, mostly without a call.
            if call.deframer.buffer:
                call.deframer.feed(data)
            else:
                call.deframer.buffer = data
            call.unacknowledged += len(data)
        if end:
            call.client_side = HALF_CLOSED
        if call.held_back:
            # Each of a chunk's frames may be for another call that has much to catch up with.
            self.touch(call)
        else:
            self._advance(call, now)

    def _may_resume(self, call: StreamCall) -> bool:
        """Returns whether a call that was held back may go on in this turn; else it waits for the next."""
        turn = self._turn
        # Windows may be as wide as they like: what is not written is nobody's, and no outbox bounds it.
        return turn.rest(call) if self._http2.unwritten_bytes > UNWRITTEN_BYTES else turn.may_resume(call)

    def _advance(self, call: StreamCall, now: Instant) -> None:
        """Gives a method the messages that have arrived, as far as it is ready for them; faults end its call."""
        method, deframer = call.method, call.deframer
        if method is None or call.client_side == HALF_CLOSE_TOLD or call.state == GONE:
            return
        try:
            while call.state < FINISHED and (deframer.buffer or call.client_side == HALF_CLOSED):
                call.held_back = not method.ready()
                if call.held_back:
                    if call.unfinished is not None:
                        call.unfinished.hold(now.monotonic)
                    return
                if deframer.gzip and not self._turn.may_inflate(call):
                    return
                message = deframer.next_message()
                if message is not None:
                    if call.unfinished is not None:
                        self._long.leave(call, now)
                    method.receive(message, now)
                elif call.client_side == HALF_CLOSED:
                    self._tell_half_close(call, method, now)
                    break
                elif deframer.buffer:
                    self.due = min(self.due, self._long.keep(call, now))
                    return
        except MessageTooBig:
            method.fail(DisconnectReason.MESSAGE_TOO_BIG, "The message is larger than allowed", now)
        except SignalingError as error:
            method.fail(DisconnectReason.PROTOCOL_ERROR, error.message, now)
        except Exception:
            logger.exception("a method failed")
            method.fail(DisconnectReason.INTERNAL_ERROR, INTERNAL_ERROR.message, now)
        # All is taken, or nothing more of it is looked at.
        deframer.buffer = b""
        self._acknowledge_all(call, now)

    def _acknowledge_all(self, call: StreamCall, now: Instant) -> None:
        """Acknowledges all that a call's client has sent: nothing of it is kept any more."""
        if call.unacknowledged:
            self._http2.acknowledge(call.stream_id, call.unacknowledged)
            call.unacknowledged = 0
        if call.unfinished is not None:
            self._long.leave(call, now)

    def give_up(self, call: StreamCall, reason: DisconnectReason, now: Instant) -> None:
        """Ends a call for a message that is not whole, and keeps nothing of that."""
        if call.method is not None:
            call.method.fail(reason, GIVEN_UP_WORDS[reason], now)
        call.deframer.clear()
        self._acknowledge_all(call, now)

    def _tell_half_close(self, call: StreamCall, method: Method, now: Instant) -> None:
        """Tells a method that its client will send no more."""
        call.client_side = HALF_CLOSE_TOLD
        if call.deframer.unfinished:
            method.fail(DisconnectReason.PROTOCOL_ERROR, "The last message is not whole", now)
        else:
            method.half_close(now)

    # The messages of a method, and the end of a call.

    def _push(self, call: StreamCall, now: Instant) -> None:
        """Gives HTTP/2 what a call has in its outbox, as far as its window takes it, and its trailers behind that."""
        method, http2 = call.method, self._http2
        if method is None or call.state == GONE:
            return
        if call.unsent:
            unsent = http2.unsent(call.stream_id)
            if unsent < call.unsent:
                call.unsent_since = now.monotonic
            call.unsent = unsent
            if unsent and call.ending is not None and call.ending.at_once:
                self._cut(call, now)
                return
        if call.state == CONCLUDED:
            self._end(call, now)
            return
        while call.unsent < SEND_AHEAD_BYTES:
            frames = method.outbox.take(SEND_AHEAD_BYTES)
            if call.state == ACCEPTED or (call.state == FINISHED and frames):
                call.state = ON_RESPOND[call.state]
                head = method.head if isinstance(method, PageMethod) else RESPONSE_HEADERS
                http2.send_headers(call.stream_id, head)
            if not frames:
                if call.ending is not None:
                    self._conclude(call, call.ending, now)
                return
            self._lifetime.pings_in_a_row = 0
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            unsent = http2.send_data(call.stream_id, data)
            if unsent and not call.unsent:
                call.unsent_since = now.monotonic
                self.due = min(self.due, now.monotonic + self._send_seconds)
            call.unsent = unsent
            if call.held_back:
                # There may be room for another message of its client now.
                self.touch(call)
            if len(data) < SEND_AHEAD_BYTES and call.ending is None:
                return

    def _conclude(self, call: StreamCall, ending: Ending, now: Instant) -> None:
        """Puts a call's trailers, or the end of a page, behind all that it has said."""
        method = call.method
        if isinstance(method, PageMethod):
            if call.state == FINISHED:
                self._http2.send_headers(call.stream_id, method.head, end=True)
            else:
                self._http2.send_data(call.stream_id, b"", end=True)
        elif call.state == FINISHED:
            self._http2.send_headers(call.stream_id, trailers_only(ending), end=True)
        else:
            self._http2.send_trailers(call.stream_id, trailers(ending))
        call.state = CONCLUDED
        self._end(call, now)

    def _end(self, call: StreamCall, now: Instant) -> None:
        """Releases a concluded call when all is out; its client need not have ended its own side (RFC 9113, 8.1)."""
        if not call.unsent:
            self._dismiss(call.stream_id, now)
            self._release(call, now)

    def _dismiss(self, stream_id: int, now: Instant) -> None:
        """Dismisses a stream whose response is out: HTTP/2 drops what its client still sends."""
        self._http2.dismiss(stream_id, now.monotonic)
        self.due = min(self.due, self._http2.resets_due)

    def _cut(self, call: StreamCall, now: Instant) -> None:
        """Ends the call of a client that does not read, and its connection where nobody else uses it.

        What waits is dropped, in the middle of a message where windows have let out the first part of one: behind that,
        too, gRPC's libraries find the trailers. A reset would leave them with a guess at the status and no word; a page
        that has begun has no other end.
        """
        method = call.method
        ending = call.ending
        if ending is None or ending.code == Code.OK:
            # OK would say that the client has all there was.
            ending = NOT_READ
        if isinstance(method, PageMethod):
            if call.state == FINISHED:
                self._http2.send_headers(call.stream_id, method.head, end=True)
            else:
                self._http2.reset(call.stream_id, ErrorCode.CANCEL)
        elif call.state == FINISHED:
            self._http2.send_headers(call.stream_id, trailers_only(ending), end=True)
        else:
            self._http2.send_trailers(call.stream_id, trailers(ending), at_once=True)
        self._dismiss(call.stream_id, now)
        self._release(call, now)
        if not self._calls:
            self._http2.goaway()
            self._close(now, DisconnectReason.SLOW_CONSUMER)

    def _cancel(self, call: StreamCall, reason: DisconnectReason, now: Instant) -> None:
        """Tells a method that its call has ended, unless it ended it itself; a failure stays with this call."""
        method = call.method
        if reason is DisconnectReason.CONNECTION_LOST and call.client_side != OPEN:
            # It has said that it leaves, though what came before that was not carried out yet.
            reason = DisconnectReason.CLIENT_LEFT
        if method is not None and call.ending is None:
            dropped = min(call.held, method.outbox.queued_bytes)
            try:
                method.cancel(reason, now)
            except Exception:
                logger.exception("a method failed")
            if dropped and self._backlog is not None:
                call.held -= dropped
                self._backlog.give_back(dropped)

    def _lose(self, call: StreamCall, reason: DisconnectReason, now: Instant) -> None:
        """Lets go of a call whose client has cancelled it."""
        self._cancel(call, reason, now)
        self._release(call, now)

    def _release(self, call: StreamCall, now: Instant) -> None:
        """Forgets a call, its method and what counts for it; the last call makes the connection idle."""
        call.state = GONE
        call.method = None
        self._acknowledge_all(call, now)
        self._turn.forget(call)
        self._give_back(call)
        self._calls.pop(call.stream_id, None)
        if not self._calls:
            self._settling = False
            self._lifetime.become_idle(now)
            self.due = 0.0

    def rest(self, call: StreamCall) -> None:
        """Lets a call wait for the next turn: its connection's share is spent."""
        self._turn.rest(call)
        self._settling = False

    # Responses without a session.

    def may_respond(self, call: StreamCall) -> bool:
        """Returns whether a call may make a response now; where not, it waits in the backlog."""
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = Backlog(self._door.backlog, self.wake)
        if backlog.may_respond(call, spent=not self._turn.may_respond()):
            return True
        # Until it goes on, all is looked at before each output.
        self._settling = False
        return False

    def hold(self, call: StreamCall, size: int) -> None:
        """Counts a response that begins to wait in a call's outbox."""
        call.held += size
        self._turn.count_response(size)
        self._settling = False
        if self._backlog is not None:
            self._backlog.hold(size)

    def count_refusal(self, address: str, kind: str, retry_after_ms: int, now: Instant) -> bool:
        """Counts a question that came too soon; returns whether its client, who has that address, floods with these.

        Then it is told to calm down, and may begin no more calls; those that it has go on. A connection that a proxy
        shares among its clients goes on as it is.
        """
        if address != self._client.address:
            return self._door.forwarding.count_too_soon(address, kind, retry_after_ms, now)
        if not self._lifetime.count_too_soon(kind, retry_after_ms, now):
            return False
        self._settling = False
        return True

    def _respond_more(self, backlog: Backlog[StreamCall], now: Instant) -> None:
        """Lets calls go on that wait in the backlog, as far as there is room, and time in this turn."""
        while self._turn.may_respond():
            call = backlog.next_waiting()
            if call is None:
                break
            self._advance(call, now)
        backlog.end_turn()

    def _let_go(self, call: StreamCall) -> None:
        """Counts in the backlog what has left a call's outbox and is not written yet."""
        backlog = self._backlog
        if call.method is not None and backlog is not None:
            waits = call.unsent_bytes
            if waits < call.held:
                backlog.let_go(call.held - waits)
                call.held = waits
                self._settling = False

    def _give_back(self, call: StreamCall) -> None:
        """Gives back what a call held in the backlog: it is gone."""
        backlog = self._backlog
        if backlog is not None:
            if call.held:
                self._let_go(call)
                backlog.give_back(call.held)
                call.held = 0
            backlog.forget(call)

    # The end of the connection.

    def _break(self, now: Instant) -> None:
        """Loses all calls and closes the connection: its client broke the rules, or has left after its GOAWAY."""
        self._lose_all(DisconnectReason.PROTOCOL_ERROR, now)
        self._close(now)

    def _lose_all(self, reason: DisconnectReason, now: Instant) -> None:
        """Cancels and forgets all calls of a connection on which nothing can be sent any more."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.state = GONE
            self._cancel(call, reason, now)
            self._give_back(call)
            call.method = None
            if call.unfinished is not None:
                call.unfinished.leave(now)
                call.unfinished = None
        self.first_touched = None
        self._turn.resting.clear()
        self._long.clear()

    def _close(self, now: Instant, reason: DisconnectReason | None = None) -> None:
        """Closes the connection, for a reason that decides how long its client has for the rest."""
        self._settling = False
        self._lifetime.close(now, reason)
        self.due = self._lifetime.due(now, idle=True)
        self.wake()
