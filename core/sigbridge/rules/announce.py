"""Announcing: a session becomes a peer of a room, and those who are there hear of it.

Where there are other nodes, the directory is asked for the id first; it is taken here while the claim is under way.
"""

import logging
from typing import Final

from sigbridge import errors
from sigbridge.checks import check_extensions, check_id, check_json
from sigbridge.delivery import Delivery
from sigbridge.elsewhere import Directory
from sigbridge.errors import SignalingError
from sigbridge.farewells import Farewells
from sigbridge.holding import Holding
from sigbridge.instant import Instant
from sigbridge.limits import RateLimiter
from sigbridge.messages import Announce, Announced, PeerJoined, Reply
from sigbridge.pending import Pending
from sigbridge.results import capabilities_object
from sigbridge.rooms import Rooms
from sigbridge.rules.ice_servers import IceServersRule
from sigbridge.rules.resume import ResumeRule
from sigbridge.session import Peer, Room, Session, client_name
from sigbridge.settings import Settings
from sigbridge.standing import Standing

MAX_RESUME_TOKEN_LETTERS: Final = 256
"""The longest text that may be a token of a peer; those of this server are shorter."""

logger = logging.getLogger("sigbridge.session")


class AnnounceRule:
    """The rule of `announce`."""

    def __init__(  # prose: the parts of the hub that the rule needs; `Parts` alone makes it
        self,
        settings: Settings,
        rooms: Rooms,
        delivery: Delivery,
        farewells: Farewells,
        limiter: RateLimiter,
        standing: Standing,
        holding: Holding,
        resuming: ResumeRule,
        ice_servers: IceServersRule,
        directory: Directory | None,
    ) -> None:
        self._holding = holding
        self._resuming = resuming
        self._ice_servers = ice_servers
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
        """Makes the session a peer, a new one or the one that its `resume_token` resumes.

        :raises SignalingError: ALREADY_EXISTS if it is a peer, or the id is taken; INVALID_ARGUMENT, PERMISSION_DENIED
            or RESOURCE_EXHAUSTED if the fields, the identity or the room do not allow it.
        """
        self._check_fields(request)
        if session.peer is not None:
            raise errors.already_announced(session.peer.peer_id)
        self._standing.check_announce(session, request.room, request.peer_id)
        owned = self._resuming.owned(session, request)
        if owned is not None and (resumed := self._resuming.resume(session, owned, request, now)) is not None:
            session.wants_notices = True
            _name_client(session, request)
            return self._ice_servers.in_announce(session, resumed, now) if request.ice_servers else resumed
        giving_way = self._check_free(session, request, owned, now)
        if self._directory is None or giving_way is not None:
            return self._admit(session, request, giving_way, owned, now)
        return self._claim(self._directory, session, request, now)

    def _check_fields(self, request: Announce) -> None:
        """Checks the fields of an announce.

        :raises SignalingError: INVALID_ARGUMENT or RESOURCE_EXHAUSTED if one is wrong or too large.
        """
        check_id("peer_id", request.peer_id)
        if request.room:
            check_id("room", request.room)
        if len(request.resume_token) > MAX_RESUME_TOKEN_LETTERS:
            raise errors.invalid_params("resume_token", f"is longer than {MAX_RESUME_TOKEN_LETTERS} letters")
        if not 0 <= request.last_seq <= errors.MAX_UINT64:
            raise errors.invalid_params("last_seq", errors.UINT64_EXPECTED)
        settings = self._settings
        check_extensions(request.capabilities)
        check_json("metadata", request.metadata, "SIGNALING_MAX_METADATA_BYTES", settings.max_metadata_bytes)
        check_json(
            "capabilities",
            capabilities_object(request.capabilities),
            "SIGNALING_MAX_CAPABILITIES_BYTES",
            settings.max_capabilities_bytes,
        )

    def _check_free(self, session: Session, request: Announce, owned: Peer | None, now: Instant) -> Peer | None:
        """Returns the peer that gives way; `None` where the id is free.

        :raises SignalingError: if the id is taken, or the room is full.
        """
        if (request.room, request.peer_id) in self.claiming:
            raise errors.already_announced(request.peer_id)
        room = self._rooms.find(request.room)
        if room is None:
            return None
        giving_way = self._resuming.giving_way(session, request, room, owned, now)
        most = self._settings.max_room_peers
        if giving_way is None and len(room.peers) >= most:
            raise errors.limit_exceeded(
                "Too many peers in the room", "SIGNALING_MAX_ROOM_PEERS", most, "announce again when a peer has left"
            )
        return giving_way

    def _claim(self, directory: Directory, session: Session, request: Announce, now: Instant) -> Pending[Reply]:
        """Asks the directory for the id, and admits the session when it is granted."""
        claimed = (request.room, request.peer_id)
        self.claiming.add(claimed)
        admitted: Pending[Reply] = Pending()

        def granted(word: None | SignalingError, then: Instant) -> None:
            """Admits the session when the directory has granted the id, or refuses it."""
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
        """Returns the outcome of an announce whose id was granted; all is checked again, since time has passed."""
        try:
            if session.end_reason is not None:
                raise errors.session_ended()
            self._standing.check_announce(session, request.room, request.peer_id)
            giving_way = self._check_free(session, request, None, now)
            return self._admit(session, request, giving_way, None, now)
        except SignalingError as error:
            return error.bare()
        except Exception:
            logger.exception("announce failed", extra={"session": session.id})
            return errors.internal_error()

    # Six parameters: who announces what and when; who gives way, and who of the caller's own does.
    def _admit(
        self, session: Session, request: Announce, giving_way: Peer | None, owned: Peer | None, now: Instant
    ) -> Announced:
        """Makes the session a peer, tells the room of it and the session of the room; returns the reply.

        `giving_way` is the peer whose id it takes, `owned` the one that its token names. Nothing changes if an event
        cannot be encoded.
        """
        room = self._rooms.find(request.room) or Room(request.room)
        self._incarnations += 1
        joined = PeerJoined(request.peer_id, request.capabilities, request.metadata)
        peer = Peer(room, joined, session, incarnation=self._incarnations, connected_at=int(now.unix))
        others = [other for other in room.peers.values() if other is not giving_way]
        roster = [other.joined_frame(session.encoding) for other in others] if self._settings.replay_roster else []
        if giving_way is not None:
            # What may fail to be encoded comes before anything changes.
            for other in others:
                if other.session is not None:
                    peer.joined_frame(other.session.encoding)
            self._resuming.give_way(session, giving_way, owned, now)
        self._farewells.catch_up(room.name, peer.peer_id, now)
        # First what may fail to be encoded, of which nothing has been queued then.
        self._delivery.tell(others, joined, peer.joined_frame, now)
        session.peer = peer
        wants_resume = request.resumable or request.resume_token != ""
        session.wants_notices = request.notices or wants_resume
        if wants_resume and self._holding.window_seconds:
            self._holding.begin(peer, session, now)
        self._delivery.follow_up(session, others if roster else [], roster, now)
        if roster:
            allowed = room.listed_bytes * self._full_return // len(roster)
            self._limiter.charge_roster(session.holder, request.kind, room.listed_bytes, allowed, now.monotonic)
        session.share.use(len(others) + len(roster))
        self._rooms.add(peer)
        self._holding.make_room_for(session)
        _name_client(session, request)
        count = len(others) + self._settings.legacy_peers_count
        announced = self._resuming.announced(session, request, count, tuple(other.peer_id for other in others))
        return self._ice_servers.in_announce(session, announced, now) if request.ice_servers else announced


def _name_client(session: Session, request: Announce) -> None:
    """Sets the name of a session's client software from the metadata, if it is there."""
    client = request.metadata.get("client")
    if isinstance(client, str) and client:
        session.client = client_name(client)
