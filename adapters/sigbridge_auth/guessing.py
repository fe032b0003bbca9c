"""Wrong tokens, counted by address, so that nobody can try many.

Rule 1: *distinct* wrong tokens count. None at all, or the same one again, counts once in `WINDOW_SECONDS`: a device
with an old token in a loop is no guesser. Rule 2: what is good goes through, whatever else comes from its address: here
is decided about what is wrong, and about signatures that must be checked to know. Rule 3: nothing is delayed. Rule 4:
what is kept has a bound, whatever clients do, and holds digests alone. Rule 5: nothing is counted against the address
of a trusted proxy, which all its clients have where it says no other. Source: `docs/security.md`.

The states of an address, or of an IPv6 network of 64 bits:

    unknown ──wrong──► counted ──more than MAX_WRONG in a window──► throttled
       ▲                │   ▲                                           │
       └──pushed out────┘   └──────no more than that in a window────────┘
"""

import math
from collections import OrderedDict
from typing import Final

from sigbridge.addresses import NO_ADDRESSES, AddressSet, address_group

WINDOW_SECONDS: Final = 60.0
MAX_WRONG: Final = 20
"""Distinct wrong tokens in a window; above that an address is throttled."""
MAX_CHECKS_PER_SECOND: Final = 50
"""Signatures that are checked for an address that is throttled, whichever tokens they are of; a token may be signed by
any of several keys."""
MAX_ADDRESSES: Final = 10_000
"""Addresses that are remembered; beyond, the one that was least recently looked at is forgotten."""
MAX_KEPT: Final = 40
"""Wrong tokens that are remembered of an address: more than `MAX_WRONG`, so that a fleet with old tokens costs few
signatures. All that is kept is 35 MB at the most."""

_NO_TOKEN: Final = -1
"""The key of those who show none, and of what is too long to be one."""


class _Address:
    """The wrong tokens of an address, and the checks of signatures while it is throttled."""

    __slots__ = ("checks", "checks_since", "wrong")

    def __init__(self) -> None:
        self.wrong: dict[int, float] = {}
        """The moments (monotonic seconds) at which wrong tokens were counted, by key, the oldest first."""
        self.checks = 0
        self.checks_since = -math.inf
        """The begin of the second in which those were taken."""

    def begin_second(self, now: float) -> None:
        """Resets the count of checks if the second of the last ones has passed."""
        if now >= self.checks_since + 1.0:
            self.checks_since, self.checks = now, 0


class Guesses:
    """The wrong tokens of all addresses, on all protocols; times are monotonic seconds, waits are milliseconds."""

    def __init__(self, proxies: AddressSet = NO_ADDRESSES) -> None:
        """Begins with nothing; nothing is ever counted against `proxies`."""
        self._proxies = proxies
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._reconsidered = -math.inf
        """The moment of the last change of the sources: what was wrong before may be good."""

    def __len__(self) -> int:
        """Returns the number of addresses that are remembered."""
        return len(self._addresses)

    def count(self, address: str, digest: bytes | None, now: float) -> int:
        """Counts a wrong token by its digest, or a client without one; returns its wait (ms).

        At 0 it is refused as anybody is, else it is throttled.
        """
        if not self._may_be_throttled(address):
            return 0
        known = self._account_of(address) or self._add(address)
        wait, key = _throttled_ms(known, now), _digest_key(digest)
        if key in known.wrong:
            return wait
        if len(known.wrong) >= MAX_KEPT:
            del known.wrong[next(iter(known.wrong))]
        known.wrong[key] = now
        return _throttled_ms(known, now)

    def take_checks(self, address: str, digest: bytes, signatures: int, now: float, *, unknown: bool = False) -> int:
        """Takes the checks of a token's signatures; returns how long the client must wait for them (ms), 0 for not.

        They are not limited before an address is throttled, but for tokens that name an `unknown` key, which are no
        guesses: of these see `count_vain`.
        """
        known = self._account_of(address)
        wait = 0 if known is None else _throttled_ms(known, now)
        if known is None or not (wait or unknown):
            return 0
        if wait and known.wrong.get(_digest_key(digest), -math.inf) > self._reconsidered:
            # It is known to be wrong: that takes no signature from others at the same address.
            return wait
        known.begin_second(now)
        if known.checks + signatures > MAX_CHECKS_PER_SECOND:
            return _milliseconds(known.checks_since + 1.0 - now)
        if wait:
            known.checks += signatures
        return 0

    def count_vain(self, address: str, signatures: int, now: float) -> None:
        """Counts the signatures that were checked in vain for a token that names an unknown key."""
        if not signatures or not self._may_be_throttled(address) or self.wait(address, now):
            # Of an address that is throttled they were counted before.
            return
        known = self._account_of(address) or self._add(address)
        known.begin_second(now)
        known.checks += signatures

    def wait(self, address: str, now: float) -> int:
        """Returns how long an address is still throttled (ms); 0 if it is not."""
        known = self._account_of(address)
        return 0 if known is None else _throttled_ms(known, now)

    def reconsider(self, now: float) -> None:
        """Marks all wrong tokens as unchecked, since the sources have changed; the counts stay."""
        self._reconsidered = now

    def _account_of(self, address: str) -> _Address | None:
        """Returns what is remembered of an address, which has been looked at then."""
        if not self._addresses:
            return None
        group = address_group(address)
        known = self._addresses.get(group)
        if known is not None:
            self._addresses.move_to_end(group)
        return known

    def _add(self, address: str) -> _Address:
        """Begins to remember an address; the one looked at least recently is forgotten for it."""
        if len(self._addresses) >= MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        known = self._addresses[address_group(address)] = _Address()
        return known

    def _may_be_throttled(self, address: str) -> bool:
        """Returns whether wrong tokens from an address count.

        It is empty for unix sockets, which all would share, as they would the address of a proxy that forwards none.
        """
        return bool(address) and address not in self._proxies


def _digest_key(digest: bytes | None) -> int:
    """Returns the first eight bytes of a token's digest as a number; another one for no token."""
    return _NO_TOKEN if digest is None else int.from_bytes(digest[:8])


def _throttled_ms(known: _Address, now: float) -> int:
    """Forgets wrong tokens that are older than a window; returns how long the address is throttled (ms), 0 for not."""
    wrong = known.wrong
    while wrong and wrong[oldest := next(iter(wrong))] <= now - WINDOW_SECONDS:
        del wrong[oldest]
    above = len(wrong) - MAX_WRONG
    if above <= 0:
        return 0
    # So many must grow old until no more than MAX_WRONG are left.
    return _milliseconds(list(wrong.values())[above - 1] + WINDOW_SECONDS - now)


def _milliseconds(seconds: float) -> int:
    """Returns a time to wait; one more than it takes, so that rounding never turns away who has waited as told."""
    return math.ceil(seconds * 1000) + 1
