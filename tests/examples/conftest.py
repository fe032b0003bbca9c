"""A pipeline host of this process, with real channels, and nodes that wait until a test lets them go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.request import urlopen

import pytest
from google.protobuf import json_format

pytest.importorskip("numpy")

from channels import Channels
from pipeline_host.data import Text
from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.generated import pipeline_pb2_grpc as pb_grpc
from pipeline_host.host import PipelineHost
from pipeline_host.node import Node, Params
from pipeline_host.registry import NODE_TYPES
from sigbridge import Settings
from sigbridge.auth import Authenticator
from waiting import TIME_LIMIT_SECONDS


class Hosted(Channels):
    """A host that runs, and channels to it."""

    def __init__(self, host: PipelineHost) -> None:
        super().__init__(f"127.0.0.1:{host.grpc_port}")
        self.host = host
        self.stopped = False

    async def execute(
        self, manifest: dict[str, Any] | pb.Manifest, *, metadata: Any = None, **item: Any
    ) -> dict[str, pb.Data]:
        """Run a pipeline once; its outputs by node."""
        if isinstance(manifest, dict):
            manifest = json_format.ParseDict(manifest, pb.Manifest())
        stub: Any = pb_grpc.PipelineExecutionServiceStub(self.channel())
        request = pb.ExecutePipelineRequest(manifest=manifest, input=pb.Data(**item))
        response = await stub.ExecutePipeline(request, metadata=metadata)
        return {output.node_id: output.data for output in response.outputs}

    async def stream(self, manifest: dict[str, Any], *, metadata: Any = None) -> Any:
        """A stream whose manifest has been accepted."""
        stub: Any = pb_grpc.StreamingPipelineServiceStub(self.channel())
        call = stub.StreamPipeline(metadata=metadata)
        await call.write(pb.StreamPipelineRequest(manifest=json_format.ParseDict(manifest, pb.Manifest())))
        await call.initial_metadata()
        return call

    async def metrics(self) -> str:
        def fetch() -> str:
            with urlopen(f"http://127.0.0.1:{self.host.http_port}/metrics", timeout=TIME_LIMIT_SECONDS) as page:
                text: str = page.read().decode()
                return text

        return await asyncio.to_thread(fetch)

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            await self.host.stop()

    async def close(self) -> None:
        await self.close_channels()
        await self.stop()


HostIt = Callable[..., Awaitable[Hosted]]


@pytest.fixture
async def host_it() -> AsyncIterator[HostIt]:
    """Start a host with the given settings; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(authenticator: Authenticator | None = None, **settings: Any) -> Hosted:
            addresses = {"grpc_bind_address": "127.0.0.1:0", "http_bind_address": "127.0.0.1:0"}
            host = PipelineHost(Settings(**{**addresses, **settings}), authenticator=authenticator)
            await host.start()
            hosted = Hosted(host)
            stack.push_async_callback(hosted.close)
            return hosted

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield start


@pytest.fixture
async def hosted(host_it: HostIt) -> Hosted:
    return await host_it()


class Gate:
    """Gate at which the node `test.wait` waits."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.opened = threading.Event()

    async def arrival(self) -> None:
        """Wait until a node waits."""
        assert await asyncio.to_thread(self.arrived.acquire, timeout=TIME_LIMIT_SECONDS)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Adds a node that waits on its thread until the gate is opened; it is, at the end at the latest."""
    gate = Gate()

    class Wait(Node[Text]):
        takes = Text
        gives = Text

        def __init__(self, params: Params) -> None:
            pass

        def needs_bytes(self, inputs: Sequence[Text]) -> int:
            return 0

        def process(self, inputs: Sequence[Text]) -> Text:
            gate.arrived.release()
            assert gate.opened.wait(TIME_LIMIT_SECONDS)
            return inputs[0]

    monkeypatch.setitem(NODE_TYPES, "test.wait", Wait)  # type: ignore[arg-type]
    yield gate
    gate.opened.set()
