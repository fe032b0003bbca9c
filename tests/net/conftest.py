"""Servers on port 0 of loopback, clients of every kind, and certificates made on the spot."""

import asyncio
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from certificates import Authority
from sigbridge import Hub, Settings
from sigbridge_client import connect
from sigbridge_net.carrier import Carrier
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_websocket.wire import websocket_wires
from waiting import TIME_LIMIT_SECONDS
from websocket_lines import HANDSHAKE


class CarriedHub:
    """A hub behind a carrier, with WebSocket on a port of loopback."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.hub = Hub(settings, read_clock())
        self.carrier = Carrier(settings)
        self.timer = HubTimer(self.hub)
        self.port = 0

    async def start(self, tls=None) -> None:
        self.port = await self.carrier.listen("127.0.0.1:0", websocket_wires(self.hub), tls=tls)
        self.timer.start()

    async def stop(self) -> None:
        self.hub.drain(read_clock())
        await self.carrier.close(1.0)
        self.timer.stop()

    def connect(self, **options):
        return connect(f"{'wss' if options else 'ws'}://127.0.0.1:{self.port}/", resume=False, **options)

    async def raw(self, first: bytes = HANDSHAKE, *, receive_buffer: int = 0) -> socket.socket:
        """A socket that has said `first` and read nothing."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", self.port))
        await loop.sock_sendall(sock, first)
        return sock

    def ended(self, reason: str) -> int:
        return self.hub.counters.disconnects["websocket", reason]


async def rest_of(sock: socket.socket) -> bytes:
    """All that comes until the other side ends the stream, or drops it."""
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        try:
            while chunk := await loop.sock_recv(sock, 1 << 20):
                data += chunk
        except ConnectionError:
            pass
    return data


@pytest.fixture
def read_rest():
    return rest_of


@pytest.fixture
def serving():
    """Serve with some settings: `async with serving(…) as served`."""

    @asynccontextmanager
    async def serve(*, tls=None, **settings):
        served = CarriedHub(Settings(**settings))
        await served.start(tls)
        try:
            yield served
        finally:
            await served.stop()

    return serve


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The files of a certificate for this machine and of its key."""
    authority = Authority(tmp_path_factory.mktemp("tls"), "localhost")
    return Path(authority.file), Path(authority.key_file)
