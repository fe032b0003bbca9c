"""The document that describes the protocol: complete, plain JSON, and true."""

import json

import msgspec
import pytest

from sigbridge import messages
from sigbridge_websocket import openrpc
from sigbridge_websocket.openrpc import openrpc_document
from sigbridge_websocket.shapes import SYNONYMS
from sigbridge_websocket.translate import REQUESTS

PARAMS = {
    "announce": {"peer_id": True, "capabilities": False, "metadata": False, "room": False},
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
    "health_check": {},
}
EVENTS = {
    "peer_joined": ["peer_id", "capabilities", "metadata"],
    "peer_left": ["peer_id"],
    "offer": ["from_peer_id", "offer_id", "sdp", "type"],
    "answer": ["from_peer_id", "sdp", "type", "offer_id"],
    "ice_candidate": ["from_peer_id", "candidate", "sdp_mid", "sdp_mline_index", "username_fragment", "offer_id"],
    "peer_disconnected": ["peer_id", "offer_id"],
}
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
    assert found == PARAMS
    for method in methods.values():
        assert method["paramStructure"] == "by-name"
        assert method["result"]["schema"]["properties"]
        assert all(param["schema"] for param in method["params"])


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
    assert {event["name"]: [param["name"] for param in event["params"]] for event in events} == EVENTS
    assert set(openrpc._EVENTS) == set(messages.Event.__args__)


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_required_means_refused_without(talk, name):
    for field, required in PARAMS[name].items():
        params = {key: value for key, value in PLAIN.get(name, {}).items() if key != field}
        refusal = talk().call(name, **params).get("error", {"data": {}})
        assert (refusal["data"].get("field") == field) is required, field


def test_results_say_what_the_document_says(talk):
    properties = {
        method["name"]: set(method["result"]["schema"]["properties"]) for method in openrpc_document()["methods"]
    }
    talk("x")
    alice = talk()
    for name in REQUESTS:
        params = {"peer_id": "alice"} if name == "announce" else PLAIN.get(name, {})
        result = alice.call(name, **params)["result"]
        assert set(result) == properties[name] - {"next_page_token"}
