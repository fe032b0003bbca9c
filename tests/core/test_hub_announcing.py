"""Announcing on the bare hub: who learns of whom, what is refused, and the checks of fields with their order."""

import logging

import pytest

from hub_outcomes import joined, wrong
from sigbridge import (
    Announce,
    Announced,
    Answer,
    Capabilities,
    Code,
    Disconnect,
    Disconnected,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerJoined,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES
from stage import PlainEncoding, Recorder

# Announcing.


def test_first_peer_finds_nobody(stage):
    alice = stage.open()
    assert alice.do(Announce("alice")) == Announced("alice", 0, ())
    assert alice.took() == ["Announced"]
    assert stage.hub.peer_count == 1


def test_newcomer_and_others_learn_of_each_other(stage):
    camera = Capabilities(video=True, extensions={"zoom": 2})
    alice = stage.open("alice", capabilities=camera, metadata={"n": 1})
    bob = stage.open()
    assert bob.do(Announce("bob", metadata={"b": None})) == Announced("bob", 1, ("alice",))
    assert bob.took() == ["Announced", PeerJoined("alice", camera, {"n": 1})]
    assert alice.took() == [PeerJoined("bob", NO_CAPABILITIES, {"b": None})]


def test_roster_order_is_that_of_joining(stage):
    for name in ("z", "a", "m"):
        stage.open(name)
    late = stage.open()
    assert late.do(Announce("late")) == Announced("late", 3, ("z", "a", "m"))
    assert late.took() == ["Announced", *joined("z", "a", "m")]


def test_others_hear_before_the_newcomers_reply_is_queued(stage):
    alice, bob = stage.open("alice"), stage.open()
    stage.hub.apply(bob.session, Announce("bob"), [], stage.now, sink=Recorder())
    assert alice.took() == joined("bob")
    assert bob.took() == []
    assert bob.wakes == 0
    stage.hub.put_array(bob.session, b"reply Announced", stage.now)
    assert bob.took() == ["Announced", *joined("alice")]


def test_what_others_cause_meanwhile_waits_behind_the_roster(stage):
    alice, bob = stage.open("alice"), stage.open()
    stage.hub.apply(bob.session, Announce("bob"), [], stage.now, sink=Recorder())
    alice.do(IceCandidate("bob", "early"))
    stage.hub.put_array(bob.session, b"reply Announced", stage.now)
    assert bob.took() == ["Announced", *joined("alice"), IceCandidateReceived("alice", "early", None, 0)]


def test_a_notification_gets_the_roster_without_a_reply(stage):
    stage.open("alice")
    bob = stage.open()
    stage.hub.apply(bob.session, Announce("bob"), [], stage.now, sink=Recorder())
    stage.hub.put_array(bob.session, None, stage.now)
    assert bob.took() == joined("alice")


def test_an_encoding_may_say_that_no_response_is_due(stage):
    class Silent(PlainEncoding):
        def encode_response(self, outcome, request_id):
            super().encode_response(outcome, request_id)

    stage.open("alice")
    bob = stage.open(encoding=Silent())
    assert bob.do(Announce("bob")) == Announced("bob", 1, ("alice",))
    assert bob.took() == joined("alice")
    assert isinstance(bob.do(HealthCheck()), Health)
    assert (bob.took(), bob.wakes) == ([], 1)


def test_replay_of_the_roster_can_be_turned_off(make_stage):
    stage = make_stage(replay_roster=False)
    alice, bob = stage.open("alice"), stage.open()
    assert bob.do(Announce("bob")) == Announced("bob", 1, ("alice",))
    assert bob.took() == ["Announced"]
    assert alice.took() == joined("bob")
    assert stage.hub.counters.events["grpc", "peer_joined"] == 1


def test_the_newcomer_may_count_itself_as_older_servers_have_it(make_stage):
    stage = make_stage(legacy_peers_count=True)
    for protocol, number in (("grpc", 1), ("websocket", 2), ("grpc", 3)):
        reply = stage.open(protocol=protocol).do(Announce(f"peer{number}"))
        assert reply == Announced(f"peer{number}", number, tuple(f"peer{n}" for n in range(1, number)))


def test_a_taken_id_is_refused_and_nothing_changes(stage):
    alice, mallory = stage.open("alice"), stage.open()
    before = stage.state()
    assert mallory.refused(Announce("alice")) == SignalingError(
        Code.ALREADY_EXISTS, "Peer alice already announced", peer_id="alice"
    )
    assert stage.state() == before
    assert alice.took() == []
    assert mallory.took() == ["SignalingError"]


def test_closing_after_a_refused_announce_leaves_the_live_peer(stage):
    alice, bob = stage.pair()
    mallory = stage.open()
    mallory.refused(Announce("alice"))
    mallory.close()
    assert stage.ids() == ["alice", "bob"]
    assert bob.took() == []
    bob.do(Offer("alice", "v=0"))
    assert [type(event) for event in alice.took()] == [OfferReceived]


def test_closing_an_unannounced_session_removes_nobody(stage):
    alice, _bob = stage.pair()
    stranger = stage.open()
    stranger.close()
    assert stage.ids() == ["alice", "bob"]
    assert alice.took() == []
    assert stage.hub.session_count == 2


def test_a_session_announces_once(stage):
    alice, bob = stage.pair()
    for request in (Announce("alice"), Announce("bob"), Announce("carol"), Announce("alice", room="other")):
        assert alice.refused(request) == errors.already_announced("alice")
    assert stage.ids() == ["alice", "bob"]
    assert bob.took() == []


def test_ids_are_unique_in_their_room_only(stage):
    stage.open("alice", room="one")
    stage.open("alice", room="two")
    stage.open("alice")
    assert (stage.ids("one"), stage.ids("two"), stage.ids()) == (["alice"], ["alice"], ["alice"])
    assert stage.hub.room_count == 3


def test_rooms_are_isolated(stage, relays):
    alice, eve = stage.open("alice", room="one"), stage.open("eve", room="two")
    for request in relays("eve"):
        assert alice.refused(request) == errors.peer_not_found("eve")
    assert alice.do(Disconnect("eve")) == Disconnected("eve")
    eve.close()
    assert (alice.heard(), eve.heard()) == ([], [])


def test_a_room_may_be_full(make_stage):
    stage = make_stage(max_room_peers=2)
    stage.open("a")
    stage.open("b")
    third = stage.open()
    before = stage.state()
    error = third.refused(Announce("c"))
    assert (error.code, error.extra) == (
        Code.RESOURCE_EXHAUSTED,
        {"limit": "SIGNALING_MAX_ROOM_PEERS", "value": 2},
    )
    assert stage.state() == before
    # A taken id comes before a lack of room.
    assert third.refused(Announce("a")) == errors.already_announced("a")
    assert third.do(Announce("c", room="other")) == Announced("c", 0, ())


@pytest.mark.parametrize("failing", ["grpc", "websocket"])
def test_an_announce_that_cannot_be_encoded_changes_nothing(stage, failing, caplog):
    alice, bob = stage.pair()
    stranger = stage.open(protocol="websocket", encoding=type(stage.encodings["grpc"])())
    stranger.session.encoding.fails_on = (PeerJoined,)
    if failing == "grpc":
        stranger.session.encoding.fails_on = ()
        stage.encodings["grpc"].fails_on = (PeerJoined,)
    before = stage.state()
    with caplog.at_level(logging.CRITICAL, logger="sigbridge.session"):
        assert stranger.refused(Announce("carol")) == errors.internal_error()
    assert stage.state() == before
    assert (alice.took(), bob.took(), stranger.took()) == ([], [], ["SignalingError"])


# Ids, fields and limits.


@pytest.mark.parametrize("character", [chr(n) for n in (*range(0x20), *range(0x7F, 0xA0))])
def test_control_characters_are_refused_everywhere(stage, relays, character):
    alice, stranger = stage.open("alice"), stage.open()
    what = "contains control characters"
    assert stranger.refused(Announce(f"a{character}")) == wrong("peer_id", what)
    assert stranger.refused(Announce("a", room=character)) == wrong("room", what)
    assert stranger.refused(ListPeers(character)) == wrong("room", what)
    for request in relays(f"{character}a"):
        assert alice.refused(request) == wrong("to_peer_id", what)
    assert alice.refused(Disconnect(character)) == wrong("peer_id", what)


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "👋" * 64, " ", "\u00a0", "\u2028", "\u200b"])
def test_ids_of_any_other_text_are_granted(stage, text):
    alice = stage.open()
    assert alice.do(Announce(text, room=text)) == Announced(text, 0, ())


