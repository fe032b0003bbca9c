"""Clients in TypeScript, driven by lines: for a test each is a `ClientSession` like any other.

What arrives at its session is shown in the order in which it does; replies and events are what its program is given.
Rule: the outcome of a request is the promise's, and its events are the iterator's. An outcome that differs from what
arrived, or a message that is none of the core's, ends the client, and says so. `clients/typescript/driver/core.ts` has
the lines.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from driven_messages import closed_of, event_of, params_of, refusal_of, reply_of
from sigbridge import ConnectionClosed, Reply, Request, SignalingError
from sigbridge.client import ClientEvent
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
    GetIceServers,
    Health,
    HealthCheck,
    IceCandidate,
    IceServers,
    ListPeers,
    Offer,
    OfferRelayed,
    PeerList,
    Relayed,
)
from sigbridge_compat.comparing import written
from sigbridge_net.client_session import ClientSession
from waiting import TIME_LIMIT_SECONDS


class Driver:
    """A program that plays clients."""

    def __init__(self, write: Callable[[list[str]], None]) -> None:
        """`write` sends it lines, which it takes in one turn: what a program does at once is done at once there, too."""
        self._write = write
        self._unsent: list[str] = []
        self._clients: dict[int, DrivenClient] = {}
        self._last = 0
        self._over = ""

    async def connect(
        self, url: str | list[str], *, tapped: bool = True, speed: float = 1.0, **options: Any
    ) -> "DrivenClient":
        """A client of it; `options` have the names of JavaScript.

        One that is `tapped` tells what arrives, too, and has no requests but ours. Its time is so much faster as `speed` says.
        """
        assert not self._over, self._over
        self._last += 1
        client = self._clients[self._last] = DrivenClient(self, self._last, tapped=tapped)
        self.tell(self._last, connect=url, options=options, tapped=tapped, speed=speed)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await client.connected
        return client

    def tell(self, client: int, **command: Any) -> None:
        """Sends a command."""
        if self._over:
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(json.dumps({"client": client, **command}, ensure_ascii=False))

    def _flush(self) -> None:
        lines, self._unsent = self._unsent, []
        if not self._over:
            self._write(lines)

    def take(self, line: str | bytes) -> None:
        """Takes a line of it."""
        tidings = json.loads(line)
        if "uncaught" in tidings:
            self.end(tidings["uncaught"])
            return
        client = self._clients.get(tidings["client"])
        if client is None:
            # It was ended here, and does not know yet.
            return
        client.take(tidings)
        if client.is_over:
            del self._clients[tidings["client"]]

    def end(self, why: str) -> None:
        """Takes notice that the program has ended."""
        self._over = self._over or f"the driver has ended: {why}"
        for client in self._clients.values():
            client.break_off(self._over)
        self._clients.clear()


class DrivenClient(ClientSession):
    """One client in TypeScript. Get one of `Driver.connect`."""

    def __init__(self, driver: Driver, number: int, *, tapped: bool) -> None:
        super().__init__()
        self._driver = driver
        self._number = number
        self._tapped = tapped
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrived: dict[int, Reply | SignalingError] = {}
        """The outcomes at their arrival, by the numbers of their requests."""
        self._invoked: dict[int, tuple[Request, asyncio.Future[Any]]] = {}
        """The requests of its own methods, by negative keys."""
        self._handed: deque[ClientEvent] = deque()
        self._no_more = False
        self._came = asyncio.Event()
        self._fault = ""
        """The fault in its lines, until somebody hears of it; empty: none."""

    @property
    def is_over(self) -> bool:
        """True when nothing more is said of it."""
        return self._left.done() and self._no_more

    # What a program does.

    async def announce(
        self,
        peer_id: str,
        *,
        capabilities: Capabilities = NO_CAPABILITIES,
        metadata: dict[str, Any] | None = None,
        room: str = "",
        ice_servers: bool = False,
    ) -> Announced:
        """See `SignalingClient.announce`."""
        request = Announce(peer_id, capabilities, metadata or {}, room, ice_servers=ice_servers)
        others = params_of(request)
        reply: Announced = await self._invoke(request, "announce", others.pop("peerId"), others)
        self._peer_id = peer_id
        return reply

    async def offer(self, to_peer_id: str, sdp: str, *, type: str = "") -> OfferRelayed:
        """See `SignalingClient.offer`; a `type` is that of a description."""
        reply: OfferRelayed = await self._invoke(
            Offer(to_peer_id, sdp, type), "offer", to_peer_id, {"sdp": sdp, "type": type} if type else sdp
        )
        return reply

    async def answer(self, to_peer_id: str, sdp: str, *, type: str = "", offer_id: str | None = None) -> Relayed:
        """See `SignalingClient.answer`."""
        reply: Relayed = await self._invoke(
            Answer(to_peer_id, sdp, type),
            "answer",
            to_peer_id,
            {"sdp": sdp, "type": type} if type else sdp,
            _belonging(offer_id),
        )
        return reply

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
        """See `SignalingClient.ice_candidate`."""
        request = IceCandidate(to_peer_id, candidate, sdp_mid, sdp_mline_index, username_fragment)
        said = params_of(request)
        del said["toPeerId"]
        reply: Relayed = await self._invoke(request, "iceCandidate", to_peer_id, said, _belonging(offer_id))
        return reply

    async def disconnect(self, peer_id: str, *, offer_id: str | None = None, reason: str = "") -> Disconnected:
        """See `SignalingClient.disconnect`."""
        assert not reason, "it knows no reasons"
        reply: Disconnected = await self._invoke(Disconnect(peer_id), "disconnect", peer_id, _belonging(offer_id))
        return reply

    async def list_peers(self, *, room: str | None = None, page_size: int = 0, page_token: str = "") -> PeerList:
        """See `SignalingClient.list_peers`."""
        request = ListPeers(room, page_size, page_token)
        reply: PeerList = await self._invoke(request, "listPeers", params_of(request))
        return reply

    async def authenticate(self, token: str) -> Authenticated:
        """See `SignalingClient.authenticate`."""
        reply: Authenticated = await self._invoke(Authenticate(token), "authenticate", token)
        return reply

    async def get_ice_servers(self) -> IceServers:
        """See `SignalingClient.get_ice_servers`."""
        reply: IceServers = await self._invoke(GetIceServers(), "getIceServers")
        return reply

    async def health(self) -> Health:
        """See `SignalingClient.health`."""
        reply: Health = await self._invoke(HealthCheck(), "health")
        return reply

    async def events(self) -> AsyncIterator[ClientEvent]:
        """Yields the events that its iterator has handed out."""
        while True:
            while self._handed:
                yield self._handed.popleft()
            if self._no_more:
                return
            self._came.clear()
            await self._came.wait()

    async def close(self) -> None:
        """Leaves and closes; see `SignalingClient.close`.

        :raises AssertionError: if it has said what cannot be.
        """
        if self._fault:
            fault, self._fault = self._fault, ""
            raise AssertionError(fault)
        if self._left.done():
            return
        self._driver.tell(self._number, close=True)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await asyncio.shield(self._left)

    async def _invoke(self, request: Request, method: str, *arguments: Any) -> Any:
        key = -len(self._invoked) - 1
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._invoked[key] = request, outcome
        # The client numbers it itself, no higher than this.
        self._conversation._last_number += 1
        self._driver.tell(self._number, key=key, invoke=method, arguments=arguments)
        return await outcome

    async def _send(self, number: int, request: Request) -> None:
        command = {"call": request.kind, "params": params_of(request), "key": number}
        # A client that comes back by itself numbers its requests itself.
        self._driver.tell(self._number, **command, **({"number": number} if self._tapped else {}))

    def _abort(self) -> None:
        self._driver.tell(self._number, giveUp=True)

    # What is told of it.

    def take(self, tidings: dict[str, Any]) -> None:
        """Takes what the driver says of it."""
        try:
            self._take(tidings)
        except (AssertionError, AttributeError, LookupError, TypeError) as error:
            self.break_off(f"{type(error).__name__}: {error}, in {tidings}")

    def _take(self, tidings: dict[str, Any]) -> None:
        match tidings:
            case {"connected": _}:
                self.connected.set_result(None)
            case {"failed": why}:
                outcome = _outcome(why, "")
                assert isinstance(outcome, ConnectionClosed), outcome
                self._left.set_result(None)
                self._hand_no_more()
                self.connected.set_exception(outcome)
            case {"replied": number, "method": method}:
                if self._ended is None:
                    self._on_reply(number, _reply(tidings, method))
            case {"told": event, "seq": seq}:
                if self._ended is None:
                    said: Any = event_of(event)
                    self._on_event(said, seq)
            case {"lost": _}:
                pass
            case {"settled": key}:
                self._settle(key, tidings)
            case {"handed": event}:
                self._handed.append(event_of(event))
                self._came.set()
            case {"ended": closed}:
                self._on_end(closed_of(closed))
                self._hand_no_more()
            case {"left": how}:
                assert how is True, how
                if not self._left.done():
                    self._left.set_result(None)
            case _:
                raise AssertionError("nothing that a driver says")

    def _settle(self, key: int, tidings: dict[str, Any]) -> None:
        if key < 0:
            request, future = self._invoked[key]
            outcome = _outcome(tidings, request.kind)
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
            return
        asked = self._conversation.request_of(key)
        if asked is None:
            return
        outcome = _outcome(tidings, asked.kind)
        if isinstance(outcome, ConnectionClosed):
            self._conversation.lose(key, outcome)
            return
        arrived = self._arrived.pop(key, None)
        if arrived is not None:
            assert written(outcome) == written(arrived), f"{arrived} arrived, and {outcome} was returned"
        self._conversation.resolve(key, outcome if arrived is None else arrived)

    def _on_reply(self, number: int, outcome: Reply | SignalingError) -> None:
        self._arrived[number] = outcome

    def _on_event(self, event: Event, seq: int = 0) -> None:
        """An event has arrived; the program has it when it is handed out."""

    def _hand_no_more(self) -> None:
        self._no_more = True
        self._came.set()

    def break_off(self, why: str) -> None:
        """Ends it, since nothing that it says counts any more."""
        if self._fault or self.is_over:
            return
        self._fault = why
        self._driver.tell(self._number, close=True)
        closed = ConnectionClosed(why, reconnect=False)
        if not self.connected.done():
            self.connected.set_exception(closed)
        for _, future in self._invoked.values():
            if not future.done():
                future.set_exception(closed)
        self._on_end(closed)
        self._hand_no_more()
        if not self._left.done():
            self._left.set_result(None)


def _belonging(offer_id: str | None) -> dict[str, str]:
    return {} if offer_id is None else {"offerId": offer_id}


def _reply(tidings: dict[str, Any], method: str) -> Reply | SignalingError:
    if "refused" in tidings:
        return refusal_of(tidings["refused"])
    return reply_of(method, tidings["result"])


def _outcome(tidings: dict[str, Any], method: str) -> Reply | SignalingError | ConnectionClosed:
    if "closed" in tidings:
        return closed_of(tidings["closed"])
    assert "broken" not in tidings, tidings["broken"]
    return _reply(tidings, method)
