"""TLS on both ports: mutual TLS, whose subject is the identity, and certificates that are read again on SIGHUP."""

import asyncio
import signal
import ssl
from pathlib import Path

import grpc
import pytest
from websockets.exceptions import InvalidMessage

from certificates import shown_certificate
from waiting import TIME_LIMIT_SECONDS, wait_until


@pytest.fixture(params=["native", "grpcio"])
def engine(request):
    return {"GRPC_ENGINE": request.param}


@pytest.fixture
def mutual(tls_settings, authority):
    """The settings of a server that asks every client for a certificate."""
    return {**tls_settings, "SIGNALING_TLS_CLIENT_CA_FILE": authority.file}


def grpc_credentials(authority, files=()):
    certificate, key = [Path(file).read_bytes() for file in files] or (None, None)
    return grpc.ssl_channel_credentials(authority.pem, key, certificate)


def websocket_context(authority, files=()):
    context = ssl.create_default_context(cafile=authority.file)
    if files:
        context.load_cert_chain(*files)
    return context


def spoil(file):
    Path(file).write_text("no certificate", encoding="utf-8")


async def test_a_client_with_a_certificate_is_let_in_on_both_ports_and_no_other(
    serve, mutual, engine, authority, other_authority, clients
):
    server = serve(**mutual, **engine)
    stranger = other_authority.issue("mallory")
    for files in ((), stranger):
        channel = await clients.channel(server.grpc, grpc_credentials(authority, files))
        call = channel.unary_unary("/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck")(
            b"", timeout=TIME_LIMIT_SECONDS
        )
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises((ssl.SSLError, OSError, InvalidMessage)):
            await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority, files))
    assert not server.said("session started")
    files = authority.issue("alice")
    over_grpc = await clients.grpc(server.grpc, credentials=grpc_credentials(authority, files))
    assert "ack" in await over_grpc.ask(announce={"peer_id": "alice"})
    over_websocket = await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority, files))
    assert "result" in await over_websocket.ask("announce", peer_id="bob")


async def test_a_certificate_is_no_token(serve, mutual, engine, authority, clients):
    # The native engine's end waits so long for a TLS client that says nothing of its own end.
    server = serve(**mutual, **engine, GRPC_AUTH_TOKENS="the-right-token", SIGNALING_CLOSE_TIMEOUT_SEC="0.5")
    files = authority.issue("alice")
    channel = await clients.channel(server.grpc, grpc_credentials(authority, files))
    call = channel.unary_unary("/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers")(b"", timeout=TIME_LIMIT_SECONDS)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(Exception, match="HTTP 401"):
        await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority, files))


async def test_rates_count_against_the_certificates_subject(serve, mutual, engine, authority, clients):
    server = serve(**mutual, **engine, SIGNALING_RATE_PER_SEC="0.01", SIGNALING_RATE_BURST="3")
    alice, bob = authority.issue("alice"), authority.issue("bob")
    over_grpc = await clients.grpc(server.grpc, credentials=grpc_credentials(authority, alice))
    over_websocket = await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority, alice))
    await over_grpc.ask(list_peers={})
    await over_websocket.ask("list_peers")
    await over_grpc.ask(list_peers={})
    # The same holder over both protocols, and by a unary call.
    refused = await over_websocket.error_of("list_peers")
    assert refused["data"]["status"] == "RESOURCE_EXHAUSTED"
    channel = await clients.channel(server.grpc, grpc_credentials(authority, alice))
    call = channel.unary_unary("/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers")(b"", timeout=TIME_LIMIT_SECONDS)
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Another one at the same address has a bucket of its own.
    other = await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority, bob))
    assert "result" in await other.ask("list_peers")


@pytest.mark.parametrize(
    ("engine", "hurried"),
    # What hurries it knows of no engine.
    [("native", False), ("native", True), ("grpcio", False)],
    ids=["native, by itself", "native, on SIGHUP", "grpcio, by itself"],
    indirect=["engine"],
)
async def test_a_reload_serves_the_new_certificate_to_new_connections_while_old_sessions_live(
    serve, tls_settings, engine, authority, clients, hurried
):
    server = serve(**tls_settings, **engine)
    over_grpc = await clients.grpc(server.grpc, credentials=grpc_credentials(authority))
    over_websocket = await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority))
    await over_grpc.ask(announce={"peer_id": "alice"})
    await over_websocket.ask("announce", peer_id="bob")
    ports = (server.grpc, server.ws)
    old = [await asyncio.to_thread(shown_certificate, port) for port in ports]
    assert old[0] == old[1]

    authority.issue("localhost", file="server")
    if hurried:
        server.signal(signal.SIGHUP)
    await asyncio.to_thread(wait_until, lambda: server.said("files are read again"), "the reload")
    new = [await asyncio.to_thread(shown_certificate, port) for port in ports]
    assert new[0] == new[1] != old[0]

    await over_grpc.ask(offer={"to_peer_id": "bob", "sdp": "v=0"})
    while (await over_websocket.next()).get("method") != "offer":
        pass
    newcomer = await clients.grpc(server.grpc, credentials=grpc_credentials(authority))
    assert "ack" in await newcomer.ask(announce={"peer_id": "carol"})


async def test_a_reload_of_what_is_no_certificate_changes_nothing(serve, tls_settings, engine, authority, clients):
    server = serve(**tls_settings, **engine)
    old = await asyncio.to_thread(shown_certificate, server.ws)
    spoil(tls_settings["SIGNALING_TLS_CERT_FILE"])
    server.signal(signal.SIGHUP)
    (line,) = await asyncio.to_thread(wait_until, lambda: server.said("files are not read again"), "the refusal")
    assert "SIGNALING_TLS_CERT_FILE" in line
    for port in (server.grpc, server.ws):
        assert await asyncio.to_thread(shown_certificate, port) == old
    session = await clients.websocket(server.ws, scheme="wss", ssl=websocket_context(authority))
    assert "result" in await session.ask("announce", peer_id="alice")


async def test_sighup_ends_no_server_that_has_no_certificates(serve, clients):
    server = serve()
    session = await clients.websocket(server.ws)
    server.signal(signal.SIGHUP)
    assert "result" in await session.ask("announce", peer_id="alice")
    assert server.running
