"""Each baseline of the benchmark relays, acknowledges, and keeps the order of what one peer sends another."""

import asyncio
import contextlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as websocket_connect

from sigbridge.client import SignalingClient
from sigbridge_client import connect

ROOT = Path(__file__).parents[2]
BASELINES = ROOT / "bench" / "baselines"
PROTO = ROOT / "protos" / "webrtc_signaling.proto"
LIMIT_SECONDS = 100.0
SIGNALING = {
    "ws_relay.mjs": "ws",
    "websockets_relay.py": "ws",
    "grpcjs_relay.mjs": "grpc",
    "grpcaio_relay.py": "grpc",
}


def command_of(program: str) -> list[str]:
    """Command that starts a baseline; skips the test where it runs on Node and Node or its packages are missing."""
    if program.endswith(".py"):
        return [sys.executable, str(BASELINES / program)]
    node = shutil.which("node")
    wanted = json.loads((BASELINES / "package.json").read_text(encoding="utf-8"))["dependencies"]
    found = {
        name: json.loads(file.read_text(encoding="utf-8"))["version"]
        for name in wanted
        if (file := BASELINES / "node_modules" / name / "package.json").exists()
    }
    if node is None or found != wanted:
        pytest.skip("the baselines on Node are not installed: python tools/install_foreign_clients.py")
    return [node, str(BASELINES / program), *([str(PROTO)] if program == "grpcjs_relay.mjs" else [])]


