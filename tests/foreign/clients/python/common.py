"""Conversation of the two Python clients with a test: commands that they are told, and words on what happens."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

_SAYING = threading.Lock()

CONFIG: dict[str, Any] = json.loads(sys.argv[1])
for file in CONFIG["protos"]:
    sys.path.insert(0, str(Path(file).parent))

_signaling: Any = grpc.protos("webrtc_signaling.proto")
_health: Any = grpc.protos("health.proto")

METHODS: dict[str, tuple[Any, Any]] = {
    "/remotemedia.v1.webrtc.WebRtcSignaling/Signal": (_signaling.SignalingRequest, _signaling.SignalingResponse),
    "/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers": (_signaling.GetPeersRequest, _signaling.GetPeersResponse),
    "/grpc.health.v1.Health/Check": (_health.HealthCheckRequest, _health.HealthCheckResponse),
    "/grpc.health.v1.Health/Watch": (_health.HealthCheckRequest, _health.HealthCheckResponse),
}
ANY = (_signaling.HealthCheckRequest, _signaling.HealthCheckResponse)
"""HealthCheck's messages, which a method that is not there has, too."""


def types_of(told: dict[str, Any]) -> tuple[Any, Any]:
    """The request and the response of a method."""
    return METHODS.get(told["method"], ANY)


def parsed(kind: Any, request: Any) -> Any:
    """A message of what was told."""
    return json_format.ParseDict(request or {}, kind())


def channel_options() -> list[tuple[str, Any]]:
    """Channels that share no connection, with the keepalive that was told."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if CONFIG.get("keepalive_ms"):
        options += [
            ("grpc.keepalive_time_ms", CONFIG["keepalive_ms"]),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options


def call_options(told: dict[str, Any]) -> dict[str, Any]:
    """Metadata, deadline and compression of a call."""
    return {
        "metadata": tuple(told.get("metadata", {}).items()),
        "timeout": told["timeout_ms"] / 1000 if told.get("timeout_ms") else None,
        "compression": grpc.Compression.Gzip if told.get("gzip") else None,
        "wait_for_ready": True,
    }


def say(what: dict[str, Any]) -> None:
    """One line, at once; several threads say things."""
    with _SAYING:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def say_response(call_id: str, response: Any) -> None:
    """A message has come."""
    say({"id": call_id, "response": json_format.MessageToDict(response, preserving_proto_field_name=True)})


def say_end(call_id: str, code: grpc.StatusCode, message: str | None, trailers: Any) -> None:
    """A call has ended."""
    texts = {name: str(value) for name, value in trailers or ()}
    say({"id": call_id, "code": int(code.value[0]), "message": message or "", "trailers": texts})
