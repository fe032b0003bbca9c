"""The deviations that are known: how other servers differ, by name, and what a message would be without them.

A scenario says which of these are its subject (`proves`): they are its failure. Elsewhere they are noted, taken out of
what arrived, and the scenario goes on. Whatever is left is a failure of its own. Rule 1: a name says something of the
server and nothing of the scenario, so that scenarios can be grouped by it. Rule 2: here a deviation is found in what
arrived beside what was expected. Those that need more are found elsewhere, as the names below say.
Source: `docs/checking.md`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, get_args

import msgspec

from sigbridge import (
    Announced,
    AnswerReceived,
    Code,
    Event,
    IceCandidateReceived,
    OfferReceived,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerList,
    SignalingError,
)
from sigbridge.messages import NO_CAPABILITIES

# Found by a probe, since everything else follows from them.
NO_ROOMS = "no rooms"
NO_ROSTER = "no peer_joined for the peers that are there already"

# Found where somebody asks for it.
NO_ICE_SERVERS = "no ice_servers for who asks"

# Found where messages arrive.
ECHO_OF_JOINING = "a newcomer hears of itself that it joined"
NO_LIST_BEFORE_ANNOUNCE = "list_peers before announce is refused"
NO_DATA = "no data in errors"

# Found where a protocol's reader finds them; others of this kind are named after the member and its place.
NO_VERSION = "no jsonrpc in what the server sends"
NO_ID_IN_ERROR = "errors without the id of their request"
TEXT_FOR_ID = "ids of requests come back as text"
LIST_OF_CAPABILITIES = "capabilities are a list of names"
NO_BOOLEANS = "capabilities without all of audio, video and data"
NO_TYPE_IN_OFFER = "no type in an offer"
NO_TYPE_IN_ANSWER = "no type in an answer"
NO_STATE_LISTED = "no state in an entry of list_peers"
NO_TIME_LISTED = "no connected_at in an entry of list_peers"
NO_COUNT = "no count in the result of list_peers"

# Found beside what was expected.
COUNTS_NEWCOMER = "peers_count counts the newcomer"
LISTS_NEWCOMER = "other_peers names the newcomer"
PEER_ORDER = "peers do not come in the order of joining"
EVENT_FIRST = "events come before the response that they follow"
NO_METADATA = "no metadata in peer_joined"
NO_CAPABILITIES_TOLD = "no capabilities in peer_joined"
NO_METADATA_LISTED = "no metadata in an entry of list_peers"
NO_CAPABILITIES_LISTED = "no capabilities in an entry of list_peers"
NO_EXTENSIONS = "capabilities lose their extensions"
OFFER_ID_FORM = "offer_id has another form"
NO_OFFER_ID = "no offer_id in an offer"
OFFER_ID_DROPPED = "offer_id of answers, candidates and hang-ups is dropped"
FRAGMENT_DROPPED = "username_fragment is dropped"
EMPTY_FOR_ABSENT = "absent fields of candidates arrive as empty ones"
NO_MEDIA_SECTION = "a candidate that names no media section arrives without one"
ERROR_TEXT = "errors have other texts"
ERROR_DATA = "errors have other data"

BARE = "(no data)"
"""The member of a refusal's data that says that there was none.

It has the `number` that the refusal had instead, and the codes that it `may_be`.
"""

Note: TypeAlias = Callable[[str], None]
"""Takes the name of each deviation that was found."""

_OFFER_ID = re.compile(r".+_.+_1\d{12}", re.DOTALL)


def other_number(code: Code, number: Any) -> str:
    """Returns the name of the deviation that a protocol's own number for a code is another one."""
    return f"another JSON-RPC code for {code.name}: {number!r:.20}"


