"""Opening sessions: which servers there are, by which protocol each is spoken to, and what is shown to them.

Rule 1: of several servers the last good one is tried first, and the others in the order in which they are named.
Rule 2: a function that gives tokens is asked once for each round, and again where the server refuses what it returned:
it may have been replaced a moment ago.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from sigbridge import errors
from sigbridge.client import ConnectionClosed
from sigbridge.errors import SigbridgeError
from sigbridge_net.access import Access, shown_url
from sigbridge_net.client_session import ClientSession
from sigbridge_net.reaching import unix_path
from sigbridge_net.renewal import TokenSource, ask

logger = logging.getLogger("sigbridge.client")

UNAUTHENTICATED: Final = errors.unauthenticated().word
SCHEMES: Final = ("grpc", "grpcs", "ws", "wss")
DIALECTS: Final = ("plain", "dotted")


class UrlError(SigbridgeError, ValueError):
    """A URL is none of a signaling server; the text holds it, and says what would be one."""


class DialectError(SigbridgeError, ValueError):
    """There is no such dialect, or the URL's protocol has no dialects."""


@dataclass(frozen=True)
class Place:
    """One server: its URL, and what follows from it."""

    url: str
    scheme: str
    target: str
    """`HOST:PORT` or `unix:/PATH`."""
    dialect: str


def place_of(url: str, dialect: str) -> Place:
    """Returns the place that a URL names.

    :raises UrlError: if the URL is invalid.
    :raises DialectError: if its protocol has no such dialect.
    """
    scheme, target = _parts(url)
    if dialect not in DIALECTS:
        raise DialectError(f"{dialect!r} is not a dialect: expected one of {', '.join(DIALECTS)}")
    if dialect != "plain" and scheme not in ("ws", "wss"):
        raise DialectError(f"the {dialect} dialect is one of JSON-RPC over WebSocket: expected ws:// or wss://")
    return Place(url, scheme, target, dialect)


class Opening:
    """Opens sessions with one of several servers."""

    def __init__(
        self, places: Sequence[Place], token: str | TokenSource | None, access: Access, keepalive_seconds: float
    ) -> None:
        """`access` is what is shown besides the token."""
        self._places = list(places)
        self._token = token
        self._access = access
        self.keepalive_seconds = keepalive_seconds

    @property
    def gives_tokens(self) -> bool:
        """True where a function gives the tokens."""
        return callable(self._token)

    def show(self, token: str) -> None:
        """Shows another token from now on; without effect where a function gives the tokens."""
        if not callable(self._token):
            self._token = token

    async def open(self, *, outlived: bool = False) -> ClientSession:
        """Opens a session with the first of the servers that accepts; `outlived`: its client goes on when it ends.

        What the function raises that gives the token is raised here.

        :raises ConnectionClosed: if no server accepts; the first failure after which to try again, or else the first.
        :raises AccessError: if the function gives a token that cannot be used.
        """
        shown = self._token if not callable(self._token) else await ask(self._token)
        asked_again = not callable(self._token)
        failures: list[ConnectionClosed] = []
        untried = list(self._places)
        while untried:
            place = untried[0]
            logger.debug("connecting to %s", shown_url(place.url))
            try:
                access = replace(self._access, token=shown)
                session = await _open(place, access, self.keepalive_seconds, outlived=outlived)
            except ConnectionClosed as refused:
                if callable(self._token) and refused.reason == UNAUTHENTICATED and not asked_again:
                    asked_again = True
                    fresh = await ask(self._token)
                    if fresh != shown:
                        shown = fresh
                        continue
                failures.append(refused)
                untried.remove(place)
                continue
            self._places.remove(place)
            self._places.insert(0, place)
            if callable(self._token) and shown:
                session.renew_tokens(self._token, shown)
            return session
        raise min(failures, key=lambda failure: failure.reconnect is False)


async def _open(place: Place, access: Access, keepalive_seconds: float, *, outlived: bool) -> ClientSession:
    """Opens a session with one server, by the client of its protocol.

    `outlived`: its owner sends the signs of life.
    """
    if outlived:
        # The client that outlives it watches over it.
        keepalive_seconds = 0
    if place.scheme in ("grpc", "grpcs"):
        from sigbridge_grpc.client import GrpcSignalingClient

        return await GrpcSignalingClient.connect(
            place.target,
            secure=place.scheme == "grpcs",
            access=access,
            keepalive_seconds=keepalive_seconds,
            own_connection=outlived,
        )
    from sigbridge_websocket.client import WebSocketSignalingClient

    return await WebSocketSignalingClient.connect(
        place.url, dialect=place.dialect, access=access, keepalive_seconds=keepalive_seconds
    )


def _parts(url: str) -> tuple[str, str]:
    """Returns the scheme of a signaling URL, and `HOST:PORT` or `unix:/PATH`.

    :raises UrlError: if the URL is invalid.
    """
    try:
        url.encode()
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        scheme, plus, kind = parts.scheme.partition("+")
        if scheme in SCHEMES and plus and kind == "unix" and not host and len(parts.path) > 1:
            return scheme, f"unix:{unix_path(url)}"
        # As a resolver will.
        if scheme in SCHEMES and not plus and host and host.encode("idna"):
            return scheme, parts.netloc.rpartition("@")[2]
    except ValueError:
        pass
    raise UrlError(
        f"{shown_url(url)!r} is not a signaling URL: expected one of {', '.join(s + '://HOST:PORT' for s in SCHEMES)}"
    )
