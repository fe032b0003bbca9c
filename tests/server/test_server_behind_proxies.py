"""Whole servers behind proxies that pass bytes on and speak the PROXY protocol before them."""

import asyncio
import contextlib
import http.client
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from proxy_headers import binary_of, line_of
from served import ANY_PORT, StartServer, servers
from sigbridge import Settings
from sigbridge_client import ConnectionClosed, connect
from sigbridge_server.server import Server
from stream_server import serving
from waiting import TIME_LIMIT_SECONDS, until

BEHIND: dict[str, Any] = {"client_address_from": "proxy", "trusted_proxies": ("127.0.0.1", "unix")}
A, B = "203.0.113.1", "2001:db8::2"
SCHEMES = ("grpc", "ws")


@pytest.fixture
async def start() -> AsyncIterator[StartServer]:
    async with servers() as starting, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield starting


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[..., Any]]:
    """Starts proxies that say `header` and then pass on what comes; returns the port of each."""
    async with AsyncExitStack() as stack:

        async def start_proxy(target: int | str, header: bytes) -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if isinstance(target, int):
                    behind = await asyncio.open_connection("127.0.0.1", target)
                else:
                    behind = await asyncio.open_unix_connection(target)
                # In two pieces, of which the second is the client's first words as well.
                behind[1].write(header[:7])
                await behind[1].drain()
                behind[1].write(header[7:])
                try:
                    await asyncio.gather(piped(reader, behind[1]), piped(behind[0], writer))
                finally:
                    behind[1].transport.abort()

            return await stack.enter_async_context(serving(serve))

        yield start_proxy


async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def remotes(server: Server) -> set[str]:
    return {session.remote for session in server.hub._sessions.values()}


@pytest.mark.parametrize("header", [line_of, binary_of])
@pytest.mark.parametrize("secure", [False, True])
async def test_both_protocols_at_both_ports(
    start: StartServer, proxy: Callable[..., Any], tmp_path: Path, header: Callable[[str], bytes], secure: bool
) -> None:
    authority = Authority(tmp_path, "authority")
    files = dict(zip(("tls_cert_file", "tls_key_file"), authority.issue("localhost"), strict=True)) if secure else {}
    server = await start(**BEHIND, **files)
    access = {"root_certificates": authority.pem} if secure else {}
    for target in (server.grpc_port, server.websocket_port):
        for scheme, address in zip(SCHEMES, (A, B), strict=True):
            port = await proxy(target, header(address))
            url = f"{scheme}s://localhost:{port}" if secure else f"{scheme}://localhost:{port}"
            async with await connect(url, **access) as client:
                await client.announce("peer")
                assert remotes(server) == {address}
            await until(lambda: server.hub.session_count == 0)


async def test_at_unix_sockets_and_at_those_that_are_handed_over(
    start: StartServer, proxy: Callable[..., Any], tmp_path: Path
) -> None:
    path = str(tmp_path / "ws.sock")
    handed = socket.create_server(("127.0.0.1", 0))
    server = Server(Settings(**ANY_PORT | BEHIND | {"ws_bind_address": f"unix:{path}"}), inherited={"grpc": [handed]})
    await server.start()
    try:
        for target, address in ((path, A), (server.grpc_port, B)):
            for scheme in SCHEMES:
                async with await connect(f"{scheme}://localhost:{await proxy(target, line_of(address))}") as client:
                    await client.announce("peer")
                    assert remotes(server) == {address}
                await until(lambda: server.hub.session_count == 0)
    finally:
        await server.stop(grace_seconds=0.5)


async def test_a_trusted_address_must_speak_it_and_the_operator_s_port_knows_nothing_of_it(start: StartServer) -> None:
    server = await start(**BEHIND, http_bind_address="127.0.0.1:0")
    for url in (f"grpc://127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}"):
        with pytest.raises(ConnectionClosed):
            await connect(url)
    assert server.hub.counters.refusals["tcp", "proxy_header"] >= 2
    assert server.http_port is not None
    asked = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    await asyncio.to_thread(asked.request, "GET", "/metrics")
    page = (await asyncio.to_thread(asked.getresponse)).read()
    asked.close()
    assert b'sigbridge_refusals_total{protocol="tcp",reason="proxy_header"}' in page


async def test_others_come_in_directly(start: StartServer) -> None:
    server = await start(client_address_from="proxy", trusted_proxies=("192.0.2.1",))
    for url in (f"grpc://127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}"):
        async with await connect(url) as client:
            await client.announce("peer")
            assert remotes(server) == {"127.0.0.1"}
        await until(lambda: server.hub.session_count == 0)


async def test_what_headers_of_requests_say_is_not_believed_then(start: StartServer, proxy: Callable[..., Any]) -> None:
    server = await start(**BEHIND)
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 192.0.2.66\r\nForwarded: for=192.0.2.66\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", await proxy(server.websocket_port, line_of(A)))
    writer.write(request)
    await until(lambda: server.hub.session_count == 1)
    assert remotes(server) == {A}
    writer.transport.abort()
    await until(lambda: server.hub.session_count == 0)


async def test_limits_and_guesses_are_the_client_s(start: StartServer, proxy: Callable[..., Any]) -> None:
    server = await start(**BEHIND, max_sessions_per_address=1, auth_tokens=("good",))
    ports = {address: await proxy(server.websocket_port, binary_of(address)) for address in (A, B)}

    async def refused(address: str, token: str) -> str:
        with pytest.raises(ConnectionClosed) as closed:
            await connect(f"ws://localhost:{ports[address]}", token=token)
        return str(closed.value.reason)

    async with await connect(f"ws://localhost:{ports[A]}", token="good"):
        assert await refused(A, "good") == "sessions"
        async with await connect(f"ws://localhost:{ports[B]}", token="good"):
            pass
    assert [await refused(A, f"wrong-{number}") for number in range(22)] == ["unauthenticated"] * 20 + ["throttled"] * 2
    assert await refused(B, "wrong") == "unauthenticated"
