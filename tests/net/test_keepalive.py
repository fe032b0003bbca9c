"""Keepalive and patience, at the moments at which their answers change."""

import pytest

from sigbridge import DisconnectReason, Settings
from sigbridge_net.keepalive import (
    SHORT_CLOSING_SECONDS,
    KeepaliveStep,
    closing_seconds,
    first_pinged_at,
    judge_silence,
    silence_due,
)

SETTINGS = Settings(ping_interval_seconds=30, ping_timeout_seconds=10)
OFTEN = Settings(ping_interval_seconds=5, ping_timeout_seconds=20)


@pytest.mark.parametrize(
    ("heard_at", "sent_at", "pinged_at", "moment", "verdict"),
    [
        # Never pinged.
        (100.0, 100.0, -1.0, 100.0, KeepaliveStep.WAIT),
        (100.0, 100.0, -1.0, 129.999, KeepaliveStep.WAIT),
        (100.0, 100.0, -1.0, 130.0, KeepaliveStep.PING),
        (100.0, 100.0, -1.0, 1000.0, KeepaliveStep.PING),
        # Silent, whatever is sent to it.
        (100.0, 129.0, -1.0, 129.999, KeepaliveStep.WAIT),
        (100.0, 129.0, -1.0, 130.0, KeepaliveStep.PING),
        # It talks, and needs no answer.
        (129.0, 100.0, -1.0, 129.999, KeepaliveStep.WAIT),
        (129.0, 100.0, -1.0, 130.0, KeepaliveStep.PING),
        # Pinged, and nothing heard since.
        (100.0, 130.0, 130.0, 130.0, KeepaliveStep.WAIT),
        (100.0, 130.0, 130.0, 139.999, KeepaliveStep.WAIT),
        (100.0, 130.0, 130.0, 140.0, KeepaliveStep.END),
        (100.0, 130.0, 130.0, 1000.0, KeepaliveStep.END),
        # Heard since, or at that very moment.
        (130.0, 130.0, 130.0, 140.0, KeepaliveStep.WAIT),
        (135.0, 130.0, 130.0, 140.0, KeepaliveStep.WAIT),
        (135.0, 140.0, 130.0, 164.999, KeepaliveStep.WAIT),
        (135.0, 140.0, 130.0, 165.0, KeepaliveStep.PING),
        (135.0, 130.0, 130.0, 160.0, KeepaliveStep.PING),
        # However long it was silent before, a client that was never pinged is pinged first.
        (0.0, 0.0, -1.0, 100_000.0, KeepaliveStep.PING),
    ],
)
def test_silence_is_judged(
    heard_at: float, sent_at: float, pinged_at: float, moment: float, verdict: KeepaliveStep
) -> None:
    assert judge_silence(SETTINGS, heard_at, sent_at, pinged_at, moment) is verdict


@pytest.mark.parametrize("settings", [SETTINGS, OFTEN])
@pytest.mark.parametrize("heard_at", [100.0, 131.0])
@pytest.mark.parametrize("sent_at", [100.0, 130.0, 133.0])
@pytest.mark.parametrize("pinged_at", [-1.0, 100.0, 130.0, 131.0])
def test_silence_is_judged_again_when_the_answer_changes(
    settings: Settings, heard_at: float, sent_at: float, pinged_at: float
) -> None:
    due = silence_due(settings, heard_at, sent_at, pinged_at)
    assert judge_silence(settings, heard_at, sent_at, pinged_at, due - 0.001) is KeepaliveStep.WAIT
    assert judge_silence(settings, heard_at, sent_at, pinged_at, due) is not KeepaliveStep.WAIT


class Life:
    """A connection, looked at whenever something is due; the clients says something at some moments."""

    def __init__(self, settings: Settings, *, until: float, says_at: tuple[float, ...] = ()) -> None:
        heard_at, sent_at, pinged_at = 0.0, 0.0, -1.0
        to_say = list(says_at)
        self.steps: list[tuple[float, KeepaliveStep]] = []
        while True:
            moment = silence_due(settings, heard_at, sent_at, pinged_at)
            if to_say and to_say[0] <= min(moment, until):
                heard_at = to_say.pop(0)
                continue
            if moment > until:
                break
            verdict = judge_silence(settings, heard_at, sent_at, pinged_at, moment)
            self.steps.append((moment, verdict))
            if verdict is KeepaliveStep.END:
                break
            pinged_at, sent_at = first_pinged_at(heard_at, pinged_at, moment), moment


def test_a_silent_client_s_life() -> None:
    life = Life(SETTINGS, until=1000, says_at=(31.0,))
    assert life.steps == [(30.0, KeepaliveStep.PING), (60.0, KeepaliveStep.PING), (70.0, KeepaliveStep.END)]


def test_an_interval_shorter_than_the_timeout_is_kept() -> None:
    life = Life(OFTEN, until=1000)
    pings = [(moment, KeepaliveStep.PING) for moment in (5.0, 10.0, 15.0, 20.0)]
    # The second ping and those behind it buy the client no time.
    assert life.steps == [*pings, (25.0, KeepaliveStep.END)]


def test_who_talks_and_is_told_nothing_is_pinged() -> None:
    life = Life(SETTINGS, until=100, says_at=tuple(float(second) for second in range(1, 100)))
    assert life.steps == [(moment, KeepaliveStep.PING) for moment in (30.0, 60.0, 90.0)]


def test_who_stops_talking_is_gone_a_timeout_after_the_ping_that_follows() -> None:
    life = Life(SETTINGS, until=1000, says_at=tuple(float(second) for second in range(1, 41)))
    assert life.steps == [(30.0, KeepaliveStep.PING), (60.0, KeepaliveStep.PING), (70.0, KeepaliveStep.END)]


@pytest.mark.parametrize(("setting", "short"), [(5.0, 1.0), (1.0, 1.0), (0.25, 0.25)])
def test_who_does_not_read_or_does_not_stop_has_a_second_at_most(setting: float, short: float) -> None:
    settings = Settings(close_timeout_seconds=setting)
    hasty = {DisconnectReason.SLOW_CONSUMER, DisconnectReason.FLOODING}
    assert SHORT_CLOSING_SECONDS == 1.0
    assert {closing_seconds(settings, reason) for reason in hasty} == {short}
    for reason in (None, *(set(DisconnectReason) - hasty)):
        assert closing_seconds(settings, reason) == setting
