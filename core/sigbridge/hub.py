"""Who is here, and who must be told what.

The hub is plain, synchronous Python: a request is applied as a whole, without a lock, and can be tested without a
socket. It knows no protocol, no JSON on the wire, no protobuf and no clock.

Rule 1: a refused request changes nothing. Rule 2: a session's end removes only what is its own: incarnations tell an
old session's peer from a new one of the same id. Rule 3: what a message becomes on every wire is made before it is put
into any outbox. Rule 4: events for other sessions leave at once; what a request causes for its own sender follows its
reply. Rule 5: sessions that the hub must end because an event did not fit are ended after the fan-out, not during it.

Source: `docs/protocol.md`, sections "Errors" and "What each request does".
"""

import base64
import binascii
import logging
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from sigbridge import errors
from sigbridge.auth import ANYBODY, Identity
from sigbridge.counters import Counters, Tally
from sigbridge.disconnects import DisconnectReason
from sigbridge.elsewhere import Bus, Directory
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.limits import RateLimiter
from sigbridge.messages import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Capabilities,
    Disconnect,
    Disconnected,
    Event,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    PeerList,
    Relayed,
    RelayedEvent,
    Reply,
    Request,
)
from sigbridge.offers import OfferKey, PendingOffers
from sigbridge.outbox import Outbox
from sigbridge.pending import Pending
from sigbridge.results import BOOLEAN_CAPABILITIES, capabilities_object
from sigbridge.session import Encoding, Peer, ProtocolName, Room, Session
from sigbridge.settings import Settings
from sigbridge.tracing import Tracer

logger = logging.getLogger("sigbridge.session")

Outcome: TypeAlias = Reply | SignalingError
"""How a request ends: with its reply, or refused."""

MAX_ID_BYTES: Final = 256
MAX_JSON_DEPTH: Final = 32
"""How deep metadata and extensions may nest: far above any use, far below what any JSON reader gives up at."""
MAX_UINT32: Final = 0xFFFFFFFF

_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f]")
"""Unicode category Cc, whole."""


class Queued(NamedTuple):
    """What waits to be sent: all sessions together, and in the longest outbox."""

    messages: int
    bytes: int
    longest: int


