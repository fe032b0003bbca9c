"""Silent clients: whose session ends, when, and who only seems to be silent."""

import pytest

from sigbridge import Announce, DisconnectReason, ListPeers
from sigbridge.instant import NEVER
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge.settings import Settings
from sigbridge.settings.connections import CLIENT_KEEPALIVE_SECONDS

SECONDS = 80.0
LOOK = SECONDS / 4
ENDED = [DisconnectReason.KEEPALIVE_TIMEOUT]


@pytest.fixture
def stage(make_stage):
    return make_stage(silent_client_seconds=SECONDS, announce_timeout_seconds=1e6, send_deadline_seconds=1e6)


def pass_by(stage, seconds, act=lambda: None):
    """Let so much time pass, with a look in each second."""
    for _ in range(int(seconds)):
        stage.wait(1)
        act()
        stage.expire()


def test_who_has_sent_nothing_for_so_long_is_ended_at_most_a_quarter_later(stage):
    silent, speaking, newcomer = stage.open("silent"), stage.open("speaking"), stage.open()

    def speak():
        speaking.do(ListPeers())
        speaking.took()

    pass_by(stage, SECONDS - 1, speak)
    assert (silent.ends, newcomer.ends) == ([], [])
    pass_by(stage, LOOK + 1, speak)
    assert (silent.ends, newcomer.ends, speaking.ends) == (ENDED, ENDED, [])
    assert stage.ids() == ["speaking"]
    assert stage.hub.counters.disconnects["grpc", "keepalive_timeout"] == 2
    pass_by(stage, SECONDS + LOOK)
    assert speaking.ends == ENDED


def test_one_request_in_that_time_is_enough_whatever_becomes_of_it(stage):
    one, other = stage.open("one"), stage.open("other")
    for _ in range(20):
        pass_by(stage, SECONDS - 1)
        one.do(ListPeers())
        other.refused(Announce(""))
    assert one.ends == other.ends == []


def test_without_a_time_nobody_is_ended_and_nothing_is_looked_at(make_stage):
    stage = make_stage()
    silent = stage.open("silent")
    silent.session.last_heard = pytest.fail
    stage.wait(1e6)
    stage.expire()
    assert silent.ends == []
    assert stage.hub._endings._silence.due == NEVER


def test_what_a_carrier_has_heard_besides_requests_counts(stage):
    actor = stage.open("a")
    heard = [0.0]
    actor.session.last_heard = lambda: heard[0]

    def pong():
        heard[0] = stage.now.monotonic

    pass_by(stage, 5 * SECONDS, pong)
    assert actor.ends == []
    pass_by(stage, SECONDS - 1)
    assert actor.ends == []
    pass_by(stage, LOOK)
    assert actor.ends == ENDED
    assert actor.session.last_heard() == -NEVER, "a session that has ended would keep its carrier"


def test_the_silence_of_who_is_held_back_is_the_servers(stage):
    crowded, spent, awaiting, by_its_carrier = (stage.open(name) for name in "abcd")
    for _ in range(CROWDED_MESSAGES + 1):
        crowded.session.outbox.put_response(b"unread", stage.now.monotonic)
    assert crowded.session.outbox.crowded
    spent.session.share.use(10**9)
    awaiting.session.awaiting = True
    by_its_carrier.session.last_heard = lambda: NEVER
    pass_by(stage, 3 * SECONDS)
    assert crowded.ends == spent.ends == awaiting.ends == by_its_carrier.ends == []
    # From then on it is their own.
    crowded.session.outbox.clear()
    spent.session.share.begin_turn()
    awaiting.session.awaiting = False
    by_its_carrier.session.last_heard = lambda: -NEVER
    pass_by(stage, SECONDS - 1)
    assert crowded.ends == spent.ends == awaiting.ends == by_its_carrier.ends == []
    pass_by(stage, 2 * LOOK + 1)
    assert crowded.ends == spent.ends == awaiting.ends == by_its_carrier.ends == ENDED


def test_who_calls_the_hub_is_told_when_it_looks(stage):
    actor = stage.open("a")
    looks = [stage.now.monotonic]
    while not actor.ends:
        looks.append(stage.expire())
        stage.wait(looks[-1] - stage.now.monotonic)
    assert looks[:5] == [looks[0] + LOOK * number for number in range(5)]


def test_nothing_is_kept_of_those_that_have_ended(stage):
    for actor in [stage.open() for _ in range(10)]:
        stage.expire()
        actor.close()
    pass_by(stage, LOOK)
    assert stage.hub._endings._silence._heard == {}


# The setting.


def test_three_signs_of_life_of_our_clients_may_be_missing():
    assert Settings().shortest_silence_seconds == 3 * CLIENT_KEEPALIVE_SECONDS


def test_who_answers_pings_has_time_to_be_asked_and_to_answer():
    assert Settings(ping_interval_seconds=60, ping_timeout_seconds=30).shortest_silence_seconds == 90
