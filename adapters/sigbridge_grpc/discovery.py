"""The standard services beside signaling: health for load balancers and probes, reflection for tools.

Rule 1: a host that has its own keeps them; these are for servers that have none. Rule 2: health says NOT_SERVING as
soon as the hub drains, before any session is ended. Rule 3: reflection is served under both of its names, since tools
ask for `v1` first and older ones only for `v1alpha`; their messages are the same.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from sigbridge_grpc.access import HEALTH_SERVICE_NAME, REFLECTION_SERVICE_NAMES
from sigbridge_grpc.reflection import Descriptors
from sigbridge_grpc.service import SERVICE_NAME

__all__ = ["HEALTH_SERVICE_NAME", "REFLECTION_SERVICE_NAMES", "StandardHealth", "add_reflection"]

# Their stubs know nothing of the variants for grpc.aio.
_health: Any = health
_reflection: Any = reflection

WATCHERS_PATIENCE_SECONDS: Final = 1.0
"""Time that telling those who watch health may take."""


class StandardHealth:
    """`grpc.health.v1.Health` for a server as a whole and for each of its services."""

    def __init__(self, server: grpc.aio.Server, services: Iterable[str] = (SERVICE_NAME,)) -> None:
        self._servicer = _HealthServicer()
        self._services = ("", *services)
        self._left = False
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """Sets the status to SERVING."""
        for service in self._services:
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self, patience_seconds: float = WATCHERS_PATIENCE_SECONDS) -> bool:
        """Sets the status to NOT_SERVING for good; returns whether those who watch have been told within this time.

        A second call has nobody to tell.
        """
        if self._left:
            return True
        self._left = True
        try:
            async with asyncio.timeout(patience_seconds):
                await self._servicer.enter_graceful_shutdown()
                for watcher in list(self._servicer.watchers):
                    await watcher.turned.wait()
        except TimeoutError:
            return False
        return True


class _Watcher:
    """The context of a call of `Watch`."""

    def __init__(self, context: Any) -> None:
        self.turned = asyncio.Event()
        """Set unless it has been told SERVING, and nothing since."""
        self.turned.set()
        self._context = context

    async def write(self, response: health_pb2.HealthCheckResponse) -> None:
        await self._context.write(response)
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            self.turned.clear()
        else:
            self.turned.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class _HealthServicer(_health.aio.HealthServicer):  # type: ignore[misc]
    """The library's servicer, which tells those who watch one after the other, and does not say when it has."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: set[_Watcher] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the contract's
        watcher = _Watcher(context)
        self.watchers.add(watcher)
        try:
            await super().Watch(request, watcher)
        finally:
            self.watchers.discard(watcher)
            watcher.turned.set()


def add_reflection(server: grpc.aio.Server, services: Iterable[str] = (SERVICE_NAME, HEALTH_SERVICE_NAME)) -> None:
    """Adds the reflection service, by which tools list services and get their descriptors."""
    servicer = _reflection.aio.ReflectionServicer((*services, *REFLECTION_SERVICE_NAMES), pool=Descriptors())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            for name in REFLECTION_SERVICE_NAMES
        )
    )
