"""One open connection, as the hub sees it. A *session* is a connection; a *peer* is whom others know."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from sigbridge.auth import Identity
from sigbridge.counters import Tallies, Tally
from sigbridge.disconnects import DisconnectReason
from sigbridge.messages import Event
from sigbridge.outbox import Outbox

if TYPE_CHECKING:
    from sigbridge.peer import Peer

ProtocolName: TypeAlias = Literal["grpc", "websocket"]


class Encoding(Protocol):
    """How events become bytes; one object for all sessions that speak alike, so that each event is encoded once."""

    def encode_event(self, event: Event) -> bytes:
        """The event as it goes into an outbox."""


class Session:
    """One connection. Its id is random, names it in the log, and is never shown to a peer."""

    __slots__ = (
        "announcing",
        "encoding",
        "end_reason",
        "holder",
        "id",
        "identity",
        "on_end",
        "opened_at",
        "outbox",
        "peer",
        "protocol",
        "remote",
        "request_began_at",
        "request_count",
        "tallies",
        "timed",
        "traceparent",
    )

    def __init__(
        self,
        session_id: str,
        *,
        protocol: ProtocolName,
        encoding: Encoding,
        outbox: Outbox,
        on_end: Callable[[DisconnectReason], None],
        opened_at: float,
        remote: str,
        identity: Identity,
        tallies: Tallies,
        traceparent: str = "",
    ) -> None:
        self.id = session_id
        self.protocol: ProtocolName = protocol
        self.encoding = encoding
        self.outbox = outbox
        self.on_end = on_end
        """Called once, when the hub ends the session; the carrier then closes the connection."""
        self.opened_at = opened_at
        self.remote = remote
        self.identity = identity
        self.holder = identity.subject or remote
        """Against whom its requests count: the identity, or the address where nobody in particular is meant."""
        self.peer: Peer | None = None
        self.announcing = False
        self.end_reason: DisconnectReason | None = None
        self.traceparent = traceparent
        """The trace context of its connection (W3C), for requests that have none of their own."""
        self.request_count = 0
        self.tallies = tallies
        """What is counted of the requests on its protocol."""
        self.timed: Tally | None = None
        """What the request counts in that is being timed, and since when."""
        self.request_began_at = 0.0

    @property
    def open(self) -> bool:
        """Whether the session has not ended yet."""
        return self.end_reason is None
