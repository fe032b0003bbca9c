"""The two doors to other nodes: who owns a peer id, and how a message reaches a peer that is connected elsewhere.

A hub without them is alone: a claim is granted and a relay delivered at once, at no cost.
"""

from typing import Protocol

from sigbridge.instant import Instant
from sigbridge.messages import RelayedEvent
from sigbridge.pending import Pending
from sigbridge.session import ProtocolName


class Directory(Protocol):
    """Knows which node owns which peer id of which room."""

    def claim(self, room: str, peer_id: str, now: Instant) -> Pending[None]:
        """Asks for a peer id; resolves to `None` when it is ours, to ALREADY_EXISTS when somebody else has it."""

    def release(self, room: str, peer_id: str) -> None:
        """Gives a peer id back."""


class Bus(Protocol):
    """Carries messages to peers wherever they are; those that are here it hands to `Hub.deliver`."""

    def relay(
        self, room: str, to_peer_id: str, event: RelayedEvent, from_protocol: ProtocolName, now: Instant
    ) -> Pending[None]:
        """Sends an event to a peer; resolves to `None` when its queue took it, else to what `Hub.deliver` raised."""
