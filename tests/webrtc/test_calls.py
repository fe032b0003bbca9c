"""Calls and what becomes of them, with a pretended server and pretended connections."""

import asyncio

import pytest

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from sigbridge import (
    Code,
    Disconnect,
    GetIceServers,
    IceCandidate,
    IceServers,
    IceServersChanged,
    Offer,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    SessionLost,
    SignalingError,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_client.webrtc import CallEnded
from sigbridge_client.webrtc.call import is_polite
from told_client import answer, candidate, offer, play, refusal

# Calling and taking calls.


def test_who_calls_sends_its_offer_before_candidates_and_the_end_of_these_last():
    async def program(tried):
        tried.calls.call("zoe")
        await tried.settle()
        said = [request for request in tried.client.says if not isinstance(request, GetIceServers)]
        assert [type(request) for request in said] == [Offer, IceCandidate, IceCandidate]
        assert "candidate" not in said[0].sdp
        assert said[1] == IceCandidate("zoe", "candidate:1 1 udp 1 127.0.0.1 1 typ host", "0", 0, "u1", "mine_1")
        assert said[2] == IceCandidate("zoe", "", offer_id="mine_1")

    play(program)


def test_an_offer_is_sent_before_it_is_set():
    async def program(tried):
        tried.client.silent = {Offer}
        call = tried.calls.call("zoe")
        await tried.settle()
        assert tried.said(Offer)
        assert call.connection.signalingState == "stable"
        tried.client.speak()
        await tried.settle()
        assert call.connection.signalingState == "have-local-offer"

    play(program)


def test_a_call_of_a_peer_is_taken_answered_and_handed_out():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = await anext(aiter(tried.calls))
        assert (call.peer_id, call.is_incoming, call.state) == ("zoe", True, "connecting")
        assert tried.answers == ["theirs_1"]
        assert tried.calls.call("zoe") is call
        tried.ether.made[0].become("connected")
        await call.connected()
        assert call.state == "connected"

    play(program)


def test_a_call_that_nobody_has_taken_is_handed_out_behind_many_that_have_ended():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        tried.ether.made[0].become("connected")
        for number in range(100):
            await tried.tell(offer(f"offer_{number}", 2000 + number, "yan"), PeerDisconnected("yan", f"offer_{number}"))
        coming = aiter(tried.calls)
        assert (await anext(coming)).peer_id == "zoe"
        await tried.tell(offer("last", 3000, "yan"))
        assert (await anext(coming)).peer_id == "yan"

    play(program)


def test_calls_end_with_the_client_and_so_does_who_waits_for_more():
    async def program(tried):
        coming = asyncio.create_task(anext(aiter(tried.calls), None))
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.client.close()
        assert await call.ended() == "closed"
        assert await coming is None
        assert await tried.calls.call("yan").ended() == "closed"
        assert tried.hang_ups == []

    play(program)


def test_calls_that_are_closed_are_hung_up_on():
    async def program(tried):
        call = tried.calls.call("zoe")
        await tried.tell(offer("theirs_1", peer_id="yan"))
        await tried.calls.close()
        assert await call.ended() == "hung_up"
        assert sorted(tried.hang_ups) == [("yan", "theirs_1"), ("zoe", "mine_1")]

    play(program)


def test_a_call_outside_the_context_is_refused():
    async def program(tried):
        calls = type(tried.calls)(tried.client, tried.build)
        with pytest.raises(RuntimeError, match="context manager"):
            calls.call("zoe")

    play(program)


# Ends.


@pytest.mark.parametrize(
    ("refused", "reason"),
    [(errors.peer_not_found("zoe"), "peer_not_found"), (refusal(Code.PERMISSION_DENIED), "refused")],
)
def test_an_offer_that_is_refused_ends_the_call(refused, reason):
    async def program(tried):
        tried.client.refusals[Offer] = [refused]
        call = tried.calls.call("zoe")
        with pytest.raises(CallEnded) as ended:
            await call.connected()
        assert (ended.value.reason, call.error) == (reason, refused)
        await tried.settle()
        assert tried.hang_ups == []

    play(program)


def test_an_offer_that_is_refused_for_a_while_is_sent_again():
    async def program(tried):
        tried.client.refusals[Offer] = [SignalingError(Code.RESOURCE_EXHAUSTED, "slow", retry_after_ms=300)] * 2
        call = tried.calls.call("zoe")
        await tried.settle()
        assert len(tried.said(Offer)) == 3
        assert call.state == "connecting"

    play(program)


def test_a_hang_up_says_the_offer_and_comes_before_the_next_call():
    async def program(tried):
        tried.client.silent = {Offer}
        first = tried.calls.call("zoe")
        await tried.settle()
        first.hang_up()
        assert first.state == "ended"
        second = tried.calls.call("zoe")
        assert second is not first
        await tried.settle()
        assert len(tried.said(Offer)) == 1
        tried.client.speak()
        await tried.settle()
        said = [type(one) for one in tried.client.says if isinstance(one, Offer | Disconnect)]
        assert said == [Offer, Disconnect, Offer]
        assert tried.hang_ups == [("zoe", "mine_1")]
        assert await first.ended() == "hung_up"
        assert second.state == "connecting"

    play(program)


def test_a_hang_up_on_another_offer_is_not_the_calls():
    async def program(tried):
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.tell(PeerDisconnected("zoe", "mine_0"), PeerDisconnected("yan", "mine_1"))
        assert call.state == "connecting"
        await tried.tell(PeerDisconnected("zoe", "mine_1"))
        assert await call.ended() == "peer_hung_up"

    play(program)


def test_a_hang_up_of_before_that_comes_while_a_call_is_being_made_is_not_the_calls():
    async def program(tried):
        tried.client.silent = {GetIceServers}
        call = tried.calls.call("zoe")
        await tried.tell(PeerDisconnected("zoe", "mine_0"), PeerDisconnected("zoe"))
        assert call.state == "connecting"
        tried.client.speak()

    play(program)


def test_a_peer_that_leaves_ends_its_call_and_nobody_is_told():
    async def program(tried):
        await tried.tell(offer("theirs_1"))
        call = tried.calls.call("zoe")
        await tried.tell(PeerLeft("zoe"))
        assert await call.ended() == "peer_left"
        assert tried.hang_ups == []

    play(program)


def test_an_offer_that_nobody_answers_ends_the_call():
    async def program(tried):
        call = tried.calls.call("zoe")
        assert await call.ended() == "failed"
        await tried.settle()
        assert tried.hang_ups == [("zoe", "mine_1")]

    play(program, answer_seconds=5)


def test_a_function_that_raises_ends_its_call_and_no_other(caplog):
    async def program(tried):
        standing = tried.calls.call("yan")
        await tried.settle()

        def build(configuration, call):
            raise LookupError("no such camera")

        tried.build = build
        call = tried.calls.call("zoe")
        with pytest.raises(CallEnded) as ended:
            await call.connected()
        assert ended.value.reason == "failed"
        assert isinstance(ended.value.__cause__, LookupError)
        await tried.tell(offer("theirs_1", peer_id="xe"))
        assert tried.hang_ups == [("xe", "theirs_1")]
        assert standing.state == "connecting"

    play(program)
    assert "no such camera" in caplog.text


def test_a_function_that_returns_no_connection_is_told_so():
    async def program(tried):
        tried.build = lambda configuration, call: None
        call = tried.calls.call("zoe")
        assert await call.ended() == "failed"
        assert "expected the RTCPeerConnection" in str(call.error)

    play(program)


def test_what_a_slow_function_makes_is_closed_where_the_call_has_ended():
    async def program(tried):
        may_go = asyncio.Event()

        async def build(configuration, call):
            await may_go.wait()
            return tried.ether.build(configuration, call)

        tried.build = build
        call = tried.calls.call("zoe")
        await tried.settle()
        hanging_up = asyncio.ensure_future(call.hang_up())
        may_go.set()
        await hanging_up
        assert [one.connectionState for one in tried.ether.made] == ["closed"]
        assert tried.said(Offer) == tried.hang_ups == []

    play(program)


def test_who_stops_to_wait_for_a_hang_up_interrupts_nothing():
    async def program(tried):
        call = tried.calls.call("zoe")
        await tried.settle()
        tried.client.silent = {Disconnect}
        waiting = asyncio.ensure_future(call.hang_up())
        await tried.settle()
        waiting.cancel()
        tried.client.speak()
        await call.hang_up()
        assert tried.ether.open == []

    play(program)


def test_calls_are_closed_though_no_hang_up_can_be_told_and_steps_are_slow():
    async def program(tried):
        tried.ether.step_seconds = 5
        tried.client.silent = {Disconnect}
        tried.calls.call("zoe")
        await tried.tell(offer("theirs_1", peer_id="yan"))
        await tried.calls.close()
        assert tried.ether.open == []
        tried.client.speak()

    play(program)


# Both call at once.


@pytest.mark.parametrize(
    ("own_id", "peer_id", "polite"),
    [("a", "b", True), ("b", "a", False), ("a", "aa", True), ("\uffee", "\U0001f600", True), ("z", "ä", True)],
)
def test_who_is_polite_is_said_by_utf8(own_id, peer_id, polite):
    assert is_polite(own_id, peer_id) is polite


def test_the_polite_one_answers_by_a_new_connection():
    async def program(tried):
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.tell(offer("theirs_1"), candidate("theirs_1", sdp_mid="0"))
        assert tried.answers == ["theirs_1"]
        first, second = tried.ether.made
        assert call.connection is second
        assert first.connectionState == "closed"
        assert [one.port for one in second.candidates] == [9]
        await tried.tell(PeerDisconnected("zoe", "theirs_1"))
        assert await call.ended() == "peer_hung_up"
        # Where the peer had ended its call when our offer came, that would be a call of ours.
        assert tried.hang_ups == [("zoe", "mine_1")]

    play(program)


def test_the_impolite_one_ignores_the_offer_and_its_candidates():
    async def program(tried):
        call = tried.calls.call("bob")
        await tried.settle()
        await tried.tell(
            offer("theirs_1", peer_id="bob"),
            candidate("theirs_1", peer_id="bob", sdp_mid="0"),
            answer("mine_1", peer_id="bob"),
            candidate("mine_1", "candidate:1 1 udp 1 127.0.0.1 8 typ host", peer_id="bob", sdp_mid="0"),
            PeerDisconnected("bob", "theirs_1"),
        )
        assert tried.answers == []
        assert [one.port for one in call.connection.candidates] == [8]
        assert len(tried.ether.made) == 1
        assert call.state == "connecting"

    play(program)


def test_the_impolite_one_takes_the_offer_where_its_own_is_refused():
    async def program(tried):
        tried.client.silent = {Offer}
        tried.client.refusals[Offer] = [errors.peer_not_found("bob")]
        call = tried.calls.call("bob")
        await tried.settle()
        await tried.tell(offer("theirs_1", peer_id="bob"), candidate("theirs_1", peer_id="bob", sdp_mid="0"))
        assert tried.answers == []
        tried.client.speak()
        await tried.settle()
        assert tried.answers == ["theirs_1"]
        assert [one.port for one in call.connection.candidates] == [9]

    play(program)


def test_the_last_of_several_offers_counts_that_come_while_the_connection_is_made():
    async def program(tried):
        tried.client.silent = {GetIceServers}
        await tried.tell(offer("theirs_1"), offer("theirs_2"), PeerDisconnected("zoe", "theirs_1"))
        tried.client.speak()
        await tried.settle()
        assert tried.answers == ["theirs_2"]
        assert tried.calls.call("zoe").state == "connecting"

    play(program)


def test_an_offer_that_comes_while_the_connection_is_made_is_answered_by_it():
    async def program(tried):
        tried.client.silent = {GetIceServers}
        tried.calls.call("bob")
        await tried.tell(offer("theirs_1", peer_id="bob"))
        tried.client.speak()
        await tried.settle()
        assert tried.answers == ["theirs_1"]
        assert tried.said(Offer) == []
        assert len(tried.ether.made) == 1

    play(program)


def test_who_offers_to_a_peer_that_leaves_offers_again():
    async def program(tried):
        tried.client.silent = {Offer}
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.tell(PeerLeft("zoe"), PeerJoined("zoe", NO_CAPABILITIES, {}))
        tried.client.speak()
        await tried.settle()
        assert len(tried.said(Offer)) == 2
        await tried.tell(answer("mine_2", answers=2))
        assert call.connection.descriptions[-1][0] == "answer"

    play(program)


# ICE servers.


def test_connections_have_the_ice_servers_that_there_are():
    turn = {"urls": ["turn:127.0.0.1:3478", "odd:1"], "username": "u", "credential": "c"}

    async def program(tried):
        tried.client.servers = IceServers(({"urls": "stun:127.0.0.1:3478"}, turn, {"urls": ["odd:2"]}))
        tried.calls.call("zoe")
        await tried.settle()
        tried.calls.call("yan")
        await tried.settle()
        assert len(tried.said(GetIceServers)) == 1
        await tried.tell(IceServersChanged((), 1))
        tried.calls.call("xe")
        await tried.settle()
        assert len(tried.said(GetIceServers)) == 2
        for peer_id in ("zoe", "yan", "xe"):
            await tried.calls.call(peer_id).hang_up()
        tried.client.refusals[GetIceServers] = [refusal(Code.UNIMPLEMENTED)]
        await tried.tell(SessionLost("me", ()))
        tried.calls.call("wu")
        await tried.settle()
        first, *_, last = tried.ether.made
        assert [(one.urls, one.username, one.credential) for one in first.configuration.iceServers] == [
            (["stun:127.0.0.1:3478"], None, None),
            (["turn:127.0.0.1:3478"], "u", "c"),
        ]
        assert last.configuration.iceServers == []

    play(program)


def test_servers_that_do_not_come_hold_no_call_up():
    async def program(tried):
        tried.client.silent = {GetIceServers}
        tried.calls.call("zoe")
        await asyncio.sleep(20)
        assert len(tried.said(Offer)) == 1
        tried.client.speak()

    play(program)
