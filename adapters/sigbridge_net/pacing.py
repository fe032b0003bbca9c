"""The first part of a shutdown: those who asked are told that the server leaves, and may go before they must."""

import asyncio
from collections.abc import Callable

from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.notices import STEP_SECONDS
from sigbridge_net.clock import read_clock


async def pace_leaving(hub: Hub, seconds: float, *, clock: Callable[[], Instant] = read_clock) -> None:
    """Lets a hub refuse newcomers and tell its clients; returns when the rest are to be ended, after `seconds` at most.

    That is at once if nobody asked for notices, and as soon as all who did have gone.
    """
    hub.leave()
    ends_at = clock().monotonic + seconds
    while hub.tell_of_leaving(ends_at, clock()):
        left = ends_at - clock().monotonic
        if left <= 0:
            return
        await asyncio.sleep(min(STEP_SECONDS, left))
