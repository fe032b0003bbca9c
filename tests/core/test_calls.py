"""Which offer a client's messages belong to: what it says, and which answers its program is handed."""

import itertools

import pytest

from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Relayed,
)
from sigbridge.calls import Calls
from sigbridge.messages import NO_CAPABILITIES


class Program:
    """The calls of one client, and what happens to it: the other peer is `b`."""

    def __init__(self):
        self.calls = Calls()
        self._numbers = itertools.count(1)

    def send(self, request):
        number = next(self._numbers)
        self.calls.sent(number, request)
        return number, request

    def do(self, request, reply):
        sent = self.send(request)
        self.calls.replied(*sent, reply)

    def offer(self, offer_id):
        self.do(Offer("b", "v=0"), OfferRelayed(offer_id, "b"))

    def hear_offer(self, offer_id):
        assert self.calls.handed(OfferReceived("b", offer_id, "v=0", "offer"))

    def answer(self, type_="", offer_id=None):
        offer_id = self.calls.answering("b") if offer_id is None else offer_id
        self.do(Answer("b", "v=0", type_, offer_id), Relayed("b"))

    def hears_answer(self, offer_id, type_="answer"):
        return self.calls.handed(AnswerReceived("b", "v=0", type_, offer_id))

    @property
    def says(self):
        """The offers that an answer says, and that candidates and hang-ups do."""
        return self.calls.answering("b"), self.calls.current("b")


@pytest.fixture
def program():
    return Program()


def test_who_knows_of_no_offer_says_nothing(program):
    assert program.says == ("", "")
    for event in (PeerJoined("b", NO_CAPABILITIES, {}), IceCandidateReceived("b", "c"), PeerDisconnected("b")):
        assert program.calls.handed(event)
    program.do(Disconnect("b"), Disconnected("b"))
    program.do(IceCandidate("b"), Relayed("b"))
    assert program.says == ("", "")
    assert program.hears_answer("")
    assert not program.hears_answer("a_b_1")


def test_a_caller_belongs_to_the_offer_that_it_made(program):
    sent = program.send(Offer("b", "v=0"))
    assert program.says == ("", ""), "its id is not known yet"
    program.calls.replied(*sent, OfferRelayed("a_b_1", "b"))
    assert program.says == ("", "a_b_1")
    assert program.hears_answer("a_b_1", "pranswer")
    assert program.hears_answer("a_b_1")
    assert program.says == ("", "a_b_1")
    assert not program.hears_answer("a_b_1"), "it was answered"


def test_a_callee_belongs_to_the_offer_that_it_was_handed(program):
    program.hear_offer("b_a_1")
    assert program.says == ("b_a_1", "b_a_1")
    program.answer("pranswer")
    program.answer()
    assert program.says == ("b_a_1", "b_a_1")
    program.hear_offer("b_a_2")
    assert program.says == ("b_a_2", "b_a_2")


@pytest.mark.parametrize("offer_id", ["", "a_b_1"])
def test_the_answer_to_the_call_before_is_not_for_the_program(program, offer_id):
    program.offer("a_b_1")
    program.do(Disconnect("b", offer_id), Disconnected("b"))
    assert program.says == ("", "")
    assert not program.hears_answer("a_b_1")
    sent = program.send(Offer("b", "v=0"))
    assert not program.hears_answer("a_b_1")
    program.calls.replied(*sent, OfferRelayed("a_b_2", "b"))
    assert not program.hears_answer("a_b_1")
    assert program.hears_answer("a_b_2")


def test_an_answer_that_says_nothing_is_for_the_program(program):
    program.offer("a_b_1")
    assert program.hears_answer("")
    assert program.says == ("", "a_b_1")
    assert not program.hears_answer("a_b_1")
    assert program.hears_answer("")


def test_while_it_offers_anew_no_answer_to_the_offer_before_is_for_it(program):
    program.offer("a_b_1")
    sent = program.send(Offer("b", "v=0"))
    assert not program.hears_answer("a_b_1")
    assert program.says == ("", "")
    program.calls.refused(*sent)
    assert program.says == ("", "a_b_1"), "a refused request has changed nothing"
    assert program.hears_answer("a_b_1")


def test_an_offer_whose_reply_never_came_is_not_out(program):
    program.offer("a_b_1")
    program.send(Offer("b", "v=0"))
    assert program.says == ("", ""), "a hang-up ends both"
    program.do(Disconnect("b"), Disconnected("b"))
    program.offer("a_b_3")
    assert program.says == ("", "a_b_3")


