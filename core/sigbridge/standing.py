"""The standing of a session: on whose behalf it acts, until when, and whether its peer may still be whom it is.

Rule 1: the end of an identity is reckoned by the wall clock when a session gets it, and counted on the monotonic clock
from then on: who is let in stays in, however the wall clock is turned. Rule 2: a right is asked for by each request
that needs it, and its loss ends nothing. A peer id and a room are held all the time: a session whose identity may not
have these any more ends as `revoked`. Rule 3: an end comes after the response to the request that brings it about.

The states of a review, of which one at a time goes on; each turn has room for so many steps:

    queued ──those before it are done──▶ at sessions ──none is left──▶ at held peers ──none is left──▶ (done)

Source: `docs/protocol.md`, section "authenticate".
"""

from collections import deque
from collections.abc import Callable, Container
from typing import Final, TypeAlias

from sigbridge.auth import Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.floods import HeldOff
from sigbridge.headcount import Headcount
from sigbridge.holding import Holding
from sigbridge.instant import NEVER, Instant
from sigbridge.session import Peer, Session
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


class Review:
    """A judge, and those whom it has not seen yet: first of the sessions, then of the peers that are held without one.

    Who loses its session meanwhile is among the second.
    """

    __slots__ = ("held", "judge", "sessions")

    def __init__(self, judge: Judge, sessions: list[Session]) -> None:
        self.judge = judge
        self.sessions = deque(sessions)
        self.held: deque[Peer] | None = None
        """Those that are held when the last session has been seen; `None` before."""


class Standing:
    """Gives sessions their identities, and reviews them."""

    __slots__ = ("_call_in_next_turn", "_end", "_headcount", "_held", "_holding", "_reserved", "_reviews")

    def __init__(
        self,
        reserved: Container[str],
        headcount: Headcount,
        held: HeldOff,
        holding: Holding,
        end: Callable[[Session, DisconnectReason], None],
    ) -> None:
        """`reserved` are the peer ids of those alone whose own patterns name them; `end` queues the end of a session.

        What is queued ends with the request or the turn.
        """
        self._reserved = reserved
        self._headcount = headcount
        self._held = held
        self._holding = holding
        self._end = end
        self._call_in_next_turn: Callable[[], None] | None = None
        self._reviews: deque[Review] = deque()

    def check_announce(self, session: Session, room: str, peer_id: str) -> None:
        """Checks that a session may announce that peer id in that room.

        :raises SignalingError: PERMISSION_DENIED if it may not.
        """
        session.identity.check_announce(room, peer_id, self._reserved)

    def give(self, session: Session, identity: Identity, now: Instant) -> None:
        """Gives a session an identity from now on, as long as that lasts.

        It is queued to end if that may not be its peer.

        :raises SignalingError: RESOURCE_EXHAUSTED if the identity is another one that is held off, or may have no
            further session; nothing has changed then.
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
        """Begins to ask `judge` about each of these sessions and held peers, in this turn and in later ones."""
        busy = bool(self._reviews)
        self._reviews.append(Review(judge, sessions))
        if not busy:
            self.go_on(now)

    def go_on(self, now: Instant) -> None:
        """Lets the judges of reviews see as many sessions and held peers as one turn has room for.

        Ends those they revoke.
        """
        if not self._reviews:
            return
        call_in_next_turn = self._call_in_next_turn
        if call_in_next_turn is not None:
            # Before a judge that may fail: a fault of ours holds up no others.
            call_in_next_turn()
        used = 0
        while self._reviews and (call_in_next_turn is None or used < EVENTS_PER_TURN):
            review = self._reviews[0]
            if review.sessions:
                used += self._review_one(review.sessions.popleft(), review.judge, now)
            elif review.held is None:
                review.held = deque(self._holding.held.all())
            elif review.held:
                used += self._review_held(review.held.popleft(), review.judge)
            else:
                self._reviews.popleft()

    def _review_one(self, session: Session, judge: Judge, now: Instant) -> int:
        """Asks the judge about one session; returns how many events of a turn that counts for."""
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

    def _review_held(self, peer: Peer, judge: Judge) -> int:
        """Asks the judge about a held peer, unless it is back; returns how many events of a turn that counts for."""
        continuity = peer.continuity
        if continuity is None or peer.session is not None:
            return 1
        identity = judge(continuity.identity)
        if identity is None or not identity.may_be(peer.room.name, peer.peer_id, self._reserved):
            self._holding.give_up(peer, "revoked")
            return EVENTS_PER_END
        continuity.identity = identity
        return 1
