"""A session, the peer that it announced, and the room in which that peer's id is unique.

A *session* is one client's conversation with the hub: a WebSocket connection, or one `Signal` call. A *peer* is whom
others know. They refer to each other, and so
stand in one file. A peer may be without a session: then it is away, and what it is told is kept (`holding.py`).

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
from sigbridge.continuity import Continuity
from sigbridge.counters import Tallies
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.floods import FloodCount
from sigbridge.instant import NEVER, Instant
from sigbridge.journal import kept_event
from sigbridge.kept import Kept
from sigbridge.messages import Event, PeerInfo, PeerJoined, RelayedEvent, Reply
from sigbridge.outbox import Outbox, no_wake
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

    takes_control: bool
    """True where its sessions are told `ControlReceived`; all others never see it."""

    def encode_event(self, event: Event) -> bytes:
        """Returns the event, as it goes into an outbox; it may be shared by sessions."""

    def encode_relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the event that one peer sends the peer `to_peer_id`, as it goes into an outbox."""

    def encode_numbered_relay(self, event: RelayedEvent, to_peer_id: str, number: int) -> bytes:
        """Returns the same with its number in it (`seq`), for a peer that can be resumed."""

    def number_event(self, frame: bytes, number: int) -> bytes:
        """Returns an encoded event with its number in it; the frame that others share is not encoded again."""

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes | None:
        """Returns the response to a request, as it goes into an outbox; `None` where the protocol wants none."""


class Sink(Protocol):
    """Takes responses in place of a session's outbox: a batch, whose responses leave together."""

    def respond(self, outcome: Outcome, request_id: RequestId, now: Instant) -> None:
        """Takes the outcome of one request."""


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


def heard_nothing() -> float:
    """Returns a `last_heard` of a session whose carrier hears nothing of its client but requests."""
    return -NEVER


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
        "continuity",
        "encoding",
        "end_reason",
        "ends_at",
        "floods",
        "has_authenticated",
        "id",
        "identity",
        "last_heard",
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
        "told_of_end",
        "traceparent",
        "unannounced_since",
        "wants_notices",
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
        self.last_heard: Callable[[], float] = heard_nothing
        """Returns when its carrier has heard of its client what is no request (monotonic seconds).

        NEVER where it holds the client back now, and -NEVER where it has heard nothing. Asked only by `silence.py`.
        """
        self.opened_at = 0.0
        self.unannounced_since = 0.0
        """Since when it has had no peer (monotonic seconds); of no meaning while it has one."""
        self.peer: Peer | None = None
        self.continuity: Continuity | None = None
        """That of its peer, where this is resumable; `None` for all others."""
        self.wants_notices = False
        """True where it asked to be told beforehand."""
        self.told_of_end: float | None = None
        """The end of its credentials of which it was told last (Unix seconds)."""
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
        """True until the session has ended."""
        return self.end_reason is None

    def let_go(self) -> None:
        """Drops the callbacks that lead to its carrier, so that neither keeps the other from being freed."""
        self.on_end = no_end
        self.on_ready = not_ready
        self.last_heard = heard_nothing
        self.outbox.wake = no_wake

    @property
    def holder(self) -> str:
        """The one against whom its requests count: the identity, or the address where nobody in particular is meant.

        Behind a unix socket there is no address, and it counts by itself.
        """
        return self.identity.name or self.remote or self.id


def client_name(text: str) -> str:
    """Returns the name of a client's software, cut to `MAX_CLIENT_BYTES` of UTF-8."""
    return text if len(text) * 4 <= MAX_CLIENT_BYTES else text.encode()[:MAX_CLIENT_BYTES].decode(errors="ignore")


class Peer:
    """A peer, as others know it. `incarnation` rises with every announce and tells two peers of one id apart."""

    __slots__ = (
        "_joined_frames",
        "_joined_kept",
        "called",
        "continuity",
        "incarnation",
        "info",
        "joined",
        "listed_bytes",
        "peer_id",
        "room",
        "session",
    )

    def __init__(
        self, room: "Room", joined: PeerJoined, session: "Session | None", *, incarnation: int, connected_at: int
    ) -> None:
        """`joined` is the event by which others know it; `connected_at` is in Unix seconds."""
        self.room = room
        self.peer_id = joined.peer_id
        self.incarnation = incarnation
        self.session = session
        """Its connection; `None` where it has none, and nothing can be delivered to it."""
        self.continuity: Continuity | None = None
        """Its state beyond its session; `None` where it is not resumable."""
        self.joined = joined
        self.info = PeerInfo(joined.peer_id, joined.capabilities, "available", joined.metadata, connected_at)
        self.listed_bytes = len(msgspec.json.encode(joined)) + _PEER_OVERHEAD_BYTES
        """About how many bytes this peer takes in a listing, so that a page stays within what clients accept."""
        self._joined_frames: list[tuple[Encoding, bytes]] | None = None
        self._joined_kept: Kept | None = None
        self.called: tuple[str, int] | None = None
        """The peer answering in results to which it has last offered: its id and its incarnation, 0 on another node."""

    @property
    def is_present(self) -> bool:
        """True while it is in its room, with a session or without."""
        return self.room.peers.get(self.peer_id) is self

    def detach_session(self) -> None:
        """Detaches the session; the peer is listed as away."""
        self.session = None
        self.info = msgspec.structs.replace(self.info, state="away")

    def attach_session(self, session: "Session") -> None:
        """Attaches another session; the peer is listed as available."""
        self.session = session
        self.info = msgspec.structs.replace(self.info, state="available")

    def joined_kept(self, now: float) -> Kept:
        """Returns the `peer_joined` event as the journals of all newcomers keep it (`now` in monotonic seconds)."""
        kept = self._joined_kept
        if kept is None:
            kept = self._joined_kept = kept_event(self.joined, self.listed_bytes, now)
        return kept

    def joined_frame(self, encoding: Encoding) -> bytes:
        """Returns the `peer_joined` event of this peer, encoded once for each encoding."""
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