def test_offers_that_overlap(program):
    one, two = program.send(Offer("b", "v=1")), program.send(Offer("b", "v=2"))
    program.calls.replied(*one, OfferRelayed("a_b_1", "b"))
    assert program.says == ("", "")
    program.calls.refused(*two)
    assert program.says == ("", "a_b_1")
    three, four = program.send(Offer("b", "v=3")), program.send(Offer("b", "v=4"))
    program.calls.replied(*three, OfferRelayed("a_b_3", "b"))
    program.calls.replied(*four, OfferRelayed("a_b_4", "b"))
    assert not program.hears_answer("a_b_3")
    assert program.hears_answer("a_b_4")


def test_a_hang_up_that_overlaps_its_offer(program):
    sent = program.send(Offer("b", "v=0"))
    program.send(Disconnect("b"))
    program.calls.replied(*sent, OfferRelayed("a_b_1", "b"))
    assert program.says == ("", "")
    assert not program.hears_answer("a_b_1")


def test_where_offers_cross_a_message_means_both(program):
    program.offer("a_b_1")
    program.hear_offer("b_a_2")
    assert program.says == ("b_a_2", "")
    assert program.hears_answer("a_b_1")
    assert program.says == ("b_a_2", "a_b_1"), "the other one has given its own up"


def test_who_answers_the_other_s_offer_belongs_to_it_and_is_handed_the_answer_to_its_own(program):
    program.hear_offer("b_a_1")
    program.offer("a_b_2")
    assert program.says == ("b_a_1", "")
    program.answer()
    assert program.says == ("b_a_1", "b_a_1")
    assert program.hears_answer("a_b_2", "pranswer")
    assert program.hears_answer("a_b_2")
    assert not program.hears_answer("a_b_2"), "it was answered"


@pytest.mark.parametrize("offer_id", ["", "a_b_2"])
def test_an_offer_that_crossed_another_is_out_until_it_is_hung_up(program, offer_id):
    program.hear_offer("b_a_1")
    program.offer("a_b_2")
    program.answer()
    program.do(Disconnect("b", offer_id), Disconnected("b"))
    assert not program.hears_answer("a_b_2")


@pytest.mark.parametrize("event", [PeerDisconnected("b"), PeerLeft("b")])
def test_what_the_other_did_before_it_was_offered_anew_does_not_end_the_new_offer(program, event):
    old = program.send(Offer("b", "v=0"))
    program.calls.replied(*old, OfferRelayed("a_b_1", "b"))
    last = old[0]
    sent = program.send(Offer("b", "v=0"))
    assert program.calls.handed(event, last)
    program.calls.replied(*sent, OfferRelayed("a_b_2", "b"))
    assert program.calls.handed(event, last)
    assert program.says == ("", "a_b_2")
    assert not program.hears_answer("a_b_1")
    assert program.hears_answer("a_b_2")
    program.offer("a_b_3")
    assert program.calls.handed(event)
    assert program.says == ("", "")
    assert not program.hears_answer("a_b_3")


def test_an_answer_depends_on_the_reply_to_a_later_offer(program):
    answer = AnswerReceived("b", "v=0", "answer", "a_b_1")
    assert program.calls.depends_on(answer) == 0
    program.offer("a_b_1")
    assert program.calls.depends_on(answer) == 0
    sent = program.send(Offer("b", "v=0"))
    assert program.calls.depends_on(answer) == sent[0]
    assert program.calls.depends_on(AnswerReceived("b", "v=0", "answer")) == 0
    assert program.calls.depends_on(PeerDisconnected("b")) == 0
    program.calls.refused(*sent)
    assert program.calls.depends_on(answer) == 0


def test_an_explicit_offer_is_the_one_that_is_answered(program):
    program.hear_offer("b_a_1")
    program.hear_offer("b_a_2")
    program.answer(offer_id="b_a_1")
    assert program.says == ("b_a_2", "b_a_1")


@pytest.mark.parametrize(("offer_id", "current"), [("", ""), ("b_a_1", ""), ("b_a_0", "b_a_1")])
def test_a_hang_up_by_the_other_ends_what_it_says(program, offer_id, current):
    program.hear_offer("b_a_1")
    assert program.calls.handed(PeerDisconnected("b", offer_id))
    assert program.says == ("b_a_1", current), "an answer that comes now says what it is for, and is refused"


def test_a_call_that_is_on_is_hung_up(program):
    program.offer("a_b_1")
    program.hears_answer("a_b_1")
    program.do(Disconnect("b", "a_b_1"), Disconnected("b"))
    assert program.says == ("", "")


def test_nothing_is_kept_of_who_left(program):
    program.hear_offer("b_a_1")
    assert program.calls.handed(PeerLeft("b"))
    assert program.calls.handed(PeerLeft("c"))
    assert program.says == ("", "")
    assert not program.calls._with


def test_a_new_announce_begins_anew(program):
    program.hear_offer("b_a_1")
    program.do(Announce("a"), Announced("a", 0, ()))
    assert program.says == ("", "")
