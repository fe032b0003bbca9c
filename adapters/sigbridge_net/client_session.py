"""What the clients of both protocols share: replies find their callers, events wait to be read, an end is told to all.

Rule 1: requests may overlap; each is answered by its id. Rule 2: events are kept, in order and without bound, until
they are read: a program that announces itself reads its events. Rule 3: when the connection ends, every caller that
still waits learns that its outcome is unknown. Rule 4: an answer is compared with the offers that are out when it is
handed out, not when it arrives: the program may have hung up in between. While a later offer to the same peer awaits
its reply, it is held back with all events behind it: that offer may be refused. Rule 5: a session's tokens
are renewed beside it, and until it ends.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator

from sigbridge.client import ConnectionClosed, SignalingClient
from sigbridge.errors import SignalingError
from sigbridge.messages import Event, Reply, Request
from sigbridge_net.renewal import Renewal, TokenSource


class ClientSession(SignalingClient):
    """A client whose protocol only has to send requests and to report what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[int, tuple[Request, asyncio.Future[Reply]]] = {}
        self._last_id = 0
        self._last_replied = 0
        """The number of the last request whose reply has come."""
        self._events: deque[tuple[Event, int]] = deque()
        """The events that are not read yet, each with the number of the request whose reply came last before it."""
        self._arrived = asyncio.Event()
        self._ended: ConnectionClosed | None = None
        self._renewal: Renewal | None = None

    @property
    def closed(self) -> ConnectionClosed | None:
        """How the connection ended, or `None` while it is open."""
        return self._ended

    async def call(self, request: Request) -> Reply:
        """Send one request and wait for its reply; see `SignalingClient.call`."""
        if self._ended is not None:
            raise _again(self._ended)
        self._last_id += 1
        number = self._last_id
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (request, future)
        self._calls.sent(number, request)
        try:
            await self._send(number, request)
            return await future
        except SignalingError:
            self._calls.refused(number, request)
            raise
        finally:
            self._waiting.pop(number, None)
            self._look_again()

    async def events(self) -> AsyncIterator[Event]:
        """The events in the order in which they arrive; see `SignalingClient.events`."""
        while True:
            while self._events and not self._is_held_back(self._events[0][0]):
                event, last = self._events.popleft()
                if self._calls.handed(event, last):
                    yield event
            if self._ended is not None:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def renew_tokens(self, source: TokenSource, shown: str) -> None:
        """Show fresh tokens of a source before the one ends that was shown; see `sigbridge_net.renewal`."""
        if self._ended is None:
            self._renewal = Renewal(self, source, shown)

    @abstractmethod
    async def _send(self, number: int, request: Request) -> None:
        """Write one request; ConnectionClosed where the connection has ended."""

    # What the protocol's reader reports.

    def _request_of(self, number: int) -> Request | None:
        """The request that waits for the reply `number`."""
        waiting = self._waiting.get(number)
        return waiting[0] if waiting is not None else None

    def _on_reply(self, number: int, outcome: Reply | SignalingError) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting[1].done():
            return
        self._last_replied = number
        if isinstance(outcome, SignalingError):
            self._calls.refused(number, waiting[0])
            waiting[1].set_exception(outcome)
        else:
            self._calls.replied(number, waiting[0], outcome)
            waiting[1].set_result(outcome)
        self._look_again()

    def _on_event(self, event: Event) -> None:
        self._events.append((event, self._last_replied))
        self._arrived.set()

    def _on_end(self, closed: ConnectionClosed) -> None:
        if self._ended is not None:
            return
        self._ended = closed
        if self._renewal is not None:
            self._renewal.stop()
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(_again(closed))
        self._arrived.set()

    def _is_held_back(self, event: Event) -> bool:
        """Returns whether a reply is awaited that decides whether an event is for the program."""
        waiting = self._waiting.get(self._calls.depends_on(event))
        return waiting is not None and not waiting[1].done()

    def _look_again(self) -> None:
        """Lets `events` look again at what it holds back."""
        if self._events:
            self._arrived.set()


def _again(closed: ConnectionClosed) -> ConnectionClosed:
    """Returns the same end for somebody else: each who is told has a traceback of its own."""
    return ConnectionClosed(closed.reason, closed.reconnect, closed.retry_after_ms)
