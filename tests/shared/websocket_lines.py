"""WebSocket's lines: the library's machine as the client, joined to the wire of a hub, and frames made by hand."""

from typing import Any

import msgspec
from websockets.client import ClientProtocol
from websockets.frames import CLOSE, PING, PONG, Frame
from websockets.uri import parse_uri

from clock import Clock
from lines import Line
from sigbridge import Hub
from sigbridge_websocket.wire import WebSocketWire, websocket_wires

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LIST = b'{"jsonrpc":"2.0","method":"list_peers","id":%d}'
OFFER = b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"bob","sdp":"%d"},"id":%d}'


class WebSocketLine(Line):
    """A client's WebSocket, which is open where it `shakes hands`."""

    wire: WebSocketWire

    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        *,
        extensions: Any = None,
        subprotocols: Any = None,
        path: str = "/",
        shake_hands: bool = True,
    ) -> None:
        super().__init__(websocket_wires(hub), clock)
        self.hub = hub
        self.frames: list[Frame] = []
        self.handshake: Any = None
        self.eof = False
        self.client = ClientProtocol(
            parse_uri(f"ws://server{path}"), extensions=extensions, subprotocols=subprotocols, max_size=None
        )
        if shake_hands:
            self.client.send_request(self.client.connect())
            self.flush_client()

    @property
    def session(self) -> Any:
        return self.wire._session

    def flush_client(self) -> None:
        """Gives the wire what the client's machine wants to send."""
        for data in self.client.data_to_send():
            if data:
                self.feed(data)
            else:
                self.end_input()

    def hear(self, output: bytes) -> None:
        if self.client.handshake_exc is None:
            self.client.receive_data(output)

    def pump(self) -> None:
        super().pump()
        if self.wire.finished and not self.eof:
            self.eof = True
            self.client.receive_eof()
        for event in self.client.events_received():
            if isinstance(event, Frame):
                self.frames.append(event)
            else:
                self.handshake = event

    def expire(self) -> None:
        super().expire()
        self.pump()

    def say(self, message: object) -> list[Any]:
        """Sends a text frame; returns the messages that come back."""
        self.client.send_text(message if isinstance(message, bytes) else msgspec.json.encode(message))
        self.flush_client()
        return self.heard()

    def call(self, method: str, **params: object) -> Any:
        """Calls a method; returns its response."""
        return self.say({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})[0]

    def heard(self) -> list[Any]:
        """The messages that have come, in order, each once."""
        messages = [msgspec.json.decode(bytes(f.data)) for f in self.frames if f.opcode not in (PING, PONG, CLOSE)]
        self.frames = [frame for frame in self.frames if frame.opcode in (PING, PONG, CLOSE)]
        return messages

    @property
    def closed(self) -> tuple[int, str] | None:
        """The close frame that came: its code and reason."""
        close = self.client.close_rcvd
        return None if close is None else (int(close.code), close.reason)


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


def ended(hub: Hub, reason: str) -> int:
    """Returns the number of WebSocket sessions that have ended for a reason."""
    return hub.counters.disconnects["websocket", reason]
