"""Everything that arrives at one client, in the order in which it arrives: replies, refusals and events.

Rule 1: the order is that of the connection, so that an event which overtakes its reply is seen. Rule 2: "nothing more
has come" is never a matter of time: a *fence* proves it, a `list_peers` whose reply follows all that the server had put
before it. Rule 3: two arrivals are the same only if they are alike to the letter: `true`, `1` and `1.0` differ. Rule 4:
where a `Tolerance` is current, known deviations of another server are noted and corrected; else nothing is tolerated.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeAlias, TypeVar, get_args

import msgspec

from sigbridge import (
    Announced,
    AnswerReceived,
    ClientEvent,
    ConnectionClosed,
    Disconnected,
    Event,
    Health,
    IceServers,
    ListPeers,
    OfferReceived,
    OfferRelayed,
    PeerInfo,
    PeerList,
    Reply,
    Request,
    SignalingError,
)
from sigbridge_compat.comparing import difference, written
from sigbridge_compat.deviations import NO_LIST_BEFORE_ANNOUNCE
from sigbridge_compat.tolerance import CURRENT, SessionTolerance
from sigbridge_net.client_session import ClientSession

Arrival: TypeAlias = Reply | SignalingError | Event
E = TypeVar("E")


class Recorder:
    """One client and what arrives at it; `client` is there for what the recorder does not do itself."""

    def __init__(
        self, client: ClientSession, *, room: str, patience_seconds: float, first_id: int = 1, way: str = ""
    ) -> None:
        """`first_id` is the id of its first request; sessions of one resumable peer must not have the same ones."""
        self.client = client
        client._conversation._last_number = first_id - 1  # noqa: SLF001
        self.arrivals: list[Arrival] = []
        self.numbers: list[int] = []
        """The numbers of all events so far, 0 where one has none."""
        self.last_seq = 0
        """The number of the last event of the present peer."""
        self.peer_id = ""
        """Id of this client's peer, as far as the server has told it; empty where it has none."""
        self._room = room
        self._patience_seconds = patience_seconds
        self._closed = False
        self._heard = 0
        """Number of arrivals that `heard` has looked at."""
        self._given: dict[type, int] = {}
        """Number of arrivals that `next_of` has given, by their kind."""
        self._arrived = asyncio.Event()
        tolerance = CURRENT.get()
        _tap(client, self._note, self._note_event, None if tolerance is None else SessionTolerance(tolerance, way))

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        return [arrival for arrival in self.arrivals if isinstance(arrival, get_args(Event))]

    async def call(self, request: Request) -> Any:
        """Sends a request and returns its reply.

        :raises SignalingError: if it is refused.
        """
        try:
            reply = await self._reply_to(request)
        except SignalingError:
            tolerance = CURRENT.get()
            if tolerance is not None and isinstance(request, ListPeers) and not self.peer_id:
                tolerance.note_in_list(NO_LIST_BEFORE_ANNOUNCE)
            raise
        if isinstance(reply, Health) and not any(arrival is reply for arrival in self.arrivals):
            # Where health is a call of its own, beside the session, it does not come by the session's way.
            self._note(reply)
        return reply

    def take_ids(self, count: int) -> range:
        """Returns the IDs of the next requests, and reserves them."""
        conversation = self.client._conversation  # noqa: SLF001
        first = conversation._last_number + 1  # noqa: SLF001
        conversation._last_number += count  # noqa: SLF001
        return range(first, first + count)

    async def call_as(self, number: int, request: Request) -> Any:
        """Sends a request by an id that may have been used before, and returns its reply, or its refusal."""
        try:
            return await self.client.ask(request, number=number)
        except SignalingError as error:
            return error

    async def refused(self, request: Request) -> SignalingError:
        """Sends a request that must be refused; returns the refusal.

        :raises AssertionError: if it is not refused, or the session ends.
        """
        try:
            reply = await self._reply_to(request)
        except SignalingError as error:
            return error
        except ConnectionClosed as closed:
            raise AssertionError(
                f"the session ends where {request.kind} should be refused\n  {closed.reason}"
            ) from closed
        raise AssertionError(f"{request.kind} is not refused\n  request: {request!r:.200}\n  reply: {reply!r:.200}")

    async def fence(self) -> PeerList:
        """Lists the room: all that the server had for this client before has arrived when the reply has.

        :raises AssertionError: if the reply is no list.
        """
        try:
            reply = await self.call(ListPeers(None if self.peer_id else self._room))
        except SignalingError:
            if CURRENT.get() is None or self.peer_id:
                raise
            # A refusal follows all that was put before it, too.
            return PeerList((), 0)
        if not isinstance(reply, PeerList):
            raise AssertionError(f"the reply to list_peers is {reply!r:.200}")
        return reply

    async def heard(self) -> list[Event]:
        """Returns the events since the last call of this method, after a fence: all under way have arrived."""
        tolerance = CURRENT.get()
        with nullcontext() if tolerance is None else tolerance.fencing():
            await self.fence()
        new = self.arrivals[self._heard :]
        self.mark()
        return [arrival for arrival in new if isinstance(arrival, get_args(Event))]

    async def heard_numbered(self) -> list[tuple[int, Event]]:
        """Returns the events that `heard` returns, each with its number."""
        new = await self.heard()
        return list(zip(self.numbers[len(self.numbers) - len(new) :], new, strict=True))

    def mark(self) -> None:
        """Counts everything that has arrived as heard."""
        self._heard = len(self.arrivals)

    async def until(self, event: Event) -> None:
        """Waits until an event has arrived that nobody has `heard` yet: for what no reply announces, such as an end.

        :raises AssertionError: if it does not arrive.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                while not any(_is_same(arrival, event) for arrival in self.arrivals[self._heard :]):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(
                f"{event.kind} has not arrived\n  {event!r}\n  what has: {self.arrivals[self._heard :]!r:.2000}"
            ) from None

    async def next_of(self, kind: type[E]) -> E:
        """Waits for the next event of a kind, whatever else arrives meanwhile; each is returned once.

        :raises AssertionError: if none arrives in time
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                while True:
                    given = self._given.get(kind, 0)
                    found = [arrival for arrival in self.arrivals if isinstance(arrival, kind)]
                    if len(found) > given:
                        self._given[kind] = given + 1
                        return found[given]
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} has arrived\n  what has: {self.arrivals!r:.2000}") from None

    async def ended(self) -> ConnectionClosed:
        """Waits until the server has ended the connection; returns how.

        :raises AssertionError: if it does not, or the client does not say so.
        """
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
        """Closes the connection; what the client hands out as events must be what has arrived. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        await self.client.close()
        # Answers that say an offer are handed out only while that offer is out, which so late says nothing any more.
        handed_out = [event async for event in self.client.events() if not _is_compared(event)]
        expect(handed_out, [event for event in self.events if not _is_compared(event)])

    async def lose(self) -> None:
        """Loses the connection, without leaving. What had not arrived arrives no more."""
        self._closed = True
        self.client.give_up()
        await self.client.close()

    async def _reply_to(self, request: Request) -> Reply:
        """Waits for the reply to a request and returns it.

        :raises AssertionError: if none comes
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await self.client.call(request)
        except TimeoutError:
            raise AssertionError(f"{request.kind} has no reply") from None

    def forget_from(self, index: int) -> None:
        """Forgets what has arrived from that arrival on."""
        gone = [arrival for arrival in self.arrivals[index:] if isinstance(arrival, get_args(Event))]
        del self.arrivals[index:], self.numbers[len(self.numbers) - len(gone) :]

    def _note_event(self, event: Event, seq: int) -> None:
        self.numbers.append(seq)
        self.last_seq = max(self.last_seq, seq)
        self._note(event)

    def _note(self, arrival: Arrival) -> None:
        """Records an arrival, and keeps track of the peer announced."""
        if isinstance(arrival, Announced):
            self.peer_id = arrival.peer_id
            self.last_seq = 0
        elif isinstance(arrival, Disconnected) and arrival.peer_id == self.peer_id:
            self.peer_id = ""
        self.arrivals.append(arrival)
        self._arrived.set()


