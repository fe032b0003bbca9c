"""The hub's rules, each against the bare hub, with time passed in."""

import logging
from itertools import product

import msgspec
import pytest

from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Capabilities,
    Code,
    Disconnect,
    Disconnected,
    DisconnectReason,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.counters import REFUSAL_REASONS, TCP_REFUSALS
from sigbridge.delivery import Delivery
from sigbridge.hub import Phase
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.session import ANYWHERE, Caller
from stage import PlainEncoding, Recorder


def joined(*peer_ids):
    return [PeerJoined(peer_id, NO_CAPABILITIES, {}) for peer_id in peer_ids]


def wrong(field, what):
    return SignalingError(Code.INVALID_ARGUMENT, f"Invalid params: {field} {what}", field=field)


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


# Relaying.


def test_relays_arrive_as_they_are(stage):
    alice, bob = stage.pair()
    reply = alice.do(Offer("bob", "v=0\r\n\x00é"))
    assert alice.do(Answer("bob", "v=0")) == Relayed("bob")
    assert alice.do(Answer("bob", "v=0", "pranswer")) == Relayed("bob")
    assert alice.do(IceCandidate("bob", "", "", 0, "")) == Relayed("bob")
    assert alice.do(IceCandidate("bob")) == Relayed("bob")
    assert bob.took() == [
        OfferReceived("alice", reply.offer_id, "v=0\r\n\x00é", "offer"),
        AnswerReceived("alice", "v=0", "answer"),
        AnswerReceived("alice", "v=0", "pranswer"),
        IceCandidateReceived("alice", "", "", 0, ""),
        IceCandidateReceived("alice", ""),
    ]
    assert alice.heard() == []


@pytest.mark.parametrize("fragment", [None, "", "ufrag"])
def test_a_candidate_that_names_no_media_section_is_of_the_first(stage, fragment):
    alice, bob = stage.pair()
    for candidate, mid, index in product(("c", ""), (None, "", "0"), (None, 0, 1)):
        alice.do(IceCandidate("bob", candidate, mid, index, fragment))
        arrives = 0 if candidate and mid is None and index is None else index
        assert bob.took() == [IceCandidateReceived("alice", candidate, mid, arrives, fragment)]


def test_unknown_targets_are_refused(stage, relays):
    alice = stage.open("alice")
    before = stage.state()
    for request in relays("nobody"):
        assert alice.refused(request) == SignalingError(Code.NOT_FOUND, "Peer not found: nobody", peer_id="nobody")
    assert stage.state() == before


def test_signalling_oneself_is_refused(stage, relays):
    alice = stage.open("alice")
    for request in relays("alice"):
        assert alice.refused(request) == wrong("to_peer_id", "is the sender itself")
    assert alice.heard() == []


def test_offer_ids_rise_where_the_clock_stands_still_or_goes_back(stage):
    alice, bob = stage.pair()
    first = alice.do(Offer("bob", "v=0")).offer_id
    assert first == "alice_bob_1700000000000"
    assert bob.do(Offer("alice", "v=0")).offer_id == "bob_alice_1700000000001"
    stage.set_unix(1_699_999_000.0)
    assert alice.do(Offer("bob", "v=0")).offer_id == "alice_bob_1700000000002"
    stage.set_unix(1_700_000_100.0)
    assert alice.do(Offer("bob", "v=0")).offer_id == "alice_bob_1700000100000"


def test_a_relay_that_cannot_be_encoded_fails_at_its_sender(stage, caplog):
    alice, bob = stage.pair()
    stage.encodings["websocket"].fails_on = (OfferReceived,)
    before = stage.state()
    with caplog.at_level(logging.CRITICAL, logger="sigbridge.session"):
        assert alice.refused(Offer("bob", "v=0")) == errors.internal_error()
    assert stage.state() == before
    assert bob.took() == []
    assert alice.do(Answer("bob", "v=0")) == Relayed("bob")


def test_an_internal_error_tells_nothing_of_the_exception(stage, caplog, monkeypatch):
    alice, _bob = stage.pair()
    monkeypatch.setattr(Delivery, "relay", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR, logger="sigbridge.session"):
        error = alice.refused(Offer("bob", "v=0"))
    assert (error.code, error.message, error.extra) == (Code.INTERNAL, "Internal error", {})
    assert "ZeroDivisionError" in caplog.text


class Speechless(PlainEncoding):
    """Cannot say these outcomes."""

    def __init__(self, *kinds):
        super().__init__()
        self.cannot_say = kinds

    def encode_response(self, outcome, request_id):
        if isinstance(outcome, self.cannot_say):
            raise ValueError("the secret of the house")
        return super().encode_response(outcome, request_id)


def test_a_reply_that_cannot_be_encoded_is_an_internal_error(stage, caplog):
    alice = stage.open("alice")
    bob = stage.open(encoding=Speechless(Announced))
    with caplog.at_level(logging.ERROR, logger="sigbridge.session"):
        assert bob.do(Announce("bob")) == errors.internal_error()
    assert "the secret of the house" in caplog.text
    assert bob.took() == ["SignalingError", *joined("alice")], "what was held back follows all the same"
    assert (alice.took(), stage.ids()) == (joined("bob"), ["alice", "bob"])
    bob.do(IceCandidate("alice", "c"))
    assert alice.took() == [IceCandidateReceived("bob", "c", None, 0)]


def test_a_sink_that_cannot_take_a_reply_takes_an_internal_error(stage, caplog):
    class Half(Recorder):
        def respond(self, outcome, request_id, now):
            if not isinstance(outcome, SignalingError):
                raise ValueError("the secret of the house")
            super().respond(outcome, request_id, now)

    alice, outcomes = stage.open(), []
    with caplog.at_level(logging.ERROR, logger="sigbridge.session"):
        stage.hub.apply(alice.session, HealthCheck(), outcomes, stage.now, sink=Half())
    assert outcomes == [errors.internal_error()]
    assert "the secret of the house" in caplog.text


def test_where_no_refusal_can_be_encoded_the_carrier_learns_of_it(stage, caplog):
    alice = stage.open(encoding=Speechless(Health, SignalingError))
    with caplog.at_level(logging.CRITICAL, logger="sigbridge.session"), pytest.raises(ValueError, match="the secret"):
        alice.do(HealthCheck())
    assert alice.took() == []


# Pending offers.


