"""Limits on the rate of requests: one token bucket for each kind of request and each holder.

Rule 1: the holder is the identity where there is one, else the address: reconnecting does not refill a bucket. Behind a
unix socket there is no address: each session holds its own, and a question without a session is not limited.
Rule 2: a bucket that is full is forgotten, so what is kept is bounded by who has been busy of late.
Rule 3: a listing takes one more token for every so many bytes, as soon as it is known how long it is. It is not
refused for that; its bucket may go below zero, and what follows waits longer. Rule 4: the rosters of newcomers do the
same, but only those above what their holder is allowed: as much as it takes a whole room to come back at once. What
was used of that comes back at the same rate.
"""

from math import ceil

from sigbridge import errors


class _Bucket:
    """The tokens that are left, and the moment at which that was so."""

    __slots__ = ("left", "since")

    def __init__(self, left: float, since: float) -> None:
        self.left = left
        self.since = since


class RateLimiter:
    """Token buckets of `burst` requests that refill at `per_second`; a rate of 0 limits nothing.

    A listing counts as one request for each `bytes_per_token`.
    """

    def __init__(self, *, per_second: float, burst: int, bytes_per_token: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._full_but_one = burst - 1.0
        """The tokens that a full bucket has left when one was taken."""
        self._buckets: dict[str, dict[str, _Bucket]] = {}
        """By kind, which are few, and then by holder."""
        self._bytes_per_token = bytes_per_token
        self._rosters: dict[str, _Bucket] = {}
        """The part of each holder's allowance of rosters that is used, in tokens; it is below zero."""

    def __len__(self) -> int:
        """Returns the number of buckets that are kept."""
        return sum(map(len, self._buckets.values())) + len(self._rosters)

    def take(self, holder: str, kind: str, now: float) -> None:
        """Takes one token from the holder's bucket of this kind of request.

        :raises SignalingError: RESOURCE_EXHAUSTED with `retry_after_ms` if the bucket is empty.
        """
        rate = self._per_second
        if not rate or not holder:
            return
        buckets = self._buckets.get(kind)
        if buckets is None:
            buckets = self._buckets[kind] = {}
        bucket = buckets.get(holder)
        if bucket is None:
            buckets[holder] = _Bucket(self._full_but_one, now)
            return
        left = bucket.left + (now - bucket.since) * rate - 1.0
        if left < 0:
            # One more than it takes, so that rounding never turns away a client that has waited as long as told.
            raise errors.too_many_requests(kind, rate, ceil(-left / rate * 1000) + 1)
        bucket.left = min(self._full_but_one, left)
        bucket.since = now

    def charge_listing(self, holder: str, kind: str, size: int, now: float) -> None:
        """Takes the tokens that a listing of `size` bytes costs beyond the one that was taken for its request."""
        extra = ceil(size / self._bytes_per_token) - 1
        if extra > 0 and self._per_second and holder:
            self._charge(holder, kind, extra, now)

    # Five parameters: whose bucket, and when; the roster, and what rosters may come to.
    def charge_roster(self, holder: str, kind: str, size: int, allowed: int, now: float) -> None:
        """Takes the tokens that a roster of `size` bytes costs.

        It costs nothing as far as the holder's rosters together are within `allowed` bytes.
        """
        rate = self._per_second
        if not rate or not holder:
            return
        cost, allowance = size / self._bytes_per_token, allowed / self._bytes_per_token
        used = self._rosters.get(holder)
        if used is None:
            used = self._rosters[holder] = _Bucket(0.0, now)
        left = min(0.0, used.left + (now - used.since) * rate) - cost
        used.since = now
        over = -left - allowance
        if over <= 0:
            used.left = left
            return
        # What the bucket pays for uses up nothing of the allowance.
        paid = min(cost, over)
        used.left = left + paid
        self._charge(holder, kind, ceil(paid), now)

    def _charge(self, holder: str, kind: str, tokens: int, now: float) -> None:
        """Takes tokens from a bucket, which may go below zero."""
        buckets = self._buckets.get(kind)
        if buckets is None:
            buckets = self._buckets[kind] = {}
        bucket = buckets.get(holder)
        if bucket is None:
            # It was full a moment ago, and was forgotten.
            bucket = buckets[holder] = _Bucket(self._burst, now)
        left = bucket.left + (now - bucket.since) * self._per_second
        bucket.left = min(self._burst, left) - tokens
        bucket.since = now

    def expire(self, now: float) -> None:
        """Forgets the buckets that are full again."""
        rate, burst = self._per_second, self._burst
        for holder, used in list(self._rosters.items()):
            if used.left + (now - used.since) * rate >= 0:
                del self._rosters[holder]
        for buckets in self._buckets.values():
            for holder, bucket in list(buckets.items()):
                idle = now - bucket.since
                if bucket.left + idle * rate >= burst:
                    del buckets[holder]
