"""ICE servers of a whole server, asked for in batches, and by a peer whose next session speaks another protocol."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect as connect_websocket

from served import servers
from sigbridge import Announce, GetIceServers, IceServersChanged
from sigbridge.ice_servers import ice_servers_in
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS

FIXED = {"urls": ["stun:s.example.org"]}
LATER = {"urls": ["stun:later.example.org"]}


@pytest.fixture
async def start():
    async with servers() as start_server, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield start_server


def asks(method, number, **params):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize("announce", ["announce", "peer.announce"])
async def test_in_a_batch_they_are_for_who_has_announced_itself_before(start, announce):
    server = await start(ice_servers=json.dumps([FIXED]))
    async with connect_websocket(f"ws://127.0.0.1:{server.websocket_port}", subprotocols=["jsonrpc"]) as socket:
        batch = [
            asks("get_ice_servers", 1),
            asks(announce, 2, peer_id="alice", ice_servers=True),
            asks("get_ice_servers", 3),
            {"jsonrpc": "2.0", "method": "get_ice_servers"},
        ]
        await socket.send(json.dumps(batch))
        replies = {reply["id"]: reply for reply in json.loads(await socket.recv())}
    assert replies[1]["error"]["data"]["status"] == "FAILED_PRECONDITION"
    assert sorted(replies) == [1, 2, 3]
    assert replies[2]["result"]["ice_servers"] == replies[3]["result"]["ice_servers"] == [FIXED]


@pytest.mark.parametrize("first", ["ws", "grpc"])
@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_a_peer_that_comes_back_by_the_other_protocol_is_told_once(start, tmp_path, first, engine):
    file = tmp_path / "ice.json"
    file.write_text(json.dumps([FIXED]))
    server = await start(grpc_engine=engine, ice_servers=str(file))
    urls = [f"ws://127.0.0.1:{server.websocket_port}", f"grpc://127.0.0.1:{server.grpc_port}"]
    if first == "grpc":
        urls.reverse()
    async with await connect(urls[0], resume=False) as before, await connect(urls[1], resume=False) as after:
        announced = await before.call(Announce("alice", resumable=True, ice_servers=True))
        assert announced.ice_servers == ice_servers_in(json.dumps(FIXED))
        token = announced.resume_token
        # The session before stands still, and is replaced.
        announced = await after.call(Announce("alice", resumable=True, resume_token=token, ice_servers=True))
        assert announced.resumed
        assert len(server.hub._parts.ice_servers.asked) == 1
        file.write_text(json.dumps([LATER]))
        server.reload()
        told = []
        async for event in after.events():
            told.append(event)
            if isinstance(event, IceServersChanged):
                break
        assert told[-1].servers == ice_servers_in(json.dumps(LATER))
        assert (await after.call(GetIceServers())).servers == told[-1].servers
        await after.close()
        told += [event async for event in after.events()]
        assert len([event for event in told if isinstance(event, IceServersChanged)]) == 1
        assert not [event async for event in before.events() if isinstance(event, IceServersChanged)]
