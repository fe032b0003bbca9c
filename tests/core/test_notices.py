"""Notices: who is told beforehand that its session ends, when, how often, and after how long to come back."""

import pytest

from sigbridge import Announce, Authenticate, DisconnectReason, Offer, PeerJoined, SignalingError
from sigbridge.auth import Identity
from sigbridge.messages import ServerNotice
from sigbridge.notices import RETURNS_PER_SECOND, STEP_SECONDS
from stage import Stage


class Ending:
    """An authenticator whose tokens say when they end (Unix seconds), or that they do not."""

    def authenticate(self, credentials, now):
        return Identity(
            "alice", source="jwt", expires_at=None if credentials.token == "never" else float(credentials.token)
        )


def alice(stage, expires_at, **asked):
    identity = Identity("alice", source="jwt", expires_at=expires_at)
    actor = stage.open(identity=identity, authenticator=Ending())
    assert not isinstance(actor.do(Announce("alice", **asked)), SignalingError)
    actor.took()
    return actor


def notices(actor):
    """The notices that have come, each as its kind and deadline (Unix milliseconds)."""
    heard = actor.heard()
    assert all(isinstance(one, ServerNotice) for one in heard)
    return [(one.notice, one.deadline_unix_ms) for one in heard]


def expiring(at):
    return [("token_expiring", round(at * 1000))]


def step(stage, seconds):
    """Lets time pass as a carrier does: the hub is called whenever it wants to be."""
    until = stage.now.monotonic + seconds
    while stage.now.monotonic < until:
        stage.wait(min(max(stage.expire() - stage.now.monotonic, 0.001), until - stage.now.monotonic, 1.0))
    stage.expire()


@pytest.mark.parametrize("asked", [{"notices": True}, {"resumable": True}, {"resume_token": "of nobody"}])
def test_a_session_is_told_once_a_minute_before_its_credentials_end(asked):
    stage = Stage()
    end = stage.now.unix + 100
    actor = alice(stage, end, **asked)
    step(stage, 39)
    assert notices(actor) == []
    step(stage, 2)
    assert notices(actor) == expiring(end)
    step(stage, 58)
    assert notices(actor) == []
    step(stage, 2)
    assert actor.ends == [DisconnectReason.TOKEN_EXPIRED]


def test_who_did_not_ask_is_told_nothing():
    stage = Stage()
    actor = alice(stage, stage.now.unix + 100)
    step(stage, 99)
    assert actor.heard() == []


def test_leeway_belongs_to_the_time_that_is_left():
    stage = Stage()
    identity = Identity("alice", source="jwt", expires_at=stage.now.unix + 100, leeway_seconds=30)
    actor = stage.open("alice", identity=identity, notices=True)
    step(stage, 69)
    assert notices(actor) == []
    step(stage, 2)
    assert notices(actor) == expiring(stage.now.unix - 71 + 130)


def test_where_less_is_left_it_is_told_at_once():
    stage = Stage()
    end = stage.now.unix + 10
    actor = alice(stage, end, notices=True)
    stage.expire()
    assert notices(actor) == expiring(end)


def test_a_newer_token_has_an_end_of_its_own_and_the_same_one_has_not():
    stage = Stage(send_deadline_seconds=1e6)
    first, second = stage.now.unix + 50, stage.now.unix + 200
    actor = alice(stage, first, notices=True)
    step(stage, 0)
    assert notices(actor) == expiring(first)
    step(stage, 10.3)
    actor.do(Authenticate(str(first)))
    actor.took()
    step(stage, 1)
    assert notices(actor) == []
    actor.do(Authenticate(str(second)))
    actor.took()
    step(stage, 120)
    assert notices(actor) == []
    step(stage, 20)
    assert notices(actor) == expiring(second)
    actor.do(Authenticate("never"))
    actor.took()
    step(stage, 100)
    assert (notices(actor), actor.ends) == ([], [])


def test_whoever_asks_later_is_told_then():
    stage = Stage()
    end = stage.now.unix + 50
    identity = Identity("alice", source="jwt", expires_at=end)
    actor = stage.open(identity=identity)
    step(stage, 5)
    assert notices(actor) == []
    actor.do(Announce("alice", notices=True))
    actor.took()
    step(stage, 1)
    assert notices(actor) == expiring(end)


def test_a_notice_has_no_number_and_is_not_kept():
    stage = Stage()
    actor = alice(stage, stage.now.unix + 50, resumable=True)
    continuity = actor.session.continuity
    step(stage, 0)
    (frame,) = actor.session.outbox.take(10**9)
    assert not frame.rpartition(b" ")[2].startswith(b"#")
    assert (continuity.journal.last, continuity.journal.bytes) == (0, 0)
    bob = stage.open("bob")
    bob.do(Offer("alice", "v=0"))
    frames = actor.session.outbox.take(10**9)
    assert [frame.rpartition(b" ")[2] for frame in frames] == [b"#1", b"#2"]


def test_who_cannot_take_a_notice_is_slow():
    stage = Stage(outbox_max_messages=1, send_deadline_seconds=1e6)
    actor = alice(stage, stage.now.unix + 100, notices=True)
    stage.open("bob")
    stage.open("carol")
    step(stage, 39)
    assert actor.ends == []
    step(stage, 2)
    assert actor.ends == [DisconnectReason.SLOW_CONSUMER]


