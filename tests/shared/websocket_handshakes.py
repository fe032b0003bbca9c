"""Opening handshakes played twice: as they come, and with every request read by the library, to the same end."""

import base64
import re
from itertools import pairwise
from typing import Any

from clock import NOW
from sigbridge import Hub, Instant, Settings
from sigbridge.auth import Certificate, Credentials, Identity, StaticTokens
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.wire import Client
from sigbridge_websocket.negotiation import negotiator
from sigbridge_websocket.wire import WebSocketWire, websocket_wires

TOKEN = "s3cret"
ENCODED = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ORIGIN = "https://example.org"
ORDINARY = {
    "Host": "server:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
BROWSER = {
    "Host": "server:8080",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "*/*",
    "Accept-Language": "de,en-US;q=0.7,en;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-WebSocket-Version": "13",
    "Origin": ORIGIN,
    "Sec-WebSocket-Protocol": f"jsonrpc, bearer.{ENCODED}",
    "Sec-WebSocket-Extensions": "permessage-deflate",
    "Sec-WebSocket-Key": KEY,
    "Connection": "keep-alive, Upgrade",
    "Sec-Fetch-Mode": "websocket",
    "Pragma": "no-cache",
    "Upgrade": "websocket",
}

# What is less usual.
REQUEST_LINES = [
    "GET / HTTP/1.1",
    "GET /a b HTTP/1.1",
    "get / HTTP/1.1",
    "POST / HTTP/1.1",
    "GET / HTTP/1.0",
    "GET  HTTP/1.1",
]
REPLACEMENTS = {
    "Host": ["", "x: y", "x" * 5000, "ü", "a\0b", "a\rb", "a\nb", "\tx\t", "  x  "],
    "Upgrade": ["WebSocket", "websocket, h2c", "h2c", "", "websocket/13", "websocket,", "web socket"],
    "Connection": ["keep-alive, Upgrade", "UPGRADE", "close", "", "upgrade,close", "upgrade close", ",", "keep-alive,upgrade"],
    "Sec-WebSocket-Key": [
        KEY[:-1], KEY[1:], "A" * 24, "A" * 21 + "B==", "=" * 24, "*" * 22 + "==", KEY + "=", "", "A" * 23 + "=", f" {KEY} "
    ],
    "Sec-WebSocket-Version": ["8", "13, 8", "", "013", "1 3", " 13 "],
    "Origin": [ORIGIN, "https://evil.example", "https://a.example.org", "null", "", "HTTPS://example.org"],
    "Authorization": [f"Bearer {TOKEN}", f"bearer  {TOKEN}", "Bearer wrong", "Basic x", TOKEN, "", "Bearer t\xc3\xb6k"],
    "Sec-WebSocket-Protocol": [
        "jsonrpc", f"jsonrpc, bearer.{ENCODED}", f"Bearer.{ENCODED},x", f"bearer.{ENCODED}", "bearer.a, bearer.b",
        ",a", "a b", "a,,b", "a ,b", "a,  b", "bearer.=", "bearer", "", "\xe9", "a" * 300,
    ],
    "Sec-WebSocket-Extensions": ["permessage-deflate", "permessage-deflate; x", "foo", "", ";", "\xe9"],
    "Content-Length": ["0", "5", "", "00"],
    "Transfer-Encoding": ["chunked", "identity"],
    "Cookie": ["a=b", ""],
}  # fmt: skip


class Witness:
    """Lets in who shows the token, and remembers what was shown."""

    def __init__(self) -> None:
        self.shown: list[Credentials] = []
        self._tokens = StaticTokens([TOKEN])

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        self.shown.append(credentials)
        return self._tokens.authenticate(credentials, now)


class Anybody(Witness):
    """Lets in everybody, as whom their token names."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        self.shown.append(credentials)
        return Identity(subject=credentials.token or "")


def written(fields: dict[str, str], path: str = "/ws?x=1") -> bytes:
    """Returns a request with these fields."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def pieces(data: bytes, edges: list[int]) -> list[bytes]:
    """Returns bytes cut at these places, as they may arrive."""
    places = sorted({0, len(data), *(edge for edge in edges if edge < len(data))})
    return [data[start:end] for start, end in pairwise(places)]


def handshake(
    parts: list[bytes], settings: Settings, door: Witness, *, draining: bool = False, ours: bool
) -> tuple[Any, bool]:
    """Plays what arrives in parts, a handshake and what follows it, on a hub of its own.

    Returns what came of it, but for the date: what was said and shown, and the state and counters afterwards. And whether
    the library was not asked, which it always is where it is not `ours`.
    """
    hub = Hub(settings, NOW)
    if draining:
        hub.leave()
    wire = websocket_wires(hub, authenticator=door)(Client("192.0.2.1", Certificate("device")), lambda: None, NOW)
    assert isinstance(wire, WebSocketWire)
    reader = wire._handshake
    assert reader is not None
    if not ours:
        reader._protocol = negotiator(settings, AllowedOrigins(settings))
    output = b""
    for part in parts:
        wire.receive(part, NOW)
        while chunk := wire.take_output(65536, NOW):
            output += b"".join(chunk)
    said = re.sub(rb"Date: .*?\r\n", b"", output, count=1)
    session = wire._session
    client = None if session is None else (session.client, session.identity, session.remote)
    counted = hub.counters
    counters = (counted.sessions, counted.refusals, counted.requests, counted.disconnects)
    return (
        said,
        door.shown,
        client,
        (wire.finished, wire.aborted, hub.session_count),
        counters,
    ), reader._protocol is None
