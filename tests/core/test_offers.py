"""Offers: their life, what is remembered of it, and their ids."""

import pytest

from sigbridge.offers import MAX_OVER_OF_MAKER, Offers


@pytest.fixture
def make_offers():
    def make(**bounds):
        return Offers(lifetime_seconds=60, **{"max_pending_of_maker": 1000, **bounds})

    return make


@pytest.fixture
def offers(make_offers):
    return make_offers()


A_TO_B, B_TO_A, A_TO_C = ("room", "a", "b"), ("room", "b", "a"), ("room", "a", "c")


def kept(offers):
    """Whatever is kept of offers, pending or over."""
    return offers._pending, offers._pending_of_maker, offers._over, offers._over_of_maker, offers._of_peer


def test_an_offer_lives_until_it_ends(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    assert A_TO_B in offers
    assert B_TO_A not in offers
    offers.end(A_TO_B, "", 0.0)
    assert A_TO_B not in offers
    offers.end(A_TO_B, "", 0.0)
    assert len(offers) == 0


def test_both_directions_are_two_offers(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.add(B_TO_A, "b_a_2", 0.0)
    offers.end(A_TO_B, "", 0.0)
    assert B_TO_A in offers
    assert not offers.is_stale(B_TO_A, "b_a_2", 0.0)


def test_an_end_that_names_an_offer_ends_no_other(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.end(A_TO_B, "a_b_0", 0.0)
    assert A_TO_B in offers
    offers.end(A_TO_B, "a_b_1", 0.0)
    assert A_TO_B not in offers


def test_the_end_of_a_peer_ends_what_it_has_to_do_with(offers):
    for number, key in enumerate((A_TO_B, B_TO_A, A_TO_C, ("room", "b", "c"), ("other", "a", "b"))):
        offers.add(key, f"{key[1]}_{key[2]}_{number}", 0.0)
    offers.end(B_TO_A, "", 0.0)
    offers.end_all_of("room", "a")
    assert len(offers) == 2
    assert ("room", "b", "c") in offers
    assert ("other", "a", "b") in offers
    assert not offers.is_stale(B_TO_A, "b_a_1", 0.0), "nothing is remembered of who left"
    offers.end_all_of("room", "nobody")
    assert len(offers) == 2


def test_expiry_and_what_is_due_next(offers):
    assert offers.expire(0.0) is None
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.add(A_TO_C, "a_c_2", 10.0)
    assert offers.expire(59.9) == 60.0
    assert offers.expire(60.0) == 70.0
    assert A_TO_B not in offers
    assert offers.expire(70.0) is None
    assert len(offers) == 0


def test_a_replaced_offer_begins_anew(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.add(A_TO_C, "a_c_2", 1.0)
    offers.add(A_TO_B, "a_b_3", 30.0)
    assert len(offers) == 2
    assert offers.expire(61.0) == 90.0
    assert A_TO_B in offers


def test_what_is_not_pending_is_stale_while_another_is(offers):
    assert not offers.is_stale(A_TO_B, "a_b_1", 0.0)
    offers.add(A_TO_B, "a_b_1", 0.0)
    assert not offers.is_stale(A_TO_B, "a_b_1", 0.0)
    for other in ("a_b_0", "a_b_2", "b_a_1", "anything"):
        assert offers.is_stale(A_TO_B, other, 0.0)
        assert not offers.is_stale(B_TO_A, other, 0.0)


def test_what_was_ended_is_stale_for_as_long_as_an_offer_may_be_pending(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.end(A_TO_B, "", 30.0)
    assert offers.is_stale(A_TO_B, "a_b_1", 89.9)
    assert not offers.is_stale(A_TO_B, "a_b_1", 90.0)
    assert not offers.is_stale(B_TO_A, "a_b_1", 30.0)
    assert offers.expire(89.9) is None, "nothing is due for what is over"
    assert offers.is_stale(A_TO_B, "a_b_1", 89.9)
    offers.expire(90.0)
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_what_has_expired_is_not_stale(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.expire(60.0)
    assert not offers.is_stale(A_TO_B, "a_b_1", 60.0)


@pytest.mark.parametrize("offer_id", ["a_b_9", "a_b_98", "a_b_100"])
def test_what_is_over_stands_for_all_before_it(offers, offer_id):
    offers.add(A_TO_B, "a_b_100", 0.0)
    offers.end(A_TO_B, "", 0.0)
    assert offers.is_stale(A_TO_B, offer_id, 0.0)


@pytest.mark.parametrize("offer_id", ["a_b_101", "a_b_1000", "b_a_99", "a_c_99", "99", "", "a_b_", "a_b_9x", "a_b_٩٩"])
def test_what_is_over_stands_for_nothing_else(offers, offer_id):
    offers.add(A_TO_B, "a_b_100", 0.0)
    offers.end(A_TO_B, "", 0.0)
    assert not offers.is_stale(A_TO_B, offer_id, 0.0)


def test_what_is_over_is_as_stale_while_and_after_a_newer_one_is_pending(offers):
    offers.add(A_TO_B, "a_b_1", 0.0)
    offers.end(A_TO_B, "", 0.0)
    offers.add(A_TO_B, "a_b_2", 10.0)
    assert offers.is_stale(A_TO_B, "a_b_1", 69.9)
    offers.expire(70.0)
    assert not offers.is_stale(A_TO_B, "a_b_1", 70.0)
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_of_one_maker_the_oldest_is_forgotten_first(make_offers):
    offers = make_offers(max_over_of_maker=3)
    keys = [("room", "a", f"b{n}") for n in range(5)]
    offers.add(B_TO_A, "b_a_1", 0.0)
    offers.end(B_TO_A, "", 0.0)
    for n, key in enumerate(keys):
        offers.add(key, f"a_b{n}_{n}", float(n))
        offers.end(key, "", float(n))
    assert [offers.is_stale(key, f"a_b{n}_{n}", 4.0) for n, key in enumerate(keys)] == [False, False, True, True, True]
    assert offers.is_stale(B_TO_A, "b_a_1", 4.0), "what others have made is not forgotten for it"
    offers.expire(100.0)
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_of_all_the_oldest_is_forgotten_first(make_offers):
    offers = make_offers(max_over=3)
    keys = [("room", f"a{n}", "b") for n in range(5)]
    for n, key in enumerate(keys):
        offers.add(key, f"a{n}_b_{n}", float(n))
        offers.end(key, "", float(n))
    assert [offers.is_stale(key, f"a{n}_b_{n}", 4.0) for n, key in enumerate(keys)] == [False, False, True, True, True]


def test_the_bounds_hold_whatever_peers_do(make_offers):
    most = 20 * MAX_OVER_OF_MAKER
    offers = make_offers(max_over=most)
    for maker in range(30):
        for target in range(MAX_OVER_OF_MAKER + 2):
            key = ("room", f"a{maker}", f"b{target}")
            offers.add(key, f"a{maker}_b{target}_1", 0.0)
            offers.end(key, "", 0.0)
    assert len(offers._over) == most
    assert max(map(len, offers._over_of_maker.values())) == MAX_OVER_OF_MAKER
    assert sum(map(len, offers._of_peer.values())) == 2 * most
    assert sum(map(len, offers._over_of_maker.values())) == most
    offers.expire(60.0)
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_nothing_is_kept_of_offers_that_ended(offers):
    for n in range(100):
        key = ("room", f"a{n}", f"b{n}")
        offers.add(key, f"a{n}_b{n}_1", float(n))
        if n % 2:
            offers.end(key, "", float(n))
    offers.expire(1000.0)
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_ids_rise_whatever_the_clock_does(offers):
    assert offers.next_id("a", "b", 1.5) == "a_b_1500"
    assert offers.next_id("c", "d", 1.5) == "c_d_1501"
    assert offers.next_id("a", "b", 1.0) == "a_b_1502"
    assert offers.next_id("a", "b", 1.6) == "a_b_1600"


def test_of_the_pending_offers_of_one_maker_the_oldest_is_forgotten(make_offers):
    offers = make_offers(max_pending_of_maker=3)
    keys = [("room", "a", f"b{n}") for n in range(5)]
    offers.add(B_TO_A, "b_a_0", 0.0)
    offers.add(("other", "a", "b"), "a_b_0", 0.0)
    for n, key in enumerate(keys):
        offers.add(key, f"a_b{n}_{n}", float(n))
    assert [key in offers for key in keys] == [False, False, True, True, True]
    assert B_TO_A in offers, "others' are not forgotten for it"
    assert ("other", "a", "b") in offers
    assert len(offers) == 5
    assert not offers.is_stale(keys[0], "a_b0_0", 4.0), "it is as one that has expired"
    offers.end_all_of("room", "a")
    offers.end_all_of("other", "a")
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_a_pending_offer_that_is_replaced_or_ends_is_no_further_one(make_offers):
    offers = make_offers(max_pending_of_maker=3)
    keys = [("room", "a", f"b{n}") for n in range(5)]
    for n, key in enumerate((*keys[:3], keys[0], keys[0], keys[3])):
        offers.add(key, f"a_b_{n}", float(n))
    assert [key in offers for key in keys] == [True, False, True, True, False], "a replaced one is the youngest"
    offers.end(keys[2], "", 6.0)
    offers.add(keys[4], "a_b_7", 7.0)
    assert [key in offers for key in keys] == [True, False, False, True, True]
    offers.expire(1000.0)
    assert kept(offers) == ({}, {}, {}, {}, {})


def test_the_bound_of_pending_offers_holds_whatever_peers_do(make_offers):
    offers = make_offers(max_pending_of_maker=50)
    for maker in range(20):
        for target in range(200):
            offers.add(("room", f"a{maker}", f"b{target}"), f"a{maker}_b{target}_1", 0.0)
    assert len(offers) == 20 * 50
    assert {len(keys) for keys in offers._pending_of_maker.values()} == {50}
    assert sum(map(len, offers._of_peer.values())) == 2 * 20 * 50
