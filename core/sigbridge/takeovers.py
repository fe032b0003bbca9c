"""The takeovers of ids from sessions that stand, so many a minute: two live clients must not go on taking one for ever.

The states of a taker and an id, and what leads from one to the next; a check may refuse, and changes nothing else:

    free ──note──▶ counted ──note: so many in the last minute──▶ refused ──the first is a minute old──▶ counted
      ▲               │                                             │
      └───────────────┴──────── the last is a minute old, or one of too many that are remembered

Source: `docs/resuming.md`.
"""

from collections import deque
from math import ceil
from typing import Final, TypeAlias

from sigbridge import errors

_MINUTE_SECONDS: Final = 60.0
MAX_KEYS: Final = 10_000
"""The most takers and ids that are remembered; the one that was first is forgotten for one more."""

TakeoverKey: TypeAlias = tuple[str, str, str]
"""Taker, room, peer id."""


class Takeovers:
    """The takeovers of the last minute, by taker and id."""

    def __init__(self, most: int) -> None:
        """`most` are allowed in a minute."""
        self._most = most
        self._times: dict[TakeoverKey, deque[float]] = {}

    def __len__(self) -> int:
        """Returns the number of takers and ids that are remembered."""
        return len(self._times)

    def check(self, key: TakeoverKey, now: float) -> None:
        """Checks that a taker has not taken an id too often.

        :raises SignalingError: RESOURCE_EXHAUSTED with `retry_after_ms` if it has.
        """
        times = self._times.get(key)
        if times is None:
            return
        while times and times[0] + _MINUTE_SECONDS <= now:
            times.popleft()
        if not times:
            del self._times[key]
        elif len(times) >= self._most:
            wait = times[0] + _MINUTE_SECONDS - now
            raise errors.too_many_takeovers(key[2], self._most, ceil(wait * 1000) + 1)

    def note(self, key: TakeoverKey, now: float) -> None:
        """Records a takeover (`now` in monotonic seconds)."""
        times = self._times.pop(key, None)
        if times is None:
            times = deque()
            if len(self._times) >= MAX_KEYS:
                del self._times[next(iter(self._times))]
        times.append(now)
        # The latest is last, so that the first is the one to forget.
        self._times[key] = times

    def expire(self, now: float) -> None:
        """Forgets the takers and ids without a takeover in the last minute."""
        while self._times:
            key, times = next(iter(self._times.items()))
            if times[-1] + _MINUTE_SECONDS > now:
                return
            del self._times[key]
