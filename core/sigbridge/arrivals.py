"""The arrivals that a bus brings from other nodes for a peer that is here."""

from sigbridge import errors
from sigbridge.counters import Counters
from sigbridge.instant import Instant
from sigbridge.messages import AnswerReceived, ControlReceived, PeerDisconnected, RelayedEvent
from sigbridge.parts import Parts


class Arrivals:
    """Hands to the peers of one hub what a bus brings."""

    __slots__ = ("_awaited", "_controlling", "_counters", "_delivery", "_rooms")

    def __init__(self, parts: Parts, counters: Counters) -> None:
        self._counters = counters
        self._awaited = parts.awaited
        self._controlling = parts.controlling
        self._delivery = parts.delivery
        self._rooms = parts.rooms

    def deliver(self, room_name: str, to_peer_id: str, event: RelayedEvent, from_protocol: str, now: Instant) -> None:
        """Queues an event for one peer.

        :raises SignalingError: NOT_FOUND or UNAVAILABLE; see `Hub.deliver`.
        """
        room = self._rooms.find(room_name)
        target = room.peers.get(to_peer_id) if room is not None else None
        if target is None:
            raise errors.peer_not_found(to_peer_id)
        tally = self._counters.tally(from_protocol, event.kind)
        if isinstance(event, AnswerReceived):
            if self._awaited.answer(event, (room_name, to_peer_id, event.from_peer_id), tally, now):
                return
        elif isinstance(event, ControlReceived):
            self._controlling.check_takes(target, event)
        self._delivery.relay(target, event, tally, now)
        if isinstance(event, PeerDisconnected):
            self._awaited.hang_up((room_name, to_peer_id, event.peer_id), event.offer_id, now)
