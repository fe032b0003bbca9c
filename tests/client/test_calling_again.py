"""A caller that hangs up and calls again at once, on every pairing of protocols: it takes no answer to the first offer."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from served import servers
from sigbridge import AnswerReceived, Code, IceCandidateReceived, OfferReceived, PeerDisconnected, SignalingError
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS

PROTOCOLS = ("grpc", "websocket")
pairings = pytest.mark.parametrize(
    ("caller_protocol", "callee_protocol"), [(one, other) for one in PROTOCOLS for other in PROTOCOLS]
)


class Talker:
    """A client, and its events of the kinds that belong to a call, read one by one."""

    def __init__(self, client):
        self.client = client
        self._events = client.events()

    async def next(self):
        """The next event that belongs to a call."""
        async for event in self._events:
            if isinstance(event, OfferReceived | AnswerReceived | IceCandidateReceived | PeerDisconnected):
                return event
        raise AssertionError("the connection has ended")


@pytest.fixture
async def meet():
    """Let `alice` and `bob` meet, each by a protocol of its own."""

    @asynccontextmanager
    async def meeting(server, caller_protocol, callee_protocol):
        urls = {
            "grpc": f"grpc://127.0.0.1:{server.grpc_port}",
            "websocket": f"ws://127.0.0.1:{server.websocket_port}",
        }
        async with (
            asyncio.timeout(TIME_LIMIT_SECONDS),
            await connect(urls[caller_protocol]) as alice,
            await connect(urls[callee_protocol]) as bob,
        ):
            await alice.announce("alice")
            await bob.announce("bob")
            yield Talker(alice), Talker(bob)

    async with servers() as start:
        server = await start()
        yield lambda *protocols: meeting(server, *protocols)


@pairings
async def test_the_late_answer_is_refused(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        first = await alice.client.offer("bob", "first")
        assert await bob.next() == OfferReceived("alice", first.offer_id, "first", "offer")
        await alice.client.disconnect("bob")
        second = await alice.client.offer("bob", "second")
        # It has not read what came after the first offer, so the first is what it answers.
        with pytest.raises(SignalingError) as refused:
            await bob.client.answer("alice", "to first")
        assert (refused.value.code, refused.value.message) == (
            Code.FAILED_PRECONDITION,
            f"Offer {first.offer_id} is over",
        )
        assert await bob.next() == PeerDisconnected("alice", first.offer_id)
        assert await bob.next() == OfferReceived("alice", second.offer_id, "second", "offer")
        await bob.client.answer("alice", "to second")
        assert await alice.next() == AnswerReceived("bob", "to second", "answer", second.offer_id)
        await bob.client.ice_candidate("alice", "of second", sdp_mid="0")
        assert await alice.next() == IceCandidateReceived("bob", "of second", "0", offer_id=second.offer_id)
        await bob.client.disconnect("alice")
        assert await alice.next() == PeerDisconnected("bob", second.offer_id)


@pairings
async def test_the_answer_that_came_before_the_hang_up_is_not_handed_out(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        await alice.client.offer("bob", "first")
        assert (await bob.next()).sdp == "first"
        await bob.client.answer("alice", "to first")
        # Its reply comes behind the answer, which has arrived then and waits to be read.
        await alice.client.list_peers()
        await alice.client.disconnect("bob")
        second = await alice.client.offer("bob", "second")
        assert isinstance(await bob.next(), PeerDisconnected)
        assert (await bob.next()).sdp == "second"
        await bob.client.answer("alice", "to second")
        assert await alice.next() == AnswerReceived("bob", "to second", "answer", second.offer_id)


@pairings
async def test_a_callee_that_says_nothing_is_heard(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        offered = await alice.client.offer("bob", "v=0")
        await bob.next()
        await bob.client.answer("alice", "maybe", type="pranswer", offer_id="")
        await bob.client.answer("alice", "v=0", offer_id="")
        assert await alice.next() == AnswerReceived("bob", "maybe", "pranswer")
        assert await alice.next() == AnswerReceived("bob", "v=0", "answer")
        await alice.client.ice_candidate("bob", "c", sdp_mid="0")
        assert await bob.next() == IceCandidateReceived("alice", "c", "0", offer_id=offered.offer_id)


@pairings
async def test_an_answer_is_handed_out_where_a_later_offer_is_refused(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        first = await alice.client.offer("bob", "first")
        await bob.next()
        await bob.client.answer("alice", "to first")
        await alice.client.list_peers()
        # The answer has arrived, and is read while an offer is on its way that the server refuses.
        refused, answer = await asyncio.gather(
            alice.client.offer("bob", "second", type="nonsense"), alice.next(), return_exceptions=True
        )
        assert isinstance(refused, SignalingError)
        assert answer == AnswerReceived("bob", "to first", "answer", first.offer_id)


@pairings
async def test_an_answer_is_not_handed_out_where_a_later_offer_is_taken(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        await alice.client.offer("bob", "first")
        await bob.next()
        await bob.client.answer("alice", "to first")
        await alice.client.list_peers()
        reading = asyncio.create_task(alice.next())
        second = await alice.client.offer("bob", "second")
        await bob.next()
        await bob.client.answer("alice", "to second")
        assert await reading == AnswerReceived("bob", "to second", "answer", second.offer_id)


@pairings
async def test_both_of_two_offers_that_cross_may_be_answered(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        one, other = await asyncio.gather(alice.client.offer("bob", "alice's"), bob.client.offer("alice", "bob's"))
        assert ((await alice.next()).sdp, (await bob.next()).sdp) == ("bob's", "alice's")
        await asyncio.gather(alice.client.answer("bob", "to bob's"), bob.client.answer("alice", "to alice's"))
        assert await alice.next() == AnswerReceived("bob", "to alice's", "answer", one.offer_id)
        assert await bob.next() == AnswerReceived("alice", "to bob's", "answer", other.offer_id)


@pairings
async def test_a_hang_up_that_is_read_late_ends_no_later_offer(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        await alice.client.offer("bob", "first")
        assert (await bob.next()).sdp == "first"
        await bob.client.disconnect("alice", offer_id="")
        await alice.client.list_peers()
        # The hang-up has arrived, and the program does not know of it yet.
        second = await alice.client.offer("bob", "second")
        assert (await bob.next()).sdp == "second"
        assert await alice.next() == PeerDisconnected("bob")
        await bob.client.answer("alice", "to second")
        assert await alice.next() == AnswerReceived("bob", "to second", "answer", second.offer_id)


@pairings
async def test_an_offer_that_was_given_up_is_hung_up_with_all_others(meet, caller_protocol, callee_protocol):
    async with meet(caller_protocol, callee_protocol) as (alice, bob):
        giving_up = asyncio.create_task(alice.client.offer("bob", "given up"))
        await asyncio.sleep(0)
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        assert (await bob.next()).sdp == "given up"
        await alice.client.disconnect("bob")
        assert await bob.next() == PeerDisconnected("alice")
        with pytest.raises(SignalingError, match="is over"):
            await bob.client.answer("alice", "v=0")
