"""One connection of a call and its negotiation: an offer, its answer, candidates, and later offers of the peer for it.

The states of a negotiation, and what leads from one to the next:

    BUILDING ──built, ours──► OFFERING ──the server has taken the offer──► OFFERED ──the answer is set──► STABLE
       │                                                                                                 ▲    │
       └──built, the peer has offered──► ANSWERING ──our answer is relayed, and set──────────────────────┘    │
                                           ▲  └──the server says that the offer is over──► OVERTAKEN          │
                                           └──────────────the peer offers anew for this connection────────────┘

    any ──`end`──► OVER

aiortc can take no offer back and restarts no ICE: both take a new connection, and so a new negotiation, which the call
begins. This one says what became of it: relayed, refused, connected, failed.

Rule 1: a description is sent before it is set, since aiortc gathers while it sets it: so no candidate overtakes it, and
the peer works meanwhile. Rule 2: while it is not known what became of our offer (OFFERING), all that the peer says
waits, in order: what it says may name an offer whose id comes with the response. But who is polite takes an offer at
once. Rule 3: a candidate is added in a task of its own: one of a name under `.local` waits for the network. Rule 4:
candidates that come before their description wait for it, `MAX_CANDIDATES` at most; those of other offers are dropped.
Rule 5: who waits for the caller's offer is BUILDING, with a connection that is built, for `wait_seconds` at most.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from sigbridge import (
    Answer,
    Code,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferAnswered,
    OfferReceived,
    OfferRelayed,
    SignalingError,
)
from sigbridge.client import ConnectionClosed
from sigbridge_client.webrtc.descriptions import (
    MAX_CANDIDATE_LENGTH,
    MAX_CANDIDATES,
    BadDescription,
    Candidate,
    Description,
    Transport,
    read,
)
from sigbridge_client.webrtc.work import Steps, Work, ended

logger = logging.getLogger("sigbridge.client")

CANDIDATE_SECONDS: Final = 10.0
"""So long may a candidate take to be added; aiortc gives a name under `.local` a second."""
MAX_OFFERS: Final = 16
"""The latest offers of one connection that are remembered: candidates and hang-ups say one."""
CLOSED_SECONDS: Final = 3.0
"""So long after a connection was closed by the peer's stack may its hang-up come."""


class State(Enum):
    """The states of a negotiation; see the diagram above."""

    BUILDING = "building"
    OFFERING = "offering"
    OFFERED = "offered"
    ANSWERING = "answering"
    OVERTAKEN = "overtaken"
    STABLE = "stable"
    OVER = "over"


@dataclass(frozen=True)
class Limits:
    """The time limits of negotiations, in seconds."""

    answer_seconds: float
    connect_seconds: float


class Whole(Protocol):
    """The call of which a negotiation is the present one; it hears nothing of one that is over."""

    def relayed(self) -> None:
        """The server has taken our offer."""

    def refused(self, refusal: SignalingError) -> None:
        """The server has refused our offer, or our answer."""

    def changed(self) -> None:
        """The connection is connected now, or not any more."""

    def failed(self) -> None:
        """No connection comes about, or the one that was is lost."""

    def broken(self, error: BaseException) -> None:
        """The connection cannot be made, or what the peer has described cannot be set."""

    def unanswered(self) -> None:
        """No answer has come in time."""

    def without_media(self) -> None:
        """An offer of the peer that has no media section was answered."""

    def does_not_fit(self, offer: OfferReceived) -> None:
        """An offer for a connection that stands does not fit it."""


