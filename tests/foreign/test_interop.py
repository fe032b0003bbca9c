"""gRPC's own interoperability cases, by grpc-go's client, against our wire with an echo service of their shape."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from sigbridge.instant import Instant
from sigbridge.settings import Settings
from sigbridge_grpc.method import Call, Ending, MethodFactory, SessionlessMethod
from sigbridge_grpc.wire import grpc_wires
from sigbridge_net.carrier import Carrier
from waiting import TIME_LIMIT_SECONDS

PROTOS = Path(__file__).parent / "protos"
CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
)


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The messages of the interoperability tests, by name."""
    described = tmp_path_factory.mktemp("testing") / "described"
    assert protoc.main(["", f"-I{PROTOS}", f"--descriptor_set_out={described}", str(PROTOS / "testing.proto")]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClassesForFiles(["testing.proto"], pool)


class Empty(SessionlessMethod):
    """EmptyCall."""

    def receive(self, message: bytes, now: Instant) -> None:
        assert message == b""

    def half_close(self, now: Instant) -> None:
        self._send(b"")
        self._call.finish(Ending(0))


class Echo(SessionlessMethod):
    """The other methods: what a request asks for is sent, and a status that it asks for ends the call."""

    def __init__(self, call: Call, kinds: dict[str, Any], kind: str) -> None:
        super().__init__(call)
        self._kinds = kinds
        self._kind = kind
        self._received = 0

    def receive(self, message: bytes, now: Instant) -> None:
        request = self._kinds[f"grpc.testing.{self._kind}Request"].FromString(message)
        self._received += len(request.payload.body)
        if self._kind == "StreamingInputCall":
            return
        if request.HasField("response_status"):
            self._call.finish(Ending(request.response_status.code, request.response_status.message))
        elif self._kind == "Simple":
            self._payload(request.response_size)
        else:
            for parameters in request.response_parameters:
                self._payload(parameters.size)

    def half_close(self, now: Instant) -> None:
        if self._kind == "StreamingInputCall":
            response = self._kinds["grpc.testing.StreamingInputCallResponse"]
            self._send(response(aggregated_payload_size=self._received).SerializeToString())
        self._call.finish(Ending(0))

    def _payload(self, size: int) -> None:
        response = self._kinds[f"grpc.testing.{self._kind}Response"]()
        response.payload.body = bytes(size)
        self._send(response.SerializeToString())


@pytest.fixture
async def port(messages: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    # None of our own methods has questions as large as these.
    monkeypatch.setattr("sigbridge_grpc.wire.MAX_QUESTION_BYTES", Settings().max_message_bytes)
    kinds = {
        "UnaryCall": "Simple",
        "StreamingInputCall": "StreamingInputCall",
        "StreamingOutputCall": "StreamingOutputCall",
        "FullDuplexCall": "StreamingOutputCall",
    }
    methods: dict[str, MethodFactory] = {"/grpc.testing.TestService/EmptyCall": lambda call, *_: Empty(call)}
    for name, kind in kinds.items():
        methods[f"/grpc.testing.TestService/{name}"] = lambda call, *_, kind=kind: Echo(call, messages, kind)
    settings = Settings()
    carrier = Carrier(settings)
    yield await carrier.listen("127.0.0.1:0", grpc_wires(methods, settings))
    await carrier.close(1)


@pytest.mark.parametrize("case", CASES)
async def test_a_case(case, port, built):
    built("conformance")
    process = await asyncio.create_subprocess_exec(
        str(built.bin / "interop-client"),
        *("--server_host=127.0.0.1", f"--server_port={port}", f"--test_case={case}"),
        env={"GRPC_GO_LOG_SEVERITY_LEVEL": "info"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            said = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said
    assert re.search(r"\[interop\] .*[Dd]one", said), said
