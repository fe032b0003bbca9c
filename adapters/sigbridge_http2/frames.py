"""Frames: their types and flags, how each is written, and the numbers in them (RFC 9113, sections 4 and 6)."""

from typing import Final

HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16384
"""The largest payload, ours and theirs: with what HTTP/2 begins, and we never ask for more (section 4.2)."""
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The words of a client before its first frame (section 3.4)."""
MAX_STREAM_ID: Final = 0x7FFFFFFF

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

BYTE: Final[list[bytes]] = [bytes((number,)) for number in range(256)]
"""All bytes, made once, since each frame needs several."""
SETTINGS_ACK: Final = b"\0\0\0\x04\x01\0\0\0\0"


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Returns a frame of any type."""
    return b"%b%b%b%b%b" % (
        len(payload).to_bytes(3, "big"), BYTE[kind], BYTE[flags], stream_id.to_bytes(4, "big"), payload,
    )  # fmt: skip


def data_frame(stream_number: bytes, data: bytes, *, end: bool) -> bytes:
    """Returns a DATA frame of at most `MAX_FRAME_BYTES`, on the stream whose id that is (section 6.1)."""
    size = len(data)
    return b"\0%b%b\0%b%b%b" % (BYTE[size >> 8], BYTE[size & 255], BYTE[end], stream_number, data)


def header_frames(stream_id: int, block: bytes, *, end: bool) -> bytes:
    """Returns a HEADERS frame and as many of CONTINUATION as the block needs (sections 6.2 and 6.10)."""
    end_stream = END_STREAM if end else 0
    if len(block) <= MAX_FRAME_BYTES:
        return frame(HEADERS, END_HEADERS | end_stream, stream_id, block)
    frames = [frame(HEADERS, end_stream, stream_id, block[:MAX_FRAME_BYTES])]
    for start in range(MAX_FRAME_BYTES, len(block), MAX_FRAME_BYTES):
        flags = END_HEADERS if start + MAX_FRAME_BYTES >= len(block) else 0
        frames.append(frame(CONTINUATION, flags, stream_id, block[start : start + MAX_FRAME_BYTES]))
    return b"".join(frames)


def reset_frame(stream_id: int, code: int) -> bytes:
    """Returns a RST_STREAM frame (section 6.4)."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def goaway_frame(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """Returns a GOAWAY frame (section 6.8)."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)


def window_update_frame(stream_id: int, size: int) -> bytes:
    """Returns a WINDOW_UPDATE frame (section 6.9)."""
    return frame(WINDOW_UPDATE, 0, stream_id, size.to_bytes(4, "big"))


def number_at(data: bytes, at: int) -> int:
    """Returns the four bytes there as a number."""
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


def id_at(data: bytes, at: int) -> int:
    """Returns the last 31 bits of the four bytes there as a number: the first is reserved (section 4.1)."""
    return (data[at] & 0x7F) << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]
