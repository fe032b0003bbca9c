"""Questions that need no session: a listing, and how the server is.

They are counted and limited as requests are; whoever is held off after flooding gets no response.
Source: `docs/protocol.md`, section "What each request does".
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from sigbridge.counters import Counters
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.messages import Health, HealthCheck, ListPeers, PeerList, Reply
from sigbridge.parts import Parts
from sigbridge.refused import note_refusal
from sigbridge.session import Caller, Session


class Queued(NamedTuple):
    """Messages that wait to be sent: of all sessions together, and in the longest outbox."""

    messages: int
    bytes: int
    longest: int


def queued_by(sessions: Collection[Session]) -> Queued:
    """Returns the messages and bytes that wait in the outboxes of these sessions."""
    lengths = [len(session.outbox) for session in sessions]
    size = sum(session.outbox.queued_bytes for session in sessions)
    return Queued(sum(lengths), size, max(lengths, default=0))


class Questions:
    """Carries out the requests of one hub that need no session."""

    __slots__ = ("_counters", "_held_off", "_limiter", "_listing", "_offers", "_rooms", "_started_at", "_status")

    def __init__(self, parts: Parts, counters: Counters, started_at: float, status: Callable[[], str]) -> None:
        """`started_at` is when the server began (monotonic seconds), `status` returns the word for how it is now."""
        self._counters = counters
        self._held_off = parts.held_off
        self._limiter = parts.limiter
        self._listing = parts.listing
        self._offers = parts.offers
        self._rooms = parts.rooms
        self._started_at = started_at
        self._status = status

    def health(self, now: Instant) -> Health:
        """Returns the server's health."""
        return Health(
            status=self._status(),
            uptime_seconds=int(now.monotonic - self._started_at),
            connected_peers=self._rooms.peer_count,
            metrics={
                "pending_offers": len(self._offers),
                "sessions": dict(self._counters.sessions),
                "rooms": len(self._rooms),
            },
        )

    def health_check(self, session: Session, request: HealthCheck, now: Instant) -> Reply:
        """Applies the rule of `health_check`, the same question in a session."""
        return self.health(now)

    def query(self, protocol: str, request: ListPeers | HealthCheck, caller: Caller, now: Instant) -> PeerList | Health:
        """Returns the reply to a request without a session.

        :raises SignalingError: if the request is refused.
        """
        reply: PeerList | Health
        try:
            self._charge(protocol, request.kind, caller, now)
            reply = self.health(now) if isinstance(request, HealthCheck) else self._listing.query(request, caller, now)
        except SignalingError as error:
            self._counters.refused_requests[protocol, request.kind, error.code.name] += 1
            raise
        self._counters.tally(protocol, request.kind).accepted += 1
        return reply

    def refuse(self, protocol: str, kind: str, error: SignalingError, caller: Caller, now: Instant) -> SignalingError:
        """Counts a request without a session that its adapter could not read; returns the error to respond with."""
        try:
            self._charge(protocol, kind, caller, now)
        except SignalingError as too_many:
            error = too_many.bare()
        self._counters.refused_requests[protocol, kind, error.code.name] += 1
        return error

    def _charge(self, protocol: str, kind: str, caller: Caller, now: Instant) -> None:
        """Takes a token from the caller's bucket for a request without a session.

        :raises SignalingError: RESOURCE_EXHAUSTED if the bucket is empty, or the caller is held off.
        """
        try:
            if self._held_off.until:
                self._held_off.check(caller.identity.name, caller.address, now.monotonic)
        except SignalingError as error:
            note_refusal(self._counters, protocol, error, caller.address)
            raise
        self._limiter.take(caller.holder, kind, now.monotonic)
