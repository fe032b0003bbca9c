"""HTTP/1.1 on one connection, without I/O: a few pages that are made when asked for, and, where given, a service.

The rules of RFC 9112 are h11's. Rule 1: one request at a time; the next is looked at when all of the answer to the last
has been taken, and in another turn of the loop. So one answer waits at most, and a client that pipelines lets others
have their turn. Rule 2: what a request carries is kept for a service only, and no more of it than that takes; else it
is read and forgotten. Rule 3: a connection is dropped where a request is not whole within the handshake's time limit,
counted from the answer to the one before: bytes alone buy no time; nor do answers that are not taken. Rule 4: what is
kept of a body that is not whole counts among the server's unfinished messages; where it must stop, nothing more is
read, and when it resumes its time begins anew. Rule 5: a service may answer later; nothing more is read meanwhile.

Its states:

    listening ──answer──▶ answering ──rest──▶ resting ──listen──▶ listening
      │   ▲                   └────────────────listen─────────────────▲
     stop │ listen
      ▼   │
     stopped ──answer──▶ answering

    listening ──wait──▶ awaiting ──answer──▶ answering

Awaiting, it has a whole request, whose service has no answer yet, for which there is the time of a handshake. Resting,
it has the next request already, and answers it in the next turn.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import h11

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.floods import FloodCount
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.settings import Settings
from sigbridge_net.unfinished import TotalUnfinished, Unfinished
from sigbridge_net.wire import Client, WireFactory

MAX_HEADER_BYTES = 16384
NOBODY = Client("")

LISTENING: Final = 0
ANSWERING: Final = 1
RESTING: Final = 2
STOPPED: Final = 3
AWAITING: Final = 4

# What follows in each state.
# fmt: off
#                    listening  answering  resting    stopped    awaiting
_ON_ANSWER: Final = (ANSWERING, ANSWERING, RESTING,   ANSWERING, ANSWERING)
_ON_REST: Final =   (LISTENING, RESTING,   RESTING,   STOPPED,   AWAITING)
_ON_LISTEN: Final = (LISTENING, LISTENING, LISTENING, LISTENING, AWAITING)
_ON_STOP: Final =   (STOPPED,   ANSWERING, RESTING,   STOPPED,   AWAITING)
_ON_WAIT: Final =   (AWAITING,  ANSWERING, RESTING,   STOPPED,   AWAITING)
# fmt: on

_OVER: Final = (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)
"""The states of h11 in which we have nothing more to say on a connection."""


class Page:
    """A page as it is now, or another answer."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "text/plain; charset=utf-8",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers


Pages: TypeAlias = Mapping[str, Callable[[], Page]]
"""Path to page."""


class HttpRequest(NamedTuple):
    """One request for a service."""

    method: str
    path: str
    headers: dict[str, str]
    """By name in lower case; two of a name are joined by a comma (RFC 9110, section 5.3)."""
    body: bytes
    client: Client
    floods: FloodCount
    """The requests of its connection that the rate limit has refused; it is closed when these were flooding."""


class HttpService(Protocol):
    """A service, which answers what is no page."""

    max_body_bytes: int

    def answer(self, request: HttpRequest, now: Instant) -> Page | Pending[Page] | None:
        """Returns the answer, or what resolves to one, or `None` where the path is none of the service's."""


