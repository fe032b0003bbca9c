"""Two peers that call each other, hang up, fail and are lost as chance has it, on a bare hub; connections are pretended."""

import asyncio
import random

import pytest

from skipping_loop import VirtualLoop

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from pretended_connections import Ether
from sigbridge import ConnectionClosed, OutcomeUnknown, SessionLost, SignalingClient
from sigbridge.disconnects import DisconnectReason
from sigbridge_client.webrtc import Calls
from sigbridge_compat.hub_client import HubClient
from sigbridge_compat.worlds import bare_hub

PAIRS = [("alice", "bob"), ("bob", "alice"), ("z", "ä"), ("\U0001f600", "\uffee")]
SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(10, 30))]
PAUSES = [0, 0, 0.0005, 0.005, 0.05, 0.5]


class FarSession(HubClient):
    """A session whose requests and events are under way for a while, each kind in its order."""

    def __init__(self, hub, latency, chance):
        super().__init__(hub)
        self._latency = latency
        self._chance = chance
        self._sent_until = 0.0

    def _later(self):
        return self._loop.time() + self._chance.uniform(0, self._latency)

    async def _send(self, number, request):
        # The loop keeps no order among what is due in one moment.
        self._sent_until = max(self._sent_until + 1e-6, self._later())
        self._loop.call_at(self._sent_until, self._arrive, number, request)

    def _arrive(self, number, request):
        self._unread.append((number, request))
        self._read(self._now())

    def _wake(self):
        if not self._draining:
            self._draining = True
            self._loop.call_at(self._later(), self._drain)


class LosingClient(SignalingClient):
    """A client that loses its sessions for good, and announces itself anew each time."""

    def __init__(self, hub, latency, chance):
        super().__init__()
        self._open = lambda: FarSession(hub, latency, chance)
        self._hub = hub
        self._session = self._open()
        self._lost = []
        self._moved = asyncio.Event()

    @property
    def closed(self):
        return self._session.closed

    async def call(self, request):
        session = self._session
        try:
            return await session.call(request)
        except ConnectionClosed:
            if session is self._session:
                raise
            raise OutcomeUnknown("lost") from None

    async def lose(self):
        before, self._session = self._session, self._open()
        self._hub.end(before.session, DisconnectReason.CONNECTION_LOST, before._now())
        announced = await self._session.announce(self.peer_id)
        self._lost.append(SessionLost(self.peer_id, announced.other_peers))
        self._moved.set()

    async def events(self):
        session = None
        while session is not self._session:
            session = self._session
            async for event in session.events():
                if session is self._session:
                    yield event
            if session is not self._session:
                while not self._lost:
                    self._moved.clear()
                    await self._moved.wait()
                yield self._lost.pop()

    async def close(self):
        await self._session.close()


class Two:
    """Two peers of a hub; only callers add media, if `asymmetric`."""

    def __init__(self, names, ether, latency=0.0, asymmetric=False):
        self.names = names
        self.ether = ether
        self.latency = latency
        self.asymmetric = asymmetric
        self.world = bare_hub()

    async def __aenter__(self):
        self.clients = [LosingClient(self.world.hub, self.latency, self.ether.random) for _ in self.names]
        self.calls = [Calls(client, self.build) for client in self.clients]
        for calls, client, name in zip(self.calls, self.clients, self.names, strict=True):
            await calls.__aenter__()
            await client.announce(name)
        return self

    async def __aexit__(self, *exception):
        for calls in self.calls:
            await calls.close()
        for client in self.clients:
            await client.close()

    def build(self, configuration, call):
        connection = self.ether.build(configuration, call)
        connection.has_media = not (self.asymmetric and call.is_incoming)
        return connection

    def standing(self, side):
        return self.calls[side]._calls.get(self.names[1 - side])

    async def act(self, what, side):
        match what:
            case "call":
                self.calls[side].call(self.names[1 - side])
            case "hang up":
                if (call := self.standing(side)) is not None:
                    call.hang_up()
            case "fail":
                for connection in self.ether.open:
                    if connection.connectionState == "connected":
                        connection.become("failed")
            case "lose":
                await self.clients[side].lose()

    def agree(self):
        """Returns whether both have no call, or one with each other, and nothing else is open."""
        one, other = self.standing(0), self.standing(1)
        if one is None or other is None:
            return one is other and not self.ether.open
        if one.state != "connected" or other.state != "connected":
            return False
        return {one.connection, other.connection} == set(self.ether.open)

    async def settle(self):
        async with asyncio.timeout(600):
            held = 0
            while held < 100:
                await asyncio.sleep(0.01)
                held = held + 1 if self.agree() else 0


def play(program):
    async def run():
        faults = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        await program()
        assert faults == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def play_at_random(seed, actions, *, asymmetric=False):
    chance = random.Random(seed)

    async def program():
        ether = Ether(seed, step_seconds=chance.choice([0, 0.001, 0.01, 0.1]))
        async with Two(chance.choice(PAIRS), ether, chance.choice([0, 0.001, 0.01, 0.1]), asymmetric) as two:
            for _ in range(chance.randrange(1, 20)):
                await two.act(chance.choice(actions), chance.randrange(2))
                await asyncio.sleep(chance.choice(PAUSES))
            await two.settle()
        assert ether.faults == []
        assert ether.open == []

    play(program)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_that_call_and_hang_up_at_random_agree_in_the_end(seed):
    play_at_random(seed, ["call", "call", "hang up"])


@pytest.mark.parametrize("seed", SEEDS)
def test_two_whose_connections_fail_agree_in_the_end(seed):
    play_at_random(seed, ["call", "call", "call", "hang up", "fail"])


@pytest.mark.parametrize("seed", SEEDS)
def test_two_whose_sessions_are_lost_agree_in_the_end(seed):
    play_at_random(seed, ["call", "call", "call", "hang up", "lose"])


@pytest.mark.parametrize("actions", [["fail"], ["lose"], ["hang up", "fail", "lose"]], ids="-".join)
@pytest.mark.parametrize("seed", SEEDS)
def test_two_of_which_the_caller_alone_adds_media_agree_in_the_end(seed, actions):
    play_at_random(seed, ["call", "call", "call", *actions], asymmetric=True)
