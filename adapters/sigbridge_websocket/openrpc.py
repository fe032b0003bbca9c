"""The OpenRPC document that `rpc.discover` returns: methods, params, results and events of the JSON-RPC side.

Params come from the structs that decode them, so the document cannot promise what is not accepted. Events are methods
that the server calls; OpenRPC has no word for these, so they are under `x-notifications`. Every method and event has
the dialects that know it as its tags. See https://spec.open-rpc.org.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import msgspec

from sigbridge import messages, results
from sigbridge.errors import MAX_UINT32, MAX_UINT64
from sigbridge_websocket import descriptions, dotted, dotted_shapes, dotted_translate
from sigbridge_websocket.dialects import PLAIN
from sigbridge_websocket.dotted import DOTTED
from sigbridge_websocket.shapes import SYNONYMS
from sigbridge_websocket.translate import REQUESTS

Schema: TypeAlias = dict[str, Any]

_REQUIRED: dict[str, tuple[str, ...]] = {
    "announce": ("peer_id",),
    "offer": ("to_peer_id", "sdp"),
    "answer": ("to_peer_id", "sdp"),
    "ice_candidate": ("to_peer_id",),
    "disconnect": ("peer_id",),
    "authenticate": ("token",),
}
_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"type": "object"}
_NULL: Schema = {"type": "null"}
_TRUE: Schema = {"const": True}
_BOOLEAN: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_RESUMABLE: dict[str, Schema] = {
    "resumable": _BOOLEAN,
    "resume_token": _TEXT,
    "resume_window_seconds": {"type": "number"},
    "resumed": _BOOLEAN,
}
"""Members of the result of an announce that asks to be resumable; absent from all others."""
_SEQ: Schema = {"type": "integer", "minimum": 1}
"""The param `seq`, which every event for a resumable peer has, but those that are not numbered."""
_OPTIONAL: Final[dict[str, frozenset[str]]] = {
    "Announced": frozenset({*_RESUMABLE, "ice_servers", "ice_servers_expire_unix_ms"}),
    "PeerList": frozenset({"next_page_token"}),
    "IceServers": frozenset({"ice_servers_expire_unix_ms"}),
    "IceServer": frozenset({"username", "credential"}),
}
"""The members of results that may be absent, by the names of these."""
_CAPABILITY_NAMES: Schema = {"type": "array", "items": _TEXT}
_TYPES: Final[dict[str, tuple[str, ...]]] = {"offer": ("offer",), "answer": ("answer", "pranswer")}
"""The types of session descriptions, by the method that relays them; the first is what an absent one means."""
_LARGEST: Final[dict[str, int]] = {"page_size": MAX_UINT32, "last_seq": MAX_UINT64}
"""The largest values of params that are whole numbers, but for indices of media sections."""
_INDICES: Final = ("sdp_mline_index", "sdpMLineIndex", "sdp_m_line_index")
"""The spellings of these."""


def _capabilities(*, whole: bool) -> Schema:
    """Returns the schema of capabilities as an object; if it is `whole`, the three booleans are required."""
    title, description = descriptions.CAPABILITIES
    booleans = {name: _BOOLEAN | {"description": descriptions.MEMBERS[name]} for name in results.BOOLEAN_CAPABILITIES}
    required = {"required": list(booleans)} if whole else {}
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": booleans,
        **required,
        "additionalProperties": True,
    }


_SHOWN_CAPABILITIES: Final = _capabilities(whole=True)


def _ice_servers() -> dict[str, Schema]:
    """Returns the members of results that have ICE servers."""
    urls = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
    server = _object({"urls": urls, "username": _TEXT, "credential": _TEXT}, *descriptions.ICE_SERVER)
    return {"ice_servers": {"type": "array", "items": server}, "ice_servers_expire_unix_ms": _COUNT}


def _results(capabilities: Schema) -> dict[str, dict[str, Schema]]:
    """Returns the schemas of the members of all results, by plain name, with a dialect's own capabilities."""
    peer = {
        "peer_id": _TEXT,
        "capabilities": capabilities,
        "state": _TEXT,
        "metadata": _OBJECT,
        "connected_at": _COUNT,
    }
    return {
        "announce": {
            "peer_id": _TEXT,
            "peers_count": _COUNT,
            "other_peers": {"type": "array", "items": _TEXT},
            **_RESUMABLE,
            **_ice_servers(),
        },
        "offer": {"offer_id": _TEXT, "to_peer_id": _TEXT},
        "answer": {"to_peer_id": _TEXT},
        "ice_candidate": {"to_peer_id": _TEXT},
        "disconnect": {"peer_id": _TEXT},
        "list_peers": {
            "peers": {"type": "array", "items": _object(peer, *descriptions.PEER)},
            "count": _COUNT,
            "next_page_token": _TEXT,
        },
        "authenticate": {"subject": _TEXT, "expires_at": {"type": ["integer", "null"]}},
        "get_ice_servers": _ice_servers(),
        "health_check": {
            "status": {"enum": ["healthy", "degraded", "unhealthy"]},
            "uptime_seconds": _COUNT,
            "connected_peers": _COUNT,
            "metrics": _OBJECT,
        },
    }


