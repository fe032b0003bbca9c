"""The backlog alone: bounds of a connection and of all, who goes on when something has left, and in which order."""

from sigbridge import Settings
from sigbridge_grpc.backlog import APART, QUEUED, WOKEN, Backlog, TotalBacklog


class Connection:
    """A connection whose calls are texts; `woken` counts how often it may have gone on."""

    def __init__(self, total: TotalBacklog) -> None:
        self.woken = 0
        self.backlog: Backlog[str] = Backlog(total, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def asks(self, *calls: str, size: int = 10) -> list[str]:
        """Returns those of the calls that may respond, which they do."""
        return [call for call in calls if self.backlog.may_respond(call) and self.holds(size)]

    def holds(self, size: int) -> bool:
        self.backlog.hold(size)
        return True

    def goes_on(self, size: int = 10) -> list[str]:
        """Lets those respond that wait, as far as they may."""
        gone = []
        while (call := self.backlog.next_waiting()) is not None:
            self.holds(size)
            gone.append(call)
        self.backlog.end_turn()
        return gone

    @property
    def state(self) -> int:
        return self.backlog._place.state


def connections(count: int, *, each: int = 25, total: int = 1000) -> tuple[TotalBacklog, list[Connection]]:
    shared = TotalBacklog(Settings(max_unary_bytes=each, max_unary_total_bytes=total))
    return shared, [Connection(shared) for _ in range(count)]


def test_above_the_bound_calls_wait_in_their_order_until_something_leaves() -> None:
    total, (one,) = connections(1)
    assert one.asks("a", "b", "c", "d", "e") == ["a", "b", "c"]
    assert (list(one.backlog.waiting), one.backlog.held, one.state) == (["d", "e"], 30, APART)
    assert one.goes_on() == []
    one.backlog.give_back(10)
    # Who comes now must not go before those who wait.
    assert one.asks("f") == []
    assert one.goes_on() == ["d"]
    one.backlog.give_back(30)
    assert one.goes_on() == ["e", "f"]
    assert (one.backlog.held, total.held) == (20, 20)


def test_the_first_response_always_goes_however_large() -> None:
    _, (one, other) = connections(2, total=50)
    assert one.asks("a", "b", size=1000) == ["a"]
    assert other.asks("c", "d", size=1000) == ["c"]
    assert [one.state, other.state] == [APART, APART]


def test_a_turn_that_is_spent_lets_nobody_go_on_though_there_is_room() -> None:
    _, (one,) = connections(1)
    assert not one.backlog.may_respond("a", spent=True)
    assert one.asks("b") == []
    assert one.goes_on() == ["a", "b"]


def test_where_all_hold_too_much_connections_go_on_one_at_a_time_in_their_order() -> None:
    total, (greedy, *others) = connections(5, each=1000, total=100)
    assert greedy.asks("g", size=90) == ["g"]
    for number, other in enumerate(others):
        assert other.asks("first", "second", "third") == ["first"], number
    assert [other.state for other in others] == [QUEUED] * 4
    greedy.backlog.give_back(90)
    # One alone is woken, and the next one when that has responded.
    assert ([other.woken for other in others], others[0].state) == ([1, 0, 0, 0], WOKEN)
    assert others[0].asks("late") == []
    others[0].holds(10)
    assert [other.woken for other in others] == [1, 1, 0, 0]
    assert [other.state for other in others] == [APART, WOKEN, QUEUED, QUEUED]
    # A newcomer waits behind those who were here before.
    newcomer = Connection(total)
    assert newcomer.asks("x", "y") == ["x"]
    assert newcomer.state == QUEUED


def test_what_leaves_one_connection_wakes_no_more_than_one() -> None:
    total, (greedy, *others) = connections(102, each=1000, total=1000)
    assert greedy.asks("g", size=1000) == ["g"]
    for other in others:
        assert other.asks("first", "second", size=1) == ["first"]
    greedy.backlog.give_back(1000)
    assert sum(other.woken for other in others) == 1
    assert [other.goes_on(1) for other in others] == [["second"]] * 101
    assert sum(other.woken for other in others) == 101
    assert total.held == 202


def test_a_connection_that_is_called_and_has_nothing_to_say_passes_its_turn_on() -> None:
    _, (greedy, one, two) = connections(3, each=1000, total=100)
    assert greedy.asks("g", size=100) == ["g"]
    for other in (one, two):
        other.asks("first", "second")
    assert [one.state, two.state] == [QUEUED, QUEUED]
    greedy.backlog.give_back(100)
    assert [one.state, two.state] == [WOKEN, QUEUED]
    one.backlog.forget("second")
    assert [one.state, two.state] == [APART, WOKEN]
    assert two.goes_on() == ["second"]


def test_a_connection_that_was_called_in_vain_is_the_first_again() -> None:
    total, (greedy, one, two) = connections(3, each=1000, total=100)
    assert greedy.asks("g", size=100) == ["g"]
    for other in (one, two):
        other.asks("first", "second")
    greedy.backlog.give_back(100)
    assert [one.state, two.state] == [WOKEN, QUEUED]
    # What may always go takes the room.
    assert greedy.asks("h", size=100) == ["h"]
    assert one.goes_on() == []
    assert list(total._queue) == [one.backlog._place, two.backlog._place]


def test_a_lost_connection_gives_back_what_it_held_and_its_place() -> None:
    total, (greedy, one, two) = connections(3, each=1000, total=100)
    assert greedy.asks("g", size=100) == ["g"]
    for other in (one, two):
        other.asks("first", "second")
    one.backlog.let_go(10)
    one.backlog.close()
    assert (one.backlog.held, one.backlog.leaving, one.backlog.waiting, one.state) == (0, 0, {}, APART)
    assert (total.held, list(total._queue)) == (110, [two.backlog._place])
    greedy.backlog.close()
    assert (total.held, two.state) == (10, WOKEN)
    one.backlog.close()
    assert total.held == 10


def test_what_was_let_go_of_counts_until_it_is_written() -> None:
    total, (one,) = connections(1)
    one.asks("a", "b", "c", "d")
    one.backlog.let_go(30)
    # What others have to say on the connection may wait with it.
    for unwritten, held in ((90, 30), (30, 30), (20, 20), (25, 20), (0, 0)):
        one.backlog.count_unwritten(unwritten)
        assert (one.backlog.held, one.backlog.leaving, total.held) == (held, held, held)
