"""WebSocket on one connection, without I/O: handshake, frames to the session's conversation, keepalive, and the end.

Rule 1: what a frame is, `frames.py` says; how a connection ends, `closing.py`. Rule 2: an event is framed once for all
its receivers, by the session's encoding; where compression was negotiated, each session's frames are its own.
Rule 3: no message is taken while a response is awaited or while the session's own pile up: what has come waits
as it is, and the carrier stops reading. Rule 4: every wait has a deadline (`waits.py`).
Rule 5: nor is a message taken once those before it have used up their share of a turn: what is left goes on with the
first output of a later turn, behind everybody whom they have woken. Some more is read meanwhile, to know who leaves.
"""

import logging
from collections.abc import Callable
from typing import Final

from sigbridge.auth import ALLOW_ALL, Authenticator, Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError, internal_error, server_draining
from sigbridge.fast_paths import is_on
from sigbridge.hub import Hub
from sigbridge.instant import NEVER, Instant
from sigbridge.pending import Pending
from sigbridge.refused import note_refusal, note_refused
from sigbridge.session import Caller
from sigbridge.share import FRESH, RESTED, Share
from sigbridge_net.forwarding import forwarding_of
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.unfinished import TotalUnfinished
from sigbridge_net.wire import Client, WireFactory
from sigbridge_websocket.closing import AWAITING, CLOSING, OPEN, frame_for
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.dialects import PLAIN
from sigbridge_websocket.encoding import BARE_JSON, FRAMED_JSON
from sigbridge_websocket.error_codes import Fault
from sigbridge_websocket.frames import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    Frame,
    FrameReader,
    frame,
    says_goodbye,
)
from sigbridge_websocket.handshake import Handshake, ValidRequest
from sigbridge_websocket.waits import Waits

logger = logging.getLogger("sigbridge.websocket")

PROTOCOL = "websocket"

_FAST_OUTPUT: Final = is_on("fast_output")


