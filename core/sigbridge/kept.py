"""Records of which a server keeps thousands for a resumable peer: events, and requests with how they ended.

Python's garbage collector does not look at them, nor at messages of text and numbers (`gc=False`): it would look at all
of them again whenever new ones have come, which costs more than all else that is done to keep them. Rule 1: no record
leads back to itself for good: a request under way does, and its end cuts that. Rule 2: this file is not compiled:
compiled classes lose the options of their structs.
"""

from typing import Any

from msgspec import Struct

from sigbridge.messages import Event


class Kept(Struct, frozen=True, gc=False):
    """An event as journals keep it; it may be in any number of them."""

    event: Event
    size: int
    """About how many bytes it takes."""
    at: float
    """Time at which it came (monotonic seconds)."""


class Remembered(Struct, eq=False, gc=False):
    """One request of a resumable peer; `sigbridge.remembered` says what becomes of it."""

    digest: int
    text: str
    """Its id as text."""
    requests: Any
    """The `RememberedRequests` among which it is; `None` once it is finished."""
    outcome: Any = None
    """Its outcome; `None` while it is under way."""
    at: float = 0.0
    """Time at which it was finished (monotonic seconds)."""
    joined: Any = None
    """The `Asker` who gets its outcome in place of the first one, where somebody has asked again meanwhile."""
