"""Candidates, and what peers may send that is none: with a pretended server and pretended connections."""

import asyncio

import pytest

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from sigbridge import (
    AnswerReceived,
    IceServers,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    SessionLost,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_client.webrtc.call import MAX_WAITING
from sigbridge_client.webrtc.descriptions import MAX_CANDIDATES, MAX_SDP_BYTES
from sigbridge_client.webrtc.negotiation import MAX_OFFERS
from sigbridge_client.webrtc.offer_rates import MAX_CONNECTIONS, MAX_PEERS, MINUTE_SECONDS, OfferRates
from sigbridge_client.webrtc.passing import MAX_BYTES, MAX_EVENTS
from told_client import answer, candidate, offer, play

# Candidates.


@pytest.mark.parametrize(
    ("said", "mid", "index"),
    [
        ({"sdp_mid": "0"}, "0", 0),
        ({"sdp_mid": "0", "sdp_mline_index": 7}, "0", 0),
        ({"sdp_mline_index": 0}, None, 0),
        ({"sdp_mid": "", "sdp_mline_index": 0}, None, 0),
        ({"sdp_mid": ""}, None, 0),
        ({"sdp_mid": "unknown", "sdp_mline_index": 3}, None, 3),
        ({}, None, 0),
    ],
)
@pytest.mark.parametrize("prefix", ["candidate:", "", "a=candidate:"])
def test_candidates_find_their_media(said, mid, index, prefix):
    async def program(tried):
        await tried.tell(offer("theirs_1"), candidate("theirs_1", prefix + "7 1 udp 1 127.0.0.1 9 typ host", **said))
        (one,) = tried.ether.made[0].candidates
        assert (one.foundation, one.port, one.sdpMid, one.sdpMLineIndex) == ("7", 9, mid, index)

    play(program)


def test_an_empty_mid_is_one_where_the_description_has_it():
    async def program(tried):
        theirs = offer("theirs_1")
        theirs = OfferReceived("zoe", "theirs_1", theirs.sdp.replace("a=mid:0\r\n", ""), "offer")
        await tried.tell(theirs, candidate("theirs_1", sdp_mid=""))
        (one,) = tried.ether.made[0].candidates
        assert (one.sdpMid, one.sdpMLineIndex) == ("", 0)

    play(program)


def test_candidates_wait_for_their_description_and_their_end_comes_last():
    async def program(tried):
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.tell(candidate("mine_1", sdp_mid="0"), candidate("mine_1", ""), candidate("mine_0", sdp_mid="0"))
        assert call.connection.candidates == []
        await tried.tell(answer("mine_1"))
        first, last = call.connection.candidates
        assert (first.port, last) == (9, None)

    play(program)


def test_candidates_of_a_description_are_added_beside_it():
    async def program(tried):
        more = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n"
        await tried.tell(offer("theirs_1", more=more))
        (made,) = tried.ether.made
        assert [one and one.port for one in made.candidates] == [9, None]
        assert "candidate" not in made.descriptions[0][1]

    play(program)


def test_candidates_of_another_fragment_are_not_the_connections():
    async def program(tried):
        await tried.tell(
            offer("theirs_1"),
            candidate(sdp_mid="0", username_fragment="u999"),
            candidate("", "", username_fragment="u999"),
            candidate(sdp_mid="0", username_fragment="u1000"),
        )
        assert len(tried.ether.made[0].candidates) == 1

    play(program)


def test_a_candidate_that_hangs_or_raises_holds_nothing_up():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        (made,) = tried.ether.made
        add, tried_to_add = made.addIceCandidate, []

        async def add_candidate(one):
            tried_to_add.append(one.ip)
            if one.ip == "hangs.local":
                await asyncio.Event().wait()
            if one.ip == "raises.local":
                raise OSError("no multicast")
            await add(one)

        made.addIceCandidate = add_candidate
        for host in ("hangs.local", "raises.local", "127.0.0.1"):
            tried.client.tell(candidate("theirs_1", f"candidate:1 1 udp 1 {host} 9 typ host", sdp_mid="0"))
        await tried.tell(offer("other", peer_id="yan"))
        assert tried_to_add == ["hangs.local", "raises.local", "127.0.0.1"]
        assert [one.port for one in made.candidates] == [9]
        assert tried.answers == ["theirs_1", "other"]

    play(program)


# Hostile peers.


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "\0",
        "v=0",
        "no description",
        "m=\r\n" * 33,
        "x" * (MAX_SDP_BYTES + 1),
        "é" * (MAX_SDP_BYTES // 2 + 1),
        "\ud800",
    ],
)
def test_a_description_that_is_none_ends_its_call_and_no_other(garbage):
    async def program(tried):
        await tried.tell(offer("yans", peer_id="yan"))
        standing = tried.calls.call("yan")
        tried.ether.made[0].become("connected")
        await tried.tell(OfferReceived("zoe", "theirs_1", garbage, "offer"))
        assert tried.hang_ups == [("zoe", "theirs_1")]
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.tell(AnswerReceived("zoe", garbage, "answer", "mine_1"))
        assert await call.ended() == "failed"
        await tried.tell(offer("theirs_2"), OfferReceived("zoe", "theirs_3", garbage, "offer"))
        assert standing.state == "connected"
        assert tried.calls.call("yan") is standing

    play(program)


