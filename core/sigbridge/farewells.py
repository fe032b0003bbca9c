"""The events of peers that have left, spread over turns of the event loop: one lost connection may have had a thousand.

Rule 1: so many events are queued in one turn, and the rest in later ones, in the order in which peers have left. A
farewell is never cut. Rule 2: whoever joins after a peer has left hears nothing of it. Rule 3: a peer that joins by the
id of one that has left is told of after it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from sigbridge.delivery import Delivery
from sigbridge.instant import Instant
from sigbridge.messages import PeerLeft
from sigbridge.session import Peer, Room
from sigbridge.share import EVENTS_PER_TURN

_NOBODY: Final = -1


class Farewell(NamedTuple):
    """A peer that has left, and who is told."""

    room: Room
    event: PeerLeft
    latest: int
    """The incarnation of the last peer that had joined until then."""


class Farewells:
    """The farewells of all rooms."""

    __slots__ = ("_call_in_next_turn", "_delivery", "_told", "_waiting")

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._call_in_next_turn: Callable[[], None] | None = None
        self._told = 0
        """Events in this turn."""
        self._waiting: dict[tuple[str, str], Farewell] = {}
        """Those of later turns, by room and peer id."""

    def spread(self, call_in_next_turn: Callable[[], None] | None, now: Instant) -> None:
        """Spreads farewells over turns; `call_in_next_turn` asks for `go_on`, and None tells all at once."""
        self._call_in_next_turn = call_in_next_turn
        if call_in_next_turn is None:
            self._told = 0
            while self._waiting:
                self._tell_oldest(now)

    def say(self, peer: Peer, reason: str, now: Instant) -> None:
        """Tells the room that a peer has left it, now or in a later turn; `reason` is the peer's own text."""
        room = peer.room
        latest = next((each.incarnation for each in reversed(room.peers.values())), _NOBODY)
        if latest == _NOBODY:
            return
        farewell = Farewell(room, PeerLeft(peer.peer_id, reason), latest)
        if self._call_in_next_turn is not None and self._told >= EVENTS_PER_TURN:
            self._waiting[room.name, peer.peer_id] = farewell
        else:
            self._tell(farewell, now)

    def catch_up(self, room_name: str, peer_id: str, now: Instant) -> None:
        """Tells a farewell that waits for an id, before somebody joins by that id."""
        if self._waiting:
            farewell = self._waiting.pop((room_name, peer_id), None)
            if farewell is not None:
                self._tell(farewell, now)

    def go_on(self, now: Instant) -> None:
        """Begins a turn: tells the farewells that have waited longest, as many as one turn has room for."""
        self._told = 0
        while self._waiting and self._told < EVENTS_PER_TURN:
            self._tell_oldest(now)

    def _tell_oldest(self, now: Instant) -> None:
        self._tell(self._waiting.pop(next(iter(self._waiting))), now)

    def _tell(self, farewell: Farewell, now: Instant) -> None:
        """Tells the peers that were there when the peer left.

        The first event of a turn asks for another turn.
        """
        event, latest = farewell.event, farewell.latest
        peers = [peer for peer in farewell.room.peers.values() if peer.incarnation <= latest]
        self._delivery.tell(peers, event, lambda encoding: encoding.encode_event(event), now)
        if self._call_in_next_turn is not None and not self._told:
            # The first of a turn asks for the next, in which the count begins anew.
            self._call_in_next_turn()
        # One at least: looking at a room costs something, too.
        self._told += len(peers) + 1
