"""Offers of one peer to another: the one that waits for its answer, and the last one that is over.

There is at most one of either for each (from, to) of a room, never both; SDPs are not kept. What leads from one to
the next:

    none ──offer──► pending ──final answer, hang-up──► over ──as long again, or too many──► none
                     │   ▲ a newer offer replaces it     │
                     │   └────────────offer──────────────┘
                     └──time is up, too many, one of the two leaves──► none    (over ──one of the two leaves──► none)

An answer that says its offer is stale where another one is pending, or where that offer is over. Ids of one (from, to)
rise, so the youngest that is over stands for all before it. Rule 1: what is over is remembered for its maker, who can
make others forget nothing but by numbers: there is a most for each maker, and one in all; the oldest goes first.
Rule 2: so there is of those that are pending, for each maker; one that is forgotten for it is as one that has expired.
Source: `docs/protocol.md`, "offer, answer, ice_candidate" and "Which offer a message belongs to".
"""

from typing import Final, TypeAlias

OfferKey: TypeAlias = tuple[str, str, str]
"""Room, from, to."""

MAX_OVER_OF_MAKER: Final = 128
"""The most offers of one peer that are remembered when they are over."""
MAX_OVER: Final = 65536
"""The same of all peers; they take about 30 MB."""


class _Offer:
    """One offer; `until` is when it expires, or is forgotten (monotonic seconds)."""

    __slots__ = ("offer_id", "siblings", "until")

    def __init__(self, offer_id: str, until: float, siblings: dict[OfferKey, None]) -> None:
        self.offer_id = offer_id
        self.until = until
        self.siblings = siblings
        """The keys of its maker's pending offers, the oldest first: its own among them while it is pending."""


