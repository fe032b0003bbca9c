"""The document that describes the protocol: complete, plain JSON, and true."""

import json

import jsonschema
import msgspec
import pytest

from sigbridge import messages
from sigbridge.ice_servers import IceStock, Turn
from sigbridge.messages import ControlReceived, IceServersChanged, ServerNotice
from sigbridge_websocket import descriptions, openrpc
from sigbridge_websocket.dialects import PLAIN as PLAIN_DIALECT
from sigbridge_websocket.dotted import DOTTED as DOTTED_DIALECT
from sigbridge_websocket.dotted import METHODS
from sigbridge_websocket.openrpc import openrpc_document
from sigbridge_websocket.shapes import SYNONYMS
from sigbridge_websocket.translate import REQUESTS

RESUMING = dict.fromkeys(("resumable", "resume_token", "last_seq", "notices", "ice_servers"), False)
PARAMS = {
    "announce": {"peer_id": True, "capabilities": False, "metadata": False, "room": False, **RESUMING},
    "offer": {"to_peer_id": True, "sdp": True, "type": False},
    "answer": {"to_peer_id": True, "sdp": True, "type": False, "offer_id": False},
    "ice_candidate": {
        "to_peer_id": True,
        "candidate": False,
        "sdp_mid": False,
        "sdp_mline_index": False,
        "username_fragment": False,
        "offer_id": False,
        "sdpMid": False,
        "sdpMLineIndex": False,
        "usernameFragment": False,
    },
    "disconnect": {"peer_id": True, "offer_id": False},
    "list_peers": {"room": False, "page_size": False, "page_token": False},
    "authenticate": {"token": True},
    "get_ice_servers": {},
    "health_check": {},
}
DOTTED_CANDIDATE = (
    "to_peer_id", "candidate", "sdp_mid", "sdp_mline_index", "username_fragment", "offer_id", "sdp_m_line_index",
    "sdpMid", "sdpMLineIndex", "usernameFragment", "from",
)  # fmt: skip
DOTTED_PARAMS = {
    "peer.announce": {
        "peer_id": True,
        **dict.fromkeys(("capabilities", "metadata", "room", "user_data", "from"), False),
        **RESUMING,
    },
    "peer.offer": {"sdp": True, "to": True, "to_peer_id": False, "type": False, "from": False},
    "peer.answer": {"sdp": True, "to": True, "to_peer_id": False, "type": False, "offer_id": False, "from": False},
    "peer.ice_candidate": {"to": True, **dict.fromkeys(DOTTED_CANDIDATE, False)},
    "peer.disconnect": {"peer_id": True, "offer_id": False, "reason": False, "from": False},
    "peer.list": {"room": False, "page_size": False, "page_token": False, "from": False},
    "server.info": {},
    "control.NAME": {"from": False},
}
EVENTS = {
    "peer_joined": ["peer_id", "capabilities", "metadata", "seq"],
    "peer_left": ["peer_id", "seq"],
    "offer": ["from_peer_id", "offer_id", "sdp", "type", "seq"],
    "answer": ["from_peer_id", "sdp", "type", "offer_id", "seq"],
    "ice_candidate": [
        "from_peer_id",
        "candidate",
        "sdp_mid",
        "sdp_mline_index",
        "username_fragment",
        "offer_id",
        "seq",
    ],
    "peer_disconnected": ["peer_id", "offer_id", "seq"],
}
DOTTED_EVENTS = {
    "peer.joined": ["peer_id", "capabilities", "metadata", "seq"],
    "peer.left": ["peer_id", "reason", "seq"],
    "peer.offer": ["from", "to", "offer_id", "sdp", "type", "seq"],
    "peer.answer": ["from", "to", "sdp", "type", "offer_id", "seq"],
    "peer.ice_candidate": [
        "from",
        "to",
        "candidate",
        "sdp_mid",
        "sdp_m_line_index",
        "username_fragment",
        "offer_id",
        "seq",
    ],
    "peer.disconnected": ["peer_id", "offer_id", "reason", "seq"],
    "control.NAME": ["from"],
}
NOTICES = {
    "server_notice": ["kind", "message", "reconnect_after_ms", "deadline_unix_ms", "data"],
    "ice_servers": ["servers", "expires_unix_ms"],
}
"""Events of the server itself, which have no number."""
COMING_BACK = {"peer_id": "carol", "resume_token": "of nobody", "ice_servers": True}
"""Params of an announce whose result has all members."""
STOCK = IceStock(
    ({"urls": "stun:s"}, {"urls": ["turn:t"], "username": "u", "credential": "c"}), Turn(("turn:t",), b"s" * 16, 60)
)
BOTH = {"authenticate", "get_ice_servers", "health_check"}
PLAIN = {
    "announce": {"peer_id": "x"},
    "offer": {"to_peer_id": "x", "sdp": "v"},
    "answer": {"to_peer_id": "x", "sdp": "v"},
    "ice_candidate": {"to_peer_id": "x"},
    "disconnect": {"peer_id": "x"},
    "authenticate": {"token": "x"},
}