@pytest.mark.parametrize(
    "garbage", ["candidate:", "x", "candidate:1 1 udp x y z typ", "\0", "candidate:" + "1 " * 10000]
)
def test_candidates_that_are_none_are_dropped(garbage):
    async def program(tried):
        await tried.tell(offer("theirs_1"), candidate("theirs_1", garbage), candidate("theirs_1", sdp_mid="0"))
        assert [one.port for one in tried.ether.made[0].candidates] == [9]

    play(program)


def test_no_more_candidates_are_held_or_added_than_may_be():
    async def program(tried):
        call = tried.calls.call("zoe")
        await tried.settle()
        for number in range(3 * MAX_CANDIDATES):
            tried.client.tell(candidate("mine_1", f"candidate:1 1 udp 1 127.0.0.1 {number} typ host"))
        await tried.tell(answer("mine_1"))
        for number in range(3 * MAX_CANDIDATES):
            tried.client.tell(candidate("mine_1", f"candidate:1 1 udp 1 127.0.0.1 {number} typ host"))
        await tried.tell(candidate("mine_1", ""))
        assert len(call.connection.candidates) == MAX_CANDIDATES + 1
        assert call.connection.candidates[-1] is None

    play(program)


def test_candidates_of_nobodys_offer_are_kept_nowhere():
    async def program(tried):
        for number in range(1000):
            tried.client.tell(candidate(f"unknown_{number}"), candidate(f"unknown_{number}", peer_id=f"p{number}"))
        await tried.tell(answer("unknown"), answer(""), PeerDisconnected("zoe", "unknown"))
        assert tried.ether.made == []
        assert tried.calls._calls == {}

    play(program)


def test_what_waits_for_a_response_is_bounded():
    async def program(tried):
        tried.client.silent = {Offer}
        call = tried.calls.call("zoe")
        await tried.settle()
        for _ in range(10 * MAX_WAITING):
            tried.client.tell(candidate("mine_1", sdp_mid="0"))
        await tried.tell(answer("mine_1"))
        assert len(call._waiting) == MAX_WAITING
        tried.client.speak()
        await tried.settle()
        assert call.connection.descriptions[-1][0] == "answer"

    play(program)


def test_of_calls_of_peers_there_are_only_so_many():
    async def program(tried):
        for number in range(10):
            tried.client.tell(offer(f"theirs_{number}", number=1000 + number, peer_id=f"p{number}"))
        await tried.settle()
        assert len(tried.ether.made) == 3
        assert tried.hang_ups == [(f"p{number}", f"theirs_{number}") for number in range(3, 10)]
        # What this side begins is not counted.
        tried.calls.call("zoe")
        await tried.settle()
        assert len(tried.ether.made) == 4
        await tried.tell(PeerLeft("p0"))
        await tried.tell(offer("again", number=2000, peer_id="p9"))
        assert "again" in tried.answers

    play(program, most_incoming=3)


# Events.


