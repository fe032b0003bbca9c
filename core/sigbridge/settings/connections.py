"""Settings of connections: how they begin, how it is found out that one is dead, and how they end."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, switch


@dataclass(frozen=True, kw_only=True)
class Connections(Subject):
    """The time limits of handshakes, keepalive, closing and draining, and what is negotiated."""

    title: ClassVar[str] = "Connections"

    handshake_timeout_seconds: float = seconds(
        10.0, "SIGNALING_HANDSHAKE_TIMEOUT_SEC", "how long a TLS and WebSocket handshake may take, each"
    )
    websocket_compression: bool = switch(
        False,
        "SIGNALING_WS_COMPRESSION",
        "whether permessage-deflate is accepted; it costs about 40 kB a connection and doubles the CPU per message",
    )
    ping_interval_seconds: float = seconds(
        20.0,
        "SIGNALING_PING_INTERVAL_SEC",
        "time after which a client is pinged that said nothing, or was sent nothing, for so long",
    )
    ping_timeout_seconds: float = seconds(
        20.0, "SIGNALING_PING_TIMEOUT_SEC", "how long a pinged client may stay silent before it counts as gone"
    )
    grpc_max_connection_age_seconds: float = seconds(
        86400.0,
        "GRPC_MAX_CONNECTION_AGE_SEC",
        "age at which a gRPC connection is closed, and its client expected back; frees what a client that never reads "
        "holds; 0: never",
        zero=True,
    )
    grpc_max_connection_idle_seconds: float = seconds(
        300.0,
        "GRPC_MAX_CONNECTION_IDLE_SEC",
        "how long a gRPC connection without a call is kept; its client connects again when it has one; 0: for ever",
        zero=True,
    )
    close_timeout_seconds: float = seconds(
        5.0, "SIGNALING_CLOSE_TIMEOUT_SEC", "how long a client may take to finish the closing handshake"
    )
    shutdown_grace_seconds: float = seconds(
        5.0, "SIGNALING_SHUTDOWN_GRACE_SEC", "how long a shutdown may take, stalled clients included"
    )
