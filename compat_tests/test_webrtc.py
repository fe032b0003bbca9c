"""The real thing, over every pairing: two WebRTC peers negotiate through the server and exchange bytes."""

import asyncio

import pytest

from sigbridge import (
    Answer,
    AnswerReceived,
    IceCandidateReceived,
    OfferAnswered,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
)
from sigbridge_compat.scenario import Meeting
from sigbridge_compat.ways import DOTTED

pytest.importorskip("aiortc", reason="the demo extra is not installed")

from sigbridge_compat.rtc_peer import ObservedClient, RtcPeer, stay_on_loopback
from sigbridge_compat.webrtc_call import GREETING, exchange_bytes

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("world", ["server_world", "deferred_server_world", "hub_world"], indirect=True)
@pytest.mark.parametrize("receiver", ["grpc", "websocket", DOTTED])
@pytest.mark.parametrize("sender", ["grpc", "websocket"])
async def test_two_webrtc_peers_exchange_bytes(world, sender, receiver):
    seen = {"caller": [], "callee": []}
    async with Meeting(world.ways[sender], world.ways[receiver], patience_seconds=30) as meet:
        caller = await world.ways[sender].connect()
        callee = await world.ways[receiver].connect()
        async with caller, callee:
            await caller.announce("caller", room=meet.room)
            await callee.announce("callee", room=meet.room)
            there, back = await exchange_bytes(
                caller, callee, observe_caller=seen["caller"].append, observe_callee=seen["callee"].append
            )
    assert there == GREETING
    assert back == GREETING[::-1]
    heard_by_callee = [type(message) for message in seen["callee"]]
    heard_by_caller = [type(message) for message in seen["caller"]]
    assert heard_by_callee.count(OfferReceived) == 1
    assert heard_by_caller.count(AnswerReceived) == 1
    # One candidate on loopback and the end of candidates, in each direction.
    for one in ("caller", "callee"):
        candidates = [message.candidate for message in seen[one] if isinstance(message, IceCandidateReceived)]
        assert len(candidates) == 2
        assert "127.0.0.1" in candidates[0]
        assert candidates[1] == ""
    assert PeerDisconnected not in heard_by_caller


@pytest.mark.parametrize("receiver", ["grpc", "websocket", DOTTED])
@pytest.mark.parametrize("callee_id", ["callee", "remotemedia-server"])
async def test_a_caller_in_the_dotted_dialect_exchanges_bytes(server_world, receiver, callee_id):
    seen = []
    async with Meeting(server_world.ways[DOTTED], server_world.ways[receiver], patience_seconds=30) as meet:
        caller = await server_world.ways[DOTTED].connect()
        callee = await server_world.ways[receiver].connect()
        async with caller, callee:
            await caller.announce("caller", room=meet.room)
            await callee.announce(callee_id, room=meet.room)
            there, back = await exchange_bytes(caller, callee, observe_caller=seen.append)
    assert there == GREETING
    assert back == GREETING[::-1]
    answers = [type(message) for message in seen if isinstance(message, AnswerReceived | OfferAnswered)]
    assert answers == [OfferAnswered if callee_id == "remotemedia-server" else AnswerReceived]


class SlowToAnswer(ObservedClient):
    """A client whose first answer waits until it may go."""

    def __init__(self, client):
        super().__init__(client, lambda message: None)
        self.waits = asyncio.Event()
        self.may_go = asyncio.Event()

    async def call(self, request):
        if isinstance(request, Answer):
            self.waits.set()
            await self.may_go.wait()
        return await super().call(request)


@pytest.mark.parametrize("world", ["server_world", "deferred_server_world", "hub_world"], indirect=True)
@pytest.mark.parametrize("receiver", ["grpc", "websocket"])
@pytest.mark.parametrize("sender", ["grpc", "websocket"])
async def test_a_call_opens_where_the_answer_to_the_one_before_comes_late(world, sender, receiver):
    offered = asyncio.Queue()

    def observe(message):
        if isinstance(message, OfferRelayed):
            offered.put_nowait(message)

    async with Meeting(world.ways[sender], world.ways[receiver], patience_seconds=30) as meet, asyncio.timeout(60):
        caller = await world.ways[sender].connect()
        callee = SlowToAnswer(await world.ways[receiver].connect())
        with stay_on_loopback():
            async with caller, callee, RtcPeer(caller, observe=observe) as alice, RtcPeer(callee) as bob:
                await caller.announce("caller", room=meet.room)
                await callee.announce("callee", room=meet.room)
                given_up = asyncio.create_task(alice.call("callee"))
                await offered.get()
                await callee.waits.wait()
                given_up.cancel()
                await asyncio.gather(given_up, return_exceptions=True)
                calling = asyncio.create_task(alice.call("callee"))
                await offered.get()
                callee.may_go.set()
                outgoing, incoming = await asyncio.gather(calling, bob.answer_calls())
                await outgoing.send(GREETING)
                assert await incoming.receive() == GREETING
                await incoming.send(GREETING[::-1])
                assert await outgoing.receive() == GREETING[::-1]
