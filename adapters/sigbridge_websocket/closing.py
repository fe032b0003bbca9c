"""The states of a WebSocket connection, from its opening handshake to its end, without I/O.

               accepted              the hub ends the session            our close frame is out
     OPENING ───────────▶ OPEN ────────────────────────────▶ ENDING ────────────────────────────▶ CLOSING
      │  │                 ▲│                                  │                                     │
      │  └──▶ AWAITING ────┘│ the client ends                  │ the client ends                     │ the client ends
      │          │          ▼                                  │                                     │
      │ refused  │      REPLYING ◀─────────────────────────────┘                                     │
      │          │          │ our close frame is out, where there is one                             │
      └──────────┴──────────┴────────────▶ CLOSED ◀──────────────────────────────────────────────────┘

Awaiting, a connection has its client's whole request, of which it must be looked up first who that is; it then goes on
or ends as one that is opening does. A client ends by a close frame, by a fault, or by the end of what it sends. What
was said to it before goes out before our close frame, and nothing goes out behind it. Until the client has ended, its
frames are read: in ENDING and CLOSING for the sake of its close frame.
Source: RFC 6455, section 7.
"""

from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.instant import NEVER
from sigbridge_net.refusals import with_retry
from sigbridge_websocket.error_codes import CLOSE_CODES
from sigbridge_websocket.frames import CLOSE, FIN, close_payload, frame

OPENING: Final = 0
AWAITING: Final = 1
OPEN: Final = 2
ENDING: Final = 3
CLOSING: Final = 4
REPLYING: Final = 5
CLOSED: Final = 6

# What follows in each state.
# fmt: off
#                         opening   awaiting  open       ending     closing  replying   closed
_ON_WAIT: Final =        [AWAITING, AWAITING, OPEN,      ENDING,    CLOSING, REPLYING,  CLOSED]
_ON_END: Final =         [CLOSED,   CLOSED,   ENDING,    ENDING,    CLOSING, REPLYING,  CLOSED]
_ON_CLIENT_END: Final =  [CLOSED,   CLOSED,   REPLYING,  REPLYING,  CLOSED,  REPLYING,  CLOSED]
_ON_ALL_OUT: Final =     [OPENING,  AWAITING, OPEN,      CLOSING,   CLOSING, CLOSED,    CLOSED]
# fmt: on


class Closing:
    """One connection's state, and what there is to say at its end."""

    __slots__ = ("_frame", "deadline", "reason", "state")

    def __init__(self) -> None:
        self.state = OPENING
        self.reason: DisconnectReason | None = None
        """The reason for which the session has ended."""
        self.deadline = NEVER
        """The moment at which the connection is dropped, whatever its client does (monotonic seconds)."""
        self._frame = b""
        """Our close frame; empty where there is nobody to read it."""

    def wait(self) -> None:
        """Waits until the identity of the client is known."""
        self.state = _ON_WAIT[self.state]

    def open(self) -> None:
        """Begins the session, since the handshake is accepted."""
        self.state = OPEN

    def end(self, reason: DisconnectReason, retry_after_ms: int | None = None) -> None:
        """Ends the connection from our side, with a close frame.

        If its client has ended it before, nothing is added.
        """
        self.reason = reason
        if self.state == OPEN:
            self._frame = frame_for(reason, retry_after_ms)
        self.state = _ON_END[self.state]

    @property
    def is_silent(self) -> bool:
        """True when nothing is said any more: the close frame is out, or nobody would read one."""
        return self.state in (CLOSING, CLOSED)

    def respond(self, close_frame: bytes) -> None:
        """Ends the connection from the client's side, with `close_frame` as our response.

        Empty keeps the one there is.
        """
        if self.state <= ENDING:
            self._frame = close_frame or self._frame
        self.state = _ON_CLIENT_END[self.state]

    def last_words(self) -> bytes:
        """Returns our close frame, since everything before it is out; empty if none is due."""
        close_frame, self._frame = self._frame, b""
        self.state = _ON_ALL_OUT[self.state]
        return close_frame


def frame_for(reason: DisconnectReason, retry_after_ms: int | None = None) -> bytes:
    """Returns the close frame of a reason; empty if nobody is left to read it.

    Behind the word stands `retry-after-ms=N`, if that is given.
    """
    code = CLOSE_CODES.get(reason)
    return b"" if code is None else frame(FIN | CLOSE, close_payload(code, with_retry(reason.word, retry_after_ms)))
