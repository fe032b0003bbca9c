"""Servers of both engines, and gRPC clients of five libraries that do what a test tells them."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect as websocket_connect

from processes import clean_environment
from server_process import ServerProcess
from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[2]
CLIENT_SOURCES = Path(__file__).parent / "clients"
SERVICE = "remotemedia.v1.webrtc.WebRtcSignaling"
SIGNAL = f"/{SERVICE}/Signal"
ENGINES = ("native", "grpcio")
CLIENTS = ("grpcio", "grpcio-aio", "grpc-js", "grpc-go", "tonic")

_spec = spec_from_file_location("install_foreign_clients", ROOT / "tools" / "install_foreign_clients.py")
assert _spec is not None
assert _spec.loader is not None
installer = module_from_spec(_spec)
_spec.loader.exec_module(installer)


# Servers.


class EngineProcess(ServerProcess):
    """A server with one of the engines."""

    def __init__(self, engine: str, *, grpc_port: int = 0, **settings: str) -> None:
        self.engine = engine
        super().__init__(
            **{
                "GRPC_ENGINE": engine,
                "GRPC_BIND_ADDRESS": f"127.0.0.1:{grpc_port}",
                "HTTP_BIND_ADDRESS": "off",
                "SIGNALING_RATE_PER_SEC": "0",
                **settings,
            }
        )

    def stop(self) -> int:
        """Ends it; nothing may have gone wrong in it."""
        code = super().stop()
        log = "".join(self.stderr)
        assert "Traceback" not in log, log
        return code


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[Callable[..., EngineProcess]]:
    """Servers that are started once for each combination of settings; tests keep apart by rooms."""
    servers: dict[Any, EngineProcess] = {}

    def server(engine: str, **settings: str) -> EngineProcess:
        key = (engine, *sorted(settings.items()))
        if key not in servers:
            servers[key] = EngineProcess(engine, **settings)
            servers[key].ready()
        return servers[key]

    yield server
    for one in servers.values():
        one.stop()


@pytest.fixture
def server(engine: str, shared_servers: Callable[..., EngineProcess]) -> EngineProcess:
    return shared_servers(engine)


@pytest.fixture
def serve() -> Iterator[Callable[..., EngineProcess]]:
    """Start servers of a test's own."""
    servers: list[EngineProcess] = []

    def start(engine: str, **settings: Any) -> EngineProcess:
        servers.append(EngineProcess(engine, **settings))
        servers[-1].ready()
        return servers[-1]

    yield start
    for one in servers:
        one.stop()


_rooms = count(1)


@pytest.fixture
def room() -> str:
    """A room of the test's own."""
    return f"room-{next(_rooms)}"


# Foreign clients.


class ForeignCall:
    """A call that a client has open."""

    def __init__(self, client: "Client", call_id: str) -> None:
        self._client = client
        self.id = call_id
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.cancelled = False
        self.over = asyncio.Event()
        """Set when it has ended."""

    def tell(self, op: str, **more: Any) -> None:
        self._client.tell(op, id=self.id, **more)

    def send(self, **request: Any) -> None:
        self.tell("send", request=request)

    def half_close(self) -> None:
        self.tell("half_close")

    def cancel(self) -> None:
        self.cancelled = True
        self.tell("cancel")

    def take(self, said: dict[str, Any]) -> None:
        """Notes what the client says of it."""
        self.said.put_nowait(said)
        if "code" in said:
            self.over.set()

    async def first(self) -> dict[str, Any]:
        """The next message, or how the call has ended."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            return await self.said.get()

    async def next(self) -> dict[str, Any]:
        """The next message."""
        said = await self.first()
        assert "response" in said, said
        response: dict[str, Any] = said["response"]
        return response

    async def ask(self, **request: Any) -> dict[str, Any]:
        """The response to a request, whatever events come before it."""
        self.send(request_id="asked", **request)
        while (response := await self.next()).get("request_id") != "asked":
            pass
        return response

    async def announce(self, peer_id: str, room: str) -> dict[str, Any]:
        """Announce a peer; what the acknowledgement says."""
        response = await self.ask(announce={"peer_id": peer_id, "room": room})
        data: dict[str, Any] = json.loads(response["ack"]["data"])
        return data

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        while True:
            notification = (await self.next()).get("notification", {})
            if isinstance(notification, dict) and kind in notification:
                event: dict[str, Any] = notification[kind]
                return event

    async def end(self) -> dict[str, Any]:
        """Returns the end of the call, whatever comes before."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while "code" not in (said := await self.said.get()):
                pass
        return said


