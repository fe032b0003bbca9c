"""Both engines of gRPC: clients that do not read, that are gone, or that want more than they may."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from channels import Ended, ended_grpc, freed_at_the_deadline, listening_client
from directories import Elsewhere
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from waiting import longer_and_longer, until

Start = Callable[..., Awaitable[Any]]


async def test_a_client_that_never_reads_is_freed_at_the_deadline(start: Start) -> None:
    served, sender, stalled = await freed_at_the_deadline(start, 0.5)
    await sender.send("2", offer=pb.OfferRequest(to_peer_id="stalled", sdp="s"))
    assert (await sender.receive()).error.code == 5
    if served.native:
        # Socket and all, though the client has still read nothing.
        await until(lambda: served.connections == 1)
    code, details, trailers = await stalled.end()
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Session ended: slow_consumer")
    assert trailers == {"signaling-disconnect": "slow_consumer", "signaling-reconnect": "yes"}


@pytest.mark.parametrize("talked_to", [True, False])
async def test_a_stopped_client_is_gone(start: Start, talked_to: bool) -> None:
    """At the send deadline where it is told something, else by its keepalive: the socket too, with the native engine."""
    reasons = {"slow_consumer"} if talked_to else {"keepalive_timeout", "connection_lost"}
    for seconds in longer_and_longer(0.5):
        # Of those that are not the subject, longer than the test may take.
        limits = dict.fromkeys(("send_deadline_seconds", "ping_interval_seconds", "ping_timeout_seconds"), 1000.0)
        if talked_to:
            limits |= {"send_deadline_seconds": seconds}
        else:
            limits |= {"ping_interval_seconds": 2 * seconds, "ping_timeout_seconds": 2 * seconds}
        served = await start(**limits)
        client = await listening_client(served.target, served.hub, "stopped")
        try:
            sender = await served.call()
            await sender.announce("sender")
            assert (await sender.receive()).notification.peer_joined.peer_id == "stopped"
            client.send_signal(signal.SIGSTOP)
            if talked_to:
                await sender.fill("stopped")
            assert (await sender.next_event()).peer_left.peer_id == "stopped"
            if served.native:
                await until(lambda served=served: served.connections == 1)
            break
        except (Ended, grpc.aio.AioRpcError):
            # Held up for so long, the sender has not read either.
            continue
        finally:
            client.kill()
            client.wait()
            assert ended_grpc(served.hub).keys() <= reasons


async def test_a_killed_client_is_gone_at_once(start: Start) -> None:
    served = await start()
    client = await listening_client(served.target, served.hub, "killed")
    other = await served.call()
    await other.announce("other")
    assert (await other.receive()).notification.peer_joined.peer_id == "killed"
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    assert (await other.receive()).notification.peer_left.peer_id == "killed"
    assert ended_grpc(served.hub) == {"connection_lost": 1}


@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancelled_call_is_a_lost_connection(
    start: Start, busy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    served = await start()
    channel = served.channel()
    for _ in range(20):
        call = await served.call(channel)
        await call.announce("a")
        if busy:
            await call.send("1", list_peers=pb.ListPeersRequest())
        call.raw.cancel()
        await until(lambda: served.hub.session_count == 0)
    assert ended_grpc(served.hub) == {"connection_lost": 20}
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


async def test_a_deadline_of_the_client(start: Start) -> None:
    for seconds in longer_and_longer(0.3):
        served = await start()
        try:
            call = await served.call(timeout=seconds)
            await call.announce("a")
        except (Ended, grpc.aio.AioRpcError):
            continue
        break
    assert (await call.end())[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: served.hub.session_count == 0)
    assert ended_grpc(served.hub) == {"connection_lost": 1}


async def test_nothing_is_read_while_a_response_is_awaited(start: Start) -> None:
    directory = Elsewhere()
    served = await start(directory=directory)
    call, other = await served.call(), await served.call()
    await call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    await call.send("2", list_peers=pb.ListPeersRequest())
    await until(lambda: directory.asked)
    # Another session's answer proves that the server has had the time.
    await other.send("3", list_peers=pb.ListPeersRequest())
    assert (await other.receive()).request_id == "3"
    assert served.hub.counters.requests["grpc", "list_peers", "ok"] == 1
    directory.asked[0].resolve(None, read_clock())
    assert [(await call.receive()).request_id for _ in range(2)] == ["1", "2"]


async def test_a_session_may_end_while_a_response_is_awaited(start: Start) -> None:
    directory = Elsewhere()
    served = await start(directory=directory)
    call = await served.call()
    await call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    await until(lambda: directory.asked)
    call.raw.cancel()
    await until(lambda: served.hub.session_count == 0)
    directory.asked[0].resolve(None, read_clock())
    assert served.hub.peer_count == 0


async def test_a_crowded_session_is_not_read_from(start: Start) -> None:
    served = await start()
    call = await served.call()
    # Answers as large as their questions, which nobody reads.
    total = 400

    async def flood() -> None:
        for _ in range(total):
            await call.send("x" * 20_000)

    (session,) = served.hub._sessions.values()
    flooding = asyncio.create_task(flood())
    taken = -1
    while session.request_count != taken:
        # Until it is so because of its client: for a moment it may be, since nothing was written yet.
        await until(lambda: session.outbox.queued_bytes > 256 * 1024)
        taken = session.request_count
        await served.unary(f"/{SERVICE_NAME}/GetPeers", b"")
    assert taken < total
    responses = [await call.receive() for _ in range(total)]
    assert {response.error.message for response in responses} == {"No request provided"}
    await flooding


async def test_a_reset_flood_leaves_nothing_and_hurts_nobody(start: Start) -> None:
    served = await start()
    other = await served.call()
    await other.announce("other")
    tasks = len(asyncio.all_tasks())
    channel = served.channel()
    for _ in range(15):
        multi: Any = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)
        calls = [multi(None) for _ in range(100)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
    await until(lambda: served.hub.session_count == 1)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await other.send("2", list_peers=pb.ListPeersRequest())
    assert (await other.receive()).request_id == "2"
    if served.native:
        # The last of them may come only now.
        await until(lambda: sum(len(one.wire._calls) for one in served.server._carrier.connections.accepted) == 1)
