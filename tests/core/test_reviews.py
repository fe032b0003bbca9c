"""Reviews of all identities, and the turns in which many sessions are ended."""

import pytest

from identities import ending, without
from sigbridge import (
    Announce,
    DisconnectReason,
    PeerJoined,
    PeerLeft,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.patterns import Patterns
from sigbridge.share import EVENTS_PER_TURN
from sigbridge.standing import EVENTS_PER_END
from stage import Stage


def gone(identity):
    return None


def test_a_review_asks_about_every_identity_and_leaves_the_same_alone(stage):
    alice = stage.open("alice", identity=Identity("alice"))
    stage.open(identity=Identity("bob"), protocol="websocket")
    stage.open("nobody")
    asked = []
    before = stage.state()

    def judge(identity):
        asked.append(identity.name)
        return identity

    stage.hub.review(judge, stage.now)
    assert (sorted(asked), stage.state()) == (["", "alice", "bob"], before)
    assert alice.ends == []


def test_a_review_ends_those_who_are_gone_and_no_others(stage):
    alice = stage.open("alice", identity=Identity("alice"))
    bob = stage.open("bob", identity=Identity("bob"))
    stranger = stage.open(identity=Identity("alice"))
    bob.took()
    stage.hub.review(lambda identity: None if identity.subject == "alice" else identity, stage.now)
    assert alice.ends == stranger.ends == [DisconnectReason.REVOKED]
    assert (bob.ends, bob.took()) == ([], [PeerLeft("alice")])
    assert stage.hub.counters.disconnects == {("grpc", "revoked"): 2}


@pytest.mark.parametrize(
    ("narrowed", "ends"),
    [
        (Identity("alice", peer_ids=Patterns(["alice:*"])), True),
        (Identity("alice", rooms=frozenset({"other"})), True),
        (Identity("alice", peer_ids=Patterns(["a*"]), rooms=Patterns(["*"])), False),
        (without("announce", "relay", "list"), False),
    ],
)
def test_a_review_gives_another_identity(stage, narrowed, ends):
    stage.open("bob")
    alice = stage.open("alice", identity=Identity("alice"))
    stage.hub.review(lambda identity: narrowed if identity.subject else identity, stage.now)
    assert alice.ends == ([DisconnectReason.REVOKED] if ends else [])
    if not ends:
        assert alice.session.identity is narrowed


def test_a_review_reckons_a_changed_end_anew_and_no_other(stage):
    alice = stage.open("alice", identity=ending(stage, 600))
    end = alice.session.ends_at
    stage.set_unix(stage.now.unix + 5000)
    same_end = Identity("alice", expires_at=alice.session.identity.expires_at, rights=frozenset({"list"}))
    stage.hub.review(lambda _: same_end, stage.now)
    assert (alice.session.identity, alice.session.ends_at) == (same_end, end)
    stage.hub.review(lambda _: ending(stage, 60), stage.now)
    assert alice.session.ends_at == stage.now.monotonic + 60


def test_a_review_comes_before_an_id_that_is_being_claimed(make_stage):
    from sigbridge_compat.deferred import Deferral

    deferral = Deferral()
    stage = make_stage(directory=deferral)
    alice = stage.open(identity=Identity("alice"))
    outcome = alice.do(Announce("alice"))
    stage.hub.review(lambda _: Identity("alice", peer_ids=frozenset()), stage.now)
    deferral.complete(now=stage.now)
    assert outcome == [errors.peer_id_mismatch("alice")]
    assert (stage.hub.peer_count, deferral.owned) == (0, set())


class Turns:
    """An event loop that turns when a test says so."""

    def __init__(self, stage):
        self._stage = stage
        self.asked = 0
        stage.hub.spread_farewells(self._ask, stage.now)

    def _ask(self):
        self.asked += 1

    def turn(self):
        """Turns once, where that was asked for; returns whether it was."""
        assert self.asked <= 1, "a turn is asked for once"
        asked, self.asked = self.asked, 0
        if asked:
            self._stage.hub.go_on(self._stage.now)
        return bool(asked)


PER_TURN = EVENTS_PER_TURN // EVENTS_PER_END


def test_many_are_revoked_over_several_turns(stage):
    many = [stage.open(f"peer {number}", room=str(number % 100), identity=Identity("a")) for number in range(1000)]
    bob = stage.open("bob", room="0", identity=Identity("bob"))
    turns = Turns(stage)
    stage.hub.review(lambda identity: None if identity.subject == "a" else identity, stage.now)
    ended = [sum(not actor.session.open for actor in many)]
    while turns.turn():
        ended.append(sum(not actor.session.open for actor in many))
    assert max(after - before for before, after in zip([0, *ended], ended, strict=False)) == PER_TURN
    assert ended[-1] == 1000
    assert all(actor.ends == [DisconnectReason.REVOKED] for actor in many)
    assert bob.ends == []
    assert stage.ids("0") == ["bob"]
    left = {event.peer_id for event in bob.heard() if isinstance(event, PeerLeft)}
    assert left == {f"peer {number}" for number in range(0, 1000, 100)}


def test_who_is_not_asked_about_has_turns_of_its_own(stage):
    many = [stage.open(identity=Identity("a")) for _ in range(3 * EVENTS_PER_TURN)]
    asked = []

    def judge(identity):
        asked.append(identity)
        return identity

    turns = Turns(stage)
    stage.hub.review(judge, stage.now)
    assert len(asked) == EVENTS_PER_TURN
    many[-1].close()
    newcomer = stage.open("newcomer", identity=Identity("b"))
    while turns.turn():
        pass
    assert len(asked) == 3 * EVENTS_PER_TURN - 1, "neither who has ended, nor who came by what counts now"
    assert newcomer.ends == []


def test_a_second_review_comes_after_the_first(stage):
    many = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    turns = Turns(stage)
    narrower = Identity("a", rights=frozenset())
    seen = []

    def judge(identity):
        seen.append(identity)
        return identity

    stage.hub.review(lambda _: narrower, stage.now)
    stage.hub.review(judge, stage.now)
    while turns.turn():
        pass
    assert seen == [narrower] * len(many)


def test_without_an_event_loop_a_review_is_done_at_once(stage):
    many = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    turns = Turns(stage)
    stage.hub.review(gone, stage.now)
    assert sum(actor.session.open for actor in many) == PER_TURN
    stage.hub.spread_farewells(None, stage.now)
    assert not any(actor.session.open for actor in many)
    turns.turn()
    more = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    stage.hub.review(gone, stage.now)
    assert not any(actor.session.open for actor in more)


def test_a_judge_that_fails_holds_up_no_others(stage):
    many = [stage.open(identity=Identity(str(number))) for number in range(2 * EVENTS_PER_TURN)]
    turns = Turns(stage)

    def judge(identity):
        if identity.subject in ("5", "600"):
            raise RuntimeError("a fault of ours")

    faults = 0
    with pytest.raises(RuntimeError):
        stage.hub.review(judge, stage.now)
    going = True
    while going:
        try:
            going = turns.turn()
        except RuntimeError:
            faults += 1
    assert faults == 1
    assert [actor.session.identity.subject for actor in many if actor.session.open] == ["5", "600"]


def test_reviews_and_farewells_share_the_turns_they_ask_for(stage):
    listeners = [stage.open(f"listener {number}") for number in range(20)]
    many = [stage.open(f"peer {number}", identity=Identity("a")) for number in range(70)]
    turns = Turns(stage)
    stage.hub.review(lambda identity: None if identity.subject else identity, stage.now)
    heard = []
    count = 0
    while turns.turn():
        count += 1
        heard += listeners[0].heard()
    assert count >= len(many) // PER_TURN
    assert [event for event in heard if isinstance(event, PeerLeft)] == [
        PeerLeft(f"peer {number}") for number in range(len(many))
    ]
    assert PeerJoined("peer 0", NO_CAPABILITIES, {}) in heard


def test_a_hub_that_drains_has_nobody_left_to_review(stage: Stage):
    many = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    turns = Turns(stage)
    stage.hub.review(gone, stage.now)
    stage.hub.drain(stage.now)
    while turns.turn():
        pass
    assert {reason for actor in many for reason in actor.ends} == {DisconnectReason.REVOKED, DisconnectReason.DRAINING}
