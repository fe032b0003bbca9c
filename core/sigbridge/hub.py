"""The hub: who is here, and what becomes of a request.

The hub is plain, synchronous Python: a request is applied as a whole, without a lock, and can be tested without a
socket. It knows no protocol, no JSON on the wire, no protobuf and no clock.

Rule 1: a refused request changes nothing. Rule 2: a session's end removes only what is its own: incarnations tell an
old session's peer from a new one of the same id. Rule 3: what a message becomes on every wire is made before it is put
into any outbox. Rule 4: events for other sessions leave at once; what a request causes for its own sender follows its
response. Rule 5: sessions whose end a request brings about, since an event did not fit, an identity may not be their
peer any more, or requests were too many, are ended when the request is done.

The states of a server, and what leads from one to the next:

    serving ──leave──► leaving ──drain──► draining      leaving: everything goes on, newcomers are refused
       └──────────────────drain──────────────▲          draining: every session ends, no events are sent

Source: `docs/protocol.md`, sections "Errors" and "What each request does". The rules of the requests are in `rules/`.
"""

import logging
import secrets
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from sigbridge import errors
from sigbridge.addresses import UNIX
from sigbridge.auth import Identity
from sigbridge.counters import Counters, Tally, add_tally
from sigbridge.delivery import Delivery
from sigbridge.disconnects import DisconnectReason
from sigbridge.elsewhere import Bus, Directory
from sigbridge.errors import SignalingError
from sigbridge.farewells import Farewells
from sigbridge.floods import FloodCount, Held
from sigbridge.headcount import Headcount
from sigbridge.instant import NEVER, Instant
from sigbridge.limits import RateLimiter
from sigbridge.messages import (
    Announce,
    Answer,
    Authenticate,
    Disconnect,
    Event,
    Health,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    PeerList,
    Reply,
    Request,
)
from sigbridge.offers import Offers
from sigbridge.outbox import Outbox
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending
from sigbridge.refused import note_refusal
from sigbridge.rooms import Rooms
from sigbridge.rules.announce import AnnounceRule
from sigbridge.rules.authenticate import AuthenticateRule
from sigbridge.rules.leave import LeaveRule
from sigbridge.rules.list import ListRule
from sigbridge.rules.relay import RelayRules
from sigbridge.session import ANYWHERE, Caller, Encoding, Outcome, RequestId, Session, Sink
from sigbridge.settings import Settings
from sigbridge.standing import Judge, Standing, end_of
from sigbridge.tracing import Tracer

logger = logging.getLogger("sigbridge.session")

Rule = Callable[[Session, Any, Instant], Reply | Pending[Reply]]


class Phase(Enum):
    """The states of a server; see the picture above."""

    SERVING = "serving"
    LEAVING = "leaving"
    DRAINING = "draining"


class Queued(NamedTuple):
    """Messages that wait to be sent: of all sessions together, and in the longest outbox."""

    messages: int
    bytes: int
    longest: int


