"""The base of both protocols' clients: a session sends requests and tells a conversation what arrives.

Rule 1: when the connection ends, every caller of the session that still waits learns why, and that its outcome is
unknown. Rule 2: a session's tokens are renewed, and its signs of life sent, beside it and until it ends. Rule 3: a
client that outlives its sessions gives each of them its own conversation, and numbers its requests itself.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable

from sigbridge.client import ClientEvent, ConnectionClosed, SignalingClient
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.messages import Event, Reply, Request
from sigbridge_net.client_conversation import Conversation, Outcome
from sigbridge_net.client_keepalive import ClientKeepalive
from sigbridge_net.renewal import Renewal, TokenSource


class ClientSession(SignalingClient):
    """A client whose protocol only has to send requests and to report what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self._conversation = Conversation(self._calls)
        self._outlived = False
        """True where the conversation goes on when the session has ended."""
        self._on_closed: Callable[[ConnectionClosed], None] | None = None
        self._own: set[int] = set()
        """The numbers of the requests that end with the session."""
        self._ended: ConnectionClosed | None = None
        self._renewal: Renewal | None = None
        self._keepalive: ClientKeepalive | None = None
        self.sent_at = self.heard_at = asyncio.get_running_loop().time()
        """The moments of its last request, and of the last reply or event, or of its beginning (seconds of the event
        loop's clock)."""

    @property
    def closed(self) -> ConnectionClosed | None:
        """The end of the connection, with its reason and advice, or `None` while it is open."""
        return self._ended

    async def call(self, request: Request) -> Reply:
        """Sends one request and waits for its reply; see `SignalingClient.call`."""
        return await self.ask(request)

    async def ask(
        self, request: Request, at_reply: Callable[[Outcome], None] | None = None, number: int | None = None
    ) -> Reply:
        """Sends one request and waits for its reply, as `call` does; `at_reply` is called in the moment it comes.

        :raises SignalingError: if the server refuses the request.
        :raises ConnectionClosed: if the connection ends first.
        """
        if self._ended is not None:
            raise again(self._ended)
        number = self._conversation.ask(request, at_reply, number)
        self._own.add(number)
        try:
            await self.send(number, request)
            return await self._conversation.outcome(number)
        finally:
            self._own.discard(number)
            self._conversation.withdraw(number)

    async def send(self, number: int, request: Request) -> None:
        """Writes a request of the conversation; where the session has ended it does nothing.

        One that the protocol cannot say is refused at once.
        """
        self.sent_at = asyncio.get_running_loop().time()
        try:
            await self._send(number, request)
        except SignalingError as refusal:
            self._conversation.refuse(number, refusal)

    def events(self) -> AsyncIterator[ClientEvent]:
        """Returns the events in the order in which they arrive; see `SignalingClient.events`."""
        return self._conversation.events()

    def continue_with(self, conversation: Conversation, on_closed: Callable[[ConnectionClosed], None]) -> None:
        """Gives what arrives to another conversation, which outlives the session; `on_closed` is called at its end."""
        self._conversation = conversation
        self._outlived = True
        if self._ended is not None:
            on_closed(self._ended)
        self._on_closed = on_closed

    def renew_tokens(self, source: TokenSource, shown: str) -> None:
        """Shows fresh tokens of a source before the one ends that was shown; see `sigbridge_net.renewal`."""
        if self._ended is None:
            self._renewal = Renewal(self, source, shown)

    def keep_alive(self, seconds: float, *, watched: bool = False) -> None:
        """Sends a small request when nothing was sent for so long, 0: never; see `sigbridge_net.client_keepalive`.

        If it is `watched`, the session is given up when nothing comes any more.
        """
        if seconds > 0 and self._ended is None:
            self._keepalive = ClientKeepalive(self, seconds, self.give_up if watched else None)

    def give_up(self) -> None:
        """Ends the session without a farewell, as if its connection were lost."""
        self._on_end(ConnectionClosed(DisconnectReason.CONNECTION_LOST.word, reconnect=True))
        self._abort()

    @abstractmethod
    async def _send(self, number: int, request: Request) -> None:
        """Writes one request.

        Where the connection has ended it does nothing: the protocol's reader reports why.

        :raises SignalingError: if the protocol cannot express it.
        """

    @abstractmethod
    def _abort(self) -> None:
        """Closes the connection at once, without a word."""

    # What the protocol's reader reports.

    def _request_of(self, number: int) -> Request | None:
        """Returns the request that waits for the reply `number`."""
        return self._conversation.request_of(number)

    def _on_reply(self, number: int, outcome: Reply | SignalingError) -> None:
        if self._ended is None:
            self.heard_at = asyncio.get_running_loop().time()
            self._conversation.resolve(number, outcome)

    def _on_event(self, event: Event, seq: int = 0) -> None:
        """Takes an event; `seq` is its number, and 0 where it has none."""
        if self._ended is None:
            self.heard_at = asyncio.get_running_loop().time()
            self._conversation.tell(event, seq)

    def _on_end(self, closed: ConnectionClosed) -> None:
        """Records the end of the session, and tells it to all that wait for something of it."""
        if self._ended is not None:
            return
        self._ended = closed
        if self._renewal is not None:
            self._renewal.stop()
        if self._keepalive is not None:
            self._keepalive.stop()
        for number in self._own:
            self._conversation.lose(number, again(closed))
        if not self._outlived:
            self._conversation.end()
        if self._on_closed is not None:
            self._on_closed(closed)


def again(closed: ConnectionClosed) -> ConnectionClosed:
    """Returns the same end for somebody else: each who is told has a traceback of its own."""
    return type(closed)(closed.reason, closed.reconnect, closed.retry_after_ms)
