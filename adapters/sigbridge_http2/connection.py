"""The server's side of one HTTP/2 connection: what arrives, frame by frame; what leaves is `Sender`'s.

Rule 1: each type of frame has one method, which is named for it; what a frame may do in a stream's state stands in the
tables of `streams.py`. Rule 2: a fault is raised where it is seen, and ends the stream or the connection in one place,
`receive`: nothing is raised to the user. What came before a fault was received; what comes behind it is not looked at.
Rule 3: a header block is decoded whatever it is for, since the client's table and ours must stay the same
(RFC 7541, section 2.2).

What may come next is a state, too:

    preface ──24 bytes──▶ settings ──SETTINGS──▶ any frame ──HEADERS without END_HEADERS──▶ continuation
                                                     ▲──────────────END_HEADERS──────────────┘

Source: RFC 9113.
"""

from typing import Final

from sigbridge_http2 import frames
from sigbridge_http2.decoder import FieldDecoder
from sigbridge_http2.errors import ConnectionFault, ErrorCode, MalformedFields, StreamFault
from sigbridge_http2.events import (
    PING_ACKNOWLEDGED,
    PING_RECEIVED,
    SETTINGS_RECEIVED,
    DataReceived,
    Event,
    GoAwayReceived,
    Header,
    RequestReceived,
    StreamReset,
    TrailersReceived,
)
from sigbridge_http2.fields import check_request, check_trailers
from sigbridge_http2.floods import MAX_CONTINUATIONS
from sigbridge_http2.frames import DATA, HEAD_BYTES, MAX_FRAME_BYTES, id_at
from sigbridge_http2.sending import ANNOUNCED, LEAVING, ON_GOAWAY_RECEIVED, Sender
from sigbridge_http2.settings import DEFAULT_HEADER_TABLE_BYTES, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, entries
from sigbridge_http2.streams import (
    CLOSED,
    DISMISSED,
    HALF_CLOSED_REMOTE,
    ON_END_RECEIVED,
    ON_FRAME,
    OPEN,
    TAKEN,
    UNKNOWN_LENGTH,
    Stream,
)

# What may come next: anything, or only this type of frame.
_ANY_FRAME: Final = -1
_PREFACE: Final = -2

_PRIORITY_BYTES: Final = 5
_PING_BYTES: Final = 8
_GOAWAY_BYTES: Final = 8
_NUMBER_BYTES: Final = 4


