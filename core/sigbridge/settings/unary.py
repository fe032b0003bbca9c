"""Settings of unary calls: those of gRPC that have no session."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, whole


@dataclass(frozen=True, kw_only=True)
class Unary(Subject):
    """The limits of unary gRPC calls."""

    title: ClassVar[str] = "Unary calls"

    max_timeout_seconds: float = seconds(10.0, "GRPC_MAX_TIMEOUT_SEC", "time limit of a unary gRPC call")
    max_unary_bytes: int = whole(
        4194304,
        "SIGNALING_MAX_UNARY_BYTES",
        "most bytes of responses to calls without a session (unary, reflection, health) queued on one gRPC "
        "connection; above it further calls wait until some have been written; the first is always served",
    )
    max_unary_total_bytes: int = whole(
        67108864,
        "SIGNALING_MAX_UNARY_TOTAL_BYTES",
        "most bytes of such responses queued on all gRPC connections together",
    )
