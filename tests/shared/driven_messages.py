"""Messages as the TypeScript client has them, and as the core has them, translated by the letter.

Rule: nothing is filled in, and nothing forgiven. What that client hands out has to be, with its members named as the
core names them, what the core's own message says as JSON, no more and no less; else it is an AssertionError.
"""

import re
from typing import Any, Final

import msgspec

from sigbridge import (
    Announce,
    Announced,
    Authenticated,
    Code,
    ConnectionClosed,
    Disconnected,
    Event,
    Health,
    IceServers,
    OfferRelayed,
    OutcomeUnknown,
    PeerInfo,
    PeerList,
    Relayed,
    Reply,
    Request,
    SignalingError,
)
from sigbridge.client import ClientEvent, Reconnecting, Resumed, SessionLost
from sigbridge.messages import Capabilities
from sigbridge.reading import EVENTS
from sigbridge.results import BOOLEAN_CAPABILITIES, capabilities_object

_ODD: Final = {"sdp_mline_index": "sdpMLineIndex"}
"""The name that W3C WebRTC writes in a way of its own."""

_ADDED: Final = ("offer_id", "reason", "resumable", "resume_token", "last_seq", "notices", "ice_servers")
"""Members of requests that say nothing where they are empty."""

_RESULTS: Final[dict[str, type[Any]]] = {
    "announce": Announced,
    "offer": OfferRelayed,
    "answer": Relayed,
    "ice_candidate": Relayed,
    "disconnect": Disconnected,
    "authenticate": Authenticated,
    "get_ice_servers": IceServers,
    "health_check": Health,
}

_EVENTS: Final[dict[str, type[Any]]] = EVENTS | {kind.kind: kind for kind in (Reconnecting, Resumed, SessionLost)}


def js_name(name: str) -> str:
    """A member's name in JavaScript."""
    return _ODD.get(name) or re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def params_of(request: Request) -> dict[str, Any]:
    """The params of a request, as a program in JavaScript writes them."""
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    if isinstance(request, Announce):
        fields["capabilities"] = capabilities_object(request.capabilities)
    return {js_name(name): one for name, one in fields.items() if one is not None and (one or name not in _ADDED)}


def reply_of(method: str, result: Any) -> Reply:
    """The reply that a result is."""
    if method != "list_peers":
        return _message(_RESULTS[method], result)  # type: ignore[no-any-return]
    assert result.keys() == {"peers", "count", "nextPageToken"}, result
    peers = tuple(_message(PeerInfo, peer) for peer in result["peers"])
    return _message(PeerList, {**result, "peers": peers})  # type: ignore[no-any-return]


def event_of(members: dict[str, Any]) -> Event | ClientEvent:
    """The event that members are, told by the server or by the client."""
    said = dict(members)
    kind = said.pop("kind", None)
    assert kind in _EVENTS, f"an event of the kind {kind}"
    return _message(_EVENTS[kind], said)  # type: ignore[no-any-return]


def refusal_of(members: dict[str, Any]) -> SignalingError:
    """The refusal that a SignalingError of JavaScript is."""
    return SignalingError(Code[members["code"]], members["message"], **members["extra"])


def closed_of(members: dict[str, Any]) -> ConnectionClosed:
    """The end that a ConnectionClosed of JavaScript is."""
    kind = {"ConnectionClosed": ConnectionClosed, "OutcomeUnknown": OutcomeUnknown}[members["name"]]
    return kind(members["reason"], members.get("reconnect"), members.get("retryAfterMs"))


def _message(kind: type[Any], members: dict[str, Any]) -> Any:
    written = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    names = {js_name(written[field] if kind is IceServers else field): field for field in kind.__struct_fields__}
    strange = members.keys() - names.keys()
    assert not strange, f"{kind.__name__} has no members {sorted(strange)}"
    said = {written[names[name]]: value for name, value in members.items()}
    read = dict(said)
    if "capabilities" in said:
        read["capabilities"] = _capabilities(said["capabilities"])
    try:
        message = msgspec.convert(read, kind)
    except msgspec.ValidationError as error:
        raise AssertionError(f"no {kind.__name__}: {error}") from error
    back = msgspec.json.decode(msgspec.json.encode(message))
    if "capabilities" in back:
        back["capabilities"] = capabilities_object(message.capabilities)
    if "peers" in back:
        back["peers"], said["peers"] = len(back["peers"]), len(said["peers"])
    assert back == said, f"another {kind.__name__}: {said} is read as {back}"
    return message


def _capabilities(said: Any) -> Capabilities:
    booleans = {name: said[name] for name in BOOLEAN_CAPABILITIES}
    assert all(type(one) is bool for one in booleans.values()), booleans
    return Capabilities(**booleans, extensions={n: one for n, one in said.items() if n not in booleans})
