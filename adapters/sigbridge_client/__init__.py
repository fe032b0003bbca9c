"""One door to both protocols: `connect` picks the client by the URL's scheme."""

from urllib.parse import urlsplit

from sigbridge import errors
from sigbridge.client import ConnectionClosed, SignalingClient
from sigbridge.errors import SigbridgeError
from sigbridge_net.access import Access, shown_url
from sigbridge_net.client_session import ClientSession
from sigbridge_net.reaching import unix_path
from sigbridge_net.renewal import TokenSource, ask

__all__ = ["ConnectionClosed", "SignalingClient", "TokenSource", "UrlError", "connect"]

UNAUTHENTICATED = errors.unauthenticated().word
SCHEMES = ("grpc", "grpcs", "ws", "wss")


class UrlError(SigbridgeError, ValueError):
    """A URL is none of a signaling server; the text holds it, and says what would be one."""


async def connect(
    url: str,
    *,
    token: str | TokenSource | None = None,
    root_certificates: bytes | None = None,
    certificate_file: str = "",
    key_file: str = "",
) -> SignalingClient:
    """Open a session with a signaling server.

    `url` is `grpc://HOST:PORT`, `grpcs://HOST:PORT`, `ws://HOST:PORT/PATH` or `wss://HOST:PORT/PATH`, or a unix socket:
    `grpc+unix:/PATH` or `ws+unix:/PATH`, with `grpcs` and `wss` where TLS is spoken there, by a certificate that names
    localhost. `token` is the API token, where the server asks for one, or a function that returns one, or a coroutine
    of it. It is called now, again where the server refuses what it returned, and before a token ends: the fresh one is
    shown in the session. One that is no coroutine function is called in a thread, since it may block. With the secure
    schemes, `root_certificates` (PEM) replaces the system's authorities, and `certificate_file` and `key_file` (PEM)
    are shown where the server asks for a certificate.

    Raises UrlError where the URL is none of these, AccessError where the token or the authorities cannot be used,
    ConnectionClosed where the server cannot be reached or lets nobody in by these credentials, and what `token` raises.
    """
    parts = _parts(url)

    def access(shown: str | None) -> Access:
        return Access(
            token=shown, root_certificates=root_certificates, certificate_file=certificate_file, key_file=key_file
        )

    if not callable(token):
        return await _open(url, parts, access(token))
    shown = await ask(token)
    try:
        client = await _open(url, parts, access(shown))
    except ConnectionClosed as refused:
        # It may have been replaced a moment ago.
        fresh = await ask(token) if refused.reason == UNAUTHENTICATED else shown
        if fresh == shown:
            raise
        shown = fresh
        client = await _open(url, parts, access(shown))
    if shown:
        client.renew_tokens(token, shown)
    return client


async def _open(url: str, parts: tuple[str, str], access: Access) -> ClientSession:
    scheme, target = parts
    if scheme in ("grpc", "grpcs"):
        from sigbridge_grpc.client import GrpcSignalingClient

        return await GrpcSignalingClient.connect(target, secure=scheme == "grpcs", access=access)
    from sigbridge_websocket.client import WebSocketSignalingClient

    return await WebSocketSignalingClient.connect(url, access=access)


def _parts(url: str) -> tuple[str, str]:
    """The scheme of a signaling URL, and `HOST:PORT` or `unix:/PATH`; UrlError where it is none."""
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
        f"{shown_url(url)!r} is no signaling URL: expected one of {', '.join(s + '://HOST:PORT' for s in SCHEMES)}"
    )
