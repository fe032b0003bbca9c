"""Protobuf messages to the core's and back, for the server and for the client.

Rule 1: nothing here has state or does I/O, and nothing decides anything about peers: a rule that is not about protobuf
is the hub's. Rule 2: what is read from the wire is made anew for the next peer, so that unknown fields never travel on.
Rule 3: an absent `optional` is `None` and stays apart from `0` and `""`.
Source: `docs/protocol.md`, sections "The gRPC contract" and "Results".
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from sigbridge import errors, reading, results
from sigbridge.client import common_request
from sigbridge.errors import Code, SignalingError
from sigbridge.messages import (
    NO_CAPABILITIES,
    Announce,
    Answer,
    AnswerReceived,
    Authenticate,
    Capabilities,
    ControlReceived,
    Disconnect,
    Event,
    GetIceServers,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    IceServersChanged,
    ListPeers,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Reply,
    Request,
    ServerNotice,
)
from sigbridge.session import Outcome
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

_STATES: Final[dict[str, pb.PeerState.ValueType]] = {
    name.removeprefix("PEER_STATE_").lower(): value for name, value in pb.PeerState.items()
}
_STATE_WORDS: Final[dict[int, str]] = {int(value): word for word, value in _STATES.items()}

_object_decoder: Final = msgspec.json.Decoder(dict[str, Any])
_json_decoder: Final = msgspec.json.Decoder()
_encode_json: Final = msgspec.json.Encoder().encode

_ListProto: TypeAlias = pb.ListPeersRequest | pb.GetPeersRequest
_PageProto = TypeVar("_PageProto", pb.PeerListResponse, pb.GetPeersResponse)


# Requests, as the server reads them.


def request_from_proto(message: pb.SignalingRequest) -> Request:
    """Returns the request of a message.

    :raises SignalingError: if no request is set, or a field is not what it should hold.
    """
    kind = message.WhichOneof("request")
    if kind is None:
        raise errors.no_request()
    return _READERS[kind](getattr(message, kind))


def list_peers_from_proto(message: _ListProto) -> ListPeers:
    """Returns the question for a page of a room, asked on a stream or without a session."""
    return ListPeers(message.room if message.HasField("room") else None, message.page_size, message.page_token)


def capabilities_from_proto(message: pb.PeerCapabilities) -> Capabilities:
    """Capabilities.

    :raises SignalingError: if the extensions are not the text of a JSON object.
    """
    if not message.extensions:
        return Capabilities(message.audio, message.video, message.data)
    try:
        extensions = _object_decoder.decode(message.extensions)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise errors.invalid_params("capabilities", "has extensions that are not a JSON object") from None
    return Capabilities(message.audio, message.video, message.data, extensions)


def _announce_from_proto(message: pb.AnnounceRequest) -> Announce:
    """Returns an announce.

    :raises SignalingError: if the extensions are not the text of a JSON object.
    """
    given = message.HasField("capabilities")
    capabilities = capabilities_from_proto(message.capabilities) if given else NO_CAPABILITIES
    return Announce(
        message.peer_id,
        capabilities,
        dict(message.metadata),
        message.room,
        message.resumable,
        message.resume_token,
        message.last_seq,
        message.notices,
        message.ice_servers,
    )


def _offer_from_proto(message: pb.OfferRequest) -> Offer:
    return Offer(message.to_peer_id, message.sdp, message.type)


def _answer_from_proto(message: pb.AnswerRequest) -> Answer:
    return Answer(message.to_peer_id, message.sdp, message.type, message.offer_id)


def _ice_candidate_from_proto(message: pb.IceCandidateRequest) -> IceCandidate:
    """Returns an ICE candidate; absent optional fields are None."""
    return IceCandidate(
        message.to_peer_id,
        message.candidate,
        # What is not empty is there: only of what is empty the library has to be asked.
        message.sdp_mid or ("" if message.HasField("sdp_mid") else None),
        message.sdp_mline_index or (0 if message.HasField("sdp_mline_index") else None),
        message.username_fragment or ("" if message.HasField("username_fragment") else None),
        message.offer_id,
    )


def _disconnect_from_proto(message: pb.DisconnectRequest) -> Disconnect:
    return Disconnect(message.peer_id, message.offer_id)


def _authenticate_from_proto(message: pb.AuthenticateRequest) -> Authenticate:
    return Authenticate(message.token)


def _get_ice_servers_from_proto(_: pb.GetIceServersRequest) -> GetIceServers:
    return GetIceServers()


_READERS: Final[dict[str, Callable[[Any], Request]]] = {
    "announce": _announce_from_proto,
    "offer": _offer_from_proto,
    "answer": _answer_from_proto,
    "ice_candidate": _ice_candidate_from_proto,
    "disconnect": _disconnect_from_proto,
    "list_peers": list_peers_from_proto,
    "authenticate": _authenticate_from_proto,
    "get_ice_servers": _get_ice_servers_from_proto,
}


# Replies, errors and events, as the server writes them.


def response_to_proto(outcome: Outcome, request_id: str) -> pb.SignalingResponse:
    """Returns the response to the request of that id: an acknowledgement, a page of a room, or an error."""
    if isinstance(outcome, SignalingError):
        return pb.SignalingResponse(request_id=request_id, error=error_to_proto(outcome))
    if isinstance(outcome, PeerList):
        return pb.SignalingResponse(request_id=request_id, peer_list=page_to_proto(outcome, pb.PeerListResponse))
    ack = pb.AckResponse(message=results.acknowledgement(outcome), data=results.result_json(outcome).decode())
    return pb.SignalingResponse(request_id=request_id, ack=ack)


def error_to_proto(error: SignalingError) -> pb.ErrorResponse:
    """Returns a refusal, with what JSON-RPC calls its `data` as JSON text."""
    return pb.ErrorResponse(
        code=int(error.code), message=error.message, details=results.error_data_json(error).decode()
    )


def page_to_proto(page: PeerList, kind: type[_PageProto]) -> _PageProto:
    """Returns a page of a room, as the response on a stream or as that without a session."""
    return kind(
        peers=[_peer_info_to_proto(peer) for peer in page.peers],
        count=page.count,
        next_page_token=page.next_page_token,
    )


def health_to_proto(health: Health) -> pb.HealthCheckResponse:
    """Returns the server's health; the metrics are JSON text."""
    return pb.HealthCheckResponse(
        status=health.status,
        uptime_seconds=health.uptime_seconds,
        connected_peers=health.connected_peers,
        metrics=_encode_json(health.metrics).decode(),
    )


