"""The door of a hub: who may begin a session, as far as limits say; and who is held off for a while.

Source: `docs/protocol.md`, section "Refused at the door".
"""

import logging
from typing import Final

from sigbridge import errors
from sigbridge.addresses import UNIX
from sigbridge.auth import Identity
from sigbridge.instant import Instant
from sigbridge.parts import Parts
from sigbridge.session import Caller
from sigbridge.settings import Settings

_LOGGER: Final = logging.getLogger("sigbridge.session")


class Door:
    """The limits at the door of one hub."""

    __slots__ = ("_headcount", "_held_off", "_max_memory_mb", "_max_sessions")

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._max_memory_mb = settings.max_memory_mb
        self._max_sessions = settings.max_sessions
        self._headcount = parts.headcount
        self._held_off = parts.held_off

    def check(self, caller: Caller, session_count: int, degraded: bool, now: Instant) -> None:
        """Checks that a caller may have another session.

        `session_count` are open now; `degraded` says that memory is short.

        :raises SignalingError: RESOURCE_EXHAUSTED if it may not.
        """
        if degraded:
            raise errors.out_of_memory(self._max_memory_mb)
        if session_count >= self._max_sessions:
            raise errors.too_many_sessions("SIGNALING_MAX_SESSIONS", self._max_sessions)
        if self._held_off.until:
            self._held_off.check(caller.identity.name, caller.address, now.monotonic)
        if self._headcount.limited:
            self._headcount.check(caller.identity, caller.address)

    def hold_off(self, identity: Identity, address: str, now: Instant) -> None:
        """Keeps out an identity, or an address where there is none, for a while, since it has flooded."""
        if self._held_off.hold(identity.name, address, now.monotonic):
            _LOGGER.info(
                "held off after flooding",
                extra={
                    "identity": identity.name or None,
                    "remote": address or UNIX,
                    "hold_seconds": self._held_off.seconds,
                },
            )
