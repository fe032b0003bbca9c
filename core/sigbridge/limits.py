"""How often requests may come: one token bucket for each kind of request and each holder.

Rule 1: the holder is the identity where there is one, else the address: reconnecting does not refill a bucket.
Rule 2: a bucket that is full is forgotten, so what is kept is bounded by who has been busy of late.
"""

from math import ceil

from sigbridge import errors


class _Bucket:
    """What is left, and when that was so."""

    __slots__ = ("left", "since")

    def __init__(self, left: float, since: float) -> None:
        self.left = left
        self.since = since


class RateLimiter:
    """Token buckets of `burst` requests that refill at `per_second`; a rate of 0 limits nothing."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._full = burst - 1.0
        """What a full bucket has left when one was taken."""
        self._buckets: dict[str, dict[str, _Bucket]] = {}
        """By kind, which are few, and then by holder."""

    def __len__(self) -> int:
        """How many buckets are kept."""
        return sum(map(len, self._buckets.values()))

    def take(self, holder: str, kind: str, now: float) -> None:
        """Take one request; SignalingError (RESOURCE_EXHAUSTED, with `retry_after_ms`) where the bucket is empty."""
        rate = self._per_second
        if not rate:
            return
        buckets = self._buckets.get(kind)
        if buckets is None:
            buckets = self._buckets[kind] = {}
        bucket = buckets.get(holder)
        if bucket is None:
            buckets[holder] = _Bucket(self._full, now)
            return
        left = bucket.left + (now - bucket.since) * rate - 1.0
        if left < 0:
            # One more than it takes, so that rounding never turns away a client that has waited as long as told.
            raise errors.too_many_requests(kind, rate, ceil(-left / rate * 1000) + 1)
        bucket.left = min(self._full, left)
        bucket.since = now

    def expire(self, now: float) -> None:
        """Forget the buckets that are full again."""
        rate, burst = self._per_second, self._burst
        for buckets in self._buckets.values():
            for holder, bucket in list(buckets.items()):
                idle = now - bucket.since
                if bucket.left + idle * rate >= burst or idle * rate >= burst:
                    del buckets[holder]
