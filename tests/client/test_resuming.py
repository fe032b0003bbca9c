"""Clients that reconnect, with real servers and a network that loses connections, on every way in."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from lossy_proxy import LossyProxy
from served import ANY_PORT, servers
from sigbridge import (
    ConnectionClosed,
    DisconnectReason,
    IceCandidateReceived,
    OfferReceived,
    OutcomeUnknown,
    PeerDisconnected,
    PeerLeft,
    Reconnecting,
    Relayed,
    Resumed,
    SessionLost,
    Settings,
)
from sigbridge.auth import Identity
from sigbridge.errors import unauthenticated
from sigbridge_client import connect
from sigbridge_net import client_keepalive
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS, until

WAYS = {
    "grpc": {"grpc_engine": "native"},
    "grpcio": {"grpc_engine": "grpcio"},
    "websocket": {},
    "dotted": {},
}
ways = pytest.mark.parametrize("way", WAYS)


class Program:
    """A client, and all that it is told."""

    def __init__(self, client):
        self.client = client
        self.told = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        async for event in self.client.events():
            self.told.append(event)

    def heard(self, kind):
        return [event for event in self.told if isinstance(event, kind)]

    async def close(self):
        await self.client.close()
        await self._reading


class World:
    """A server, alice behind a lossy network, and bob beside it."""

    def __init__(self, stack, server, way):
        self.stack = stack
        self.server = server
        self.way = way

    def port(self, way=None):
        return self.server.grpc_port if "grpc" in (way or self.way) else self.server.websocket_port

    async def connect(self, port, way=None, **how):
        scheme = "grpc" if "grpc" in (way or self.way) else "ws"
        dialect = "dotted" if (way or self.way) == "dotted" else "plain"
        program = Program(await connect(f"{scheme}://127.0.0.1:{port}", dialect=dialect, **how))
        self.stack.push_async_callback(program.close)
        return program

    async def meet(self, **how):
        self.proxy = await self.stack.enter_async_context(LossyProxy({"server": self.port()}))
        alice = await self.connect(self.proxy.ports["server"], **how)
        bob = await self.connect(self.port("websocket"), "websocket")
        await alice.client.announce("alice")
        await bob.client.announce("bob")
        return alice, bob

    def shut_out(self):
        """Lets nobody through any more."""
        self.proxy.open.clear()
        self.proxy.link.reset()

    async def start_anew(self):
        """Starts another server in place of the one that has stopped, and lets everybody through to it."""
        self.server = Server(Settings(**ANY_PORT | WAYS[self.way]))
        await self.server.start()
        self.stack.push_async_callback(self.server.stop, grace_seconds=0.5)
        self.proxy.upstreams["server"] = self.port()
        self.proxy.open.add("server")


@pytest.fixture
async def world(way):
    async with asyncio.timeout(TIME_LIMIT_SECONDS), servers() as start, AsyncExitStack() as stack:
        yield World(stack, await start(**WAYS[way]), way)


LOSSES = {
    "reset": lambda link: link.reset(),
    "half a message": lambda link: link.cut(0.5),
    "silence": lambda link: link.go_silent(),
}


@ways
@pytest.mark.parametrize("loss", LOSSES)
async def test_nothing_is_lost_or_doubled_or_out_of_order(world, monkeypatch, loss):
    """Whatever is acknowledged arrives once, in both directions, and nobody else hears of the losses."""
    alice, bob = await world.meet(keepalive_seconds=0.3)
    sent = 0
    for round_ in range(1, 4):
        LOSSES[loss](world.proxy.link)
        both = []
        for _ in range(10):
            sent += 1
            both.append(alice.client.ice_candidate("bob", f"a{sent}"))
            both.append(bob.client.ice_candidate("alice", f"b{sent}"))
        replies = asyncio.gather(*both)
        with monkeypatch.context() as impatience:
            # Silence is found out soon, but nowhere else: a machine that stands still says nothing either.
            impatience.setattr(client_keepalive, "REPLY_SECONDS", 0.1)
            await until(lambda round_=round_: len(alice.heard(Reconnecting)) == round_)
        assert {type(reply) for reply in await replies} == {Relayed}
        await until(lambda round_=round_: len(alice.heard(Resumed)) == round_)
    await until(lambda: len(alice.heard(IceCandidateReceived)) == len(bob.heard(IceCandidateReceived)) == sent)
    for program, sender in ((alice, "b"), (bob, "a")):
        heard = [event.candidate for event in program.heard(IceCandidateReceived)]
        assert heard == [f"{sender}{number}" for number in range(1, sent + 1)]
    assert bob.heard(PeerLeft) == []
    assert len(alice.heard(Reconnecting)) == 3
    assert alice.heard(SessionLost) == []
    assert world.proxy.let_in == 4


@ways
async def test_a_reply_that_was_lost_is_given_again(world):
    """The offer is made once, though it is asked for twice."""
    alice, bob = await world.meet()
    world.proxy.link.drop_answers()
    offering = asyncio.create_task(alice.client.offer("bob", "v=0"))
    await until(lambda: bob.heard(OfferReceived))
    # Bob hangs up before the reply to the offer gets through: it is over when it is known.
    await bob.client.disconnect("alice")
    world.proxy.link.reset()
    reply = await offering
    assert [event.offer_id for event in bob.heard(OfferReceived)] == [reply.offer_id]
    await until(lambda: alice.heard(PeerDisconnected))
    assert alice.client._calls.current("bob") == ""
    assert sum(world.server.hub.counters.repeated_requests.values()) == 1
    assert len(alice.heard(Resumed)) == 1


@ways
async def test_a_server_that_starts_anew_knows_nobody(world):
    alice, bob = await world.meet()
    await bob.client.close()
    world.shut_out()
    asking = asyncio.create_task(alice.client.ice_candidate("bob", "c"))
    await world.server.stop(grace_seconds=0)
    await world.start_anew()
    with pytest.raises(OutcomeUnknown):
        await asking
    await until(lambda: alice.heard(SessionLost))
    assert alice.heard(SessionLost) == [SessionLost("alice", ())]
    bob = await world.connect(world.port("websocket"), "websocket")
    assert (await bob.client.announce("bob")).other_peers == ("alice",)
    assert await alice.client.ice_candidate("bob", "d") == Relayed("bob")


@ways
async def test_a_server_that_drains_is_left_and_found_again(world):
    """It says when to come back, and the client does; the token of the old process is worth nothing."""
    alice, _ = await world.meet()
    world.proxy.open.clear()
    await world.server.stop(grace_seconds=1)
    await world.start_anew()
    await until(lambda: alice.heard(SessionLost))
    assert alice.heard(Reconnecting)[0].reason == "draining"
    assert alice.told[0].kind == "peer_joined"


@ways
async def test_who_is_replaced_or_revoked_does_not_come_back(world):
    alice, _ = await world.meet()
    session = next(s for s in world.server.hub._sessions.values() if s.peer.peer_id == "alice")
    world.server.hub.end(session, DisconnectReason.REVOKED, read_clock())
    await until(lambda: alice.client.closed)
    assert (alice.client.closed.reason, alice.client.closed.reconnect) == ("revoked", False)
    assert alice.heard(Reconnecting) == []
    with pytest.raises(ConnectionClosed):
        await alice.client.list_peers()


@ways
async def test_closing_leaves_at_once_while_it_stands(world):
    alice, bob = await world.meet()
    await alice.close()
    await until(lambda: bob.heard(PeerLeft))
    await until(lambda: world.server.hub.session_count == 1)
    assert alice.client.closed.reason == "client_left"


@ways
async def test_closing_while_nobody_can_be_reached(world):
    alice, _ = await world.meet()
    world.shut_out()
    asking = asyncio.create_task(alice.client.ice_candidate("bob", "c"))
    await until(lambda: alice.heard(Reconnecting))
    await alice.close()
    with pytest.raises(ConnectionClosed, match="client_left"):
        await asking


@pytest.mark.parametrize("way", ["grpc"])
@pytest.mark.parametrize("order", [("grpc", "ws"), ("ws", "grpc")])
async def test_what_is_missing_comes_over_the_other_protocol(world, order):
    ports = {"grpc": world.server.grpc_port, "ws": world.server.websocket_port}
    async with LossyProxy(ports) as proxy:
        alice = Program(await connect([f"{scheme}://127.0.0.1:{proxy.ports[scheme]}" for scheme in order]))
        bob = await world.connect(world.server.websocket_port, "websocket")
        await alice.client.announce("alice")
        await bob.client.announce("bob")
        first, second = order
        assert proxy.link.way == first
        proxy.open.remove(first)
        proxy.link.reset()
        asking = asyncio.create_task(alice.client.offer("bob", "v=0"))
        await bob.client.ice_candidate("alice", "c")
        reply = await asking
        await until(lambda: alice.heard(IceCandidateReceived) and bob.heard(OfferReceived))
        assert bob.heard(OfferReceived)[0].offer_id == reply.offer_id
        assert proxy.link.way == second
        # The last good one is the first that is tried again.
        proxy.open.add(first)
        proxy.link.reset()
        await until(lambda: len(alice.heard(Resumed)) == 2)
        assert (proxy.link.way, proxy.let_in) == (second, 3)
        assert alice.heard(SessionLost) == []
        await alice.close()


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
async def test_the_first_connect_raises_where_none_can_be_reached(scheme):
    with pytest.raises(ConnectionClosed, match="cannot connect") as closed:
        await connect([f"{scheme}://127.0.0.1:1", "ws://127.0.0.1:1", "grpc://127.0.0.1:1"])
    assert closed.value.reconnect is True


class Door:
    """Lets in by one token, which a test changes."""

    def __init__(self):
        self.token = "first"
        self.shown = []

    def authenticate(self, credentials, now):
        self.shown.append(credentials.token)
        if credentials.token != self.token:
            raise unauthenticated()
        return Identity("alice")


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
async def test_a_fresh_token_is_shown_at_each_connection_and_asked_for_again_where_it_is_refused(scheme):
    door, given = Door(), ["first", "first", "second"]
    async with asyncio.timeout(TIME_LIMIT_SECONDS), servers() as start:
        server = await start(authenticator=door)
        port = server.grpc_port if scheme == "grpc" else server.websocket_port
        async with LossyProxy({"server": port}) as proxy:
            alice = Program(await connect(f"{scheme}://127.0.0.1:{proxy.ports['server']}", token=lambda: given.pop(0)))
            await alice.client.announce("alice")
            door.token = "second"
            proxy.link.reset()
            await until(lambda: alice.heard(Resumed))
            assert door.shown[:3] == ["first", "first", "second"]
            # Where there is no fresh one it is over.
            given += ["second", "second"]
            door.token = "third"
            proxy.link.reset()
            await until(lambda: alice.client.closed)
            assert alice.client.closed.reason == "unauthenticated"
            assert given == []
            await alice.close()


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
async def test_a_source_of_tokens_that_is_cancelled_is_asked_again_and_the_client_comes_back(scheme):
    door, asked = Door(), []

    async def source():
        asked.append(door.token)
        if len(asked) == 2:
            # As of a task that a program has cancelled.
            raise asyncio.CancelledError
        return door.token

    async with asyncio.timeout(TIME_LIMIT_SECONDS), servers() as start:
        server = await start(authenticator=door)
        port = server.grpc_port if scheme == "grpc" else server.websocket_port
        async with LossyProxy({"server": port}) as proxy:
            alice = Program(await connect(f"{scheme}://127.0.0.1:{proxy.ports['server']}", token=source))
            await alice.client.announce("alice")
            proxy.link.reset()
            await until(lambda: alice.heard(Resumed))
            assert len(asked) == 3
            await alice.close()


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
async def test_a_token_that_was_shown_in_the_session_is_the_next_ones(scheme):
    door = Door()
    async with asyncio.timeout(TIME_LIMIT_SECONDS), servers() as start:
        server = await start(authenticator=door)
        port = server.grpc_port if scheme == "grpc" else server.websocket_port
        async with LossyProxy({"server": port}) as proxy:
            alice = Program(await connect(f"{scheme}://127.0.0.1:{proxy.ports['server']}", token="first"))
            await alice.client.announce("alice")
            door.token = "second"
            await alice.client.authenticate("second")
            proxy.link.reset()
            await until(lambda: alice.heard(Resumed))
            await alice.close()
