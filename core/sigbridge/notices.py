"""The notices for sessions that ask to be told beforehand, and the time after which they come back when these end.

Rule 1: who did not ask is told nothing of this. Rule 2: a notice has no number and is not kept; it counts against the
outbox as an event about a room does. Rule 3: those whom one shutdown ends come back one after another, each after a
time of its own, and are told one after another, too. Rule 4: of each end by its credentials a session is told once.
Source: `docs/protocol.md`, section "Notices".
"""

import random
from collections.abc import Collection
from math import ceil
from typing import Final

from sigbridge.delivery import Delivery
from sigbridge.disconnects import DisconnectReason
from sigbridge.instant import NEVER, Instant
from sigbridge.messages import ServerNotice
from sigbridge.session import Session
from sigbridge.settings import Settings

DRAINING: Final = "draining"
TOKEN_EXPIRING: Final = "token_expiring"  # noqa: S105 - the kind of a notice
"""Kinds of notices."""

EXPIRY_NOTICE_SECONDS: Final = 60.0
"""So long before its end by its credentials a session is told; at once where less is left."""
RETURNS_PER_SECOND: Final = 1000
"""So many clients are told to come back in one second, after a shutdown."""
LEAST_SPREAD_SECONDS: Final = 1.0
"""Few clients come back within this time, one after another as well."""
STEP_SECONDS: Final = 0.05
"""The time from one look at who is to be told of a shutdown to the next."""

_EXPIRY_WORDS: Final = "The credentials of this session end soon: show newer ones with authenticate"
_DRAINING_WORDS: Final = "The server is shutting down: connect again"


class Notices:
    """The notices of one hub."""

    __slots__ = ("_delivery", "_flood_hold_seconds", "_spread_seconds", "_told")

    def __init__(self, settings: Settings, delivery: Delivery) -> None:
        self._delivery = delivery
        self._flood_hold_seconds = settings.flood_hold_seconds
        self._spread_seconds = LEAST_SPREAD_SECONDS
        """The time over which those who are told of a shutdown come back."""
        self._told: set[str] = set()
        """The ids of the sessions that were told of a shutdown."""

    def expiring(self, session: Session, now: Instant) -> float:
        """Tells a session that its credentials end, where that is due; returns when it is (monotonic seconds)."""
        ends_at, expires_at = session.ends_at, session.identity.expires_at
        if ends_at == NEVER or session.told_of_end == expires_at:
            return NEVER
        due = ends_at - EXPIRY_NOTICE_SECONDS
        if due > now.monotonic:
            return due
        session.told_of_end = expires_at
        deadline = _unix_ms(ends_at, now)
        self._delivery.notify(session, ServerNotice(TOKEN_EXPIRING, _EXPIRY_WORDS, deadline_unix_ms=deadline), now)
        return NEVER

    # Shutting down.

    def tell_of_leaving(self, sessions: Collection[Session], ends_at: float, now: Instant) -> bool:
        """Tells some of the sessions that the server shuts down, so that each of them is told by `ends_at`.

        It is called every `STEP_SECONDS`. `ends_at` is when they end (monotonic seconds). Returns whether there is
        anybody who asked to be told.
        """
        asked = [session for session in sessions if session.wants_notices]
        self.spread(len(asked))
        left = [session for session in asked if session.id not in self._told]
        steps = max((ends_at - now.monotonic) / STEP_SECONDS, 1.0)
        deadline = _unix_ms(ends_at, now)
        for session in left[: ceil(len(left) / steps)]:
            self._told.add(session.id)
            notice = ServerNotice(DRAINING, _DRAINING_WORDS, self._pause_ms(), deadline)
            self._delivery.notify(session, notice, now)
        return bool(asked)

    def spread(self, count: int) -> None:
        """Lets so many clients have the time that they need to come back one after another, or what they had."""
        self._spread_seconds = max(self._spread_seconds, count / RETURNS_PER_SECOND)

    def retry_after_ms(self, session: Session, reason: DisconnectReason) -> int | None:
        """Returns after how many milliseconds a session's client may come back; `None` where it is told nothing."""
        if not session.wants_notices:
            return None
        if reason is DisconnectReason.DRAINING:
            return self._pause_ms()
        if reason is DisconnectReason.FLOODING and self._flood_hold_seconds:
            return ceil(self._flood_hold_seconds * 1000)
        return None

    def _pause_ms(self) -> int:
        return 1 + int(random.random() * self._spread_seconds * 1000)  # noqa: S311 - nobody gains by guessing it


def _unix_ms(at: float, now: Instant) -> int:
    """Returns a moment (monotonic seconds) by the wall clock, in milliseconds."""
    return round((now.unix + at - now.monotonic) * 1000)
