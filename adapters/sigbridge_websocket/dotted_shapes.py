"""The shapes of JSON messages in the dotted dialect: params in every spelling, whole calls, and events.

Rule 1: a struct's members are the dialect's; its types are JSON's. Rule 2: the calls refuse what they do not know, so
that whatever the fast path does not take is left to the general path. Rule 3: this file is not compiled: compiled
classes lose the options of their structs. Source: `docs/protocol.md`, section "The dotted dialect".
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, field

from sigbridge_websocket.shapes import (
    SYNONYMS,
    AnnounceParams,
    AnswerParams,
    CallId,
    CandidateParams,
    DisconnectParams,
    ListPeersParams,
    OfferParams,
)

MAX_INDEX: Final = 65535
"""The largest index of a media section: deployed clients read it as a number of 16 bits."""

OWN_NAMES: Final[dict[str, str]] = {
    "to_peer_id": "to",
    "metadata": "user_data",
    "sdp_mline_index": "sdp_m_line_index",
}
"""The fields that the dialect calls otherwise than the core, and how."""

SPELLINGS: Final[dict[str, str]] = {**{own: field for field, own in OWN_NAMES.items()}, **SYNONYMS}
"""Other spellings of the core's fields, each with its field; all are understood."""

CapabilityNames: TypeAlias = list[str] | dict[str, Any] | None
"""Capabilities in a request: an array of names, or an object as in the plain dialect."""


# Requests: what `params` may hold.


def _spelled(kind: type[Struct], **members: Any) -> type[Any]:
    """Returns a class of params with the fields of `kind`, every spelling of each, `from`, and more members.

    Each of those may be null.
    """
    types = {one.name: one.type for one in msgspec.structs.fields(kind)}
    names = {one: types[field] for one, field in SPELLINGS.items() if field in types}
    names |= {one: types[one] for one in SPELLINGS.values() if one in types} | members
    return msgspec.defstruct(
        f"Dotted{kind.__name__}",
        [
            *((name, type_ | None, None) for name, type_ in names.items()),
            ("from_", str | None, field(default=None, name="from")),
        ],
        bases=(kind,),
        module=__name__,
    )


DottedAnnounceParams: Final = _spelled(AnnounceParams, capabilities=CapabilityNames)
DottedOfferParams: Final = _spelled(OfferParams)
DottedAnswerParams: Final = _spelled(AnswerParams)
DottedCandidateParams: Final = _spelled(CandidateParams)
DottedDisconnectParams: Final = _spelled(DisconnectParams, reason=str)
DottedListPeersParams: Final = _spelled(ListPeersParams)


# Calls of the fast path, whole, decoded in one pass. They have the dialect's own names alone.


class _Strict(Struct, forbid_unknown_fields=True, kw_only=True):
    """Members common to all params."""

    from_: str | None = field(default=None, name="from")


class StrictDottedAnnounce(_Strict, kw_only=True):
    """Params of `peer.announce`."""

    peer_id: str = ""
    capabilities: CapabilityNames = None
    user_data: dict[str, Any] | None = None
    room: str | None = None
    resumable: bool | None = None
    resume_token: str | None = None
    last_seq: int | None = None
    notices: bool | None = None
    ice_servers: bool | None = None


class StrictDottedOffer(_Strict, kw_only=True):
    """Params of `peer.offer`."""

    to: str
    sdp: str
    type: str | None = None


class StrictDottedAnswer(_Strict, kw_only=True):
    """Params of `peer.answer`."""

    to: str
    sdp: str
    type: str | None = None
    offer_id: str | None = None


class StrictDottedCandidate(_Strict, kw_only=True):
    """Params of `peer.ice_candidate`."""

    to: str
    candidate: str | None = None
    sdp_mid: str | None = None
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=MAX_INDEX)] | None = None
    username_fragment: str | None = None
    offer_id: str | None = None


class _Call(Struct, tag_field="method", forbid_unknown_fields=True, kw_only=True):
    """Members common to every call; `method` selects the type."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: CallId = UNSET
    traceparent: str = ""


class DottedAnnounceCall(_Call, tag="peer.announce"):
    """A whole `peer.announce` call."""

    params: StrictDottedAnnounce


class DottedOfferCall(_Call, tag="peer.offer"):
    """A whole `peer.offer` call."""

    params: StrictDottedOffer


class DottedAnswerCall(_Call, tag="peer.answer"):
    """A whole `peer.answer` call."""

    params: StrictDottedAnswer


class DottedCandidateCall(_Call, tag="peer.ice_candidate"):
    """A whole `peer.ice_candidate` call."""

    params: StrictDottedCandidate


DottedCall: TypeAlias = DottedAnnounceCall | DottedOfferCall | DottedAnswerCall | DottedCandidateCall
decode_dotted_call: Callable[[bytes], DottedCall] = msgspec.json.Decoder(DottedCall).decode


# Events for one peer: `params`, which say from whom and to whom.


class _Relayed(Struct, omit_defaults=True):
    """Members common to what one peer says to another."""

    from_: str = field(name="from")
    to: str


class DottedOfferEvent(_Relayed):
    """Params of the event `peer.offer`."""

    offer_id: str
    sdp: str
    type: str


class DottedAnswerEvent(_Relayed):
    """Params of the event `peer.answer`."""

    sdp: str
    type: str
    offer_id: str = ""


class DottedCandidateEvent(_Relayed):
    """Params of the event `peer.ice_candidate`."""

    candidate: str
    sdp_mid: str | None = None
    sdp_m_line_index: int | None = None
    username_fragment: str | None = None
    offer_id: str = ""


class DottedAnswerResult(Struct):
    """The result of a `peer.offer` to which the SDP answer is the reply."""

    type: str
    sdp: str
    from_: str = field(name="from")
    to: str
