"""Ends of offers to which the answer is the reply, other than by it and by time, on a bare hub."""

import pytest

from result_calls import ANSWERED, LATE, SERVER, ends, fill, nothing_waits
from sigbridge import (
    Announce,
    Answer,
    AnswerReceived,
    Disconnect,
    Disconnected,
    DisconnectReason,
    OfferForAnswer,
    PeerDisconnected,
    PeerLeft,
    errors,
)
from sigbridge.auth import Identity


def test_a_newer_offer_ends_the_older(stage, call):
    older, old_id = call.offer()
    newer, new_id = call.offer()
    assert (older, newer) == ([LATE], [])
    assert call.answer(offer_id=old_id) == errors.offer_over(old_id)
    call.answer(offer_id=new_id)
    assert (older, newer) == ([LATE], [ANSWERED])
    assert call.caller.took() == ["SignalingError", "OfferAnswered"]
    assert ends(stage) == {"replaced": 1, "answered": 1}


def test_an_offer_that_wants_no_reply_ends_the_older_too(call):
    older, _ = call.offer()
    call.caller.do(OfferForAnswer(SERVER, "v=0", wants_reply=False))
    assert older == [LATE]
    call.answer()
    assert call.caller.heard() == [AnswerReceived(SERVER, "v=0 answer", "answer")]


@pytest.mark.parametrize("leave", ["closes", "leaves", "is revoked"])
def test_the_answerer_leaves(stage, call, leave):
    outcomes, _ = call.offer()
    if leave == "closes":
        call.server.close()
    elif leave == "leaves":
        call.server.do(Disconnect(SERVER, reason="bye"))
    else:
        anybody = call.caller.session.identity
        call.server.session.identity = Identity("revoked")
        stage.hub.review(lambda identity: identity if identity is anybody else None, stage.now)
    assert outcomes == [errors.peer_not_found(SERVER)]
    assert call.caller.took() == ["SignalingError", PeerLeft(SERVER, "bye" if leave == "leaves" else "")]
    assert nothing_waits(stage)
    assert ends(stage) == {"left": 1}


def test_an_answerer_that_comes_back_knows_nothing_of_it(call):
    outcomes, offer_id = call.offer()
    call.server.do(Disconnect(SERVER))
    call.server.do(Announce(SERVER))
    call.server.do(Answer("page", "v=0", "", offer_id))
    assert outcomes == [errors.peer_not_found(SERVER)]


def test_the_answerer_hangs_up(stage, call):
    outcomes, _ = call.offer()
    assert call.server.do(Disconnect("page", reason="busy")) == Disconnected("page")
    assert outcomes == [errors.peer_unavailable(SERVER)]
    assert call.caller.took() == [PeerDisconnected(SERVER, reason="busy"), "SignalingError"]
    assert ends(stage) == {"hung_up": 1}
    assert stage.hub.pending_offer_count == 0


def test_the_answerer_hangs_up_on_one_offer(stage, call):
    outcomes, offer_id = call.offer()
    call.server.do(Disconnect("page", "page_x_1"))
    assert outcomes == []
    call.server.do(Disconnect("page", offer_id))
    assert outcomes == [errors.peer_unavailable(SERVER)]


def test_a_hang_up_that_the_caller_cannot_take_ends_nothing(stage, call):
    outcomes, _ = call.offer()
    fill(call.caller)
    assert call.server.refused(Disconnect("page")) == errors.peer_unavailable("page")
    fill(call.server)
    assert call.caller.refused(Disconnect(SERVER)) == errors.peer_unavailable(SERVER)
    assert (outcomes, stage.hub.awaited_answer_count) == ([], 1)


def test_the_caller_hangs_up(stage, call):
    outcomes, offer_id = call.offer()
    call.caller.do(Disconnect(SERVER, "page_x_1"))
    assert outcomes == []
    assert call.caller.do(Disconnect(SERVER, offer_id)) == Disconnected(SERVER)
    assert outcomes == [errors.offer_over(offer_id)]
    assert ends(stage) == {"withdrawn": 1}
    outcomes, offer_id = call.offer()
    call.caller.do(Disconnect(SERVER))
    assert outcomes == [errors.offer_over(offer_id)]
    assert call.answer(offer_id=offer_id) == errors.offer_over(offer_id)


def test_hanging_up_on_somebody_else_ends_nothing(stage, call):
    stage.open("bob").do(Disconnect("page"))
    outcomes, _ = call.offer()
    call.caller.do(Disconnect("bob"))
    call.caller.do(Disconnect("nobody"))
    call.server.do(Disconnect("bob"))
    assert (outcomes, stage.hub.awaited_answer_count) == ([], 1)


def test_the_caller_leaves_its_room(stage, call):
    outcomes, offer_id = call.offer()
    call.caller.do(Disconnect("page"))
    assert outcomes == [errors.offer_over(offer_id)]
    assert call.caller.took() == ["SignalingError", "Disconnected"]
    assert nothing_waits(stage)
    call.caller.do(Announce("page"))
    call.caller.took()
    call.answer()
    assert call.caller.took() == [AnswerReceived(SERVER, "v=0 answer", "answer")]


@pytest.mark.parametrize("reason", [DisconnectReason.CLIENT_LEFT, DisconnectReason.REVOKED])
def test_the_callers_end_forgets_it(stage, call, reason):
    outcomes, _ = call.offer()
    call.caller.close(reason)
    assert (outcomes, call.caller.took()) == ([], [])
    assert nothing_waits(stage)
    assert ends(stage) == {"forgotten": 1}
    assert call.answer() == errors.peer_not_found("page")


def test_an_offer_may_outlive_the_right_to_make_one(stage):
    server = stage.open(SERVER)
    caller = stage.open("page", identity=Identity("a"), encoding=stage.dotted)
    outcomes = caller.do(OfferForAnswer(SERVER, "v=0"))
    stage.hub.review(lambda identity: Identity("a", rights=frozenset({"announce"})), stage.now)
    server.do(Answer("page", "v=0 answer"))
    assert outcomes == [], "the answerer has lost its right, too"
    server.session.identity = Identity("b")
    server.do(Answer("page", "v=0 answer"))
    assert outcomes == [ANSWERED]


def test_nothing_is_sent_while_draining(stage, call):
    outcomes, _ = call.offer()
    stage.hub.drain(stage.now)
    assert (outcomes, call.caller.took()) == ([], [])
    assert nothing_waits(stage)
    assert call.caller.ends == [DisconnectReason.DRAINING]
