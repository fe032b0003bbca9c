"""Slow consumers on the bare hub: the bounds of their outboxes, and their ends."""

from hub_outcomes import joined
from sigbridge import (
    Announce,
    Answer,
    Code,
    Disconnect,
    DisconnectReason,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    PeerLeft,
    Relayed,
    SignalingError,
    errors,
)


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
    """A session whose outbox is full to the last place is ended by the peer_left of somebody else."""
    stage = make_stage(outbox_max_messages=1)
    a, b, c = stage.open("a"), stage.open("b"), stage.open("c")
    for one in (a, b, c):
        one.took()
    for _ in range(2):
        stage.hub._delivery.tell([b.session.peer], PeerLeft("x"), lambda e: e.encode_event(PeerLeft("x")), stage.now)
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
