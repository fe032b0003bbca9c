"""What a client of either protocol can do: the one interface that both implement.

Rule 1: a scenario written against `SignalingClient` cannot learn which protocol it runs on. Rule 2: replies, events and
errors are the core's own, so that equality of messages is equality of behaviour.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, TypeVar

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
    Disconnect,
    Disconnected,
    Event,
    Health,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
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
        """Send one request as it is and wait for its reply.

        Raises SignalingError where the server refuses it (nothing has changed then), ConnectionClosed where the
        connection ends first (whether it was carried out is then unknown).
        """

    @abstractmethod
    def events(self) -> AsyncIterator[Event]:
        """The events in the order in which they arrive, from the first unread one on; ends when the session does."""

    @abstractmethod
    async def close(self) -> None:
        """Leave and close the connection. Harmless when it is closed already."""

    @property
    @abstractmethod
    def closed(self) -> ConnectionClosed | None:
        """How the connection ended, or `None` while it is open."""

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
    ) -> Announced:
        """Become the peer `peer_id` of `room`."""
        reply = await self.call(Announce(peer_id, capabilities, metadata or {}, room))
        self._peer_id = peer_id
        return _expect(Announced, reply)

    async def offer(self, to_peer_id: str, sdp: str, *, type: str = "") -> OfferRelayed:
        """Relay an SDP offer."""
        return _expect(OfferRelayed, await self.call(Offer(to_peer_id, sdp, type)))

    async def answer(self, to_peer_id: str, sdp: str, *, type: str = "", offer_id: str | None = None) -> Relayed:
        """Relay an SDP answer, or with `type="pranswer"` a provisional one.

        Raises SignalingError (FAILED_PRECONDITION) where the offer is over: its caller has hung up, or offers anew.
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
        """Relay an ICE candidate; an empty one says that there are no more."""
        if offer_id is None:
            offer_id = self._calls.current(to_peer_id)
        request = IceCandidate(to_peer_id, candidate, sdp_mid, sdp_mline_index, username_fragment, offer_id)
        return _expect(Relayed, await self.call(request))

    async def disconnect(self, peer_id: str, *, offer_id: str | None = None) -> Disconnected:
        """Hang up on a peer; with one's own id: leave the room and keep the connection."""
        if offer_id is None:
            offer_id = self._calls.current(peer_id)
        return _expect(Disconnected, await self.call(Disconnect(peer_id, offer_id)))

    async def list_peers(self, *, room: str | None = None, page_size: int = 0, page_token: str = "") -> PeerList:
        """A page of the room's peers in the order in which they joined."""
        return _expect(PeerList, await self.call(ListPeers(room, page_size, page_token)))

    async def authenticate(self, token: str) -> Authenticated:
        """Show a new token, before the present one expires; returns for whom the session acts now, and until when.

        Raises SignalingError: UNAUTHENTICATED where the token is no good, PERMISSION_DENIED where it is another
        subject's. Where it does not allow the peer that this session is, the session ends as `revoked`.
        """
        return _expect(Authenticated, await self.call(Authenticate(token)))

    async def health(self) -> Health:
        """How the server is."""
        return _expect(Health, await self.call(HealthCheck()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _expect(kind: type[R], reply: Reply) -> R:
    if not isinstance(reply, kind):
        raise TypeError(f"the server answered {type(reply).__name__} where {kind.__name__} was due")
    return reply
