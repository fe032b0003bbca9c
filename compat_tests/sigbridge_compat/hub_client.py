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
    GetIceServers,
    Hub,
    Instant,
    Reply,
    Request,
    SignalingError,
    messages,
)
from sigbridge.auth import ALLOW_ALL, Authenticator
from sigbridge.errors import Code
from sigbridge.messages import PeerDisconnected, PeerLeft, RelayedEvent
from sigbridge.session import Caller, Outcome, Peer
from sigbridge_net.client_session import ClientSession
from sigbridge_net.clock import read_clock

_MESSAGES: dict[str, Any] = {
    name: kind for name, kind in vars(messages).items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}


class HubEncoding:
    """Messages as the name of their class and JSON; events have no number but 0, responses that of their request.

    Those that take no control are told no reasons.
    """

    def __init__(self, *, takes_control: bool = False) -> None:
        self.takes_control = takes_control

    def encode_event(self, event: Event) -> bytes:
        """Returns the event as it goes into an outbox."""
        if isinstance(event, PeerLeft | PeerDisconnected) and event.reason and not self.takes_control:
            event = msgspec.structs.replace(event, reason="")
        return b"event 0 " + _packed(event)

    def encode_relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the event, which does not say to whom it goes, as it goes into an outbox."""
        return self.encode_event(event)

    def encode_numbered_relay(self, event: RelayedEvent, to_peer_id: str, number: int) -> bytes:
        """Returns the event with its number."""
        return self.number_event(self.encode_event(event), number)

    def number_event(self, frame: bytes, number: int) -> bytes:
        """Returns the event with its number in place of 0."""
        return b"event %d %b" % (number, frame.removeprefix(b"event 0 "))

    def encode_response(self, outcome: Outcome, request_id: int) -> bytes:
        """Returns the response as it goes into an outbox."""
        if isinstance(outcome, SignalingError):
            word = msgspec.json.encode((outcome.code, outcome.message, outcome.extra))
            return b"error %d SignalingError %s" % (request_id, word)
        return b"reply %d %s" % (request_id, _packed(outcome))


_ENCODINGS: dict[str, HubEncoding] = {"grpc": HubEncoding(), "websocket": HubEncoding()}
"""Two that do the same, so that a hub under test has to tell its encodings apart."""
_TAKING_CONTROL = HubEncoding(takes_control=True)
"""One more, of sessions that are told messages of control."""


class HubClient(ClientSession):
    """A session with a hub in this process, for code that runs on the present event loop."""

    def __init__(
        self,
        hub: Hub,
        *,
        protocol: str = "websocket",
        authenticator: Authenticator = ALLOW_ALL,
        takes_control: bool = False,
    ) -> None:
        """Opens a session at a hub of this process.

        `takes_control` says whether it is told what only sessions of the dotted dialect are.
        """
        super().__init__()
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._unread: deque[tuple[int, Request]] = deque()
        self._draining = False
        self._lost = False
        self._asked = False
        """True once it has asked for ICE servers."""
        self._peer: Peer | None = None
        """The peer that it was when it was lost."""
        for known in _ENCODINGS:
            hub.counters.know(known)
        caller = Caller(authenticator=authenticator)
        self.session = hub.open(
            protocol,
            _TAKING_CONTROL if takes_control else _ENCODINGS[protocol],
            self._on_session_end,
            self._now(),
            caller,
        )
        self.session.outbox.wake = self._wake
        self.session.on_ready = self._read

    async def close(self) -> None:
        """Leaves and closes; see `SignalingClient.close`."""
        if self._ended is None:
            self._hub.end(self.session, DisconnectReason.CLIENT_LEFT, self._now())

    def _expire_later(self) -> None:
        """Has the hub do what is due, again and again while it holds the lost peer, in place of a timer."""
        peer = self._peer
        if peer is not None and peer.session is None and peer.is_present:
            now = self._now()
            due = self._hub.expire(now)
            self._loop.call_later(max(0.001, due - now.monotonic), self._expire_later)

    def _look_later(self) -> None:
        """Has the hub do what is due, again and again while the session is open, in place of a timer."""
        if self.session.open:
            now = self._now()
            due = self._hub.expire(now)
            self._loop.call_later(max(0.001, due - now.monotonic), self._look_later)

    def _now(self) -> Instant:
        """Returns the current instant of the event loop's clock, which tests may advance."""
        present = read_clock()
        skipped = self._loop.time() - present.monotonic
        return Instant(present.monotonic + skipped, present.unix + skipped)

    def _abort(self) -> None:
        self._lost, self._peer = True, self.session.peer
        self._hub.end(self.session, DisconnectReason.CONNECTION_LOST, self._now())
        self._expire_later()

    async def _send(self, number: int, request: Request) -> None:
        self._unread.append((number, request))
        self._read(self._now())

    def _read(self, now: Instant) -> None:
        """Applies the requests that wait, until one of them waits for its outcome."""
        while self._unread and not self.session.awaiting:
            number, request = self._unread.popleft()
            self._hub.apply(self.session, request, number, now)
            if not self._asked and (isinstance(request, GetIceServers) or getattr(request, "ice_servers", False)):
                self._asked = True
                self._look_later()
        if self.session.ends_at <= now.monotonic:
            # In place of a timer, which a bare hub has not.
            self._hub.expire(now)

    def _wake(self) -> None:
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Decodes what the session's outbox holds, and hands each reply and event on."""
        self._draining = False
        if self._lost:
            return
        for frame in self.session.outbox.take(sys.maxsize):
            family, number, name, text = frame.split(b" ", 3)
            if family == b"error":
                code, message, extra = msgspec.json.decode(text)
                self._on_reply(int(number), SignalingError(Code(code), message, **extra))
                continue
            message = msgspec.json.decode(text, type=_MESSAGES[name.decode()])
            if family == b"event":
                self._on_event(message, int(number))
            else:
                self._on_reply(int(number), message)

    def _on_session_end(self, reason: DisconnectReason) -> None:
        self._drain()
        self._on_end(ConnectionClosed(reason.word, reason.reconnect))


def _packed(message: Event | Reply) -> bytes:
    return type(message).__name__.encode() + b" " + msgspec.json.encode(message)
