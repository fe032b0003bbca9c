"""The ends of sessions, and the leaving of peers that have none, one after the other.

Rule 1: a session's end removes only what is its own: another session may have its peer by now. Rule 2: while one ends,
whatever that brings about waits its turn. Rule 3: a peer is held whose client is expected back, and leaves otherwise.
Source: `docs/protocol.md`, section "How a connection ends".
"""

import logging
from typing import Final

from sigbridge.addresses import UNIX
from sigbridge.counters import Counters
from sigbridge.disconnects import DisconnectReason
from sigbridge.instant import NEVER, Instant
from sigbridge.parts import Parts
from sigbridge.session import Peer, Session
from sigbridge.settings import Settings

logger = logging.getLogger("sigbridge.session")

HOLDING_REASONS: Final = frozenset(
    {
        DisconnectReason.CONNECTION_LOST,
        DisconnectReason.KEEPALIVE_TIMEOUT,
        DisconnectReason.SLOW_CONSUMER,
        DisconnectReason.MAX_AGE,
        DisconnectReason.TOKEN_EXPIRED,
        DisconnectReason.MESSAGE_TIMEOUT,
        DisconnectReason.OVERLOAD,
        DisconnectReason.INTERNAL_ERROR,
    }
)
"""Ends of a session after which its client is expected back."""


class Endings:
    """Ends the sessions of one hub."""

    def __init__(self, settings: Settings, parts: Parts, counters: Counters, sessions: dict[str, Session]) -> None:
        """`sessions` are all that are open, by their ids; who ends is taken out."""
        self._announce_seconds = settings.announce_timeout_seconds
        self._send_seconds = settings.send_deadline_seconds
        self._counters = counters
        self._sessions = sessions
        self._ends = parts.ends
        self._delivery = parts.delivery
        self._headcount = parts.headcount
        self._holding = parts.holding
        self._ice_servers = parts.ice_servers
        self._leaving = parts.leaving
        self._notices = parts.notices
        self._silence = parts.silence
        self._busy = False
        """True while one ends."""
        self._holds = True
        """False once no peer is held any more, since the server drains."""

    def drain(self, now: Instant) -> None:
        """Ends every session with `draining`, and lets every held peer leave; none is held from here on."""
        self._holds = False
        for session in list(self._sessions.values()):
            self._ends.end(session, DisconnectReason.DRAINING)
            self.run(now)
        for peer in self._holding.held.all():
            self._holding.give_up(peer, "draining")
        self.run(now)

    def forgive(self, seconds: float, moment: float) -> None:
        """Makes the waits of newcomers and slow readers younger by so many seconds; see `Hub.forgive`."""
        for session in self._sessions.values():
            session.unannounced_since = min(session.unannounced_since + seconds, moment)
            session.outbox.forgive(seconds, moment)

    def look(self, now: Instant) -> float:
        """Queues the end of each session that is silent, reads too slowly, has expired or does not announce a peer.

        Sessions that asked for notices are told of credentials that are about to expire. Returns when the next of all
        this is due (monotonic seconds), at the earliest.
        """
        moment, announce_seconds, send_seconds = now.monotonic, self._announce_seconds, self._send_seconds
        unannounced_since = oldest = moment
        ends_at = NEVER
        end = self._ends.end
        for session in self._sessions.values():
            if session.ends_at <= moment:
                end(session, DisconnectReason.TOKEN_EXPIRED)
                continue
            ends_at = min(ends_at, session.ends_at)
            if session.wants_notices:
                ends_at = min(ends_at, self._notices.expiring(session, now))
            if session.peer is None:
                if session.unannounced_since + announce_seconds <= moment:
                    end(session, DisconnectReason.ANNOUNCE_TIMEOUT)
                else:
                    unannounced_since = min(unannounced_since, session.unannounced_since)
            put_at = session.outbox.oldest_at()
            if put_at is None:
                continue
            if put_at + send_seconds <= moment:
                end(session, DisconnectReason.SLOW_CONSUMER)
            else:
                oldest = min(oldest, put_at)
        if self._silence.due <= moment:
            for session in self._silence.look(self._sessions.values(), moment):
                end(session, DisconnectReason.KEEPALIVE_TIMEOUT)
        return min(unannounced_since + announce_seconds, oldest + send_seconds, ends_at, self._silence.due)

    def run(self, now: Instant) -> None:
        """Ends what is queued for ending, and what this ends in turn, one after the other."""
        if self._busy:
            return
        waiting, slow = self._ends.waiting, self._delivery.slow
        self._busy = True
        try:
            while waiting or slow:
                while slow:
                    self._ends.end(slow.pop(0), DisconnectReason.SLOW_CONSUMER)
                ending = waiting.popleft()
                if isinstance(ending, Peer):
                    self._leaving.remove(ending, now)
                    continue
                session, reason = ending
                if session.end_reason is None:
                    self._end(session, reason, now)
                    on_end = session.on_end
                    session.let_go()
                    on_end(reason)
        finally:
            self._busy = False

    def _end(self, session: Session, reason: DisconnectReason, now: Instant) -> None:
        """Removes a session from all tables, holds its peer or lets it leave, and logs the end."""
        # First: whatever follows from the end must find the session ended.
        session.end_reason = reason
        del self._sessions[session.id]
        if self._headcount.limited:
            self._headcount.leave(session)
        self._counters.sessions[session.protocol] -= 1
        self._counters.disconnects[session.protocol, reason.word] += 1
        peer, session.peer = session.peer, None
        # The peer keeps its continuity: a session that has ended numbers nothing any more.
        session.continuity = None
        if self._ice_servers.asked:
            self._ice_servers.forget(session)
        # Another session may have the peer by now.
        if peer is not None and peer.session is session:
            if peer.continuity is not None and self._holds and reason in HOLDING_REASONS:
                self._holding.hold(peer, session, now)
            else:
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
