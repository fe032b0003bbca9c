"""Features that are looked at behind every proxy: each function is one, and returns what was seen of it.

What is not the usual is a `Difference` of the proxy's description, and so part of the table in docs/proxies.md. What may
not differ is asserted here.
"""

import asyncio
import contextlib
import signal
import ssl
from itertools import product
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from websockets.exceptions import InvalidHandshake, InvalidStatus

from processes import Process, clean_environment, sigbridge_words
from proxies import SILENCE_SECONDS
from proxy import Front, ports_of_processes
from proxy_clients import (
    BEARER,
    MAX_CONCURRENT_STREAMS,
    SUBPROTOCOLS,
    TOKEN,
    curl,
    grpc_web_health,
    http2_settings,
    http_response,
    open_session,
    speaks,
)
from proxy_feature import FEATURES, expected, feature
from sigbridge.messages import AnswerReceived, IceCandidateReceived, OfferReceived, PeerJoined, PeerLeft
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from waiting import TIME_LIMIT_SECONDS, until

__all__ = ["FEATURES", "SERVER_SETTINGS"]  # whoever has them from here has them filled

SERVER_SETTINGS = {
    "GRPC_AUTH_TOKENS": TOKEN,
    "SIGNALING_ALLOWED_ORIGINS": "https://good.example",
    "GRPC_JSON_LOGGING": "true",
    # Well below every time limit of silence.
    "SIGNALING_PING_INTERVAL_SEC": "0.5",
}
"""The settings of the server behind every proxy."""

PAIRINGS = tuple(product(("grpc", "websocket"), repeat=2))
CONNECTIONS, STREAMS = 11, 100
"""Of the sessions at once: their number is the product. The streams are as many as most proxies let one connection have."""


async def next_of(kind: type[Any], events: Any) -> Any:
    """The next event of a kind."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} came")


# Calls.


@feature("calls on every pairing of the two protocols")
async def calls(front: Front, clients: Any) -> str:
    await asyncio.gather(*(_call(front, *pairing, sdp_bytes=0) for pairing in PAIRINGS))
    return "yes"


@feature("SDPs of 100 kB, both ways")
async def large_descriptions(front: Front, clients: Any) -> str:
    await asyncio.gather(*(_call(front, *pairing, sdp_bytes=100_000) for pairing in PAIRINGS))
    return "yes"


async def _call(front: Front, caller: str, callee: str, *, sdp_bytes: int) -> None:
    """Plays a call, whose SDPs have at least so many bytes, in a room of its own."""
    offer_sdp, answer_sdp = (f"v=0 {word}\r\n".ljust(sdp_bytes, "x") for word in ("offer", "answer"))
    room = f"{caller} calls {callee}, {sdp_bytes} bytes"
    async with await open_session(front, caller) as alice, await open_session(front, callee) as bob:
        await bob.announce("bob", room=room)
        assert (await alice.announce("alice", room=room)).peers_count == 1
        alices, bobs = alice.events(), bob.events()
        await alice.offer("bob", offer_sdp)
        await alice.ice_candidate("bob", "candidate:1", sdp_mid="0")
        offer = await next_of(OfferReceived, bobs)
        assert (offer.from_peer_id, offer.sdp) == ("alice", offer_sdp)
        assert (await next_of(IceCandidateReceived, bobs)).candidate == "candidate:1"
        await bob.answer("alice", answer_sdp)
        assert (await next_of(AnswerReceived, alices)).sdp == answer_sdp


# Tokens, and refusals.


@feature("tokens in the header, on both protocols")
async def header_tokens(front: Front, clients: Any) -> str:
    session = await clients.grpc(front.port, token=TOKEN, credentials=front.credentials)
    assert "ack" in await session.ask(announce={"peer_id": "alice", "room": "headers"})
    browser = await clients.websocket(front.port, token=TOKEN, scheme="wss", ssl=front.tls)
    assert "result" in await browser.ask("announce", peer_id="bob", room="headers")
    return "yes"


@feature("a browser's token as a WebSocket subprotocol")
async def subprotocol_tokens(front: Front, clients: Any) -> str:
    browser = await clients.websocket(front.port, scheme="wss", ssl=front.tls, subprotocols=SUBPROTOCOLS)
    assert browser.connection.subprotocol == "jsonrpc"
    assert "result" in await browser.ask("announce", peer_id="carol", room="subprotocols")
    return "yes"


@feature("a unary call without a token is refused", "UNAUTHENTICATED")
async def refused_unary_call(front: Front, clients: Any) -> str:
    channel = await clients.channel(front.port, front.credentials)
    try:
        await channel.unary_unary(f"/{SERVICE_NAME}/HealthCheck")(b"", timeout=TIME_LIMIT_SECONDS)
    except grpc.aio.AioRpcError as refused:
        return _said(refused.code(), refused.details())
    return "let in"


@feature("a `Signal` stream without a token is refused", "UNAUTHENTICATED")
async def refused_stream(front: Front, clients: Any) -> str:
    session = await clients.grpc(front.port, credentials=front.credentials)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        code, details = await session.call.code(), await session.call.details()
        trailers = dict(await session.call.trailing_metadata())
    # By this word clients know that they need not come back, whatever becomes of the code.
    assert (trailers["signaling-disconnect"], trailers["signaling-reconnect"]) == ("unauthenticated", "no")
    return _said(code, details)


def _said(code: grpc.StatusCode, details: str | None) -> str:
    """The name of the code with which a call without a token ends; UNAUTHENTICATED with the server's words only."""
    if code is grpc.StatusCode.UNAUTHENTICATED:
        assert details == "Invalid or missing API token"
    return code.name


