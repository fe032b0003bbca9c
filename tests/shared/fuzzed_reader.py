"""A reader of WebSocket frames, alone with bytes and splits that nobody meant."""

import contextlib
from itertools import pairwise

from websockets.frames import Frame, Opcode

from instructions import instructions
from sigbridge_websocket.compression import Compression
from sigbridge_websocket.error_codes import Fault
from sigbridge_websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    TEXT,
    FrameReader,
)
from websocket_frames import alike, cut, cut_by_library, deflate, written

MAX_READ_BYTES = 300
_CODES = (0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 2999, 3000, 4999, 5000, 0xFFFF)
_SIZES = (0, 1, 20, 100, 125, 126, 200, MAX_READ_BYTES - 1, MAX_READ_BYTES, MAX_READ_BYTES + 1, 2100, 65536)
_LETTERS = "é😀\ud7ff\ue000".encode()
_RESERVED = (3, 7, 11, 15)


class Writer:
    """Writes a client's frames: mostly such as may come next, some compressed, and what is none."""

    def __init__(self, *, compressed: bool) -> None:
        self._packer = deflate() if compressed else None
        self._within = False
        self._packed = False

    def write(self, kind: int, choice: int, length: int, payload: bytes) -> bytes:
        """Returns the frame that an instruction asks for."""
        odd = choice >= 224
        opcode = self._opcode(kind & 15 if odd else kind % 13, choice)
        fin = not kind & 0x40
        if opcode == CLOSE:
            body = _CODES[choice % len(_CODES)].to_bytes(2, "big") + payload
        else:
            body = _body(choice & 7, length, payload)
        if opcode in (PING, PONG, CLOSE):
            fin, body, rsv = fin or not odd, body[: 125 + odd], 0
        else:
            body, rsv = self._pack(opcode, body, choice, fin=fin)
            self._within = not fin
        if odd and choice & 8:
            # What is cut off comes with another frame, or never.
            body = body[: length % 32]
        if odd and length >= 250:
            rsv ^= choice & 7
        mask = None if choice == 255 else (bytes(4), b"mask")[kind >> 7]
        frame = written(opcode, body, fin, rsv, mask)
        return _wider(frame, choice) if odd and kind & 0x20 else frame

    def _opcode(self, choice: int, other: int) -> int:
        match choice:
            case 9 | 10:
                return PING
            case 11:
                return PONG
            case 12:
                return CLOSE
            case 13:
                return TEXT
            case 14:
                return CONTINUATION
            case 15:
                return _RESERVED[other & 3]
            case _:
                return CONTINUATION if self._within else BINARY if choice == 8 else TEXT

    def _pack(self, opcode: int, body: bytes, choice: int, *, fin: bool) -> tuple[bytes, int]:
        """Returns a data frame's body, compressed or not, and its reserved bits."""
        begins = opcode != CONTINUATION
        if begins:
            self._packed = self._packer is not None and bool(choice & 8)
        if self._packer is None or not self._packed:
            return body, 0
        frame = Frame(Opcode.TEXT if begins else Opcode.CONT, body, fin)
        return bytes(self._packer.encode(frame).data), 4 if begins else 0


def _body(choice: int, length: int, payload: bytes) -> bytes:
    match choice:
        case 0 | 1:
            return bytes(byte & 0x7F for byte in payload)
        case 2:
            return payload
        case 3:
            return _LETTERS[: length % (len(_LETTERS) + 1)] if length < 128 else _LETTERS[length % len(_LETTERS) :]
        case 4:
            return b"{}" * (length % 64)
        case 5 | 6:
            return b"x" * _SIZES[length % len(_SIZES)]
        case _:
            return payload[:1].hex().encode() * (1 + length // 4)


def play_reader(data: bytes, *, compressed: bool) -> None:
    """Lets a reader cut frames from bytes that come in pieces, and in one; the library must cut the same from them."""
    writer = Writer(compressed=compressed)
    stream = b""
    edges = {0}
    for kind, choice, length, payload in instructions(data, longest=32):
        frame = payload if kind == 255 else writer.write(kind, choice, length, payload)
        edges.update(range(len(stream), len(stream) + len(frame), 1 + length))
        stream += frame
    parts = [stream[start:end] for start, end in pairwise(sorted(edges | {len(stream)}))]
    ours = cut(parts, Compression(deflate()) if compressed else None, MAX_READ_BYTES)
    whole = cut([stream], Compression(deflate()) if compressed else None, MAX_READ_BYTES)
    assert ours == whole

    if alike(ours, cut_by_library([stream], deflate() if compressed else None, MAX_READ_BYTES)):
        return
    # Ours may be the first to refuse a frame: by its head alone, or a control frame that says its size in more bytes than
    # it takes, which the library does not mind (RFC 6455, section 5.5).
    frames, reason = ours
    assert reason is not None
    head = _refused_head(stream, Compression(deflate()) if compressed else None)
    rest = cut_by_library([stream + bytes(MAX_READ_BYTES)], deflate() if compressed else None, MAX_READ_BYTES)
    if head and head[0] & CLOSE and head[1] & 0x7F > MAX_CONTROL_BYTES:
        assert frames == rest[0][: len(frames)]
    else:
        assert alike(ours, rest), (ours, rest)


def _refused_head(stream: bytes, compression: Compression | None) -> bytes:
    """The first two bytes of the frame that our reader refuses."""
    reader = FrameReader(MAX_READ_BYTES, compression)
    reader.feed(stream)
    with contextlib.suppress(Fault):
        while reader.next_frame() is not None:
            pass
    return reader._data[reader._at : reader._at + 2]


def _wider(frame: bytes, choice: int) -> bytes:
    """A frame that says its size in more bytes than it takes, or another size."""
    size, rest = frame[1] & 0x7F, frame[2:]
    if size > 125:
        return frame[:1] + bytes((frame[1] ^ 1,)) + rest
    match choice & 3:
        case 0:
            return frame[:1] + b"\xfe" + size.to_bytes(2, "big") + rest
        case 1:
            return frame[:1] + b"\xff" + size.to_bytes(8, "big") + rest
        case 2:
            return frame[:1] + b"\xff" + (size | 1 << 63).to_bytes(8, "big") + rest
        case _:
            return frame[:1] + bytes((0x80 | choice & 0x7F,)) + rest
