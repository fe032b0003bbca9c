"""Errors that a client raises where TLS and its absence do not meet, at servers of both engines and at others."""

import asyncio
import contextlib

import pytest

from certificates import Authority
from processes import clean_environment, said_by, sigbridge
from served import servers
from sigbridge import ConnectionClosed
from sigbridge_client import connect
from sigbridge_grpc.client import get_peers
from sigbridge_net import reaching
from sigbridge_net.reaching import tls_hint, unix_path
from stream_server import serving
from waiting import TIME_LIMIT_SECONDS

ENDLESS = 1000.0
"""Time limit of a server that is to play no part: what fails is told at once."""


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However long the look at a server takes, it is waited for."""
    monkeypatch.setattr(reaching, "LOOK_SECONDS", TIME_LIMIT_SECONDS)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issue("localhost")
    return authority


@pytest.fixture(params=["native", "grpcio"])
async def start(request, authority, tmp_path):
    """Starts a server of either engine, with TLS or without, at ports and unix sockets."""
    folder = authority.folder
    files = {"tls_cert_file": str(folder / "localhost.pem"), "tls_key_file": str(folder / "localhost.key.pem")}
    async with servers() as start_server, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield lambda *, tls: start_server(
            grpc_engine=request.param,
            grpc_bind_address=f"127.0.0.1:0,unix:{tmp_path}/grpc",
            ws_bind_address=f"127.0.0.1:0,unix:{tmp_path}/ws",
            handshake_timeout_seconds=ENDLESS,
            **(files if tls else {}),
        )


def urls(server, *, tls):
    """The URLs of a server by which TLS is spoken or not."""
    s = "s" if tls else ""
    for scheme, addresses in (("grpc", server.addresses["grpc"]), ("ws", server.addresses["ws"])):
        for address in addresses:
            joint = "+" if address.startswith("unix:") else "://"
            yield f"{scheme}{s}{joint}{address}"


@pytest.mark.parametrize("tls", [False, True])
async def test_the_right_scheme_reaches_a_port_and_a_unix_socket(start, authority, tls):
    for url in urls(await start(tls=tls), tls=tls):
        async with await connect(url, root_certificates=authority.pem) as client:
            await client.announce("alice")


@pytest.mark.parametrize("tls", [False, True])
async def test_the_wrong_scheme_is_told_at_once_with_the_one_that_was_meant(start, authority, tls):
    server = await start(tls=tls)
    for wrong, right in zip(urls(server, tls=not tls), urls(server, tls=tls), strict=True):
        with pytest.raises(ConnectionClosed) as closed:
            await connect(wrong, root_certificates=authority.pem)
        base = right.partition(":")[0]
        meant = f"{base}:{'' if '+' in base else '//'}"
        does = "speaks TLS" if tls else "speaks no TLS"
        assert closed.value.reason.endswith(f": the server {does} there; {meant} was probably meant"), wrong
        assert closed.value.reconnect is False
    assert server.hub.session_count == 0


@pytest.mark.parametrize("tls", [False, True])
async def test_a_question_without_a_session_says_it_too(start, authority, tls):
    server = await start(tls=tls)
    with pytest.raises(ConnectionClosed, match=rf"grpc{'s' * tls}:// was probably meant"):
        await get_peers(server.addresses["grpc"][0], secure=not tls, access=access_of(authority))


def access_of(authority):
    from sigbridge_net.access import Access

    return Access(root_certificates=authority.pem)


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
async def test_the_command_says_it_in_one_line(start, scheme):
    server = await start(tls=False)
    address = server.addresses[scheme][0]
    async with sigbridge("peers", f"{scheme}s://{address}", env=clean_environment()) as started:
        code, out, errors = await said_by(started)
    assert (code, out) == (1, "")
    # The library of gRPC may say something by itself before.
    assert errors.splitlines()[-1].endswith(f"the server speaks no TLS there; {scheme}:// was probably meant")
    assert errors.splitlines()[-1].startswith("sigbridge: connection closed: cannot connect to ")


async def test_the_command_reaches_a_unix_socket(start, tmp_path):
    await start(tls=False)
    for scheme in ("grpc", "ws"):
        async with sigbridge("peers", f"{scheme}+unix:{tmp_path}/{scheme}", env=clean_environment()) as started:
            assert await said_by(started) == (0, "", "")


# Servers of others.


@contextlib.asynccontextmanager
async def answering(response):
    """A server that answers the first bytes of whoever connects, and closes."""

    async def handle(reader, writer):
        await reader.read(1)
        writer.write(response)

    async with serving(handle) as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("response", "secure", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "the server speaks no TLS there; ws:// was probably meant"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, ""),
        (b"\x15\x03\x01\0\x02\x02\x46", False, "the server speaks TLS there; wss:// was probably meant"),
        (b"\x15\x03\x01\0\x02\x02\x46", True, ""),
        (b"", True, ""),
        (b"", False, ""),
    ],
)
async def test_what_a_server_answers_to_tls_tells(response, secure, says):
    async with answering(response) as target:
        assert await tls_hint("wss" if secure else "ws", target, secure=secure) == says


@pytest.mark.parametrize("target", ["127.0.0.1:1", "no.such.host.invalid:1", "127.0.0.1", "unix:/no/such/socket"])
async def test_who_is_not_there_gives_no_hint(target):
    assert await tls_hint("ws", target, secure=False) == ""


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
async def test_a_server_that_refuses_for_another_reason_is_cited(scheme):
    async with answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as target:
        with pytest.raises(ConnectionClosed) as closed:
            await connect(f"{scheme}://{target}")
    assert "probably meant" not in closed.value.reason
    assert "400" in closed.value.reason


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ws+unix:/run/a.sock", "/run/a.sock"),
        ("grpc+unix:///run/a.sock", "/run/a.sock"),
        ("grpc+unix:/run/a%20b", "/run/a b"),
        ("ws://host/run/a.sock", ""),
    ],
)
def test_the_path_of_a_unix_socket(url, path):
    assert unix_path(url) == path
