"""A judge of histories that finds nothing would be content for ever: it must find every fault there could be."""

import pytest

from histories import Heard, History, Sent, answered_after_resumes, faults


def two_peers():
    """Two peers between whom everything went well, and who was told of them."""
    alice = History("alice", [Sent("bob", str(n), ["ok"], [0, 0]) for n in range(4)], roster=["joined bob"])
    bob = History("bob", [Sent("alice", "9", ["UNAVAILABLE"], [1, 2])], [Heard("alice", str(n)) for n in range(4)])
    return alice, bob, History("onlooker", roster=["joined alice", "joined bob"])


def lost(alice, bob, onlooker):
    del bob.heard[2]


def doubled(alice, bob, onlooker):
    bob.heard.insert(2, bob.heard[1])


def doubled_late(alice, bob, onlooker):
    bob.heard.append(bob.heard[0])


def out_of_order(alice, bob, onlooker):
    bob.heard[1], bob.heard[2] = bob.heard[2], bob.heard[1]


def heard_though_refused(alice, bob, onlooker):
    alice.sent[1].outcomes = ["NOT_FOUND"]


def made_up(alice, bob, onlooker):
    bob.heard.append(Heard("alice", "17"))


def without_an_outcome(alice, bob, onlooker):
    bob.sent[0].outcomes = []


def with_two_outcomes(alice, bob, onlooker):
    bob.sent[0].outcomes *= 2


def with_an_outcome_that_nobody_knows(alice, bob, onlooker):
    bob.sent[0].outcomes = ["unknown"]


def a_peer_that_was_said_to_have_left(alice, bob, onlooker):
    onlooker.roster.append("left alice")


def a_peer_that_joined_twice(alice, bob, onlooker):
    alice.roster.append("joined bob")


def a_peer_of_whom_nobody_heard(alice, bob, onlooker):
    onlooker.roster.remove("joined bob")


def a_session_that_did_not_survive(alice, bob, onlooker):
    alice.lost.append("SessionLost")


def a_key_that_was_given_twice(alice, bob, onlooker):
    alice.sent.append(alice.sent[0])
    bob.heard.append(bob.heard[0])


def test_where_all_went_well_nothing_is_found():
    *peers, onlooker = two_peers()
    assert faults(peers, [onlooker]) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lost,
        doubled,
        doubled_late,
        out_of_order,
        heard_though_refused,
        made_up,
        without_an_outcome,
        with_two_outcomes,
        with_an_outcome_that_nobody_knows,
        a_peer_that_was_said_to_have_left,
        a_peer_that_joined_twice,
        a_peer_of_whom_nobody_heard,
        a_session_that_did_not_survive,
        a_key_that_was_given_twice,
    ],
)
def test_a_fault_is_found(spoil):
    *peers, onlooker = two_peers()
    spoil(*peers, onlooker)
    assert faults(peers, [onlooker])


def test_requests_in_flight_are_counted():
    assert answered_after_resumes(list(two_peers()[:2])) == 1