def event_to_proto(event: Event) -> pb.SignalingResponse:
    """Returns an event, in the response that carries it; its request id is empty."""
    return pb.SignalingResponse(notification=_notification(event))


def _notification(event: Event) -> pb.SignalingNotification:
    """Returns the notification of an event.

    :raises ValueError: for a message of control, which gRPC does not have.
    """
    match event:
        case IceCandidateReceived():
            candidate = pb.IceCandidateNotification(
                from_peer_id=event.from_peer_id,
                candidate=event.candidate,
                sdp_mid=event.sdp_mid,
                sdp_mline_index=event.sdp_mline_index,
                username_fragment=event.username_fragment,
                offer_id=event.offer_id,
            )
            return pb.SignalingNotification(ice_candidate=candidate)
        case OfferReceived():
            offer = pb.OfferNotification(
                from_peer_id=event.from_peer_id, offer_id=event.offer_id, sdp=event.sdp, type=event.type
            )
            return pb.SignalingNotification(offer=offer)
        case AnswerReceived():
            answer = pb.AnswerNotification(
                from_peer_id=event.from_peer_id, sdp=event.sdp, type=event.type, offer_id=event.offer_id
            )
            return pb.SignalingNotification(answer=answer)
        case PeerJoined():
            joined = pb.PeerJoinedNotification(
                peer_id=event.peer_id,
                capabilities=capabilities_to_proto(event.capabilities),
                metadata=metadata_to_proto(event.metadata),
            )
            return pb.SignalingNotification(peer_joined=joined)
        case PeerLeft():
            return pb.SignalingNotification(peer_left=pb.PeerLeftNotification(peer_id=event.peer_id))
        case PeerDisconnected():
            hung_up = pb.PeerDisconnectedNotification(peer_id=event.peer_id, offer_id=event.offer_id)
            return pb.SignalingNotification(peer_disconnected=hung_up)
        case ServerNotice():
            notice = pb.ServerNoticeNotification(
                kind=event.notice,
                message=event.message,
                reconnect_after_ms=event.reconnect_after_ms,
                deadline_unix_ms=event.deadline_unix_ms,
                data=_encode_json(event.data).decode() if event.data else "",
            )
            return pb.SignalingNotification(server_notice=notice)
        case IceServersChanged():
            changed = pb.IceServersNotification(
                servers=_encode_json(event.servers).decode(), expires_unix_ms=event.expires_unix_ms or 0
            )
            return pb.SignalingNotification(ice_servers=changed)
        case ControlReceived():
            raise ValueError("gRPC has no control.…; its encoding takes none")


