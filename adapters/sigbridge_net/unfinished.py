"""Messages that are not whole yet: how long each may take, and how much of them a whole server keeps.

Rule 1: a message is told of when it stays unfinished after all that has arrived was looked at; one that comes whole,
as nearly all do, costs nothing. Rule 2: a message has its time, and more for its size; time in which it is held back by
us does not count. Rule 3: above the bound of the server the largest message stops, and nothing more is read of it; when
something leaves, the smallest that has stopped goes on first. Small ones have a reserve beyond the bound; a message
that is alone never stops. Rule 4: where one has stopped for a message's time and there is still no room, the largest
that have stopped end, as many as must.
Rule 5: nothing here knows what a message is part of, or what carries it.

The states of a message, and the verb of each step:

    coming ──hold──▶ held ──go on──▶ coming        coming, held ──stop──▶ stopped ──resume──▶ coming
    any ──leave──▶ gone
"""

from collections.abc import Callable
from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.instant import NEVER, Instant
from sigbridge.settings import Settings

SLOWEST_BYTES_PER_SECOND: Final = 8000
"""The rate at which a message's size buys it time."""
SMALL_BYTES: Final = 65536
"""A message up to this goes on while the reserve lasts: what a window of HTTP/2 holds."""
RESERVE_SHARE: Final = 4
"""The part of the bound that small messages may keep beyond it."""
STEP_BYTES: Final = 16384
"""Sizes of messages are compared in steps of this, which a carrier gives a wire at once."""

COMING: Final = 0
HELD: Final = 1
STOPPED: Final = 2
GONE: Final = 3

# What follows in each state.
# fmt: off
#                               coming   held     stopped  gone
_ON_HOLD: Final[list[int]] =   [HELD,    HELD,    STOPPED, GONE]
_ON_GO_ON: Final[list[int]] =  [COMING,  COMING,  STOPPED, GONE]
_ON_STOP: Final[list[int]] =   [STOPPED, STOPPED, STOPPED, GONE]
_ON_RESUME: Final[list[int]] = [COMING,  HELD,    COMING,  GONE]
# fmt: on


def _resume_nothing() -> None:
    """Does nothing: the message is gone."""


def _end_nothing(reason: DisconnectReason, now: Instant) -> None:
    """Does nothing: the message is gone."""


