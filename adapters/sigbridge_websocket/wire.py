"""WebSocket on one connection, without I/O: handshake, frames, keepalive and the closing handshake.

The rules of RFC 6455 are the sans-I/O `ServerProtocol` of the websockets library; here is what a session adds to them.
It is made when something comes that is not ordinary, so that most connections never have one.

Rule 1: data frames are written by us, header and all, so that an event is framed once for all its receivers; where
compression was negotiated, the library frames them. Rule 2: what was answered before a close frame goes out before it.
Rule 3: no input is processed while an answer is awaited or while the session's own answers pile up; it waits, and the
carrier stops reading. Rule 4: every wait has a deadline, of which `due` tells the carrier. Rule 5: what is ordinary is
done here, in a fraction of the time that the library takes: a handshake that comes whole and as clients write it, whole
text messages on a connection where nothing else is going on, pings and pongs. The library gets every other frame,
whole, and so stands between two frames in the meantime.
"""

import logging
from collections.abc import Callable
from typing import Final

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import BINARY, CLOSE, CONT, TEXT, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, State
from websockets.speedups import apply_mask
from websockets.typing import Origin, Subprotocol

from sigbridge.auth import ALLOW_ALL, Authenticator, Credentials
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.session import Caller, Session
from sigbridge_net.keepalive import Silence, closing_seconds, judge_silence, silence_due
from sigbridge_net.wire import WireFactory
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON, FRAMED_JSON
from sigbridge_websocket.error_codes import CLOSE_CODES
from sigbridge_websocket.handshake import SessionProtocol, credentials_from, credentials_of, select_subprotocol
from sigbridge_websocket.upgrade import Upgrade, read_upgrade, upgrade_response

UNPACK_BYTES = 1024
"""How much of what a client has compressed is looked at together: a byte may hold a thousand."""

PROTOCOL = "websocket"

READ_AHEAD_PONGS = 64
"""A client that is owed more than this many control frames must read before more of its input is taken."""

# The library logs headers and payloads at DEBUG and a line per connection at INFO; the hub has lines of its own.
_library_logger = logging.getLogger("sigbridge.websocket.library")
_library_logger.setLevel(logging.ERROR)

# A name of this module's own, which compiled code finds without asking a dictionary.
_unmask: Final = apply_mask

_END_OF_HEAD = b"\r\n\r\n"

# First bytes of whole frames, and the second byte of the longest control frame of a client (RFC 6455, section 5.5).
_PING: Final = 0x89
_PONG: Final = 0x8A
_LONGEST_CONTROL: Final = 0x80 | 125
_EMPTY_PING = bytes((_PING, 0))

_MASKED_HEAD: Final = 6
"""Bytes before the payload of a client's short frame: two of head and four of mask (RFC 6455, section 5.2)."""


def _frame_end(data: bytes, at: int, most: int) -> int:
    """Where a frame that begins at `at` ends; where the library refuses it by its head, at what there is of it."""
    short = data[at + 1] & 0x7F
    if not data[at + 1] & 0x80:
        return len(data)
    if short < 126:
        return at + _MASKED_HEAD + short
    wide = 2 if short == 126 else 8
    if len(data) < at + 2 + wide:
        return at + 2 + wide
    size = int.from_bytes(data[at + 2 : at + 2 + wide])
    return len(data) if size > most else at + _MASKED_HEAD + wide + size


