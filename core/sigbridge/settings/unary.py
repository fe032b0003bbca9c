"""Settings of unary calls: those of gRPC that have no session."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, whole


@dataclass(frozen=True, kw_only=True)
class Unary(Subject):
    """The limits of unary gRPC calls."""

    title: ClassVar[str] = "Unary calls"

    max_timeout_seconds: float = seconds(10.0, "GRPC_MAX_TIMEOUT_SEC", "how long a unary gRPC call may take")
    max_unary_bytes: int = whole(
        4194304,
        "SIGNALING_MAX_UNARY_BYTES",
        "bytes of responses without a session (unary, reflection, health) that may wait to be written on one gRPC "
        "connection; above it no more of its calls are carried out until some have left; the first always goes",
    )
    max_unary_total_bytes: int = whole(
        67108864,
        "SIGNALING_MAX_UNARY_TOTAL_BYTES",
        "the same of all gRPC connections together",
    )
