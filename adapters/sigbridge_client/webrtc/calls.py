"""The calls of one client: it listens to the client's events, and hands each to the call that it concerns.

Rule 1: a handed event is taken at once: what takes time is a task of its call. Rule 2: of calls that peers have begun
there are `most_incoming` at a time, those included whose connections are being closed; a further one is hung up on.
Rule 3: all events are passed on to the program, the last ones at least, if it is slow or reads none.
"""

import asyncio
import inspect
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self
from weakref import WeakSet

from aiortc import RTCPeerConnection

from sigbridge import (
    AnswerReceived,
    Disconnect,
    IceCandidateReceived,
    IceServersChanged,
    OfferReceived,
    PeerDisconnected,
    PeerLeft,
    SignalingClient,
)
from sigbridge.client import ClientEvent, SessionLost
from sigbridge_client.webrtc.call import Build, Call, PeerEvent
from sigbridge_client.webrtc.descriptions import BadDescription, Transport, read
from sigbridge_client.webrtc.ends import EndReason
from sigbridge_client.webrtc.ice_servers import IceServerSource
from sigbridge_client.webrtc.negotiation import Limits
from sigbridge_client.webrtc.offer_rates import OfferRates
from sigbridge_client.webrtc.passing import Passing
from sigbridge_client.webrtc.work import Work

logger = logging.getLogger("sigbridge.client")

MAX_REFUSALS: Final = 16
"""The most calls at a time that are being hung up on since there are too many; over it nothing is said."""
MAX_PARTED: Final = 256
"""The most peers of whom it is known which connection was hung up on."""

_listened: "WeakSet[SignalingClient]" = WeakSet()
"""The clients whose events are being read."""


