"""The events that calls pass on to their program, in order and in bounded memory."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from sigbridge import AnswerReceived, IceCandidateReceived, OfferReceived
from sigbridge.client import ClientEvent

logger = logging.getLogger("sigbridge.client")

MAX_EVENTS: Final = 1024
MAX_BYTES: Final = 4 * 1024 * 1024
"""The most of unread events that are kept, by number and by the length of their texts."""


class Passing:
    """The unread events of one client."""

    def __init__(self) -> None:
        self._unread: deque[tuple[ClientEvent, int]] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._over = False
        self._is_read = False
        self._has_warned = False
        self.dropped = 0
        """Number of the events that were dropped, since nobody had read them."""

    def take(self, event: ClientEvent) -> None:
        """Keeps an event; drops the oldest ones over the bounds."""
        size = _size(event)
        self._unread.append((event, size))
        self._size += size
        while len(self._unread) > 1 and (len(self._unread) > MAX_EVENTS or self._size > MAX_BYTES):
            self._size -= self._unread.popleft()[1]
            self.dropped += 1
            if self._is_read and not self._has_warned:
                self._has_warned = True
                logger.warning("events of calls are read too slowly: the oldest are dropped")
        self._arrived.set()

    def end(self) -> None:
        """Ends `events` behind what is there."""
        self._over = True
        self._arrived.set()

    async def events(self) -> AsyncIterator[ClientEvent]:
        """The events in their order, from the first unread one on."""
        self._is_read = True
        while True:
            while self._unread:
                event, size = self._unread.popleft()
                self._size -= size
                yield event
            if self._over:
                return
            self._arrived.clear()
            await self._arrived.wait()


def _size(event: ClientEvent) -> int:
    """Returns about how many bytes an event holds."""
    match event:
        case OfferReceived(sdp=text) | AnswerReceived(sdp=text) | IceCandidateReceived(candidate=text):
            return len(text)
    return len(msgspec.json.encode(event))
