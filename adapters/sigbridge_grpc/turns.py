"""The cost of one connection in one turn of the event loop, beyond what its bytes are worth.

Compressed messages, calls that were held back, and responses without a session cost far more than the bytes that were
sent for them: a byte may hold a thousand, one frame may let a hundred calls go on that have each kept a window full,
and a question of ten bytes may have a response of half a megabyte. Of these a little is looked at in one turn, and the
rest waits for the next. Requests that are told to a whole room cost as much; `sigbridge.share` counts them.
"""

from sigbridge_grpc.call import Agenda, StreamCall

INFLATED_BYTES = 262144
"""The bytes of decompressed messages after which the rest waits for the next turn."""
MAX_RESUMED_CALLS_PER_TURN = 8
"""The calls that were held back that may go on in one turn."""
RESPONSE_BYTES = 65536
"""The bytes of responses without a session after which further calls wait for the next turn."""
RESPONSES = 32
"""The number of such responses after which they do."""


class TurnBudget:
    """The cost of a turn, and the calls that wait for the next."""

    __slots__ = ("_inflated", "_response_bytes", "_responses", "_resumed", "resting", "was_used")

    def __init__(self) -> None:
        self.was_used = False
        """True when anything was counted."""
        self._inflated = 0
        self._resumed = 0
        self._responses = 0
        self._response_bytes = 0
        self.resting: dict[StreamCall, None] = {}
        """The calls that wait for the next turn, in the order in which they came to rest."""

    def count_inflated(self, size: int) -> None:
        """Counts the bytes that a message was decompressed to."""
        self._inflated += size
        self.was_used = True

    def count_response(self, size: int) -> None:
        """Counts a response without a session."""
        self._responses += 1
        self._response_bytes += size
        self.was_used = True

    def may_respond(self) -> bool:
        """Returns whether another response may be made in this turn."""
        return self._responses < RESPONSES and self._response_bytes < RESPONSE_BYTES

    def may_inflate(self, call: StreamCall) -> bool:
        """Returns whether a call's next message may be decompressed now; else it rests."""
        if self._inflated < INFLATED_BYTES:
            return True
        return self.rest(call)

    def may_resume(self, call: StreamCall) -> bool:
        """Returns whether a call that was held back may go on now; else it rests."""
        if self._resumed < MAX_RESUMED_CALLS_PER_TURN:
            self._resumed += 1
            self.was_used = True
            return True
        return self.rest(call)

    def rest(self, call: StreamCall) -> bool:
        """Lets a call wait for the next turn; returns False."""
        self.resting[call] = None
        return False

    def forget(self, call: StreamCall) -> None:
        """Lets a call wait no more: it is gone."""
        if self.resting:
            self.resting.pop(call, None)

    def begin(self) -> None:
        """Begins the next turn."""
        self._inflated = self._resumed = self._responses = self._response_bytes = 0
        self.was_used = False

    def wake_resting(self, agenda: Agenda) -> None:
        """Puts the calls that rest on the agenda in their order, the first last: it may have spent the last turn."""
        # The agenda is looked at from its end: what is put on it last comes first.
        first, *others = self.resting
        for call in (first, *reversed(others)):
            agenda.touch(call)
        self.resting.clear()