def test_all_events_are_passed_on_in_order():
    async def program(tried):
        events = [PeerJoined("zoe", NO_CAPABILITIES, {}), offer("theirs_1"), PeerLeft("zoe"), SessionLost("me", ())]
        await tried.tell(*events)
        await tried.client.close()
        assert [event async for event in tried.calls.events()] == events

    play(program)


def test_events_that_nobody_reads_are_kept_in_bounded_memory(caplog):
    async def program(tried):
        for number in range(2 * MAX_EVENTS):
            tried.client.tell(PeerJoined(f"p{number}", NO_CAPABILITIES, {}))
        await tried.settle()
        assert tried.calls.events_dropped == MAX_EVENTS
        reading = tried.calls.events()
        assert (await anext(reading)).peer_id == f"p{MAX_EVENTS}"
        for number in range(20):
            tried.client.tell(PeerJoined(f"q{number}", NO_CAPABILITIES, {"x": "x" * (MAX_BYTES // 10)}))
        await tried.settle()
        assert (await anext(reading)).peer_id == "q11"

    play(program)
    assert "read too slowly" in caplog.text


# Floods.


def test_a_peer_that_offers_anew_without_a_pause_loses_its_call_and_is_not_taken_for_a_while():
    async def program(tried):
        for number in range(2 * MAX_CONNECTIONS):
            tried.client.tell(offer(f"theirs_{number}", number=1000 + number))
            await asyncio.sleep(0.01)
        await tried.settle()
        assert len(tried.ether.made) == MAX_CONNECTIONS
        assert tried.ether.open == []
        await tried.tell(offer("yans", peer_id="yan"))
        assert len(tried.ether.open) == 1
        await asyncio.sleep(60)
        await tried.tell(offer("late"))
        assert "late" in tried.answers

    play(program)


def test_offers_are_counted_of_so_many_peers_and_for_a_minute():
    rates = OfferRates()
    for number in range(MAX_CONNECTIONS):
        assert rates.allow("zoe", number / MAX_CONNECTIONS)
    assert not rates.allow("zoe", MINUTE_SECONDS - 1)
    assert rates.allow("zoe", MINUTE_SECONDS)
    for number in range(2 * MAX_PEERS):
        assert rates.allow(f"p{number}", MINUTE_SECONDS)
    assert len(rates._counts) == MAX_PEERS


def test_an_offer_for_a_connection_that_was_hung_up_on_is_no_new_call():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        await tried.calls.call("zoe").hang_up()
        await tried.tell(offer("theirs_2"))
        assert tried.hang_ups == [("zoe", "theirs_1"), ("zoe", "theirs_2")]
        assert len(tried.ether.made) == 1
        await tried.tell(offer("theirs_3", number=1001))
        assert tried.answers == ["theirs_1", "theirs_3"]

    play(program)


def test_a_call_of_many_offers_remembers_the_latest_alone():
    async def program(tried):
        for number in range(1000):
            tried.client.tell(offer(f"theirs_{number}"))
            await asyncio.sleep(0.01)
        await tried.settle()
        assert len(tried.ether.made) == 1
        call = tried.calls.call("zoe")
        assert len(call._negotiation.offers) == len(call._negotiation._set_offers) == MAX_OFFERS
        await tried.tell(PeerDisconnected("zoe", "theirs_0"))
        assert call.state == "connecting"
        # One that does not fit takes a new connection; a hang-up on the latest offer before is the call's.
        await tried.tell(candidate("theirs_998", sdp_mid="0"), candidate("theirs_999", sdp_mid="0"))
        assert [one.port for one in tried.ether.made[0].candidates] == [9, 9]
        await tried.tell(PeerDisconnected("zoe", "theirs_999"))
        assert await call.ended() == "peer_hung_up"

    play(program)


@pytest.mark.parametrize("urls", [None, 5, {}, [], [5, None], ["stun:x:y"]])
def test_ice_servers_that_are_none_cost_none_of_the_others(urls):
    async def program(tried):
        tried.client.servers = IceServers(({"urls": urls}, {}, {"urls": "stun:127.0.0.1:3478"}))
        call = tried.calls.call("zoe")
        await tried.settle()
        (server,) = call.connection.configuration.iceServers
        assert server.urls == ["stun:127.0.0.1:3478"]

    play(program)
