"""The pauses of a client that tries again: exponential, with full jitter, so that many do not come at once."""

import random
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 0.1
"""The longest that the first pause may be; each next one may be twice as long."""
LONGEST_SECONDS: Final = 10.0
CALM_SECONDS: Final = 60.0
"""So long must a session have stood for the pauses to begin anew."""


class Backoff:
    """The pauses of one client."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._bound = FIRST_SECONDS

    def stood(self, seconds: float) -> None:
        """Notes that a session has stood for so long."""
        if seconds >= CALM_SECONDS:
            self._bound = FIRST_SECONDS

    def next(self, least_seconds: float = 0.0) -> float:
        """Returns the next pause in seconds, which is not shorter than `least_seconds`."""
        bound, self._bound = self._bound, min(2 * self._bound, LONGEST_SECONDS)
        return max(self._uniform(0.0, bound), least_seconds)