def corrected(actual: Any, expected: Any, note: Note) -> Any:
    """Returns an arrival without the known deviations that explain how it differs from the one expected."""
    if isinstance(actual, list) and isinstance(expected, list):
        return _list(actual, expected, note)
    if isinstance(actual, tuple) and isinstance(expected, tuple) and len(actual) == len(expected):
        return tuple(corrected(one, other, note) for one, other in zip(actual, expected, strict=True))
    if isinstance(actual, SignalingError) and isinstance(expected, SignalingError):
        return _refusal(actual, expected, note)
    if type(actual) is not type(expected):
        return actual
    correct = _CORRECT.get(type(actual))
    if correct is None or any(
        getattr(actual, name) != getattr(expected, name) for name in _IDENTITY.get(type(actual), ())
    ):
        return actual
    return correct(actual, expected, note)


def _list(actual: list[Any], expected: list[Any], note: Note) -> list[Any]:
    """Corrects a list of what was received, each with its counterpart: the order of peers and of kinds of message."""
    if len(actual) != len(expected):
        return actual
    if all(isinstance(one, str) for one in (*actual, *expected)):
        return list(_in_order(actual, expected, note))
    if all(isinstance(one, PeerInfo) for one in (*actual, *expected)):
        return list(_infos(actual, expected, note))
    if [type(one) for one in actual] != [type(one) for one in expected]:
        if Counter(map(type, actual)) != Counter(map(type, expected)) or all(
            isinstance(one, _EVENTS) for one in actual
        ):
            return actual
        # Each kind keeps its own order.
        note(EVENT_FIRST)
        waiting: dict[type, Iterator[Any]] = {
            kind: iter([one for one in actual if type(one) is kind]) for kind in set(map(type, actual))
        }
        actual = [next(waiting[type(one)]) for one in expected]
    return [corrected(one, other, note) for one, other in zip(actual, expected, strict=True)]


def _in_order(actual: Any, expected: Any, note: Note) -> Any:
    """Returns names in the order in which they are expected, if only the order differs."""
    if actual != expected and sorted(actual) == sorted(expected):
        note(PEER_ORDER)
        return expected
    return actual


def _refusal(actual: SignalingError, expected: SignalingError, note: Note) -> SignalingError:
    """Returns the refusal expected if the one received is of the same code, or bare; else the one received."""
    bare = actual.extra.get(BARE)
    if bare is not None:
        note(NO_DATA)
        if int(expected.code) not in bare["may_be"]:
            note(other_number(expected.code, bare["number"]))
    elif actual.code != expected.code:
        return actual
    elif _letters(actual.extra) != _letters(expected.extra):
        note(ERROR_DATA)
    if actual.message != expected.message:
        note(ERROR_TEXT)
    return expected


