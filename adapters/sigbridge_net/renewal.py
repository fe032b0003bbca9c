"""Fresh tokens for a client's session: its program is asked for them, and they are shown before the old one ends.

Rule 1: the program is never waited for by the reading of a session: what may block is asked in a thread of its own, and
for so long only. Rule 2: no token, and no text of an error that others wrote, which might hold one, is ever logged.
Rule 3: a server that knows no `authenticate` is asked once, and then its session lives as long as its first token lets
it. The end of a JWT (RFC 7519, `exp`) is read without a check: to lie about it harms nobody but the session itself.

    learning ── the end is known ──► waiting ── it is near ──► asking ── a fresh one was shown ──► waiting
        │                               ▲                        │ │
        │                               └───── a JWT's end ──┐   │ └─ it failed: again, after a pause
        └── there is no end, or the server does not say ─────┼───┴── the old one has ended ──► (over)
                                                         (start)
"""

import asyncio
import base64
import binascii
import contextlib
import contextvars
import inspect
import logging
import math
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec

from sigbridge.client import ConnectionClosed, SignalingClient
from sigbridge.errors import Code, SignalingError
from sigbridge.instant import Instant
from sigbridge.messages import Authenticate, Authenticated
from sigbridge_net.clock import read_clock
from sigbridge_net.errors import AccessError

logger = logging.getLogger("sigbridge.client")

TokenSource: TypeAlias = Callable[[], "str | None | Awaitable[str | None]"]
"""A function that returns a token that is good now, or an awaitable of it; `None` where there is none."""

SOURCE_TIMEOUT_SECONDS: Final = 30.0
"""So long may a source of tokens take."""
LEAD_SECONDS: Final = 60.0
"""So long before a token ends a fresh one is asked for; half of what is left of it where that is less."""
SHORTEST_SECONDS: Final = 1.0
"""Least time that a token is good: one that ends sooner counts for `LEAD_SECONDS`, so that its source has a pause."""
LONGEST_PAUSE_SECONDS: Final = 15.0
"""The longest pause after a failure; the first is a second, and each is twice the one before."""
NEVER_SECONDS: Final = 10 * 365 * 86400.0
"""An end that is further away is none, as on the server."""

_LEARNING_SECONDS = (1.0, 5.0)


async def ask(source: TokenSource) -> str | None:
    """Returns a token of a source, and raises what the source raises.

    One that is no coroutine function is called in a thread, since it may block.

    :raises AccessError: if it is cancelled, takes too long or returns no text.
    """
    try:
        async with asyncio.timeout(SOURCE_TIMEOUT_SECONDS):
            token = source() if _is_coroutine_function(source) else await _in_a_thread(source)
            if inspect.isawaitable(token):
                token = await token
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Who waits for the token is not cancelled, and goes on as after any other failure.
        raise AccessError("the source of API tokens was cancelled") from None
    except TimeoutError:
        raise AccessError(f"no API token came within {SOURCE_TIMEOUT_SECONDS:g} s") from None
    if token is not None and not isinstance(token, str):
        raise AccessError(f"instead of an API token came a {type(token).__name__}: expected a text or None")
    return token


