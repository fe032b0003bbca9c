"""A session, the peer that it announced, and the room in which that peer's id is unique.

A *session* is one open connection, as the hub sees it; a *peer* is whom others know. They refer to each other, and so
stand in one file.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from sigbridge.auth import Identity
from sigbridge.counters import Tallies, Tally
from sigbridge.disconnects import DisconnectReason
from sigbridge.messages import Capabilities, Event, PeerInfo, PeerJoined
from sigbridge.outbox import Outbox

ProtocolName: TypeAlias = Literal["grpc", "websocket"]

_PEER_OVERHEAD_BYTES = 128
"""What the names and braces of one peer take in a listing, roughly."""


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


class Peer:
    """An announced session. `incarnation` rises with every announce and tells two peers of one id apart."""

    __slots__ = ("_joined_frames", "incarnation", "info", "joined", "listed_bytes", "peer_id", "room", "session")

    def __init__(
        self,
        *,
        room: "Room",
        peer_id: str,
        incarnation: int,
        capabilities: Capabilities,
        metadata: dict[str, Any],
        session: Session,
        connected_at: int,
    ) -> None:
        self.room = room
        self.peer_id = peer_id
        self.incarnation = incarnation
        self.session = session
        self.joined = PeerJoined(peer_id, capabilities, metadata)
        self.info = PeerInfo(peer_id, capabilities, "available", metadata, connected_at)
        self.listed_bytes = len(msgspec.json.encode(self.joined)) + _PEER_OVERHEAD_BYTES
        """About how many bytes this peer takes in a listing, so that a page stays within what clients accept."""
        self._joined_frames: list[tuple[Encoding, bytes]] | None = None

    def joined_frame(self, encoding: Encoding) -> bytes:
        """The `peer_joined` event of this peer, encoded once for each encoding that somebody needed."""
        frames = self._joined_frames
        if frames is None:
            frames = self._joined_frames = []
        for known, frame in frames:
            if known is encoding:
                return frame
        frame = encoding.encode_event(self.joined)
        frames.append((encoding, frame))
        return frame


class Room:
    """The peers that see and reach each other, in the order in which they joined."""

    __slots__ = ("name", "peers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: dict[str, Peer] = {}
