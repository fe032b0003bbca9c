"""Settings of unary calls: those of gRPC that have no session."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds


@dataclass(frozen=True, kw_only=True)
class Unary(Subject):
    """The limits of one unary gRPC call."""

    title: ClassVar[str] = "Unary calls"

    max_timeout_seconds: float = seconds(10.0, "GRPC_MAX_TIMEOUT_SEC", "how long a unary gRPC call may take")
