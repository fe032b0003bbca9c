"""Messages: frozen, and named by the protocol's own words."""

import inspect

import msgspec
import pytest

import sigbridge
from sigbridge import IceCandidateReceived, messages
from sigbridge.kept import Kept, Remembered

STRUCTS = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
STRUCTS.remove(msgspec.Struct)


@pytest.mark.parametrize("kind", STRUCTS)
def test_every_message_is_frozen_and_says_what_it_is(kind):
    assert kind.__struct_config__.frozen
    assert inspect.getdoc(kind)


def test_kinds_are_the_protocols_words():
    requests = {kind.kind for kind in messages.PlainRequest.__args__}
    events = {kind.kind for kind in messages.Event.__args__}
    assert requests == {
        "announce",
        "offer",
        "answer",
        "ice_candidate",
        "disconnect",
        "list_peers",
        "health_check",
        "authenticate",
        "get_ice_servers",
        "control",
    }
    assert events == {
        "peer_joined",
        "peer_left",
        "offer",
        "answer",
        "ice_candidate",
        "peer_disconnected",
        "control",
        "server_notice",
        "ice_servers",
    }


def test_a_claimed_request_is_of_its_own_kind():
    assert messages.Claimed("a", messages.Offer("b", "v=0")).kind == "offer"


@pytest.mark.parametrize("kind", [messages.IceServers, messages.IceServersChanged])
def test_credentials_are_in_no_repr(kind):
    message = kind(({"urls": "turn:t", "username": "someone", "credential": "hidden!"},), 5)
    announced = messages.Announced("a", 0, (), ice_servers=message.servers, ice_servers_expire_unix_ms=5)
    assert repr(message) == f"{kind.__name__}(servers=(1, hidden), expires_unix_ms=5)"
    assert "someone" not in repr(announced)


def test_absent_fields_of_a_candidate_are_absent_in_json():
    assert msgspec.json.encode(IceCandidateReceived("a", "c")) == b'{"from_peer_id":"a","candidate":"c"}'
    assert msgspec.json.decode(msgspec.json.encode(IceCandidateReceived("a", "", "", 0, ""))) == {
        "from_peer_id": "a",
        "candidate": "",
        "sdp_mid": "",
        "sdp_mline_index": 0,
        "username_fragment": "",
    }


def test_every_public_name_is_exported():
    """All that the package imports for its users stands in `__all__`, in order, and every message is among it."""
    public = {
        name for name, value in vars(sigbridge).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public | {"__version__"} == set(sigbridge.__all__)
    assert len(sigbridge.__all__) == len(set(sigbridge.__all__))
    assert {kind.__name__ for kind in STRUCTS} <= public


def test_what_is_kept_in_thousands_is_no_matter_of_the_garbage_collector():
    """Messages of text and numbers, and the records of resumable peers, are not looked at again and again."""
    of_objects = {"Capabilities", "Announce", "Announced", "Claimed", "Control", "ControlReceived", "Health"}
    of_objects |= {"PeerInfo", "PeerJoined", "PeerList", "ServerNotice", "IceServers", "IceServersChanged"}
    tracked = {kind.__name__ for kind in (*STRUCTS, Kept, Remembered) if kind.__struct_config__.gc}
    assert tracked == of_objects