class Offers:
    """The pending offers, and those that are over, each in the order in which they expire."""

    def __init__(
        self,
        *,
        lifetime_seconds: float,
        max_pending_of_maker: int,
        max_over_of_maker: int = MAX_OVER_OF_MAKER,
        max_over: int = MAX_OVER,
    ) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._max_pending_of_maker = max_pending_of_maker
        self._max_over_of_maker = max_over_of_maker
        self._max_over = max_over
        self._pending: dict[OfferKey, _Offer] = {}
        self._pending_of_maker: dict[tuple[str, str], dict[OfferKey, None]] = {}
        """The siblings of the pending offers, by room and maker."""
        self._over: dict[OfferKey, _Offer] = {}
        self._over_of_maker: dict[tuple[str, str], dict[OfferKey, None]] = {}
        """The keys of `_over` by room and maker, the oldest first."""
        self._of_peer: dict[tuple[str, str], set[OfferKey]] = {}
        """The keys of both by room and peer, be it maker or target."""
        self._last_milliseconds = 0

    def __len__(self) -> int:
        """Returns the number of those that are pending."""
        return len(self._pending)

    def __contains__(self, key: OfferKey) -> bool:
        """Returns whether one is pending."""
        return key in self._pending

    def next_id(self, from_peer_id: str, to_peer_id: str, unix_seconds: float) -> str:
        """Returns a new id, `FROM_TO_MILLISECONDS`.

        The milliseconds rise with every offer, even if the clock does not.
        """
        self._last_milliseconds = max(int(unix_seconds * 1000), self._last_milliseconds + 1)
        return f"{from_peer_id}_{to_peer_id}_{self._last_milliseconds}"

    def add(self, key: OfferKey, offer_id: str, now: float) -> None:
        """Begins an offer, in place of an older one of the same key; a maker's oldest is dropped if it has too many."""
        until = now + self._lifetime_seconds
        offer = self._pending.pop(key, None)
        if offer is None:
            offer = self._begin(key, offer_id, until)
        else:
            offer.offer_id = offer_id
            offer.until = until
            del offer.siblings[key]
        siblings = offer.siblings
        siblings[key] = None
        self._pending[key] = offer
        if len(siblings) > self._max_pending_of_maker:
            self._drop(next(iter(siblings)))

    def _begin(self, key: OfferKey, offer_id: str, until: float) -> _Offer:
        """Returns a new offer, indexed by both peers, for a key that has no pending one.

        Forgets the one that is over.
        """
        if key in self._over:
            # While this one is pending every other is stale, and that is as long as it would be remembered.
            self._forget(key)
        room, maker_id, target_id = key
        maker = (room, maker_id)
        for peer in (maker, (room, target_id)):
            keys = self._of_peer.get(peer)
            if keys is None:
                keys = self._of_peer[peer] = set()
            keys.add(key)
        siblings = self._pending_of_maker.get(maker)
        if siblings is None:
            siblings = self._pending_of_maker[maker] = {}
        return _Offer(offer_id, until, siblings)

    def end(self, key: OfferKey, offer_id: str, now: float) -> None:
        """Ends the pending offer of a key, if there is one: it was answered, or one of the two hung up.

        If `offer_id` is not empty, only the offer of that id ends.
        """
        offer = self._pending.get(key)
        if offer is None or (offer_id and offer_id != offer.offer_id):
            return
        del self._pending[key]
        maker = (key[0], key[1])
        self._leave_siblings(offer, key, maker)
        offer.until = now + self._lifetime_seconds
        self._over[key] = offer
        keys = self._over_of_maker.get(maker)
        if keys is None:
            keys = self._over_of_maker[maker] = {}
        keys[key] = None
        if len(keys) > self._max_over_of_maker:
            self._drop(next(iter(keys)))
        elif len(self._over) > self._max_over:
            self._drop(next(iter(self._over)))

    def is_stale(self, key: OfferKey, offer_id: str, now: float) -> bool:
        """Returns whether an answer to the offer of that id, which is not empty, comes too late."""
        pending = self._pending.get(key)
        if pending is not None:
            return pending.offer_id != offer_id
        over = self._over.get(key)
        return over is not None and now < over.until and _is_up_to(offer_id, over.offer_id)

    def end_all_of(self, room: str, peer_id: str) -> None:
        """Drops every offer from or to a peer that left."""
        for key in list(self._of_peer.get((room, peer_id), ())):
            self._drop(key)

    def expire(self, now: float) -> float | None:
        """Ends pending offers whose time is up; returns when the next one's is (monotonic seconds), or None.

        Offers that are over are forgotten in passing.
        """
        while self._over:
            key, over = next(iter(self._over.items()))
            if over.until > now:
                break
            self._drop(key)
        while self._pending:
            key, offer = next(iter(self._pending.items()))
            if offer.until > now:
                return offer.until
            self._drop(key)
        return None

    def _drop(self, key: OfferKey) -> None:
        """Drops the offer of a key, pending or over; there must be one."""
        room, maker, target = key
        offer = self._pending.pop(key, None)
        if offer is None:
            self._forget(key)
        else:
            self._leave_siblings(offer, key, (room, maker))
        for peer_id in (maker, target):
            keys = self._of_peer[room, peer_id]
            keys.discard(key)
            if not keys:
                del self._of_peer[room, peer_id]

    def _leave_siblings(self, offer: _Offer, key: OfferKey, maker: tuple[str, str]) -> None:
        """Takes an offer that is pending no more from its maker's; all else is left to the caller."""
        del offer.siblings[key]
        if not offer.siblings:
            del self._pending_of_maker[maker]

    def _forget(self, key: OfferKey) -> None:
        """Forgets an offer that is over; `_of_peer` is left to the caller."""
        del self._over[key]
        maker = (key[0], key[1])
        keys = self._over_of_maker[maker]
        del keys[key]
        if not keys:
            del self._over_of_maker[maker]


def _is_up_to(offer_id: str, last_id: str) -> bool:
    """Returns whether an offer is of the same (from, to) as another, and as old or older."""
    begin = last_id.rindex("_") + 1
    digits = offer_id[begin:]
    if offer_id[:begin] != last_id[:begin] or not (digits.isascii() and digits.isdigit()):
        return False
    # Neither begins with a zero, so the longer number is the larger one.
    return (len(digits), digits) <= (len(last_id) - begin, last_id[begin:])
