"""Servers that speak gRPC: a hub mounted on grpcio, a whole server with either engine, and a hub behind bare wires."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from channels import Channels
from served import servers
from sigbridge import Hub, Settings
from sigbridge_grpc.mount import MountedSignaling, add_signaling, server_options
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS

if TYPE_CHECKING:
    from clock import Clock
    from grpc_lines import WiredServer


class MountedHub(Channels):
    """A hub on a gRPC server, and channels to it."""

    def __init__(self, hub: Hub, server: grpc.aio.Server, mounted: MountedSignaling, target: str) -> None:
        super().__init__(target)
        self.hub = hub
        self.server = server
        self.mounted = mounted

    async def stop(self) -> None:
        await self.close_channels()
        await self.mounted.drain(1)
        await self.server.stop(0)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[MountedHub]]]:
    """Starts a mounted hub with the given settings; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(hub: Hub | None = None, address: str = "127.0.0.1", **settings: Any) -> MountedHub:
            hub = hub or Hub(Settings(**settings), read_clock())
            server = grpc.aio.server(options=server_options(hub.settings))
            mounted = add_signaling(server, hub)
            port = server.add_insecure_port(f"{address}:0")
            await server.start()
            served = MountedHub(hub, server, mounted, f"{address}:{port}")
            stack.push_async_callback(served.stop)
            return served

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield start


class EngineServer(Channels):
    """A server with one of the engines, and channels to it."""

    def __init__(self, engine: str, server: Server) -> None:
        super().__init__(f"127.0.0.1:{server.grpc_port}")
        self.engine = engine
        self.native = engine == "native"
        self.server = server
        self.hub = server.hub

    @property
    def connections(self) -> int:
        """Connections of the carrier: with grpcio none of them is gRPC's."""
        return self.server._carrier.connection_count


@pytest.fixture(params=["native", "grpcio"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def start(engine: str) -> AsyncIterator[Callable[..., Awaitable[EngineServer]]]:
    """Starts a server with the engine and the given settings; it ends with the test."""
    async with servers() as start_server, AsyncExitStack() as stack:

        async def begin(**options: Any) -> EngineServer:
            served = EngineServer(engine, await start_server(grpc_engine=engine, **options))
            stack.push_async_callback(served.close_channels)
            return served

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield begin


@pytest.fixture
def server(clock: "Clock") -> "WiredServer":
    """A hub behind wires, for as many lines as a test wants."""
    from grpc_lines import make_server  # only here: its client needs ngh2, and other tests of this folder do not

    return make_server(clock)
