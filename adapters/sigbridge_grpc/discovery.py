"""The standard services beside signaling: health for load balancers and probes, reflection for tools.

Rule 1: a host that has its own keeps them; these are for servers that have none. Rule 2: health says NOT_SERVING as
soon as the hub drains, before any session is ended. Rule 3: reflection is served under both of its names, since tools
ask for `v1` first and older ones only for `v1alpha`; their messages are the same.
"""

from collections.abc import Iterable
from typing import Any

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


class StandardHealth:
    """`grpc.health.v1.Health` for a server as a whole and for each of its services."""

    def __init__(self, server: grpc.aio.Server, services: Iterable[str] = (SERVICE_NAME,)) -> None:
        self._servicer = _health.aio.HealthServicer()
        self._services = ("", *services)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """Sets the status to SERVING."""
        for service in self._services:
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Sets the status to NOT_SERVING, which those who watch are told."""
        await self._servicer.enter_graceful_shutdown()


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
