"""A client that outlives its connections: it comes back, is the same peer, and repeats the requests that have no reply.

The states of the client, and what leads from one to the next:

    (connect) ──► STANDING ──the session ends──► WAITING ──time is up──► CONNECTING ──a session is there──► RESUMING
                     ▲                            ▲  ▲                       │                               │ │
                     │                            │  └─────it failed─────────┘                               │ │
                     │                            └──it ended, or the announce is to be tried again──────────┘ │
                     └────resumed, or announced anew; then the open requests are written, in their order─────────┘

    any ──`close`, refused for good, or given up──► CLOSED

Where it was no peer yet there is nothing to announce, and RESUMING is over at once.

Rule 1: a request ends as its reply, as its refusal, or as `OutcomeUnknown`, and then after `SessionLost` alone; when
the client is closed, as `ConnectionClosed`. Rule 2: requests that change something keep their numbers over sessions,
and the server knows them by these; questions change nothing and are asked again. Rule 3: what has arrived is as good as
read, since it waits here and not in a session: the client asks for what comes after that. Rule 4: it never gives up
unless it is told to, or refused for good: it was told not to come back, no token lets it in, its announce is refused
for a reason that time does not change, or somebody else has its id for longer than its own old session could.
Source: `docs/resuming.md`.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Final

from msgspec.structs import replace

from sigbridge.client import (
    ClientEvent,
    ConnectionClosed,
    OutcomeUnknown,
    Reconnecting,
    Resumed,
    SessionLost,
    SignalingClient,
)
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SigbridgeError, SignalingError
from sigbridge.messages import (
    Announce,
    Announced,
    Authenticate,
    Disconnect,
    Disconnected,
    GetIceServers,
    HealthCheck,
    IceServers,
    IceServersChanged,
    ListPeers,
    PlainRequest,
    Reply,
    Request,
    unsigned,
)
from sigbridge_client.backoff import Backoff
from sigbridge_client.opening import Opening
from sigbridge_net.client_conversation import Conversation, Outcome
from sigbridge_net.client_session import ClientSession, again

logger = logging.getLogger("sigbridge.client")

MAX_OPEN_REQUESTS: Final = 256
"""The most requests that await their replies at a time; others wait until it is their turn."""
ANNOUNCE_SECONDS: Final = 10.0
"""So long may the reply to an announce take by which the client comes back."""
SHADOW_SECONDS: Final = 60.0
"""So long after a loss, somebody else of the same id may be the client's own old session, which has not ended yet."""
CLOSE_SECONDS: Final = 2.0
"""So long may a server take to say farewell, and so long may the rest of it take."""
CERTAINTY_SECONDS: Final = 1.0
"""So long after a call beside a session was lost the session's end may come."""

_TRIED_AGAIN: Final = frozenset(
    {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED, Code.ABORTED}
)
"""The refusals of an announce that time may change."""
_QUESTIONS: Final = (ListPeers, HealthCheck, Authenticate, GetIceServers)
"""Requests that may be carried out twice."""


class State(Enum):
    """The states of a client; see the diagram above."""

    STANDING = "standing"
    WAITING = "waiting"
    CONNECTING = "connecting"
    RESUMING = "resuming"
    CLOSED = "closed"


class _OpenRequest:
    """A request whose reply has not come."""

    __slots__ = ("asked", "given_up", "request", "written")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.asked = unsigned(request)
        """The same without what it says of its sender."""
        self.written = False
        """True once a server may have heard of it."""
        self.given_up = False
        """True where nobody waits for its reply any more."""


