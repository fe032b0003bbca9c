"""The servers that scenarios and scripts run against: one of this process, a bare hub, or one that runs elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sigbridge import Hub, Settings
from sigbridge_compat.deferred import SelfCompletingDeferral
from sigbridge_compat.identities import DescribedIdentities
from sigbridge_compat.ways import WayIn, way_by_url, way_to_hub
from sigbridge_net.clock import read_clock


@dataclass
class World:
    """One server with its ways in by name; `hub` is its hub where it runs in this process.

    `grpc` is the engine that the server has chosen, and `grpcio` the other one, where it is there.
    """

    ways: dict[str, WayIn]
    hub: Hub | None


def loopback_settings() -> Settings:
    """The defaults, on loopback and ports that the system chooses, and without a limit on how fast scripts may ask."""
    return Settings(
        grpc_bind_address="127.0.0.1:0", ws_bind_address="127.0.0.1:0", http_bind_address="off", rate_per_second=0.0
    )


def bare_hub(deferral: SelfCompletingDeferral | None = None) -> World:
    """Make a hub without a server: the reference. Its ways in have the protocols' names, and no protocol."""
    hub = Hub(loopback_settings(), read_clock(), directory=deferral, bus=deferral)
    if deferral is not None:
        deferral.attach(hub)
    authenticator = _identities(deferral)
    ways = {
        protocol: way_to_hub(hub, protocol, name="hub", authenticator=authenticator)
        for protocol in ("grpc", "websocket")
    }
    # The engines of gRPC are one protocol to a hub.
    return World(ways | {"grpcio": ways["grpc"]}, hub)


@asynccontextmanager
async def started_server(deferral: SelfCompletingDeferral | None = None) -> AsyncIterator[World]:
    """Start a server in this process, with gRPC's other engine beside it on the same hub, and stop it afterwards."""
    from sigbridge_server.grpcio_engine import GrpcioEngine
    from sigbridge_server.server import Server

    settings = loopback_settings()
    authenticator = _identities(deferral)
    server = Server(settings, directory=deferral, bus=deferral, authenticator=authenticator)
    if deferral is not None:
        deferral.attach(server.hub)
    await server.start()
    grpcio = GrpcioEngine(server.hub, settings, authenticator, most_connections=settings.connection_limit)
    try:
        world = running_server(f"127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}")
        world.hub = server.hub
        (address,) = await grpcio.start(None, settings.grpc_addresses)
        world.ways["grpcio"] = way_by_url("grpcio", f"grpc://{address}")
        yield world
    finally:
        await server.stop()
        await grpcio.stop(1.0)


def _identities(deferral: SelfCompletingDeferral | None) -> DescribedIdentities:
    """The authenticator of a world, which takes its time where its claims and relays do."""
    return DescribedIdentities(None if deferral is None else deferral.later)


def running_server(grpc_address: str, websocket_url: str) -> World:
    """Name a server that runs already."""
    ways = (way_by_url("grpc", f"grpc://{grpc_address}"), way_by_url("websocket", websocket_url))
    return World({way.name: way for way in ways}, None)
