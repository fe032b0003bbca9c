"""The half of a connection that writes: responses, resets and goodbyes as frames, in the order in which they come.

Rule 1: nothing is raised: what is sent on a stream that is gone is dropped, since one chunk of bytes can begin and end
it. Rule 2: what of a body no window lets out is kept, so the user looks at what `send_data` returns, or at `unsent`,
before it gives more. Rule 3: streams that were blocked are first when their windows open. Rule 4: a reset drops what
no window has let out, and so do trailers where the user will not wait; what was let out stands before either. Rule 5: a
frame that a client causes without being sent anything is counted, since a client that does not read could have any
number of them made. Rule 6: a client that has not ended its side of a stream whose response is whole has a while to do
so before a reset tells it to (`dismiss`); the user asks for these resets when `resets_due` says so.

The states of a connection:

    open ──announce_shutdown()──▶ announced
    open, announced ──GOAWAY received──▶ client leaving
    open, announced, client leaving ──goaway()──▶ leaving
    any ──fault with a code──▶ broken        any ──fault without a word──▶ broken unsaid ──goaway()──▶ broken

Leaving and client leaving are over when their last stream is closed, which a dismissed one is not, broken at once: then
nothing that arrives is looked at. Only behind our own GOAWAY are new streams ignored; a client's own does not bind it
(section 6.8).
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
    DISMISSAL_SECONDS,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    NEVER,
    ON_END_SENT,
    RECEIVE_WINDOW_BYTES,
    Dismissed,
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
        "_max_streams",
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
        self._max_streams = max_streams
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
        return self._state >= BROKEN_UNSAID or (
            self._state >= CLIENT_LEAVING and not self._active and not self._streams.dismissed
        )

    @property
    def awaits_ends(self) -> bool:
        """True while a stream is dismissed: whoever ends the connection waits until it is closed."""
        return bool(self._streams.dismissed)

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
        """Takes at most `most` bytes off the output."""
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
        """Begins a response, and with `end` ends it (section 8.1); dropped behind a body that waits."""
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
        """Adds a header section to the output, with `end` the end of the stream."""
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

    def dismiss(self, stream_id: int, now: float) -> None:
        """Wants nothing more of a stream whose response is whole; it is reset if its client does not end it soon.

        Its client may count it as open until then (`now` in monotonic seconds). So that it can always open half of its
        streams, the one that waits longest is reset at once if more than the other half wait.
        """
        stream = self._active.get(stream_id)
        if stream is None or stream.state != HALF_CLOSED_LOCAL:
            return
        self._close(stream)
        waiting = self._streams.dismissed
        waiting[stream_id] = Dismissed(stream.receivable, now + DISMISSAL_SECONDS)
        if len(waiting) > self._max_streams // 2:
            self._reset_dismissed(next(iter(waiting)))

    @property
    def resets_due(self) -> float:
        """The moment at which `reset_due` wants to be called (monotonic seconds)."""
        for waiting in self._streams.dismissed.values():
            return waiting.reset_at
        return NEVER

    def reset_due(self, now: float) -> None:
        """Resets the dismissed streams whose clients have not ended them in time (`now` in monotonic seconds)."""
        while self.resets_due <= now:
            self._reset_dismissed(next(iter(self._streams.dismissed)))

    def _reset_all_dismissed(self) -> None:
        """Resets what is dismissed, since the connection may end next.

        Clients of grpc's C core lose the end of a response where that happens while they count its stream as open.
        """
        for stream_id in list(self._streams.dismissed):
            self._reset_dismissed(stream_id)

    def _reset_dismissed(self, stream_id: int) -> None:
        del self._streams.dismissed[stream_id]
        self._put_reset(stream_id, ErrorCode.NO_ERROR)

    def _put_reset(self, stream_id: int, code: ErrorCode) -> None:
        self._streams.last_reset = max(self._streams.last_reset, stream_id)
        self._put_caused(frames.reset_frame(stream_id, int(code)))

    def _end_sending(self, stream: Stream) -> None:
        stream.state = ON_END_SENT[stream.state]
        if stream.state == CLOSED:
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        """Forgets a stream, without a RST_STREAM.

        It may send as much again on the connection as was not acknowledged of the stream; what is unsent is dropped.
        """
        self._active.pop(stream.id, None)
        self._credit(stream.unacknowledged_bytes)
        self._drop_unsent(stream)

    def _drop_unsent(self, stream: Stream) -> None:
        """Drops what no window has let out of a stream, and the end of its response; it waits no more."""
        if stream.unsent:
            stream.unsent = b""
            stream.ending = None
            self._windows.unblock(stream)

    # What the client may send.

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Lets a client send so much more, on its stream and on the connection (section 6.9).

        Does nothing for a stream that is closed, which was acknowledged then.
        """
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
        """Sends GOAWAY with the largest stream id: there will be no more streams soon, though some may be under way."""
        if self._state == OPEN:
            self._put_caused(frames.goaway_frame(frames.MAX_STREAM_ID, int(ErrorCode.NO_ERROR)))
        self._state = _ON_ANNOUNCEMENT[self._state]

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Sends GOAWAY: there are no more streams (section 6.8); nothing is sent if the client knows or has left."""
        if self._state != BROKEN_UNSAID and self.over:
            return
        self._reset_all_dismissed()
        self._put_caused(frames.goaway_frame(self._streams.last_begun, int(code), debug))
        self._state = _ON_GOAWAY_SENT[self._state]

    def _break(self, code: ErrorCode | None) -> None:
        """Ends the connection for a fault of the client, with GOAWAY unless `code` is None."""
        self._active.clear()
        self._streams.dismissed.clear()
        self._windows.blocked = None
        self._windows.opened = self._windows.may_have_opened = False
        self._state = BROKEN_UNSAID
        self.broken = True
        if code is not None:
            self.goaway(code)
