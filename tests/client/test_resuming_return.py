"""A client that comes back: what it announces and repeats, and what becomes of it where its peer is lost."""

import asyncio
import contextlib

import pytest

from pretended_server import BOB, LOST, now, outcome_of, play, refused
from sigbridge import (
    Announce,
    AnswerReceived,
    Code,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    OutcomeUnknown,
    PeerList,
    Relayed,
    SessionLost,
    errors,
)
from sigbridge_client.resuming import ANNOUNCE_SECONDS, SHADOW_SECONDS

# Coming back.


def test_before_an_announce_nothing_is_announced():
    async def program(played):
        await played.lose()
        assert played.session.sent == []
        assert played.kinds == ["reconnecting", "resumed"]
        assert await played.client.list_peers() == PeerList((), 0)

    play(program)


def test_the_whole_announce_comes_again_with_the_token_and_what_has_arrived():
    async def program(played):
        await played.client.announce("alice", metadata={"k": "v"}, room="r")
        assert played.session.requests == [Announce("alice", metadata={"k": "v"}, room="r", resumable=True)]
        played.session.tell(BOB, 1)
        played.session.tell(IceCandidateReceived("bob", "1"), 2)
        await played.lose()
        told = Announce("alice", metadata={"k": "v"}, room="r", resumable=True, resume_token="token'", last_seq=2)
        assert played.session.requests == [told]
        for seq in (1, 2, 3):
            played.session.tell(IceCandidateReceived("bob", str(seq)), seq)
        await asyncio.sleep(1)
        assert [event.kind for event in played.told] == [
            "peer_joined", "ice_candidate", "reconnecting", "resumed", "ice_candidate",
        ]  # fmt: skip
        assert played.told[-1].candidate == "3"

    play(program)


def test_what_is_unanswered_comes_again_first_in_its_order_with_its_numbers():
    async def program(played):
        await played.announced()
        asked = [Offer("bob", "v=0"), IceCandidate("bob", "1"), Disconnect("bob")]
        played.server.unanswered = (Offer, IceCandidate, Disconnect)
        waiting = [played.start(request) for request in asked]
        question = played.start(ListPeers(page_size=7))
        await asyncio.sleep(0)
        before = played.session.sent[1:4]
        assert [request for _, request in before] == asked
        await question
        played.session.lose()
        late = [played.start(IceCandidate("bob", "2")), played.start(ListPeers(page_size=8))]
        await played.until_standing()
        await late[1]
        assert played.session.sent[1:4] == before
        assert played.session.requests[4:] == [IceCandidate("bob", "2"), ListPeers(page_size=8)]
        assert played.session.sent[4][0] > before[-1][0]
        replies = [OfferRelayed("o", "bob"), Relayed("bob"), Disconnected("bob")]
        for (number, _), reply in zip(before, replies, strict=True):
            played.session._on_reply(number, reply)
        assert [await one for one in waiting] == replies
        late[0].cancel()

    play(program)


def test_a_session_that_is_lost_while_it_repeats_is_followed_by_another():
    async def program(played):
        await played.announced()
        waiting = [played.start(IceCandidate("bob", str(i))) for i in range(3)]
        await asyncio.sleep(0)
        played.session.lose()
        played.server.unanswered = ()
        reply = played.server.reply

        def lose_at_the_second(request):
            if isinstance(request, IceCandidate):
                if request.candidate == "1" and len(played.server.sessions) == 2:
                    played.session.lose()
                    return None
                return Relayed("bob")
            return reply(request)

        played.server.reply = lose_at_the_second
        assert [await one for one in waiting] == [Relayed("bob")] * 3
        assert [request.candidate for request in played.server.sessions[1].requests[1:]] == ["0", "1", "2"]
        assert [request.candidate for request in played.server.sessions[2].requests[1:]] == ["1", "2"]
        assert played.kinds == ["reconnecting", "resumed"] * 2

    play(program)


def test_a_question_is_asked_until_it_is_answered():
    async def program(played):
        played.server.unanswered = (ListPeers,)
        question = played.start(ListPeers())
        for _ in range(3):
            await asyncio.sleep(1)
            await played.lose()
        played.server.unanswered = ()
        played.session.lose()
        assert await question == PeerList((), 0)

    play(program)


def test_a_call_beside_a_session_that_is_lost_alone_is_told():
    async def program(played):
        async def call(request):
            raise LOST

        played.session.call = call
        asked_at = now()
        assert await outcome_of(played.client.list_peers()) is LOST
        assert now() - asked_at <= 1.01
        assert played.kinds == []

    play(program)


def test_a_token_shown_in_a_session_is_shown_at_the_next_one():
    async def program(played):
        await played.client.authenticate("fresh")
        assert played.server.shown == "fresh"

    play(program)


def test_an_announce_that_is_not_answered_is_tried_again():
    async def program(played):
        await played.announced()
        played.server.refusals = [None]
        lost_at = now()
        await played.lose()
        assert len(played.server.sessions) == 3
        assert ANNOUNCE_SECONDS < now() - lost_at < ANNOUNCE_SECONDS + 1
        assert played.kinds == ["reconnecting", "resumed"]

    play(program)


