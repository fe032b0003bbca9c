"""Both engines of gRPC: every way in which a server ends a session or a connection."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from channels import BIG_SDP, Ended
from sigbridge import DisconnectReason, Instant
from sigbridge_compat.identities import DescribedIdentities, token_of
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from waiting import longer_and_longer, until

Start = Callable[..., Awaitable[Any]]


async def test_draining_tells_everybody(start: Start) -> None:
    # Longer than the test may take: nobody waits for it to pass.
    served = await start(shutdown_grace_seconds=1000)
    calls = [await served.call() for _ in range(5)]
    for number, call in enumerate(calls):
        await call.announce(str(number))
    stopping = asyncio.create_task(served.server.stop())
    for call in calls:
        code, details, trailers = await call.end()
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "Session ended: draining")
        assert trailers == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}
    await stopping


async def test_a_call_to_a_draining_hub(start: Start) -> None:
    served = await start()
    channel = served.channel()
    await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel)
    served.hub.drain(read_clock())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "Server is draining: connect again after a pause"
    assert dict(refused.value.trailing_metadata()) == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}


async def test_who_never_announces_is_sent_away(start: Start) -> None:
    for seconds in longer_and_longer(0.1):
        served = await start(announce_timeout_seconds=seconds)
        call = await served.call()
        await call.send("1", list_peers=pb.ListPeersRequest())
        try:
            assert (await call.receive()).request_id == "1"
        except Ended:
            continue
        break
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trailers == {"signaling-disconnect": "announce_timeout", "signaling-reconnect": "yes"}


async def test_who_sends_nothing_itself_is_sent_away(start: Start) -> None:
    served = await start(silent_client_seconds=80, announce_timeout_seconds=1e6, send_deadline_seconds=1e6)
    silent, speaking = await served.call(), await served.call()
    await silent.announce("silent")
    await speaking.send("0", list_peers=pb.ListPeersRequest())
    assert (await speaking.receive()).request_id == "0"
    began = read_clock()
    for seconds in range(0, 110, 10):
        # The hub's own looks, at the time of the machine, are not due meanwhile.
        served.hub.expire(Instant(began.monotonic + seconds, began.unix + seconds))
        if seconds < 80:
            assert served.hub.session_count == 2
        await speaking.send(str(seconds), list_peers=pb.ListPeersRequest())
        assert (await speaking.receive()).request_id == str(seconds)
    code, details, trailers = await silent.end()
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "Session ended: keepalive_timeout")
    assert trailers == {"signaling-disconnect": "keepalive_timeout", "signaling-reconnect": "yes"}
    assert served.hub.session_count == 1


async def test_the_end_follows_what_was_queued(start: Start) -> None:
    served = await start()
    a, b = await served.call(), await served.call()
    await b.announce("b")
    await a.announce("a")
    await a.receive()
    for number in range(30):
        await a.send(str(number), offer=pb.OfferRequest(to_peer_id="b", sdp=f"{number}:{BIG_SDP[:5000]}"))
    for number in range(30):
        assert (await a.receive()).request_id == str(number)
    served.hub.drain(read_clock())
    assert (await b.receive()).notification.peer_joined.peer_id == "a"
    for number in range(30):
        assert (await b.receive()).notification.offer.sdp.startswith(f"{number}:")
    assert (await b.end())[2]["signaling-disconnect"] == "draining"


async def test_a_session_that_the_hub_ends_is_told_the_reason(start: Start) -> None:
    served = await start()
    call = await served.call()
    (session,) = served.hub._sessions.values()
    served.hub.end(session, DisconnectReason.PROTOCOL_ERROR, read_clock())
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.INTERNAL
    assert trailers == {"signaling-disconnect": "protocol_error", "signaling-reconnect": "no"}


async def test_an_old_connection_is_closed_with_its_streams(start: Start) -> None:
    for seconds in longer_and_longer(0.1):
        served = await start(grpc_max_connection_age_seconds=seconds, shutdown_grace_seconds=seconds)
        channel = served.channel()
        try:
            call = await served.call(channel)
            await call.announce("a")
        except (Ended, grpc.aio.AioRpcError):
            continue
        assert (await call.end())[0] is grpc.StatusCode.UNAVAILABLE
        await until(lambda served=served: served.hub.session_count == 0)
        # The same channel goes on with a new connection, whose time is as short.
        with contextlib.suppress(grpc.aio.AioRpcError):
            assert await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel, wait_for_ready=True)
            break


async def test_an_idle_connection_is_closed_and_its_channel_goes_on(start: Start) -> None:
    served = await start(grpc_max_connection_idle_seconds=0.2)
    channel = served.channel()
    for _ in range(2):
        assert await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel)
        await until(lambda: channel.get_state() is grpc.ChannelConnectivity.IDLE)


async def test_a_token_that_expires_and_one_that_narrows_end_a_session(start: Start) -> None:
    served = await start(authenticator=DescribedIdentities())
    for token, status, word, again in (
        (token_of("a", expires_in=0.0), grpc.StatusCode.UNAUTHENTICATED, "token_expired", "yes"),
        (token_of("a", peer_ids=("b",)), grpc.StatusCode.PERMISSION_DENIED, "revoked", "no"),
    ):
        call = await served.call()
        await call.send("1", authenticate=pb.AuthenticateRequest(token=token_of("a", peer_ids=("a",))))
        reply = await call.receive()
        assert (reply.request_id, reply.ack.message) == ("1", "Authenticated as a")
        assert reply.ack.data == '{"subject":"a","expires_at":null}'
        await call.announce("a")
        await call.send("2", authenticate=pb.AuthenticateRequest(token=token))
        assert (await call.receive()).request_id == "2", "the response comes before the end"
        code, details, trailers = await call.end()
        assert (code, details) == (status, f"Session ended: {word}")
        assert trailers == {"signaling-disconnect": word, "signaling-reconnect": again}
    assert served.hub.peer_count == 0


async def test_a_review_ends_a_session(start: Start) -> None:
    served = await start(authenticator=DescribedIdentities())
    alice, bob = await served.call(), await served.call()
    await alice.send("1", authenticate=pb.AuthenticateRequest(token=token_of("alice")))
    await alice.receive()
    await bob.announce("bob")
    served.hub.review(lambda identity: None if identity.subject == "alice" else identity, read_clock())
    code, _, trailers = await alice.end()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert trailers == {"signaling-disconnect": "revoked", "signaling-reconnect": "no"}
    await bob.send("2", list_peers=pb.ListPeersRequest())
    assert (await bob.receive()).peer_list.count == 1
