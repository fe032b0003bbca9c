"""Header compression, the decoder's half (RFC 7541); an encoder is not needed, since our blocks use no table.

What a block may cost is bounded: its fields by the bytes that they are decoded to, each with 32 more (section 4.1), and
so a bomb of references to one large entry ends after some of them; its numbers by four bytes beyond the first.
"""

from typing import Final

from sigbridge_http2.errors import ConnectionFault, ErrorCode
from sigbridge_http2.events import Header
from sigbridge_http2.huffman import huffman_decoded
from sigbridge_http2.static_table import STATIC_TABLE

MAX_TABLE_BYTES: Final = 4096
"""The size with which HTTP/2 begins; we never ask for more (RFC 9113, section 6.5.2)."""
ENTRY_COST_BYTES: Final = 32
_STATIC_ENTRIES: Final = 61


class FieldDecoder:
    """The dynamic table of one connection, and where in a block it reads."""

    __slots__ = ("_at", "_entries", "_max_list_bytes", "_max_table_bytes", "_table_bytes")

    def __init__(self, max_list_bytes: int) -> None:
        """Begins with an empty table; `max_list_bytes` is the most that the fields of one block may have together."""
        self._max_list_bytes = max_list_bytes
        self._max_table_bytes = MAX_TABLE_BYTES
        self._entries: list[Header] = []
        """The dynamic table, its oldest entry first."""
        self._table_bytes = 0
        self._at = 0

    def decode(self, block: bytes) -> list[Header]:
        """Returns the fields of a header block.

        :raises ConnectionFault: if the block is malformed, or its fields are too large.
        """
        fields: list[Header] = []
        size = 0
        self._at = 0
        while self._at < len(block):
            first = block[self._at]
            if first & 0x80:
                # An entry, section 6.1.
                field = self._entry(self._integer(block, 0x7F))
            elif first & 0x40:
                # A literal that becomes an entry, section 6.2.1.
                field = self._literal(block, 0x3F)
                self._add(field)
            elif first & 0x20:
                # The table's size, section 6.3: only at the beginning of a block (section 4.2).
                if fields:
                    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
                self._resize(self._integer(block, 0x1F))
                continue
            else:
                # A literal that does not, sections 6.2.2 and 6.2.3.
                field = self._literal(block, 0x0F)
            fields.append(field)
            size += len(field[0]) + len(field[1]) + ENTRY_COST_BYTES
            if size > self._max_list_bytes:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM)
        return fields

    def _integer(self, block: bytes, mask: int) -> int:
        """Reads an integer that begins in the bits of the mask (section 5.1).

        :raises ConnectionFault: COMPRESSION_ERROR if it is cut off, or too long
        """
        number = block[self._at] & mask
        self._at += 1
        if number < mask:
            return number
        for shift in (0, 7, 14, 21):
            if self._at >= len(block):
                break
            byte = block[self._at]
            self._at += 1
            number += (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)

    def _literal(self, block: bytes, mask: int) -> Header:
        """Reads a name, or the index of an entry that has it, and a value (section 6.2)."""
        index = self._integer(block, mask)
        name = self._entry(index)[0] if index else self._string(block)
        return name, self._string(block)

    def _string(self, block: bytes) -> bytes:
        """Reads a string, and decodes it if it is Huffman-coded (section 5.2).

        :raises ConnectionFault: COMPRESSION_ERROR if it is cut off, or no valid code
        """
        if self._at >= len(block):
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
        coded = block[self._at] & 0x80
        size = self._integer(block, 0x7F)
        start = self._at
        self._at += size
        if self._at > len(block):
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
        return huffman_decoded(block, start, self._at) if coded else block[start : self._at]

    def _entry(self, index: int) -> Header:
        """Returns the field at an index of either table (section 2.3.3).

        :raises ConnectionFault: COMPRESSION_ERROR if there is none
        """
        if 0 < index <= _STATIC_ENTRIES:
            return STATIC_TABLE[index]
        place = len(self._entries) + _STATIC_ENTRIES - index
        if index == 0 or place < 0:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
        return self._entries[place]

    def _add(self, field: Header) -> None:
        """Adds an entry; one that is larger than the table empties it (section 4.4)."""
        self._entries.append(field)
        self._table_bytes += len(field[0]) + len(field[1]) + ENTRY_COST_BYTES
        self._evict()

    def _resize(self, size: int) -> None:
        """Changes the table's size (section 4.3), and drops the entries that fit no more.

        :raises ConnectionFault: COMPRESSION_ERROR if it is above the bound that we have announced
        """
        if size > MAX_TABLE_BYTES:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
        self._max_table_bytes = size
        self._evict()

    def _evict(self) -> None:
        """Removes the oldest entries until the table is within its size."""
        count = 0
        while self._table_bytes > self._max_table_bytes:
            name, value = self._entries[count]
            self._table_bytes -= len(name) + len(value) + ENTRY_COST_BYTES
            count += 1
        if count:
            del self._entries[:count]
