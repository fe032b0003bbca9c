"""Interface of clients, which those of both protocols implement.

Rule 1: a scenario written against `SignalingClient` cannot learn which protocol it runs on. Rule 2: replies, events and
errors are the core's own, so that equality of messages is equality of behaviour.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

from msgspec import Struct

from sigbridge import errors
from sigbridge.calls import Calls
from sigbridge.errors import SigbridgeError
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announce,
    Announced,
    Answer,
    Authenticate,
    Authenticated,
    Capabilities,
    Claimed,
    Control,
    Disconnect,
    Disconnected,
    Event,
    GetIceServers,
    Health,
    HealthCheck,
    IceCandidate,
    IceServers,
    ListPeers,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferRelayed,
    PeerList,
    Relayed,
    Reply,
    Request,
)

R = TypeVar("R")


class ConnectionClosed(SigbridgeError):
    """The connection has ended, or was refused: `reason` is the server's word for it where it said one.

    `reconnect` is its advice whether to come back, and `retry_after_ms` after how long, each `None` where it gave none.
    """

    def __init__(self, reason: str, reconnect: bool | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(f"connection closed: {reason}")
        self.reason = reason
        self.reconnect = reconnect
        self.retry_after_ms = retry_after_ms


class OutcomeUnknown(ConnectionClosed):
    """The peer that has sent a request is lost, and nobody knows whether the request was carried out."""


class Reconnecting(Struct, frozen=True):
    """The connection has ended, for `reason`; the client tries again, for the first time in `wait_seconds`."""

    kind: ClassVar[str] = "reconnecting"
    reason: str
    wait_seconds: float


class Resumed(Struct, frozen=True):
    """A connection stands again: nothing was lost, and nobody has noticed. What came meanwhile follows."""

    kind: ClassVar[str] = "resumed"


class SessionLost(Struct, frozen=True):
    """A connection stands again, and the peer of before is gone: its offers are over, and others were told it left.

    It was announced anew, unless it had asked to leave. Of what it had asked the outcome is unknown, and what it had
    not read yet is gone. `other_peers` are those of its room now, of whom events follow.
    """

    kind: ClassVar[str] = "session_lost"
    peer_id: str
    other_peers: tuple[str, ...]


ConnectionEvent: TypeAlias = Reconnecting | Resumed | SessionLost
"""An event by which a client that reconnects tells of its connection."""
ClientEvent: TypeAlias = Event | ConnectionEvent
"""An event that a program is told."""


def common_request(request: Request) -> Request:
    """Returns the request as gRPC and every dialect have it.

    :raises SignalingError: if only the dotted dialect does.
    """
    if isinstance(request, OfferForAnswer):
        return Offer(request.to_peer_id, request.sdp, request.type)
    if isinstance(request, Control | Claimed):
        raise errors.invalid_params("request", "is one of the dotted dialect")
    return request


class SignalingClient(ABC):
    """One session with a signaling server. Use it as an async context manager; requests may overlap.

    Answers, candidates and hang-ups say by themselves which offer they belong to: an answer the last offer of that peer
    which `events` has handed out, the others the one offer that there is between the two. A program that works on
    several offers of one peer at a time says it itself, with `offer_id`; an empty one says nothing. An answer to an
    offer that is not out is not handed out. Source: `docs/protocol.md`, "Which offer a message belongs to".
    """

    def __init__(self) -> None:
        self._peer_id = ""
        self._calls = Calls()

    # What a protocol implements.

    @abstractmethod
    async def call(self, request: Request) -> Reply:
        """Sends one request as it is and waits for its reply; the other methods raise what this one does.

        :raises SignalingError: if the server refuses it; nothing has changed then.
        :raises ConnectionClosed: if the connection ends first; whether the request was carried out is then unknown.
        """

    @abstractmethod
    def events(self) -> AsyncIterator[ClientEvent]:
        """Returns the events in the order in which they arrive, from the first unread one on; ends with the session.

        A client that reconnects says so among them, and ends them when it is closed for good.
        """

    @abstractmethod
    async def close(self) -> None:
        """Leaves and closes the connection. Harmless when it is closed already."""

    @property
    @abstractmethod
    def closed(self) -> ConnectionClosed | None:
        """The end of the connection, with its reason and advice, or `None` while it is open."""

    # What follows from it.

    @property
    def peer_id(self) -> str:
        """The id of the last successful announce, or empty."""
        return self._peer_id

    async def announce(
        self,
        peer_id: str,
        *,
        capabilities: Capabilities = NO_CAPABILITIES,
        metadata: dict[str, Any] | None = None,
        room: str = "",
        ice_servers: bool = False,
    ) -> Announced:
        """Becomes the peer `peer_id` of `room`; returns the peers that are there.

        With `ice_servers` the reply has these, and events bring newer ones.

        :raises SignalingError: ALREADY_EXISTS if the session is a peer, or the id is taken; PERMISSION_DENIED if these
            credentials may not have it; RESOURCE_EXHAUSTED if the room is full.
        :raises ConnectionClosed: if the connection ends first.
        """
        reply = await self.call(Announce(peer_id, capabilities, metadata or {}, room, ice_servers=ice_servers))
        self._peer_id = peer_id
        return _expect(Announced, reply)

    async def offer(self, to_peer_id: str, sdp: str, *, type: str = "") -> OfferRelayed | OfferAnswered:
        """Relays an SDP offer.

        Returns OfferRelayed as soon as the target's queue has it; its answer is an event. In the dotted dialect it
        returns OfferAnswered instead, with the answer, if the server waits for that, as ours does for peers that are
        not resumable: other requests may be sent meanwhile, and have their replies before.

        :raises SignalingError: NOT_FOUND if there is no such peer; UNAVAILABLE if its queue is full; DEADLINE_EXCEEDED
            if no answer comes in time, and one that comes later is an event.
        :raises ConnectionClosed: if the connection ends first.
        """
        reply = await self.call(Offer(to_peer_id, sdp, type))
        return reply if isinstance(reply, OfferAnswered) else _expect(OfferRelayed, reply)

    async def answer(self, to_peer_id: str, sdp: str, *, type: str = "", offer_id: str | None = None) -> Relayed:
        """Relays an SDP answer, or with `type="pranswer"` a provisional one.

        :raises SignalingError: FAILED_PRECONDITION if the offer is over: its caller has hung up, or offers anew;
            NOT_FOUND and UNAVAILABLE as `offer`.
        :raises ConnectionClosed: if the connection ends first.
        """
        if offer_id is None:
            offer_id = self._calls.answering(to_peer_id)
        return _expect(Relayed, await self.call(Answer(to_peer_id, sdp, type, offer_id)))

    async def ice_candidate(
        self,
        to_peer_id: str,
        candidate: str,
        *,
        sdp_mid: str | None = None,
        sdp_mline_index: int | None = None,
        username_fragment: str | None = None,
        offer_id: str | None = None,
    ) -> Relayed:
        """Relays an ICE candidate; an empty one says that there are no more.

        :raises SignalingError: NOT_FOUND if there is no such peer; UNAVAILABLE if its queue is full.
        :raises ConnectionClosed: if the connection ends first.
        """
        if offer_id is None:
            offer_id = self._calls.current(to_peer_id)
        request = IceCandidate(to_peer_id, candidate, sdp_mid, sdp_mline_index, username_fragment, offer_id)
        return _expect(Relayed, await self.call(request))

    async def disconnect(self, peer_id: str, *, offer_id: str | None = None, reason: str = "") -> Disconnected:
        """Hangs up on a peer; with one's own id: leaves the room and keeps the connection.

        `reason` is text for people, which only the dotted dialect has: it is left out elsewhere.

        :raises SignalingError: FAILED_PRECONDITION if this session is not announced.
        :raises ConnectionClosed: if the connection ends first.
        """
        if offer_id is None:
            offer_id = self._calls.current(peer_id)
        return _expect(Disconnected, await self.call(Disconnect(peer_id, offer_id, reason)))

    async def list_peers(self, *, room: str | None = None, page_size: int = 0, page_token: str = "") -> PeerList:
        """Returns a page of the room's peers in the order in which they joined; `room=None` is the session's own.

        :raises SignalingError: PERMISSION_DENIED if this session may not list that room.
        :raises ConnectionClosed: if the connection ends first.
        """
        return _expect(PeerList, await self.call(ListPeers(room, page_size, page_token)))

    async def authenticate(self, token: str) -> Authenticated:
        """Shows a new token, before the present one expires; returns for whom the session acts now, and until when.

        If the token does not allow the peer that this session is, the session ends as `revoked`.

        :raises SignalingError: UNAUTHENTICATED if the token is invalid; PERMISSION_DENIED if it is another subject's.
        :raises ConnectionClosed: if the connection ends first.
        """
        return _expect(Authenticated, await self.call(Authenticate(token)))

    async def get_ice_servers(self) -> IceServers:
        """Returns the ICE servers that this peer may use now; `IceServersChanged` events bring newer ones from then on.

        :raises SignalingError: PERMISSION_DENIED without the right `relay`; UNIMPLEMENTED or INVALID_ARGUMENT if the
            server knows no such request.
        :raises ConnectionClosed: if the connection ends first.
        """
        return _expect(IceServers, await self.call(GetIceServers()))

    async def health(self) -> Health:
        """Returns the server's health.

        :raises SignalingError: if the request is refused.
        :raises ConnectionClosed: if the connection ends first.
        """
        return _expect(Health, await self.call(HealthCheck()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _expect(kind: type[R], reply: Reply) -> R:
    if not isinstance(reply, kind):
        raise TypeError(f"the server replied {type(reply).__name__} where {kind.__name__} was due")
    return reply
