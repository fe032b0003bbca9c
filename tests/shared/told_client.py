"""A client of a pretended server that takes everything, and is told what a test says; calls are tried with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiortc import RTCConfiguration

from pretended_connections import Ether
from sigbridge import (
    Answer,
    AnswerReceived,
    Code,
    ConnectionClosed,
    Disconnect,
    Disconnected,
    GetIceServers,
    IceCandidateReceived,
    IceServers,
    Offer,
    OfferReceived,
    OfferRelayed,
    OutcomeUnknown,
    Relayed,
    Reply,
    Request,
    SignalingClient,
    SignalingError,
)
from sigbridge.client import ClientEvent
from sigbridge_client.webrtc import Call, Calls
from skipping_loop import VirtualLoop


class ToldClient(SignalingClient):
    """A client; `says` is what it was asked to send, and the offers that it sends are `mine_1`, `mine_2`, …"""

    def __init__(self) -> None:
        super().__init__()
        self._peer_id = "me"
        self.says: list[Any] = []
        self.refusals: dict[type[Any], list[SignalingError]] = {}
        """The refusals of the next requests of a kind."""
        self.silent: set[type[Any]] = set()
        """The kinds of requests whose replies wait until `speak`."""
        self.servers = IceServers(())
        self._offers = 0
        self._may_speak = asyncio.Event()
        self._told: asyncio.Queue[ClientEvent | None] = asyncio.Queue()
        self._closed: ConnectionClosed | None = None
        self.lost = 0

    @property
    def closed(self) -> ConnectionClosed | None:
        return self._closed

    async def call(self, request: Request) -> Reply:
        lost = self.lost
        self.says.append(request)
        if type(request) in self.silent:
            await self._may_speak.wait()
        if self._closed is not None:
            raise self._closed
        if lost != self.lost:
            raise OutcomeUnknown("lost")
        if self.refusals.get(type(request)):
            raise self.refusals[type(request)].pop(0)
        match request:
            case Offer(to_peer_id=to_peer_id):
                self._offers += 1
                return OfferRelayed(f"mine_{self._offers}", to_peer_id)
            case Disconnect(peer_id=peer_id):
                return Disconnected(peer_id)
            case GetIceServers():
                return self.servers
            case _:
                return Relayed(getattr(request, "to_peer_id", ""))

    def speak(self) -> None:
        """Lets all replies come."""
        self.silent.clear()
        self._may_speak.set()

    def lose(self) -> None:
        """Loses the session: those who wait for replies learn nothing."""
        self.lost += 1
        self.speak()

    def tell(self, *events: ClientEvent) -> None:
        """Tells of events."""
        for event in events:
            self._told.put_nowait(event)

    async def events(self) -> AsyncIterator[ClientEvent]:
        while (event := await self._told.get()) is not None:
            yield event

    async def close(self) -> None:
        self._closed = self._closed or ConnectionClosed("client_left")
        self._may_speak.set()
        self._told.put_nowait(None)


class Tried:
    """Calls that are tried: their client, their connections, and what time it is."""

    def __init__(self, **limits: Any) -> None:
        self.client = ToldClient()
        self.ether = Ether()
        self.build: Any = self.ether.build
        self.calls = Calls(self.client, self._made_by, **limits)

    def _made_by(self, configuration: RTCConfiguration, call: Call) -> Any:
        return self.build(configuration, call)

    async def settle(self) -> None:
        """Lets everything happen that waits for no more than a second to pass."""
        await asyncio.sleep(1)

    async def tell(self, *events: ClientEvent) -> None:
        """Tells of events, and lets happen what follows."""
        self.client.tell(*events)
        await self.settle()

    def said(self, kind: type[Any]) -> list[Any]:
        """Returns the requests of a kind."""
        return [request for request in self.client.says if isinstance(request, kind)]

    @property
    def answers(self) -> list[str]:
        """The offers that were answered."""
        return [request.offer_id for request in self.said(Answer)]

    @property
    def hang_ups(self) -> list[tuple[str, str]]:
        """The peers that were hung up on, and the offers that this said."""
        return [(request.peer_id, request.offer_id) for request in self.said(Disconnect)]


def sdp(number: int, answers: int | None = None, fragment: str = "", more: str = "") -> str:
    """Returns a description of a peer's connection of this number."""
    answering = "" if answers is None else f"a=answers:{answers}\r\n"
    return (
        f"v=0\r\no=- {number} 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 {number}\r\n{answering}"
        f"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=setup:actpass\r\na=ice-ufrag:{fragment or f'u{number}'}\r\n{more}"
    )


def offer(offer_id: str, number: int = 1000, peer_id: str = "zoe", **how: Any) -> OfferReceived:
    return OfferReceived(peer_id, offer_id, sdp(number, **how), "offer")


def answer(
    offer_id: str, number: int = 1000, answers: int = 1, peer_id: str = "zoe", kind: str = "answer"
) -> AnswerReceived:
    return AnswerReceived(peer_id, sdp(number, answers), kind, offer_id)


def candidate(
    offer_id: str = "", text: str = "candidate:1 1 udp 1 127.0.0.1 9 typ host", peer_id: str = "zoe", **where: Any
) -> IceCandidateReceived:
    return IceCandidateReceived(peer_id, text, offer_id=offer_id, **where)


def refusal(code: Code) -> SignalingError:
    return SignalingError(code, "no")


def play(program: Callable[[Tried], Awaitable[None]], **limits: Any) -> None:
    """Runs a program with calls, and sees that nothing is left behind, and that no connection was used wrongly."""

    async def run() -> None:
        unheard: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
        tried = Tried(**limits)
        async with tried.calls:
            await program(tried)
        assert tried.ether.open == []
        assert tried.ether.faults == []
        assert unheard == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
