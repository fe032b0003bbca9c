"""Between JSON of the dotted dialect and the core's messages: params to requests, replies and events to JSON.

Rule 1: every spelling becomes the core's field first; from there on it is translated as in the plain dialect. Rule 2:
a `from` that is not null makes a request `Claimed`: the hub says whether it is the sender's.
Source: `docs/protocol.md`, section "The dotted dialect".
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import UNSET, to_builtins

from sigbridge import errors
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Capabilities,
    Claimed,
    Control,
    ControlRelayed,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerInfo,
    PeerList,
    PlainRequest,
    Relayed,
    RelayedEvent,
    Request,
)
from sigbridge.results import BOOLEAN_CAPABILITIES
from sigbridge_websocket.dotted_shapes import (
    MAX_INDEX,
    SPELLINGS,
    DottedAnnounceParams,
    DottedAnswerEvent,
    DottedAnswerParams,
    DottedAnswerResult,
    DottedCall,
    DottedCandidateEvent,
    DottedCandidateParams,
    DottedDisconnectParams,
    DottedListPeersParams,
    DottedOfferEvent,
    DottedOfferParams,
    StrictDottedAnswer,
    StrictDottedCandidate,
    StrictDottedOffer,
)
from sigbridge_websocket.shapes import encode_json
from sigbridge_websocket.translate import (
    EXPECTED,
    answer_from_params,
    candidate_from_params,
    capabilities_from_object,
    check_index,
    index_expected,
    join_spellings,
    list_peers_from_params,
    offer_from_params,
    params_as,
)

_unset: Final = UNSET
_encode: Final = encode_json
_candidate: Final = StrictDottedCandidate
_answer: Final = StrictDottedAnswer
_offer: Final = StrictDottedOffer
_candidate_received: Final = IceCandidateReceived
_offer_received: Final = OfferReceived
_answer_received: Final = AnswerReceived
_acknowledged: Final = (Relayed, OfferRelayed, Disconnected)
"""Replies whose result has the same members as in the plain dialect, and `success`."""


# Requests.

_EXPECTED: Final[Mapping[str, str]] = {
    **EXPECTED,
    "capabilities": "must be an array of names, or an object",
    "user_data": EXPECTED["metadata"],
    **dict.fromkeys(("sdp_m_line_index", "sdp_mline_index", "sdpMLineIndex"), index_expected(MAX_INDEX)),
}


def capabilities_from_names(names: list[str]) -> Capabilities:
    """Capabilities from an array of names, in which doubles count once."""
    return Capabilities(
        audio="audio" in names,
        video="video" in names,
        data="data" in names,
        extensions={name: True for name in names if name not in BOOLEAN_CAPABILITIES},
    )


def _capabilities(given: Any) -> Capabilities:
    """Capabilities as a request has them: an array of names, an object, or null."""
    if given is None:
        return NO_CAPABILITIES
    return capabilities_from_names(given) if isinstance(given, list) else capabilities_from_object(given)


def _announce_from_params(params: Any) -> Announce:
    return _announce(params, params.metadata)


def _announce(params: Any, metadata: dict[str, Any] | None) -> Announce:
    """Returns an announce of params; null is absent."""
    return Announce(
        params.peer_id,
        _capabilities(params.capabilities),
        metadata or {},
        params.room or "",
        params.resumable or False,
        params.resume_token or "",
        params.last_seq or 0,
        params.notices or False,
        params.ice_servers or False,
    )


def _disconnect_from_params(params: Any) -> Disconnect:
    return Disconnect(params.peer_id, params.offer_id or "", params.reason or "")


REQUESTS: Final[dict[str, tuple[type[Any], Callable[[Any], PlainRequest]]]] = {
    "announce": (DottedAnnounceParams, _announce_from_params),
    "offer": (DottedOfferParams, offer_from_params),
    "answer": (DottedAnswerParams, answer_from_params),
    "ice_candidate": (DottedCandidateParams, candidate_from_params),
    "disconnect": (DottedDisconnectParams, _disconnect_from_params),
    "list_peers": (DottedListPeersParams, list_peers_from_params),
}
"""The plain name of a method to its params here, and how they become a request."""


def request_from_dotted_params(method: str, params: dict[str, Any], *, has_id: bool, in_batch: bool) -> Request:
    """Returns the request of a method of `REQUESTS` with these params.

    :raises SignalingError: if a field has the wrong type, or is spelled in two ways that differ.
    """
    kind, translate = REQUESTS[method]
    known = params_as(kind, params, _EXPECTED)
    index = getattr(known, "sdp_mline_index", None)
    if index is not None:
        check_index("sdp_mline_index", index, MAX_INDEX)
    join_spellings(known, SPELLINGS, MAX_INDEX)
    if getattr(known, "to_peer_id", "") is None:
        known.to_peer_id = ""
    request = translate(known)
    if isinstance(request, Offer):
        request = OfferForAnswer(request.to_peer_id, request.sdp, request.type, has_id, not in_batch)
    return _claimed(known.from_, request)


def control_from_params(name: str, params: dict[str, Any]) -> Request:
    """Returns the request `control.NAME`, whose params go on as they are.

    :raises SignalingError: if `from` is no text.
    """
    sender = params.get("from")
    if sender is not None and not isinstance(sender, str):
        raise errors.invalid_params("from", "must be a string")
    return _claimed(sender, Control(name, params))


def _claimed(sender: str | None, request: PlainRequest) -> Request:
    """Returns the request with the sender that it names, if it names one."""
    return request if sender is None else Claimed(sender, request)


def request_from_dotted_call(call: DottedCall) -> Request:
    """Returns the request of a call that the fast path has decoded.

    :raises SignalingError: if a capability is no boolean.
    """
    params: Any = call.params
    kind = type(params)
    request: PlainRequest
    if kind is _candidate:
        request = IceCandidate(
            params.to,
            params.candidate or "",
            params.sdp_mid,
            params.sdp_m_line_index,
            params.username_fragment,
            params.offer_id or "",
        )
    elif kind is _answer:
        request = Answer(params.to, params.sdp, params.type or "", params.offer_id or "")
    elif kind is _offer:
        request = OfferForAnswer(params.to, params.sdp, params.type or "", call.id is not _unset)
    else:
        request = _announce(params, params.user_data)
    return _claimed(params.from_, request)


# Replies and events.


def capability_names(capabilities: Capabilities) -> list[str]:
    """Capabilities as an array of names: audio, video, data, then the extensions that are true, as they were given."""
    names = [name for name in BOOLEAN_CAPABILITIES if getattr(capabilities, name)]
    names += [name for name, value in capabilities.extensions.items() if value is True]
    return names


def result_text(reply: Any) -> bytes:
    """Returns the JSON text of a result."""
    kind = type(reply)
    if kind in _acknowledged:
        return b'{"success":true,%b' % _encode(reply)[1:]
    return _encode(_unlike_plain(reply))


def _unlike_plain(reply: Any) -> Any:
    """Returns the result of a reply that differs by more than `success` from the plain one, for msgspec."""
    match reply:
        case Announced():
            # A member that says nothing is absent, which the core's own encoding knows how to do.
            members = to_builtins(reply) | {"peers_count": len(reply.other_peers) + 1}
            return {"success": True, **members}
        case PeerList():
            page: dict[str, Any] = {"peers": [_peer_object(peer) for peer in reply.peers], "count": reply.count}
            if reply.next_page_token:
                page["next_page_token"] = reply.next_page_token
            return page
        case OfferAnswered():
            return DottedAnswerResult("answer", reply.sdp, reply.from_peer_id, reply.to_peer_id)
        case ControlRelayed():
            return {"success": True}
        case _:
            return reply


def _peer_object(peer: PeerInfo) -> dict[str, Any]:
    """Returns one peer of a listing as a JSON object."""
    return {
        "peer_id": peer.peer_id,
        "capabilities": capability_names(peer.capabilities),
        "state": peer.state,
        "metadata": peer.metadata,
        "connected_at": peer.connected_at,
    }


def relay_params(event: RelayedEvent, to_peer_id: str) -> Any:
    """Returns the params of an event for one peer, for msgspec; not for `control.…`."""
    if type(event) is _candidate_received:
        return DottedCandidateEvent(
            event.from_peer_id,
            to_peer_id,
            event.candidate,
            event.sdp_mid,
            event.sdp_mline_index,
            event.username_fragment,
            event.offer_id,
        )
    if type(event) is _offer_received:
        return DottedOfferEvent(event.from_peer_id, to_peer_id, event.offer_id, event.sdp, event.type)
    if type(event) is _answer_received:
        return DottedAnswerEvent(event.from_peer_id, to_peer_id, event.sdp, event.type, event.offer_id)
    return event
