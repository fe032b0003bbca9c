"""Health and reflection, as probes and tools ask for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from served import ANY_PORT
from sigbridge import Hub, Settings
from sigbridge_grpc import discovery
from sigbridge_grpc.discovery import HEALTH_SERVICE_NAME, REFLECTION_SERVICE_NAMES, StandardHealth, add_reflection
from sigbridge_grpc.mount import add_signaling
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(Settings(**ANY_PORT))
    await server.start()
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        yield server
    await server.stop(grace_seconds=0.5)


def channel_to(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a host that mounts signaling, health and reflection."""
    hub = Hub(Settings(), read_clock())
    server = grpc.aio.server()
    mounted = add_signaling(server, hub)
    health = StandardHealth(server)
    add_reflection(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await health.serving()
    async with asyncio.timeout(TIME_LIMIT_SECONDS), channel_to(port) as channel:
        yield channel
    await mounted.drain(1)
    await server.stop(0)


def question(service: str) -> Any:
    return health_pb2.HealthCheckRequest(service=service)


async def reflect(channel: grpc.aio.Channel, name: str, *requests: Any) -> list[Any]:
    async def sent() -> AsyncIterator[Any]:
        for request in requests:
            yield request

    call: Any = channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )(sent())
    return [response async for response in call]


@pytest.mark.parametrize("service", ["", SERVICE_NAME])
async def test_health_of_the_server_and_of_its_service(channel: grpc.aio.Channel, service: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(question(service))).status == SERVING


async def test_health_of_what_is_not_there(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Check(question("no.Service"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(question("no.Service"))
    assert (await watch.read()).status == SERVICE_UNKNOWN
    watch.cancel()


async def test_who_watches_is_told_when_the_server_drains(server: Server) -> None:
    channel = channel_to(server.grpc_port)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(question(service)) for service in ("", SERVICE_NAME)]
    assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
    stopping = asyncio.create_task(server.stop(grace_seconds=2))
    assert [(await watch.read()).status for watch in watches] == [NOT_SERVING, NOT_SERVING]
    await stopping
    await channel.close(None)


async def test_all_who_watch_are_told_where_the_server_ends_at_once() -> None:
    server = grpc.aio.server()
    health = StandardHealth(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await health.serving()
    async with asyncio.timeout(TIME_LIMIT_SECONDS), AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        gone, unknown = stub.Watch(question("")), stub.Watch(question("another.Service"))
        watches = [stub.Watch(question(service)) for service in ("", SERVICE_NAME) for _ in range(10)]
        assert [(await watch.read()).status for watch in (gone, *watches)] == [SERVING] * 21
        assert (await unknown.read()).status == SERVICE_UNKNOWN
        gone.cancel()
        # As those who watch do: of what is read only after its connection is reset, the client's library drops what it has.
        reading = [asyncio.ensure_future(watch.read()) for watch in watches]
        await asyncio.sleep(0)
        await health.not_serving()
        await server.stop(0)
        assert [(await read).status for read in reading] == [NOT_SERVING] * 20


async def test_health_turns_before_sessions_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = channel_to(server.grpc_port)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(question(""))
    assert (await watch.read()).status == SERVING
    call: Any = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)()
    await call.initial_metadata()
    leave = server.leave

    async def leave_and_be_seen() -> None:
        await leave()
        # What comes of two calls, the client's library hands out in no order: it has this while sessions still live.
        assert (await watch.read()).status == NOT_SERVING
        assert not call.done()

    monkeypatch.setattr(server, "leave", leave_and_be_seen)
    await server.stop(grace_seconds=2)
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close(None)


async def test_not_serving_is_final() -> None:
    async with AsyncExitStack() as stack:
        server = grpc.aio.server()
        health = StandardHealth(server, ("a.Service",))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await health.serving()
            assert (await stub.Check(question("a.Service"))).status == SERVING
            await health.not_serving()
            await health.serving()
            for service in ("", "a.Service"):
                assert (await stub.Check(question(service))).status == NOT_SERVING


@pytest.mark.parametrize("name", REFLECTION_SERVICE_NAMES)
async def test_reflection_lists_the_services_under_both_of_its_names(channel: grpc.aio.Channel, name: str) -> None:
    (response,) = await reflect(channel, name, reflection_pb2.ServerReflectionRequest(list_services=""))
    assert {one.name for one in response.list_services_response.service} == {
        SERVICE_NAME,
        HEALTH_SERVICE_NAME,
        *REFLECTION_SERVICE_NAMES,
    }


@pytest.mark.parametrize("name", REFLECTION_SERVICE_NAMES)
async def test_a_tool_can_call_with_nothing_but_what_reflection_tells(channel: grpc.aio.Channel, name: str) -> None:
    request = reflection_pb2.ServerReflectionRequest
    by_symbol, by_method, by_file, unknown = await reflect(
        channel,
        name,
        request(file_containing_symbol=SERVICE_NAME),
        request(file_containing_symbol=f"{SERVICE_NAME}.HealthCheck"),
        request(file_by_filename="webrtc_signaling.proto"),
        request(file_containing_symbol="no.Symbol"),
    )
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    files = by_symbol.file_descriptor_response.file_descriptor_proto
    assert list(files) == list(by_method.file_descriptor_response.file_descriptor_proto)
    assert list(files) == list(by_file.file_descriptor_response.file_descriptor_proto)
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    method = pool.FindServiceByName(SERVICE_NAME).methods_by_name["HealthCheck"]
    asked, answered = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    call: Any = channel.unary_unary(f"/{SERVICE_NAME}/HealthCheck", asked.SerializeToString, answered.FromString)
    assert (await call(asked())).status == "healthy"


async def test_every_service_that_is_listed_can_be_described(channel: grpc.aio.Channel) -> None:
    name = REFLECTION_SERVICE_NAMES[0]
    (listed,) = await reflect(channel, name, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = [one.name for one in listed.list_services_response.service]
    described = await reflect(
        channel, name, *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=one) for one in names)
    )
    assert [one for one, response in zip(names, described, strict=True) if response.HasField("error_response")] == []


async def test_a_watcher_that_does_not_read_is_waited_for_once() -> None:
    health = StandardHealth(grpc.aio.server())
    stuck = discovery._Watcher(None)
    # It has been told SERVING, and the write of what comes next does not end.
    stuck.turned.clear()
    health._servicer.watchers.add(stuck)
    assert not await health.not_serving(patience_seconds=0.01)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        assert await health.not_serving(patience_seconds=2 * TIME_LIMIT_SECONDS)


async def test_a_host_lists_its_own_services() -> None:
    server = grpc.aio.server()
    add_reflection(server, ("a.Service",))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with (
            asyncio.timeout(TIME_LIMIT_SECONDS),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            (response,) = await reflect(
                channel, REFLECTION_SERVICE_NAMES[0], reflection_pb2.ServerReflectionRequest(list_services="")
            )
            assert "a.Service" in {one.name for one in response.list_services_response.service}
    finally:
        await server.stop(0)
