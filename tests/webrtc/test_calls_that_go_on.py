"""Later offers of a call, connections that fail, and sessions that are lost, with a pretended server and pretended connections."""

import asyncio

import pytest

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from sigbridge import (
    Answer,
    AnswerReceived,
    Code,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerLeft,
    SessionLost,
)
from sigbridge_client.webrtc.call import CALLER_SECONDS
from sigbridge_client.webrtc.descriptions import read
from sigbridge_client.webrtc.negotiation import CLOSED_SECONDS
from sigbridge_client.webrtc.offer_rates import MAX_CONNECTIONS, MINUTE_SECONDS
from told_client import answer, candidate, offer, play, refusal


async def called(tried):
    """Calls zoe, who answers."""
    tried.calls.call("zoe")
    await tried.settle()
    await tried.tell(answer("mine_1"))


# Later offers.


def test_a_later_offer_for_the_same_connection_is_answered_by_it():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        await tried.tell(offer("theirs_2"), candidate("theirs_2", sdp_mid="0"))
        assert tried.answers == ["theirs_1", "theirs_2"]
        assert len(tried.ether.made) == 1
        assert len(tried.ether.made[0].candidates) == 1

    play(program)


@pytest.mark.parametrize("new", [{"number": 1001}, {"fragment": "restarted"}])
def test_a_peer_that_comes_with_another_connection_or_restarts_ice_is_answered_by_a_new_one(new):
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        tried.ether.made[0].become("connected")
        await tried.tell(offer("theirs_2", **new), PeerDisconnected("zoe", "theirs_1"))
        assert tried.answers == ["theirs_1", "theirs_2"]
        assert [one.connectionState for one in tried.ether.made] == ["closed", "new"]
        assert call.connection is tried.ether.made[1]
        assert call.state == "connecting"

    play(program)


def test_an_offer_that_does_not_fit_the_connection_is_answered_by_a_new_one():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        (first,) = tried.ether.made

        async def set_remote(description):
            raise ValueError("the media do not fit")

        first.setRemoteDescription = set_remote
        await tried.tell(offer("theirs_2"))
        assert tried.answers == ["theirs_1", "theirs_2"]
        assert len(tried.ether.made) == 2

    play(program)


def test_an_answer_that_is_refused_waits_for_the_next_offer():
    async def program(tried):
        tried.client.refusals[Answer] = [refusal(Code.FAILED_PRECONDITION)]
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        assert call.state == "connecting"
        await tried.tell(offer("theirs_2", number=1001))
        assert tried.answers == ["theirs_1", "theirs_2"]
        tried.client.refusals[Answer] = [refusal(Code.FAILED_PRECONDITION)]
        await tried.tell(offer("theirs_3", number=1002))
        assert await call.ended() == "failed"

    play(program)


# Connections that fail.


@pytest.mark.parametrize("lost", ["failed", "closed"])
def test_a_connection_that_is_lost_is_replaced_as_often_as_is_allowed(lost):
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        for number in range(1, 4):
            tried.ether.made[-1].become("connected")
            assert call.state == "connected"
            tried.ether.made[-1].become(lost)
            assert call.state == "connecting"
            await asyncio.sleep(CLOSED_SECONDS + CALLER_SECONDS + 1)
            assert len(tried.said(Offer)) == number
            await tried.tell(answer(f"mine_{number}", 1000 + number, answers=number + 1))
        for number in range(4, 6):
            tried.ether.made[-1].become("failed")
            await asyncio.sleep(CALLER_SECONDS + 1)
            await tried.tell(answer(f"mine_{number}", 1000 + number, answers=number + 1))
        assert call.state == "connecting"
        tried.ether.made[-1].become("failed")
        assert await call.ended() == "failed"
        await tried.settle()
        assert tried.ether.open == []

    play(program)


def test_a_connection_that_does_not_come_about_in_time_is_replaced():
    async def program(tried):
        await called(tried)
        await asyncio.sleep(9)
        assert len(tried.said(Offer)) == 2

    play(program, connect_seconds=8)


def test_a_hang_up_on_the_offer_of_before_takes_a_new_one_back():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        await asyncio.sleep(8 + CALLER_SECONDS)
        assert len(tried.said(Offer)) == 1
        await tried.tell(PeerDisconnected("zoe", "theirs_1"))
        # The peer had not heard yet that there is a new offer, which is taken back.
        assert tried.hang_ups == [("zoe", "mine_1")]

    play(program, connect_seconds=8)


def test_who_was_called_waits_for_the_offer_of_who_has_called():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        tried.ether.made[0].become("failed")
        await tried.settle()
        assert (call.connection, call.state) == (tried.ether.made[1], "connecting")
        await tried.tell(offer("theirs_2", 1001))
        assert tried.answers == ["theirs_1", "theirs_2"]
        await asyncio.sleep(2 * CALLER_SECONDS)
        assert tried.said(Offer) == []
        assert len(tried.ether.made) == 2

    play(program)


def test_who_has_called_offers_at_once_where_its_connection_has_failed():
    async def program(tried):
        await called(tried)
        tried.ether.made[0].become("failed")
        await tried.settle()
        assert len(tried.said(Offer)) == 2

    play(program)


