"""Header blocks with which clients of several gRPC libraries begin a `Signal` call (RFC 7541).

A block is the first of its connection, as a session's is. No entry of the dynamic table can be referred to yet, so a
block is a matter of style alone: the order of the fields, which of them or of their names are taken from the static
table, which literals become entries of the dynamic one, and which strings are Huffman-coded. Blocks that were captured
are in `tests/http2/blocks`; with their values, a style makes the same bytes.

What varies, and how it is here: fields of the caller's own have no fixed order among each other in grpc-go and tonic,
but there is only one, the token. In tonic a caller may mark the token as sensitive, which makes it a literal that is
never indexed; here it is not marked. Versions in `user-agent` are those of the captured blocks.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from sigbridge_http2.events import Header
from sigbridge_http2.huffman import CODE_LENGTHS, codes
from sigbridge_http2.static_table import STATIC_TABLE

Client = Literal["grpcio", "grpc-go", "grpc-js", "tonic", "plain"]
"""Client whose headers begin a call; `plain` is none: literals of the fields that a call needs, not compressed."""

CLIENTS: tuple[Client, ...] = ("grpcio", "grpc-go", "grpc-js", "tonic", "plain")
USUAL: Client = "grpcio"
"""Client whose headers begin a call where nothing is said."""

SIGNAL_PATH = "/remotemedia.v1.webrtc.WebRtcSignaling/Signal"
AUTHORIZATION: Final = b"authorization"

_CODES: Final = codes()
_STATIC_FIELDS: Final = {field: index for index, field in enumerate(STATIC_TABLE) if index}
_LAST_NAMES: Final = {name: index for index, (name, _) in enumerate(STATIC_TABLE) if index}
_FIRST_NAMES: Final = {name: index for index, (name, _) in reversed(list(enumerate(STATIC_TABLE))) if index}


class Literals(NamedTuple):
    """One of the ways in which a field is written out (sections 6.2.1 to 6.2.3)."""

    first: int
    """The bits with which it begins."""
    mask: int
    """The bits behind them, which have the index of its name."""


INDEXED: Final = Literals(0x40, 0x3F)
"""It becomes an entry of the dynamic table."""
NOT_INDEXED: Final = Literals(0x00, 0x0F)
NEVER_INDEXED: Final = Literals(0x10, 0x0F)


class Style(NamedTuple):
    """A library's way of writing its first header block."""

    fields: tuple[Header, ...]
    """In their order; values that a call has of its own are empty. Without a token there is no `authorization`."""
    static_fields: bool = True
    """True where whole fields of the static table are referred to."""
    static_names: Mapping[bytes, int] = _FIRST_NAMES
    """The entries of the static table to whose names it refers: of several of one name, the first or the last."""
    huffman: Literal["never", "shorter", "always"] = "never"
    """The strings that are Huffman-coded; `shorter`: those that this makes shorter, not those that stay as long."""
    literals: Literals = INDEXED
    other_literals: Mapping[bytes, Literals] = {}
    """Of the names for which that is not so."""

    def block(self, fields: tuple[Header, ...]) -> bytes:
        """Returns the header block of these fields, in their order."""
        return b"".join(self.field(name, value) for name, value in fields)

    def field(self, name: bytes, value: bytes) -> bytes:
        """Encodes one field of a header block."""
        if self.static_fields and (name, value) in _STATIC_FIELDS:
            return _integer(0x80, 0x7F, _STATIC_FIELDS[name, value])
        first, mask = self.other_literals.get(name, self.literals)
        index = self.static_names.get(name, 0)
        return _integer(first, mask, index) + (b"" if index else self._string(name)) + self._string(value)

    def _string(self, plain: bytes) -> bytes:
        """Encodes a string literal, Huffman-coded or not as the style has it."""
        if self.huffman != "never":
            coded = _huffman_coded(plain)
            if self.huffman == "always" or len(coded) < len(plain):
                return _integer(0x80, 0x7F, len(coded)) + coded
        return _integer(0x00, 0x7F, len(plain)) + plain


