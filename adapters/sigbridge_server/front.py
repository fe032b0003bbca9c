"""Tells the protocols of one address apart: gRPC over HTTP/2, WebSocket, and plain HTTP pages.

Rule 1: the first bytes decide: HTTP/2 begins with a preface that no HTTP/1.1 request can begin with. Rule 2: of
HTTP/1.1 requests, those for a page or a gRPC-Web method of ours that ask for no upgrade are answered so; all else is
WebSocket's, which also knows how to refuse. Rule 3: until it is decided, nothing is made and little is kept, for a
limited time. Rule 4: when it is decided, the carrier goes on with the wire of that protocol and forgets this one; what
happens before it does so is passed on.
"""

from collections.abc import Callable
from typing import NamedTuple

from sigbridge.instant import Instant
from sigbridge.settings import Settings
from sigbridge_net.wire import Client, Wire, WireFactory

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, section 3.4."""
MAX_HEAD_BYTES = 16384
"""A request head that is longer without an end goes to the WebSocket wire, which refuses it in its own words."""
_END_OF_HEAD = b"\r\n\r\n"


class Behind(NamedTuple):
    """The wires behind one address, and which paths of HTTP/1.1 are pages."""

    grpc: WireFactory | None
    websocket: WireFactory
    pages: WireFactory
    paths: frozenset[bytes]


class FrontWire:
    """A connection whose protocol is not known yet, until the wire of that protocol takes over."""

    __slots__ = (
        "_aborted",
        "_behind",
        "_client",
        "_due",
        "_finished",
        "_seen",
        "_wake",
        "_wire",
    )

    def __init__(
        self, settings: Settings, behind: Behind, client: Client, wake: Callable[[], None], now: Instant
    ) -> None:
        self._behind = behind
        self._client = client
        self._wake = wake
        self._seen = b""
        self._wire: Wire | None = None
        self._due = now.monotonic + settings.handshake_timeout_seconds
        self._finished = False
        self._aborted = False

    @property
    def due(self) -> float:
        """When `expire` next wants to be called (monotonic seconds)."""
        return self._due if self._wire is None else self._wire.due

    @property
    def finished(self) -> bool:
        """Whether everything is said."""
        return self._finished if self._wire is None else self._wire.finished

    @property
    def aborted(self) -> bool:
        """Whether nobody is listening any more."""
        return self._aborted if self._wire is None else self._wire.aborted

    @property
    def successor(self) -> Wire | None:
        """The wire of the protocol, once it is known."""
        return self._wire

    def receive(self, data: bytes, now: Instant) -> None:
        """Take bytes that arrived."""
        if self._wire is not None:
            self._wire.receive(data, now)
            return
        if self._finished:
            return
        self._seen += data
        factory = self._chosen()
        if factory is not None:
            self._wire = factory(self._client, self._wake, now)
            seen, self._seen = self._seen, b""
            self._wire.receive(seen, now)

    def receive_eof(self, now: Instant) -> None:
        """The client will send no more."""
        if self._wire is not None:
            self._wire.receive_eof(now)
        else:
            self._finished = True

    def connection_lost(self, now: Instant) -> None:
        """The connection is gone."""
        if self._wire is not None:
            self._wire.connection_lost(now)

    def drain(self, now: Instant) -> None:
        """The server is shutting down."""
        if self._wire is not None:
            self._wire.drain(now)
        else:
            self._finished = True

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns None: there is always more to look at."""
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """What to write now."""
        return [] if self._wire is None else self._wire.take_output(most, now)

    def reading(self) -> bool:
        """Whether more input is welcome."""
        return self._wire is None or self._wire.reading()

    def expire(self, now: Instant) -> None:
        """Do what is due; a client that does not say what it wants is dropped."""
        if self._wire is not None:
            self._wire.expire(now)
        else:
            self._aborted = True

    def _chosen(self) -> WireFactory | None:
        seen, behind = self._seen, self._behind
        if behind.grpc is not None and HTTP2_PREFACE.startswith(seen[: len(HTTP2_PREFACE)]):
            return behind.grpc if len(seen) >= len(HTTP2_PREFACE) else None
        if _END_OF_HEAD not in seen:
            return behind.websocket if len(seen) > MAX_HEAD_BYTES else None
        line, _, fields = seen[: seen.index(_END_OF_HEAD)].partition(b"\r\n")
        words = line.split(b" ")
        path = words[1].partition(b"?")[0] if len(words) == 3 else b""
        is_page = path in behind.paths and b"\nupgrade:" not in b"\n" + fields.lower()
        return behind.pages if is_page else behind.websocket


def front_wires(
    settings: Settings, *, grpc: WireFactory | None, websocket: WireFactory, pages: WireFactory, paths: frozenset[bytes]
) -> WireFactory:
    """The wires of a listener that serves them all; without `grpc`, HTTP/2 is refused like any strange request."""
    behind = Behind(grpc, websocket, pages, paths)
    return lambda client, wake, now: FrontWire(settings, behind, client, wake, now)
