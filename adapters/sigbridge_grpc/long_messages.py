"""Messages that are not whole yet: how much of those longer than a window a connection keeps, and the time of each.

A stream's window holds the beginning of a message; what is longer must be let in before it is whole. All such messages
of a connection together are let in up to `UNFINISHED_BYTES`, and the one that came first always goes on, whatever the
others have: so one of them can always become whole. The others wait, held back by their windows, which costs none of
their time. Each that goes on has the time that every message has, and then its call ends. Nothing more is let in of a
message that has stopped, since all of the server's together are too much (`sigbridge_net.unfinished`).
"""

from collections.abc import Callable

from sigbridge.instant import Instant
from sigbridge_grpc.call import StreamCall
from sigbridge_http2.connection import Connection
from sigbridge_net.unfinished import TotalUnfinished, Unfinished

LONG_MESSAGE_BYTES = 24576
"""An unfinished message above this is long; one within `MAX_QUESTION_BYTES` never is."""
UNFINISHED_BYTES = 4194304
"""The bytes of long messages that one connection lets in before they are whole; the first is let in all the same."""


class LongMessages:
    """The calls of one connection that have such messages, in the order in which these became long."""

    __slots__ = ("_credited_early_bytes", "_http2", "_total", "_wake", "_withheld", "calls")

    def __init__(self, http2: Connection, wake: Callable[[], None], total: TotalUnfinished) -> None:
        """Begins without any; all that is not whole, long or not, is counted in `total`."""
        self._http2 = http2
        self._wake = wake
        self._total = total
        self.calls: dict[StreamCall, None] = {}
        self._withheld: dict[StreamCall, None] = {}
        """Calls that may not go on yet."""
        self._credited_early_bytes = 0
        """The bytes of all of them that were let in."""

    def keep(self, call: StreamCall, now: Instant) -> float:
        """Accounts for a call's unfinished message, and lets more of it in as far as there is room.

        Returns when the message is due (monotonic seconds).
        """
        kept = len(call.deframer.buffer)
        message = call.unfinished
        if message is None:
            message = call.unfinished = Unfinished(self._total, call.wake, call.give_up, now)
        message.grow(kept, call.deframer.expected_bytes, now)
        if call not in self.calls:
            if call.unacknowledged > kept:
                self._http2.acknowledge(call.stream_id, call.unacknowledged - kept)
                call.unacknowledged = kept
            if kept <= LONG_MESSAGE_BYTES:
                # The window has room for more of it.
                message.go_on(now.monotonic)
                return message.due
            self.calls[call] = None
        if message.is_stopped:
            # When it resumes, it comes here again.
            return message.due
        if call is next(iter(self.calls)) or self._credited_early_bytes + call.unacknowledged <= UNFINISHED_BYTES:
            self._credit_early(call, message, now)
        else:
            self._withheld[call] = None
            message.hold(now.monotonic)
        return message.due

    def _credit_early(self, call: StreamCall, message: Unfinished, now: Instant) -> None:
        """Acknowledges what has come of a call's long message, so that more of it may come."""
        self._withheld.pop(call, None)
        call.credited_early_bytes += call.unacknowledged
        self._credited_early_bytes += call.unacknowledged
        self._http2.acknowledge(call.stream_id, call.unacknowledged)
        call.unacknowledged = 0
        message.go_on(now.monotonic)

    def leave(self, call: StreamCall, now: Instant) -> None:
        """Forgets a call's message, which is whole or given up, and lets others go on in their order."""
        message, call.unfinished = call.unfinished, None
        if message is not None:
            message.leave(now)
        if call not in self.calls:
            return
        del self.calls[call]
        self._withheld.pop(call, None)
        self._credited_early_bytes -= call.credited_early_bytes
        call.credited_early_bytes = 0
        first = next(iter(self.calls), None)
        if first is not None and first in self._withheld:
            self._let_go_on(first, now)
        for other in list(self._withheld):
            if self._credited_early_bytes + other.unacknowledged > UNFINISHED_BYTES:
                break
            self._let_go_on(other, now)
        self._wake()

    def _let_go_on(self, call: StreamCall, now: Instant) -> None:
        """Lets more in of a call that waited, unless its message has stopped: that goes on when it resumes."""
        message = call.unfinished
        if message is not None and not message.is_stopped:
            self._credit_early(call, message, now)
            # Its time runs again, of which the carrier must be told.
            call.wake()

    def clear(self) -> None:
        """Forgets all: the connection is lost."""
        self.calls.clear()
        self._withheld.clear()
        self._credited_early_bytes = 0