class Hub:
    """The sessions, peers, rooms and pending offers of one server."""

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
        """Make a hub without sessions.

        `directory` and `bus` lead to other nodes; `stopwatch` gives seconds from anywhere, by which requests are timed,
        and `None` times nothing.
        """
        self.settings = settings
        self.counters = Counters()
        self.phase = Phase.SERVING
        self.degraded = False
        """Whether memory is short: nobody is let in meanwhile, and those who are here go on."""
        self._stopwatch = stopwatch
        self._tracer = tracer
        self._started_at = now.monotonic
        self._sessions: dict[str, Session] = {}
        self._to_end: deque[tuple[Session, DisconnectReason]] = deque()
        """Sessions that end when the present request is done."""
        self._ending = False
        self._limiter = RateLimiter(
            per_second=settings.rate_per_second,
            burst=settings.rate_burst,
            bytes_per_token=settings.rate_kib_per_token * 1024,
        )
        self._held = Held(settings.flood_hold_seconds)
        self._headcount = Headcount(settings)
        self._rooms = Rooms()
        self._offers = Offers(
            lifetime_seconds=settings.pending_offer_seconds, max_pending_of_maker=settings.max_pending_offers
        )
        self._delivery = Delivery(self.counters, tracer)
        self._farewells = Farewells(self._delivery)
        self._standing = Standing(Patterns(settings.reserved_peer_ids), self._headcount, self._held, self._end_later)
        self._call_in_next_turn: Callable[[], None] | None = None
        self._turn_asked = False
        """True once the next turn of the event loop was asked for."""
        self._announcing = AnnounceRule(
            settings, self._rooms, self._delivery, self._farewells, self._limiter, self._standing, directory
        )
        authenticating = AuthenticateRule(self._standing)
        relays = RelayRules(settings, self._offers, self._delivery, bus)
        self._leaving = LeaveRule(self._rooms, self._offers, self._farewells, relays, directory)
        self._listing = ListRule(settings, self._rooms, self._limiter)
        self._rules: dict[type[Any], Rule] = {
            Announce: self._announcing.announce,
            Offer: relays.offer,
            Answer: relays.answer,
            IceCandidate: relays.ice_candidate,
            Disconnect: self._leaving.disconnect,
            ListPeers: self._listing.list_peers,
            HealthCheck: self._health_check,
            Authenticate: authenticating.authenticate,
        }

    # Sessions.

    def open(
        self,
        protocol: str,
        encoding: Encoding,
        on_end: Callable[[DisconnectReason], None],
        now: Instant,
        caller: Caller = ANYWHERE,
    ) -> Session:
        """Begin a session.

        `protocol` is the name of its way in, `on_end` is called once, when the session ends. Raises SignalingError
        where the server is full or short of memory, the caller has as many sessions as it may, or is held off after
        flooding (RESOURCE_EXHAUSTED), and where the server is leaving or draining (UNAVAILABLE).
        """
        try:
            self._check_room_for_one(caller, now)
        except SignalingError as error:
            note_refusal(self.counters, protocol, error, caller.address)
            raise
        settings = self.settings
        outbox = Outbox(max_messages=settings.outbox_max_messages, max_bytes=settings.outbox_max_bytes)
        session = Session(secrets.token_hex(8), protocol, encoding, outbox, caller, self.counters.tallies(protocol))
        session.on_end = on_end
        session.opened_at = session.unannounced_since = now.monotonic
        session.ends_at = end_of(session.identity, now)
        self._sessions[session.id] = session
        if self._headcount.limited:
            self._headcount.enter(session)
        self.counters.sessions[protocol] += 1
        logger.info(
            "session started",
            extra={
                "session": session.id,
                "protocol": protocol,
                "remote": session.remote or UNIX,
                "identity": session.identity.name,
                "client": session.client,
            },
        )
        return session

    def _check_room_for_one(self, caller: Caller, now: Instant) -> None:
        if not self.serving:
            raise errors.server_draining()
        settings = self.settings
        if self.degraded:
            raise errors.out_of_memory(settings.max_memory_mb)
        if len(self._sessions) >= settings.max_sessions:
            raise errors.too_many_sessions("SIGNALING_MAX_SESSIONS", settings.max_sessions)
        self._check_held(caller, now)
        if self._headcount.limited:
            self._headcount.check(caller.identity, caller.address)

    def _check_held(self, caller: Caller, now: Instant) -> None:
        """Raise SignalingError where a caller is held off."""
        if self._held.until:
            self._held.check(caller.identity.name, caller.address, now.monotonic)

    def hold_off(self, identity: Identity, address: str, now: Instant) -> None:
        """Keep out an identity, or an address where there is none, for a while, since it has flooded.

        It gets no session and no answer without one until then; the sessions that it has go on.
        """
        if self._held.hold(identity.name, address, now.monotonic):
            logger.info(
                "held off after flooding",
                extra={
                    "identity": identity.name or None,
                    "remote": address or UNIX,
                    "hold_seconds": self._held.seconds,
                },
            )

    def end(self, session: Session, reason: DisconnectReason, now: Instant) -> None:
        """End a session, whoever wants it: its peer leaves, and its `on_end` is told. A second end is ignored.

        While the hub is ending another one, this one's turn comes after it.
        """
        self._end_later(session, reason)
        self._end_queued(now)

    def _end_later(self, session: Session, reason: DisconnectReason) -> None:
        """End a session when the present request, or turn, is done."""
        self._to_end.append((session, reason))

    def review(self, judge: Judge, now: Instant) -> None:
        """Ask of every session whether what proved its identity still does, since that has changed.

        Where `judge` returns `None` the session ends as `revoked`; another identity takes the place of its own, which
        may end it likewise; the same one changes nothing. Of many sessions some are asked about in later turns.
        """
        self._standing.review(list(self._sessions.values()), judge, now)
        self._end_queued(now)

    @property
    def serving(self) -> bool:
        """True in the phase in which newcomers are welcome."""
        return self.phase is Phase.SERVING

    def leave(self) -> None:
        """Refuse newcomers from now on; everything else goes on."""
        if self.phase is Phase.SERVING:
            self.phase = Phase.LEAVING

    def drain(self, now: Instant) -> None:
        """End every session with `draining`; no events are sent from here on."""
        self.phase = Phase.DRAINING
        self._delivery.silent = True
        for session in list(self._sessions.values()):
            self.end(session, DisconnectReason.DRAINING, now)

    def spread_farewells(self, call_in_next_turn: Callable[[], None] | None, now: Instant) -> None:
        """Spreads over turns of the event loop the events of peers that leave, and reviews.

        `call_in_next_turn` asks for `go_on`. None: all is done at once, as it is from the beginning.
        """
        self._call_in_next_turn = call_in_next_turn
        ask = None if call_in_next_turn is None else self._ask_for_turn
        self._standing.spread(ask, now)
        self._end_queued(now)
        self._farewells.spread(ask, now)
        self._end_queued(now)

    def _ask_for_turn(self) -> None:
        """Asks for the next turn, once."""
        if not self._turn_asked and self._call_in_next_turn is not None:
            self._turn_asked = True
            self._call_in_next_turn()

    def go_on(self, now: Instant) -> None:
        """Begins a turn of the event loop, where it was asked for."""
        self._turn_asked = False
        self._farewells.go_on(now)
        self._standing.go_on(now)
        self._end_queued(now)

    def expire(self, now: Instant) -> float:
        """Do what is due: end offers, silent newcomers, and sessions that read too slowly or whose credentials end.

        Returns the monotonic time at which it next wants to be called, at the latest.
        """
        settings, moment = self.settings, now.monotonic
        offer_due = self._offers.expire(moment)
        self._limiter.expire(moment)
        self._held.expire(moment)
        announce_seconds, send_seconds = settings.announce_timeout_seconds, settings.send_deadline_seconds
        unannounced_since = oldest = moment
        ends_at = NEVER
        for session in self._sessions.values():
            if session.ends_at <= moment:
                self._to_end.append((session, DisconnectReason.TOKEN_EXPIRED))
                continue
            ends_at = min(ends_at, session.ends_at)
            if session.peer is None:
                if session.unannounced_since + announce_seconds <= moment:
                    self._to_end.append((session, DisconnectReason.ANNOUNCE_TIMEOUT))
                else:
                    unannounced_since = min(unannounced_since, session.unannounced_since)
            put_at = session.outbox.oldest_at()
            if put_at is None:
                continue
            if put_at + send_seconds <= moment:
                self._to_end.append((session, DisconnectReason.SLOW_CONSUMER))
            else:
                oldest = min(oldest, put_at)
        self._end_queued(now)
        due = min(unannounced_since + announce_seconds, oldest + send_seconds, ends_at)
        # An offer that begins later than now cannot be due before its whole lifetime has passed.
        return min(due, moment + settings.pending_offer_seconds if offer_due is None else offer_due)

    def _end_queued(self, now: Instant) -> None:
        """End the sessions queued for ending, and those that this ends in turn, one after the other."""
        if self._ending:
            return
        slow = self._delivery.slow
        self._ending = True
        try:
            while self._to_end or slow:
                while slow:
                    self._to_end.append((slow.pop(0), DisconnectReason.SLOW_CONSUMER))
                session, reason = self._to_end.popleft()
                if session.end_reason is None:
                    self._end_one(session, reason, now)
                    on_end = session.on_end
                    session.let_go()
                    on_end(reason)
        finally:
            self._ending = False

    def _end_one(self, session: Session, reason: DisconnectReason, now: Instant) -> None:
        session.end_reason = reason
        del self._sessions[session.id]
        if self._headcount.limited:
            self._headcount.leave(session)
        self.counters.sessions[session.protocol] -= 1
        self.counters.disconnects[session.protocol, reason.word] += 1
        peer, session.peer = session.peer, None
        if peer is not None:
            self._leaving.remove(peer, now)
        logger.info(
            "session ended",
            extra={
                "session": session.id,
                "protocol": session.protocol,
                "remote": session.remote or UNIX,
                "identity": session.identity.name,
                "room": peer.room.name if peer is not None else None,
                "peer": peer.peer_id if peer is not None else None,
                "client": session.client,
                "reason": reason.word,
                "seconds": round(now.monotonic - session.opened_at, 3),
                "requests": session.request_count,
            },
        )

    # Requests.

    def apply(
        self,
        session: Session,
        request: Request,
        request_id: RequestId,
        now: Instant,
        *,
        sink: Sink | None = None,
        traceparent: str = "",
    ) -> None:
        """Apply one request as a whole, and queue its response.

        Where the outcome waits for another node's word, `session.awaiting` is true until the response is queued, and
        nothing more may be applied for this session; then `session.on_ready` is called. Nor is anything to be applied
        while `session.share` is not fresh: the carrier lets others have a turn first. The response goes to `sink`
        where there is one. `traceparent` is the request's own trace context (W3C), where it has one.
        """
        stopwatch = self._stopwatch
        began = 0.0 if stopwatch is None else stopwatch()
        tally = session.tallies.get(request.kind) or add_tally(session.tallies, request.kind)
        outcome: Outcome | Pending[Reply]
        try:
            if session.end_reason is not None:
                raise errors.session_ended()
            self._limiter.take(session.holder, tally.kind, now.monotonic)
            if self._tracer is None:
                outcome = self._rules[type(request)](session, request, now)
            else:
                outcome = self._apply_in_span(self._tracer, session, request, now, traceparent)
        except SignalingError as error:
            outcome = error.bare()
        except Exception:
            logger.exception("%s failed", tally.kind, extra={"session": session.id})
            outcome = errors.internal_error()
        if isinstance(outcome, Pending):
            self._await(session, tally, outcome, request_id, began, sink)
            return
        self._finish(session, tally, outcome, request_id, now, sink)
        if stopwatch is not None:
            tally.observe(stopwatch() - began)

    def _apply_in_span(
        self, tracer: Tracer, session: Session, request: Request, now: Instant, traceparent: str
    ) -> Outcome | Pending[Reply]:
        """Apply a rule inside a span, for which a refusal is no fault."""
        with tracer.request(session, request.kind, traceparent or session.traceparent):
            try:
                return self._rules[type(request)](session, request, now)
            except SignalingError as error:
                return error.bare()

    def _await(
        self,
        session: Session,
        tally: Tally,
        pending: Pending[Reply],
        request_id: RequestId,
        began: float,
        sink: Sink | None,
    ) -> None:
        """Finish the request when its outcome is known, and let the carrier go on if it had to wait."""

        def known(outcome: Outcome, then: Instant) -> None:
            has_waited, session.awaiting = session.awaiting, False
            self._finish(session, tally, outcome, request_id, then, sink)
            if self._stopwatch is not None:
                tally.observe(self._stopwatch() - began)
            if has_waited:
                session.on_ready(then)

        session.awaiting = not pending.resolved
        pending.then(known)

    def _finish(
        self,
        session: Session,
        tally: Tally,
        outcome: Outcome,
        request_id: RequestId,
        now: Instant,
        sink: Sink | None,
    ) -> None:
        """Count the outcome of a request and respond with it, then end those whose end it has brought about."""
        session.request_count += 1
        if isinstance(outcome, SignalingError):
            self._count_refusal(session, tally.kind, outcome, now)
        else:
            tally.accepted += 1
        self._delivery.respond(session, outcome, request_id, now, sink)
        if self._delivery.slow or self._to_end:
            self._end_queued(now)

    def _count_refusal(self, session: Session, kind: str, error: SignalingError, now: Instant) -> None:
        """Count a refused request; where there were too many that had to wait and did not, its session ends."""
        self.counters.refused_requests[session.protocol, kind, error.code.name] += 1
        retry_after_ms = error.retry_after_ms
        if retry_after_ms is None or session.end_reason is not None:
            return
        floods = session.floods
        if floods is None:
            floods = session.floods = FloodCount()
        if floods.count(kind, retry_after_ms, now.monotonic):
            self._to_end.append((session, DisconnectReason.FLOODING))
            self.hold_off(session.identity, session.remote, now)

    def respond(
        self,
        session: Session,
        kind: str,
        outcome: Any,
        request_id: RequestId,
        now: Instant,
        *,
        sink: Sink | None = None,
    ) -> None:
        """Count a request that its adapter carried out by itself, or could not read, and respond with `outcome`.

        That is a SignalingError, or a reply that the session's encoding knows. Where such requests come too often, the
        response says so. `kind` must be one of the protocol's words, or `unknown`.
        """
        try:
            self._limiter.take(session.holder, kind, now.monotonic)
        except SignalingError as too_many:
            outcome = too_many.bare()
        self._finish(session, self.counters.tally(session.protocol, kind), outcome, request_id, now, sink)

    def put_array(self, session: Session, frame: bytes | None, now: Instant) -> None:
        """Queues the responses to a batch, which an adapter has encoded as one array; `None` where it has none.

        Its adapter bounds it, by `max_batch_response_bytes`.
        """
        self._delivery.put_array(session, frame, now)
        if self._delivery.slow:
            self._end_queued(now)

    def query(self, protocol: str, request: ListPeers | HealthCheck, caller: Caller, now: Instant) -> PeerList | Health:
        """Answer a question that needs no session; raises SignalingError where it is refused."""
        reply: PeerList | Health
        try:
            self._take_question(protocol, request.kind, caller, now)
            reply = self.health(now) if isinstance(request, HealthCheck) else self._listing.answer(request, caller, now)
        except SignalingError as error:
            self.counters.refused_requests[protocol, request.kind, error.code.name] += 1
            raise
        self.counters.tally(protocol, request.kind).accepted += 1
        return reply

    def refuse_query(
        self, protocol: str, kind: str, error: SignalingError, caller: Caller, now: Instant
    ) -> SignalingError:
        """Count a question that its adapter could not read; see `query` and `respond`. Returns the error to raise."""
        try:
            self._take_question(protocol, kind, caller, now)
        except SignalingError as too_many:
            error = too_many.bare()
        self.counters.refused_requests[protocol, kind, error.code.name] += 1
        return error

    def _take_question(self, protocol: str, kind: str, caller: Caller, now: Instant) -> None:
        """Take a question from its caller's bucket; SignalingError where that is empty, or the caller held off."""
        try:
            self._check_held(caller, now)
        except SignalingError as error:
            note_refusal(self.counters, protocol, error, caller.address)
            raise
        self._limiter.take(caller.holder, kind, now.monotonic)

    def deliver(self, room_name: str, to_peer_id: str, event: Event, from_protocol: str, now: Instant) -> None:
        """Queue an event for one peer, as a bus brings it.

        Raises SignalingError where nobody of that id is here (NOT_FOUND) or its outbox is full (UNAVAILABLE).
        """
        room = self._rooms.find(room_name)
        target = room.peers.get(to_peer_id) if room is not None else None
        if target is None:
            raise errors.peer_not_found(to_peer_id)
        self._delivery.relay(target, event, self.counters.tally(from_protocol, event.kind), now)

    # What the hub is asked by those who run it.

    def health(self, now: Instant) -> Health:
        """Returns the server's health: `unhealthy` once it leaves, `degraded` while it is short of memory."""
        return Health(
            status="unhealthy" if not self.serving else "degraded" if self.degraded else "healthy",
            uptime_seconds=int(now.monotonic - self._started_at),
            connected_peers=self.peer_count,
            metrics={
                "pending_offers": len(self._offers),
                "sessions": dict(self.counters.sessions),
                "rooms": len(self._rooms),
            },
        )

    def _health_check(self, session: Session, request: HealthCheck, now: Instant) -> Reply:
        return self.health(now)

    @property
    def session_count(self) -> int:
        """Open sessions, all protocols together."""
        return len(self._sessions)

    @property
    def peer_count(self) -> int:
        """Announced peers, all rooms together."""
        return self._rooms.peer_count

    @property
    def room_count(self) -> int:
        """Rooms with at least one peer."""
        return len(self._rooms)

    @property
    def pending_offer_count(self) -> int:
        """Offers that wait for their answer."""
        return len(self._offers)

    def queued(self) -> Queued:
        """Messages in the outboxes now; looks at every session."""
        lengths = [len(session.outbox) for session in self._sessions.values()]
        size = sum(session.outbox.queued_bytes for session in self._sessions.values())
        return Queued(sum(lengths), size, max(lengths, default=0))
