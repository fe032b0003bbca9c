"""Messages that are not whole yet and longer than a window: how much of them a connection keeps.

A stream's window holds the beginning of a message; what is longer must be let in before it is whole. All such messages
of a connection together are let in so far, and the one that came first always goes on, whatever the others have: so one
of them can always become whole. The others wait, held back by their windows; where somebody waits, the first has its
time, and then its call ends.
"""

from collections.abc import Callable

from sigbridge.instant import NEVER, Instant
from sigbridge_grpc.call import StreamCall
from sigbridge_http2.connection import Connection

LONG_MESSAGE_BYTES = 24576
"""An unfinished message is let in beyond its stream's window from here on; above what `MAX_QUESTION_BYTES` lets be."""
UNFINISHED_BYTES = 4194304
"""The bytes of long messages that one connection lets in before they are whole; the first is let in all the same."""


class LongMessages:
    """The calls of one connection that have such messages, in the order in which these became long."""

    __slots__ = ("_http2", "_let_in", "_seconds", "_wake", "_withheld", "calls", "first_by")

    def __init__(self, http2: Connection, wake: Callable[[], None], seconds: float) -> None:
        """Begins without any; where others wait for the first, it has so many seconds."""
        self._http2 = http2
        self._wake = wake
        self._seconds = seconds
        self.calls: dict[StreamCall, None] = {}
        self._withheld: dict[StreamCall, None] = {}
        """Calls that may not go on yet."""
        self._let_in = 0
        """The bytes of all of them that were let in."""
        self.first_by = NEVER
        """The moment until which the first may keep others waiting (monotonic seconds)."""

    def keep(self, call: StreamCall, now: Instant) -> None:
        """Acknowledges what came before a call's unfinished message and, as far as there is room, its beginning."""
        self.check(call, now)
        kept = len(call.deframer.buffer)
        if call not in self.calls:
            if call.unacknowledged > kept:
                self._http2.acknowledge(call.stream_id, call.unacknowledged - kept)
                call.unacknowledged = kept
            if kept <= LONG_MESSAGE_BYTES:
                # The window has room for more of it.
                return
            self.calls[call] = None
        if call is next(iter(self.calls)) or self._let_in + call.unacknowledged <= UNFINISHED_BYTES:
            self._let_more_in(call)
        else:
            self._withheld[call] = None
            if self.first_by == NEVER:
                self.first_by = now.monotonic + self._seconds

    def _let_more_in(self, call: StreamCall) -> None:
        self._withheld.pop(call, None)
        call.let_in += call.unacknowledged
        self._let_in += call.unacknowledged
        self._http2.acknowledge(call.stream_id, call.unacknowledged)
        call.unacknowledged = 0

    def check(self, call: StreamCall, now: Instant) -> None:
        """Sees whether a call's long message has become whole: then something is gone of what had come."""
        if call in self.calls and len(call.deframer.buffer) != call.let_in + call.unacknowledged:
            self.leave(call, now)

    def leave(self, call: StreamCall, now: Instant) -> None:
        """Lets the others go on in their order, as far as there is room: a call's message is whole, or given up."""
        if call not in self.calls:
            return
        was_first = call is next(iter(self.calls))
        del self.calls[call]
        self._withheld.pop(call, None)
        self._let_in -= call.let_in
        call.let_in = 0
        if was_first and self.calls:
            first = next(iter(self.calls))
            if first in self._withheld:
                self._let_more_in(first)
        while self._withheld:
            other = next(iter(self._withheld))
            if self._let_in + other.unacknowledged > UNFINISHED_BYTES:
                break
            self._let_more_in(other)
        if not self._withheld:
            self.first_by = NEVER
        elif was_first:
            self.first_by = now.monotonic + self._seconds
        self._wake()

    def overdue(self, now: Instant) -> StreamCall | None:
        """Returns the call whose message has kept others waiting for too long."""
        return next(iter(self.calls)) if now.monotonic >= self.first_by else None

    def clear(self) -> None:
        """Forgets all: the connection is lost."""
        self.calls.clear()
        self._withheld.clear()
        self._let_in = 0
        self.first_by = NEVER
