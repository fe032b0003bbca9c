"""The OpenRPC document that `rpc.discover` returns: methods, params, results and events of the JSON-RPC side.

Params come from the structs that decode them, so the document cannot promise what is not accepted. Events are methods
that the server calls; OpenRPC has no word for these, so they are under `x-notifications`. See https://spec.open-rpc.org.
"""

from functools import cache
from typing import Any

import msgspec

from sigbridge import messages, results
from sigbridge_websocket.shapes import SYNONYMS
from sigbridge_websocket.translate import REQUESTS

_SUMMARIES: dict[str, str] = {
    "announce": "Become a peer of a room; must come first",
    "offer": "Relay an SDP offer to a peer",
    "answer": "Relay an SDP answer to a peer",
    "ice_candidate": "Relay an ICE candidate to a peer; an empty one ends the candidates",
    "disconnect": "Hang up on a peer, or leave with one's own id",
    "list_peers": "List the peers of a room",
    "authenticate": "Show a new token in place of the present one",
    "health_check": "Ask how the server is",
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "announce": ("peer_id",),
    "offer": ("to_peer_id", "sdp"),
    "answer": ("to_peer_id", "sdp"),
    "ice_candidate": ("to_peer_id",),
    "disconnect": ("peer_id",),
    "authenticate": ("token",),
}
_TEXT = {"type": "string"}
_CAPABILITIES = {
    "type": "object",
    "properties": {name: {"type": "boolean"} for name in results.BOOLEAN_CAPABILITIES},
    "required": list(results.BOOLEAN_CAPABILITIES),
    "additionalProperties": True,
}
_PEER = {
    "type": "object",
    "properties": {
        "peer_id": _TEXT,
        "capabilities": _CAPABILITIES,
        "state": _TEXT,
        "metadata": {"type": "object"},
        "connected_at": {"type": "integer"},
    },
}
_RESULTS: dict[str, dict[str, Any]] = {
    "announce": {
        "peer_id": _TEXT,
        "peers_count": {"type": "integer"},
        "other_peers": {"type": "array", "items": _TEXT},
    },
    "offer": {"offer_id": _TEXT, "to_peer_id": _TEXT},
    "answer": {"to_peer_id": _TEXT},
    "ice_candidate": {"to_peer_id": _TEXT},
    "disconnect": {"peer_id": _TEXT},
    "list_peers": {
        "peers": {"type": "array", "items": _PEER},
        "count": {"type": "integer"},
        "next_page_token": _TEXT,
    },
    "authenticate": {"subject": _TEXT, "expires_at": {"type": ["integer", "null"]}},
    "health_check": {
        "status": {"enum": ["healthy", "degraded", "unhealthy"]},
        "uptime_seconds": {"type": "integer"},
        "connected_peers": {"type": "integer"},
        "metrics": {"type": "object"},
    },
}
_EVENTS: dict[type[Any], str] = {
    messages.PeerJoined: "A peer joined the room",
    messages.PeerLeft: "A peer left the room",
    messages.OfferReceived: "A peer offers",
    messages.AnswerReceived: "A peer answers",
    messages.IceCandidateReceived: "A peer found a candidate",
    messages.PeerDisconnected: "A peer hung up on you",
}


@cache
def openrpc_document() -> dict[str, Any]:
    """The document, as JSON-like Python values."""
    return {
        "openrpc": "1.3.2",
        "info": {"title": "sigbridge", "version": "1", "description": "WebRTC signaling over WebSocket"},
        "methods": [_method(name, kind) for name, (kind, _) in REQUESTS.items()],
        "x-notifications": [
            {
                "name": kind.kind,
                "summary": summary,
                "params": [
                    {"name": name, "schema": _CAPABILITIES if name == "capabilities" else schema}
                    for name, schema in _properties(kind).items()
                ],
            }
            for kind, summary in _EVENTS.items()
        ],
    }


def _method(name: str, params: type[Any]) -> dict[str, Any]:
    required = _REQUIRED.get(name, ())
    return {
        "name": name,
        "summary": _SUMMARIES[name],
        "paramStructure": "by-name",
        "params": [
            {"name": field, "required": field in required, "schema": schema, **_synonym(field)}
            for field, schema in _properties(params).items()
        ],
        "result": {"name": "result", "schema": {"type": "object", "properties": _RESULTS[name]}},
    }


def _synonym(field: str) -> dict[str, str]:
    return {"summary": f"Another spelling of {SYNONYMS[field]}"} if field in SYNONYMS else {}


def _properties(kind: type[Any]) -> dict[str, Any]:
    (_, components) = msgspec.json.schema_components((kind,))
    properties: dict[str, Any] = components[kind.__name__].get("properties", {})
    return {
        name: {key: value for key, value in schema.items() if key != "default"} for name, schema in properties.items()
    }
