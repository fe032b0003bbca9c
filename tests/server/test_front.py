"""One address for everything: which protocol a connection speaks is told by its first bytes, however they come."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import NOW
from free_ports import free_port
from served import servers
from sigbridge import Instant, SettingError, Settings
from sigbridge_client import connect
from sigbridge_http.wire import MAX_HEADER_BYTES, http_wires
from sigbridge_net.pages import Site
from sigbridge_net.wire import Client
from sigbridge_server.front import HTTP2_PREFACE, FrontWire, asks_for_websocket, front_wires
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS, until

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PAGE = b"GET /healthz HTTP/1.1\r\nHost: server\r\n\r\n"


class Chosen:
    """Stands for the wire of a protocol, and remembers what it was given."""

    foreign: bytes | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = b""
        self.due = NOW.monotonic + 99
        self.finished = self.aborted = False
        self.told: list[str] = []

    def receive(self, data: bytes, now: Instant) -> None:
        self.seen += data

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        return [self.name.encode()]

    def reading(self) -> bool:
        return False

    def __getattr__(self, word: str) -> Any:
        return lambda *_: self.told.append(word)


class Doors:
    """The front of one connection, and what it chose."""

    def __init__(self, *, native: bool = True, tls: bool = False, pages: Any = None) -> None:
        self.made: list[Chosen] = []
        self.woken = 0

        def factory(name: str) -> Any:
            def make(client: Client, wake: object, now: Instant) -> Chosen:
                self.made.append(Chosen(name))
                return self.made[-1]

            return make

        front = front_wires(
            Settings(),
            grpc=factory("grpc") if native else None,
            websocket=factory("websocket"),
            pages=pages or http_wires(Site({}), Settings(), is_foreign=asks_for_websocket),
        )
        wire = front(None if tls else factory("tls"))(Client("192.0.2.1"), self._wake, NOW)
        assert isinstance(wire, FrontWire)
        self.wire = wire

    def _wake(self) -> None:
        self.woken += 1

    def pump(self) -> bytes:
        """Takes all that there is to say until a wire takes over."""
        said, woken = b"", -1
        while self.wire.successor is None and woken != self.woken:
            woken = self.woken
            while self.wire.successor is None and (output := self.wire.take_output(65536, NOW)):
                said += b"".join(output)
        return said

    def choice(self, *pieces: bytes) -> str | None:
        for piece in pieces:
            self.wire.receive(piece, NOW)
        assert len(self.made) <= 1
        if not self.made:
            return None if self.wire._wire is None else "pages"
        assert self.made[0].seen == b"".join(pieces)
        assert self.wire.successor is self.made[0]
        return self.made[0].name


FIRST_BYTES = [
    (HTTP2_PREFACE + b"rest", "grpc"),
    (UPGRADE, "websocket"),
    (UPGRADE + b"\x81\x80abcd", "websocket"),
    (PAGE, "pages"),
    (PAGE + b"more", "pages"),
    (PAGE + UPGRADE, "pages"),
    (PAGE.replace(b"/healthz", b"/healthz?x=1"), "pages"),
    (PAGE.replace(b"/healthz", b"/other"), "pages"),
    (PAGE.replace(b"GET", b"POST"), "pages"),
    (PAGE.replace(b"\r\n\r\n", b"\r\nX-Upgrade: websocket\r\n\r\n"), "pages"),
    (PAGE.replace(b"\r\n\r\n", b"\r\nX: \r\n upgrade: websocket\r\n\r\n"), "pages"),
    (PAGE + b"\r\nUpgrade: websocket\r\n\r\n", "pages"),
    (UPGRADE.replace(b"/ws", b"/healthz"), "websocket"),
    (UPGRADE.replace(b"/ws", b"/healthz").replace(b"Upgrade:", b"uPGRADE:"), "websocket"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade:WebSocket"), "websocket"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c, websocket"), "websocket"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c\r\nUpgrade: websocket"), "websocket"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: websocket/13"), "websocket"),
    (UPGRADE.replace(b"GET", b"POST"), "websocket"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), "pages"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: websockets"), "pages"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade:"), "pages"),
    (UPGRADE.replace(b"Upgrade: websocket\r\n", b""), "pages"),
    (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade : websocket"), "pages"),
    (UPGRADE.replace(b"\r\n", b"\n"), "pages"),
    (b"PRI * HTTP/2.0\r\n\r\nXX", "pages"),
    (b"PRIVATE", "pages"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
    (b"\x15\x03\x01\x02\x00" + b"x" * MAX_HEADER_BYTES, "pages"),
    (b"\r\n\r\n", "pages"),
    (b"GET / HTTP/1.1\r\n" + b"a" * MAX_HEADER_BYTES, "pages"),
    (b"", None),
]


@pytest.mark.parametrize(("data", "expected"), FIRST_BYTES)
def test_first_bytes_at_once_and_one_by_one(data: bytes, expected: str | None) -> None:
    if data:
        assert Doors().choice(data) == expected
    assert Doors().choice(*(data[at : at + 1] for at in range(len(data)))) == expected


@given(st.sampled_from(FIRST_BYTES), st.lists(st.integers(1, 40), max_size=30))
def test_first_bytes_in_every_split(case: tuple[bytes, str | None], cuts: list[int]) -> None:
    data, expected = case
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    assert Doors().choice(*filter(None, (*pieces, data))) == expected


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_never_taken_for_grpc(data: bytes) -> None:
    doors = Doors()
    doors.choice(data)
    if doors.made and doors.made[0].name == "grpc":
        assert data.startswith(HTTP2_PREFACE)


def test_the_first_byte_of_tls_is_enough_where_the_port_has_none() -> None:
    assert Doors().choice(b"\x16") == "tls"
    assert Doors(native=False).choice(b"\x16\x03\x01") == "tls"
    assert Doors(tls=True).choice(b"\x16\x03\x01\x02\x00") == "pages"


def test_without_the_native_engine_http2_is_refused_as_any_other_version() -> None:
    doors = Doors(native=False)
    assert doors.choice(HTTP2_PREFACE) == "pages"
    assert doors.pump().startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("first", [b"PRI", b"GET / HTTP/1.1\r\nX"])
def test_who_says_too_little_is_dropped_in_time(first: bytes) -> None:
    doors = Doors()
    doors.wire.receive(first, NOW)
    assert doors.wire.due == NOW.monotonic + Settings().handshake_timeout_seconds
    assert (doors.wire.reading(), doors.wire.take_output(100, NOW)) == (True, [])
    doors.wire.connection_lost(NOW)
    doors.wire.expire(NOW)
    assert doors.wire.aborted


@pytest.mark.parametrize("how", ["drain", "receive_eof"])
def test_an_undecided_connection_ends_and_stays_ended(how: str) -> None:
    doors = Doors()
    doors.wire.receive(HTTP2_PREFACE[:5], NOW)
    getattr(doors.wire, how)(NOW)
    assert doors.wire.finished
    doors.wire.receive(HTTP2_PREFACE[5:], NOW)
    assert (doors.wire.finished, doors.made) == (True, [])


def test_what_happens_before_a_page_is_answered_is_its_wires() -> None:
    wire = Chosen("pages")
    doors = Doors(pages=lambda client, wake, now: wire)
    doors.wire.receive(PAGE, NOW)
    for word in ("expire", "drain", "receive_eof", "connection_lost"):
        getattr(doors.wire, word)(NOW)
    assert wire.told == ["expire", "drain", "receive_eof", "connection_lost"]
    wire.finished = wire.aborted = True
    assert (doors.wire.due, doors.wire.finished, doors.wire.aborted) == (wire.due, True, True)
    assert (doors.wire.take_output(1, NOW), doors.wire.reading()) == ([b"pages"], False)
    assert doors.wire.successor is None


# Each request anew.

ONES = [
    PAGE,
    PAGE.replace(b"/healthz", b"/nothing"),
    PAGE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"),
]


@given(
    st.lists(st.sampled_from(ONES), min_size=1, max_size=4),
    st.sampled_from([UPGRADE, UPGRADE + b"\x81\x80abcd"]),
    st.lists(st.integers(1, 60), max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_a_handshake_behind_other_requests_is_websockets(
    before: list[bytes], upgrade: bytes, cuts: list[int], waits: bool, ends: bool
) -> None:
    doors = Doors()
    data = b"".join(before) + upgrade
    said = b""
    while data:
        cut = cuts.pop() if cuts else len(data)
        if doors.wire.successor is None:
            doors.wire.receive(data[:cut], NOW)
        else:
            doors.wire.successor.receive(data[:cut], NOW)
        data = data[cut:]
        if waits:
            said += doors.pump()
    if ends:
        doors.wire.receive_eof(NOW)
    said += doors.pump()
    assert said.count(b"HTTP/1.1 404 ") == len(before)
    (websocket,) = doors.made
    assert (websocket.name, websocket.seen) == ("websocket", upgrade)
    assert doors.wire.successor is websocket
    assert websocket.told == ["receive_eof"] * ends


def test_http2_begins_no_later_than_with_the_first_byte() -> None:
    doors = Doors()
    doors.wire.receive(PAGE, NOW)
    assert doors.pump().startswith(b"HTTP/1.1 404 ")
    doors.wire.receive(HTTP2_PREFACE, NOW)
    assert doors.pump().startswith(b"HTTP/1.1 505 ")
    assert (doors.made, doors.wire.finished) == ([], True)


# A real server.


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Starts a server with one address for both protocols; it ends with the test."""
    async with servers() as start_server:

        async def begin(**settings: Any) -> Server:
            address = f"127.0.0.1:{free_port()}"
            return await start_server(
                grpc_engine="native", grpc_bind_address=address, ws_bind_address=address, **settings
            )

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield begin


