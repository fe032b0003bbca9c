"""The outbox: order, bounds, ages."""

import pytest

from sigbridge.outbox import CROWDED_BYTES, CROWDED_MESSAGES, NOTICE, RELAY, Outbox


@pytest.fixture
def outbox():
    return Outbox(max_messages=3, max_bytes=30)


def test_first_in_first_out(outbox):
    for frame in (b"a", b"b"):
        assert outbox.put_event(frame, 1.0, RELAY)
    assert outbox.put_response(b"c", 1.0)
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
def test_crowded(frames, crowded, held):
    outbox = Outbox(max_messages=1000, max_bytes=1_000_000)
    for frame in frames:
        if held:
            outbox.follow_up(frame)
        else:
            assert outbox.put_event(frame, 1.0, RELAY)
    assert outbox.crowded is crowded
    assert outbox.put_response(None, 1.0)
    outbox.take(1)
    assert not outbox.crowded


def test_what_follows_a_reply_waits_for_it_and_events_behind_it(outbox):
    outbox.follow_up(b"roster")
    assert outbox.put_event(b"event", 1.0, RELAY)
    assert (outbox.peek(), len(outbox), outbox.queued_bytes) == (None, 2, 11)
    assert outbox.put_response(b"reply", 2.0)
    assert outbox.take(1000) == [b"reply", b"roster", b"event"]


def test_what_was_queued_before_a_reply_stays_before_it(outbox):
    assert outbox.put_event(b"before", 1.0, RELAY)
    outbox.follow_up(b"roster")
    assert outbox.put_response(b"reply", 1.0)
    assert outbox.take(1000) == [b"before", b"reply", b"roster"]


def test_the_bound_in_messages(outbox):
    for _ in range(3):
        assert outbox.put_event(b"r", 1.0, RELAY)
    assert not outbox.put_event(b"r", 1.0, RELAY)
    for _ in range(2):
        assert outbox.put_event(b"n", 1.0, NOTICE)
    assert outbox.put_response(b"p", 1.0)
    assert not outbox.put_event(b"n", 1.0, NOTICE)
    assert not outbox.put_response(b"p", 1.0)
    assert outbox.pop() == b"r"
    assert not outbox.put_event(b"r", 1.0, RELAY)
    assert outbox.put_event(b"n", 1.0, NOTICE)
    assert not outbox.put_response(b"p", 1.0)
    assert outbox.take(1000) == [b"r", b"r", b"n", b"n", b"p", b"n"], "what did not fit has changed nothing"
    assert (len(outbox), outbox.queued_bytes) == (0, 0)


def test_the_bound_in_bytes():
    outbox = Outbox(max_messages=100, max_bytes=30)
    assert outbox.put_event(b"x" * 20, 1.0, RELAY)
    assert not outbox.put_event(b"x" * 11, 1.0, RELAY)
    assert outbox.put_event(b"x" * 10, 1.0, RELAY)
    assert outbox.queued_bytes == 30
    assert not outbox.put_event(b"x" * 31, 1.0, NOTICE)
    assert not outbox.put_response(b"x" * 31, 1.0)
    assert (len(outbox), outbox.queued_bytes) == (2, 30)
    assert outbox.put_event(b"x" * 29, 1.0, NOTICE)
    assert outbox.put_response(b"x", 1.0)
    assert not outbox.put_response(b"x", 1.0)
    assert not outbox.put_event(b"x", 1.0, NOTICE)


@pytest.mark.parametrize("leave", [1, 1000, 2**40])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_the_array_of_a_batch_counts_against_no_bound(leave, one_by_one):
    outbox = Outbox(max_messages=2, max_bytes=30)
    assert outbox.put_event(b"e" * 20, 1.0, RELAY)
    outbox.hold()
    assert outbox.put_event(b"h", 1.0, NOTICE)
    assert outbox.put_array(b"a" * 1000, 2.0)
    assert (len(outbox), outbox.queued_bytes) == (3, 1021)
    assert not outbox.put_event(b"r" * 10, 1.0, RELAY)
    assert outbox.put_event(b"n" * 39, 1.0, NOTICE), "what comes behind it has its own bounds"
    assert not outbox.put_response(b"p", 1.0)
    taken = []
    while len(outbox):
        taken += [outbox.pop()] if one_by_one else outbox.take(leave)
        if b"a" * 1000 in taken and len(outbox):
            assert not outbox.put_event(b"x" * 60, 1.0, NOTICE), "it is gone, and so is what it was worth"
    assert taken == [b"e" * 20, b"a" * 1000, b"h", b"n" * 39]


def test_small_arrays_do_not_stand_in_the_way_of_a_large_one():
    outbox = Outbox(max_messages=1, max_bytes=30)
    for _ in range(5):
        assert outbox.put_array(b"a" * 100, 1.0)
    assert outbox.put_array(b"b" * 1_000_000, 1.0)
    assert not outbox.put_array(b"c" * 100, 1.0), "who does not read has not been listened to since"
    assert [len(frame) for frame in outbox.take(2**40)] == [*[100] * 5, 1_000_000]
    assert outbox.put_array(b"c" * 1_000_000, 1.0)
    outbox.clear()
    assert outbox.put_array(b"c" * 1_000_000, 1.0)


