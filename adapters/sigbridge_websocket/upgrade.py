"""The fast path of the opening handshake: reads and accepts a request in a fraction of the time that the library takes.

Rule 1: what the fast path reads the library would accept, and take the same out of it. Rule 2: what is not written as
nearly all clients write it, and what would be refused, is left to the library, whole. Source: RFC 6455, section 4.
"""

import binascii
import hashlib
import re
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from sigbridge.fast_paths import is_on
from sigbridge.settings import Settings
from sigbridge_net.origins import AllowedOrigins

MAX_FAST_BYTES: Final = 4096
"""The longest head of a request that the fast path takes; far below the library's own bounds of lines."""
MAX_FAST_LINES: Final = 64

_FAST_UPGRADE: Final = is_on("fast_upgrade")

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]++"  # noqa: S105 - of RFC 9110, section 5.6.2

# Printable ASCII, one space where one is expected, and lines that end as they should; no repetition is tried twice.
_head: Final = re.compile(rf"GET [!-~]++ HTTP/1\.1\r\n(?:{_TOKEN}:[ -~]*+\r\n)++\r\n").fullmatch
_key: Final = re.compile(r"[0-9A-Za-z+/]{22}==").fullmatch
_names: Final = re.compile(rf"{_TOKEN}(?:, ?{_TOKEN})*+").fullmatch


class Upgrade:
    """Content of a request for a WebSocket that the fast path has read."""

    __slots__ = ("authorization", "fields", "from_page", "key", "subprotocols", "user_agent")

    def __init__(self, key: str, fields: dict[str, str]) -> None:
        authorization = fields.get("authorization")
        subprotocols = fields.get("sec-websocket-protocol")
        self.key = key
        self.fields = fields
        """All header fields, by name in lower case; none of them is there twice."""
        self.authorization = [] if authorization is None else [authorization]
        self.subprotocols = [] if subprotocols is None else [name.strip() for name in subprotocols.split(",")]
        """The subprotocols that it offers, in the client's order."""
        self.from_page = "origin" in fields
        """True where a page of a browser asks."""
        self.user_agent = fields.get("user-agent", "")


def fast_upgrade(head: bytes, settings: Settings, origins: AllowedOrigins) -> Upgrade | None:
    """Returns the content of a handshake's head, if it is written as nearly all are; None: the library must read it."""
    if not _FAST_UPGRADE or len(head) > MAX_FAST_BYTES or not head.isascii():
        return None
    text = head.decode("ascii")
    if _head(text) is None:
        return None
    lines = text.split("\r\n")
    if len(lines) > MAX_FAST_LINES:
        return None
    fields: dict[str, str] = {}
    for line in lines[1:-2]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in fields:
            return None
        fields[name] = value.strip(" ")
    key = fields.get("sec-websocket-key", "")
    subprotocols = fields.get("sec-websocket-protocol")
    origin = fields.get("origin")
    if (
        fields.get("upgrade", "").lower() != "websocket"
        or fields.get("connection", "").lower() not in ("upgrade", "keep-alive, upgrade")
        or fields.get("sec-websocket-version") != "13"
        or _key(key) is None
        or (subprotocols is not None and _names(subprotocols) is None)
        or "content-length" in fields
        or "transfer-encoding" in fields
        # Whose origin is not allowed is refused; whoever offers extensions may get compression.
        or (origin is not None and not origins.allow(origin))
        or (settings.websocket_compression and "sec-websocket-extensions" in fields)
    ):
        return None
    return Upgrade(key, fields)


def upgrade_response(key: str, subprotocol: str | None, unix: float) -> bytes:
    """Returns the response that accepts a handshake, byte for byte the library's."""
    accept = binascii.b2a_base64(hashlib.sha1((key + _GUID).encode()).digest(), newline=False)  # noqa: S324 - as RFC 6455 has it
    chosen = b"" if subprotocol is None else b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nDate: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (_date(int(unix)), accept, chosen)
    )


@lru_cache(1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
