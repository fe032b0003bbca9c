"""Offers to which the answer is the reply, where a bus brings offers and answers, and takes its time."""

import pytest

from directories import KnownAtOnce
from result_calls import ANSWERED, LATE, SERVER, ResultCall, ends, fill, nothing_waits
from sigbridge import (
    Answer,
    Disconnect,
    OfferForAnswer,
    OfferRelayed,
    Relayed,
    errors,
)
from sigbridge.errors import Code
from sigbridge_compat.deferred import Deferral


@pytest.fixture
def deferral():
    return Deferral()


@pytest.fixture
def stage(make_stage, deferral):
    stage = make_stage(bus=deferral)
    deferral.attach(stage.hub)
    return stage


@pytest.fixture
def complete(stage, deferral):
    return lambda index=0: deferral.complete(index, now=stage.now)


@pytest.fixture
def call(stage):
    return ResultCall(stage)


def test_the_bus_holds_the_session_up_and_the_answer_does_not(stage, call, complete):
    outcomes = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    ready = []
    call.caller.session.on_ready = ready.append
    assert call.caller.session.awaiting
    assert stage.hub.awaited_answer_count == 0
    complete()
    assert (call.caller.session.awaiting, ready, outcomes) == (False, [stage.now], [])
    assert stage.hub.awaited_answer_count == stage.hub.pending_offer_count == 1
    call.answer()
    complete()
    assert outcomes == [ANSWERED]
    assert len(ready) == 1
    assert nothing_waits(stage)
    assert stage.hub.pending_offer_count == 0
    assert stage.hub.counters.relays["grpc", "websocket", "answer"] == 1


def test_an_answer_may_come_before_the_word_of_the_bus(stage, call, deferral, complete):
    outcomes = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    deferral.waiting[0].do()
    (offer,) = call.server.heard()
    answered = call.server.do(Answer("page", "v=0 answer", "", offer.offer_id))
    complete(1)
    assert answered == [Relayed("page")]
    assert outcomes == [ANSWERED]
    assert call.caller.session.awaiting
    deferral.waiting.pop(0).outcome.resolve(None, stage.now)
    assert not call.caller.session.awaiting
    assert nothing_waits(stage)
    assert outcomes == [ANSWERED]


@pytest.mark.parametrize("end", ["absent", "full"])
def test_the_bus_may_refuse_an_offer(stage, call, complete, end):
    if end == "absent":
        call.server.close()
    else:
        fill(call.server)
    call.caller.took()
    outcomes = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    complete()
    assert outcomes == [errors.peer_not_found(SERVER) if end == "absent" else errors.peer_unavailable(SERVER)]
    assert call.caller.took() == ["SignalingError"]
    assert not call.caller.session.awaiting
    assert nothing_waits(stage)
    assert ends(stage) == {"refused": 1}


def test_a_newer_offer_that_the_bus_refuses_leaves_the_older(stage, call, complete):
    older = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    complete()
    (offer,) = call.server.heard()
    fill(call.server)
    newer = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    complete()
    assert (older, newer) == ([], [errors.peer_unavailable(SERVER)])
    call.server.took()
    call.answer(offer_id=offer.offer_id)
    complete()
    assert older == [ANSWERED]
    assert nothing_waits(stage)


@pytest.mark.parametrize("who", ["answerer leaves", "caller leaves", "answerer hangs up"])
def test_much_may_happen_before_the_word_of_the_bus(stage, call, deferral, who):
    outcomes = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    deferral.waiting[0].do()
    if who == "answerer leaves":
        call.server.close()
        expected = [errors.peer_not_found(SERVER)]
    elif who == "caller leaves":
        call.caller.close()
        expected = []
    else:
        call.server.do(Disconnect("page"))
        deferral.complete(1, now=stage.now)
        expected = [errors.peer_unavailable(SERVER)]
    assert outcomes == expected
    deferral.waiting.pop(0).outcome.resolve(None, stage.now)
    assert outcomes == expected
    assert not call.caller.session.awaiting
    assert nothing_waits(stage)


def test_hang_ups_by_the_bus_end_it(stage, call, complete):
    outcomes = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    complete()
    call.server.do(Disconnect("page"))
    assert outcomes == []
    complete()
    assert outcomes == [errors.peer_unavailable(SERVER)]
    outcomes = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    complete()
    call.caller.do(Disconnect(SERVER))
    assert outcomes == []
    complete()
    assert [error.code for error in outcomes] == [Code.FAILED_PRECONDITION]
    assert nothing_waits(stage)


def test_a_hang_up_that_arrives_late_ends_nothing_of_the_next_peer_of_that_id(stage, call, complete):
    call.caller.do(Disconnect(SERVER))
    call.caller.close()
    next_one = stage.open("page", encoding=stage.dotted)
    outcomes = next_one.do(OfferForAnswer(SERVER, "v=0"))
    complete(1)
    complete()
    assert (outcomes, stage.hub.awaited_answer_count) == ([], 1)


def test_an_offer_that_wants_no_reply_ends_the_older_when_it_has_arrived(stage, call, complete):
    older = call.caller.do(OfferForAnswer(SERVER, "v=0"))
    complete()
    newer = call.caller.do(OfferForAnswer(SERVER, "v=0", wants_reply=False))
    assert older == []
    complete()
    assert older == [LATE]
    assert isinstance(newer[0], OfferRelayed)


@pytest.mark.parametrize("word", [None, errors.peer_unavailable(SERVER)])
def test_a_bus_may_know_at_once(make_stage, word):
    stage = make_stage(bus=KnownAtOnce(word))
    caller = stage.open("page", encoding=stage.dotted)
    outcomes = caller.do(OfferForAnswer(SERVER, "v=0"))
    assert outcomes == ([] if word is None else word)
    assert not caller.session.awaiting
    assert stage.hub.awaited_answer_count == (word is None)


def test_a_bus_that_fails_leaves_nothing(make_stage):
    class Broken(KnownAtOnce):
        def relay(self, *args):
            raise RuntimeError("broken")

    stage = make_stage(bus=Broken())
    caller = stage.open("page", encoding=stage.dotted)
    assert caller.refused(OfferForAnswer(SERVER, "v=0")) == errors.internal_error()
    assert nothing_waits(stage)
