"""Tells the protocols of one address apart: HTTP/2, which is gRPC's wire, WebSocket, and the rest of HTTP/1.1.

Rule 1: the first bytes decide between the versions of HTTP: HTTP/2 begins with a preface that no request of HTTP/1.1
can begin with. Rule 2: of HTTP/1.1, each request is judged anew: one that asks to upgrade to WebSocket is WebSocket's,
which also knows how to refuse it; all else is for pages, and an upgrade to anything else is ignored (RFC 9110, 7.8).
So a proxy that sends the requests of several clients on one connection gets the same responses on any of its own.
Rule 3: until it is decided, nothing is made and little is kept, for a limited time. Rule 4: the carrier goes on with
the wire of gRPC or WebSocket and forgets this one; what happens before it does so is passed on. In front of pages this
wire stays, since they may have to give the connection away. Rule 5: TLS at a port without it is refused at its first
byte.

The states of a connection, and what leads from one to the next:

    undecided ──a preface of HTTP/2──▶ of gRPC          (the carrier goes on with that wire)
        ├──a request for WebSocket────▶ of WebSocket    (likewise)
        ├──TLS where there is none────▶ of the refusal  (likewise)
        ├──any other bytes────────────▶ of pages ──a request for WebSocket──▶ of WebSocket
        └──the end of the input, a drain──▶ finished    its time is up──▶ aborted
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from sigbridge.instant import NEVER, Instant
from sigbridge.settings import Settings
from sigbridge_net.first_bytes import TLS_HANDSHAKE
from sigbridge_net.wire import Client, Wire, WireFactory

HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, section 3.4."""
_END_OF_HEAD: Final = b"\r\n\r\n"
_upgrade_to_websocket: Final = re.compile(rb"\r\nupgrade:[^\r\n]*\bwebsocket\b", re.IGNORECASE).search


class PagesWire(Wire, Protocol):
    """The wire of pages."""

    foreign: bytes | None
    """All that has come since the beginning of a request that is no page's; None until there is one."""


PagesWireFactory: TypeAlias = Callable[[Client, Callable[[], None], Instant], PagesWire]


class Behind(NamedTuple):
    """The wires behind one address."""

    grpc: WireFactory | None
    websocket: WireFactory
    tls: WireFactory | None
    """For clients that speak TLS; None where the port does so itself."""
    pages: PagesWireFactory


Front: TypeAlias = Callable[[WireFactory | None], WireFactory]
"""Makes the wires of one listener; it is given those of clients that speak TLS, where the port has none."""


class FrontWire:
    """A connection of which not every request is known yet, until the wire of gRPC or WebSocket takes over."""

    __slots__ = (
        "_aborted",
        "_behind",
        "_client",
        "_due",
        "_finished",
        "_input_ended",
        "_pages",
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
        self._pages: PagesWire | None = None
        """The same wire, while it is that of pages."""
        self._input_ended = False
        self._due = now.monotonic + settings.handshake_timeout_seconds
        self._finished = False
        self._aborted = False

    @property
    def due(self) -> float:
        """Time at which `expire` next wants to be called (monotonic seconds)."""
        return self._due if self._wire is None else self._wire.due

    @property
    def finished(self) -> bool:
        """True once everything is said."""
        return self._finished if self._wire is None else self._wire.finished

    @property
    def aborted(self) -> bool:
        """True once nobody is listening any more."""
        return self._aborted if self._wire is None else self._wire.aborted

    @property
    def successor(self) -> Wire | None:
        """The wire of gRPC or WebSocket, once it is known to be that."""
        return self._wire if self._pages is None else None

    def receive(self, data: bytes, now: Instant) -> None:
        """Takes bytes that arrived."""
        if self._wire is not None:
            self._wire.receive(data, now)
        elif not self._finished:
            self._seen += data
            self._decide(now)
        self._follow(now)

    def receive_eof(self, now: Instant) -> None:
        """The client will send no more."""
        self._input_ended = True
        if self._wire is not None:
            self._wire.receive_eof(now)
        else:
            self._finished = True

    def connection_lost(self, now: Instant) -> None:
        """The connection is gone."""
        if self._wire is not None:
            self._wire.connection_lost(now)

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """The server is shutting down."""
        if self._wire is not None:
            self._wire.drain(now, grace_seconds)
        else:
            self._finished = True

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns None: there is always more to look at."""
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns what to write now."""
        output = [] if self._wire is None else self._wire.take_output(most, now)
        self._follow(now)
        return output

    def reading(self) -> bool:
        """Returns True where more input is welcome."""
        return self._wire is None or self._wire.reading()

    def expire(self, now: Instant) -> None:
        """Does what is due; a client that does not say what it wants is dropped."""
        if self._wire is not None:
            self._wire.expire(now)
        else:
            self._aborted = True

    def _decide(self, now: Instant) -> None:
        """Begins the wire of the protocol that the first bytes show, once they show it."""
        seen, behind = self._seen, self._behind
        if behind.tls is not None and seen.startswith(TLS_HANDSHAKE):
            self._begin(behind.tls, now)
        elif behind.grpc is not None and HTTP2_PREFACE.startswith(seen[: len(HTTP2_PREFACE)]):
            if len(seen) >= len(HTTP2_PREFACE):
                self._begin(behind.grpc, now)
        elif _END_OF_HEAD in seen and asks_for_websocket(seen[: seen.index(_END_OF_HEAD)] + b"\r\n"):
            # As pages would find out by themselves, but nearly all come this way.
            self._begin(behind.websocket, now)
        else:
            self._wire = self._pages = behind.pages(self._client, self._wake, now)
            self._seen = b""
            self._pages.receive(seen, now)

    def _begin(self, factory: WireFactory, now: Instant) -> None:
        self._wire = factory(self._client, self._wake, now)
        seen, self._seen = self._seen, b""
        self._wire.receive(seen, now)

    def _follow(self, now: Instant) -> None:
        """Gives the connection to WebSocket's wire, if that of pages has left it."""
        pages = self._pages
        if pages is None or pages.foreign is None:
            return
        self._pages = None
        self._seen = pages.foreign
        self._begin(self._behind.websocket, now)
        if self._input_ended and self._wire is not None:
            self._wire.receive_eof(now)
        self._wake()


def asks_for_websocket(head: bytes) -> bool:
    """Returns whether a request of HTTP/1.1, whose whole head this is, asks to upgrade to WebSocket (RFC 6455, 4.2.1).

    It may still be none that can be accepted.
    """
    return _upgrade_to_websocket(head) is not None


def front_wires(
    settings: Settings, *, grpc: WireFactory | None, websocket: WireFactory, pages: PagesWireFactory
) -> Front:
    """Returns a factory of wires for all protocols of an address; without `grpc`, HTTP/2 is refused."""

    def front(tls: WireFactory | None) -> WireFactory:
        behind = Behind(grpc, websocket, tls, pages)
        return lambda client, wake, now: FrontWire(settings, behind, client, wake, now)

    return front
