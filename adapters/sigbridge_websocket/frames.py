"""The frames of WebSocket, without I/O: a client's are cut from its bytes and checked, and ours are written.

Rule 1: a frame is taken when it is whole; where its head alone breaks a rule, it is refused by that. Rule 2: a frame's
first byte says what it is; each state of the reader has a table of those that it allows. Rule 3: behind a fault nothing
may be read any more. Rule 4: what has come waits as it is, masked and compressed, until it is asked for.

The states of a reader, and the frames that lead from one to another; control frames leave it in its state:

    a whole message               a message's first frame               a middle frame
       ┌────────────▶ BETWEEN ─────────────────────────────▶ WITHIN ◀────────────┐
       └───────────────┘ ▲                                   │    └──────────────┘
                         └──────── a message's last frame ───┘

Source: RFC 6455, sections 5 and 7.4; RFC 7692, section 6.
"""

import codecs
from typing import Final

from websockets.speedups import apply_mask

from sigbridge.disconnects import DisconnectReason
from sigbridge_websocket.compression import Compression
from sigbridge_websocket.error_codes import Fault

# Opcodes (RFC 6455, section 5.2).
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

# Bits of a frame's first byte, and the highest of its second.
FIN: Final = 0x80
RSV1: Final = 0x40
OPCODE_BITS: Final = 0x0F
MASK: Final = 0x80

MAX_CONTROL_BYTES: Final = 125
"""Most bytes of a control frame's payload, and of any that has its size in the second byte (RFC 6455, section 5.2)."""
MASKED_HEAD_BYTES: Final = 6
"""Bytes before the payload of a client's short frame: two of head and four of mask."""

# States of a reader.
BETWEEN: Final = 0
WITHIN: Final = 1

# What a first byte says.
_REFUSED: Final = 0
_MESSAGE: Final = 1
_FRAGMENT: Final = 2
_CONTROL: Final = 3

_unmask: Final = apply_mask


def _meanings(*, rsv1: bool) -> list[bytes]:
    """Returns the tables: in each state, the meaning of every first byte; with RSV1 if messages may be compressed."""
    beginnings = {FIN | TEXT: _MESSAGE, FIN | BINARY: _MESSAGE, TEXT: _FRAGMENT, BINARY: _FRAGMENT}
    if rsv1:
        # Only the first frame of a message says that it is compressed (RFC 7692, section 6).
        beginnings |= {RSV1 | first: meaning for first, meaning in beginnings.items()}
    continuations = {CONTINUATION: _FRAGMENT, FIN | CONTINUATION: _FRAGMENT}
    controls = {FIN | opcode: _CONTROL for opcode in (CLOSE, PING, PONG)}
    return [
        bytes((allowed | controls).get(first, _REFUSED) for first in range(256))
        for allowed in (beginnings, continuations)
    ]


_PLAIN: Final = _meanings(rsv1=False)
_COMPRESSED: Final = _meanings(rsv1=True)


class Frame:
    """One message, of however many frames, or one control frame: its opcode, and its payload, unmasked and inflated.

    The payload of a `TEXT` is UTF-8; that of a `CLOSE` is empty, or a code that may be sent and a reason.
    """

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode = opcode
        self.payload = payload


class _Fragments:
    """A message of several frames, as far as it has come; a text is checked as it comes (RFC 6455, section 8.1)."""

    __slots__ = ("_decoder", "data", "opcode")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.data = bytearray()
        # A character may be cut between two frames.
        self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None

    def add(self, payload: bytes, *, last: bool) -> None:
        """Adds a frame's payload.

        :raises Fault: if a text is not UTF-8.
        """
        self.data += payload
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, last)
            except UnicodeDecodeError:
                raise Fault(DisconnectReason.NOT_UTF8) from None


