"""A whole server that stops while somebody is here who asked to be told beforehand, on both protocols."""

import asyncio

import msgspec
import pytest
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed as WebSocketClosed

from served import servers
from sigbridge.hub import Phase
from sigbridge.messages import Announce, ServerNotice
from sigbridge_client import connect
from sigbridge_net.clock import read_clock
from waiting import TIME_LIMIT_SECONDS


@pytest.fixture
async def start():
    async with servers() as start_server, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield start_server


async def announced(port, **asked):
    """A WebSocket whose session has announced itself."""
    connection = await websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}", proxy=None)
    await connection.send(
        msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "announce", "params": asked}), text=True
    )
    assert "result" in msgspec.json.decode(await connection.recv())
    return connection


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_all_are_told_and_all_else_goes_on_until_they_have_gone(start, engine):
    # Longer than the test may take: nobody waits for half of it to pass.
    server = await start(grpc_engine=engine, shutdown_grace_seconds=1000)
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}") as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}") as bob,
    ):
        for name, client in (("alice", alice), ("bob", bob)):
            await client.call(Announce(name, notices=True))
        stopping = asyncio.create_task(server.stop())
        for client in (alice, bob):
            async for event in client.events():
                if isinstance(event, ServerNotice):
                    assert event.notice == "draining"
                    assert 1 <= event.reconnect_after_ms <= 1000
                    break
        assert server.hub.phase is Phase.LEAVING
        assert (await bob.health()).status == "unhealthy"
        assert (await alice.offer("bob", "v=0")).to_peer_id == "bob"
        # Who has gone is not waited for.
        await alice.close()
        await bob.close()
        await stopping


async def test_who_stays_is_told_again_at_its_end_and_who_did_not_ask_sees_what_it_ever_saw(start):
    server = await start(shutdown_grace_seconds=0.6)
    asked = await announced(server.websocket_port, peer_id="asked", notices=True)
    other = await announced(server.websocket_port, peer_id="other", room="r")
    began = read_clock()
    stopping = asyncio.create_task(server.stop())
    notice = msgspec.json.decode(await asked.recv())
    assert notice["method"] == "server_notice"
    assert notice["params"].keys() == {"kind", "message", "reconnect_after_ms", "deadline_unix_ms"}
    assert notice["params"]["deadline_unix_ms"] >= (began.unix + 0.25) * 1000
    ends = []
    for connection in (asked, other):
        with pytest.raises(WebSocketClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd.code == 1012
        ends.append(closed.value.rcvd.reason)
    await stopping
    assert ends[1] == "draining"
    word, _, pause = ends[0].partition(" retry-after-ms=")
    assert word == "draining"
    assert 1 <= int(pause) <= 1000


async def test_a_second_stop_waits_for_nobody(start):
    server = await start(shutdown_grace_seconds=1000)
    asked = await announced(server.websocket_port, peer_id="asked", notices=True)
    stopping = asyncio.create_task(server.stop())
    assert msgspec.json.decode(await asked.recv())["method"] == "server_notice"
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await server.stop(grace_seconds=0)
    with pytest.raises(WebSocketClosed):
        await asked.recv()
    assert server.hub.session_count == 0
