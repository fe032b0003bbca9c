"""Offers to which the answer is the reply, on a bare hub."""

import pytest

from result_calls import ANSWERED, LATE, SERVER, ResultCall, ends, fill, nothing_waits
from sigbridge import (
    Answer,
    AnswerReceived,
    Claimed,
    DisconnectReason,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerLeft,
    Relayed,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.errors import Code
from sigbridge.outbox import NOTICE
from stage import outcome_of

# The answer.


def test_the_answer_is_the_reply(stage, call):
    outcomes, offer_id = call.offer()
    assert offer_id
    assert (outcomes, call.caller.took(), call.caller.session.awaiting) == ([], [], False)
    assert stage.hub.awaited_answer_count == stage.hub.pending_offer_count == 1
    assert call.answer() == Relayed("page")
    assert outcomes == [ANSWERED]
    assert call.caller.took() == ["OfferAnswered"]
    assert stage.hub.pending_offer_count == 0
    assert nothing_waits(stage)
    assert ends(stage) == {"answered": 1}
    assert stage.hub.counters.requests["websocket", "offer", "ok"] == 1
    assert stage.hub.counters.relays["grpc", "websocket", "answer"] == 1
    assert call.caller.session.request_count == 2, "the announce, and the offer once"


def test_an_offer_to_anybody_else_is_an_ordinary_one(stage, call):
    bob = stage.open("bob")
    call.caller.took()
    for can_wait in (True, False):
        assert isinstance(call.caller.do(OfferForAnswer("bob", "v=0", can_wait=can_wait)), OfferRelayed)
        call.caller.took()
        bob.do(Answer("page", "v=1"))
        assert call.caller.took() == [AnswerReceived("bob", "v=1", "answer")]
    assert ends(stage) == {}


def test_who_answers_in_results_is_a_setting(make_stage):
    stage = make_stage(answer_in_result=("bob", "carol"))
    caller = stage.open("page", encoding=stage.dotted)
    bob, carol, server = (stage.open(each) for each in ("bob", "carol", SERVER))
    caller.took()
    assert [caller.do(OfferForAnswer(each, "v=0")) for each in ("bob", "carol")] == [[], []]
    assert isinstance(caller.do(OfferForAnswer(SERVER, "v=0")), OfferRelayed)
    caller.took()
    for each in (carol, bob, server):
        each.do(Answer("page", "v=1"))
    assert caller.took() == ["OfferAnswered", "OfferAnswered", AnswerReceived(SERVER, "v=1", "answer")]


def test_whoever_offers_without_wanting_the_answer_gets_the_event(stage, call):
    reply = call.caller.do(Offer(SERVER, "v=0"))
    assert isinstance(reply, OfferRelayed)
    call.answer()
    reply = call.caller.do(OfferForAnswer(SERVER, "v=0", wants_reply=False))
    assert isinstance(reply, OfferRelayed)
    call.answer()
    assert call.caller.heard() == [AnswerReceived(SERVER, "v=0 answer", "answer")] * 2
    assert ends(stage) == {}


def test_later_requests_are_answered_before(call):
    outcomes, _ = call.offer()
    assert call.caller.do(IceCandidate(SERVER, "c")) == Relayed(SERVER)
    assert call.caller.do(HealthCheck()).status == "healthy"
    call.answer()
    assert outcomes == [ANSWERED]
    assert call.caller.took() == ["Relayed", "Health", "OfferAnswered"]


def test_the_reply_takes_its_place_among_the_events(call):
    call.offer()
    call.server.do(IceCandidate("page", "before"))
    call.answer()
    call.server.do(IceCandidate("page", "after"))
    before, reply, after = call.caller.took()
    assert (before.candidate, reply, after.candidate) == ("before", "OfferAnswered", "after")


def test_a_second_answer_is_an_event(call):
    call.offer()
    call.answer()
    call.answer()
    assert call.caller.took() == ["OfferAnswered", AnswerReceived(SERVER, "v=0 answer", "answer")]


def test_a_provisional_answer_is_dropped(stage, call):
    outcomes, offer_id = call.offer()
    assert call.answer("pranswer") == call.answer("pranswer", offer_id) == Relayed("page")
    assert (outcomes, call.caller.took()) == ([], [])
    assert stage.hub.pending_offer_count == stage.hub.awaited_answer_count == 1
    call.answer("answer", offer_id)
    call.answer("pranswer")
    assert call.caller.took() == ["OfferAnswered", AnswerReceived(SERVER, "v=0 answer", "pranswer")]


def test_a_stale_answer_is_refused_and_ends_nothing(stage, call):
    outcomes, offer_id = call.offer()
    for stale in ("page_x_1", offer_id + "0"):
        for type_ in ("answer", "pranswer"):
            assert call.answer(type_, stale) == errors.offer_over(stale)
    assert (outcomes, call.caller.took(), stage.hub.awaited_answer_count) == ([], [], 1)


@pytest.mark.parametrize(
    "request_", [Answer("page", ""), Answer("page", "v=0", "offer"), Answer("page", "v=0", "", "x" * 2000)]
)
def test_a_wrong_answer_ends_nothing(stage, call, request_):
    call.offer()
    assert call.server.refused(request_).code is Code.INVALID_ARGUMENT
    assert stage.hub.awaited_answer_count == 1


def test_answers_of_others_and_to_others_are_no_replies(stage, call):
    bob, other = stage.open("bob"), stage.open("page", room="elsewhere", encoding=stage.dotted)
    stage.open(SERVER, room="elsewhere").do(Answer("page", "v=0"))
    call.caller.took()
    call.offer()
    bob.do(Answer("page", "v=0"))
    call.server.do(Answer("bob", "v=0"))
    call.caller.do(Answer(SERVER, "v=0"))
    assert [type(event) for event in call.caller.heard() + bob.heard() + other.heard()].count(AnswerReceived) == 3
    assert stage.hub.awaited_answer_count == 1


def test_glare_is_another_offer(stage, call):
    outcomes, _ = call.offer()
    other_way = call.server.do(Offer("page", "v=0"))
    assert call.caller.heard() == [OfferReceived(SERVER, other_way.offer_id, "v=0", "offer")]
    call.caller.do(Answer(SERVER, "v=1", offer_id=other_way.offer_id))
    assert (outcomes, stage.hub.awaited_answer_count) == ([], 1)
    call.answer()
    assert outcomes == [ANSWERED]


def test_peers_that_answer_in_results_may_call_each_other(make_stage):
    stage = make_stage(answer_in_result=("a", "b"))
    a, b = stage.open("a", encoding=stage.dotted), stage.open("b", encoding=stage.dotted)
    a.took()
    first, second = a.do(OfferForAnswer("b", "v=a")), b.do(OfferForAnswer("a", "v=b"))
    a.do(Answer("b", "v=1"))
    assert (first, second) == ([], [OfferAnswered("v=1", "a", "b")])
    b.do(Answer("a", "v=2"))
    assert first == [OfferAnswered("v=2", "b", "a")]


def test_a_request_may_say_who_sends_it(call):
    outcomes = call.caller.do(Claimed("page", OfferForAnswer(SERVER, "v=0")))
    call.answer()
    assert outcomes == [ANSWERED]


# Refused at once: nothing waits.


def refusals():
    return {
        "an empty id": (OfferForAnswer("", "v=0"), errors.invalid_params("to_peer_id", "is missing")),
        "an empty sdp": (OfferForAnswer(SERVER, ""), errors.invalid_params("sdp", "is missing")),
        "another type": (OfferForAnswer(SERVER, "v=0", "answer"), errors.invalid_params("type", "must be offer")),
        "a long sdp": (OfferForAnswer(SERVER, "v" * 200000), Code.RESOURCE_EXHAUSTED),
    }


@pytest.mark.parametrize("case", refusals())
@pytest.mark.parametrize("how", [{}, {"can_wait": False}, {"wants_reply": False}])
def test_wrong_fields_are_refused(stage, call, case, how):
    request, why = refusals()[case]
    request = OfferForAnswer(request.to_peer_id, request.sdp, request.type, **how)
    before = stage.state()
    error = call.caller.refused(request)
    assert why in (error, error.code)
    assert stage.open().refused(request) == error, "fields come before announced or not"
    assert nothing_waits(stage)
    assert stage.state()[:4] == before[:4]


def test_without_an_answerer_there_is_nobody(stage):
    caller = stage.open("page", encoding=stage.dotted)
    assert caller.refused(OfferForAnswer(SERVER, "v=0")) == errors.peer_not_found(SERVER)
    assert nothing_waits(stage)
    assert stage.open().refused(OfferForAnswer(SERVER, "v=0")) == errors.not_announced()


def test_an_answerer_cannot_call_itself(stage):
    server = stage.open(SERVER, encoding=stage.dotted)
    error = errors.invalid_params("to_peer_id", "is the sender itself")
    assert server.refused(OfferForAnswer(SERVER, "v=0")) == error


def test_a_right_is_needed(stage):
    stage.open(SERVER)
    mute = stage.open("page", identity=Identity("mute", rights=frozenset({"announce"})), encoding=stage.dotted)
    assert mute.refused(OfferForAnswer(SERVER, "v=0")) == errors.right_missing("relay")


def test_where_the_answerer_takes_no_more_nothing_waits_and_an_older_goes_on(stage, call):
    outcomes, _ = call.offer()
    fill(call.server)
    assert call.caller.refused(OfferForAnswer(SERVER, "v=0")) == errors.peer_unavailable(SERVER)
    assert call.caller.refused(OfferForAnswer(SERVER, "v=0", wants_reply=False)) == errors.peer_unavailable(SERVER)
    assert (outcomes, stage.hub.awaited_answer_count) == ([], 1)
    call.server.took()
    call.answer()
    assert outcomes == [ANSWERED]
    assert nothing_waits(stage)


def test_in_a_batch_it_is_refused_and_not_relayed(stage, call):
    outcomes, _ = call.offer()
    request = OfferForAnswer(SERVER, "v=0", can_wait=False)
    assert outcome_of(stage.hub, call.caller.session, request, stage.now) == LATE
    assert (call.server.took(), outcomes, stage.hub.awaited_answer_count) == ([], [], 1)


def test_a_notification_in_a_batch_is_relayed(stage, call):
    request = OfferForAnswer(SERVER, "v=0", wants_reply=False, can_wait=False)
    assert isinstance(outcome_of(stage.hub, call.caller.session, request, stage.now), OfferRelayed)
    assert len(call.server.took()) == 1


# The caller's outbox.


def test_a_caller_that_takes_no_more_goes_on_waiting(stage, call):
    outcomes, offer_id = call.offer()
    fill(call.caller)
    for say in ("", offer_id):
        assert call.answer(offer_id=say) == errors.peer_unavailable("page")
    assert stage.hub.pending_offer_count == stage.hub.awaited_answer_count == 1
    assert ends(stage) == {}
    assert "OfferAnswered" not in call.caller.took()
    outcomes.clear()  # What was encoded has not fitted.
    assert call.answer(offer_id=offer_id) == Relayed("page")
    assert call.caller.took() == ["OfferAnswered"]
    assert outcomes == [ANSWERED]


def test_the_reply_waits_behind_a_batch(stage, call):
    call.offer()
    call.caller.session.outbox.hold()
    assert call.answer() == Relayed("page")
    call.server.do(IceCandidate("page", "c", "0"))
    assert call.caller.took() == []
    stage.hub.put_array(call.caller.session, b"reply array", stage.now)
    assert call.caller.took() == ["array", "OfferAnswered", IceCandidateReceived(SERVER, "c", "0")]


def test_a_refusal_waits_behind_a_batch(stage, call):
    call.offer()
    call.caller.session.outbox.hold()
    call.server.close()
    assert call.caller.took() == []
    stage.hub.put_array(call.caller.session, None, stage.now)
    assert call.caller.took() == ["SignalingError", PeerLeft(SERVER)]


@pytest.mark.parametrize("end", ["answerer closes", "time is up"])
def test_a_caller_that_cannot_even_take_a_refusal_is_slow(stage, call, end):
    call.offer()
    fill(call.caller, NOTICE)
    if end == "answerer closes":
        call.server.close()
    else:
        stage.wait(30)
        stage.expire()
    assert call.caller.ends == [DisconnectReason.SLOW_CONSUMER]
    assert nothing_waits(stage)


def test_a_newer_offer_of_a_caller_that_is_slow_ends_it(stage, call):
    call.offer()
    fill(call.caller, NOTICE)
    call.caller.do(OfferForAnswer(SERVER, "v=0"))
    assert call.caller.ends == [DisconnectReason.SLOW_CONSUMER]
    assert ends(stage) == {"replaced": 1, "forgotten": 1}
    assert nothing_waits(stage)


def test_what_cannot_be_encoded_fails_at_the_answerer(stage, call, monkeypatch):
    outcomes, _ = call.offer()

    def fails(outcome, request_id):
        raise ValueError("this encoding cannot say that")

    with monkeypatch.context() as patched:
        patched.setattr(stage.dotted, "encode_response", fails)
        assert call.answer() == errors.internal_error()
    assert (outcomes, stage.hub.awaited_answer_count) == ([], 1)
    call.answer()
    assert outcomes == [ANSWERED]


def test_an_encoding_that_wants_no_reply_gets_none(stage, call, monkeypatch):
    call.offer()
    monkeypatch.setattr(stage.dotted, "encode_response", lambda outcome, request_id: None)
    assert call.answer() == Relayed("page")
    assert call.caller.took() == []
    assert nothing_waits(stage)


# The time.


def test_time_is_up(stage, call):
    outcomes, offer_id = call.offer()
    stage.wait(29.9)
    stage.expire()
    assert outcomes == []
    stage.wait(0.1)
    stage.expire()
    assert outcomes == [LATE]
    assert call.caller.took() == ["SignalingError"]
    assert ends(stage) == {"expired": 1}
    assert stage.hub.counters.requests["websocket", "offer", "DEADLINE_EXCEEDED"] == 1
    assert call.answer(offer_id=offer_id) == Relayed("page"), "the offer itself is still pending"
    assert call.caller.took() == [AnswerReceived(SERVER, "v=0 answer", "answer", offer_id)]
    assert len(outcomes) == 1


def test_an_answer_comes_in_time_until_the_hub_looks(stage, call):
    outcomes, _ = call.offer()
    stage.wait(30)
    call.answer()
    stage.expire()
    assert outcomes == [ANSWERED]


def test_the_hub_says_when_the_next_is_due(make_stage):
    stage = make_stage(answer_in_result_seconds=5.0, answer_in_result=("a", "b"))
    for each in ("a", "b"):
        stage.open(each).session.outbox.clear()
    caller = stage.open("page", encoding=stage.dotted)
    begin = stage.now.monotonic
    for actor in stage.hub._sessions.values():
        actor.outbox.clear()
    assert stage.expire() == begin + 5
    first = caller.do(OfferForAnswer("a", "v=0"))
    stage.wait(2)
    second = caller.do(OfferForAnswer("b", "v=0"))
    for session in stage.hub._sessions.values():
        session.outbox.clear()
    assert stage.expire() == begin + 5
    stage.wait(3)
    assert stage.expire() == begin + 7
    assert (first, second) == ([errors.no_answer_in_time("a")], [])
    stage.wait(2)
    caller.took()
    assert stage.expire() == begin + 7 + 5
    assert second == [errors.no_answer_in_time("b")]


def test_those_whose_time_is_up_end_in_their_order(make_stage):
    stage = make_stage(answer_in_result=("a", "b", "c"))
    for each in ("a", "b", "c"):
        stage.open(each)
    caller = stage.open("page", encoding=stage.dotted)
    order = []

    class Named(list):
        def append(self, outcome):
            order.append((self[0], outcome.extra["peer_id"]))

    for name, to in (("1", "b"), ("2", "a"), ("3", "c"), ("4", "b")):
        stage.hub.apply(caller.session, OfferForAnswer(to, "v=0"), Named([name]), stage.now)
    assert order == [("1", "b")], "a newer one begins anew"
    stage.wait(31)
    stage.expire()
    assert order[1:] == [("2", "a"), ("3", "c"), ("4", "b")]


def test_an_offer_may_wait_longer_than_it_is_pending(make_stage):
    stage = make_stage(pending_offer_seconds=1.0)
    call = ResultCall(stage)
    outcomes, offer_id = call.offer()
    stage.wait(2)
    stage.expire()
    assert (stage.hub.pending_offer_count, stage.hub.awaited_answer_count) == (0, 1)
    assert call.answer(offer_id="page_x_1") == Relayed("page")
    assert call.caller.took() == [AnswerReceived(SERVER, "v=0 answer", "answer", "page_x_1")], "it means another offer"
    call.answer(offer_id=offer_id)
    assert outcomes == [ANSWERED]


# Many.


@pytest.mark.thorough
def test_offers_of_one_caller_to_a_thousand_answerers(make_stage):
    names = tuple(f"server{n}" for n in range(1100))
    stage = make_stage(answer_in_result=names, max_pending_offers=1000, outbox_max_messages=10**6, replay_roster=False)
    stage.hub._delivery.silent = True
    caller = stage.open("page", encoding=stage.dotted)
    servers = [stage.open(name) for name in names]
    stage.hub._delivery.silent = False
    outcomes = [caller.do(OfferForAnswer(name, "v=0")) for name in names]
    assert stage.hub.awaited_answer_count == 1000
    assert [len(each) for each in outcomes] == [1] * 100 + [0] * 1000
    assert outcomes[99] == [errors.no_answer_in_time("server99")]
    for server in reversed(servers):
        server.do(Answer("page", "v=0"))
    assert [len(each) for each in outcomes] == [1] * 1100
    assert nothing_waits(stage)


def test_offers_to_one_answerer_end_when_it_leaves(make_stage):
    stage = make_stage(replay_roster=False, outbox_max_messages=10**6)
    server = stage.open(SERVER)
    callers = [stage.open(f"page{n}", encoding=stage.dotted) for n in range(300)]
    outcomes = [caller.do(OfferForAnswer(SERVER, "v=0")) for caller in callers]
    server.close()
    assert all(each == [errors.peer_not_found(SERVER)] for each in outcomes)
    assert nothing_waits(stage)


def test_one_caller_over_and_over(stage, call):
    outcomes = []
    for _ in range(500):
        outcomes.append(call.offer()[0])
        call.caller.took()
    assert stage.hub.awaited_answer_count == 1
    assert outcomes == [[LATE]] * 499 + [[]]


def test_no_sdp_is_kept(stage, call):
    call.offer()
    (awaited,) = stage.hub._awaited.waiting.values()
    held = [getattr(awaited, name) for name in type(awaited).__slots__]
    assert "v=0 offer" not in repr(held)


def test_the_health_says_what_it_always_said(stage, call):
    call.offer()
    assert set(stage.hub.health(stage.now).metrics) == {"pending_offers", "sessions", "rooms"}


def test_the_time_until_somebody_answers_is_no_request_time(make_stage):
    ticks = iter(range(100))
    stage = make_stage()
    stage.hub._stopwatch = lambda: next(ticks)
    call = ResultCall(stage)
    call.offer()
    before = sum(stage.hub.counters.seconds["websocket", "offer"].counts)
    call.answer()
    assert before == sum(stage.hub.counters.seconds["websocket", "offer"].counts) == 1