class Hub:
    """The peers, rooms and pending offers of one server, and the rules between them."""

    def __init__(
        self,
        settings: Settings,
        now: Instant,
        *,
        directory: Directory | None = None,
        bus: Bus | None = None,
        stopwatch: Callable[[], float] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.draining = False
        self.degraded = False
        """Whether memory is short: nobody is let in meanwhile, and those who are here go on."""
        self._stopwatch = stopwatch
        """Seconds from anywhere, by which requests are timed; `None` times nothing."""
        self._tracer = tracer
        self._max_sdp_bytes = settings.max_sdp_bytes
        self._max_candidate_bytes = settings.max_candidate_bytes
        self._limiter = RateLimiter(per_second=settings.rate_per_second, burst=settings.rate_burst)
        self._directory = directory
        self._bus = bus
        self._started_at = now.monotonic
        self._sessions: dict[str, Session] = {}
        self._unannounced: dict[Session, float] = {}
        """Sessions that must announce themselves, with the time of the last chance, the earliest first."""
        self._rooms: dict[str, Room] = {}
        self._claiming: set[tuple[str, str]] = set()
        """Peer ids, with their rooms, whose claim is under way: they are taken meanwhile."""
        self._offers = PendingOffers(lifetime_seconds=settings.pending_offer_seconds)
        self._incarnations = 0
        self.peer_count = 0
        """Announced peers, all rooms together."""
        self._condemned: deque[tuple[Session, DisconnectReason]] = deque()
        self._settling = False
        self._rules: dict[type[Any], Callable[[Session, Any, Instant], Reply | Pending[Reply]]] = {
            Announce: self._announce,
            Offer: self._offer,
            Answer: self._answer,
            IceCandidate: self._ice_candidate,
            Disconnect: self._disconnect,
            ListPeers: self._list_peers,
            HealthCheck: self._health_check,
        }

    # Sessions.

    def open(
        self,
        *,
        protocol: ProtocolName,
        encoding: Encoding,
        on_end: Callable[[DisconnectReason], None],
        now: Instant,
        remote: str = "",
        identity: Identity = ANYBODY,
        traceparent: str = "",
    ) -> Session:
        """Begin a session.

        `on_end` is called once, when the session ends for a reason that the carrier did not bring itself; `remote` is
        the client's address, without a port; `traceparent` the trace context of its connection. Raises SignalingError
        where the server is full or short of memory (RESOURCE_EXHAUSTED) or draining (UNAVAILABLE).
        """
        refusals = self.counters.refusals
        if self.draining:
            refusals[protocol, "draining"] += 1
            raise errors.server_draining()
        settings = self.settings
        if self.degraded:
            refusals[protocol, "memory"] += 1
            raise errors.out_of_memory(settings.max_memory_mb)
        if len(self._sessions) >= settings.max_sessions:
            refusals[protocol, "sessions"] += 1
            raise errors.limit_exceeded(
                "Too many sessions", "SIGNALING_MAX_SESSIONS", settings.max_sessions, "connect again later"
            )
        session = Session(
            secrets.token_hex(8),
            protocol=protocol,
            encoding=encoding,
            outbox=Outbox(max_messages=settings.outbox_max_messages, max_bytes=settings.outbox_max_bytes),
            on_end=on_end,
            opened_at=now.monotonic,
            remote=remote,
            identity=identity,
            traceparent=traceparent,
            tallies=self.counters.tallies(protocol),
        )
        self._sessions[session.id] = session
        self._unannounced[session] = now.monotonic + settings.announce_timeout_seconds
        self.counters.sessions[protocol] += 1
        logger.info("session started", extra={"session": session.id, "protocol": protocol, "remote": remote})
        return session

    def close(self, session: Session, reason: DisconnectReason, now: Instant) -> None:
        """End a session whose connection has ended or is being ended by its carrier. A second end is ignored."""
        self._end(session, reason, now)
        self._settle(now)

    def end(self, session: Session, reason: DisconnectReason, now: Instant) -> None:
        """End a session from this side: its carrier is told the reason and closes the connection."""
        self._condemned.append((session, reason))
        self._settle(now)

    def drain(self, now: Instant) -> None:
        """Take nobody in any more and end every session with `draining`; no events are sent from here on."""
        self.draining = True
        for session in list(self._sessions.values()):
            self.end(session, DisconnectReason.DRAINING, now)

    def expire(self, now: Instant) -> float:
        """Do what is due: end offers, silent newcomers and sessions that read too slowly.

        Returns the monotonic time at which it next wants to be called, at the latest.
        """
        settings = self.settings
        offer_due = self._offers.expire(now.monotonic)
        self._limiter.expire(now.monotonic)
        late = []
        for session, deadline in self._unannounced.items():
            if deadline > now.monotonic:
                break
            late.append((session, DisconnectReason.ANNOUNCE_TIMEOUT))
        oldest = now.monotonic
        for session in self._sessions.values():
            put_at = session.outbox.oldest_at()
            if put_at is None:
                continue
            if put_at + settings.send_deadline_seconds <= now.monotonic:
                late.append((session, DisconnectReason.SLOW_CONSUMER))
            else:
                oldest = min(oldest, put_at)
        self._condemned.extend(late)
        self._settle(now)
        next_announce = next(iter(self._unannounced.values()), now.monotonic + settings.announce_timeout_seconds)
        due = min(next_announce, oldest + settings.send_deadline_seconds)
        # An offer that begins later than now cannot be due before its whole lifetime has passed.
        return min(due, now.monotonic + settings.pending_offer_seconds if offer_due is None else offer_due)

    # Requests.

    def apply(
        self, session: Session, request: Request, now: Instant, *, traceparent: str = ""
    ) -> Outcome | Pending[Outcome]:
        """Apply one request as a whole.

        Returns its reply, a SignalingError where it is refused (nothing has changed then), or a `Pending` of either;
        until that resolves nothing more may be applied for this session. The caller puts the encoded answer into the
        outbox with `reply`. `traceparent` is the request's own trace context, where it has one.
        """
        if self._tracer is None:
            return self._apply(session, request, now)
        with self._tracer.request(session, request.kind, traceparent or session.traceparent):
            return self._apply(session, request, now)

    def _apply(self, session: Session, request: Request, now: Instant) -> Outcome | Pending[Outcome]:
        tally = session.tallies.of(request.kind)
        if self._stopwatch is not None:
            self._begin_timing(session, tally, self._stopwatch())
        try:
            if session.end_reason is not None:
                raise errors.session_ended()
            self._limiter.take(session.holder, tally.kind, now.monotonic)
            answer = self._rules[type(request)](session, request, now)
        except SignalingError as error:
            return self._refused(session, tally.kind, error)
        except Exception:
            logger.exception("%s failed", tally.kind, extra={"session": session.id})
            return self._refused(session, tally.kind, errors.internal_error())
        if isinstance(answer, Pending):
            return self._awaited(session, tally, answer)
        session.request_count += 1
        tally.accepted += 1
        if self._condemned:
            self._settle(now)
        return answer

    def refuse(self, session: Session, kind: str, error: SignalingError, now: Instant) -> SignalingError:
        """Count a request that never became one: its adapter could not read it. Returns the error to answer with.

        That is `error`, unless such requests come too often. `kind` must be one of the protocol's words, or `unknown`.
        """
        try:
            self._limiter.take(session.holder, kind, now.monotonic)
        except SignalingError as too_many:
            return self._refused(session, kind, too_many)
        return self._refused(session, kind, error)

    def note(self, session: Session, kind: str, now: Instant) -> SignalingError | None:
        """Count a request that its adapter answers by itself; returns the refusal where these come too often."""
        try:
            self._limiter.take(session.holder, kind, now.monotonic)
        except SignalingError as too_many:
            return self._refused(session, kind, too_many)
        session.request_count += 1
        session.tallies.of(kind).accepted += 1
        return None

    def reply(self, session: Session, frame: bytes | None, now: Instant) -> None:
        """Queue the encoded answer to a request (`None` where none is due), then what it caused for its sender.

        An answer that does not fit ends the session as `slow_consumer`.
        """
        if session.end_reason is not None:
            return
        outbox = session.outbox
        if frame is not None:
            if not outbox.fits_unrefusable(len(frame)):
                self.end(session, DisconnectReason.SLOW_CONSUMER, now)
                return
            outbox.put_reply(frame, now.monotonic)
        else:
            outbox.release(now.monotonic)
        if self._stopwatch is not None and session.timed is not None:
            self._end_timing(session, self._stopwatch())

    def query(
        self, protocol: ProtocolName, request: ListPeers | HealthCheck, now: Instant, *, holder: str = ""
    ) -> PeerList | Health:
        """Answer a request that needs no session; raises SignalingError where it is refused.

        `holder` is the identity's subject or the client's address, for the limits.
        """
        try:
            self._limiter.take(holder, request.kind, now.monotonic)
            reply = self.health(now) if isinstance(request, HealthCheck) else self._page(request.room or "", request)
        except SignalingError as error:
            self.counters.refused_requests[protocol, request.kind, error.code.name] += 1
            raise
        self.counters.tallies(protocol).of(request.kind).accepted += 1
        return reply

    def refuse_query(
        self, protocol: ProtocolName, kind: str, error: SignalingError, now: Instant, *, holder: str = ""
    ) -> SignalingError:
        """Count a question that its adapter could not read; see `query` and `refuse`. Returns the error to raise."""
        try:
            self._limiter.take(holder, kind, now.monotonic)
        except SignalingError as too_many:
            error = too_many
        self.counters.refused_requests[protocol, kind, error.code.name] += 1
        return error

    def deliver(self, room_name: str, to_peer_id: str, event: Event, from_protocol: str, now: Instant) -> None:
        """Put an event for one peer into its outbox.

        Raises SignalingError where nobody of that id is here (NOT_FOUND) or its outbox is full (UNAVAILABLE).
        """
        room = self._rooms.get(room_name)
        target = room.peers.get(to_peer_id) if room is not None else None
        if target is None:
            raise errors.peer_not_found(to_peer_id)
        self._deliver(target, event, self.counters.tallies(from_protocol).of(event.kind), now)

    def _deliver(self, target: Peer, event: Event, tally: Tally, now: Instant) -> None:
        if self._tracer is None:
            self._put_relay(target, event, tally, now)
        else:
            with self._tracer.delivery(target.session, event.kind):
                self._put_relay(target, event, tally, now)

    def _put_relay(self, target: Peer, event: Event, tally: Tally, now: Instant) -> None:
        session = target.session
        frame = session.encoding.encode_event(event)
        outbox = session.outbox
        if not outbox.fits(len(frame)):
            raise errors.peer_unavailable(target.peer_id)
        outbox.put_event(frame, now.monotonic)
        relayed, protocol = tally.relayed, session.protocol
        relayed[protocol] = relayed.get(protocol, 0) + 1

    def health(self, now: Instant) -> Health:
        """How the server is: `unhealthy` while it drains, `degraded` while it is short of memory."""
        return Health(
            status="unhealthy" if self.draining else "degraded" if self.degraded else "healthy",
            uptime_seconds=int(now.monotonic - self._started_at),
            connected_peers=self.peer_count,
            metrics={
                "pending_offers": len(self._offers),
                "sessions": {name: self.counters.sessions[name] for name in ("grpc", "websocket")},
                "rooms": len(self._rooms),
            },
        )

    @property
    def session_count(self) -> int:
        """Open sessions, both protocols together."""
        return len(self._sessions)

    @property
    def room_count(self) -> int:
        """Rooms with at least one peer."""
        return len(self._rooms)

    def queued(self) -> Queued:
        """What waits in the outboxes now; looks at every session."""
        lengths = [len(session.outbox) for session in self._sessions.values()]
        size = sum(session.outbox.queued_bytes for session in self._sessions.values())
        return Queued(sum(lengths), size, max(lengths, default=0))

    @property
    def pending_offer_count(self) -> int:
        """Offers that wait for their answer."""
        return len(self._offers)

    # The rules, one for each request. Each raises SignalingError before it changes anything.

    def _announce(self, session: Session, request: Announce, now: Instant) -> Reply | Pending[Reply]:
        _check_id("peer_id", request.peer_id)
        if request.room:
            _check_id("room", request.room)
        settings = self.settings
        _check_extensions(request.capabilities)
        _check_json("metadata", request.metadata, "SIGNALING_MAX_METADATA_BYTES", settings.max_metadata_bytes)
        _check_json(
            "capabilities",
            capabilities_object(request.capabilities),
            "SIGNALING_MAX_CAPABILITIES_BYTES",
            settings.max_capabilities_bytes,
        )
        if session.peer is not None:
            raise errors.already_announced(session.peer.peer_id)
        session.identity.check_announce(request.room, request.peer_id)
        self._check_free(request)
        if self._directory is None:
            return self._admit(session, request, now)

        directory = self._directory
        claim = directory.claim(request.room, request.peer_id, now)
        claimed = (request.room, request.peer_id)
        self._claiming.add(claimed)
        session.announcing = True
        answer: Pending[Reply] = Pending()

        def granted(word: None | SignalingError, then: Instant) -> None:
            session.announcing = False
            self._claiming.discard(claimed)
            if word is not None:
                answer.resolve(word, then)
                return
            outcome: Reply | SignalingError
            try:
                if session.end_reason is not None:
                    raise errors.session_ended()
                self._check_free(request)
                outcome = self._admit(session, request, then)
            except SignalingError as error:
                outcome = error
            except Exception:
                logger.exception("announce failed", extra={"session": session.id})
                outcome = errors.internal_error()
            if isinstance(outcome, SignalingError):
                directory.release(request.room, request.peer_id)
            answer.resolve(outcome, then)

        claim.then(granted)
        return answer

    def _check_free(self, request: Announce) -> None:
        if (request.room, request.peer_id) in self._claiming:
            raise errors.already_announced(request.peer_id)
        room = self._rooms.get(request.room)
        if room is None:
            return
        if request.peer_id in room.peers:
            raise errors.already_announced(request.peer_id)
        if len(room.peers) >= self.settings.max_room_peers:
            raise errors.limit_exceeded(
                "Too many peers in the room",
                "SIGNALING_MAX_ROOM_PEERS",
                self.settings.max_room_peers,
                "announce again when a peer has left",
            )

    def _admit(self, session: Session, request: Announce, now: Instant) -> Announced:
        room = self._rooms.get(request.room) or Room(request.room)
        self._incarnations += 1
        peer = Peer(
            room=room,
            peer_id=request.peer_id,
            incarnation=self._incarnations,
            capabilities=request.capabilities,
            metadata=request.metadata,
            session=session,
            connected_at=int(now.unix),
        )
        others = list(room.peers.values())
        roster = [other.joined_frame(session.encoding) for other in others] if self.settings.replay_roster else []
        # What fails to be encoded fails here, where nobody has been told anything yet.
        for encoding in {other.session.encoding for other in others}:
            peer.joined_frame(encoding)
        for frame in roster:
            session.outbox.follow_up(frame)
        self.counters.events[session.protocol, "peer_joined"] += len(roster)
        self._tell(others, peer.joined.kind, peer.joined_frame, now)
        self._rooms[room.name] = room
        room.peers[peer.peer_id] = peer
        self.peer_count += 1
        session.peer = peer
        self._unannounced.pop(session, None)
        return Announced(peer.peer_id, len(others), tuple(other.peer_id for other in others))

    def _offer(self, session: Session, request: Offer, now: Instant) -> Reply | Pending[Reply]:
        to, sdp, type_ = request.to_peer_id, request.sdp, request.type
        target = self._target(session, to)
        self._check_sdp(sdp)
        if type_ not in ("", "offer"):
            raise errors.invalid_params("type", "must be offer")
        sender = self._sender(session, to)
        key = (sender.room.name, sender.peer_id, to)
        offer_id = self._offers.next_id(sender.peer_id, to, now.unix)
        event = OfferReceived(sender.peer_id, offer_id, sdp, "offer")
        return self._relay(session, sender, to, target, event, OfferRelayed(offer_id, to), now, begins=key)

    def _answer(self, session: Session, request: Answer, now: Instant) -> Reply | Pending[Reply]:
        to, sdp, type_ = request.to_peer_id, request.sdp, request.type
        target = self._target(session, to)
        self._check_sdp(sdp)
        if type_ not in ("", "answer", "pranswer"):
            raise errors.invalid_params("type", "must be answer or pranswer")
        sender = self._sender(session, to)
        event = AnswerReceived(sender.peer_id, sdp, type_ or "answer")
        ends = () if type_ == "pranswer" else ((sender.room.name, to, sender.peer_id),)
        return self._relay(session, sender, to, target, event, Relayed(to), now, ends=ends)

    def _ice_candidate(self, session: Session, request: IceCandidate, now: Instant) -> Reply | Pending[Reply]:
        to, candidate = request.to_peer_id, request.candidate
        mid, index, fragment = request.sdp_mid, request.sdp_mline_index, request.username_fragment
        target = self._target(session, to)
        if index is not None and not 0 <= index <= MAX_UINT32:
            raise errors.invalid_params("sdp_mline_index", "must be a whole number from 0 to 4294967295")
        self._check_candidate(candidate, mid or "", fragment or "")
        sender = self._sender(session, to)
        event = IceCandidateReceived(sender.peer_id, candidate, mid, index, fragment)
        return self._relay(session, sender, to, target, event, Relayed(to), now)

    def _disconnect(self, session: Session, request: Disconnect, now: Instant) -> Reply | Pending[Reply]:
        other = request.peer_id
        _check_id("peer_id", other)
        sender = session.peer
        if sender is None:
            raise errors.not_announced()
        if other == sender.peer_id:
            self._remove(sender, now)
            session.peer = None
            self._unannounced[session] = now.monotonic + self.settings.announce_timeout_seconds
            return Disconnected(other)
        room = sender.room
        ends = ((room.name, sender.peer_id, other), (room.name, other, sender.peer_id))
        event, target = PeerDisconnected(sender.peer_id), room.peers.get(other)
        return self._relay(
            session, sender, other, target, event, Disconnected(other), now, ends=ends, absent_is_fine=True
        )

    def _list_peers(self, session: Session, request: ListPeers, now: Instant) -> Reply:
        peer = session.peer
        if peer is None:
            return self._page(request.room or "", request)
        return self._page(peer.room.name, request, own_room=True)

    def _health_check(self, session: Session, request: HealthCheck, now: Instant) -> Reply:
        return self.health(now)

    # What the rules share.

    def _sender(self, session: Session, to_peer_id: str) -> Peer:
        sender = session.peer
        if sender is None:
            raise errors.not_announced()
        if to_peer_id == sender.peer_id:
            raise errors.invalid_params("to_peer_id", "is the sender itself")
        return sender

    def _target(self, session: Session, to_peer_id: str) -> Peer | None:
        """The peer of the sender's room, on this node, for whom a message is; its id is checked."""
        sender = session.peer
        target = sender.room.peers.get(to_peer_id) if sender is not None else None
        if target is None:
            # An id that somebody has was checked when it was announced.
            _check_id("to_peer_id", to_peer_id)
        return target

    def _check_candidate(self, candidate: str, sdp_mid: str, username_fragment: str) -> None:
        limit = self._max_candidate_bytes
        # No character takes more than four bytes, so what is this short need not be looked at one by one.
        if 4 * (len(candidate) + len(sdp_mid) + len(username_fragment)) > limit:
            _check_size("candidate", candidate, "SIGNALING_MAX_CANDIDATE_BYTES", limit)
            _check_size("sdp_mid", sdp_mid, "SIGNALING_MAX_CANDIDATE_BYTES", limit)
            _check_size("username_fragment", username_fragment, "SIGNALING_MAX_CANDIDATE_BYTES", limit)

    def _check_sdp(self, sdp: str) -> None:
        if not sdp:
            raise errors.invalid_params("sdp", "is missing")
        _check_size("sdp", sdp, "SIGNALING_MAX_SDP_BYTES", self._max_sdp_bytes)

    def _relay(
        self,
        session: Session,
        sender: Peer,
        to_peer_id: str,
        target: Peer | None,
        event: RelayedEvent,
        reply: Reply,
        now: Instant,
        *,
        begins: OfferKey | None = None,
        ends: tuple[OfferKey, ...] = (),
        absent_is_fine: bool = False,
    ) -> Reply | Pending[Reply]:
        """Bring an event to a peer of the sender's room; once its queue has taken it, offers begin and end.

        `target` is that peer where it is on this node.
        """
        if self._bus is not None:
            return self._relay_by_bus(
                self._bus, session, sender, to_peer_id, event, reply, now, begins, ends, absent_is_fine
            )
        if target is not None:
            self._deliver(target, event, session.tallies.of(event.kind), now)
        elif not absent_is_fine:
            raise errors.peer_not_found(to_peer_id)
        self._note_offers(begins, ends, now)
        return reply

    def _relay_by_bus(
        self,
        bus: Bus,
        session: Session,
        sender: Peer,
        to_peer_id: str,
        event: RelayedEvent,
        reply: Reply,
        now: Instant,
        begins: OfferKey | None,
        ends: tuple[OfferKey, ...],
        absent_is_fine: bool,
    ) -> Pending[Reply]:
        """The same, where the peer may be on another node."""
        answer: Pending[Reply] = Pending()

        def arrived(word: None | SignalingError, then: Instant) -> None:
            if word is not None and not (absent_is_fine and word.code is errors.Code.NOT_FOUND):
                answer.resolve(word, then)
                return
            # The sender may have gone in the meantime.
            self._note_offers(begins if session.peer is sender else None, ends, now)
            answer.resolve(reply, then)

        bus.relay(sender.room.name, to_peer_id, event, session.protocol, now).then(arrived)
        return answer

    def _note_offers(self, begins: OfferKey | None, ends: tuple[OfferKey, ...], now: Instant) -> None:
        if begins is not None:
            self._offers.add(begins, now.monotonic)
        for key in ends:
            self._offers.end(key)

    def _page(self, room_name: str, request: ListPeers, *, own_room: bool = False) -> PeerList:
        settings = self.settings
        if request.room:
            _check_id("room", request.room)
        if not 0 <= request.page_size <= MAX_UINT32:
            raise errors.invalid_params("page_size", "must be a whole number from 0 to 4294967295")
        after = _position(request.page_token)
        if own_room and request.room is not None and request.room != room_name:
            raise errors.room_mismatch()
        room = self._rooms.get(room_name)
        if room is None:
            return PeerList((), 0)
        most = min(request.page_size or settings.max_page_peers, settings.max_page_peers)
        page: list[Peer] = []
        size = 0
        more = False
        for peer in room.peers.values():
            if peer.incarnation <= after:
                continue
            size += peer.listed_bytes
            if page and (len(page) == most or size > settings.max_page_bytes):
                more = True
                break
            page.append(peer)
        return PeerList(
            tuple(peer.info for peer in page), len(room.peers), _page_token(page[-1].incarnation) if more else ""
        )

    def _tell(self, peers: Iterable[Peer], kind: str, frame_for: Callable[[Encoding], bytes], now: Instant) -> None:
        """Put a roster event into the outboxes of `peers`; who cannot take it is ended as a slow consumer."""
        if self.draining:
            return
        # What is encoded for one is encoded for all who speak alike, and before anybody has been told.
        targets = [peer.session for peer in peers]
        frames = {encoding: frame_for(encoding) for encoding in {session.encoding for session in targets}}
        told = dict.fromkeys((session.protocol for session in targets), 0)
        moment = now.monotonic
        for session in targets:
            frame = frames[session.encoding]
            outbox = session.outbox
            if outbox.fits_unrefusable(len(frame)):
                outbox.put_event(frame, moment)
                told[session.protocol] += 1
            else:
                self._condemned.append((session, DisconnectReason.SLOW_CONSUMER))
        for protocol, count in told.items():
            self.counters.events[protocol, kind] += count

    def _remove(self, peer: Peer, now: Instant) -> None:
        """Take a peer out of its room and tell the others, unless a newer incarnation has its place."""
        room = peer.room
        present = room.peers.get(peer.peer_id)
        if present is None or present.incarnation != peer.incarnation:
            return
        del room.peers[peer.peer_id]
        self.peer_count -= 1
        if not room.peers:
            del self._rooms[room.name]
        self._offers.end_all_of(room.name, peer.peer_id)
        if self._directory is not None:
            self._directory.release(room.name, peer.peer_id)
        left = PeerLeft(peer.peer_id)
        self._tell(room.peers.values(), left.kind, lambda encoding: encoding.encode_event(left), now)

    def _end(self, session: Session, reason: DisconnectReason, now: Instant) -> bool:
        if session.end_reason is not None:
            return False
        session.end_reason = reason
        del self._sessions[session.id]
        self._unannounced.pop(session, None)
        self.counters.sessions[session.protocol] -= 1
        self.counters.disconnects[session.protocol, reason.word] += 1
        peer, session.peer = session.peer, None
        if peer is not None:
            self._remove(peer, now)
        logger.info(
            "session ended",
            extra={
                "session": session.id,
                "protocol": session.protocol,
                "room": peer.room.name if peer is not None else None,
                "peer": peer.peer_id if peer is not None else None,
                "reason": reason.word,
                "seconds": round(now.monotonic - session.opened_at, 3),
                "requests": session.request_count,
            },
        )
        return True

    def _settle(self, now: Instant) -> None:
        """End the condemned, and whom their leaving condemns, one after the other."""
        if self._settling:
            return
        self._settling = True
        try:
            while self._condemned:
                session, reason = self._condemned.popleft()
                if self._end(session, reason, now):
                    session.on_end(reason)
        finally:
            self._settling = False

    def _awaited(self, session: Session, tally: Tally, answer: Pending[Reply]) -> Pending[Outcome]:
        """What `apply` does after a rule, for an answer that comes later."""
        outcome: Pending[Outcome] = Pending()

        def known(word: Outcome, now: Instant) -> None:
            if isinstance(word, SignalingError):
                self._refused(session, tally.kind, word)
            else:
                session.request_count += 1
                tally.accepted += 1
            outcome.resolve(word, now)
            self._settle(now)

        answer.then(known)
        return outcome

    def _begin_timing(self, session: Session, tally: Tally, moment: float) -> None:
        if session.timed is not None:
            # In a batch, the request before this one has no reply of its own.
            self._end_timing(session, moment)
        session.timed = tally
        session.request_began_at = moment

    def _end_timing(self, session: Session, moment: float) -> None:
        if session.timed is not None:
            session.timed.observe(moment - session.request_began_at)
            session.timed = None

    def _refused(self, session: Session, kind: str, error: SignalingError) -> SignalingError:
        session.request_count += 1
        self.counters.refused_requests[session.protocol, kind, error.code.name] += 1
        return error


def _check_id(field: str, text: str) -> None:
    if not text:
        raise errors.invalid_params(field, "is missing")
    if len(text) > MAX_ID_BYTES or (not text.isascii() and len(text.encode()) > MAX_ID_BYTES):
        raise errors.invalid_params(field, f"is longer than {MAX_ID_BYTES} bytes")
    if _CONTROL_CHARACTERS.search(text):
        raise errors.invalid_params(field, "contains control characters")


def _check_size(field: str, text: str, limit: str, most: int) -> None:
    if len(text) > most or (not text.isascii() and len(text.encode()) > most):
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


def _check_extensions(capabilities: Capabilities) -> None:
    for name in BOOLEAN_CAPABILITIES:
        if name in capabilities.extensions:
            raise errors.invalid_params("capabilities", f"names {name} among its extensions")


def _check_json(field: str, value: dict[str, Any], limit: str, most: int) -> None:
    if not value:
        return
    if _deeper_than(value, MAX_JSON_DEPTH):
        raise errors.invalid_params(field, f"is nested more than {MAX_JSON_DEPTH} deep")
    if len(msgspec.json.encode(value)) > most:
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


def _deeper_than(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        inner: Iterable[object] = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return depth == 0 or any(_deeper_than(one, depth - 1) for one in inner)


def _page_token(incarnation: int) -> str:
    return base64.urlsafe_b64encode(b"after:%d" % incarnation).decode().rstrip("=")


def _position(page_token: str) -> int:
    """The incarnation after which a page begins; 0 for the first page."""
    if not page_token:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4)).partition(b":")
        if word == b"after" and number.isdigit() and len(number) < 20:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise errors.invalid_params("page_token", "is none that this server gave")