def _is_compared(event: ClientEvent) -> bool:
    return isinstance(event, AnswerReceived) and event.offer_id != ""


def _tap(
    client: ClientSession,
    note: Callable[[Reply | SignalingError], None],
    note_event: Callable[[Event, int], None],
    tolerance: SessionTolerance | None,
) -> None:
    """Notes every arrival, as `tolerance` corrects it, before the client handles it."""
    # A client keeps replies and events apart; only here can their common order be seen.
    on_reply, on_event, send = client._on_reply, client._on_event, client._send  # noqa: SLF001

    def reply_arrived(number: int, outcome: Reply | SignalingError) -> None:
        """Notes an outcome, corrected for deviations, and hands it on; then the events that follow from it."""
        if tolerance is not None:
            outcome = tolerance.reply(number, outcome)
        note(outcome)
        on_reply(number, outcome)
        if tolerance is not None:
            for event in tolerance.follows(outcome):
                event_arrived(event)

    def event_arrived(event: Event, seq: int = 0) -> None:
        """Notes an event and hands it on, unless a deviation has it forgotten."""
        if tolerance is not None and tolerance.is_forgotten(event):
            return
        note_event(event, seq)
        on_event(event, seq)

    async def sent(number: int, request: Request) -> None:
        if tolerance is not None:
            tolerance.sent(number, request)
        await send(number, request)

    client._on_reply = reply_arrived  # type: ignore[method-assign]  # noqa: SLF001
    client._on_event = event_arrived  # type: ignore[method-assign]  # noqa: SLF001
    if tolerance is not None:
        client._send = sent  # type: ignore[method-assign]  # noqa: SLF001


