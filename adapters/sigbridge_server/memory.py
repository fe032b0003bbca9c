"""Keeps the process below its memory limit by letting nobody in while it is above.

Rule 1: above the limit the hub is `degraded`; it recovers only 10 % below, so that it does not flap. Rule 2: sessions
that are there stay: what they say is small, and to end them would bring them back at once.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from sigbridge.hub import Hub

logger = logging.getLogger("sigbridge.memory")

CHECK_SECONDS = 1.0
RECOVERY_SHARE = 0.9


def resident_mb() -> float:
    """The memory that this process holds, in MiB (Linux; 0 where that is not known)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class MemoryWatch:
    """Looks at the memory once a second, where there is a limit."""

    def __init__(self, hub: Hub, *, read: Callable[[], float] = resident_mb) -> None:
        self._hub = hub
        self._limit_mb = hub.settings.max_memory_mb
        self._read = read
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        if self._limit_mb:
            self.check()
            self._handle = asyncio.get_running_loop().call_later(CHECK_SECONDS, self.start)

    def stop(self) -> None:
        """Stop looking."""
        if self._handle is not None:
            self._handle.cancel()

    def check(self) -> None:
        """Look once, and tell the hub."""
        used = self._read()
        if not self._hub.degraded and used > self._limit_mb:
            self._hub.degraded = True
            logger.warning("memory is short", extra={"used_mb": round(used), "limit_mb": self._limit_mb})
        elif self._hub.degraded and used < self._limit_mb * RECOVERY_SHARE:
            self._hub.degraded = False
            logger.warning("memory is enough again", extra={"used_mb": round(used), "limit_mb": self._limit_mb})
