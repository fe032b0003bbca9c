"""The one place that reads a clock, and the timer that calls a hub when it wants to be called, and in its next turn."""

import asyncio
import logging
import time

from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge_net.lateness import NOBODY, Lateness

logger = logging.getLogger("sigbridge.net")

_LONGEST_PAUSE_SECONDS = 1.0


def read_clock() -> Instant:
    """The present moment on both clocks."""
    return Instant(time.monotonic(), time.time())


class HubTimer:
    """Calls `Hub.expire` when that is due. One hub needs one; starting it again is harmless.

    After a freeze it calls only when what had arrived has been read; see `sigbridge_net.lateness`.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._handle: asyncio.TimerHandle | None = None
        self._lateness = Lateness()

    @property
    def lag_seconds(self) -> float:
        """The delay of the last call by the event loop, in seconds: so long did a message wait that arrived then."""
        return self._lateness.seconds

    def start(self) -> None:
        """Begin, on the running event loop."""
        if self._handle is None:
            self._lateness.expect(time.monotonic())
            self._hub.spread_farewells(self._call_in_next_turn, read_clock())
            self._tick()

    def stop(self) -> None:
        """Stop calling."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._hub.spread_farewells(None, read_clock())

    def _call_in_next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self._hub.go_on(read_clock())
        except Exception:
            logger.exception("the hub's turn failed")

    def _tick(self) -> None:
        now = read_clock()
        due = now.monotonic + _LONGEST_PAUSE_SECONDS
        judged_by = self._lateness.look(now.monotonic)
        if judged_by != NOBODY:
            try:
                due = self._hub.expire(Instant(judged_by, now.unix))
            except Exception:
                # Nothing would end silent and slow sessions any more, were this the last call.
                logger.exception("the hub's timer failed")
        # A little late is better than a little early, which would call twice.
        pause = min(max(due - now.monotonic, 0.0) + 0.005, _LONGEST_PAUSE_SECONDS)
        self._lateness.expect(time.monotonic() + pause)
        self._handle = asyncio.get_running_loop().call_later(pause, self._tick)
