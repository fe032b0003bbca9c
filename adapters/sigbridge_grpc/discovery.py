"""The standard services beside signaling: health for load balancers and probes, reflection for tools.

Rule 1: a host that has its own keeps them; these are for servers that have none. Rule 2: health says NOT_SERVING as
soon as the hub drains, before any session is ended. Rule 3: reflection answers under both of its names, since tools ask
for `v1` first and older ones only for `v1alpha`; their messages are the same.
"""

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from sigbridge_grpc.service import SERVICE_NAME

# Their stubs know nothing of the variants for grpc.aio.
_health: Any = health
_reflection: Any = reflection

HEALTH_SERVICE_NAME = "grpc.health.v1.Health"
REFLECTION_SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class StandardHealth:
    """`grpc.health.v1.Health` for a server as a whole and for each of its services."""

    def __init__(self, server: grpc.aio.Server, services: Iterable[str] = (SERVICE_NAME,)) -> None:
        self._servicer = _health.aio.HealthServicer()
        self._services = ("", *services)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """Say SERVING."""
        for service in self._services:
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Say NOT_SERVING from now on, to those who watch as well."""
        await self._servicer.enter_graceful_shutdown()


def add_reflection(server: grpc.aio.Server, services: Iterable[str] = (SERVICE_NAME, HEALTH_SERVICE_NAME)) -> None:
    """Let tools ask which services there are, and for their descriptors."""
    servicer = _reflection.aio.ReflectionServicer((*services, *REFLECTION_SERVICE_NAMES), pool=_Descriptors())
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


class _Descriptors:
    """The descriptors of this process, and what tools ask for that they lack: `grpc.reflection.v1`, and methods."""

    def __init__(self) -> None:
        self._present: Any = descriptor_pool.Default()
        # The package has the file of `v1alpha` alone; that of `v1` says the same under another name.
        alpha = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        text = json_format.MessageToJson(alpha).replace(alpha.package, "grpc.reflection.v1")
        file = json_format.Parse(text, descriptor_pb2.FileDescriptorProto())
        file.name = "grpc/reflection/v1/reflection.proto"
        self._added: Any = descriptor_pool.DescriptorPool()
        self._added.Add(file)

    def FindFileByName(self, name: str) -> Any:  # noqa: N802 - as the pool calls it
        """The file of that name; KeyError where there is none."""
        return self._find("FindFileByName", name)

    def FindFileContainingSymbol(self, name: str) -> Any:  # noqa: N802
        """The file that defines a message, service or method; KeyError where there is none."""
        try:
            return self._find("FindFileContainingSymbol", name)
        except KeyError:
            # The pool knows no methods by their names.
            service, _, method = name.rpartition(".")
            return self._find("FindServiceByName", service).methods_by_name[method].containing_service.file

    def _find(self, how: str, name: str) -> Any:
        try:
            return getattr(self._present, how)(name)
        except KeyError:
            return getattr(self._added, how)(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._present, name)
