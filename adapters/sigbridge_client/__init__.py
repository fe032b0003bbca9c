"""One door to both protocols: `connect` picks the client by the URL's scheme."""

from collections.abc import Sequence

from sigbridge.client import (
    ConnectionClosed,
    OutcomeUnknown,
    Reconnecting,
    Resumed,
    SessionLost,
    SignalingClient,
)
from sigbridge.settings.connections import CLIENT_KEEPALIVE_SECONDS
from sigbridge_client.opening import DIALECTS, DialectError, Opening, UrlError, place_of
from sigbridge_client.resuming import ResumingClient
from sigbridge_net.access import Access
from sigbridge_net.renewal import TokenSource

__all__ = [
    "DIALECTS",
    "ConnectionClosed",
    "DialectError",
    "OutcomeUnknown",
    "Reconnecting",
    "Resumed",
    "SessionLost",
    "SignalingClient",
    "TokenSource",
    "UrlError",
    "connect",
]


async def connect(  # prose: most callers give a URL and no more; each of the others has a name at the call
    url: str | Sequence[str],
    *,
    resume: bool = True,
    give_up_after_seconds: float | None = None,
    dialect: str = "plain",
    token: str | TokenSource | None = None,
    root_certificates: bytes | None = None,
    certificate_file: str = "",
    key_file: str = "",
    keepalive_seconds: float = CLIENT_KEEPALIVE_SECONDS,
) -> SignalingClient:
    """Opens a session with a signaling server, and another one whenever it is lost.

    With `resume` the client reconnects by itself, stays the same peer if the server holds it, and tells of it among its
    events (`Reconnecting`, `Resumed`, `SessionLost`). It tries until a session stands, or for `give_up_after_seconds`
    after a loss. Without it the client ends with its connection.
    `url` is one URL, or several, of which the last good one is tried first: `grpc://HOST:PORT`, `grpcs://HOST:PORT`,
    `ws://HOST:PORT/PATH` or `wss://HOST:PORT/PATH`, or a unix socket: `grpc+unix:/PATH` or `ws+unix:/PATH`, with
    `grpcs` and `wss` where TLS is spoken there, by a certificate that names localhost. `dialect` is `plain`, or, over
    WebSocket, `dotted` for servers of the second generation; what the program says and is told is the same. `token` is
    the API token, if the server asks for one, or a function that returns one, or a coroutine of it. It is called for
    each connection, again if the server refuses what it returned, and before a token ends: the fresh one is shown in
    the session. One that is no coroutine function is called in a thread, since it may block. With the secure schemes,
    `root_certificates` (PEM) replaces the system's authorities, and `certificate_file` and `key_file` (PEM) are shown
    if the server asks for a certificate.
    Whenever nothing was sent for `keepalive_seconds`, a small request is, so that no proxy takes the session for
    unused, nor the server its client for gone; 0: never. With `resume`, one is sent whenever nothing came for so long,
    too, and a connection on which nothing comes then counts as lost.
    What the function `token` raises is raised here.

    :raises UrlError: if the URL is none of these.
    :raises DialectError: if its protocol has no such dialect.
    :raises AccessError: if the token or the authorities cannot be used.
    :raises ConnectionClosed: if the server cannot be reached, or refuses these credentials.
    """
    places = [place_of(one, dialect) for one in ([url] if isinstance(url, str) else url)]
    if not places:
        raise UrlError("there is no URL: expected one at least")
    access = Access(root_certificates=root_certificates, certificate_file=certificate_file, key_file=key_file)
    opening = Opening(places, token, access, keepalive_seconds)
    session = await opening.open(outlived=resume)
    return ResumingClient(opening, session, give_up_after_seconds=give_up_after_seconds) if resume else session
