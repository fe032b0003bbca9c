"""The standing of a session: on whose behalf it acts, until when, and whether its peer may still be whom it is.

Rule 1: the end of an identity is reckoned by the wall clock when a session gets it, and counted on the monotonic clock
from then on: who is let in stays in, however the wall clock is turned. Rule 2: a right is asked for by each request
that needs it, and its loss ends nothing. A peer id and a room are held all the time: a session whose identity may not
have these any more ends as `revoked`. Rule 3: an end comes after the response to the request that brings it about.
Source: `docs/protocol.md`, section "authenticate".
"""

from collections import deque
from collections.abc import Callable, Container
from typing import Final, NamedTuple, TypeAlias

from sigbridge.auth import Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.floods import Held
from sigbridge.headcount import Headcount
from sigbridge.instant import NEVER, Instant
from sigbridge.session import Session
from sigbridge.share import EVENTS_PER_TURN

LONGEST_SECONDS: Final = 10 * 365.25 * 86400
"""The longest time after which a session ends with its identity: ten years. What lasts longer never ends."""
EVENTS_PER_END: Final = 16
"""Events that count as much as the end of one session: of these, 32 come in one turn."""

Judge: TypeAlias = Callable[[Identity], Identity | None]
"""Says what has become of an identity: the same, another one in its place, or `None` where it is revoked."""


def end_of(identity: Identity, now: Instant) -> float:
    """Returns when a session that gets this identity now ends because of it (monotonic seconds), or `NEVER`."""
    if identity.expires_at is None:
        return NEVER
    left = identity.expires_at + identity.leeway_seconds - now.unix
    return now.monotonic + max(left, 0.0) if left <= LONGEST_SECONDS else NEVER


class Review(NamedTuple):
    """A judge, and the sessions that it has not seen yet."""

    judge: Judge
    left: deque[Session]


class Standing:
    """Gives sessions their identities, and reviews them."""

    __slots__ = ("_call_in_next_turn", "_end", "_headcount", "_held", "_reserved", "_reviews")

    def __init__(
        self,
        reserved: Container[str],
        headcount: Headcount,
        held: Held,
        end: Callable[[Session, DisconnectReason], None],
    ) -> None:
        """`reserved` are the peer ids of those alone whose own patterns name them; `end` queues the end of a session.

        What is queued ends with the request or the turn.
        """
        self._reserved = reserved
        self._headcount = headcount
        self._held = held
        self._end = end
        self._call_in_next_turn: Callable[[], None] | None = None
        self._reviews: deque[Review] = deque()

    def check_announce(self, session: Session, room: str, peer_id: str) -> None:
        """Raises SignalingError (PERMISSION_DENIED) where a session may not be that peer of that room."""
        session.identity.check_announce(room, peer_id, self._reserved)

    def give(self, session: Session, identity: Identity, now: Instant) -> None:
        """Lets a session act for an identity from now on, as long as that lasts.

        Its peer leaves, and it ends, where the identity may not be that peer. Raises SignalingError
        (RESOURCE_EXHAUSTED) where that is another's, who is held off or may have no further session; nothing has
        changed then.
        """
        if identity.name != session.identity.name:
            self._held.check(identity.name, session.remote, now.monotonic)
        self._headcount.give(session, identity)
        session.ends_at = end_of(identity, now)
        peer = session.peer
        if peer is not None and not identity.may_be(peer.room.name, peer.peer_id, self._reserved):
            self._end(session, DisconnectReason.REVOKED)

    # Reviews: of all sessions, since what proved their identities has changed.

    def spread(self, call_in_next_turn: Callable[[], None] | None, now: Instant) -> None:
        """Spreads reviews over turns, of which `call_in_next_turn` asks for the next; None: each is done at once."""
        self._call_in_next_turn = call_in_next_turn
        if call_in_next_turn is None:
            self.go_on(now)

    def review(self, sessions: list[Session], judge: Judge, now: Instant) -> None:
        """Begins to ask `judge` about each of these sessions, in this turn and in later ones."""
        busy = bool(self._reviews)
        self._reviews.append(Review(judge, deque(sessions)))
        if not busy:
            self.go_on(now)

    def go_on(self, now: Instant) -> None:
        """Asks about as many sessions as one turn has room for."""
        if not self._reviews:
            return
        call_in_next_turn = self._call_in_next_turn
        if call_in_next_turn is not None:
            # Before a judge that may fail: a fault of ours holds up no others.
            call_in_next_turn()
        used = 0
        while self._reviews and (call_in_next_turn is None or used < EVENTS_PER_TURN):
            judge, left = self._reviews[0]
            if not left:
                self._reviews.popleft()
                continue
            used += self._review_one(left.popleft(), judge, now)

    def _review_one(self, session: Session, judge: Judge, now: Instant) -> int:
        """Asks about one session; returns the events that this counts as much as."""
        before = session.identity
        if session.end_reason is not None:
            return 1
        identity = judge(before)
        if identity is None:
            self._end(session, DisconnectReason.REVOKED)
            return EVENTS_PER_END
        if identity is not before:
            ends_at = session.ends_at
            self.give(session, identity, now)
            if (identity.expires_at, identity.leeway_seconds) == (before.expires_at, before.leeway_seconds):
                # What has not changed is not reckoned anew: the wall clock may have been turned meanwhile.
                session.ends_at = ends_at
        return 1
