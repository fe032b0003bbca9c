"""Between JSON and the core's messages, in both directions: every name and shape of the JSON-RPC protocol.

Rule 1: what is checked here is the JSON type of a field; what a value may be is the hub's to say. Rule 2: absent and
null are the same. Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sigbridge import errors
from sigbridge.checks import check_uint32
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
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
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
)
from sigbridge.results import BOOLEAN_CAPABILITIES, capabilities_object
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
    PeerJoinedShape,
    PeerListShape,
    RequestId,
    SpelledCandidateParams,
    StrictAnnounce,
    encode_json,
)

_announce: Final = StrictAnnounce


# Requests.

_EXPECTED = {
    "capabilities": "must be an object",
    "metadata": "must be an object",
    "sdp_mline_index": errors.UINT32_EXPECTED,
    "page_size": errors.UINT32_EXPECTED,
}
_PATH = re.compile(r"at `\$\.([A-Za-z_]+)")


def params_as(kind: type[Any], params: dict[str, Any]) -> Any:
    """Params as a struct of `kind`; SignalingError naming the field where one has the wrong JSON type."""
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        field = found[1] if found else "params"
    raise errors.invalid_params(field, _EXPECTED.get(SYNONYMS.get(field, field), "must be a string"))


def announce_from_params(params: AnnounceParams) -> Announce:
    """An announce request."""
    capabilities = NO_CAPABILITIES if params.capabilities is None else capabilities_from_object(params.capabilities)
    return Announce(params.peer_id, capabilities, params.metadata or {}, params.room or "")


def capabilities_from_object(members: dict[str, Any]) -> Capabilities:
    """Capabilities from one object: three booleans, and every other member is an extension."""
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
    """An offer request."""
    return Offer(params.to_peer_id, params.sdp, params.type or "")


def answer_from_params(params: AnswerParams) -> Answer:
    """An answer request."""
    return Answer(params.to_peer_id, params.sdp, params.type or "", params.offer_id or "")


def candidate_from_params(params: CandidateParams) -> IceCandidate:
    """A candidate request; SignalingError where a field is spelled in two ways that differ."""
    for spelling, field in SYNONYMS.items():
        value = getattr(params, spelling)
        if value is None:
            continue
        if field == "sdp_mline_index":
            # The hub would name the field, and not the spelling that the client used.
            check_uint32(spelling, value)
        if getattr(params, field) not in (None, value):
            raise errors.invalid_params(spelling, f"differs from {field}")
        setattr(params, field, value)
    return IceCandidate(
        params.to_peer_id,
        params.candidate or "",
        params.sdp_mid,
        params.sdp_mline_index,
        params.username_fragment,
        params.offer_id or "",
    )


def disconnect_from_params(params: DisconnectParams) -> Disconnect:
    """A disconnect request."""
    return Disconnect(params.peer_id, params.offer_id or "")


def list_peers_from_params(params: ListPeersParams) -> ListPeers:
    """A listing request."""
    return ListPeers(params.room, params.page_size or 0, params.page_token or "")


def authenticate_from_params(params: AuthenticateParams) -> Authenticate:
    """A request to be authenticated anew."""
    return Authenticate(params.token)


def health_check_from_params(_: NoParams) -> HealthCheck:
    """A health request."""
    return HealthCheck()


REQUESTS: dict[str, tuple[type[Any], Callable[[Any], Request]]] = {
    "announce": (AnnounceParams, announce_from_params),
    "offer": (OfferParams, offer_from_params),
    "answer": (AnswerParams, answer_from_params),
    "ice_candidate": (SpelledCandidateParams, candidate_from_params),
    "disconnect": (DisconnectParams, disconnect_from_params),
    "list_peers": (ListPeersParams, list_peers_from_params),
    "authenticate": (AuthenticateParams, authenticate_from_params),
    "health_check": (NoParams, health_check_from_params),
}
"""Method name to its params and how they become a request."""


def request_from_params(method: str, params: dict[str, Any]) -> Request:
    """The request that a method of `REQUESTS` asks for; SignalingError where a field has the wrong type."""
    kind, translate = REQUESTS[method]
    return translate(params_as(kind, params))


def request_from_call(call: FastPathCall) -> Request:
    """The request that a call of the fast path asks for; SignalingError where a capability is no boolean."""
    params: Any = call.params
    if type(params) is _announce:
        return announce_from_params(params)
    request: Request = params
    return request


# The client's directions.


_EVENTS: dict[str, type[Any]] = {
    "peer_joined": PeerJoinedShape,
    "peer_left": PeerLeft,
    "offer": OfferReceived,
    "answer": AnswerReceived,
    "ice_candidate": IceCandidateReceived,
    "peer_disconnected": PeerDisconnected,
}
_REPLIES: dict[type[Any], type[Any]] = {
    Announce: Announced,
    Offer: OfferRelayed,
    Answer: Relayed,
    IceCandidate: Relayed,
    Disconnect: Disconnected,
    ListPeers: PeerListShape,
    HealthCheck: Health,
    Authenticate: Authenticated,
}


def request_to_jsonrpc(request: Request, request_id: RequestId) -> bytes:
    """The call that asks for a request."""
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    # A server that knows no `offer_id` is not to be shown an empty one.
    params = {name: value for name, value in fields.items() if value is not None and (value or name != "offer_id")}
    if isinstance(request, Announce):
        params["capabilities"] = capabilities_object(request.capabilities)
    return encode_json({"jsonrpc": "2.0", "method": request.kind, "params": params, "id": request_id})


def reply_from_jsonrpc(request: Request, result: Any) -> Reply:
    """The reply to `request` that a result says; msgspec.ValidationError where it says none."""
    reply = msgspec.convert(result, _REPLIES[type(request)])
    if isinstance(reply, PeerListShape):
        peers = tuple(
            PeerInfo(
                peer.peer_id,
                capabilities_from_object(peer.capabilities),
                peer.state,
                peer.metadata,
                peer.connected_at,
            )
            for peer in reply.peers
        )
        return PeerList(peers, reply.count, reply.next_page_token)
    return reply  # type: ignore[no-any-return]


def error_from_jsonrpc(error: dict[str, Any]) -> SignalingError:
    """The refusal that an error object says; its code is in `data`, where the server gave one."""
    data = dict(error.get("data") or {})
    code = data.pop("code", int(Code.INVALID_ARGUMENT))
    data.pop("status", None)
    return SignalingError(Code(code), str(error.get("message", "")), **data)


def event_from_jsonrpc(method: str, params: dict[str, Any]) -> Event | None:
    """The event that a notification says, or `None` where this client does not know it."""
    kind = _EVENTS.get(method)
    if kind is None:
        return None
    event = msgspec.convert(params, kind)
    if isinstance(event, PeerJoinedShape):
        return PeerJoined(event.peer_id, capabilities_from_object(event.capabilities), event.metadata)
    return event  # type: ignore[no-any-return]
