"""Header blocks as we send them: literals that need no table, so there is no state (RFC 7541, section 6.2.2)."""

from collections.abc import Iterable
from typing import Final

from sigbridge_http2.events import Header
from sigbridge_http2.frames import BYTE

TABLE_SIZE_ZERO: Final = b"\x20"
"""The word that our table is empty, which begins a block where the client wants a smaller one (section 4.2)."""
_STATUS_200: Final = b"\x88"
"""Entry 8 of the static table."""
_STATUS: Final = b"\x08"
"""The name of that entry, before a value."""


def header_block(fields: Iterable[Header]) -> bytes:
    """Returns fields as a header block."""
    parts: list[bytes] = []
    for name, value in fields:
        if name == b":status":
            parts.append(_STATUS_200 if value == b"200" else b"%b%b%b" % (_STATUS, _length(len(value)), value))
        else:
            parts.append(b"\0%b%b%b%b" % (_length(len(name)), name, _length(len(value)), value))
    return b"".join(parts)


def _length(size: int) -> bytes:
    """Returns the length of a string that is not Huffman-coded (sections 5.1 and 5.2)."""
    if size < 127:
        return BYTE[size]
    size -= 127
    parts = b"\x7f"
    while size >= 128:
        parts += BYTE[size & 127 | 128]
        size >>= 7
    return parts + BYTE[size]
