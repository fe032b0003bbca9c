"""From JSON to the core's requests: every name and shape of the JSON-RPC protocol.

Rule 1: what is checked here is the JSON type of a field; what a value may be is the hub's to say. Rule 2: absent and
null are the same. Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from sigbridge import errors
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announce,
    Answer,
    Authenticate,
    Capabilities,
    Disconnect,
    GetIceServers,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    Request,
)
from sigbridge.results import BOOLEAN_CAPABILITIES
from sigbridge_websocket.shapes import (
    SYNONYMS,
    AnnounceParams,
    AnswerParams,
    AuthenticateParams,
    CandidateParams,
    DisconnectParams,
    FastPathCall,
    ListPeersParams,
    NoParams,
    OfferParams,
    SpelledCandidateParams,
    StrictAnnounce,
)

_announce: Final = StrictAnnounce
_encode_sorted: Final = msgspec.json.Encoder(order="deterministic").encode


# Requests.

EXPECTED: Final[Mapping[str, str]] = {
    "capabilities": "must be an object",
    "metadata": "must be an object",
    "sdp_mline_index": errors.UINT32_EXPECTED,
    "sdpMLineIndex": errors.UINT32_EXPECTED,
    "page_size": errors.UINT32_EXPECTED,
    "last_seq": errors.UINT64_EXPECTED,
    "resumable": "must be true or false",
    "notices": "must be true or false",
    "ice_servers": "must be true or false",
}
"""Members that are no text, and what they must be."""
_PATH = re.compile(r"at `\$\.([A-Za-z_]+)")


def params_as(kind: type[Any], params: dict[str, Any], expected: Mapping[str, str]) -> Any:
    """Returns params as a struct of `kind`; `expected` says what fields that are no text must be.

    :raises SignalingError: naming the field that has the wrong JSON type.
    """
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        field = found[1] if found else "params"
    raise errors.invalid_params(field, expected.get(field, "must be a string"))


def join_spellings(params: Any, spellings: Mapping[str, str], largest_index: int) -> None:
    """Gives each field of a struct of params the value that another spelling of it has.

    :raises SignalingError: naming the spelling, if two values of a field differ, or if an `sdp_mline_index` is spelled
        otherwise and no whole number from 0 to `largest_index`: the hub would not name it as the client does.
    """
    names: dict[str, str] = {}
    for spelling, field in spellings.items():
        value = getattr(params, spelling, None)
        if value is None:
            continue
        if field == "sdp_mline_index":
            check_index(spelling, value, largest_index)
        known = getattr(params, field)
        if known is None:
            setattr(params, field, value)
            names[field] = spelling
        elif _differ(known, value):
            raise errors.invalid_params(spelling, f"differs from {names.get(field, field)}")


def _differ(one: Any, other: Any) -> bool:
    """Returns whether two values of one JSON type differ; true is not 1."""
    if not isinstance(one, dict):
        return one != other  # type: ignore[no-any-return]
    try:
        return _encode_sorted(one) != _encode_sorted(other)
    except RecursionError:
        return True


def check_index(name: str, index: int, largest: int) -> None:
    """Checks that a number is an index of a media section.

    :raises SignalingError: INVALID_ARGUMENT if it is below 0 or above `largest`.
    """
    if not 0 <= index <= largest:
        raise errors.invalid_params(name, index_expected(largest))


def index_expected(largest: int) -> str:
    """Returns the words that say what an index must be."""
    return f"must be a whole number from 0 to {largest}"


def announce_from_params(params: AnnounceParams) -> Announce:
    """Returns the announce request that params say, with its defaults in place of what is missing."""
    capabilities = NO_CAPABILITIES if params.capabilities is None else capabilities_from_object(params.capabilities)
    return Announce(
        params.peer_id,
        capabilities,
        params.metadata or {},
        params.room or "",
        params.resumable or False,
        params.resume_token or "",
        params.last_seq or 0,
        params.notices or False,
        params.ice_servers or False,
    )


def capabilities_from_object(members: dict[str, Any]) -> Capabilities:
    """Returns the capabilities of one JSON object: three booleans, and every other member as an extension.

    :raises SignalingError: INVALID_ARGUMENT if one of the three is no boolean.
    """
    for name in BOOLEAN_CAPABILITIES:
        if not isinstance(members.get(name, False), bool):
            raise errors.invalid_params("capabilities", f"has {name}, which must be true or false")
    return Capabilities(
        audio=members.get("audio", False),
        video=members.get("video", False),
        data=members.get("data", False),
        extensions={name: value for name, value in members.items() if name not in BOOLEAN_CAPABILITIES},
    )


def offer_from_params(params: OfferParams) -> Offer:
    """Returns an offer request."""
    return Offer(params.to_peer_id, params.sdp, params.type or "")


def answer_from_params(params: AnswerParams) -> Answer:
    """Returns an answer request."""
    return Answer(params.to_peer_id, params.sdp, params.type or "", params.offer_id or "")


def candidate_from_params(params: CandidateParams) -> IceCandidate:
    """Returns a candidate request."""
    return IceCandidate(
        params.to_peer_id,
        params.candidate or "",
        params.sdp_mid,
        params.sdp_mline_index,
        params.username_fragment,
        params.offer_id or "",
    )


def disconnect_from_params(params: DisconnectParams) -> Disconnect:
    """Returns a disconnect request."""
    return Disconnect(params.peer_id, params.offer_id or "")


def list_peers_from_params(params: ListPeersParams) -> ListPeers:
    """Returns a listing request."""
    return ListPeers(params.room, params.page_size or 0, params.page_token or "")


def authenticate_from_params(params: AuthenticateParams) -> Authenticate:
    """Returns a request to be authenticated anew."""
    return Authenticate(params.token)


def get_ice_servers_from_params(_: NoParams) -> GetIceServers:
    """Returns a request for ICE servers."""
    return GetIceServers()


def health_check_from_params(_: NoParams) -> HealthCheck:
    """Returns a health request."""
    return HealthCheck()


REQUESTS: dict[str, tuple[type[Any], Callable[[Any], Request]]] = {
    "announce": (AnnounceParams, announce_from_params),
    "offer": (OfferParams, offer_from_params),
    "answer": (AnswerParams, answer_from_params),
    "ice_candidate": (SpelledCandidateParams, candidate_from_params),
    "disconnect": (DisconnectParams, disconnect_from_params),
    "list_peers": (ListPeersParams, list_peers_from_params),
    "authenticate": (AuthenticateParams, authenticate_from_params),
    "get_ice_servers": (NoParams, get_ice_servers_from_params),
    "health_check": (NoParams, health_check_from_params),
}
"""Method name to its params and how they become a request."""


def request_from_params(method: str, params: dict[str, Any]) -> Request:
    """Returns the request of a method of `REQUESTS` with these params.

    :raises SignalingError: if a field has the wrong type, or is spelled in two ways that differ.
    """
    kind, translate = REQUESTS[method]
    known = params_as(kind, params, EXPECTED)
    if kind is SpelledCandidateParams:
        join_spellings(known, SYNONYMS, errors.MAX_UINT32)
    return translate(known)


def request_from_call(call: FastPathCall) -> Request:
    """Returns the request of a call that the fast path has decoded.

    :raises SignalingError: if a capability is no boolean.
    """
    params: Any = call.params
    if type(params) is _announce:
        return announce_from_params(params)
    request: Request = params
    return request
