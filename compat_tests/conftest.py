"""The servers that the compatibility suite runs against: its own, or those that `--grpc` and `--ws` name."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from sigbridge import Hub, Settings
from sigbridge_compat.deferred import SelfCompletingDeferral
from sigbridge_compat.ways import WayIn, way_by_url, way_to_hub
from sigbridge_net.clock import read_clock

REAL_WAYS = ("grpc", "websocket")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sigbridge", "a server that runs already")
    group.addoption("--grpc", metavar="HOST:PORT", help="the gRPC address of a running server; needs --ws")
    group.addoption("--ws", metavar="URL", help="the WebSocket URL of the same server; needs --grpc")
    group.addoption("--scripts", type=int, metavar="N", help="how many random scripts each pairing plays")


def pytest_configure(config: pytest.Config) -> None:
    if bool(config.getoption("--grpc")) != bool(config.getoption("--ws")):
        raise pytest.UsageError("--grpc and --ws go together: pairings need both ways in to one server")


@dataclass
class World:
    """One server with its ways in; `hub` is its hub where it runs in this process."""

    ways: dict[str, WayIn]
    hub: Hub | None


def local_settings(**others: object) -> Settings:
    """The defaults, on ports that the system chooses."""
    return Settings(grpc_bind_address="127.0.0.1:0", ws_bind_address="127.0.0.1:0", **others)  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The server under test, with both protocols."""
    grpc_address, ws_url = request.config.getoption("--grpc"), request.config.getoption("--ws")
    if grpc_address:
        ways = (way_by_url("grpc", f"grpc://{grpc_address}"), way_by_url("websocket", ws_url))
        yield World({way.name: way for way in ways}, None)
        return
    async for world in started_server():
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deferred_server_world() -> AsyncIterator[World]:
    """A server of this process whose claims and relays take their time."""
    async for world in started_server(SelfCompletingDeferral(seed=1)):
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub_world() -> World:
    """A bare hub: the reference."""
    return bare_hub()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deferred_hub_world() -> World:
    """A bare hub whose claims and relays take their time."""
    return bare_hub(SelfCompletingDeferral(seed=2))


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """The world whose fixture the parameter names."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


async def started_server(deferral: SelfCompletingDeferral | None = None) -> AsyncIterator[World]:
    """Start a server in this process, and stop it afterwards."""
    from sigbridge_server.server import Server

    server = Server(local_settings(), directory=deferral, bus=deferral)
    if deferral is not None:
        deferral.attach(server.hub)
    await server.start()
    try:
        ways = (
            way_by_url("grpc", f"grpc://127.0.0.1:{server.grpc_port}"),
            way_by_url("websocket", f"ws://127.0.0.1:{server.websocket_port}"),
        )
        yield World({way.name: way for way in ways}, server.hub)
    finally:
        await server.stop()


def bare_hub(deferral: SelfCompletingDeferral | None = None) -> World:
    """Make a hub, with a way in for each of its protocols' names."""
    hub = Hub(local_settings(), read_clock(), directory=deferral, bus=deferral)
    if deferral is not None:
        deferral.attach(hub)
    return World(
        {"grpc": way_to_hub(hub, "grpc", name="hub"), "websocket": way_to_hub(hub, "websocket", name="hub")}, hub
    )
