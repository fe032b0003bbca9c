"""The servers that scenarios and scripts run against: one of this process, a bare hub, or one that runs elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sigbridge import Hub, Settings
from sigbridge.ice_servers import IceStock, Turn
from sigbridge_compat.deferred import SelfCompletingDeferral
from sigbridge_compat.identities import DescribedIdentities
from sigbridge_compat.ways import DOTTED, WayIn, way_by_url, way_to_hub
from sigbridge_net.clock import read_clock


@dataclass
class World:
    """One server with its ways in by name; `hub` is its hub where it runs in this process, `urls` its protocols' URLs.

    `grpc` is the engine that the server has chosen, and `grpcio` the other one, where it is there; `dotted` is that
    dialect over WebSocket.
    """

    ways: dict[str, WayIn]
    hub: Hub | None
    urls: dict[str, str] = field(default_factory=dict)


BRIEF_SECONDS: Final = 0.5
"""The seconds for which lost peers are held in brief worlds."""
BRIEF: Final = {"resume_window_seconds": BRIEF_SECONDS, "turn_ttl_seconds": 1.4}
"""The settings of brief worlds, in which credentials for TURN are replaced after a little more than a second."""
ICE_SERVERS: Final = ({"urls": "stun:stun.example.org"}, {"urls": ["stun:[::1]:3478", "stuns:example.org"]})
"""The ICE servers that all worlds give, beside TURN."""
TURN_URLS: Final = ("turn:turn.example.org:3478?transport=udp", "turns:turn.example.org")
TURN_SECRET: Final = b"the secret of no TURN server"


def loopback_settings(**others: Any) -> Settings:
    """Returns the default settings on loopback but `others`, which names none that is set here.

    The system chooses the ports of both protocols; there is no address for the operator, and no limit of the rate of
    requests.
    """
    return Settings(
        grpc_bind_address="127.0.0.1:0",
        ws_bind_address="127.0.0.1:0",
        http_bind_address="off",
        rate_per_second=0.0,
        **others,
    )


def bare_hub(deferral: SelfCompletingDeferral | None = None, **settings: Any) -> World:
    """Makes a hub without a server, the reference, and ways into it that are named like the protocols."""
    hub = Hub(loopback_settings(**settings), read_clock(), directory=deferral, bus=deferral)
    _give_ice_servers(hub)
    if deferral is not None:
        deferral.attach(hub)
    authenticator = _identities(deferral)
    ways = {
        protocol: way_to_hub(hub, protocol, name="hub", authenticator=authenticator)
        for protocol in ("grpc", "websocket")
    }
    # The engines of gRPC are one protocol to a hub.
    ways["grpcio"] = ways["grpc"]
    ways[DOTTED] = way_to_hub(hub, "websocket", name="hub", authenticator=authenticator, takes_control=True)
    return World(ways, hub)


@asynccontextmanager
async def started_server(deferral: SelfCompletingDeferral | None = None, **others: Any) -> AsyncIterator[World]:
    """Starts a server in this process, with gRPC's other engine beside it on the same hub, and stops it afterwards."""
    from sigbridge_server.grpcio_engine import GrpcioEngine
    from sigbridge_server.server import Server

    settings = loopback_settings(**others)
    authenticator = _identities(deferral)
    server = Server(settings, directory=deferral, bus=deferral, authenticator=authenticator)
    if deferral is not None:
        deferral.attach(server.hub)
    _give_ice_servers(server.hub)
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


def _give_ice_servers(hub: Hub) -> None:
    hub.put_ice_servers(IceStock(ICE_SERVERS, Turn(TURN_URLS, TURN_SECRET, hub.settings.turn_ttl_seconds)))


def _identities(deferral: SelfCompletingDeferral | None) -> DescribedIdentities:
    """Returns the authenticator of a world, which takes its time where its claims and relays do."""
    return DescribedIdentities(None if deferral is None else deferral.later)


def running_server(grpc_address: str, websocket_url: str) -> World:
    """Returns the ways into a server that is already running."""
    urls = {"grpc": f"grpc://{grpc_address}", "websocket": websocket_url}
    ways = (
        way_by_url("grpc", urls["grpc"]),
        way_by_url("websocket", urls["websocket"]),
        way_by_url(DOTTED, websocket_url, dialect="dotted"),
    )
    return World({way.name: way for way in ways}, None, urls)