class Client:
    """A client process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.channel = ""
        """Name of the channel of calls that name none."""
        self.ended = False
        self._process = process
        self._calls: dict[str, ForeignCall] = {}
        self._open: list[ForeignCall] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, port: int, *, keepalive_ms: int = 0) -> "Client":
        config = {
            "address": f"127.0.0.1:{port}",
            "keepalive_ms": keepalive_ms,
            "protos": [str(file) for file in installer.proto_files()],
        }
        process = await asyncio.create_subprocess_exec(
            *command_of(name),
            json.dumps(config),
            env=clean_environment(NODE_PATH=str(installer.HOME / "node" / "node_modules")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        return cls(name, process)

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise
        finally:
            await self._reading

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def tell(self, op: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **more}).encode() + b"\n")

    def open(self, method: str = SIGNAL, **more: Any) -> ForeignCall:
        """Open a call, on the channel that is named, or on that of calls that name none."""
        call = self._new_call()
        self._open.append(call)
        self.tell("open", id=call.id, method=method, **{"channel": self.channel, **more})
        return call

    async def unary(self, method: str, request: Any = None, **more: Any) -> dict[str, Any]:
        """Returns the end of a unary call, with its response where there is one."""
        call = self._new_call()
        self.tell("unary", id=call.id, method=method, request=request or {}, **{"channel": self.channel, **more})
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            said = await call.said.get()
            return said if "code" in said else said | await call.said.get()

    async def end_calls(self) -> None:
        """Ends all calls that are open, so that another test finds none."""
        for call in self._open:
            if not (call.cancelled or call.over.is_set()):
                call.cancel()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            for call in self._open:
                await call.over.wait()
        self._open.clear()

    def _new_call(self) -> ForeignCall:
        call_id = str(len(self._calls))
        call = self._calls[call_id] = ForeignCall(self, call_id)
        return call

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                said = json.loads(line)
                self._calls[said["id"]].take(said)
        finally:
            self.ended = True
            for call in self._open:
                call.over.set()


def command_of(name: str) -> list[str]:
    """Command that starts a client; skips the test where it is not built, or of other sources."""
    if name in ("grpcio", "grpcio-aio"):
        script = {"grpcio": "client_sync.py", "grpcio-aio": "client_aio.py"}[name]
        return [sys.executable, str(CLIENT_SOURCES / "python" / script)]
    step = {"grpc-js": "node", "grpc-go": "go", "tonic": "rust"}[name]
    require_built(step)
    if step == "node":
        return ["node", str(CLIENT_SOURCES / "node" / "client.js")]
    return [str(installer.BIN / f"client-{step}")]


def require_built(step: str) -> None:
    if not installer.is_built(step):
        pytest.skip(f"{step} is not built of these sources: python tools/install_foreign_clients.py")


@pytest_asyncio.fixture(loop_scope="session")
async def start_client() -> AsyncIterator[Callable[..., Any]]:
    """Start clients that end with the test."""
    clients: list[Client] = []

    async def start(name: str, port: int, **options: Any) -> Client:
        clients.append(await Client.start(name, port, **options))
        return clients[-1]

    yield start
    await asyncio.gather(*(client.stop() for client in clients))


@pytest.fixture(params=CLIENTS)
def client_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_clients(shared_servers: Callable[..., EngineProcess]) -> AsyncIterator[Callable[..., Any]]:
    """Clients that are started once for each server; tests keep apart by channels."""
    clients: dict[tuple[str, int], Client] = {}

    async def client(name: str, port: int) -> Client:
        key = name, port
        if key not in clients or clients[key].ended:
            clients[key] = await Client.start(name, port)
        return clients[key]

    yield client
    await asyncio.gather(*(client.stop() for client in clients.values()))


@pytest_asyncio.fixture(loop_scope="session")
async def share_client(room: str, shared_clients: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Clients that other tests use, too, with a channel and so a connection of this test's own."""
    clients: list[Client] = []

    async def share(name: str, port: int) -> Client:
        clients.append(await shared_clients(name, port))
        clients[-1].channel = room
        return clients[-1]

    yield share
    for client in clients:
        await client.end_calls()


@pytest_asyncio.fixture(loop_scope="session")
async def client(client_name: str, server: EngineProcess, share_client: Callable[..., Any]) -> Client:
    """A client of the shared server."""
    shared: Client = await share_client(client_name, server.grpc)
    return shared


class WebSocketPeer:
    """A peer on the other protocol."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request, whatever events come before it."""
        await self._connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        while True:
            message = await self._next()
            if "id" in message:
                result: dict[str, Any] = message["result"]
                return result

    async def event(self, method: str) -> dict[str, Any]:
        """The next event of a kind."""
        while True:
            message = await self._next()
            if message.get("method") == method:
                params: dict[str, Any] = message["params"]
                return params

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            message: dict[str, Any] = json.loads(await self._connection.recv())
            return message


@pytest_asyncio.fixture(loop_scope="session")
async def websocket() -> AsyncIterator[Callable[..., Any]]:
    """Open WebSockets that end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(port: int) -> WebSocketPeer:
            # A busy machine may take its time; by default the library does not give it that.
            limits = {"open_timeout": TIME_LIMIT_SECONDS, "close_timeout": TIME_LIMIT_SECONDS, "ping_interval": None}
            connecting = websocket_connect(f"ws://127.0.0.1:{port}/", proxy=None, **limits)
            return WebSocketPeer(await stack.enter_async_context(connecting))

        yield connect


@pytest.fixture
def grpcurl() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run grpcurl with some arguments."""
    tools = ROOT / ".cache" / "tools" / "bin"
    program = shutil.which("grpcurl", path=f"{tools}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("grpcurl is not installed: python3 tools/install_test_tools.py")

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "-plaintext", *arguments],
            env=clean_environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )

    return run


class Built:
    """Folder of the built programs; called with a step, it skips the test where that is not built."""

    bin: Path = installer.BIN

    def __call__(self, step: str) -> None:
        require_built(step)


@pytest.fixture(scope="session")
def built() -> Built:
    return Built()
