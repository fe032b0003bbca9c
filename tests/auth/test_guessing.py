"""Wrong tokens by address: what counts, what is held up and for how long, and what is kept."""

import hashlib
import math

import pytest

from sigbridge.addresses import AddressSet
from sigbridge_auth.guessing import MAX_ADDRESSES, MAX_CHECKS_PER_SECOND, MAX_KEPT, MAX_WRONG, Guesses

HERE, THERE = "192.0.2.1", "192.0.2.2"
SOON = 1000.0


def digest(number):
    return hashlib.sha256(f"wrong {number}".encode()).digest()


@pytest.fixture
def guesses():
    return Guesses()


def guess(guesses, numbers, address=HERE, at=SOON):
    return [guesses.count(address, digest(number), at) for number in numbers]


def test_the_bounds_are_those_that_are_promised():
    assert (MAX_WRONG, MAX_CHECKS_PER_SECOND, MAX_ADDRESSES) == (20, 50, 10_000)


def test_more_than_twenty_distinct_ones_in_a_minute_are_too_many(guesses):
    assert guess(guesses, range(20)) == [0] * 20
    assert guess(guesses, [20, 21, 20, 3]) == [60_001] * 4
    assert guesses.wait(HERE, SOON + 59.5) == 501
    assert guess(guesses, [99], THERE) == [0]


def test_the_same_one_again_and_none_at_all_count_once_a_minute(guesses):
    for _ in range(100):
        assert guess(guesses, [1]) == [0]
        assert guesses.count(HERE, None, SOON) == 0
    # Those two, and eighteen others.
    assert guess(guesses, range(2, 20)) == [0] * 18
    assert guess(guesses, [1]) == [0]
    assert guess(guesses, [20])[0] > 0


def test_the_same_one_counts_anew_after_a_minute(guesses):
    guess(guesses, range(20))
    assert guess(guesses, range(20), at=SOON + 59.9) == [0] * 20, "counted a minute ago, not now"
    assert guess(guesses, range(20), at=SOON + 60.0) == [0] * 20
    assert guess(guesses, [20], at=SOON + 119.9)[0] > 0


@pytest.mark.parametrize("count", [21, 25, MAX_KEPT, MAX_KEPT + 50])
def test_who_waits_as_told_is_throttled_no_more(guesses, count):
    """And not earlier: wrong ones in a steady stream leave one by one."""
    for number in range(count):
        wait = guess(guesses, [number], at=SOON + number / 10)[0]
    last = SOON + (count - 1) / 10
    assert guesses.wait(HERE, last + wait / 1000 - 0.003) > 0
    assert guesses.wait(HERE, last + wait / 1000) == 0
    assert guess(guesses, [-1], at=last + wait / 1000)[0] > 0, "twenty are left"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_addresses_count_by_their_groups(guesses, one, other, same):
    guess(guesses, range(21), one)
    assert bool(guesses.wait(other, SOON)) is same
    assert bool(guesses.take_checks(other, digest(0), 1, SOON)) is same


def test_unix_sockets_are_never_held_up(guesses):
    assert guess(guesses, range(100), "") == [0] * 100
    assert guesses.wait("", SOON) == guesses.take_checks("", digest(0), 1, SOON) == 0
    assert len(guesses) == 0


# Signatures.


def test_signatures_have_no_bound_where_nothing_is_wrong(guesses):
    guess(guesses, range(20))
    assert {guesses.take_checks(HERE, digest(number), 1, SOON) for number in range(1000)} == {0}


def test_an_address_that_is_throttled_has_fifty_signatures_a_second(guesses):
    guess(guesses, range(21))
    assert [guesses.take_checks(HERE, digest(100 + n), 1, SOON) for n in range(50)] == [0] * 50
    assert guesses.take_checks(HERE, digest(200), 1, SOON) == 1001
    assert guesses.take_checks(HERE, digest(200), 1, SOON + 0.75) == 251
    assert guesses.take_checks(HERE, digest(200), 1, SOON + 1.0) == 0
    assert guesses.take_checks(THERE, digest(200), 1, SOON) == 0


def test_what_is_known_to_be_wrong_takes_no_signature(guesses):
    guess(guesses, range(21))
    for number in range(1000):
        assert guesses.take_checks(HERE, digest(number % 21), 1, SOON + 1) == 59_001
    assert guesses.take_checks(HERE, digest(500), 1, SOON + 1) == 0


def test_what_was_wrong_before_the_sources_changed_is_looked_at_again(guesses):
    guess(guesses, range(21))
    guesses.reconsider(SOON + 1)
    assert guesses.take_checks(HERE, digest(3), 1, SOON + 2) == 0
    assert guesses.wait(HERE, SOON + 2) > 0, "the count stays"


# What is kept.


def test_of_addresses_the_one_least_recently_looked_at_is_forgotten(guesses):
    for number in range(MAX_ADDRESSES):
        guess(guesses, range(21) if number < 3 else [0], f"10.0.{number >> 8}.{number & 255}")
    assert len(guesses) == MAX_ADDRESSES
    # Any look counts as a use.
    guess(guesses, [0], "10.0.0.0")
    guesses.take_checks("10.0.0.2", digest(1), 1, SOON)
    for address in ("198.51.100.1", "198.51.100.2"):
        guess(guesses, [1], address)
    assert len(guesses) == MAX_ADDRESSES
    throttled = [bool(guesses.wait(f"10.0.0.{number}", SOON)) for number in range(4)]
    assert throttled == [True, False, True, False]


def test_of_one_address_a_few_are_kept_whatever_it_shows(guesses):
    for number in range(5000):
        guess(guesses, [number], at=SOON + number / 1000)
    (known,) = guesses._addresses.values()
    assert len(known.wrong) == MAX_KEPT
    assert guesses.wait(HERE, SOON + 5) == math.ceil((SOON + 4.979 + 60 - SOON - 5) * 1000) + 1
    assert guesses.wait(HERE, SOON + 66) == 0
    assert known.wrong == {}


def test_a_proxy_whose_clients_cannot_be_told_apart_guesses_nothing():
    guesses = Guesses(AddressSet(["10.0.0.0/8"]))
    assert guess(guesses, range(100), "10.0.0.1") == [0] * 100
    guesses.count_vain("10.0.0.1", 1000, SOON)
    assert guesses.take_checks("10.0.0.1", digest(1), 1000, SOON, unknown=True) == 0
    assert len(guesses) == 0
    assert guess(guesses, range(21), HERE)[-1] > 0
