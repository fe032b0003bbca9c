"""Sources of identities and guessing, on real servers: JWTs, a file of tokens, certificates, and who is held up."""

import asyncio
import contextlib
import json
import ssl
import time
from pathlib import Path

import grpc
import pytest
from websockets.exceptions import InvalidStatus

from jwts import base64url, jwks_file, signer
from sigbridge_auth.guessing import MAX_WRONG
from waiting import TIME_LIMIT_SECONDS, wait_until

SHARED = "a-shared-token"
GET_PEERS = "/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers"
REFUSED = "Invalid or missing API token"


@pytest.fixture(params=["native", "grpcio"])
def engine(request):
    return {"GRPC_ENGINE": request.param}


def jwt(by="ES256", kid="one", **claims):
    """A token of the identity provider, good for an hour."""
    every = {"sub": "alice", "exp": time.time() + 3600, "iss": "https://idp", "aud": "signaling"} | claims
    return signer(by).token({name: value for name, value in every.items() if value is not None}, kid=kid)


@pytest.fixture
def sources(tmp_path):
    """The settings of a server with all three sources of tokens."""
    jwks_file(tmp_path, signer("ES256").jwk(kid="one"), signer("RS256").jwk(kid="two"))
    entries = [{"token": "of-bob", "subject": "bob", "peer_ids": ["bob"]}, {"token": "too-old", "expires": 1}]
    (tmp_path / "tokens").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return {
        "GRPC_AUTH_TOKENS": SHARED,
        "SIGNALING_TOKENS_FILE": str(tmp_path / "tokens"),
        "SIGNALING_JWT_JWKS_FILE": str(tmp_path / "jwks.json"),
        "SIGNALING_JWT_ISSUER": "https://idp",
        "SIGNALING_JWT_AUDIENCE": "signaling",
    }


class Doors:
    """Both protocols of a server, knocked at without a session."""

    def __init__(self, server, clients):
        self._server = server
        self._clients = clients
        self._channel = None

    async def grpc(self, *shown):
        """End of a unary call: its code, its details, and its trailers."""
        if self._channel is None:
            self._channel = await self._clients.channel(self._server.grpc)
        metadata = [("authorization", value) for value in shown]
        call = self._channel.unary_unary(GET_PEERS)(b"", metadata=metadata, timeout=TIME_LIMIT_SECONDS)
        code, details = await call.code(), await call.details()
        return code.name, details, dict(await call.trailing_metadata() or ())

    async def websocket(self, *shown):
        """End of a handshake: its status, its body and its headers."""
        try:
            session = await self._clients.websocket(
                self._server.ws, additional_headers=[("Authorization", value) for value in shown]
            )
        except InvalidStatus as refusal:
            response = refusal.response
            return response.status_code, response.body.decode().strip(), response.headers
        await session.connection.close()
        return 101, "", {}

    async def both(self, token):
        """The code and the status with a token."""
        return (await self.grpc(f"Bearer {token}"))[0], (await self.websocket(f"Bearer {token}"))[0]


LET_IN, NOBODY, THROTTLED = ("OK", 101), ("UNAUTHENTICATED", 401), ("RESOURCE_EXHAUSTED", 429)


def part(value):
    return base64url(json.dumps(value).encode())


def bad_tokens():
    """Tokens that prove nobody, each for a reason of its own."""
    good = jwt()
    head, claims, signature = good.split(".")
    pem = signer("RS256").pem
    return {
        "unknown": "wrong",
        "of the file, too old": "too-old",
        "not ASCII": "tökén",
        "7 kB": "x" * 7000,
        "alg none": f"{part({'alg': 'none', 'kid': 'one'})}.{claims}.",
        "a public key as a secret": signer("HS256").token(
            {"sub": "alice", "exp": time.time() + 60, "aud": pem.decode()}
        ),
        "another signature": f"{head}.{claims}.{signature[::-1]}",
        "other claims": f"{head}.{part({'sub': 'root', 'exp': time.time() + 60})}.{signature}",
        "another audience": jwt(aud="another"),
        "no audience": jwt(aud=None),
        "another issuer": jwt(iss="https://evil"),
        "not yet": jwt(nbf=time.time() + 600),
        "too late": jwt(exp=time.time() - 600),
        "no end": jwt(exp=None),
        "an unknown key": jwt("ES384", "three"),
        "nobody": jwt(sub=""),
    }


