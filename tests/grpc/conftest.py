"""A real gRPC server and real channels, on a port that the system chooses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from sigbridge import Hub, Settings
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.mount import MountedSignaling, add_signaling, server_options
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock

if TYPE_CHECKING:
    from clock import Clock
    from grpc_lines import WiredServer

TIME_LIMIT_SECONDS = 10.0


class Call:
    """A `Signal` call of bare bytes."""

    def __init__(self, call: Any) -> None:
        self.raw = call

    async def send_bytes(self, message: bytes) -> None:
        await self.raw.write(message)

    async def send(self, request_id: str = "", **request: Any) -> None:
        await self.send_bytes(pb.SignalingRequest(request_id=request_id, **request).SerializeToString())

    async def announce(self, peer_id: str) -> None:
        await self.send("a", announce=pb.AnnounceRequest(peer_id=peer_id))
        assert (await self.receive()).WhichOneof("response") == "ack"

    async def receive(self) -> pb.SignalingResponse:
        message = await self.raw.read()
        assert isinstance(message, bytes), "the stream has ended"
        return pb.SignalingResponse.FromString(message)

    async def end(self) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
        """Wait for the end, whatever is read until then."""
        try:
            while isinstance(await self.raw.read(), bytes):
                pass
        except grpc.aio.AioRpcError:
            pass
        return await self.raw.code(), await self.raw.details(), dict(await self.raw.trailing_metadata())


class Served:
    """A hub on a gRPC server."""

    def __init__(self, hub: Hub, server: grpc.aio.Server, mounted: MountedSignaling, target: str) -> None:
        self.hub = hub
        self.server = server
        self.mounted = mounted
        self.target = target
        self._channels: list[grpc.aio.Channel] = []

    def channel(self, *options: tuple[str, Any]) -> grpc.aio.Channel:
        """A channel with a connection of its own."""
        channel = grpc.aio.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1), *options])
        self._channels.append(channel)
        return channel

    async def call(self, channel: grpc.aio.Channel | None = None) -> Call:
        """A `Signal` call that stands."""
        call: Any = (channel or self.channel()).stream_stream(f"/{SERVICE_NAME}/Signal", None, None)(None)
        await call.initial_metadata()
        await call.wait_for_connection()
        return Call(call)

    async def unary(self, method: str, message: bytes) -> bytes:
        answer: bytes = await self.channel().unary_unary(f"/{SERVICE_NAME}/{method}", None, None)(message)
        return answer

    async def stop(self) -> None:
        for channel in self._channels:
            await channel.close(None)
        await self.mounted.drain(1)
        await self.server.stop(0)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server with the given settings; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(hub: Hub | None = None, address: str = "127.0.0.1", **settings: Any) -> Served:
            hub = hub or Hub(Settings(**settings), read_clock())
            server = grpc.aio.server(options=server_options(hub.settings))
            mounted = add_signaling(server, hub)
            port = server.add_insecure_port(f"{address}:0")
            await server.start()
            served = Served(hub, server, mounted, f"{address}:{port}")
            stack.push_async_callback(served.stop)
            return served

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield start


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait until a condition holds; the fixture's own time limit ends what never comes."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while not condition():
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def server(clock: "Clock") -> "WiredServer":
    """A hub behind wires, for as many lines as a test wants."""
    from grpc_lines import make_server  # only here: it needs ngh2, and other tests of this folder do not

    return make_server(clock)
