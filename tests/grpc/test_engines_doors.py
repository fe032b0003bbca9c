"""Refusals and look-ups at the doors of a whole server: the same on both protocols and with both engines."""

import asyncio
import http.client
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from certificates import Authority
from jwts import jwks_file, signer
from later import ALICE, Later
from sigbridge import Code, ConnectionClosed, Instant, SignalingError, errors
from sigbridge.auth import Credentials, Identity
from sigbridge.messages import Authenticate
from sigbridge.pending import Pending
from sigbridge_auth.authenticators import CROWDED_WAIT_MS, MAX_WAITING_OF_ADDRESS
from sigbridge_client import connect
from sigbridge_grpc.client import get_peers
from sigbridge_grpc.framing import framed
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from waiting import until

Start = Callable[..., Awaitable[Any]]
GET_PEERS = f"/{SERVICE_NAME}/GetPeers"

REFUSALS = [
    errors.unauthenticated(),
    errors.throttled(1500),
    errors.held_off(4001),
    errors.server_draining(),
    errors.too_many_sessions("SIGNALING_MAX_SESSIONS_PER_IDENTITY", 1),
    errors.out_of_memory(100),
]


class Refusing:
    """Lets nobody in, for a reason."""

    def __init__(self, error: SignalingError) -> None:
        self.error = error

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        raise self.error


def urls(served: Any) -> list[str]:
    return [f"grpc://127.0.0.1:{served.server.grpc_port}", f"ws://127.0.0.1:{served.server.websocket_port}"]


async def closed_by(url: str, **how: Any) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as refused:
        await connect(url, **how)
    return refused.value


def web_answer(served: Any, *headers: tuple[str, str]) -> dict[str, str]:
    """The trailers of a gRPC-Web call of `GetPeers`; the call blocks its thread."""
    connection = http.client.HTTPConnection("127.0.0.1", served.server.websocket_port, timeout=60)
    connection.request("POST", GET_PEERS, framed(b""), {"content-type": "application/grpc-web", **dict(headers)})
    body = connection.getresponse().read()
    connection.close()
    trailers = body[body.rindex(b"grpc-status") :].decode()
    return dict(line.split(": ", 1) for line in trailers.split("\r\n") if line)


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.word)
async def test_a_refusal_says_the_same_everywhere(start: Start, error: SignalingError) -> None:
    served = await start(authenticator=Refusing(error))
    advice = error.word != "unauthenticated"
    for url in urls(served):
        closed = await closed_by(url)
        assert (closed.reason, closed.reconnect) == (error.word, advice)
        assert closed.retry_after_ms == error.retry_after_ms
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(GET_PEERS)
    code: Any = refused.value.code().value
    assert (code[0], refused.value.details()) == (int(error.code), error.message)
    trailers = dict(refused.value.trailing_metadata() or ())
    expected = {"signaling-disconnect": error.word, "signaling-reconnect": "yes" if advice else "no"}
    if error.retry_after_ms is not None:
        expected["signaling-retry-after-ms"] = str(error.retry_after_ms)
    assert trailers == expected
    web = await asyncio.to_thread(web_answer, served)
    assert expected.items() <= web.items()
    assert web["grpc-status"] == str(int(error.code))


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.word)
async def test_a_refusal_leaves_one_line_of_one_shape_at_every_door(
    start: Start, error: SignalingError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="sigbridge")
    served = await start(authenticator=Refusing(error))
    for url in urls(served):
        await closed_by(url)
    with pytest.raises(grpc.aio.AioRpcError):
        await served.unary(GET_PEERS)
    await asyncio.to_thread(web_answer, served)
    lines = [vars(record) for record in caplog.records if record.getMessage() == "client refused"]
    assert [(line["protocol"], line["remote"], line["reason"]) for line in lines] == [
        (protocol, "127.0.0.1", error.word) for protocol in ("grpc", "websocket", "grpc", "grpc")
    ]
    assert {line["name"] for line in lines} == {"sigbridge.door"}
    assert {line["detail"] for line in lines} == {str(error.extra.get("limit", ""))}
    refusals = served.hub.counters.refusals
    assert (refusals["grpc", error.word], refusals["websocket", error.word]) == (3, 1)


