"""Streams and their states, by the names of RFC 9113, section 5.1.

    idle ──HEADERS──▶ open ──┬──END_STREAM received──▶ half-closed (remote) ──END_STREAM sent──────▶ closed
                             └──END_STREAM sent──────▶ half-closed (local) ───END_STREAM received──▶ closed
    any but idle ──RST_STREAM, either way──▶ closed

Half-closed (local) may become a state of ours, in which the response is whole and nobody wants what the client still
sends. RFC 9113, section 8.1, lets us ask it to stop by RST_STREAM(NO_ERROR). But proxies that see this at once behind
the end of the response may lose the response for it, and most clients end their side by themselves. So it waits:

    half-closed (local) ──dismiss──▶ dismissed ──END_STREAM or RST_STREAM received────────▶ closed
                                         └──`DISMISSAL_SECONDS` later, or too many are──▶ closed by our reset

Dismissed, a stream may still be sent what its window allows, which is dropped and given back to the connection at
once. It does not count against the limit of open streams. The connection is not over before it is closed: where that
ends behind the response, clients of grpc's C core, which count the stream as open, lose the response now and then.

A stream that is idle or closed has no object. How it was closed decides what a late frame on it means, so `closed` is
three states here: by our RST_STREAM, which the client may not have seen when it sent the frame; without ever having
been open, since a later stream began (section 5.1.1); or by its ends or the client's own RST_STREAM, behind which
nothing may come. The first is known by one number: up to the latest stream that we have reset, frames may be late.
"""

from typing import Final

from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.frames import DATA, HEADERS, RST_STREAM, WINDOW_UPDATE

IDLE: Final = 0
OPEN: Final = 1
HALF_CLOSED_REMOTE: Final = 2
HALF_CLOSED_LOCAL: Final = 3
DISMISSED: Final = 4
"""Half-closed (local), and its reset waits for the client's own end."""
CLOSED: Final = 5
CLOSED_BY_RESET: Final = 6
"""Closed by our RST_STREAM."""
CLOSED_UNUSED: Final = 7
"""Closed because a later stream began."""

STATE_NAMES: Final = (
    "idle", "open", "half-closed (remote)", "half-closed (local)", "dismissed", "closed", "closed by our reset",
    "closed unused",
)  # fmt: skip

TAKEN: Final = -1
IGNORED: Final = -2

# What a frame does in each state: it is taken, ignored, or a fault of that code, which ends the connection. Some of
# these faults the RFC calls a stream's. Section 5.4.1 lets them end the connection, and a stream's reset would be work
# that a client can ask for without end (MadeYouReset). PRIORITY may come in any state.
_PROTOCOL: Final = int(ErrorCode.PROTOCOL_ERROR)
_CLOSED: Final = int(ErrorCode.STREAM_CLOSED)
# fmt: off
ON_FRAME: Final[dict[int, list[int]]] = {
    #               idle       open   h.c. (remote)  h.c. (local)  dismissed  closed    by our reset  unused
    DATA:          [_PROTOCOL, TAKEN, _CLOSED,       TAKEN,        IGNORED,   _CLOSED,  IGNORED,      _CLOSED],
    HEADERS:       [TAKEN,     TAKEN, _CLOSED,       TAKEN,        IGNORED,   _CLOSED,  IGNORED,      _PROTOCOL],
    RST_STREAM:    [_PROTOCOL, TAKEN, TAKEN,         TAKEN,        IGNORED,   IGNORED,  IGNORED,      IGNORED],
    WINDOW_UPDATE: [_PROTOCOL, TAKEN, TAKEN,         TAKEN,        IGNORED,   IGNORED,  IGNORED,      IGNORED],
}
# What follows in each state of an end, received or sent. That of a dismissed stream is received as what is ignored.
ON_END_RECEIVED: Final = [
    IDLE, HALF_CLOSED_REMOTE, HALF_CLOSED_REMOTE, CLOSED, CLOSED, CLOSED, CLOSED_BY_RESET, CLOSED_UNUSED
]
ON_END_SENT: Final = [
    IDLE, HALF_CLOSED_LOCAL, CLOSED, HALF_CLOSED_LOCAL, DISMISSED, CLOSED, CLOSED_BY_RESET, CLOSED_UNUSED
]
# fmt: on

RECEIVE_WINDOW_BYTES: Final = 65536
"""The bytes that a stream may send before they are acknowledged."""
UNKNOWN_LENGTH: Final = -1
"""The length of a body of which its request does not say it."""
DISMISSAL_SECONDS: Final = 1.0
"""The time for which the reset of a dismissed stream waits."""
NEVER: Final = float("inf")
"""The time of what is not due (monotonic seconds)."""


class Stream:
    """A stream that is neither idle nor closed."""

    __slots__ = (
        "body_left",
        "ending",
        "id",
        "number",
        "receivable",
        "send_window",
        "state",
        "taken",
        "unsent",
    )

    def __init__(self, stream_id: int, state: int, body_left: int) -> None:
        self.id = stream_id
        self.number = stream_id.to_bytes(4, "big")
        """The id as frames carry it."""
        self.state = state
        self.body_left = body_left
        """The bytes of the body that are to come by its `content-length`; UNKNOWN_LENGTH where it promises nothing."""
        self.receivable = RECEIVE_WINDOW_BYTES
        """The bytes that the client may send."""
        self.taken = 0
        """The bytes that were acknowledged, without the client being told."""
        self.send_window = 0
        """The bytes that we may send beyond the initial window of all streams; often less than nothing."""
        self.unsent = b""
        """The part of the response's body that no window has let out."""
        self.ending: bytes | None = None
        """The end behind that: a block of trailers, empty where there are none, or None while there is no end."""

    @property
    def unacknowledged_bytes(self) -> int:
        """The bytes that have been received and were not acknowledged."""
        return RECEIVE_WINDOW_BYTES - self.receivable - self.taken


class Dismissed:
    """A dismissed stream: all that is kept of it."""

    __slots__ = ("receivable", "reset_at")

    def __init__(self, receivable: int, reset_at: float) -> None:
        self.receivable = receivable
        """The bytes that the client may still send: its window is not widened any more."""
        self.reset_at = reset_at
        """The moment at which it is reset (monotonic seconds)."""


class StreamTable:
    """The streams of a connection."""

    __slots__ = ("active", "dismissed", "last_begun", "last_reset", "unused_from", "unused_to")

    def __init__(self) -> None:
        self.active: dict[int, Stream] = {}
        """Streams that are open or half-closed."""
        self.dismissed: dict[int, Dismissed] = {}
        """Those that are dismissed, in the order in which their resets are due."""
        self.last_begun = 0
        self.last_reset = 0
        self.unused_from = 1
        self.unused_to = 0
        """The latest ids that were jumped over (section 5.1.1)."""

    def state_of(self, stream_id: int) -> int:
        """Returns the state of any stream; even ids are ours, and we begin none."""
        stream = self.active.get(stream_id)
        if stream is not None:
            return stream.state
        if stream_id > self.last_begun or stream_id & 1 == 0:
            return IDLE
        if stream_id in self.dismissed:
            return DISMISSED
        if stream_id <= self.last_reset:
            return CLOSED_BY_RESET
        return CLOSED_UNUSED if self.unused_from <= stream_id <= self.unused_to else CLOSED

    def begin(self, stream_id: int) -> None:
        """Records that a stream began; its object is made when its headers are known."""
        if stream_id > self.last_begun + 2:
            self.unused_from = self.last_begun + 1
            self.unused_to = stream_id - 1
        self.last_begun = stream_id