def capabilities_to_proto(capabilities: Capabilities) -> pb.PeerCapabilities:
    """Capabilities; no extensions are the empty text."""
    extensions = capabilities.extensions
    return pb.PeerCapabilities(
        audio=capabilities.audio,
        video=capabilities.video,
        data=capabilities.data,
        extensions=_encode_json(extensions).decode() if extensions else "",
    )


def metadata_to_proto(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns metadata; a value that is not a string becomes its compact JSON text."""
    return {name: value if isinstance(value, str) else _encode_json(value).decode() for name, value in metadata.items()}


def _peer_info_to_proto(peer: PeerInfo) -> pb.PeerInfo:
    """Returns one peer of a listing."""
    return pb.PeerInfo(
        peer_id=peer.peer_id,
        capabilities=capabilities_to_proto(peer.capabilities),
        state=_STATES[peer.state],
        metadata=metadata_to_proto(peer.metadata),
        connected_at=peer.connected_at,
    )


# The other direction: what the client writes.


def request_to_proto(request: Request, request_id: str) -> pb.SignalingRequest:
    """Returns the message of a request.

    :raises SignalingError: if a field holds what protobuf cannot carry, or gRPC has no such request.
    :raises ValueError: for a health check, which has a method of its own.
    """
    request = common_request(request)
    try:
        match request:
            case Announce():
                announce = pb.AnnounceRequest(
                    peer_id=request.peer_id,
                    capabilities=capabilities_to_proto(request.capabilities),
                    metadata=metadata_to_proto(request.metadata),
                    room=request.room,
                    resumable=request.resumable,
                    resume_token=request.resume_token,
                    last_seq=request.last_seq,
                    notices=request.notices,
                    ice_servers=request.ice_servers,
                )
                return pb.SignalingRequest(request_id=request_id, announce=announce)
            case Offer():
                offer = pb.OfferRequest(to_peer_id=request.to_peer_id, sdp=request.sdp, type=request.type)
                return pb.SignalingRequest(request_id=request_id, offer=offer)
            case Answer():
                answer = pb.AnswerRequest(
                    to_peer_id=request.to_peer_id, sdp=request.sdp, type=request.type, offer_id=request.offer_id
                )
                return pb.SignalingRequest(request_id=request_id, answer=answer)
            case IceCandidate():
                if request.sdp_mline_index is not None:
                    _check_uint32("sdp_mline_index", request.sdp_mline_index)
                candidate = pb.IceCandidateRequest(
                    to_peer_id=request.to_peer_id,
                    candidate=request.candidate,
                    sdp_mid=request.sdp_mid,
                    sdp_mline_index=request.sdp_mline_index,
                    username_fragment=request.username_fragment,
                    offer_id=request.offer_id,
                )
                return pb.SignalingRequest(request_id=request_id, ice_candidate=candidate)
            case Disconnect():
                hang_up = pb.DisconnectRequest(peer_id=request.peer_id, offer_id=request.offer_id)
                return pb.SignalingRequest(request_id=request_id, disconnect=hang_up)
            case ListPeers():
                question = list_peers_to_proto(request, pb.ListPeersRequest)
                return pb.SignalingRequest(request_id=request_id, list_peers=question)
            case Authenticate():
                shown = pb.AuthenticateRequest(token=request.token)
                return pb.SignalingRequest(request_id=request_id, authenticate=shown)
            case GetIceServers():
                return pb.SignalingRequest(request_id=request_id, get_ice_servers=pb.GetIceServersRequest())
            case HealthCheck():
                pass
    except (UnicodeEncodeError, TypeError):
        raise errors.invalid_params("request", "holds what is no text") from None
    raise ValueError("a health check is not sent on a stream")


_ListProtoT = TypeVar("_ListProtoT", pb.ListPeersRequest, pb.GetPeersRequest)


def list_peers_to_proto(request: ListPeers, kind: type[_ListProtoT]) -> _ListProtoT:
    """Returns the question for a page of a room, for a stream or without a session."""
    _check_uint32("page_size", request.page_size)
    return kind(room=request.room, page_size=request.page_size, page_token=request.page_token)


def _check_uint32(field: str, value: int) -> None:
    if not 0 <= value <= errors.MAX_UINT32:
        raise errors.no_uint32(field)


# The other direction: what the client reads. A server may be newer than the client, or none of ours.


def reply_from_proto(message: pb.SignalingResponse, request: Request) -> Reply | SignalingError:
    """Returns the reply to `request`, or its refusal.

    :raises ValueError: if the message is no reply to such a request.
    """
    match message.WhichOneof("response"):
        case "error":
            return error_from_proto(message.error)
        case "peer_list":
            return page_from_proto(message.peer_list)
        case "ack" if not isinstance(request, ListPeers | HealthCheck):
            return _reply_from_ack(request, message.ack.data)
    raise ValueError(f"the server replied to {request.kind} with {message.WhichOneof('response')}")


def _reply_from_ack(request: Request, data: str) -> Reply | SignalingError:
    """Returns the reply to a request from the JSON of an acknowledgement; a malformed one becomes INTERNAL."""
    try:
        return reading.reply_from_result(request, _object_decoder.decode(data) if data else {})
    except (msgspec.MsgspecError, RecursionError) as error:
        return SignalingError(Code.INTERNAL, f"the server's result is invalid: {error}")


def error_from_proto(message: pb.ErrorResponse) -> SignalingError:
    """Returns a refusal; a code that this client does not know counts as INTERNAL."""
    try:
        data = _object_decoder.decode(message.details) if message.details else {}
    except (msgspec.MsgspecError, RecursionError):
        data = {}
    return reading.refusal_as_read(code_from_number(message.code), message.message, data)


def code_from_number(number: int) -> Code:
    """Returns the code of that number; INTERNAL where there is none that this client knows."""
    return reading.code_as_read(number, Code.INTERNAL)


def event_from_proto(message: pb.SignalingNotification) -> Event | None:
    """Returns an event; None if this client does not know it."""
    match message.WhichOneof("notification"):
        case "peer_joined":
            joined = message.peer_joined
            return PeerJoined(joined.peer_id, _capabilities_as_read(joined.capabilities), dict(joined.metadata))
        case "peer_left":
            return PeerLeft(message.peer_left.peer_id)
        case "offer":
            offer = message.offer
            return OfferReceived(offer.from_peer_id, offer.offer_id, offer.sdp, offer.type or "offer")
        case "answer":
            answer = message.answer
            return AnswerReceived(answer.from_peer_id, answer.sdp, answer.type or "answer", answer.offer_id)
        case "ice_candidate":
            found = message.ice_candidate
            return IceCandidateReceived(
                found.from_peer_id,
                found.candidate,
                found.sdp_mid if found.HasField("sdp_mid") else None,
                found.sdp_mline_index if found.HasField("sdp_mline_index") else None,
                found.username_fragment if found.HasField("username_fragment") else None,
                found.offer_id,
            )
        case "peer_disconnected":
            return PeerDisconnected(message.peer_disconnected.peer_id, message.peer_disconnected.offer_id)
        case "server_notice":
            notice = message.server_notice
            return ServerNotice(
                notice.kind,
                notice.message,
                notice.reconnect_after_ms,
                notice.deadline_unix_ms,
                _object_decoder.decode(notice.data) if notice.data else {},
            )
        case "ice_servers":
            changed = message.ice_servers
            members = {
                "servers": _json_decoder.decode(changed.servers) if changed.servers else (),
                "expires_unix_ms": changed.expires_unix_ms or None,
            }
            return reading.event_from_members(IceServersChanged, members)
    return None


def page_from_proto(message: pb.PeerListResponse | pb.GetPeersResponse) -> PeerList:
    """Returns a page of a room."""
    peers = tuple(
        PeerInfo(
            peer.peer_id,
            _capabilities_as_read(peer.capabilities),
            _STATE_WORDS.get(peer.state, reading.UNSPECIFIED),
            dict(peer.metadata),
            peer.connected_at,
        )
        for peer in message.peers
    )
    return PeerList(peers, message.count or len(peers), message.next_page_token)


def _capabilities_as_read(message: pb.PeerCapabilities) -> Capabilities:
    """Capabilities of another peer; extensions that are none are left out, since they are only shown."""
    try:
        return capabilities_from_proto(message)
    except SignalingError:
        return Capabilities(message.audio, message.video, message.data)


def health_from_proto(message: pb.HealthCheckResponse) -> Health:
    """Returns the server's health; metrics that are no JSON object are left out."""
    try:
        metrics = _object_decoder.decode(message.metrics) if message.metrics else {}
    except (msgspec.MsgspecError, RecursionError):
        metrics = {}
    return Health(message.status, message.uptime_seconds, message.connected_peers, metrics)
