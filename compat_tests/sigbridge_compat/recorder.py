"""Everything that arrives at one client, in the order in which it arrives: replies, refusals and events.

Rule 1: the order is that of the connection, so that an event which overtakes its reply is seen. Rule 2: "nothing more
has come" is never a matter of time: a *fence* proves it, a `list_peers` whose reply follows all that the server had put
before it. Rule 3: two arrivals are the same only if they are alike to the letter: `true`, `1` and `1.0` differ.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import msgspec

from sigbridge import (
    Announced,
    AnswerReceived,
    ConnectionClosed,
    Disconnected,
    Event,
    Health,
    ListPeers,
    OfferReceived,
    OfferRelayed,
    PeerInfo,
    PeerList,
    Reply,
    Request,
    SignalingError,
)
from sigbridge_net.client_session import ClientSession

Arrival: TypeAlias = Reply | SignalingError | Event


class Recorder:
    """One client and what arrives at it; `client` is there for what the recorder does not do itself."""

    def __init__(self, client: ClientSession, *, room: str, patience_seconds: float) -> None:
        self.client = client
        self.arrivals: list[Arrival] = []
        self.peer_id = ""
        """Who this client is, as far as the server has told it; empty where it is nobody."""
        self._room = room
        self._patience_seconds = patience_seconds
        self._closed = False
        self._heard = 0
        """How many arrivals have been looked at by `heard`."""
        self._arrived = asyncio.Event()
        _tap(client, self._note)

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        return [arrival for arrival in self.arrivals if isinstance(arrival, get_args(Event))]

    async def call(self, request: Request) -> Any:
        """Send a request and return its reply; SignalingError where it is refused."""
        reply = await self.client.call(request)
        if isinstance(reply, Health) and not any(arrival is reply for arrival in self.arrivals):
            # Where health is a call of its own, beside the session, it does not come by the session's way.
            self._note(reply)
        return reply

    async def refused(self, request: Request) -> SignalingError:
        """Send a request that must be refused."""
        try:
            reply = await self.client.call(request)
        except SignalingError as error:
            return error
        raise AssertionError(f"not refused: {request!r:.200} was answered with {reply!r:.200}")

    async def fence(self) -> PeerList:
        """List the room; everything that the server had for this client before has arrived when the reply has."""
        reply = await self.client.call(ListPeers(None if self.peer_id else self._room))
        if not isinstance(reply, PeerList):
            raise AssertionError(f"list_peers was answered with {reply!r:.200}")
        return reply

    async def heard(self) -> list[Event]:
        """The events since the last time that this was asked; all that were under way have arrived."""
        await self.fence()
        new = self.arrivals[self._heard :]
        self.mark()
        return [arrival for arrival in new if isinstance(arrival, get_args(Event))]

    def mark(self) -> None:
        """Count everything that has arrived as heard."""
        self._heard = len(self.arrivals)

    async def until(self, event: Event) -> None:
        """Wait until an event has arrived that nobody has `heard` yet: for what no reply announces, such as an end."""
        wanted = written(event)
        try:
            async with asyncio.timeout(self._patience_seconds):
                while not any(written(arrival) == wanted for arrival in self.arrivals[self._heard :]):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(
                f"{event!r} has not arrived; what has: {self.arrivals[self._heard :]!r:.2000}"
            ) from None

    async def ended(self) -> ConnectionClosed:
        """Wait until the server has ended the connection; returns how."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                async for _ in self.client.events():
                    pass
        except TimeoutError:
            raise AssertionError("the connection has not ended") from None
        # Its events are handed out: nothing is left to compare when it is closed.
        self._closed = True
        if self.client.closed is None:
            raise AssertionError("a client that has no more events is not closed")
        return self.client.closed

    async def close(self) -> None:
        """Close the connection; what the client hands out as events must be what has arrived. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        await self.client.close()
        # Answers that say an offer are handed out only while that offer is out, which so late says nothing any more.
        handed_out = [event async for event in self.client.events() if not _is_compared(event)]
        expect(handed_out, [event for event in self.events if not _is_compared(event)])

    def _note(self, arrival: Arrival) -> None:
        if isinstance(arrival, Announced):
            self.peer_id = arrival.peer_id
        elif isinstance(arrival, Disconnected) and arrival.peer_id == self.peer_id:
            self.peer_id = ""
        self.arrivals.append(arrival)
        self._arrived.set()


def _is_compared(event: Event) -> bool:
    return isinstance(event, AnswerReceived) and event.offer_id != ""


def _tap(client: ClientSession, note: Callable[[Arrival], None]) -> None:
    """Show every arrival to `note`, before the client passes it on."""
    # A client keeps replies and events apart; only here can their common order be seen.
    on_reply, on_event = client._on_reply, client._on_event  # noqa: SLF001

    def reply_arrived(number: int, outcome: Reply | SignalingError) -> None:
        note(outcome)
        on_reply(number, outcome)

    def event_arrived(event: Event) -> None:
        note(event)
        on_event(event)

    client._on_reply = reply_arrived  # type: ignore[method-assign]  # noqa: SLF001
    client._on_event = event_arrived  # type: ignore[method-assign]  # noqa: SLF001


# Comparing.


def written(message: Any) -> str:
    """A message to the letter, with the members of objects in alphabetical order, which no wire keeps."""
    if isinstance(message, SignalingError):
        return f"SignalingError {int(message.code)} {message.message!r} {_json(message.data())}"
    return f"{type(message).__name__} {_json(message)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def expect(actual: Any, expected: Any, why: str = "") -> None:
    """Raise AssertionError unless the two are the same; lists are compared one by one."""
    if isinstance(actual, list) and isinstance(expected, list):
        same = [written(one) for one in actual] == [written(one) for one in expected]
    else:
        same = written(actual) == written(expected)
    if not same:
        raise AssertionError(f"{why}\n  actual:   {actual!r:.3000}\n  expected: {expected!r:.3000}")


def expect_that(holds: object, why: str) -> None:
    """Raise AssertionError with `why` unless it holds."""
    if not holds:
        raise AssertionError(why)


# Transcripts.


class Normaliser:
    """Writes the arrivals of one script so that two runs of it can be compared.

    The milliseconds of an offer id become its rank among those of the script, wherever it is said; `connected_at`, page
    tokens and the figures of health, which depend on the time and on others, become constants.
    """

    def __init__(self, arrivals: list[Arrival]) -> None:
        given = {arrival.offer_id for arrival in arrivals if isinstance(arrival, OfferRelayed | OfferReceived)}
        ranked = enumerate(sorted(given, key=lambda offer_id: int(offer_id.rpartition("_")[2])), 1)
        self._names = {offer_id: f"{offer_id.rpartition('_')[0]}_#{rank}" for rank, offer_id in ranked}

    def transcript(self, arrivals: list[Arrival]) -> list[str]:
        """The arrivals of one client, one line each."""
        return [written(self._normal(arrival)) for arrival in arrivals]

    def _normal(self, arrival: Arrival) -> Arrival:
        if isinstance(arrival, Health):
            return Health(arrival.status, 0, 0, {})
        if isinstance(arrival, PeerList):
            token = "(token)" if arrival.next_page_token else ""
            return PeerList(tuple(_without_time(peer) for peer in arrival.peers), arrival.count, token)
        if isinstance(arrival, SignalingError):
            said = str(arrival.extra.get("offer_id", ""))
            if said not in self._names:
                return arrival
            name = self._names[said]
            return SignalingError(
                arrival.code, arrival.message.replace(said, name), **arrival.extra | {"offer_id": name}
            )
        name = self._names.get(getattr(arrival, "offer_id", ""), "")
        return msgspec.structs.replace(arrival, offer_id=name) if name else arrival


def _without_time(peer: PeerInfo) -> PeerInfo:
    if type(peer.connected_at) is not int or peer.connected_at < 1_600_000_000:
        raise AssertionError(f"connected_at is no Unix time in whole seconds: {peer!r}")
    return msgspec.structs.replace(peer, connected_at=1)
