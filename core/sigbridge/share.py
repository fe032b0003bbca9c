"""The share of one turn of the event loop that one client's requests may use: what they cause is counted, not timed.

An announce is one request, and is told to everybody in its room: a small message may cause thousands of others. Once
its requests have used up their share, nothing more of that client is taken until everybody else has had a turn. The
hub counts what a request causes, and the carrier of a session says when a turn has passed. A request is never cut:
the last of a turn may cause as much as it likes.

The states of a share, and what leads from one to the next:

    fresh ──use──► spent ──pass_turn──► rested ──go_on──► fresh

Requests are taken while it is fresh. Rested, it waits for its client's turn, which begins with what was interrupted.
"""

from typing import Final

FRESH: Final = 0
SPENT: Final = 1
RESTED: Final = 2

EVENTS_PER_TURN: Final = 512
"""Events about a room, and peers of a listing, after which the requests of a client wait: some milliseconds of work."""
EVENTS_PER_ELEMENT: Final = 8
"""Events that count as much as one request of a batch, whatever comes of it: of these many may come at once."""
BYTES_PER_EVENT: Final = 1024
"""Bytes of a listing that count as much as one event."""

# What follows in each state.
# fmt: off
#                                  fresh  spent   rested
_ON_PASS_TURN: Final[list[int]] = [FRESH, RESTED, RESTED]
_ON_GO_ON: Final[list[int]] =     [FRESH, SPENT,  FRESH]
# fmt: on


class Share:
    """The share of one client: of a session, or of all that are on one connection."""

    __slots__ = ("state", "used")

    def __init__(self) -> None:
        self.state = FRESH
        self.used = 0
        """Events in this turn; a carrier may set it to 0 where a turn has passed and the share is fresh."""

    def use(self, events: int) -> None:
        """Counts events that a request has caused."""
        self.used += events
        if self.used >= EVENTS_PER_TURN:
            self.state = SPENT

    def pass_turn(self) -> bool:
        """Resets the count, since everybody else had a turn; returns whether somebody waits for that."""
        self.used = 0
        self.state = _ON_PASS_TURN[self.state]
        return self.state == RESTED

    def go_on(self) -> None:
        """Makes a rested share fresh."""
        self.state = _ON_GO_ON[self.state]

    def begin_turn(self) -> None:
        """Makes the share fresh, since everybody else had a turn."""
        self.pass_turn()
        self.go_on()
