"""The conversation of a client: requests that await their replies, and events that wait to be read.

It belongs to a client, and not to a connection: one that reconnects goes on with it on the next one.

Rule 1: requests may overlap; each has its reply by its number, in any order. Rule 2: events are kept, in order and
without bound, until they are read: a program that announces itself reads its events. Rule 3: an SDP answer is compared
with the offers that are out when it is handed out, not when it arrives: the program may have hung up in between. While
a later offer to the same peer awaits its reply, it is held back with all events behind it: that offer may be refused.
Rule 4: an event whose number has been seen is dropped: a server repeats what may not have arrived.

The states of a request, and the verb of each step:

    (new) ──ask──▶ open ──resolve──▶ replied, or refused by the server
                    ├──refuse──▶ refused: it was not sent
                    ├──lose────▶ lost: the connection has ended, and nobody knows its outcome
                    └──────────────── of any state ──withdraw──▶ (forgotten)

The states of an event:

    (arrived) ──tell──▶ unread ──events──▶ handed out, or dropped: it is none of the program's
       └──seen before──▶ (dropped)  └──an offer before it awaits its reply──▶ held back ──look again──▶ unread
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, TypeAlias

from sigbridge.calls import Calls
from sigbridge.client import ClientEvent, ConnectionClosed, ConnectionEvent
from sigbridge.errors import SignalingError
from sigbridge.messages import Announce, Announced, Reply, Request, ServerNotice, unsigned

Outcome: TypeAlias = Reply | SignalingError | ConnectionClosed
"""The end of a request. A refusal is a result, too: asyncio complains of an exception that reaches nobody any more."""


class _Asked(NamedTuple):
    """A request, the future of its outcome, and what is to be done in the moment in which its reply arrives."""

    request: Request
    outcome: asyncio.Future[Outcome]
    at_reply: Callable[[Outcome], None] | None


class Conversation:
    """The requests and events of one client."""

    def __init__(self, calls: Calls) -> None:
        """`calls` are the offers that the client knows of."""
        self._calls = calls
        self._asked: dict[int, _Asked] = {}
        self._last_number = 0
        self._last_replied = 0
        """The highest number of a request whose reply has come."""
        self._unread: deque[tuple[ClientEvent, int]] = deque()
        """The events that are not read yet, each with the number of the request whose reply came last before it."""
        self._arrived = asyncio.Event()
        self._over = False
        self.last_seq = 0
        """The number of the last event that the server has numbered; 0: none."""
        self.notice: tuple[ServerNotice, float] | None = None
        """The last notice that says when to come back, and when it came (seconds of the event loop's clock)."""

    # Requests.

    def ask(
        self, request: Request, at_reply: Callable[[Outcome], None] | None = None, number: int | None = None
    ) -> int:
        """Registers a request that is about to be sent; returns its number.

        Without a `number` of its own, as one has that was sent before by another session, it is the next one.
        """
        number = self._last_number + 1 if number is None else number
        self._last_number = max(self._last_number, number)
        self._asked[number] = _Asked(request, asyncio.get_running_loop().create_future(), at_reply)
        self._calls.sent(number, request)
        return number

    @property
    def waiting(self) -> list[int]:
        """The numbers of the requests that await their replies, the oldest first."""
        return [number for number, asked in self._asked.items() if not asked.outcome.done()]

    def request_of(self, number: int) -> Request | None:
        """Returns the request of that number that awaits its reply; `None` where there is none."""
        asked = self._asked.get(number)
        return asked.request if asked is not None else None

    async def outcome(self, number: int) -> Reply:
        """Waits for the reply to a request and returns it.

        It has a `number` of its own where it was sent before by another session of the same peer.

        :raises SignalingError: if the request is refused.
        :raises ConnectionClosed: if the connection ends first.
        """
        # Who gives up to wait does not end the request, which the client may still want to know of.
        outcome = await asyncio.shield(self._asked[number].outcome)
        if isinstance(outcome, SignalingError | ConnectionClosed):
            raise outcome
        return outcome

    def withdraw(self, number: int) -> None:
        """Forgets a request, whatever became of it."""
        self._asked.pop(number, None)
        self.look_again()

    def resolve(self, number: int, outcome: Reply | SignalingError) -> None:
        """Sets the reply to a request, or its refusal, as the server says it."""
        asked = self._asked.get(number)
        if asked is None or asked.outcome.done():
            return
        self._last_replied = max(self._last_replied, number)
        request = unsigned(asked.request)
        if isinstance(request, Announce) and isinstance(outcome, Announced):
            # What is told from here on is another peer's, or what the one of before has missed.
            self.last_seq = request.last_seq if outcome.resumed else 0
        if isinstance(outcome, SignalingError):
            self._calls.refused(number, asked.request, outcome)
        else:
            self._calls.replied(number, asked.request, outcome)
        self._finish(asked, outcome)

    def refuse(self, number: int, refusal: SignalingError) -> None:
        """Refuses a request that was not sent, since its protocol cannot say it."""
        asked = self._asked.get(number)
        if asked is not None and not asked.outcome.done():
            self._calls.refused(number, asked.request, refusal)
            self._finish(asked, refusal)

    def lose(self, number: int, closed: ConnectionClosed) -> None:
        """Ends a request of which no reply will come."""
        asked = self._asked.get(number)
        if asked is not None and not asked.outcome.done():
            self._finish(asked, closed)

    def _finish(self, asked: _Asked, outcome: Outcome) -> None:
        """Sets the outcome of a request and calls its `at_reply`; events that waited for it are looked at again."""
        asked.outcome.set_result(outcome)
        if asked.at_reply is not None:
            asked.at_reply(outcome)
        self.look_again()

    # Events.

    def tell(self, event: ClientEvent, seq: int = 0) -> None:
        """Queues an event for `events`; `seq` is its number by the server, 0 for none.

        An event whose number was seen before is dropped. A notice that says when to reconnect is kept in `notice`, too.
        """
        if seq:
            if seq <= self.last_seq:
                return
            self.last_seq = seq
        if isinstance(event, ServerNotice) and event.reconnect_after_ms:
            self.notice = event, asyncio.get_running_loop().time()
        self._unread.append((event, self._last_replied))
        self._arrived.set()

    async def events(self) -> AsyncIterator[ClientEvent]:
        """Yields the events in the order in which they arrive, until the last one; see `SignalingClient.events`."""
        while True:
            while self._unread and not self._is_held_back(self._unread[0][0]):
                event, last = self._unread.popleft()
                if isinstance(event, ConnectionEvent) or self._calls.handed(event, last):
                    yield event
            if self._over:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def forget_events(self) -> None:
        """Forgets what other peers have said to a peer that is no more."""
        self._unread = deque(one for one in self._unread if isinstance(one[0], ConnectionEvent | ServerNotice))

    def end(self) -> None:
        """Ends `events` behind what is there."""
        self._over = True
        self._arrived.set()

    def look_again(self) -> None:
        """Lets `events` look again at what it holds back."""
        if self._unread:
            self._arrived.set()

    def _is_held_back(self, event: ClientEvent) -> bool:
        """Returns whether a reply is awaited that decides whether an event is for the program."""
        if isinstance(event, ConnectionEvent):
            return False
        asked = self._asked.get(self._calls.depends_on(event))
        return asked is not None and not asked.outcome.done()