@pytest.mark.parametrize("bounds", [RELAY, NOTICE, None])
def test_an_empty_outbox_takes_any_one_message(bounds):
    def put(outbox, frame):
        return outbox.put_response(frame, 1.0) if bounds is None else outbox.put_event(frame, 1.0, bounds)

    outbox = Outbox(max_messages=3, max_bytes=30)
    assert put(outbox, b"x" * 1000)
    assert not put(outbox, b"x")
    outbox.pop()
    outbox.follow_up(b"held")
    assert not put(outbox, b"x" * 1000), "what is held back waits, too"
    assert (len(outbox), outbox.queued_bytes) == (1, 4)
    assert put(outbox, b"x")


def test_a_response_that_does_not_fit_lets_go_of_nothing(outbox):
    outbox.follow_up(b"roster")
    for _ in range(6):
        assert outbox.put_event(b"n", 1.0, NOTICE)
    assert not outbox.put_response(b"p", 1.0)
    assert (outbox.peek(), len(outbox), outbox.queued_bytes, outbox.oldest_at()) == (None, 7, 12, None)
    assert outbox.put_response(None, 1.0)
    assert outbox.take(1000) == [b"roster", *[b"n"] * 6]


def test_where_no_response_is_due_nothing_is_put(outbox):
    assert outbox.put_response(None, 1.0)
    assert (len(outbox), outbox.queued_bytes, outbox.oldest_at(), outbox.peek()) == (0, 0, None, None)
    for _ in range(6):
        assert outbox.put_event(b"n", 1.0, NOTICE)
    assert outbox.put_response(None, 1.0), "nothing always fits"
    assert len(outbox) == 6


def test_the_roster_counts_against_no_bound(outbox):
    for _ in range(50):
        outbox.follow_up(b"roster" * 10)
    assert not outbox.put_event(b"x" * 31, 1.0, RELAY)
    assert outbox.put_response(b"reply", 1.0)
    assert len(outbox) == 51
    assert not outbox.put_event(b"x" * 26, 1.0, RELAY)
    assert outbox.put_event(b"x" * 25, 1.0, RELAY)
    # The accounts are even again when all has gone.
    outbox.take(10**9)
    assert (len(outbox), outbox.queued_bytes) == (0, 0)
    for _ in range(3):
        assert outbox.put_event(b"x", 1.0, RELAY)
    assert not outbox.put_event(b"x", 1.0, RELAY)


def test_the_age_is_that_of_the_oldest_entry(outbox):
    assert outbox.oldest_at() is None
    outbox.put_event(b"a", 1.0, RELAY)
    outbox.put_event(b"b", 2.0, RELAY)
    outbox.peek()
    assert outbox.oldest_at() == 1.0
    outbox.pop()
    assert outbox.oldest_at() == 2.0


def test_what_is_held_back_ages_from_its_release(outbox):
    outbox.follow_up(b"roster")
    assert outbox.oldest_at() is None
    outbox.put_response(None, 5.0)
    assert outbox.oldest_at() == 5.0


def test_it_wakes_whenever_there_is_something_to_take(outbox):
    wakes = []
    outbox.wake = lambda: wakes.append(outbox.peek())
    outbox.put_event(b"a", 1.0, RELAY)
    outbox.put_response(b"b", 1.0)
    outbox.follow_up(b"c")
    outbox.put_event(b"d", 1.0, NOTICE)
    assert len(wakes) == 2, "what is held back wakes nobody"
    outbox.put_response(None, 1.0)
    assert len(wakes) == 3
    outbox.put_response(None, 1.0)
    assert len(wakes) == 3
    outbox.follow_up(b"e")
    outbox.put_response(b"f", 1.0)
    assert len(wakes) == 4, "once for a response and what follows it"
    assert None not in wakes


def test_take_stops_at_about_so_many_bytes(outbox):
    for n in range(5):
        assert outbox.put_event(b"%d" % n * 10, 1.0, NOTICE)
    assert len(outbox.take(1)) == 1
    assert len(outbox.take(15)) == 2
    assert len(outbox.take(1000)) == 2
    assert outbox.take(1000) == []


def test_clear_forgets_everything(outbox):
    outbox.put_event(b"a", 1.0, RELAY)
    outbox.follow_up(b"b")
    outbox.clear()
    assert (len(outbox), outbox.queued_bytes, outbox.oldest_at(), outbox.peek()) == (0, 0, None, None)
    assert outbox.put_event(b"x" * 1000, 1.0, RELAY)
    assert outbox.take(1) == [b"x" * 1000], "nor is anything held back"


def test_the_roster_alone_counts_against_no_bound_whatever_stood_before_it():
    outbox = Outbox(max_messages=3, max_bytes=30)
    for _ in range(5):
        assert outbox.put_response(b"x", 1.0)
    for _ in range(50):
        outbox.follow_up(b"roster")
    assert outbox.put_response(b"y", 1.0)
    for _ in range(6):
        outbox.pop()
    assert len(outbox) == 50
    assert [outbox.put_event(b"relay", 1.0, RELAY) for _ in range(4)] == [True, True, True, False]
    assert len(outbox.take(60)) == 10
    assert not outbox.put_event(b"relay", 1.0, RELAY)


def test_what_is_held_leaves_behind_the_response():
    outbox = Outbox(max_messages=3, max_bytes=30)
    outbox.hold()
    assert outbox.put_event(b"event", 1.0, RELAY)
    assert outbox.take(1000) == []
    assert outbox.put_response(b"response", 2.0)
    assert outbox.take(1000) == [b"response", b"event"]
    outbox.hold()
    assert outbox.put_response(b"x" * 1000, 2.0), "an empty outbox takes any one message"
    assert outbox.take(10) == [b"x" * 1000]
