"""The number of open sessions of each identity and from each group of addresses, where these are limited.

Rule 1: whoever is nobody in particular counts for no identity, and a unix socket for no address. Rule 2: a session
counts for the identity that it has now: `give` is the only way to another one. Rule 3: nothing is counted that no limit
asks for, and nothing is kept of those who have no session.
"""

from sigbridge import errors
from sigbridge.addresses import address_group
from sigbridge.auth import Identity
from sigbridge.session import Session
from sigbridge.settings import Settings


class Headcount:
    """The sessions of one hub."""

    __slots__ = ("_max_of_address", "_max_of_identity", "_of_address", "_of_identity", "limited")

    def __init__(self, settings: Settings) -> None:
        self._max_of_identity = settings.max_sessions_per_identity
        self._max_of_address = settings.max_sessions_per_address
        self.limited = bool(self._max_of_identity or self._max_of_address)
        """True where there is anything to be counted."""
        self._of_identity: dict[str, int] = {}
        self._of_address: dict[str, int] = {}

    def check(self, identity: Identity, address: str) -> None:
        """Raises SignalingError (RESOURCE_EXHAUSTED) where an identity, or an address, may have no further session."""
        self._check_identity(identity)
        if self._max_of_address and self._of_address.get(address_group(address), 0) >= self._max_of_address:
            raise errors.too_many_sessions("SIGNALING_MAX_SESSIONS_PER_ADDRESS", self._max_of_address)

    def enter(self, session: Session) -> None:
        """Counts a session that begins."""
        if self._max_of_identity:
            _add(self._of_identity, session.identity.name)
        if self._max_of_address:
            _add(self._of_address, address_group(session.remote))

    def leave(self, session: Session) -> None:
        """Counts a session that has ended, which was counted before."""
        if self._max_of_identity:
            _take(self._of_identity, session.identity.name)
        if self._max_of_address:
            _take(self._of_address, address_group(session.remote))

    def give(self, session: Session, identity: Identity) -> None:
        """Gives an open session another identity.

        Raises SignalingError (RESOURCE_EXHAUSTED) where that is another's, who may have no further session; nothing has
        changed then.
        """
        if self._max_of_identity and identity.name != session.identity.name:
            self._check_identity(identity)
            _take(self._of_identity, session.identity.name)
            _add(self._of_identity, identity.name)
        session.identity = identity

    def _check_identity(self, identity: Identity) -> None:
        if self._max_of_identity and self._of_identity.get(identity.name, 0) >= self._max_of_identity:
            raise errors.too_many_sessions("SIGNALING_MAX_SESSIONS_PER_IDENTITY", self._max_of_identity)


def _add(counts: dict[str, int], name: str) -> None:
    """Counts one more; nobody has no name."""
    if name:
        counts[name] = counts.get(name, 0) + 1


def _take(counts: dict[str, int], name: str) -> None:
    """Counts one less."""
    if name:
        left = counts[name] - 1
        if left:
            counts[name] = left
        else:
            del counts[name]