async def test_what_the_hub_and_the_carrier_refuse_leaves_lines_too(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A full server, one short of memory, one that drains; a page of a foreign origin on both protocols."""
    caplog.set_level("INFO", logger="sigbridge")
    served = await start(max_sessions=1, allowed_origins=("https://a.example",))
    first, second = urls(served)
    async with await connect(first):
        for url in (first, second):
            await closed_by(url)
        served.hub.degraded = True
        for url in (first, second):
            await closed_by(url)
        served.hub.degraded = False
        served.hub.leave()
        for url in (first, second):
            await closed_by(url)
    connection = http.client.HTTPConnection("127.0.0.1", served.server.websocket_port, timeout=60)
    headers = {"content-type": "application/grpc-web", "origin": "https://b.example"}
    for method in ("OPTIONS", "POST"):
        await asyncio.to_thread(connection.request, method, GET_PEERS, framed(b""), headers)
        (await asyncio.to_thread(connection.getresponse)).read()
    connection.close()
    lines = [vars(record) for record in caplog.records if record.getMessage() == "client refused"]
    assert [(line["protocol"], line["reason"], line["detail"]) for line in lines] == [
        *((protocol, "sessions", "SIGNALING_MAX_SESSIONS") for protocol in ("grpc", "websocket")),
        *((protocol, "memory", "GRPC_MAX_MEMORY_MB") for protocol in ("grpc", "websocket")),
        *((protocol, "draining", "") for protocol in ("grpc", "websocket")),
        *[("grpc", "origin", "https://b.example")] * 2,
    ]
    assert {line["remote"] for line in lines} == {"127.0.0.1"}
    assert [line["levelname"] for line in lines] == [*["WARNING"] * 4, *["INFO"] * 4]


async def test_a_full_server_says_the_same_everywhere(start: Start) -> None:
    served = await start(max_sessions=1)
    first, second = urls(served)
    async with await connect(first):
        for url in (first, second):
            closed = await closed_by(url)
            assert (closed.reason, closed.reconnect) == ("sessions", True)


async def test_a_unary_call_over_a_limit_says_when_to_come_back(start: Start) -> None:
    served = await start(rate_per_second=0.001, rate_burst=1)
    await served.unary(GET_PEERS)
    with pytest.raises(SignalingError) as refused:
        await get_peers(served.target)
    assert refused.value.retry_after_ms is not None
    with pytest.raises(grpc.aio.AioRpcError) as raw:
        await served.unary(GET_PEERS)
    assert int(str(dict(raw.value.trailing_metadata() or ())["signaling-retry-after-ms"])) > 1000


async def test_whoever_is_looked_up_waits_on_both_protocols(start: Start) -> None:
    door = Later()
    served = await start(authenticator=door)
    waiting = [asyncio.ensure_future(connect(url, token="t")) for url in urls(served)]
    unary = asyncio.ensure_future(served.unary(GET_PEERS))
    web = asyncio.ensure_future(asyncio.to_thread(web_answer, served))
    await until(lambda: len(door.waiting) == 4)
    assert {shown.address for shown in door.shown} == {"127.0.0.1"}
    assert served.hub.session_count == 0
    door.decide(ALICE, read_clock())
    for client in await asyncio.gather(*waiting):
        async with client:
            assert await client.announce(f"peer-{id(client)}")
    assert (await unary, (await web)["grpc-status"]) == (b"", "0")
    assert all(
        session.authenticator.__class__.__name__ == "RefusalCounter" for session in served.hub._sessions.values()
    )


async def test_who_is_refused_later_counts_as_refused(start: Start) -> None:
    door = Later()
    served = await start(authenticator=door)
    waiting = [asyncio.ensure_future(closed_by(url)) for url in urls(served)]
    await until(lambda: len(door.waiting) == 2)
    door.decide(errors.throttled(700), read_clock())
    for closed in await asyncio.gather(*waiting):
        assert (closed.reason, closed.retry_after_ms) == ("throttled", 700)
    for protocol in ("grpc", "websocket"):
        assert served.hub.counters.refusals[protocol, "throttled"] == 1


# Files.


def swap(new: str, old: str | Path) -> None:
    """Puts a copy of a file in the place of another, as a whole."""
    Path(shutil.copy(new, f"{old}.new")).replace(old)


async def test_a_token_whose_key_comes_later_is_let_in(start: Start, tmp_path: Path) -> None:
    """The request that asks for an unknown key waits for the next look at the file."""
    old, new = signer("ES256", 1), signer("ES256", 2)
    files = jwks_file(tmp_path, old.jwk(kid="old"))
    served = await start(**files)
    claims = {"sub": "alice", "exp": read_clock().unix + 60}
    token = new.token(claims, kid="new")
    jwks_file(tmp_path, old.jwk(kid="old"), new.jwk(kid="new"))
    for client in await asyncio.gather(*(connect(url, token=token) for url in urls(served))):
        async with client:
            await client.announce("alice" if client.__class__.__name__.startswith("Grpc") else "alice:2")
    assert (await asyncio.to_thread(web_answer, served, ("authorization", f"Bearer {token}")))["grpc-status"] == "0"


async def test_a_token_whose_key_does_not_come_is_refused_without_being_a_guess(start: Start, tmp_path: Path) -> None:
    old, new = signer("ES256", 1), signer("ES256", 2)
    served = await start(**jwks_file(tmp_path, old.jwk(kid="old")))
    token = new.token({"sub": "alice", "exp": read_clock().unix + 60}, kid="new")
    for url in urls(served):
        assert (await closed_by(url, token=token)).reason == "unauthenticated"


async def test_who_finds_no_room_to_wait_for_a_key_is_told_to_come_again(start: Start, tmp_path: Path) -> None:
    """A fleet whose keys were changed would be gone for good else, where it comes through one address."""
    old, new = signer("ES256", 1), signer("ES256", 2)
    served = await start(**jwks_file(tmp_path, old.jwk(kid="old")))
    end = read_clock().unix + 3600
    token = new.token({"sub": "alice", "exp": end}, kid="new")
    sessions = [await connect(url, token=old.token({"sub": "alice", "exp": end}, kid="old")) for url in urls(served)]
    for asked in served.server._token_authenticators:
        asked.look_again = Pending
        for number in range(MAX_WAITING_OF_ADDRESS):
            shown = new.token({"sub": f"s{number}", "exp": end}, kid="new")
            asked.authenticate(Credentials(shown, None, "127.0.0.1"), read_clock())
    for url in urls(served):
        closed = await closed_by(url, token=token)
        assert (closed.reason, closed.reconnect, closed.retry_after_ms) == ("throttled", True, CROWDED_WAIT_MS)
    for client in sessions:
        with pytest.raises(SignalingError) as refused:
            await client.call(Authenticate(token))
        assert (refused.value.code, refused.value.retry_after_ms) == (Code.RESOURCE_EXHAUSTED, CROWDED_WAIT_MS)
        assert await client.list_peers() is not None
        await client.close()
    web = await asyncio.to_thread(web_answer, served, ("authorization", f"Bearer {token}"))
    assert (web["signaling-disconnect"], web["signaling-retry-after-ms"]) == ("throttled", f"{CROWDED_WAIT_MS}")


async def test_an_entry_that_is_gone_ends_its_sessions_and_no_others(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    entries = [{"token": name * 8, "subject": name} for name in ("alice", "bob")]
    file.write_text("\n".join(map(json.dumps, entries)))
    served = await start(tokens_file=str(file))
    sessions = {}
    for entry in entries:
        for url in urls(served):
            client = await connect(url, token=entry["token"])
            await client.announce(f"{entry['subject']}-{url[:2]}")
            sessions[entry["subject"], url] = client
    fewer = tmp_path / "fewer"
    fewer.write_text(json.dumps(entries[1]))
    swap(str(fewer), file)
    for (subject, _), client in sessions.items():
        if subject == "alice":
            await until(lambda client=client: client.closed)
            assert (client.closed.reason, client.closed.reconnect) == ("revoked", False)
        else:
            assert client.closed is None
        await client.close()
    assert (await closed_by(urls(served)[0], token=entries[0]["token"])).reason == "unauthenticated"


async def test_certificates_and_authorities_that_are_swapped_count_for_new_connections(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    first, other = Authority(tmp_path, "first"), Authority(tmp_path / "other", "other")
    cert, key = first.issue("server")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(first.pem)
    served = await start(
        tls_cert_file=cert, tls_key_file=key, tls_client_ca_file=str(trusted), close_timeout_seconds=0.5
    )
    secure = [url.replace("://", "s://") for url in urls(served)]

    def access(trusts: Authority, client: Authority) -> dict[str, Any]:
        files = client.issue("device")
        return {"root_certificates": trusts.pem, "certificate_file": files[0], "key_file": files[1]}

    clients = [await connect(url, **access(first, first)) for url in secure]
    for client in clients:
        await client.announce(f"peer-{clients.index(client)}")
    new_cert, new_key = other.issue("server")
    # The key first, as some programs do: until the certificate has come, the old pair counts.
    for new, old in ((new_key, key), (new_cert, cert), (other.file, trusted)):
        swap(new, old)

    async def is_new(url: str) -> bool:
        try:
            async with await connect(url, **access(other, other)):
                return True
        except ConnectionClosed:
            return False

    for url in secure:
        async with asyncio.timeout(60):
            while not await is_new(url):
                await asyncio.sleep(0.02)
        assert (await closed_by(url, **access(other, first))).reconnect in (True, None)
    for client in clients:
        assert client.closed is None
        await client.list_peers()
        await client.close()
