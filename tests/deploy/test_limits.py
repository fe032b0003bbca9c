"""Rates and memory, as clients of both protocols meet them."""

import asyncio
import json

import grpc
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.settings import Settings
from sigbridge_client import connect
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_server.memory import MemoryWatch
from waiting import TIME_LIMIT_SECONDS

AT_ONCE = 5
"""Requests that leave together, so that the server refuses some however slow the machine is."""


async def _grpc_refusal(session):
    """The last refusal of requests that leave together; they leave again where the server has let in all."""
    refused = []
    while not refused:
        for number in range(AT_ONCE):
            request = {"request_id": str(number), "list_peers": {}}
            await session.call.write(json_format.ParseDict(request, pb.SignalingRequest()))
        said = [await session.next() for _ in range(AT_ONCE)]
        refused = [response["error"] for response in said if "error" in response]
    return {"message": refused[-1]["message"], "data": json.loads(refused[-1]["details"])}


async def _websocket_refusal(session):
    """The same of a WebSocket."""
    refused = []
    while not refused:
        for number in range(AT_ONCE):
            request = {"jsonrpc": "2.0", "id": number, "method": "list_peers", "params": {}}
            await session.connection.send(json.dumps(request))
        said = [await session.next() for _ in range(AT_ONCE)]
        refused = [response["error"] for response in said if "error" in response]
    return {"message": refused[-1]["message"], "data": refused[-1]["data"]}


async def test_over_the_rate_both_protocols_say_the_same(serve, clients):
    refusals = []
    for protocol in ("grpc", "websocket"):
        # A server each, since both clients would come from one address.
        server = serve(SIGNALING_RATE_PER_SEC="10", SIGNALING_RATE_BURST="2")
        if protocol == "grpc":
            session = await clients.grpc(server.grpc)
            ask, error_of = lambda s=session: s.ask(list_peers={}), _grpc_refusal
        else:
            session = await clients.websocket(server.ws)
            ask, error_of = lambda s=session: s.ask("list_peers"), _websocket_refusal
        refusals.append(await error_of(session))
        # Told to wait, it waits, and is let in.
        await asyncio.sleep(refusals[-1]["data"]["retry_after_ms"] / 1000)
        assert "error" not in await ask()
    waits = [refusal["data"].pop("retry_after_ms") for refusal in refusals]
    assert all(0 < wait <= 101 for wait in waits)
    for refusal, wait in zip(refusals, waits, strict=True):
        # The two clients asked at times of their own, so what they must wait differs by what passed meanwhile.
        refusal["message"] = refusal["message"].replace(f"{wait} ms", "so many ms")
    assert refusals[0] == refusals[1]
    assert refusals[0]["data"]["status"] == "RESOURCE_EXHAUSTED"
    assert refusals[0]["data"]["limit"] == "SIGNALING_RATE_PER_SEC"


async def test_reconnecting_refills_no_bucket(serve, clients):
    server = serve(SIGNALING_RATE_PER_SEC="0.01", SIGNALING_RATE_BURST="1")
    first = await clients.websocket(server.ws)
    await first.ask("list_peers")
    await first.connection.close()
    for session in (await clients.websocket(server.ws), await clients.websocket(server.ws)):
        assert (await session.error_of("list_peers"))["data"]["status"] == "RESOURCE_EXHAUSTED"
    over_grpc = await clients.grpc(server.grpc)
    assert (await over_grpc.error_of(list_peers={}))["data"]["status"] == "RESOURCE_EXHAUSTED"


