"""One call with one peer: the connections that it has had, one after the other, and its end.

Two that call each other at once have one call: the *polite* one, whose id is smaller by its UTF-8 bytes, gives its own
offer up and answers the other's; the other one ignores the polite one's. Each offer of the call belongs to a
connection, and what becomes of them leads to the next:

    what happens                               the call
    ------------------------------------------------------------------------------------------------------------------
    the peer offers, we have not yet           answers, by the connection that is being made
    the peer offers, our offer is out          polite: a new connection answers; impolite: nothing
    the peer offers, for the same connection   answers, by that connection
    the peer offers otherwise                  a new connection answers: the peer has made one, or restarts ICE
    our offer is refused                       takes an offer that has come meanwhile, or ends
    a connection fails, or is closed           a new connection offers, `MAX_RESTARTS` times; connected: from 0 again;
                                               who was called waits `CALLER_SECONDS` for the caller's offer before
    the peer offers without media              answers, and goes on as where a connection has failed
    the session is lost, and it is connected   goes on
    the session is lost, and it is not         a new connection offers
    the peer hangs up on an offer of it        ends
    a description cannot be set                ends

Rule 1: who ends a call while an offer of its own is out, which the peer may not have seen, takes that back by a hang-up
of its id. Rule 2: the offers of a peer cause a bounded number of new connections a minute (`OfferRates`); over it
its call ends. Rule 3: where a connection has failed, the caller offers again, since many programs create channels and
tracks only where they call. Rule 4: who has lost its session has left for the peer: from then on it is the caller.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from aiortc import RTCConfiguration, RTCPeerConnection

from sigbridge import (
    AnswerReceived,
    Code,
    Disconnect,
    IceCandidateReceived,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    SigbridgeError,
    SignalingError,
)
from sigbridge_client.webrtc.descriptions import MAX_CANDIDATES, BadDescription, Transport
from sigbridge_client.webrtc.ends import CallState, EndReason
from sigbridge_client.webrtc.negotiation import Limits, Negotiation, State
from sigbridge_client.webrtc.work import Work, ended

logger = logging.getLogger("sigbridge.client")

MAX_RESTARTS: Final = 3
"""The most new connections after a failure, until one connects."""
CALLER_SECONDS: Final = 5.0
"""Time that who was called waits for the caller's offer where a connection has failed."""
MAX_PAST: Final = 16
"""The offers of before that a call remembers: a hang-up may say one."""
MAX_WAITING: Final = 2 * MAX_CANDIDATES
"""The most events of the peer that wait for the server's response to our offer."""

PeerEvent: TypeAlias = OfferReceived | AnswerReceived | IceCandidateReceived | PeerDisconnected | PeerLeft
"""An event that a peer has caused, and that its call hears."""


Build: TypeAlias = "Callable[[RTCConfiguration, Call], RTCPeerConnection | Awaitable[RTCPeerConnection]]"
"""Makes a connection of a call, adds to it what the call is for, and returns it."""


class CallEnded(SigbridgeError):
    """The call is over, for a reason of `EndReason`."""

    def __init__(self, peer_id: str, reason: EndReason) -> None:
        super().__init__(f"the call with {peer_id} has ended: {reason}")
        self.peer_id = peer_id
        self.reason = reason


class Host(Protocol):
    """The calls of a client, as one of them sees them."""

    work: Work
    limits: Limits

    @property
    def own_id(self) -> str:
        """The id of this side."""

    def is_over(self, call: "Call", closing: asyncio.Task[None], parted: Transport | None) -> None:
        """Hears that a call has ended; `closing` closes its connection, which was with the peer's one `parted`."""

    def may_offer(self, peer_id: str) -> bool:
        """Counts an offer of a peer that takes a new connection; returns False where it has made too many."""

    async def build(self, call: "Call") -> RTCPeerConnection:
        """Makes a connection for a call."""


