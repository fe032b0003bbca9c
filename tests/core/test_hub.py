"""The bare hub's sessions: their software, their number, draining, and what is counted and encoded."""

import logging

import pytest

from hub_outcomes import joined
from sigbridge import (
    Announce,
    Announced,
    Answer,
    Code,
    Disconnect,
    Disconnected,
    DisconnectReason,
    IceCandidate,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerJoined,
    PeerLeft,
    SignalingError,
    errors,
)
from sigbridge.counters import REFUSAL_REASONS, TCP_REFUSALS
from sigbridge.hub import Phase
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.session import ANYWHERE, Caller
from stage import PlainEncoding

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
