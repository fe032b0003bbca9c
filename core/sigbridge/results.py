"""Content of replies as JSON: the one source of JSON-RPC results and of `AckResponse` on gRPC.

Source: `docs/protocol.md`, section "Results".
"""

from typing import Any

import msgspec

from sigbridge.errors import SignalingError
from sigbridge.messages import (
    Announced,
    Authenticated,
    Capabilities,
    ControlRelayed,
    Disconnected,
    Health,
    IceServers,
    OfferAnswered,
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
    """Returns capabilities as one JSON object: the three booleans, always present, then the extensions."""
    return {
        "audio": capabilities.audio,
        "video": capabilities.video,
        "data": capabilities.data,
        **capabilities.extensions,
    }


def peer_info_object(peer: PeerInfo) -> dict[str, Any]:
    """Returns one peer of a listing as a JSON object."""
    return {
        "peer_id": peer.peer_id,
        "capabilities": capabilities_object(peer.capabilities),
        "state": peer.state,
        "metadata": peer.metadata,
        "connected_at": peer.connected_at,
    }


def result_object(reply: Reply) -> Any:
    """Returns the JSON-RPC result of a reply, for msgspec: the reply itself if its fields are the result's members."""
    # No isinstance: of a class of msgspec it asks the metaclass, which takes as long as to encode a result.
    if type(reply) is PeerList:
        page: dict[str, Any] = {"peers": [peer_info_object(peer) for peer in reply.peers], "count": reply.count}
        if reply.next_page_token:
            page["next_page_token"] = reply.next_page_token
        return page
    return reply


def result_json(reply: Reply) -> bytes:
    """Returns the result as JSON text in UTF-8."""
    return _encode(result_object(reply))


def error_data_json(error: SignalingError) -> bytes:
    """Returns the data object of an error as JSON text in UTF-8."""
    return _encode(error.data())


def acknowledgement(reply: Reply) -> str:
    """Returns a sentence for people that says what a reply acknowledges."""
    match reply:
        case Authenticated(subject=subject):
            return f"Authenticated as {subject}" if subject else "Authenticated"
        case IceServers(servers=servers):
            return f"{len(servers)} ICE servers"
        case Announced(peer_id=peer_id):
            return f"Announced as {peer_id}"
        case OfferRelayed(to_peer_id=to):
            return f"Offer relayed to {to}"
        case OfferAnswered(from_peer_id=answerer):
            return f"Answered by {answerer}"
        case ControlRelayed():
            return "Relayed"
        case Relayed(to_peer_id=to):
            return f"Relayed to {to}"
        case Disconnected(peer_id=peer_id):
            return f"Disconnected from {peer_id}"
        case PeerList(count=count):
            return f"{count} peers"
        case Health(status=status):
            return f"Server is {status}"
