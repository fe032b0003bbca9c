"""Flooding: sending on over the rate limit, in spite of being told when to come back; and who is kept out for it.

Rule 1: a refusal counts where it comes before the time that the one before it has told, for the same kind of request.
So who waits as long as told never floods, whatever the rate and however often others take the bucket's last token.
Rule 2: it is flooding when there are too many in an unbroken run of seconds, and the run is long enough; so one batch
that was sent at once is none. Rule 3: nothing is kept of those who were never refused. Rule 4: an identity is kept out
where there is one, else its group of addresses; and nobody where there is neither, as behind a unix socket.

The states of a count, and what leads from one to the next:

    quiet ──too early──► running ──a second without any──► quiet
                            └──too many, for long enough──► flooding, which its caller is told once; then quiet

Source: `docs/protocol.md`, section "Flooding".
"""

from typing import Final

from sigbridge import errors
from sigbridge.addresses import address_group

MAX_REFUSALS: Final = 100
"""The refusals of one run that are not flooding yet."""
RUN_SECONDS: Final = 3
"""The seconds in a row, each with a refusal, from which on more than these are."""
MAX_CONNECTIONS: Final = 10_000
"""The most connections of which counts are kept by their names."""
MAX_HELD: Final = 10_000
"""The most identities and groups of addresses that are kept out at once; the oldest is let in for one more."""


class FloodCount:
    """The refusals by the rate limit of one session, or of one connection that asks without one."""

    __slots__ = ("_began", "_count", "_second", "_told", "flooded", "refused_at")

    def __init__(self) -> None:
        self.refused_at = 0.0
        """The moment of the last refusal (monotonic seconds)."""
        self.flooded = False
        """True once it was flooding."""
        self._told: dict[str, float] = {}
        """By kind, when the next request gets through as the last refusal has told (monotonic seconds)."""
        self._began = 0.0
        """The beginning of the run."""
        self._second = 0
        """The last second of the run that has a refusal; the first is 0."""
        self._count = 0
        """The refusals of the run; 0: there is none."""

    def count(self, kind: str, retry_after_ms: int, now: float) -> bool:
        """Notes a refusal of a kind of request, and counts it if the last one said to wait longer (rule 1).

        Returns True, and begins anew, if that makes it a flood. `now` is in monotonic seconds.
        """
        self.refused_at = now
        told = self._told.get(kind)
        self._told[kind] = now + retry_after_ms / 1000
        if told is None or now >= told:
            return False
        second = int(now - self._began)
        if not self._count or second > self._second + 1:
            # The refusal that was not heeded is the first.
            self._began, self._second, self._count = now, 0, 2
            return False
        self._second = second
        self._count += 1
        if second < RUN_SECONDS - 1 or self._count <= MAX_REFUSALS:
            return False
        self._count = 0
        self.flooded = True
        return True


class FloodCounts:
    """The counts of connections that have nothing of ours to keep them, by their names."""

    def __init__(self, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self._max_connections = max_connections
        self._counts: dict[str, FloodCount] = {}
        """The one that was refused longest ago first."""

    def __len__(self) -> int:
        """Returns the number of those that are kept."""
        return len(self._counts)

    def count(self, connection: str, kind: str, retry_after_ms: int, now: float) -> bool:
        """Counts as `FloodCount.count` does, by connection, and forgets the counts whose runs are over."""
        counts = self._counts
        one = counts.pop(connection, None) or FloodCount()
        while counts:
            name, oldest = next(iter(counts.items()))
            if len(counts) < self._max_connections and now - oldest.refused_at < RUN_SECONDS:
                break
            del counts[name]
        counts[connection] = one
        return one.count(kind, retry_after_ms, now)


class HeldOff:
    """The identities and groups of addresses that are kept out for a while, since they have flooded."""

    def __init__(self, seconds: float, *, max_held: int = MAX_HELD) -> None:
        """Keeps out for so long; 0: not at all."""
        self.seconds = seconds
        self._max_held = max_held
        self.until: dict[tuple[str, str], float] = {}
        """By identity's name, or group of addresses, until when (monotonic seconds); the one that ends first first."""

    def hold(self, name: str, address: str, now: float) -> bool:
        """Holds off an identity, or an address without one, from now on; returns whether there is either."""
        key = _key(name, address)
        if not self.seconds or key is None:
            return False
        self.expire(now)
        self.until.pop(key, None)
        if len(self.until) >= self._max_held:
            del self.until[next(iter(self.until))]
        self.until[key] = now + self.seconds
        return True

    def check(self, name: str, address: str, now: float) -> None:
        """Checks that an identity, or an address without one, is not held off.

        :raises SignalingError: RESOURCE_EXHAUSTED with `retry_after_ms` if it is.
        """
        key = _key(name, address)
        if key is not None and (left := self.until.get(key, now) - now) > 0:
            raise errors.held_off(int(left * 1000) + 1)

    def expire(self, now: float) -> None:
        """Forgets those that are held off no more."""
        until = self.until
        while until:
            first = next(iter(until))
            if until[first] > now:
                break
            del until[first]


def _key(name: str, address: str) -> tuple[str, str] | None:
    """Returns the key of an identity's name, or of an address's group; None if both are empty."""
    if name:
        return name, ""
    return ("", address_group(address)) if address else None
