"""Settings of capacity: how much the server takes on at once."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, whole


@dataclass(frozen=True, kw_only=True)
class Capacity(Subject):
    """The most sessions, connections and memory, beyond which nobody new is let in; and of unfinished messages."""

    title: ClassVar[str] = "Capacity"

    max_sessions: int = whole(20000, "SIGNALING_MAX_SESSIONS", "open sessions at once, both protocols together")
    max_sessions_per_identity: int = whole(
        0, "SIGNALING_MAX_SESSIONS_PER_IDENTITY", "open sessions at once of one identity; 0: no limit", least=0
    )
    max_sessions_per_address: int = whole(
        0,
        "SIGNALING_MAX_SESSIONS_PER_ADDRESS",
        "open sessions at once from one address, or from one /64 of IPv6; 0: no limit",
        least=0,
    )
    max_connections: int = whole(
        0,
        "SIGNALING_MAX_CONNECTIONS",
        "open connections at once, with a session or without; a further one is closed as soon as it is accepted; "
        "0: 1000 and twice SIGNALING_MAX_SESSIONS; at most the file descriptors of the process less 64, half of that "
        "for each of gRPC and WebSocket with GRPC_ENGINE=grpcio",
        least=0,
    )
    max_memory_mb: int = whole(
        0,
        "GRPC_MAX_MEMORY_MB",
        "resident memory in MiB above which no sessions are let in and health is degraded, until it is 10 % below; "
        "0: no limit",
        least=0,
    )

    max_unfinished_bytes: int = whole(
        67108864,
        "SIGNALING_MAX_UNFINISHED_BYTES",
        "bytes of messages that are not whole yet, of all connections together, beyond which nothing more is read of "
        "the largest (those up to 64 KiB have a quarter more); a quarter of GRPC_MAX_MEMORY_MB where that is set and "
        "less",
    )

    @property
    def unfinished_limit(self) -> int:
        """The number of bytes that all messages that are not whole yet may have together."""
        if not self.max_memory_mb:
            return self.max_unfinished_bytes
        return min(self.max_unfinished_bytes, self.max_memory_mb * 2**20 // 4)

    @property
    def connection_limit(self) -> int:
        """The number of connections that there may be at once."""
        return self.max_connections or 1000 + 2 * self.max_sessions
