"""Stand-ins for other nodes: who owns a peer id, and what becomes of a message to a peer that is elsewhere.

A `Deferral`, of `sigbridge_compat`, is a whole one; these response, and do nothing else.
"""

from sigbridge import Event, Instant, SignalingError
from sigbridge.pending import Pending
from sigbridge.session import ProtocolName


class Elsewhere:
    """A directory and a bus that answer on command only: a test resolves what has been asked."""

    def __init__(self) -> None:
        self.asked: list[Pending[None]] = []

    def claim(self, room: str, peer_id: str, now: Instant) -> Pending[None]:
        return self._ask()

    def release(self, room: str, peer_id: str) -> None:
        pass

    def relay(
        self, room: str, to_peer_id: str, event: Event, from_protocol: ProtocolName, now: Instant
    ) -> Pending[None]:
        return self._ask()

    def _ask(self) -> Pending[None]:
        self.asked.append(Pending())
        return self.asked[-1]


class KnownAtOnce:
    """A bus whose response, always the same, is known before anybody waits for it."""

    def __init__(self, outcome: SignalingError | None = None) -> None:
        self._outcome = outcome

    def relay(
        self, room: str, to_peer_id: str, event: Event, from_protocol: ProtocolName, now: Instant
    ) -> Pending[None]:
        pending: Pending[None] = Pending()
        pending.resolve(self._outcome, now)
        return pending
