"""Lateness: by which moment is judged after a freeze, in a busy loop, and in one that is always late."""

import asyncio

import pytest

from clock import Clock
from sigbridge import DisconnectReason, Offer, Settings
from sigbridge_net import clock as clock_module
from sigbridge_net.carrier import Carrier
from sigbridge_net.clock import HubTimer
from sigbridge_net.connection import Connection
from sigbridge_net.lateness import CATCH_UP_SECONDS, LATE_SECONDS, NOBODY, Lateness
from stage import Stage

PAUSE = 0.25


class Looks:
    """Looks at regular pauses, by a clock of their own, each late by as much as is said."""

    def __init__(self) -> None:
        self.lateness = Lateness()
        self.moment = 1000.0

    def look(self, late: float = 0.0) -> float:
        """Looks once; returns how long ago the moment is by which is judged, or infinity where nobody is."""
        self.moment += PAUSE + late
        judged_by = self.lateness.look(self.moment)
        self.lateness.expect(self.moment + PAUSE)
        return self.moment - judged_by


@pytest.mark.parametrize("late", [0.0, 0.001, 0.3, LATE_SECONDS])
def test_a_busy_loop_is_not_late(late: float) -> None:
    looks = Looks()
    assert [looks.look(late) for _ in range(100)] == [0.0] * 100
    assert looks.lateness.seconds == pytest.approx(late)


@pytest.mark.parametrize("frozen", [LATE_SECONDS + 0.01, 7.0, 86400.0])
def test_after_a_freeze_nobody_is_judged_until_all_is_read(frozen: float) -> None:
    looks = Looks()
    assert looks.look() == 0.0
    assert looks.look(frozen) == float("inf")
    thawed_at = looks.moment
    while (ago := looks.look()) == float("inf"):
        assert looks.moment < thawed_at + CATCH_UP_SECONDS
    assert ago == 0.0
    assert looks.moment == thawed_at + CATCH_UP_SECONDS
    assert looks.look() == 0.0


@pytest.mark.parametrize("late", [LATE_SECONDS + 0.01, 3.0, 60.0])
def test_who_is_always_late_judges_all_the_same(late: float) -> None:
    looks = Looks()
    looks.look()
    ages = [looks.look(late) for _ in range(100)]
    # Nobody is judged by a moment at which what had come is not read yet, nor is anybody's time prolonged for ever.
    judged = [ago for ago in ages if ago != float("inf")]
    assert min(judged) >= CATCH_UP_SECONDS
    assert max(judged) <= CATCH_UP_SECONDS + PAUSE + late
    assert len(judged) >= 49


def test_a_freeze_while_all_is_read_is_one_more() -> None:
    looks = Looks()
    looks.look()
    assert looks.look(60.0) == float("inf")
    thawed_at = looks.moment
    assert looks.look() == float("inf")
    looks.look(60.0)
    # By what was read since the first one, not by what came during the second.
    assert looks.lateness.look(looks.moment) == NOBODY
    assert looks.moment - thawed_at > 60.0
    while (ago := looks.look()) == float("inf"):
        pass
    assert ago == 0.0


def test_the_first_look_is_never_late() -> None:
    assert Lateness().look(1e9) == 1e9


class Overdue:
    """A wire whose time is up from some moment on, and that counts how often it was judged."""

    finished = False
    successor = None

    def __init__(self, due: float) -> None:
        self.due = due
        self.aborted = False
        self.judged = 0

    def expire(self, now: object) -> None:
        self.judged += 1
        self.due = float("inf")

    def fast_output(self, most: int, now: object) -> list[bytes]:
        return []


async def test_a_sweep_that_comes_late_judges_nobody(clock: Clock) -> None:
    carrier = Carrier(Settings(), clock=lambda: clock.now)
    connection = Connection(carrier.connections, lambda client, wake, now: None)
    carrier.connections.accepted.add(connection)
    connection.wire = wire = Overdue(clock.now.monotonic + 10)
    # What a wire wants to be looked at for, at once.
    for due in (10.0, 0.0):
        wire.due, wire.judged = due and clock.now.monotonic + due, 0
        carrier._sweep_seconds = 1000.0
        carrier._lateness.expect(clock.now.monotonic)
        clock.advance(60)
        carrier._sweep()
        carrier._sweep_handle.cancel()
        assert wire.judged == 0
        carrier._lateness.expect(clock.now.monotonic + CATCH_UP_SECONDS)
        clock.advance(CATCH_UP_SECONDS)
        carrier._sweep()
        carrier._sweep_handle.cancel()
        assert wire.judged == 1


@pytest.fixture
def by_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets timers read the test's clock."""

    class Time:
        monotonic = staticmethod(lambda: clock.now.monotonic)
        time = staticmethod(lambda: clock.now.unix)

    monkeypatch.setattr(clock_module, "time", Time)


@pytest.mark.usefixtures("by_clock")
async def test_a_hub_s_timer_that_is_late_does_not_call(clock: Clock) -> None:
    calls: list[float] = []
    forgiven: list[float] = []

    class Called:
        def forgive(self, seconds, now):
            forgiven.append(seconds)

        def expire(self, now):
            calls.append(now.monotonic)
            return now.monotonic + 1000

        def spread_farewells(self, later, now):
            pass

    timer = HubTimer(Called())
    timer.start()
    try:
        assert len(calls) == 1
        clock.advance(60)
        timer._tick()
        assert timer.lag_seconds > 50
        assert len(calls) == 1
        assert forgiven == [timer.lag_seconds]
        clock.advance(CATCH_UP_SECONDS + 0.005)
        timer._tick()
        assert calls[1:] == [clock.now.monotonic]
        assert timer.lag_seconds < LATE_SECONDS
        assert len(forgiven) == 1
    finally:
        timer.stop()
    await asyncio.sleep(0)


@pytest.mark.usefixtures("by_clock")
@pytest.mark.parametrize("late_again", [0.0, 3.0, 9.0], ids=str)
async def test_a_freeze_counts_neither_for_newcomers_nor_for_slow_readers(clock: Clock, late_again: float) -> None:
    # Tasks have not written yet what was in an outbox, nor read who announces itself, when the first turns are over.
    stage = Stage(announce_timeout_seconds=20.0, send_deadline_seconds=20.0)
    stage.now = clock.now
    timer = HubTimer(stage.hub)
    timer.start()
    newcomer, reader, talker = stage.open(), stage.open("reader"), stage.open("talker")
    talker.do(Offer("reader", "v=0"))
    talker.took()
    try:
        clock.advance(8)
        timer._lateness.expect(clock.now.monotonic)
        clock.advance(60)
        timer._tick()
        clock.advance(CATCH_UP_SECONDS + late_again)
        timer._tick()
        # Not by the delay of each look, so that a loop that is always late ends them all the same.
        clock.advance(10.5 - late_again)
        timer._tick()
        assert newcomer.session.open
        assert reader.session.open
        for _ in range(12):
            talker.took()
            clock.advance(CATCH_UP_SECONDS)
            timer._tick()
        reasons = [actor.session.end_reason for actor in (newcomer, reader, talker)]
        assert reasons == [DisconnectReason.ANNOUNCE_TIMEOUT, DisconnectReason.SLOW_CONSUMER, None]
    finally:
        timer.stop()
