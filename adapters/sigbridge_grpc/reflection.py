"""`grpc.reflection`: which services there are, and their descriptors, so that tools need no proto file."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from grpc_reflection.v1alpha import reflection_pb2

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError, server_draining
from sigbridge.instant import Instant
from sigbridge_grpc.method import Call, Ending, SessionlessMethod, parsed


class Descriptors:
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
        """Returns the file of that name.

        :raises KeyError: if there is none.
        """
        return self._find("FindFileByName", name)

    def FindFileContainingSymbol(self, name: str) -> Any:  # noqa: N802
        """Returns the file that defines a message, service or method.

        :raises KeyError: if there is none.
        """
        try:
            return self._find("FindFileContainingSymbol", name)
        except KeyError:
            # The pool knows no methods by their names.
            service, _, method = name.rpartition(".")
            return self._find("FindServiceByName", service).methods_by_name[method].containing_service.file

    def _find(self, how: str, name: str) -> Any:
        """Returns what the pools' method `how` finds by a name: this process's pool is asked first, then the other.

        :raises KeyError: if neither does.
        """
        try:
            return getattr(self._present, how)(name)
        except KeyError:
            return getattr(self._added, how)(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._present, name)


class ReflectionMethod(SessionlessMethod):
    """`ServerReflectionInfo`: which services there are, and their descriptors."""

    def __init__(self, call: Call, services: Sequence[str], descriptors: Descriptors) -> None:
        super().__init__(call)
        self._services = services
        self._descriptors = descriptors

    def receive(self, message: bytes, now: Instant) -> None:
        """Responds to one request of reflection; NOT_FOUND if it asks for what does not exist."""
        try:
            request = parsed(reflection_pb2.ServerReflectionRequest, message)
        except SignalingError as error:
            self._refuse(error)
            return
        response = reflection_pb2.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._fill(request, response)
        except (KeyError, ValueError):
            response.error_response.error_code = int(Code.NOT_FOUND)
            response.error_response.error_message = "not found"
        self._send(response.SerializeToString())

    def half_close(self, now: Instant) -> None:
        """Ends the call: nothing more is asked."""
        self._call.finish(Ending(0))

    def drain(self, now: Instant) -> None:
        """Ends the call: whoever goes on asking asks another server."""
        self.fail(DisconnectReason.DRAINING, server_draining().message, now)

    def _fill(self, request: Any, response: Any) -> None:
        """Fills in the response to a request.

        :raises KeyError: if there is no such name.
        """
        pool: Any = self._descriptors
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._add_file(response, pool.FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                self._add_file(response, pool.FindFileContainingSymbol(request.file_containing_symbol))
            case "file_containing_extension":
                asked = request.file_containing_extension
                message = pool.FindMessageTypeByName(asked.containing_type)
                self._add_file(response, pool.FindExtensionByNumber(message, asked.extension_number).file)
            case "all_extension_numbers_of_type":
                message = pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                found = response.all_extension_numbers_response
                found.base_type_name = message.full_name
                found.extension_number.extend(extension.number for extension in pool.FindAllExtensions(message))
            case _:
                response.error_response.error_code = int(Code.INVALID_ARGUMENT)
                response.error_response.error_message = "no question"

    def _add_file(self, response: Any, file: Any) -> None:
        """Adds a file and all that it imports to a response, each before those that need it."""
        found: dict[str, bytes] = {}
        _collect(file, found)
        # Tools take the first for the file that they asked for.
        response.file_descriptor_response.file_descriptor_proto.extend(reversed(found.values()))


def _collect(file: Any, found: dict[str, bytes]) -> None:
    """Adds all that a file imports to those found, by name, and then the file."""
    if file.name not in found:
        for dependency in file.dependencies:
            _collect(dependency, found)
        found[file.name] = file.serialized_pb
