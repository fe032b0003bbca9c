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
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from sigbridge import errors
from sigbridge.addresses import UNIX
from sigbridge.arrivals import Arrivals
from sigbridge.auth import Identity
from sigbridge.awaited_answers import AwaitedAnswer
from sigbridge.counters import Counters, Tally, add_tally
from sigbridge.disconnects import DisconnectReason
from sigbridge.door import Door
from sigbridge.elsewhere import Bus, Directory
from sigbridge.endings import Endings
from sigbridge.errors import SignalingError
from sigbridge.floods import FloodCount
from sigbridge.held_peers import HeldPeers
from sigbridge.ice_servers import IceStock
from sigbridge.instant import Instant
from sigbridge.kept import Remembered
from sigbridge.messages import (
    Health,
    HealthCheck,
    ListPeers,
    PeerList,
    RelayedEvent,
    Reply,
    Request,
)
from sigbridge.outbox import Outbox
from sigbridge.parts import Parts
from sigbridge.pending import Pending
from sigbridge.questions import Questions, Queued, queued_by
from sigbridge.refused import note_refusal
from sigbridge.remembered import finish
from sigbridge.repeats import REPEATED
from sigbridge.session import ANYWHERE, Caller, Encoding, Outcome, RequestId, Session, Sink
from sigbridge.settings import Settings
from sigbridge.standing import Judge, end_of
from sigbridge.tracing import Tracer
from sigbridge.turns import Turns

logger = logging.getLogger("sigbridge.session")

_REPEATED: Final = REPEATED