@feature("a WebSocket without a token is refused", "401")
async def refused_websocket(front: Front, clients: Any) -> str:
    return await _websocket_refusal(front, clients)


@feature("the page of a foreign origin is refused", "403")
async def foreign_origin(front: Front, clients: Any) -> str:
    await clients.websocket(front.port, token=TOKEN, scheme="wss", ssl=front.tls, origin="https://good.example")
    return await _websocket_refusal(front, clients, token=TOKEN, origin="https://evil.example")


async def _websocket_refusal(front: Front, clients: Any, **options: Any) -> str:
    """The status with which a WebSocket is refused."""
    try:
        await clients.websocket(front.port, scheme="wss", ssl=front.tls, **options)
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    return "let in"


# What else comes through the port.


@feature("gRPC-Web, and the question of a browser before it")
async def grpc_web(front: Front, clients: Any) -> str:
    for content_type in ("application/grpc-web", "application/grpc-web+proto"):
        await asyncio.to_thread(grpc_web_health, front, content_type)
    asked = {"origin": "https://good.example", "access-control-request-method": "POST"}
    fields, _ = await asyncio.to_thread(http_response, front, "OPTIONS", asked)
    assert fields["access-control-allow-methods"] == "POST"
    return "yes"


@feature("`grpc.health.v1` and reflection")
async def health_and_reflection(front: Front, clients: Any) -> str:
    channel = await clients.channel(front.port, front.credentials)
    health = await health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=TIME_LIMIT_SECONDS
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), metadata=BEARER, timeout=TIME_LIMIT_SECONDS
    )
    names = [service.name async for response in listing for service in response.list_services_response.service]
    assert SERVICE_NAME in names
    return "yes"


@feature("`/readyz`, and 404 for other requests, in HTTP/1.1 and HTTP/2")
async def plain_requests(front: Front, clients: Any) -> str:
    # A 426 says Upgrade, which proxies pass on, and HTTP/2 has no such field. The metrics are the operator's alone.
    asked = {"/readyz": 200, "/healthz": 200, "/": 404, "/ws": 404, "/metrics": 404}
    for option in ("--http1.1", "--http2"):
        answers = await asyncio.to_thread(curl, front, [option], *asked)
        version = option.removeprefix("--http")
        lines = [line.split()[:2] for line in answers.splitlines() if line.startswith("HTTP/")]
        assert lines == [[f"HTTP/{version}", str(status)] for status in asked.values()], answers
        assert "upgrade:" not in answers.lower()
        assert "sigbridge_" not in answers
    return "yes"


