"""The one place that reads a clock, and the timer that calls a hub when it wants to be called, and in its next turn."""

import asyncio
import logging
import time

from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge_net.lateness import NOBODY, PUNCTUAL, Lateness

logger = logging.getLogger("sigbridge.net")

_LONGEST_PAUSE_SECONDS = 1.0


def read_clock() -> Instant:
    """Returns the present moment on both clocks."""
    return Instant(time.monotonic(), time.time())


class HubTimer:
    """Calls `Hub.expire` when that is due. One hub needs one; starting it again is harmless.

    After a freeze it calls only when what had arrived has been read; see `sigbridge_net.lateness`. What tasks read and
    write, as those of grpc.aio do, takes many turns of the loop, and so does a full outbox: so the hub does not count
    the freeze at all. Of a loop that is late again and again it is the first delay that does not count.
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
        """Begins to look, on the running event loop."""
        if self._handle is None:
            self._lateness.expect(time.monotonic())
            self._hub.spread_farewells(self._call_in_next_turn, read_clock())
            self._tick()

    def stop(self) -> None:
        """Stops calling."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._hub.spread_farewells(None, read_clock())

    def _call_in_next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Lets the hub begin the turn that it asked for."""
        try:
            self._hub.go_on(read_clock())
        except Exception:
            logger.exception("the hub's turn failed")

    def _forgive(self, now: Instant) -> None:
        """Lets the hub take the present delay off the waits of its clients."""
        try:
            self._hub.forgive(self._lateness.seconds, now)
        except Exception:
            logger.exception("the hub's timer failed")

    def _tick(self) -> None:
        """Calls the hub for what is due, unless the loop is late and reads first; schedules the next tick."""
        now = read_clock()
        due = now.monotonic + _LONGEST_PAUSE_SECONDS
        was_punctual = self._lateness.state == PUNCTUAL
        judged_by = self._lateness.look(now.monotonic)
        if was_punctual and self._lateness.state != PUNCTUAL:
            self._forgive(now)
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
