"""Calls of the hub to a tracer, and their times."""

from contextlib import contextmanager

import pytest

from clock import NOW
from sigbridge import Announce, Code, Disconnect, Hub, ListPeers, Offer, Settings, SignalingError
from sigbridge.session import Caller
from stage import PlainEncoding, outcome_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder:
    """A tracer that writes down what began and ended, in order."""

    def __init__(self):
        self.lines = []

    @contextmanager
    def _span(self, *what):
        self.lines.append(("begin", *what))
        try:
            yield
        finally:
            self.lines.append(("end", *what))

    def request(self, session, kind, traceparent):
        return self._span("request", session.id, kind, traceparent)

    def delivery(self, target, kind):
        return self._span("delivery", target.id, kind)


@pytest.fixture
def tracer():
    return Recorder()


@pytest.fixture
def hub(tracer):
    return Hub(Settings(rate_burst=5), NOW, tracer=tracer)


def open_peer(hub, peer_id, traceparent=""):
    session = hub.open("grpc", PlainEncoding(), lambda reason: None, NOW, Caller(traceparent=traceparent))
    outcome_of(hub, session, Announce(peer_id), NOW)
    return session


def test_a_delivery_lies_within_its_request(hub, tracer):
    alice, bob = open_peer(hub, "alice"), open_peer(hub, "bob")
    tracer.lines.clear()
    outcome_of(hub, alice, Offer("bob", "v=0"), NOW, traceparent=PARENT)
    assert tracer.lines == [
        ("begin", "request", alice.id, "offer", PARENT),
        ("begin", "delivery", bob.id, "offer"),
        ("end", "delivery", bob.id, "offer"),
        ("end", "request", alice.id, "offer", PARENT),
    ]


def test_a_request_s_own_context_comes_before_its_connection_s(hub, tracer):
    session = open_peer(hub, "alice", traceparent=PARENT)
    tracer.lines.clear()
    outcome_of(hub, session, ListPeers(), NOW)
    outcome_of(hub, session, ListPeers(), NOW, traceparent="own")
    assert [line[-1] for line in tracer.lines if line[0] == "begin"] == [PARENT, "own"]


def test_a_refused_request_ends_its_spans_and_delivers_nothing(hub, tracer):
    alice = open_peer(hub, "alice")
    tracer.lines.clear()
    assert outcome_of(hub, alice, Offer("nobody", "v=0"), NOW).code is Code.NOT_FOUND
    assert [line[:2] for line in tracer.lines] == [("begin", "request"), ("end", "request")]


def test_a_hang_up_is_delivered_too(hub, tracer):
    alice, bob = open_peer(hub, "alice"), open_peer(hub, "bob")
    tracer.lines.clear()
    outcome_of(hub, alice, Disconnect("bob"), NOW)
    assert ("begin", "delivery", bob.id, "peer_disconnected") in tracer.lines


def test_a_full_outbox_ends_the_span(tracer):
    hub = Hub(Settings(outbox_max_messages=1), NOW, tracer=tracer)
    alice = open_peer(hub, "alice")
    open_peer(hub, "bob")
    answers = [outcome_of(hub, alice, Offer("bob", "v=0"), NOW) for _ in range(3)]
    assert [a.code for a in answers if isinstance(a, SignalingError)][-1] is Code.UNAVAILABLE
    began = [line[1:] for line in tracer.lines if line[0] == "begin"]
    ended = [line[1:] for line in tracer.lines if line[0] == "end"]
    assert sorted(began) == sorted(ended)
