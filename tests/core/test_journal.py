"""The numbers and events of one peer: no gaps, bounds while a session stands and while it is held."""

import pytest

from sigbridge import IceCandidateReceived
from sigbridge.journal import Bounds, Journal, kept_event, text_bytes_of

SIZE = text_bytes_of(IceCandidateReceived("a", "0")) + 64


def event(number):
    return IceCandidateReceived("a", str(number))


def kept(number, at=0.0):
    return kept_event(event(number), text_bytes_of(event(number)), at)


def journal_of(count, *, at=0.0, messages=100, size=10**6, since=-1.0):
    journal = Journal(Bounds(messages, size), since)
    for number in range(1, count + 1):
        assert journal.keep(kept(number % 10, at)) == number
    return journal


def test_numbers_begin_at_one_and_have_no_gap():
    journal = journal_of(3)
    assert (journal.last, journal.bytes, len(journal)) == (3, 3 * SIZE, 3)
    assert journal.after(0) == [event(1), event(2), event(3)]
    assert journal.after(2) == [event(3)]
    assert journal.after(3) == []


@pytest.mark.parametrize("seq", [4, 10, 2**64 - 1])
def test_there_is_nothing_after_a_number_that_never_was(seq):
    assert journal_of(3).after(seq) is None


def test_what_has_reached_nobody_has_no_number():
    journal = journal_of(2)
    journal.remove_last()
    assert (journal.last, journal.after(1), journal.bytes) == (1, [], SIZE)
    assert journal.keep(kept(2)) == 2


def test_the_oldest_goes_over_the_bounds_but_nothing_unsent():
    journal = journal_of(5, messages=3)
    journal.trim(-1.0, 4)
    assert (len(journal), journal.after(0), journal.after(1)) == (4, None, [event(n) for n in (2, 3, 4, 5)])
    journal.trim(-1.0, 0)
    assert (len(journal), journal.bytes) == (3, 3 * SIZE)
    by_bytes = journal_of(5, size=2 * SIZE)
    by_bytes.trim(-1.0, 0)
    assert by_bytes.after(3) == [event(4), event(5)]


def test_what_is_too_old_goes_but_nothing_unsent():
    journal = journal_of(3, at=1.0)
    journal.keep(kept(4, 2.0))
    journal.trim(1.5, 4)
    assert len(journal) == 4
    journal.trim(1.5, 0)
    assert journal.after(3) == [event(4)]
    journal.trim(5.0, 0)
    assert (len(journal), journal.bytes, journal.last, journal.after(4)) == (0, 0, 4, [])
    assert journal.after(3) is None


def test_what_a_session_was_told_is_as_young_as_the_session():
    journal = journal_of(2, at=0.0, since=10.0)
    journal.trim(10.0, 0)
    assert len(journal) == 2
    journal.trim(10.1, 0)
    assert len(journal) == 0


def test_a_held_peers_bounds_are_for_what_has_come_since():
    journal = journal_of(3, messages=2)
    journal.begin_hold(0)
    for number in (4, 5):
        assert journal.fits(kept(number))
        journal.keep_held(kept(number))
    assert not journal.fits(kept(6))
    assert journal.after(0) == [event(number) for number in range(1, 6)]


def test_one_event_always_fits():
    journal = journal_of(0, size=1)
    journal.begin_hold(0)
    assert journal.fits(kept(1))
    journal.keep_held(kept(1))
    assert not journal.fits(kept(2))


def test_who_resumes_and_reads_has_all_the_room_again():
    journal = journal_of(0, messages=2)
    for _ in range(5):
        journal.begin_hold(0)
        for number in (1, 2):
            assert journal.fits(kept(number))
            journal.keep_held(kept(number))
        journal.end_hold(journal.last - 2, 1.0)


def test_who_resumes_and_does_not_read_keeps_no_more_than_anybody():
    """Events that were repeated and are unsent when the next session is lost go on counting."""
    journal = journal_of(0, messages=2)
    for _ in range(5):
        journal.begin_hold(len(journal))
        if journal.fits(kept(1)):
            journal.keep_held(kept(1))
        journal.end_hold(0, 1.0)
    assert len(journal) == 2
    # One of the two was seen, and one more fits.
    journal.end_hold(1, 1.0)
    journal.begin_hold(1)
    assert journal.fits(kept(1))
    journal.keep_held(kept(1))
    assert not journal.fits(kept(1))


def test_an_entry_may_be_in_any_number_of_journals():
    one, other, shared = journal_of(1), journal_of(0), kept(2)
    assert (one.keep(shared), other.keep(shared)) == (2, 1)
    one.trim(1.0, 0)
    assert (len(one), other.after(0)) == (0, [event(2)])
