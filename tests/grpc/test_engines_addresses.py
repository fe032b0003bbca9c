"""Clients behind proxies, on whole servers with both engines: whose address counts, and is told, at every door."""

import asyncio
import http.client
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest
import websockets.asyncio.client
from websockets.exceptions import InvalidStatus

from http2_bytes import END_HEADERS, HEADERS, PREFACE, block, frame, settings
from sigbridge_grpc.framing import framed
from sigbridge_grpc.service import SERVICE_NAME
from waiting import until

Start = Callable[..., Awaitable[Any]]
GET_PEERS = f"/{SERVICE_NAME}/GetPeers"
SIGNAL = f"/{SERVICE_NAME}/Signal"
A, B = "203.0.113.1", "2001:db8::2"
BEHIND: dict[str, Any] = {"client_address_from": "x-forwarded-for", "trusted_proxies": ("127.0.0.1",)}
WAYS = ("grpc", "grpc-web", "websocket")


async def ask(served: Any, way: str, *fields: tuple[str, str], token: str = "") -> str:
    """Comes in with these header fields, and leaves; returns the word of a refusal, or nothing."""
    shown = (("authorization", f"Bearer {token}"),) if token else ()
    if way == "grpc":
        try:
            call = served.channel().unary_unary(GET_PEERS)
            await call(b"", metadata=(*fields, *shown))
        except grpc.aio.AioRpcError as refused:
            return str(dict(refused.trailing_metadata() or ()).get("signaling-disconnect"))
        return ""
    if way == "grpc-web":
        return await asyncio.to_thread(web, served, (*fields, *shown))
    url = f"ws://127.0.0.1:{served.server.websocket_port}"
    try:
        async with websockets.asyncio.client.connect(url, additional_headers=[*fields, *shown]):
            return ""
    except InvalidStatus as refused:
        return refused.response.headers["signaling-disconnect"]


def web(served: Any, fields: tuple[tuple[str, str], ...]) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", served.server.websocket_port, timeout=60)
    connection.putrequest("POST", GET_PEERS)
    for name, value in (("content-type", "application/grpc-web"), ("content-length", "5"), *fields):
        connection.putheader(name, value)
    connection.endheaders(framed(b""))
    trailers = connection.getresponse().read().decode("latin-1")
    connection.close()
    return trailers.partition("signaling-disconnect: ")[2].partition("\r")[0]


def refused(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    lines = [vars(record) for record in caplog.records if record.getMessage() == "client refused"]
    return [(line["remote"], line["reason"]) for line in lines]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ([("x-forwarded-for", A)], A),
        ([("x-forwarded-for", f"192.0.2.66, [{B}]:4711")], B),
        ([("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", A)], A),
        ([("x-forwarded-for", f"{A}, unknown")], "127.0.0.1"),
        ([("forwarded", f"for={A}"), ("x-real-ip", A)], "127.0.0.1"),
        ([("x-forwarded-for", ", ".join([A] * 400))], A),
        ([], "127.0.0.1"),
    ],
)
async def test_a_proxy_that_is_trusted_is_believed(
    start: Start, caplog: pytest.LogCaptureFixture, way: str, fields: list[tuple[str, str]], address: str
) -> None:
    caplog.set_level("INFO", logger="sigbridge")
    served = await start(auth_tokens=("good",), **BEHIND)
    assert await ask(served, way, *fields) == "unauthenticated"
    assert refused(caplog) == [(address, "unauthenticated")]
    assert await ask(served, way, *fields, token="good") == ""


async def test_several_lines_of_one_name_are_one_list(start: Start, engine: str) -> None:
    """As proxies may send them: grpc's own client sends the last one alone."""
    for header, values, address in (
        ("x-forwarded-for", [b"192.0.2.66", A.encode()], A),
        # Of this one the library keeps the last line, whose sender is next to us.
        ("x-forwarded-for", [A.encode(), b"127.0.0.1"], A if engine == "native" else "127.0.0.1"),
        ("forwarded", [b"for=192.0.2.66", b"for=" + A.encode()], A),
        ("forwarded", [b"for=192.0.2.66", b"for=" + A.encode(), b"for=127.0.0.1"], A),
    ):
        served = await start(client_address_from=header, trusted_proxies=("127.0.0.1",))
        fields = [(header.encode(), value) for value in values]
        _, writer = await asyncio.open_connection("127.0.0.1", served.server.grpc_port)
        writer.write(begun_session(fields))
        await until(lambda served=served: served.hub.session_count == 1)
        assert [session.remote for session in served.hub._sessions.values()] == [address]
        writer.transport.abort()
        await until(lambda served=served: served.hub.session_count == 0)