def test_it_is_plain_json():
    document = openrpc_document()
    assert json.loads(msgspec.json.encode(document)) == document
    assert document["openrpc"].startswith("1.")
    assert {"title", "version"} <= set(document["info"])


def test_every_method_is_in_it_with_its_params():
    methods = {method["name"]: method for method in openrpc_document()["methods"]}
    found = {name: {param["name"]: param["required"] for param in method["params"]} for name, method in methods.items()}
    assert found == PARAMS | DOTTED_PARAMS
    assert len(methods) == len(openrpc_document()["methods"])
    for method in methods.values():
        assert method["paramStructure"] == "by-name"
        assert method["result"]["schema"]
        assert all(param["schema"] for param in method["params"])


def test_it_is_what_the_meta_schema_of_openrpc_allows():
    for method in openrpc_document()["methods"]:
        assert set(method) - {"description"} == {"name", "summary", "tags", "paramStructure", "params", "result"}
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True), "optional params must follow all required ones"
        for param in method["params"]:
            assert set(param) - {"summary"} == {"name", "description", "schema", "required"}


def test_every_method_and_event_says_which_dialects_know_it():
    document = openrpc_document()
    said = {one["name"]: tuple(tag["name"] for tag in one["tags"]) for one in document["methods"]}
    plain, dotted = dict.fromkeys(set(PARAMS) - BOTH, ("plain",)), dict.fromkeys(DOTTED_PARAMS, ("dotted",))
    assert said == plain | dotted | dict.fromkeys(BOTH, ("plain", "dotted"))
    said = {one["name"]: tuple(tag["name"] for tag in one["tags"]) for one in document["x-notifications"]}
    notice = dict.fromkeys(NOTICES, ("plain", "dotted"))
    assert said == dict.fromkeys(EVENTS, ("plain",)) | dict.fromkeys(DOTTED_EVENTS, ("dotted",)) | notice


def test_synonyms_say_what_they_stand_for():
    (method,) = [one for one in openrpc_document()["methods"] if one["name"] == "ice_candidate"]
    params = {param["name"]: param for param in method["params"]}
    said = {name: param["summary"] for name, param in params.items() if "summary" in param}
    assert said == {
        "sdpMid": "Another spelling of sdp_mid",
        "sdpMLineIndex": "Another spelling of sdp_mline_index",
        "usernameFragment": "Another spelling of username_fragment",
    }
    for synonym, field in SYNONYMS.items():
        assert params[synonym]["schema"] == params[field]["schema"]


def test_every_event_is_in_it_with_its_params():
    events = openrpc_document()["x-notifications"]
    found = {event["name"]: [param["name"] for param in event["params"]] for event in events}
    assert found == EVENTS | DOTTED_EVENTS | NOTICES
    assert len(found) == len(events)
    assert set(openrpc._EVENTS.values()) | {ControlReceived, ServerNotice, IceServersChanged} == set(
        messages.Event.__args__
    )


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_required_means_refused_without(talk, name):
    for field, required in PARAMS[name].items():
        params = {key: value for key, value in PLAIN.get(name, {}).items() if key != field}
        refusal = talk().call(name, **params).get("error", {"data": {}})
        assert (refusal["data"].get("field") == field) is required, field


def properties_of_results():
    return {
        method["name"]: [set(kind["properties"]) for kind in method["result"]["schema"].get("anyOf", ())]
        or [set(method["result"]["schema"]["properties"])]
        for method in openrpc_document()["methods"]
    }


def result_of(talker, method, params):
    """The result of a request with an id of its own: a resumable peer has no other request by the same id."""
    messages = talker.say({"jsonrpc": "2.0", "method": method, "params": params, "id": method})
    (response,) = (one for one in messages if "id" in one)
    return response["result"]


def test_results_say_what_the_document_says(hub, talk):
    hub.put_ice_servers(STOCK)
    properties = properties_of_results()
    talk("x")
    carol = talk()
    for name in REQUESTS:
        result = result_of(carol, name, COMING_BACK if name == "announce" else PLAIN.get(name, {}))
        assert [set(result)] == [one - {"next_page_token"} for one in properties[name]]


