"""HTTP/1.1 on one connection, without I/O: the requests for a `Site`, one after the other.

The rules of RFC 9112 are h11's. Rule 1: one request at a time; the next is looked at when all of the last response
has been taken, and in another turn of the loop. So one response waits at most, and a client that pipelines lets others
have their turn. Rule 2: what a request carries is kept for a service only, and no more of it than that takes; else it
is read and forgotten. Rule 3: a connection is dropped where a request is not whole within the handshake's time limit,
counted from its first byte: bytes alone buy no time; nor do responses that are not taken. Between two requests a
connection is kept for longer than proxies keep theirs, which would else use one that is being closed. Rule 4: what is
kept of a body that is not whole counts among the server's unfinished messages; where it must stop, nothing more is
read, and when it resumes its time begins anew. Rule 5: a service may respond later; nothing more is read meanwhile.
Rule 6: each request is judged anew, by its head alone, before anything else reads of it: where it is none of ours, the
wire leaves the connection to another, with all that has come since that request began. Rule 7: a head is refused that
others may read in another way than we do: with a bare LF, or with both lengths (RFC 9112, sections 2.2 and 6.1).

Its states:

                                            ┌─────wait──▶ awaiting ──reply┐
    kept ──hear──▶ head ──begin──▶ reading ─┼─────────────reply───────────┴▶ replying ──keep──▶ kept
                    │ ▲             ▲  │    └stop▶ stopped ────reply──────────▲   │
                  leave └──listen─┐ └──┴─────go on────┘                          rest
                    ▼             └────────────────── resting ◀───────────────────┘
                   left

Its first head is awaited from the beginning. A head that is refused has its response without being read on. Awaiting,
it has a whole request, whose service has no response yet, for which there is the time of a handshake. Resting, it has
some of the next request already, which it looks at in the next turn.
"""

import re
from collections.abc import Callable
from typing import Final

import h11

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.floods import FloodCount
from sigbridge.instant import NEVER, Instant
from sigbridge.pending import Pending
from sigbridge.settings import Settings
from sigbridge_net.forwarding import Forwarding, forwarding_of
from sigbridge_net.pages import HttpRequest, Page, Site, TooSoon, joined, path_of, refused
from sigbridge_net.unfinished import TotalUnfinished, Unfinished
from sigbridge_net.wire import Client

MAX_HEADER_BYTES: Final = 16384
"""The bytes of a request's head; above it the request is refused with 431."""
KEPT_SECONDS: Final = 75.0
"""The time between two requests of a connection; proxies that pool connections keep them for 60 s, mostly."""
NOBODY = Client("")

KEPT: Final = 0
HEAD: Final = 1
READING: Final = 2
REPLYING: Final = 3
RESTING: Final = 4
STOPPED: Final = 5
AWAITING: Final = 6
LEFT: Final = 7

# What follows in each state.
# fmt: off
#                    kept       head       reading    replying   resting  stopped    awaiting   left
_ON_HEAR: Final =   (HEAD,      HEAD,      READING,   REPLYING,  RESTING, STOPPED,   AWAITING,  LEFT)
_ON_BEGIN: Final =  (KEPT,      READING,   READING,   REPLYING,  RESTING, STOPPED,   AWAITING,  LEFT)
_ON_REPLY: Final =  (KEPT,      REPLYING,  REPLYING,  REPLYING,  RESTING, REPLYING,  REPLYING,  LEFT)
_ON_WAIT: Final =   (KEPT,      HEAD,      AWAITING,  REPLYING,  RESTING, STOPPED,   AWAITING,  LEFT)
_ON_KEEP: Final =   (KEPT,      HEAD,      READING,   KEPT,      RESTING, STOPPED,   AWAITING,  LEFT)
_ON_REST: Final =   (KEPT,      HEAD,      READING,   RESTING,   RESTING, STOPPED,   AWAITING,  LEFT)
_ON_LISTEN: Final = (KEPT,      HEAD,      READING,   REPLYING,  HEAD,    STOPPED,   AWAITING,  LEFT)
_ON_STOP: Final =   (KEPT,      HEAD,      STOPPED,   REPLYING,  RESTING, STOPPED,   AWAITING,  LEFT)
_ON_GO_ON: Final =  (KEPT,      HEAD,      READING,   REPLYING,  RESTING, READING,   AWAITING,  LEFT)
_ON_LEAVE: Final =  (KEPT,      LEFT,      READING,   REPLYING,  RESTING, STOPPED,   AWAITING,  LEFT)
# fmt: on

