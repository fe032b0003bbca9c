"""Both protocols give the same advice for the same fate of a connection, whoever has caused it."""

import asyncio

import pytest
from websockets.asyncio.server import serve

from http2_bytes import DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, block, frame, reset, settings
from sigbridge import ConnectionClosed
from sigbridge_client import connect
from stream_server import serving
from waiting import TIME_LIMIT_SECONDS

PROTOCOLS = ["grpc", "ws"]


async def end_of(url):
    """End of a connection, or of the attempt to make one."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        try:
            client = await connect(url, resume=False, keepalive_seconds=0)
        except ConnectionClosed as closed:
            return closed
        async for _ in client.events():
            pass
        await client.close()
        return client.closed


def grpc_answer(*frames):
    """A server that answers the first call with the frames that functions of the number of its stream make."""

    async def handle(reader, writer):
        await reader.readexactly(24)
        writer.write(settings())
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == SETTINGS and not head[4]:
                writer.write(frame(SETTINGS, 1, 0))
            elif head[3] == HEADERS:
                stream = int.from_bytes(head[5:], "big")
                writer.write(b"".join(make(stream) for make in frames))
                # Before the server reads on the client has nothing to say, and reads this alone.
                await writer.drain()

    return handle


def grpc_headers(*fields, end=False):
    flags = END_HEADERS | (END_STREAM if end else 0)
    return lambda stream: frame(HEADERS, flags, stream, block(*fields))


STANDS = grpc_headers((b":status", b"200"), (b"content-type", b"application/grpc"))


def ws_page(status):
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, None),
        (401, False),
        (403, False),
        (404, None),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (504, True),
    ],
)
async def test_a_page_of_a_proxy(status, advice):
    response = grpc_headers((b":status", str(status).encode()), (b"content-type", b"text/html"), end=True)
    for protocol, handle in (("grpc", grpc_answer(response)), ("ws", ws_page(status))):
        async with serving(handle) as port:
            assert (await end_of(f"{protocol}://127.0.0.1:{port}")).reconnect is advice, protocol


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_nobody_listens(protocol):
    async with serving(lambda reader, writer: reader.read()) as port:
        pass
    closed = await end_of(f"{protocol}://127.0.0.1:{port}")
    assert closed.reason.startswith("cannot connect to ")
    assert closed.reconnect is True


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_server_that_hangs_up_before_a_word(protocol):
    async with serving(lambda reader, writer: reader.read(1)) as port:
        assert (await end_of(f"{protocol}://127.0.0.1:{port}")).reconnect is True


@pytest.mark.parametrize("code", [0, 1, 2, 7, 8, 11, 12, 13])
async def test_a_stream_that_is_reset_at_once(code):
    async with serving(grpc_answer(STANDS, lambda stream: reset(stream, code))) as port:
        assert (await end_of(f"grpc://127.0.0.1:{port}")).reconnect is True


async def lost_while_it_stands(address, protocol, stands):
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        client = await connect(f"{protocol}://{address}", resume=False)
        stands.set()
        async for _ in client.events():
            pass
        await client.close()
    assert (client.closed.reason, client.closed.reconnect) == ("connection_lost", True)


@pytest.mark.parametrize("code", [None, 0, 2, 8, 11, 12])
async def test_a_stream_that_is_reset_or_cut_while_it_stands(code):
    stands = asyncio.Event()

    async def handle(reader, writer):
        answering = asyncio.create_task(grpc_answer(STANDS)(reader, writer))
        await stands.wait()
        if code is None:
            writer.transport.abort()
        else:
            writer.write(reset(1, code))
        await asyncio.gather(answering, return_exceptions=True)

    async with serving(handle) as port:
        await lost_while_it_stands(f"127.0.0.1:{port}", "grpc", stands)


@pytest.mark.parametrize("code", [None, 1011, 1012, 1013])
async def test_a_websocket_that_is_closed_without_a_word_or_cut_while_it_stands(code):
    stands = asyncio.Event()

    async def script(connection):
        await stands.wait()
        if code is None:
            connection.transport.abort()
        else:
            await connection.close(code)

    async with serve(script, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await lost_while_it_stands(address, "ws", stands)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_no_message_is_not_to_be_heard_again(protocol, caplog):
    if protocol == "grpc":
        async with serving(grpc_answer(STANDS, lambda stream: frame(DATA, 0, stream, b"\0\0\0\0\1\xff"))) as port:
            assert (await end_of(f"grpc://127.0.0.1:{port}")).reconnect is False
        return

    async def script(connection):
        await connection.send("nonsense")
        await connection.wait_closed()

    async with serve(script, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await end_of(f"ws://{address}")).reconnect is False