class ResumingClient(SignalingClient):
    """A client of either protocol that reconnects; make it with `sigbridge_client.connect`."""

    def __init__(
        self,
        opening: Opening,
        session: ClientSession,
        *,
        give_up_after_seconds: float | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Goes on with a session that `opening` has opened."""
        super().__init__()
        self._opening = opening
        self._give_up_after_seconds = give_up_after_seconds
        self._backoff = Backoff(uniform)
        self._conversation = Conversation(self._calls)
        self._closed: ConnectionClosed | None = None
        self._places = asyncio.Semaphore(MAX_OPEN_REQUESTS)
        """The places of open requests."""
        self._open_requests: dict[int, _OpenRequest] = {}
        """The requests, by number, that are written again on another session, in the order in which they were made."""
        self._peer: Announce | None = None
        """The announce by which the client is a peer; `None` while it is none."""
        self._resume_token = ""
        """The token that resumes the peer; empty where nothing can."""
        self._window_seconds = 0.0
        """So long does the server hold the peer after a loss; 0: it does not."""
        self._losses = 0
        """Number of the sessions that were lost."""
        self._lost_at = 0.0
        """The moment of the last loss (seconds of the event loop's clock)."""
        self._stands_since = 0.0
        """The moment at which the present session was opened (seconds of the event loop's clock)."""
        self._stands = asyncio.Event()
        """Set while the client stands, and when it is closed."""
        self._over = asyncio.Event()
        """Set when the client is closed."""
        self._farewells: set[asyncio.Task[None]] = set()
        """The tasks that close sessions which are not the client's any more."""
        self._state = State.WAITING
        self._session = session
        self._lost = asyncio.Event()
        """Set when the present session has ended; each session has one of its own."""
        self._take(session)
        self._begin_standing()
        self._task = asyncio.create_task(self._run(), name="sigbridge resuming client")

    # What a program asks for.

    @property
    def closed(self) -> ConnectionClosed | None:
        """The reason for which the client was closed for good; `None` while it stands or tries to."""
        return self._closed

    def events(self) -> AsyncIterator[ClientEvent]:
        """The events of all sessions, those about the connection among them; see `SignalingClient.events`."""
        return self._conversation.events()

    async def call(self, request: Request) -> Reply:
        """Sends one request and waits for its reply, over as many sessions as that takes.

        :raises SignalingError: if the request is refused.
        :raises OutcomeUnknown: if the peer was lost while it was under way.
        :raises ConnectionClosed: if the client is closed.
        """
        async with self._places:
            self._check_open()
            asked = unsigned(request)
            if isinstance(asked, _QUESTIONS):
                return await self._question(request)
            if isinstance(request, Announce):
                return await self._announce(request)
            return await self._once(request)

    async def close(self) -> None:
        """Leaves for good and closes the connection, whatever state it is in. Harmless when it is closed already."""
        self._end(ConnectionClosed(DisconnectReason.CLIENT_LEFT.word))
        self._task.cancel()
        await asyncio.wait({self._task, *self._farewells}, timeout=3 * CLOSE_SECONDS)

    # Requests.

    def _check_open(self) -> None:
        """Checks that the client is not closed.

        :raises ConnectionClosed: if it is.
        """
        if self._closed is not None:
            raise again(self._closed)

    async def _question(self, request: Request) -> Reply:
        """Asks what may be asked twice, until a session brings the reply."""
        while True:
            await self._stands.wait()
            self._check_open()
            session = self._session
            try:
                reply = await session.call(request)
            except ConnectionClosed:
                # Where a call beside the session was lost, the session's own end may be on its way.
                if not await self._is_lost(session):
                    raise
                continue
            if isinstance(request, Authenticate):
                self._opening.show(request.token)
            elif isinstance(reply, IceServers) and self._peer is not None:
                # On the next session, too, it is to be told of newer ones.
                self._peer = replace(self._peer, ice_servers=True)
            return reply

    async def _is_lost(self, session: ClientSession) -> bool:
        """Returns whether a session has ended, after waiting a moment for its end."""
        if session.closed is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CERTAINTY_SECONDS):
                    await self._lost.wait()
        return session.closed is not None

    async def _announce(self, request: Announce) -> Reply:
        """Announces the client as a resumable peer."""
        losses = self._losses
        while True:
            try:
                return await self._once(replace(request, resumable=True))
            except SignalingError as refusal:
                # The first of several tries may have been carried out.
                has_shadow = self._losses != losses and self._peer is None and self._may_be_own_shadow()
                if refusal.code is not Code.ALREADY_EXISTS or not has_shadow:
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._backoff.next()):
                    await self._over.wait()
            self._check_open()

    async def _once(self, request: Request) -> Reply:
        """Sends a request under one number, on each session until one of them brings the reply."""

        def at_reply(outcome: Outcome) -> None:
            """Records the reply and closes the request, in the moment in which the reply arrives."""
            self._note(one.asked, outcome)
            self._open_requests.pop(number, None)
            if one.given_up:
                self._conversation.withdraw(number)

        one = _OpenRequest(request)
        number = self._conversation.ask(request, at_reply)
        self._open_requests[number] = one
        try:
            if self._state is State.STANDING:
                await self._write(self._session, number, one)
            return await self._conversation.outcome(number)
        except asyncio.CancelledError:
            # Who the client is depends on the reply all the same.
            one.given_up = one.written and (isinstance(one.asked, Announce) or self._is_leave(one))
            raise
        finally:
            if not one.given_up:
                self._forget(number)

    async def _write(self, session: ClientSession, number: int, one: _OpenRequest) -> None:
        """Sends an open request in a session, from where on a server may have heard of it."""
        one.written = True
        await session.send(number, one.request)

    def _forget(self, number: int) -> None:
        """Forgets a request: it is not repeated, and its reply is ignored."""
        self._open_requests.pop(number, None)
        self._conversation.withdraw(number)

    def _note(self, asked: PlainRequest, outcome: Outcome) -> None:
        """Notes who the client is, in the moment in which it becomes that: what comes behind it is that peer's."""
        if isinstance(outcome, Announced) and isinstance(asked, Announce):
            self._peer = asked
            self._resume_token = outcome.resume_token if outcome.resumable else ""
            self._window_seconds = outcome.resume_window_seconds or 0.0
        elif isinstance(outcome, Disconnected) and self._peer is not None and outcome.peer_id == self._peer.peer_id:
            self._peer = None
            self._resume_token = ""

    # The connection.

    def _take(self, session: ClientSession) -> None:
        """Makes a session the client's own."""
        self._session = session
        self._stands_since = asyncio.get_running_loop().time()
        self._lost = asyncio.Event()
        session.continue_with(self._conversation, lambda _: self._on_closed(session))
        session.keep_alive(self._opening.keepalive_seconds, watched=True)

    def _on_closed(self, session: ClientSession) -> None:
        """Begins to come back, if the session that has ended is the present one."""
        if session is self._session and self._state is not State.CLOSED:
            self._lost.set()
            self._state = State.WAITING
            self._stands.clear()

    def _begin_standing(self) -> None:
        """Lets requests be written to the session, unless it has ended already."""
        if self._session.closed is None and self._state is not State.CLOSED:
            self._state = State.STANDING
            self._stands.set()

    async def _run(self) -> None:
        """Comes back after each loss, until the client is closed."""
        closed: ConnectionClosed | None = None
        try:
            while closed is None:
                await self._lost.wait()
                closed = await self._come_back()
        except Exception:
            logger.exception("a client cannot reconnect")
            closed = ConnectionClosed(DisconnectReason.INTERNAL_ERROR.word)
        self._end(closed)

    async def _come_back(self) -> ConnectionClosed | None:
        """Tries until a session stands again; returns why none ever will, or `None`."""
        now = asyncio.get_running_loop().time()
        closed = self._session.closed or ConnectionClosed(DisconnectReason.CONNECTION_LOST.word, reconnect=True)
        self._part(self._session)
        self._backoff.stood(now - self._stands_since)
        self._losses += 1
        self._lost_at = now
        told = False
        try:
            async with asyncio.timeout(self._give_up_after_seconds):
                while closed.reconnect is not False:
                    wait = self._backoff.next(self._least_wait(closed))
                    if not told:
                        told = True
                        self._conversation.tell(Reconnecting(closed.reason, wait))
                    self._state = State.WAITING
                    logger.info("connection lost, trying again in %.1f s: %s", wait, closed.reason)
                    await asyncio.sleep(wait)
                    failed = await self._try_again()
                    if failed is None:
                        return None
                    closed = failed
        except TimeoutError:
            logger.info("not reconnecting: %s", closed.reason)
        return closed

    def _least_wait(self, closed: ConnectionClosed) -> float:
        """Returns how long the server wants the client to stay away at least, in seconds."""
        least = (closed.retry_after_ms or 0) / 1000
        notice = self._conversation.notice
        if notice is not None:
            said, at = notice
            least = max(least, at + said.reconnect_after_ms / 1000 - asyncio.get_running_loop().time())
        return least

    async def _try_again(self) -> ConnectionClosed | None:
        """Opens a session and becomes the peer of before in it; returns why that failed, or `None`."""
        self._state = State.CONNECTING
        try:
            session = await self._opening.open(outlived=True)
        except ConnectionClosed as refused:
            return refused
        except SigbridgeError as error:
            return ConnectionClosed(str(error), reconnect=True)
        except Exception as error:  # noqa: BLE001 - whatever a program's source of tokens raises, the client goes on
            # Its text may hold a token.
            return ConnectionClosed(f"cannot connect: {type(error).__name__}", reconnect=True)
        self._take(session)
        self._state = State.RESUMING
        logger.debug("connected again")
        failed = await self._resume(session)
        if failed is not None:
            self._part(session)
            return failed
        await self._repeat(session)
        self._begin_standing()
        logger.debug("standing again")
        return None

    async def _resume(self, session: ClientSession) -> ConnectionClosed | None:
        """Announces the peer of before in a new session; returns why that failed, or `None`."""
        if self._peer is None or self._is_leaving():
            self._come_as_nobody()
            return session.closed
        request = replace(
            self._peer,
            resumable=True,
            resume_token=self._resume_token,
            last_seq=self._conversation.last_seq if self._resume_token else 0,
        )
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await session.ask(request, lambda outcome: self._at_return(request, outcome))
        except ConnectionClosed as lost:
            return again(lost)
        except TimeoutError:
            session.give_up()
            return session.closed
        except SignalingError as refusal:
            return self._closed_by(refusal)
        return None

    def _come_as_nobody(self) -> None:
        """Goes on without a peer: there was none, or it has asked to leave."""
        if self._peer is None:
            self._conversation.tell(Resumed())
        else:
            leaving, self._peer, self._resume_token = self._peer, None, ""
            self._begin_anew(SessionLost(leaving.peer_id, ()))

    def _at_return(self, request: Announce, outcome: Outcome) -> None:
        """Takes the reply to the announce by which the client comes back, before anything that follows it."""
        if not isinstance(outcome, Announced):
            return
        self._note(request, outcome)
        if outcome.resumed:
            self._conversation.tell(Resumed())
        else:
            self._begin_anew(SessionLost(outcome.peer_id, outcome.other_peers))
        if outcome.ice_servers is not None:
            self._conversation.tell(IceServersChanged(outcome.ice_servers, outcome.ice_servers_expire_unix_ms))

    def _begin_anew(self, lost: SessionLost) -> None:
        """Tells the program that its peer of before is gone, and those who wait that nobody knows."""
        self._calls.forget()
        self._conversation.forget_events()
        self._conversation.tell(lost)
        for number, one in list(self._open_requests.items()):
            if one.written or not self._is_leave(one):
                self._conversation.lose(number, OutcomeUnknown("the peer was lost before the reply"))

    def _is_leaving(self) -> bool:
        """Returns whether a server may have heard that the client leaves: it does not come back to say it again."""
        return any(one.written and self._is_leave(one) for one in self._open_requests.values())

    def _is_leave(self, one: _OpenRequest) -> bool:
        """Returns whether a request asks to leave as the peer that the client is."""
        return isinstance(one.asked, Disconnect) and self._peer is not None and one.asked.peer_id == self._peer.peer_id

    def _closed_by(self, refusal: SignalingError) -> ConnectionClosed:
        """Returns what a refused announce means for a client that comes back."""
        again_later = refusal.code in _TRIED_AGAIN or (
            refusal.code is Code.ALREADY_EXISTS and self._may_be_own_shadow()
        )
        return ConnectionClosed(refusal.code.name.lower(), again_later, refusal.retry_after_ms)

    def _may_be_own_shadow(self) -> bool:
        """Returns whether somebody else of the same id may still be the client's own old session."""
        since = asyncio.get_running_loop().time() - self._lost_at
        return since < max(self._window_seconds, SHADOW_SECONDS)

    async def _repeat(self, session: ClientSession) -> None:
        """Writes the open requests in the order in which they were made; newer ones come behind them."""
        last = 0
        while (number := next((number for number in self._open_requests if number > last), None)) is not None:
            last, one = number, self._open_requests[number]
            if one.given_up:
                self._forget(number)
            else:
                await self._write(session, number, one)

    def _part(self, session: ClientSession) -> None:
        """Closes a session that is not the client's any more."""

        async def part() -> None:
            """Closes the session within `CLOSE_SECONDS`, by force if need be."""
            closing = asyncio.create_task(session.close())
            await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
            # Whoever waits for the server's word waits no longer.
            session.give_up()
            await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
            closing.cancel()
            (outcome,) = await asyncio.gather(closing, return_exceptions=True)
            if isinstance(outcome, Exception):
                logger.warning("a session cannot be closed: %s", type(outcome).__name__)

        task = asyncio.create_task(part(), name="sigbridge client farewell")
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _end(self, closed: ConnectionClosed) -> None:
        """Closes the client for good."""
        if self._closed is not None:
            return
        self._closed = closed
        self._state = State.CLOSED
        logger.info("closed for good: %s", closed.reason)
        self._part(self._session)
        for number in list(self._open_requests):
            self._conversation.lose(number, again(closed))
        self._conversation.end()
        self._stands.set()
        self._over.set()