class HttpWire:
    """One HTTP connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    successor = None

    def __init__(
        self,
        pages: Pages,
        settings: Settings,
        *,
        wake: Callable[[], None],
        now: Instant,
        client: Client = NOBODY,
        service: HttpService | None = None,
        unfinished: TotalUnfinished,
    ) -> None:
        self.due = now.monotonic + settings.handshake_timeout_seconds
        self.finished = False
        self.aborted = False
        self._pages = pages
        self._client = client
        self._service = service
        self._body = bytearray()
        self._total = unfinished
        self._unfinished: Unfinished | None = None
        """The account of a body that is not whole."""
        self._idle_seconds = settings.handshake_timeout_seconds
        self._wake = wake
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._request: h11.Request | None = None
        self._state = LISTENING
        self._awaited: Pending[Page] | None = None
        """The answer that is awaited."""
        self._output = b""
        """The rest of the answer that is being taken."""
        self._floods: FloodCount | None = None
        """What is counted of its requests to a service, from the first on."""

    def receive(self, data: bytes, now: Instant) -> None:
        """Takes bytes that arrived."""
        if self.finished:
            return
        self._connection.receive_data(data)
        self._advance(now)

    def receive_eof(self, now: Instant) -> None:
        """Hears that the client will ask for nothing more."""
        if not self.finished:
            self._connection.receive_data(b"")
            self._advance(now)

    def connection_lost(self, now: Instant) -> None:
        """Keeps nothing: the connection is gone."""
        self._forget_body(now)
        self._wait_no_more()

    def drain(self, now: Instant) -> None:
        """Ends a connection that has nothing more to say, since the server is shutting down."""
        if self._state == AWAITING:
            self._refuse(503, now)
        if not self._output:
            self.finished = True

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns None: there is always more to look at."""
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns what to write now."""
        if self._unfinished is not None:
            self._pace(self._unfinished, now)
        if self._state == RESTING:
            self._state = _ON_LISTEN[self._state]
            self._advance(now)
        if self._output:
            piece, self._output = self._output[:most], self._output[most:]
            self.due = now.monotonic + self._idle_seconds
            return [piece]
        if self._connection.our_state in _OVER:
            self.finished = True
        elif self._state == ANSWERING and self._connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._request = None
            self._body.clear()
            self._connection.start_next_cycle()
            if any(self._connection.trailing_data):
                self._state = _ON_REST[self._state]
                self._wake()
            else:
                self._state = _ON_LISTEN[self._state]
        return []

    def reading(self) -> bool:
        """Returns whether more input is welcome."""
        return self._state == LISTENING

    def expire(self, now: Instant) -> None:
        """Drops a connection that asks for nothing; one that has stopped may have to give way."""
        message = self._unfinished
        if message is None or not message.is_stopped:
            self.aborted = True
            return
        message.expire(now)
        if self._unfinished is not None:
            self._pace(message, now)
            # Where it was resumed, it reads again.
            self._wake()

    def _pace(self, message: Unfinished, now: Instant) -> None:
        """Stops reading where all bodies and messages together are too much, and reads again when this one goes on."""
        if message.is_stopped:
            self._state = _ON_STOP[self._state]
            self.due = message.due
        elif self._state == STOPPED:
            self._state = _ON_LISTEN[self._state]
            self.due = now.monotonic + self._idle_seconds

    def _forget_body(self, now: Instant) -> None:
        """Keeps nothing of a body any more."""
        self._body.clear()
        message, self._unfinished = self._unfinished, None
        if message is not None:
            message.leave(now)

    def _give_up(self, reason: DisconnectReason, now: Instant) -> None:
        """Refuses a request whose body is the largest of too much that is not whole."""
        self.due = now.monotonic + self._idle_seconds
        self._refuse(503, now)
        self._wake()

    def _advance(self, now: Instant) -> None:
        """Looks at what has arrived, up to the end of one request."""
        try:
            while self._state == LISTENING:
                event = self._connection.next_event()
                if isinstance(event, h11.Request):
                    self._request = event
                    if _size(event) > MAX_HEADER_BYTES:
                        self._refuse(431, now)
                    elif event.http_version not in (b"1.0", b"1.1"):
                        self._refuse(505, now)
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    self._answer(self._request, now)
                elif isinstance(event, h11.Data):
                    self._keep(event.data, now)
                else:
                    break
            if self._body and self._state == LISTENING:
                if self._unfinished is None:
                    self._unfinished = Unfinished(self._total, self._wake, self._give_up, now)
                self._unfinished.grow(len(self._body), 0, now)
        except h11.RemoteProtocolError as error:
            # The library raises it from a method of its own, whose local in the traceback would hold it, and us.
            error.__traceback__ = None
            if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._refuse(error.error_status_hint, now)
        if self._connection.our_state in _OVER:
            self.finished = self.finished or not self._output
        self._wake()

    def _keep(self, data: bytes | bytearray, now: Instant) -> None:
        if self._service is not None:
            self._body += data
            if len(self._body) > self._service.max_body_bytes:
                self._refuse(413, now)

    def _answer(self, request: h11.Request, now: Instant) -> None:
        path = request.target.split(b"?", 1)[0].decode("latin-1")
        make = self._pages.get(path)
        if make is None and self._service is not None:
            headers: dict[str, str] = {}
            for raw_name, raw_value in request.headers:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            floods = self._floods
            if floods is None:
                floods = self._floods = FloodCount()
            method = request.method.decode("latin-1")
            question = HttpRequest(method, path, headers, bytes(self._body), self._client, floods)
            page = self._service.answer(question, now)
            if isinstance(page, Pending):
                self._await(page, now)
                return
            if page is not None:
                self._send_of_service(page, now)
                return
        if make is None:
            self._send(Page(404, b"not found\n"), now)
        elif request.method not in (b"GET", b"HEAD"):
            self._send(Page(405, b"method not allowed\n", headers=[("allow", "GET, HEAD")]), now)
        else:
            self._send(make(), now)

    def _await(self, page: Pending[Page], now: Instant) -> None:
        """Waits for an answer."""
        self._state = _ON_WAIT[self._state]
        self._forget_body(now)
        self.due = now.monotonic + self._idle_seconds
        self._awaited = page
        page.then(self._on_page)

    def _on_page(self, page: Page | SignalingError, now: Instant) -> None:
        """Sends the answer that was awaited."""
        if isinstance(page, SignalingError):
            self._refuse(503, now)
        else:
            self._send_of_service(page, now)
        self._wake()

    def _wait_no_more(self) -> None:
        """Forgets the answer that is awaited, if one is."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.abandon()

    def _send_of_service(self, page: Page, now: Instant) -> None:
        """Sends a service's answer, the last one where its client floods."""
        self._send(page, now, last=self._floods is not None and self._floods.flooded)

    def _refuse(self, status: int, now: Instant) -> None:
        text = b"try again later\n" if status == 503 else b"bad request\n"
        self._send(Page(status, text), now, last=True)

    def _send(self, page: Page, now: Instant, *, last: bool = False) -> None:
        """Sends an answer; behind the last one the connection is closed."""
        headers = [
            ("content-type", page.content_type),
            ("content-length", str(len(page.body))),
            ("cache-control", "no-store"),
            *page.headers,
        ]
        if last:
            headers.append(("connection", "close"))
        self._state = _ON_ANSWER[self._state]
        self._forget_body(now)
        self._wait_no_more()
        response = h11.Response(status_code=page.status, headers=headers)
        self._put(self._connection.send(response))
        if self._request is None or self._request.method != b"HEAD":
            self._put(self._connection.send(h11.Data(data=page.body)))
        self._put(self._connection.send(h11.EndOfMessage()))

    def _put(self, data: bytes | None) -> None:
        if data:
            self._output += data


def _size(request: h11.Request) -> int:
    """The bytes of a request's head; h11 looks at those of heads only that come in pieces."""
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def http_wires(
    pages: Pages,
    settings: Settings,
    *,
    service: HttpService | None = None,
    unfinished: TotalUnfinished | None = None,
) -> WireFactory:
    """Returns the wires of a listener that serves `pages`, and what else `service` answers.

    What is `unfinished` counts together with that of the server's other listeners, where they are given the same.
    """
    total = TotalUnfinished(settings) if unfinished is None else unfinished
    return lambda client, wake, now: HttpWire(
        pages, settings, wake=wake, now=now, client=client, service=service, unfinished=total
    )
