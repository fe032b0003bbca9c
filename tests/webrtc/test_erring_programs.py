"""Programs that use calls in ways of their own, with a pretended server and pretended connections."""

import asyncio

import pytest

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from sigbridge import Disconnect, Offer
from sigbridge_client.webrtc import Calls
from told_client import answer, offer, play


@pytest.mark.parametrize("calls_first", [True, False])
def test_a_function_may_hang_up_and_wait_for_it(calls_first):
    async def program(tried):
        async def build(configuration, call):
            made = tried.ether.build(configuration, call)
            await call.hang_up()
            return made

        tried.build = build
        if calls_first:
            call = tried.calls.call("zoe")
        else:
            await tried.tell(offer("theirs_1"))
        await tried.settle()
        assert tried.said(Offer) == []
        assert tried.hang_ups == ([] if calls_first else [("zoe", "theirs_1")])
        assert [one.connectionState for one in tried.ether.made] == ["closed"]
        if calls_first:
            assert await call.ended() == "hung_up"
        # The place of the call is free again.
        for number in range(3):
            await tried.tell(offer(f"more_{number}", number=2000 + number, peer_id=f"p{number}"))
        assert [said for said in tried.hang_ups if said[0] != "zoe"] == [(f"p{n}", f"more_{n}") for n in range(3)]
        assert len(tried.ether.made) == 4

    play(program, most_incoming=1)


def test_a_function_that_waits_for_its_hang_up_waits_until_the_peer_is_told():
    async def program(tried):
        told = []

        async def build(configuration, call):
            await call.hang_up()
            told.append(tried.said(Disconnect))
            return tried.ether.build(configuration, call)

        tried.build = build
        tried.client.silent = {Disconnect}
        await tried.tell(offer("theirs_1"))
        assert told == []
        tried.client.speak()
        await tried.settle()
        assert len(told) == 1

    play(program)


def test_a_function_that_is_cancelled_ends_its_call_and_no_other():
    async def program(tried):
        async def build(configuration, call):
            raise asyncio.CancelledError

        standing = tried.calls.call("yan")
        await tried.settle()
        tried.build = build
        call = tried.calls.call("zoe")
        assert await call.ended() == "failed"
        assert "cancelled" in str(call.error)
        await tried.tell(offer("theirs_1", peer_id="xe"))
        assert tried.hang_ups == [("xe", "theirs_1")]
        assert standing.state == "connecting"

    play(program)


def test_the_events_of_a_client_are_for_one_calls_alone():
    async def program(tried):
        with pytest.raises(RuntimeError, match="one Calls"):
            async with Calls(tried.client, tried.build):
                pass
        await tried.tell(offer("theirs_1"))
        assert tried.answers == ["theirs_1"]
        await tried.calls.close()
        async with Calls(tried.client, tried.build):
            await tried.tell(offer("theirs_2", number=1001))
            assert tried.answers == ["theirs_1", "theirs_2"]

    play(program)


def test_a_listener_of_the_connection_may_hang_up_and_call_again():
    async def program(tried):
        again = []

        def build(configuration, call):
            made = tried.ether.build(configuration, call)

            def change():
                if made.connectionState == "connected" and not again:
                    call.hang_up()
                    again.append(tried.calls.call("zoe"))

            made.on("connectionstatechange", change)
            return made

        tried.build = build
        call = tried.calls.call("zoe")
        await tried.settle()
        await tried.tell(answer("mine_1"))
        tried.ether.made[0].become("connected")
        await tried.settle()
        assert (call.state, again[0].state) == ("ended", "connecting")
        await tried.tell(answer("mine_2", number=1001, answers=2))
        tried.ether.made[1].become("connected")
        assert again[0].state == "connected"

    play(program)
