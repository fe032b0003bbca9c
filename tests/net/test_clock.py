"""The hub's timer: it calls when that is due, and stops when told."""

import asyncio

from sigbridge import Hub, Settings
from sigbridge.session import Session
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_websocket.encoding import BARE_JSON
from skipping_loop import SkippingLoop
from stage import Stage
from waiting import TIME_LIMIT_SECONDS


async def test_the_timer_does_what_is_due():
    ended: asyncio.Queue[str] = asyncio.Queue()
    hub = Hub(Settings(announce_timeout_seconds=0.05), read_clock())
    timer = HubTimer(hub)
    timer.start()
    timer.start()
    try:
        for _ in range(2):
            session = hub.open(
                protocol="websocket",
                encoding=BARE_JSON,
                on_end=lambda reason: ended.put_nowait(reason.word),
                now=read_clock(),
            )
            assert isinstance(session, Session)
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                assert await ended.get() == "announce_timeout"
            assert not session.open
    finally:
        timer.stop()
        timer.stop()


async def test_farewells_of_many_are_told_in_later_turns():
    stage = Stage()
    stage.now = read_clock()
    listeners = [stage.open(f"listener {number}") for number in range(60)]
    leaving = [stage.open(f"gone {number}") for number in range(30)]
    timer = HubTimer(stage.hub)
    timer.start()
    try:
        for actor in listeners + leaving:
            actor.took()
        for actor in leaving:
            actor.close()
        heard = listeners[0].heard()
        assert 0 < len(heard) < len(leaving)
        turns = 0
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while len(heard) < len(leaving):
                await asyncio.sleep(0)
                heard += listeners[0].heard()
                turns += 1
        assert turns > 1
    finally:
        timer.stop()


def test_a_failure_is_not_the_last_call(caplog):
    calls = []

    class Failing:
        def expire(self, now):
            calls.append(now)
            if len(calls) == 1:
                raise RuntimeError("a fault of ours")
            again.set()
            return now.monotonic + 60

        def spread_farewells(self, later, now):
            pass

    async def call_again():
        timer.start()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await again.wait()
        timer.stop()

    timer, again = HubTimer(Failing()), asyncio.Event()
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(call_again())
    assert [record.getMessage() for record in caplog.records] == ["the hub's timer failed"]
    assert timer.lag_seconds >= 0


def test_both_clocks_go_on():
    first, second = read_clock(), read_clock()
    assert first.monotonic <= second.monotonic
    assert second.unix > 1_700_000_000
