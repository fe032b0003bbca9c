"""Scripts: any sequence of what a few clients may do, played on any ways in, and the transcript that comes of it.

Rule 1: a script means the same on every way in, so its transcript must be the same on all of them; the bare hub's is
the reference. Rule 2: a step begins when everything that the one before caused has arrived everywhere; only the
requests of one client within one step overlap. Rule 3: every script plays in rooms of its own. Rule 4: of requests that
a loss interrupts, nobody knows which were carried out before it; they are all repeated by whoever comes back, and what
has arrived in between is not compared.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from sigbridge import (
    Announce,
    Announced,
    Answer,
    Authenticate,
    Disconnect,
    HealthCheck,
    Hub,
    IceCandidate,
    ListPeers,
    Offer,
    OfferRelayed,
    PeerLeft,
    PeerList,
    Request,
    SignalingError,
)
from sigbridge_compat.recorder import Normaliser, Recorder
from sigbridge_compat.ways import WayIn
from sigbridge_net.client_session import ClientSession

CLIENTS = 4
IDS_OF_EACH: Final = 1000
"""The ids of requests that each connection of a script has."""
UNKNOWN_TOKEN: Final = "x" * 36
LOOK_SECONDS: Final = 0.005
"""The seconds between two looks of a witness at a room."""

_Relay: TypeAlias = Offer | Answer | IceCandidate | Disconnect


@dataclass(frozen=True)
class Send:
    """Client `who` sends requests without waiting for replies in between; rooms in them are 0 or 1 as text.

    An `offer_id` of `#N` is that of the Nth offer of the script, counted from the last one; where there is none, it
    stays as it is. A client that is not connected connects first.
    """

    who: int
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Close:
    """Client `who` closes its connection, if it has one."""

    who: int


@dataclass(frozen=True)
class Lose:
    """Client `who` loses its connection, if it has one."""

    who: int


@dataclass(frozen=True)
class ComeBack:
    """Client `who` shows its resume token on a new connection, on the way in of client `by`; it need not be lost.

    It has seen all of its events but the last `unseen`; where that is negative, more than there were. With `proves` it
    shows its API token first, if it has one. One without a resume token shows one that is nobody's.
    """

    who: int
    by: int
    unseen: int = 0
    proves: bool = True


@dataclass(frozen=True)
class Repeat:
    """Client `who` sends the last relay but `back` of its own again, by the same id; `otherwise`, another one by it."""

    who: int
    back: int
    otherwise: bool = False


@dataclass(frozen=True)
class Interrupt:
    """Client `who` sends relays, loses its connection some turns of the event loop later, and comes back with all.

    It comes back on the way in of client `by`. Where it may not be let in again, since it is not resumable or has shown
    an API token, nothing interrupts it.
    """

    who: int
    by: int
    requests: tuple[Request, ...]
    turns: int


Step: TypeAlias = Send | Close | Lose | ComeBack | Repeat | Interrupt


@dataclass(frozen=True)
class Script:
    """The steps, and the way in of each client."""

    ways: tuple[str, ...]
    steps: tuple[Step, ...]


async def play(
    script: Script, ways: Mapping[str, WayIn], *, hub: Hub | None = None, patience_seconds: float = 20.0
) -> list[list[str]]:
    """Plays a script; returns one transcript for each connection, in the order in which they were opened.

    The next one tells who is listed in the end, and, if the server's `hub` is in this process, a last one which offers
    were pending.

    :raises AssertionError: if an arrival that must come does not
    """
    stage = _Stage(script, ways, patience_seconds)
    try:
        async with asyncio.timeout(3 * patience_seconds):
            for step in script.steps:
                await stage.perform(step)
            await stage.fence()
            state = [await stage.listed(), *([stage.pending_offers(hub)] if hub is not None else [])]
            transcripts = stage.transcripts()
            # Closed with open ears: what a client hands out as events must be what has arrived.
            await asyncio.gather(*(recorder.close() for recorder in stage.everyone))
            return [*transcripts, *state]
    except TimeoutError:
        raise AssertionError("the script has come to a standstill") from None
    finally:
        await stage.leave()


@dataclass
class _Past:
    """The memory of a client over its connections."""

    announced: Announced | None = None
    """The response that said last that its peer is resumable."""
    room: str = ""
    recorder: Recorder | None = None
    """The connection that has this peer, or has had it last."""
    api_token: str = ""
    sent: list[tuple[int, _Relay]] = field(default_factory=list)
    """Its relays and hang-ups, with their ids."""

    def is_of(self, recorder: Recorder) -> bool:
        """Returns whether a connection has a resumable peer."""
        return self.recorder is recorder and recorder.peer_id != ""


class _Stage:
    """The clients of one run of one script."""

    def __init__(self, script: Script, ways: Mapping[str, WayIn], patience_seconds: float) -> None:
        self._ways = [ways[name] for name in script.ways]
        self._patience_seconds = patience_seconds
        base = f"script-{secrets.token_hex(8)}"
        self._rooms = (base, base + "-other")
        self._present: dict[int, Recorder] = {}
        self._room_of: dict[Recorder, str] = {}
        self._pasts = [_Past() for _ in script.ways]
        self._witness: ClientSession | None = None
        """A client of whom nothing is compared."""
        self.everyone: list[Recorder] = []

    async def perform(self, step: Step) -> None:
        """Does one step, and waits until all that it caused has arrived."""
        match step:
            case Close(who):
                await self._close(who)
            case Lose(who):
                await self._lose(who)
            case ComeBack():
                await self._come_back(step)
            case Repeat():
                await self._repeat(step)
            case Interrupt(who) if self._may_be_interrupted(who):
                await self._interrupt(step)
            case Interrupt() | Send():
                await self._send_all(step.who, step.requests)
        await self.fence()

    async def fence(self) -> None:
        """Lets every client prove that it has received all."""
        await asyncio.gather(*(recorder.fence() for recorder in self._present.values()))

    def transcripts(self) -> list[list[str]]:
        """Returns what has arrived at each connection so far."""
        normaliser = Normaliser([arrival for recorder in self.everyone for arrival in recorder.arrivals])
        return [normaliser.transcript(recorder.arrivals, recorder.numbers) for recorder in self.everyone]

    async def listed(self) -> list[str]:
        """Returns the peers in the script's rooms."""
        pages = [await self._page(room) for room in self._rooms]
        return [f"{peer.peer_id} is {peer.state} in {room}" for room, page in enumerate(pages) for peer in page.peers]

    async def leave(self) -> None:
        """Closes every connection, whatever has become of it."""
        clients = [recorder.client for recorder in self.everyone]
        await asyncio.gather(*(client.close() for client in [*clients, self._witness] if client is not None))

    def pending_offers(self, hub: Hub) -> list[str]:
        """Returns the pending offers of the script's rooms."""
        # The public count is of all rooms, in which other tests may just be leaving.
        keys = sorted(hub._offers._pending)  # noqa: SLF001
        return [f"{sender} -> {to} in {self._rooms.index(room)}" for room, sender, to in keys if room in self._rooms]

    async def _connect(self, by: int) -> Recorder:
        """Connects a session of no actor yet."""
        recorder = Recorder(
            await self._ways[by].connect(),
            room=self._rooms[0],
            patience_seconds=self._patience_seconds,
            first_id=(len(self.everyone) + 1) * IDS_OF_EACH,
        )
        self.everyone.append(recorder)
        return recorder

    async def _send_all(self, who: int, requests: tuple[Request, ...]) -> None:
        """Sends requests of an actor at once, and waits for all outcomes; connects it first if need be."""
        recorder = self._present.get(who)
        if recorder is None:
            recorder = self._present[who] = await self._connect(who)
        numbers = recorder.take_ids(len(requests))
        sent = [
            self._send(who, recorder, number, self._made_real(request))
            for number, request in zip(numbers, requests, strict=True)
        ]
        await asyncio.gather(*sent)

    async def _send(self, who: int, recorder: Recorder, number: int, request: Request) -> bool:
        """Sends a request, and notes what its client remembers of it; returns whether it was accepted."""
        past = self._pasts[who]
        if isinstance(request, HealthCheck):
            await recorder.call(request)
            return True
        if isinstance(request, _Relay):
            past.sent.append((number, request))
        reply = await recorder.call_as(number, request)
        if isinstance(reply, SignalingError):
            return False
        if isinstance(request, Authenticate):
            past.api_token = request.token
        if isinstance(request, Announce):
            self._room_of[recorder] = request.room
            if reply.resumable:
                past.announced, past.room, past.recorder = reply, request.room, recorder
                recorder.last_seq = max(recorder.last_seq, request.last_seq if reply.resumed else 0)
            elif past.recorder is recorder:
                past.recorder = None
            await self._see_replaced(recorder)
        return True

    async def _see_replaced(self, newcomer: Recorder) -> None:
        """Waits for the end of the connection whose peer, or whose id, a newcomer has now."""
        for who, recorder in list(self._present.items()):
            if recorder is not newcomer and self._peer_of(recorder) == self._peer_of(newcomer):
                await recorder.ended()
                del self._present[who]

    def _peer_of(self, recorder: Recorder) -> tuple[str, str]:
        """Returns the room and id of a connection's peer; no two connections have the same, but those without one."""
        return (self._room_of[recorder], recorder.peer_id) if recorder.peer_id else ("", f"{id(recorder)}")

    async def _close(self, who: int) -> None:
        """Closes an actor's session in order, and waits until the others have heard that its peer left."""
        recorder = self._present.pop(who, None)
        if recorder is None:
            return
        peer_id = recorder.peer_id
        await recorder.close()
        if peer_id:
            await self._hear_left(recorder, peer_id)

    async def _hear_left(self, recorder: Recorder, peer_id: str) -> None:
        """Waits until each actor in the room has heard that a peer left."""
        # No reply tells when the server has noticed; those who stay hear it.
        for other in self._present.values():
            if other.peer_id and self._room_of[other] == self._room_of[recorder]:
                await other.until(PeerLeft(peer_id))
                other.mark()

    # Losses.

    async def _lose(self, who: int) -> None:
        """Cuts an actor's connection, and waits until the server has noticed."""
        recorder = self._present.pop(who, None)
        if recorder is None:
            return
        await recorder.lose()
        peer_id = recorder.peer_id
        if not peer_id:
            return
        while await self._is_available(peer_id, self._room_of[recorder]):  # noqa: ASYNC110 — no reply tells it
            await asyncio.sleep(LOOK_SECONDS)
        if not self._pasts[who].is_of(recorder):
            await self._hear_left(recorder, peer_id)

    async def _is_available(self, peer_id: str, room: str) -> bool:
        return (peer_id, "available") in {(peer.peer_id, peer.state) for peer in (await self._page(room)).peers}

    async def _page(self, room: str) -> PeerList:
        """Returns the peers in a room, as a witness lists them.

        :raises AssertionError: if the reply is no list
        """
        if self._witness is None:
            self._witness = await self._ways[0].connect()
        page = await self._witness.call(ListPeers(room))
        if not isinstance(page, PeerList):
            raise AssertionError(f"the reply to list_peers is {page!r:.200}")
        return page

    async def _come_back(self, step: ComeBack) -> Recorder:
        """Connects an actor again, and announces it with the token of its earlier session."""
        past, before = self._pasts[step.who], self._present.get(step.who)
        if before is not None and not past.is_of(before):
            await self._close(step.who)
            before = None
        recorder = await self._connect(step.by)
        (first, second) = recorder.take_ids(2)
        if step.proves and past.api_token:
            await self._send(step.who, recorder, first, Authenticate(past.api_token))
        request = Announce(f"nobody-{step.who}", room=self._rooms[0], resume_token=UNKNOWN_TOKEN)
        if past.announced is not None and past.recorder is not None:
            last_seq = max(0, past.recorder.last_seq - step.unseen)
            token = past.announced.resume_token
            request = Announce(past.announced.peer_id, room=past.room, resume_token=token, last_seq=last_seq)
        if await self._send(step.who, recorder, second, request) or before is None:
            self._present[step.who] = recorder
        else:
            await recorder.close()
        return recorder

    async def _repeat(self, step: Repeat) -> None:
        """Sends an earlier request again under its number, or another request under that number."""
        sent, recorder = self._pasts[step.who].sent, self._present.get(step.who)
        if recorder is None or step.back >= len(sent):
            return
        number, request = sent[-1 - step.back]
        if step.otherwise:
            request = IceCandidate("b", "otherwise", "0") if isinstance(request, Offer) else Offer("b", "otherwise")
        await recorder.call_as(number, request)

    def _may_be_interrupted(self, who: int) -> bool:
        recorder, past = self._present.get(who), self._pasts[who]
        return recorder is not None and past.is_of(recorder) and not past.api_token

    async def _interrupt(self, step: Interrupt) -> None:
        """Cuts an actor's connection amid requests, lets it come back, and has it send them again.

        :raises AssertionError: if its session was not resumed
        """
        recorder, past = self._present.pop(step.who), self._pasts[step.who]
        # Who leaves does not come back.
        relays = [
            relay
            for relay in map(self._made_real, step.requests)
            if isinstance(relay, _Relay) and not (isinstance(relay, Disconnect) and relay.peer_id == recorder.peer_id)
        ]
        sent = list(zip(recorder.take_ids(len(relays)), relays, strict=True))
        before = len(recorder.arrivals)
        calls = [asyncio.ensure_future(recorder.call_as(number, relay)) for number, relay in sent]
        for _ in range(step.turns):
            await asyncio.sleep(0)
        await recorder.lose()
        await asyncio.gather(*calls, return_exceptions=True)
        recorder.forget_from(before)
        back = await self._come_back(ComeBack(step.who, step.by))
        if not past.is_of(back):
            raise AssertionError("who was interrupted has not come back")
        past.sent += sent
        await asyncio.gather(*(back.call_as(number, relay) for number, relay in sent))

    def _made_real(self, request: Request) -> Request:
        """Returns a request with this run's room and offer ID in place of the script's.

        A script names a room by its number, and an offer by `#` and its place from the last.
        """
        if isinstance(request, Announce | ListPeers) and request.room is not None:
            return msgspec.structs.replace(request, room=self._rooms[int(request.room)])
        if isinstance(request, Answer | IceCandidate | Disconnect) and request.offer_id.startswith("#"):
            arrivals = [arrival for recorder in self.everyone for arrival in recorder.arrivals]
            given = sorted(
                (arrival.offer_id for arrival in arrivals if isinstance(arrival, OfferRelayed)),
                key=lambda offer_id: int(offer_id.rpartition("_")[2]),
            )
            number = int(request.offer_id[1:])
            if number <= len(given):
                return msgspec.structs.replace(request, offer_id=given[-number])
        return request
