"""Replies and events as a client reads them from the JSON of a server, which may be older than it, or none of ours.

Rule 1: what an older server leaves out is read as empty where nothing depends on it; null is absent. An id that a reply
repeats is the request's. Rule 2: what a peer has announced is only shown, so that nothing in it stops who reads of it.
Source: `docs/protocol.md`, sections "Results" and "What each request does".
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from sigbridge.errors import Code, SignalingError
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Authenticate,
    Authenticated,
    Capabilities,
    Disconnect,
    Disconnected,
    Event,
    GetIceServers,
    Health,
    IceCandidate,
    IceCandidateReceived,
    IceServers,
    IceServersChanged,
    ListPeers,
    Offer,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    Reply,
    Request,
    ServerNotice,
)
from sigbridge.results import BOOLEAN_CAPABILITIES

M = TypeVar("M")

UNSPECIFIED: Final = "unspecified"
"""The state of a peer of which a server does not say it."""

EVENTS: Final[dict[str, type[Any]]] = {
    kind.kind: kind
    for kind in (
        PeerJoined,
        PeerLeft,
        OfferReceived,
        AnswerReceived,
        IceCandidateReceived,
        PeerDisconnected,
        ServerNotice,
        IceServersChanged,
    )
}
"""The events that every dialect has, by their kind."""

_ABSENT: Final[dict[type[Any], dict[str, Any]]] = {
    OfferReceived: {"offer_id": "", "type": "offer"},
    AnswerReceived: {"type": "answer"},
    IceCandidateReceived: {"candidate": ""},
    IceServersChanged: {"servers": ()},
}
"""The meaning of absent members of an event, beside those that its class says."""

_RESERVED = ("code", "status", "message", "self")


class _Page(msgspec.Struct):
    """The result of `list_peers`, in which the members of each peer are not looked at yet."""

    peers: list[dict[str, Any]] = []
    count: int | None = None
    next_page_token: str = ""


def reply_from_result(request: Request, result: Any) -> Reply:
    """Returns the reply to `request` that a JSON result holds.

    :raises msgspec.ValidationError: if the result has another shape.
    """
    said = _present(result)
    match request:
        case Announce(peer_id=peer_id):
            others = said.get("other_peers")
            count = len(others) if isinstance(others, list) else 0
            return _converted(Announced, {"peer_id": peer_id, "other_peers": (), "peers_count": count} | said)
        case Offer(to_peer_id=to) | OfferForAnswer(to_peer_id=to):
            return _converted(OfferRelayed, {"offer_id": "", "to_peer_id": to} | said)
        case Answer(to_peer_id=to) | IceCandidate(to_peer_id=to):
            return _converted(Relayed, {"to_peer_id": to} | said)
        case Disconnect(peer_id=peer_id):
            return _converted(Disconnected, {"peer_id": peer_id} | said)
        case ListPeers():
            page = _converted(_Page, said)
            peers = tuple(peer_from_members(peer) for peer in page.peers)
            return PeerList(peers, len(peers) if page.count is None else page.count, page.next_page_token)
        case Authenticate():
            return _converted(Authenticated, {"subject": "", "expires_at": None} | said)
        case GetIceServers():
            return _converted(IceServers, {"ice_servers": ()} | said)
    return _converted(Health, {"uptime_seconds": 0, "connected_peers": 0, "metrics": {}} | said)


def peer_from_members(members: Any) -> PeerInfo:
    """Returns one peer of a listing.

    :raises msgspec.ValidationError: if the members have another shape.
    """
    read = {
        "capabilities": capabilities_as_read(members.get("capabilities")),
        "metadata": metadata_as_read(members.get("metadata")),
    }
    return _converted(PeerInfo, {"state": UNSPECIFIED, "connected_at": 0} | _present(members) | read)


def event_from_members(kind: type[Any], members: Any) -> Event:
    """Returns an event of a class, made of the members of a JSON object.

    :raises msgspec.ValidationError: if the members have another shape.
    """
    said = _present(members)
    if kind is PeerJoined:
        said["capabilities"] = capabilities_as_read(said.get("capabilities"))
        said["metadata"] = metadata_as_read(said.get("metadata"))
    event: Event = _converted(kind, _ABSENT.get(kind, {}) | said)
    return event


def capabilities_as_read(value: Any) -> Capabilities:
    """Returns capabilities from an object or an array of names; none from anything else."""
    if isinstance(value, list):
        value = {name: True for name in value if isinstance(name, str)}
    if not isinstance(value, dict):
        return NO_CAPABILITIES
    booleans = {name: value.get(name) is True for name in BOOLEAN_CAPABILITIES}
    extensions = {name: one for name, one in value.items() if name not in BOOLEAN_CAPABILITIES}
    return Capabilities(**booleans, extensions=extensions)


def metadata_as_read(value: Any) -> dict[str, Any]:
    """Returns metadata from an object; none from anything else."""
    return value if isinstance(value, dict) else {}


def refusal_as_read(code: Code, message: str, data: Any) -> SignalingError:
    """Returns the refusal of an error; `data` accompanies it, and is no object if there is nothing."""
    members: Mapping[str, Any] = data if isinstance(data, dict) else {}
    return SignalingError(code, message, **{name: one for name, one in members.items() if name not in _RESERVED})


def code_as_read(number: Any, otherwise: Code) -> Code:
    """Returns the code of that number; `otherwise` if this client knows none of it."""
    try:
        code = Code(number)
    except ValueError:
        return otherwise
    return otherwise if code is Code.OK else code


def _present(members: Any) -> dict[str, Any]:
    """Returns the members that are not null.

    :raises msgspec.ValidationError: if it is not an object.
    """
    if not isinstance(members, dict):
        raise msgspec.ValidationError(f"Expected `object`, got `{type(members).__name__}`")
    return {name: value for name, value in members.items() if value is not None}


def _converted(kind: type[M], members: dict[str, Any]) -> M:
    """Returns JSON members as a value of a type.

    :raises msgspec.ValidationError: if they are not of it
    """
    return msgspec.convert(members, kind)
