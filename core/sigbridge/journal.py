"""The events of one resumable peer: each has a number, and the last ones are kept, to be told again to whom lost them.

Numbers begin at 1 and have no gap, whatever session carries them. What is kept are events and not frames, since the
client may come back on the other protocol. Rule 1: while a session stands, the oldest goes where there are too many,
or it is older than anybody could still ask for; but nothing that has not been sent. Rule 2: while the peer is held,
the bounds are for what has come since its session was lost, and nothing goes: what does not fit is refused. Rule 3:
what a resume repeats and the next session has not sent either goes on counting: who resumes and does not read keeps no
more than anybody. Rule 4: what many are told is kept once, and counts for each.
Source: `docs/resuming.md`.
"""

from collections import deque
from typing import Final

import msgspec

from sigbridge.kept import Kept
from sigbridge.messages import Event

_ENTRY_BYTES: Final = 64
"""Bytes for which an event counts beside its text."""

_encode: Final = msgspec.json.Encoder().encode


class Bounds:
    """The most that is kept of one peer."""

    __slots__ = ("bytes", "messages")

    def __init__(self, messages: int, size: int) -> None:
        """`size` is in bytes."""
        self.messages = messages
        self.bytes = size


def kept_event(event: Event, text_bytes: int, at: float) -> Kept:
    """Returns an event as it is kept; `text_bytes` is about how many bytes of text it takes, `at` is when it came."""
    return Kept(event, text_bytes + _ENTRY_BYTES, at)


def text_bytes_of(event: Event) -> int:
    """Returns about how many bytes of text an event takes; for those that no wire has encoded."""
    return len(_encode(event))


class Journal:
    """The numbers and the last events of one peer."""

    __slots__ = ("_bounds", "_came", "_came_bytes", "_kept", "_repeated_up_to", "_since", "bytes", "last")

    def __init__(self, bounds: Bounds, now: float) -> None:
        """`now` is the present (monotonic seconds)."""
        self._bounds = bounds
        self._kept: deque[Kept] | None = None
        """The events up to `last`; `None` while there is none, as for nearly all peers nearly always."""
        self.last = 0
        """The number of the last event; 0: there was none."""
        self.bytes = 0
        """About how many bytes the kept events take."""
        self._came = 0
        """The events that have come since the session was lost, and below their bytes."""
        self._came_bytes = 0
        self._repeated_up_to = 0
        """The number of the last event that was repeated when the peer was resumed; 0: it never was."""
        self._since = now
        """Start of its session (monotonic seconds): the client may ask for all that it was told then, however old."""

    @property
    def next(self) -> int:
        """The number of the next event."""
        return self.last + 1

    def __len__(self) -> int:
        """Returns the number of events that are kept."""
        return 0 if self._kept is None else len(self._kept)

    @property
    def is_empty(self) -> bool:
        """True where nothing is kept."""
        return self._kept is None

    @property
    def is_full(self) -> bool:
        """True where more is kept than the bounds allow."""
        kept, bounds = self._kept, self._bounds
        return kept is not None and (len(kept) > bounds.messages or self.bytes > bounds.bytes)

    # While a session stands.

    def keep(self, kept: Kept) -> int:
        """Numbers and keeps an event; returns its number."""
        events = self._kept
        if events is None:
            events = self._kept = deque()
        events.append(kept)
        self.bytes += kept.size
        self.last += 1
        return self.last

    def remove_last(self) -> None:
        """Removes the last event and gives its number back, since it has reached nobody."""
        kept = self._kept
        if kept is not None:
            self.bytes -= kept.pop().size
            self.last -= 1
            if not kept:
                self._kept = None

    def trim(self, before: float, unsent: int) -> None:
        """Forgets events from before that time (monotonic seconds), and those over the bounds.

        The last `unsent` events are kept.
        """
        kept = self._kept
        if kept is None:
            return
        if before > self._since:
            if not unsent and kept and kept[-1].at < before:
                self._forget_all()
                return
            while len(kept) > unsent and kept[0].at < before:
                self.bytes -= kept.popleft().size
        self.bound(unsent)

    def bound(self, unsent: int) -> None:
        """Forgets the oldest that are over the bounds, but not the last `unsent` events."""
        kept, bounds = self._kept, self._bounds
        if kept is None:
            return
        while len(kept) > unsent and (len(kept) > bounds.messages or self.bytes > bounds.bytes):
            self.bytes -= kept.popleft().size
        if not kept:
            self._kept = None

    def _forget_all(self) -> None:
        self._kept = None
        self.bytes = 0

    # While the peer is held.

    def begin_hold(self, unsent: int) -> None:
        """Begins to count what comes while the peer is held; its session had not sent the last `unsent` events."""
        if unsent <= self.last - self._repeated_up_to:
            self._came = self._came_bytes = 0

    def fits(self, kept: Kept) -> bool:
        """Returns whether a held peer may be told one more event; the first always fits."""
        if not self._came:
            return True
        bounds = self._bounds
        return self._came < bounds.messages and self._came_bytes + kept.size <= bounds.bytes

    def keep_held(self, kept: Kept) -> None:
        """Numbers and keeps an event for a held peer, which must fit."""
        self.keep(kept)
        self._came += 1
        self._came_bytes += kept.size

    def end_hold(self, seq: int, now: float) -> None:
        """Records that another session repeats the events after number `seq` (`now` in monotonic seconds)."""
        repeated = self.last - seq
        if repeated < self._came:
            self._came = repeated
            self._came_bytes = sum(one.size for one in self._last(repeated))
        self._repeated_up_to = self.last
        self._since = now

    def after(self, seq: int) -> list[Event] | None:
        """Returns the events after number `seq`; None if one of them is no longer kept, or `seq` is too large."""
        missing = self.last - seq
        if missing < 0 or missing > len(self):
            return None
        return [one.event for one in self._last(missing)]

    def _last(self, count: int) -> list[Kept]:
        """Returns the last `count` events, all of which are kept."""
        return list(self._kept)[len(self) - count :] if self._kept is not None else []