async def test_a_conference_of_twenty_that_joins_at_once_never_meets_the_default(serve):
    # Everybody offers to everybody who was there before, and each pair trickles ten candidates each way.
    server = serve()
    urls = [f"grpc://127.0.0.1:{server.grpc}", f"ws://127.0.0.1:{server.ws}"]

    async def take_part(number):
        async with await connect(urls[number % 2]) as client:
            announced = await client.announce(f"peer-{number}", room="conference")
            await asyncio.gather(*(call(client, other) for other in announced.other_peers))
            joined = len(announced.other_peers)
            answered = 0
            async for event in client.events():
                if event.kind == "offer":
                    await client.answer(event.from_peer_id, "v=0 answer")
                    await trickle(client, event.from_peer_id)
                    answered += 1
                elif event.kind == "answer":
                    joined -= 1
                if joined == 0 and answered + len(announced.other_peers) == 19:
                    break
            arrived.append(number)
            if len(arrived) == 20:
                everybody.set()
            await everybody.wait()

    async def call(client, other):
        await client.offer(other, "v=0 offer")
        await trickle(client, other)

    async def trickle(client, other):
        await asyncio.gather(*(client.ice_candidate(other, f"candidate:{number}") for number in range(10)))

    arrived, everybody = [], asyncio.Event()
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await asyncio.gather(*(take_part(number) for number in range(20)))
    metrics = server.metrics()
    assert metrics['grpc_webrtc_signaling_messages_total{type="offer"}'] == 190
    assert metrics['grpc_webrtc_signaling_messages_total{type="ice_candidate"}'] == 3800
    assert [series for series in metrics if "RESOURCE_EXHAUSTED" in series] == []


def test_memory_is_short_above_the_limit_and_enough_again_ten_percent_below():
    hub = Hub(Settings(max_memory_mb=100), Instant(0.0, 0.0))
    used = 0.0
    watch = MemoryWatch(hub, read=lambda: used)
    seen = []
    for used in (99, 100, 101, 100, 95, 90, 89, 95, 100, 101):  # noqa: B007 the watch reads it
        watch.check()
        seen.append(hub.degraded)
    assert seen == [False, False, True, True, True, True, False, False, False, True]
    assert hub.health(Instant(0.0, 0.0)).status == "degraded"


async def test_a_server_that_is_short_of_memory_lets_nobody_in_and_stays_ready(serve, clients):
    server = serve(GRPC_MAX_MEMORY_MB="1")
    channel = await clients.channel(server.grpc)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await (await clients.grpc(server.grpc)).call.read()
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "GRPC_MAX_MEMORY_MB" in refusal.value.details()
    with pytest.raises(Exception, match="HTTP 503"):
        await clients.websocket(server.ws)
    response = await channel.unary_unary("/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck")(
        b"", timeout=TIME_LIMIT_SECONDS
    )
    assert b"degraded" in response
    health = await health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=TIME_LIMIT_SECONDS
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert server.page("/readyz") == (200, "ready\n")
    # All that it says has been read when it has ended.
    await asyncio.to_thread(server.stop)
    assert server.said("memory is short")


async def test_the_number_of_series_does_not_grow_with_what_clients_make_up(serve, clients):
    server = serve(SIGNALING_RATE_PER_SEC="0")
    over_grpc = await clients.grpc(server.grpc)
    over_websocket = await clients.websocket(server.ws)

    async def make_up(first, last):
        for number in range(first, last):
            made_up = {"jsonrpc": "2.0", "method": f"method-{number}", "params": {}}
            for method in ("announce", "disconnect"):
                name = f"peer-{number}"
                made = {"jsonrpc": "2.0", "method": method, "params": {"peer_id": name, "room": f"room-{number}"}}
                await over_websocket.connection.send(json.dumps(made))
            await over_websocket.connection.send(json.dumps(made_up))
        await over_websocket.ask("list_peers")
        for number in range(first, last, 20):
            await over_grpc.ask(announce={"peer_id": f"peer-{number}", "room": f"room-{number}"})
            await over_grpc.ask(offer={"to_peer_id": f"nobody-{number}", "sdp": "v=0"})
            await over_grpc.ask(disconnect={"peer_id": f"peer-{number}"})

    await make_up(0, 100)
    before = set(server.metrics())
    await make_up(100, 2_000)
    after = server.metrics()
    assert set(after) == before
    assert after['grpc_webrtc_signaling_messages_total{type="announce"}'] > 2_000
    assert "peer-" not in server.page("/metrics")[1]
