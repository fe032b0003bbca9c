"""Full collections of Python's garbage, when connections have ended and not while many begin.

A full collection looks at all that a process holds, and everybody waits: a tenth of a second where 8,000 sessions are.
Python begins one whenever there is a quarter more to look at, so that clients that come back all at once bring on
several, each longer than the one before. They find nothing: what has ended leaves garbage.

Rule 1: it is for a process of our own; what a host does with its garbage is the host's. Rule 2: garbage has a bound:
of how many connections it may be, and for how long, the table below says. Rule 3: what was there before the first
client is looked at once.

    ended since the last one                                   what is done
    fewer than LEAST_ENDED, or than a quarter of those open    nothing
    more                                                       a collection, in the first quiet second, or where none
                                                               comes, after PATIENCE_SECONDS
"""

import asyncio
import gc
from collections.abc import Callable
from typing import NamedTuple

CHECK_SECONDS = 1.0
LEAST_ENDED = 1000
ENDED_SHARE = 0.25
PATIENCE_SECONDS = 10
QUIET_BEGUN = 100
"""A second is quiet where no more than so many have begun."""
YOUNG_COLLECTIONS = 1000
"""Collections of young objects after which Python begins a full one all the same; 10 unless it is told."""


class Census(NamedTuple):
    """Connections and sessions, added up: a connection may have several sessions, and a session none of ours."""

    begun: int
    """All that there have been."""
    open: int

    @property
    def ended(self) -> int:
        """All that there are no more."""
        return self.begun - self.open


class GarbageWatch:
    """Decides once a second whether everything is looked at."""

    def __init__(self, census: Callable[[], Census], *, collect: Callable[[], object] = gc.collect) -> None:
        self._census = census
        self._collect = collect
        self._thresholds = gc.get_threshold()
        self._handle: asyncio.TimerHandle | None = None
        self._begun = 0
        self._ended = 0
        """Of them, those whose garbage is collected."""
        self._waited = 0
        """Seconds for which enough have ended, and none was quiet."""

    def start(self) -> None:
        """Takes over collections from Python, which may have none until now, on the running event loop."""
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*self._thresholds[:2], YOUNG_COLLECTIONS)
        gc.enable()
        self._schedule()

    def stop(self) -> None:
        """Gives collections back to Python."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def check(self) -> None:
        """Collects garbage, if the table says so."""
        census = self._census()
        begun, self._begun = census.begun - self._begun, census.begun
        ended = census.ended - self._ended
        if ended < max(LEAST_ENDED, census.open * ENDED_SHARE):
            self._waited = 0
        elif begun > QUIET_BEGUN and self._waited < PATIENCE_SECONDS:
            self._waited += 1
        else:
            self._waited = 0
            self._ended = census.ended
            self._collect()

    def _schedule(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._run)

    def _run(self) -> None:
        self.check()
        self._schedule()
