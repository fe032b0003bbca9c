"""HTTP clients that ask and do not read, and bodies that are not whole."""

import pytest

from clock import Clock
from http_lines import TIMEOUT, BodyLine, HttpLine, get
from sigbridge import Settings
from sigbridge_net.pages import Page
from sigbridge_net.unfinished import TotalUnfinished, Unfinished

# Clients that ask and do not read.


def test_a_large_response_leaves_in_pieces_and_what_comes_behind_it_waits():
    made = []
    line = HttpLine({"/large": lambda: made.append(1) or Page(200, b"x" * 150_000)})
    line.push(get("/large") * 10)
    # A carrier takes no more than it asks for, and while it may not write it asks for nothing.
    for number in range(3):
        assert len(made) == 1
        assert not line.wire.reading()
        (piece,) = line.wire.take_output(60_000, line.clock.now)
        assert len(piece) <= 60_000, number
        line.output += piece
    woken = line.woken
    assert line.wire.take_output(60_000, line.clock.now) == []
    # The next one is answered in the next turn, for which the wire asks.
    assert (len(made), line.woken, line.wire.reading()) == (1, woken + 1, False)
    assert line.wire.take_output(60_000, line.clock.now) != []
    assert len(made) == 2


def test_pipelined_requests_are_answered_one_in_a_turn():
    made = []
    line = HttpLine({"/page": lambda: made.append(1) or Page(200, b"page\n")})
    line.push(get("/page") * 50)
    for turn in range(1, 51):
        while output := line.wire.take_output(65536, line.clock.now):
            line.output += b"".join(output)
        assert len(made) == turn
    assert [body for _, _, body in line.responses(*["GET"] * 50)] == [b"page\n"] * 50
    assert line.wire.reading()
    assert not line.pull()


def test_a_client_that_takes_nothing_of_its_response_is_dropped_and_one_that_does_is_not():
    line = HttpLine({"/large": lambda: Page(200, b"x" * 150_000)})
    line.push(get("/large"))
    for _ in range(3):
        assert line.wire.take_output(60_000, line.clock.now)
        line.clock.advance(TIMEOUT - 1)
        assert not line.sweep()
    line.clock.advance(1)
    assert line.sweep()


def test_the_last_request_of_a_client_that_sends_no_more_is_answered():
    line = HttpLine()
    line.push(get("/metrics") * 3)
    line.end_input()
    assert [body for _, _, body in line.responses(*["GET"] * 3)] == [b"up 1\n"] * 3
    assert line.wire.finished


# Bodies that are not whole.


@pytest.fixture
def bodies():
    """The unfinished bodies of a server, and a function that begins a connection."""
    total, clock = TotalUnfinished(Settings(max_unfinished_bytes=500_000)), Clock()
    return total, clock, lambda: BodyLine(total, clock)


def test_what_is_kept_of_a_body_counts(bodies):
    total, clock, connect = bodies
    whole = connect().send(1000, whole=1000)
    assert [response[2] for response in whole.responses("POST")] == [b"1000"]
    lines = [connect().send(1000) for _ in range(4)]
    assert total.kept == 4000
    lines[0].wire.connection_lost(clock.now)
    lines[1].end_input()
    lines[2].feed(b"x" * 399_000)
    assert [response[2] for response in lines[2].responses("POST")] == [b"400000"]
    assert total.kept == 1000
    clock.advance(TIMEOUT)
    assert lines[3].sweep()
    lines[3].wire.connection_lost(clock.now)
    assert total.kept == 0


def test_above_the_bound_nothing_more_is_read_of_the_largest_body(bodies):
    total, clock, connect = bodies
    large = connect().send(300_000)
    other = connect().send(250_000)
    large.pump()
    assert (large.wire.reading(), other.wire.reading()) == (False, True)
    clock.advance(9)
    assert not large.sweep()
    other.feed(b"x" * 150_000)
    assert [response[2] for response in other.responses("POST")] == [b"400000"]
    large.pump()
    assert large.wire.reading()
    # Its time begins anew.
    clock.advance(9)
    assert not large.sweep()
    large.feed(b"x" * 100_000)
    assert [response[2] for response in large.responses("POST")] == [b"400000"]
    assert total.kept == 0


def test_what_goes_on_at_the_end_of_another_ones_bytes_has_lost_no_time(bodies):
    total, clock, connect = bodies
    body = connect().send(300_000)
    clock.advance(10)
    message = Unfinished(total, lambda: None, lambda reason, now: None, clock.now)
    whole_time = message.due - clock.now.monotonic
    message.grow(0, 350_000, clock.now)
    more_for_its_size = message.due - clock.now.monotonic - whole_time
    message.grow(350_000, 350_000, clock.now)
    assert message.is_stopped
    clock.advance(5)
    body.end_input()
    assert not message.is_stopped
    assert message.due == clock.now.monotonic + whole_time + more_for_its_size


def test_without_room_the_largest_body_is_refused(bodies):
    total, clock, connect = bodies
    large = connect().send(350_000)
    other = connect().send(300_000)
    large.pump()
    clock.advance(29)
    assert not large.sweep()
    clock.advance(1)
    assert not large.sweep()
    large.pump()
    assert [(response[0], response[2]) for response in large.responses("POST")] == [(503, b"try again later\n")]
    assert large.wire.finished
    assert total.kept == 300_000
    assert other.wire.reading()
