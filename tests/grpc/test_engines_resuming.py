"""Both engines of gRPC: sessions that are lost or leave, and what those who asked are told at the end and before it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import msgspec
import pytest

from channels import BytesCall, Ended
from sigbridge import DisconnectReason
from sigbridge_compat.identities import DescribedIdentities, token_of
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_net.clock import read_clock
from waiting import longer_and_longer, until

Start = Callable[..., Awaitable[Any]]


async def announce(call: BytesCall, peer_id: str, **asked: Any) -> dict[str, Any]:
    """The result of an announce."""
    await call.send("announce", announce=pb.AnnounceRequest(peer_id=peer_id, **asked))
    result: dict[str, Any] = msgspec.json.decode((await call.receive()).ack.data)
    return result


@pytest.mark.parametrize("way", ["cancelled", "closed", "deadline", "left"])
async def test_whose_client_is_lost_is_held_and_whose_client_leaves_is_not(start: Start, way: str) -> None:
    for seconds in longer_and_longer(1.0):
        served = await start()
        channel, bob = served.channel(), await served.call()
        try:
            call = await served.call(channel, **({"timeout": seconds} if way == "deadline" else {}))
            token = (await announce(call, "alice", resumable=True))["resume_token"]
        except (Ended, grpc.aio.AioRpcError):
            assert way == "deadline"
            continue
        break
    await announce(bob, "bob")
    if way == "left":
        await call.raw.done_writing()
        assert (await call.end())[0] is grpc.StatusCode.OK
    elif way == "closed":
        await channel.close()
    elif way == "cancelled":
        call.raw.cancel()
    await until(lambda: served.hub.session_count == 1)
    word = "client_left" if way == "left" else "connection_lost"
    assert served.hub.counters.disconnects["grpc", word] == 1
    assert served.hub.peer_count == (1 if way == "left" else 2)
    again = await served.call()
    result = await announce(again, "alice", resume_token=token, last_seq=0)
    assert result["resumed"] is (way != "left")
    event = await again.receive()
    assert (event.seq, event.notification.peer_joined.peer_id) == (1, "bob")


async def test_who_asked_is_told_when_to_come_back(start: Start) -> None:
    served = await start()
    calls = [await served.call() for _ in range(3)]
    for number, asked in enumerate(({"resumable": True}, {"notices": True}, {})):
        await announce(calls[number], str(number), **asked)
    for session in list(served.hub._sessions.values()):
        served.hub.end(session, DisconnectReason.FLOODING, read_clock())
    common = {"signaling-disconnect": "flooding", "signaling-reconnect": "yes"}
    ends = [(await call.end())[2] for call in calls]
    assert ends == [common | {"signaling-retry-after-ms": "5000"}] * 2 + [common]


async def test_a_shutdown_tells_those_who_asked_and_lets_all_go_on_meanwhile(start: Start) -> None:
    # Longer than the test may take: nobody waits for half of it to pass.
    served = await start(shutdown_grace_seconds=1000)
    channel = served.channel()
    alice, bob = await served.call(channel), await served.call()
    await announce(alice, "alice", notices=True)
    await announce(bob, "bob")
    await bob.receive()
    assert (await alice.receive()).notification.peer_joined.peer_id == "bob"
    began = read_clock().unix
    stopping = asyncio.create_task(served.server.stop())
    notice = (await alice.receive()).notification.server_notice
    assert (notice.kind, 1 <= notice.reconnect_after_ms <= 1000) == ("draining", True)
    assert began + 499 < notice.deadline_unix_ms / 1000 < read_clock().unix + 501
    assert not served.hub.serving
    await alice.send("1", offer=pb.OfferRequest(to_peer_id="bob", sdp="v=0"))
    assert (await alice.receive()).request_id == "1"
    assert (await bob.receive()).notification.offer.sdp == "v=0"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call(channel)
    assert refused.value.details() == "Server is draining: connect again after a pause"
    # With the last one who asked, the rest ends at once.
    await alice.raw.done_writing()
    code, details, trailers = await bob.end()
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "Session ended: draining")
    assert trailers == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}
    await stopping


async def test_who_stays_is_ended_at_half_of_the_grace(start: Start) -> None:
    for seconds in longer_and_longer(0.5):
        served = await start(shutdown_grace_seconds=seconds)
        call = await served.call()
        await announce(call, "alice", resumable=True)
        stopping = asyncio.create_task(served.server.stop())
        assert (await call.receive()).notification.server_notice.kind == "draining"
        code, _, trailers = await call.end()
        await stopping
        if "signaling-disconnect" in trailers:
            # The other half sufficed to tell it so.
            break
    assert code is grpc.StatusCode.UNAVAILABLE
    assert trailers["signaling-disconnect"] == "draining"
    assert 1 <= int(trailers["signaling-retry-after-ms"]) <= 1000


async def test_a_token_that_is_about_to_expire(start: Start) -> None:
    served = await start(authenticator=DescribedIdentities())
    call = await served.call()
    await call.send("1", authenticate=pb.AuthenticateRequest(token=token_of("a", expires_in=50.0)))
    await call.receive()
    await announce(call, "a", notices=True)
    notice = (await call.receive()).notification.server_notice
    assert (notice.kind, notice.reconnect_after_ms) == ("token_expiring", 0)
    assert abs(notice.deadline_unix_ms / 1000 - read_clock().unix - 50) < 30
