"""Offers that wait for their answer: one for each (from, to) of a room; their SDPs are not kept.

Source: `docs/protocol.md`, "offer, answer, ice_candidate".
"""

from typing import TypeAlias

OfferKey: TypeAlias = tuple[str, str, str]
"""Room, from, to."""


class PendingOffers:
    """The pending offers in the order in which they expire."""

    def __init__(self, *, lifetime_seconds: float) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._expires_at: dict[OfferKey, float] = {}
        self._of_peer: dict[tuple[str, str], set[OfferKey]] = {}
        self._last_milliseconds = 0

    def __len__(self) -> int:
        return len(self._expires_at)

    def __contains__(self, key: OfferKey) -> bool:
        return key in self._expires_at

    def next_id(self, from_peer_id: str, to_peer_id: str, unix_seconds: float) -> str:
        """`FROM_TO_MILLISECONDS`; the milliseconds rise with every offer, by one where the clock has not moved."""
        self._last_milliseconds = max(int(unix_seconds * 1000), self._last_milliseconds + 1)
        return f"{from_peer_id}_{to_peer_id}_{self._last_milliseconds}"

    def add(self, key: OfferKey, now: float) -> None:
        """Begin an offer; an older one of the same key is replaced."""
        if self._expires_at.pop(key, None) is None:
            room, sender, target = key
            for peer_id in (sender, target):
                keys = self._of_peer.get((room, peer_id))
                if keys is None:
                    keys = self._of_peer[room, peer_id] = set()
                keys.add(key)
        self._expires_at[key] = now + self._lifetime_seconds

    def end(self, key: OfferKey) -> None:
        """End an offer, where there is one: it was answered, or one of the two hung up."""
        if self._expires_at.pop(key, None) is None:
            return
        room, sender, target = key
        for peer_id in (sender, target):
            keys = self._of_peer[room, peer_id]
            keys.discard(key)
            if not keys:
                del self._of_peer[room, peer_id]

    def end_all_of(self, room: str, peer_id: str) -> None:
        """End every offer from or to a peer: it left."""
        for key in list(self._of_peer.get((room, peer_id), ())):
            self.end(key)

    def expire(self, now: float) -> float | None:
        """End what has waited too long; say when the next one will have (monotonic seconds)."""
        while self._expires_at:
            key, expires_at = next(iter(self._expires_at.items()))
            if expires_at > now:
                return expires_at
            self.end(key)
        return None