class WebSocketWire(Waits):
    """One WebSocket connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    __slots__ = ("_conversation", "_handshake")

    successor = None

    def __init__(
        self,
        hub: Hub,
        handshake: Handshake,
        wake: Callable[[], None],
        now: Instant,
        total: TotalUnfinished,
    ) -> None:
        super().__init__(hub, wake, now, total)
        self._handshake: Handshake | None = handshake
        self._conversation: Conversation | None = None
        """The conversation of the session, from the end of the handshake on."""

    # What the carrier calls.

    def receive(self, data: bytes, now: Instant) -> None:
        """Reads bytes that arrived, of the handshake or of frames; what they cause is in the outbox afterwards."""
        self._heard_at = now.monotonic
        if self._handshake is not None and self._closing.state != AWAITING:
            data = self._shake_hands(self._handshake, data, now)
        if data and self._closing.state <= CLOSING:
            self._frames.feed(data)
            self._advance(now)

    def receive_eof(self, now: Instant) -> None:
        """Ends the connection, since the client will send no more: without a close frame before that it is lost."""
        self._advance(now, last=True)
        if self._closing.state == AWAITING:
            self._end_handshake()
        self._end_from_client(b"", DisconnectReason.CONNECTION_LOST, now)

    def connection_lost(self, now: Instant) -> None:
        """Ends what there is of the connection, since it is gone."""
        self.receive_eof(now)
        self._end_handshake()

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """Ends a handshake, since the server shuts down; sessions are ended by the hub."""
        handshake = self._handshake
        if self._closing.state == AWAITING and handshake is not None and handshake.request is not None:
            error = server_draining()
            note_refusal(self._hub.counters, PROTOCOL, error, handshake.address)
            self._refuse(handshake.refuse(handshake.request, error), now)
        elif self._session is None:
            self._end_handshake()
            self._end_from_client(b"", DisconnectReason.DRAINING, now)

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns what to write now, about `most` bytes; None if more than messages may have to come or go."""
        session = self._session
        if (
            not _FAST_OUTPUT
            or session is None
            or self._closing.state != OPEN
            or self._ahead
            or session.awaiting
            or session.share.state != FRESH
            or session.outbox.queued_bytes > most
            or not self._frames.exhausted
            or self._frames.compression is not None
            or self._unfinished is not None
        ):
            return None
        session.share.used = 0
        output = session.outbox.take(most)
        if output:
            self._sent_at = now.monotonic
        return output

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns what to write now: frames made ahead, about `most` bytes of messages, and last words if it closes.

        Work that waited for this turn is done first.
        """
        session, closing = self._session, self._closing
        if session is not None and session.share.state == RESTED:
            self._go_on(session.share, now)
        elif not self._frames.exhausted:
            self._advance(now)
        output, self._ahead = self._ahead, []
        if output:
            self._sent_at = now.monotonic
        if session is None or closing.is_silent:
            return output
        messages = session.outbox.take(most)
        if messages:
            self._sent_at = now.monotonic
        compression = self._frames.compression
        if compression is not None:
            messages = [frame(FIN | RSV1 | TEXT, compression.deflate(text)) for text in messages]
        output += messages
        if closing.state != OPEN and session.outbox.peek() is None:
            # What the session still holds back for a response that will not come is not said any more.
            session.outbox.clear()
            last = closing.last_words()
            if last:
                output.append(last)
        if self._unfinished is not None:
            self._pace(self._unfinished, now)
        if not output and session.share.pass_turn():
            # All that can be said now is said, and everybody else comes first.
            self._wake()
        return output

    # The beginning.

    def _shake_hands(self, handshake: Handshake, data: bytes, now: Instant) -> bytes:
        """Takes what belongs to the client's request, and responds when it is whole; returns what follows it."""
        rest = handshake.receive(data, now)
        if handshake.request is not None:
            self._identify(handshake, handshake.request, now)
        elif handshake.refusal:
            if handshake.refused_origin is not None:
                note_refused(self._hub.counters, PROTOCOL, "origin", handshake.address, handshake.refused_origin)
            self._refuse(handshake.refusal, now)
        return rest

    def _identify(self, handshake: Handshake, request: ValidRequest, now: Instant) -> None:
        """Begins the session of a whole request, or refuses it, as soon as its client's identity is known."""
        try:
            identity = handshake.identify(request, now)
            if not isinstance(identity, Pending):
                self._begin(request, handshake.caller(request, identity), now)
                return
        except SignalingError as error:
            self._refuse(handshake.refuse(request, error), now)
            return
        self._closing.wait()
        identity.then(lambda outcome, then: self._decide(handshake, request, outcome, then))

    def _decide(
        self, handshake: Handshake, request: ValidRequest, outcome: Identity | SignalingError, now: Instant
    ) -> None:
        """Begins the session of a client whose identity was looked up, or refuses it."""
        if self._closing.state != AWAITING:
            return
        self._wake()
        if isinstance(outcome, SignalingError):
            self._refuse(handshake.refuse(request, outcome), now)
            return
        try:
            self._begin(request, handshake.caller(request, outcome), now)
        except SignalingError as error:
            self._refuse(handshake.refuse(request, error), now)
        except Exception:
            # Whoever has looked it up for several clients is told of none.
            logger.exception("a session could not be opened")
            self._refuse(handshake.refuse(request, internal_error()), now)

    def _begin(self, request: ValidRequest, caller: Caller, now: Instant) -> None:
        """Begins a session, and queues the response to the handshake.

        :raises SignalingError: if the hub refuses the session.
        """
        settings, compression = self._hub.settings, request.compression
        encoding = FRAMED_JSON if compression is None else BARE_JSON
        session = self._hub.open(PROTOCOL, encoding, self._on_end, now, caller)
        session.outbox.wake = self._wake
        session.on_ready = self._on_ready
        session.last_heard = self._last_heard
        self._session = session
        self._conversation = Conversation(self._hub, session, encoding)
        if compression is not None:
            ahead = self._frames.taken_back()
            self._frames = FrameReader(settings.max_message_bytes, compression)
            self._frames.feed(ahead)
        self._ahead.append(request.response)
        self._end_handshake()
        self._closing.open()
        self.due = now.monotonic + settings.ping_interval_seconds

    def _end_handshake(self) -> None:
        if self._handshake is not None:
            self._handshake.let_go()
            self._handshake = None

    def _refuse(self, response: bytes, now: Instant) -> None:
        """Responds to the handshake with a refusal, and closes."""
        self._ahead.append(response)
        self._end_handshake()
        self._frames.clear()
        self._closing.respond(b"")
        self._limit_end(now)

    # Frames.

    def _advance(self, now: Instant, *, last: bool = False) -> None:
        """Handles the frames that have come, as far as the session is ready for them.

        `last`: also if its client does not read, since nothing more will come.
        """
        session, conversation, closing = self._session, self._conversation, self._closing
        if session is None or conversation is None:
            return
        share = session.share
        try:
            while closing.state <= CLOSING:
                if closing.state == OPEN and (
                    session.awaiting or share.state != FRESH or (session.outbox.crowded and not last)
                ):
                    return
                received = self._frames.next_frame()
                if received is None:
                    if self._unfinished is not None or self._frames.is_unfinished:
                        self._account(now)
                    return
                if self._unfinished is not None and not self._frames.is_within:
                    self._forget(now)
                if received.opcode > BINARY:
                    self._take_control(received, now)
                elif closing.state == OPEN:
                    conversation.receive(received.payload, now)
        except Fault as fault:
            self._end_from_client(frame_for(fault.reason), fault.reason, now)

    def _go_on(self, share: Share, now: Instant) -> None:
        """Goes on in a new turn, first with the batch that rests."""
        share.go_on()
        self._heard_at = now.monotonic
        if self._conversation is not None:
            self._conversation.resume(now)
        self._advance(now)

    def _take_control(self, control: Frame, now: Instant) -> None:
        """Takes a control frame: responds to a ping or a close; a pong needs nothing more."""
        if control.opcode == PING and not self._closing.is_silent:
            self._ahead.append(frame(FIN | PONG, control.payload))
        elif control.opcode == CLOSE:
            reason = DisconnectReason.CLIENT_LEFT if says_goodbye(control.payload) else DisconnectReason.CONNECTION_LOST
            self._end_from_client(frame(FIN | CLOSE, control.payload), reason, now)

    def _on_ready(self, now: Instant) -> None:
        """Goes on with the batch that waited for a response, which is queued now, and wakes the carrier."""
        if self._conversation is not None:
            self._conversation.resume(now)
        self._wake()


def websocket_wires(
    hub: Hub,
    *,
    authenticator: Authenticator = ALLOW_ALL,
    unfinished: TotalUnfinished | None = None,
    origins: AllowedOrigins | None = None,
) -> WireFactory:
    """Returns a factory of wires whose sessions belong to `hub` and whose clients `authenticator` lets in.

    The `origins` are by default those of the settings. Listeners that are given the same `unfinished` share its bound.
    """
    hub.counters.know(PROTOCOL)
    for dialect in PLAIN.successors:
        hub.counters.dialects[dialect.name] += 0
    total = TotalUnfinished(hub.settings) if unfinished is None else unfinished
    allowed = AllowedOrigins(hub.settings) if origins is None else origins
    forwarding = forwarding_of(hub.settings)

    def make(client: Client, wake: Callable[[], None], now: Instant) -> WebSocketWire:
        handshake = Handshake(hub.settings, client, authenticator, allowed, forwarding)
        return WebSocketWire(hub, handshake, wake, now, total)

    return make
