"""The end of the server's certificate: who runs the server is told of it before it comes.

Rule 1: the certificate is the one that counts now; where its file is read again, so is its end. Rule 2: a warning comes
30 days before, and each day from then on; a certificate that has expired is an error, said at once and each day.

    fine ──30 days before──► ending ──its end──► expired
      ▲                         │                   │
      └──── a later one ────────┴───────────────────┘

A clock that is turned back leads back as well.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TypeAlias

from sigbridge.instant import NEVER, Instant
from sigbridge_net.clock import read_clock
from sigbridge_net.tls import ServerTls

logger = logging.getLogger("sigbridge.server")

Clock: TypeAlias = Callable[[], Instant]

CHECK_SECONDS = 60.0
WARNING_SECONDS = 30 * 86400.0
"""So long before the end it is warned of."""
REPEAT_SECONDS = 86400.0
"""The time between two lines about the same certificate."""


class Nearness(Enum):
    """The nearness of a certificate's end."""

    FINE = "fine"
    ENDING = "ending"
    EXPIRED = "expired"


def nearness(not_after: float, unix: float) -> Nearness:
    """Returns how far an end is at a moment; both are Unix seconds."""
    if not_after <= unix:
        return Nearness.EXPIRED
    return Nearness.ENDING if not_after - unix <= WARNING_SECONDS else Nearness.FINE


def told_time(unix: float) -> str:
    """Returns a time for people and programs: UTC, to the second (RFC 3339)."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class CertificateWatch:
    """Looks at the certificate's end once a minute."""

    def __init__(self, tls: ServerTls, *, clock: Clock = read_clock) -> None:
        self._tls = tls
        self._clock = clock
        self._said: tuple[Nearness, float] | None = None
        """The state and the end that were said last; None where nothing is to be said."""
        self._again_at = NEVER
        """The moment (monotonic seconds) at which the same is said again."""
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks now, and from now on, on the running event loop."""
        self.check()
        self._handle = asyncio.get_running_loop().call_later(CHECK_SECONDS, self.start)

    def stop(self) -> None:
        """Stops looking."""
        if self._handle is not None:
            self._handle.cancel()

    def check(self) -> None:
        """Checks how near the certificate's end is, and logs it once a day if it has expired or ends soon."""
        not_after, now = self._tls.present.not_after, self._clock()
        if not_after is None:
            return
        found = nearness(not_after, now.unix)
        if found is Nearness.FINE:
            self._said = None
            return
        if self._said == (found, not_after) and now.monotonic < self._again_at:
            return
        self._said, self._again_at = (found, not_after), now.monotonic + REPEAT_SECONDS
        facts = {"files": ", ".join(self._tls.paths), "not_after": told_time(not_after)}
        if found is Nearness.EXPIRED:
            logger.error("the certificate has expired", extra=facts)
        else:
            logger.warning("the certificate ends soon", extra=facts | {"days": int((not_after - now.unix) / 86400)})