class _HeaderBlock:
    """A header block that is not whole yet (section 6.10)."""

    __slots__ = ("continuations", "data", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream
        self.continuations = 0


class Connection(Sender):
    """The server's side of one HTTP/2 connection."""

    __slots__ = (
        "_block",
        "_decoder",
        "_expected",
        "_max_block_bytes",
        "_needed_bytes",
        "_now",
        "_unread",
        "was_partial",
    )

    def __init__(self, *, max_streams: int, max_header_bytes: int, most_header_bytes: int) -> None:
        """Begins a connection. Clients are told `max_header_bytes`; headers above `most_header_bytes` break it."""
        super().__init__(max_streams=max_streams, max_header_bytes=max_header_bytes)
        self._max_block_bytes = most_header_bytes
        self._decoder: FieldDecoder | None = None
        """The decoder of header blocks, made with the first."""
        self._expected = _PREFACE
        self._block: _HeaderBlock | None = None
        """The header block of which more must come."""
        self._unread = b""
        """The beginning of a frame, or of the preface."""
        self.was_partial = False
        """True since something was not whole, until its user says that it has seen that all is."""
        self._needed_bytes = len(frames.PREFACE)
        """The length that this must have before it is looked at again."""
        self._now = 0.0

    @property
    def partial_bytes(self) -> int:
        """The bytes that have come of a frame that is not whole, and of a header block that is not."""
        return len(self._unread) + (0 if self._block is None else len(self._block.data))

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Reads bytes in any fragmentation (`now` in monotonic seconds); returns the events of what they hold.

        Nothing is raised: a fault of an open stream is an event, `StreamReset`. One of the connection is none: it sets
        `broken`, and the events before it are returned.
        """
        events: list[Event] = []
        if self._state > ANNOUNCED and self.over:
            return events
        if self._unread:
            data = self._unread + data
        at, end = 0, len(data)
        self._now = now
        try:
            if self._expected == _PREFACE:
                at = self._receive_preface(data)
            while end - at >= self._needed_bytes:
                start = at + HEAD_BYTES
                size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
                stop = start + size
                if stop > end or size > MAX_FRAME_BYTES:
                    if size > MAX_FRAME_BYTES:
                        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
                    self._needed_bytes = HEAD_BYTES + size
                    break
                self._needed_bytes = HEAD_BYTES
                kind, flags = data[at + 3], data[at + 4]
                stream_id = (data[at + 5] & 0x7F) << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
                at = stop
                self._receive_frame(kind, flags, stream_id, data[start:stop], events)
            if self._floods.unwritten_bytes:
                self._floods.check_unwritten()
        except ConnectionFault as fault:
            self._unread = b""
            self._break(fault.code)
            return events
        if at < end:
            self._unread = data[at:]
            self.was_partial = True
        elif self._unread:
            self._unread = b""
        if self._windows.may_have_opened:
            self._windows.tell_opened(events)
        return events

    def _receive_preface(self, data: bytes) -> int:
        """Compares what has come with the preface.

        Returns the index of the first frame, 0 while there is none (section 3.4).

        :raises ConnectionFault: if it differs.
        """
        if data[: len(frames.PREFACE)] != frames.PREFACE[: len(data)]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        if len(data) < len(frames.PREFACE):
            return 0
        self._expected = frames.SETTINGS
        self._needed_bytes = HEAD_BYTES
        return len(frames.PREFACE)

    def _receive_frame(self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a whole frame of any type; a fault of its stream resets that stream.

        :raises ConnectionFault: if the frame breaks the rules.
        """
        if self._expected not in (kind, _ANY_FRAME):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        try:
            if kind == DATA:
                self._receive_data(flags, stream_id, payload, events)
            elif kind == frames.WINDOW_UPDATE:
                self._receive_window_update(stream_id, payload, events)
            elif kind == frames.HEADERS:
                self._receive_headers(flags, stream_id, payload, events)
            elif kind == frames.PING:
                self._receive_ping(flags, stream_id, payload, events)
            elif kind == frames.RST_STREAM:
                self._receive_rst_stream(stream_id, payload, events)
            elif kind == frames.SETTINGS:
                self._receive_settings(flags, stream_id, payload, events)
            elif kind == frames.CONTINUATION:
                self._receive_continuation(flags, stream_id, payload, events)
            elif kind == frames.GOAWAY:
                self._receive_goaway(stream_id, payload, events)
            elif kind == frames.PRIORITY:
                self._receive_priority(stream_id, payload)
            elif kind == frames.PUSH_PROMISE:
                # Section 8.4: a client cannot push.
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
            # Others are ignored (section 5.5).
        except StreamFault as fault:
            self._floods.glitch(self._now)
            stream = self._active.get(fault.stream_id)
            if stream is not None:
                self._close(stream)
                events.append(StreamReset(fault.stream_id, int(fault.code)))
            self._put_reset(fault.stream_id, fault.code)

    # Bodies.

    def _receive_data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a DATA frame (section 6.1): counts it against the windows, and appends its data to the events.

        What is for a stream that is closed or dismissed is dropped.

        :raises ConnectionFault: if it overflows a window, or the stream is not open.
        :raises StreamFault: if the body is longer or shorter than its content-length.
        """
        size = len(payload)
        stream = self._active.get(stream_id)
        state = self._streams.state_of(stream_id) if stream is None else stream.state
        if not _is_taken(DATA, state) or stream is None:
            self._receive_window.use_for_nothing(size)
            self._credit(0)
            if state == DISMISSED:
                self._receive_for_nobody(stream_id, size, end=flags & frames.END_STREAM != 0)
            return
        self._receive_window.use(stream, size)
        if flags & frames.PADDED:
            payload = _unpadded(payload)
            # Padding is acknowledged by us, since the user does not see it.
            self.acknowledge(stream_id, size - len(payload))
        end = flags & frames.END_STREAM != 0
        if payload:
            self._floods.empty_frames = 0
        elif not end:
            self._floods.empty_frame()
            return
        if stream.body_left != UNKNOWN_LENGTH:
            # Section 8.1.1.
            stream.body_left -= len(payload)
            if stream.body_left < 0 or (end and stream.body_left):
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        events.append(DataReceived(stream_id, payload, end))
        if end:
            self._end_receiving(stream)

    def _receive_for_nobody(self, stream_id: int, size: int, *, end: bool) -> None:
        """Counts DATA on a dismissed stream against its last window (section 6.9.1).

        :raises ConnectionFault: if it overflows that.
        """
        waiting = self._streams.dismissed[stream_id]
        waiting.receivable -= size
        if waiting.receivable < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR)
        if end:
            self._end_dismissed(stream_id)

    def _end_dismissed(self, stream_id: int) -> None:
        """Forgets a dismissed stream that its client has ended: it needs no reset."""
        self._streams.dismissed.pop(stream_id, None)

    def _end_receiving(self, stream: Stream) -> None:
        stream.state = ON_END_RECEIVED[stream.state]
        if stream.state == CLOSED:
            self._close(stream)

    def _receive_window_update(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a WINDOW_UPDATE frame (section 6.9).

        :raises ConnectionFault: if it is malformed, or the connection's window overflows.
        :raises StreamFault: if it is 0, or the stream's window overflows.
        """
        if len(payload) != _NUMBER_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
        size = id_at(payload, 0)
        if stream_id == 0:
            if size == 0:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
            self._windows.widen_connection(size)
        elif _is_taken(frames.WINDOW_UPDATE, self._streams.state_of(stream_id)):
            if size == 0:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
            self._windows.widen_stream(self._active[stream_id], size, events)

    # Header blocks.

    def _receive_headers(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a HEADERS frame (section 6.2), and its header block if that is whole.

        The priority in it is that of RFC 7540, which has no effect (RFC 9113, section 5.3.2).

        :raises ConnectionFault: if it is malformed, or not allowed in the stream's state.
        """
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.HAS_PRIORITY:
            _check_priority(stream_id, payload)
            payload = payload[_PRIORITY_BYTES:]
        if stream_id & 1 == 0:
            # Section 5.1.1: these are a server's.
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        _is_taken(frames.HEADERS, self._streams.state_of(stream_id))
        end = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            self._receive_block(stream_id, payload, end, events)
        else:
            self._block = _HeaderBlock(stream_id, payload, end)
            self.was_partial = True
            self._expected = frames.CONTINUATION

    def _receive_continuation(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a CONTINUATION frame (section 6.10), and its header block if that is whole.

        :raises ConnectionFault: if none is expected, or the block is too long.
        """
        block = self._block
        if block is None or block.stream_id != stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        block.continuations += 1
        block.data += payload
        if block.continuations > MAX_CONTINUATIONS or len(block.data) > self._max_block_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM)
        if flags & frames.END_HEADERS:
            self._block = None
            self._expected = _ANY_FRAME
            self._receive_block(stream_id, block.data, block.end_stream, events)

    def _receive_block(self, stream_id: int, block: bytes, end: bool, events: list[Event]) -> None:
        """Handles a whole header block: a request, or trailers (section 8.1)."""
        if self._decoder is None:
            self._decoder = FieldDecoder(self._max_block_bytes)
        fields = self._decoder.decode(block)
        stream = self._active.get(stream_id)
        if stream is not None:
            self._receive_trailers(stream, fields, end, events)
        elif stream_id > self._streams.last_begun:
            self._streams.begin(stream_id)
            if self._state >= LEAVING:
                # Section 6.8: it is ignored, and so may be what follows on it.
                self._streams.last_reset = stream_id
                self._floods.glitch(self._now)
            else:
                self._receive_request(stream_id, fields, end, events)
        elif end:
            self._end_dismissed(stream_id)

    def _receive_request(self, stream_id: int, fields: list[Header], end: bool, events: list[Event]) -> None:
        """Begins a stream with a request, if it is well-formed and there are not too many streams.

        :raises StreamFault: if not.
        """
        if len(self._active) >= self._max_streams:
            # Section 5.1.2.
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM)
        try:
            length = check_request(fields)
            if end and length > 0:
                raise MalformedFields("a body is promised, and there is none")
        except MalformedFields:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR) from None
        self._active[stream_id] = Stream(stream_id, HALF_CLOSED_REMOTE if end else OPEN, length)
        events.append(RequestReceived(stream_id, fields, end))

    def _receive_trailers(self, stream: Stream, fields: list[Header], end: bool, events: list[Event]) -> None:
        """Ends a request with trailers.

        :raises StreamFault: if they are malformed, or the body is not whole.
        """
        try:
            if not end or stream.body_left > 0:
                raise MalformedFields("trailers end a body, all of it")
            check_trailers(fields)
        except MalformedFields:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR) from None
        events.append(TrailersReceived(stream.id, fields))
        self._end_receiving(stream)

    # The rest.

    def _receive_priority(self, stream_id: int, payload: bytes) -> None:
        """Handles a PRIORITY frame (section 6.3), which has no effect.

        :raises ConnectionFault: if it is malformed.
        """
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        if len(payload) != _PRIORITY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
        _check_priority(stream_id, payload)
        self._floods.glitch(self._now)

    def _receive_rst_stream(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a RST_STREAM frame (section 6.4): the stream is closed.

        :raises ConnectionFault: if it is malformed, or there were too many.
        """
        if len(payload) != _NUMBER_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
        if _is_taken(frames.RST_STREAM, self._streams.state_of(stream_id)):
            self._close(self._active[stream_id])
            events.append(StreamReset(stream_id, frames.number_at(payload, 0)))
            self._floods.glitch(self._now)
        else:
            # Of a dismissed stream it takes nothing back: all the work is done, and its response is out.
            self._end_dismissed(stream_id)

    def _receive_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a SETTINGS frame and acknowledges it, or handles an acknowledgement (section 6.5).

        :raises ConnectionFault: if it is malformed.
        """
        if stream_id != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
            if self._expected != _ANY_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
            return
        if self._expected == _ANY_FRAME:
            self._floods.glitch(self._now)
        self._expected = _ANY_FRAME
        for number, value in entries(payload):
            if number == INITIAL_WINDOW_SIZE:
                self._windows.change_initial(value, self._active)
            elif number == HEADER_TABLE_SIZE and value < DEFAULT_HEADER_TABLE_BYTES:
                # RFC 7541, section 4.2: this must be said, though no entry was ever made.
                self._table_reset_due = True
        self._put_caused(frames.SETTINGS_ACK)
        events.append(SETTINGS_RECEIVED)

    def _receive_ping(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a PING frame and responds to it, or handles a response (section 6.7).

        :raises ConnectionFault: if it is malformed, or too many responses are unwritten.
        """
        if stream_id != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        if len(payload) != _PING_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
        if flags & frames.ACK:
            events.append(PING_ACKNOWLEDGED)
            return
        self._floods.ping()
        self._put_caused(frames.frame(frames.PING, frames.ACK, 0, payload))
        events.append(PING_RECEIVED)

    def _receive_goaway(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Handles a GOAWAY frame: the client is leaving (section 6.8).

        :raises ConnectionFault: if it is malformed.
        """
        if stream_id != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        if len(payload) < _GOAWAY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
        self._state = ON_GOAWAY_RECEIVED[self._state]
        events.append(GoAwayReceived(frames.number_at(payload, 4)))


def _is_taken(kind: int, state: int) -> bool:
    """Returns whether a frame is taken in its stream's state, or ignored.

    :raises ConnectionFault: if the frame is not allowed there.
    """
    verdict = ON_FRAME[kind][state]
    if verdict >= 0:
        raise ConnectionFault(ErrorCode(verdict))
    return verdict == TAKEN


def _unpadded(payload: bytes) -> bytes:
    """Returns a payload without its padding.

    :raises ConnectionFault: if that is longer than all (section 6.1).
    """
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]


def _check_priority(stream_id: int, payload: bytes) -> None:
    """Checks the payload of PRIORITY (RFC 7540, section 5.3.1).

    :raises ConnectionFault: if it is too short, or the stream depends on itself.
    """
    if len(payload) < _PRIORITY_BYTES:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
    if id_at(payload, 0) == stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
