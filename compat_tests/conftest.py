"""The servers that the compatibility suite runs against: its own, or the one that `--grpc` and `--ws` name."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sigbridge_compat.deferred import SelfCompletingDeferral
from sigbridge_compat.worlds import BRIEF, World, bare_hub, running_server, started_server
from typescript_drivers import DriverProcess, drive_chromium, drive_node


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sigbridge", "the compatibility suite")
    group.addoption("--grpc", metavar="HOST:PORT", help="the gRPC address of a running server; needs --ws")
    group.addoption("--ws", metavar="URL", help="the WebSocket URL of the same server; needs --grpc")
    group.addoption("--scripts", type=int, metavar="N", help="how many random scripts each of their tests plays")
    group.addoption("--kills", type=int, metavar="N", help="how many sessions are killed at random points")
    group.addoption("--seed", type=int, metavar="N", help="which scripts and kills; by default, others in every run")


def pytest_configure(config: pytest.Config) -> None:
    if bool(config.getoption("--grpc")) != bool(config.getoption("--ws")):
        raise pytest.UsageError("--grpc and --ws go together: pairings need both ways in to one server")
    if config.getoption("--seed") is None:
        told = getattr(config, "workerinput", {})
        config.option.seed = told.get("seed", random.randrange(10**9))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker which scripts all of them play."""
    node.workerinput["seed"] = node.config.getoption("--seed")


def pytest_report_header(config: pytest.Config) -> str:
    return f"random scripts and kills: --seed={config.getoption('--seed')} plays these again"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The server under test, with both protocols."""
    if grpc_address := request.config.getoption("--grpc"):
        yield running_server(grpc_address, request.config.getoption("--ws"))
        return
    async with started_server() as world:
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deferred_server_world() -> AsyncIterator[World]:
    """A server of this process whose claims and relays take their time."""
    async with started_server(SelfCompletingDeferral(seed=1)) as world:
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub_world() -> World:
    """A bare hub: the reference."""
    return bare_hub()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deferred_hub_world() -> World:
    """A bare hub whose claims and relays take their time."""
    return bare_hub(SelfCompletingDeferral(seed=2))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def brief_server_world() -> AsyncIterator[World]:
    """A server of this process that holds lost peers for a moment only."""
    async with started_server(**BRIEF) as world:
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def brief_hub_world() -> World:
    """A bare hub that holds lost peers for a moment only."""
    return bare_hub(**BRIEF)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def node_driver() -> AsyncIterator[DriverProcess]:
    """The driver of clients in TypeScript, in one process of Node."""
    async with drive_node() as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_driver() -> AsyncIterator[DriverProcess]:
    """The same in one page of Chromium."""
    async with drive_chromium() as process:
        yield process


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """The world whose fixture the parameter names."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
