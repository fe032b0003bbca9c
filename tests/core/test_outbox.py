"""The outbox: order, bounds, ages."""

import pytest

from sigbridge.outbox import CROWDED_BYTES, CROWDED_MESSAGES, Outbox


@pytest.fixture
def outbox():
    return Outbox(max_messages=3, max_bytes=30)


def test_first_in_first_out(outbox):
    for frame in (b"a", b"b"):
        outbox.put_event(frame, 1.0)
    outbox.put_reply(b"c", 1.0)
    assert (len(outbox), outbox.queued_bytes) == (3, 3)
    assert outbox.peek() == b"a"
    assert [outbox.pop(), outbox.pop(), outbox.pop()] == [b"a", b"b", b"c"]
    assert (len(outbox), outbox.queued_bytes, outbox.peek()) == (0, 0, None)
    with pytest.raises(IndexError):
        outbox.pop()


@pytest.mark.parametrize(
    ("frames", "crowded"),
    [
        ([], False),
        ([b"x"] * (CROWDED_MESSAGES - 1), False),
        ([b"x"] * CROWDED_MESSAGES, True),
        ([b"x" * (CROWDED_BYTES - 1)], False),
        ([b"x" * CROWDED_BYTES], True),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_crowded(outbox, frames, crowded, held):
    for frame in frames:
        if held:
            outbox.follow_up(frame)
        else:
            outbox.put_event(frame, 1.0)
    assert outbox.crowded is crowded
    outbox.release(1.0)
    outbox.take(1)
    assert not outbox.crowded


def test_what_follows_a_reply_waits_for_it_and_events_behind_it(outbox):
    outbox.follow_up(b"roster")
    outbox.put_event(b"event", 1.0)
    assert (outbox.peek(), len(outbox), outbox.queued_bytes) == (None, 2, 11)
    outbox.put_reply(b"reply", 1.0)
    outbox.release(2.0)
    assert outbox.take(1000) == [b"reply", b"roster", b"event"]


def test_what_was_queued_before_a_reply_stays_before_it(outbox):
    outbox.put_event(b"before", 1.0)
    outbox.follow_up(b"roster")
    outbox.put_reply(b"reply", 1.0)
    outbox.release(1.0)
    assert outbox.take(1000) == [b"before", b"reply", b"roster"]


def test_the_bound_in_messages(outbox):
    for _ in range(3):
        assert outbox.fits(1)
        outbox.put_event(b"x", 1.0)
    assert not outbox.fits(1)
    for _ in range(3):
        assert outbox.fits_unrefusable(1)
        outbox.put_event(b"x", 1.0)
    assert not outbox.fits_unrefusable(1)
    outbox.pop()
    assert outbox.fits_unrefusable(1)
    assert not outbox.fits(1)


def test_the_bound_in_bytes():
    outbox = Outbox(max_messages=100, max_bytes=30)
    outbox.put_event(b"x" * 20, 1.0)
    assert outbox.fits(10)
    assert not outbox.fits(11)
    assert outbox.fits_unrefusable(40)
    assert not outbox.fits_unrefusable(41)


def test_an_empty_outbox_takes_any_one_message(outbox):
    assert outbox.fits(10**9)
    assert outbox.fits_unrefusable(10**9)
    outbox.follow_up(b"held")
    assert not outbox.fits(10**9)
    assert not outbox.fits_unrefusable(10**9)


def test_the_roster_counts_against_no_bound(outbox):
    for _ in range(50):
        outbox.follow_up(b"roster" * 10)
    assert outbox.fits(30)
    assert not outbox.fits(31)
    outbox.put_reply(b"reply", 1.0)
    outbox.release(1.0)
    assert len(outbox) == 51
    assert outbox.fits(1)
    # The accounts are even again when all has gone.
    outbox.take(10**9)
    assert (len(outbox), outbox.queued_bytes) == (0, 0)
    for _ in range(3):
        outbox.put_event(b"x", 1.0)
    assert not outbox.fits(1)


def test_the_age_is_that_of_the_oldest_entry(outbox):
    assert outbox.oldest_at() is None
    outbox.put_event(b"a", 1.0)
    outbox.put_event(b"b", 2.0)
    outbox.peek()
    assert outbox.oldest_at() == 1.0
    outbox.pop()
    assert outbox.oldest_at() == 2.0


def test_what_is_held_back_ages_from_its_release(outbox):
    outbox.follow_up(b"roster")
    assert outbox.oldest_at() is None
    outbox.release(5.0)
    assert outbox.oldest_at() == 5.0


def test_it_wakes_whenever_there_is_something_to_take(outbox):
    wakes = []
    outbox.wake = lambda: wakes.append(outbox.peek())
    outbox.put_event(b"a", 1.0)
    outbox.put_reply(b"b", 1.0)
    outbox.follow_up(b"c")
    outbox.put_event(b"d", 1.0)
    assert len(wakes) == 2, "what is held back wakes nobody"
    outbox.release(1.0)
    assert len(wakes) == 3
    outbox.release(1.0)
    assert len(wakes) == 3
    assert None not in wakes


def test_take_stops_at_about_so_many_bytes(outbox):
    for n in range(5):
        outbox.put_event(b"%d" % n * 10, 1.0)
    assert len(outbox.take(1)) == 1
    assert len(outbox.take(15)) == 2
    assert len(outbox.take(1000)) == 2
    assert outbox.take(1000) == []


def test_clear_forgets_everything(outbox):
    outbox.put_event(b"a", 1.0)
    outbox.follow_up(b"b")
    outbox.clear()
    assert (len(outbox), outbox.queued_bytes, outbox.oldest_at(), outbox.peek()) == (0, 0, None, None)
    assert outbox.fits(10**9)