_POST: Final = (b":method", b"POST")
_HTTP: Final = (b":scheme", b"http")
_PATH: Final = (b":path", b"")
_AUTHORITY: Final = (b":authority", b"")
_TOKEN: Final = (AUTHORIZATION, b"")
_GRPC: Final = (b"content-type", b"application/grpc")
_TRAILERS: Final = (b"te", b"trailers")

STYLES: Mapping[Client, Style] = {
    "grpcio": Style(
        (
            _PATH,
            _AUTHORITY,
            _POST,
            _HTTP,
            _GRPC,
            _TRAILERS,
            (b"grpc-accept-encoding", b"identity, deflate, gzip"),
            (b"user-agent", b"grpc-python/1.85.3 grpc-c/58.0.0 (linux; chttp2)"),
            _TOKEN,
        ),
        static_names={},
        other_literals={AUTHORIZATION: NOT_INDEXED},
    ),
    "grpc-go": Style(
        (
            _POST,
            _HTTP,
            _PATH,
            _AUTHORITY,
            _GRPC,
            (b"user-agent", b"grpc-go/1.85.0"),
            _TRAILERS,
            (b"grpc-accept-encoding", b"gzip"),
            _TOKEN,
        ),
        static_names=_LAST_NAMES,
        huffman="shorter",
    ),
    "grpc-js": Style(
        (
            _AUTHORITY,
            _POST,
            _PATH,
            _HTTP,
            _TOKEN,
            (b"grpc-accept-encoding", b"identity,deflate,gzip"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"grpc-node-js/1.14.7"),
            _GRPC,
            _TRAILERS,
        ),
        huffman="shorter",
        other_literals={b":path": NOT_INDEXED, AUTHORIZATION: NEVER_INDEXED},
    ),
    "tonic": Style(
        (
            _POST,
            _HTTP,
            _AUTHORITY,
            _PATH,
            _TOKEN,
            _TRAILERS,
            _GRPC,
            (b"grpc-accept-encoding", b"gzip,identity"),
            (b"user-agent", b"tonic/0.14.9"),
        ),
        huffman="always",
        other_literals={b":path": NOT_INDEXED, AUTHORIZATION: NOT_INDEXED},
    ),
    "plain": Style(
        (_POST, _HTTP, _PATH, _AUTHORITY, _GRPC, _TRAILERS, _TOKEN),
        static_fields=False,
        static_names={},
        literals=NOT_INDEXED,
    ),
}


@lru_cache(4096)
def header_block(client: Client, authority: str, token: str) -> bytes:
    """Returns the header block with which a client begins a `Signal` call.

    It has no field for the token if the token is empty.
    """
    style = STYLES[client]
    own = {
        b":path": SIGNAL_PATH.encode(),
        b":authority": authority.encode(),
        AUTHORIZATION: f"Bearer {token}".encode() if token else b"",
    }
    fields = tuple((name, value or own[name]) for name, value in style.fields)
    return style.block(tuple(field for field in fields if field[1]))


def _integer(first: int, mask: int, number: int) -> bytes:
    """Encodes an integer (RFC 7541, section 5.1): the first bits given, the rest under a mask."""
    if number < mask:
        return bytes((first | number,))
    parts = bytearray((first | mask,))
    number -= mask
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _huffman_coded(plain: bytes) -> bytes:
    """Returns a string in the code of RFC 7541's appendix B, padded by bits of 1 (section 5.2)."""
    coded, bits = 0, 0
    for byte in plain:
        coded = coded << CODE_LENGTHS[byte] | _CODES[byte]
        bits += CODE_LENGTHS[byte]
    padding = -bits % 8
    return ((coded + 1 << padding) - 1).to_bytes((bits + padding) // 8, "big")
