"""The threads that pipelines run on, so that no pipeline holds up the event loop, and with it signaling.

Rule 1: so many run and so many wait; the next one is refused at once, since waiting would end at its time limit.
Rule 2: work whose caller has gone is told to stop, and counts until its thread is free.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

from pipeline_host.pipeline import PipelineError

T = TypeVar("T")

Stop: TypeAlias = Callable[[], bool]
"""Returns True once nobody waits any more."""


class TooBusy(PipelineError):
    """As much is waiting as may wait."""


class Workers:
    """A bounded number of threads with a bounded queue."""

    def __init__(self, *, threads: int, most_waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="pipeline")
        self._most = threads + most_waiting
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Number of pipelines that run or wait now."""
        return self._count

    async def run(self, work: Callable[[Stop], T]) -> T:
        """Does the work on a thread and returns its result.

        A caller that is cancelled is let go at once; what has not begun is never begun then.

        :raises TooBusy: if too much waits already.
        """
        if self._count >= self._most:
            raise TooBusy(f"Too many pipelines are waiting (limit {self._most}): try again later")
        stop = threading.Event()
        with self._lock:
            self._count += 1
        future = self._executor.submit(work, stop.is_set)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wrap_future(future)
        finally:
            stop.set()

    def close(self) -> None:
        """Begins nothing any more; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[T]) -> None:
        with self._lock:
            self._count -= 1
