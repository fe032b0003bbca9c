"""The peers that have lost their sessions and are expected back, and the bounds of all of them together.

A holder is an identity, or a group of addresses where there is none. Rule 1: over a bound goes the oldest of whichever
holder has most, of peers or of bytes, as the bound is: nobody can push others out by losing many sessions. Rule 2: a
peer whose time is up leaves as any other does. This table says which must go; the hub lets them leave.

    (with a session) ──hold──▶ held ──release──▶ (resumed, or left)        held ──grow──▶ held

Held, a peer is released when it is back, its time is up (`due`), or it is over a bound (`peer_over_bounds`); its
journal meanwhile is in `continuity.py`.
Source: `docs/resuming.md`.
"""

import heapq
from typing import Final

from sigbridge.continuity import Continuity
from sigbridge.instant import NEVER
from sigbridge.session import Peer

_MOST_STALE: Final = 4
"""A heap may have so many times as many entries as there are holders, before it is made anew."""


class _HoldersByWeight:
    """Holders by weight, with the heaviest at hand; of several, the one that has been so heavy for longest.

    Entries of the heap that are out of date are skipped.
    """

    def __init__(self) -> None:
        self._changes = 0
        self._weights: dict[str, tuple[int, int]] = {}
        """Less their weight, and by which change they came to it."""
        self._heap: list[tuple[tuple[int, int], str]] = []

    def add(self, holder: str, weight: int) -> None:
        """Adds to the weight of a holder, or takes from it; a holder without weight is forgotten."""
        less, _ = self._weights.get(holder, (0, 0))
        if less == weight:
            self._weights.pop(holder, None)
            return
        self._changes += 1
        rank = self._weights[holder] = less - weight, self._changes
        heapq.heappush(self._heap, (rank, holder))
        if len(self._heap) > _MOST_STALE * len(self._weights) + 64:
            self._heap = [(one, name) for name, one in self._weights.items()]
            heapq.heapify(self._heap)

    def first(self) -> str | None:
        """Returns the heaviest holder; `None` where there is none."""
        while self._heap:
            rank, holder = self._heap[0]
            if self._weights.get(holder) == rank:
                return holder
            heapq.heappop(self._heap)
        return None


class _Hold:
    """One held peer: until when it is, against whom it counts, and about how many bytes are kept for it."""

    __slots__ = ("bytes", "group", "holder", "identity", "until")

    def __init__(self, continuity: Continuity, until: float) -> None:
        self.until = until
        self.holder = continuity.holder
        self.identity = continuity.identity.name
        self.group = continuity.group
        self.bytes = 0


class _Index:
    """Held peers by a name of theirs, the oldest first; those without one are not in it."""

    def __init__(self) -> None:
        self._peers: dict[str, dict[Peer, None]] = {}

    def count(self, name: str) -> int:
        """Returns how many there are of that name."""
        return len(self._peers.get(name, ()))

    def first(self, name: str) -> Peer | None:
        """Returns the oldest of that name; `None` where there is none."""
        return next(iter(self._peers.get(name, ())), None)

    def add(self, name: str, peer: Peer) -> None:
        """Adds the youngest."""
        if name:
            self._peers.setdefault(name, {})[peer] = None

    def remove(self, name: str, peer: Peer) -> None:
        """Removes a peer of that name."""
        if name:
            peers = self._peers[name]
            del peers[peer]
            if not peers:
                del self._peers[name]


class HeldPeers:
    """The held peers of one hub."""

    def __init__(self, *, max_peers: int, max_bytes: int) -> None:
        self._max_peers = max_peers
        self._max_bytes = max_bytes
        self._holds: dict[Peer, _Hold] = {}
        """Those that leave first first: all have the same time."""
        self._of_holder: dict[str, dict[Peer, None]] = {}
        self._by_peers = _HoldersByWeight()
        self._by_bytes = _HoldersByWeight()
        self.of_identity = _Index()
        self.of_group = _Index()
        self.bytes = 0
        """Bytes that are kept for all of them, about."""

    def __len__(self) -> int:
        """Returns the number of held peers."""
        return len(self._holds)

    def __contains__(self, peer: Peer) -> bool:
        """Returns whether a peer is held."""
        return peer in self._holds

    def all(self) -> list[Peer]:
        """Returns all of them, the oldest first."""
        return list(self._holds)

    def hold(self, peer: Peer, continuity: Continuity, until: float) -> None:
        """Adds a peer, until that time (monotonic seconds)."""
        hold = self._holds[peer] = _Hold(continuity, until)
        self._of_holder.setdefault(hold.holder, {})[peer] = None
        self._by_peers.add(hold.holder, 1)
        self.of_identity.add(hold.identity, peer)
        self.of_group.add(hold.group, peer)
        self.grow(peer, continuity.bytes)

    def grow(self, peer: Peer, size: int) -> None:
        """Adds so many bytes to what is kept for a peer."""
        hold = self._holds[peer]
        hold.bytes += size
        self.bytes += size
        self._by_bytes.add(hold.holder, size)

    def release(self, peer: Peer) -> None:
        """Removes a held peer, since it is back or leaves, and all that is counted for it."""
        hold = self._holds.pop(peer)
        self.bytes -= hold.bytes
        self._by_peers.add(hold.holder, -1)
        self._by_bytes.add(hold.holder, -hold.bytes)
        self.of_identity.remove(hold.identity, peer)
        self.of_group.remove(hold.group, peer)
        peers = self._of_holder[hold.holder]
        del peers[peer]
        if not peers:
            del self._of_holder[hold.holder]

    def peer_over_bounds(self) -> Peer | None:
        """Returns the peer that must leave because there are too many, or too many bytes.

        None if all is within bounds.
        """
        if len(self._holds) > self._max_peers:
            holder = self._by_peers.first()
        elif self.bytes > self._max_bytes:
            holder = self._by_bytes.first()
        else:
            return None
        return None if holder is None else next(iter(self._of_holder[holder]))

    def due(self, now: float) -> Peer | None:
        """Returns the peer whose time has been up for longest (`now` in monotonic seconds); None if nobody's is."""
        for peer, hold in self._holds.items():
            return peer if hold.until <= now else None
        return None

    def next_due(self) -> float:
        """Returns when the next peer's time is up (monotonic seconds), or `NEVER`."""
        for hold in self._holds.values():
            return hold.until
        return NEVER
