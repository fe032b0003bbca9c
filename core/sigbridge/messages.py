"""Messages of peers to the hub, its replies to them, and the events that it tells them unasked.

Three families: *requests* are imperatives, *replies* are each the response to one request, *events* are in the past
tense and respond to nothing. All are frozen: a message may be shared by any number of sessions.

Rule 1: nothing here knows how a message looks on a wire. Rule 2: the empty string stands for "absent" in fields where
an empty value is no value (ids, SDPs, types); `None` stands for it where an empty value is a value. Rule 3: requests
that are relayed refuse members that they do not have, so that an adapter may decode them as they are. Rule 4: messages
of text and numbers alone lead to nothing else, so that Python's garbage collector does not look at them (`gc=False`).
Source: `docs/protocol.md`, sections "One model" and "What each request does".
"""

from typing import Any, ClassVar, TypeAlias

from msgspec import Struct


class Capabilities(Struct, frozen=True):
    """Media that a peer can carry; `extensions` is a JSON object of everything else that it wants known."""

    audio: bool = False
    video: bool = False
    data: bool = False
    extensions: dict[str, Any] = {}


NO_CAPABILITIES = Capabilities()


# Requests. `kind` is the protocol's own word for the request, on both protocols.


class Announce(Struct, frozen=True):
    """Register this session as the peer `peer_id` of `room`.

    `resumable` asks for a token by which the peer may be resumed; a `resume_token` asks to resume, and likewise. Then
    `last_seq` is the number of the last event that the application has seen. `notices` asks to be told beforehand,
    `ice_servers` for ICE servers, and for newer ones before these end.
    """

    kind: ClassVar[str] = "announce"
    peer_id: str
    capabilities: Capabilities = NO_CAPABILITIES
    metadata: dict[str, Any] = {}
    room: str = ""
    resumable: bool = False
    resume_token: str = ""
    last_seq: int = 0
    notices: bool = False
    ice_servers: bool = False

    def __repr__(self) -> str:
        return f"Announce(peer_id={self.peer_id!r}, room={self.room!r})"


