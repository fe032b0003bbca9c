"""Pages, gRPC-Web and WebSocket on one connection of HTTP/1.1, byte by byte, and by a proxy that pools connections."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from certificates import Authority
from served import StartServer, servers
from sigbridge_client import connect
from sigbridge_grpc.framing import framed
from sigbridge_http.wire import KEPT_SECONDS
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server
from stream_server import serving
from waiting import TIME_LIMIT_SECONDS, until
from websocket_lines import HANDSHAKE, masked

HEALTH_CHECK = "/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck"
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
ANNOUNCE = b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"%b"},"id":1}'


def get(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: server", *headers, "", "")).encode() + body


def web(*headers: str) -> bytes:
    sizes = ("Content-Type: application/grpc-web", "Content-Length: 5")
    return get(HEALTH_CHECK, *sizes, *headers, method="POST", body=framed(b""))


READY, NOTHING = get("/readyz"), get("/nothing")


@pytest.fixture(params=["native", "grpcio"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def start() -> AsyncIterator[StartServer]:
    async with servers() as starting, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield starting


class Raw:
    """A raw socket, on which whole answers are read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes, *, piece: int = 0) -> None:
        for start in range(0, len(data), piece or len(data)):
            self.writer.write(data[start : start + (piece or len(data))])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def head(self) -> tuple[int, dict[str, str]]:
        return read_head(await self.reader.readuntil(b"\r\n\r\n"))

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def is_closed(self) -> bool:
        return await self.reader.read() == b""

    async def announces(self, peer_id: bytes) -> None:
        """Announces itself over WebSocket."""
        await self.say(masked(1, ANNOUNCE % peer_id))
        head = await self.reader.readexactly(2)
        assert head[0] == 0x81
        size = head[1] if head[1] < 126 else int.from_bytes(await self.reader.readexactly(2))
        assert b'"result"' in await self.reader.readexactly(size)


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = (line.partition(":") for line in lines)
    # Of a request there is no status.
    status = int(first.split(" ")[1]) if first.startswith("HTTP/") else 0
    return status, {name.lower(): value.strip() for name, _, value in fields}


@contextlib.asynccontextmanager
async def raw(port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("localhost" if tls else "127.0.0.1", port, ssl=tls)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# Requests of one connection, one after the other.

BEFORE = {
    "a probe": ([READY], [200]),
    "two probes, and nothing": ([READY, get("/healthz", method="HEAD"), NOTHING], [200, 200, 404]),
    "gRPC-Web": ([web()], [200]),
    "what is no call": ([get(HEALTH_CHECK, method="DELETE"), get("/", method="POST")], [405, 404]),
    "an upgrade to something else": ([get("/healthz", *H2C), web(*H2C)], [200, 200]),
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=list(BEFORE))
@pytest.mark.parametrize("piece", [0, 1])
async def test_the_first_request_fixes_nothing(
    start: StartServer, engine: str, before: tuple[list[bytes], list[int]], piece: int
) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as one:
        for request, status in zip(*before, strict=True):
            await one.say(request, piece=piece)
            said, headers = await one.head()
            assert said == status
            if not request.startswith(b"HEAD"):
                await one.reader.readexactly(int(headers["content-length"]))
        await one.say(HANDSHAKE, piece=piece)
        assert (await one.head())[0] == 101
        await one.announces(b"alice")


async def test_nor_do_requests_that_are_sent_ahead(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as one:
        await one.say(READY + web() + NOTHING + HANDSHAKE + masked(1, ANNOUNCE % b"early"))
        assert [(await one.response())[0] for _ in range(3)] == [200, 200, 404]
        assert (await one.head())[0] == 101
        assert (await one.reader.readexactly(1)) == b"\x81"


async def test_with_the_native_engine_all_this_is_so_on_the_port_of_grpc_too(start: StartServer) -> None:
    server = await start(grpc_engine="native")
    async with raw(server.grpc_port) as one:
        await one.say(READY)
        assert (await one.response())[0] == 200
        await one.say(HANDSHAKE)
        assert (await one.head())[0] == 101


async def test_tokens_are_asked_for_behind_a_probe_too(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine, auth_tokens=("secret",))
    async with raw(server.websocket_port) as one:
        await one.say(READY)
        assert (await one.response())[0] == 200
        await one.say(web())
        assert b"grpc-status: 16\r\n" in (await one.response())[2]
        await one.say(web("Authorization: Bearer secret"))
        assert b"grpc-status: 0\r\n" in (await one.response())[2]
        await one.say(HANDSHAKE)
        assert (await one.head())[0] == 401


# What is ignored, and what is refused.


@pytest.mark.parametrize("request_bytes", [get("/healthz", *H2C), get("/readyz", *H2C, method="HEAD"), web(*H2C)])
@pytest.mark.parametrize("piece", [0, 1])
async def test_an_upgrade_to_http2_is_ignored(
    start: StartServer, engine: str, request_bytes: bytes, piece: int
) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as one:
        await one.say(request_bytes, piece=piece)
        status, headers = await one.head()
        assert (status, "upgrade" in headers, "connection" in headers) == (200, False, False)


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/"),
        get("/ws", "Connection: close"),
        get("/ws", "X-Forwarded-For: 192.0.2.1", "Via: 2.0 proxy"),
        get("/", *H2C),
        get("/ws", method="POST"),
        # As a proxy passes a handshake on that it does not know.
        HANDSHAKE.replace(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b""),
    ],
)
async def test_no_response_to_a_plain_request_has_what_a_proxy_must_not_pass_on(
    start: StartServer, engine: str, request_bytes: bytes
) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as one:
        await one.say(request_bytes)
        status, headers, body = await one.response()
        assert (status, "upgrade" in headers) == (400 if b"Sec-WebSocket-Key" in request_bytes else 404, False)
        assert (b"a proxy may have dropped it" in body) is (status == 400)


