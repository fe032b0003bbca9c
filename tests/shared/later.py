"""An authenticator that looks up later who comes, when a test says so."""

from sigbridge import Instant
from sigbridge.auth import Credentials, Identity
from sigbridge.errors import SignalingError
from sigbridge.pending import Pending
from sigbridge.session import Session

ALICE = Identity("alice", source="jwt")


class Later:
    """Keeps everybody waiting, and the credentials that were shown."""

    def __init__(self) -> None:
        self.shown: list[Credentials] = []
        self.waiting: list[Pending[Identity]] = []

    def authenticate(self, credentials: Credentials, now: Instant) -> Pending[Identity]:
        self.shown.append(credentials)
        pending: Pending[Identity] = Pending()
        self.waiting.append(pending)
        return pending

    def decide(self, outcome: Identity | SignalingError, now: Instant) -> None:
        """Tells everybody who waits."""
        waiting, self.waiting = self.waiting, []
        for pending in waiting:
            pending.resolve(outcome, now)


class AtOnce:
    """Says who comes by what is known already, as one may."""

    def __init__(self, outcome: Identity | SignalingError) -> None:
        self.outcome = outcome

    def authenticate(self, credentials: Credentials, now: Instant) -> Pending[Identity]:
        pending: Pending[Identity] = Pending()
        pending.resolve(self.outcome, now)
        return pending


class Full(dict[str, Session]):
    """Sessions of a hub that fails where it should keep another one."""

    def __setitem__(self, name: str, session: Session) -> None:
        raise RuntimeError("canary")
