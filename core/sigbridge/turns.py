"""The turns of the event loop over which a hub spreads what would take too long at once: farewells, and reviews.

The states: at rest ──_ask──▶ asked for ──go_on──▶ at rest; whoever has more to do then asks again.
"""

from collections.abc import Callable

from sigbridge.endings import Endings
from sigbridge.instant import Instant
from sigbridge.parts import Parts


class Turns:
    """Asks for turns, and begins them."""

    __slots__ = ("_asked", "_call_in_next_turn", "_endings", "_farewells", "_standing")

    def __init__(self, parts: Parts, endings: Endings) -> None:
        self._farewells = parts.farewells
        self._standing = parts.standing
        self._endings = endings
        self._call_in_next_turn: Callable[[], None] | None = None
        self._asked = False
        """True once the next turn was asked for."""

    def spread(self, call_in_next_turn: Callable[[], None] | None, now: Instant) -> None:
        """Spreads over turns from now on; `call_in_next_turn` asks for `go_on`. None: all is done at once."""
        self._call_in_next_turn = call_in_next_turn
        ask = None if call_in_next_turn is None else self._ask
        self._standing.spread(ask, now)
        self._endings.run(now)
        self._farewells.spread(ask, now)
        self._endings.run(now)

    def _ask(self) -> None:
        """Asks for the next turn, once."""
        if not self._asked and self._call_in_next_turn is not None:
            self._asked = True
            self._call_in_next_turn()

    def end_later(self, now: Instant) -> None:
        """Ends what is queued for ending in the next turn, or at once if work is not spread over turns."""
        if self._call_in_next_turn is None:
            self._endings.run(now)
        else:
            self._ask()

    def go_on(self, now: Instant) -> None:
        """Begins a turn that was asked for: tells farewells, goes on with reviews, and ends whom these end."""
        self._asked = False
        self._farewells.go_on(now)
        self._standing.go_on(now)
        self._endings.run(now)