# Comparing.


def expect(actual: Any, expected: Any, why: str = "") -> None:
    """Checks that two values are the same, known deviations aside; lists are compared one by one.

    :raises AssertionError: if they differ.
    """
    tolerance = CURRENT.get()
    if tolerance is not None:
        actual = tolerance.corrected(actual, expected)
    if isinstance(actual, list) and isinstance(expected, list):
        same = [written(one) for one in actual] == [written(one) for one in expected]
    else:
        same = written(actual) == written(expected)
    if not same:
        head = why or difference(actual, expected)
        raise AssertionError(f"{head}\n  actual:   {actual!r:.3000}\n  expected: {expected!r:.3000}")


def expect_that(holds: object, what: str, shown: object = "") -> None:
    """Checks a condition; `what` says what should be, and `shown` what is instead.

    :raises AssertionError: if it does not hold.
    """
    if not holds:
        raise AssertionError(f"expected: {what}\n  actual: {shown!r:.2000}")


def _is_same(arrival: Arrival, event: Event) -> bool:
    """Returns whether an arrival is a given event, deviations aside."""
    if type(arrival) is not type(event):
        return False
    tolerance = CURRENT.get()
    return written(arrival if tolerance is None else tolerance.corrected(arrival, event)) == written(event)


# Transcripts.


class Normaliser:
    """Writes the arrivals of one script so that two runs of it can be compared.

    The milliseconds of an offer id become its rank among those of the script, wherever it is said; `connected_at`, the
    tokens of pages and of resumable peers, how long to wait and the figures of health, which depend on the time, on
    chance and on others, become constants.
    """

    def __init__(self, arrivals: list[Arrival]) -> None:
        given = {arrival.offer_id for arrival in arrivals if isinstance(arrival, OfferRelayed | OfferReceived)}
        ranked = enumerate(sorted(given, key=lambda offer_id: int(offer_id.rpartition("_")[2])), 1)
        self._names = {offer_id: f"{offer_id.rpartition('_')[0]}_#{rank}" for rank, offer_id in ranked}

    def transcript(self, arrivals: list[Arrival], numbers: list[int]) -> list[str]:
        """Returns the arrivals of one client, one line each; `numbers` are those of its events."""
        unused = iter(numbers)
        return [
            (f"{next(unused)} " if isinstance(arrival, get_args(Event)) else "") + written(self._normal(arrival))
            for arrival in arrivals
        ]

    def _normal(self, arrival: Arrival) -> Arrival:
        """Returns an arrival with what differs between servers replaced: tokens, times, and offer IDs."""
        if isinstance(arrival, Health):
            return Health(arrival.status, 0, 0, {})
        if isinstance(arrival, PeerList):
            token = "(token)" if arrival.next_page_token else ""
            return PeerList(tuple(_without_time(peer) for peer in arrival.peers), arrival.count, token)
        if isinstance(arrival, Announced):
            return _without_chance(arrival)
        if isinstance(arrival, IceServers):
            return IceServers(_without_credentials(arrival.servers), 1 if arrival.expires_unix_ms else None)
        if isinstance(arrival, SignalingError) and arrival.retry_after_ms is not None:
            return SignalingError(arrival.code, re.sub(r"[0-9]+", "#", arrival.message))
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


def _without_chance(announced: Announced) -> Announced:
    """Returns the reply to an announce without what differs in every run: the token, credentials and their end."""
    changed: dict[str, Any] = {}
    if announced.resume_token:
        changed["resume_token"] = "(token)"
    if announced.ice_servers is not None:
        changed["ice_servers"] = _without_credentials(announced.ice_servers)
        changed["ice_servers_expire_unix_ms"] = 1 if announced.ice_servers_expire_unix_ms else None
    return msgspec.structs.replace(announced, **changed) if changed else announced


def _without_credentials(servers: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Servers without what depends on the time: of a username there stays the peer's name."""
    return tuple(
        server | {"username": str(server["username"]).partition(":")[2], "credential": "(credential)"}
        if "credential" in server
        else server
        for server in servers
    )


def _without_time(peer: PeerInfo) -> PeerInfo:
    if type(peer.connected_at) is not int or peer.connected_at < 1_600_000_000:
        raise AssertionError(f"connected_at is no Unix time in whole seconds: {peer!r}")
    return msgspec.structs.replace(peer, connected_at=1)