class WebSocketWire:
    """One WebSocket connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    __slots__ = (
        "_advancing",
        "_ahead",
        "_authenticator",
        "_backlog",
        "_certificate_subject",
        "_close_deadline",
        "_close_written",
        "_compressed",
        "_conversation",
        "_ending",
        "_fragments",
        "_fragments_are_text",
        "_head_end",
        "_heard_at",
        "_hub",
        "_packed",
        "_pinged_at",
        "_plain",
        "_protocol",
        "_remote",
        "_rest",
        "_rest_needs",
        "_session",
        "_unpacking",
        "_wake",
        "aborted",
        "due",
        "finished",
        "settled",
    )

    successor = None

    def __init__(
        self,
        hub: Hub,
        *,
        remote: str,
        wake: Callable[[], None],
        now: Instant,
        authenticator: Authenticator = ALLOW_ALL,
        certificate_subject: str | None = None,
    ) -> None:
        settings = hub.settings
        self.due = now.monotonic + settings.handshake_timeout_seconds
        self.finished = False
        self.aborted = False
        self._hub = hub
        self._remote = remote
        self._wake = wake
        self._authenticator = authenticator
        self._certificate_subject = certificate_subject
        self._protocol: SessionProtocol | None = None
        """The library's machine; none where all has been ordinary until now."""
        self._session: Session | None = None
        self._conversation: Conversation | None = None
        self._compressed = False
        self._packed = b""
        """What has arrived compressed, and waits for its turn as it is."""
        self._unpacking = False
        self._head_end: bytes | None = b""
        """The last bytes of an incomplete request head, or `None` when the head is complete."""
        self._ahead: list[bytes] = []
        """What goes out before what is in the outbox: the handshake's response, pings and pongs."""
        self._fragments: bytearray | None = None
        """A message of several frames, as far as it has come."""
        self._fragments_are_text = False
        self._rest = bytearray()
        """The beginning of a frame, for which it is not the library's turn yet."""
        self._rest_needs = 0
        """How long that must be before it is looked at again; a long frame may come byte by byte."""
        self._plain = False
        """Whether nothing is going on but text messages coming and frames of the outbox going."""
        self.settled = False
        # A list, since it is nearly always empty, and an empty deque takes ten times as much memory.
        self._backlog: list[tuple[bytes, bool]] = []
        self._ending: DisconnectReason | None = None
        self._advancing = False
        self._close_written = False
        self._close_deadline: float | None = None
        self._heard_at = now.monotonic
        self._pinged_at = -1.0

    # What the carrier calls.

    def receive(self, data: bytes, now: Instant) -> None:
        """Take bytes that arrived; answers are in the outbox afterwards."""
        self._heard_at = now.monotonic
        if self._head_end is not None:
            data = self._take_head(self._head_end, data, now)
        if not data:
            return
        if self._compressed:
            self._packed += data
            self._unpack(now)
        elif self._session is None or self._conversation is None or not self._open():
            self._take(self._joined(data), now)
        elif len(self._rest) + len(data) < self._rest_needs:
            self._rest += data
        else:
            self._take_frames(self._joined(data), self._session, self._conversation, now)

    def _open(self) -> bool:
        """Whether frames may come and go, once there is a session."""
        return self._protocol is None or self._protocol.state is State.OPEN

    def _library(self) -> SessionProtocol:
        """The library's machine, made when it is first needed: before the handshake, or between two frames."""
        if self._protocol is None:
            settings = self._hub.settings
            self._protocol = SessionProtocol(
                # A client that is no web page sends no origin.
                origins=[None, *map(Origin, settings.allowed_origins)] if settings.allowed_origins else None,
                extensions=[ServerPerMessageDeflateFactory()] if settings.websocket_compression else None,
                select_subprotocol=select_subprotocol,
                state=State.CONNECTING if self._session is None else State.OPEN,
                max_size=settings.max_message_bytes,
                logger=_library_logger,
            )
        return self._protocol

    def _joined(self, data: bytes) -> bytes:
        """What had to wait, and what has come now."""
        if self._rest:
            data = bytes(self._rest) + data
            self._rest.clear()
        return data

    def _take_frames(self, data: bytes, session: Session, conversation: Conversation, now: Instant) -> None:
        """Take whole frames: ordinary text messages directly, all others by way of the library."""
        at, end, most = 0, len(data), self._hub.settings.max_message_bytes
        self._rest_needs = 0
        while end - at >= 2:
            if data[at] == 0x81 and self._plain and end - at >= 8:
                size = data[at + 1] - 0x80
                start = at + _MASKED_HEAD
                if size == 126:
                    size = data[at + 2] << 8 | data[at + 3]
                    start += 2
                if 0 <= size <= most and size != 127 and start + size <= end:
                    at = start + size
                    message = _unmask(data[start:at], data[start - 4 : start])
                    if session.awaiting or session.outbox.crowded or not conversation.fast_receive(message, now):
                        self._on_message(message, True, now)
                    continue
            stop = _frame_end(data, at, most)
            if stop > end:
                self._rest_needs = stop - at
                break
            if data[at] in (_PING, _PONG) and 0x80 <= data[at + 1] <= _LONGEST_CONTROL and self._open():
                if data[at] == _PING:
                    payload = _unmask(data[at + _MASKED_HEAD : stop], data[at + 2 : at + _MASKED_HEAD])
                    self._ahead.append(b"%c%c%b" % (_PONG, len(payload), payload))
                    self._plain = False
                at = stop
                continue
            self._take(data[at:stop], now)
            at = stop
            if not self._open():
                self._take(data[at:], now)
                at = end
            self._look()
        if at < end:
            self._rest += data[at:]

    def _look(self) -> None:
        """See whether there is anything but text messages coming and frames of the outbox going."""
        protocol = self._protocol
        self._plain = (
            self._session is not None
            and self._session.end_reason is None
            and self._ending is None
            and not self._compressed
            and self._open()
            and self._fragments is None
            and not (self._backlog or self._ahead or (protocol is not None and protocol.writes))
        )

    def _unpack(self, now: Instant, *, all_of_it: bool = False) -> None:
        """Look at what came compressed, a little at a time and as far as its messages can be processed."""
        session = self._session
        if self._unpacking:
            # An answer that is known at once calls back while the messages before it are still being looked at.
            return
        self._unpacking = True
        try:
            while self._packed and session is not None:
                if session.end_reason is None and not all_of_it and (self._backlog or not self._ready()):
                    return
                piece, self._packed = self._packed[:UNPACK_BYTES], self._packed[UNPACK_BYTES:]
                self._take(piece, now)
                if all_of_it:
                    self._process_rest(now)
        finally:
            self._unpacking = False

    def _take(self, data: bytes, now: Instant) -> None:
        protocol = self._library()
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._on_frame(event, now)
            elif isinstance(event, Request):
                self._on_handshake(event, now)
        if protocol.failure is not None:
            self._close(protocol.failure, now)

    def receive_eof(self, now: Instant) -> None:
        """The client will send no more: without a close frame before it, the connection is lost."""
        self._unpack(now, all_of_it=True)
        self._library().receive_eof()
        self._close(DisconnectReason.CONNECTION_LOST, now)

    def connection_lost(self, now: Instant) -> None:
        """The connection is gone."""
        self._close(DisconnectReason.CONNECTION_LOST, now)

    def drain(self, now: Instant) -> None:
        """The server is shutting down: sessions are told by the hub; a handshake that is not done never will be."""
        if self._session is None:
            self.finished = True
            self._begin_closing(now)

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """What to write now."""
        session = self._session
        if self._plain and session is not None:
            frames = session.outbox.take(most)
            self.settled = not session.outbox
            return frames
        self.settled = False
        output, self._ahead = self._ahead, []
        if session is not None and not self._close_written:
            frames = session.outbox.take(most)
            if self._compressed:
                extensions = self._library().extensions
                frames = [Frame(TEXT, text).serialize(mask=False, extensions=extensions) for text in frames]
            output += frames
            if session.outbox.peek() is not None:
                if not self._open():
                    # The library's writes hold a close frame, which the rest of the answers must precede.
                    return output
            elif self._ending is not None and self._open():
                code = CLOSE_CODES.get(self._ending)
                if code is not None:
                    self._library().send_close(code, self._ending.word)
        for write in [] if self._protocol is None else self._protocol.data_to_send():
            if write is SEND_EOF:
                self.finished = True
                self._begin_closing(now)
            elif not self._close_written:
                output.append(write)
        if session is not None and not self._open():
            # The library would answer pings even now.
            self._close_written = True
            session.outbox.clear()
        if self._backlog or self._packed:
            self._advance(now)
        self._look()
        return output

    def reading(self) -> bool:
        """Whether more input is welcome."""
        session = self._session
        if session is None:
            return True
        controls = len(self._ahead) + (0 if self._protocol is None else len(self._protocol.writes))
        if controls > READ_AHEAD_PONGS:
            return False
        return session.end_reason is not None or (not self._backlog and not self._packed and self._ready())

    def expire(self, now: Instant) -> None:
        """Do what is due: give up a handshake or a closing handshake, ping a silent client, drop a dead one."""
        settings = self._hub.settings
        if self._ending is not None:
            self._begin_closing(now)
        if self._close_deadline is not None:
            self.aborted = now.monotonic >= self._close_deadline
            self.due = self._close_deadline
        elif self._session is None:
            self.aborted = True
        elif self._backlog or not self._ready():
            # Its pongs are not read either; whether it reads is the outbox's age to say.
            self._heard_at = now.monotonic
            self.due = silence_due(settings, self._heard_at, self._pinged_at)
        else:
            self._expire_silence(now)

    def _expire_silence(self, now: Instant) -> None:
        """Ping a silent client, and drop one that does not answer."""
        settings = self._hub.settings
        verdict = judge_silence(settings, self._heard_at, self._pinged_at, now.monotonic)
        if verdict is Silence.END:
            self._close(DisconnectReason.KEEPALIVE_TIMEOUT, now)
            self.aborted = True
            return
        if verdict is Silence.PING:
            self._ahead.append(_EMPTY_PING)
            self._plain = False
            self._pinged_at = now.monotonic
        self.due = silence_due(settings, self._heard_at, self._pinged_at)

    # The handshake.

    def _take_head(self, head_end: bytes, data: bytes, now: Instant) -> bytes:
        """Take what belongs to the request; what follows it is returned."""
        if self._protocol is None:
            # Nothing has come before.
            size = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            upgrade = read_upgrade(data[:size])
            if upgrade is not None and self._is_ours(upgrade):
                self._head_end = None
                self._accept(upgrade, now)
                return data[size:]
        # The library would take what follows the request for frames before the request is answered.
        seen = head_end + data
        size = seen.find(_END_OF_HEAD) + len(_END_OF_HEAD) - len(head_end)
        if _END_OF_HEAD not in seen:
            self._head_end = seen[1 - len(_END_OF_HEAD) :]
            return data
        self._head_end = None
        self._take(data[:size], now)
        return data[size:]

    def _is_ours(self, upgrade: Upgrade) -> bool:
        """Whether the library would accept, and negotiate nothing; what it refuses it is to refuse itself."""
        settings = self._hub.settings
        origin = upgrade.origin
        allowed = origin is None or not settings.allowed_origins or origin in settings.allowed_origins
        return allowed and not (settings.websocket_compression and upgrade.extended)

    def _accept(self, upgrade: Upgrade, now: Instant) -> None:
        authorization = [] if upgrade.authorization is None else [upgrade.authorization]
        offered = upgrade.offered()
        try:
            credentials = credentials_from(authorization, offered, self._certificate_subject)
            session = self._admit(credentials, upgrade.user_agent, now)
        except SignalingError as error:
            protocol = self._library()
            protocol.send_response(_refusal(protocol, error))
        else:
            self._begin(session, now)
            chosen = select_subprotocol(None, [Subprotocol(name) for name in offered])
            self._ahead.append(upgrade_response(upgrade.key, chosen, now.unix))

    def _on_handshake(self, request: Request, now: Instant) -> None:
        protocol = self._library()
        response = protocol.accept(request)
        if response.status_code == 101:
            self._compressed = bool(protocol.extensions)
            try:
                agents = request.headers.get_all("User-Agent")
                credentials = credentials_of(request.headers, self._certificate_subject)
                session = self._admit(credentials, agents[0] if agents else "", now)
            except SignalingError as error:
                response = _refusal(protocol, error)
            else:
                self._begin(session, now)
        elif response.status_code == 403:
            self._hub.counters.refusals[PROTOCOL, "origin"] += 1
        # The library keeps the request as long as the connection.
        request.headers.clear()
        protocol.send_response(response)
        if self._session is not None:
            # The answers to what came along with the request are not among the library's writes, and must follow these.
            self._ahead = protocol.data_to_send()

    def _admit(self, credentials: Credentials, user_agent: str, now: Instant) -> Session:
        """A session for who shows these; raises SignalingError where nobody is let in with them, or nobody at all."""
        caller = Caller(self._authenticator.authenticate(credentials, now), self._remote, user_agent)
        encoding = BARE_JSON if self._compressed else FRAMED_JSON
        return self._hub.open(PROTOCOL, encoding, self._on_end, now, caller)

    def _begin(self, session: Session, now: Instant) -> None:
        self._session = session
        session.outbox.wake = self._wake
        session.on_ready = self._on_ready
        self._conversation = Conversation(self._hub, session, BARE_JSON if self._compressed else FRAMED_JSON)
        self.due = now.monotonic + self._hub.settings.ping_interval_seconds

    # Messages.

    def _on_frame(self, frame: Frame, now: Instant) -> None:
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if frame.fin:
                self._on_message(bytes(frame.data), opcode is TEXT, now)
            else:
                self._fragments = bytearray(frame.data)
                self._fragments_are_text = opcode is TEXT
        elif opcode is CONT and self._fragments is not None:
            self._fragments += frame.data
            if frame.fin:
                message = bytes(self._fragments)
                self._fragments = None
                self._on_message(message, self._fragments_are_text, now)
        elif opcode is CLOSE:
            self._process_rest(now)
            self._close(DisconnectReason.CLIENT_LEFT, now)

    def _on_message(self, message: bytes, is_text: bool, now: Instant) -> None:
        session = self._session
        if session is None or session.end_reason is not None:
            # Nothing would come of it, and what is still to be sent may keep it waiting.
            return
        if self._backlog or not self._ready():
            self._backlog.append((message, is_text))
            self._plain = False
        else:
            self._process(message, is_text, now)

    def _ready(self) -> bool:
        """Whether another message may be processed."""
        session = self._session
        return session is not None and not session.awaiting and not session.outbox.crowded

    def _advance(self, now: Instant) -> None:
        """Process what has waited, then what has not been looked at yet."""
        if self._advancing:
            # An answer that is known at once calls back from within the loop below, which goes on by itself.
            return
        self._advancing = True
        try:
            while self._backlog and self._ready():
                message, is_text = self._backlog.pop(0)
                self._process(message, is_text, now)
        finally:
            self._advancing = False
        self._unpack(now)

    def _on_ready(self, now: Instant) -> None:
        """An awaited response is queued: go on, and let the carrier read again."""
        if self._conversation is not None:
            self._conversation.resume(now)
        self._advance(now)
        self._wake()

    def _process_rest(self, now: Instant) -> None:
        """Process what was sent before a close frame, as far as no answer has to be awaited."""
        while self._backlog and self._session is not None and not self._session.awaiting:
            message, is_text = self._backlog.pop(0)
            self._process(message, is_text, now)

    def _process(self, message: bytes, is_text: bool, now: Instant) -> None:
        session, conversation = self._session, self._conversation
        if session is None or conversation is None or session.end_reason is not None:
            return
        if is_text and not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._library().fail(CloseCode.INVALID_DATA)
                self._close(DisconnectReason.NOT_UTF8, now)
                return
        conversation.receive(message, now)

    # The end.

    def _on_end(self, reason: DisconnectReason) -> None:
        """The session has ended: say why, where that can be said, and wait a while for the client to agree."""
        self._ending = reason
        self._plain = False
        self._backlog.clear()
        if reason is DisconnectReason.SLOW_CONSUMER and self._session is not None:
            self._session.outbox.clear()
        self.due = 0.0
        self._wake()

    def _close(self, reason: DisconnectReason, now: Instant) -> None:
        """The connection ends from the other side, or by a fault of its own."""
        self._plain = False
        self._backlog.clear()
        if self._session is not None:
            self._hub.end(self._session, reason, now)
        self._begin_closing(now)

    def _begin_closing(self, now: Instant) -> None:
        if self._close_deadline is None:
            patience = closing_seconds(self._hub.settings, self._ending)
            self.due = self._close_deadline = now.monotonic + patience


def websocket_wires(hub: Hub, *, authenticator: Authenticator = ALLOW_ALL) -> WireFactory:
    """The wires of a listener whose sessions belong to `hub` and whose clients `authenticator` lets in."""
    hub.counters.know(PROTOCOL)
    return lambda client, wake, now: WebSocketWire(
        hub,
        remote=client.address,
        wake=wake,
        now=now,
        authenticator=authenticator,
        certificate_subject=client.certificate_subject,
    )


def _refusal(protocol: SessionProtocol, error: SignalingError) -> Response:
    """The response that turns a client away."""
    refused = error.code is Code.UNAUTHENTICATED
    response = protocol.reject(401 if refused else 503, f"{error.message}\n")
    if refused:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
