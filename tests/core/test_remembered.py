"""Requests that are remembered: which are the same, which ids are none, and how many are kept."""

import pytest
from msgspec import UNSET

from clock import NOW
from sigbridge import Answer, Claimed, Control, Disconnect, IceCandidate, Offer, OfferForAnswer, SignalingError, errors
from sigbridge.errors import Code
from sigbridge.messages import Relayed
from sigbridge.remembered import MAX_REMEMBERED, REQUEST_BYTES, SPARE, RememberedRequests, digest_of, finish, id_text


@pytest.mark.parametrize("nothing", [None, UNSET, ""])
def test_these_are_no_ids(nothing):
    assert id_text(nothing) == ""


@pytest.mark.parametrize(
    ("shown", "text"), [(7, "7"), ("7", "7"), (-1, "-1"), (2**53 + 1, "9007199254740993"), ("é", "é")]
)
def test_ids_are_compared_as_text(shown, text):
    assert id_text(shown) == text


@pytest.mark.parametrize("shown", ["x" * 128, "é" * 64, 10**127, -(10**126)])
def test_an_id_may_take_128_bytes(shown):
    assert id_text(shown) == str(shown)


@pytest.mark.parametrize("shown", ["x" * 129, "é" * 65, 10**128, 10**10_000, -(10**10_000)], ids=range(5))
def test_a_longer_id_is_a_wrong_field(shown):
    with pytest.raises(SignalingError) as refused:
        id_text(shown)
    assert (refused.value.code, refused.value.extra) == (Code.INVALID_ARGUMENT, {"field": "id"})


SAME = [
    (Offer("b", "v=0"), OfferForAnswer("b", "v=0")),
    (Offer("b", "v=0"), OfferForAnswer("b", "v=0", wants_reply=False, can_wait=False)),
    (Offer("b", "v=0"), Claimed("me", OfferForAnswer("b", "v=0"))),
    (Answer("b", "v=0"), Claimed("me", Answer("b", "v=0"))),
    (Control("x", {"a": 1}), Control("x", {"a": 1})),
    (IceCandidate("b", "c", sdp_mline_index=0), IceCandidate("b", "c", sdp_mline_index=0)),
]
OTHER = [
    (Offer("b", "v=0"), Answer("b", "v=0")),
    (Offer("b", "v=0"), Offer("b", "v=1")),
    (Offer("b", "v=0"), Offer("b", "v=0", "offer")),
    (Offer("b", "v=0"), Claimed("mallory", Offer("b", "v=0"))),
    (IceCandidate("b", "c"), IceCandidate("b", "c", sdp_mline_index=0)),
    (IceCandidate("b", "c", sdp_mid=""), IceCandidate("b", "c")),
    (Disconnect("b"), Disconnect("b", reason="x")),
    (Disconnect("b", "1", "x"), Offer("b", "1", "x")),
    (Control("x", {"a": 1}), Control("x", {"a": 2})),
    (Control("x", {}), Control("y", {})),
]


@pytest.mark.parametrize(("one", "another"), SAME)
def test_the_same_request_by_another_protocol_or_dialect_is_the_same(one, another):
    assert digest_of(one, "me") == digest_of(another, "me")


@pytest.mark.parametrize(("one", "another"), OTHER)
def test_requests_that_differ_before_defaults_are_filled_in_are_others(one, another):
    assert digest_of(one, "me") != digest_of(another, "me")


def test_the_oldest_that_are_done_go_when_some_more_than_the_last_are_remembered():
    requests = RememberedRequests()
    under_way = requests.begin("first", 0)
    for number in range(MAX_REMEMBERED + SPARE - 1):
        finish(requests.begin(str(number), 0), Relayed("b"), 1.0)
    assert len(requests) == MAX_REMEMBERED + SPARE
    requests.begin("more", 0)
    assert len(requests) == MAX_REMEMBERED + 1
    assert requests.bytes == (MAX_REMEMBERED + 1) * REQUEST_BYTES
    assert (requests.find(str(SPARE - 1), 0), requests.find("first", 0)) == (None, under_way)
    assert requests.find(str(SPARE), 0) is not None


def test_of_those_under_way_none_is_forgotten():
    requests = RememberedRequests()
    for number in range(MAX_REMEMBERED + SPARE):
        requests.begin(str(number), 0)
    with pytest.raises(SignalingError) as refused:
        requests.begin("more", 0)
    assert refused.value.code is Code.UNAVAILABLE
    requests.trim(NOW.monotonic + 10**6)
    assert len(requests) == MAX_REMEMBERED + SPARE


def test_what_was_done_too_long_ago_is_forgotten():
    requests = RememberedRequests()
    finish(requests.begin("1", 0), Relayed("b"), 1.0)
    finish(requests.begin("2", 0), Relayed("b"), 3.0)
    requests.trim(2.0)
    assert (requests.find("1", 0), len(requests)) == (None, 1)
    requests.trim(4.0)
    assert len(requests) == 0


@pytest.mark.parametrize(
    ("outcome", "known"),
    [
        (errors.too_many_requests("offer", 50.0, 10), False),
        (errors.session_ended(), False),
        (errors.peer_not_found("b"), True),
        (errors.peer_unavailable("b"), True),
        (errors.internal_error(), True),
        (Relayed("b"), True),
    ],
)
def test_what_has_not_reached_the_rules_is_not_remembered(outcome, known):
    requests = RememberedRequests()
    assert finish(requests.begin("1", 0), outcome, 1.0) is None
    assert (requests.find("1", 0) is not None) is known


def test_the_outcome_goes_to_who_has_joined_last():
    class Asker:
        def respond(self, outcome, request_id, now):
            """Takes the outcome."""

    one, last = RememberedRequests().begin("1", 0), Asker()
    one.joined = Asker()
    one.joined = last
    assert finish(one, Relayed("b"), 1.0) is last
