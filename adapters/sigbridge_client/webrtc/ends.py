"""The states of a call as its program sees them, and the reasons of its end.

The states, and what leads from one to the next; `negotiation.py` has those beneath:

    connecting ──a connection stands──► connected
        ▲                                   │
        └──it fails, or gives way to another┘        either ──a reason of `EndReason`──► ended
"""

from enum import StrEnum


class CallState(StrEnum):
    """The states of a call: `connecting` until the two are connected, and again while a new connection is made."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    ENDED = "ended"


class EndReason(StrEnum):
    """The reasons of the end of a call."""

    HUNG_UP = "hung_up"
    """This side has hung up."""
    PEER_HUNG_UP = "peer_hung_up"
    PEER_LEFT = "peer_left"
    """The peer has left its room, or its session was lost for good."""
    PEER_NOT_FOUND = "peer_not_found"
    """The room has no peer of that id."""
    REFUSED = "refused"
    """The server has refused the offer for another reason, which is the call's `error`."""
    FAILED = "failed"
    """No connection comes about, even after restarts; or `build` has failed: its exception is the call's `error`."""
    CLOSED = "closed"
    """The client is closed."""