async def test_what_proves_nobody_is_refused_in_the_same_words(serve, engine, sources, clients):
    server = serve(**sources, **engine)
    doors = Doors(server, clients)
    good = f"Bearer {jwt()}"
    for shown in ([], [good, good], [f"Basic {SHARED}"], *([f"Bearer {token}"] for token in bad_tokens().values())):
        encoded = [value.encode() for value in shown]
        # The library takes no other characters in metadata, though the wire does.
        if all(value.isascii() for value in encoded):
            code, details, trailers = await doors.grpc(*shown)
            assert (code, details, trailers["signaling-disconnect"]) == ("UNAUTHENTICATED", REFUSED, "unauthenticated")
        # And none at all are taken of a header by its own client.
        status, body, headers = await doors.websocket(*(value.decode("latin-1") for value in encoded))
        assert (status, body) == (401, REFUSED), shown
        assert headers["WWW-Authenticate"] == "Bearer"
    metrics = server.metrics()
    assert [metrics[f'sigbridge_sessions{{protocol="{name}"}}'] for name in ("grpc", "websocket")] == [0, 0]
    assert metrics['sigbridge_refusals_total{protocol="websocket",reason="unauthenticated"}'] == 19
    assert not server.said("session started")
    # Each of them has a reason in the log.
    assert server.said("client refused")


async def test_each_source_says_who_somebody_is(serve, engine, sources, clients):
    server = serve(**sources, **engine)
    for token, mine, other in (
        (jwt(), "alice:2", "bob"),
        ("of-bob", "bob", "alice"),
        (jwt("RS256", "two", sub="c"), "c", "d"),
    ):
        over_grpc = await clients.grpc(server.grpc, token=token)
        refused = await over_grpc.error_of(announce={"peer_id": other})
        assert refused["message"] == f"Peer ID mismatch: these credentials may not announce {other}"
        over_websocket = await clients.websocket(server.ws, token=token)
        assert await over_websocket.error_of("announce", peer_id=other) == refused
        assert "ack" in await over_grpc.ask(announce={"peer_id": mine})
    session = await clients.websocket(server.ws, token=SHARED)
    assert "result" in await session.ask("announce", peer_id="anybody")


async def test_one_device_with_an_old_token_in_a_loop_shuts_out_nobody_at_its_address(serve, engine, sources, clients):
    server = serve(**sources, **engine, GRPC_JSON_LOGGING="true")
    doors = Doors(server, clients)
    alice = await clients.websocket(server.ws, token=jwt())
    assert "result" in await alice.ask("announce", peer_id="alice")
    old = jwt(exp=time.time() - 600)
    for _ in range(30):
        assert await doors.both(old) == NOBODY
    for token in (jwt(sub="new"), SHARED, "of-bob"):
        assert await doors.both(token) == LET_IN
    # A fleet of them, and one that guesses besides.
    for number in range(MAX_WRONG):
        await doors.both(f"wrong-{number}")
    for _ in range(100):
        assert await doors.both(old) == THROTTLED
    for token in (jwt(sub="new-2"), SHARED, "of-bob"):
        assert await doors.both(token) == LET_IN
    bob = await clients.grpc(server.grpc, token=jwt(sub="bob"))
    assert "ack" in await bob.ask(announce={"peer_id": "bob"})
    assert "ack" in await bob.ask(offer={"to_peer_id": "alice", "sdp": "v=0"})
    while (await alice.next()).get("method") != "offer":
        pass
    assert (await asyncio.to_thread(server.page, "/readyz"))[0] == 200
    metrics = server.metrics()
    throttled = [
        metrics[f'sigbridge_refusals_total{{protocol="{name}",reason="throttled"}}'] for name in ("grpc", "websocket")
    ]
    assert min(throttled) >= 100
    # A loop fills no disk.
    await asyncio.to_thread(server.stop)
    assert len([line for line in server.log() if line["event"] == "client refused"]) < 60


