"""Limits of one client on real sockets, on both protocols and engines: who floods, and those beside it; its sessions."""

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from channels import BytesCall, Channels
from served import servers
from sigbridge import Instant, errors
from sigbridge.auth import Credentials, Identity
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_server.server import Server
from sigbridge_websocket.frames import CLOSE, TEXT
from waiting import TIME_LIMIT_SECONDS, until
from websocket_lines import HANDSHAKE, masked

LIST = b'{"jsonrpc":"2.0","method":"list_peers","id":1}'
LIST_BY_GRPC = pb.SignalingRequest(request_id="1", list_peers=pb.ListPeersRequest()).SerializeToString()
GET_PEERS = f"/{SERVICE_NAME}/GetPeers"
STRICT: dict[str, Any] = {"rate_per_second": 50.0, "rate_burst": 50, "flood_hold_seconds": 1000.0}
LOW: dict[str, Any] = {"rate_per_second": 5.0, "rate_burst": 5}
"""A rate that one who waits for each response is above on a busy machine, too."""
FLOOD_SECONDS = 0.003
"""Seconds between two requests of a flood: far more than any limit allows, for as long as it takes until it is one."""
FLOOD_CALLS = 10
"""Unary calls that come together, of which each takes more of the processor's time."""

Ending = tuple[object, str]
"""The code or status, and the word."""


class Named:
    """Takes a token for its owner's name."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        if credentials.token is None:
            raise errors.unauthenticated()
        return Identity(credentials.token)


class WebSocketPeer:
    """A WebSocket by hand, which is as rude as a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, server: Server, name: str) -> "WebSocketPeer":
        """Raises PermissionError with what is said where the handshake is refused."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.websocket_port)
        writer.write(HANDSHAKE.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {name}\r\n\r\n".encode()))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            said = (await reader.read()).decode()
            writer.close()
            raise PermissionError(said.strip())
        return cls(reader, writer)

    async def send_list(self) -> None:
        self._writer.write(masked(TEXT, LIST))
        await self._writer.drain()

    async def _frame(self) -> tuple[int, bytes]:
        kind, size = await self._reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        return kind & 15, await self._reader.readexactly(size)

    async def ask(self) -> int | None:
        """Lists a room; returns the milliseconds after which it may do so, where it may not now."""
        await self.send_list()
        kind, payload = await self._frame()
        assert kind == TEXT, payload
        return msgspec.json.decode(payload).get("error", {"data": {}})["data"].get("retry_after_ms")

    async def end(self) -> Ending:
        """Reads on until it is closed; returns how, and why."""
        while True:
            kind, payload = await self._frame()
            if kind == CLOSE:
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()

    async def flood(self) -> Ending:
        """Sends without looking at what is said, until it is closed."""
        reading = asyncio.create_task(self.end())
        while not reading.done():
            try:
                await self.send_list()
            except OSError:
                # It was closed under its hands.
                break
            await asyncio.wait([reading], timeout=FLOOD_SECONDS)
        return await reading

    async def close(self) -> None:
        self._writer.close()


class GrpcPeer:
    """A `Signal` call on a connection of its own."""

    def __init__(self, call: BytesCall) -> None:
        self._call = call

    @classmethod
    async def open(cls, channels: Channels, name: str) -> "GrpcPeer":
        """Raises PermissionError likewise."""
        try:
            return cls(await channels.call(metadata=(("authorization", name),)))
        except grpc.aio.AioRpcError as refused:
            raise PermissionError(f"{refused.details()} ({refused.code().name})") from None

    async def send_list(self) -> None:
        await self._call.send_bytes(LIST_BY_GRPC)

    async def ask(self) -> int | None:
        await self.send_list()
        answer = await self._call.receive()
        return msgspec.json.decode(answer.error.details)["retry_after_ms"] if answer.HasField("error") else None

    async def close(self) -> None:
        self._call.raw.cancel()


def flood_by_grpc(target: str, name: str) -> Ending:
    """The same by the library's threads: its coroutines lose the status of a call that ends while they write."""
    ended = threading.Event()

    def requests() -> Iterator[bytes]:
        while not ended.wait(FLOOD_SECONDS):
            yield LIST_BY_GRPC

    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)(
            requests(), metadata=(("authorization", name),)
        )
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        finally:
            ended.set()
        return call.code(), dict(call.trailing_metadata())["signaling-disconnect"]


FLOODED = {"websocket": (4003, "flooding"), "grpc": (grpc.StatusCode.RESOURCE_EXHAUSTED, "flooding")}


class World:
    """A strict server that knows its clients by name, all of whom are at one address."""

    def __init__(self, protocol: str, server: Server, channels: Channels) -> None:
        self.server = server
        self.hub = server.hub
        self.channels = channels
        self._protocol = protocol

    async def join(self, name: str) -> WebSocketPeer | GrpcPeer:
        if self._protocol == "websocket":
            return await WebSocketPeer.open(self.server, name)
        return await GrpcPeer.open(self.channels, name)

    async def refusal_of(self, name: str) -> str:
        """Joins; returns what is said where that is refused, empty where it is not."""
        try:
            peer = await self.join(name)
        except PermissionError as refused:
            return str(refused)
        await peer.ask()
        await peer.close()
        return ""

    async def flood(self, name: str) -> Ending:
        """Joins and sends without looking at what is said, until that is enough; returns how it ended."""
        if self._protocol == "grpc":
            return await asyncio.to_thread(flood_by_grpc, self.channels.target, name)
        peer = await WebSocketPeer.open(self.server, name)
        ending = await peer.flood()
        await peer.close()
        return ending

    async def get_peers(self, name: str, channel: grpc.aio.Channel) -> str:
        """Asks for a room's peers; returns what the refusal says, empty where there was none."""
        try:
            await self.channels.unary(GET_PEERS, b"", channel, metadata=(("authorization", name),))
        except grpc.aio.AioRpcError as refused:
            return str(refused.details())
        return ""