@pytest.fixture
async def server(start: Callable[..., Awaitable[Server]]) -> Server:
    return await start()


async def test_one_port_serves_everything_at_once(server: Server) -> None:
    assert server.grpc_port == server.websocket_port
    address = f"127.0.0.1:{server.grpc_port}"
    async with await connect(f"grpc://{address}") as alice, await connect(f"ws://{address}") as bob:
        await alice.announce("alice")
        assert (await bob.announce("bob")).other_peers == ("alice",)
        await bob.offer("alice", "v=0")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.grpc_port)
        writer.write(PAGE)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert (await alice.health()).metrics["sessions"] == {"grpc": 1, "websocket": 1}


@pytest.mark.parametrize("first", [b"", b"P", HTTP2_PREFACE[:-1], HTTP2_PREFACE, b"GET /healthz HTTP/1.1\r\nX: "])
async def test_slowloris_is_let_go(start: Callable[..., Awaitable[Server]], first: bytes) -> None:
    greets = first == HTTP2_PREFACE
    # Who greets is in time on a busy machine, too.
    server = await start(handshake_timeout_seconds=1000 if greets else 0.4)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.grpc_port)

    async def dribble() -> None:
        while not writer.is_closing():
            writer.write(b"x" if first.startswith(b"GET") else b"")
            await asyncio.sleep(0.05)

    writer.write(first)
    dribbling = asyncio.create_task(dribble())
    if greets:
        # A client that has greeted is silent, not slow: its settings come, and keepalive looks after it.
        assert await reader.readexactly(9)
    else:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        await until(lambda: not server._carrier.connection_count)
    dribbling.cancel()
    writer.close()


