"""The messages that wait to be sent to one session: the only queue with a bound, which is the same on both protocols.

Rule 1: responses and events leave in the order in which they were put, except Rule 2: what a request causes for its own
sender (`follow_up`) waits until its response is put, and while something waits, everything else for this session waits
behind it. Rule 3: a relay is refused at the bound; what cannot be refused may use as much again.
Rule 4: the roster that a newcomer is told counts against no bound, since a room may hold more peers than an outbox
messages; it is bounded by the room's own limit. Rule 5: a session whose outbox is `crowded` is not listened to: it must
read before more of its requests are taken. Rule 6: the array of a batch counts against no bound, either, since it has
one of its own; one that comes although others alone make the outbox crowded counts like any response.

The states of an outbox, and what each does with what is put:

    passing ──hold, follow up──▶ holding ──a response or an array is put──▶ passing      any ──clear──▶ passing, empty

    passing   all may leave, in the order in which it was put
    holding   responses and arrays may leave; all else waits behind the next of them, in its own order
"""

from collections.abc import Callable
from typing import Final

CROWDED_MESSAGES: Final = 64
CROWDED_BYTES: Final = 262144

RELAY: Final = 1
"""Relays may fill the bound once: they are refused beyond it, and their target stays."""
NOTICE: Final = 2
"""Responses, and events about the room, which cannot be refused, may fill it twice."""

HELD_BACK: Final = -1
"""The number of messages before a roster that is held back."""


def no_wake() -> None:
    """Does nothing: the `wake` of an outbox without a carrier."""


