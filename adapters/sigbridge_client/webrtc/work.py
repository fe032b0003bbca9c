"""The work of calls that goes on beside them: requests, steps of connections, and farewells to both.

Rule 1: a request is never given up: whether the server has taken an offer, and by which id, is known in the end.
Rule 2: a step of a connection is never cancelled, since aiortc leaves sockets and waiters behind: who stops to wait for
one lets it end. Rule 3: a connection is closed in a task of its own, after its last step.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from aiortc import RTCPeerConnection

from sigbridge import Code, Reply, Request, SignalingClient, SignalingError

logger = logging.getLogger("sigbridge.client")

T = TypeVar("T")

TRIES: Final = 4
"""The most times that a request is sent which the server refuses for a while."""
LONGEST_PAUSE_SECONDS: Final = 10.0
LAST_STEP_SECONDS: Final = 8.0
"""So long may the last step of a connection that is to be closed take; gathering may take five."""
HANG_UP_SECONDS: Final = 2.0
"""So long does the end of all calls wait for hang-ups to be told: a client without a connection cannot."""
CLOSE_SECONDS: Final = 10.0
"""So long does it wait for connections to be closed, behind their last steps."""

_WORTH_ANOTHER_TRY: Final = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE})


class Work:
    """The tasks of one client's calls."""

    def __init__(self, client: SignalingClient) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[Any]] = set()
        self._requests: set[asyncio.Task[Reply]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Returns a task of the calls, which `end` waits for."""
        task = asyncio.create_task(work, name=f"sigbridge call: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def request(self, request: Request) -> asyncio.Task[Reply]:
        """Returns the task of a request, which is sent again where the server refuses it for a while only."""
        task = self.spawn(self._request(request), request.kind)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        return task

    async def end(self) -> None:
        """Waits for all tasks, for a while; then gives requests up, and at last all that is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=HANG_UP_SECONDS)
        for request in self._requests:
            request.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=HANG_UP_SECONDS)

    async def _request(self, request: Request) -> Reply:
        """Sends a request `TRIES` times at most, while the server refuses it for a while only; returns the reply.

        :raises SignalingError: if it is refused for good, or as often.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                return await self._client.call(request)
            except SignalingError as refusal:
                if refusal.code not in _WORTH_ANOTHER_TRY or not tries_left:
                    raise
                pause = (refusal.retry_after_ms or 100) / 1000
            await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        raise AssertionError("the last try returns or raises")

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Read once here: who waits for the task is told, and nobody need wait.
            logger.debug("%s: %s", task.get_name(), type(error).__name__)


class Steps:
    """The steps of one connection, one after the other, from its making to its close."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._building: asyncio.Task[RTCPeerConnection] | None = None
        self._step: asyncio.Task[Any] | None = None

    async def build(self, make: Callable[[], Awaitable[RTCPeerConnection]]) -> RTCPeerConnection:
        """Returns the connection that `make` makes, which goes on making it if the caller is cancelled.

        :raises RuntimeError: if `make` is cancelled; other exceptions are its own.
        """

        async def building() -> RTCPeerConnection:
            try:
                return await make()
            except asyncio.CancelledError:
                # Who waits for it is not cancelled.
                raise RuntimeError("the function that builds connections of calls was cancelled") from None

        self._building = self._work.spawn(building(), "build")
        return await ended(self._building)

    def is_built_by(self, task: asyncio.Task[Any] | None) -> bool:
        """Returns whether a task is the one that builds the connection."""
        return task is not None and task is self._building

    async def take(self, step: Coroutine[Any, Any, T]) -> T:
        """Takes a step to its end, even if the caller is cancelled; returns its result, or raises its exception."""
        self._step = self._work.spawn(step, "step")
        return await ended(self._step)

    def close(self) -> asyncio.Task[None]:
        """Returns the task that closes the connection, once it is built and its last step is taken."""
        return self._work.spawn(self._close(), "close")

    async def _close(self) -> None:
        """Closes the connection, if one was built, behind its last step or after `LAST_STEP_SECONDS`."""
        if self._building is None:
            return
        await asyncio.wait({self._building})
        if self._building.cancelled() or self._building.exception() is not None:
            return
        connection = self._building.result()
        if self._step is not None:
            await asyncio.wait({self._step}, timeout=LAST_STEP_SECONDS)
        try:
            await connection.close()
        except Exception as error:  # noqa: BLE001 - nobody is left to be told, and no other call is to suffer
            logger.warning("a connection of a call cannot be closed: %s", type(error).__name__)


async def ended(task: asyncio.Task[T]) -> T:
    """Returns the result of a task, or raises its exception; who stops to wait does not cancel it."""
    await asyncio.wait({task})
    return task.result()
