"""Relaying on the bare hub, and its faults."""

import logging
from itertools import product

import pytest

from hub_outcomes import joined, wrong
from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Code,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge.delivery import Delivery
from stage import PlainEncoding, Recorder


def test_relays_arrive_as_they_are(stage):
    alice, bob = stage.pair()
    reply = alice.do(Offer("bob", "v=0\r\n\x00é"))
    assert alice.do(Answer("bob", "v=0")) == Relayed("bob")
    assert alice.do(Answer("bob", "v=0", "pranswer")) == Relayed("bob")
    assert alice.do(IceCandidate("bob", "", "", 0, "")) == Relayed("bob")
    assert alice.do(IceCandidate("bob")) == Relayed("bob")
    assert bob.took() == [
        OfferReceived("alice", reply.offer_id, "v=0\r\n\x00é", "offer"),
        AnswerReceived("alice", "v=0", "answer"),
        AnswerReceived("alice", "v=0", "pranswer"),
        IceCandidateReceived("alice", "", "", 0, ""),
        IceCandidateReceived("alice", ""),
    ]
    assert alice.heard() == []


@pytest.mark.parametrize("fragment", [None, "", "ufrag"])
def test_a_candidate_that_names_no_media_section_is_of_the_first(stage, fragment):
    alice, bob = stage.pair()
    for candidate, mid, index in product(("c", ""), (None, "", "0"), (None, 0, 1)):
        alice.do(IceCandidate("bob", candidate, mid, index, fragment))
        arrives = 0 if candidate and mid is None and index is None else index
        assert bob.took() == [IceCandidateReceived("alice", candidate, mid, arrives, fragment)]


def test_unknown_targets_are_refused(stage, relays):
    alice = stage.open("alice")
    before = stage.state()
    for request in relays("nobody"):
        assert alice.refused(request) == SignalingError(Code.NOT_FOUND, "Peer not found: nobody", peer_id="nobody")
    assert stage.state() == before


def test_signalling_oneself_is_refused(stage, relays):
    alice = stage.open("alice")
    for request in relays("alice"):
        assert alice.refused(request) == wrong("to_peer_id", "is the sender itself")
    assert alice.heard() == []


def test_offer_ids_rise_where_the_clock_stands_still_or_goes_back(stage):
    alice, bob = stage.pair()
    first = alice.do(Offer("bob", "v=0")).offer_id
    assert first == "alice_bob_1700000000000"
    assert bob.do(Offer("alice", "v=0")).offer_id == "bob_alice_1700000000001"
    stage.set_unix(1_699_999_000.0)
    assert alice.do(Offer("bob", "v=0")).offer_id == "alice_bob_1700000000002"
    stage.set_unix(1_700_000_100.0)
    assert alice.do(Offer("bob", "v=0")).offer_id == "alice_bob_1700000100000"


def test_a_relay_that_cannot_be_encoded_fails_at_its_sender(stage, caplog):
    alice, bob = stage.pair()
    stage.encodings["websocket"].fails_on = (OfferReceived,)
    before = stage.state()
    with caplog.at_level(logging.CRITICAL, logger="sigbridge.session"):
        assert alice.refused(Offer("bob", "v=0")) == errors.internal_error()
    assert stage.state() == before
    assert bob.took() == []
    assert alice.do(Answer("bob", "v=0")) == Relayed("bob")


def test_an_internal_error_tells_nothing_of_the_exception(stage, caplog, monkeypatch):
    alice, _bob = stage.pair()
    monkeypatch.setattr(Delivery, "relay", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR, logger="sigbridge.session"):
        error = alice.refused(Offer("bob", "v=0"))
    assert (error.code, error.message, error.extra) == (Code.INTERNAL, "Internal error", {})
    assert "ZeroDivisionError" in caplog.text


class Speechless(PlainEncoding):
    """Cannot say these outcomes."""

    def __init__(self, *kinds):
        super().__init__()
        self.cannot_say = kinds

    def encode_response(self, outcome, request_id):
        if isinstance(outcome, self.cannot_say):
            raise ValueError("the secret of the house")
        return super().encode_response(outcome, request_id)


def test_a_reply_that_cannot_be_encoded_is_an_internal_error(stage, caplog):
    alice = stage.open("alice")
    bob = stage.open(encoding=Speechless(Announced))
    with caplog.at_level(logging.ERROR, logger="sigbridge.session"):
        assert bob.do(Announce("bob")) == errors.internal_error()
    assert "the secret of the house" in caplog.text
    assert bob.took() == ["SignalingError", *joined("alice")], "what was held back follows all the same"
    assert (alice.took(), stage.ids()) == (joined("bob"), ["alice", "bob"])
    bob.do(IceCandidate("alice", "c"))
    assert alice.took() == [IceCandidateReceived("bob", "c", None, 0)]


def test_a_sink_that_cannot_take_a_reply_takes_an_internal_error(stage, caplog):
    class Half(Recorder):
        def respond(self, outcome, request_id, now):
            if not isinstance(outcome, SignalingError):
                raise ValueError("the secret of the house")
            super().respond(outcome, request_id, now)

    alice, outcomes = stage.open(), []
    with caplog.at_level(logging.ERROR, logger="sigbridge.session"):
        stage.hub.apply(alice.session, HealthCheck(), outcomes, stage.now, sink=Half())
    assert outcomes == [errors.internal_error()]
    assert "the secret of the house" in caplog.text


def test_where_no_refusal_can_be_encoded_the_carrier_learns_of_it(stage, caplog):
    alice = stage.open(encoding=Speechless(Health, SignalingError))
    with caplog.at_level(logging.CRITICAL, logger="sigbridge.session"), pytest.raises(ValueError, match="the secret"):
        alice.do(HealthCheck())
    assert alice.took() == []
