"""One door to both protocols: which URLs it takes, and what it shows to a server."""

import asyncio
import json
import logging
from functools import partial

import grpc.aio
import pytest
import websockets.asyncio.client

from certificates import Authority
from served import servers
from sigbridge import Authenticated, ConnectionClosed, OfferAnswered, OfferReceived, SignalingError
from sigbridge.auth import Identity
from sigbridge.errors import invalid_params, unauthenticated
from sigbridge_client import DIALECTS, DialectError, UrlError, connect
from sigbridge_command import command
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_net.errors import AccessError
from sigbridge_websocket import client as websocket_client
from waiting import TIME_LIMIT_SECONDS

TOKEN = "s3cret"
PROTOCOLS = ["grpc", "websocket"]


@pytest.fixture
async def serve():
    async with servers() as start:
        yield start


def url(server, protocol, *, secure=False):
    if protocol == "grpc":
        return f"grpc{'s' * secure}://127.0.0.1:{server.grpc_port}"
    return f"ws{'s' * secure}://127.0.0.1:{server.websocket_port}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority that signed a server's and a client's certificate: the folder of all of them, by name."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    for name in ("server", "device-1"):
        authority.issue(name)
    return authority.folder


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:50051",
        "http://localhost",
        "grpc://",
        "ws:///path",
        "WSS",
        "ws+unix:",
        "grpc+unix://host/path",
        "grpc+unix:/",
        "ws+tcp:/path",
        "http+unix:/path",
        "grpc:localhost:1",
        "ws://[::1",
        "grpc://localhost:x",
        "ws://localhost:65536",
        "grpc://a..b:1",
        f"ws://{'a' * 64}:1",
        "ws://localhost:1/\udcff",
    ],
)
async def test_what_is_no_signaling_url(text):
    with pytest.raises(UrlError, match="is not a signaling URL: expected one of grpc://HOST:PORT"):
        await connect(text)


@pytest.mark.parametrize(
    ("address", "dialect", "why"),
    [
        ("grpc://127.0.0.1:1", "dotted", "is one of JSON-RPC over WebSocket: expected ws:// or wss://"),
        ("grpcs+unix:/path", "dotted", "is one of JSON-RPC over WebSocket"),
        ("ws://127.0.0.1:1", "comma", "'comma' is not a dialect: expected one of plain, dotted"),
        ("grpc://127.0.0.1:1", "", "'' is not a dialect"),
    ],
)
async def test_a_dialect_that_is_none_of_the_protocol(address, dialect, why):
    with pytest.raises(DialectError, match=why):
        await connect(address, dialect=dialect)


