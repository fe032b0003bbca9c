"""Sessions of the Python clients whose programs say nothing, on both protocols: they say something by themselves."""

import asyncio

import pytest

from served import servers
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS, until


@pytest.fixture
async def serve():
    async with servers() as start:
        yield start


def url(server, protocol):
    if protocol == "grpc":
        return f"grpc://127.0.0.1:{server.grpc_port}"
    return f"ws://127.0.0.1:{server.websocket_port}"


@pytest.mark.parametrize("engine", ["native", "grpcio"])
@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_server_hears_of_a_silent_program(serve, protocol, engine):
    server = await serve(grpc_engine=engine)
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        await connect(url(server, protocol), resume=False, keepalive_seconds=0.01) as client,
    ):
        await client.announce("a")
        (session,) = server.hub._sessions.values()
        heard = session.request_count
        await until(lambda: session.request_count >= heard + 3)
        # What the program asks meanwhile is answered as ever.
        assert [peer.peer_id for peer in (await client.list_peers()).peers] == ["a"]
        assert (client.closed, client._renewal) == (None, None)
    assert client.closed.reason == "client_left"
    assert client._keepalive._task.done()


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_refusal_changes_nothing(serve, protocol):
    server = await serve(rate_per_second=0.001, rate_burst=1)
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        await connect(url(server, protocol), resume=False, keepalive_seconds=0.01) as client,
    ):
        await until(lambda: sum(server.hub.counters.refused_requests.values()) >= 3)
        await client.announce("a")
        assert client.closed is None


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_by_default_each_has_it_and_may_do_without(serve, protocol):
    server = await serve()
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(url(server, protocol), resume=False) as client:
            assert client._keepalive._seconds == 25
        async with await connect(url(server, protocol), resume=False, keepalive_seconds=0) as client:
            assert client._keepalive is None