class FrameReader:
    """The reader of one client's bytes, whose messages have at most `max_bytes`."""

    __slots__ = (
        "_at",
        "_data",
        "_fragments",
        "_max_bytes",
        "_meanings",
        "_needs",
        "_rest",
        "_room",
        "_state",
        "compression",
        "is_unfinished",
    )

    def __init__(self, max_bytes: int, compression: Compression | None = None) -> None:
        self.compression = compression
        """The compression that was negotiated, if any."""
        self._max_bytes = max_bytes
        self._meanings = _PLAIN if compression is None else _COMPRESSED
        self._state = BETWEEN
        self._data = b""
        """The bytes that may hold a whole frame; those before `_at` have been taken."""
        self._at = 0
        self._rest: bytearray | None = None
        """The beginning of a frame of which more must come."""
        self._needs = 0
        """The length that this must have before it is looked at again: a long frame may come byte by byte."""
        self._fragments: _Fragments | None = None
        self.is_unfinished = False
        """True when a frame, or a message of several, is not whole. Asked for with every message, so it is kept."""
        self._room = max_bytes
        """The bytes that may still come of the present message."""

    @property
    def exhausted(self) -> bool:
        """True when `next_frame` has looked at all that has come."""
        return not self._data

    @property
    def waiting_bytes(self) -> int:
        """The number of bytes that have come and that `next_frame` has not looked at."""
        return len(self._data) - self._at

    def taken_back(self) -> bytes:
        """Returns all bytes that have come, none of which has been looked at yet, and forgets them."""
        data, self._data = self._data, b""
        return data

    @property
    def is_within(self) -> bool:
        """True within a message of several frames."""
        return self._fragments is not None

    @property
    def kept_bytes(self) -> int:
        """The bytes that are kept of what is unfinished."""
        rest, fragments = self._rest, self._fragments
        return (0 if rest is None else len(rest)) + (0 if fragments is None else len(fragments.data))

    @property
    def expected_bytes(self) -> int:
        """The bytes that it has at least: those before its last frame, and what the head of that frame says."""
        rest, fragments = self._rest, self._fragments
        return (0 if rest is None else self._needs) + (0 if fragments is None else len(fragments.data))

    def clear(self) -> None:
        """Forgets all that has come: nothing more is read."""
        self._data = b""
        self._at = 0
        self._rest = self._fragments = None
        self.is_unfinished = False

    def feed(self, data: bytes) -> None:
        """Appends bytes that arrived to those not read yet.

        Where a frame was waited for, it is put together when it is whole.
        """
        rest = self._rest
        if rest is not None:
            rest += data
            if len(rest) >= self._needs:
                self._data = bytes(rest)
                self._rest = None
                self.is_unfinished = self._fragments is not None
        elif self._data:
            self._data = self._data[self._at :] + data
            self._at = 0
        else:
            self._data = data

    def next_frame(self) -> Frame | None:
        """Returns the next message or control frame; None if it has not all come.

        :raises Fault: if it breaks the rules of RFC 6455.
        """
        while True:
            data, at = self._data, self._at
            left = len(data) - at
            if left < 2:
                self._wait(2)
                return None
            first, size = data[at], data[at + 1] - MASK
            meaning = self._meanings[self._state][first]
            if meaning == _REFUSED or size < 0 or (meaning == _CONTROL and size > MAX_CONTROL_BYTES):
                raise Fault(DisconnectReason.PROTOCOL_ERROR)
            start = at + MASKED_HEAD_BYTES
            if size > MAX_CONTROL_BYTES:
                # The size is in the next two bytes, or in the next eight.
                wide = 2 if size == MAX_CONTROL_BYTES + 1 else 8
                if left < 2 + wide:
                    self._wait(2 + wide)
                    return None
                size = _number_at(data, at + 2, wide)
                start += wide
            if size > self._room and meaning != _CONTROL:
                raise Fault(DisconnectReason.MESSAGE_TOO_BIG)
            end = start + size
            if len(data) < end:
                self._wait(end - at)
                return None
            payload = _unmask(data[start:end], data[start - 4 : start])
            self._at = end
            if len(data) == end:
                self._data = b""
                self._at = 0
            opcode = first & OPCODE_BITS
            if meaning == _CONTROL:
                if opcode == CLOSE:
                    check_close(payload)
                return Frame(opcode, payload)
            if self.compression is not None:
                payload = self.compression.inflate(
                    payload,
                    self._room,
                    begins=opcode != CONTINUATION,
                    compressed=first & RSV1 != 0,
                    last=first >= FIN,
                )
            if meaning == _FRAGMENT:
                message = self._take_fragment(opcode, payload, last=first >= FIN)
                if message is None:
                    continue
                return message
            if opcode == TEXT and not payload.isascii():
                _check_utf8(payload)
            return Frame(opcode, payload)

    def _wait(self, needs: int) -> None:
        """Keeps the beginning of a frame until `needs` bytes of it have come."""
        if self._data:
            self._rest = bytearray(self._data[self._at :])
            self._needs = needs
            self.is_unfinished = True
            self._data = b""
            self._at = 0

    def _take_fragment(self, opcode: int, payload: bytes, *, last: bool) -> Frame | None:
        """Adds a frame to a message of several; returns the message when this was the last (RFC 6455, section 5.4)."""
        fragments = self._fragments
        if fragments is None:
            fragments = self._fragments = _Fragments(opcode)
            self.is_unfinished = True
            self._state = WITHIN
        fragments.add(payload, last=last)
        self._room -= len(payload)
        if not last:
            return None
        self._fragments = None
        self.is_unfinished = False
        self._state = BETWEEN
        self._room = self._max_bytes
        return Frame(fragments.opcode, bytes(fragments.data))


