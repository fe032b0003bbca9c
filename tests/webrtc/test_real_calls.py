"""Calls of aiortc with aiortc through a real server, over every pairing of protocols."""

import asyncio
import contextlib
import gc
import random

import pytest

import time_limits
from lossy_proxy import LossyProxy
from served import servers
from sigbridge import AnswerReceived, Offer, Reconnecting, Resumed
from sigbridge_client import connect

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack

from sigbridge_client.webrtc import CallEnded, Calls
from sigbridge_compat.rtc_peer import stay_on_loopback
from waiting import TIME_LIMIT_SECONDS, until

PROTOCOLS = ("grpc", "websocket")
pairings = pytest.mark.parametrize(("one", "other"), [(one, other) for one in PROTOCOLS for other in PROTOCOLS])
LIMIT_SECONDS = 4 * TIME_LIMIT_SECONDS
"""Time limit of a test: a busy machine takes its time for so many calls."""


class Peer:
    """A peer that makes and takes calls; each of its connections has a data channel that needs no offer of its own."""

    def __init__(self, client):
        self.client = client
        self.made = []
        self.heard = asyncio.Queue()
        self.calls = Calls(client, self.build)

    def build(self, configuration, call):
        connection = RTCPeerConnection(configuration)
        connection.channel = connection.createDataChannel("talk", negotiated=True, id=0)
        connection.channel.on("message", self.heard.put_nowait)
        self.made.append(connection)
        return connection

    @property
    def open(self):
        return [connection for connection in self.made if connection.connectionState != "closed"]

    async def say(self, call, text):
        channel = call.connection.channel
        await until(lambda: channel.readyState == "open")
        channel.send(text)


class World:
    """A server, and peers of it; those through the proxy may lose their connections."""

    def __init__(self, stack, server):
        self.stack = stack
        self.server = server
        self.peers = []

    async def peer(self, protocol, name, proxy=None):
        port = self.server.grpc_port if protocol == "grpc" else self.server.websocket_port
        if proxy:
            self.proxy = await self.stack.enter_async_context(LossyProxy({"server": port}))
            port = self.proxy.ports["server"]
        scheme = "grpc" if protocol == "grpc" else "ws"
        client = await self.stack.enter_async_context(await connect(f"{scheme}://127.0.0.1:{port}"))
        await client.announce(name)
        peer = Peer(client)
        await self.stack.enter_async_context(peer.calls)
        self.peers.append(peer)
        return peer


@pytest.fixture
async def world():
    """All connections are closed in the end, no task is left, and no exception went unheard."""
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    before = asyncio.all_tasks()
    time_limits.allow(LIMIT_SECONDS + TIME_LIMIT_SECONDS)
    async with asyncio.timeout(LIMIT_SECONDS), contextlib.AsyncExitStack() as stack:
        stack.enter_context(stay_on_loopback())
        start = await stack.enter_async_context(servers())
        world = World(stack, await start(takeover="always"))
        yield world
    for peer in world.peers:
        assert peer.open == []
    await until(lambda: asyncio.all_tasks() - {asyncio.current_task()} <= before)
    gc.collect()
    assert faults == []


async def talk(one, other, call, answered):
    """Lets two say something to each other over their connection."""
    await one.say(call, "hello")
    assert await other.heard.get() == "hello"
    await other.say(answered, "goodbye")
    assert await one.heard.get() == "goodbye"


async def taken(peer):
    return await anext(aiter(peer.calls))


@pairings
async def test_one_calls_the_other_and_hangs_up(world, one, other):
    alice, bob = await world.peer(one, "alice"), await world.peer(other, "bob")
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    assert (call.state, answered.state) == ("connected", "connected")
    await talk(alice, bob, call, answered)
    await call.hang_up()
    assert await answered.ended() == "peer_hung_up"
    assert await call.ended() == "hung_up"


async def test_tracks_are_heard(world):
    alice, bob = await world.peer("grpc", "alice"), await world.peer("websocket", "bob")
    heard = asyncio.Queue()

    def build(configuration, call):
        connection = RTCPeerConnection(configuration)
        connection.addTrack(AudioStreamTrack())
        connection.on("track", heard.put_nowait)
        return connection

    alice.calls._build = bob.calls._build = build
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    for track in [await heard.get(), await heard.get()]:
        assert (track.kind, (await track.recv()).sample_rate) == ("audio", 48000)


