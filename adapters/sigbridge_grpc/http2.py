"""HTTP/2 without I/O, as the gRPC wire needs it: the one file that knows the library behind it (ngh2, on libnghttp2).

Rule 1: what the library raises is `Http2Error` here, and says that the connection is over. Rule 2: what a stream is
given to send while its window is closed is kept by the library, so the wire gives it no more than `send_window` allows.
Rule 3: received data is acknowledged by the wire, when it has been taken.
"""

from collections.abc import Iterable

from ngh2 import (
    Configuration,
    Connection,
    DataReceived,
    ErrorCode,
    Event,
    GoAwayReceived,
    NGH2Error,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    Role,
    Setting,
    StreamClosed,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

__all__ = [
    "DataReceived",
    "ErrorCode",
    "Event",
    "GoAwayReceived",
    "Header",
    "Http2",
    "Http2Error",
    "PingAcknowledged",
    "PingReceived",
    "RequestReceived",
    "StreamClosed",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
]

Header = tuple[bytes, bytes]

RECEIVE_WINDOW_BYTES = 65536
"""What a stream may send before it is acknowledged."""
CONNECTION_WINDOW_BYTES = 1048576
"""The same for a connection, all its streams together."""


class Http2Error(Exception):
    """The client has broken the rules of HTTP/2: the connection is over; what is left to send says why."""


class Http2:
    """The server's side of one HTTP/2 connection."""

    def __init__(self, *, max_streams: int, max_header_bytes: int, most_header_bytes: int) -> None:
        """Begin a connection. Clients are told `max_header_bytes`; headers above `most_header_bytes` end it."""
        self._connection = Connection(
            Role.SERVER,
            Configuration(
                auto_window_update=False, max_inbound_header_list_size=most_header_bytes, max_inbound_header_count=256
            ),
        )
        self._connection.initiate_connection(
            {
                Setting.MAX_CONCURRENT_STREAMS: max_streams,
                Setting.INITIAL_WINDOW_SIZE: RECEIVE_WINDOW_BYTES,
                Setting.MAX_HEADER_LIST_SIZE: max_header_bytes,
            }
        )
        self._connection.set_local_window_size(CONNECTION_WINDOW_BYTES)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes; returns what they mean. Http2Error where they break the rules."""
        try:
            self._connection.receive_data(data)
        except NGH2Error as error:
            raise Http2Error(str(error)) from error
        return self._connection.events()

    def output(self, most: int) -> bytes:
        """What to write now, at most about so many bytes."""
        try:
            return self._connection.data_to_send(most)
        except NGH2Error:
            return b""

    def send_headers(self, stream_id: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Begin a response, and with `end` end it."""
        self._connection.send_response(stream_id, headers, end_stream=end)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Send part of a body."""
        self._connection.send_data(stream_id, data)

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        """End a response."""
        self._connection.send_trailers(stream_id, headers)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream at once."""
        self._connection.reset_stream(stream_id, int(code))

    def unsent(self, stream_id: int) -> int:
        """How many bytes of a body the library still keeps: the window is closed, or they have not been taken yet."""
        return self._connection.queued_body_size(stream_id)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let a client send so much more, on its stream and on the connection."""
        self._connection.acknowledge_received_data(size, stream_id)

    def ping(self) -> None:
        """Ask whether the client is there. Http2Error where the connection is ending already."""
        try:
            self._connection.ping(b"sigbridg")
        except NGH2Error as error:
            raise Http2Error(str(error)) from error

    def announce_shutdown(self) -> None:
        """Say that there will be no more streams soon (GOAWAY, first step; RFC 9113, section 6.8)."""
        self._connection.send_shutdown_notice()

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Say that there are no more streams (GOAWAY, second step)."""
        self._connection.send_goaway(int(code), debug_data=debug)