@feature("the server knows its clients' addresses, and believes none that they make up")
async def client_addresses(front: Front, clients: Any) -> str:
    call = ["--http2", "--data-binary", "", "--header", "te: trailers", "--header"]
    upgrade = "--http1.1 --header connection:upgrade --header upgrade:websocket --header sec-websocket-version:13"
    # Other addresses than the proxy has towards the server; lines of the log about one are gathered.
    for address, options, path in (
        ("127.0.0.2", [*call, "content-type: application/grpc"], f"/{SERVICE_NAME}/HealthCheck"),
        ("127.0.0.3", [*call, "content-type: application/grpc-web"], f"/{SERVICE_NAME}/HealthCheck"),
        ("127.0.0.4", [*upgrade.split(), "--header", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="], "/"),
    ):
        made_up = ["--header", "x-forwarded-for: 203.0.113.66"]
        await asyncio.to_thread(curl, front, ["--ipv4", "--interface", address, *made_up, *options], path)
        await until(lambda address=address: _is_refused(front, address))
    assert not front.server.said("203.0.113.66")
    return "yes"


def _is_refused(front: Front, address: str) -> bool:
    """Returns True where the server's log says that a client at this address was refused."""
    return any(line["event"] == "client refused" and line["remote"] == address for line in front.server.log())


@feature("versions of TLS", "1.2, 1.3")
async def tls_versions(front: Front, clients: Any) -> str:
    versions = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    spoken = [version.name for version in versions if await asyncio.to_thread(speaks, front, version)]
    return ", ".join(name.removeprefix("TLSv").replace("_", ".") for name in spoken)


@feature("no other port is opened, for an administrator or whom else")
async def one_port(front: Front, clients: Any) -> str:
    assert await asyncio.to_thread(ports_of_processes, front.process.pid) == {front.port}
    return "yes"


@feature("its logs have no tokens, as it is configured")
async def no_tokens_in_logs(front: Front, clients: Any) -> str:
    for protocol in ("grpc", "websocket"):
        async with await open_session(front, protocol) as session:
            await session.announce(f"logged by {protocol}")
    await clients.websocket(front.port, scheme="wss", ssl=front.tls, subprotocols=SUBPROTOCOLS)
    assert not _lines_with_tokens(front)
    return "yes"


def _lines_with_tokens(front: Front) -> list[str]:
    """Lines with tokens that the proxy has written, into its files or to a terminal."""
    files = [path for path in front.place.folder.rglob("*") if path.is_file()]
    said = [*front.process.stdout, *front.process.stderr, *(path.read_text("utf-8", "replace") for path in files)]
    return [text for text in said if TOKEN in text or SUBPROTOCOLS[1] in text]


@feature("the headers of a stream's response come before the first message", "at once")
async def early_headers(front: Front, clients: Any) -> str:
    session = await clients.grpc(front.port, token=TOKEN, credentials=front.credentials)
    # What never comes cannot be waited for as long as what may come late.
    limit_seconds = TIME_LIMIT_SECONDS if expected(front.proxy, "early_headers") == "at once" else 0.5
    try:
        # A timeout cancels what it waits for, and that would be the call.
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(session.call.initial_metadata())), limit_seconds)
    except TimeoutError:
        assert "ack" in await session.ask(announce={"peer_id": "alice", "room": "headers first"})
        return "with the first message"
    return "at once"


# Long sessions, and many.


@feature("sessions of both protocols that are silent longer than the proxy's time limits live on")
async def silent_sessions(front: Front, clients: Any) -> str:
    over_grpc = await clients.grpc(front.port, token=TOKEN, credentials=front.credentials)
    over_websocket = await clients.websocket(front.port, token=TOKEN, scheme="wss", ssl=front.tls)
    await over_grpc.ask(announce={"peer_id": "alice", "room": "silence"})
    await over_websocket.ask("announce", peer_id="bob", room="silence")
    before = _ended(front)
    await asyncio.sleep(SILENCE_SECONDS)
    await over_grpc.ask(offer={"to_peer_id": "bob", "sdp": "v=0"})
    while (await over_websocket.next()).get("method") != "offer":
        pass
    assert _ended(front) == before
    return "yes"


def _ended(front: Front) -> dict[str, float]:
    """The sessions that did not end by themselves, by protocol and reason."""
    return {
        series: count
        for series, count in front.server.metrics().items()
        if series.startswith("sigbridge_disconnects_total") and "client_left" not in series
    }


