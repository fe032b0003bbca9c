"""Requests and responses of HTTP, whichever version carries them: pages that are made when asked for, and a service.

Rule 1: one function makes a request's response, `Site.respond`; the wires of HTTP/1.1 and HTTP/2 carry both, and leave
out the body where HEAD asks. Rule 2: no response has a field about a connection: what its wire must say of that,
it adds. Rule 3: a page with an entity tag is not sent again to who has it (RFC 9110, sections 13.1.2 and 15.4.5).
Source: RFC 9110.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge_net.wire import Client

_NOT_MODIFIED: Final = 304


class TooSoon(NamedTuple):
    """The rate limit's refusal of a request, which its connection counts: that of a client that floods is ended."""

    kind: str
    retry_after_ms: int
    hold_off: Callable[[Instant], None]
    """Keeps out who floods with these."""


class Page:
    """A page as it is now, or another response."""

    __slots__ = ("body", "content_type", "etag", "headers", "status", "too_soon")

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "text/plain; charset=utf-8",
        headers: Sequence[tuple[str, str]] = (),
        too_soon: TooSoon | None = None,
        etag: str = "",
    ) -> None:
        """With an entity tag, quotes included, caches may keep it, and ask each time whether it is current."""
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.too_soon = too_soon
        self.etag = etag

    def fields(self) -> list[tuple[str, str]]:
        """Returns the header fields of the response, by name in lower case."""
        kept = [("cache-control", "no-cache"), ("etag", self.etag)] if self.etag else [("cache-control", "no-store")]
        if self.status == _NOT_MODIFIED:
            return [*kept, *self.headers]
        content = [("content-type", self.content_type), ("content-length", str(len(self.body)))]
        return [*content, *kept, *self.headers]

    def unless_known(self, if_none_match: str) -> "Page":
        """Returns the response to a client that may have the page, by its `If-None-Match` (empty: it has none)."""
        known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        if not self.etag or known.isdisjoint((self.etag, "*")):
            return self
        return Page(_NOT_MODIFIED, b"", headers=self.headers, etag=self.etag)


Pages: TypeAlias = Mapping[str, Callable[[], Page]]
"""Path to page."""


class HttpRequest(NamedTuple):
    """One request."""

    method: str
    path: str
    """The path without a query."""
    headers: Mapping[str, str]
    """By name in lower case; two of a name are joined by a comma (RFC 9110, section 5.3)."""
    body: bytes
    client: Client

    def __repr__(self) -> str:
        # Headers hold tokens.
        return f"HttpRequest({self.method!r}, {self.path!r}, headers and body of {len(self.body)} bytes hidden)"


class HttpService(Protocol):
    """A service, which responds to requests for other paths than those of pages."""

    paths: frozenset[str]
    """The paths that are the service's."""

    max_body_bytes: int

    def respond(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        """Returns the response, or what resolves to one, to a request for one of its paths."""

    def turned_away(self, client: Client) -> None:
        """Hears of a client that is told of a shutdown in place of a response that was awaited."""


class Site:
    """The pages and the service of one listener."""

    def __init__(self, pages: Pages, service: HttpService | None = None) -> None:
        self._pages = pages
        self._service = service
        self.paths = frozenset(pages) | (frozenset() if service is None else service.paths)
        """The paths of all that is there."""
        self.max_body_bytes = 0 if service is None else service.max_body_bytes
        """The bytes of a request's body that are kept for the service; 0: without one, a body is for nobody."""

    def respond(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        """Returns the response to a request, or what resolves to one."""
        make = self._pages.get(request.path)
        if make is not None:
            if request.method in ("GET", "HEAD"):
                return make().unless_known(request.headers.get("if-none-match", ""))
            return Page(405, b"method not allowed\n", headers=[("allow", "GET, HEAD")])
        if self._service is not None and request.path in self._service.paths:
            return self._service.respond(request, now)
        if "sec-websocket-key" in request.headers and "upgrade" not in request.headers:
            return Page(400, b"a WebSocket handshake without Upgrade: a proxy may have dropped it\n")
        return Page(404, b"not found\n")

    def turned_away(self, client: Client) -> None:
        """Hears of a client that is told of a shutdown in place of a response that was awaited."""
        if self._service is not None:
            self._service.turned_away(client)


def refused(status: int) -> Page:
    """Returns the response to a request that cannot be taken as it is, or not now (503)."""
    return Page(status, b"try again later\n" if status == 503 else b"bad request\n")


def joined(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Returns the fields of a request by their names."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def path_of(target: str) -> str:
    """Returns the path of a request's target, without a query."""
    return target.partition("?")[0]
