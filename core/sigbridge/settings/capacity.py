"""Settings of capacity: how much the server takes on at once."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, whole


@dataclass(frozen=True, kw_only=True)
class Capacity(Subject):
    """The most sessions, connections and memory, beyond which nobody new is let in; and of unfinished messages."""

    title: ClassVar[str] = "Capacity"

    max_sessions: int = whole(20000, "SIGNALING_MAX_SESSIONS", "most sessions at once, of both protocols together")
    max_sessions_per_identity: int = whole(
        0, "SIGNALING_MAX_SESSIONS_PER_IDENTITY", "most sessions at once of one identity; 0: no limit", least=0
    )
    max_sessions_per_address: int = whole(
        0,
        "SIGNALING_MAX_SESSIONS_PER_ADDRESS",
        "most sessions at once from one IPv4 address or IPv6 /64; 0: no limit",
        least=0,
    )
    max_connections: int = whole(
        0,
        "SIGNALING_MAX_CONNECTIONS",
        "most connections at once, with or without a session; any further one is closed once accepted; "
        "0: 1000 + 2 * SIGNALING_MAX_SESSIONS; never more than the file descriptor limit less 64, with "
        "GRPC_ENGINE=grpcio half of that for each protocol",
        least=0,
    )
    max_memory_mb: int = whole(
        0,
        "GRPC_MAX_MEMORY_MB",
        "resident memory in MiB above which new sessions are refused and health is degraded, until it is 10 % "
        "below; 0: no limit",
        least=0,
    )

    max_unfinished_bytes: int = whole(
        67108864,
        "SIGNALING_MAX_UNFINISHED_BYTES",
        "most bytes of incomplete messages buffered for all connections together; beyond it the largest of these "
        "messages are not read further (messages up to 64 KiB may use a quarter more); where GRPC_MAX_MEMORY_MB is "
        "set, at most a quarter of it",
    )

    @property
    def unfinished_limit(self) -> int:
        """The most bytes of all unfinished messages together: its setting, or a quarter of the memory limit if less."""
        if not self.max_memory_mb:
            return self.max_unfinished_bytes
        return min(self.max_unfinished_bytes, self.max_memory_mb * 2**20 // 4)

    @property
    def connection_limit(self) -> int:
        """The number of connections that there may be at once."""
        return self.max_connections or 1000 + 2 * self.max_sessions
