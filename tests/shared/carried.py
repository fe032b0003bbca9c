"""Connections of a whole server on a carrier, without sockets."""

import asyncio

from sigbridge import Hub, Settings
from sigbridge.auth import Authenticator, StaticTokens
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.service import SignalingService
from sigbridge_grpc.web import GrpcWeb
from sigbridge_grpc.wire import grpc_wires
from sigbridge_http.wire import http_wires
from sigbridge_net.carrier import Carrier
from sigbridge_net.clock import read_clock
from sigbridge_net.connection import Connection
from sigbridge_net.pages import Page, Site
from sigbridge_server.front import asks_for_websocket, front_wires
from sigbridge_websocket.wire import websocket_wires

TOKEN = "let-me-in"
"""The token that a server asks for that asks for one."""


class Transport(asyncio.Transport):
    """A transport that keeps what is written, and takes as much as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None
        self.written = b""
        self.full = False
        """True where it is over its mark with the first write: its client does not read."""
        self.closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def close(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        if self.full and self.connection is not None:
            self.connection.pause_writing()


class Place:
    """A hub with every way in behind one front, on a carrier."""

    def __init__(self, *, tokens: tuple[str, ...] = (), door: Authenticator | None = None, **options: object) -> None:
        settings = Settings(rate_per_second=0, **options)  # type: ignore[arg-type]
        self.hub = Hub(settings, read_clock())
        self.carrier = Carrier(settings, self.hub.counters)
        board = HealthBoard()
        doors = {"authenticator": door or StaticTokens(tokens)} if tokens or door else {}
        web = GrpcWeb(SignalingService(self.hub), board, settings, **doors)
        methods = signaling_methods(SignalingService(self.hub, encoding=FRAMED_PROTOBUF), board)
        site = Site({"/healthz": lambda: Page(200, b"alive\n")}, web)
        self.wires = front_wires(
            settings,
            grpc=grpc_wires(methods, settings, site=site, **doors),
            websocket=websocket_wires(self.hub, **doors),
            pages=http_wires(site, settings, is_foreign=asks_for_websocket),
        )(None)

    def connect(self, *, reads: bool = True) -> "Carried":
        return Carried(self, reads=reads)


class Carried:
    """A client's end of one connection of a place."""

    def __init__(self, place: Place, *, reads: bool) -> None:
        self.place = place
        self.transport = Transport()
        self.connection = Connection(place.carrier.connections, place.wires)
        self.connection.connection_made(self.transport)
        self.transport.connection = self.connection
        self.transport.full = not reads

    async def say(self, *data: bytes) -> bytes:
        """Sends bytes, and returns what came back when all has come to rest."""
        for one in data:
            self.connection.data_received(one)
            for _ in range(2 + len(one) // 8192):
                await asyncio.sleep(0)
        heard, self.transport.written = self.transport.written, b""
        return heard

    async def end_input(self) -> None:
        """Ends the client's half of the connection."""
        self.connection.eof_received()
        await asyncio.sleep(0)

    async def lose(self) -> None:
        """Loses the connection, as a reset or an end of its transport does."""
        self.transport.closing = True
        self.transport.connection = None
        self.connection.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)
