"""The offers that take new connections, counted for each peer: one that makes too many is a flood."""

from collections import OrderedDict
from typing import Final

MAX_CONNECTIONS: Final = 300
"""The most new connections that the offers of one peer may take in a minute."""
MINUTE_SECONDS: Final = 60.0
MAX_PEERS: Final = 4096
"""The most peers that are counted at a time; the one whose minute began first is forgotten."""


class OfferRates:
    """The counts of all peers, each of a minute that begins with an offer."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def allow(self, peer_id: str, now: float) -> bool:
        """Counts an offer; returns False, and counts it not, where the peer has made too many in this minute."""
        began_at, count = self._counts.get(peer_id, (now, 0))
        if now >= began_at + MINUTE_SECONDS:
            del self._counts[peer_id]
            began_at, count = now, 0
        if count >= MAX_CONNECTIONS:
            return False
        self._counts[peer_id] = (began_at, count + 1)
        if len(self._counts) > MAX_PEERS:
            self._counts.popitem(last=False)
        return True
