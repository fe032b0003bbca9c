"""The life of a connection: its greeting, keepalive, age, idleness, stalls, floods, and its end.

Its states, and the verb of each step:

    greeting ──greet──▶ serving ──leave──▶ leaving ──drain──▶ draining ──close──▶ closing ──conclude──▶ concluded
    any before ──drain──▶ draining       any before ──close──▶ closing       any ──abort──▶ aborted

Leaving, a connection takes no more calls (GOAWAY's first step; some may be on their way) and closes when its last call
has ended, for its client as well; so it does draining, where calls that would not end by themselves are ended at once.
Closing, it says its last words and listens no more; concluded, all is written, and the client may take so long to go.
Aborted, nobody is there. Every state has a deadline.
Source: RFC 9113, section 6.8; `docs/protocol.md`, section "How a connection ends".
"""

import random
from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.floods import FloodCount
from sigbridge.instant import NEVER, Instant
from sigbridge.settings import Settings
from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.floods import Bucket
from sigbridge_net.keepalive import KeepaliveStep, closing_seconds, first_pinged_at, judge_silence, silence_due
from sigbridge_net.unfinished import SLOWEST_BYTES_PER_SECOND

GREETING: Final = 0
SERVING: Final = 1
LEAVING: Final = 2
DRAINING: Final = 3
CLOSING: Final = 4
CONCLUDED: Final = 5
ABORTED: Final = 6

# What follows in each state.
# fmt: off
#                      greeting  serving   leaving   draining  closing    concluded  aborted
_ON_LEAVE: Final =    [LEAVING,  LEAVING,  LEAVING,  DRAINING, CLOSING,   CONCLUDED, ABORTED]
_ON_DRAIN: Final =    [DRAINING, DRAINING, DRAINING, DRAINING, CLOSING,   CONCLUDED, ABORTED]
_ON_CLOSE: Final =    [CLOSING,  CLOSING,  CLOSING,  CLOSING,  CLOSING,   CONCLUDED, ABORTED]
_ON_CONCLUDE: Final = [GREETING, SERVING,  LEAVING,  DRAINING, CONCLUDED, CONCLUDED, ABORTED]
# fmt: on

MAX_PINGS_IN_A_ROW: Final = 100
"""Pings within `PING_WINDOW_SECONDS`, nothing being said by either side between, that send a client away."""
PING_WINDOW_SECONDS: Final = 10.0
"""Clients that only listen send keepalive pings and nothing else for days: what counts is how fast they come."""
MAX_REFUSED_CALLS: Final = 1000
REFUSED_CALLS_PER_SECOND: Final = 33.0
"""Calls that may be refused before they begin, at once and in the long run: each costs far more than its bytes."""
AGE_JITTER: Final = 0.1
"""Ages are drawn from this much around their setting, so that clients do not come back all at once."""


