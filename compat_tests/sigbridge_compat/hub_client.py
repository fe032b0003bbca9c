"""A client without a protocol: it calls a hub in its own process, and is what every real way in is compared with.

Rule 1: it does what an adapter does and no more: one request after the other, replies through the session's outbox,
events by an encoding. Rule 2: everything is made into bytes and back, so that no two peers ever share an object.
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
from sigbridge.errors import Code
from sigbridge.pending import Pending
from sigbridge.session import ProtocolName
from sigbridge_net.client_session import ClientSession
from sigbridge_net.clock import read_clock

_MESSAGES: dict[str, Any] = {
    name: kind for name, kind in vars(messages).items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}


class HubEncoding:
    """Events as the name of their class and JSON."""

    def encode_event(self, event: Event) -> bytes:
        """The event as it goes into an outbox."""
        return b"event 0 " + _packed(event)


_ENCODINGS: dict[ProtocolName, HubEncoding] = {"grpc": HubEncoding(), "websocket": HubEncoding()}
"""Two that do the same, so that a hub under test has to tell its encodings apart."""


class HubClient(ClientSession):
    """A session with a hub in this process, for code that runs on the present event loop."""

    def __init__(self, hub: Hub, *, protocol: ProtocolName = "websocket") -> None:
        super().__init__()
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._unread: deque[tuple[int, Request]] = deque()
        self._awaits_answer = False
        self._draining = False
        self.session = hub.open(
            protocol=protocol, encoding=_ENCODINGS[protocol], on_end=self._on_session_end, now=read_clock()
        )
        self.session.outbox.wake = self._wake

    async def close(self) -> None:
        """Leave and close; see `SignalingClient.close`."""
        if self._ended is None:
            self._hub.close(self.session, DisconnectReason.CLIENT_LEFT, read_clock())
            self._on_end(ConnectionClosed(DisconnectReason.CLIENT_LEFT.word))

    async def _send(self, number: int, request: Request) -> None:
        self._unread.append((number, request))
        self._read()

    def _read(self) -> None:
        while self._unread and not self._awaits_answer:
            number, request = self._unread.popleft()
            self._awaits_answer = True
            now = read_clock()
            outcome = self._hub.apply(self.session, request, now)
            if isinstance(outcome, Pending):
                outcome.then(lambda word, then, number=number: self._answer(number, word, then))  # type: ignore[misc]
            else:
                self._answer(number, outcome, now)

    def _answer(self, number: int, outcome: Reply | SignalingError, now: Instant) -> None:
        if isinstance(outcome, SignalingError):
            word = msgspec.json.encode((outcome.code, outcome.message, outcome.extra))
            frame = b"error %d SignalingError %s" % (number, word)
        else:
            frame = b"reply %d %s" % (number, _packed(outcome))
        self._hub.reply(self.session, frame, now)
        self._awaits_answer = False
        self._read()

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