# Shutting down.


def drained(stage, seconds, step_seconds=STEP_SECONDS):
    """Lets a hub tell of its end for so long; yields after each step."""
    stage.hub.leave()
    ends_at = stage.now.monotonic + seconds
    while stage.hub.tell_of_leaving(ends_at, stage.now) and stage.now.monotonic < ends_at:
        yield
        stage.wait(step_seconds)


def test_with_nobody_who_asked_there_is_nothing_to_wait_for():
    stage = Stage()
    actor = stage.open("alice")
    assert list(drained(stage, 10)) == []
    assert actor.heard() == []


def test_a_hub_that_serves_or_drains_tells_nobody():
    stage = Stage()
    actor = alice(stage, None, notices=True)
    assert not stage.hub.tell_of_leaving(stage.now.monotonic + 10, stage.now)
    stage.hub.drain(stage.now)
    assert not stage.hub.tell_of_leaving(stage.now.monotonic + 10, stage.now)
    assert actor.heard() == []


def test_each_of_those_who_asked_is_told_once_and_all_else_goes_on():
    stage = Stage()
    asked = [stage.open(f"asked{number}", room=str(number), notices=True) for number in range(10)]
    other = stage.open("other", room="0")
    asked[0].took()
    end = stage.now.unix + 10
    for _ in drained(stage, 10):
        assert not isinstance(other.do(Offer("asked0", "v=0")), SignalingError)
    assert stage.now.unix >= end
    heard = [[one for one in actor.heard() if isinstance(one, ServerNotice)] for actor in asked]
    assert [len(each) for each in heard] == [1] * 10
    for (notice,) in heard:
        assert (notice.notice, notice.deadline_unix_ms) == ("draining", round(end * 1000))
        assert 1 <= notice.reconnect_after_ms <= 1000
    assert other.heard() == []


@pytest.mark.thorough
def test_very_many_are_told_one_after_another_and_come_back_so():
    stage = Stage()
    count = 5 * RETURNS_PER_SECOND
    actors = [stage.open(f"p{number}", room=str(number), notices=True) for number in range(count)]
    told = []
    for _ in drained(stage, 2.5):
        heard = [one for actor in actors for one in actor.heard()]
        told.append(len(heard))
        assert len(heard) <= count * STEP_SECONDS / 2.5 + 1
        for notice in heard:
            assert 1 <= notice.reconnect_after_ms <= 5000
    heard = [one for actor in actors for one in actor.heard()]
    assert sum(told) + len(heard) == count
    assert min(told[:49]) > 0


@pytest.mark.thorough
def test_they_come_back_at_different_moments():
    stage = Stage()
    actors = [stage.open(f"p{number}", room=str(number), notices=True) for number in range(3000)]
    for _ in drained(stage, STEP_SECONDS):
        pass
    pauses = [notice.reconnect_after_ms for actor in actors for notice in actor.heard()]
    assert len(pauses) == 3000
    in_each_second = [sum(second * 1000 < pause <= (second + 1) * 1000 for pause in pauses) for second in range(3)]
    # A thousand is meant; 300 more than that come once in 10**20 runs.
    assert sum(in_each_second) == 3000
    assert max(in_each_second) < 1300


def test_who_asks_while_the_server_leaves_is_told_too_and_who_goes_is_not_waited_for():
    stage = Stage()
    late = stage.open()
    early = stage.open("early", notices=True)
    steps = drained(stage, 10)
    next(steps)
    assert [one.notice for one in early.heard()] == ["draining"]
    late.do(Announce("late", notices=True))
    next(steps)
    assert [one.notice for one in late.heard() if not isinstance(one, PeerJoined)] == ["draining"]
    early.close()
    next(steps)
    late.close()
    assert list(steps) == []


def test_the_end_says_when_to_come_back_to_those_who_asked():
    stage = Stage(flood_hold_seconds=2.5)
    asked, other = stage.open("asked", notices=True), stage.open("other")
    say = stage.hub.retry_after_ms
    assert say(asked.session, DisconnectReason.FLOODING) == 2500
    assert 1 <= say(asked.session, DisconnectReason.DRAINING) <= 1000
    for reason in DisconnectReason:
        assert say(other.session, reason) is None
        if reason not in (DisconnectReason.FLOODING, DisconnectReason.DRAINING):
            assert say(asked.session, reason) is None


def test_a_flood_that_nobody_is_held_off_for_has_no_pause():
    stage = Stage(flood_hold_seconds=0.0)
    assert stage.hub.retry_after_ms(stage.open("a", notices=True).session, DisconnectReason.FLOODING) is None


def test_very_many_who_are_not_told_before_come_back_one_after_another_too():
    stage = Stage()
    actors = [stage.open(f"p{number}", room=str(number), notices=True) for number in range(2 * RETURNS_PER_SECOND)]
    pauses = []
    for actor in actors:
        actor.session.on_end = lambda reason, session=actor.session: pauses.append(
            stage.hub.retry_after_ms(session, reason)
        )
    stage.hub.drain(stage.now)
    assert len(pauses) == 2000
    assert max(pauses) > 1000
