"""The waits of one WebSocket connection, each with a deadline, of which `due` tells the carrier.

Rule 1: a client is waited for while it shakes hands, while it is silent, while a message of it is not whole, and when
its connection ends. Rule 2: what it cannot do because nothing is read of it, it is not blamed for.
What may come and go meanwhile, `sigbridge_websocket.wire` says.
"""

from collections.abc import Callable
from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.hub import Hub
from sigbridge.instant import NEVER, Instant
from sigbridge.session import Session
from sigbridge.share import FRESH
from sigbridge_net.keepalive import KeepaliveStep, closing_seconds, first_pinged_at, judge_silence, silence_due
from sigbridge_net.unfinished import TotalUnfinished, Unfinished
from sigbridge_websocket.closing import AWAITING, CLOSED, OPEN, Closing, frame_for
from sigbridge_websocket.frames import FIN, MASKED_HEAD_BYTES, MAX_CONTROL_BYTES, PING, FrameReader, frame

READ_AHEAD_PONGS = 64
"""A client that is owed more than this many pongs must read before more of its input is taken."""
READ_AHEAD_BYTES: Final = 65536
"""The bytes that are read, and wait, of a client whose share is spent, or of which it is looked up who it is."""

_EMPTY_PING: Final = frame(FIN | PING, b"")


