"""Settings (RFC 9113, section 6.5): ours as they are sent, and what those of a client may be."""

from functools import lru_cache
from typing import Final

from sigbridge_http2.errors import ConnectionFault, ErrorCode
from sigbridge_http2.frames import MAX_FRAME_BYTES, SETTINGS, frame, number_at, window_update_frame
from sigbridge_http2.streams import RECEIVE_WINDOW_BYTES
from sigbridge_http2.windows import INITIAL_WINDOW_BYTES, connection_window_bytes

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

ENTRY_BYTES: Final = 6
DEFAULT_HEADER_TABLE_BYTES: Final = 4096
_MAX_MAX_FRAME_SIZE: Final = (1 << 24) - 1


@lru_cache
def greeting(max_streams: int, max_header_bytes: int) -> bytes:
    """Returns a server's first frames: its SETTINGS (section 3.4), and the WINDOW_UPDATE of the connection."""
    payload = b"".join(
        number.to_bytes(2, "big") + value.to_bytes(4, "big")
        for number, value in (
            (MAX_CONCURRENT_STREAMS, max_streams),
            (INITIAL_WINDOW_SIZE, RECEIVE_WINDOW_BYTES),
            (MAX_HEADER_LIST_SIZE, max_header_bytes),
        )
    )
    wider = connection_window_bytes(max_streams) - INITIAL_WINDOW_BYTES
    return frame(SETTINGS, 0, 0, payload) + window_update_frame(0, wider)


def entries(payload: bytes) -> list[tuple[int, int]]:
    """Returns the numbers and values of a SETTINGS payload in their order, unknown ones included (section 6.5.2).

    :raises ConnectionFault: if the payload or a value is invalid.
    """
    if len(payload) % ENTRY_BYTES:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR)
    found: list[tuple[int, int]] = []
    for at in range(0, len(payload), ENTRY_BYTES):
        number = payload[at] << 8 | payload[at + 1]
        value = number_at(payload, at + 2)
        if (number == ENABLE_PUSH and value > 1) or (
            number == MAX_FRAME_SIZE and not MAX_FRAME_BYTES <= value <= _MAX_MAX_FRAME_SIZE
        ):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR)
        found.append((number, value))
    return found
