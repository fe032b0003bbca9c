"""Farewells of many are spread over turns of the event loop, and everybody hears what those who were there should."""

import pytest

from sigbridge import DisconnectReason, PeerJoined, PeerLeft
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.share import EVENTS_PER_TURN
from stage import Actor, Stage

LISTENERS = 100
LEAVING = 20


class Turns:
    """An event loop that turns when a test says so."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.asked = 0
        stage.hub.spread_farewells(self._ask, stage.now)

    def _ask(self) -> None:
        self.asked += 1

    def turn(self) -> bool:
        """Turns once, where that was asked for; returns whether it was."""
        if not self.asked:
            return False
        assert self.asked == 1
        self.asked = 0
        self._stage.hub.go_on(self._stage.now)
        return True


def crowd(stage: Stage) -> tuple[list[Actor], list[Actor]]:
    """A room's listeners, and those who are going to leave it; nothing waits to be heard."""
    listeners = [stage.open(f"listener {number}") for number in range(LISTENERS)]
    leaving = [stage.open(f"gone {number}") for number in range(LEAVING)]
    for actor in listeners + leaving:
        actor.took()
    return listeners, leaving


def left(*numbers: int) -> list[PeerLeft]:
    return [PeerLeft(f"gone {number}") for number in numbers]


def test_each_turn_tells_of_some_and_everybody_hears_of_all_in_order(stage: Stage) -> None:
    listeners, leaving = crowd(stage)
    turns = Turns(stage)
    for actor in leaving:
        actor.close()
    assert stage.ids() == [f"listener {number}" for number in range(LISTENERS)]
    heard = [[actor.heard() for actor in listeners]]
    while turns.turn():
        heard.append([actor.heard() for actor in listeners])
    # Those who leave later hear of it, too; and one that begins within a turn's events ends beyond them.
    assert max(len(turn[0]) for turn in heard) <= EVENTS_PER_TURN // LISTENERS + 1
    assert all(turn[0] for turn in heard[:-1])
    for number in range(LISTENERS):
        assert [event for turn in heard for event in turn[number]] == left(*range(LEAVING))


def test_without_an_event_loop_all_are_told_at_once(stage: Stage) -> None:
    listeners, leaving = crowd(stage)
    for actor in leaving:
        actor.close()
    assert all(actor.heard() == left(*range(LEAVING)) for actor in listeners)


def test_what_waits_is_told_when_the_event_loop_ends(stage: Stage) -> None:
    listeners, leaving = crowd(stage)
    Turns(stage)
    for actor in leaving:
        actor.close()
    stage.hub.spread_farewells(None, stage.now)
    assert all(actor.heard() == left(*range(LEAVING)) for actor in listeners)


def test_who_joins_meanwhile_hears_nothing_of_those_who_had_left(stage: Stage) -> None:
    listeners, leaving = crowd(stage)
    turns = Turns(stage)
    for actor in leaving:
        actor.close()
    newcomer = stage.open("newcomer")
    while turns.turn():
        pass
    assert newcomer.heard() == []
    joined = PeerJoined("newcomer", NO_CAPABILITIES, {})
    for actor in listeners:
        heard = actor.heard()
        assert [event for event in heard if event != joined] == left(*range(LEAVING))
        assert joined in heard


def test_who_joins_by_an_id_that_has_left_is_told_of_after_that(stage: Stage) -> None:
    listeners, leaving = crowd(stage)
    turns = Turns(stage)
    for actor in leaving:
        actor.close()
    last = LEAVING - 1
    again = stage.open(f"gone {last}")
    again.close()
    while turns.turn():
        pass
    joined = PeerJoined(f"gone {last}", NO_CAPABILITIES, {})
    for actor in listeners:
        assert [event for event in actor.heard() if event in (joined, *left(last))] == [
            *left(last),
            joined,
            *left(last),
        ]


def test_a_room_that_was_empty_meanwhile_hears_nothing_of_before(stage: Stage) -> None:
    listeners, leaving = crowd(stage)
    turns = Turns(stage)
    for actor in leaving + listeners:
        actor.close()
    newcomer = stage.open("newcomer")
    while turns.turn():
        pass
    assert newcomer.heard() == []


@pytest.mark.parametrize("spread", [True, False])
def test_those_whom_a_farewell_makes_slow_are_told_of_too(spread: bool) -> None:
    stage = Stage(outbox_max_messages=3)
    listener, *slow = present = [stage.open(peer_id) for peer_id in ("listener", "slow 0", "slow 1")]
    leaving = []
    for number in range(7):
        leaving.append(stage.open(f"gone {number}"))
        for actor in present + leaving:
            actor.took()
    turns = Turns(stage) if spread else None
    heard = []
    for actor in leaving:
        heard += listener.heard()
        actor.close()
    while turns is not None and turns.turn():
        pass
    heard += listener.heard()
    assert heard[-9:] == [*left(*range(7)), PeerLeft("slow 0"), PeerLeft("slow 1")]
    assert all(actor.ends == [DisconnectReason.SLOW_CONSUMER] for actor in slow)