async def test_a_session_of_the_dotted_dialect(serve):
    server = await serve()
    # Of a resumable peer every answer is an event.
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        await connect(url(server, "websocket"), resume=False, dialect="dotted") as client,
    ):
        assert (await client.announce("a")).peers_count == 0
        with pytest.raises(SignalingError, match="Peer not found"):
            await client.offer("remotemedia-server", "v=0")
        async with await connect(url(server, "grpc")) as answerer:
            await answerer.announce("remotemedia-server")
            calling = asyncio.create_task(client.offer("remotemedia-server", "v=0"))
            async for event in answerer.events():
                if isinstance(event, OfferReceived):
                    await answerer.answer("a", "v=0 answer")
                    break
            assert await calling == OfferAnswered("v=0 answer", "remotemedia-server", "a")
            await client.disconnect("remotemedia-server", reason="done")
    assert server.hub.counters.dialects == {"dotted": 1}
    assert list(DIALECTS) == list(websocket_client.DIALECTS) == list(command.DIALECTS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_tokens(serve, protocol):
    server = await serve(auth_tokens=(TOKEN,))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(url(server, protocol), token=TOKEN) as client:
            assert (await client.announce("a")).peers_count == 0
            assert (await client.health()).status == "healthy"
        for token in (None, "", "wrong"):
            with pytest.raises(ConnectionClosed) as refused:
                await connect(url(server, protocol), token=token)
            assert refused.value.reconnect is not True
            assert TOKEN not in str(refused.value)
    assert server.hub.session_count == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_function_is_asked_for_the_token_and_again_where_the_first_is_refused(serve, protocol):
    server = await serve(auth_tokens=(TOKEN,))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        given = iter(("of-yesterday", TOKEN))
        async with await connect(url(server, protocol), token=lambda: next(given)) as client:
            await client.announce("a")
            assert (await client.health()).status == "healthy"

        async def coroutine():
            return TOKEN

        async with await connect(url(server, protocol), token=coroutine) as client:
            await client.announce("a")
        for answers in ((None, None), ("wrong", "wrong"), ("wrong", "wrong again")):
            given = iter(answers)
            with pytest.raises(ConnectionClosed) as refused:
                await connect(url(server, protocol), token=partial(next, given))
            assert refused.value.reason == "unauthenticated"
            assert list(given) == []
        given = iter((None,))
        opened = await serve()
        async with await connect(url(opened, protocol), resume=False, token=lambda: next(given)) as client:
            assert client._renewal is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_a_function_raises_is_what_connect_raises(protocol):
    def source():
        raise KeyError("no key")

    with pytest.raises(KeyError):
        await connect(f"{'grpc' if protocol == 'grpc' else 'ws'}://127.0.0.1:1", token=source)


async def test_a_token_that_cannot_be_sent_is_not_shown():
    for where in ("grpc://127.0.0.1:1", "ws://127.0.0.1:1"):
        with pytest.raises(AccessError, match="the API token holds what no header can carry") as refused:
            await connect(where, token="canary\ncanary")
        assert "canary" not in str(refused.value)
    with pytest.raises(AccessError, match="the API token holds what gRPC cannot carry"):
        await connect("grpc://127.0.0.1:1", token="kanarienv\u00f6gel")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_no_text_is_refused_alike(serve, protocol):
    server = await serve()
    async with asyncio.timeout(TIME_LIMIT_SECONDS), await connect(url(server, protocol)) as client:
        with pytest.raises(SignalingError) as refused:
            await client.announce("\udcff")
        assert refused.value == invalid_params("request", "holds what is no text")
        await client.announce("a")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_certificate_s_file_may_hold_its_key_and_a_bundle_remarks(serve, files, tmp_path, protocol):
    server = await serve(
        tls_cert_file=str(files / "server.pem"),
        tls_key_file=str(files / "server.key.pem"),
        tls_client_ca_file=str(files / "authority.pem"),
    )
    both = tmp_path / "both.pem"
    both.write_bytes((files / "device-1.pem").read_bytes() + (files / "device-1.key.pem").read_bytes())
    roots = "# Beh\u00f6rde\n".encode() + (files / "authority.pem").read_bytes()
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        where = url(server, protocol, secure=True)
        async with await connect(where, root_certificates=roots, certificate_file=str(both)) as client:
            await client.announce("a")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_certificates(serve, files, protocol):
    server = await serve(
        tls_cert_file=str(files / "server.pem"),
        tls_key_file=str(files / "server.key.pem"),
        tls_client_ca_file=str(files / "authority.pem"),
        rate_per_second=0.001,
        rate_burst=1,
    )
    roots = (files / "authority.pem").read_bytes()
    device = {"certificate_file": str(files / "device-1.pem"), "key_file": str(files / "device-1.key.pem")}
    where = url(server, protocol, secure=True)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(where, root_certificates=roots, **device) as client:
            await client.announce("a")
            (session,) = server.hub._sessions.values()
            assert (session.identity.subject, session.holder) == ("device-1", "cert:device-1")
            with pytest.raises(SignalingError, match="Too many announce requests"):
                await client.announce("a")
        with pytest.raises(ConnectionClosed):
            # A WebSocket's handshake may look done before the server has looked at the certificate.
            async with await connect(where, root_certificates=roots) as client:
                await client.announce("b")
        with pytest.raises(ConnectionClosed):
            await connect(where, **device)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_nobody_is_there(protocol):
    with pytest.raises(ConnectionClosed):
        await connect(f"{'grpc' if protocol == 'grpc' else 'ws'}://127.0.0.1:1")


async def test_what_is_malformed_too_often_is_refused_alike_on_both(serve):
    """Code, message and data are the same, but for the time to wait."""
    server = await serve(rate_per_second=0.001, rate_burst=2)
    refusals = []
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with websockets.asyncio.client.connect(url(server, "websocket"), proxy=None) as line:
            for _ in range(3):
                await line.send("nonsense")
            answers = [json.loads(await line.recv()) for _ in range(3)]
        assert [answer["error"]["code"] for answer in answers] == [-32700, -32700, -32000]
        refusals.append((answers[-1]["error"]["message"], answers[-1]["error"]["data"]))

        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.stream_stream("/remotemedia.v1.webrtc.WebRtcSignaling/Signal", None, None)()
            await call.write(b"\xff")
            error = pb.SignalingResponse.FromString(await call.read()).error
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK
        assert error.code == 8
        refusals.append((error.message, json.loads(error.details)))
    waits = [data.pop("retry_after_ms") for _, data in refusals]
    texts = [message.replace(str(wait), "…") for (message, _), wait in zip(refusals, waits, strict=True)]
    assert texts[0] == texts[1]
    assert refusals[0][1] == refusals[1][1]
    assert abs(waits[0] - waits[1]) < 60_000


@pytest.mark.parametrize("engine", ["native", "grpcio"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_token_shown_in_a_session_is_in_no_log_and_in_no_error(serve, caplog, protocol, engine):
    caplog.set_level(logging.DEBUG)
    server = await serve(auth_tokens=("canary-first", "canary-second"), grpc_engine=engine)
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        await connect(url(server, protocol), token="canary-first") as client,
    ):
        for token, code in (("canary-wrong", 16), ("canary-" * 2000, 16)):
            with pytest.raises(SignalingError) as refused:
                await client.authenticate(token)
            assert refused.value.code == code
            assert "canary" not in repr(refused.value) + str(refused.value.data())
        assert await client.authenticate("canary-second") == Authenticated("", None)
        with pytest.raises(SignalingError, match="Subject mismatch"):
            await client.authenticate("canary-first")
        await client.announce("alice")
        await client.health()
        counters = server.hub.counters
        assert counters.requests[protocol, "authenticate", "ok"] == 1
        assert counters.requests[protocol, "authenticate", "UNAUTHENTICATED"] == 2
    logged = "".join(str(record.__dict__) for record in caplog.records)
    assert "session ended" in logged
    assert "canary" not in logged + caplog.text


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_asked_beside_a_session_shows_its_newest_token(serve, protocol):
    """On gRPC health is a call of its own: by the first token it would be refused once that is over."""
    over = set()

    class Renewing:
        def authenticate(self, credentials, now):
            if credentials.token in over:
                raise unauthenticated()
            return Identity("alice")

    server = await serve(authenticator=Renewing())
    async with asyncio.timeout(TIME_LIMIT_SECONDS), await connect(url(server, protocol), token="first") as client:
        await client.authenticate("second")
        over.add("first")
        await client.health()
        over.add("third")
        with pytest.raises(SignalingError):
            await client.authenticate("third")
        await client.health()
