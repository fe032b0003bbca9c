"""A request over HTTP/2 that is no gRPC, as the method of a call: a page or gRPC-Web, which a `Site` serves.

Rule 1: what the response is, `Site.respond` says, as over HTTP/1.1; here is only what HTTP/2 makes of it. Rule 2: a
body is to a call what one long message is: it counts as unfinished and has its time. The response counts as one without
a session, so its call waits where too many of these wait. Rule 3: a call that ends before its response is refused.

The states of its response, and the verb of each step:

    collecting ──wait──▶ awaiting ──respond──▶ responded        collecting ──respond──▶ responded

Collecting, the request is not whole; awaiting, it is, and the site has no response yet.
"""

from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge_grpc.framing import Deframer, MessageTooBig
from sigbridge_grpc.method import Call, Ending, SessionlessMethod
from sigbridge_http2.events import Header
from sigbridge_net.pages import HttpRequest, Page, Site, joined, path_of, refused
from sigbridge_net.wire import Client

COLLECTING: Final = 0
AWAITING: Final = 1
RESPONDED: Final = 2

# What follows in each state.
#                         collecting  awaiting  responded
_ON_WAIT: Final[list[int]] = [AWAITING, AWAITING, RESPONDED]

CONTINUE: Final[tuple[Header, ...]] = ((b":status", b"100"),)
"""The response that lets a client send its body (RFC 9110, section 10.1.1)."""

_STATUSES: Final = {
    DisconnectReason.MESSAGE_TOO_BIG: 413,
    DisconnectReason.MESSAGE_TIMEOUT: 408,
    DisconnectReason.INTERNAL_ERROR: 500,
}
"""The refusals by what ended a call; others: 503."""


class Body(Deframer):
    """The body of a request, which is whole at the end of its stream; raises MessageTooBig above `max_bytes`."""

    def __init__(self, max_bytes: int, promised_bytes: int) -> None:
        super().__init__(max_bytes)
        self.promised_bytes: Final = promised_bytes
        """The length that the request says, 0 where it says none."""

    @property
    def unfinished(self) -> bool:
        """False: whatever has come is the body, where the client says that it is whole."""
        return False

    @property
    def expected_bytes(self) -> int:
        """The bytes of the body; 0 where they are not known."""
        return self.promised_bytes

    def next_message(self) -> bytes | None:
        """Returns None: the body is taken when it is whole.

        :raises MessageTooBig: if it cannot be taken.
        """
        if len(self.buffer) > self._max_bytes:
            self.clear()
            raise MessageTooBig
        return None


class PageMethod(SessionlessMethod):
    """The response to one request."""

    def __init__(self, call: Call, site: Site, headers: list[Header], body: Body, client: Client) -> None:
        super().__init__(call)
        self._site = site
        self._fields = headers
        self._client = client
        self._body = body
        self._state = COLLECTING
        self._awaited: Pending[Page] | None = None
        """The response that is awaited."""
        self.head: list[Header] = _head(Page(408, b""))
        """The header section of the response; while there is none, that of its end by the call's deadline."""

    def receive(self, message: bytes, now: Instant) -> None:
        """Does nothing: a body is no messages."""

    def half_close(self, now: Instant) -> None:
        """Asks for the response: the request is whole."""
        page = self._site.respond(self._request(), now)
        if isinstance(page, Pending):
            self._state = _ON_WAIT[self._state]
            self.head = _head(Page(503, b""))
            self._awaited = page
            page.then(self._on_page)
        else:
            self._take(page, now)

    def refuse(self, status: int) -> None:
        """Responds with an HTTP status to a request that cannot be taken; ignored if it has a response."""
        self._respond(refused(status))

    def cancel(self, reason: DisconnectReason, now: Instant) -> None:
        """Keeps nothing, and waits no more."""
        super().cancel(reason, now)
        self._wait_no_more()

    def fail(self, reason: DisconnectReason, message: str, now: Instant) -> None:
        """Refuses the request for this reason, where it has no response yet."""
        self.refuse(_STATUSES.get(reason, 503))

    def drain(self, now: Instant) -> None:
        """Refuses, with 503, a request whose response the site is still looking for; others end by themselves."""
        if self._state == AWAITING:
            self._site.turned_away(self._client)
            self.refuse(503)

    def _request(self) -> HttpRequest:
        """Returns the request for the site."""
        fields = [(name, value) for name, value in self._fields if not name.startswith(b":")]
        pseudo = dict(self._fields)
        method, target = (pseudo.get(name, b"").decode("latin-1") for name in (b":method", b":path"))
        return HttpRequest(method, path_of(target), joined(fields), bytes(self._body.buffer), self._client)

    def _on_page(self, page: Page | SignalingError, now: Instant) -> None:
        """Responds with the page that the service was asked for; an error becomes 503."""
        if isinstance(page, SignalingError):
            self.refuse(503)
        else:
            self._take(page, now)

    def _take(self, page: Page, now: Instant) -> None:
        """Responds with a page; a client that floods is told so first, and held off."""
        too_soon, address = page.too_soon, self._client.address
        if too_soon is not None and self._call.count_refusal(address, too_soon.kind, too_soon.retry_after_ms, now):
            too_soon.hold_off(now)
        self._respond(page)

    def _respond(self, page: Page) -> None:
        """Sends a page as the call's response, and ends the call; a second response is ignored."""
        if self._state == RESPONDED:
            return
        self._state = RESPONDED
        self._wait_no_more()
        self.head = _head(page)
        body = b"" if (b":method", b"HEAD") in self._fields else page.body
        if body:
            # Nobody asks how old it is.
            self.outbox.put_response(body, 0.0)
        # One without a body costs its share of a turn, too.
        self._call.hold(len(body))
        self._call.finish(Ending(0))

    def _wait_no_more(self) -> None:
        """Forgets the response that is awaited, if one is."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.abandon()


def _head(page: Page) -> list[Header]:
    """Returns the header section of a response as HTTP/2 carries it."""
    return [(b":status", b"%d" % page.status), *((name.encode(), value.encode()) for name, value in page.fields())]
