"""A session, the peer that it announced, and the room in which that peer's id is unique.

A *session* is one client's conversation with the hub: a WebSocket connection, or one `Signal` call. A *peer* is whom
others know. They refer to each other, and so
stand in one file. A peer may be without a session: nobody can tell, but nothing can be delivered to it.

The states of a session, and what leads from one to the next:

    open ──Hub.apply──► awaiting ──Pending resolves──► open        one request at a time waits for another node's word
      │                    │
      └──────Hub.end───────┴──► ended                              for one `DisconnectReason`, told once by `on_end`;
                                                                   then it lets go of its carrier

An open session is announced while it has a peer; an announce gives it one, leaving and its end take it away.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from sigbridge.auth import ALLOW_ALL, ANYBODY, Authenticator, Certificate, Identity
from sigbridge.counters import Tallies
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.floods import FloodCount
from sigbridge.instant import NEVER, Instant
from sigbridge.messages import Event, PeerInfo, PeerJoined, Reply
from sigbridge.outbox import Outbox, nobody
from sigbridge.share import Share

ProtocolName: TypeAlias = str
"""The name of a way in, for counters, logs and health: `grpc`, `websocket`, or an adapter's that comes later."""

Outcome: TypeAlias = Reply | SignalingError
"""The end of a request: its reply, or the error that refuses it."""

RequestId: TypeAlias = Any
"""A protocol's name of a request; opaque to the hub, which hands it back to the session's `Encoding`."""

MAX_CLIENT_BYTES = 128
_PEER_OVERHEAD_BYTES = 128
"""Bytes that the names and braces of one peer take in a listing, roughly."""


class Encoding(Protocol):
    """The encoding of events and responses as bytes for an outbox; one object for all sessions that speak alike.

    So each event is encoded once for all of them.
    """

    def encode_event(self, event: Event) -> bytes:
        """The event, as it goes into an outbox."""

    def number_event(self, frame: bytes, number: int) -> bytes:
        """An encoded event with its number in it (`seq`); the frame that others share is not encoded again.

        For sessions that can be resumed, whose events will be numbered; nothing asks for it yet.
        """

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes | None:
        """The response to a request, as it goes into an outbox; `None` where the protocol wants none."""


class Sink(Protocol):
    """Takes responses in place of a session's outbox: a batch, whose responses leave together."""

    def respond(self, outcome: Outcome, request_id: RequestId, now: Instant) -> None:
        """Take the outcome of one request."""


class Caller(NamedTuple):
    """The client that opens a session or asks a question, as far as its connection and credentials tell."""

    identity: Identity = ANYBODY
    address: str = ""
    """The client's address, without a port; empty behind a unix socket."""
    user_agent: str = ""
    """The name and version by which its software calls itself, for the log."""
    traceparent: str = ""
    """The trace context of its connection (W3C Trace Context), or empty."""
    authenticator: Authenticator = ALLOW_ALL
    """The one that let it in, which judges the tokens that its session shows later."""
    certificate: Certificate | None = None
    """The certificate of its connection, where it showed one."""

    @property
    def holder(self) -> str:
        """The one against whom its questions count; empty where nobody is known. See `Session.holder`."""
        return self.identity.name or self.address


ANYWHERE = Caller()
"""A caller of whom nothing is known."""


def no_end(reason: DisconnectReason) -> None:
    """An `on_end` for a session whose carrier is gone, or has been told."""


def not_ready(now: Instant) -> None:
    """An `on_ready` for a session whose carrier waits for nothing."""


