"""What a reply says, as JSON: the one source of JSON-RPC results and of `AckResponse` on gRPC.

Source: `docs/protocol.md`, section "Results".
"""

from typing import Any

import msgspec

from sigbridge.errors import SignalingError
from sigbridge.messages import (
    Announced,
    Authenticated,
    Capabilities,
    Disconnected,
    Health,
    OfferRelayed,
    PeerInfo,
    PeerList,
    Relayed,
    Reply,
)

BOOLEAN_CAPABILITIES = ("audio", "video", "data")
"""The capabilities that have a field of their own; every other member is an extension."""

_encode = msgspec.json.Encoder().encode


def capabilities_object(capabilities: Capabilities) -> dict[str, Any]:
    """Capabilities as one JSON object: the three booleans, always present, then the extensions."""
    return {
        "audio": capabilities.audio,
        "video": capabilities.video,
        "data": capabilities.data,
        **capabilities.extensions,
    }


def peer_info_object(peer: PeerInfo) -> dict[str, Any]:
    """One peer of a listing."""
    return {
        "peer_id": peer.peer_id,
        "capabilities": capabilities_object(peer.capabilities),
        "state": peer.state,
        "metadata": peer.metadata,
        "connected_at": peer.connected_at,
    }


def result_object(reply: Reply) -> Any:
    """The result as something that msgspec encodes: the reply itself where its fields are the result's members."""
    # No isinstance: of a class of msgspec it asks the metaclass, which takes as long as to encode a result.
    if type(reply) is PeerList:
        page: dict[str, Any] = {"peers": [peer_info_object(peer) for peer in reply.peers], "count": reply.count}
        if reply.next_page_token:
            page["next_page_token"] = reply.next_page_token
        return page
    return reply


def result_json(reply: Reply) -> bytes:
    """The result as JSON text in UTF-8."""
    return _encode(result_object(reply))


def error_data_json(error: SignalingError) -> bytes:
    """The data object of an error as JSON text in UTF-8."""
    return _encode(error.data())


def acknowledgement(reply: Reply) -> str:
    """The reply in words, for people."""
    match reply:
        case Authenticated(subject=subject):
            return f"Authenticated as {subject}" if subject else "Authenticated"
        case Announced(peer_id=peer_id):
            return f"Announced as {peer_id}"
        case OfferRelayed(to_peer_id=to):
            return f"Offer relayed to {to}"
        case Relayed(to_peer_id=to):
            return f"Relayed to {to}"
        case Disconnected(peer_id=peer_id):
            return f"Disconnected from {peer_id}"
        case PeerList(count=count):
            return f"{count} peers"
        case Health(status=status):
            return f"Server is {status}"