async def test_who_is_throttled_is_told_how_long(serve, engine, clients):
    server = serve(GRPC_AUTH_TOKENS=SHARED, **engine)
    doors = Doors(server, clients)
    for number in range(MAX_WRONG // 2):
        assert await doors.both(f"wrong-{number}") == NOBODY
    # Both protocols have shown ten, which are the same.
    for number in range(MAX_WRONG // 2, MAX_WRONG):
        assert await doors.both(f"wrong-{number}") == NOBODY
    code, details, trailers = await doors.grpc("Bearer one-more")
    assert (code, trailers["signaling-disconnect"]) == ("RESOURCE_EXHAUSTED", "throttled")
    assert details.startswith("Too many wrong tokens from this address: try again in ")
    status, body, headers = await doors.websocket("Bearer one-more")
    assert status == 429
    assert body.startswith("Too many wrong tokens from this address: try again in ")
    assert 1 <= int(headers["Retry-After"]) <= 61
    assert (await doors.grpc())[0] == "RESOURCE_EXHAUSTED", "who shows none is not let in either"
    assert await doors.both(SHARED) == LET_IN


async def test_a_session_may_be_let_in_and_guess_no_more_than_others(serve, engine, sources, clients):
    server = serve(**sources, **engine)
    over_grpc = await clients.grpc(server.grpc, token=jwt())
    over_websocket = await clients.websocket(server.ws, token=jwt())
    for number in range(MAX_WRONG):
        refused = await over_grpc.error_of(authenticate={"token": f"wrong-{number}"})
        assert refused == {"message": REFUSED, "data": {"code": 16, "status": "UNAUTHENTICATED"}}
        assert await over_websocket.error_of("authenticate", token=f"wrong-{number}") == refused
    for refused in (
        await over_grpc.error_of(authenticate={"token": "wrong"}),
        await over_websocket.error_of("authenticate", token="wrong"),
    ):
        assert refused["data"]["status"] == "RESOURCE_EXHAUSTED"
        assert refused["data"]["retry_after_ms"] >= 1
    # The sessions go on, and a good token is good.
    assert "result" in await over_websocket.ask("authenticate", token=jwt(exp=time.time() + 7200))
    assert "ack" in await over_grpc.ask(announce={"peer_id": "alice"})


async def test_where_no_token_proves_anything_each_is_acknowledged(serve, engine, clients):
    server = serve(**engine, SIGNALING_ANONYMOUS_PEER_IDS="guest-*")
    over_grpc = await clients.grpc(server.grpc, token="whatever")
    over_websocket = await clients.websocket(server.ws, token="whatever")
    assert "Peer ID mismatch" in (await over_grpc.error_of(announce={"peer_id": "alice"}))["message"]
    assert "ack" in await over_grpc.ask(announce={"peer_id": "guest-1"})
    assert "result" in await over_websocket.ask("announce", peer_id="guest-2")
    for _ in range(2):
        assert "error" not in await over_grpc.ask(authenticate={"token": "whatever"})
        assert "result" in await over_websocket.ask("authenticate", token="whatever")


async def test_those_who_are_not_asked_may_show_a_token_all_the_same(serve, engine, sources, clients):
    server = serve(
        **sources,
        **engine,
        GRPC_REQUIRE_AUTH="false",
        SIGNALING_ANONYMOUS_RIGHTS="list",
        SIGNALING_ANONYMOUS_ROOMS="lobby",
    )
    doors = Doors(server, clients)
    assert await doors.both("wrong") == NOBODY
    nobody = await clients.websocket(server.ws)
    assert (await nobody.error_of("announce", peer_id="x", room="lobby"))["message"] == "Right missing: announce"
    assert "result" in await nobody.ask("list_peers", room="lobby")
    assert "Room mismatch" in (await nobody.error_of("list_peers"))["message"]
    over_grpc = await clients.grpc(server.grpc)
    assert (await over_grpc.error_of(announce={"peer_id": "x"}))["message"] == "Right missing: announce"
    somebody = await clients.grpc(server.grpc, token=jwt())
    assert "ack" in await somebody.ask(announce={"peer_id": "alice"})


# Files that change.


async def test_a_key_that_comes_is_found_by_the_token_that_asks_for_it(serve, engine, sources, clients, tmp_path):
    server = serve(**sources, **engine)
    doors = Doors(server, clients)
    assert await doors.both(jwt("ES384", "three")) == NOBODY
    jwks_file(tmp_path, signer("ES384").jwk(kid="three"))
    # Whoever asks first waits until the file was looked at, and is let in.
    assert await doors.both(jwt("ES384", "three")) == LET_IN
    assert await doors.both(jwt()) == NOBODY


async def test_an_entry_that_is_gone_ends_its_sessions_and_no_others(serve, engine, sources, clients, tmp_path):
    server = serve(**sources, **engine)
    bob = await clients.grpc(server.grpc, token="of-bob")
    assert "ack" in await bob.ask(announce={"peer_id": "bob"})
    bob_too = await clients.websocket(server.ws, token="of-bob")
    alice = await clients.websocket(server.ws, token=jwt())
    assert "result" in await alice.ask("announce", peer_id="alice")
    # What is no good changes nothing, and no line says what it holds.
    (tmp_path / "tokens").write_text('{"token": "canary-1"\n')
    await asyncio.to_thread(wait_until, lambda: server.said("files are not read again"), "the complaint")
    assert "ack" in await bob.ask(offer={"to_peer_id": "alice", "sdp": "v=0"})
    (tmp_path / "tokens").write_text("# nobody\n")
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await bob.call.read() is not grpc.aio.EOF:
                pass
        assert await bob.call.code() is grpc.StatusCode.PERMISSION_DENIED
        await bob_too.connection.wait_closed()
    assert (bob_too.connection.close_code, bob_too.connection.close_reason) == (4501, "revoked")
    assert "result" in await alice.ask("list_peers")
    assert await Doors(server, clients).both("of-bob") == NOBODY
    assert not server.said("canary")


# Certificates.


@pytest.fixture
def mutual(tls_settings, authority):
    """The settings of a server that asks every client for a certificate."""
    return {**tls_settings, "SIGNALING_TLS_CLIENT_CA_FILE": authority.file}


class WithCertificate:
    """Sessions of clients with a certificate."""

    def __init__(self, server, clients, authority):
        self._server, self._clients, self._authority = server, clients, authority

    async def grpc(self, files, token=""):
        return await self._clients.grpc(self._server.grpc, token=token, credentials=self._credentials(*files))

    def _credentials(self, certificate, key):
        return grpc.ssl_channel_credentials(self._authority.pem, Path(key).read_bytes(), Path(certificate).read_bytes())

    async def websocket(self, files, token=""):
        context = ssl.create_default_context(cafile=self._authority.file)
        context.load_cert_chain(*files)
        return await self._clients.websocket(self._server.ws, scheme="wss", ssl=context, token=token)


async def test_a_certificate_may_be_enough_and_its_subject_the_only_peer_id(
    serve, engine, sources, mutual, authority, clients
):
    server = serve(
        **sources, **engine, **mutual, SIGNALING_CERTIFICATE_IS_ENOUGH="true", SIGNALING_TLS_SUBJECT_PEER_ID="true"
    )
    alice = authority.issue("alice")
    sessions = WithCertificate(server, clients, authority)
    over_grpc, over_websocket = await sessions.grpc(alice), await sessions.websocket(alice)
    for other in ("alice:2", "bob"):
        assert "Peer ID mismatch" in (await over_grpc.error_of(announce={"peer_id": other}))["message"]
        assert "Peer ID mismatch" in (await over_websocket.error_of("announce", peer_id=other))["message"]
    # A token names somebody else, and the certificate's peer id holds all the same.
    bob = await sessions.websocket(alice, "of-bob")
    assert "Peer ID mismatch" in (await bob.error_of("announce", peer_id="bob"))["message"]
    assert "Peer ID mismatch" in (await bob.error_of("announce", peer_id="alice"))["message"]
    assert "ack" in await over_grpc.ask(announce={"peer_id": "alice"})
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await sessions.websocket(alice, "wrong")


async def test_else_a_certificate_and_a_token_are_both_needed(serve, engine, sources, mutual, authority, clients):
    server = serve(**sources, **engine, **mutual)
    alice = authority.issue("alice")
    sessions = WithCertificate(server, clients, authority)
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await sessions.websocket(alice)
    refused = await sessions.grpc(alice)
    assert await refused.call.code() is grpc.StatusCode.UNAUTHENTICATED
    for token, mine in (("of-bob", "bob"), (SHARED, "whoever")):
        session = await sessions.grpc(alice, token)
        assert "ack" in await session.ask(announce={"peer_id": mine})


# Starts.


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SIGNALING_TOKENS_FILE": "/nowhere/tokens"}, "SIGNALING_TOKENS_FILE is '/nowhere/tokens': cannot be read"),
        ({"SIGNALING_TLS_SUBJECT_PEER_ID": "true"}, "SIGNALING_TLS_CLIENT_CA_FILE is empty: "),
        ({"SIGNALING_JWT_AUDIENCE": "signaling"}, "SIGNALING_JWT_AUDIENCE is set without keys of JWTs: "),
    ],
)
def test_what_cannot_work_refuses_the_start(settings, said, serve):
    server = serve(wait=False, **settings)
    assert server.wait() == 1
    (line,) = server.stderr
    assert line.startswith(f"sigbridge: {said}")


def test_a_start_says_what_lets_in_more_than_somebody_may_have_meant(serve, sources):
    opened = serve(SIGNALING_ANONYMOUS_RIGHTS="list", GRPC_BIND_ADDRESS="0.0.0.0:0", WS_BIND_ADDRESS="0.0.0.0:0")
    opened.stop()
    assert not opened.said("anybody who reaches this address"), "what they may do was thought of"
    for name in ("SIGNALING_JWT_ISSUER", "SIGNALING_JWT_AUDIENCE"):
        server = serve(**{key: value for key, value in sources.items() if key != name})
        server.stop()
        (line,) = server.said("JWTs signed for other services are accepted")
        assert name in line
    server = serve(**sources)
    server.stop()
    assert not server.said("WARN")