class Lifetime:
    """The state of one connection, and its clocks."""

    __slots__ = (
        "_close_by",
        "_floods",
        "_grace_seconds",
        "_http2",
        "_idle_since",
        "_old_at",
        "_ping_window_ends",
        "_pinged_at",
        "_refused",
        "_settings",
        "heard_at",
        "pings_in_a_row",
        "sent_at",
        "stalled_since",
        "state",
    )

    def __init__(self, http2: Connection, settings: Settings, now: Instant) -> None:
        moment = now.monotonic
        self._http2 = http2
        self._settings = settings
        self.state = GREETING
        self.heard_at = self.sent_at = moment
        self.pings_in_a_row = 0
        self.stalled_since = NEVER
        """The moment since which the carrier is seen to take nothing, though there is something."""
        self._ping_window_ends = moment
        self._pinged_at = -1.0
        self._idle_since = moment
        age = settings.grpc_max_connection_age_seconds
        self._old_at = moment + age * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER) if age else NEVER  # noqa: S311
        self._close_by = moment + settings.handshake_timeout_seconds
        """The deadline of the greeting, and later of the end."""
        self._grace_seconds = settings.shutdown_grace_seconds
        """The time that a shutdown may take, from the drain on."""
        self._refused: Bucket | None = None
        self._floods: FloodCount | None = None
        """The questions that the rate limit has refused, from the first on."""

    # The steps.

    def greet(self) -> None:
        """Notes that the client has begun to speak."""
        self.state = SERVING

    def leave(self, now: Instant, *, idle: bool) -> None:
        """Asks the client for no more calls (GOAWAY); the connection closes with the last one, at once if `idle`."""
        if self.state < LEAVING:
            self._http2.announce_shutdown()
        self.state = _ON_LEAVE[self.state]
        if idle:
            self.become_idle(now)

    def drain(self, now: Instant, grace_seconds: float = NEVER, *, idle: bool) -> None:
        """Leaves because the server shuts down, within so much time."""
        self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self.leave(now, idle=idle)
        self.state = _ON_DRAIN[self.state]

    def close(self, now: Instant, reason: DisconnectReason | None = None) -> None:
        """Listens no more; its client has a while to read the rest, less if it does not read."""
        if self.state < CLOSING:
            self._close_by = now.monotonic + closing_seconds(self._settings, reason)
        self.state = _ON_CLOSE[self.state]

    def conclude(self) -> None:
        """Records that all is written; it changes nothing unless the connection is closing."""
        self.state = _ON_CONCLUDE[self.state]

    def abort(self) -> None:
        """Gives the connection up: nobody is there any more."""
        self.state = ABORTED

    def last_words_seconds(self, size: int) -> float:
        """Returns the seconds that a client has to take so many bytes of a call that has ended; then they are dropped.

        A slow link has its time, as for a message of its own. While the server shuts down that is half of what was left
        of its grace at most, so that who does not read is told before the end.
        """
        patience = self._settings.close_timeout_seconds + size / SLOWEST_BYTES_PER_SECOND
        return min(patience, self._grace_seconds / 2) if self.state == DRAINING else patience

    # What leads to them.

    def become_idle(self, now: Instant) -> None:
        """Records that the last call has ended, and closes the connection if it is leaving."""
        self._idle_since = now.monotonic
        self.go_on_leaving(now)

    def go_on_leaving(self, now: Instant) -> None:
        """Closes a connection that is leaving and has no calls, when its client counts none as open either."""
        if self.state in (LEAVING, DRAINING) and not self._http2.awaits_ends:
            self._http2.goaway()
            self.close(now)

    def count_ping(self, now: Instant) -> bool:
        """Counts a ping of the client; too many are told by GOAWAY, and True is returned."""
        if now.monotonic >= self._ping_window_ends:
            self._ping_window_ends = now.monotonic + PING_WINDOW_SECONDS
            self.pings_in_a_row = 0
        self.pings_in_a_row += 1
        if self.pings_in_a_row <= MAX_PINGS_IN_A_ROW or self.state >= CLOSING:
            return False
        self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings")
        return True

    def count_refused(self, now: Instant) -> bool:
        """Counts a call that was refused before it began; returns as `count_ping` does."""
        if self._refused is None:
            self._refused = Bucket(MAX_REFUSED_CALLS, REFUSED_CALLS_PER_SECOND)
        if not self._refused.take(now.monotonic) or self.state >= CLOSING:
            return False
        self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_refused_calls")
        return True

    def count_too_soon(self, kind: str, retry_after_ms: int, now: Instant) -> bool:
        """Counts a question that the rate limit has refused; returns whether that is flooding.

        Then the client is told to calm down, and the connection takes no more calls.
        """
        if self._floods is None:
            self._floods = FloodCount()
        if not self._floods.count(kind, retry_after_ms, now.monotonic):
            return False
        self._http2.goaway(ErrorCode.ENHANCE_YOUR_CALM, b"flooding")
        self.leave(now, idle=False)
        return True

    def expire_end(self, now: Instant) -> float:
        """Aborts a connection that does not greet or close in time; returns that deadline."""
        if now.monotonic >= self._close_by:
            self.abort()
        return self._close_by

    def expire(self, now: Instant, *, idle: bool) -> DisconnectReason | None:
        """Does what is due while serving or leaving; returns why all calls must end, or None.

        After `max_age` they end in their own way, for any other reason they are lost.
        """
        if now.monotonic >= self._old_at:
            if self.state >= LEAVING:
                self._old_at = NEVER
                return DisconnectReason.MAX_AGE
            self._old_at = now.monotonic + self._settings.shutdown_grace_seconds
            self.leave(now, idle=idle)
        if idle and now.monotonic >= self._idle_due():
            self.leave(now, idle=True)
        if self.state >= CLOSING:
            return None
        if self._is_stalled(now):
            self.abort()
            return DisconnectReason.SLOW_CONSUMER
        verdict = judge_silence(self._settings, self.heard_at, self.sent_at, self._pinged_at, now.monotonic)
        if verdict is KeepaliveStep.PING:
            self._http2.ping()
            self._pinged_at = first_pinged_at(self.heard_at, self._pinged_at, now.monotonic)
            self.sent_at = now.monotonic
        elif verdict is KeepaliveStep.END:
            self.abort()
            return DisconnectReason.KEEPALIVE_TIMEOUT
        return None

    def due(self, now: Instant, *, idle: bool) -> float:
        """Returns when `expire`, or `expire_end` while closing, is to be called next."""
        if self.state >= CLOSING:
            return self._close_by
        stall = min(self.stalled_since, now.monotonic) + self._settings.send_deadline_seconds
        if self.stalled_since == NEVER:
            stall = now.monotonic + self._settings.ping_interval_seconds
        silence = silence_due(self._settings, self.heard_at, self.sent_at, self._pinged_at)
        return min(self._old_at, self._idle_due() if idle else NEVER, stall, silence)

    def _idle_due(self) -> float:
        limit = self._settings.grpc_max_connection_idle_seconds
        return self._idle_since + limit if limit else NEVER

    def _is_stalled(self, now: Instant) -> bool:
        """Returns whether the client has read nothing for too long although there is something to write."""
        if not self._http2.wants_write:
            self.stalled_since = NEVER
            return False
        self.stalled_since = min(self.stalled_since, now.monotonic)
        return now.monotonic >= self.stalled_since + self._settings.send_deadline_seconds
