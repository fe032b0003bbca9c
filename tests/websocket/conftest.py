"""Both ends of a WebSocket session without I/O: time and bytes are passed by hand."""

from collections.abc import Iterable

import msgspec
import pytest
from websockets.client import ClientProtocol
from websockets.frames import CLOSE, PING, PONG, Frame
from websockets.uri import parse_uri

from sigbridge import Hub, Instant, Settings
from sigbridge_net.wire import Client
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.wire import BARE_JSON, websocket_wires


class Clock:
    def __init__(self):
        self.now = Instant(1000.0, 1_700_000_000.0)

    def advance(self, seconds: float) -> None:
        self.now = Instant(self.now.monotonic + seconds, self.now.unix + seconds)


class Talker:
    """One session's JSON-RPC side alone: texts in, what its outbox holds out."""

    def __init__(self, hub: Hub, clock: Clock, peer_id: str = "", room: str = ""):
        self.hub = hub
        self.clock = clock
        self.ended = []
        self.session = hub.open(protocol="websocket", encoding=BARE_JSON, on_end=self.ended.append, now=clock.now)
        self.conversation = Conversation(hub, self.session, bytes)
        if peer_id:
            self.call("announce", peer_id=peer_id, room=room)

    def taken(self) -> list:
        """All that is to be sent, decoded."""
        return [msgspec.json.decode(text) for text in self.session.outbox.take(2**40)]

    def say(self, message: object) -> list:
        """Send a message, as text or as an object; what is to be sent afterwards."""
        text = message if isinstance(message, bytes) else msgspec.json.encode(message)
        self.conversation.receive(text, self.clock.now)
        return self.taken()

    def ask(self, message: object) -> dict:
        """Send a message that has one answer and no other consequence for its sender."""
        (answer,) = self.say(message)
        return answer

    def call(self, method: str, **params: object) -> dict:
        """Call a method; its response, and nothing of what followed."""
        return self.say({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})[0]


class Line:
    """A client's protocol machine, wired to the server's; `wire.take_output` is called after everything, as agreed."""

    def __init__(self, hub: Hub, clock: Clock, *, extensions=None, subprotocols=None, path="/", shake_hands=True):
        self.hub = hub
        self.clock = clock
        self.woken = 0
        self.output = b""
        self.frames: list[Frame] = []
        self.handshake = None
        self.eof = False
        self.wire = websocket_wires(hub)(Client("192.0.2.1"), self._wake, clock.now)
        self.client = ClientProtocol(
            parse_uri(f"ws://server{path}"), extensions=extensions, subprotocols=subprotocols, max_size=None
        )
        if shake_hands:
            self.client.send_request(self.client.connect())
            self.flush_client()

    def _wake(self) -> None:
        self.woken += 1

    @property
    def session(self):
        return self.wire._session

    def feed(self, data: bytes) -> None:
        """Bytes arrive at the server."""
        self.wire.receive(data, self.clock.now)
        self.pump()

    def flush_client(self) -> None:
        """What the client's machine wants to send arrives at the server."""
        for data in self.client.data_to_send():
            if data:
                self.feed(data)
            else:
                self.wire.receive_eof(self.clock.now)
                self.pump()

    def pump(self) -> None:
        """Take what the server has to say."""
        while data := self.wire.take_output(65536, self.clock.now):
            self.output += b"".join(data)
            if self.client.handshake_exc is None:
                self.client.receive_data(b"".join(data))
        if self.wire.finished and not self.eof:
            self.eof = True
            self.client.receive_eof()
        for event in self.client.events_received():
            if isinstance(event, Frame):
                self.frames.append(event)
            else:
                self.handshake = event

    def expire(self) -> None:
        """The carrier's sweep, where it is due."""
        if self.wire.due <= self.clock.now.monotonic:
            self.wire.expire(self.clock.now)
            self.pump()

    def say(self, message: object) -> list:
        """Send a text frame; the messages that come back."""
        self.client.send_text(message if isinstance(message, bytes) else msgspec.json.encode(message))
        self.flush_client()
        return self.heard()

    def call(self, method: str, **params: object) -> dict:
        return self.say({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})[0]

    def heard(self) -> list:
        """The messages that have come, in order, each once."""
        messages = [msgspec.json.decode(bytes(f.data)) for f in self.frames if f.opcode not in (PING, PONG, CLOSE)]
        self.frames = [frame for frame in self.frames if frame.opcode in (PING, PONG, CLOSE)]
        return messages

    @property
    def closed(self) -> tuple[int, str] | None:
        """The close frame that came: its code and reason."""
        close = self.client.close_rcvd
        return None if close is None else (int(close.code), close.reason)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_hub(clock):
    def make(**settings):
        doors = {name: settings.pop(name) for name in ("directory", "bus") if name in settings}
        return Hub(Settings(**settings), clock.now, **doors)

    return make


@pytest.fixture
def hub(make_hub):
    return make_hub()


@pytest.fixture
def talk(hub, clock):
    """Make a talker, on the test's hub or on one that is given."""

    def make(peer_id: str = "", *, hub: Hub = hub, room: str = ""):
        return Talker(hub, clock, peer_id, room)

    return make


@pytest.fixture
def connect(hub, clock):
    """Make a line, to the test's hub or to one that is given."""

    def make(peer_id: str = "", *, hub: Hub = hub, **options):
        line = Line(hub, clock, **options)
        if peer_id:
            line.call("announce", peer_id=peer_id)
        return line

    return make


def masked(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, valid or not, masked with zeros (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + length + bytes(4) + payload


@pytest.fixture
def frame():
    return masked


@pytest.fixture
def join():
    def joined(parts: Iterable[bytes]) -> bytes:
        return b"".join(parts)

    return joined