class Offer(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Relay an SDP offer; `type` is `offer`, or empty for the same."""

    kind: ClassVar[str] = "offer"
    to_peer_id: str
    sdp: str
    type: str = ""


class Answer(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Relay an SDP answer; `type` is `answer` or `pranswer` (RFC 8829), or empty for `answer`.

    `offer_id` says which offer it answers, here and below; empty says nothing.
    """

    kind: ClassVar[str] = "answer"
    to_peer_id: str
    sdp: str
    type: str = ""
    offer_id: str = ""


class IceCandidate(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Relay an ICE candidate; an empty `candidate` says that there are no more (RFC 8838).

    One that is not empty and has neither `sdp_mid` nor `sdp_mline_index` is relayed with an `sdp_mline_index` of 0.
    """

    kind: ClassVar[str] = "ice_candidate"
    to_peer_id: str
    candidate: str = ""
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None
    offer_id: str = ""


class Disconnect(Struct, frozen=True, gc=False):
    """Hang up on `peer_id`, or with `offer_id` on that call alone; with the sender's own id: leave.

    `reason` is text for people; only sessions of the dotted dialect are told.
    """

    kind: ClassVar[str] = "disconnect"
    peer_id: str
    offer_id: str = ""
    reason: str = ""


class OfferForAnswer(Struct, frozen=True, gc=False):
    """Relay an SDP offer to which the SDP answer itself is the reply, where the server does that for `to_peer_id`.

    Every offer of a session of the dotted dialect is one. `wants_reply` is false for a notification, whose answer is
    an event; `can_wait` is false in a batch, whose other responses would have to wait for the answer.
    """

    kind: ClassVar[str] = "offer"
    to_peer_id: str
    sdp: str
    type: str = ""
    wants_reply: bool = True
    can_wait: bool = True


class Control(Struct, frozen=True):
    """Relay `control.NAME` with its params, as they are, between a caller and the peer that answers in results."""

    kind: ClassVar[str] = "control"
    name: str
    params: dict[str, Any]


class ListPeers(Struct, frozen=True, gc=False):
    """List a room; `room=None` is the caller's own, `page_size=0` as much as one page may hold."""

    kind: ClassVar[str] = "list_peers"
    room: str | None = None
    page_size: int = 0
    page_token: str = ""


class HealthCheck(Struct, frozen=True, gc=False):
    """Ask how the server is."""

    kind: ClassVar[str] = "health_check"


class Authenticate(Struct, frozen=True, gc=False):
    """Show a new token, in place of what the session has shown before."""

    kind: ClassVar[str] = "authenticate"
    token: str

    def __repr__(self) -> str:
        return "Authenticate(token=(hidden))"


class GetIceServers(Struct, frozen=True, gc=False):
    """Ask for ICE servers, and for newer ones before these end."""

    kind: ClassVar[str] = "get_ice_servers"


PlainRequest: TypeAlias = (
    Announce
    | Offer
    | Answer
    | IceCandidate
    | Disconnect
    | ListPeers
    | HealthCheck
    | Authenticate
    | GetIceServers
    | OfferForAnswer
    | Control
)
"""A request that says nothing of its sender."""


class Claimed(Struct, frozen=True):
    """A request whose sender says who it is; PERMISSION_DENIED where it is somebody else."""

    from_peer_id: str
    request: PlainRequest

    @property
    def kind(self) -> str:
        """The kind of the request itself."""
        return self.request.kind


Request: TypeAlias = PlainRequest | Claimed


def unsigned(request: Request) -> PlainRequest:
    """Returns the request without what it says of its sender."""
    return request.request if isinstance(request, Claimed) else request


# Replies.

IceServer: TypeAlias = dict[str, Any]
"""An ICE server as `RTCIceServer` of W3C WebRTC has it: `urls`, and for TURN a `username` and a `credential`."""


class Announced(Struct, frozen=True, omit_defaults=True):
    """The session is a peer now; the others are those who were there before it, in the order in which they joined.

    To who asked to be resumable, `resumable` says whether the peer is; then it has a `resume_token` and outlives its
    session for `resume_window_seconds`. To who showed a token, `resumed` says whether the peer is the one of before.
    `ice_servers` are there for who asked and may relay; they end at `ice_servers_expire_unix_ms`, `None`: never.
    """

    peer_id: str
    peers_count: int
    """The number of the others; one more where the operator has it so (`legacy_peers_count`)."""
    other_peers: tuple[str, ...]
    resumable: bool | None = None
    resume_token: str = ""
    resume_window_seconds: float | None = None
    resumed: bool | None = None
    ice_servers: tuple[IceServer, ...] | None = None
    ice_servers_expire_unix_ms: int | None = None

    def __repr__(self) -> str:
        """Returns the text without the resume token."""
        return (
            f"Announced(peer_id={self.peer_id!r}, peers_count={self.peers_count}, other_peers={self.other_peers!r}, "
            f"resumable={self.resumable}, resumed={self.resumed})"
        )


class OfferRelayed(Struct, frozen=True, gc=False):
    """The target is here and its queue took the offer."""

    offer_id: str
    to_peer_id: str


class OfferAnswered(Struct, frozen=True, gc=False):
    """The target has answered the offer: the reply to `OfferForAnswer`; the answer's type is `answer`."""

    sdp: str
    from_peer_id: str
    to_peer_id: str


class ControlRelayed(Struct, frozen=True, gc=False):
    """The target is here and its queue took the message of control."""


class Relayed(Struct, frozen=True, gc=False):
    """The target is here and its queue took the answer or candidate."""

    to_peer_id: str


class Disconnected(Struct, frozen=True, gc=False):
    """The hang-up is done, or the sender has left."""

    peer_id: str


class PeerInfo(Struct, frozen=True):
    """One peer of a room; `connected_at` is when it announced, in whole Unix seconds."""

    peer_id: str
    capabilities: Capabilities
    state: str
    metadata: dict[str, Any]
    connected_at: int


class PeerList(Struct, frozen=True):
    """A page of a room; `count` is the whole room's, `next_page_token` is empty on the last page."""

    peers: tuple[PeerInfo, ...]
    count: int
    next_page_token: str = ""


class Health(Struct, frozen=True):
    """Health of the server: `status` is `healthy`, `degraded` or `unhealthy`."""

    status: str
    uptime_seconds: int
    connected_peers: int
    metrics: dict[str, Any]


class Authenticated(Struct, frozen=True, gc=False):
    """The session acts for `subject` now, which is empty for nobody in particular.

    `expires_at` is the end of its credentials, in whole Unix seconds; `None`: never.
    """

    subject: str
    expires_at: int | None


class IceServers(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={"servers": "ice_servers", "expires_unix_ms": "ice_servers_expire_unix_ms"},
):
    """The ICE servers that a peer may use until `expires_unix_ms` (Unix milliseconds; `None`: for ever)."""

    servers: tuple[IceServer, ...]
    expires_unix_ms: int | None = None

    def __repr__(self) -> str:
        return f"IceServers(servers=({len(self.servers)}, hidden), expires_unix_ms={self.expires_unix_ms})"


Reply: TypeAlias = (
    Announced
    | OfferRelayed
    | OfferAnswered
    | ControlRelayed
    | Relayed
    | Disconnected
    | PeerList
    | Health
    | Authenticated
    | IceServers
)


# Events. Fields that are `None` are absent on every wire, and an `offer_id` that is empty where its sender may omit it.


class PeerJoined(Struct, frozen=True):
    """A peer announced itself in the receiver's room."""

    kind: ClassVar[str] = "peer_joined"
    peer_id: str
    capabilities: Capabilities
    metadata: dict[str, Any]


class PeerLeft(Struct, frozen=True, gc=False, omit_defaults=True):
    """A peer left the receiver's room; nothing of it arrives afterwards. `reason` is told in the dotted dialect."""

    kind: ClassVar[str] = "peer_left"
    peer_id: str
    reason: str = ""


class OfferReceived(Struct, frozen=True, gc=False):
    """`from_peer_id` offers; `offer_id` is never the same twice."""

    kind: ClassVar[str] = "offer"
    from_peer_id: str
    offer_id: str
    sdp: str
    type: str


class AnswerReceived(Struct, frozen=True, gc=False, omit_defaults=True):
    """`from_peer_id` answers; `offer_id` is the offer that it says, here and below, and empty where it says none."""

    kind: ClassVar[str] = "answer"
    from_peer_id: str
    sdp: str
    type: str
    offer_id: str = ""


class IceCandidateReceived(Struct, frozen=True, gc=False, omit_defaults=True):
    """`from_peer_id` found a candidate, or, where `candidate` is empty, has no more."""

    kind: ClassVar[str] = "ice_candidate"
    from_peer_id: str
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None
    offer_id: str = ""


class PeerDisconnected(Struct, frozen=True, gc=False, omit_defaults=True):
    """`peer_id` hung up on the receiver. `reason` is told in the dotted dialect."""

    kind: ClassVar[str] = "peer_disconnected"
    peer_id: str
    offer_id: str = ""
    reason: str = ""


class ControlReceived(Struct, frozen=True):
    """`from_peer_id` sends `control.NAME`; only sessions of the dotted dialect are told."""

    kind: ClassVar[str] = "control"
    name: str
    from_peer_id: str
    params: dict[str, Any]


class ServerNotice(Struct, frozen=True, omit_defaults=True, rename={"notice": "kind"}):
    """The server says what it is about to do, to who asked to be told.

    `notice` is `draining` or `token_expiring`; clients pass on what they do not know. `reconnect_after_ms` is after how
    many milliseconds to come back, `deadline_unix_ms` when it happens (Unix milliseconds); 0 in either says nothing.
    """

    kind: ClassVar[str] = "server_notice"
    notice: str
    message: str
    reconnect_after_ms: int = 0
    deadline_unix_ms: int = 0
    data: dict[str, Any] = {}


class IceServersChanged(Struct, frozen=True, omit_defaults=True):
    """There are newer ICE servers than those that the receiver has, as in `IceServers`, to who asked for any."""

    kind: ClassVar[str] = "ice_servers"
    servers: tuple[IceServer, ...]
    expires_unix_ms: int | None = None

    def __repr__(self) -> str:
        return f"IceServersChanged(servers=({len(self.servers)}, hidden), expires_unix_ms={self.expires_unix_ms})"


RelayedEvent: TypeAlias = OfferReceived | AnswerReceived | IceCandidateReceived | PeerDisconnected | ControlReceived
"""Events by which the hub passes on one peer's request to another."""

Event: TypeAlias = PeerJoined | PeerLeft | ServerNotice | IceServersChanged | RelayedEvent
