"""The black-box tests' fixtures: a server process and its certificates, foreign programs and plain clients."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import json_format
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect

from certificates import Authority
from processes import Process, clean_environment
from proxy import program_path
from server_process import ServerProcess
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def serve() -> Iterator[Callable[..., ServerProcess]]:
    """Start servers that end with the test."""
    with contextlib.ExitStack() as servers:

        def start(*, wait: bool = True, **settings: str) -> ServerProcess:
            server = ServerProcess(**settings)
            servers.callback(server.stop)
            return server.ready() if wait else server

        yield start


@pytest.fixture(scope="module")
def shared() -> Iterator[Callable[..., ServerProcess]]:
    """Servers that tests of a file share: one for each use and its settings, from the first test that asks for it."""
    with contextlib.ExitStack() as stack:
        servers: dict[Any, ServerProcess] = {}

        def find(use: str, **settings: str) -> ServerProcess:
            key = (use, *sorted(settings.items()))
            if key not in servers:
                servers[key] = ServerProcess(**settings)
                stack.callback(servers[key].stop)
            return servers[key].ready()

        yield find


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Start other programs that end with the test."""
    with contextlib.ExitStack() as programs:

        def start(*command: str, cwd: Path | None = None, **environment: str) -> Process:
            program = Process(list(command), environment=clean_environment(**environment), cwd=cwd)
            programs.callback(program.stop)
            return program

        yield start


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a foreign program; skips the test where it is missing."""

    def find(name: str) -> str:
        path = program_path(name)
        if path is None:
            pytest.skip(f"{name} is not installed: python3 tools/install_test_tools.py")
        return path

    return find


# Certificates.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def other_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "other-authority")


@pytest.fixture
def tls_settings(authority: Authority) -> dict[str, str]:
    """The settings of a server with a certificate of the test's authority."""
    certificate, key = authority.issue("localhost", file="server")
    return {"SIGNALING_TLS_CERT_FILE": certificate, "SIGNALING_TLS_KEY_FILE": key}


# Plain clients, which can show what `sigbridge_client` never would.

SIGNAL = "/remotemedia.v1.webrtc.WebRtcSignaling/Signal"
HEALTH_CHECK = "/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck"


class GrpcSession:
    """A `Signal` stream."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Any = None) -> None:
        self.call: Any = channel.stream_stream(
            SIGNAL, pb.SignalingRequest.SerializeToString, pb.SignalingResponse.FromString
        )(metadata=metadata)

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request; its response, whatever events come before it."""
        await self.call.write(json_format.ParseDict({"request_id": "1", **request}, pb.SignalingRequest()))
        while True:
            response = await self.next()
            if response.get("request_id"):
                return response

    async def next(self) -> dict[str, Any]:
        """The next response or event."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            response = await self.call.read()
        assert response is not grpc.aio.EOF, await self.call.code()
        return json_format.MessageToDict(response, preserving_proto_field_name=True)

    async def error_of(self, **request: Any) -> dict[str, Any]:
        """The error that a request is answered with."""
        error: dict[str, Any] = (await self.ask(**request))["error"]
        return {"message": error["message"], "data": json.loads(error["details"])}


class WebSocketSession:
    """A WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request; its response, whatever events come before it."""
        await self.connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        while True:
            message = await self.next()
            if "id" in message:
                return message

    async def next(self) -> dict[str, Any]:
        """The next response or event."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            message: dict[str, Any] = json.loads(await self.connection.recv())
            return message

    async def error_of(self, method: str, **params: Any) -> dict[str, Any]:
        """The error that a request is answered with."""
        error: dict[str, Any] = (await self.ask(method, **params))["error"]
        return {"message": error["message"], "data": error["data"]}


@pytest.fixture
async def clients() -> Any:
    """Open plain connections that end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        class Clients:
            @staticmethod
            async def channel(port: int, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
                # Channels to one address share their connection otherwise.
                options = [("grpc.use_local_subchannel_pool", 1)]
                target = f"localhost:{port}" if credentials else f"127.0.0.1:{port}"
                made = (
                    grpc.aio.secure_channel(target, credentials, options)
                    if credentials
                    else grpc.aio.insecure_channel(target, options)
                )
                return await stack.enter_async_context(made)

            @classmethod
            async def grpc(
                cls, port: int, *, token: str = "", credentials: grpc.ChannelCredentials | None = None
            ) -> GrpcSession:
                metadata = (("authorization", f"Bearer {token}"),) if token else None
                return GrpcSession(await cls.channel(port, credentials), metadata)

            @staticmethod
            async def websocket(port: int, *, token: str = "", scheme: str = "ws", **options: Any) -> WebSocketSession:
                if token:
                    options["additional_headers"] = {"Authorization": f"Bearer {token}"}
                options = {
                    "proxy": None,
                    "open_timeout": TIME_LIMIT_SECONDS,
                    "close_timeout": TIME_LIMIT_SECONDS,
                    # The library ends a session that does not answer its pings for 20 s, as a busy machine may not.
                    "ping_interval": None,
                } | options
                host = "localhost" if scheme == "wss" else "127.0.0.1"
                connecting = websocket_connect(f"{scheme}://{host}:{port}/", **options)
                return WebSocketSession(await stack.enter_async_context(connecting))

        yield Clients


@pytest.fixture
def fetch_json() -> Callable[[str], Any]:
    """The JSON at a URL of this machine."""

    def fetch(url: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIME_LIMIT_SECONDS) as response:
            return json.load(response)

    return fetch
