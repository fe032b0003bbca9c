"""The resumable peers: numbering what they are told, keeping it, and holding those that have lost their sessions.

Their states are drawn in `continuity.py`. Rule 1: peers that must leave do so when the request is done that brings it
about. Rule 2: nothing is forgotten of a peer that is held. Rule 3: what is kept is looked through a part at a time.
Source: `docs/resuming.md`.
"""

import logging
from collections.abc import Callable
from typing import Final

from sigbridge.addresses import UNIX, address_group
from sigbridge.continuity import Continuity, ResumeTokens
from sigbridge.counters import Counters
from sigbridge.headcount import Headcount
from sigbridge.held_peers import HeldPeers
from sigbridge.instant import NEVER, Instant
from sigbridge.journal import Bounds, Journal
from sigbridge.kept import Kept
from sigbridge.session import Peer, Session
from sigbridge.settings import Settings

_SWEEPS: Final = 4
"""Looks for what is too old, in the time for which it is kept."""
PEERS_PER_SWEEP: Final = 128
"""Peers that are looked through at once; the others come in the next turn."""

_LOGGER: Final = logging.getLogger("sigbridge.session")


class Holding:
    """The resumable peers of one hub."""

    __slots__ = (
        "_bounds",
        "_busy",
        "_counters",
        "_headcount",
        "_keep_seconds",
        "_leave",
        "_sweep_at",
        "_tokens",
        "_unswept",
        "held",
        "window_seconds",
    )

    def __init__(
        self, settings: Settings, counters: Counters, headcount: Headcount, leave: Callable[[Peer], None]
    ) -> None:
        """`leave` lets a peer without a session leave, when the present request or turn is done."""
        self._counters = counters
        self._headcount = headcount
        self._leave = leave
        self.window_seconds = settings.resume_window_seconds
        """The seconds for which a peer is held; 0: no peer is resumable."""
        self._bounds = Bounds(settings.resume_max_messages, settings.resume_max_bytes)
        self._keep_seconds = (
            settings.resume_window_seconds
            + settings.send_deadline_seconds
            + settings.ping_interval_seconds
            + settings.ping_timeout_seconds
        )
        """For so long the client of a standing session could still come to ask for an event."""
        self._tokens: ResumeTokens[Peer] = ResumeTokens()
        self._busy: dict[Continuity, Session] = {}
        """Those of which something is kept while their sessions stand."""
        self._unswept: list[Continuity] = []
        """Those of them that are not looked through yet."""
        self._sweep_at = NEVER
        self.held = HeldPeers(
            max_peers=settings.max_held_peers or settings.max_sessions, max_bytes=settings.max_held_bytes
        )

    def begin(self, peer: Peer, session: Session, now: Instant) -> None:
        """Makes a new peer resumable: it gets a token, numbers and a journal."""
        journal = Journal(self._bounds, now.monotonic)
        continuity = Continuity(journal, session.identity, session.protocol, session.remote)
        peer.continuity = session.continuity = continuity
        self._tokens.add(continuity, peer)

    def find(self, token: str) -> Peer | None:
        """Returns the peer of a token; `None` where it is nobody's."""
        return self._tokens.find(token)

    # While a session stands.

    def schedule_sweep(self, continuity: Continuity, session: Session, now: float) -> None:
        """Puts a session's peer among those to be swept later (`now` in monotonic seconds)."""
        self._busy[continuity] = session
        if self._sweep_at == NEVER:
            self._sweep_at = now + self._keep_seconds / _SWEEPS

    def number(self, continuity: Continuity, session: Session, kept: Kept, now: float) -> int:
        """Numbers and keeps an event that a session is told next; returns its number."""
        journal = continuity.journal
        if continuity.is_idle:
            self.schedule_sweep(continuity, session, now)
        number = journal.keep(kept)
        if journal.is_full:
            # What is numbered is put into the outbox next.
            journal.bound(len(session.outbox) + 1)
        return number

    # Losing a session, and coming back.

    def hold(self, peer: Peer, session: Session, now: Instant) -> None:
        """Holds a resumable peer whose session was lost; other held peers leave if there is too much then.

        :raises ValueError: if the peer is not resumable.
        """
        continuity = peer.continuity
        if continuity is None:
            raise ValueError("the peer is not resumable")
        in_outbox = len(session.outbox)
        # Before it is held: the bounds count what is kept.
        continuity.trim(now.monotonic - self._keep_seconds, in_outbox)
        continuity.identity = session.identity
        continuity.lose(in_outbox)
        self._busy.pop(continuity, None)
        peer.detach_session()
        self.held.hold(peer, continuity, now.monotonic + self.window_seconds)
        _LOGGER.info("peer held", extra=log_fields(session, peer) | {"kept_bytes": continuity.bytes})
        # Last, since this peer itself may be the one that has to leave.
        self._bound()

    def keep(self, peer: Peer, kept: Kept) -> bool:
        """Keeps an event for a held peer; returns False if it does not fit, or the peer is not held."""
        continuity = peer.continuity
        if continuity is None or peer not in self.held or not continuity.journal.fits(kept):
            return False
        continuity.journal.keep_held(kept)
        self.held.grow(peer, kept.size)
        self._bound()
        return True

    def resume(self, peer: Peer, session: Session, seq: int, now: Instant) -> None:
        """Gives a resumable peer, held or not, to another session; its former session is left to the caller.

        The client has seen its events up to `seq`, and all later ones are still kept.

        :raises ValueError: if the peer is not resumable.
        """
        continuity = peer.continuity
        if continuity is None:
            raise ValueError("the peer is not resumable")
        if peer in self.held:
            self.held.release(peer)
            self._counters.held_ends["resumed"] += 1
        continuity.find(seq, now.monotonic)
        continuity.protocol = session.protocol
        continuity.remote = session.remote
        peer.attach_session(session)
        session.continuity = continuity
        if not continuity.is_idle:
            self.schedule_sweep(continuity, session, now.monotonic)

    # Leaving for good.

    def give_up(self, peer: Peer, why: str) -> None:
        """Stops holding a peer, if it is held, and lets it leave; `why` is one of `counters.HELD_ENDS`."""
        if self.let_go(peer, why):
            self._leave(peer)

    def let_go(self, peer: Peer, why: str) -> bool:
        """Stops holding a peer, which the caller lets leave; returns whether it was held."""
        if peer not in self.held:
            return False
        self.held.release(peer)
        self._counters.held_ends[why] += 1
        continuity = peer.continuity
        if continuity is not None:
            _LOGGER.info(
                "held peer left",
                extra={
                    "protocol": continuity.protocol,
                    "remote": continuity.remote or UNIX,
                    "identity": continuity.identity.name,
                    "room": peer.room.name,
                    "peer": peer.peer_id,
                    "reason": why,
                },
            )
        return True

    def forget(self, peer: Peer) -> None:
        """Forgets the token and the journal of a peer that leaves now, and is not held."""
        continuity = peer.continuity
        if continuity is None:
            return
        continuity.leave()
        self._tokens.remove(continuity)
        self._busy.pop(continuity, None)
        if peer.session is not None and peer.session.continuity is continuity:
            peer.session.continuity = None

    def make_room_for(self, session: Session) -> None:
        """Lets the oldest held peers leave of a newcomer's identity and address, as many as are over their limits.

        Held peers count with the open sessions, and yield to them.
        """
        headcount, held = self._headcount, self.held
        if not headcount.limited:
            return
        name, group = session.identity.name, address_group(session.remote)
        while headcount.is_over_identity(name, held.of_identity.count(name)):
            if (peer := held.of_identity.first(name)) is None:
                break
            self.give_up(peer, "limited")
        while headcount.is_over_group(group, held.of_group.count(group)):
            if (peer := held.of_group.first(group)) is None:
                break
            self.give_up(peer, "limited")

    def _bound(self) -> None:
        while (peer := self.held.peer_over_bounds()) is not None:
            self.give_up(peer, "bounds")

    def expire(self, now: float) -> float:
        """Lets held peers leave whose time is up, and sweeps; returns when it is due next (monotonic seconds)."""
        while (peer := self.held.due(now)) is not None:
            self.give_up(peer, "expired")
        if self._sweep_at <= now:
            self._sweep(now)
        return min(self._sweep_at, self.held.next_due())

    def _sweep(self, now: float) -> None:
        """Forgets what is too old of some of the peers whose sessions stand; the others follow in later calls."""
        if not self._unswept:
            self._unswept = list(self._busy)
        unswept, before = self._unswept, now - self._keep_seconds
        for continuity in unswept[-PEERS_PER_SWEEP:]:
            session = self._busy.get(continuity)
            if session is None:
                continue
            continuity.trim(before, len(session.outbox))
            if continuity.is_idle:
                del self._busy[continuity]
        del unswept[-PEERS_PER_SWEEP:]
        if not unswept:
            self._sweep_at = now + self._keep_seconds / _SWEEPS if self._busy else NEVER


def owner_of(peer: Peer) -> str:
    """Returns the name of a peer's identity; empty if that is nobody in particular."""
    if peer.session is not None:
        return peer.session.identity.name
    return "" if peer.continuity is None else peer.continuity.identity.name


def log_fields(session: Session, peer: Peer) -> dict[str, object]:
    """Returns the fields of a log line about a session and its peer."""
    return {
        "session": session.id,
        "protocol": session.protocol,
        "remote": session.remote or UNIX,
        "identity": session.identity.name,
        "room": peer.room.name,
        "peer": peer.peer_id,
        "client": session.client,
    }
