"""The real thing, over every pairing: two WebRTC peers negotiate through the server and exchange bytes."""

import pytest

from sigbridge import AnswerReceived, IceCandidateReceived, OfferReceived, PeerDisconnected
from sigbridge_compat.scenario import Meeting

pytest.importorskip("aiortc", reason="the demo extra is not installed")

from sigbridge_compat.webrtc_call import GREETING, exchange_bytes

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("world", ["server_world", "deferred_server_world", "hub_world"], indirect=True)
@pytest.mark.parametrize("receiver", ["grpc", "websocket"])
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
