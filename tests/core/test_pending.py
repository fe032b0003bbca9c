"""An outcome that comes later, once."""

import weakref

import pytest

from sigbridge import Instant, errors
from sigbridge.pending import Pending

NOW, LATER = Instant(1.0, 2.0), Instant(3.0, 4.0)


@pytest.mark.parametrize("outcome", [None, "value", errors.peer_not_found("x")])
def test_who_waits_is_told_when_it_is_known(outcome):
    told = []
    pending = Pending()
    pending.then(lambda *word: told.append(word))
    assert told == []
    pending.resolve(outcome, NOW)
    assert told == [(outcome, NOW)]


def test_who_comes_late_is_told_at_once():
    told = []
    pending = Pending()
    pending.resolve("value", NOW)
    pending.then(lambda *word: told.append(word))
    assert told == [("value", NOW)]


def test_a_second_outcome_is_ignored():
    told = []
    pending = Pending()
    pending.then(lambda *word: told.append(word))
    pending.resolve(None, NOW)
    pending.resolve("value", LATER)
    assert told == [(None, NOW)]


def test_one_callback_only():
    pending = Pending()
    pending.then(lambda *word: None)
    with pytest.raises(RuntimeError):
        pending.then(lambda *word: None)


def test_who_has_gone_is_not_told_and_nothing_of_them_is_kept():
    class Gone:
        def hear(self, *_):
            raise AssertionError

    gone = Gone()
    kept = weakref.ref(gone)
    pending = Pending()
    pending.then(gone.hear)
    pending.abandon()
    del gone
    assert kept() is None
    pending.resolve("value", NOW)
    assert pending.resolved


@pytest.mark.parametrize("early", [True, False])
def test_what_is_made_of_an_outcome_follows_it(early):
    told = []
    pending = Pending()
    if early:
        pending.resolve("value", NOW)
    made = pending.followed_by(lambda outcome, now: (outcome, now))
    made.then(lambda *word: told.append(word))
    if not early:
        assert not made.resolved
        pending.resolve("value", NOW)
    assert told == [(("value", NOW), NOW)]
