"""The shapes of JSON messages, as msgspec reads and writes them: params, whole calls, and errors.

Rule 1: a struct's fields are the protocol's; its types are JSON's. Rule 2: the calls refuse what they do not know, so
that whatever the fast path does not take is judged by the general path. Rule 3: this file is not compiled: compiled
classes lose the options of their structs. Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sigbridge.messages import Answer, IceCandidate, Offer

RequestId: TypeAlias = str | int | None
"""The id of a request that wants a response (JSON-RPC 2.0, section 4)."""

CallId: TypeAlias = RequestId | UnsetType
"""The id of a call; `msgspec.UNSET` where there is none: a notification, which gets no response."""

encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


# Requests: what `params` may hold.


class AnnounceParams(Struct):
    """Params of `announce`."""

    peer_id: str = ""
    capabilities: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    room: str | None = None
    resumable: bool | None = None
    resume_token: str | None = None
    last_seq: int | None = None
    notices: bool | None = None
    ice_servers: bool | None = None


class OfferParams(Struct):
    """Params of `offer`."""

    to_peer_id: str = ""
    sdp: str = ""
    type: str | None = None


class AnswerParams(Struct):
    """Params of `answer`."""

    to_peer_id: str = ""
    sdp: str = ""
    type: str | None = None
    offer_id: str | None = None


class CandidateParams(Struct):
    """Params of `ice_candidate`."""

    to_peer_id: str = ""
    candidate: str | None = None
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None
    offer_id: str | None = None


SYNONYMS: Final[dict[str, str]] = {
    "sdpMid": "sdp_mid",
    "sdpMLineIndex": "sdp_mline_index",
    "usernameFragment": "username_fragment",
}
"""Other spellings of params of `ice_candidate`, each with its field.

Browsers' `RTCIceCandidate.toJSON()` has these (W3C WebRTC, dictionary RTCIceCandidateInit). Each is a param of its
own: decoded, named by errors and told by the OpenRPC document like any other. Calls that have one take the general
path.
"""

SpelledCandidateParams: Final[type[Any]] = msgspec.defstruct(
    "SpelledCandidateParams",
    [(spelling, CandidateParams.__annotations__[field], None) for spelling, field in SYNONYMS.items()],
    bases=(CandidateParams,),
    module=__name__,
)
"""Params of `ice_candidate` with every spelling of each field."""


class DisconnectParams(Struct):
    """Params of `disconnect`."""

    peer_id: str = ""
    offer_id: str | None = None


class ListPeersParams(Struct):
    """Params of `list_peers`."""

    room: str | None = None
    page_size: int | None = None
    page_token: str | None = None


class AuthenticateParams(Struct):
    """Params of `authenticate`."""

    token: str = ""

    def __repr__(self) -> str:
        return "AuthenticateParams(token=(hidden))"


class NoParams(Struct):
    """Params of a method that takes none."""


# Calls of the fast path, whole, decoded in one pass. The params of a relay are the hub's own request.


class StrictAnnounce(AnnounceParams, forbid_unknown_fields=True):
    """`AnnounceParams`, and nothing besides."""


class _Call(Struct, tag_field="method", forbid_unknown_fields=True, kw_only=True):
    """Members common to every call; `method` selects the type."""

    jsonrpc: Literal["2.0"]
    id: CallId = UNSET
    traceparent: str = ""


class AnnounceCall(_Call, tag="announce"):
    """A whole `announce` call."""

    params: StrictAnnounce


class OfferCall(_Call, tag="offer"):
    """A whole `offer` call."""

    params: Offer


class AnswerCall(_Call, tag="answer"):
    """A whole `answer` call."""

    params: Answer


class CandidateCall(_Call, tag="ice_candidate"):
    """A whole `ice_candidate` call."""

    params: IceCandidate


FastPathCall: TypeAlias = AnnounceCall | OfferCall | AnswerCall | CandidateCall
decode_call: Callable[[bytes], FastPathCall] = msgspec.json.Decoder(FastPathCall).decode


# Errors.


class ErrorObject(Struct, omit_defaults=True):
    """A JSON-RPC error; `data` is absent only where the request was none."""

    code: int
    message: str
    data: dict[str, Any] | None = None


class ErrorResponse(Struct):
    """A JSON-RPC response with an error."""

    jsonrpc: str
    error: ErrorObject
    id: RequestId
