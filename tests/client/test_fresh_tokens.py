"""A session whose token ends goes on with a fresh one, on both protocols, by the client's own doing."""

import asyncio
import base64
import json
import time
from functools import partial

import pytest

from served import servers
from sigbridge.auth import Identity
from sigbridge.errors import unauthenticated
from sigbridge_client import connect
from sigbridge_net import renewal
from sigbridge_net.renewal import end_of_jwt
from waiting import TIME_LIMIT_SECONDS, until

PROTOCOLS = ["grpc", "websocket"]


def jwt(seconds, *, number):
    """A JWT that ends after so many seconds; `Trusting` looks at nothing else."""
    claims = json.dumps({"exp": time.time() + seconds, "number": number}).encode()
    return f"{number}.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.signature"


class Trusting:
    """Lets Alice in until the end that her token says, or that it knows of an opaque one; a minute of leeway."""

    def __init__(self, **ends):
        self.ends = ends
        self.seen = []

    def authenticate(self, credentials, now):
        token = credentials.token or ""
        self.seen.append(token)
        end = self.ends.get(token) or end_of_jwt(token)
        if end is None:
            raise unauthenticated()
        return Identity("alice", source="jwt", expires_at=end, leeway_seconds=60.0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The jitter of renewals is such that a token of a hundred seconds is replaced at once, whatever the machine does."""
    eager = partial(renewal.Renewal, uniform=lambda least, _: 0.0 if least == 1.0 else 2.0)
    monkeypatch.setattr("sigbridge_net.client_session.Renewal", eager)


@pytest.fixture
async def serve():
    async with servers() as start:
        yield start


def url(server, protocol):
    return f"{protocol if protocol == 'grpc' else 'ws'}://127.0.0.1:" + str(
        server.grpc_port if protocol == "grpc" else server.websocket_port
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_session_shows_a_fresh_token_before_its_old_one_ends(serve, protocol):
    trusting = Trusting()
    server = await serve(authenticator=trusting)
    tokens = [jwt(100, number=1), jwt(1000, number=2)]
    given = iter(tokens)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(url(server, protocol), token=lambda: next(given)) as client:
            await client.announce("alice")
            (session,) = server.hub._sessions.values()
            before = trusting.seen[:]
            await until(lambda: trusting.seen[-1] == tokens[1])
            assert before[:1] == tokens[:1]
            await until(lambda: session.identity.expires_at > time.time() + 500)
            assert session.end_reason is None
            # Its reply comes behind that of `authenticate`. Calls outside of the session show the fresh token then, too.
            await client.list_peers()
            await client.health()
            assert trusting.seen == [*tokens, *([tokens[1]] if protocol == "grpc" else [])]
            assert client.closed is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_end_of_an_opaque_token_is_learned_from_the_server(serve, protocol):
    now = time.time()
    trusting = Trusting(first=now + 100, second=now + 1000)
    server = await serve(authenticator=trusting)
    given = iter(("first", "second"))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(url(server, protocol), token=lambda: next(given)) as client:
            await client.announce("alice")
            await until(lambda: trusting.seen == ["first", "first", "second"])
            assert (await client.list_peers()).count == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_program_may_show_a_token_itself(serve, protocol):
    trusting = Trusting(first=time.time() + 500, second=time.time() + 1000)
    server = await serve(authenticator=trusting)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async with await connect(url(server, protocol), token="first") as client:
            authenticated = await client.authenticate("second")
            assert (authenticated.subject, authenticated.expires_at) == ("alice", int(trusting.ends["second"]))
