"""Error codes (RFC 9113, section 7), and the faults that a client can commit (section 5.4)."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """The reason that RST_STREAM and GOAWAY give."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):
    """A fault that ends the connection, with a GOAWAY (section 5.4.1); without a word where `code` is None."""

    def __init__(self, code: ErrorCode | None) -> None:
        super().__init__(code)
        self.code = code


class StreamFault(Exception):
    """A fault that ends a stream, with a RST_STREAM (section 5.4.2)."""

    def __init__(self, stream_id: int, code: ErrorCode) -> None:
        super().__init__(stream_id, code)
        self.stream_id = stream_id
        self.code = code


class MalformedFields(Exception):
    """A header or trailer section that breaks the rules of HTTP (section 8.1.1); its text says which."""
