"""The moments at which everything is looked at for garbage, and Python's own way, which it gets back."""

import asyncio
import gc

import pytest

from sigbridge_server.garbage import LEAST_ENDED, PATIENCE_SECONDS, QUIET_BEGUN, YOUNG_COLLECTIONS, Census, GarbageWatch
from waiting import TIME_LIMIT_SECONDS


class Watched:
    """A watch over connections that a test makes up."""

    def __init__(self):
        self.begun = self.open = self.collections = 0
        self.watch = GarbageWatch(lambda: Census(self.begun, self.open), collect=self.collect)

    def collect(self):
        self.collections += 1

    def second(self, *, begin=0, end=0):
        """Lets some begin and some end, then looks; returns the number of collections that there have been."""
        self.begun += begin
        self.open += begin - end
        self.watch.check()
        return self.collections


def test_those_that_begin_bring_on_nothing():
    watched = Watched()
    assert watched.second(begin=8000) == 0
    assert watched.second(begin=8000) == 0
    assert watched.second() == 0


def test_what_has_ended_is_collected_in_a_quiet_second():
    watched = Watched()
    watched.second(begin=2 * LEAST_ENDED)
    assert watched.second(end=LEAST_ENDED - 1) == 0
    assert watched.second(end=1) == 1
    assert watched.second() == 1, "once"
    assert watched.second(end=LEAST_ENDED) == 2


def test_a_storm_is_waited_for_but_not_for_ever():
    watched = Watched()
    watched.second(begin=LEAST_ENDED)
    assert watched.second(begin=QUIET_BEGUN + 1, end=LEAST_ENDED) == 0
    assert watched.second(begin=QUIET_BEGUN) == 1
    for number in range(PATIENCE_SECONDS):
        assert watched.second(begin=LEAST_ENDED, end=LEAST_ENDED) == 1, number
    assert watched.second(begin=LEAST_ENDED, end=LEAST_ENDED) == 2
    assert watched.second(begin=LEAST_ENDED, end=LEAST_ENDED) == 2


def test_of_many_a_quarter_has_to_end():
    watched = Watched()
    watched.second(begin=40_000)
    assert watched.second(end=7_900) == 0
    assert watched.second(end=200) == 1


@pytest.mark.thorough
async def test_python_gets_its_thresholds_back():
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    watch = Watched().watch
    watch.stop()
    watch.start()
    try:
        assert gc.get_threshold()[:2] == before[:2]
        # Some Pythons have no third one.
        assert gc.get_threshold()[2:] in ((YOUNG_COLLECTIONS,), (0,))
        assert gc.get_freeze_count() > frozen
    finally:
        watch.stop()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() > frozen, "the end of the process does not look at it either"


@pytest.mark.thorough
async def test_it_goes_on_looking(monkeypatch):
    monkeypatch.setattr("sigbridge_server.garbage.CHECK_SECONDS", 0)
    watched = Watched()
    watched.watch.start()
    try:
        for _ in range(2):
            watched.begun += 2 * LEAST_ENDED
            before = watched.collections
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                while watched.collections == before:
                    await asyncio.sleep(0)
    finally:
        watched.watch.stop()
