"""The time limit of all waiting in tests, and waiting for what says nothing when it comes."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

TIME_LIMIT_SECONDS = 60.0


async def until(condition: Callable[[], object]) -> None:
    """Returns when a condition holds; raises TimeoutError where that takes too long."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


def longer_and_longer(seconds: float) -> Iterator[float]:
    """Yields time limits, from a short one on, for tests in which one is to pass, but not too soon.

    A quiet machine is done with the first. On a busy one it may pass before all is ready for it: what was begun then is
    begun anew with the next.
    """
    while seconds < TIME_LIMIT_SECONDS:
        yield seconds
        seconds *= 8
    raise AssertionError("the longest limit, too, has passed too soon")


def wait_until(probe: Callable[[], Any], what: str, limit_seconds: float = TIME_LIMIT_SECONDS) -> Any:
    """Asks other processes, on this thread, until the response is something; returns it."""
    give_up_at = time.monotonic() + limit_seconds
    while not (response := probe()):
        assert time.monotonic() < give_up_at, f"waited in vain: {what}"
        time.sleep(0.02)
    return response