def test_an_answer_ends_its_offer_a_pranswer_does_not(stage):
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    assert stage.hub.pending_offer_count == 1
    bob.do(Answer("alice", "v=0", "pranswer"))
    assert stage.hub.pending_offer_count == 1
    bob.do(Answer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 0
    assert bob.do(Answer("alice", "v=0")) == Relayed("alice")


def test_the_callers_own_answer_ends_nothing(stage):
    alice, _bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    alice.do(Answer("bob", "v=0"))
    assert stage.hub.pending_offer_count == 1


def test_glare_is_two_offers(stage):
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    bob.do(Offer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 2
    bob.do(Answer("alice", "v=0"))
    assert stage.hub.pending_offer_count == 1
    alice.do(Answer("bob", "v=0"))
    assert stage.hub.pending_offer_count == 0


def test_a_newer_offer_replaces_the_older(make_stage):
    stage = make_stage(send_deadline_seconds=1000)
    alice, _bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    stage.wait(59)
    alice.do(Offer("bob", "v=1"))
    assert stage.hub.pending_offer_count == 1
    stage.wait(59)
    stage.expire()
    assert stage.hub.pending_offer_count == 1
    stage.wait(1)
    stage.expire()
    assert stage.hub.pending_offer_count == 0


@pytest.mark.parametrize(("who", "request_"), [("alice", Disconnect("bob")), ("bob", Disconnect("alice"))])
def test_a_hang_up_by_either_ends_both_directions(stage, who, request_):
    alice, bob = stage.pair()
    carol = stage.open("carol")
    alice.do(Offer("bob", "v=0"))
    bob.do(Offer("alice", "v=0"))
    carol.do(Offer("bob", "v=0"))
    {"alice": alice, "bob": bob}[who].do(request_)
    assert stage.hub.pending_offer_count == 1


@pytest.mark.parametrize("leaver", ["alice", "bob"])
@pytest.mark.parametrize("way", ["close", "leave"])
def test_leaving_ends_the_offers_of_either(stage, leaver, way):
    alice, bob = stage.pair()
    stage.open("carol").do(Offer("alice" if leaver == "bob" else "bob", "v=0"))
    alice.do(Offer("bob", "v=0"))
    one = alice if leaver == "alice" else bob
    if way == "close":
        one.close()
    else:
        one.do(Disconnect(leaver))
    assert stage.hub.pending_offer_count == 1


def test_offers_expire_after_their_time_and_are_announced_in_time(make_stage):
    stage = make_stage(pending_offer_seconds=5, send_deadline_seconds=1000)
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    alice.took()
    bob.took()
    assert stage.expire() == stage.now.monotonic + 5
    stage.wait(4.999)
    stage.expire()
    assert stage.hub.pending_offer_count == 1
    stage.wait(0.001)
    stage.expire()
    assert stage.hub.pending_offer_count == 0


def test_a_refused_offer_is_not_pending(stage):
    alice, _bob = stage.pair()
    alice.refused(Offer("nobody", "v=0"))
    alice.refused(Offer("bob", ""))
    assert stage.hub.pending_offer_count == 0


# Which offer a message belongs to.

NAMED = {
    "answer": (lambda offer_id: Answer("alice", "v=0", "", offer_id), AnswerReceived("bob", "v=0", "answer", "x")),
    "pranswer": (
        lambda offer_id: Answer("alice", "v=0", "pranswer", offer_id),
        AnswerReceived("bob", "v=0", "pranswer", "x"),
    ),
    "ice_candidate": (
        lambda offer_id: IceCandidate("alice", "c", "0", 0, "u", offer_id),
        IceCandidateReceived("bob", "c", "0", 0, "u", "x"),
    ),
    "disconnect": (lambda offer_id: Disconnect("alice", offer_id), PeerDisconnected("bob", "x")),
}


@pytest.fixture
def called(make_stage):
    """A stage whose sessions read slowly without harm; two peers; and the first of them offers to the second."""
    stage = make_stage(send_deadline_seconds=1000)
    alice, bob = stage.pair()
    return stage, alice, bob, lambda: alice.do(Offer("bob", "v=0")).offer_id


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("offer_id", ["", "alice_bob_1", "anything \n\0", "x" * 1000, "é" * 500])
def test_what_a_message_says_of_its_offer_is_passed_on(called, kind, offer_id):
    _, alice, bob, _ = called
    request, event = NAMED[kind]
    assert not isinstance(bob.do(request(offer_id)), SignalingError)
    assert alice.heard() == [msgspec.structs.replace(event, offer_id=offer_id)]


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("offer_id", ["x" * 1001, "é" * 501, "😀" * 251])
def test_an_offer_id_of_more_than_1000_bytes_is_a_wrong_field(called, kind, offer_id):
    stage, alice, bob, _ = called
    wrong = errors.invalid_params("offer_id", "is longer than 1000 bytes")
    before = stage.state()
    assert bob.refused(NAMED[kind][0](offer_id)) == wrong
    assert stage.open().refused(NAMED[kind][0](offer_id)) == wrong, "fields come before who is asking"
    assert alice.heard() == []
    assert stage.state()[:4] == before[:4]


def stale(offer_id):
    return SignalingError(Code.FAILED_PRECONDITION, f"Offer {offer_id} is over", offer_id=offer_id)


@pytest.mark.parametrize("type_", ["", "answer", "pranswer"])
@pytest.mark.parametrize("hang_up", ["", "first"])
def test_the_answer_to_the_call_before_is_refused_and_nobody_told(called, hang_up, type_):
    stage, alice, bob, call = called
    first = call()
    alice.do(Disconnect("bob", hang_up and first))
    assert bob.refused(Answer("alice", "v=0", type_, first)) == stale(first)
    second = call()
    assert bob.refused(Answer("alice", "v=0", type_, first)) == stale(first)
    assert alice.heard() == []
    assert stage.hub.pending_offer_count == 1
    assert stage.hub.counters.refused_requests == {("websocket", "answer", "FAILED_PRECONDITION"): 2}
    assert bob.do(Answer("alice", "v=0", "", second)) == Relayed("alice")
    assert alice.heard() == [AnswerReceived("bob", "v=0", "answer", second)]


def test_an_answer_to_a_replaced_offer_is_refused(called):
    _, alice, bob, call = called
    first, second = call(), call()
    assert bob.refused(Answer("alice", "v=0", "", first)) == stale(first)
    assert bob.do(Answer("alice", "v=0", "", second)) == Relayed("alice")
    assert bob.refused(Answer("alice", "v=0", "", first)) == stale(first)
    assert alice.heard() == [AnswerReceived("bob", "v=0", "answer", second)]


def test_an_answer_is_the_last_a_pranswer_is_not(called):
    _, _, bob, call = called
    offer_id = call()
    for type_ in ("pranswer", "pranswer", "answer"):
        assert bob.do(Answer("alice", "v=0", type_, offer_id)) == Relayed("alice")
    for type_ in ("pranswer", "answer"):
        assert bob.refused(Answer("alice", "v=0", type_, offer_id)) == stale(offer_id)


def test_an_answer_that_says_nothing_ends_the_offer_and_is_never_stale(called):
    _, alice, bob, call = called
    offer_id = call()
    assert bob.do(Answer("alice", "v=0")) == Relayed("alice")
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == stale(offer_id)
    alice.do(Disconnect("bob"))
    assert bob.do(Answer("alice", "v=0")) == Relayed("alice")


@pytest.mark.parametrize("end", [Disconnect("bob"), None])
def test_what_is_over_is_known_for_a_minute(called, end):
    stage, alice, bob, call = called
    offer_id = call()
    if end is not None:
        alice.do(end)
    else:
        bob.do(Answer("alice", "v=0"))
    stage.wait(59.999)
    stage.expire()
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == stale(offer_id)
    stage.wait(0.001)
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice")


def test_an_offer_that_has_expired_may_be_answered(called):
    stage, alice, bob, call = called
    offer_id = call()
    stage.wait(60)
    stage.expire()
    assert stage.hub.pending_offer_count == 0
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice")
    assert alice.heard() == [AnswerReceived("bob", "v=0", "answer", offer_id)]
    call()
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == stale(offer_id)


def test_an_offer_the_other_way_is_another_one(called):
    _, alice, bob, call = called
    there = call()
    back = bob.do(Offer("alice", "v=0")).offer_id
    assert bob.refused(Answer("alice", "v=0", "", back)) == stale(back)
    assert alice.do(Answer("bob", "v=0", "", back)) == Relayed("bob")
    assert bob.do(Answer("alice", "v=0", "", there)) == Relayed("alice")


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_hang_up_that_says_an_offer_ends_it_alone(called, who):
    stage, alice, bob, call = called
    there = call()
    back = bob.do(Offer("alice", "v=0")).offer_id
    one, other = (alice, "bob") if who == "alice" else (bob, "alice")
    one.do(Disconnect(other, "another"))
    assert stage.hub.pending_offer_count == 2
    one.do(Disconnect(other, there))
    assert stage.hub.pending_offer_count == 1
    assert bob.refused(Answer("alice", "v=0", "", there)) == stale(there)
    assert alice.do(Answer("bob", "v=0", "", back)) == Relayed("bob")


def test_a_hang_up_on_the_call_before_spares_the_new_one(called):
    _, alice, bob, call = called
    first = call()
    alice.do(Disconnect("bob", first))
    second = call()
    assert bob.do(Disconnect("alice", first)) == Disconnected("alice")
    assert bob.do(Answer("alice", "v=0", "", second)) == Relayed("alice")
    assert alice.heard() == [PeerDisconnected("bob", first), AnswerReceived("bob", "v=0", "answer", second)]


def test_candidates_and_hang_ups_are_never_stale(called):
    _, alice, bob, call = called
    offer_id = call()
    alice.do(Disconnect("bob"))
    assert bob.do(IceCandidate("alice", "c", "0", offer_id=offer_id)) == Relayed("alice")
    assert bob.do(Disconnect("alice", offer_id)) == Disconnected("alice")
    assert alice.heard() == [
        IceCandidateReceived("bob", "c", "0", offer_id=offer_id),
        PeerDisconnected("bob", offer_id),
    ]


def test_where_the_caller_has_left_it_is_not_found(called):
    stage, alice, bob, call = called
    offer_id = call()
    alice.do(Disconnect("bob"))
    alice.close()
    assert bob.refused(Answer("alice", "v=0", "", offer_id)) == errors.peer_not_found("alice")
    stage.open("alice")
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice"), "nothing is known of who was here before"


def test_rooms_know_nothing_of_each_others_offers(called):
    stage, alice, _, call = called
    offer_id = call()
    alice.do(Disconnect("bob"))
    stage.open("alice", room="other")
    bob = stage.open("bob", room="other")
    assert bob.do(Answer("alice", "v=0", "", offer_id)) == Relayed("alice")


def test_with_ones_own_id_an_offer_changes_nothing(called):
    stage, alice, bob, call = called
    offer_id = call()
    bob.took()
    assert alice.do(Disconnect("alice", offer_id)) == Disconnected("alice")
    assert bob.took() == [PeerLeft("alice")]
    assert stage.hub.pending_offer_count == 0


# Hanging up and leaving.


def test_a_hang_up_names_the_sender(stage):
    alice, bob = stage.pair()
    assert alice.do(Disconnect("bob")) == Disconnected("bob")
    assert bob.took() == [PeerDisconnected("alice")]
    assert stage.ids() == ["alice", "bob"]


def test_a_hang_up_on_nobody_is_the_same(stage):
    alice = stage.open("alice")
    assert alice.do(Disconnect("nobody")) == Disconnected("nobody")
    assert not stage.hub.counters.relays


def test_ones_own_id_means_leaving(stage):
    alice, bob = stage.pair()
    assert alice.do(Disconnect("alice")) == Disconnected("alice")
    assert bob.took() == [PeerLeft("alice")]
    assert alice.took() == ["Disconnected"]
    assert stage.ids() == ["bob"]
    assert alice.refused(Disconnect("alice")) == errors.not_announced()
    assert alice.do(Announce("alice", room="elsewhere")) == Announced("alice", 0, ())


def test_who_left_must_announce_in_time_again(make_stage):
    stage = make_stage(announce_timeout_seconds=10)
    alice = stage.open("alice")
    stage.wait(100)
    stage.expire()
    alice.do(Disconnect("alice"))
    alice.took()
    stage.wait(9)
    stage.expire()
    assert alice.ends == []
    stage.wait(1)
    stage.expire()
    assert alice.ends == [DisconnectReason.ANNOUNCE_TIMEOUT]


def test_an_old_sessions_end_spares_the_new_incarnation(stage):
    old, bob = stage.pair()
    peer = old.session.peer
    old.do(Disconnect("alice"))
    new = stage.open("alice")
    bob.took()
    # Even a session that still believed to be its peer could not remove the new one.
    old.session.peer = peer
    old.close()
    assert stage.ids() == ["bob", "alice"]
    assert bob.took() == []
    bob.do(IceCandidate("alice", "c"))
    assert new.heard() == [IceCandidateReceived("bob", "c", None, 0)]


@pytest.mark.parametrize("reason", list(DisconnectReason))
def test_the_end_of_a_session_tells_the_room_once(stage, reason):
    alice, bob = stage.pair()
    carol = stage.open("carol", room="other")
    alice.close(reason)
    alice.close(DisconnectReason.CONNECTION_LOST)
    assert bob.took() == [PeerLeft("alice")]
    assert carol.took() == []
    assert alice.ends == [], "a carrier that is gone is not told"
    assert stage.hub.counters.disconnects == {("grpc", reason.word): 1}
    assert stage.hub.counters.sessions == {"grpc": 1, "websocket": 1}


def test_peer_left_is_the_last_that_comes(stage):
    alice, bob = stage.pair()
    alice.do(IceCandidate("bob", "c"))
    alice.close()
    assert alice.do(IceCandidate("bob", "late")) == errors.session_ended()
    assert bob.took() == [IceCandidateReceived("alice", "c", None, 0), PeerLeft("alice")]


def test_an_empty_room_is_forgotten(stage):
    alice = stage.open("alice", room="one")
    assert stage.hub.room_count == 1
    alice.close()
    assert (stage.hub.room_count, stage.hub.peer_count, stage.hub.session_count) == (0, 0, 0)


def test_a_reply_after_the_end_goes_nowhere(stage):
    alice = stage.open("alice")
    alice.close()
    stage.hub.put_array(alice.session, b"late", stage.now)
    stage.hub.respond(alice.session, "discover", Relayed("late"), [], stage.now)
    stage.hub.respond(alice.session, "unknown", errors.malformed_request(), [], stage.now)
    assert alice.took() == []


# Slow consumers.


def test_a_relay_over_the_bound_is_refused_and_the_target_stays(make_stage):
    stage = make_stage(outbox_max_messages=3)
    alice, bob = stage.pair()
    for n in range(3):
        assert alice.do(IceCandidate("bob", str(n))) == Relayed("bob")
    alice.took()
    before = stage.state()
    for request in (IceCandidate("bob", "3"), Offer("bob", "v=0"), Answer("bob", "v=0"), Disconnect("bob")):
        assert alice.refused(request) == SignalingError(Code.UNAVAILABLE, "Peer unavailable: bob", peer_id="bob")
    assert stage.state() == before
    assert bob.ends == []
    assert bob.took() == [IceCandidateReceived("alice", str(n), None, 0) for n in range(3)]
    assert alice.do(IceCandidate("bob", "3")) == Relayed("bob")


def test_the_bound_counts_bytes_too(make_stage):
    stage = make_stage(outbox_max_bytes=1000)
    alice, bob = stage.pair()
    assert alice.do(IceCandidate("bob", "x" * 800)) == Relayed("bob")
    assert alice.refused(IceCandidate("bob", "x" * 200)) == errors.peer_unavailable("bob")
    assert alice.do(IceCandidate("bob", "x")) == Relayed("bob")
    bob.took()
    assert alice.do(IceCandidate("bob", "x" * 4000)) == Relayed("bob"), "an empty outbox takes any one message"


def test_replies_and_roster_events_have_a_reserve(make_stage):
    stage = make_stage(outbox_max_messages=2)
    alice, bob = stage.pair()
    alice.do(IceCandidate("bob", "1"))
    alice.do(IceCandidate("bob", "2"))
    stage.open("carol")
    stage.open("dave")
    assert bob.ends == []
    assert bob.took() == [*(IceCandidateReceived("alice", n, None, 0) for n in ("1", "2")), *joined("carol", "dave")]


def test_a_roster_event_beyond_the_reserve_ends_the_session(make_stage):
    stage = make_stage(outbox_max_messages=2)
    alice, bob = stage.pair()
    for n in range(4):
        stage.open(f"{n}").close()
        stage.open(f"again{n}", room="elsewhere")
        alice.took()
        assert bool(bob.ends) == (n >= 2)
    assert bob.ends == [DisconnectReason.SLOW_CONSUMER]
    assert stage.ids() == ["alice"]


def test_who_ends_in_a_fan_out_is_announced_after_it(make_stage):
    stage = make_stage(outbox_max_messages=2)
    alice, bob = stage.pair()
    for n in range(2):
        stage.open(f"{n}").close()
        alice.took()
    stage.open("last")
    assert bob.ends == [DisconnectReason.SLOW_CONSUMER]
    assert alice.took() == [*joined("last"), PeerLeft("bob")]


def test_a_reply_beyond_the_reserve_ends_the_session(make_stage):
    stage = make_stage(outbox_max_messages=1)
    alice, bob = stage.pair()
    bob.do(HealthCheck())
    bob.do(HealthCheck())
    assert bob.ends == []
    bob.do(HealthCheck())
    assert bob.ends == [DisconnectReason.SLOW_CONSUMER]
    assert alice.took() == [PeerLeft("bob")]
    assert stage.hub.counters.disconnects == {("websocket", "slow_consumer"): 1}


def test_ends_in_a_fan_out_come_after_it_and_in_order(make_stage):
    stage = make_stage(outbox_max_messages=2)
    slow = [stage.open(f"slow{n}") for n in range(3)]
    quick = stage.open("quick")
    for one in slow:
        one.took()
    quick.took()
    fillers = [stage.open(f"filler{n}", room="") for n in range(4)]
    for one in fillers:
        one.took()
    quick.took()
    late = stage.open()
    assert late.do(Announce("late")).peers_count == 8
    assert [one.ends for one in slow] == [[DisconnectReason.SLOW_CONSUMER]] * 3
    # Everybody who stays hears first of the newcomer, then of each end, once, in the order of the ends.
    ends = [PeerLeft(f"slow{n}") for n in range(3)]
    assert quick.took() == [*joined("late"), *ends]
    assert late.heard()[-3:] == ends
    assert stage.ids() == ["quick", "filler0", "filler1", "filler2", "filler3", "late"]


def test_one_end_may_bring_about_another(make_stage):
    """Whose outbox is full to the last place is ended by the peer_left of somebody else."""
    stage = make_stage(outbox_max_messages=1)
    a, b, c = stage.open("a"), stage.open("b"), stage.open("c")
    for one in (a, b, c):
        one.took()
    for _ in range(2):
        stage.hub._delivery.tell([b.session.peer], "peer_left", lambda e: e.encode_event(PeerLeft("x")), stage.now)
    a.close()
    assert b.ends == [DisconnectReason.SLOW_CONSUMER]
    assert c.took() == [PeerLeft("a"), PeerLeft("b")]
    assert stage.ids() == ["c"]


def test_a_session_whose_oldest_message_is_too_old_is_ended(make_stage):
    stage = make_stage(send_deadline_seconds=10)
    alice, bob = stage.pair()
    alice.do(IceCandidate("bob", "c"))
    alice.took()
    assert stage.expire() == stage.now.monotonic + 10
    stage.wait(9.9)
    alice.do(IceCandidate("bob", "d"))
    alice.took()
    stage.expire()
    assert bob.ends == []
    stage.wait(0.1)
    stage.expire()
    assert bob.ends == [DisconnectReason.SLOW_CONSUMER]
    assert alice.took() == [PeerLeft("bob")]
    assert alice.refused(IceCandidate("bob", "e")) == errors.peer_not_found("bob")


def test_who_reads_in_time_is_not_slow(make_stage):
    stage = make_stage(send_deadline_seconds=10)
    alice, bob = stage.pair()
    for _ in range(5):
        alice.do(IceCandidate("bob", "c"))
        alice.took()
        stage.wait(9)
        bob.took()
        stage.expire()
    assert bob.ends == []


def test_a_silent_newcomer_is_ended(make_stage):
    stage = make_stage(announce_timeout_seconds=30, send_deadline_seconds=1000)
    silent = stage.open()
    stage.wait(20)
    other = stage.open()
    assert stage.expire() == stage.now.monotonic + 10
    stage.wait(10)
    assert stage.expire() == stage.now.monotonic + 20
    assert silent.ends == [DisconnectReason.ANNOUNCE_TIMEOUT]
    other.do(Announce("other"))
    other.took()
    stage.wait(30)
    stage.expire()
    assert other.ends == []


def test_idle_hubs_want_to_be_called_before_anything_can_be_due(make_stage):
    stage = make_stage(announce_timeout_seconds=30, send_deadline_seconds=10, pending_offer_seconds=60)
    assert stage.expire() == stage.now.monotonic + 10
    stage = make_stage(announce_timeout_seconds=3, send_deadline_seconds=10, pending_offer_seconds=60)
    assert stage.expire() == stage.now.monotonic + 3
    stage = make_stage(announce_timeout_seconds=30, send_deadline_seconds=10, pending_offer_seconds=2)
    assert stage.expire() == stage.now.monotonic + 2


# Rights and rates.


def test_an_identity_announces_what_it_may(stage):
    identity = Identity("one", peer_ids=frozenset({"alice", "bob"}), rooms=frozenset({"", "room"}))
    session = stage.open(identity=identity)
    before = stage.state()
    error = session.refused(Announce("carol"))
    assert error == errors.peer_id_mismatch("carol")
    assert error.code is Code.PERMISSION_DENIED
    assert error.message.startswith("Peer ID mismatch")
    error = session.refused(Announce("alice", room="other"))
    assert error == errors.room_forbidden()
    assert error.message.startswith("Room mismatch")
    assert stage.state() == before
    assert session.do(Announce("alice", room="room")) == Announced("alice", 0, ())


def test_rights_come_after_the_fields_and_before_a_taken_id(stage):
    stage.open("alice")
    session = stage.open(identity=Identity("one", peer_ids=frozenset({"bob"})))
    assert session.refused(Announce("")) == wrong("peer_id", "is missing")
    assert session.refused(Announce("alice")) == errors.peer_id_mismatch("alice")


def test_rates_come_before_everything(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=2)
    alice = stage.open()
    alice.refused(Offer("", ""))
    alice.refused(Offer("", ""))
    error = alice.refused(Offer("", ""))
    assert error.code is Code.RESOURCE_EXHAUSTED
    assert error.extra["retry_after_ms"] >= 1000
    assert alice.refused(Answer("", "")).code is Code.INVALID_ARGUMENT, "each kind has a bucket of its own"
    stage.wait(1.01)
    assert alice.refused(Offer("", "")).code is Code.INVALID_ARGUMENT


def test_reconnecting_does_not_refill_a_bucket(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=1)
    first = stage.open(remote="192.0.2.1")
    assert isinstance(first.do(HealthCheck()), Health)
    first.close()
    again = stage.open(remote="192.0.2.1")
    assert again.refused(HealthCheck()).code is Code.RESOURCE_EXHAUSTED
    assert isinstance(stage.open(remote="192.0.2.2").do(HealthCheck()), Health)
    known = stage.open(remote="192.0.2.1", identity=Identity("somebody"))
    assert isinstance(known.do(HealthCheck()), Health), "an identity has a bucket of its own"


def test_what_is_no_request_counts_too(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=1)
    alice = stage.open()
    error = errors.malformed_request()
    refusals = []
    for _ in range(2):
        stage.hub.respond(alice.session, "unknown", error, refusals, stage.now)
    assert refusals[0] is error
    assert refusals[1].code is Code.RESOURCE_EXHAUSTED
    assert alice.took() == ["SignalingError", "SignalingError"]


def test_what_an_adapter_answers_by_itself_is_counted_and_limited_like_any_request(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=1)
    alice = stage.open()
    outcomes = []
    for _ in range(2):
        stage.hub.respond(alice.session, "discover", Relayed("document"), outcomes, stage.now)
    assert outcomes[0] == Relayed("document")
    assert outcomes[1].code is Code.RESOURCE_EXHAUSTED
    assert alice.took() == ["Relayed", "SignalingError"]
    assert stage.hub.counters.requests == {
        ("grpc", "discover", "ok"): 1,
        ("grpc", "discover", "RESOURCE_EXHAUSTED"): 1,
    }
    assert alice.session.request_count == 2


def test_queries_have_a_rate_too(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=1)
    somebody = Caller(address="192.0.2.1")
    stage.hub.query("grpc", HealthCheck(), somebody, stage.now)
    with pytest.raises(SignalingError) as refused:
        stage.hub.query("grpc", HealthCheck(), somebody, stage.now)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    refusal = stage.hub.refuse_query("grpc", "health_check", errors.malformed_request(), somebody, stage.now)
    assert refusal.code is Code.RESOURCE_EXHAUSTED, "what cannot be read has the same bucket"
    assert stage.hub.counters.requests["grpc", "health_check", "RESOURCE_EXHAUSTED"] == 2


# Looking into rooms.


ONLY_ROOM_A = Identity("one", rooms=frozenset({"a"}))
FORBIDDEN = SignalingError(Code.PERMISSION_DENIED, "Room mismatch: these credentials may not enter this room")


@pytest.mark.parametrize("room", ["b", "nobody is here", "", None])
def test_who_may_not_enter_a_room_may_not_look_into_it(stage, room):
    stage.open("bob", room="b")
    stage.open("anybody")
    stage.open("alice", room="a")
    stranger = stage.open(identity=ONLY_ROOM_A)
    before = stage.state()
    assert stranger.refused(ListPeers(room)) == FORBIDDEN
    assert [peer.peer_id for peer in stranger.do(ListPeers("a")).peers] == ["alice"]
    assert stage.state() == before
    assert stranger.session.open
    assert stage.hub.counters.requests["grpc", "list_peers", "PERMISSION_DENIED"] == 1


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
@pytest.mark.parametrize("room", ["b", "nobody is here", "", None])
def test_a_question_without_a_session_is_refused_alike(stage, protocol, room):
    stage.open("bob", room="b")
    stage.open("alice", room="a")
    caller = Caller(ONLY_ROOM_A, "192.0.2.1")
    with pytest.raises(SignalingError) as refused:
        stage.hub.query(protocol, ListPeers(room), caller, stage.now)
    assert refused.value == FORBIDDEN
    assert refused.value.data() == {"code": 7, "status": "PERMISSION_DENIED"}
    assert stage.hub.counters.requests[protocol, "list_peers", "PERMISSION_DENIED"] == 1
    page = stage.hub.query(protocol, ListPeers("a"), caller, stage.now)
    assert [peer.peer_id for peer in page.peers] == ["alice"]
    assert isinstance(stage.hub.query(protocol, HealthCheck(), caller, stage.now), Health), "health asks for no room"


def test_a_room_s_peer_looks_into_it_and_no_other(stage):
    alice = stage.open("alice", room="a", identity=ONLY_ROOM_A)
    assert alice.do(ListPeers()).count == alice.do(ListPeers("a")).count == 1
    for room in ("", "b"):
        assert alice.refused(ListPeers(room)) == errors.room_mismatch(), "one's own room comes before rights"


def test_no_room_at_all_is_not_every_room(stage):
    nowhere = Identity("nowhere", rooms=frozenset())
    for room in (None, "", "a"):
        assert stage.open(identity=nowhere).refused(ListPeers(room)) == FORBIDDEN


def test_the_fields_of_a_listing_come_before_the_right_to_it(stage):
    stranger = stage.open(identity=ONLY_ROOM_A)
    assert stranger.refused(ListPeers("\n")) == wrong("room", "contains control characters")
    assert stranger.refused(ListPeers("b", page_size=-1)).extra == {"field": "page_size"}
    assert stranger.refused(ListPeers("b", page_token="no")).extra == {"field": "page_token"}


def test_rights_are_asked_at_every_listing(stage):
    alice = stage.open("alice", room="a", identity=ONLY_ROOM_A)
    stranger = stage.open(identity=ONLY_ROOM_A)
    assert alice.do(ListPeers()) == stranger.do(ListPeers("a"))
    for one in (alice, stranger):
        one.session.identity = Identity("one", rooms=frozenset({"b"}))
    assert alice.refused(ListPeers()) == FORBIDDEN
    assert stranger.refused(ListPeers("a")) == FORBIDDEN
    assert stranger.do(ListPeers("b")) == PeerList((), 0)


# Peers without a session.


@pytest.fixture
def absent(stage):
    """A peer, `ghost`, that is in the room and has no session."""
    actor = stage.open("ghost", capabilities=Capabilities(audio=True), metadata={"n": 1})
    peer = actor.session.peer
    actor.session.peer = peer.session = None
    return peer


def test_what_is_relayed_to_a_peer_without_a_session_is_refused(stage, absent, relays):
    alice = stage.open("alice")
    before = stage.state()
    for request in (*relays("ghost"), Disconnect("ghost")):
        assert alice.refused(request) == SignalingError(Code.UNAVAILABLE, "Peer unavailable: ghost", peer_id="ghost")
    assert stage.state() == before
    assert stage.hub.pending_offer_count == 0
    assert not stage.hub.counters.relays
    with pytest.raises(SignalingError) as refused:
        stage.hub.deliver("", "ghost", PeerLeft("x"), "grpc", stage.now)
    assert refused.value == errors.peer_unavailable("ghost")


def test_a_room_with_a_peer_without_a_session_hears_what_it_should(stage, absent):
    alice = stage.open()
    assert alice.do(Announce("alice")) == Announced("alice", 1, ("ghost",))
    assert alice.took() == ["Announced", PeerJoined("ghost", Capabilities(audio=True), {"n": 1})]
    bob = stage.open("bob", protocol="websocket")
    assert alice.took() == joined("bob")
    bob.close()
    assert alice.took() == [PeerLeft("bob")]
    assert stage.hub.counters.events == {
        ("grpc", "peer_joined"): 2,
        ("websocket", "peer_joined"): 2,
        ("grpc", "peer_left"): 1,
    }


def test_a_peer_without_a_session_is_listed_and_its_id_taken(stage, absent):
    alice = stage.open("alice")
    page = alice.do(ListPeers())
    ghost = PeerInfo("ghost", Capabilities(audio=True), "available", {"n": 1}, 1_700_000_000)
    assert (page.count, page.peers[0]) == (2, ghost)
    assert stage.hub.peer_count == 2
    assert stage.hub.health(stage.now).connected_peers == 2
    assert stage.open().refused(Announce("ghost")) == errors.already_announced("ghost")


def test_a_peer_without_a_session_leaves_like_any_other(stage, absent):
    alice = stage.open("alice")
    stage.hub._leaving.remove(absent, stage.now)
    assert alice.took() == [PeerLeft("ghost")]
    assert stage.ids() == ["alice"]
    # A second time is none, and a newer peer of that id stays.
    new = stage.open("ghost")
    alice.took()
    stage.hub._leaving.remove(absent, stage.now)
    assert (alice.took(), new.took()) == ([], [])
    assert stage.ids() == ["alice", "ghost"]


def test_the_last_peer_of_a_room_may_be_without_a_session(stage, absent):
    stage.hub._leaving.remove(absent, stage.now)
    assert (stage.hub.room_count, stage.hub.peer_count) == (0, 0)


def test_a_session_whose_peer_was_taken_from_it_ends_without_a_word(stage):
    alice, bob = stage.pair()
    peer = bob.session.peer
    bob.session.peer = peer.session = None
    bob.close()
    assert alice.took() == []
    assert stage.ids() == ["alice", "bob"]


def test_draining_spares_no_session_where_a_peer_has_none(stage, absent):
    alice = stage.open("alice")
    stage.hub.drain(stage.now)
    assert alice.ends == [DisconnectReason.DRAINING]
    assert alice.took() == []


# Whose software it is.


def lines_of(caplog, message):
    return [record for record in caplog.records if record.message == message]


@pytest.mark.parametrize(
    ("user_agent", "announced", "known", "ended"),
    [
        ("", {}, "", ""),
        ("grpc-c/1", {}, "grpc-c/1", "grpc-c/1"),
        ("grpc-c/1", {"client": "app 2"}, "grpc-c/1", "app 2"),
        ("", {"client": "app 2"}, "", "app 2"),
        ("grpc-c/1", {"client": ""}, "grpc-c/1", "grpc-c/1"),
        ("grpc-c/1", {"client": 2}, "grpc-c/1", "grpc-c/1"),
        ("grpc-c/1", {"client": None}, "grpc-c/1", "grpc-c/1"),
        ("grpc-c/1", {"client": {"name": "app"}}, "grpc-c/1", "grpc-c/1"),
        ("x" * 128, {"client": "y" * 128}, "x" * 128, "y" * 128),
        ("x" * 129, {"client": "y" * 129}, "x" * 128, "y" * 128),
        ("é" * 64, {"client": "é" * 65}, "é" * 64, "é" * 64),
        ("x" + "é" * 64, {"client": "x" + "👋" * 32}, "x" + "é" * 63, "x" + "👋" * 31),
    ],
)
@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_the_lines_of_a_session_name_its_software(stage, caplog, protocol, user_agent, announced, known, ended):
    caplog.set_level(logging.INFO, logger="sigbridge.session")
    hub = stage.hub
    session = hub.open(
        protocol, PlainEncoding(), lambda reason: None, stage.now, Caller(address="192.0.2.1", user_agent=user_agent)
    )
    hub.apply(session, Announce("alice", metadata=announced), [], stage.now)
    hub.end(session, DisconnectReason.CLIENT_LEFT, stage.now)
    (first,), (last,) = lines_of(caplog, "session started"), lines_of(caplog, "session ended")
    assert (first.client, last.client) == (known, ended)
    assert (first.session, first.protocol, first.remote) == (session.id, protocol, "192.0.2.1")
    assert (last.session, last.protocol, last.peer, last.reason) == (session.id, protocol, "alice", "client_left")


def test_a_refused_announce_names_no_software(stage, caplog):
    caplog.set_level(logging.INFO, logger="sigbridge.session")
    stage.open("alice")
    mallory = stage.open()
    mallory.refused(Announce("alice", metadata={"client": "app"}))
    mallory.close()
    (ended,) = lines_of(caplog, "session ended")
    assert ended.client == ""


# Sessions, draining.


def test_a_server_short_of_memory_takes_nobody_in_and_serves_who_is_here(stage):
    alice, bob = stage.pair()
    stage.hub.degraded = True
    with pytest.raises(SignalingError) as refused:
        stage.open()
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert stage.hub.health(stage.now).status == "degraded"
    assert isinstance(alice.do(Offer("bob", "v=0")), OfferRelayed)
    assert len(bob.took()) == 1
    stage.hub.degraded = False
    assert stage.open().session.open


def test_what_waits_can_be_asked(stage):
    alice, bob = stage.pair()
    alice.took()
    alice.do(IceCandidate("bob", "c"))
    alice.took()
    alice.do(IceCandidate("bob", "d"))
    queued = stage.hub.queued()
    assert (queued.messages, queued.longest) == (3, 2)
    assert queued.bytes == alice.session.outbox.queued_bytes + bob.session.outbox.queued_bytes > 0


def test_a_full_server_takes_nobody_in(make_stage):
    stage = make_stage(max_sessions=2)
    one = stage.open()
    stage.open()
    with pytest.raises(SignalingError) as refused:
        stage.open()
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert refused.value.extra == {"limit": "SIGNALING_MAX_SESSIONS", "value": 2}
    hub = stage.hub
    hub.degraded = True
    with pytest.raises(SignalingError):
        stage.open()
    hub.phase = Phase.DRAINING
    with pytest.raises(SignalingError):
        stage.open()
    refusals = {reason: count for (_, reason), count in hub.counters.refusals.items() if count}
    assert refusals == {"sessions": 1, "memory": 1, "draining": 1}
    for protocol in ("grpc", "websocket"):
        hub.counters.know(protocol)
    known = {(protocol, reason) for protocol in ("grpc", "websocket") for reason in REFUSAL_REASONS}
    assert set(hub.counters.refusals) == {*TCP_REFUSALS, *known}
    hub.degraded = False
    hub.phase = Phase.SERVING
    one.close()
    assert stage.open().session.open


def test_session_ids_are_random_and_never_shown(stage):
    alice, bob = stage.pair()
    assert alice.session.id != bob.session.id
    alice.do(Offer("bob", "v=0"))
    shown = repr(bob.took()) + repr(stage.hub.query("grpc", ListPeers(), ANYWHERE, stage.now))
    assert alice.session.id not in shown
    assert bob.session.id not in shown


def test_draining_ends_everybody_without_events(stage):
    alice, bob = stage.pair()
    stranger = stage.open()
    stage.hub.drain(stage.now)
    assert [one.ends for one in (alice, bob, stranger)] == [[DisconnectReason.DRAINING]] * 3
    assert [one.took() for one in (alice, bob, stranger)] == [[], [], []]
    assert (stage.hub.session_count, stage.hub.peer_count) == (0, 0)
    with pytest.raises(SignalingError) as refused:
        stage.open()
    assert refused.value.code is Code.UNAVAILABLE
    assert stage.hub.health(stage.now).status == "unhealthy"


def test_a_server_that_is_leaving_takes_nobody_in_and_serves_who_is_here(stage):
    alice, bob = stage.pair()
    assert (stage.hub.phase, stage.hub.serving) == (Phase.SERVING, True)
    stage.hub.leave()
    assert (stage.hub.phase, stage.hub.serving) == (Phase.LEAVING, False)
    with pytest.raises(SignalingError) as refused:
        stage.open()
    assert refused.value == errors.server_draining()
    assert stage.hub.counters.refusals["grpc", "draining"] == 1
    assert stage.hub.health(stage.now).status == "unhealthy"
    assert isinstance(alice.do(Offer("bob", "v=0")), OfferRelayed)
    assert [type(event) for event in bob.took()] == [OfferReceived]
    # Those who are here may even leave and announce again, and hear of each other.
    assert alice.do(Disconnect("alice")) == Disconnected("alice")
    assert alice.do(Announce("alicia")) == Announced("alicia", 1, ("bob",))
    assert bob.took() == [PeerLeft("alice"), *joined("alicia")]
    assert (alice.ends, bob.ends) == ([], [])


def test_a_server_drains_after_it_was_leaving_and_never_serves_again(stage):
    alice, bob = stage.pair()
    stage.hub.leave()
    stage.hub.drain(stage.now)
    assert [one.ends for one in (alice, bob)] == [[DisconnectReason.DRAINING]] * 2
    assert [one.took() for one in (alice, bob)] == [[], []]
    stage.hub.leave()
    assert (stage.hub.phase, stage.hub.serving) == (Phase.DRAINING, False)


def test_an_end_is_told_once_whoever_wants_it(stage):
    alice, bob = stage.pair()
    stage.hub.end(bob.session, DisconnectReason.CLIENT_LEFT, stage.now)
    stage.hub.end(bob.session, DisconnectReason.CONNECTION_LOST, stage.now)
    assert bob.ends == [DisconnectReason.CLIENT_LEFT]
    assert bob.session.end_reason is DisconnectReason.CLIENT_LEFT
    assert alice.took() == [PeerLeft("bob")]
    assert stage.hub.counters.disconnects == {("websocket", "client_left"): 1}


def test_an_on_end_that_ends_its_session_does_no_harm(stage):
    alice, bob = stage.pair()
    told = []

    def end_again(reason):
        told.append(reason)
        stage.hub.end(bob.session, DisconnectReason.CONNECTION_LOST, stage.now)

    bob.session.on_end = end_again
    stage.hub.end(bob.session, DisconnectReason.MAX_AGE, stage.now)
    assert told == [DisconnectReason.MAX_AGE]
    assert bob.session.end_reason is DisconnectReason.MAX_AGE
    assert alice.took() == [PeerLeft("bob")]


def test_an_on_end_that_ends_another_session_has_it_ended_afterwards(stage):
    alice, bob = stage.pair()
    carol = stage.open("carol")
    alice.took()
    seen = []

    def end_alice(reason):
        stage.hub.end(alice.session, DisconnectReason.MAX_AGE, stage.now)
        seen.append(alice.session.open)

    bob.session.on_end = end_alice
    stage.hub.end(bob.session, DisconnectReason.MAX_AGE, stage.now)
    assert seen == [True], "its turn comes after this end"
    assert alice.ends == [DisconnectReason.MAX_AGE]
    assert carol.took() == [PeerLeft("bob"), PeerLeft("alice")]


# Listing and health.


def test_a_list_shows_the_room_in_the_order_of_joining(stage):
    alice = stage.open("z", capabilities=Capabilities(audio=True), metadata={"n": 1})
    stage.wait(1.5)
    stage.open("a")
    expected = PeerList(
        (
            PeerInfo("z", Capabilities(audio=True), "available", {"n": 1}, 1_700_000_000),
            PeerInfo("a", NO_CAPABILITIES, "available", {}, 1_700_000_001),
        ),
        2,
    )
    assert alice.do(ListPeers()) == expected
    assert alice.do(ListPeers("")) == expected
    assert stage.open().do(ListPeers()) == expected
    assert stage.hub.query("websocket", ListPeers(), ANYWHERE, stage.now) == expected


def test_an_unannounced_session_lists_any_room(stage):
    stage.open("alice", room="one")
    stranger = stage.open()
    assert [peer.peer_id for peer in stranger.do(ListPeers("one")).peers] == ["alice"]
    assert stranger.do(ListPeers("two")) == PeerList((), 0)
    assert stranger.do(ListPeers()) == PeerList((), 0)


def test_a_peer_lists_its_own_room_only(stage):
    alice = stage.open("alice", room="one")
    assert alice.do(ListPeers()).count == alice.do(ListPeers("one")).count == 1
    for room in ("", "two"):
        assert alice.refused(ListPeers(room)) == SignalingError(
            Code.PERMISSION_DENIED, "Room mismatch: an announced peer may only list its own room"
        )


def pages(ask, **fields):
    token, found = "", []
    while True:
        page = ask(ListPeers(page_token=token, **fields))
        found.append([peer.peer_id for peer in page.peers])
        token = page.next_page_token
        if not token:
            return found


def test_pages_by_count(make_stage):
    stage = make_stage(max_page_peers=3)
    actors = [stage.open(name) for name in "abcdefg"]
    ask = actors[0].do
    assert pages(ask) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert pages(ask, page_size=2) == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]
    assert pages(ask, page_size=1) == [[name] for name in "abcdefg"]
    assert pages(ask, page_size=4294967295) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert ask(ListPeers(page_size=1)).count == 7


def test_a_full_last_page_has_no_token(make_stage):
    stage = make_stage(max_page_peers=3)
    actors = [stage.open(name) for name in "abc"]
    assert actors[0].do(ListPeers()).next_page_token == ""


def test_pages_by_bytes(make_stage):
    stage = make_stage(max_page_bytes=1200)
    actors = [stage.open(name, metadata={"k": "x" * 300}) for name in "abcde"]
    sizes = [len(page) for page in pages(actors[0].do)]
    assert sizes == [2, 2, 1]
    big = make_stage(max_page_bytes=10)
    actors = [big.open(name) for name in "ab"]
    assert pages(actors[0].do) == [["a"], ["b"]], "a page holds at least one peer"


def test_pages_survive_leaving_and_joining(stage):
    actors = {name: stage.open(name) for name in "abcd"}
    first = actors["a"].do(ListPeers(page_size=2))
    actors["b"].close()
    actors["c"].close()
    stage.open("b")
    rest = actors["a"].do(ListPeers(page_token=first.next_page_token))
    assert [peer.peer_id for peer in rest.peers] == ["d", "b"]


@pytest.mark.parametrize(
    "token", ["x", "é", "\x00", "=", "AAAA", "YWZ0ZXI6LTE", "YWZ0ZXI6MS41", "YWZ0ZXI6" + "OTk5" * 10, "A" * 10_000]
)
def test_a_page_token_that_the_server_did_not_give(stage, token):
    assert stage.open("alice").refused(ListPeers(page_token=token)) == wrong(
        "page_token", "is none that this server gave"
    )


@pytest.mark.parametrize("size", [-1, 2**32])
def test_a_page_size_has_32_bits(stage, size):
    assert stage.open("alice").refused(ListPeers(page_size=size)) == wrong(
        "page_size", "must be a whole number from 0 to 4294967295"
    )


def test_a_refused_query_raises_and_is_counted(stage):
    with pytest.raises(SignalingError):
        stage.hub.query("grpc", ListPeers("\n"), ANYWHERE, stage.now)
    assert stage.hub.counters.requests == {("grpc", "list_peers", "INVALID_ARGUMENT"): 1}


def test_health(stage):
    alice, _bob = stage.pair()
    stage.open("carol", room="other")
    alice.do(Offer("bob", "v=0"))
    stage.wait(12.9)
    expected = Health("healthy", 12, 3, {"pending_offers": 1, "sessions": {"grpc": 2, "websocket": 1}, "rooms": 2})
    assert alice.do(HealthCheck()) == expected
    assert stage.hub.query("grpc", HealthCheck(), ANYWHERE, stage.now) == expected
    stranger = stage.open()
    assert stranger.do(HealthCheck()).connected_peers == 3


# Counting and encoding.


def test_every_request_is_counted_by_its_outcome(stage):
    alice, bob = stage.pair()
    alice.do(Offer("bob", "v=0"))
    alice.refused(Offer("nobody", "v=0"))
    bob.do(Answer("alice", "v=0"))
    stage.hub.respond(bob.session, "unknown", errors.method_not_found("x"), [], stage.now)
    counters = stage.hub.counters
    assert counters.requests == {
        ("grpc", "announce", "ok"): 1,
        ("websocket", "announce", "ok"): 1,
        ("grpc", "offer", "ok"): 1,
        ("grpc", "offer", "NOT_FOUND"): 1,
        ("websocket", "answer", "ok"): 1,
        ("websocket", "unknown", "UNIMPLEMENTED"): 1,
    }
    assert counters.relays == {("grpc", "websocket", "offer"): 1, ("websocket", "grpc", "answer"): 1}
    assert counters.events == {
        ("grpc", "peer_joined"): 1,
        ("websocket", "peer_joined"): 1,
    }
    assert alice.session.request_count == 3


def test_a_fan_out_is_encoded_once_for_each_encoding(stage):
    for n in range(4):
        stage.open(f"grpc{n}")
        stage.open(f"websocket{n}", protocol="websocket")
    for encoding in stage.encodings.values():
        encoding.encoded.clear()
    late = stage.open("late")
    expected = PeerJoined("late", NO_CAPABILITIES, {})
    assert [encoding.encoded.count(expected) for encoding in stage.encodings.values()] == [1, 1]
    late.close()
    assert [encoding.encoded.count(PeerLeft("late")) for encoding in stage.encodings.values()] == [1, 1]
