"""Rate limits: one bucket for each kind of request and each holder."""

import pytest

from sigbridge import Code, SignalingError
from sigbridge.limits import RateLimiter


@pytest.fixture
def limiter():
    return RateLimiter(per_second=2.0, burst=3)


def refusal(limiter, *what):
    with pytest.raises(SignalingError) as refused:
        limiter.take(*what)
    return refused.value


def test_a_burst_then_the_rate(limiter):
    for _ in range(3):
        limiter.take("a", "offer", 0.0)
    error = refusal(limiter, "a", "offer", 0.0)
    assert error.code is Code.RESOURCE_EXHAUSTED
    assert error.extra["limit"] == "SIGNALING_RATE_PER_SEC"
    assert 500 <= error.extra["retry_after_ms"] <= 501
    limiter.take("a", "offer", error.extra["retry_after_ms"] / 1000)


def test_a_refusal_costs_nothing(limiter):
    for _ in range(3):
        limiter.take("a", "offer", 0.0)
    for _ in range(100):
        refusal(limiter, "a", "offer", 0.1)
    limiter.take("a", "offer", 0.5)


def test_holders_and_kinds_have_buckets_of_their_own(limiter):
    for holder in ("a", "b"):
        for kind in ("offer", "answer"):
            for _ in range(3):
                limiter.take(holder, kind, 0.0)
    assert len(limiter) == 4
    refusal(limiter, "a", "offer", 0.0)


def test_a_bucket_never_holds_more_than_its_burst(limiter):
    limiter.take("a", "offer", 0.0)
    for _ in range(3):
        limiter.take("a", "offer", 1000.0)
    refusal(limiter, "a", "offer", 1000.0)


def test_full_buckets_are_forgotten(limiter):
    limiter.take("a", "offer", 0.0)
    limiter.take("b", "offer", 10.0)
    limiter.expire(10.0)
    assert len(limiter) == 1
    limiter.expire(10.5)
    assert len(limiter) == 0


def test_a_rate_of_zero_limits_nothing():
    limiter = RateLimiter(per_second=0.0, burst=1)
    for _ in range(1000):
        limiter.take("a", "offer", 0.0)
    assert len(limiter) == 0
