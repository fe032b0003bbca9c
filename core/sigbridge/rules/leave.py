"""Leaving: hanging up on a peer, leaving a room, and what is left to do when a peer is gone."""

import logging
from functools import partial

from sigbridge import errors
from sigbridge.auth import RELAY
from sigbridge.awaited_answers import AwaitedAnswers
from sigbridge.checks import check_id, check_offer_id, check_size
from sigbridge.elsewhere import Directory
from sigbridge.errors import SignalingError
from sigbridge.farewells import Farewells
from sigbridge.holding import Holding
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

    def __init__(  # prose: the parts of the hub that the rule needs; `Parts` alone makes it
        self,
        rooms: Rooms,
        offers: Offers,
        awaited: AwaitedAnswers,
        farewells: Farewells,
        relays: RelayRules,
        holding: Holding,
        directory: Directory | None,
    ) -> None:
        self._holding = holding
        self._rooms = rooms
        self._offers = offers
        self._awaited = awaited
        self._farewells = farewells
        self._relays = relays
        self._directory = directory

    def disconnect(self, session: Session, request: Disconnect, now: Instant) -> Reply | Pending[Reply]:
        """Hangs up on a peer, present or not; with the sender's own id: leave, for which it needs no right.

        A hang-up with an `offer_id` ends that offer alone.

        :raises SignalingError: FAILED_PRECONDITION if the session is not announced; PERMISSION_DENIED if it may not
            relay.
        """
        other = request.peer_id
        check_id("peer_id", other)
        check_offer_id(request.offer_id)
        check_size("reason", request.reason, "SIGNALING_MAX_CANDIDATE_BYTES", self._relays.max_candidate_bytes)
        sender = session.peer
        if sender is None:
            raise errors.not_announced()
        if other == sender.peer_id:
            session.peer = None
            session.unannounced_since = now.monotonic
            self.remove(sender, now, request.reason)
            session.share.use(len(sender.room.peers))
            return Disconnected(other)
        session.identity.check_right(RELAY)
        room = sender.room
        event = PeerDisconnected(sender.peer_id, request.offer_id, request.reason)
        relay = Relay(sender, other, room.peers.get(other), event, Disconnected(other))
        relay.offer_id = request.offer_id
        relay.ends = ((room.name, sender.peer_id, other), (room.name, other, sender.peer_id))
        relay.absent_is_fine = True
        outcome = self._relays.send(session, relay, now)
        if isinstance(outcome, Pending):
            return outcome.followed_by(partial(self._has_hung_up, session, relay))
        if self._awaited.waiting:
            called, calls = relay.ends
            self._awaited.withdraw(called, request.offer_id, now)
            self._awaited.hang_up(calls, request.offer_id, now)
        return outcome

    def _has_hung_up(
        self, session: Session, relay: Relay, outcome: Reply | SignalingError, now: Instant
    ) -> Reply | SignalingError:
        """Ends the offers of the sender that wait for an answer, once the bus has brought its hang-up.

        Passes the outcome on.
        """
        if relay.sender.is_present and not isinstance(outcome, SignalingError):
            self._awaited.withdraw(relay.ends[0], relay.offer_id, now)
        return outcome

    def remove(self, peer: Peer, now: Instant, reason: str = "", *, keep_id: bool = False) -> None:
        """Removes a peer from its room and all tables, and tells the others; not if a newer incarnation has its place.

        `keep_id`: other nodes are not told that the id is free, since somebody here takes it.
        """
        # Out of the room first: whoever is told of what follows finds the peer gone.
        if not self._rooms.remove(peer):
            return
        self._holding.forget(peer)
        room = peer.room
        self._offers.end_all_of(room.name, peer.peer_id)
        # Callers that wait for its answer are refused before they hear that it has left.
        self._awaited.end_all_of(room.name, peer.peer_id, now)
        self._farewells.say(peer, reason, now)
        if self._directory is not None and not keep_id:
            try:
                self._directory.release(room.name, peer.peer_id)
            except Exception:
                # The peer is gone all the same.
                logger.exception("an id could not be released")