class Calls:
    """The calls of a client. Use it as an async context manager; iterate over it for the calls of peers.

    It reads the client's events, which the program reads from `events`. With a peer there is one call at a time.
    """

    def __init__(
        self,
        client: SignalingClient,
        build: Build,
        *,
        most_incoming: int = 64,
        answer_seconds: float = 60.0,
        connect_seconds: float = 30.0,
    ) -> None:
        """`build` makes the connections of calls. The client announces itself before or after this.

        An offer is answered within `answer_seconds`, and a connection stands `connect_seconds` after its answer.
        """
        self.work = Work(client)
        self.limits = Limits(answer_seconds, connect_seconds)
        self._client = client
        self._build = build
        self._most_incoming = most_incoming
        self._calls: dict[str, Call] = {}
        self._of_peers: set[Call] = set()
        """The calls that peers have begun, up to the end of their connections."""
        self._incoming: deque[Call] = deque()
        """The calls of peers that nobody has taken yet, and that have not ended."""
        self._has_come = asyncio.Event()
        self._telling: dict[str, asyncio.Task[object]] = {}
        """The hang-ups that are under way: a call with the same peer offers after it."""
        self._refusing = 0
        self._parted: OrderedDict[str, Transport] = OrderedDict()
        """The peers' connections of the calls that have ended last."""
        self._ice_servers = IceServerSource(client.get_ice_servers)
        self._offered = OfferRates()
        self._passing = Passing()
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    # For programs.

    def call(self, peer_id: str) -> Call:
        """Returns the call with this peer: the one that stands, or a new one.

        Whatever goes wrong with it is the reason of its end.

        :raises RuntimeError: outside the context.
        """
        if self._listener is None:
            raise RuntimeError("Calls is used as an async context manager")
        standing = self._calls.get(peer_id)
        if standing is not None:
            return standing
        call = self._calls[peer_id] = Call(peer_id, self, after=self._telling.get(peer_id))
        if self._closed:
            call.end(EndReason.CLOSED)
        return call

    def __aiter__(self) -> AsyncIterator[Call]:
        """The calls that peers begin, from the first one on that was not taken yet; those that have ended are left out.

        Ends when the client is closed, or this.
        """
        return self._coming()

    def events(self) -> AsyncIterator[ClientEvent]:
        """The client's events, in order, from the first unread one on; over a bound the oldest are dropped."""
        return self._passing.events()

    @property
    def events_dropped(self) -> int:
        """Number of the events that `events` has not handed out, and will not, since they were not read in time."""
        return self._passing.dropped

    async def close(self) -> None:
        """Hangs up on all, and stops reading events; the client stays open. Harmless when it is closed already."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})
            _listened.discard(self._client)
        self._end_all(EndReason.HUNG_UP)
        await self.work.end()

    async def __aenter__(self) -> Self:
        if self._client in _listened:
            raise RuntimeError("a client has one Calls at a time: it reads all of its events")
        _listened.add(self._client)
        self._listener = asyncio.create_task(self._listen(), name="sigbridge calls")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # For calls.

    @property
    def own_id(self) -> str:
        """The id of this side."""
        return self._client.peer_id

    def is_over(self, call: Call, closing: asyncio.Task[None], parted: Transport | None) -> None:
        """Hears that a call has ended; `closing` closes its connection, which was with the peer's one `parted`."""
        # A description without media has no marks, and is like any other of the kind.
        if parted is not None and parted.fingerprints:
            self._parted[call.peer_id] = parted
            self._parted.move_to_end(call.peer_id)
            if len(self._parted) > MAX_PARTED:
                self._parted.popitem(last=False)
        if self._calls.get(call.peer_id) is call:
            del self._calls[call.peer_id]
        if call.told is not None:
            self._tell_before(call.peer_id, call.told)
        if call in self._of_peers:
            closing.add_done_callback(lambda _: self._of_peers.discard(call))
            if call in self._incoming:
                self._incoming.remove(call)

    def may_offer(self, peer_id: str) -> bool:
        """Counts an offer of a peer that takes a new connection; returns False where it has made too many."""
        return self._offered.allow(peer_id, asyncio.get_running_loop().time())

    async def build(self, call: Call) -> RTCPeerConnection:
        """Makes a connection for a call; raises what the program's function raises."""
        configuration = await self._ice_servers.configuration()
        try:
            made = self._build(configuration, call)
            connection: RTCPeerConnection = await made if inspect.isawaitable(made) else made
            if not hasattr(connection, "createOffer"):
                raise TypeError(f"it has returned {type(connection).__name__}: expected the RTCPeerConnection")
            return connection
        except Exception as error:
            logger.error("the function that builds connections of calls has failed", exc_info=error)
            raise

    # What happens.

    async def _listen(self) -> None:
        """Takes events until the client is closed; what is amiss with one costs no other."""
        try:
            async for event in self._client.events():
                self._passing.take(event)
                try:
                    self._hear(event)
                except Exception:
                    logger.exception("an event of a call was not understood")
        except Exception:
            logger.exception("the events of a client cannot be read")
        self._end_all(EndReason.CLOSED)

    def _hear(self, event: ClientEvent) -> None:
        """Hands an event to what it concerns: a call, the ICE servers, or all calls; others concern none."""
        match event:
            case OfferReceived(from_peer_id=peer_id):
                if peer_id in self._calls:
                    self._calls[peer_id].take(event)
                else:
                    self._take_call(event)
            case AnswerReceived(from_peer_id=peer_id) | IceCandidateReceived(from_peer_id=peer_id):
                self._hand(peer_id, event)
            case PeerDisconnected(peer_id=peer_id) | PeerLeft(peer_id=peer_id):
                self._hand(peer_id, event)
            case IceServersChanged():
                self._ice_servers.take(event)
            case SessionLost():
                self._ice_servers.forget()
                for call in list(self._calls.values()):
                    call.session_lost()

    def _hand(self, peer_id: str, event: PeerEvent) -> None:
        call = self._calls.get(peer_id)
        if call is not None:
            call.take(event)

    def _take_call(self, offer: OfferReceived) -> None:
        """Begins the call of an offer, or hangs up on it: it is of a call that has ended, or there are too many."""
        if self._is_parted(offer):
            self._refuse(offer)
            return
        is_full = len(self._of_peers) >= self._most_incoming
        if is_full or not self.may_offer(offer.from_peer_id):
            logger.info("a call is hung up on: there are too many %s", "at a time" if is_full else "of its peer")
            self._refuse(offer)
            return
        call = Call(offer.from_peer_id, self, offer, after=None)
        self._of_peers.add(call)
        self._calls[offer.from_peer_id] = call
        self._incoming.append(call)
        self._has_come.set()

    def _is_parted(self, offer: OfferReceived) -> bool:
        """Returns whether an offer is for the connection of a call that has ended: it was on its way by then."""
        parted = self._parted.get(offer.from_peer_id)
        if parted is None:
            return False
        try:
            return read(offer.sdp).transport == parted
        except BadDescription:
            return False

    def _refuse(self, offer: OfferReceived) -> None:
        """Hangs up on an offer that is no call, unless `MAX_REFUSALS` are under way."""
        if self._refusing >= MAX_REFUSALS:
            return
        self._refusing += 1
        task = self.work.request(Disconnect(offer.from_peer_id, offer.offer_id))
        task.add_done_callback(self._refused)

    def _refused(self, _: object) -> None:
        self._refusing -= 1

    def _tell_before(self, peer_id: str, told: asyncio.Task[object]) -> None:
        """Lets the next call with a peer offer only after this hang-up."""

        def forget(_: object) -> None:
            if self._telling.get(peer_id) is told:
                del self._telling[peer_id]

        self._telling[peer_id] = told
        told.add_done_callback(forget)

    def _end_all(self, reason: EndReason) -> None:
        """Ends all calls, and lets nobody wait for more of them, nor for events."""
        self._closed = True
        for call in list(self._calls.values()):
            call.end(reason)
        self._passing.end()
        self._has_come.set()

    async def _coming(self) -> AsyncIterator[Call]:
        """Yields the calls of peers as they come, until the end of all."""
        while True:
            while self._incoming:
                yield self._incoming.popleft()
            if self._closed:
                return
            self._has_come.clear()
            await self._has_come.wait()