def is_polite(own_id: str, peer_id: str) -> bool:
    """Returns whether a peer gives its offer up where two collide: where its id is smaller, by UTF-8 bytes."""
    return own_id.encode("utf-8", "surrogatepass") < peer_id.encode("utf-8", "surrogatepass")


class Call:
    """A call with the peer `peer_id`; its host makes it."""

    def __init__(
        self,
        peer_id: str,
        host: Host,
        offer: OfferReceived | None = None,
        after: asyncio.Task[object] | None = None,
    ) -> None:
        """`offer` is the peer's, where it has called; where not, this side calls, behind the request `after`."""
        self.peer_id = peer_id
        self.is_incoming = offer is not None
        """True where the peer has called, and this side's session was not lost since."""
        self.error: BaseException | None = None
        """The exception that has ended it: one of the program's function, a refusal, or of a description."""
        self._host = host
        self._state = CallState.CONNECTING
        self._reason: EndReason | None = None
        self._moved = asyncio.Event()
        """Set, and replaced, at each change of the state."""
        self._restarts = 0
        self._past: deque[str] = deque(maxlen=MAX_PAST)
        """The offers of its connections of before."""
        self._given_up: asyncio.Task[object] | None = None
        """The request of the last offer that was given up for the peer's."""
        self._waiting: deque[PeerEvent] = deque(maxlen=MAX_WAITING)
        self.told: asyncio.Task[object] | None = None
        """The task by which the peer is told of the end; `None` before, and where there is nothing to tell."""
        self._said: asyncio.Task[None]
        """Set at the end: the hang-ups."""
        self._farewell: asyncio.Task[None]
        """Set at the end: the hang-ups, and the close of the connection."""
        self._negotiation = self._new_negotiation(offer, after)

    # For programs.

    @property
    def state(self) -> CallState:
        """The call's state."""
        return self._state

    @property
    def connection(self) -> RTCPeerConnection | None:
        """The present connection; `None` before the first is built, and while another one is."""
        return self._negotiation.connection

    async def connected(self) -> None:
        """Waits until the two are connected.

        :raises CallEnded: if the call ends before.
        """
        while self._state is CallState.CONNECTING:
            await self._moved.wait()
        if self._reason is not None:
            raise CallEnded(self.peer_id, self._reason) from self.error

    async def ended(self) -> EndReason:
        """Waits for the end; returns its reason."""
        while self._reason is None:
            await self._moved.wait()
        return self._reason

    def hang_up(self) -> Awaitable[None]:
        """Ends the call, and tells the peer. Who awaits the result waits until that is done, and the connection closed.

        The connection is closed in any case. Harmless where the call has ended. The function that builds connections
        waits for the former alone: what it builds is closed behind it.
        """
        self.end(EndReason.HUNG_UP)
        is_building = self._negotiation.is_built_by(asyncio.current_task())
        return asyncio.shield(self._said if is_building else self._farewell)

    # For its host.

    def take(self, event: PeerEvent) -> None:
        """Takes what the peer has caused."""
        if self._negotiation.state is not State.OFFERING:
            self._hear(event)
        elif isinstance(event, OfferReceived) and self._is_polite:
            self._waiting.clear()
            self._take_offer(event)
        else:
            self._waiting.append(event)

    def session_lost(self) -> None:
        """Makes what was under way anew: the offers of before are over, and others were told that this peer left."""
        self._waiting.clear()
        self.is_incoming = False
        negotiation = self._negotiation
        goes_on = negotiation.state is State.STABLE and negotiation.is_connected
        if not goes_on and not self._is_unsaid:
            self._negotiate(None)

    def end(self, reason: EndReason, error: BaseException | None = None) -> None:
        """Ends the call. Harmless where it has ended."""
        if self._reason is not None:
            return
        self._reason = reason
        self.error = error
        self._move(CallState.ENDED)
        logger.debug("a call has ended: %s", reason)
        self._waiting.clear()
        negotiation = self._negotiation
        work = self._host.work
        telling: list[asyncio.Task[object]] = []
        if reason in (EndReason.HUNG_UP, EndReason.PEER_HUNG_UP, EndReason.FAILED, EndReason.REFUSED):
            if negotiation.is_ours and negotiation.asked is not None:
                telling.append(work.spawn(self._take_back(negotiation.asked), "hang-up"))
            elif (last := self._last_offer) and reason is not EndReason.PEER_HUNG_UP:
                telling.append(work.spawn(self._say_hang_up(last), "hang-up"))
            if self._given_up is not None:
                telling.append(work.spawn(self._take_back(self._given_up), "hang-up"))
        closing = negotiation.end()
        self._said = work.spawn(_wait_for_all(telling), "hang-ups")
        if telling:
            self.told = self._said
        self._farewell = work.spawn(_wait_for_all([closing, self._said]), "farewell")
        self._host.is_over(self, closing, negotiation.remote)

    # For its negotiation.

    def relayed(self) -> None:
        """Hears what has waited for the server's response to our offer."""
        waiting, self._waiting = self._waiting, deque(maxlen=MAX_WAITING)
        for event in waiting:
            if self._reason is not None:
                return
            if isinstance(event, PeerLeft):
                # The peer of before the offer, or the one that has it: who offers again, learns it.
                self._negotiate(None)
            else:
                self.take(event)

    def refused(self, refusal: SignalingError) -> None:
        """Takes an offer of the peer that has come meanwhile, or ends."""
        waiting, self._waiting = self._waiting, deque(maxlen=MAX_WAITING)
        is_ours = self._negotiation.is_ours
        took = False
        for event in waiting:
            if self._reason is not None:
                return
            if took:
                self.take(event)
            elif isinstance(event, OfferReceived):
                took = True
                self._negotiate(event)
        if took:
            return
        if refusal.code is not Code.NOT_FOUND:
            self.end(EndReason.REFUSED, refusal)
        else:
            self.end(EndReason.PEER_NOT_FOUND if is_ours else EndReason.PEER_LEFT, refusal)

    def changed(self) -> None:
        """Notes whether the two are connected."""
        if self._negotiation.is_connected:
            self._restarts = 0
            self._move(CallState.CONNECTED)
        else:
            self._move(CallState.CONNECTING)

    def failed(self) -> None:
        """Goes on with a new connection, or ends."""
        if self._restarts >= MAX_RESTARTS or self._negotiation.state is State.OVERTAKEN:
            self.end(EndReason.FAILED)
            return
        self._restarts += 1
        self._negotiate(None, CALLER_SECONDS if self.is_incoming else 0.0)

    def broken(self, error: BaseException) -> None:
        """Ends the call, by the program's function or by the peer's description."""
        logger.debug("a call is broken: %s", type(error).__name__)
        self.end(EndReason.FAILED, error)

    def unanswered(self) -> None:
        """Ends the call."""
        self.end(EndReason.FAILED)

    def without_media(self) -> None:
        """Goes on as where a connection has failed: the peer has nothing to offer, and this side may have."""
        if self._host.may_offer(self.peer_id):
            self.failed()
        else:
            self.end(EndReason.FAILED)

    def does_not_fit(self, offer: OfferReceived) -> None:
        """Answers by a new connection."""
        self._negotiate(offer)

    # What the peer says.

    @property
    def _is_polite(self) -> bool:
        return is_polite(self._host.own_id, self.peer_id)

    @property
    def _is_unsaid(self) -> bool:
        """True while the present connection is for an offer of this side that was not sent yet."""
        return self._negotiation.is_ours and self._negotiation.state is State.BUILDING

    @property
    def _is_unheard_of(self) -> bool:
        """True while the peer can know nothing of this call."""
        return self._is_unsaid and not self._past

    @property
    def _last_offer(self) -> str:
        """The last offer that the peer knows of; empty where there is none, or its id is not known."""
        if self._is_unsaid and self._past:
            return self._past[-1]
        return self._negotiation.offer_id

    def _hear(self, event: PeerEvent) -> None:
        """Does what an event of the peer asks for, by the table above; whatever is of another offer is ignored."""
        match event:
            case OfferReceived():
                self._take_offer(event)
            case AnswerReceived(sdp=sdp, type=kind, offer_id=offer_id):
                # aiortc takes no provisional answer; the one that counts follows.
                if kind != "pranswer" and self._negotiation.has(offer_id):
                    self._negotiation.take_answer(sdp)
            case IceCandidateReceived():
                self._negotiation.take_candidate(event)
            case PeerDisconnected(offer_id=offer_id):
                if self._is_of_this(offer_id):
                    self.end(EndReason.PEER_HUNG_UP)
            case PeerLeft():
                # A call that nobody has heard of learns by its offer who is there.
                if not self._is_unheard_of:
                    self.end(EndReason.PEER_LEFT)

    def _take_offer(self, offer: OfferReceived) -> None:
        """Hands an offer to the present connection or to a new one, or ignores it where ours counts."""
        negotiation = self._negotiation
        try:
            goes_on = negotiation.goes_on_with(offer)
        except BadDescription as error:
            self.end(EndReason.FAILED, error)
            return
        if goes_on:
            negotiation.take_offer(offer)
            return
        if negotiation.is_ours and negotiation.state in (State.OFFERING, State.OFFERED):
            if not self._is_polite:
                logger.debug("an offer that collides with ours is ignored")
                return
            self._given_up = negotiation.asked
        self._negotiate(offer)

    def _is_of_this(self, offer_id: str) -> bool:
        """Returns whether a hang-up that says this offer is meant for this call."""
        negotiation = self._negotiation
        if not offer_id:
            return not self._is_unheard_of
        if negotiation.is_ours and offer_id in self._past:
            # The peer had not seen yet that we have offered anew.
            return True
        return not self._is_unsaid and negotiation.has(offer_id)

    # Connections.

    def _new_negotiation(
        self, offer: OfferReceived | None, after: asyncio.Task[object] | None = None, wait_seconds: float = 0.0
    ) -> Negotiation:
        host = self._host
        return Negotiation(
            self.peer_id,
            self,
            host.work,
            host.limits,
            lambda: host.build(self),
            offer=offer,
            after=after,
            wait_seconds=wait_seconds,
        )

    def _negotiate(self, offer: OfferReceived | None, wait_seconds: float = 0.0) -> None:
        """Begins a new connection, and closes the present one.

        It answers this offer; without one it waits so long for one of the peer, and then offers itself.
        """
        if offer is not None and not self._host.may_offer(self.peer_id):
            self.end(EndReason.FAILED)
            return
        before = self._negotiation
        self._past.extend(before.offers)
        before.end()
        self._negotiation = self._new_negotiation(offer, wait_seconds=wait_seconds)
        self._move(CallState.CONNECTING)

    def _move(self, state: CallState) -> None:
        """Changes the state, and wakes who waits for that."""
        if state is self._state:
            return
        self._state = state
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    # Hang-ups.

    async def _take_back(self, asked: asyncio.Task[object]) -> None:
        """Hangs up on our offer, once its id is known."""
        await asyncio.wait({asked})
        if asked.cancelled() or asked.exception() is not None:
            return
        reply = asked.result()
        await self._say_hang_up(reply.offer_id if isinstance(reply, OfferRelayed) else "")

    async def _say_hang_up(self, offer_id: str) -> None:
        """Hangs up on an offer; a refusal is only logged."""
        try:
            await ended(self._host.work.request(Disconnect(self.peer_id, offer_id)))
        except SigbridgeError as error:
            logger.debug("a hang-up was not told: %s", type(error).__name__)


async def _wait_for_all(tasks: "list[asyncio.Task[None]] | list[asyncio.Task[object]]") -> None:
    if tasks:
        await asyncio.wait(tasks)
