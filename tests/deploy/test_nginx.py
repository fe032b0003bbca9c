"""nginx as deploy/nginx/nginx.conf configures it, run for real: both protocols behind one TLS port."""

import asyncio
import contextlib
import re
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sigbridge.messages import AnswerReceived, IceCandidateReceived, OfferReceived
from sigbridge_client import ConnectionClosed, connect
from waiting import TIME_LIMIT_SECONDS, wait_until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "nginx.conf"
TOKEN = "a-token-of-the-test"


def free_port():
    """A port that the system chose, and that is free again."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Front:
    """An nginx and the server behind it."""

    def __init__(self, port, server, authority):
        self.port = port
        self.server = server
        self.authority = authority

    @property
    def credentials(self):
        return grpc.ssl_channel_credentials(self.authority.pem)

    @property
    def tls(self):
        return ssl.create_default_context(cafile=self.authority.file)

    def url(self, protocol):
        return f"{'grpcs' if protocol == 'grpc' else 'wss'}://localhost:{self.port}"


@pytest.fixture
def front(serve, run, tool, authority, tmp_path):
    """Start a server, and nginx in front of it."""
    nginx = tool("nginx")

    def start(**settings):
        server = serve(**settings)
        port = free_port()
        certificate, key = authority.issue("localhost", file="nginx")
        text = CONFIGURATION.read_text(encoding="utf-8")
        for said, meant in (
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("server 127.0.0.1:50051;", f"server 127.0.0.1:{server.grpc};"),
            ("server 127.0.0.1:8080;", f"server 127.0.0.1:{server.ws};"),
            ("/etc/nginx/tls/fullchain.pem", certificate),
            ("/etc/nginx/tls/privkey.pem", key),
            ("server_name signaling.example.org;", "server_name localhost;"),
            # What only a machine's own nginx may write.
            ("http {\n", f"http {{\n    access_log {tmp_path}/access.log;\n{temporary_paths(tmp_path)}"),
        ):
            assert text.count(said) == 1, said
            text = text.replace(said, meant)
        path = tmp_path / "nginx.conf"
        path.write_text(text, encoding="utf-8")
        outside = f"daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;"
        checked = subprocess.run(
            [nginx, "-t", "-q", "-c", path, "-g", outside], capture_output=True, text=True, timeout=60, check=False
        )
        assert checked.returncode == 0, checked.stderr
        running = run(nginx, "-c", str(path), "-g", outside)

        def answers():
            assert running.running, running.stderr
            with socket.socket() as connecting:
                return connecting.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, "nginx listens")
        return Front(port, server, authority)

    return start


def temporary_paths(folder):
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"    {name}_temp_path {folder}/{name};\n" for name in names)


@pytest.mark.parametrize(
    ("caller", "callee"),
    [("grpc", "websocket"), ("websocket", "grpc"), ("grpc", "grpc"), ("websocket", "websocket")],
)
async def test_a_call_comes_about_through_one_port(caller, callee, front):
    nginx = front()
    async with (
        await connect(nginx.url(caller), root_certificates=nginx.authority.pem) as alice,
        await connect(nginx.url(callee), root_certificates=nginx.authority.pem) as bob,
        asyncio.timeout(TIME_LIMIT_SECONDS),
    ):
        await bob.announce("bob")
        assert (await alice.announce("alice")).peers_count == 1
        alices, bobs = alice.events(), bob.events()
        await alice.offer("bob", "v=0 offer\r\n")
        await alice.ice_candidate("bob", "candidate:1", sdp_mid="0")
        offer = await next_of(OfferReceived, bobs)
        assert (offer.from_peer_id, offer.sdp) == ("alice", "v=0 offer\r\n")
        assert (await next_of(IceCandidateReceived, bobs)).candidate == "candidate:1"
        await bob.answer("alice", "v=0 answer\r\n")
        assert (await next_of(AnswerReceived, alices)).sdp == "v=0 answer\r\n"


async def next_of(kind, events):
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} came")


async def test_silent_sessions_of_both_protocols_live_on(front, clients):
    # A second stands for twenty here: pings keep the WebSocket open, and nothing need keep the stream open.
    nginx = front(SIGNALING_PING_INTERVAL_SEC="1", SIGNALING_PING_TIMEOUT_SEC="1")
    over_grpc = await clients.grpc(nginx.port, credentials=nginx.credentials)
    over_websocket = await clients.websocket(nginx.port, scheme="wss", ssl=nginx.tls)
    await over_grpc.ask(announce={"peer_id": "alice"})
    await over_websocket.ask("announce", peer_id="bob")
    server = nginx.server
    # Three intervals of pings with nothing else on either connection.
    for _ in range(3):
        await asyncio.sleep(1.0)
    await over_grpc.ask(offer={"to_peer_id": "bob", "sdp": "v=0"})
    while (await over_websocket.next()).get("method") != "offer":
        pass
    assert [series for series in server.metrics() if series.startswith("sigbridge_disconnects_total")] == []


def test_its_timeouts_leave_a_silent_stream_alone():
    text = re.sub(r"#.*", "", CONFIGURATION.read_text(encoding="utf-8"))
    directives = dict(re.findall(r"^\s*(\w+)\s+([^;{]+);", text, flags=re.MULTILINE))
    for name in ("grpc_read_timeout", "grpc_send_timeout", "client_body_timeout", "keepalive_time"):
        assert directives[name] == "1d"
    assert directives["client_max_body_size"] == "0"
    # A WebSocket is pinged after 20 s of silence, and given up after 20 more.
    assert int(directives["proxy_read_timeout"].removesuffix("s")) > 40


async def test_tokens_and_refusals_pass_through(front, clients):
    nginx = front(GRPC_AUTH_TOKENS=TOKEN)
    refused = await clients.channel(nginx.port, nginx.credentials)
    call = refused.unary_unary("/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call(b"", timeout=TIME_LIMIT_SECONDS)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.value.details() == "Invalid or missing API token"
    with pytest.raises(Exception, match="HTTP 401"):
        await clients.websocket(nginx.port, scheme="wss", ssl=nginx.tls)

    session = await clients.grpc(nginx.port, token=TOKEN, credentials=nginx.credentials)
    assert "ack" in await session.ask(announce={"peer_id": "alice"})
    browser = await clients.websocket(
        nginx.port, scheme="wss", ssl=nginx.tls, subprotocols=["jsonrpc", "bearer.YS10b2tlbi1vZi10aGUtdGVzdA"]
    )
    assert browser.connection.subprotocol == "jsonrpc"
    assert "result" in await browser.ask("announce", peer_id="bob")


async def test_a_foreign_origin_is_refused_behind_it_too(front, clients):
    nginx = front(SIGNALING_ALLOWED_ORIGINS="https://good.example")
    with pytest.raises(Exception, match="HTTP 403"):
        await clients.websocket(nginx.port, scheme="wss", ssl=nginx.tls, origin="https://evil.example")
    await clients.websocket(nginx.port, scheme="wss", ssl=nginx.tls, origin="https://good.example")


async def test_the_standard_health_service_and_reflection_pass_through(front, clients, tool):
    nginx = front()
    channel = await clients.channel(nginx.port, nginx.credentials)
    health = await health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=TIME_LIMIT_SECONDS
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    listed = subprocess.run(
        [tool("grpcurl"), "-cacert", nginx.authority.file, f"localhost:{nginx.port}", "list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "remotemedia.v1.webrtc.WebRtcSignaling" in listed.stdout


async def test_the_metrics_are_not_behind_it(front):
    nginx = front()
    reader, writer = await asyncio.open_connection("localhost", nginx.port, ssl=nginx.tls)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        answer = await reader.read()
    writer.close()
    assert b"sigbridge_" not in answer
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/ws", 404), ("/healthz", 200)])
def test_a_plain_request_is_answered_in_either_version_of_http(front, tool, option, path, status):
    # A 426 says Upgrade, which nginx passes on, and HTTP/2 has no such field.
    started = front()
    asked = (tool("curl"), option, "--silent", "--show-error", "--include", "--noproxy", "*", "--cacert")
    done = subprocess.run(
        [*asked, started.authority.file, f"https://localhost:{started.port}{path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"HTTP/{option.removeprefix('--http')} {status}")
    assert "upgrade" not in done.stdout.lower()


async def test_a_restart_is_told_through_it(front, clients):
    nginx = front()
    over_grpc = await clients.grpc(nginx.port, credentials=nginx.credentials)
    over_websocket = await clients.websocket(nginx.port, scheme="wss", ssl=nginx.tls)
    await over_grpc.ask(announce={"peer_id": "alice"})
    await over_websocket.ask("announce", peer_id="bob")
    assert await asyncio.to_thread(nginx.server.stop) == 0
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await over_grpc.call.read() is not grpc.aio.EOF:
                pass
        assert await over_grpc.call.code() is grpc.StatusCode.UNAVAILABLE
        assert ("signaling-disconnect", "draining") in tuple(await over_grpc.call.trailing_metadata())
        await over_websocket.connection.wait_closed()
    assert (over_websocket.connection.close_code, over_websocket.connection.close_reason) == (1012, "draining")


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web+proto"])
def test_grpc_web_comes_through(front, content_type):
    started = front()
    question = urllib.request.Request(
        f"https://localhost:{started.port}/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck",
        data=bytes(5),
        headers={"content-type": content_type},
    )
    with urllib.request.urlopen(question, context=started.tls, timeout=TIME_LIMIT_SECONDS) as answer:
        assert answer.headers["content-type"] == content_type
        body = answer.read()
    assert b"healthy" in body
    assert body.endswith(b"grpc-status: 0\r\n")


def test_a_browsers_question_before_grpc_web_comes_through(front):
    started = front()
    question = urllib.request.Request(
        f"https://localhost:{started.port}/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck",
        headers={"origin": "https://page.example", "access-control-request-method": "POST"},
        method="OPTIONS",
    )
    with urllib.request.urlopen(question, context=started.tls, timeout=TIME_LIMIT_SECONDS) as answer:
        assert answer.headers["access-control-allow-methods"] == "POST"


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_tokens_of_a_file_pass_and_stand_in_no_log_of_nginx(protocol, front, tmp_path):
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text(f'{{"token": "{TOKEN}", "subject": "alice", "peer_ids": ["alice"]}}\n')
    nginx = await asyncio.to_thread(front, SIGNALING_TOKENS_FILE=str(tokens))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        access = {"root_certificates": nginx.authority.pem}
        async with await connect(nginx.url(protocol), token=TOKEN, **access) as alice:
            await alice.announce("alice")
        with pytest.raises(ConnectionClosed) as refused:
            await connect(nginx.url(protocol), token="another", **access)
        assert refused.value.reason == "unauthenticated"
        await asyncio.to_thread(wait_until, (tmp_path / "access.log").read_text, "nginx has logged")
    for log in ("access.log", "error.log"):
        assert TOKEN not in (tmp_path / log).read_text()
