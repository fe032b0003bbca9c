"""The bounds of all held peers: who goes first does not depend on what anybody is called."""

import pytest

from sigbridge import Announce, DisconnectReason
from sigbridge.auth import Identity
from stage import Stage


def hold(stage, *names):
    for name in names:
        actor = stage.open(identity=Identity(name.partition(":")[0]))
        actor.do(Announce(name, resumable=True))
        actor.close(DisconnectReason.CONNECTION_LOST)


@pytest.mark.parametrize("others", [("a1", "a2", "a3"), ("z1", "z2", "z3")])
def test_of_those_who_hold_as_much_the_oldest_goes(others):
    stage = Stage(max_held_peers=3)
    hold(stage, *others, "bob")
    assert stage.ids() == [*others[1:], "bob"]
    stage = Stage(max_held_peers=3)
    hold(stage, "bob", *others)
    assert stage.ids() == list(others)


def test_who_comes_back_and_is_lost_again_is_the_youngest():
    stage = Stage(max_held_peers=3)
    hold(stage, "bob", "carol", "bob", "dave", "erin")
    assert stage.ids() == ["bob", "dave", "erin"]


def test_who_holds_more_goes_before_whoever_is_older():
    stage = Stage(max_held_peers=3)
    hold(stage, "bob", "mallory:1", "mallory:2", "carol")
    assert stage.ids() == ["bob", "mallory:2", "carol"]
