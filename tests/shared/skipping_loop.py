"""An event loop that never waits: where everybody only waits for time to pass, it has passed.

It is for code of one process that does no I/O, for what waits for something from outside would never come to it.
"""

import asyncio
import selectors


class _Selector(selectors.SelectSelector):
    """Looks at what is ready, and lets time pass where nothing is."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            # Only another thread could wake the loop now.
            return super().select(None)
        if not ready and timeout is not None and timeout > 0:
            self.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop; its time is the machine's, and what has been skipped."""

    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped


class VirtualLoop(SkippingLoop):
    """A loop whose time is only what has been skipped, so that a busy machine changes nothing."""

    def time(self) -> float:
        return self._skipping.skipped