def _letters(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _announced(actual: Announced, expected: Announced, note: Note) -> Announced:
    """Corrects the reply to an announce: whether it lists and counts the newcomer, and the order of peers."""
    others, count = actual.other_peers, actual.peers_count
    if actual.peer_id in others:
        note(LISTS_NEWCOMER)
        others = tuple(other for other in others if other != actual.peer_id)
    if count == len(others) + 1:
        note(COUNTS_NEWCOMER)
        count = len(others)
    others = _in_order(others, expected.other_peers, note)
    return msgspec.structs.replace(actual, peers_count=count, other_peers=others)


def _joined(actual: PeerJoined, expected: PeerJoined, note: Note) -> PeerJoined:
    """Corrects the event of a newcomer: its capabilities and metadata."""
    return PeerJoined(
        actual.peer_id,
        _capabilities(actual, expected, note, NO_CAPABILITIES_TOLD),
        _metadata(actual, expected, note, NO_METADATA),
    )


def _page(actual: PeerList, expected: PeerList, note: Note) -> PeerList:
    return msgspec.structs.replace(actual, peers=_infos(actual.peers, expected.peers, note))


def _infos(actual: Sequence[PeerInfo], expected: Sequence[PeerInfo], note: Note) -> tuple[PeerInfo, ...]:
    """Corrects a list of peers: its order, and what it says of each."""
    places = {peer.peer_id: place for place, peer in enumerate(expected)}
    if places.keys() != {peer.peer_id for peer in actual} or len(places) != len(actual):
        return tuple(actual)
    if [peer.peer_id for peer in actual] != [*places]:
        note(PEER_ORDER)
        actual = sorted(actual, key=lambda peer: places[peer.peer_id])
    return tuple(_info(one, other, note) for one, other in zip(actual, expected, strict=True))


def _info(actual: PeerInfo, expected: PeerInfo, note: Note) -> PeerInfo:
    """Corrects what the list of peers says of one: its capabilities and metadata."""
    return msgspec.structs.replace(
        actual,
        capabilities=_capabilities(actual, expected, note, NO_CAPABILITIES_LISTED),
        metadata=_metadata(actual, expected, note, NO_METADATA_LISTED),
    )


def _metadata(actual: Any, expected: Any, note: Note, name: str) -> Any:
    """Returns the metadata expected if none was received, else those received."""
    if actual.metadata or not expected.metadata:
        return actual.metadata
    note(name)
    return expected.metadata


def _capabilities(actual: Any, expected: Any, note: Note, name: str) -> Any:
    """Returns the capabilities expected if those received lack only what a deviation allows, else those received."""
    has, wanted = actual.capabilities, expected.capabilities
    if has == wanted:
        return has
    if has == NO_CAPABILITIES:
        note(name)
        return wanted
    if not has.extensions and msgspec.structs.replace(wanted, extensions={}) == has:
        note(NO_EXTENSIONS)
        return wanted
    return has


def _offer(actual: OfferReceived, expected: OfferReceived, note: Note) -> OfferReceived:
    """Corrects an offer that lacks its ID, and notes IDs of an undocumented form."""
    for offer_id in (actual.offer_id, expected.offer_id):
        if offer_id and not _OFFER_ID.fullmatch(offer_id):
            note(OFFER_ID_FORM)
    if actual.offer_id and expected.offer_id:
        return actual
    # What is expected is what the offer was acknowledged with.
    note(NO_OFFER_ID)
    return msgspec.structs.replace(actual, offer_id=expected.offer_id)


def _of_offer(actual: Any, expected: Any, note: Note) -> Any:
    """Corrects a message that lacks its offer ID."""
    if actual.offer_id or not expected.offer_id:
        return actual
    note(OFFER_ID_DROPPED)
    return msgspec.structs.replace(actual, offer_id=expected.offer_id)


def _candidate(actual: IceCandidateReceived, expected: IceCandidateReceived, note: Note) -> IceCandidateReceived:
    """Corrects an ICE candidate: its offer ID, its fragment, and which media section it names."""
    actual = _of_offer(actual, expected, note)
    fields: dict[str, Any] = {}
    if actual.username_fragment is None and expected.username_fragment is not None:
        note(FRAGMENT_DROPPED)
        fields["username_fragment"] = expected.username_fragment
    if (actual.sdp_mid, actual.sdp_mline_index, expected.sdp_mline_index) == (None, None, 0) and not expected.sdp_mid:
        note(NO_MEDIA_SECTION)
        return msgspec.structs.replace(actual, sdp_mline_index=0, **fields)
    for field in ("sdp_mid", "sdp_mline_index", "username_fragment"):
        if getattr(actual, field) in ("", 0) and getattr(expected, field) is None:
            note(EMPTY_FOR_ABSENT)
            fields[field] = None
    return msgspec.structs.replace(actual, **fields)


_EVENTS = get_args(Event)
_CORRECT: dict[type[Any], Callable[[Any, Any, Note], Any]] = {
    Announced: _announced,
    PeerJoined: _joined,
    PeerInfo: _info,
    PeerList: _page,
    OfferReceived: _offer,
    AnswerReceived: _of_offer,
    PeerDisconnected: _of_offer,
    IceCandidateReceived: _candidate,
}
_IDENTITY: dict[type[Any], tuple[str, ...]] = {
    PeerJoined: ("peer_id",),
    PeerInfo: ("peer_id",),
    OfferReceived: ("from_peer_id", "sdp"),
    AnswerReceived: ("from_peer_id", "sdp"),
    IceCandidateReceived: ("from_peer_id", "candidate"),
    PeerDisconnected: ("peer_id",),
}
"""The fields by which two messages are one: where these differ, nothing is a deviation of the other."""