async def test_garbage_is_refused(server: Server) -> None:
    for garbage in (b"\x16\x03\x01\x00\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"\0" * (MAX_HEADER_BYTES + 1)):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.grpc_port)
        writer.write(garbage)
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        writer.close()


# Which engine.


def test_grpcio_cannot_share_an_address() -> None:
    with pytest.raises(SettingError, match=r"WS_BIND_ADDRESS .* GRPC_ENGINE=native"):
        Settings(grpc_engine="grpcio", grpc_bind_address="127.0.0.1:50051", ws_bind_address="127.0.0.1:50051")


def _run(engine: str, *, same_address: bool = False) -> subprocess.CompletedProcess[str]:
    # Of one address nothing is opened: it is refused.
    address = "127.0.0.1:50051" if same_address else "127.0.0.1:0"
    code = (
        "import asyncio, sys\n"
        "from sigbridge import Settings\n"
        "from sigbridge_server.server import Server\n"
        "async def main():\n"
        "    server = Server(Settings.from_environment())\n"
        "    await server.start()\n"
        "    print(server.settings.grpc_engine, 'grpc.aio' in sys.modules)\n"
        "    await server.stop()\n"
        "asyncio.run(main())\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
        "GRPC_ENGINE": engine,
        "GRPC_BIND_ADDRESS": address,
        "WS_BIND_ADDRESS": address,
        "HTTP_BIND_ADDRESS": "off",
    }
    command = [sys.executable, "-c", code]
    if same_address:
        command = [sys.executable, "-m", "sigbridge_command", "serve"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS, check=False
    )


@pytest.mark.parametrize(
    ("engine", "said"), [("", "native False"), ("native", "native False"), ("grpcio", "grpcio True")]
)
def test_the_engine_is_what_was_asked_for(engine: str, said: str) -> None:
    run = _run(engine)
    assert run.stdout.strip() == said, run.stderr


def test_the_command_refuses_in_one_line() -> None:
    run = _run("grpcio", same_address=True)
    assert run.returncode != 0
    assert len(run.stderr.strip().splitlines()) == 1
    assert "WS_BIND_ADDRESS" in run.stderr


async def test_with_grpcio_an_http2_client_at_the_websocket_port_is_refused() -> None:
    server = Server(
        Settings(
            grpc_engine="grpcio",
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
        )
    )
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.websocket_port)
    writer.write(HTTP2_PREFACE)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        assert (await reader.readline()).startswith(b"HTTP/1.1 505")
    writer.close()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), TIME_LIMIT_SECONDS)
    await server.stop(grace_seconds=1)
