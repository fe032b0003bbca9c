"""Huffman-coded strings (RFC 7541, section 5.2 and appendix B), decoded by nibbles.

The code is canonical: codes of one length follow each other in the order of their symbols, and the first of a length
follows the last of the length before. So the lengths are all there is to write down. Out of the codes' tree comes a
machine: its states are the tree's inner nodes, of which there are 256; each takes four bits to the next state, on the
way to which at most one symbol ends, since no code is shorter than five bits.
"""

from typing import Final

from sigbridge_http2.errors import ConnectionFault, ErrorCode
from sigbridge_http2.frames import BYTE

# fmt: off
CODE_LENGTHS: Final = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
)
# fmt: on
"""The bits that the code of each byte has, and at last that of the end of the string."""
END_OF_STRING: Final = 256
_MAX_PADDING_BITS: Final = 7


def codes() -> list[int]:
    """Returns the code of each symbol, as a number of so many bits as `CODE_LENGTHS` says."""
    found = [0] * len(CODE_LENGTHS)
    code, length = 0, 0
    for size, symbol in sorted((size, symbol) for symbol, size in enumerate(CODE_LENGTHS)):
        code <<= size - length
        length = size
        found[symbol] = code
        code += 1
    return found


def _inner_nodes() -> list[list[int]]:
    """Returns the tree's inner nodes, the root first: the two branches of each.

    A branch is the number of another node, or `-1 - symbol` where a symbol ends.
    """
    nodes = [[0, 0]]
    for symbol, code in enumerate(codes()):
        node = nodes[0]
        for place in range(CODE_LENGTHS[symbol] - 1, 0, -1):
            bit = code >> place & 1
            if node[bit] == 0:
                node[bit] = len(nodes)
                nodes.append([0, 0])
            node = nodes[node[bit]]
        node[code & 1] = -1 - symbol
    return nodes


class _Machine:
    """The step from each state with each nibble, at the place `state << 4 | nibble`."""

    def __init__(self) -> None:
        nodes = _inner_nodes()
        self.next = bytearray(16 * len(nodes))
        self.fails = bytearray(16 * len(nodes))
        """1 where the end of the string is coded, which it must not be."""
        self.emits: list[bytes] = [b""] * (16 * len(nodes))
        for state in range(len(nodes)):
            for nibble in range(16):
                self._follow(nodes, state, nibble)
        self.may_end = bytearray(len(nodes))
        """1 in the states in which a string may end: behind a symbol, and at most seven bits of 1 (section 5.2)."""
        state = 0
        for _ in range(_MAX_PADDING_BITS + 1):
            self.may_end[state] = 1
            state = nodes[state][1]

    def _follow(self, nodes: list[list[int]], state: int, nibble: int) -> None:
        """Fills in the step from a state with a nibble."""
        place = state << 4 | nibble
        for shift in (3, 2, 1, 0):
            branch = nodes[state][nibble >> shift & 1]
            symbol = -1 - branch
            if symbol == END_OF_STRING:
                self.fails[place] = 1
                return
            if symbol >= 0:
                self.emits[place] = BYTE[symbol]
            state = max(0, branch)
        self.next[place] = state


_MACHINE: Final = _Machine()
_NEXT: Final = bytes(_MACHINE.next)
_FAILS: Final = bytes(_MACHINE.fails)
_MAY_END: Final = bytes(_MACHINE.may_end)
_EMITS: Final[list[bytes]] = _MACHINE.emits


def huffman_decoded(data: bytes, start: int, stop: int) -> bytes:
    """Returns the string that is coded in `data[start:stop]`.

    :raises ConnectionFault: if the code is malformed.
    """
    parts: list[bytes] = []
    state = 0
    for at in range(start, stop):
        byte = data[at]
        place = state << 4 | byte >> 4
        symbol = _EMITS[place]
        if symbol:
            parts.append(symbol)
        failed = _FAILS[place]
        place = _NEXT[place] << 4 | byte & 15
        symbol = _EMITS[place]
        if symbol:
            parts.append(symbol)
        if failed or _FAILS[place]:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
        state = _NEXT[place]
    if not _MAY_END[state]:
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR)
    return b"".join(parts)
