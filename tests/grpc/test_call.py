"""One call's states: every verb in every state, and what a call asks of its wire."""

import pytest

from sigbridge_grpc.call import (
    ACCEPTED,
    AWAITING,
    CONCLUDED,
    ENDING,
    FINISHED,
    GONE,
    ON_ACCEPT,
    ON_FINISH,
    ON_RESPOND,
    RESPONDING,
    Agenda,
    StreamCall,
)
from sigbridge_grpc.framing import Deframer
from sigbridge_grpc.method import Ending


class Woken:
    """A wire's agenda, and how often its carrier was woken."""

    def __init__(self) -> None:
        self.count = 0
        self.agenda = Agenda(self._count)

    def _count(self) -> None:
        self.count += 1


@pytest.fixture
def woken() -> Woken:
    return Woken()


def call_of(agenda: Agenda, stream_id: int = 1) -> StreamCall:
    return StreamCall(agenda, stream_id, Deframer(100))


def test_every_verb_in_every_state() -> None:
    assert dict(enumerate(ON_ACCEPT)) == {
        AWAITING: ACCEPTED, ACCEPTED: ACCEPTED, RESPONDING: RESPONDING, FINISHED: FINISHED, ENDING: ENDING,
        CONCLUDED: CONCLUDED, GONE: GONE
    }  # fmt: skip
    assert dict(enumerate(ON_RESPOND)) == {
        AWAITING: AWAITING, ACCEPTED: RESPONDING, RESPONDING: RESPONDING, FINISHED: ENDING, ENDING: ENDING,
        CONCLUDED: CONCLUDED, GONE: GONE
    }  # fmt: skip
    assert dict(enumerate(ON_FINISH)) == {
        AWAITING: FINISHED, ACCEPTED: FINISHED, RESPONDING: ENDING, FINISHED: FINISHED, ENDING: ENDING,
        CONCLUDED: CONCLUDED, GONE: GONE
    }  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [(AWAITING, FINISHED), (ACCEPTED, FINISHED), (RESPONDING, ENDING)])
def test_a_call_is_finished_once_and_looked_at_soon(woken: Woken, before: int, after: int) -> None:
    call = call_of(woken.agenda)
    woken.agenda.due = 100.0
    call.state = before
    call.finish(Ending(0, "first"))
    call.finish(Ending(13, "second"))
    assert (call.state, call.ending) == (after, Ending(0, "first"))
    assert (woken.agenda.due, woken.agenda.first_touched, woken.count) == (0.0, call, 1)


def test_each_call_is_on_the_agenda_once(woken: Woken) -> None:
    calls = [call_of(woken.agenda, number) for number in (1, 3, 5)]
    for call in [*calls, *calls]:
        call.wake()
    found, call = [], woken.agenda.first_touched
    while call is not None:
        found.append(call.stream_id)
        call = call.next_touched
    assert found == [5, 3, 1]
    assert woken.count == 6


def test_who_is_gone_wakes_nobody(woken: Woken) -> None:
    call = call_of(woken.agenda)
    call.state = GONE
    call.wake()
    assert (woken.agenda.first_touched, woken.count) == (None, 0)
