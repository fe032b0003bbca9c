"""ICE servers as clients ask for them: over sessions, and of servers that know none."""

import asyncio

import pytest

from older_servers import answering_grpc, answering_websocket, scripted_grpc, scripted_websocket
from pretended_server import play
from sigbridge import Announced, Code, GetIceServers, IceServers, IceServersChanged, SignalingError
from sigbridge_client import connect
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from waiting import TIME_LIMIT_SECONDS

FIRST = IceServers(({"urls": "stun:s"},), 5)
OTHER = IceServers(({"urls": "stun:other"},))

# Over sessions.


async def by_announce(played):
    reply = await played.client.announce("alice", ice_servers=True)
    return IceServers(reply.ice_servers, reply.ice_servers_expire_unix_ms)


async def by_request(played):
    await played.client.announce("alice")
    return await played.client.get_ice_servers()


@pytest.mark.parametrize("is_new", [False, True], ids=["the same peer", "a new peer"])
@pytest.mark.parametrize("ask", [by_announce, by_request])
def test_who_has_asked_is_told_of_those_of_the_next_session(ask, is_new):
    async def program(played):
        assert await ask(played) == FIRST
        played.server.is_new = is_new
        for given in (OTHER, FIRST):
            played.server.ice_servers = given
            await played.lose()
            await asyncio.sleep(0.1)
            (request,) = played.session.requests
            assert request.ice_servers
            assert played.told[-1] == IceServersChanged(given.servers, given.expires_unix_ms)
            assert played.told[-2].kind == ("session_lost" if is_new else "resumed")

    play(program)


def test_who_has_not_asked_does_not_in_the_next_session():
    async def program(played):
        await played.announced()
        await played.lose()
        assert not played.session.requests[0].ice_servers
        assert [event.kind for event in played.told] == ["reconnecting", "resumed"]

    play(program)


def test_another_announce_of_the_program_asks_for_what_it_says():
    async def program(played):
        await by_request(played)
        await played.client.disconnect("alice")
        await played.client.announce("alice")
        await played.lose()
        assert not played.session.requests[0].ice_servers

    play(program)


def test_the_question_is_asked_again_in_the_next_session():
    async def program(played):
        await played.announced()
        played.server.unanswered = (GetIceServers,)
        asked = played.start(GetIceServers())
        await asyncio.sleep(0.1)
        played.server.is_new = True
        played.server.unanswered = ()
        await played.lose()
        assert await asked == FIRST

    play(program)


def test_newer_ones_are_handed_out_beside_all_else():
    async def program(played):
        await by_announce(played)
        played.session.tell(IceServersChanged(OTHER.servers))
        await asyncio.sleep(0.1)
        assert played.told == [IceServersChanged(OTHER.servers)]

    play(program)


# Servers that know none.


@pytest.mark.parametrize("dialect", ["plain", "dotted"])
async def test_a_server_of_json_rpc_that_knows_none_says_so(dialect):
    name = "announce" if dialect == "plain" else "peer.announce"
    unknown = {"error": {"code": -32601, "message": "Method not found: get_ice_servers"}}
    words = {name: [{"result": {"peer_id": "alice"}}], "get_ice_servers": [unknown]}
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        scripted_websocket(answering_websocket(words)) as url,
        await connect(url, dialect=dialect, resume=False) as client,
    ):
        announced = await client.announce("alice", ice_servers=True)
        assert (announced.ice_servers, announced.ice_servers_expire_unix_ms) == (None, None)
        with pytest.raises(SignalingError) as refused:
            await client.get_ice_servers()
        assert refused.value.code is Code.UNIMPLEMENTED


async def test_a_server_of_grpc_that_knows_none_says_so():
    """To it the request is a message that asks for nothing."""
    error = pb.SignalingResponse(error=pb.ErrorResponse(code=3, message="No request provided"))
    signal = answering_grpc({"announce": [pb.SignalingResponse(ack=pb.AckResponse())], "get_ice_servers": [error]})
    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_grpc(signal) as url, await connect(url) as client:
        assert await client.announce("alice", ice_servers=True) == Announced("alice", 0, ())
        with pytest.raises(SignalingError) as refused:
            await client.get_ice_servers()
        assert refused.value.code is Code.INVALID_ARGUMENT


async def test_what_is_left_out_is_empty():
    words = {
        "announce": [
            {"result": {"ice_servers": None}},
            {"method": "ice_servers", "params": {}},
            {"method": "ice_servers", "params": {"servers": [{"urls": "stun:s"}], "expires_unix_ms": None}},
        ],
        "get_ice_servers": [{"result": {}}],
    }
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        scripted_websocket(answering_websocket(words)) as url,
        await connect(url) as client,
    ):
        assert await client.announce("alice", ice_servers=True) == Announced("alice", 0, ())
        events = client.events()
        assert [await anext(events), await anext(events)] == [
            IceServersChanged(()),
            IceServersChanged(({"urls": "stun:s"},)),
        ]
        assert await client.get_ice_servers() == IceServers(())


async def test_what_is_left_out_is_empty_on_grpc():
    changed = [
        pb.SignalingResponse(notification=pb.SignalingNotification(ice_servers=pb.IceServersNotification(servers=text)))
        for text in ("", '[{"urls":"stun:s"}]')
    ]
    signal = answering_grpc(
        {
            "announce": [pb.SignalingResponse(ack=pb.AckResponse()), *changed],
            "get_ice_servers": [pb.SignalingResponse(ack=pb.AckResponse())],
        }
    )
    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_grpc(signal) as url, await connect(url) as client:
        await client.announce("alice", ice_servers=True)
        events = client.events()
        assert [await anext(events), await anext(events)] == [
            IceServersChanged(()),
            IceServersChanged(({"urls": "stun:s"},)),
        ]
        assert await client.get_ice_servers() == IceServers(())


@pytest.mark.parametrize("text", ["[hidden!", '{"credential": "hidden!"}', '["hidden!"]'])
async def test_servers_that_are_none_end_a_session(text, caplog):
    """Nothing of such a message is passed on, and its text, which may hold a credential, is not told."""
    changed = pb.SignalingNotification(ice_servers=pb.IceServersNotification(servers=text))
    signal = answering_grpc(
        {"announce": [pb.SignalingResponse(ack=pb.AckResponse()), pb.SignalingResponse(notification=changed)]}
    )
    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_grpc(signal) as url:
        client = await connect(url, resume=False)
        await client.announce("alice")
        assert [event async for event in client.events()] == []
        assert client.closed.reason == "protocol_error"
        assert "hidden!" not in caplog.text
        await client.close()
