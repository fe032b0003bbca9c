"""The half of a connection that writes: responses, resets and goodbyes as frames, in the order in which they come.

Rule 1: nothing is raised: what is sent on a stream that is gone is dropped, since one chunk of bytes can begin and end
it. Rule 2: what of a body no window lets out is kept, so the user looks at what `send_data` returns, or at `unsent`,
before it gives more. Rule 3: streams that were blocked are first when their windows open. Rule 4: a reset drops what
no window has let out, and so do trailers where the user will not wait; what was let out stands before either. Rule 5: a
frame that a client causes without being sent anything is counted, since a client that does not read could have any
number of them made.

The states of a connection:

    open ──announce_shutdown()──▶ announced
    open, announced ──GOAWAY received──▶ client leaving
    open, announced, client leaving ──goaway()──▶ leaving
    any ──fault with a code──▶ broken        any ──fault without a word──▶ broken unsaid ──goaway()──▶ broken

Leaving and client leaving are over when their last stream is closed, broken at once: then nothing that arrives is
looked at. Only behind our own GOAWAY are new streams ignored; a client's own does not bind it (section 6.8).
"""

from collections.abc import Iterable
from typing import Final

from sigbridge_http2 import frames
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import Header
from sigbridge_http2.floods import FRAME_COST_BYTES, FloodLimits
from sigbridge_http2.frames import MAX_FRAME_BYTES
from sigbridge_http2.literals import TABLE_SIZE_ZERO, header_block
from sigbridge_http2.settings import greeting
from sigbridge_http2.streams import (
    CLOSED,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    ON_END_SENT,
    RECEIVE_WINDOW_BYTES,
    Stream,
    StreamTable,
)
from sigbridge_http2.windows import CREDIT_BYTES, ReceiveWindow, SendWindows

OPEN: Final = 0
ANNOUNCED: Final = 1
CLIENT_LEAVING: Final = 2
LEAVING: Final = 3
BROKEN_UNSAID: Final = 4
BROKEN: Final = 5

# What follows in each state.   open       announced       client leaving   leaving         broken unsaid  broken
_ON_ANNOUNCEMENT: Final = [ANNOUNCED, ANNOUNCED, CLIENT_LEAVING, LEAVING, BROKEN_UNSAID, BROKEN]
_ON_GOAWAY_SENT: Final = [LEAVING, LEAVING, LEAVING, LEAVING, BROKEN, BROKEN]
ON_GOAWAY_RECEIVED: Final = [CLIENT_LEAVING, CLIENT_LEAVING, CLIENT_LEAVING, LEAVING, BROKEN_UNSAID, BROKEN]

_PING: Final = frames.frame(frames.PING, 0, 0, b"sigbridg")