_EVENTS: Final[dict[str, type[Any]]] = {
    "peer_joined": messages.PeerJoined,
    "peer_left": messages.PeerLeft,
    "offer": messages.OfferReceived,
    "answer": messages.AnswerReceived,
    "ice_candidate": messages.IceCandidateReceived,
    "peer_disconnected": messages.PeerDisconnected,
}
_DOTTED_EVENTS: Final[dict[str, tuple[str, type[Any]]]] = {
    "peer.joined": ("peer_joined", messages.PeerJoined),
    "peer.left": ("peer_left", messages.PeerLeft),
    "peer.offer": ("offer", dotted_shapes.DottedOfferEvent),
    "peer.answer": ("answer", dotted_shapes.DottedAnswerEvent),
    "peer.ice_candidate": ("ice_candidate", dotted_shapes.DottedCandidateEvent),
    "peer.disconnected": ("peer_disconnected", messages.PeerDisconnected),
}
"""The events of the dotted dialect, with their plain names."""
_DOTTED_NAMES: Final = {own: field for field, own in dotted_shapes.OWN_NAMES.items()}
"""The plain names of members that the dotted dialect calls otherwise."""
_ANY_CONTROL = "control.NAME"
"""The name under which all `control.…` stand: OpenRPC has no pattern for names."""


@cache
def openrpc_document() -> dict[str, Any]:
    """Returns the document, as JSON-like Python values."""
    return {
        "openrpc": "1.3.2",
        "info": {"title": "sigbridge", "version": "1", "description": "WebRTC signaling over WebSocket"},
        "methods": [*_plain_methods(), *_dotted_methods()],
        "x-notifications": [*_plain_events(), *_dotted_events(), *_events_of_server()],
    }


# The plain dialect, and what both have.


def _plain_methods() -> list[Schema]:
    """Returns the methods of the plain dialect, some of which are the dotted dialect's, too."""
    members = _results(_SHOWN_CAPABILITIES)
    return [
        _method(
            name,
            name,
            _params(name, _request_members(name, kind, MAX_UINT32), _REQUIRED.get(name, ()), SYNONYMS),
            _object(members[name], *descriptions.RESULTS[name]),
            (PLAIN.name,) if name in dotted.METHODS.values() else (PLAIN.name, DOTTED.name),
        )
        for name, (kind, _) in REQUESTS.items()
    ]


def _plain_events() -> list[Schema]:
    return [
        _event(name, name, kind, _SHOWN_CAPABILITIES, {"reason"}) | _tags(PLAIN.name) for name, kind in _EVENTS.items()
    ]


def _events_of_server() -> list[Schema]:
    """Returns the events of the server itself, which both dialects tell alike."""
    return [
        _event(kind.kind, kind.kind, kind, _SHOWN_CAPABILITIES, {"seq"}) | _tags(PLAIN.name, DOTTED.name)
        for kind in (messages.ServerNotice, messages.IceServersChanged)
    ]


# The dotted dialect.


def _dotted_methods() -> list[Schema]:
    """Returns the methods of the dotted dialect."""
    members = _results(_CAPABILITY_NAMES)
    own = dotted_shapes.OWN_NAMES
    spellings = own | {other: own.get(field, field) for other, field in SYNONYMS.items()}
    methods = []
    for name, plain in dotted.METHODS.items():
        kind, _ = dotted_translate.REQUESTS[plain]
        required = [own.get(field, field) for field in _REQUIRED.get(plain, ())]
        title, description = descriptions.RESULTS[plain]
        success = {} if plain == "list_peers" else {"success": _TRUE}
        result = _object(success | members[plain], "", description, title)
        if plain == "offer":
            answer = _properties(dotted_shapes.DottedAnswerResult) | {"type": {"const": "answer"}}
            both = [result, _object(answer, "", "The answer of the target", "answer result")]
            result = {"anyOf": both, "description": "Some peers' SDP answer itself is the result"}
        params = _params(plain, _request_members(plain, kind, dotted_shapes.MAX_INDEX), required, spellings)
        methods.append(_method(name, plain, params, result, (DOTTED.name,)))
    info = _object({"addresses": {"type": "array"}, "hostname": _TEXT}, "", "What older servers say of themselves")
    sender = _params("", {"from": _TEXT}, (), {})
    relayed = _object({"success": _TRUE}, "", "The target is here and its queue took the message")
    return [
        *methods,
        _method("server.info", "", [], info, (DOTTED.name,), "Ask what older servers say of themselves; empty here"),
        _method(
            _ANY_CONTROL,
            "",
            sender,
            relayed,
            (DOTTED.name,),
            "Relay params as they are between a caller and a peer whose SDP answer is a result; NAME is any",
        ),
    ]


