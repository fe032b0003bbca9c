"""The client for web pages, as the ports of clients serve it: where, to whom, and not unless it is set."""

import asyncio
import contextlib

import pytest
import websockets.asyncio.client

from served import servers
from sigbridge import Settings
from sigbridge.settings import SettingError
from sigbridge_net.pages import Page
from sigbridge_server import client_script
from sigbridge_server.client_script import CLIENT_PATHS, FOLDER
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS

ASKED = b"%b HTTP/1.1\r\nHost: x\r\n%b\r\n"


async def asked(port, head=b"GET /sigbridge.js", *headers):
    """The status, the header section and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(ASKED % (head, b"".join(b"%b\r\n" % one for one in (*headers, b"Connection: close"))))
        text = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    section, _, body = text.partition(b"\r\n\r\n")
    return int(section.split(b" ")[1]), section, body


@pytest.fixture
async def start():
    async with asyncio.timeout(TIME_LIMIT_SECONDS), servers() as starting:
        yield starting


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_it_is_served_to_anybody_at_every_port_of_clients_and_not_at_the_operators(start, engine):
    server = await start(
        grpc_engine=engine,
        serve_client=True,
        http_bind_address="127.0.0.1:0",
        auth_tokens=("secret",),
        allowed_origins=("https://page.example",),
    )
    # The library's server knows no pages.
    for port in [server.websocket_port, server.grpc_port] if engine == "native" else [server.websocket_port]:
        for path in CLIENT_PATHS:
            name = path.encode()
            status, section, body = await asked(port, b"GET " + name, b"Origin: https://elsewhere.example")
            assert (status, body) == (200, (FOLDER / path[1:]).read_bytes())
            assert b"access-control-allow-origin: *" in section.lower()
            assert b"content-type: text/javascript; charset=utf-8" in section.lower()
            assert (await asked(port, b"HEAD " + name))[::2] == (200, b"")
            assert (await asked(port, b"PUT " + name))[0] == 405
        for name in (b"/", b"/sigbridge", b"/sigbridge.js/", b"/SIGBRIDGE.JS", b"//sigbridge.js", b"/sigbridge-call"):
            assert (await asked(port, b"GET " + name))[0] == 404
    assert (await asked(server.http_port))[0] == 404


async def test_it_is_not_served_unless_it_is_set(start):
    server = await start()
    for port in (server.websocket_port, server.grpc_port):
        assert (await asked(port))[::2] == (404, b"not found\n")


@pytest.mark.parametrize("path", CLIENT_PATHS)
async def test_who_has_it_is_not_sent_it_again(start, path):
    server = await start(serve_client=True)
    _, section, _ = await asked(server.websocket_port, b"GET " + path.encode())
    (tag,) = [line.partition(b": ")[2] for line in section.split(b"\r\n") if line.lower().startswith(b"etag")]
    status, section, body = await asked(server.websocket_port, b"GET " + path.encode(), b"If-None-Match: %b" % tag)
    assert (status, body) == (304, b"")
    assert b"content-length" not in section.lower()


async def test_a_session_begins_at_its_path_as_at_any(start):
    server = await start(serve_client=True)
    async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{server.websocket_port}/sigbridge.js") as connection:
        await connection.ping()


async def test_one_that_is_missing_is_said_before_anything_listens(monkeypatch, tmp_path):
    (tmp_path / "sigbridge.js").touch()
    monkeypatch.setattr(client_script, "FOLDER", tmp_path)
    with pytest.raises(SettingError, match=r"SIGNALING_SERVE_CLIENT is true, and .*sigbridge-call\.js cannot be read"):
        Server(Settings(serve_client=True))
    Server(Settings())


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("", 200),
        ('"a"', 304),
        ('W/"a"', 304),
        ('"b", "a"', 304),
        ('"b",W/"a"', 304),
        ("*", 304),
        ('"b"', 200),
        ("a", 200),
        ('"A"', 200),
    ],
)
def test_what_is_known_is_not_said_again(said, status):
    page = Page(200, b"text", headers=[("x", "y")], etag='"a"')
    answer = page.unless_known(said)
    assert (answer.status, answer.body) == (status, b"text" * (status == 200))
    assert dict(answer.fields()).items() >= {"etag": '"a"', "cache-control": "no-cache", "x": "y"}.items()


def test_what_has_no_tag_is_always_said():
    page = Page(200, b"text")
    assert page.unless_known("*") is page
    assert ("cache-control", "no-store") in page.fields()
