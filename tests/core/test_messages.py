"""Messages: frozen, and named by the protocol's own words."""

import inspect

import msgspec
import pytest

import sigbridge
from sigbridge import IceCandidateReceived, messages

STRUCTS = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
STRUCTS.remove(msgspec.Struct)


@pytest.mark.parametrize("kind", STRUCTS)
def test_every_message_is_frozen_and_says_what_it_is(kind):
    assert kind.__struct_config__.frozen
    assert inspect.getdoc(kind)


def test_kinds_are_the_protocols_words():
    requests = {kind.kind for kind in messages.Request.__args__}
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
    }
    assert events == {"peer_joined", "peer_left", "offer", "answer", "ice_candidate", "peer_disconnected"}


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
    """What the package imports for its users stands in `__all__`, in order, and every message is among it."""
    public = {
        name for name, value in vars(sigbridge).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public | {"__version__"} == set(sigbridge.__all__)
    assert len(sigbridge.__all__) == len(set(sigbridge.__all__))
    assert {kind.__name__ for kind in STRUCTS} <= public