def _number_at(data: bytes, at: int, size: int) -> int:
    """Returns the two or eight bytes there as a number."""
    return data[at] << 8 | data[at + 1] if size == 2 else int.from_bytes(data[at : at + size], "big")


def _check_utf8(text: bytes) -> None:
    """Checks that bytes are UTF-8.

    :raises Fault: if they are not.
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        raise Fault(DisconnectReason.NOT_UTF8) from None


# Close frames (RFC 6455, sections 5.5.1 and 7.4).


def check_close(payload: bytes) -> None:
    """Checks the payload of a client's close frame: nothing, or a code and a reason.

    :raises Fault: if it breaks the rules of RFC 6455.
    """
    if not payload:
        return
    _check_utf8(payload[2:])
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _CODES_OF_THE_PROTOCOL or 3000 <= code < 5000):
        raise Fault(DisconnectReason.PROTOCOL_ERROR)


def says_goodbye(payload: bytes) -> bool:
    """Returns whether a client's close frame means that it leaves: its code is 1000 or 1001, or there is none.

    With any other code a library gives the connection up: 1011, for instance, if its own pings stay without a pong.
    """
    return payload[:2] in _GOODBYES


_GOODBYES: Final = (b"", (1000).to_bytes(2, "big"), (1001).to_bytes(2, "big"))
_CODES_OF_THE_PROTOCOL: Final = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Codes below 3000 that a close frame may have: those registered, without the three that are never sent."""


def close_payload(code: int, reason: str) -> bytes:
    """Returns the payload of a close frame."""
    return code.to_bytes(2, "big") + reason.encode()


# Writing: a server's frames are not masked (RFC 6455, section 5.2).

_BYTE: Final = [bytes((number,)) for number in range(256)]


def text_frame(text: bytes) -> bytes:
    """Returns a whole text message in one frame."""
    return frame(FIN | TEXT, text)


def frame(first: int, payload: bytes) -> bytes:
    """Returns a frame with that first byte; a control frame's payload has at most `MAX_CONTROL_BYTES`."""
    size = len(payload)
    if size <= MAX_CONTROL_BYTES:
        return b"%b%b%b" % (_BYTE[first], _BYTE[size], payload)
    if size < 65536:
        return b"%b\x7e%b%b" % (_BYTE[first], size.to_bytes(2, "big"), payload)
    return b"%b\x7f%b%b" % (_BYTE[first], size.to_bytes(8, "big"), payload)


def text_of(frame: bytes) -> bytes:
    """Returns the text in a frame that `text_frame` has made."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]