class Sender:
    """The half of a connection that writes; `sigbridge_http2.connection.Connection` is the whole."""

    __slots__ = (
        "_active",
        "_floods",
        "_more",
        "_next",
        "_receive_window",
        "_state",
        "_streams",
        "_table_reset_due",
        "_windows",
        "broken",
        "resumed",
        "unwritten",
    )

    def __init__(self, *, max_streams: int, max_header_bytes: int) -> None:
        self._state = OPEN
        self.broken = False
        """True when the client has broken the rules: what is left to write says why."""
        self._streams = StreamTable()
        self._active = self._streams.active
        self._receive_window = ReceiveWindow(max_streams)
        self._windows = SendWindows()
        self._floods = FloodLimits()
        self._table_reset_due = False
        """True when our next header block has to say that our table is empty."""
        self._next = greeting(max_streams, max_header_bytes)
        """The bytes to be written next: nearly always one frame, and nothing behind it."""
        self._more: list[bytes] | None = None
        self.resumed: list[int] = []
        """The streams that were blocked and have sent since the user last emptied this; it may have more for them."""
        self.unwritten = False
        """True when the last output was not all that there was."""

    @property
    def over(self) -> bool:
        """True when nothing that arrives is looked at any more: the connection is broken, or its last stream gone."""
        return self._state >= BROKEN_UNSAID or (self._state >= CLIENT_LEAVING and not self._active)

    @property
    def wants_write(self) -> bool:
        """True when there is something to write that windows allow."""
        return bool(self._next) or self._windows.opened

    @property
    def unwritten_bytes(self) -> int:
        """The bytes that windows have let out, and that are not written."""
        return len(self._next) + (sum(map(len, self._more)) if self._more is not None else 0)

    def can_write_all(self, most: int) -> bool:
        """Returns whether `output` would return all that there is to write, in at most so many bytes."""
        return not self._windows.opened and self.unwritten_bytes <= most

    def output(self, most: int) -> bytes:
        """Returns what to write now, at most so many bytes; empty where there is nothing."""
        if self._windows.opened:
            self._send_opened()
        taken = self._next
        if self._more is not None or len(taken) > most:
            taken = self._part(most)
        else:
            self._next = b""
            self.unwritten = False
        if self._floods.unwritten_bytes and not self.unwritten:
            self._floods.all_written()
        return taken

    def _part(self, most: int) -> bytes:
        """Returns so much of what is to be written, and keeps the rest."""
        more = self._more or []
        count, size = 0, len(self._next)
        while count < len(more) and size + len(more[count]) <= most:
            size += len(more[count])
            count += 1
        taken = b"".join([self._next, *more[:count]])
        del more[:count]
        if len(taken) > most:
            taken, self._next = taken[:most], taken[most:]
        else:
            self._next = more.pop(0) if more else b""
        self._more = more or None
        self.unwritten = bool(self._next)
        return taken

    def _put(self, frame: bytes) -> None:
        """Adds what is to be written."""
        if not self._next:
            self._next = frame
        elif self._more is None:
            self._more = [frame]
        else:
            self._more.append(frame)

    def _put_caused(self, frame: bytes) -> None:
        """Adds a frame without data, of which a client may cause any number."""
        self._put(frame)
        self._floods.unwritten_bytes += len(frame) + FRAME_COST_BYTES

    # Responses.

    def send_headers(self, stream_id: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Begins a response, and with `end` end it (section 8.1); dropped behind a body that waits."""
        stream = self._active.get(stream_id)
        if stream is not None and stream.state != HALF_CLOSED_LOCAL and not stream.unsent:
            self._put_headers(stream, header_block(headers), end)

    def send_data(self, stream_id: int, data: bytes, *, end: bool = False) -> int:
        """Sends part of a body as far as windows allow, and with `end` its last; returns how much is kept."""
        if self._windows.opened:
            # First, since this may end the stream.
            self._send_opened()
        stream = self._active.get(stream_id)
        if stream is None or stream.state == HALF_CLOSED_LOCAL:
            return 0
        if stream.ending is not None:
            # The end was said, and only waits for a window.
            return len(stream.unsent)
        ending = b"" if end else None
        if stream.unsent:
            stream.unsent += data
            stream.ending = ending
        else:
            self._send(stream, data, ending)
        return len(stream.unsent)

    def send_trailers(self, stream_id: int, headers: Iterable[Header], *, at_once: bool = False) -> None:
        """Ends a response with trailers, behind what is kept of its body (section 8.1).

        With `at_once` they do not wait: what is kept is dropped, and an end that waits behind it, since no window holds
        headers up (section 5.2.1).
        """
        if at_once and self._windows.opened:
            # What may leave now, does.
            self._send_opened()
        stream = self._active.get(stream_id)
        if stream is None or stream.state == HALF_CLOSED_LOCAL:
            return
        if at_once:
            self._drop_unsent(stream)
        elif stream.ending is not None:
            return
        block = header_block(headers)
        if stream.unsent:
            stream.ending = block
        else:
            self._put_headers(stream, block, True)

    def _put_headers(self, stream: Stream, block: bytes, end: bool) -> None:
        if self._table_reset_due:
            # When the frame is written and not when the block is made, since what was kept leaves later.
            self._table_reset_due = False
            block = TABLE_SIZE_ZERO + block
        self._put_caused(frames.header_frames(stream.id, block, end=end))
        if end:
            self._end_sending(stream)

    def _send(self, stream: Stream, data: bytes, ending: bytes | None) -> None:
        """Sends what windows allow of data and what comes behind it, and keeps the rest (section 6.9.1)."""
        windows = self._windows
        while data:
            room = stream.send_window + windows.initial
            room = min(room, windows.left)
            room = min(room, MAX_FRAME_BYTES)
            if room <= 0:
                stream.unsent = data
                stream.ending = ending
                windows.block(stream)
                return
            part = data if len(data) <= room else data[:room]
            data = data[len(part) :]
            stream.send_window -= len(part)
            windows.left -= len(part)
            if not data and ending == b"":
                stream.unsent = b""
                self._put(frames.data_frame(stream.number, part, end=True))
                self._end_sending(stream)
                return
            self._put(frames.data_frame(stream.number, part, end=False))
        stream.unsent = b""
        stream.ending = None
        if ending == b"":
            self._put_caused(frames.data_frame(stream.number, b"", end=True))
            self._end_sending(stream)
        elif ending is not None:
            self._put_headers(stream, ending, True)

    def _send_opened(self) -> None:
        """Lets blocked streams send; one that cannot send all that it has waits behind the others."""
        windows = self._windows
        windows.opened = False
        for stream in list(windows.blocked or ()):
            if windows.left <= 0:
                break
            if stream.send_window + windows.initial > 0:
                windows.unblock(stream)
                self._send(stream, stream.unsent, stream.ending)
                self.resumed.append(stream.id)

    def unsent(self, stream_id: int) -> int:
        """Returns how many bytes of a body are kept, because no window lets them out."""
        if self._windows.opened:
            self._send_opened()
        stream = self._active.get(stream_id)
        return len(stream.unsent) if stream is not None else 0

    # The ends of streams.

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream (RST_STREAM), behind what was let out of it (section 6.4)."""
        stream = self._active.get(stream_id)
        if stream is not None:
            self._close(stream)
            self._put_reset(stream_id, code)

    def _put_reset(self, stream_id: int, code: ErrorCode) -> None:
        self._streams.last_reset = max(self._streams.last_reset, stream_id)
        self._put_caused(frames.reset_frame(stream_id, int(code)))

    def _end_sending(self, stream: Stream) -> None:
        stream.state = ON_END_SENT[stream.state]
        if stream.state == CLOSED:
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        """Forgets a stream: what was received and not acknowledged of it is nobody's any more."""
        self._active.pop(stream.id, None)
        self._credit(stream.untaken)
        self._drop_unsent(stream)

    def _drop_unsent(self, stream: Stream) -> None:
        """Keeps nothing any more of what no window has let out."""
        if stream.unsent:
            stream.unsent = b""
            stream.ending = None
            self._windows.unblock(stream)

    # What the client may send.

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Lets a client send so much more, on its stream and on the connection (section 6.9)."""
        stream = self._active.get(stream_id)
        if stream is None:
            # Its bytes were acknowledged when it was closed.
            return
        stream.taken += size
        if stream.taken >= RECEIVE_WINDOW_BYTES // 2 and stream.state != HALF_CLOSED_REMOTE:
            self._put_caused(frames.window_update_frame(stream.id, stream.taken))
            stream.receivable += stream.taken
            stream.taken = 0
        self._credit(size)

    def _credit(self, size: int) -> None:
        """Lets a client send so much more on the connection."""
        window = self._receive_window
        window.taken += size
        if window.taken >= CREDIT_BYTES:
            self._put_caused(frames.window_update_frame(0, window.credit()))

    # The connection.

    def ping(self) -> None:
        """Asks whether the client is there (section 6.7)."""
        if self._state < BROKEN_UNSAID:
            self._put_caused(_PING)

    def announce_shutdown(self) -> None:
        """Says that there will be no more streams soon: a client may have begun some (section 6.8)."""
        if self._state == OPEN:
            self._put_caused(frames.goaway_frame(frames.MAX_STREAM_ID, int(ErrorCode.NO_ERROR)))
        self._state = _ON_ANNOUNCEMENT[self._state]

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Says that there are no more streams (section 6.8); nothing is said where the client knows or has left."""
        if self._state != BROKEN_UNSAID and self.over:
            return
        self._put_caused(frames.goaway_frame(self._streams.last_begun, int(code), debug))
        self._state = _ON_GOAWAY_SENT[self._state]

    def _break(self, code: ErrorCode | None) -> None:
        """Ends the connection for a fault of the client's; None: without a word."""
        self._active.clear()
        self._windows.blocked = None
        self._windows.opened = self._windows.may_have_opened = False
        self._state = BROKEN_UNSAID
        self.broken = True
        if code is not None:
            self.goaway(code)
