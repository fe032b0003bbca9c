"""Leavings of a piece of work in memory, the cyclic collector being off: what it alone would find counts as left."""

import contextlib
import gc
from collections import Counter
from collections.abc import Iterator


class Leavings:
    """The objects that are there more than before, and those of them that nothing but a cycle holds."""

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()
        """Those of `living`."""
        self.cycles: Counter[str] = Counter()
        """All that the cyclic collector then finds, by class."""


@contextlib.contextmanager
def left_behind() -> Iterator[Leavings]:
    """Counts what the block leaves behind, the cyclic collector being off meanwhile."""
    leavings = Leavings()
    gc.collect()
    # What was there before is not looked at, which would take a second; nor is it by the next to count.
    gc.freeze()
    gc.disable()
    try:
        yield leavings
        leavings.kept = living()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        leavings.cycles = Counter(_name(type(one)) for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def living() -> Counter[str]:
    """The objects of the project's classes, and of the libraries' whose machines we hold, by class.

    Within `left_behind` these are those that have been made since.
    """
    return Counter(_name(type(one)) for one in gc.get_objects() if _name(type(one)).startswith(_OURS))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


_OURS = ("sigbridge", "h11.", "websockets.")