class _BySize:
    """Messages by their sizes; there are never more sizes than a few hundred, since their sum is bounded."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: dict[int, dict[Unfinished, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._steps)

    def put(self, message: "Unfinished") -> None:
        self._steps.setdefault(message.step, {})[message] = None

    def drop(self, message: "Unfinished") -> None:
        """Removes a message."""
        messages = self._steps[message.step]
        del messages[message]
        if not messages:
            del self._steps[message.step]

    def largest(self) -> "Unfinished":
        return next(iter(self._steps[max(self._steps)]))

    def smallest(self) -> "Unfinished":
        return next(iter(self._steps[min(self._steps)]))


class TotalUnfinished:
    """The unfinished messages of a whole server."""

    __slots__ = ("_count", "_going", "_most", "_small", "_stopped", "kept", "seconds")

    def __init__(self, settings: Settings) -> None:
        self._most = settings.unfinished_limit
        self._small = min(SMALL_BYTES, self._most // 8)
        """The bytes up to which a message is small; fewer where the bound is low."""
        self.seconds = settings.message_timeout_seconds
        """The time of a message, without what its size adds."""
        self.kept = 0
        """The bytes of all of them."""
        self._count = 0
        self._going = _BySize()
        self._stopped = _BySize()

    @property
    def is_over(self) -> bool:
        """True when more is kept than may be, of more than one message."""
        return self.kept > self._most and self._count > 1

    def join(self, message: "Unfinished") -> None:
        """Counts a message of which nothing is kept yet."""
        self._count += 1
        self._going.put(message)

    def count(self, message: "Unfinished", size: int, now: Instant) -> None:
        """Records that `size` bytes of a message are kept now; if more than may be, the largest message stops."""
        change = size - message.kept
        self.kept += change
        message.kept = size
        step = size // STEP_BYTES
        if step != message.step:
            places = self._stopped if message.state == STOPPED else self._going
            places.drop(message)
            message.step = step
            places.put(message)
        if change > 0 and self.is_over and self._going:
            largest = self._going.largest()
            if largest.kept > self._small or self.kept > self._most + self._most // RESERVE_SHARE:
                self._going.drop(largest)
                self._stopped.put(largest)
                largest.stop(now)

    def leave(self, message: "Unfinished", now: Instant) -> None:
        """Forgets a message, and lets others go on where there is room now."""
        (self._stopped if message.state == STOPPED else self._going).drop(message)
        self._count -= 1
        self.kept -= message.kept
        message.kept = 0
        self._resume_some(now)

    def make_room(self, now: Instant) -> None:
        """Ends the largest of those that have stopped until there is room, and lets others go on."""
        while self.is_over and self._stopped:
            self._stopped.largest().end(DisconnectReason.OVERLOAD, now)
        self._resume_some(now)

    def resume(self, message: "Unfinished", now: Instant) -> None:
        """Lets a message that has stopped go on."""
        self._stopped.drop(message)
        self._going.put(message)
        message.resume(now)

    def _resume_some(self, now: Instant) -> None:
        """Resumes stopped messages, the smallest first: one at least, and one more for each `STEP_BYTES` of room.

        None resumes while `is_over`.
        """
        if self.is_over:
            return
        room = max(0, self._most - self.kept)
        while room >= 0 and self._stopped:
            self.resume(self._stopped.smallest(), now)
            # It has brought nothing yet: so much may come before it is looked at again.
            room -= STEP_BYTES


class Unfinished:
    """One message that is not whole yet."""

    __slots__ = (
        "_end",
        "_expected",
        "_look_again",
        "_paused_at",
        "_since",
        "_stopped_until",
        "_total",
        "grown_at",
        "kept",
        "state",
        "step",
    )

    def __init__(
        self,
        total: TotalUnfinished,
        look_again: Callable[[], None],
        end: Callable[[DisconnectReason, Instant], None],
        now: Instant,
    ) -> None:
        """Begins with nothing. `look_again` is called when it stops and when it resumes, `end` where it must go."""
        self._total = total
        self._look_again = look_again
        self._end = end
        self.state = COMING
        self.kept = 0
        """The bytes of it that are kept."""
        self.step = 0
        """That size in steps of `STEP_BYTES`."""
        self._expected = 0
        """The bytes that it is going to have, as far as its head has said so; else 0."""
        self._since = now.monotonic
        """The moment at which it began, later by the time in which it was held back."""
        self._paused_at = now.monotonic
        """The moment since which its time has not run, where it is held or has stopped."""
        self._stopped_until = NEVER
        """The moment at which it goes on or ends, where it has stopped."""
        self.grown_at = now.monotonic
        """The moment at which something of it came last."""
        total.join(self)

    @property
    def due(self) -> float:
        """The moment at which `expire` wants to be called (monotonic seconds)."""
        if self.state == COMING:
            size = max(self.kept, self._expected)
            return self._since + self._total.seconds + size / SLOWEST_BYTES_PER_SECOND
        return self._stopped_until if self.state == STOPPED else NEVER

    def grow(self, kept: int, expected: int, now: Instant) -> None:
        """Records that `kept` bytes are kept now, of `expected` as its head says; 0 if that is not known."""
        self._expected = expected
        if kept != self.kept:
            self.grown_at = now.monotonic
        self._total.count(self, kept, now)

    def hold(self, since: float) -> None:
        """Stops its clock, since our side has held its client back since that moment."""
        if self.state == COMING:
            self._paused_at = since
        self.state = _ON_HOLD[self.state]

    def go_on(self, moment: float) -> None:
        """Lets its clock run, since its client may send more of it."""
        if self.state == HELD:
            self._since += moment - self._paused_at
        self.state = _ON_GO_ON[self.state]

    def expire(self, now: Instant) -> bool:
        """Does what is due; returns whether its time is up, so that its connection or call must end."""
        if now.monotonic < self.due:
            return False
        if self.state != STOPPED:
            return self.state == COMING
        self._total.make_room(now)
        if self.is_stopped:
            # There is room, and others went first.
            self._total.resume(self, now)
        return False

    @property
    def is_stopped(self) -> bool:
        """True when nothing more of it is to be read."""
        return self.state == STOPPED

    def end(self, reason: DisconnectReason, now: Instant) -> None:
        """Leaves, and ends what it is part of."""
        end = self._end
        self.leave(now)
        end(reason, now)

    def leave(self, now: Instant) -> None:
        """Leaves the account: the message is whole, or given up. A second time does nothing."""
        if self.state != GONE:
            self._total.leave(self, now)
            self.state = GONE
            # Else it would hold its owner, which holds it.
            self._look_again = _resume_nothing
            self._end = _end_nothing

    # What all of them together decide.

    def stop(self, now: Instant) -> None:
        """Stops: nothing more of it is to be read."""
        if self.state == COMING:
            self._paused_at = now.monotonic
        self.state = _ON_STOP[self.state]
        self._stopped_until = now.monotonic + self._total.seconds
        self._look_again()

    def resume(self, now: Instant) -> None:
        """Resumes a message that has stopped: its time goes on, and its owner looks again."""
        self._since += now.monotonic - self._paused_at
        self.state = _ON_RESUME[self.state]
        self._look_again()
