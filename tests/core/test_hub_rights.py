"""Rights and rates on the bare hub, and looking into rooms."""

import pytest

from hub_outcomes import wrong
from sigbridge import (
    Announce,
    Announced,
    Answer,
    Code,
    Health,
    HealthCheck,
    ListPeers,
    Offer,
    PeerList,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.session import Caller

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