class Waits:
    """The state of one connection and its clocks; `sigbridge_websocket.wire.WebSocketWire` is the whole."""

    __slots__ = (
        "_ahead",
        "_closing",
        "_frames",
        "_heard_at",
        "_hub",
        "_pinged_at",
        "_sent_at",
        "_session",
        "_total",
        "_unfinished",
        "_wake",
        "aborted",
        "due",
    )

    def __init__(self, hub: Hub, wake: Callable[[], None], now: Instant, total: TotalUnfinished) -> None:
        """Begins with the wait for the handshake."""
        self.due = now.monotonic + hub.settings.handshake_timeout_seconds
        self.aborted = False
        self._hub = hub
        self._wake = wake
        self._closing = Closing()
        self._session: Session | None = None
        """The session, from the end of the handshake on."""
        self._frames = FrameReader(hub.settings.max_message_bytes)
        self._total = total
        self._unfinished: Unfinished | None = None
        """The account of a message that stayed unfinished after all that came was looked at; None without one."""
        self._ahead: list[bytes] = []
        """Output that goes before that of the outbox: the handshake's response, pings and pongs."""
        self._heard_at = now.monotonic
        self._sent_at = now.monotonic
        self._pinged_at = -1.0

    @property
    def finished(self) -> bool:
        """True when all is said."""
        return self._closing.state == CLOSED

    def reading(self) -> bool:
        """Returns whether more input is welcome."""
        if len(self._ahead) > READ_AHEAD_PONGS:
            return False
        session = self._session
        if self._closing.state == AWAITING:
            return self._frames.waiting_bytes < READ_AHEAD_BYTES
        if session is not None and self._has_spent_share() and not session.awaiting:
            # So that a client that leaves meanwhile is known to have left: nobody says so to who does not read.
            return self._frames.waiting_bytes < READ_AHEAD_BYTES
        return self._closing.state != OPEN or (self._frames.exhausted and self._may_take_message())

    def _has_spent_share(self) -> bool:
        """Returns whether the session's share of a turn is spent."""
        session = self._session
        return session is not None and session.share.state != FRESH

    def _may_take_message(self) -> bool:
        """Returns whether another message may be taken."""
        session, message = self._session, self._unfinished
        if message is not None and message.is_stopped:
            return False
        return (
            session is not None and not session.awaiting and session.share.state == FRESH and not session.outbox.crowded
        )

    def expire(self, now: Instant) -> None:
        """Does what is due: gives up handshakes and unfinished messages, pings a silent client, drops a dead one."""
        closing, message = self._closing, self._unfinished
        if message is not None and closing.state == OPEN:
            if not self.reading():
                # Where a carrier cannot write, nobody has seen when that began.
                message.hold(message.grown_at)
            if message.expire(now):
                message.end(DisconnectReason.MESSAGE_TIMEOUT, now)
        if closing.state <= AWAITING:
            self.aborted = True
        elif closing.state != OPEN:
            self._limit_end(now)
            self.aborted = now.monotonic >= closing.deadline
        elif not self._has_spent_share() and not (self._frames.exhausted and self._may_take_message()):
            # Its pongs are not read either; whether it reads is the outbox's age to say.
            self._heard_at = moment = now.monotonic
            self.due = silence_due(self._hub.settings, moment, moment, self._pinged_at)
        else:
            self._expire_silence(now)
        if self._unfinished is not None:
            self.due = min(self.due, self._unfinished.due)

    def _last_heard(self) -> float:
        """Returns when anything came of the client; see `sigbridge.session.Session.last_heard`."""
        return self._heard_at

    def _expire_silence(self, now: Instant) -> None:
        """Pings a client that is silent, or was told nothing for long, and ends one that does not respond."""
        settings, moment = self._hub.settings, now.monotonic
        verdict = judge_silence(settings, self._heard_at, self._sent_at, self._pinged_at, moment)
        if verdict is KeepaliveStep.END:
            self._end_from_client(b"", DisconnectReason.KEEPALIVE_TIMEOUT, now)
            self.aborted = True
            return
        if verdict is KeepaliveStep.PING:
            if _EMPTY_PING not in self._ahead:
                # Else the carrier cannot write, and the last one waits still.
                self._ahead.append(_EMPTY_PING)
            self._pinged_at = first_pinged_at(self._heard_at, self._pinged_at, moment)
            self._sent_at = moment
        self.due = silence_due(settings, self._heard_at, self._sent_at, self._pinged_at)

    # What is unfinished.

    def _account(self, now: Instant) -> None:
        """Accounts for a message that is not whole; while closing, a long one ends the connection."""
        frames = self._frames
        if not frames.is_unfinished:
            self._forget(now)
            return
        if self._closing.state != OPEN and frames.kept_bytes > MASKED_HEAD_BYTES + MAX_CONTROL_BYTES:
            # It is no control frame: to hear the client agree to the end, a whole message would have to be taken in.
            self._end_from_client(b"", DisconnectReason.CONNECTION_LOST, now)
            return
        message = self._unfinished
        if message is None:
            message = self._unfinished = Unfinished(self._total, self._wake, self._give_up, now)
        message.grow(frames.kept_bytes, frames.expected_bytes, now)
        self.due = min(self.due, message.due)

    def _pace(self, message: Unfinished, now: Instant) -> None:
        """Lets the clock of an unfinished message run while its client is read from, and stops it else."""
        if self._closing.state != OPEN:
            self._account(now)
        elif self.reading():
            message.go_on(now.monotonic)
        else:
            message.hold(now.monotonic)
        self.due = min(self.due, message.due)

    def _forget(self, now: Instant) -> None:
        """Closes the account of an unfinished message."""
        message, self._unfinished = self._unfinished, None
        if message is not None:
            message.leave(now)

    def _give_up(self, reason: DisconnectReason, now: Instant) -> None:
        """Ends the connection for its unfinished message."""
        self._end_from_client(frame_for(reason) if self._closing.state == OPEN else b"", reason, now)

    # The end.

    def _on_end(self, reason: DisconnectReason) -> None:
        """Queues the close frame for the session's end, and sets the deadline of its client's response."""
        session = self._session
        self._closing.end(reason, None if session is None else self._hub.retry_after_ms(session, reason))
        if reason is DisconnectReason.SLOW_CONSUMER and session is not None:
            session.outbox.clear()
        self.due = 0.0
        self._wake()

    def _end_from_client(self, close_frame: bytes, reason: DisconnectReason, now: Instant) -> None:
        """Ends the connection from the client's side, with this for our close frame."""
        self._closing.respond(close_frame)
        self._frames.clear()
        self._forget(now)
        if self._session is not None:
            self._hub.end(self._session, reason, now)
        self._limit_end(now)

    def _limit_end(self, now: Instant) -> None:
        """Sets the deadline of the closing handshake, once."""
        closing = self._closing
        if closing.deadline == NEVER:
            closing.deadline = now.monotonic + closing_seconds(self._hub.settings, closing.reason)
        self.due = closing.deadline
