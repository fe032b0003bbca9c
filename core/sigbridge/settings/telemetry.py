"""Settings of telemetry: logs and traces."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, switch, text


@dataclass(frozen=True, kw_only=True)
class Telemetry(Subject):
    """The lines that are logged, and whether requests are traced."""

    title: ClassVar[str] = "Logs and traces"

    log_level: str = text(
        "info",
        "SIGNALING_LOG_LEVEL",
        "lowest level that is logged",
        "debug, info, warning or error",
        lambda word: ("debug", "info", "warning", "error").index(word.lower()),
    )
    json_logging: bool = switch(False, "GRPC_JSON_LOGGING", "the log is one JSON object per line")
    tracing: bool = switch(
        False, "SIGNALING_TRACING", "requests are traced with OpenTelemetry; needs sigbridge[tracing]"
    )


def level_of_rust_log(value: str) -> str:
    """Returns the level that `RUST_LOG` names, if it names one and nothing more; old deployments may have it set."""
    word = {"warn": "warning", "trace": "debug"}.get(value.strip().lower(), value.strip().lower())
    return word if word in ("debug", "info", "warning", "error") else ""
