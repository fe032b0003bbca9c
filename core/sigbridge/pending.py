"""An outcome that must wait for something outside this process, or for a file to be read.

The hub is synchronous; where it has to wait for another node's word it returns a `Pending` and is told the outcome
later, as the doors are where a token needs another look at the keys. Where nothing waits, nothing here is made.

The states of a `Pending`, and the verb of each step; the callback is called in the one that leads to `told`:

    open ──then──▶ awaited ──resolve──▶ told          open ──resolve──▶ resolved ──then──▶ told
    open, awaited ──abandon──▶ abandoned ──resolve──▶ (nobody is called)
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from sigbridge.errors import SignalingError
from sigbridge.instant import Instant

T = TypeVar("T")
U = TypeVar("U")


class Pending(Generic[T]):
    """The outcome of something under way: a value, or a `SignalingError` for a refusal."""

    __slots__ = ("_callback", "_outcome")

    def __init__(self) -> None:
        self._callback: Callable[[T | SignalingError, Instant], None] | None = None
        self._outcome: tuple[T | SignalingError, Instant] | None = None

    @property
    def resolved(self) -> bool:
        """True once the outcome is known."""
        return self._outcome is not None

    def then(self, callback: Callable[[T | SignalingError, Instant], None]) -> None:
        """Calls `callback` with the outcome and its time: now if it is known, else when it is.

        :raises RuntimeError: if there is a callback already.
        """
        if self._callback is not None:
            raise RuntimeError("a Pending has one callback")
        self._callback = callback
        if self._outcome is not None:
            callback(*self._outcome)

    def abandon(self) -> None:
        """Drops the callback, and all that it holds: nobody wants the outcome any more."""
        self._callback = _ignore_outcome

    def followed_by(self, make: Callable[[T | SignalingError, Instant], U | SignalingError]) -> "Pending[U]":
        """Returns a `Pending` that resolves to `make(outcome, now)`; it takes the place of the callback."""
        made: Pending[U] = Pending()
        self.then(lambda outcome, now: made.resolve(make(outcome, now), now))
        return made

    def resolve(self, outcome: T | SignalingError, now: Instant) -> None:
        """Sets the outcome and calls the callback; a second outcome is ignored."""
        if self._outcome is None:
            self._outcome = (outcome, now)
            if self._callback is not None:
                self._callback(outcome, now)


def _ignore_outcome(outcome: object, now: Instant) -> None:
    """Does nothing: the callback of a `Pending` that was abandoned."""
