"""The time of a test, which stands still until the test moves it."""

from sigbridge import Instant

NOW = Instant(1000.0, 1_700_000_000.0)
"""The time at which it begins."""


class Clock:
    """The present, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def advance(self, seconds: float) -> None:
        self.now = Instant(self.now.monotonic + seconds, self.now.unix + seconds)
