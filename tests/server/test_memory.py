"""The memory watch: degraded above the limit, healthy again only well below it."""

import asyncio
import logging

import pytest

from clock import NOW
from sigbridge import Announce, Code, Hub, Settings, SignalingError
from sigbridge_net.clock import read_clock
from sigbridge_server import memory
from sigbridge_server.memory import MemoryWatch, resident_mb
from sigbridge_server.server import Server
from sigbridge_websocket.encoding import BARE_JSON
from stage import outcome_of


def open_session(hub):
    return hub.open(protocol="websocket", encoding=BARE_JSON, on_end=lambda reason: None, now=NOW)


def test_hysteresis(caplog):
    hub = Hub(Settings(max_memory_mb=100), NOW)
    used = [50, 100, 100.1, 500, 99, 90, 89.9, 95, 100, 101, 90.1, 10]
    watch = MemoryWatch(hub, read=iter(used).__next__)
    states = []
    with caplog.at_level(logging.WARNING):
        for _ in used:
            watch.check()
            states.append(hub.degraded)
    assert states == [False, False, True, True, True, True, False, False, False, True, True, False]
    assert [record.getMessage() for record in caplog.records] == ["memory is short", "memory is enough again"] * 2
    assert (caplog.records[0].limit_mb, caplog.records[0].used_mb) == (100, 100)


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
    used = iter([200.0, 50.0])

    def read():
        value = next(used, None)
        if value is None:
            looked.set()
            return 50.0
        return value

    hub = Hub(Settings(max_memory_mb=100), read_clock())
    watch = MemoryWatch(hub, read=read)
    watch.start()
    assert hub.degraded, "the first look is at once"
    async with asyncio.timeout(20):
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
