"""A server that drains, as those see it who watch it: readyz, the standard health service, and the clients."""

import asyncio
import contextlib
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from waiting import TIME_LIMIT_SECONDS, wait_until

SERVICE = "remotemedia.v1.webrtc.WebRtcSignaling"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(params=["native", "grpcio"])
def engine(request):
    return {"GRPC_ENGINE": request.param}


async def statuses(watching):
    """Statuses that a watcher is told until the stream ends."""
    seen = []
    with contextlib.suppress(grpc.aio.AioRpcError):
        while (answer := await watching.read()) is not grpc.aio.EOF:
            seen.append(answer.status)
    return seen


async def test_watchers_of_the_server_and_of_its_service_learn_that_it_drains(serve, engine, clients):
    server = serve(**engine)
    stub = health_pb2_grpc.HealthStub(await clients.channel(server.grpc))
    watchers = [stub.Watch(health_pb2.HealthCheckRequest(service=service)) for service in ("", SERVICE)]
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        assert [(await watching.read()).status for watching in watchers] == [SERVING, SERVING]
        server.signal(signal.SIGTERM)
        told = await asyncio.gather(*map(statuses, watchers))
    assert told == [[NOT_SERVING], [NOT_SERVING]]
    assert await asyncio.to_thread(server.wait) == 0


async def test_an_unknown_service_is_told_so(serve, engine, clients):
    server = serve(**engine)
    stub = health_pb2_grpc.HealthStub(await clients.channel(server.grpc))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=TIME_LIMIT_SECONDS)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    watching = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"))
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


async def test_readyz_turns_503_and_healthz_stays_while_it_drains(serve, engine, clients):
    # A client that does not answer the closing handshake keeps it draining.
    server = serve(**engine, SIGNALING_SHUTDOWN_GRACE_SEC="100", SIGNALING_CLOSE_TIMEOUT_SEC="100")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ws)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    assert server.page("/readyz") == (200, "ready\n")
    server.signal(signal.SIGTERM)
    await asyncio.to_thread(wait_until, lambda: server.page("/readyz")[0] == 503, "readyz")
    assert server.page("/readyz") == (503, "draining\n")
    assert server.page("/healthz")[0] == 200
    # A last scrape sees how the sessions ended.
    assert server.metrics()['sigbridge_disconnects_total{protocol="websocket",reason="draining"}'] == 1
    writer.close()
    assert await asyncio.to_thread(server.wait) == 0


async def test_everybody_is_told_and_the_server_is_gone_in_time(serve, engine, clients):
    server = serve(**engine)
    over_grpc = await clients.grpc(server.grpc)
    over_websocket = await clients.websocket(server.ws)
    await over_grpc.ask(announce={"peer_id": "alice"})
    await over_websocket.ask("announce", peer_id="bob")
    server.signal(signal.SIGTERM)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await over_grpc.call.read() is not grpc.aio.EOF:
                pass
        assert await over_grpc.call.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict(await over_grpc.call.trailing_metadata())
        await over_websocket.connection.wait_closed()
    assert (trailers["signaling-disconnect"], trailers["signaling-reconnect"]) == ("draining", "yes")
    assert (over_websocket.connection.close_code, over_websocket.connection.close_reason) == (1012, "draining")
    assert await asyncio.to_thread(server.wait) == 0
