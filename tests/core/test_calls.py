"""Offers to which a client's messages belong: what it says, and which answers its program is handed.

The cases are those of `calls.json`, which every client plays: a name, and steps, each a verb and what it needs; the
program is peer `a`, the other one `b`, and a step may end in a remark. `offers` gives its request a name; where an event
`hears` a name at its end, the reply to that request was the last one before it, and before null came none.
"""

import itertools
import json
from pathlib import Path

import pytest

from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Code,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Relayed,
    SignalingError,
)
from sigbridge.calls import ALL, Calls
from sigbridge.messages import NO_CAPABILITIES

CASES = json.loads(Path(__file__).with_name("calls.json").read_text())
OFFER = Offer("b", "v=0")


class Program:
    """The calls of one client, and what happens to it, each verb of the cases a method."""

    def __init__(self):
        self.calls = Calls()
        self._next = itertools.count(1)
        self._numbers = {}

    def do(self, request, reply):
        number = next(self._next)
        self.calls.sent(number, request)
        self.calls.replied(number, request, reply)

    def offers(self, name):
        self._numbers[name] = next(self._next)
        self.calls.sent(self._numbers[name], OFFER)

    def is_taken(self, name, offer_id):
        self.calls.replied(self._numbers[name], OFFER, OfferRelayed(offer_id, "b"))

    def is_refused(self, name, code):
        self.calls.refused(self._numbers[name], OFFER, SignalingError(Code[code], "no"))

    def answers(self, offer_id, type_=""):
        offer_id = self.calls.answering("b") if offer_id is None else offer_id
        self.do(Answer("b", "v=0", type_, offer_id), Relayed("b"))

    def sends_candidate(self):
        self.do(IceCandidate("b"), Relayed("b"))

    def hangs_up(self, offer_id):
        self.do(Disconnect("b", offer_id), Disconnected("b"))

    def announces(self, resumed):
        self.do(Announce("a"), Announced("a", 0, (), resumed=resumed))

    def is_another(self):
        self.calls.forget()

    def hears_joining(self):
        assert self.calls.handed(PeerJoined("b", NO_CAPABILITIES, {}))

    def hears_leaving(self, peer_id, last="all"):
        assert self.calls.handed(PeerLeft(peer_id), self._last(last))

    def hears_candidate(self):
        assert self.calls.handed(IceCandidateReceived("b", "c"))

    def hears_hang_up(self, offer_id, last="all"):
        assert self.calls.handed(PeerDisconnected("b", offer_id), self._last(last))

    def hears_offer(self, offer_id):
        assert self.calls.handed(OfferReceived("b", offer_id, "v=0", "offer"))

    def hears_answer(self, offer_id, type_="answer"):
        assert self.calls.handed(AnswerReceived("b", "v=0", type_, offer_id))

    def drops_answer(self, offer_id, remark=""):
        assert not self.calls.handed(AnswerReceived("b", "v=0", "answer", offer_id)), remark

    def depends(self, offer_id, name, remark=""):
        number = self.calls.depends_on(AnswerReceived("b", "v=0", "answer", offer_id))
        assert number == (0 if name is None else self._numbers[name]), remark

    def says(self, answering, current, remark=""):
        assert (self.calls.answering("b"), self.calls.current("b")) == (answering, current), remark

    def _last(self, name):
        return 0 if name is None else self._numbers.get(name, ALL)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_case(case):
    program = Program()
    for verb, *needs in case["steps"]:
        getattr(program, verb.replace(" ", "_").replace("-", "_"))(*needs)


def test_events_of_other_kinds_depend_on_nothing():
    program = Program()
    program.offers("first")
    assert program.calls.depends_on(PeerDisconnected("b")) == 0


def test_nothing_is_kept_of_who_left():
    program = Program()
    program.hears_offer("b_a_1")
    program.hears_leaving("b")
    assert not program.calls._by_peer


def test_an_answer_that_is_the_reply_ends_the_offer():
    """In the dotted dialect alone."""
    program = Program()
    request = OfferForAnswer("b", "v=0")
    program.calls.sent(1, request)
    program.says("", "")
    assert program.calls.depends_on(AnswerReceived("b", "v=0", "answer", "a_b_1")) == 1
    program.calls.replied(1, request, OfferAnswered("v=0", "b", "a"))
    program.says("", "", "its id was never told")
    program.drops_answer("a_b_1")