class Outbox:
    """A bounded first-in-first-out queue of encoded messages, with the age of its oldest entry."""

    __slots__ = (
        "_array_bytes",
        "_array_end",
        "_before_roster",
        "_bytes",
        "_frames",
        "_held",
        "_max_bytes",
        "_max_messages",
        "_put_at",
        "_roster_bytes",
        "_roster_messages",
        "wake",
    )

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        # Lists, since nearly always everything is taken at once, and an empty deque takes ten times as much memory.
        self._frames: list[bytes] = []
        self._put_at: list[float] = []
        self._held: list[bytes] | None = None
        self._bytes = 0
        # The part of what is queued that is roster, and counts against no bound (Rule 4).
        self._roster_messages = 0
        self._roster_bytes = 0
        self._before_roster = 0
        """Messages that leave before the roster does; HELD_BACK while nobody knows how many that will be."""
        # The same of the arrays of batches (Rule 6).
        self._array_bytes = 0
        self._array_end = 0
        """Messages up to the last array and with it; of no meaning while there is none."""
        self.wake: Callable[[], None] = no_wake
        """Called whenever the outbox has something to take; set by the session's wire. Must not put anything."""

    def __len__(self) -> int:
        """Returns the messages that are queued, those held back included."""
        return len(self._frames) + (len(self._held) if self._held else 0)

    @property
    def queued_bytes(self) -> int:
        """The bytes that are queued, those held back included."""
        return self._bytes

    @property
    def crowded(self) -> bool:
        """True when so much waits that no more requests of its session are to be taken."""
        if not self._frames and not self._held:
            return False
        return self._bytes >= CROWDED_BYTES or len(self) >= CROWDED_MESSAGES

    def oldest_at(self) -> float | None:
        """Returns when the oldest entry was put (monotonic seconds), or `None` when nothing waits."""
        return self._put_at[0] if self._put_at else None

    def forgive(self, seconds: float, now: float) -> None:
        """Makes all entries younger by so many seconds, but not younger than `now`."""
        self._put_at = [min(put_at + seconds, now) for put_at in self._put_at]

    def _fits(self, size: int, bounds: int) -> bool:
        """Returns whether `size` more bytes in one message are within `bounds` times the limits.

        Rosters and the arrays of batches do not count.
        """
        return (
            len(self) - self._roster_messages < bounds * self._max_messages
            and self._bytes - self._roster_bytes - self._array_bytes + size <= bounds * self._max_bytes
        )

    def put_event(self, frame: bytes, now: float, bounds: int) -> bool:
        """Queues an event that somebody else caused, behind whatever is held back, within `RELAY` or `NOTICE` bounds.

        `now` is the present (monotonic seconds), here and below. Returns whether it fitted; an empty outbox takes any
        one message, and where it did not fit nothing has changed.
        """
        held = self._held
        if (self._frames or held) and not self._fits(len(frame), bounds):
            return False
        self._bytes += len(frame)
        if held is not None:
            held.append(frame)
            return True
        self._frames.append(frame)
        self._put_at.append(now)
        self.wake()
        return True

    def put_response(self, frame: bytes | None, now: float) -> bool:
        """Queues a response, None if none is due, and releases what was held back for it.

        Returns whether it fitted within `NOTICE` bounds; if not, nothing has changed.
        """
        if frame is not None:
            if (self._frames or self._held) and not self._fits(len(frame), NOTICE):
                return False
            self._bytes += len(frame)
            self._frames.append(frame)
            self._put_at.append(now)
        if self._held is not None:
            self._release(now)
        elif frame is not None:
            self.wake()
        return True

    def put_array(self, frame: bytes, now: float) -> bool:
        """Queues the array of a batch's responses, and releases what was held back for it.

        Returns whether it fitted, which it does for a client that reads; if not, nothing has changed.
        """
        if self._array_bytes >= CROWDED_BYTES:
            return self.put_response(frame, now)
        self._array_bytes += len(frame)
        self._bytes += len(frame)
        self._frames.append(frame)
        self._put_at.append(now)
        self._array_end = len(self._frames)
        if self._held is None:
            self.wake()
        else:
            self._release(now)
        return True

    def hold(self) -> None:
        """Holds back whatever comes until a response is put."""
        if self._held is None:
            self._held = []

    def follow_up(self, frame: bytes) -> None:
        """Holds back a roster event that the session's own request caused, until its response is put."""
        if not self._roster_messages:
            self._before_roster = HELD_BACK
        self._bytes += len(frame)
        self._roster_bytes += len(frame)
        self._roster_messages += 1
        if self._held is None:
            self._held = []
        self._held.append(frame)

    def _release(self, now: float) -> None:
        """Moves what was held back behind the response to the messages that may leave, and wakes the carrier."""
        held, self._held = self._held, None
        if self._before_roster == HELD_BACK:
            self._before_roster = len(self._frames)
        if held:
            self._frames += held
            self._put_at += [now] * len(held)
        self.wake()

    def peek(self) -> bytes | None:
        """Returns the oldest entry, left where it is (its age goes on counting), or `None`."""
        return self._frames[0] if self._frames else None

    def pop(self) -> bytes:
        """Takes the oldest entry.

        :raises IndexError: if there is none.
        """
        frame = self._frames.pop(0)
        del self._put_at[0]
        self._bytes -= len(frame)
        if self._array_bytes:
            self._take_arrays(1)
        if self._roster_messages:
            self._take_roster([frame])
        return frame

    def take(self, max_bytes: int) -> list[bytes]:
        """Takes the oldest entries up to about `max_bytes`, and at least one where there is one."""
        frames = self._frames
        if self._bytes <= max_bytes and self._held is None:
            self._frames = []
            self._put_at.clear()
            self._bytes = self._roster_bytes = self._roster_messages = self._before_roster = self._array_bytes = 0
            return frames
        size = count = 0
        for frame in frames:
            if size >= max_bytes:
                break
            size += len(frame)
            count += 1
        taken = frames[:count]
        del frames[:count], self._put_at[:count]
        self._bytes -= size
        if self._array_bytes:
            self._take_arrays(count)
        if self._roster_messages:
            self._take_roster(taken)
        return taken

    def _take_arrays(self, count: int) -> None:
        """Counts messages that were taken; all arrays are free of the bound until the last of them is taken."""
        self._array_end -= count
        if self._array_end <= 0:
            self._array_bytes = 0

    def _take_roster(self, taken: list[bytes]) -> None:
        """Counts the roster events among the messages that were taken."""
        if self._before_roster == HELD_BACK:
            return
        roster = taken[self._before_roster :]
        self._before_roster = max(0, self._before_roster - len(taken))
        self._roster_messages = max(0, self._roster_messages - len(roster))
        self._roster_bytes = max(0, self._roster_bytes - sum(map(len, roster))) if self._roster_messages else 0

    def clear(self) -> None:
        """Forgets everything: the session has ended and its client cannot be told."""
        self._frames.clear()
        self._put_at.clear()
        self._held = None
        self._bytes = self._roster_bytes = self._roster_messages = self._before_roster = self._array_bytes = 0
