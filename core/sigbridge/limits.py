"""How often requests may come: one token bucket for each kind of request and each holder.

Rule 1: the holder is the identity where there is one, else the address: reconnecting does not refill a bucket.
Rule 2: a bucket that is full is forgotten, so what is kept is bounded by who has been busy of late.
"""

from math import ceil

from sigbridge import errors


class RateLimiter:
    """Token buckets of `burst` requests that refill at `per_second`; a rate of 0 limits nothing."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._full = burst - 1.0
        """What a full bucket has left when one was taken."""
        self._buckets: dict[tuple[str, str], list[float]] = {}
        """What is left, and when that was so, by (holder, kind)."""

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._buckets)

    def take(self, holder: str, kind: str, now: float) -> None:
        """Take one request; SignalingError (RESOURCE_EXHAUSTED, with `retry_after_ms`) where the bucket is empty."""
        rate = self._per_second
        if not rate:
            return
        key = (holder, kind)
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = [self._burst - 1.0, now]
            return
        left = bucket[0] + (now - bucket[1]) * rate - 1.0
        if left < 0:
            # One more than it takes, so that rounding never turns away a client that has waited as long as told.
            raise errors.too_many_requests(kind, rate, ceil(-left / rate * 1000) + 1)
        bucket[0] = min(left, self._full)
        bucket[1] = now

    def expire(self, now: float) -> None:
        """Forget the buckets that are full again."""
        if self._buckets:
            seconds_to_fill = self._burst / self._per_second
            for key, (left, since) in list(self._buckets.items()):
                if left + (now - since) * self._per_second >= self._burst or now - since >= seconds_to_fill:
                    del self._buckets[key]