class Phase(Enum):
    """The states of a server; see the diagram above."""

    SERVING = "serving"
    LEAVING = "leaving"
    DRAINING = "draining"


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
        """Makes a hub without sessions.

        `directory` and `bus` lead to other nodes; `stopwatch` gives seconds from anywhere, by which requests are timed,
        and `None` times nothing.
        """
        self.settings = settings
        self.counters = Counters()
        self.phase = Phase.SERVING
        self.degraded = False
        """True while memory is short: nobody is let in then, and those who are here go on."""
        self._stopwatch = stopwatch
        self._tracer = tracer
        self._sessions: dict[str, Session] = {}
        self._parts = parts = Parts(settings, self.counters, directory, bus, tracer)
        self._limiter = parts.limiter
        self._headcount = parts.headcount
        self._rooms = parts.rooms
        self._offers = parts.offers
        self._awaited = parts.awaited
        self._delivery = parts.delivery
        self._notices = parts.notices
        self._repeats = parts.repeats
        self._standing = parts.standing
        self._endings = Endings(settings, parts, self.counters, self._sessions)
        self._to_end = parts.ends.waiting
        """The ends that come when the present request is done; not empty between requests only where one is ending."""
        self._arrivals = Arrivals(parts, self.counters)
        self._door = Door(settings, parts)
        self._questions = Questions(parts, self.counters, now.monotonic, self._status)
        self._turns = Turns(parts, self._endings)
        self._rules = parts.rules
        self._rules[HealthCheck] = self._questions.health_check

    # Sessions.

    def open(
        self,
        protocol: str,
        encoding: Encoding,
        on_end: Callable[[DisconnectReason], None],
        now: Instant,
        caller: Caller = ANYWHERE,
    ) -> Session:
        """Begins a session.

        `protocol` is the name of its way in, `on_end` is called once, when the session ends.

        :raises SignalingError: RESOURCE_EXHAUSTED if the server is full or short of memory, the caller has as many
            sessions as it may, or is held off after flooding; UNAVAILABLE if the server is leaving or draining.
        """
        try:
            if not self.serving:
                raise errors.server_draining()
            self._door.check(caller, len(self._sessions), self.degraded, now)
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

    def hold_off(self, identity: Identity, address: str, now: Instant) -> None:
        """Keeps out an identity, or an address where there is none, for a while, since it has flooded.

        It gets no session and no response without one until then; the sessions that it has go on.
        """
        self._door.hold_off(identity, address, now)

    def end(self, session: Session, reason: DisconnectReason, now: Instant) -> None:
        """Ends a session: its peer leaves or is held, and its `on_end` is called. A second end is ignored.

        While the hub is ending another one, this one's turn comes after it.
        """
        self._to_end.append((session, reason))
        self._endings.run(now)

    def review(self, judge: Judge, now: Instant) -> None:
        """Asks `judge` about the identity of every session and held peer, since what proves identities has changed.

        If `judge` returns `None` the session ends as `revoked`; another identity takes the place of its own, which may
        end it likewise; the same one changes nothing. Of many sessions some are asked about in later turns.
        """
        self._standing.review(list(self._sessions.values()), judge, now)
        self._endings.run(now)

    @property
    def serving(self) -> bool:
        """True in the phase in which newcomers are welcome."""
        return self.phase is Phase.SERVING

    def leave(self) -> None:
        """Refuses newcomers from now on; everything else goes on."""
        if self.phase is Phase.SERVING:
            self.phase = Phase.LEAVING

    def tell_of_leaving(self, ends_at: float, now: Instant) -> bool:
        """Tells those who asked that the server leaves, some at a time; see `Notices.tell_of_leaving`.

        Returns whether it is worth waiting until `ends_at` (monotonic seconds) for them to go by themselves.
        """
        if self.phase is not Phase.LEAVING:
            return False
        anybody = self._notices.tell_of_leaving(self._sessions.values(), ends_at, now)
        self._endings.run(now)
        return anybody

    def retry_after_ms(self, session: Session, reason: DisconnectReason) -> int | None:
        """Returns after how many milliseconds a session that ends for this reason may come back.

        `None` if nothing is known, or its client has not asked to be told.
        """
        return self._notices.retry_after_ms(session, reason)

    def put_ice_servers(self, stock: IceStock) -> None:
        """Gives peers these ICE servers from now on, in place of those of the settings or of a call before.

        Those who have others are told soon.
        """
        self._parts.ice_servers.put(stock)

    def drain(self, now: Instant) -> None:
        """Ends every session with `draining`; no events are sent from here on."""
        self.phase = Phase.DRAINING
        # Before the first end: nobody is told that all the others leave.
        self._delivery.silent = True
        self._notices.spread(sum(session.wants_notices for session in self._sessions.values()))
        self._endings.drain(now)

    def spread_farewells(self, call_in_next_turn: Callable[[], None] | None, now: Instant) -> None:
        """Spreads over turns of the event loop the events of peers that leave, and reviews.

        `call_in_next_turn` asks for `go_on`; None, as at first, does all at once.
        """
        self._turns.spread(call_in_next_turn, now)

    def go_on(self, now: Instant) -> None:
        """Begins a turn of the event loop, where it was asked for."""
        self._turns.go_on(now)

    def expire(self, now: Instant) -> float:
        """Does what is due; returns when it is to be called next, at the latest (monotonic seconds).

        It ends offers, silent newcomers, and sessions that are silent, read too slowly or have expired.
        """
        parts_due = self._parts.expire(now)
        session_due = self._endings.look(now)
        self._endings.run(now)
        return min(parts_due, session_due)

    def forgive(self, seconds: float, now: Instant) -> None:
        """Takes the last `seconds` off the waits of newcomers and slow readers.

        The process did not run in these, or not enough to hear them.
        """
        self._endings.forgive(seconds, now.monotonic)

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
        """Applies one request as a whole, and queues its response; a refusal is a response, too.

        If the outcome waits for another node's word, `session.awaiting` is true until the response is queued, and
        nothing more may be applied for this session; then `session.on_ready` is called. Nor is anything to be applied
        while `session.share` is not fresh: the carrier lets others have a turn first. The response goes to `sink` if
        there is one, but for an offer that waits for its answer: that comes among the events. `traceparent` is the
        request's own trace context (W3C), if it has one.
        """
        asked: Remembered | None = None
        if session.continuity is not None:
            # Before the limiter: a request that comes again is not carried out, and takes no token.
            asked = self._repeats.once(session, request, request_id, now, sink)
            if asked is _REPEATED:
                self._endings.run(now)
                return
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
            if isinstance(outcome, AwaitedAnswer):
                self._await_answer(session, tally, outcome, request_id, began, now)
            else:
                self._await(session, tally, outcome, request_id, began, sink, asked)
            return
        if asked is not None:
            sink = finish(asked, outcome, now.monotonic) or sink
        self._finish(session, tally, outcome, request_id, now, sink)
        if stopwatch is not None:
            tally.observe(stopwatch() - began)

    def _apply_in_span(
        self, tracer: Tracer, session: Session, request: Request, now: Instant, traceparent: str
    ) -> Outcome | Pending[Reply]:
        """Applies a rule inside a span, for which a refusal is no fault."""
        with tracer.request(session, request.kind, traceparent or session.traceparent):
            try:
                return self._rules[type(request)](session, request, now)
            except SignalingError as error:
                return error.bare()

    def _await(  # prose: all that is known of a request, which on the hot path no object holds
        self,
        session: Session,
        tally: Tally,
        pending: Pending[Reply],
        request_id: RequestId,
        began: float,
        sink: Sink | None,
        asked: Remembered | None,
    ) -> None:
        """Finishes the request when its outcome is known, and lets the carrier go on if it had to wait."""

        def known(outcome: Outcome, then: Instant) -> None:
            """Finishes the request with its outcome, and lets the carrier go on if the session had to wait."""
            has_waited, session.awaiting = session.awaiting, False
            joined = None if asked is None else finish(asked, outcome, then.monotonic)
            self._finish(session, tally, outcome, request_id, then, joined or sink)
            if self._stopwatch is not None:
                tally.observe(self._stopwatch() - began)
            if has_waited:
                session.on_ready(then)

        session.awaiting = not pending.resolved
        pending.then(known)

    def _await_answer(
        self,
        session: Session,
        tally: Tally,
        awaited: AwaitedAnswer,
        request_id: RequestId,
        began: float,
        now: Instant,
    ) -> None:
        """Finishes the request whenever the answer comes; the session waits only until the bus has relayed the offer.

        When the outcome is known here, the answer itself was queued as its sender's relay. The timing ends when the
        offer has reached its target.
        """

        def known(outcome: Outcome, then: Instant) -> None:
            """Counts the outcome of the offer; a refusal is queued among the events."""
            session.request_count += 1
            if isinstance(outcome, SignalingError):
                self._count_refusal(session, tally.kind, outcome, then)
                self._delivery.refuse_late(session, outcome, request_id, then)
            else:
                tally.accepted += 1

        def relayed(word: Outcome | None, then: Instant) -> None:
            """Ends the timing when the offer has reached its target.

            The carrier goes on if the session had to wait.
            """
            has_waited, session.awaiting = session.awaiting, False
            if self._stopwatch is not None:
                tally.observe(self._stopwatch() - began)
            if self._delivery.slow or self._to_end:
                self._endings.run(then)
            if has_waited:
                session.on_ready(then)

        awaited.request_id = request_id
        awaited.then(known)
        if awaited.relayed is None:
            relayed(None, now)
        else:
            session.awaiting = not awaited.relayed.resolved
            awaited.relayed.then(relayed)

    def _finish(
        self,
        session: Session,
        tally: Tally,
        outcome: Outcome,
        request_id: RequestId,
        now: Instant,
        sink: Sink | None,
    ) -> None:
        """Counts the outcome of a request and responds with it, then ends those whose end it has brought about."""
        session.request_count += 1
        if isinstance(outcome, SignalingError):
            self._count_refusal(session, tally.kind, outcome, now)
        else:
            tally.accepted += 1
        self._delivery.respond(session, outcome, request_id, now, sink)
        if self._delivery.slow or self._to_end:
            self._endings.run(now)

    def _count_refusal(self, session: Session, kind: str, error: SignalingError, now: Instant) -> None:
        """Counts a refused request; where there were too many that had to wait and did not, its session ends."""
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
        """Counts a request that its adapter carried out by itself, or could not read, and responds with `outcome`.

        `outcome` is a SignalingError, or a reply that the session's encoding knows. It is replaced by a refusal if such
        requests come too often. `kind` must be one of the protocol's words, or `unknown`.
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
            self._endings.run(now)

    def deliver(self, room_name: str, to_peer_id: str, event: RelayedEvent, from_protocol: str, now: Instant) -> None:
        """Queues an event for one peer, as a bus brings it.

        :raises SignalingError: NOT_FOUND if no such peer is here, or is told such an event; UNAVAILABLE if its outbox
            is full.
        """
        self._arrivals.deliver(room_name, to_peer_id, event, from_protocol, now)
        if self._to_end:
            # A request of this node that has sent it comes to its end first.
            self._turns.end_later(now)

    # Questions, and what the hub is asked by those who run it.

    def query(self, protocol: str, request: ListPeers | HealthCheck, caller: Caller, now: Instant) -> PeerList | Health:
        """Returns the reply to a request that needs no session.

        :raises SignalingError: if the request is refused.
        """
        return self._questions.query(protocol, request, caller, now)

    def refuse_query(
        self, protocol: str, kind: str, error: SignalingError, caller: Caller, now: Instant
    ) -> SignalingError:
        """Counts a request without a session that its adapter could not read; see `query` and `respond`.

        Returns the error to respond with: `error`, or another one if such requests come too often.
        """
        return self._questions.refuse(protocol, kind, error, caller, now)

    def health(self, now: Instant) -> Health:
        """Returns the server's health: `unhealthy` once it leaves, `degraded` while it is short of memory."""
        return self._questions.health(now)

    def _status(self) -> str:
        return "unhealthy" if not self.serving else "degraded" if self.degraded else "healthy"

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

    @property
    def awaited_answer_count(self) -> int:
        """Offers to which the answer will be the reply, among those that wait for it."""
        return len(self._awaited)

    @property
    def held(self) -> HeldPeers:
        """The peers that have lost their sessions and are expected back."""
        return self._parts.holding.held

    def queued(self) -> Queued:
        """Returns the messages and bytes in the outboxes now; it looks at every session."""
        return queued_by(self._sessions.values())