def _dotted_events() -> list[Schema]:
    """Returns the events of the dotted dialect, `control.NAME` among them."""
    events = [_event(name, plain, kind, _CAPABILITY_NAMES, set()) for name, (plain, kind) in _DOTTED_EVENTS.items()]
    sender = {"name": "from", "description": descriptions.MEMBERS["from_peer_id"], "required": True, "schema": _TEXT}
    summary = "A peer sends a message of control, whose params are its own"
    events.append({"name": _ANY_CONTROL, "summary": summary, "params": [sender]})
    return [event | _tags(DOTTED.name) for event in events]


# Parts of the document.


# Six parameters: the parts of a method.
def _method(
    name: str, plain: str, params: list[Schema], result: Schema, dialects: tuple[str, ...], summary: str = ""
) -> Schema:
    """Returns a method of the document.

    `plain` names its description, and is empty if it has a `summary` of its own.
    """
    return {
        "name": name,
        "summary": summary or descriptions.SUMMARIES[plain],
        **({"description": descriptions.METHODS[plain]} if plain else {}),
        **_tags(*dialects),
        "paramStructure": "by-name",
        "params": params,
        "result": {"name": "result", "schema": result},
    }


def _event(name: str, plain: str, kind: type[Any], capabilities: Schema, without: set[str]) -> Schema:
    """Returns an event of the document, with the members of a struct and `seq`; none of them is ever null."""
    members = {field: _without_null(schema) for field, schema in _properties(kind).items()} | {"seq": _SEQ}
    if plain in _TYPES:
        members["type"] = {"enum": list(_TYPES[plain])}
    if "capabilities" in members:
        members["capabilities"] = capabilities
    if "servers" in members:
        members["servers"] = _ice_servers()["ice_servers"]
    required = _components(kind).get("required", ())
    where = f"{plain} event"
    senders = {"from": "from_peer_id"}
    return {
        "name": name,
        "summary": descriptions.EVENTS[plain],
        "params": [
            {
                "name": field,
                "description": _meaning(senders.get(field, field), where),
                "required": field in required,
                "schema": schema,
            }
            for field, schema in members.items()
            if field not in without
        ],
    }


def _params(
    where: str, properties: dict[str, Schema], required: Sequence[str], synonyms: Mapping[str, str]
) -> list[Schema]:
    """Returns the params of a method; those that are required come first, as OpenRPC demands."""
    return [
        {
            "name": field,
            **({"summary": f"Another spelling of {synonyms[field]}"} if field in synonyms else {}),
            "description": _meaning(synonyms.get(field, field), where),
            "required": field in required,
            "schema": _without_null(properties[field]) if field in required else properties[field],
        }
        for field in sorted(properties, key=lambda field: field not in required)
    ]


def _request_members(plain: str, kind: type[Any], largest_index: int) -> dict[str, Schema]:
    """Returns the schemas of a struct of params, with bounds and values that its types do not have."""
    members = _properties(kind)
    if plain in _TYPES:
        # Absent, null and empty are alike.
        members["type"] = {"enum": [*_TYPES[plain], "", None]}
    if plain == "announce":
        # An object, and in one of the dialects an array as well.
        kinds = [_capabilities(whole=False) if one == _OBJECT else one for one in members["capabilities"]["anyOf"]]
        members["capabilities"] = {"anyOf": kinds}
    for name, largest in (_LARGEST | dict.fromkeys(_INDICES, largest_index)).items():
        if name in members:
            members[name] = {"anyOf": [_COUNT | {"maximum": largest}, _NULL]}
    return members


def _meaning(field: str, where: str) -> str:
    return descriptions.meaning_of(_DOTTED_NAMES.get(field, field), where)


def _without_null(schema: Schema) -> Schema:
    """Returns a schema without null, for a required member."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != _NULL]
    return kinds[0] if len(kinds) == 1 else schema


def _object(properties: dict[str, Schema], title: str, description: str, where: str = "") -> Schema:
    """Returns the schema of an object of a result; its members are described as those of `where`, or of the title."""
    return {
        **({"title": title} if title else {}),
        "description": description,
        "type": "object",
        "properties": {
            # One that has a name of its own is described there.
            field: schema if "title" in schema else schema | {"description": _meaning(field, where or title)}
            for field, schema in properties.items()
        },
        "required": [field for field in properties if field not in _OPTIONAL.get(where or title, ())],
    }


def _tags(*dialects: str) -> Schema:
    return {"tags": [{"name": dialect} for dialect in dialects]}


def _components(kind: type[Any]) -> Schema:
    (_, components) = msgspec.json.schema_components((kind,))
    found: Schema = components[kind.__name__]
    return found


def _properties(kind: type[Any]) -> dict[str, Schema]:
    """Returns the schemas of a struct's members, without defaults."""
    properties: dict[str, Schema] = _components(kind).get("properties", {})
    return {
        name: {key: value for key, value in schema.items() if key != "default"} for name, schema in properties.items()
    }
