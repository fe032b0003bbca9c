"""The budget of a turn: what is above it rests, and goes on in the order in which it came to rest, but the first last."""

from sigbridge_grpc.call import Agenda, StreamCall
from sigbridge_grpc.framing import Deframer
from sigbridge_grpc.turns import INFLATED_BYTES, MAX_RESUMED_CALLS_PER_TURN, TurnBudget


def calls(count: int) -> tuple[Agenda, list[StreamCall]]:
    agenda = Agenda(lambda: None)
    return agenda, [StreamCall(agenda, 2 * number + 1, Deframer(100)) for number in range(count)]


def agenda_of(agenda: Agenda) -> list[int]:
    found, call = [], agenda.first_touched
    while call is not None:
        found.append(call.stream_id)
        call = call.next_touched
    return found


def test_some_calls_go_on_and_the_rest_in_the_next_turn() -> None:
    agenda, all_of_them = calls(MAX_RESUMED_CALLS_PER_TURN + 3)
    turn = TurnBudget()
    assert [turn.may_resume(call) for call in all_of_them] == [True] * MAX_RESUMED_CALLS_PER_TURN + [False] * 3
    assert list(turn.resting) == all_of_them[MAX_RESUMED_CALLS_PER_TURN:]
    assert turn.was_used
    turn.begin()
    turn.wake_resting(agenda)
    assert (turn.was_used, turn.resting) == (False, {})
    waiting = [call.stream_id for call in all_of_them[MAX_RESUMED_CALLS_PER_TURN:]]
    # The first may have spent the last turn.
    assert agenda_of(agenda) == [waiting[1], waiting[2], waiting[0]]


def test_what_messages_become_is_bounded_and_who_is_gone_rests_no_more() -> None:
    _, (first, second) = calls(2)
    turn = TurnBudget()
    assert turn.may_inflate(first)
    turn.count_inflated(INFLATED_BYTES)
    assert not turn.may_inflate(first)
    assert not turn.may_inflate(second)
    turn.forget(first)
    assert list(turn.resting) == [second]
    turn.begin()
    assert turn.may_inflate(first)
