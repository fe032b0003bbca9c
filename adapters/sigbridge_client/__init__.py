"""One door to both protocols: `connect` picks the client by the URL's scheme."""

from urllib.parse import urlsplit

from sigbridge.client import ConnectionClosed, SignalingClient
from sigbridge_net.access import Access

__all__ = ["ConnectionClosed", "SignalingClient", "connect"]

SCHEMES = ("grpc", "grpcs", "ws", "wss")


async def connect(
    url: str,
    *,
    token: str | None = None,
    root_certificates: bytes | None = None,
    certificate_file: str = "",
    key_file: str = "",
) -> SignalingClient:
    """Open a session with a signaling server.

    `url` is `grpc://HOST:PORT`, `grpcs://HOST:PORT`, `ws://HOST:PORT/PATH` or `wss://HOST:PORT/PATH`. `token` is the
    API token, where the server asks for one. With the secure schemes, `root_certificates` (PEM) replaces the system's
    authorities, and `certificate_file` and `key_file` (PEM) are shown where the server asks for a certificate.

    Raises ValueError where the URL is none of these, ConnectionClosed where the server cannot be reached or lets nobody
    in by these credentials.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(
            f"{url!r} is no signaling URL: expected one of {', '.join(s + '://HOST:PORT' for s in SCHEMES)}"
        )
    access = Access(
        token=token, root_certificates=root_certificates, certificate_file=certificate_file, key_file=key_file
    )
    if parts.scheme in ("grpc", "grpcs"):
        from sigbridge_grpc.client import GrpcSignalingClient

        return await GrpcSignalingClient.connect(parts.netloc, secure=parts.scheme == "grpcs", access=access)
    from sigbridge_websocket.client import WebSocketSignalingClient

    return await WebSocketSignalingClient.connect(url, access=access)