DOTTED = {
    "peer.announce": {"peer_id": "x"},
    "peer.offer": {"to": "x", "sdp": "v"},
    "peer.answer": {"to": "x", "sdp": "v"},
    "peer.ice_candidate": {"to": "x"},
    "peer.disconnect": {"peer_id": "x"},
}


@pytest.mark.parametrize("name", [*METHODS, "server.info"])
def test_required_means_refused_without_in_dotted_sessions(talk, name):
    for field, required in DOTTED_PARAMS[name].items():
        params = {key: value for key, value in DOTTED.get(name, {}).items() if key != field}
        refusal = talk().call(name, **params).get("error", {"data": {}})
        assert (refusal["data"].get("field") == field) is required, field


def test_results_of_dotted_sessions_say_what_the_document_says(hub, talk):
    hub.put_ice_servers(STOCK)
    properties = properties_of_results()
    talk("x")
    carol = talk()
    for name in (*METHODS, "server.info"):
        result = result_of(carol, name, COMING_BACK if name == "peer.announce" else DOTTED.get(name, {}))
        assert set(result) == properties[name][0] - {"next_page_token"}


# What is said, held against the schemas.


def closed(schema):
    """A schema that takes no members but those which it names, where it names some and does not say otherwise."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(one) for name, one in schema.items()}
    return (
        {"additionalProperties": False} | inner if schema.get("type") == "object" and "properties" in schema else inner
    )


def schema_of_params(described):
    params = described["params"]
    properties = {param["name"]: param["schema"] for param in params}
    required = [param["name"] for param in params if param["required"]]
    return closed({"type": "object", "properties": properties, "required": required})


def conversations(talk):
    """All that three plain sessions and a dotted one send and are told: calls with their results, and events."""
    said, heard = [], []

    def say(talker, method, params):
        messages = talker.say({"jsonrpc": "2.0", "method": method, "params": params, "id": len(said)})
        said.extend((method, params, one["result"]) for one in messages if one.get("id") == len(said))
        for each in talkers:
            heard.extend(each.taken())
        heard.extend(one for one in messages if "method" in one)

    alice, bob, carol, dave = talkers = [talk(), talk(), talk(), talk()]
    capabilities = {"audio": True, "screen_share": True, "codecs": ["av1"]}
    candidate = {"sdp_mid": "0", "sdp_mline_index": 0, "username_fragment": "u", "offer_id": "o"}
    say(alice, "announce", {"peer_id": "alice", "capabilities": capabilities, "metadata": {"name": {"first": "A"}}})
    say(bob, "announce", {"peer_id": "bob", "resumable": True, "capabilities": None, "notices": True})
    say(
        carol,
        "peer.announce",
        {"peer_id": "carol", "capabilities": ["data", "hd"], "resume_token": "of nobody", "ice_servers": True},
    )
    say(dave, "announce", {"peer_id": "dave"})
    for to in ("bob", "carol", "dave"):
        say(alice, "offer", {"to_peer_id": to, "sdp": "v=0"})
        say(alice, "ice_candidate", {"to_peer_id": to, "candidate": "c"})
        say(alice, "ice_candidate", {"to_peer_id": to, "candidate": "c", **candidate})
        say(alice, "answer", {"to_peer_id": to, "sdp": "v=0", "type": "pranswer"})
        say(alice, "answer", {"to_peer_id": to, "sdp": "v=0", "type": None, "offer_id": "o"})
        say(alice, "disconnect", {"peer_id": to, "offer_id": "o"})
        say(alice, "disconnect", {"peer_id": to})
    say(alice, "list_peers", {"page_size": 1})
    say(alice, "list_peers", {})
    say(alice, "authenticate", {"token": "any"})
    say(alice, "get_ice_servers", {})
    say(alice, "health_check", {})
    for to in ("alice", "bob"):
        say(carol, "peer.offer", {"to": to, "sdp": "v=0"})
        say(carol, "peer.answer", {"to": to, "sdp": "v=0"})
        say(carol, "peer.ice_candidate", {"to": to, "candidate": ""})
        say(carol, "peer.disconnect", {"peer_id": to, "reason": "so"})
    say(carol, "peer.list", {})
    say(carol, "server.info", {})
    say(alice, "disconnect", {"peer_id": "alice"})
    return said, [(one["method"], one["params"]) for one in heard]


@pytest.mark.thorough
@pytest.mark.parametrize("stock", [IceStock(), STOCK], ids=["no servers", "servers"])
def test_results_and_events_are_what_their_schemas_say(hub, talk, stock):
    hub.put_ice_servers(stock)
    document = openrpc_document()
    said, heard = conversations(talk)
    methods = {method["name"]: method for method in document["methods"]}
    for name, params, result in said:
        jsonschema.validate(params, schema_of_params(methods[name]))
        jsonschema.validate(result, closed(methods[name]["result"]["schema"]))
    assert {name for name, _, _ in said} == set(methods) - {"control.NAME"}
    events = {event["name"]: event for event in document["x-notifications"]}
    for name, params in heard:
        jsonschema.validate(params, schema_of_params(events[name]))
    assert {name for name, _ in heard} == set(EVENTS) | set(DOTTED_EVENTS) - {"control.NAME"}
    # What may be absent is there and is not, and what must be there is no more than that.
    for name in EVENTS:
        seen = [set(params) for told, params in heard if told == name]
        optional = {param["name"] for param in events[name]["params"] if not param["required"]}
        assert set.union(*seen) - set.intersection(*seen) == optional


def test_a_notice_is_what_its_schema_says():
    (event,) = [one for one in openrpc_document()["x-notifications"] if one["name"] == "server_notice"]
    for notice in (
        ServerNotice("draining", "text", 1, 2, {"more": 1}),
        ServerNotice("token_expiring", "text"),
    ):
        params = json.loads(openrpc.PLAIN.event(notice))["params"]
        jsonschema.validate(params, schema_of_params(event))


def test_newer_ice_servers_are_what_their_schema_says():
    (event,) = [one for one in openrpc_document()["x-notifications"] if one["name"] == "ice_servers"]
    given = STOCK.servers_for("alice", 1_000_000.0)
    for changed in (IceServersChanged(given.servers, given.expires_unix_ms), IceServersChanged(())):
        for dialect in (PLAIN_DIALECT, DOTTED_DIALECT):
            params = json.loads(dialect.event(changed))["params"]
            jsonschema.validate(params, schema_of_params(event))
            assert json.loads(dialect.event(changed))["method"] == "ice_servers"


def test_the_schemas_are_schemas():
    document = openrpc_document()
    for method in document["methods"]:
        jsonschema.Draft202012Validator.check_schema(method["result"]["schema"])
    for described in [*document["methods"], *document["x-notifications"]]:
        jsonschema.Draft202012Validator.check_schema(schema_of_params(described))


VALUES = (None, "", "x", "offer", "pranswer", 0, -1, 2**32, 2**64, 65536, 1.5, True, {}, {"audio": 1}, [], ["x"], [1])


@pytest.mark.parametrize("name", [*REQUESTS, *METHODS])
def test_what_a_schema_refuses_is_refused_and_null_is_what_it_says(talk, name):
    (method,) = [one for one in openrpc_document()["methods"] if one["name"] == name]
    for param in method["params"]:
        field = param["name"]
        for value in VALUES:
            params = (PLAIN | DOTTED).get(name, {}) | {field: value}
            data = talk().call(name, **params).get("error", {"data": {}})["data"]
            valid = jsonschema.Draft202012Validator(param["schema"]).is_valid(value)
            assert valid or "field" in data, (field, value)
            assert not valid or value is not None or data.get("field") != field, field


def test_everything_is_described():
    document = openrpc_document()
    texts = [described["summary"] for described in [*document["methods"], *document["x-notifications"]]]
    texts += [
        param["description"] for one in [*document["methods"], *document["x-notifications"]] for param in one["params"]
    ]

    def results(schema):
        for one in schema.get("anyOf", [schema]):
            for member in one.get("properties", {}).values():
                yield member["description"]
                yield from results(member.get("items", {}))

    for method in document["methods"]:
        texts += results(method["result"]["schema"])
    assert all(texts)
    assert not [text for text in texts if text.endswith(".") or not text[0].isupper()]


def test_no_description_is_of_nothing():
    document = openrpc_document()
    known = {param["name"] for one in [*document["methods"], *document["x-notifications"]] for param in one["params"]}
    for method in document["methods"]:
        for schema in method["result"]["schema"].get("anyOf", [method["result"]["schema"]]):
            known |= set(schema["properties"])
            for member in schema["properties"].values():
                known |= set(member.get("items", {}).get("properties", ()))
    booleans = {"audio", "video", "data"}
    assert set(descriptions.MEMBERS) <= known | booleans
