"""The WebSocket client against a server that says what it likes."""

import asyncio
import json

import pytest
from websockets.asyncio.server import serve

from sigbridge import Code, ConnectionClosed, DisconnectReason, PeerLeft, SignalingError
from sigbridge_client import connect
from sigbridge_websocket.error_codes import CLOSE_CODES
from waiting import TIME_LIMIT_SECONDS, until


@pytest.fixture
async def scripted():
    """Serve with a coroutine function of the connection; returns the URL."""
    servers = []

    async def start(script, **options) -> str:
        server = await serve(script, "127.0.0.1", 0, **options)
        servers.append(server)
        return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_events_in_between_and_strange_ones_do_not_confuse_it(scripted):
    async def script(connection):
        asked = json.loads(await connection.recv())
        await connection.send('{"jsonrpc":"2.0","method":"peer_left","params":{"peer_id":"x"}}')
        await connection.send('{"jsonrpc":"2.0","method":"weather","params":{"rain":true}}')
        await connection.send('{"jsonrpc":"2.0","result":{},"id":4711}')
        await connection.send(json.dumps({"jsonrpc": "2.0", "result": {"to_peer_id": "b"}, "id": asked["id"]}))
        await connection.wait_closed()

    async with await connect(await scripted(script), resume=False) as client:
        assert (await client.answer("b", "v=0")).to_peer_id == "b"
        assert await anext(client.events()) == PeerLeft("x")


async def test_errors_are_the_cores(scripted):
    async def script(connection):
        asked = json.loads(await connection.recv())
        data = {"code": 5, "status": "NOT_FOUND", "peer_id": "b"}
        error = {"code": -32000, "message": "Peer not found: b", "data": data}
        await connection.send(json.dumps({"jsonrpc": "2.0", "error": error, "id": asked["id"]}))
        await connection.wait_closed()

    async with await connect(await scripted(script), resume=False) as client:
        with pytest.raises(SignalingError) as refused:
            await client.answer("b", "v=0")
    assert refused.value == SignalingError(Code.NOT_FOUND, "Peer not found: b", peer_id="b")


async def test_a_hang_up_that_was_given_up_leaves_the_sender_certain(scripted):
    asked = []

    async def script(connection):
        async for text in connection:
            asked.append(json.loads(text))
            if asked[-1]["method"] != "peer.disconnect":
                held = [one for one in asked[:-1] if one["method"] == "peer.disconnect"]
                for one in (*held, asked[-1]):
                    await connection.send(json.dumps({"jsonrpc": "2.0", "result": {}, "id": one["id"]}))

    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(await scripted(script), dialect="dotted") as client:
            await client.announce("a")
            hanging_up = asyncio.ensure_future(client.disconnect("b"))
            await until(lambda: len(asked) == 2)
            hanging_up.cancel()
            await client.answer("b", "v=0")
            await client.answer("b", "v=0")
    assert [one["params"].get("from") for one in asked] == [None, "a", None, "a"]


NONSENSE = (
    "nonsense",
    "[]",
    "1",
    '{"jsonrpc":"2.0"}',
    '{"id":[],"result":{}}',
    '{"method":5}',
    '{"method":null}',
    '{"method":[]}',
)


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        *((dialect, text) for dialect in ("plain", "dotted") for text in NONSENSE),
        ("plain", '{"method":"peer_left","params":{}}'),
        ("dotted", '{"method":"peer.left","params":{}}'),
    ],
)
async def test_a_server_that_talks_nonsense_is_left(scripted, dialect, text):
    async def script(connection):
        await connection.recv()
        await connection.send(text)
        await connection.wait_closed()

    client = await connect(await scripted(script), dialect=dialect, resume=False)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with pytest.raises(ConnectionClosed, match="the server sent an invalid message"):
            await client.health()
    await client.close()


@pytest.mark.parametrize(
    ("code", "word", "reason", "reconnect"),
    [
        (1012, "draining", "draining", True),
        (1007, "not_utf8", "not_utf8", False),
        (1000, "", "client_left", None),
        (1001, "", "client_left", None),
        (4999, "weather", "weather", None),
        (1011, "", "connection_lost", True),
        (1013, "overload retry-after-ms=250", "overload", True),
    ],
)
async def test_who_waits_learns_why_the_connection_ended(scripted, code, word, reason, reconnect):
    async def script(connection):
        await connection.recv()
        await connection.close(code, word)

    client = await connect(await scripted(script), resume=False)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with pytest.raises(ConnectionClosed) as closed:
            await client.health()
        assert [event async for event in client.events()] == []
    assert (closed.value.reason, closed.value.reconnect) == (reason, reconnect)
    with pytest.raises(ConnectionClosed):
        await client.health()
    await client.close()
    await client.close()


async def test_a_refused_handshake_says_its_status(scripted):
    url = await scripted(lambda _: None, process_request=lambda connection, _: connection.respond(503, "full\n"))
    with pytest.raises(ConnectionClosed, match="503"):
        await connect(url, resume=False)


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (4401, "unauthenticated", ("unauthenticated", False, None)),
        (4401, "", ("unauthenticated", False, None)),
        (4429, "throttled retry-after-ms=1500", ("throttled", True, 1500)),
        (4503, "draining", ("draining", True, None)),
        (4429, "throttled retry-after-ms=soon", ("throttled", True, None)),
    ],
)
async def test_a_refusal_by_a_close_frame_is_read_too(scripted, code, said, expected):
    client = await connect(await scripted(lambda connection: connection.close(code, said)), resume=False)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with pytest.raises(ConnectionClosed) as closed:
            await client.health()
    assert (client.closed.reason, client.closed.reconnect, client.closed.retry_after_ms) == expected
    assert (closed.value.reason, closed.value.reconnect, closed.value.retry_after_ms) == expected
    await client.close()


async def test_nobody_there():
    with pytest.raises(ConnectionClosed, match="cannot connect"):
        await connect("ws://127.0.0.1:1/", resume=False)


@pytest.mark.parametrize("reason", [reason for reason in DisconnectReason if reason in CLOSE_CODES])
async def test_every_reason_is_read_back(scripted, reason):
    async def script(connection):
        await connection.recv()
        await connection.close(CLOSE_CODES[reason], reason.word)

    client = await connect(await scripted(script), resume=False)
    with pytest.raises(ConnectionClosed) as closed:
        await client.answer("b", "v=0")
    assert (closed.value.reason, closed.value.reconnect) == (reason.word, reason.reconnect)
    await client.close()