@pytest.fixture
def start() -> Iterator[Callable[[str], int]]:
    """Start baselines, each of which gives its port, and SIGTERM ends; nothing may have gone wrong in them."""
    running: list[subprocess.Popen[str]] = []

    def started(program: str) -> int:
        process = subprocess.Popen(
            command_of(program), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        said, _, port = process.stdout.readline().rpartition(":")
        assert said == "listening on 127.0.0.1"
        return int(port)

    yield started
    for process in running:
        process.terminate()
        try:
            _, errors = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            process.kill()
        assert errors == ""


@pytest.fixture(autouse=True)
async def time_limit() -> AsyncIterator[None]:
    async with asyncio.timeout(LIMIT_SECONDS):
        yield


async def peers(stack: contextlib.AsyncExitStack, url: str, *ids: str) -> list[SignalingClient]:
    """Announced clients, with all that an announcement may hold."""
    clients = []
    for peer_id in ids:
        client = await connect(url)
        stack.push_async_callback(client.close)
        await client.announce(peer_id, room="a room", metadata={"name": "value"})
        clients.append(client)
    return clients


@pytest.mark.parametrize("program", SIGNALING)
async def test_what_is_relayed_arrives_as_it_was_sent_and_is_acknowledged(program, start):
    url = f"{SIGNALING[program]}://127.0.0.1:{start(program)}"
    async with contextlib.AsyncExitStack() as stack:
        alice, bob = await peers(stack, url, "alice", "bob")
        inbox = bob.events()
        relayed = await alice.offer("bob", 'v=0\r\n"é"')
        offer = await anext(inbox)
        assert relayed.offer_id.startswith("alice_bob_")
        assert (offer.kind, offer.from_peer_id, offer.offer_id) == ("offer", "alice", relayed.offer_id)
        assert (offer.sdp, offer.type) == ('v=0\r\n"é"', "offer")

        await bob.answer("alice", "v=0 answer")
        answer = await anext(alice.events())
        assert (answer.kind, answer.from_peer_id) == ("answer", "bob")
        assert (answer.sdp, answer.type) == ("v=0 answer", "answer")

        await alice.ice_candidate("bob", "candidate:1", sdp_mid="0", sdp_mline_index=0, username_fragment="abcd")
        full = await anext(inbox)
        assert (full.kind, full.from_peer_id, full.candidate) == ("ice_candidate", "alice", "candidate:1")
        assert (full.sdp_mid, full.sdp_mline_index, full.username_fragment) == ("0", 0, "abcd")
        await alice.ice_candidate("bob", "candidate:2")
        bare = await anext(inbox)
        assert (bare.candidate, bare.sdp_mid, bare.sdp_mline_index) == ("candidate:2", None, None)


@pytest.mark.parametrize("program", SIGNALING)
async def test_bursts_from_several_to_one_all_arrive_in_their_senders_order(program, start):
    url = f"{SIGNALING[program]}://127.0.0.1:{start(program)}"
    async with contextlib.AsyncExitStack() as stack:
        alice, *others = await peers(stack, url, "alice", "bob", "carol", "dave")
        inbox = alice.events()
        # Alice's own requests are acknowledged on the stream that the relays to her come on.
        bursts = [sender.ice_candidate("alice", str(number)) for number in range(8) for sender in others]
        await asyncio.gather(*bursts, *(alice.ice_candidate("bob", str(number)) for number in range(8)))
        arrived: dict[str, list[str]] = {}
        for _ in bursts:
            event: Any = await anext(inbox)
            arrived.setdefault(event.from_peer_id, []).append(event.candidate)
        eight = [str(number) for number in range(8)]
        assert arrived == {"bob": eight, "carol": eight, "dave": eight}


@pytest.mark.parametrize("program", SIGNALING)
async def test_a_peer_that_has_gone_costs_nobody_else_anything(program, start):
    url = f"{SIGNALING[program]}://127.0.0.1:{start(program)}"
    async with contextlib.AsyncExitStack() as stack:
        alice, bob, carol = await peers(stack, url, "alice", "bob", "carol")
        await carol.close()
        await alice.offer("carol", "v=0")
        await alice.offer("bob", "v=0")
        assert (await anext(bob.events())).kind == "offer"


async def test_every_member_that_the_relays_of_websocket_do_not_know_is_ignored(start):
    for program in ("ws_relay.mjs", "websockets_relay.py"):
        async with websocket_connect(f"ws://127.0.0.1:{start(program)}/", proxy=None) as connection:
            params = {"peer_id": "alice", "capabilities": {"audio": True}, "room": "r", "other": [1]}
            call = {"jsonrpc": "2.0", "id": "one", "method": "announce", "params": params, "traceparent": "00"}
            await connection.send(json.dumps(call))
            assert json.loads(await connection.recv()) == {
                "jsonrpc": "2.0",
                "result": {"peer_id": "alice", "peers_count": 0, "other_peers": []},
                "id": "one",
            }


async def test_peerjs_opens_and_relays_with_the_senders_id(start):
    url = f"ws://127.0.0.1:{start('peerjs_server.mjs')}/peerjs?key=peerjs&token=t&id="
    async with (
        websocket_connect(f"{url}alice", proxy=None) as alice,
        websocket_connect(f"{url}bob", proxy=None) as bob,
    ):
        for connection in (alice, bob):
            assert json.loads(await connection.recv()) == {"type": "OPEN"}
        for number in range(8):
            await alice.send(json.dumps({"type": "OFFER", "dst": "bob", "payload": {"sdp": "v=0", "n": number}}))
        for number in range(8):
            assert json.loads(await bob.recv()) == {
                "type": "OFFER",
                "src": "alice",
                "dst": "bob",
                "payload": {"sdp": "v=0", "n": number},
            }


# The floor.


class TcpPeer:
    """A connection to tcp_relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *payloads: bytes) -> None:
        self.writer.write(frames(*payloads))

    async def next(self) -> bytes:
        (size,) = struct.unpack(">I", await self.reader.readexactly(4))
        return await self.reader.readexactly(size)


def frames(*payloads: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads)


@pytest.fixture
async def meet(start: Callable[[str], int]) -> AsyncIterator[Callable[..., Any]]:
    """Connections to one tcp_relay that have said hello."""
    port = start("tcp_relay.py")
    peers: list[TcpPeer] = []

    async def said_hello(name: str, room: str = "") -> TcpPeer:
        peers.append(TcpPeer(*await asyncio.open_connection("127.0.0.1", port)))
        peers[-1].send(f"H{name}\n{room}".encode())
        assert await peers[-1].next() == b"A"
        return peers[-1]

    yield said_hello
    for peer in peers:
        peer.writer.close()
        await peer.writer.wait_closed()


async def test_the_floor_relays_and_acknowledges_frames_that_come_together(meet):
    alice, bob = await meet("alice"), await meet("bob")
    alice.send(*(b"Rbob\nbody\n%d" % number for number in range(8)))
    assert [await bob.next() for _ in range(8)] == [b"Ebody\n%d" % number for number in range(8)]
    assert [await alice.next() for _ in range(8)] == [b"A"] * 8


async def test_the_floor_puts_frames_together_that_come_in_parts(meet):
    alice, bob = await meet("alice"), await meet("bob")
    wire = frames(b"Rbob\nfirst", b"Rbob\n", b"Rbob\nlast")
    for cut in range(len(wire)):
        for part in (wire[:cut], wire[cut:]):
            alice.writer.write(part)
            await alice.writer.drain()
        assert [await bob.next() for _ in range(3)] == [b"Efirst", b"E", b"Elast"]
        assert [await alice.next() for _ in range(3)] == [b"A"] * 3
    # Larger than one read, and relayed to its sender, too.
    large = bytes(2**20)
    alice.send(b"Ralice\n" + large)
    assert [await alice.next() for _ in range(2)] == [b"E" + large, b"A"]


async def test_the_floor_tells_a_room_who_joins_it_and_no_other(meet):
    alice, bob, carol = await meet("alice", "r"), await meet("bob", "r"), await meet("carol", "elsewhere")
    joined = b"J" + bytes(150)
    assert await alice.next() == joined
    bob.writer.close()
    await bob.writer.wait_closed()
    await meet("dave", "r")
    assert await alice.next() == joined
    # What each of them gets next shows that there was nothing else.
    alice.send(b"Rcarol\nbody", b"Rbob\nbody")
    assert await carol.next() == b"Ebody"
    assert [await alice.next() for _ in range(2)] == [b"A"] * 2
