"""The memory watch: degraded above the limit, healthy again only well below it."""

import asyncio
import logging

import pytest

from clock import NOW, Clock
from sigbridge import Announce, Code, Hub, Settings, SignalingError
from sigbridge_net.clock import read_clock
from sigbridge_server import memory
from sigbridge_server.memory import FREEING_SECONDS, MemoryWatch, resident_mb
from sigbridge_server.server import Server
from sigbridge_websocket.encoding import BARE_JSON
from stage import outcome_of
from waiting import TIME_LIMIT_SECONDS


def open_session(hub):
    return hub.open(protocol="websocket", encoding=BARE_JSON, on_end=lambda reason: None, now=NOW)


def nothing() -> None:
    """Frees nothing."""


def test_hysteresis(caplog):
    hub = Hub(Settings(max_memory_mb=100), NOW)
    used = [50, 100, 100.1, 500, 99, 90, 89.9, 95, 100, 101, 90.1, 10]
    now = [0.0]
    watch = MemoryWatch(hub, read=lambda: now[0], collect=nothing, give_back=nothing)
    states = []
    with caplog.at_level(logging.WARNING):
        for used_now in used:
            now[0] = used_now
            watch.check()
            states.append(hub.degraded)
    assert states == [False, False, True, True, True, True, False, False, False, True, True, False]
    assert [record.getMessage() for record in caplog.records] == ["memory is short", "memory is enough again"] * 2
    assert (caplog.records[0].limit_mb, caplog.records[0].used_mb) == (100, 100)


class Memory:
    """The memory of a process, of which some is garbage, and some is kept by the allocator."""

    def __init__(self, used: float, *, garbage: float = 0, kept: float = 0) -> None:
        self.used, self.garbage, self.kept = used, garbage, kept
        self.clock = Clock()
        self.hub = Hub(Settings(max_memory_mb=100), self.clock.now)
        self.done: list[str] = []
        self.watch = MemoryWatch(
            self.hub,
            read=lambda: self.used + self.garbage + self.kept,
            collect=self.collect,
            give_back=self.give_back,
            clock=lambda: self.clock.now,
        )

    def collect(self) -> None:
        self.done.append("collect")
        self.kept += self.garbage
        self.garbage = 0

    def give_back(self) -> None:
        self.done.append("give back")
        self.kept = 0

    def check(self) -> list[str]:
        """Looks once; returns what was done."""
        self.done.clear()
        self.watch.check()
        return list(self.done)


def test_garbage_is_collected_before_anybody_is_refused():
    memory = Memory(80, garbage=40, kept=10)
    assert memory.check() == ["collect", "give back"]
    assert not memory.hub.degraded
    assert memory.check() == []


def test_at_the_limit_nothing_is_collected():
    memory = Memory(80, garbage=20)
    assert memory.check() == []
    assert not memory.hub.degraded


def test_it_collects_seldom():
    memory = Memory(80, garbage=40)
    assert memory.check() == ["collect", "give back"]
    memory.garbage = 40
    memory.clock.advance(FREEING_SECONDS - 0.1)
    assert memory.check() == []
    assert memory.hub.degraded
    memory.garbage = 0
    assert memory.check() == []
    assert not memory.hub.degraded
    memory.garbage = 40
    memory.clock.advance(0.1)
    assert memory.check() == ["collect", "give back"]
    assert not memory.hub.degraded


def test_while_degraded_it_only_gives_back_what_was_freed():
    memory = Memory(120)
    assert memory.check() == ["collect", "give back"]
    assert memory.hub.degraded
    memory.used, memory.kept = 50, 70
    assert memory.check() == []
    assert memory.hub.degraded
    memory.clock.advance(FREEING_SECONDS)
    assert memory.check() == ["give back"]
    assert not memory.hub.degraded


def test_who_is_here_stays_and_nobody_is_let_in():
    hub = Hub(Settings(max_memory_mb=7), NOW)
    session = open_session(hub)
    hub.degraded = True
    with pytest.raises(SignalingError) as refused:
        open_session(hub)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert refused.value.message == (
        "Too little memory for another session (limit GRPC_MAX_MEMORY_MB is 7): connect again later"
    )
    assert not isinstance(outcome_of(hub, session, Announce("a"), NOW), SignalingError)
    assert hub.health(NOW).status == "degraded"
    hub.leave()
    assert hub.health(NOW).status == "unhealthy"


async def test_without_a_limit_nobody_looks():
    def read():
        raise AssertionError("looked")

    hub = Hub(Settings(), read_clock())
    watch = MemoryWatch(hub, read=read)
    watch.start()
    watch.stop()


async def test_it_looks_again_until_it_is_stopped(monkeypatch):
    monkeypatch.setattr(memory, "CHECK_SECONDS", 0.001)
    looked = asyncio.Event()
    used = iter([200.0, 200.0, 50.0])

    def read():
        value = next(used, None)
        if value is None:
            looked.set()
            return 50.0
        return value

    hub = Hub(Settings(max_memory_mb=100), read_clock())
    watch = MemoryWatch(hub, read=read, collect=nothing, give_back=nothing, clock=lambda: NOW)
    watch.start()
    assert hub.degraded, "the first look is at once"
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await looked.wait()
    assert not hub.degraded
    watch.stop()
    assert watch._handle.cancelled()


def test_what_this_process_holds():
    assert 10 < resident_mb() < 100_000


async def test_a_server_over_its_limit_is_degraded_from_the_start():
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            max_memory_mb=1,
        )
    )
    await server.start()
    try:
        assert server.hub.health(read_clock()).status == "degraded"
    finally:
        await server.stop(grace_seconds=0.5)
