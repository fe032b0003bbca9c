"""Callers, the names of their software, and the frames of peers."""

import pytest

from sigbridge import Capabilities, PeerJoined
from sigbridge.auth import ANYBODY, Identity
from sigbridge.session import ANYWHERE, MAX_CLIENT_BYTES, Caller, Peer, Room, client_name
from stage import PlainEncoding


def test_a_caller_of_whom_nothing_is_known():
    assert Caller(ANYBODY, "", "", "") == ANYWHERE
    assert ANYWHERE.holder == ""


@pytest.mark.parametrize(
    ("caller", "holder"),
    [
        (Caller(address="192.0.2.1"), "192.0.2.1"),
        (Caller(Identity("alice"), "192.0.2.1"), "alice"),
        (Caller(Identity("alice")), "alice"),
        (Caller(Identity(rooms=frozenset({"a"})), "192.0.2.1", "app/1", "trace"), "192.0.2.1"),
    ],
)
def test_a_question_counts_against_the_identity_or_else_the_address(caller, holder):
    assert caller.holder == holder


@pytest.mark.parametrize("character", ["x", "é", "三", "👋"])
def test_a_name_is_cut_between_characters(character):
    width = len(character.encode())
    for length in range(140):
        name = client_name(character * length)
        assert name == character * min(length, MAX_CLIENT_BYTES // width)
        assert len(name.encode()) <= MAX_CLIENT_BYTES == 128


def test_a_peer_s_joining_is_encoded_once_for_each_encoding():
    joined = PeerJoined("a", Capabilities(), {})
    peer = Peer(Room(""), joined, None, incarnation=1, connected_at=0)
    one, other = PlainEncoding(), PlainEncoding()
    frames = [peer.joined_frame(encoding) for encoding in (one, other, one, other)]
    assert frames[0] is frames[2]
    assert frames[1] is frames[3]
    assert one.encoded == other.encoded == [joined]


def test_a_session_without_an_identity_and_an_address_counts_by_itself(make_stage):
    stage = make_stage()
    one, other = stage.open(), stage.open()
    assert (one.session.holder, other.session.holder) == (one.session.id, other.session.id)
    assert stage.open(remote="192.0.2.1").session.holder == "192.0.2.1"
