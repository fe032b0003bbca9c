"""A moment, as those who read clocks tell it to those who read none."""

from typing import Final

NEVER: Final = float("inf")
"""The monotonic time of what is not due."""


class Instant:
    """A moment on two clocks, both in seconds: `monotonic` for intervals, `unix` for what people read."""

    __slots__ = ("monotonic", "unix")

    def __init__(self, monotonic: float, unix: float) -> None:
        self.monotonic = monotonic
        self.unix = unix

    def __repr__(self) -> str:
        return f"Instant(monotonic={self.monotonic!r}, unix={self.unix!r})"