BAD = {
    "a bare LF": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "a bare LF in a head": b"GET /healthz HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a bare LF of a handshake": HANDSHAKE.replace(b"\r\n", b"\n"),
    "a bare LF in a handshake": HANDSHAKE.replace(b"\r\nUpgrade", b"\nUpgrade"),
    "a bare LF behind an upgrade": HANDSHAKE.replace(b"\r\nConnection", b"\nConnection"),
    "both lengths": get(
        "/healthz", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST", body=b"0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize("before", [b"", READY])
async def test_what_others_may_read_in_another_way_is_refused_and_ends_the_connection(
    start: StartServer, engine: str, bad: bytes, piece: int, before: bytes
) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as one:
        if before:
            await one.say(before)
            assert (await one.response())[0] == 200
        # The rest may come too late for anybody to take it.
        with contextlib.suppress(ConnectionError):
            await one.say(bad, piece=piece)
        status, headers, _ = await one.response()
        assert (status, headers["connection"].lower()) == (400, "close")
        with contextlib.suppress(ConnectionError):
            assert await one.is_closed()


async def test_who_waits_to_be_told_to_go_on_is_told(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as one:
        head, _, body = web("Expect: 100-continue").partition(b"\r\n\r\n")
        await one.say(head + b"\r\n\r\n")
        assert await one.reader.readexactly(16) == b"HTTP/1.1 100 \r\n\r"
        assert await one.reader.readexactly(1) == b"\n"
        await one.say(body)
        assert (await one.response())[0] == 200


async def test_a_shutdown_ends_connections_that_are_kept(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as idle, raw(server.websocket_port) as busy:
        for one in (idle, busy):
            await one.say(READY)
            assert (await one.response())[0] == 200
        head, _, body = web().partition(b"\r\n\r\n")
        await busy.say(head)
        await until(lambda: any(wire._wire._unread for wire in front_wires_of(server)))
        stopping = asyncio.create_task(server.stop(grace_seconds=TIME_LIMIT_SECONDS))
        assert await idle.is_closed()
        await busy.say(b"\r\n\r\n" + body)
        status, headers, _ = await busy.response()
        assert (status, headers["connection"]) == (200, "close")
        assert await busy.is_closed()
        busy.writer.close()
        idle.writer.close()
        await stopping


async def test_who_asks_for_nothing_more_is_kept_where_there_is_room(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine, http_bind_address="127.0.0.1:0")
    began = read_clock().monotonic
    async with raw(server.websocket_port) as client, raw(server.http_port or 0) as operator:
        for one in (client, operator):
            await one.say(READY)
            assert (await one.response())[0] == 200
        (kept,), (few,) = server._carrier.connections.accepted, server._operators_carrier.connections.accepted
        # Of the operator's few connections the one whose deadline is next gives way: it must be the idlest.
        assert few.wire.due <= read_clock().monotonic + server.settings.handshake_timeout_seconds
        await until(lambda: kept.wire.due >= began + KEPT_SECONDS)


def front_wires_of(server: Server) -> list[Any]:
    return [connection.wire for connection in server._carrier.connections.accepted]


# A proxy.


class PoolingProxy:
    """Sends the requests of all its clients on connections that it pools; an upgrade takes its connection along."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._pool: list[Raw] = []
        self._ending = contextlib.AsyncExitStack()
        self.opened = 0
        """The connections to the server that it has had."""
        self.port = 0

    async def __aenter__(self) -> Self:
        await self._ending.__aenter__()
        self.port = await self._ending.enter_async_context(serving(self._serve))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ending.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Raw(reader, writer)
        while await self._pass_on(client):
            pass

    async def _pass_on(self, client: Raw) -> bool:
        """Passes one request on, and its response back; returns whether there may be another one."""
        head = await client.reader.readuntil(b"\r\n\r\n")
        size = int(read_head(head)[1].get("content-length", "0"))
        body = await client.reader.readexactly(size)
        server = self._pool.pop() if self._pool else await self._open()
        await server.say(head + body)
        response = await server.reader.readuntil(b"\r\n\r\n")
        status, headers = read_head(response)
        body = await server.reader.readexactly(int(headers.get("content-length", "0")))
        await client.say(response + body)
        if status == 101:
            await asyncio.gather(self._tunnel(client, server), self._tunnel(server, client))
            return False
        if headers.get("connection") == "close":
            server.writer.close()
        else:
            self._pool.append(server)
        return True

    async def _open(self) -> Raw:
        self.opened += 1
        return await self._ending.enter_async_context(raw(self._upstream))

    async def _tunnel(self, source: Raw, target: Raw) -> None:
        with contextlib.suppress(OSError):
            while data := await source.reader.read(65536):
                await target.say(data)
        target.writer.close()


async def test_a_proxy_that_pools_connections_lets_every_client_do_all(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine)
    async with PoolingProxy(server.websocket_port) as proxy, raw(proxy.port) as prober:
        for _ in range(3):
            await prober.say(READY)
            assert (await prober.response())[0] == 200
        assert proxy.opened == 1
        # Another client's WebSocket gets the connection on which the probe was.
        async with await connect(f"ws://127.0.0.1:{proxy.port}") as alice:
            await alice.announce("alice")
            assert proxy.opened == 1
            async with raw(proxy.port) as browser:
                await browser.say(web())
                assert b'"websocket":1' in (await browser.response())[2]
                await prober.say(READY)
                assert (await prober.response())[0] == 200
            assert proxy.opened == 2
            async with await connect(f"ws://127.0.0.1:{proxy.port}") as bob:
                assert (await bob.announce("bob")).other_peers == ("alice",)
                assert proxy.opened == 2


async def test_two_clients_take_turns_on_one_socket(start: StartServer, engine: str) -> None:
    server = await start(grpc_engine=engine)
    async with raw(server.websocket_port) as shared:
        # A client's probe; another one's call without a token; again the first; then the other one's WebSocket.
        for request, status in ((READY, 200), (web(), 200), (get("/favicon.ico"), 404), (READY, 200)):
            await shared.say(request)
            assert (await shared.response())[0] == status
        await shared.say(HANDSHAKE)
        assert (await shared.head())[0] == 101
        await shared.announces(b"bob")


# What a port offers.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def context(authority: Authority, *protocols: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=authority.file)
    made.set_alpn_protocols(list(protocols))
    return made


@pytest.mark.parametrize(
    ("wanted", "native", "grpcio"),
    [
        (["h2", "http/1.1"], "h2", "http/1.1"),
        (["http/1.1", "h2"], "h2", "http/1.1"),
        (["http/1.1"], "http/1.1", "http/1.1"),
        (["h2"], "h2", None),
        (["h3"], None, None),
    ],
)
async def test_a_port_offers_what_it_speaks(
    start: StartServer, engine: str, authority: Authority, wanted: list[str], native: str | None, grpcio: str | None
) -> None:
    server = await start(grpc_engine=engine, **files_of(authority))
    await expect_offer(server.websocket_port, context(authority, *wanted), native if engine == "native" else grpcio)
    if engine == "native":
        await expect_offer(server.grpc_port, context(authority, *wanted), native)
    server._tls.put(server._tls.read(), None)  # type: ignore[union-attr,arg-type]
    await expect_offer(server.websocket_port, context(authority, *wanted), native if engine == "native" else grpcio)


def files_of(authority: Authority) -> dict[str, str]:
    certificate, key = authority.issue("localhost")
    return {"tls_cert_file": certificate, "tls_key_file": key}


async def expect_offer(port: int, tls: ssl.SSLContext, expected: str | None) -> None:
    async with raw(port, tls=tls) as one:
        assert one.writer.get_extra_info("ssl_object").selected_alpn_protocol() == expected
        if expected != "h2":
            await one.say(READY)
            assert (await one.response())[0] == 200
