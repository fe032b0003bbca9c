"""A client without a protocol: it calls a hub in its own process, and is what every real way in is compared with.

Rule 1: it does what an adapter does and no more: one request after the other, responses and events by an encoding,
through the session's outbox. Rule 2: everything is made into bytes and back, so that no two peers ever share an object.
"""

import asyncio
import sys
from collections import deque
from typing import Any

import msgspec

from sigbridge import (
    ConnectionClosed,
    DisconnectReason,
    Event,
    Hub,
    Instant,
    Reply,
    Request,
    SignalingError,
    messages,
)
from sigbridge.auth import ALLOW_ALL, Authenticator
from sigbridge.errors import Code
from sigbridge.session import Caller, Outcome
from sigbridge_net.client_session import ClientSession
from sigbridge_net.clock import read_clock

_MESSAGES: dict[str, Any] = {
    name: kind for name, kind in vars(messages).items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}


class HubEncoding:
    """Messages as the name of their class and JSON; events have no number but 0, responses that of their request."""

    def encode_event(self, event: Event) -> bytes:
        """The event as it goes into an outbox."""
        return b"event 0 " + _packed(event)

    def number_event(self, frame: bytes, number: int) -> bytes:
        """The event with its number in place of 0."""
        return b"event %d %b" % (number, frame.removeprefix(b"event 0 "))

    def encode_response(self, outcome: Outcome, request_id: int) -> bytes:
        """The response as it goes into an outbox."""
        if isinstance(outcome, SignalingError):
            word = msgspec.json.encode((outcome.code, outcome.message, outcome.extra))
            return b"error %d SignalingError %s" % (request_id, word)
        return b"reply %d %s" % (request_id, _packed(outcome))


_ENCODINGS: dict[str, HubEncoding] = {"grpc": HubEncoding(), "websocket": HubEncoding()}
"""Two that do the same, so that a hub under test has to tell its encodings apart."""


class HubClient(ClientSession):
    """A session with a hub in this process, for code that runs on the present event loop."""

    def __init__(self, hub: Hub, *, protocol: str = "websocket", authenticator: Authenticator = ALLOW_ALL) -> None:
        super().__init__()
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._unread: deque[tuple[int, Request]] = deque()
        self._draining = False
        for known in _ENCODINGS:
            hub.counters.know(known)
        caller = Caller(authenticator=authenticator)
        self.session = hub.open(protocol, _ENCODINGS[protocol], self._on_session_end, read_clock(), caller)
        self.session.outbox.wake = self._wake
        self.session.on_ready = self._read

    async def close(self) -> None:
        """Leave and close; see `SignalingClient.close`."""
        if self._ended is None:
            self._hub.end(self.session, DisconnectReason.CLIENT_LEFT, read_clock())

    async def _send(self, number: int, request: Request) -> None:
        self._unread.append((number, request))
        self._read(read_clock())

    def _read(self, now: Instant) -> None:
        while self._unread and not self.session.awaiting:
            number, request = self._unread.popleft()
            self._hub.apply(self.session, request, number, now)
        if self.session.ends_at <= now.monotonic:
            # In place of a timer, which a bare hub has not.
            self._hub.expire(now)

    def _wake(self) -> None:
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._draining = False
        for frame in self.session.outbox.take(sys.maxsize):
            family, number, name, text = frame.split(b" ", 3)
            if family == b"error":
                code, message, extra = msgspec.json.decode(text)
                self._on_reply(int(number), SignalingError(Code(code), message, **extra))
                continue
            message = msgspec.json.decode(text, type=_MESSAGES[name.decode()])
            if family == b"event":
                self._on_event(message)
            else:
                self._on_reply(int(number), message)

    def _on_session_end(self, reason: DisconnectReason) -> None:
        self._drain()
        self._on_end(ConnectionClosed(reason.word, reason.reconnect))


def _packed(message: Event | Reply) -> bytes:
    return type(message).__name__.encode() + b" " + msgspec.json.encode(message)