@pytest.mark.parametrize("code", list(Code))
def test_an_announce_that_is_refused_is_tried_again_where_time_may_change_that(code):
    passing = {"DEADLINE_EXCEEDED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}

    async def program(played):
        await played.announced()
        played.server.refusals = [refused(code, retry_after_ms=1500)]
        played.session.lose()
        if code.name in passing:
            await played.until_standing()
            assert played.kinds == ["reconnecting", "resumed"]
            first, second = played.server.opened_at
            assert round(second - first, 2) == 1.5
        else:
            await played.reading
            assert (played.client.closed.reason, played.client.closed.reconnect) == (code.name.lower(), False)

    play(program)


def test_another_one_of_its_id_is_its_own_shadow_for_so_long_only():
    async def program(played):
        await played.announced()
        played.server.refusals = [errors.already_announced("alice")] * 100
        played.session.lose()
        await played.reading
        assert played.client.closed.reason == "already_exists"
        assert SHADOW_SECONDS <= now() < SHADOW_SECONDS + 11

    play(program)


# Losing the peer.


def test_a_peer_that_is_lost_is_announced_anew_and_its_requests_are_unknown():
    async def program(played):
        await played.announced()
        played.session.tell(BOB, 1)
        waiting = [played.start(request) for request in (Offer("bob", "v=0"), Disconnect("bob"))]
        played.server.unanswered = (Offer, Disconnect, ListPeers)
        question = played.start(ListPeers())
        await asyncio.sleep(0)
        played.server.is_new = True
        played.session.lose()
        late = played.start(IceCandidate("bob", "1"))
        played.server.unanswered = ()
        await played.until_standing()
        assert played.kinds == ["reconnecting", "session_lost"]
        assert played.told[-1] == SessionLost("alice", ("bob",))
        for one in (*waiting, late):
            assert isinstance(await one, OutcomeUnknown)
        assert await question == PeerList((), 0)
        assert [type(request) for request in played.session.requests] == [Announce, ListPeers]
        # It is another peer, whose events are numbered from 1 and whose token is another.
        played.session.tell(BOB, 1)
        await asyncio.sleep(0.1)
        assert played.told[-1] == BOB
        played.server.is_new = False
        await played.lose()
        assert played.session.requests[0].resume_token == played.server.token
        assert played.session.requests[0].last_seq == 1
        assert played.kinds[-1] == "resumed"

    play(program)


def test_a_server_that_resumes_nothing_is_announced_to_anew():
    async def program(played):
        played.server.resumable = False
        await played.announced()
        played.session.tell(BOB)
        await played.lose()
        assert played.session.requests == [Announce("alice", resumable=True)]
        assert played.kinds == ["reconnecting", "session_lost"]

    play(program)


def test_what_was_not_read_of_a_lost_peer_is_gone_and_so_are_its_offers():
    async def program(played):
        await played.announced()
        played.server.unanswered = ()
        replies = iter((OfferRelayed("alice_bob_1", "bob"), OfferRelayed("alice_bob_2", "bob")))
        reply = played.server.reply
        played.server.reply = lambda request: next(replies) if isinstance(request, Offer) else reply(request)
        await played.client.offer("bob", "v=0")
        assert played.client._calls.current("bob") == "alice_bob_1"
        played.reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await played.reading
        played.session.tell(OfferReceived("bob", "bob_alice_1", "v=0", "offer"), 1)
        played.server.is_new = True
        played.session.lose()
        while len(played.server.sessions) == 1 or not played.session.requests:
            await asyncio.sleep(0.01)
        assert played.client._calls.current("bob") == ""
        await played.client.offer("bob", "v=0")
        played.session.tell(AnswerReceived("bob", "v=0", "answer", "alice_bob_2"), 1)
        played.reading = asyncio.create_task(played._read())
        await asyncio.sleep(0.1)
        assert [event.kind for event in played.told] == ["reconnecting", "session_lost", "answer"]

    play(program)


def test_calls_survive_a_resume():
    async def program(played):
        await played.announced()
        played.server.unanswered = ()
        reply = played.server.reply
        played.server.reply = lambda request: (
            OfferRelayed("alice_bob_1", "bob") if isinstance(request, Offer) else reply(request)
        )
        await played.client.offer("bob", "v=0")
        played.session.tell(OfferReceived("carol", "carol_alice_1", "v=0", "offer"), 1)
        await played.lose()
        assert played.client._calls.current("bob") == "alice_bob_1"
        assert played.client._calls.answering("carol") == "carol_alice_1"
        played.session.tell(AnswerReceived("bob", "v=0", "answer", "another"), 2)
        played.session.tell(AnswerReceived("bob", "v=0", "answer", "alice_bob_1"), 3)
        await asyncio.sleep(0.1)
        assert [event.offer_id for event in played.told if isinstance(event, AnswerReceived)] == ["alice_bob_1"]

    play(program)
