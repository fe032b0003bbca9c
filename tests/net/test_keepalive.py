"""Keepalive and patience, at the moments at which their answers change."""

import pytest

from sigbridge import DisconnectReason, Settings
from sigbridge_net.keepalive import SLOW_CONSUMER_SECONDS, Silence, closing_seconds, judge_silence, silence_due

SETTINGS = Settings(ping_interval_seconds=30, ping_timeout_seconds=10)


@pytest.mark.parametrize(
    ("heard_at", "pinged_at", "moment", "verdict"),
    [
        # Never pinged.
        (100.0, -1.0, 100.0, Silence.BEAR),
        (100.0, -1.0, 129.999, Silence.BEAR),
        (100.0, -1.0, 130.0, Silence.PING),
        (100.0, -1.0, 1000.0, Silence.PING),
        # Pinged, and nothing heard since.
        (100.0, 130.0, 130.0, Silence.BEAR),
        (100.0, 130.0, 139.999, Silence.BEAR),
        (100.0, 130.0, 140.0, Silence.END),
        (100.0, 130.0, 1000.0, Silence.END),
        # Heard since, or at that very moment.
        (130.0, 130.0, 140.0, Silence.BEAR),
        (135.0, 130.0, 140.0, Silence.BEAR),
        (135.0, 130.0, 164.999, Silence.BEAR),
        (135.0, 130.0, 165.0, Silence.PING),
        # However long it was silent before, a client that was never pinged is pinged first.
        (0.0, -1.0, 100_000.0, Silence.PING),
    ],
)
def test_silence_is_judged(heard_at: float, pinged_at: float, moment: float, verdict: Silence) -> None:
    assert judge_silence(SETTINGS, heard_at, pinged_at, moment) is verdict


@pytest.mark.parametrize(
    ("heard_at", "pinged_at", "due"),
    [(100.0, -1.0, 130.0), (100.0, 130.0, 140.0), (130.0, 130.0, 160.0), (135.0, 130.0, 165.0)],
)
def test_silence_is_judged_again_when_the_answer_changes(heard_at: float, pinged_at: float, due: float) -> None:
    assert silence_due(SETTINGS, heard_at, pinged_at) == due
    assert judge_silence(SETTINGS, heard_at, pinged_at, due - 0.001) is Silence.BEAR
    assert judge_silence(SETTINGS, heard_at, pinged_at, due) is not Silence.BEAR


def test_a_silent_client_s_life() -> None:
    heard_at, pinged_at, seen = 0.0, -1.0, []
    while not seen or seen[-1][1] is not Silence.END:
        moment = silence_due(SETTINGS, heard_at, pinged_at)
        seen.append((moment, judge_silence(SETTINGS, heard_at, pinged_at, moment)))
        pinged_at = moment
        if len(seen) == 1:
            heard_at = 31.0
    assert seen == [(30.0, Silence.PING), (61.0, Silence.PING), (71.0, Silence.END)]


@pytest.mark.parametrize(("setting", "slow"), [(5.0, 1.0), (1.0, 1.0), (0.25, 0.25)])
def test_a_slow_consumer_has_a_second_at_most(setting: float, slow: float) -> None:
    settings = Settings(close_timeout_seconds=setting)
    assert SLOW_CONSUMER_SECONDS == 1.0
    assert closing_seconds(settings, DisconnectReason.SLOW_CONSUMER) == slow
    for reason in (None, *(one for one in DisconnectReason if one is not DisconnectReason.SLOW_CONSUMER)):
        assert closing_seconds(settings, reason) == setting