# WebSocket is the same with either engine.
WAYS_IN = pytest.mark.parametrize(
    ("protocol", "engine"), [("grpc", "native"), ("grpc", "grpcio"), ("websocket", "native")]
)
Begin = Callable[..., Awaitable[World]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    async with servers() as start_server, AsyncExitStack() as stack:

        async def start(protocol: str, engine: str, **settings: Any) -> World:
            server = await start_server(authenticator=Named(), grpc_engine=engine, **STRICT | settings)
            channels = Channels(f"127.0.0.1:{server.grpc_port}")
            stack.push_async_callback(channels.close_channels)
            return World(protocol, server, channels)

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield start


@WAYS_IN
async def test_who_floods_is_ended_and_kept_out_and_others_of_its_address_are_not(
    begin: Begin, protocol: str, engine: str
) -> None:
    world = await begin(protocol, engine, **LOW)
    alice, other = await world.join("alice"), await world.join("mallory")
    flooding = asyncio.create_task(world.flood("mallory"))
    waits = 0
    # Who asks as fast as it may, and waits as long as told, stays.
    while not (flooding.done() and waits):
        wait = await alice.ask()
        if wait is not None:
            waits += 1
            await asyncio.sleep(wait / 1000)
    assert await flooding == FLOODED[protocol]
    assert world.hub.counters.disconnects == {(protocol, "flooding"): 1}
    with pytest.raises(PermissionError, match=r"Held off after flooding: try again in [0-9]+ ms"):
        await world.join("mallory")
    assert (await world.get_peers("mallory", world.channels.channel())).startswith("Held off")
    assert not (await world.get_peers("alice", world.channels.channel())).startswith("Held off")
    assert world.hub.counters.refusals[protocol, "held_off"] >= 1
    # Sessions go on that were there before, its own among them.
    for peer in (alice, other, await world.join("alice")):
        await peer.ask()
        await peer.close()


@WAYS_IN
async def test_the_hold_ends(begin: Begin, protocol: str, engine: str) -> None:
    world = await begin(protocol, engine, flood_hold_seconds=0.5)
    await world.flood("mallory")
    while said := await world.refusal_of("mallory"):
        assert said.startswith("Held off after flooding")
        await asyncio.sleep(int(said.split(" in ")[1].split()[0]) / 1000)


async def test_a_batch_of_a_thousand_is_no_flooding(begin: Begin) -> None:
    world = await begin("websocket", "native")
    peer = await WebSocketPeer.open(world.server, "alice")
    peer._writer.write(masked(TEXT, b"[%b]" % b",".join([LIST] * 1000)))
    head = await peer._reader.readexactly(2)
    assert head[1] == 127
    (size,) = struct.unpack("!Q", await peer._reader.readexactly(8))
    answers = msgspec.json.decode(await peer._reader.readexactly(size))
    assert len(answers) == 1000
    assert sum("error" in answer for answer in answers) > 500
    await peer.ask()
    await peer.close()


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_unary_calls_that_keep_coming_are_held_off_for_as_long_as_they_do(begin: Begin, engine: str) -> None:
    world = await begin("grpc", engine, **LOW)
    session = await world.join("mallory")
    channel = world.channels.channel()

    async def ask_until(enough: Callable[[], object]) -> str:
        said = ""
        while not enough():
            calls = (world.get_peers("mallory", channel) for _ in range(FLOOD_CALLS))
            *_, said, _ = await asyncio.gather(*calls, asyncio.sleep(FLOOD_CALLS * FLOOD_SECONDS, ""))
        return said

    held = world.hub._parts.held_off.until
    assert (await ask_until(lambda: held)).startswith(("Too many", "Held off"))
    ((whom, first),) = held.items()
    assert whom == ("mallory", "")
    with pytest.raises(PermissionError, match="Held off"):
        await world.join("mallory")
    assert (await ask_until(lambda: held[whom] > first)).startswith("Held off")
    assert await world.get_peers("alice", world.channels.channel()) == ""
    await session.ask()
    await session.close()


@WAYS_IN
async def test_the_sessions_of_an_identity_are_limited_and_counted_exactly(
    begin: Begin, protocol: str, engine: str
) -> None:
    world = await begin(protocol, engine, max_sessions_per_identity=2)
    for _ in range(3):
        peers = [await world.join("alice"), await world.join("alice")]
        assert "limit SIGNALING_MAX_SESSIONS_PER_IDENTITY is 2" in await world.refusal_of("alice")
        assert await world.refusal_of("bob") == ""
        for peer in peers:
            await peer.close()
        await until(lambda: world.hub.session_count == 0)
    assert world.hub.counters.refusals[protocol, "sessions"] == 3


@WAYS_IN
async def test_the_sessions_of_an_address_are_limited(begin: Begin, protocol: str, engine: str) -> None:
    world = await begin(protocol, engine, max_sessions_per_address=2)
    peers = [await world.join("alice"), await world.join("bob")]
    assert "limit SIGNALING_MAX_SESSIONS_PER_ADDRESS is 2" in await world.refusal_of("carol")
    for peer in peers:
        await peer.close()
    await until(lambda: world.hub.session_count == 0)
    assert await world.refusal_of("carol") == ""