def end_of_jwt(token: str) -> float | None:
    """Returns when a JWT ends (`exp`, Unix seconds), unchecked; `None` where the token is none, or says no end."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = claims.get("exp")
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            return None
        return float(end)
    except (AttributeError, OverflowError, ValueError, binascii.Error, msgspec.MsgspecError):
        return None


class Renewal:
    """Shows fresh tokens in a session, from its start until `stop`."""

    def __init__(
        self,
        client: SignalingClient,
        source: TokenSource,
        shown: str,
        *,
        clock: Callable[[], Instant] = read_clock,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Begins, on the running event loop; `shown` is the token by which the session was let in."""
        self._client = client
        self._source = source
        self._shown = shown
        self._clock = clock
        self._uniform = uniform
        self._task = asyncio.create_task(self._run(), name="sigbridge token renewal")

    @property
    def over(self) -> bool:
        """True where no fresh token will be asked for any more."""
        return self._task.done()

    def stop(self) -> None:
        """Ends it; harmless when it has ended."""
        self._task.cancel()

    async def _run(self) -> None:
        """Learns when the token ends, and replaces it again and again before it does."""
        with contextlib.suppress(ConnectionClosed):
            end = end_of_jwt(self._shown)
            if end is None:
                end = await self._learn_end()
            while end is not None and end - self._clock().unix < NEVER_SECONDS:
                end = await self._replace(end)

    async def _learn_end(self) -> float | None:
        """Returns when the token ends that was shown, as the server says it; `None` where it does not."""
        # Later than the moment in which many connect at once; and who stays for a moment only asks nothing.
        await asyncio.sleep(self._uniform(*_LEARNING_SECONDS))
        try:
            return await self._show(self._shown)
        except SignalingError as refused:
            logger.debug("the server does not say when the token ends: %s", refused.code.name)
            return None

    async def _replace(self, end: float) -> float | None:
        """Waits until a token has nearly ended, and shows a fresh one.

        Returns its end, None if no more is to be done.
        """
        now = self._clock()
        left = end - now.unix
        if left < SHORTEST_SECONDS:
            # The server has let it in, so that our clock is wrong, or the server's word.
            left = LEAD_SECONDS
        deadline = now.monotonic + left
        await asyncio.sleep(left - min(LEAD_SECONDS, left / 2) * self._uniform(0.75, 1.25))
        pause = 1.0
        while True:
            wait = pause * self._uniform(0.75, 1.25)
            try:
                return await self._show_fresh(end)
            except SignalingError as refused:
                if _is_unknown_request(refused):
                    logger.warning("the server accepts no fresh token: the session ends with its current one")
                    return None
                why = f"the server refused it ({refused.code.name})"
                wait = max(wait, refused.extra.get("retry_after_ms", 0) / 1000)
            except ConnectionClosed:
                raise
            except AccessError as error:
                why = str(error)
            except Exception as error:  # noqa: BLE001 - whatever a program raises, its session goes on
                why = type(error).__name__
            if self._clock().monotonic + wait >= deadline:
                logger.warning("no fresh token before the current one ends: %s", why)
                return None
            logger.warning("no fresh token yet: %s; trying again in %.0f s", why, wait)
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _show_fresh(self, end: float) -> float | None:
        """Asks for a token and shows it; returns its end.

        :raises AccessError: if it is no fresh one.
        """
        token = await ask(self._source)
        if not token:
            raise AccessError("there is none")
        # The same text may be good for longer by now, where the server has a list of tokens.
        same = token == self._shown
        if same and end_of_jwt(token) is not None:
            raise AccessError("it is the old one still")
        ends = await self._show(token)
        if same and ends is not None and ends <= end:
            raise AccessError("it is the old one still")
        return ends

    async def _show(self, token: str) -> float | None:
        """Shows a token in the session; returns when it ends.

        :raises SignalingError: if it is refused.
        """
        reply = await self._client.call(Authenticate(token))
        if not isinstance(reply, Authenticated):
            raise TypeError(f"the server replied {type(reply).__name__} where Authenticated was due")
        self._shown = token
        return reply.expires_at


def _is_unknown_request(refused: SignalingError) -> bool:
    """Returns whether a server has refused what it does not know: on gRPC it sees a message that asks for nothing."""
    return refused.code is Code.UNIMPLEMENTED or (
        refused.code is Code.INVALID_ARGUMENT and "field" not in refused.extra
    )


def _is_coroutine_function(source: TokenSource) -> bool:
    return inspect.iscoroutinefunction(source) or inspect.iscoroutinefunction(getattr(source, "__call__", None))  # noqa: B004 - an object may be one by its method


async def _in_a_thread(source: TokenSource) -> Any:
    """Calls a source in a daemon thread, which keeps no program from ending; returns or raises what it does."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()

    def put(outcome: tuple[Any, Exception | None]) -> None:
        if not came.done():
            came.set_result(outcome)

    def run() -> None:
        """Calls the source, and gives what it returned or raised to the event loop."""
        try:
            outcome: tuple[Any, Exception | None] = (source(), None)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome = (None, error)
        # Where the loop has ended meanwhile, nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(put, outcome)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), name="sigbridge token", daemon=True).start()
    token, error = await came
    if error is not None:
        raise error
    return token
