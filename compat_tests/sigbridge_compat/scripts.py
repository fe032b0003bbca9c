"""Scripts: any sequence of what a few clients may do, played on any ways in, and the transcript that comes of it.

Rule 1: a script means the same on every way in, so its transcript must be the same on all of them; the bare hub's is
the reference. Rule 2: a step begins when everything that the one before caused has arrived everywhere; only the
requests of one client within one step overlap. Rule 3: every script plays in rooms of its own.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sigbridge import (
    Announce,
    Answer,
    Disconnect,
    Hub,
    IceCandidate,
    ListPeers,
    OfferRelayed,
    PeerLeft,
    Request,
    SignalingError,
)
from sigbridge_compat.recorder import Normaliser, Recorder
from sigbridge_compat.ways import WayIn

CLIENTS = 4


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
class Script:
    """The steps, and the way in of each client."""

    ways: tuple[str, ...]
    steps: tuple[Send | Close, ...]


async def play(
    script: Script, ways: Mapping[str, WayIn], *, hub: Hub | None = None, patience_seconds: float = 20.0
) -> list[list[str]]:
    """Play a script; returns one transcript for each connection, in the order in which they were opened.

    Where the server's `hub` is in this process, a last entry tells how many offers were pending in the end. Raises
    AssertionError where what must arrive does not.
    """
    stage = _Stage(script, ways, patience_seconds)
    try:
        async with asyncio.timeout(3 * patience_seconds):
            for step in script.steps:
                await stage.perform(step)
            await stage.fence()
            state = [stage.pending_offers(hub)] if hub is not None else []
            transcripts = stage.transcripts()
            # Closed with open ears: what a client hands out as events must be what has arrived.
            await asyncio.gather(*(recorder.close() for recorder in stage.everyone))
            return [*transcripts, *state]
    except TimeoutError:
        raise AssertionError("the script has come to a standstill") from None
    finally:
        await asyncio.gather(*(recorder.client.close() for recorder in stage.everyone))


class _Stage:
    """The clients of one run of one script."""

    def __init__(self, script: Script, ways: Mapping[str, WayIn], patience_seconds: float) -> None:
        self._ways = [ways[name] for name in script.ways]
        self._patience_seconds = patience_seconds
        base = f"script-{secrets.token_hex(8)}"
        self._rooms = (base, base + "-other")
        self._present: dict[int, Recorder] = {}
        self._room_of: dict[Recorder, str] = {}
        self.everyone: list[Recorder] = []

    async def perform(self, step: Send | Close) -> None:
        """Do one step, and wait until all that it caused has arrived."""
        if isinstance(step, Close):
            await self._close(step.who)
        else:
            recorder = self._present.get(step.who) or await self._connect(step.who)
            await asyncio.gather(*(self._send(recorder, self._made_real(request)) for request in step.requests))
        await self.fence()

    async def fence(self) -> None:
        """Let every client prove that it has received all."""
        await asyncio.gather(*(recorder.fence() for recorder in self._present.values()))

    def transcripts(self) -> list[list[str]]:
        """What has arrived at each connection so far."""
        normaliser = Normaliser([arrival for recorder in self.everyone for arrival in recorder.arrivals])
        return [normaliser.transcript(recorder.arrivals) for recorder in self.everyone]

    def pending_offers(self, hub: Hub) -> list[str]:
        """The pending offers of the script's rooms."""
        # The public count is of all rooms, in which other tests may just be leaving.
        keys = sorted(hub._offers._pending)  # noqa: SLF001
        return [f"{sender} -> {to} in {self._rooms.index(room)}" for room, sender, to in keys if room in self._rooms]

    async def _connect(self, who: int) -> Recorder:
        client = await self._ways[who].connect()
        recorder = Recorder(client, room=self._rooms[0], patience_seconds=self._patience_seconds)
        self._present[who] = recorder
        self.everyone.append(recorder)
        return recorder

    async def _send(self, recorder: Recorder, request: Request) -> None:
        try:
            await recorder.call(request)
        except SignalingError:
            return  # It has been recorded.
        if isinstance(request, Announce):
            self._room_of[recorder] = request.room

    async def _close(self, who: int) -> None:
        recorder = self._present.pop(who, None)
        if recorder is None:
            return
        peer_id, room = recorder.peer_id, self._room_of.get(recorder)
        await recorder.close()
        if not peer_id:
            return
        # No reply tells when the server has noticed; those who stay hear it.
        for other in self._present.values():
            if other.peer_id and self._room_of[other] == room:
                await other.until(PeerLeft(peer_id))
                other.mark()

    def _made_real(self, request: Request) -> Request:
        """The request with rooms and offers of this run."""
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