_OVER: Final = (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)
"""The states of h11 in which we have nothing more to say on a connection."""
_END_OF_HEAD: Final = b"\r\n\r\n"
_bare_line_feed: Final = re.compile(rb"(?<!\r)\n").search
_FIRST_OF_A_METHOD: Final = 0x21
"""No request begins with a smaller byte."""


def _is_never_foreign(_: bytes) -> bool:
    """Returns False."""
    return False


class HttpWire:
    """One HTTP connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    successor = None

    def __init__(  # prose: parts that a server has made, each with a name at the call
        self,
        site: Site,
        settings: Settings,
        *,
        wake: Callable[[], None],
        now: Instant,
        client: Client = NOBODY,
        forwarding: Forwarding,
        unfinished: TotalUnfinished,
        is_foreign: Callable[[bytes], bool] = _is_never_foreign,
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        """Begins with the first head; `is_foreign` says of each whole head whether its request is another wire's."""
        self.due = now.monotonic + settings.handshake_timeout_seconds
        self.finished = False
        self.aborted = False
        self.foreign: bytes | None = None
        """All that has come since the beginning of a request that is another wire's; None until there is one."""
        self._site = site
        self._client = client
        self._asking = client
        """The client of the request whose response is being made: another one where a proxy passes it on."""
        self._forwarding = forwarding
        self._is_foreign = is_foreign
        self._body = bytearray()
        self._total = unfinished
        self._unfinished: Unfinished | None = None
        """The account of a body that is not whole."""
        self._patience_seconds = settings.handshake_timeout_seconds
        self._kept_seconds = kept_seconds
        self._wake = wake
        self._connection = _new_connection()
        """The machine of one request: what comes behind that, it is never given twice."""
        self._unread = bytearray()
        """The bytes of a request whose head is not whole, or has not been looked at."""
        self._searched = 0
        """The bytes of it in which its head does not end."""
        self._request: h11.Request | None = None
        self._state = HEAD
        self._awaited: Pending[Page] | None = None
        """The response that is awaited."""
        self._output = b""
        """The rest of the response that is being taken."""
        self._input_ended = False
        self._draining = False
        """True from the beginning of a shutdown on: each response is the last of its connection."""
        self._floods: FloodCount | None = None
        """The requests that came too soon, from the first on."""

    def receive(self, data: bytes, now: Instant) -> None:
        """Reads bytes that arrived, and processes them up to the end of one request."""
        if self.finished:
            return
        if self._state == KEPT:
            self._state = _ON_HEAR[self._state]
            self.due = now.monotonic + self._patience_seconds
        if self._state in (HEAD, RESTING):
            self._unread += data
        else:
            self._connection.receive_data(data)
        self._advance(now)

    def receive_eof(self, now: Instant) -> None:
        """Hears that the client will ask for nothing more."""
        if self.finished:
            return
        self._input_ended = True
        if self._state == KEPT:
            self.finished = True
        elif self._state in (READING, STOPPED):
            self._connection.receive_data(b"")
        self._advance(now)

    def connection_lost(self, now: Instant) -> None:
        """Keeps nothing: the connection is gone."""
        self._forget_body(now)
        self._wait_no_more()

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """Begins a shutdown: the present response is the last, and a connection without a request ends."""
        self._draining = True
        if self._state == AWAITING:
            self._site.turned_away(self._asking)
            self._refuse(503, now)
        if self._state == KEPT or (self._state == HEAD and not self._unread):
            self.finished = True

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns None: there is always more to look at."""
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns what to write now, at most `most` bytes; when the response is taken, the next request is begun."""
        if self._unfinished is not None:
            self._pace(self._unfinished, now)
        if self._state == RESTING:
            self._state = _ON_LISTEN[self._state]
            self._advance(now)
        if self._output:
            piece, self._output = self._output[:most], self._output[most:]
            self.due = now.monotonic + self._patience_seconds
            return [piece]
        if self._connection.our_state in _OVER:
            self.finished = True
        elif self._state == REPLYING and self._connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._begin_next_request(now)
        return []

    def reading(self) -> bool:
        """Returns whether more input is welcome; at the end it is, since a client's own end comes with it."""
        return self.finished or self._state <= READING

    def expire(self, now: Instant) -> None:
        """Ends a connection that asks for nothing any more, drops one that is slow; a body may have to give way."""
        message = self._unfinished
        if self._state == KEPT and not self.finished:
            self.finished = True
            self.due = now.monotonic + self._patience_seconds
            self._wake()
            return
        if message is None or not message.is_stopped:
            self.aborted = True
            return
        message.expire(now)
        if self._unfinished is not None:
            self._pace(message, now)
            # Where it was resumed, it reads again.
            self._wake()

    def _pace(self, message: Unfinished, now: Instant) -> None:
        """Stops or resumes reading, as the server's account of unfinished messages says."""
        if message.is_stopped:
            self._state = _ON_STOP[self._state]
            self.due = message.due
        elif self._state == STOPPED:
            self._state = _ON_GO_ON[self._state]
            self.due = now.monotonic + self._patience_seconds

    def _forget_body(self, now: Instant) -> None:
        """Keeps nothing of a body any more."""
        self._body.clear()
        message, self._unfinished = self._unfinished, None
        if message is not None:
            message.leave(now)

    def _give_up(self, reason: DisconnectReason, now: Instant) -> None:
        """Refuses a request whose body is the largest of too much that is not whole."""
        self.due = now.monotonic + self._patience_seconds
        self._refuse(503, now)
        self._wake()

    def _begin_next_request(self, now: Instant) -> None:
        """Prepares for the next request, with a new h11 connection, when the response has been taken."""
        self._request = None
        rest, _ = self._connection.trailing_data
        self._connection = _new_connection()
        self._unread = bytearray(rest)
        self._searched = 0
        if rest:
            self._state = _ON_REST[self._state]
            self._wake()
            return
        self._state = _ON_KEEP[self._state]
        self.due = now.monotonic + self._kept_seconds
        self.finished = self._input_ended or self._draining

    def _advance(self, now: Instant) -> None:
        """Processes what has arrived, up to the end of one request."""
        try:
            if self._state == HEAD:
                self._look_at_head(now)
            while self._state == READING:
                event = self._connection.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event, now)
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    self._respond(self._request, now)
                elif isinstance(event, h11.Data):
                    self._keep(event.data, now)
                else:
                    break
            if self._body and self._state == READING:
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

    # A head.

    def _look_at_head(self, now: Instant) -> None:
        """Judges the head of a request, as soon as it is whole or malformed."""
        unread, searched = self._unread, self._searched
        at = unread.find(_END_OF_HEAD, max(0, searched - len(_END_OF_HEAD)))
        end = len(unread) if at < 0 else at + len(_END_OF_HEAD)
        self._searched = end
        if end > MAX_HEADER_BYTES:
            self._refuse(431, now)
        elif _bare_line_feed(unread, max(0, searched - 1), end) or (unread and unread[0] < _FIRST_OF_A_METHOD):
            self._refuse(400, now)
        elif at < 0:
            # What has come of a request is none where no more will come.
            self.finished = self._input_ended
        elif self._is_foreign(bytes(unread[:end])):
            self._state = _ON_LEAVE[self._state]
            self.foreign = bytes(unread)
        else:
            self._state = _ON_BEGIN[self._state]
            self._connection.receive_data(bytes(unread))
            self._unread = bytearray()
            if self._input_ended:
                self._connection.receive_data(b"")

    def _begin(self, request: h11.Request, now: Instant) -> None:
        """Begins a request whose head was read: refuses it, or asks for its body to come."""
        self._request = request
        names = [name for name, _ in request.headers]
        is_chunked, promised = b"transfer-encoding" in names, _promised_bytes(request)
        if request.http_version not in (b"1.0", b"1.1"):
            self._refuse(505, now)
        elif is_chunked and b"content-length" in names:
            self._refuse(400, now)
        elif promised > self._site.max_body_bytes > 0:
            self._refuse(413, now)
        elif (is_chunked or promised) and self._connection.they_are_waiting_for_100_continue:
            self._put(self._connection.send(h11.InformationalResponse(status_code=100, headers=[])))

    def _keep(self, data: bytes | bytearray, now: Instant) -> None:
        """Keeps part of a body for the service, and refuses the request if it is too large."""
        if self._site.max_body_bytes:
            self._body += data
            if len(self._body) > self._site.max_body_bytes:
                self._refuse(413, now)

    # A response.

    def _respond(self, request: h11.Request, now: Instant) -> None:
        """Asks the site for the response to a whole request, and sends it or waits for it."""
        path = path_of(request.target.decode("latin-1"))
        fields = list(request.headers)
        headers = joined(fields)
        self._asking = asking = self._forwarding.client_of(self._client, fields)
        question = HttpRequest(request.method.decode("latin-1"), path, headers, bytes(self._body), asking)
        page = self._site.respond(question, now)
        if isinstance(page, Pending):
            self._await(page, now)
        else:
            self._send(page, now)

    def _await(self, page: Pending[Page], now: Instant) -> None:
        """Waits for a response."""
        self._state = _ON_WAIT[self._state]
        self._forget_body(now)
        self.due = now.monotonic + self._patience_seconds
        self._awaited = page
        page.then(self._on_page)

    def _on_page(self, page: Page | SignalingError, now: Instant) -> None:
        """Sends the response that was awaited."""
        if isinstance(page, SignalingError):
            self._refuse(503, now)
        else:
            self._send(page, now)
        self._wake()

    def _wait_no_more(self) -> None:
        """Forgets the response that is awaited, if one is."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.abandon()

    def _is_flood(self, too_soon: TooSoon, now: Instant) -> bool:
        """Counts a request that came too soon; its client is held off if it floods with these.

        Returns whether the connection must end for that: it goes on if a proxy's other clients share it.
        """
        if self._asking is not self._client:
            if self._forwarding.count_too_soon(self._asking.address, too_soon.kind, too_soon.retry_after_ms, now):
                too_soon.hold_off(now)
            return False
        if self._floods is None:
            self._floods = FloodCount()
        if not self._floods.count(too_soon.kind, too_soon.retry_after_ms, now.monotonic):
            return False
        too_soon.hold_off(now)
        return True

    def _refuse(self, status: int, now: Instant) -> None:
        """Responds to a request that cannot be taken, and ends the connection: where the next begins is not known."""
        self._send(refused(status), now, last=True)

    def _send(self, page: Page, now: Instant, *, last: bool = False) -> None:
        """Puts a response into the output; `last`: the connection ends behind it."""
        headers = page.fields()
        if page.too_soon is not None and self._is_flood(page.too_soon, now):
            last = True
        if last or self._draining:
            headers.append(("connection", "close"))
        self._state = _ON_REPLY[self._state]
        self._forget_body(now)
        self._wait_no_more()
        response = h11.Response(status_code=page.status, headers=headers)
        self._put(self._connection.send(response))
        if self._request is None or self._request.method != b"HEAD":
            self._put(self._connection.send(h11.Data(data=page.body)))
        self._put(self._connection.send(h11.EndOfMessage()))

    def _put(self, data: bytes | None) -> None:
        """Appends bytes of a response to the output."""
        if data:
            self._output += data


def _promised_bytes(request: h11.Request) -> int:
    """Returns the length of a body as its request says it, 0 where it says none; h11 has looked at the number."""
    return max((int(value) for name, value in request.headers if name == b"content-length"), default=0)


def _new_connection() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)


def http_wires(
    site: Site,
    settings: Settings,
    *,
    unfinished: TotalUnfinished | None = None,
    is_foreign: Callable[[bytes], bool] = _is_never_foreign,
    kept_seconds: float = KEPT_SECONDS,
) -> Callable[[Client, Callable[[], None], Instant], HttpWire]:
    """Returns a factory of wires that serve a site.

    `is_foreign` says of each head of a request whether it is another wire's, which then gets the connection. Between
    two requests a connection is kept for `kept_seconds`. Listeners that are given the same `unfinished` share its
    bound.
    """
    total = TotalUnfinished(settings) if unfinished is None else unfinished
    forwarding = forwarding_of(settings)
    return lambda client, wake, now: HttpWire(
        site,
        settings,
        wake=wake,
        now=now,
        client=client,
        forwarding=forwarding,
        unfinished=total,
        is_foreign=is_foreign,
        kept_seconds=kept_seconds,
    )
