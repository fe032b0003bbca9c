"""Servers of this process, and the programs of the WebRTC stacks, that all tests of a worker share."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

import time_limits
from lossy_proxy import LossyProxy
from rtc_stacks import RtcPeer, RtcStack, played, why_not
from sigbridge import Settings
from sigbridge_server.server import Server

_rooms = iter(range(1, 1 << 30))


class Meeting:
    """A room of one test, its server, and the peers that are in it, each behind a proxy of its own."""

    def __init__(self, server: Server, start: Callable[[str], Awaitable[RtcStack]], stack: contextlib.AsyncExitStack):
        self.server = server
        self.room = f"room-{next(_rooms)}"
        self._start = start
        self._stack = stack
        self.peers: list[RtcPeer] = []
        self.proxies: dict[str, LossyProxy] = {}

    async def join(self, name: str, protocol: str, peer_id: str) -> RtcPeer:
        """A peer of a stack, which is there when it is announced."""
        ports = {"ws": self.server.websocket_port, "grpc": self.server.grpc_port}
        proxy = self.proxies[peer_id] = await self._stack.enter_async_context(LossyProxy({protocol: ports[protocol]}))
        url = f"{protocol}://127.0.0.1:{proxy.ports[protocol]}"
        program = await self._start(name.removesuffix("-calls"))
        peer = await program.join(url, peer_id, self.room, calls=name.endswith("-calls"))
        self.peers.append(peer)
        return peer

    @property
    def relayed_offers(self) -> int:
        """Number of offers that the server has acknowledged, of whatever room."""
        requests = self.server.hub.counters.requests
        return sum(requests[protocol, "offer", "ok"] for protocol in ("grpc", "websocket"))

    def hold_back(self) -> None:
        """Lets all that the server says to these peers wait."""
        for proxy in self.proxies.values():
            assert proxy.link is not None
            proxy.link.hold_back()

    def let_go(self) -> None:
        """Lets it pass."""
        for proxy in self.proxies.values():
            assert proxy.link is not None
            proxy.link.let_go()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Servers, one for each engine and window."""
    running: dict[tuple[str, float], Server] = {}

    async def serve(engine: str = "native", resume_window_seconds: float = 30.0) -> Server:
        key = engine, resume_window_seconds
        if key not in running:
            server = running[key] = Server(
                Settings(
                    grpc_bind_address="127.0.0.1:0",
                    ws_bind_address="127.0.0.1:0",
                    http_bind_address="off",
                    grpc_engine=engine,
                    resume_window_seconds=resume_window_seconds,
                )
            )
            await server.start()
        return running[key]

    yield serve
    for server in running.values():
        await server.stop(grace_seconds=1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def start() -> AsyncIterator[Callable[[str], Awaitable[RtcStack]]]:
    """Programs of stacks, each started when it is first asked for; skips where it is not there."""
    async with contextlib.AsyncExitStack() as stack:
        programs: dict[str, RtcStack] = {}

        async def started(name: str) -> RtcStack:
            if why := why_not(name):
                pytest.skip(why)
            if name not in programs or programs[name].end:
                programs[name] = await stack.enter_async_context(played(name))
            return programs[name]

        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def meet(
    servers: Callable[..., Awaitable[Server]], start: Callable[[str], Awaitable[RtcStack]]
) -> AsyncIterator[Callable[..., Awaitable[Meeting]]]:
    """Meetings, whose peers leave in the end; what has gone wrong at one of them fails the test."""
    time_limits.allow(300)
    async with contextlib.AsyncExitStack() as stack:
        meetings: list[Meeting] = []

        async def begin(engine: str = "native", **settings: float) -> Meeting:
            meetings.append(Meeting(await servers(engine, **settings), start, stack))
            return meetings[-1]

        yield begin
        peers = [peer for meeting in meetings for peer in meeting.peers]
        try:
            for peer in peers:
                peer.check()
        finally:
            for peer in peers:
                peer.tell("leave")
