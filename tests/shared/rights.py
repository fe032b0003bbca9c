"""An authenticator of a host, whose clients may enter one room only."""

from sigbridge import Instant
from sigbridge.auth import Credentials, Identity


class OnlyLobby:
    """Lets everybody in, into the room `lobby`."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        return Identity("device", rooms=frozenset({"lobby"}))


FORBIDDEN = "Room mismatch: these credentials may not enter this room"
