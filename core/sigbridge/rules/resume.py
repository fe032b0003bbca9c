"""Coming back: a session that shows a peer's token becomes that peer; and who has an id may have to give way.

Rule 1: a resume never leaves two sessions with one peer, nor none. Rule 2: a held peer defends its id against other
identities alone, and one of nobody in particular against nobody; so a crashed client is not shut out by its own shadow,
and nobody squats on an id without a connection. Rule 3: what is checked here changes nothing.
Source: `docs/resuming.md`.
"""

import logging
from collections.abc import Callable

from sigbridge import errors
from sigbridge.addresses import address_group
from sigbridge.counters import Counters
from sigbridge.delivery import Delivery
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.holding import Holding, log_fields, owner_of
from sigbridge.instant import Instant
from sigbridge.limits import RateLimiter
from sigbridge.messages import Announce, Announced, Event, IceServersChanged, PeerJoined, PeerLeft, ServerNotice
from sigbridge.rules.leave import LeaveRule
from sigbridge.session import Encoding, Peer, Room, Session
from sigbridge.settings import Settings
from sigbridge.settings.continuity import ALWAYS, SAME_IDENTITY
from sigbridge.takeovers import TakeoverKey, Takeovers

logger = logging.getLogger("sigbridge.session")


class ResumeRule:
    """The part of `announce` that concerns peers which outlive their sessions."""

    def __init__(  # prose: the parts of the hub that the rule needs; `Parts` alone makes it
        self,
        settings: Settings,
        counters: Counters,
        holding: Holding,
        delivery: Delivery,
        limiter: RateLimiter,
        leaving: LeaveRule,
        end: Callable[[Session, DisconnectReason], None],
    ) -> None:
        """`end` queues the end of a session, which comes when the request is done."""
        self._takeover = settings.takeover
        self._legacy_peers_count = settings.legacy_peers_count
        self._counters = counters
        self._holding = holding
        self._delivery = delivery
        self._limiter = limiter
        self._leaving = leaving
        self._end = end
        self.takeovers = Takeovers(settings.takeover_per_minute)

    def owned(self, session: Session, request: Announce) -> Peer | None:
        """Returns the peer whose token an announce shows, if the session may resume it."""
        if not request.resume_token:
            return None
        peer = self._holding.find(request.resume_token)
        if peer is not None and peer.peer_id == request.peer_id and peer.room.name == request.room:
            owner = owner_of(peer)
            if not owner or owner == session.identity.name:
                return peer
        self._count_resume("none", session, "unknown")
        return None

    def resume(self, session: Session, peer: Peer, request: Announce, now: Instant) -> Announced | None:
        """Gives a peer to a session and repeats what it has missed; None if part of that is no longer kept."""
        continuity = peer.continuity
        if continuity is None:
            return None
        missing = continuity.journal.after(request.last_seq)
        if missing is None:
            self._count_resume(continuity.protocol, session, "missing")
            return None
        frames = _frames_of(missing, request.last_seq, peer.peer_id, session.encoding)
        # From here on nothing may fail.
        before, protocol = peer.session, continuity.protocol
        self._count_resume(protocol, session, "resumed" if before is None else "replaced")
        self._holding.resume(peer, session, request.last_seq, now)
        session.peer = peer
        logger.info(
            "peer resumed",
            extra=log_fields(session, peer) | {"from_protocol": protocol, "repeated_events": len(frames)},
        )
        if before is not None:
            # The peer has gone over already: the end of its former session finds that, and nobody leaves.
            self._replace(before, session, peer)
        self._delivery.repeat(session, frames)
        others = tuple(peer_id for peer_id in peer.room.peers if peer_id != peer.peer_id)
        self._limiter.charge_listing(session.holder, request.kind, sum(map(len, frames)), now.monotonic)
        session.share.use(len(frames) + len(others))
        return self.announced(session, request, len(others) + self._legacy_peers_count, others, resumed=True)

    def giving_way(
        self, session: Session, request: Announce, room: Room, owned: Peer | None, now: Instant
    ) -> Peer | None:
        """Returns the peer of the announced id that gives way to a newcomer; None if the id is free.

        :raises SignalingError: ALREADY_EXISTS if that peer stays; RESOURCE_EXHAUSTED if its id was taken over too
            often.
        """
        peer = room.peers.get(request.peer_id)
        if peer is None or peer is owned:
            return peer
        name, standing = session.identity.name, peer.session
        if standing is None:
            # Without a session and not resumable: it is on another node.
            if peer.continuity is None or owner_of(peer) not in ("", name):
                raise errors.already_announced(peer.peer_id)
            return peer
        if self._takeover != ALWAYS:
            same = name != "" and standing.identity.name == name
            wants_resume = request.resumable or request.resume_token != ""
            if self._takeover != SAME_IDENTITY or not (same and wants_resume):
                raise errors.already_announced(peer.peer_id)
        try:
            self.takeovers.check(_takeover_key(session, peer), now.monotonic)
        except SignalingError:
            self._counters.takeovers["refused"] += 1
            raise
        return peer

    def give_way(self, session: Session, peer: Peer, owned: Peer | None, now: Instant) -> None:
        """Removes a peer in favour of a newcomer; its session, if it has one, ends as `replaced`."""
        standing = peer.session
        if standing is None:
            self._holding.let_go(peer, "not_resumed" if peer is owned else "taken")
        else:
            self._replace(standing, session, peer)
        if peer is not owned:
            self._counters.takeovers["held" if standing is None else "standing"] += 1
            if standing is not None:
                self.takeovers.note(_takeover_key(session, peer), now.monotonic)
        self._leaving.remove(peer, now, keep_id=True)

    def _replace(self, former: Session, session: Session, peer: Peer) -> None:
        """Queues the end of a peer's former session as `replaced`."""
        logger.info("session replaced", extra=log_fields(former, peer) | {"by_session": session.id})
        self._end(former, DisconnectReason.REPLACED)

    def _count_resume(self, from_protocol: str, session: Session, outcome: str) -> None:
        """Counts an announce that shows a token, by both protocols and its outcome."""
        self._counters.resumes[from_protocol, session.protocol, outcome] += 1

    def announced(
        self, session: Session, request: Announce, count: int, others: tuple[str, ...], *, resumed: bool = False
    ) -> Announced:
        """Returns the reply to an announce; a client that asked for nothing of resuming is told nothing of it."""
        if not (request.resumable or request.resume_token):
            return Announced(request.peer_id, count, others)
        told = resumed if request.resume_token else None
        continuity = session.continuity
        if continuity is None:
            return Announced(request.peer_id, count, others, resumable=False, resumed=told)
        return Announced(
            request.peer_id,
            count,
            others,
            resumable=True,
            resume_token=continuity.token,
            resume_window_seconds=self._holding.window_seconds,
            resumed=told,
        )


def _frames_of(events: list[Event], seq: int, peer_id: str, encoding: Encoding) -> list[bytes]:
    """Returns the frames of a peer's events after number `seq`, each with its number."""
    frames = []
    for number, event in enumerate(events, seq + 1):
        if isinstance(event, (PeerJoined, PeerLeft, ServerNotice, IceServersChanged)):
            frame = encoding.encode_event(event)
        else:
            frame = encoding.encode_relay(event, peer_id)
        frames.append(encoding.number_event(frame, number))
    return frames


def _takeover_key(session: Session, peer: Peer) -> TakeoverKey:
    """Returns the taker, an identity or else a group of addresses, with the room and the id that it takes."""
    return session.identity.name or address_group(session.remote), peer.room.name, peer.peer_id