def begun_session(fields: list[tuple[bytes, bytes]]) -> bytes:
    """The first words of a connection of HTTP/2 that calls `Signal` with these header fields."""
    usual = {b":method": b"POST", b":scheme": b"http", b":path": SIGNAL.encode(), b":authority": b"x"}
    usual |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    return PREFACE + settings() + frame(HEADERS, END_HEADERS, 1, block(*usual.items(), *fields))


@pytest.mark.parametrize("way", WAYS)
async def test_who_connects_directly_is_not(start: Start, caplog: pytest.LogCaptureFixture, way: str) -> None:
    caplog.set_level("INFO", logger="sigbridge")
    trusted = ("192.0.2.1", "::1", "unix")
    served = await start(auth_tokens=("good",), client_address_from="x-forwarded-for", trusted_proxies=trusted)
    assert await ask(served, way, ("x-forwarded-for", A)) == "unauthenticated"
    assert refused(caplog) == [("127.0.0.1", "unauthenticated")]


@pytest.mark.parametrize("way", WAYS)
async def test_forwarded(start: Start, caplog: pytest.LogCaptureFixture, way: str) -> None:
    caplog.set_level("INFO", logger="sigbridge")
    served = await start(auth_tokens=("good",), client_address_from="forwarded", trusted_proxies=("127.0.0.1",))
    fields = [("x-forwarded-for", "192.0.2.66"), ("forwarded", f'for="192.0.2.67, for="[{B}]:1";by=_x')]
    assert await ask(served, way, *fields) == "unauthenticated"
    assert refused(caplog) == [(B, "unauthenticated")]


@pytest.mark.parametrize("way", WAYS)
async def test_who_guesses_behind_a_proxy_is_held_up_and_nobody_beside_it(start: Start, way: str) -> None:
    served = await start(auth_tokens=("good",), **BEHIND)
    for number in range(20):
        assert await ask(served, way, ("x-forwarded-for", A), token=f"wrong-{number}") == "unauthenticated"
    assert await ask(served, way, ("x-forwarded-for", A), token="wrong") == "throttled"
    # Nor does it come out of that by what it says itself; another address is nobody who guesses.
    assert await ask(served, way, ("x-forwarded-for", f"192.0.2.66, {A}"), token="wrong") == "throttled"
    assert await ask(served, way, ("x-forwarded-for", B), token="wrong") == "unauthenticated"
    assert await ask(served, way, ("x-forwarded-for", A), token="good") == ""


@pytest.mark.parametrize("behind", [BEHIND, {"trusted_proxies": ("127.0.0.1",)}], ids=["header", "none"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_proxy_that_forwards_no_address_is_never_held_up(
    start: Start, way: str, behind: dict[str, Any]
) -> None:
    served = await start(auth_tokens=("good",), **behind)
    for number in range(25):
        assert await ask(served, way, token=f"wrong-{number}") == "unauthenticated"


async def test_sessions_are_counted_and_named_by_their_clients(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="sigbridge")
    served = await start(max_sessions_per_address=1, **BEHIND)
    channel = served.channel()

    def session(address: str) -> Any:
        return channel.stream_stream(SIGNAL)(metadata=(("x-forwarded-for", address),))

    first, second = session(A), session(B)
    await until(lambda: served.hub.session_count == 2)
    assert {one.remote for one in served.hub._sessions.values()} == {A, B}
    assert await session(A).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await ask(served, "websocket", ("x-forwarded-for", B)) == "sessions"
    assert refused(caplog) == [(A, "sessions"), (B, "sessions")]
    for call in (first, second):
        call.cancel()
    await until(lambda: served.hub.session_count == 0)
    ended = [vars(record)["remote"] for record in caplog.records if record.getMessage() == "session ended"]
    assert sorted(ended) == sorted([A, B])


async def test_calls_that_keep_coming_hold_off_their_client_and_nobody_beside_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All that comes until then takes CPU time.
    monkeypatch.setattr("sigbridge.floods.RUN_SECONDS", 1)
    served = await start(rate_per_second=0.001, rate_burst=1, flood_hold_seconds=1000.0, **BEHIND)
    call = served.channel().unary_unary(GET_PEERS)

    async def word(address: str) -> str:
        try:
            await call(b"", metadata=(("x-forwarded-for", address),))
        except grpc.aio.AioRpcError as refused:
            return str(refused.details()).partition(" ")[0]
        return ""

    assert await word(A) == ""
    while await word(A) != "Held":
        pass
    assert await word(B) == ""
    assert await word(B) == "Too"
