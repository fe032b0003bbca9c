"""HTTP/2 without I/O, as the gRPC wire needs it: the one file that knows the library behind it (ngh2, on libnghttp2).

Rule 1: nothing of the library's is raised. Where a client breaks the rules the connection is `broken`, after what
arrived before; a stream or the connection may be gone while events are still being read, since one chunk of bytes can
begin and end it: what is sent then is dropped. Rule 2: what a stream is given to send while its window is closed is
kept by the library, so the wire looks at `unsent` before it gives more. Rule 3: received data is acknowledged by the
wire, when it has been taken. Rule 4: a reset overtakes and drops what waits on its stream.
"""

from collections.abc import Iterable
from contextlib import suppress

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
    SettingsReceived,
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
    "PingAcknowledged",
    "PingReceived",
    "RequestReceived",
    "SettingsReceived",
    "StreamClosed",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
]

Header = tuple[bytes, bytes]

RECEIVE_WINDOW_BYTES = 65536
"""What a stream may send before it is acknowledged."""

MOST_PINGS_AT_ONCE = 250
"""Where more pings come in one go, the rest is not even looked at, and the connection ends without a word."""


class Http2:
    """The server's side of one HTTP/2 connection."""

    def __init__(self, *, max_streams: int, max_header_bytes: int, most_header_bytes: int) -> None:
        """Begin a connection. Clients are told `max_header_bytes`; headers above `most_header_bytes` break it."""
        self.broken = False
        """Whether the client has broken the rules: what is left to send says why."""
        self._connection = Connection(
            Role.SERVER,
            Configuration(
                auto_window_update=False,
                max_inbound_header_list_size=most_header_bytes,
                max_outbound_ack=MOST_PINGS_AT_ONCE,
            ),
        )
        self._connection.initiate_connection(
            {
                Setting.MAX_CONCURRENT_STREAMS: max_streams,
                Setting.INITIAL_WINDOW_SIZE: RECEIVE_WINDOW_BYTES,
                Setting.MAX_HEADER_LIST_SIZE: max_header_bytes,
            }
        )
        # So large that streams which are held back leave the others their window.
        self._connection.set_local_window_size(max_streams * RECEIVE_WINDOW_BYTES)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes; returns what they mean."""
        try:
            self._connection.receive_data(data)
        except NGH2Error:
            self.broken = True
        try:
            return self._connection.events()
        except NGH2Error:
            return []

    def output(self, most: int) -> bytes:
        """What to write now, at most about so many bytes."""
        try:
            return self._connection.data_to_send(most)
        except NGH2Error:
            self.broken = True
            return b""

    @property
    def over(self) -> bool:
        """Whether nothing that arrives is looked at any more: the rules were broken, or a GOAWAY has been obeyed."""
        try:
            return self.broken or not self._connection.want_read
        except NGH2Error:
            return True

    @property
    def wants_write(self) -> bool:
        """Whether there is something to send that windows allow."""
        try:
            return self._connection.want_write
        except NGH2Error:
            return False

    def send_headers(self, stream_id: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Begin a response, and with `end` end it."""
        with suppress(NGH2Error):
            self._connection.send_response(stream_id, headers, end_stream=end)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Send part of a body."""
        try:  # noqa: SIM105 - every message passes here
            self._connection.send_data(stream_id, data)
        except NGH2Error:
            pass

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        """End a response."""
        with suppress(NGH2Error):
            self._connection.send_trailers(stream_id, headers)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream at once; what waits to be sent on it is dropped."""
        with suppress(NGH2Error):
            self._connection.reset_stream(stream_id, int(code))

    def unsent(self, stream_id: int) -> int:
        """How many bytes of a body the library still keeps: the window is closed, or they have not been taken yet."""
        try:
            return self._connection.queued_body_size(stream_id)
        except NGH2Error:
            return 0

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let a client send so much more, on its stream and on the connection."""
        try:  # noqa: SIM105 - every message passes here
            self._connection.acknowledge_received_data(size, stream_id)
        except NGH2Error:
            pass

    def ping(self) -> None:
        """Ask whether the client is there."""
        with suppress(NGH2Error):
            self._connection.ping(b"sigbridg")

    def announce_shutdown(self) -> None:
        """Say that there will be no more streams soon (GOAWAY, first step; RFC 9113, section 6.8)."""
        with suppress(NGH2Error):
            self._connection.send_shutdown_notice()

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Say that there are no more streams (GOAWAY, second step)."""
        with suppress(NGH2Error):
            self._connection.send_goaway(int(code), debug_data=debug)
