"""Keeps the process below its memory limit by letting nobody in while it is above.

Rule 1: above the limit the hub is `degraded`; it recovers only 10 % below, so that it does not flap. Rule 2: sessions
that are there stay: what they say is small, and to end them would bring them back at once. Rule 3: nobody is refused
for memory that nobody uses: before the hub becomes degraded, garbage is collected, which holds everybody up for a while
and so is done seldom; and what the allocator keeps of what was freed is given back, also while the hub is degraded.
"""

import asyncio
import ctypes
import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge_net.clock import read_clock

logger = logging.getLogger("sigbridge.memory")

Clock: TypeAlias = Callable[[], Instant]

CHECK_SECONDS = 1.0
RECOVERY_SHARE = 0.9
FREEING_SECONDS = 10.0
"""The least time between two attempts to free memory."""


def resident_mb() -> float:
    """Returns the memory that this process holds, in MiB (Linux; 0 where that is not known)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def give_back() -> None:
    """Gives the system what the allocator keeps of what was freed (glibc; nothing where the library is another)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class MemoryWatch:
    """Looks at the memory once a second, where there is a limit."""

    def __init__(
        self,
        hub: Hub,
        *,
        read: Callable[[], float] = resident_mb,
        collect: Callable[[], object] = gc.collect,
        give_back: Callable[[], None] = give_back,
        clock: Clock = read_clock,
    ) -> None:
        self._hub = hub
        self._limit_mb = hub.settings.max_memory_mb
        self._read = read
        self._collect = collect
        self._give_back = give_back
        self._clock = clock
        self._free_at = float("-inf")
        """The moment from which on memory may be freed again."""
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to look, on the running event loop."""
        if self._limit_mb:
            self.check()
            self._handle = asyncio.get_running_loop().call_later(CHECK_SECONDS, self.start)

    def stop(self) -> None:
        """Stops looking."""
        if self._handle is not None:
            self._handle.cancel()

    def check(self) -> None:
        """Looks once, and tells the hub."""
        used = self._used_mib()
        if not self._hub.degraded and used > self._limit_mb:
            self._hub.degraded = True
            logger.warning("memory is short", extra={"used_mb": round(used), "limit_mb": self._limit_mb})
        elif self._hub.degraded and used < self._limit_mb * RECOVERY_SHARE:
            self._hub.degraded = False
            logger.warning("memory is enough again", extra={"used_mb": round(used), "limit_mb": self._limit_mb})

    def _used_mib(self) -> float:
        """Returns the memory used in MiB, after an attempt to free some if the hub would be, or stay, degraded for it.

        There is one attempt in `FREEING_SECONDS` at most.
        """
        used = self._read()
        degraded = self._hub.degraded
        moment = self._clock().monotonic
        if (
            used < self._limit_mb * RECOVERY_SHARE
            or (used <= self._limit_mb and not degraded)
            or moment < self._free_at
        ):
            return used
        self._free_at = moment + FREEING_SECONDS
        if not degraded:
            self._collect()
        self._give_back()
        return self._read()