class Session:
    """One connection. Its id is random, names it in the log, and is never shown to a peer.

    Identity and encoding may change while it lives: nothing is kept that follows from them but a `Headcount`, which
    is the one to give it another identity.
    """

    __slots__ = (
        "authenticator",
        "awaiting",
        "certificate",
        "client",
        "encoding",
        "end_reason",
        "ends_at",
        "floods",
        "has_authenticated",
        "id",
        "identity",
        "on_end",
        "on_ready",
        "opened_at",
        "outbox",
        "peer",
        "protocol",
        "remote",
        "request_count",
        "share",
        "tallies",
        "traceparent",
        "unannounced_since",
    )

    def __init__(
        self,
        session_id: str,
        protocol: ProtocolName,
        encoding: Encoding,
        outbox: Outbox,
        caller: Caller,
        tallies: Tallies,
    ) -> None:
        self.id = session_id
        self.protocol = protocol
        self.encoding = encoding
        self.outbox = outbox
        self.identity = caller.identity
        self.ends_at = NEVER
        """The moment at which it ends because its credentials do (monotonic seconds)."""
        self.has_authenticated = False
        """True once it was given an identity by `authenticate`: nobody in particular may become somebody once."""
        self.floods: FloodCount | None = None
        """The refusals by the rate limit, from the first on."""
        self.authenticator = caller.authenticator
        self.certificate = caller.certificate
        self.remote = caller.address
        self.client = client_name(caller.user_agent)
        """Name and version of the client's software, at most `MAX_CLIENT_BYTES`; empty where nothing says it."""
        self.traceparent = caller.traceparent
        """The trace context of its connection (W3C), for requests that have none of their own."""
        self.on_end: Callable[[DisconnectReason], None] = no_end
        """Called once, when the session ends; the carrier then closes the connection."""
        self.on_ready: Callable[[Instant], None] = not_ready
        """Called when an awaited response has been queued; the carrier then goes on reading."""
        self.opened_at = 0.0
        self.unannounced_since = 0.0
        """Since when it has had no peer (monotonic seconds); of no meaning while it has one."""
        self.peer: Peer | None = None
        self.awaiting = False
        """True while the outcome of a request is awaited; until it is known nothing more may be applied."""
        self.end_reason: DisconnectReason | None = None
        self.request_count = 0
        self.share = Share()
        """The share of one turn that its requests have; a carrier may give those of one connection one together."""
        self.tallies = tallies
        """Counts of the requests on its protocol."""

    @property
    def open(self) -> bool:
        """Whether the session has not ended yet."""
        return self.end_reason is None

    def let_go(self) -> None:
        """Forgets its carrier, which holds it: a session that has ended would keep both from being freed."""
        self.on_end = no_end
        self.on_ready = not_ready
        self.outbox.wake = nobody

    @property
    def holder(self) -> str:
        """The one against whom its requests count: the identity, or the address where nobody in particular is meant.

        Behind a unix socket there is no address, and it counts by itself.
        """
        return self.identity.name or self.remote or self.id


def client_name(text: str) -> str:
    """The name of a client's software, cut to `MAX_CLIENT_BYTES` of UTF-8."""
    return text if len(text) * 4 <= MAX_CLIENT_BYTES else text.encode()[:MAX_CLIENT_BYTES].decode(errors="ignore")


class Peer:
    """Whom others know. `incarnation` rises with every announce and tells two peers of one id apart."""

    __slots__ = ("_joined_frames", "incarnation", "info", "joined", "listed_bytes", "peer_id", "room", "session")

    def __init__(
        self, room: "Room", joined: PeerJoined, session: "Session | None", *, incarnation: int, connected_at: int
    ) -> None:
        self.room = room
        self.peer_id = joined.peer_id
        self.incarnation = incarnation
        self.session = session
        """Its connection; `None` where it has none, and nothing can be delivered to it."""
        self.joined = joined
        self.info = PeerInfo(joined.peer_id, joined.capabilities, "available", joined.metadata, connected_at)
        self.listed_bytes = len(msgspec.json.encode(joined)) + _PEER_OVERHEAD_BYTES
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

    __slots__ = ("listed_bytes", "name", "peers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: dict[str, Peer] = {}
        self.listed_bytes = 0
        """About how many bytes all of them take in a listing."""
