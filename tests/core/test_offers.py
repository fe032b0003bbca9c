"""Pending offers: their life, and their ids."""

import pytest

from sigbridge.offers import PendingOffers


@pytest.fixture
def offers():
    return PendingOffers(lifetime_seconds=60)


A_TO_B, B_TO_A, A_TO_C = ("room", "a", "b"), ("room", "b", "a"), ("room", "a", "c")


def test_an_offer_lives_until_it_ends(offers):
    offers.add(A_TO_B, 0.0)
    assert A_TO_B in offers
    assert B_TO_A not in offers
    offers.end(A_TO_B)
    assert A_TO_B not in offers
    offers.end(A_TO_B)
    assert len(offers) == 0


def test_both_directions_are_two_offers(offers):
    offers.add(A_TO_B, 0.0)
    offers.add(B_TO_A, 0.0)
    offers.end(A_TO_B)
    assert B_TO_A in offers


def test_the_end_of_a_peer_ends_what_it_has_to_do_with(offers):
    for key in (A_TO_B, B_TO_A, A_TO_C, ("room", "b", "c"), ("other", "a", "b")):
        offers.add(key, 0.0)
    offers.end_all_of("room", "a")
    assert len(offers) == 2
    assert ("room", "b", "c") in offers
    assert ("other", "a", "b") in offers
    offers.end_all_of("room", "nobody")
    assert len(offers) == 2


def test_expiry_and_what_is_due_next(offers):
    assert offers.expire(0.0) is None
    offers.add(A_TO_B, 0.0)
    offers.add(A_TO_C, 10.0)
    assert offers.expire(59.9) == 60.0
    assert offers.expire(60.0) == 70.0
    assert A_TO_B not in offers
    assert offers.expire(70.0) is None
    assert len(offers) == 0


def test_a_replaced_offer_begins_anew(offers):
    offers.add(A_TO_B, 0.0)
    offers.add(A_TO_C, 1.0)
    offers.add(A_TO_B, 30.0)
    assert len(offers) == 2
    assert offers.expire(61.0) == 90.0
    assert A_TO_B in offers


def test_nothing_is_kept_of_offers_that_ended(offers):
    for n in range(100):
        offers.add(("room", f"a{n}", f"b{n}"), float(n))
    offers.expire(1000.0)
    assert (offers._expires_at, offers._of_peer) == ({}, {})


def test_ids_rise_whatever_the_clock_does(offers):
    assert offers.next_id("a", "b", 1.5) == "a_b_1500"
    assert offers.next_id("c", "d", 1.5) == "c_d_1501"
    assert offers.next_id("a", "b", 1.0) == "a_b_1502"
    assert offers.next_id("a", "b", 1.6) == "a_b_1600"
