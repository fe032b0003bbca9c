"""HTTP/2 written out by hand: frames, header blocks of literals, and a client that says whatever a test wants."""

import struct

from sigbridge_http2.connection import Connection
from sigbridge_http2.events import Event, Header

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
REQUEST: list[Header] = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"a")]
MAX_WINDOW = 0x7FFFFFFF


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes((kind, flags)) + struct.pack("!I", stream_id) + payload


def number(size: int) -> bytes:
    return struct.pack("!I", size)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", *pair) for pair in pairs))


def window_of(size: int) -> bytes:
    """Settings, with the window with which streams begin."""
    return settings((4, size))


def block(*fields: Header) -> bytes:
    """Headers as literals, which need no state; names and values have fewer than 127 bytes."""
    return b"".join(b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in fields)


def reset(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, number(code))


def frames_of(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of frames that are whole."""
    found = []
    at = 0
    while at < len(data):
        end = at + 9 + int.from_bytes(data[at : at + 3], "big")
        found.append((data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : end]))
        at = end
    return found


class RawClient:
    """A machine, and a client of it that writes its frames itself."""

    def __init__(self, first: bytes = b"", *, max_streams: int = 10) -> None:
        self.server = Connection(max_streams=max_streams, max_header_bytes=1000, most_header_bytes=2000)
        self.now = 1000.0
        self.next_stream = 1
        self.may_send = 65535
        self.receive(PREFACE + (first or settings()))
        self.sent()

    def receive(self, data: bytes) -> list[Event]:
        return self.server.receive(data, self.now)

    def request(self, *more: Header, end: bool = False) -> bytes:
        """The HEADERS frame of a new stream."""
        stream_id, self.next_stream = self.next_stream, self.next_stream + 2
        return frame(HEADERS, END_HEADERS | end, stream_id, block(*REQUEST, *more))

    def respond(self, stream_id: int) -> None:
        self.server.send_headers(stream_id, [(b":status", b"200")])

    def sent(self) -> list[tuple[int, int, bytes]]:
        """Returns what the client gets: kind, stream and payload of frames."""
        return [(kind, stream_id, payload) for kind, _, stream_id, payload in self.sent_with_flags()]

    def sent_with_flags(self) -> list[tuple[int, int, int, bytes]]:
        data = b""
        while part := self.server.output(65536):
            data += part
        frames = frames_of(data)
        self.may_send += sum(
            int.from_bytes(more, "big")
            for kind, _, stream_id, more in frames
            if kind == WINDOW_UPDATE and not stream_id
        )
        return frames

    def kinds(self) -> list[int]:
        return [kind for kind, _, _ in self.sent()]

    def said_why(self) -> int | None:
        """The code of the last GOAWAY that was sent; None where there was none."""
        codes = [int.from_bytes(payload[4:8], "big") for kind, _, payload in self.sent() if kind == GOAWAY]
        return codes[-1] if codes else None
