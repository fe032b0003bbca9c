"""What peers say to the hub, what it answers, and what it tells them unasked.

Three families: *requests* are imperatives, *replies* answer exactly one request each, *events* are in the past tense
and answer nothing. All are frozen: a message may be shared by any number of sessions.

Rule 1: nothing here knows how a message looks on a wire. Rule 2: the empty string stands for "absent" in fields where
an empty value is no value (ids, SDPs, types); `None` stands for it where an empty value is a value. Rule 3: requests
that are relayed refuse members that they do not have, so that an adapter may decode them as they are.
Source: `docs/protocol.md`, sections "One model" and "What each request does".
"""

from typing import Any, ClassVar, TypeAlias

from msgspec import Struct


class Capabilities(Struct, frozen=True):
    """What media a peer can carry; `extensions` is a JSON object of everything else that it wants known."""

    audio: bool = False
    video: bool = False
    data: bool = False
    extensions: dict[str, Any] = {}


NO_CAPABILITIES = Capabilities()


# Requests. `kind` is the protocol's own word for the request, on both protocols.


class Announce(Struct, frozen=True):
    """Register this session as the peer `peer_id` of `room`."""

    kind: ClassVar[str] = "announce"
    peer_id: str
    capabilities: Capabilities = NO_CAPABILITIES
    metadata: dict[str, Any] = {}
    room: str = ""


class Offer(Struct, frozen=True, forbid_unknown_fields=True):
    """Relay an SDP offer; `type` is `offer`, or empty for the same."""

    kind: ClassVar[str] = "offer"
    to_peer_id: str
    sdp: str
    type: str = ""


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """Relay an SDP answer; `type` is `answer` or `pranswer` (RFC 8829), or empty for `answer`.

    `offer_id` says which offer it answers, here and below; empty says nothing.
    """

    kind: ClassVar[str] = "answer"
    to_peer_id: str
    sdp: str
    type: str = ""
    offer_id: str = ""


class IceCandidate(Struct, frozen=True, forbid_unknown_fields=True):
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


class Disconnect(Struct, frozen=True):
    """Hang up on `peer_id`, or with `offer_id` on that call alone; with the sender's own id: leave."""

    kind: ClassVar[str] = "disconnect"
    peer_id: str
    offer_id: str = ""


class ListPeers(Struct, frozen=True):
    """List a room; `room=None` is the caller's own, `page_size=0` as much as one page may hold."""

    kind: ClassVar[str] = "list_peers"
    room: str | None = None
    page_size: int = 0
    page_token: str = ""


class HealthCheck(Struct, frozen=True):
    """Ask how the server is."""

    kind: ClassVar[str] = "health_check"


class Authenticate(Struct, frozen=True):
    """Show a new token, in place of what the session has shown before."""

    kind: ClassVar[str] = "authenticate"
    token: str

    def __repr__(self) -> str:
        return "Authenticate(token=(hidden))"


Request: TypeAlias = Announce | Offer | Answer | IceCandidate | Disconnect | ListPeers | HealthCheck | Authenticate


# Replies.


class Announced(Struct, frozen=True):
    """The session is a peer now; the others are those who were there before it, in the order in which they joined."""

    peer_id: str
    peers_count: int
    other_peers: tuple[str, ...]


class OfferRelayed(Struct, frozen=True):
    """The target is here and its queue took the offer."""

    offer_id: str
    to_peer_id: str


class Relayed(Struct, frozen=True):
    """The target is here and its queue took the answer or candidate."""

    to_peer_id: str


class Disconnected(Struct, frozen=True):
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
    """How the server is: `status` is `healthy`, `degraded` or `unhealthy`."""

    status: str
    uptime_seconds: int
    connected_peers: int
    metrics: dict[str, Any]


class Authenticated(Struct, frozen=True):
    """The session acts for `subject` now, which is empty for nobody in particular.

    `expires_at` is the end of its credentials, in whole Unix seconds; `None`: never.
    """

    subject: str
    expires_at: int | None


Reply: TypeAlias = Announced | OfferRelayed | Relayed | Disconnected | PeerList | Health | Authenticated


# Events. Fields that are `None` are absent on every wire, and an `offer_id` that is empty where its sender may omit it.


class PeerJoined(Struct, frozen=True):
    """A peer announced itself in the receiver's room."""

    kind: ClassVar[str] = "peer_joined"
    peer_id: str
    capabilities: Capabilities
    metadata: dict[str, Any]


class PeerLeft(Struct, frozen=True):
    """A peer left the receiver's room; nothing of it arrives afterwards."""

    kind: ClassVar[str] = "peer_left"
    peer_id: str


class OfferReceived(Struct, frozen=True):
    """`from_peer_id` offers; `offer_id` is never the same twice."""

    kind: ClassVar[str] = "offer"
    from_peer_id: str
    offer_id: str
    sdp: str
    type: str


class AnswerReceived(Struct, frozen=True, omit_defaults=True):
    """`from_peer_id` answers; `offer_id` is the offer that it says, here and below, and empty where it says none."""

    kind: ClassVar[str] = "answer"
    from_peer_id: str
    sdp: str
    type: str
    offer_id: str = ""


class IceCandidateReceived(Struct, frozen=True, omit_defaults=True):
    """`from_peer_id` found a candidate, or, where `candidate` is empty, has no more."""

    kind: ClassVar[str] = "ice_candidate"
    from_peer_id: str
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None
    offer_id: str = ""


class PeerDisconnected(Struct, frozen=True, omit_defaults=True):
    """`peer_id` hung up on the receiver."""

    kind: ClassVar[str] = "peer_disconnected"
    peer_id: str
    offer_id: str = ""


RelayedEvent: TypeAlias = OfferReceived | AnswerReceived | IceCandidateReceived | PeerDisconnected
"""What one peer says to another."""

Event: TypeAlias = PeerJoined | PeerLeft | RelayedEvent
