"""One door to both protocols: `connect` picks the client by the URL's scheme."""

from urllib.parse import urlsplit

from sigbridge.client import ConnectionClosed, SignalingClient
from sigbridge_net.tls import client_context

__all__ = ["ConnectionClosed", "SignalingClient", "connect"]

SCHEMES = ("grpc", "grpcs", "ws", "wss")


async def connect(url: str, *, root_certificates: bytes | None = None) -> SignalingClient:
    """Open a session with a signaling server.

    `url` is `grpc://HOST:PORT`, `grpcs://HOST:PORT`, `ws://HOST:PORT/PATH` or `wss://HOST:PORT/PATH`; with the secure
    schemes, `root_certificates` (PEM) replaces the system's authorities. Raises ValueError where the URL is none of
    these, ConnectionClosed where the server cannot be reached.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(
            f"{url!r} is no signaling URL: expected one of {', '.join(s + '://HOST:PORT' for s in SCHEMES)}"
        )
    if parts.scheme in ("grpc", "grpcs"):
        from sigbridge_grpc.client import GrpcSignalingClient

        return await GrpcSignalingClient.connect(
            parts.netloc, secure=parts.scheme == "grpcs", root_certificates=root_certificates
        )
    from sigbridge_websocket.client import WebSocketSignalingClient

    tls = client_context(root_certificates) if parts.scheme == "wss" else None
    return await WebSocketSignalingClient.connect(url, tls=tls)