@feature(f"{CONNECTIONS * STREAMS:,} streams at once, on {CONNECTIONS} connections")
async def many_streams(front: Front, clients: Any) -> str:
    allowed = expected(front.proxy, "streams_of_a_connection")
    streams_each = min(STREAMS, int(allowed)) if allowed.isdecimal() else STREAMS
    count = CONNECTIONS * STREAMS
    channels = [await clients.channel(front.port, front.credentials) for _ in range(-(-count // streams_each))]
    streams = [
        channels[number // streams_each].stream_stream(f"/{SERVICE_NAME}/Signal", None, None)(metadata=BEARER)
        for number in range(count)
    ]
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await asyncio.gather(*(_announce(stream, number) for number, stream in enumerate(streams)))
        await asyncio.gather(*map(_offer, streams[::2], streams[1::2]))
    return "yes" if len(channels) == CONNECTIONS else f"on {len(channels)} connections"


async def _announce(stream: Any, number: int) -> None:
    """Becomes the peer "even" or "odd" of a room of two."""
    request = pb.AnnounceRequest(peer_id=("even", "odd")[number % 2], room=f"many {number // 2}")
    await stream.write(pb.SignalingRequest(request_id="1", announce=request).SerializeToString())
    assert (await _response(stream, "ack")).request_id == "1"


async def _offer(even: Any, odd: Any) -> None:
    request = pb.OfferRequest(to_peer_id="odd", sdp="v=0")
    await even.write(pb.SignalingRequest(request_id="2", offer=request).SerializeToString())
    while (await _response(odd, "notification")).notification.WhichOneof("notification") != "offer":
        pass


async def _response(stream: Any, kind: str) -> pb.SignalingResponse:
    """The next response of a kind; events about the room come in between."""
    while True:
        message = await stream.read()
        assert isinstance(message, bytes), f"the stream has ended: {stream}"
        response = pb.SignalingResponse.FromString(message)
        if response.WhichOneof("response") == kind:
            return response


@feature("streams that one connection may have", "any number")
async def streams_of_a_connection(front: Front, clients: Any) -> str:
    most = (await asyncio.to_thread(http2_settings, front)).get(MAX_CONCURRENT_STREAMS)
    return "any number" if most is None else str(most)


# Others' ends.


@feature("a client that is killed leaves at once")
async def killed_client(front: Front, clients: Any) -> str:
    ca = ("--ca", front.authority.file)
    async with await open_session(front, "websocket") as watching:
        await watching.announce("watcher", room="killed")
        events = watching.events()
        processes = [
            Process(
                sigbridge_words("listen", front.url(protocol), "--peer-id", protocol, "--room", "killed", *ca),
                environment=clean_environment(SIGBRIDGE_TOKEN=TOKEN),
            )
            for protocol in ("grpc", "websocket")
        ]
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                here = {(await next_of(PeerJoined, events)).peer_id for _ in processes}
                for process in processes:
                    process.signal(signal.SIGKILL)
                gone = {(await next_of(PeerLeft, events)).peer_id for _ in processes}
        finally:
            for process in processes:
                await asyncio.to_thread(process.stop)
    assert here == gone == {"grpc", "websocket"}
    return "yes"


@feature("others' requests on a shared connection to the server break no WebSocket handshake")
async def shared_connections(front: Front, clients: Any) -> str:
    for number in range(10):
        assert await asyncio.to_thread(front.status, "/readyz") == 200
        await asyncio.to_thread(grpc_web_health, front, "application/grpc-web")
        browser = await clients.websocket(front.port, scheme="wss", ssl=front.tls, subprotocols=SUBPROTOCOLS)
        assert "result" in await browser.ask("announce", peer_id=f"dora {number}", room="shared")
        # A closing handshake takes a second with a proxy that waits for the client's end first.
        browser.connection.transport.abort()
        await browser.connection.wait_closed()
    return "yes"


@feature("a restart of the server is told: both protocols' end and its word", "UNAVAILABLE draining, 1012 draining")
async def drain(front: Front, clients: Any) -> str:
    over_grpc = await clients.grpc(front.port, token=TOKEN, credentials=front.credentials)
    over_websocket = await clients.websocket(front.port, token=TOKEN, scheme="wss", ssl=front.tls)
    await over_grpc.ask(announce={"peer_id": "alice", "room": "drain"})
    await over_websocket.ask("announce", peer_id="bob", room="drain")
    assert await asyncio.to_thread(front.server.stop) == 0
    code = await _end(over_grpc)
    trailers = dict(await over_grpc.call.trailing_metadata())
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await over_websocket.connection.wait_closed()
    connection = over_websocket.connection
    reason = trailers.get("signaling-disconnect", "without a word")
    return f"{code} {reason}, {connection.close_code} {connection.close_reason}"


async def _end(session: Any) -> str:
    """The code with which a stream ends, whatever is read until then."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await session.call.read() is not grpc.aio.EOF:
                pass
        code: grpc.StatusCode = await session.call.code()
    return code.name


@feature("a server that is killed: the ends of streams, and calls until it is back", "INTERNAL, UNAVAILABLE")
async def killed_server(front: Front, clients: Any) -> str:
    over_grpc = await clients.grpc(front.port, token=TOKEN, credentials=front.credentials)
    over_websocket = await clients.websocket(front.port, token=TOKEN, scheme="wss", ssl=front.tls)
    await over_grpc.ask(announce={"peer_id": "alice", "room": "killed server"})
    await over_websocket.ask("announce", peer_id="bob", room="killed server")
    front.server.signal(signal.SIGKILL)
    await asyncio.to_thread(front.server.wait)
    end = await _end(over_grpc)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await over_websocket.connection.wait_closed()
    assert over_websocket.connection.close_code == 1006
    channel = await clients.channel(front.port, front.credentials)
    try:
        await channel.unary_unary(f"/{SERVICE_NAME}/HealthCheck")(b"", metadata=BEARER, timeout=TIME_LIMIT_SECONDS)
        meanwhile = "answered"
    except grpc.aio.AioRpcError as error:
        meanwhile = error.code().name
    # Errors are logged where successes are not.
    with contextlib.suppress(InvalidHandshake, OSError):
        await clients.websocket(front.port, scheme="wss", ssl=front.tls, subprotocols=SUBPROTOCOLS)
    assert not _lines_with_tokens(front)
    return f"{end}, {meanwhile}"


@feature("a server that is back is found again, by clients of both protocols")
async def server_again(front: Front, clients: Any) -> str:
    await asyncio.to_thread(front.serve_again)
    await calls(front, clients)
    return "yes"
