"""Announcing: a session becomes a peer of a room, and those who are there hear of it.

Where there are other nodes, the directory is asked for the id first; it is taken here while the claim is under way.
"""

import logging

from sigbridge import errors
from sigbridge.checks import check_extensions, check_id, check_json
from sigbridge.delivery import Delivery
from sigbridge.elsewhere import Directory
from sigbridge.errors import SignalingError
from sigbridge.farewells import Farewells
from sigbridge.instant import Instant
from sigbridge.limits import RateLimiter
from sigbridge.messages import Announce, Announced, PeerJoined, Reply
from sigbridge.pending import Pending
from sigbridge.results import capabilities_object
from sigbridge.rooms import Rooms
from sigbridge.session import Peer, Room, Session, client_name
from sigbridge.settings import Settings
from sigbridge.standing import Standing

logger = logging.getLogger("sigbridge.session")


class AnnounceRule:
    """The rule of `announce`."""

    def __init__(
        self,
        settings: Settings,
        rooms: Rooms,
        delivery: Delivery,
        farewells: Farewells,
        limiter: RateLimiter,
        standing: Standing,
        directory: Directory | None,
    ) -> None:
        self._settings = settings
        self._rooms = rooms
        self._delivery = delivery
        self._farewells = farewells
        self._limiter = limiter
        self._standing = standing
        self._directory = directory
        most = settings.max_room_peers
        self._full_return = most * (most - 1) // 2
        """The entries of all rosters, where the largest room comes back at once."""
        self.claiming: set[tuple[str, str]] = set()
        """Peer ids, with their rooms, whose claim is under way: they are taken meanwhile."""
        self._incarnations = 0

    def announce(self, session: Session, request: Announce, now: Instant) -> Reply | Pending[Reply]:
        """Make the session a peer; ALREADY_EXISTS where it is one, or somebody has the id."""
        self._check_fields(request)
        if session.peer is not None:
            raise errors.already_announced(session.peer.peer_id)
        self._standing.check_announce(session, request.room, request.peer_id)
        self._check_free(request)
        if self._directory is None:
            return self._admit(session, request, now)
        return self._claim(self._directory, session, request, now)

    def _check_fields(self, request: Announce) -> None:
        check_id("peer_id", request.peer_id)
        if request.room:
            check_id("room", request.room)
        settings = self._settings
        check_extensions(request.capabilities)
        check_json("metadata", request.metadata, "SIGNALING_MAX_METADATA_BYTES", settings.max_metadata_bytes)
        check_json(
            "capabilities",
            capabilities_object(request.capabilities),
            "SIGNALING_MAX_CAPABILITIES_BYTES",
            settings.max_capabilities_bytes,
        )

    def _check_free(self, request: Announce) -> None:
        if (request.room, request.peer_id) in self.claiming:
            raise errors.already_announced(request.peer_id)
        room = self._rooms.find(request.room)
        if room is None:
            return
        if request.peer_id in room.peers:
            raise errors.already_announced(request.peer_id)
        most = self._settings.max_room_peers
        if len(room.peers) >= most:
            raise errors.limit_exceeded(
                "Too many peers in the room", "SIGNALING_MAX_ROOM_PEERS", most, "announce again when a peer has left"
            )

    def _claim(self, directory: Directory, session: Session, request: Announce, now: Instant) -> Pending[Reply]:
        """Ask the directory for the id, and admit the session when it is granted."""
        claimed = (request.room, request.peer_id)
        self.claiming.add(claimed)
        admitted: Pending[Reply] = Pending()

        def granted(word: None | SignalingError, then: Instant) -> None:
            self.claiming.discard(claimed)
            if word is not None:
                admitted.resolve(word, then)
                return
            outcome = self._admit_or_refuse(session, request, then)
            if isinstance(outcome, SignalingError):
                directory.release(request.room, request.peer_id)
            admitted.resolve(outcome, then)

        try:
            claim = directory.claim(request.room, request.peer_id, now)
        except Exception:
            self.claiming.discard(claimed)
            raise
        claim.then(granted)
        return admitted

    def _admit_or_refuse(self, session: Session, request: Announce, now: Instant) -> Reply | SignalingError:
        """The outcome of an announce whose id was granted: much may have happened since it was asked for."""
        try:
            if session.end_reason is not None:
                raise errors.session_ended()
            self._standing.check_announce(session, request.room, request.peer_id)
            self._check_free(request)
            return self._admit(session, request, now)
        except SignalingError as error:
            return error.bare()
        except Exception:
            logger.exception("announce failed", extra={"session": session.id})
            return errors.internal_error()

    def _admit(self, session: Session, request: Announce, now: Instant) -> Announced:
        room = self._rooms.find(request.room) or Room(request.room)
        self._incarnations += 1
        joined = PeerJoined(request.peer_id, request.capabilities, request.metadata)
        peer = Peer(room, joined, session, incarnation=self._incarnations, connected_at=int(now.unix))
        others = list(room.peers.values())
        roster = [other.joined_frame(session.encoding) for other in others] if self._settings.replay_roster else []
        self._farewells.catch_up(room.name, peer.peer_id, now)
        # First what may fail to be encoded, of which nothing has been queued then.
        self._delivery.tell(others, joined.kind, peer.joined_frame, now)
        self._delivery.follow_up(session, joined.kind, roster)
        if roster:
            allowed = room.listed_bytes * self._full_return // len(roster)
            self._limiter.charge_roster(session.holder, request.kind, room.listed_bytes, allowed, now.monotonic)
        session.share.use(len(others) + len(roster))
        self._rooms.add(peer)
        session.peer = peer
        client = request.metadata.get("client")
        if isinstance(client, str) and client:
            session.client = client_name(client)
        return Announced(peer.peer_id, len(others), tuple(other.peer_id for other in others))
