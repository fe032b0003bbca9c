"""Parts that a host keeps when signaling is mounted beside them: health, reflection, other hubs, its own faults."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from sigbridge import Hub, Settings
from sigbridge.auth import AllowAll, StaticTokens
from sigbridge_client import connect
from sigbridge_grpc.interceptors import caller_of, interceptors
from sigbridge_grpc.mount import add_signaling, server_options
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from waiting import until


def echo(method: Any) -> Any:
    """A service of a host: one unary method of bytes."""
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(method)}
    return grpc.method_handlers_generic_handler("host.Echo", handlers)


@asynccontextmanager
async def serving(*added: Any, hub: Hub | None = None, **settings: Any) -> AsyncIterator[tuple[str, grpc.aio.Server]]:
    """A server with signaling and what else is added to it; its target."""
    hub = hub or Hub(Settings(**settings), read_clock())
    authenticator = StaticTokens(hub.settings.auth_tokens) if hub.settings.grpc_asks_for_token else AllowAll()
    server = grpc.aio.server(
        options=server_options(hub.settings), interceptors=interceptors(authenticator, hub.settings)
    )
    mounted = add_signaling(server, hub)
    for add in added:
        add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await mounted.drain(1)
        await server.stop(0)


async def test_a_host_keeps_its_own_health_and_reflection():
    servicer: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]

    def add_health(server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)

    def add_reflection(server: grpc.aio.Server) -> None:
        reflection.enable_server_reflection((SERVICE_NAME, "host.Own"), server)

    async with serving(add_health, add_reflection) as (target, _), grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="host.Own")
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(request)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        await servicer.set("host.Own", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        reflected: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = reflected.ServerReflectionInfo(iter((reflection_pb2.ServerReflectionRequest(list_services=""),)))
        services = {service.name for service in (await call.read()).list_services_response.service}
        assert services == {SERVICE_NAME, "host.Own"}
        async with await connect(f"grpc://{target}") as alice:
            await alice.announce("alice")


async def test_two_hubs_of_one_process_know_nothing_of_each_other():
    async with (
        serving() as (first, _),
        serving() as (second, _),
        await connect(f"grpc://{first}") as alice,
        await connect(f"grpc://{second}") as other,
    ):
        assert (await alice.announce("alice")).peers_count == 0
        assert (await other.announce("alice")).peers_count == 0


async def test_one_hub_may_be_mounted_twice_and_either_timer_is_enough():
    hub = Hub(Settings(announce_timeout_seconds=2), read_clock())
    async with serving(hub=hub) as (first, _), serving(hub=hub) as (second, _):
        # The limit is long enough for those who announce themselves on a busy machine.
        silent = await connect(f"grpc://{first}", resume=False)
        async with await connect(f"grpc://{second}") as alice:
            await alice.announce("alice")
            assert [event async for event in silent.events()] == []
        assert silent.closed is not None
        assert silent.closed.reason == "announce_timeout"
        await silent.close()


async def test_a_hub_that_is_only_asked_forgets_its_callers():
    """Without any session, too, the hub is called when it is due."""
    # It is forgotten when its bucket is full, which takes long enough to be seen before.
    hub = Hub(Settings(rate_per_second=0.5, rate_burst=1), read_clock())
    async with serving(hub=hub) as (target, _), grpc.aio.insecure_channel(target) as channel:
        await channel.unary_unary(f"/{SERVICE_NAME}/GetPeers", None, None)(b"")
        assert len(hub._limiter) == 1
        await until(lambda: not len(hub._limiter))


async def test_of_two_hubs_on_one_server_the_first_counts():
    """The library does not say so, which is why the page does."""
    later = Hub(Settings(), read_clock())
    async with (
        serving(lambda server: add_signaling(server, later)) as (target, _),
        await connect(f"grpc://{target}") as alice,
    ):
        await alice.announce("alice")
        assert later.session_count == 0


async def test_the_hosts_own_methods_learn_who_calls():
    callers = []

    async def method(message: bytes, context: Any) -> bytes:
        callers.append(caller_of(context))
        return message

    def add(server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((echo(method),))

    async with serving(add, auth_tokens=("token",)) as (target, _), grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary("/host.Echo/Call", None, None)
        assert await call(b"x", metadata=(("authorization", "Bearer token"),)) == b"x"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"x")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [caller.subject for caller in callers] == [""]


async def test_a_timeout_of_the_hosts_own_is_not_taken_for_the_time_limit():
    """A handler may raise TimeoutError for a reason of its own, long before the limit of the call."""

    async def method(message: bytes, context: Any) -> bytes:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return message

    def add(server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((echo(method),))

    async with serving(add) as (target, _), grpc.aio.insecure_channel(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/host.Echo/Call", None, None)(b"x")
        assert failed.value.code() is grpc.StatusCode.UNKNOWN
