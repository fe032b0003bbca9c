"""The two pipeline services on grpc.aio."""

import asyncio

import grpc
import grpc.aio

from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.generated import pipeline_pb2_grpc as pb_grpc
from pipeline_host.pipeline import ManifestError
from pipeline_host.runner import Call, Context, Draining, PipelineRunner, TooSlow

EXECUTION_SERVICE_NAME = "sigbridge.examples.pipeline.v1.PipelineExecutionService"
STREAMING_SERVICE_NAME = "sigbridge.examples.pipeline.v1.StreamingPipelineService"


def add_pipelines(server: grpc.aio.Server, runner: PipelineRunner) -> None:
    """Serves both on a server that has not been started yet."""
    pb_grpc.add_PipelineExecutionServiceServicer_to_server(PipelineExecution(runner), server)
    pb_grpc.add_StreamingPipelineServiceServicer_to_server(StreamingPipeline(runner), server)


class PipelineExecution(pb_grpc.PipelineExecutionServiceServicer):
    """Runs a pipeline once. Its time limit is the interceptor's, as for every unary call of the server."""

    def __init__(self, runner: PipelineRunner) -> None:
        self._runner = runner

    async def ExecutePipeline(  # noqa: N802  (the contract's name)
        self, request: pb.ExecutePipelineRequest, context: Context
    ) -> pb.ExecutePipelineResponse:
        """Takes the input through the manifest's nodes."""
        async with self._runner.call("ExecutePipeline", context) as call:
            call.begin(request.manifest)
            return pb.ExecutePipelineResponse(outputs=await call.run(request.input))


class StreamingPipeline(pb_grpc.StreamingPipelineServiceServicer):
    """Runs a pipeline on a stream.

    One item at a time is read, run and written, so a client that does not read its outputs is not read from either.
    """

    def __init__(self, runner: PipelineRunner) -> None:
        self._runner = runner

    # The stubs know only generators; but one that is cancelled while its item is written ends at some later time.
    async def StreamPipeline(self, _: object, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """Takes each input through the nodes of the manifest that comes first."""
        async with self._runner.call("StreamPipeline", context) as call:
            while (request := await self._next(context)) is not None:
                if request.WhichOneof("request") == "manifest":
                    if call.begun:
                        raise ManifestError("There is a manifest already: a stream has one")
                    call.begin(request.manifest)
                    await context.send_initial_metadata(())
                    continue
                item = call.item_count
                outputs = await self._run(call, request.input)
                await context.write(pb.StreamPipelineResponse(item=item, outputs=outputs))

    async def _run(self, call: Call, item: pb.Data) -> list[pb.Output]:
        limit = self._runner.limit_seconds
        try:
            async with asyncio.timeout(limit) as timeout:
                return await call.run(item)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise TooSlow(f"Item {call.item_count} took longer than {limit:g} s") from None

    async def _next(self, context: Context) -> pb.StreamPipelineRequest | None:
        """The next request, or `None` where the client has ended its side; Draining where the host ends first."""
        reading = asyncio.ensure_future(context.read())
        draining = asyncio.create_task(self._runner.draining.wait())
        try:
            await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                raise Draining
            request = reading.result()
        finally:
            # Cancelled, a read gives nothing any more; but then nothing is read from this call any more.
            reading.cancel()
            draining.cancel()
        return request if isinstance(request, pb.StreamPipelineRequest) else None
