"""Admission of clients: tokens, their two places on WebSocket, what asks for none, and origins of web pages."""

import asyncio
import base64
import contextlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from websockets.exceptions import InvalidHandshake, InvalidStatus

from called import called
from waiting import TIME_LIMIT_SECONDS

SERVICE = "/remotemedia.v1.webrtc.WebRtcSignaling"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
METHODS = ("Signal", "GetPeers", "HealthCheck")
TOKEN = "the-right-token"

# What a client may show in vain. Longer ones than 7 kB meet the transports' limits, below.
IN_VAIN = {
    "none": [],
    "wrong": ["Bearer wrong"],
    "empty": ["Bearer"],
    "a prefix": [f"Bearer {TOKEN[:-1]}"],
    "another scheme": [f"Basic {TOKEN}"],
    "two headers": [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
    "two tokens in one": [f"Bearer {TOKEN}, Bearer {TOKEN}"],
    "all of them": ["Bearer another-token,the-right-token"],
    "7 kB": ["Bearer " + "x" * 7000],
}


@pytest.fixture(params=["native", "grpcio"])
def settings(request):
    """The settings of a server that asks for tokens, by each of the two engines of gRPC."""
    return {"GRPC_AUTH_TOKENS": f"another-token, {TOKEN}", "GRPC_ENGINE": request.param}


@pytest.fixture
def closed(shared, settings):
    """A server that lets nobody in: the tests that share it show nothing that it takes."""
    return shared("nobody is let in", **settings)


@pytest.fixture
def server(shared, settings):
    """A server that lets in who shows a token."""
    return shared("some are let in", **settings)


async def status_of(channel, method, metadata=()):
    """End of a call that carries one message: its code and details."""
    # The message leaves with the headers: grpc.aio calls it an internal error where a call ends before a later write.
    if method in ("Signal", REFLECTION):
        call = channel.unary_stream(method if method == REFLECTION else f"{SERVICE}/{method}")(b"", metadata=metadata)
    else:
        call = channel.unary_unary(f"{SERVICE}/{method}")(b"", metadata=metadata)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        if method in ("Signal", REFLECTION):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await call.read() is not grpc.aio.EOF:
                    pass
        return await call.code(), await call.details()


@pytest.mark.parametrize("shown", IN_VAIN.values(), ids=IN_VAIN)
async def test_grpc_refuses_what_is_no_token(shown, closed, clients):
    channel = await clients.channel(closed.grpc)
    for method in METHODS:
        code, details = await status_of(channel, method, [("authorization", value) for value in shown])
        assert (code, details) == (grpc.StatusCode.UNAUTHENTICATED, "Invalid or missing API token")
    assert no_session_was_made(closed)


@pytest.mark.parametrize("shown", IN_VAIN.values(), ids=IN_VAIN)
async def test_websocket_refuses_what_is_no_token(shown, closed, clients):
    with pytest.raises(InvalidStatus) as refusal:
        await clients.websocket(closed.ws, additional_headers=[("Authorization", value) for value in shown])
    response = refusal.value.response
    assert (response.status_code, response.body) == (401, b"Invalid or missing API token\n")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert no_session_was_made(closed)


def no_session_was_made(server):
    metrics = server.metrics()
    open_now = [metrics[f'sigbridge_sessions{{protocol="{name}"}}'] for name in ("grpc", "websocket")]
    ended = [series for series in metrics if series.startswith("sigbridge_disconnects_total")]
    return open_now == [0, 0] and ended == [] and not server.said("session started")


async def raw_handshake(port, *headers):
    """Head of the server's response to a handshake of raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [b"GET / HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    lines += [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head


@pytest.mark.parametrize("token", ["tökén", "\u2028", "\xff"], ids=ascii)
async def test_a_token_that_is_not_ascii_is_refused_like_any_other(token, closed, clients):
    encoded = token.encode()
    head = await raw_handshake(closed.ws, b"Authorization: Bearer " + encoded)
    assert head.startswith(b"HTTP/1.1 401 ")
    browsers = base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await clients.websocket(closed.ws, subprotocols=["jsonrpc", f"bearer.{browsers}"])
    assert no_session_was_made(closed)


async def test_headers_above_the_transports_limit_are_refused_by_it(serve, settings, clients):
    server = serve(**settings)
    channel = await clients.channel(server.grpc)
    code, _ = await status_of(channel, "HealthCheck", [("authorization", "Bearer " + "x" * 40_000)])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    head = await raw_handshake(server.ws, b"Authorization: Bearer " + b"x" * 40_000)
    assert head.startswith(b"HTTP/1.1 431 ")
    assert no_session_was_made(server)
    session = await clients.grpc(server.grpc, token=TOKEN)
    assert "ack" in await session.ask(announce={"peer_id": "alice"})


@pytest.mark.parametrize("shown", ["Bearer {}", "bearer {}", "BEARER  {}", "{}"])
async def test_grpc_lets_in_who_shows_a_token(shown, server, clients):
    channel = await clients.channel(server.grpc)
    for method in METHODS:
        code, _ = await status_of(channel, method, [("authorization", shown.format(TOKEN))])
        assert code is grpc.StatusCode.OK


async def test_websocket_lets_in_who_shows_any_of_the_tokens(server, clients):
    for token in (TOKEN, "another-token"):
        session = await clients.websocket(server.ws, token=token)
        assert "result" in await session.ask("list_peers")


def subprotocol_of(token):
    return "bearer." + base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["jsonrpc", subprotocol_of(TOKEN)], "jsonrpc"),
        ([subprotocol_of(TOKEN), "jsonrpc"], "jsonrpc"),
        ([subprotocol_of(TOKEN), "something-old", "jsonrpc"], "something-old"),
        ([subprotocol_of(TOKEN)], None),
    ],
)
async def test_a_browser_shows_its_token_as_a_subprotocol_that_never_comes_back(offered, chosen, server, clients):
    session = await clients.websocket(server.ws, subprotocols=offered)
    assert session.connection.subprotocol == chosen
    assert "result" in await session.ask("announce", peer_id="alice", room=str(offered))


@pytest.mark.parametrize(
    "offered",
    [
        ["jsonrpc"],
        ["jsonrpc", subprotocol_of("wrong")],
        ["jsonrpc", "bearer."],
        ["jsonrpc", "bearer.!!!"],
        ["jsonrpc", f"bearer.{TOKEN}"],
        [subprotocol_of(TOKEN), subprotocol_of(TOKEN)],
    ],
    ids=str,
)
async def test_a_browser_without_a_good_token_is_refused(offered, closed, clients):
    with pytest.raises((InvalidStatus, InvalidHandshake)) as refusal:
        await clients.websocket(closed.ws, subprotocols=offered)
    assert refusal.value.response.status_code == 401


async def test_a_header_counts_where_there_is_one(closed, clients):
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await clients.websocket(closed.ws, token="wrong", subprotocols=["jsonrpc", subprotocol_of(TOKEN)])


async def test_health_asks_nobody_and_reflection_does(closed, serve, clients):
    channel = await clients.channel(closed.grpc)
    for service in ("", "remotemedia.v1.webrtc.WebRtcSignaling"):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIME_LIMIT_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (await status_of(channel, REFLECTION))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert (await asyncio.to_thread(closed.page, "/readyz"))[0] == 200
    opened = await asyncio.to_thread(serve, GRPC_AUTH_TOKENS=TOKEN, SIGNALING_REFLECTION_REQUIRE_AUTH="false")
    assert (await status_of(await clients.channel(opened.grpc), REFLECTION))[0] is grpc.StatusCode.OK


async def test_a_path_that_looks_like_healths_opens_nothing(closed, clients):
    channel = await clients.channel(closed.grpc)
    for path in (
        "/grpc.health.v1.Health/../remotemedia.v1.webrtc.WebRtcSignaling/GetPeers",
        "/grpc.health.v1.HealthX/C",
    ):
        call = channel.unary_unary(path)(b"")
        assert await call.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)


async def test_websocket_may_be_opened_while_grpc_asks(serve, clients):
    server = serve(GRPC_AUTH_TOKENS=TOKEN, WS_REQUIRE_AUTH="false")
    session = await clients.websocket(server.ws)
    assert "result" in await session.ask("announce", peer_id="alice")
    code, _ = await status_of(await clients.channel(server.grpc), "GetPeers", [])
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_grpc_may_be_opened_and_websocket_follows_it_unless_told(serve, clients):
    server = serve(GRPC_AUTH_TOKENS=TOKEN, GRPC_REQUIRE_AUTH="false")
    code, _ = await status_of(await clients.channel(server.grpc), "GetPeers", [])
    assert code is grpc.StatusCode.OK
    await clients.websocket(server.ws)
    server = serve(GRPC_AUTH_TOKENS=TOKEN, GRPC_REQUIRE_AUTH="false", WS_REQUIRE_AUTH="true")
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await clients.websocket(server.ws)


@pytest.mark.parametrize("variable", ["GRPC_REQUIRE_AUTH", "WS_REQUIRE_AUTH"])
@pytest.mark.parametrize("tokens", ["", " , ,"], ids=["no tokens", "only commas"])
async def test_a_server_that_asks_for_tokens_and_has_none_does_not_start(variable, tokens, capsys):
    code, out, line = await called(capsys, "serve", **{variable: "true", "GRPC_AUTH_TOKENS": tokens})
    assert (code, out, line.count("\n")) == (1, "", 1)
    assert line.startswith("sigbridge: GRPC_AUTH_TOKENS ")
    # A list that holds no token is wrong by itself, whoever asks for one.
    assert variable in line or tokens


def test_an_open_server_on_every_address_says_so(serve):
    # Nothing but this test's own loopback clients ever connects.
    opened = serve(GRPC_BIND_ADDRESS="0.0.0.0:0", WS_BIND_ADDRESS="127.0.0.1:0")
    # All that it says has been read when it has ended.
    opened.stop()
    (line,) = opened.said("anybody who reaches this address may signal")
    # Each protocol is served at either address.
    assert "protocol='grpc and websocket'" in line
    half = serve(
        GRPC_BIND_ADDRESS="0.0.0.0:0", WS_BIND_ADDRESS="127.0.0.1:0", GRPC_AUTH_TOKENS=TOKEN, WS_REQUIRE_AUTH="false"
    )
    half.stop()
    (line,) = half.said("anybody who reaches this address may signal")
    assert "protocol='websocket'" in line
    assert f"address='0.0.0.0:{half.grpc}'" in line
    asking = serve(GRPC_BIND_ADDRESS="0.0.0.0:0", WS_BIND_ADDRESS="0.0.0.0:0", GRPC_AUTH_TOKENS=TOKEN)
    asking.stop()
    assert asking.said("anybody who reaches this address may signal") == []


# Origins.


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://good.example.evil.example",
        "https://evil-good.example",
        "https://good.example:444",
        "http://good.example",
        "https://good.example/",
        "file://",
        "",
    ],
)
async def test_a_page_of_a_foreign_origin_is_refused(origin, shared):
    server = shared(
        "nobody is let in", SIGNALING_ALLOWED_ORIGINS="https://good.example, https://also-good.example:8443"
    )
    head = await raw_handshake(server.ws, b"Origin: " + origin.encode())
    assert head.startswith(b"HTTP/1.1 403 ")
    head = await raw_handshake(server.ws, b"Origin: https://good.example", b"Origin: " + origin.encode())
    assert not head.startswith(b"HTTP/1.1 101 ")
    assert no_session_was_made(server)


async def test_pages_of_ones_own_and_clients_that_are_no_pages_are_let_in(serve, clients):
    server = serve(SIGNALING_ALLOWED_ORIGINS="https://good.example, https://also-good.example:8443")
    for origin in ("https://good.example", "https://also-good.example:8443", None):
        session = await clients.websocket(server.ws, origin=origin)
        assert "result" in await session.ask("list_peers")


async def test_every_origin_is_let_in_where_none_is_set(serve, clients):
    server = serve()
    for origin in ("https://anything.example", "null"):
        await clients.websocket(server.ws, origin=origin)
