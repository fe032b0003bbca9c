"""The number of open sessions of each identity and from each group of addresses, where these are limited.

Rule 1: whoever is nobody in particular counts for no identity, and a unix socket for no address. Rule 2: a session
counts for the identity that it has now: `give` is the only way to another one. Rule 3: nothing is counted that no limit
asks for, and nothing is kept of those who have no session. Rule 4: peers that are held without a session count too, and
yield: nobody is refused for their sake, but the oldest leaves for a newcomer.
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
        """Checks that an identity and an address may have another session.

        :raises SignalingError: RESOURCE_EXHAUSTED if either may not.
        """
        self._check_identity(identity)
        if self._max_of_address and self._of_address.get(address_group(address), 0) >= self._max_of_address:
            raise errors.too_many_sessions("SIGNALING_MAX_SESSIONS_PER_ADDRESS", self._max_of_address)

    def enter(self, session: Session) -> None:
        """Adds a session that begins."""
        if self._max_of_identity:
            _count_one_more(self._of_identity, session.identity.name)
        if self._max_of_address:
            _count_one_more(self._of_address, address_group(session.remote))

    def leave(self, session: Session) -> None:
        """Takes away a session that has ended."""
        if self._max_of_identity:
            _count_one_less(self._of_identity, session.identity.name)
        if self._max_of_address:
            _count_one_less(self._of_address, address_group(session.remote))

    def give(self, session: Session, identity: Identity) -> None:
        """Sets another identity of an open session, and counts the session with that one.

        :raises SignalingError: RESOURCE_EXHAUSTED if that is another's, who may have no further session; nothing has
            changed then.
        """
        if self._max_of_identity and identity.name != session.identity.name:
            self._check_identity(identity)
            _count_one_less(self._of_identity, session.identity.name)
            _count_one_more(self._of_identity, identity.name)
        session.identity = identity

    def is_over_identity(self, name: str, more: int) -> bool:
        """Returns whether an identity is over its limit, with so many more besides its open sessions."""
        return 0 < self._max_of_identity < self._of_identity.get(name, 0) + more and bool(name)

    def is_over_group(self, group: str, more: int) -> bool:
        """Returns whether a group of addresses is over its limit, with so many more besides its open sessions."""
        return 0 < self._max_of_address < self._of_address.get(group, 0) + more and bool(group)

    def _check_identity(self, identity: Identity) -> None:
        if self._max_of_identity and self._of_identity.get(identity.name, 0) >= self._max_of_identity:
            raise errors.too_many_sessions("SIGNALING_MAX_SESSIONS_PER_IDENTITY", self._max_of_identity)


def _count_one_more(counts: dict[str, int], name: str) -> None:
    """Counts one more; nobody has no name."""
    if name:
        counts[name] = counts.get(name, 0) + 1


def _count_one_less(counts: dict[str, int], name: str) -> None:
    """Counts one less."""
    if name:
        left = counts[name] - 1
        if left:
            counts[name] = left
        else:
            del counts[name]