class Negotiation:
    """One connection of a call, and how it comes about."""

    def __init__(  # prose: made in one place, which names each
        self,
        peer_id: str,
        whole: Whole,
        work: Work,
        limits: Limits,
        make: Callable[[], Awaitable[RTCPeerConnection]],
        offer: OfferReceived | None = None,
        after: asyncio.Task[object] | None = None,
        wait_seconds: float = 0.0,
    ) -> None:
        """`offer` is the peer's; without one this side offers, behind the request `after`.

        Before that it waits `wait_seconds` for an offer of the peer.
        """
        self.peer_id = peer_id
        self.state = State.BUILDING
        self.connection: RTCPeerConnection | None = None
        self.offer_id = offer.offer_id if offer is not None else ""
        """The last offer of this connection; empty until the server has taken ours, or has not said its id."""
        self.is_ours = offer is None
        """True where this side has offered, or is about to."""
        self.asked: asyncio.Task[object] | None = None
        """The request by which the offer was made, where this side has made it."""
        self._whole = whole
        self._work = work
        self._limits = limits
        self._make = make
        self._after = after
        self._wait_seconds = wait_seconds
        self._steps = Steps(work)
        self._offer = offer
        self._offers = deque([self.offer_id] if self.offer_id else [], MAX_OFFERS)
        """The ids of the offers of this connection, the latest last."""
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._offered_again = asyncio.Event()
        self._remote: Description | None = None
        self._set_offers: deque[str] = deque(maxlen=MAX_OFFERS)
        """The offers whose remote description is set."""
        self._held: list[IceCandidateReceived] = []
        self._added = 0
        self._timer: asyncio.TimerHandle | None = None
        self._worker = work.spawn(self._run(), "negotiation")

    # What happens to it.

    @property
    def is_connected(self) -> bool:
        """True while the connection stands."""
        return self.connection is not None and self.connection.connectionState == "connected"

    @property
    def remote(self) -> Transport | None:
        """The marks of the peer's connection; `None` until its description is set."""
        return self._remote.transport if self._remote is not None else None

    @property
    def offers(self) -> Sequence[str]:
        """The ids of the latest offers of this connection, as far as they are known."""
        return self._offers

    def has(self, offer_id: str) -> bool:
        """Returns whether a message that says this offer is of this connection, as one that says none is."""
        return not offer_id or not self._offers or offer_id in self._offers

    def goes_on_with(self, offer: OfferReceived) -> bool:
        """Returns whether an offer of the peer is for this connection, by its description."""
        if self.state is State.BUILDING:
            return True
        if self._remote is None or self.state not in (State.ANSWERING, State.STABLE):
            return False
        return read(offer.sdp).transport == self._remote.transport

    def take_offer(self, offer: OfferReceived) -> None:
        """Takes an offer of the peer for this connection, in place of one that it has not got to yet."""
        self._offer = offer
        if self.state is State.BUILDING:
            # Ours was not sent: there is nothing to collide with.
            self._offers.clear()
        self._offers.append(offer.offer_id)
        self.offer_id = offer.offer_id
        self.is_ours = False
        self._offered_again.set()

    def take_answer(self, sdp: str) -> None:
        """Takes the peer's answer to our offer; one at another time is none."""
        if self.state is State.OFFERED and not self._answer.done():
            self._answer.set_result(sdp)

    def take_candidate(self, event: IceCandidateReceived) -> None:
        """Adds a candidate of the peer, or holds it until its description is set."""
        if not self.has(event.offer_id) or len(event.candidate) > MAX_CANDIDATE_LENGTH:
            return
        if self._remote is not None and (not event.offer_id or event.offer_id in self._set_offers):
            self._add(Candidate(event.candidate, event.sdp_mid, event.sdp_mline_index, event.username_fragment))
        elif len(self._held) < MAX_CANDIDATES:
            self._held.append(event)

    def is_built_by(self, task: asyncio.Task[Any] | None) -> bool:
        """Returns whether a task is the one that builds its connection now."""
        return self._steps.is_built_by(task)

    def end(self) -> asyncio.Task[None]:
        """Ends it; returns the task that closes the connection."""
        self.state = State.OVER
        self._stop_timer()
        self._held.clear()
        self._worker.cancel()
        return self._steps.close()

    # The work.

    async def _run(self) -> None:
        """Builds the connection, offers or answers, and answers what is offered later; tells the call of a failure."""
        try:
            connection = self.connection = await self._steps.build(self._make)
            connection.on("connectionstatechange", self._on_state)
            if self._after is not None:
                await asyncio.wait({self._after})
            if self._offer is None and self._wait_seconds:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_seconds):
                        await self._offered_again.wait()
            if self._offer is None:
                await self._make_offer(connection)
            # It may have ended in a step of its own, which its cancellation does not interrupt.
            while self.state is not State.OVER:
                self._offered_again.clear()
                if self._offer is not None:
                    await self._answer_offer(connection, self._offer)
                await self._offered_again.wait()
        except ConnectionClosed:
            # The client tells of it among its events: that its session is lost, or that it is closed.
            logger.debug("a call waits for a session")
        except SignalingError as refusal:
            self._whole.refused(refusal)
        except Exception as error:  # noqa: BLE001 - what a peer's description or a program's function raises is its call's
            self._whole.broken(error)

    async def _make_offer(self, connection: RTCPeerConnection) -> None:
        """Leads from BUILDING to STABLE by an offer of ours, unless the peer has offered before it is sent."""
        made = await self._steps.take(connection.createOffer())
        if self._offer is not None:
            return
        self.state = State.OFFERING
        asked = self._work.request(Offer(self.peer_id, read(made.sdp).sdp, "offer"))
        self.asked = asked
        reply = await ended(asked)
        self.state = State.OFFERED
        if isinstance(reply, OfferRelayed) and reply.offer_id:
            self.offer_id = reply.offer_id
            self._offers.append(reply.offer_id)
        self._limit(self._limits.answer_seconds, self._whole.unanswered)
        if isinstance(reply, OfferAnswered):
            self.take_answer(reply.sdp)
        self._whole.relayed()
        await self._steps.take(connection.setLocalDescription(made))
        self._trickle(connection, self.offer_id)
        sdp = await self._answer
        self._limit(self._limits.connect_seconds, self._whole.failed)
        await self._set_remote(connection, sdp, "answer", self.offer_id)
        self.state = State.STABLE
        self._on_state()

    async def _answer_offer(self, connection: RTCPeerConnection, offer: OfferReceived) -> None:
        """Leads to STABLE by an answer of ours, or to OVERTAKEN; an offer that does not fit is handed back.

        No connection comes of one without media: the call is told.
        """
        self.state = State.ANSWERING
        goes_on = self._remote is not None
        if not goes_on:
            self._limit(self._limits.connect_seconds, self._whole.failed)
        try:
            await self._set_remote(connection, offer.sdp, "offer", offer.offer_id)
            made = await self._steps.take(connection.createAnswer())
        except Exception:
            if not goes_on:
                raise
            self._whole.does_not_fit(offer)
            return
        try:
            await ended(self._work.request(Answer(self.peer_id, read(made.sdp).sdp, "answer", offer.offer_id)))
        except SignalingError as refusal:
            if refusal.code is not Code.FAILED_PRECONDITION:
                raise
            # The peer has hung up, or offers anew: either is on its way.
            self.state = State.OVERTAKEN
            return
        await self._steps.take(connection.setLocalDescription(made))
        self._trickle(connection, offer.offer_id)
        self.state = State.STABLE
        if self._remote is not None and not self._remote.mids:
            self._whole.without_media()
            return
        self._on_state()

    async def _set_remote(self, connection: RTCPeerConnection, sdp: str, kind: str, offer_id: str) -> None:
        """Sets a description of the peer, and adds the candidates in it and those that have waited for it."""
        description = read(sdp)
        if not description.has_dtls:
            # aiortc would raise as well, but with half of it set. What connects an earlier one then fails, unheard.
            raise BadDescription("a description with a media section without a=setup")
        await self._steps.take(connection.setRemoteDescription(RTCSessionDescription(description.sdp, kind)))
        self._remote = description
        self._set_offers.append(offer_id)
        for candidate in description.candidates:
            self._add(candidate)
        if description.has_all_candidates:
            self._add(Candidate(""))
        held, self._held = self._held, []
        for event in held:
            self.take_candidate(event)

    # Candidates.

    def _trickle(self, connection: RTCPeerConnection, offer_id: str) -> None:
        """Sends the candidates that were gathered; the one that says that there are no more goes last."""
        candidates = read(connection.localDescription.sdp).candidates

        async def send() -> None:
            sent = [
                self._work.request(IceCandidate(self.peer_id, *candidate, offer_id=offer_id))
                for candidate in candidates
            ]
            if sent:
                await asyncio.wait(sent)
            if self.state is not State.OVER:
                await ended(self._work.request(IceCandidate(self.peer_id, "", offer_id=offer_id)))

        self._work.spawn(send(), "candidates")

    def _add(self, candidate: Candidate) -> None:
        """Adds a candidate of the peer to the connection, beside all else."""
        connection, remote, fragment = self.connection, self._remote, candidate.username_fragment
        if connection is None or remote is None:
            return
        if fragment and remote.username_fragments and fragment not in remote.username_fragments:
            return
        self._added += 1
        # The last one is always taken.
        if self._added > MAX_CANDIDATES and candidate.candidate:
            return
        self._work.spawn(_add(connection, candidate, remote.mids), "candidate")

    # The connection's state, and time.

    def _on_state(self) -> None:
        """Tells the call of what has become of the connection."""
        if self.state is State.OVER or self.connection is None:
            return
        match self.connection.connectionState:
            case "connected":
                self._stop_timer()
                self._whole.changed()
            case "failed":
                self._whole.failed()
            case "closed":
                # By the peer's stack, or by the program. A hang-up may be on its way.
                self._whole.changed()
                self._limit(CLOSED_SECONDS, self._whole.failed)

    def _limit(self, seconds: float, tell: Callable[[], None]) -> None:
        """Sets the time limit, in place of any before: `tell` is called when it is over."""
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, tell)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _add(connection: RTCPeerConnection, candidate: Candidate, mids: tuple[str, ...]) -> None:
    """Adds a candidate to a connection; one that aiortc cannot read, or not in time, is as good as none."""
    try:
        async with asyncio.timeout(CANDIDATE_SECONDS):
            if not candidate.candidate:
                await connection.addIceCandidate(None)
                return
            parsed = candidate_from_sdp(candidate.candidate.removeprefix("a=").removeprefix("candidate:"))
            parsed.sdpMid, parsed.sdpMLineIndex = _place(candidate, mids)
            await connection.addIceCandidate(parsed)
    except Exception as error:  # noqa: BLE001 - a peer may send anything
        logger.debug("a candidate is of no use: %s", type(error).__name__)


def _place(candidate: Candidate, mids: tuple[str, ...]) -> tuple[str | None, int | None]:
    """Returns the mid and index by which aiortc finds the media of a candidate.

    An empty mid is one of its own where the description has it, and none where it has not. Without either it is the
    first media's.
    """
    mid = candidate.sdp_mid if candidate.sdp_mid in mids else None
    if mid is not None:
        return mid, mids.index(mid)
    index = candidate.sdp_mline_index
    return None, index if index is not None else 0