@pytest.mark.parametrize("text", ["x" * 257, "é" * 128 + "x", "👋" * 64 + "x"])
def test_ids_over_256_bytes_are_wrong_fields(stage, relays, text):
    alice, stranger = stage.open("alice"), stage.open()
    what = "is longer than 256 bytes"
    assert stranger.refused(Announce(text)) == wrong("peer_id", what)
    assert stranger.refused(Announce("a", room=text)) == wrong("room", what)
    for request in relays(text):
        assert alice.refused(request) == wrong("to_peer_id", what)
    assert alice.refused(Disconnect(text)) == wrong("peer_id", what)


def test_missing_fields_are_named(stage, relays):
    alice = stage.open("alice")
    assert stage.open().refused(Announce("")) == wrong("peer_id", "is missing")
    for request in relays(""):
        assert alice.refused(request) == wrong("to_peer_id", "is missing")
    assert alice.refused(Offer("bob", "")) == wrong("sdp", "is missing")
    assert alice.refused(Answer("bob", "")) == wrong("sdp", "is missing")
    assert alice.refused(Disconnect("")) == wrong("peer_id", "is missing")


@pytest.mark.parametrize("character", ["a", "é", "👋"])
def test_texts_are_measured_in_bytes_of_utf8(make_stage, character):
    stage = make_stage(max_sdp_bytes=12, max_candidate_bytes=8)
    alice, bob = stage.pair()
    width = len(character.encode())
    sdp, candidate = character * (12 // width), character * (8 // width)
    assert isinstance(alice.do(Offer("bob", sdp)), OfferRelayed)
    assert alice.do(Answer("bob", sdp)) == Relayed("bob")
    assert alice.do(IceCandidate("bob", candidate, candidate, 0, candidate)) == Relayed("bob")
    bob.took()
    too_much = {"limit": "SIGNALING_MAX_SDP_BYTES", "value": 12}
    for request in (Offer("bob", sdp + "x"), Answer("bob", sdp + "x")):
        error = alice.refused(request)
        assert (error.code, error.extra) == (Code.RESOURCE_EXHAUSTED, too_much)
        assert error.message == "sdp is too large (limit SIGNALING_MAX_SDP_BYTES is 12): send it smaller"
    over = candidate + "x"
    for field, request in {
        "candidate": IceCandidate("bob", over),
        "sdp_mid": IceCandidate("bob", "", over),
        "username_fragment": IceCandidate("bob", "", None, None, over),
    }.items():
        error = alice.refused(request)
        assert error.extra == {"limit": "SIGNALING_MAX_CANDIDATE_BYTES", "value": 8}
        assert error.message.startswith(f"{field} is too large")
    assert bob.took() == []


def test_metadata_and_capabilities_have_limits(make_stage):
    stage = make_stage(max_metadata_bytes=12, max_capabilities_bytes=60)
    alice = stage.open()
    frame = len('{"audio":false,"video":false,"data":false,"k":""}')
    at_limit = Capabilities(extensions={"k": "x" * (60 - frame)})
    over = Capabilities(extensions={"k": "x" * (61 - frame)})
    error = alice.refused(Announce("alice", metadata={"k": "é" * 2 + "x"}))
    assert error.extra == {"limit": "SIGNALING_MAX_METADATA_BYTES", "value": 12}
    error = alice.refused(Announce("alice", capabilities=over))
    assert error.extra == {"limit": "SIGNALING_MAX_CAPABILITIES_BYTES", "value": 60}
    assert alice.do(Announce("alice", capabilities=at_limit, metadata={"k": "é" * 2})) == Announced("alice", 0, ())


@pytest.mark.parametrize("name", ["audio", "video", "data"])
def test_extensions_may_not_name_the_booleans(stage, name):
    request = Announce("alice", Capabilities(extensions={name: True}))
    assert stage.open().refused(request) == wrong("capabilities", f"names {name} among its extensions")


def test_deep_metadata_is_refused(stage):
    alice = stage.open()

    def nested(depth):
        return {} if depth == 0 else {"a": nested(depth - 1)}

    lists: dict = {"a": []}
    for _ in range(40):
        lists["a"] = [lists["a"]]
    for field, request in {
        "metadata": Announce("alice", metadata=nested(40)),
        "capabilities": Announce("alice", Capabilities(extensions=lists)),
    }.items():
        assert alice.refused(request) == wrong(field, "is nested more than 32 deep")
    assert alice.do(Announce("alice", metadata=nested(30))) == Announced("alice", 0, ())


@pytest.mark.parametrize("index", [-1, 2**32])
def test_sdp_mline_index_has_32_bits(stage, index):
    alice, bob = stage.pair()
    assert alice.refused(IceCandidate("bob", "c", None, index)) == wrong(
        "sdp_mline_index", "must be a whole number from 0 to 4294967295"
    )
    assert bob.took() == []


@pytest.mark.parametrize("type_", ["answer", "pranswer", "rollback", "OFFER", " "])
def test_an_offers_type_is_offer(stage, type_):
    alice, bob = stage.pair()
    assert alice.refused(Offer("bob", "v=0", type_)) == wrong("type", "must be offer")
    assert bob.took() == []


@pytest.mark.parametrize("type_", ["offer", "rollback", "Answer", " "])
def test_an_answers_type_is_answer_or_pranswer(stage, type_):
    alice, bob = stage.pair()
    assert alice.refused(Answer("bob", "v=0", type_)) == wrong("type", "must be answer or pranswer")
    assert bob.took() == []


def test_checks_come_in_their_order(make_stage):
    stage = make_stage(max_sdp_bytes=8)
    alice, _bob = stage.pair()
    stranger = stage.open()
    # Fields and sizes, then announced or not, then oneself, then the target.
    assert stranger.refused(Offer("", "v=0")) == wrong("to_peer_id", "is missing")
    assert stranger.refused(Offer("bob", "x" * 9)).code is Code.RESOURCE_EXHAUSTED
    assert stranger.refused(Offer("bob", "v=0", "no")) == wrong("type", "must be offer")
    assert stranger.refused(Offer("bob", "v=0")) == errors.not_announced()
    assert stranger.refused(IceCandidate("bob", "c", None, -1)).code is Code.INVALID_ARGUMENT
    assert stranger.refused(Disconnect("")) == wrong("peer_id", "is missing")
    assert alice.refused(Offer("alice", "x" * 9)).code is Code.RESOURCE_EXHAUSTED
    assert alice.refused(Offer("alice", "v=0")) == wrong("to_peer_id", "is the sender itself")
    assert alice.refused(Announce("")) == wrong("peer_id", "is missing")
    assert alice.refused(ListPeers("other", page_token="no")).message.startswith("Invalid params: page_token")
    assert alice.refused(ListPeers("other")) == errors.room_mismatch()


def test_refusals_by_an_unannounced_session_change_nothing(stage, relays):
    alice, _bob = stage.pair()
    stranger = stage.open()
    before = stage.state()
    for request in (*relays("alice"), Disconnect("alice"), Disconnect("nobody")):
        assert stranger.refused(request) == SignalingError(
            Code.FAILED_PRECONDITION, "Not announced: call announce first"
        )
    assert stage.state() == before
    assert alice.took() == []
