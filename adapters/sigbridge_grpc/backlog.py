"""The backlog: responses of calls without a session that wait to be written, and the calls that wait because of them.

Rule 1: what waits is bounded for each connection and for the whole server; a call above either bound is not carried out
until something has left. The first response of a connection always goes, whatever others hold. Rule 2: calls of a
connection go on in the order in which they came to wait, and so do connections where the server's bound holds them.
Rule 3: who may go on is woken by what leaves, one connection at a time, and by nothing else. Rule 4: nothing here knows
what a call is, or what carries it.

What a connection is to the server's bound, and the verb of each step:

    apart ──queue──▶ queued ──wake──▶ woken ──queue──▶ queued
    woken ──respond──▶ apart        queued, woken ──leave──▶ apart

Queued, it waits for room; it is woken when there is some, and goes before those who come later. Where a first response,
which always goes, has taken that meanwhile, it is the first in the queue again.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sigbridge.settings import Settings

APART: Final = 0
QUEUED: Final = 1
WOKEN: Final = 2

# What follows in each state.
# fmt: off
#                                apart   queued  woken
_ON_QUEUE: Final[list[int]] =   [QUEUED, QUEUED, QUEUED]
_ON_WAKE: Final[list[int]] =    [APART,  WOKEN,  WOKEN]
_ON_RESPOND: Final[list[int]] = [APART,  QUEUED, APART]
_ON_LEAVE: Final[list[int]] =   [APART,  APART,  APART]
# fmt: on

Waiting = TypeVar("Waiting")


class TotalBacklog:
    """The responses of a whole server that wait, and the connections that wait for room."""

    __slots__ = ("_most", "_queue", "_woken", "held", "most_each")

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_unary_total_bytes
        self.most_each = settings.max_unary_bytes
        """The bound of each connection."""
        self.held = 0
        """The bytes that wait on all connections."""
        self._queue: OrderedDict[Place, None] = OrderedDict()
        self._woken = 0
        """The number of connections that were woken and have not responded yet."""

    def has_room(self, place: "Place") -> bool:
        """Returns whether a connection may respond now; if not, it is queued, and woken when it may."""
        if self.held < self._most and (place.state == WOKEN or not (self._queue or self._woken)):
            return True
        before = self._move_to_next_state(place, _ON_QUEUE)
        self._queue[place] = None
        if before == WOKEN:
            # It was woken in vain: a first response has taken the room.
            self._queue.move_to_end(place, last=False)
        if not self._woken:
            # Where there is room, it belongs to others, who were here before.
            self._wake_next()
        return False

    def take(self, place: "Place", size: int) -> None:
        """Counts bytes that begin to wait; a connection that was woken has had its turn, and the next one is woken."""
        self.held += size
        if self._move_to_next_state(place, _ON_RESPOND) == WOKEN:
            self._wake_next()

    def give_back(self, size: int) -> None:
        """Counts bytes that wait no more, and wakes a connection that waits for room."""
        self.held -= size
        self._wake_next()

    def leave(self, place: "Place") -> None:
        """Takes a connection out of the queue; if it was woken, the next one is."""
        before = self._move_to_next_state(place, _ON_LEAVE)
        if before == QUEUED:
            del self._queue[place]
        elif before == WOKEN:
            self._wake_next()

    def _wake_next(self) -> None:
        """Wakes the first connection of the queue, if there is room."""
        if self._queue and self.held < self._most:
            place, _ = self._queue.popitem(last=False)
            self._move_to_next_state(place, _ON_WAKE)
            place.wake()

    def _move_to_next_state(self, place: "Place", table: list[int]) -> int:
        """Moves a connection to the state that `table` has for its present one; returns that before."""
        before, place.state = place.state, table[place.state]
        self._woken += (place.state == WOKEN) - (before == WOKEN)
        return before


class Place:
    """The place of a connection in the server's queue."""

    __slots__ = ("state", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        """Begins apart; `wake` is called when the connection may go on, and must not take anything by itself."""
        self.state = APART
        self.wake = wake


class Backlog(Generic[Waiting]):
    """The responses of one connection that wait, and its calls that wait to be carried out."""

    __slots__ = ("_going", "_place", "_total", "held", "leaving", "waiting")

    def __init__(self, total: TotalBacklog, wake: Callable[[], None]) -> None:
        self._total = total
        self._place = Place(wake)
        self.held = 0
        """The bytes that wait, those that are leaving included."""
        self.leaving = 0
        """The bytes of these that their calls have let go of, and nobody has written yet."""
        self.waiting: dict[Waiting, None] = {}
        """The calls that wait, in their order."""
        self._going: Waiting | None = None
        """The call whose turn it is."""

    def may_respond(self, call: Waiting, *, spent: bool = False) -> bool:
        """Returns whether a call may be carried out now; else it waits. `spent`: this turn takes no more."""
        if not spent and (not self.waiting or call is self._going) and self.has_room():
            return True
        self.waiting[call] = None
        return False

    def has_room(self) -> bool:
        """Returns whether one more response may wait; if other connections have the room, this one is woken later."""
        if not self.held:
            return True
        return self.held < self._total.most_each and self._total.has_room(self._place)

    def next_waiting(self) -> Waiting | None:
        """Takes the call that has waited longest, if there is room; it may respond now."""
        self._going = None
        if self.waiting and self.has_room():
            self._going = next(iter(self.waiting))
            del self.waiting[self._going]
        return self._going

    def end_turn(self) -> None:
        """Ends the turn of the call that was taken last."""
        self._going = None
        self._leave_if_nothing_waits()

    def hold(self, size: int) -> None:
        """Counts a response that begins to wait."""
        self.held += size
        self._total.take(self._place, size)

    def give_back(self, size: int) -> None:
        """Counts bytes that wait no more."""
        if size:
            self.held -= size
            self._total.give_back(size)

    def let_go(self, size: int) -> None:
        """Counts bytes that have left their call's outbox and are not written yet."""
        self.leaving += size

    def count_unwritten(self, size: int) -> None:
        """Gives back the bytes that were written: of all that was let go of, `size` is not written yet."""
        if size < self.leaving:
            gone, self.leaving = self.leaving - size, size
            self.give_back(gone)

    def forget(self, call: Waiting) -> None:
        """Removes a call that is gone from those that wait."""
        if call in self.waiting:
            del self.waiting[call]
            self._leave_if_nothing_waits()

    def forget_all(self) -> None:
        """Lets no call wait any more; what is leaving still counts."""
        self.waiting.clear()
        self._leave_if_nothing_waits()

    def close(self) -> None:
        """Forgets the calls that wait, and gives back all bytes: the connection is gone."""
        self.forget_all()
        self.leaving = 0
        self.give_back(self.held)

    def _leave_if_nothing_waits(self) -> None:
        """Leaves the server's queue if no call waits here any more."""
        if not self.waiting and self._place.state != APART:
            self._total.leave(self._place)
