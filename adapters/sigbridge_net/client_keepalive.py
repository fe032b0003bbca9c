"""Signs of life of a client's session: a small request where its program has sent nothing for a while.

A proxy of HTTP/2 responds to the pings of both sides itself, and cuts streams on which nothing is sent; nor can a
server tell by its pings that a client behind such a proxy is frozen. So the session itself says something.

Rule 1: what it asks is the cheapest request that every server knows, and the reply is nobody's, an error included.
Rule 2: the next one is not sent before the reply to the last has come: behind a connection that stands still they would
pile up. Rule 3: it goes with its session, and nothing that the program does waits for it. Rule 4: where somebody is to
be told that nothing comes any more, it asks in the server's silences, too, and twice: a program that stood still itself
finds the first time limit passed, and the reply to the second question behind it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from sigbridge.client import ConnectionClosed
from sigbridge.errors import SignalingError
from sigbridge.messages import ListPeers, Reply, Request

SIGN_OF_LIFE = ListPeers(page_size=1)

REPLY_SECONDS: Final = 10.0
"""So long may the reply take where silence is told of."""
QUESTIONS: Final = 2
"""So many questions in a row must stay without any reply or event."""


class Sending(Protocol):
    """A client that knows when it has sent something, and when something came."""

    sent_at: float
    """The moment at which it has sent its last request, or begun (seconds of the event loop's clock)."""
    heard_at: float
    """The moment at which its last reply or event came, or it has begun (likewise)."""

    async def call(self, request: Request) -> Reply:
        """Sends one request and waits for its reply."""


class ClientKeepalive:
    """Sends something in a session that is silent, from its start until `stop`."""

    def __init__(self, client: Sending, seconds: float, on_silence: Callable[[], None] | None = None) -> None:
        """Begins, on the running event loop; `seconds` is the longest silence.

        `on_silence` is called once, where the server says nothing to what it is asked.
        """
        self._client = client
        self._seconds = seconds
        self._on_silence = on_silence
        self._task = asyncio.create_task(self._run(), name="sigbridge client keepalive")

    def stop(self) -> None:
        """Ends it; harmless when it has ended."""
        self._task.cancel()

    async def _run(self) -> None:
        """Asks in each silence, until the session ends; ends itself when nothing comes any more."""
        clock = asyncio.get_running_loop().time
        client = self._client
        with contextlib.suppress(ConnectionClosed):
            while True:
                since = client.sent_at if self._on_silence is None else min(client.sent_at, client.heard_at)
                left = since + self._seconds - clock()
                if left > 0:
                    await asyncio.sleep(left)
                elif self._on_silence is None:
                    await self._ask()
                elif not await self._is_heard():
                    self._on_silence()
                    return

    async def _ask(self) -> None:
        with contextlib.suppress(SignalingError):
            await self._client.call(SIGN_OF_LIFE)

    async def _is_heard(self) -> bool:
        """Asks up to `QUESTIONS` times; returns whether anything came."""
        heard_at = self._client.heard_at
        for _ in range(QUESTIONS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPLY_SECONDS):
                    await self._ask()
            if self._client.heard_at != heard_at:
                return True
        return False
