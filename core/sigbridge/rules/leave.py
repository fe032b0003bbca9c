"""Leaving: hanging up on a peer, leaving a room, and what is left to do when a peer is gone."""

import logging

from sigbridge import errors
from sigbridge.auth import RELAY
from sigbridge.checks import check_id, check_offer_id
from sigbridge.elsewhere import Directory
from sigbridge.farewells import Farewells
from sigbridge.instant import Instant
from sigbridge.messages import Disconnect, Disconnected, PeerDisconnected, Reply
from sigbridge.offers import Offers
from sigbridge.pending import Pending
from sigbridge.rooms import Rooms
from sigbridge.rules.relay import Relay, RelayRules
from sigbridge.session import Peer, Session

logger = logging.getLogger("sigbridge.session")


class LeaveRule:
    """The rule of `disconnect`, and the removal of peers."""

    def __init__(
        self,
        rooms: Rooms,
        offers: Offers,
        farewells: Farewells,
        relays: RelayRules,
        directory: Directory | None,
    ) -> None:
        self._rooms = rooms
        self._offers = offers
        self._farewells = farewells
        self._relays = relays
        self._directory = directory

    def disconnect(self, session: Session, request: Disconnect, now: Instant) -> Reply | Pending[Reply]:
        """Hang up on a peer, present or not; with the sender's own id: leave, for which it needs no right.

        A hang-up that says an offer ends that one alone.
        """
        other = request.peer_id
        check_id("peer_id", other)
        check_offer_id(request.offer_id)
        sender = session.peer
        if sender is None:
            raise errors.not_announced()
        if other == sender.peer_id:
            session.peer = None
            session.unannounced_since = now.monotonic
            self.remove(sender, now)
            session.share.use(len(sender.room.peers))
            return Disconnected(other)
        session.identity.check_right(RELAY)
        room = sender.room
        event = PeerDisconnected(sender.peer_id, request.offer_id)
        relay = Relay(sender, other, room.peers.get(other), event, Disconnected(other))
        relay.offer_id = request.offer_id
        relay.ends = ((room.name, sender.peer_id, other), (room.name, other, sender.peer_id))
        relay.absent_is_fine = True
        return self._relays.send(session, relay, now)

    def remove(self, peer: Peer, now: Instant) -> None:
        """Take a peer out of its room and tell the others, unless a newer incarnation has its place."""
        if not self._rooms.remove(peer):
            return
        room = peer.room
        self._offers.end_all_of(room.name, peer.peer_id)
        self._farewells.say(peer, now)
        if self._directory is not None:
            try:
                self._directory.release(room.name, peer.peer_id)
            except Exception:
                # The peer is gone all the same.
                logger.exception("an id could not be given back")
