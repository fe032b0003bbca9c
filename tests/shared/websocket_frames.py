"""Frames cut from a client's bytes twice, by our reader and by the library, which are to come to the same."""

import codecs
from typing import TypeAlias

from websockets.exceptions import PayloadTooBig
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask
from websockets.typing import ExtensionName

from sigbridge.disconnects import DisconnectReason
from sigbridge_websocket.compression import Compression
from sigbridge_websocket.error_codes import CLOSE_CODES, Fault
from sigbridge_websocket.frames import CLOSE, TEXT, FrameReader
from websocket_lines import masked

MAX_BYTES = 2000
"""The most bytes of a message, where nothing else is said."""
MOST_HEAD_BYTES = 14
"""The longest head of a client's frame, its mask included (RFC 6455, section 5.2)."""

Cut: TypeAlias = tuple[list[tuple[int, bytes]], DisconnectReason | None]
"""Frames, by opcode and payload, up to the first fault or close frame, and the reason of that fault."""

_REASONS = {code: reason for reason, code in CLOSE_CODES.items()}


def deflate() -> PerMessageDeflate:
    """The compression of a connection, either end's."""
    return PerMessageDeflate(False, False, 15, 15)


def unread(reader: FrameReader) -> int:
    """Returns how many bytes a reader keeps that it has not taken."""
    return len(reader._data) - reader._at + len(reader._rest or b"")


def cut(parts: list[bytes], compression: Compression | None = None, max_bytes: int = MAX_BYTES) -> Cut:
    """Returns what our reader cuts from bytes that arrive in parts."""
    reader = FrameReader(max_bytes, compression)
    frames = []
    try:
        for part in parts:
            reader.feed(part)
            while (frame := reader.next_frame()) is not None:
                assert len(frame.payload) <= max_bytes
                frames.append((frame.opcode, frame.payload))
                if frame.opcode == CLOSE:
                    return frames, None
            assert reader.exhausted
            assert unread(reader) < max_bytes + MOST_HEAD_BYTES
    except Fault as fault:
        return frames, fault.reason
    return frames, None


class _Bound(Extension):
    """The bound of a message, around the compression if there is any.

    The library's own counts control frames as if they belonged to the message, and is none where no more bytes may come.
    """

    name = ExtensionName("bound")

    def __init__(self, max_bytes: int, extension: Extension | None) -> None:
        self._max_bytes = max_bytes
        self._extension = extension
        self._size = 0

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.opcode in CTRL_OPCODES:
            return frame
        room = self._max_bytes - (self._size if frame.opcode is Opcode.CONT else 0)
        size = len(frame.data)
        if size <= room and self._extension is not None:
            frame = self._extension.decode(frame, max_size=room or 1)
            size = len(frame.data)
        if size > room:
            raise PayloadTooBig(size, room)
        self._size = self._max_bytes - room + size
        return frame

    def encode(self, frame: Frame) -> Frame:
        return frame


def cut_by_library(parts: list[bytes], extension: PerMessageDeflate | None = None, max_bytes: int = MAX_BYTES) -> Cut:
    """Returns what the library cuts from them, which neither joins the frames of a message nor looks into a text."""
    protocol = ServerProtocol(state=State.OPEN, max_size=(None, max_bytes))
    protocol.extensions = [_Bound(max_bytes, extension)]
    frames = []
    message, opcode, decoder = b"", TEXT, codecs.getincrementaldecoder("utf-8")()
    for part in parts:
        protocol.receive_data(part)
    try:
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            data = bytes(frame.data)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                message, opcode = b"", int(frame.opcode)
                decoder.reset()
            elif frame.opcode is not Opcode.CONT:
                frames.append((int(frame.opcode), data))
                continue
            message += data
            if opcode == TEXT:
                decoder.decode(data, frame.fin)
            if frame.fin:
                frames.append((opcode, message))
    except UnicodeDecodeError:
        return frames, DisconnectReason.NOT_UTF8
    received, sent = protocol.close_rcvd, protocol.close_sent
    if received is not None:
        # The library refuses a close frame within a message. It may come at any time (RFC 6455, section 5.5.1), and is
        # how a client leaves.
        if not frames or frames[-1][0] != CLOSE:
            frames.append((CLOSE, b"" if received.code == 1005 else received.serialize()))
        return frames, None
    return frames, None if sent is None else _REASONS[int(sent.code)]


def alike(ours: Cut, librarys: Cut) -> bool:
    """Returns whether both have cut the same; where a frame breaks two rules at once, each may name either."""
    either = {DisconnectReason.PROTOCOL_ERROR, DisconnectReason.MESSAGE_TOO_BIG}
    return ours == librarys or (ours[0] == librarys[0] and {ours[1], librarys[1]} == either)


def written(opcode: int, payload: bytes, fin: bool, rsv: int, mask: bytes | None) -> bytes:
    """Returns a client's frame, valid or not; without a mask where that is None."""
    frame = masked(opcode, payload, fin=fin, rsv=rsv)
    head = frame[: len(frame) - len(payload) - 4]
    if mask is None:
        return head[:1] + bytes([head[1] & 0x7F]) + head[2:] + payload
    return head + mask + apply_mask(payload, mask)
