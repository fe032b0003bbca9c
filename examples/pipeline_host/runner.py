"""Calls of both services: one way to run an item, one way in which a call ends, and the end of all of them.

Rule 1: an item runs on a thread, within the time limit and the memory limit. Rule 2: whatever ends a call is counted
and logged once, and no text of an unexpected exception leaves the host. Rule 3: while the host drains, calls that have
begun may end, and new ones are refused.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry

from pipeline_host.data import Data, DataError
from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.metrics import PipelineMetrics
from pipeline_host.pipeline import InputError, ManifestError, Pipeline, PipelineError, TooMuchMemory
from pipeline_host.translate import data_from_proto, data_to_proto
from pipeline_host.workers import Stop, TooBusy, Workers
from sigbridge import Settings

logger = logging.getLogger("pipeline_host")

MOST_WAITING = 64
"""Items that may wait for a thread; each holds a message of at most 4 MiB."""

MOST_STATUS_CHARACTERS = 500
"""A status is sent as a header, and clients take no large ones; a text may cite what the client sent."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Draining(PipelineError):
    """The host is shutting down."""

    def __init__(self) -> None:
        super().__init__("Server is draining: try again after a pause")


class TooSlow(PipelineError):
    """An item took longer than it may."""


class ShortOfMemory(PipelineError):
    """The whole process holds more than it may, whoever took it."""


_CODES: dict[type[PipelineError], grpc.StatusCode] = {
    ManifestError: grpc.StatusCode.INVALID_ARGUMENT,
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    TooMuchMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ShortOfMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooBusy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    Draining: grpc.StatusCode.UNAVAILABLE,
}


class PipelineRunner:
    """Runs the items of all calls."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        *,
        memory_is_short: Callable[[], bool],
        threads: int | None = None,
    ) -> None:
        """`memory_is_short` is the host's word for the whole process; `threads` is as many as there are processors."""
        self.draining = asyncio.Event()
        self.limit_seconds = settings.max_timeout_seconds
        self._limit_bytes = settings.max_memory_mb * 2**20 if settings.max_memory_mb else None
        self._max_memory_mb = settings.max_memory_mb
        self._memory_is_short = memory_is_short
        self._workers = Workers(threads=threads or os.cpu_count() or 1, most_waiting=MOST_WAITING)
        self._metrics = PipelineMetrics(registry, running=lambda: self._workers.count)
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    @asynccontextmanager
    async def call(self, method: str, context: Context) -> AsyncIterator["Call"]:
        """One call, from its beginning to its end: what is raised inside becomes its status."""
        call = Call(self, method)
        began = time.monotonic()
        code = grpc.StatusCode.OK
        self._open += 1
        self._none_open.clear()
        self._metrics.open_calls.labels(method).inc()
        try:
            if self.draining.is_set():
                raise Draining
            if self._memory_is_short():
                raise ShortOfMemory(
                    f"Too little memory for another pipeline (limit GRPC_MAX_MEMORY_MB is {self._max_memory_mb}): "
                    "try again later"
                )
            yield call
        except PipelineError as error:
            code = _CODES[type(error)]
            await context.abort(code, str(error)[:MOST_STATUS_CHARACTERS])
        except asyncio.CancelledError:
            # The interceptor's time limit and a client that has gone look the same from in here.
            late = method == "ExecutePipeline" and time.monotonic() - began >= self.limit_seconds
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception:
            logger.exception("%s failed", method)
            code = grpc.StatusCode.INTERNAL
            await context.abort(code, "Internal error")
        finally:
            self._open -= 1
            if not self._open:
                self._none_open.set()
            self._metrics.open_calls.labels(method).dec()
            self._metrics.calls.labels(method, code.name).inc()
            logger.info(
                "pipeline ended",
                extra={
                    "method": method,
                    "pipeline": call.name,
                    "code": code.name,
                    "items": call.item_count,
                    "seconds": round(time.monotonic() - began, 3),
                },
            )

    async def run(self, method: str, pipeline: Pipeline, item: pb.Data) -> list[pb.Output]:
        """Takes one item through a pipeline, on a thread."""

        def work(stopped: Stop) -> list[pb.Output]:
            # Large messages take their time, so they are translated on the thread as well.
            outputs = pipeline.run(_translated(item), limit_bytes=self._limit_bytes, stopped=stopped)
            return [pb.Output(node_id=node_id, data=data_to_proto(data)) for node_id, data in outputs.items()]

        with self._metrics.item_seconds.labels(method).time():
            outputs = await self._workers.run(work)
        self._metrics.items.labels(method).inc()
        return outputs

    @property
    def idle(self) -> bool:
        """True while no thread is at work."""
        return self._workers.count == 0

    async def drain(self, grace_seconds: float) -> int:
        """Refuses new calls and waits for those that have begun; returns how many have not ended in time."""
        self.draining.set()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._none_open.wait()
        except TimeoutError:
            logger.warning("pipelines are cut", extra={"calls": self._open})
        self._workers.close()
        return self._open


class Call:
    """One call of either service."""

    def __init__(self, runner: PipelineRunner, method: str) -> None:
        self.name = ""
        self.item_count = 0
        self._runner = runner
        self._method = method
        self._pipeline: Pipeline | None = None

    @property
    def begun(self) -> bool:
        """True once it has its manifest."""
        return self._pipeline is not None

    def begin(self, manifest: pb.Manifest) -> None:
        """Checks the manifest.

        :raises ManifestError: if it is wrong.
        """
        self._pipeline = Pipeline(manifest)
        self.name = manifest.name

    async def run(self, item: pb.Data) -> list[pb.Output]:
        """Takes one item through the pipeline that has begun.

        :raises ManifestError: if none has.
        """
        if self._pipeline is None:
            raise ManifestError("The first message must hold the manifest")
        outputs = await self._runner.run(self._method, self._pipeline, item)
        self.item_count += 1
        return outputs


def _translated(item: pb.Data) -> Data:
    try:
        return data_from_proto(item)
    except DataError as error:
        raise InputError(f"The input {error}") from None
