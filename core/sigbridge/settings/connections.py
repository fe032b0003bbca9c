"""Settings of connections: how they begin, how it is found out that one is dead, and how they end."""

from dataclasses import dataclass
from typing import ClassVar, Final

from sigbridge.settings.declare import Subject, seconds, switch

CLIENT_KEEPALIVE_SECONDS: Final = 25.0
"""The interval in which our clients send something, where their programs do not say another."""
_LOST_KEEPALIVES: Final = 3
"""As many of these in a row must be missing before a client counts as silent."""


@dataclass(frozen=True, kw_only=True)
class Connections(Subject):
    """The time limits of handshakes, keepalive, closing and draining, and what is negotiated."""

    title: ClassVar[str] = "Connections"

    handshake_timeout_seconds: float = seconds(
        10.0, "SIGNALING_HANDSHAKE_TIMEOUT_SEC", "time limit of the TLS handshake, and of the WebSocket handshake"
    )
    websocket_compression: bool = switch(
        False,
        "SIGNALING_WS_COMPRESSION",
        "permessage-deflate is accepted; it costs about 40 kB per connection and doubles the CPU per message",
    )
    ping_interval_seconds: float = seconds(
        20.0,
        "SIGNALING_PING_INTERVAL_SEC",
        "a client that has sent nothing, or was sent nothing, for so long is pinged",
    )
    ping_timeout_seconds: float = seconds(
        20.0, "SIGNALING_PING_TIMEOUT_SEC", "a client that sends nothing for so long after a ping counts as lost"
    )
    silent_client_seconds: float = seconds(
        0.0,
        "SIGNALING_SILENT_CLIENT_SEC",
        "a session ends whose client sends nothing for so long: no request on a gRPC stream, no frame (pongs "
        "included) on a WebSocket; 75 or more, three times the keepalive of the Python clients, except in tests; "
        "0: never",
        zero=True,
    )
    grpc_max_connection_age_seconds: float = seconds(
        86400.0,
        "GRPC_MAX_CONNECTION_AGE_SEC",
        "age at which a gRPC connection is closed, after which its client reconnects; this frees the memory of "
        "clients that never read; 0: never",
        zero=True,
    )
    grpc_max_connection_idle_seconds: float = seconds(
        300.0,
        "GRPC_MAX_CONNECTION_IDLE_SEC",
        "a gRPC connection without a call is closed after so long; its client reconnects for its next call; 0: never",
        zero=True,
    )
    close_timeout_seconds: float = seconds(5.0, "SIGNALING_CLOSE_TIMEOUT_SEC", "time limit of the closing handshake")
    shutdown_grace_seconds: float = seconds(
        5.0,
        "SIGNALING_SHUTDOWN_GRACE_SEC",
        "time limit of a shutdown, stalled clients included; in its first half clients that asked for notices are "
        "told, and the server still serves",
    )

    @property
    def shortest_silence_seconds(self) -> float:
        """The silence below which clients are ended that send something as our own do, or that respond to pings."""
        return max(_LOST_KEEPALIVES * CLIENT_KEEPALIVE_SECONDS, self.ping_interval_seconds + self.ping_timeout_seconds)