@pytest.mark.parametrize("calls", [6, pytest.param(100, marks=pytest.mark.soak)])
@pairings
async def test_both_call_at_once_again_and_again(world, one, other, calls):
    alice, bob = await world.peer(one, "alice"), await world.peer(other, "bob")
    for turn in range(calls):
        call, called = alice.calls.call("bob"), bob.calls.call("alice")
        await asyncio.gather(call.connected(), called.connected())
        await until(lambda: len(alice.open) == len(bob.open) == 1)
        assert (alice.open, bob.open) == ([call.connection], [called.connection])
        if turn == 0:
            await talk(alice, bob, call, called)
        (call if turn % 2 else called).hang_up()
        assert sorted(await asyncio.gather(call.ended(), called.ended())) == ["hung_up", "peer_hung_up"]
        alice.made.clear()
        bob.made.clear()


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.soak)])
@pairings
async def test_a_call_right_behind_a_hang_up_is_a_new_one(world, one, other, times):
    alice, bob = await world.peer(one, "alice"), await world.peer(other, "bob")
    for _ in range(times):
        call = alice.calls.call("bob")
        answered = await taken(bob)
        await asyncio.gather(call.connected(), answered.connected())
        call.hang_up()
        again = alice.calls.call("bob")
        assert again is not call
        answered_again = await taken(bob)
        assert answered_again is not answered
        assert await answered.ended() == "peer_hung_up"
        await asyncio.gather(again.connected(), answered_again.connected())
        await talk(alice, bob, again, answered_again)
        await again.hang_up()
        assert await answered_again.ended() == "peer_hung_up"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_call_stands_while_its_session_is_lost_and_resumed(world, protocol):
    alice, bob = await world.peer(protocol, "alice", proxy=True), await world.peer("websocket", "bob")
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    events = alice.calls.events()
    world.proxy.link.reset()
    while not isinstance(await anext(events), Reconnecting):
        pass
    await talk(alice, bob, call, answered)
    while not isinstance(await anext(events), Resumed):
        pass
    assert (call.state, answered.state) == ("connected", "connected")
    assert len(alice.made) == len(bob.made) == 1
    await answered.hang_up()
    assert await call.ended() == "peer_hung_up"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_call_comes_about_though_sessions_are_lost_meanwhile(world, protocol):
    alice, bob = await world.peer(protocol, "alice", proxy=True), await world.peer("websocket", "bob")
    send = alice.client.call
    lost = []

    async def call_and_lose(request):
        if isinstance(request, Offer) and not lost:
            lost.append(request)
            world.proxy.link.cut(0.5)
        return await send(request)

    alice.calls.work._client.call = call_and_lose
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    assert lost
    await talk(alice, bob, call, answered)


@pairings
async def test_a_peer_that_comes_again_by_the_same_id_is_called_anew(world, one, other):
    alice, bob = await world.peer(one, "alice"), await world.peer(other, "bob")
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    # As a page that is loaded again: its connections are gone, and nobody is told.
    reloaded = await world.peer(other, "bob")
    assert await call.ended() == "peer_left"
    assert await answered.ended() == "closed"
    again = reloaded.calls.call("alice")
    answered_again = await taken(alice)
    await asyncio.gather(again.connected(), answered_again.connected())
    await talk(reloaded, alice, again, answered_again)


async def test_who_is_not_there_is_not_found_and_who_leaves_is_missed(world):
    alice, bob = await world.peer("grpc", "alice"), await world.peer("websocket", "bob")
    with pytest.raises(CallEnded, match="peer_not_found"):
        await alice.calls.call("nobody").connected()
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    await bob.client.disconnect("bob")
    assert await call.ended() == "peer_left"


async def test_a_connection_that_is_closed_under_a_call_is_made_anew(world):
    alice, bob = await world.peer("grpc", "alice"), await world.peer("websocket", "bob")
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    before = call.connection
    await before.close()
    await until(lambda: call.connection not in (None, before) and answered.state == call.state == "connected")
    await talk(alice, bob, call, answered)
    assert len(alice.open) == len(bob.open) == 1


async def test_an_offer_that_cannot_be_set_leaves_nothing_behind_in_a_connection_that_comes_about(world):
    """aiortc would take half of it, and stumble over that when its first offer's checks are done."""
    alice, bob = await world.peer("grpc", "alice"), await world.peer("websocket", "bob")
    call = alice.calls.call("bob")
    await asyncio.gather(call.connected(), (await taken(bob)).connected())
    good = call.connection.localDescription.sdp
    mallory = await world.stack.enter_async_context(await connect(f"grpc://127.0.0.1:{world.server.grpc_port}"))
    await mallory.announce("mallory")
    sent = await mallory.offer("bob", good)
    answered = await taken(bob)
    await until_answered(mallory, sent.offer_id)
    bad = "".join(line for line in good.splitlines(keepends=True) if not line.startswith("a=setup"))
    await mallory.offer("bob", bad)
    await mallory.ice_candidate("bob", "", offer_id=sent.offer_id)
    assert (answered.peer_id, await answered.ended()) == ("mallory", "failed")


async def until_answered(client, offer_id):
    async for event in client.events():
        if isinstance(event, AnswerReceived) and event.offer_id == offer_id:
            return


async def test_descriptions_that_are_none_end_their_own_calls(world):
    alice, bob = await world.peer("grpc", "alice"), await world.peer("websocket", "bob")
    call = alice.calls.call("bob")
    answered = await taken(bob)
    await asyncio.gather(call.connected(), answered.connected())
    mallory = await world.stack.enter_async_context(await connect(f"grpc://127.0.0.1:{world.server.grpc_port}"))
    await mallory.announce("mallory")
    good = call.connection.localDescription.sdp.splitlines(keepends=True)
    chance = random.Random(7)
    for _ in range(100):
        lines = list(good)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(lines))
            lines[at : at + 1] = chance.choice(
                [[], [lines[at]] * 3, [lines[at][: len(lines[at]) // 2] + "\r\n"], ["a=\r\n"]]
            )
        sent = await mallory.offer("bob", "".join(lines))
        await mallory.ice_candidate("bob", "candidate:1 1 udp 1 999.0.0.1 x typ host", offer_id=sent.offer_id)
        if chance.randrange(2):
            await mallory.disconnect("bob", offer_id=sent.offer_id)
    await talk(alice, bob, call, answered)
    assert (call.state, answered.state) == ("connected", "connected")
