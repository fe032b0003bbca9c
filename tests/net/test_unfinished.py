"""Messages that are not whole: their time, their bound, who stops, who goes on, and who goes."""

from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from sigbridge import DisconnectReason, Settings
from sigbridge_net.unfinished import COMING, GONE, HELD, STEP_BYTES, STOPPED, TotalUnfinished, Unfinished

SECONDS = 30.0


class Place:
    """A bound and a clock, and the messages that were told to end, by name."""

    def __init__(self, most: int = 10 * STEP_BYTES) -> None:
        self.clock = Clock()
        self.total = TotalUnfinished(Settings(max_unfinished_bytes=most))
        self.ended: list[tuple[str, DisconnectReason]] = []
        self.looks: list[str] = []

    def message(self, name: str, steps: int = 0) -> Unfinished:
        message = Unfinished(
            self.total,
            lambda: self.looks.append(name),
            lambda reason, _: self.ended.append((name, reason)),
            self.clock.now,
        )
        if steps:
            self.grow(message, steps)
        return message

    def grow(self, message: Unfinished, steps: int) -> None:
        message.grow(steps * STEP_BYTES, 0, self.clock.now)


def test_a_message_has_its_time_and_more_for_its_size() -> None:
    place = Place()
    message = place.message("a")
    began = place.clock.now.monotonic
    assert message.due == began + SECONDS
    message.grow(8000, 0, place.clock.now)
    assert message.due == began + SECONDS + 1
    message.grow(8000, 80_000, place.clock.now)
    assert message.due == began + SECONDS + 10
    place.clock.advance(SECONDS + 9.9)
    assert not message.expire(place.clock.now)
    place.clock.advance(0.2)
    assert message.expire(place.clock.now)


def test_time_in_which_it_is_held_back_does_not_count() -> None:
    place = Place()
    message = place.message("a")
    place.clock.advance(20)
    message.hold(place.clock.now.monotonic)
    message.hold(place.clock.now.monotonic + 1)
    place.clock.advance(1000)
    assert not message.expire(place.clock.now)
    assert message.due == float("inf")
    message.go_on(place.clock.now.monotonic)
    message.go_on(place.clock.now.monotonic)
    assert message.due == place.clock.now.monotonic + 10


def test_above_the_bound_the_largest_stops_and_goes_on_when_there_is_room() -> None:
    place = Place()
    large, small = place.message("large", 6), place.message("small", 4)
    assert (large.state, small.state) == (COMING, COMING)
    place.grow(small, 5)
    assert (large.state, small.state) == (STOPPED, COMING)
    assert place.looks == ["large"]
    place.clock.advance(5)
    place.grow(small, 5)
    assert place.looks == ["large"]
    small.leave(place.clock.now)
    assert large.state == COMING
    assert place.looks == ["large", "large"]
    # It has all the time that it had.
    assert large.due == place.clock.now.monotonic + SECONDS + 6 * STEP_BYTES / 8000
    large.leave(place.clock.now)
    large.leave(place.clock.now)
    assert (large.state, place.total.kept) == (GONE, 0)


def test_one_that_is_alone_never_stops() -> None:
    place = Place()
    message = place.message("a", 50)
    assert message.state == COMING
    other = place.message("b", 1)
    assert message.state == STOPPED
    other.leave(place.clock.now)
    assert message.state == COMING


def test_small_ones_go_on_while_the_reserve_lasts() -> None:
    place = Place(most=100 * STEP_BYTES)
    large = place.message("large", 100)
    small = place.message("small", 1)
    assert large.state == STOPPED
    place.grow(small, 4)
    assert small.state == COMING
    place.grow(small, 5)
    assert small.state == STOPPED
    others = [place.message(str(number), 4) for number in range(5)]
    # 125 of 100 are kept.
    assert [other.state for other in others] == [COMING] * 5
    last = place.message("last", 4)
    assert [other.state for other in (*others, last)].count(STOPPED) == 1


def test_without_room_the_largest_go_as_overload_until_there_is_some() -> None:
    place = Place(most=10 * STEP_BYTES)
    # Each is stopped by what comes next, the largest first.
    messages = [place.message(name, steps) for name, steps in (("a", 9), ("b", 4), ("c", 3), ("d", 2), ("e", 1))]
    assert [message.state for message in messages] == [STOPPED, STOPPED, STOPPED, STOPPED, COMING]
    place.clock.advance(SECONDS - 0.1)
    assert not any(message.expire(place.clock.now) for message in messages[:4])
    assert place.ended == []
    place.clock.advance(0.1)
    # Whoever's turn it is, the largest goes.
    assert not messages[2].expire(place.clock.now)
    assert place.ended == [("a", DisconnectReason.OVERLOAD)]
    # There is room for all of the others now, for one step at least.
    assert place.total.kept == 10 * STEP_BYTES
    assert messages[3].state == COMING
    assert messages[2].state == COMING


def test_as_many_go_on_as_there_is_room_for_the_smallest_first() -> None:
    place = Place()
    messages = [place.message(str(steps), steps) for steps in (6, 5, 4, 3)]
    assert [message.state for message in messages] == [STOPPED, STOPPED, STOPPED, COMING]
    place.looks.clear()
    messages[0].leave(place.clock.now)
    # There are still 12 of 10.
    assert place.looks == []
    messages[3].leave(place.clock.now)
    assert place.looks == ["4", "5"]


def test_one_that_was_held_back_and_stops_is_looked_at_anew_when_it_resumes() -> None:
    place = Place()
    message = place.message("a", 9)
    message.hold(place.clock.now.monotonic)
    other = place.message("b", 2)
    assert message.state == STOPPED
    message.hold(place.clock.now.monotonic)
    message.go_on(place.clock.now.monotonic)
    assert message.state == STOPPED
    other.leave(place.clock.now)
    assert message.state == COMING
    message.hold(place.clock.now.monotonic)
    assert message.state == HELD


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(("grow", "leave", "expire", "hold", "go_on")), st.integers(0, 9)),
        max_size=60,
    )
)
def test_the_sums_are_right_and_nobody_waits_where_there_is_room(steps: list[tuple[int, str, int]]) -> None:
    place = Place()
    messages: dict[int, Unfinished] = {}
    for who, verb, size in steps:
        message = messages.get(who)
        if message is None or message.state == GONE:
            message = messages[who] = place.message(str(who))
        match verb:
            case "grow":
                message.grow(message.kept + size * 5000, 0, place.clock.now)
            case "leave":
                message.leave(place.clock.now)
            case "expire":
                place.clock.advance(size * 10)
                for one in messages.values():
                    if one.state != GONE and one.expire(place.clock.now):
                        one.leave(place.clock.now)
            case "hold":
                message.hold(place.clock.now.monotonic)
            case _:
                message.go_on(place.clock.now.monotonic)
        here = [one for one in messages.values() if one.state != GONE]
        assert place.total.kept == sum(one.kept for one in here)
        if len(here) == 1:
            assert here[0].state != STOPPED
        if place.total.is_over and verb == "grow" and size:
            assert any(one.state == STOPPED for one in here)
    # Nobody is left behind: at its deadline whoever has stopped goes, or goes on.
    place.clock.advance(SECONDS)
    for one in messages.values():
        if one.state == STOPPED:
            one.expire(place.clock.now)
            assert one.state != STOPPED