@pytest.mark.parametrize(
    ("tidings", "reason"),
    [
        (PeerDisconnected("zoe", "theirs_1"), "peer_hung_up"),
        (PeerDisconnected("zoe"), "peer_hung_up"),
        (PeerLeft("zoe"), "peer_left"),
    ],
    ids=["hung-up", "hung-up-without-an-offer", "left"],
)
def test_who_waits_for_an_offer_hears_that_the_call_is_over(tidings, reason):
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        tried.ether.made[0].become("failed")
        await tried.tell(PeerDisconnected("zoe", "another"))
        assert call.state == "connecting"
        await tried.tell(tidings)
        assert (call.state, await call.ended()) == ("ended", reason)
        assert tried.hang_ups == []

    play(program)


def test_who_waits_for_an_offer_and_hangs_up_says_the_last_one():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        tried.ether.made[0].become("failed")
        await tried.settle()
        await tried.calls.call("zoe").hang_up()
        assert tried.hang_ups == [("zoe", "theirs_1")]

    play(program)


def test_a_call_that_is_taken_back_while_it_waits_stays_ended():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        tried.ether.made[0].become("failed")
        await tried.settle()
        await tried.tell(offer("theirs_2", 1001), PeerDisconnected("zoe", "theirs_2"))
        assert await call.ended() == "peer_hung_up"
        await asyncio.sleep(CLOSED_SECONDS + CALLER_SECONDS + 1)
        assert (call.state, tried.ether.open, tried.said(Offer)) == ("ended", [], [])

    play(program)


def test_a_hang_up_that_comes_behind_the_end_of_its_connection_is_one():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        tried.ether.made[0].become("connected")
        tried.ether.made[0].become("closed")
        await tried.tell(PeerDisconnected("zoe", "theirs_1"))
        assert await call.ended() == "peer_hung_up"
        assert tried.said(Offer) == []

    play(program)


# Offers without media.


def without_media(offer_id):
    """An offer as aiortc's for a connection to which nothing was added."""
    return OfferReceived("zoe", offer_id, "v=0\r\no=- 1001 1 IN IP4 0.0.0.0\r\na=group:BUNDLE \r\n", "offer")


@pytest.mark.parametrize("calls_first", [True, False])
def test_an_offer_without_media_is_answered_and_followed_by_one_of_ours(calls_first):
    async def program(tried):
        if calls_first:
            await called(tried)
            tried.ether.made[0].become("connected")
        before = len(tried.said(Offer))
        await tried.tell(without_media("theirs_1"))
        assert tried.answers == ["theirs_1"]
        assert len(tried.said(Offer)) == before + calls_first
        await asyncio.sleep(CALLER_SECONDS)
        assert len(tried.said(Offer)) == before + 1

    play(program)


@pytest.mark.parametrize("pause_seconds", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_offers_without_media_that_follow_each_other_leave_one_connection(pause_seconds):
    async def program(tried):
        tried.ether.step_seconds = 0.5
        tried.calls.call("zoe")
        await asyncio.sleep(2)
        for number in range(1, 4):
            tried.client.tell(without_media(f"theirs_{number}"))
            await asyncio.sleep(pause_seconds)
        await asyncio.sleep(2)
        made = len(tried.ether.made)
        await asyncio.sleep(2 * CLOSED_SECONDS)
        assert (len(tried.ether.made), tried.ether.open) == (made, tried.ether.made[-1:])

    play(program)


def test_connections_by_offers_without_media_are_bounded_as_others_are():
    async def program(tried):
        for number in range(5 * MAX_CONNECTIONS):
            tried.client.tell(without_media(f"theirs_{number}"))
            await asyncio.sleep(MINUTE_SECONDS / 6 / MAX_CONNECTIONS)
        assert len(tried.ether.made) <= MAX_CONNECTIONS

    play(program)


def test_a_call_without_media_leaves_no_mark_by_which_the_next_is_refused():
    async def program(tried):
        def build(configuration, call):
            connection = tried.ether.build(configuration, call)
            connection.has_media = False
            return connection

        tried.build = build
        tried.calls.call("zoe")
        await tried.settle()
        nothing = without_media("").sdp.replace("a=group", "a=answers:1\r\na=group")
        await tried.tell(AnswerReceived("zoe", nothing, "answer", "mine_1"))
        await tried.tell(PeerDisconnected("zoe", "mine_1"), without_media("theirs_1"))
        assert tried.answers == ["theirs_1"]

    play(program)


def test_a_group_of_no_media_is_said_to_nobody():
    """aiortc says one where it offers nothing, and Chromium refuses it."""
    assert read("v=0\r\na=group:BUNDLE \r\na=group:BUNDLE 0\r\n").sdp == "v=0\r\na=group:BUNDLE 0\r\n"


# Sessions.


def test_a_call_that_stands_outlives_a_lost_session_and_others_are_made_anew():
    async def program(tried):
        await tried.tell(offer("theirs_1"), offer("theirs_1", peer_id="yan"))
        standing, other = tried.calls.call("zoe"), tried.calls.call("yan")
        tried.ether.made[0].become("connected")
        tried.client.silent = {Offer}
        tried.calls.call("xe")
        await tried.settle()
        tried.client.lose()
        await tried.tell(SessionLost("me", ("xe", "yan", "zoe")))
        assert standing.state == "connected"
        assert other.state == "connecting"
        assert [request.to_peer_id for request in tried.said(Offer)] == ["xe", "yan", "xe"]
        assert len(tried.ether.open) == 3

    play(program)


def test_who_has_lost_its_session_is_the_caller_from_then_on():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        tried.ether.made[0].become("connected")
        await tried.tell(SessionLost("me", ("zoe",)))
        assert not call.is_incoming
        tried.ether.made[0].become("closed")
        await asyncio.sleep(CLOSED_SECONDS + 1)
        assert len(tried.said(Offer)) == 1

    play(program, most_incoming=1)
