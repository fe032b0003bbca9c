"""The sessions and peers whose end a request, or a turn of the event loop, has brought about: they end when it is done.

Source: `docs/architecture.md`.
"""

from collections import deque
from typing import TypeAlias

from sigbridge.disconnects import DisconnectReason
from sigbridge.session import Peer, Session

Ending: TypeAlias = tuple[Session, DisconnectReason] | Peer
"""A session that ends, and why; or a peer without a session, which leaves."""


class EndQueue:
    """The sessions and peers that must end, in the order in which that was found."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: deque[Ending] = deque()
        """Anybody may look whether there is something; `sigbridge.endings` alone takes it out."""

    def end(self, session: Session, reason: DisconnectReason) -> None:
        """Ends a session when the present request, or turn, is done."""
        self.waiting.append((session, reason))

    def leave(self, peer: Peer) -> None:
        """Lets a peer without a session leave then."""
        self.waiting.append(peer)
