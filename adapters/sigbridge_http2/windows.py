"""Flow control (RFC 9113, sections 5.2 and 6.9): how much may be received, and how much may be sent.

What is received lets no data leave: it is told whose windows have opened, and these streams send with the next output.
So a client that does not read cannot have what waits cut into a heap of small frames.
"""

from typing import Final

from sigbridge_http2.errors import ConnectionFault, ErrorCode, StreamFault
from sigbridge_http2.events import Event, WindowUpdated
from sigbridge_http2.streams import RECEIVE_WINDOW_BYTES, Stream

INITIAL_WINDOW_BYTES: Final = 65535
"""The window with which all begin before settings say otherwise (section 6.9.2)."""
MAX_WINDOW_BYTES: Final = 0x7FFFFFFF
CREDIT_BYTES: Final = 1 << 20
"""The acknowledged bytes after which the connection's receive window is widened again."""


def connection_window_bytes(max_streams: int) -> int:
    """Returns a window so large that streams that are held back leave the others theirs."""
    return max_streams * RECEIVE_WINDOW_BYTES + 2 * CREDIT_BYTES


class ReceiveWindow:
    """The bytes that a client may send on all streams together; each stream knows its own share."""

    __slots__ = ("left", "taken")

    def __init__(self, max_streams: int) -> None:
        self.left = connection_window_bytes(max_streams)
        self.taken = 0
        """The bytes that are acknowledged, without the client being told."""

    def use(self, stream: Stream, size: int) -> None:
        """Counts bytes that a stream has received.

        :raises ConnectionFault: if a window did not allow them (section 6.9.1).
        """
        stream.receivable -= size
        self.left -= size
        if stream.receivable < 0 or self.left < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR)

    def use_for_nothing(self, size: int) -> None:
        """Counts bytes for a stream that is gone, as read at once.

        :raises ConnectionFault: if the window did not allow them.
        """
        self.left -= size
        self.taken += size
        if self.left < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR)

    def credit(self) -> int:
        """Widens the window by the acknowledged bytes; returns how many these are."""
        credit, self.taken = self.taken, 0
        self.left += credit
        return credit


class SendWindows:
    """The bytes that may be sent on all streams together, and the window with which each begins."""

    __slots__ = ("_widest", "blocked", "initial", "left", "may_have_opened", "opened")

    def __init__(self) -> None:
        self.left = INITIAL_WINDOW_BYTES
        self.initial = INITIAL_WINDOW_BYTES
        self._widest = 0
        """The largest `send_window` of a stream, or more."""
        self.blocked: dict[Stream, None] | None = None
        """Streams that have something to send and no window, in the order in which they wait; mostly there are none."""
        self.may_have_opened = False
        """True when some of them may be able to send, which is looked at when all that was received is."""
        self.opened = False
        """True when some of them can, which was told."""

    def block(self, stream: Stream) -> None:
        """Adds a stream to those that wait for their windows."""
        if self.blocked is None:
            self.blocked = {}
        self.blocked[stream] = None

    def unblock(self, stream: Stream) -> None:
        """Forgets that a stream waits."""
        if self.blocked is not None:
            self.blocked.pop(stream, None)

    def widen_stream(self, stream: Stream, size: int, events: list[Event]) -> None:
        """Widens a stream's window, as a WINDOW_UPDATE says; appends an event if the stream may send again.

        :raises StreamFault: if it overflows (section 6.9.1).
        """
        before = stream.send_window + self.initial
        if before + size > MAX_WINDOW_BYTES:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR)
        stream.send_window += size
        self._widest = max(self._widest, stream.send_window)
        if stream.unsent and before <= 0 < before + size and self.left > 0:
            self.opened = True
            events.append(WindowUpdated(stream.id))

    def widen_connection(self, size: int) -> None:
        """Widens the connection's window, as a WINDOW_UPDATE says; notes whether streams wait for that.

        :raises ConnectionFault: if it overflows.
        """
        self.left += size
        if self.left > MAX_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR)
        # Told once for all such frames of a chunk: each is small, and many streams may wait.
        self.may_have_opened = bool(self.blocked)

    def change_initial(self, size: int, streams: dict[int, Stream]) -> None:
        """Sets the initial window of all streams (SETTINGS_INITIAL_WINDOW_SIZE).

        :raises ConnectionFault: if a window overflows (section 6.9.2).
        """
        if size > MAX_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR)
        self.initial = size
        if size + self._widest > MAX_WINDOW_BYTES:
            # Look again: the stream with the widest window may be gone.
            self._widest = 0
            for stream in streams.values():
                self._widest = max(self._widest, stream.send_window)
            if size + self._widest > MAX_WINDOW_BYTES:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR)
        self.may_have_opened = bool(self.blocked)

    def tell_opened(self, events: list[Event]) -> None:
        """Appends an event for each blocked stream that can send now, in the order in which they will."""
        self.may_have_opened = False
        room = self.left
        for stream in self.blocked or ():
            if room <= 0:
                break
            size = min(len(stream.unsent), stream.send_window + self.initial)
            if size > 0:
                room -= size
                self.opened = True
                events.append(WindowUpdated(stream.id))
