"""The states of a client that outlives its connections: announcing, leaving, giving up, closing, and silence."""

import asyncio

import pytest

from pretended_server import BOB, WINDOW, Server, now, play
from sigbridge import (
    Announce,
    Announced,
    Code,
    ConnectionClosed,
    Disconnect,
    Disconnected,
    IceCandidate,
    ListPeers,
    Offer,
    OfferReceived,
    OutcomeUnknown,
    Relayed,
    SessionLost,
    SignalingError,
    errors,
)
from sigbridge_client.resuming import MAX_OPEN_REQUESTS, SHADOW_SECONDS, State

# Announcing and leaving.


def test_an_announce_whose_reply_was_lost_comes_again_and_outlasts_its_own_shadow():
    async def program(played):
        played.server.unanswered = (Announce,)
        announcing = played.start(Announce("alice"))
        await asyncio.sleep(0)
        played.server.unanswered = ()
        played.server.refusals = [errors.already_announced("alice")] * 3
        played.session.lose()
        assert (await announcing).resumable
        assert [type(request) for request in played.session.requests] == [Announce] * 4
        assert played.kinds == ["reconnecting", "resumed"]
        await played.lose()
        assert played.session.requests[0].resume_token == played.server.token

    play(program)


def test_who_is_announced_elsewhere_is_refused_at_once():
    async def program(played):
        await played.lose()
        played.server.refusals = [errors.already_announced("alice")]
        with pytest.raises(SignalingError, match="already announced"):
            await played.client.announce("alice")

    play(program)


def test_closing_ends_an_announce_that_waits_for_its_own_shadow():
    async def program(played):
        played.server.unanswered = (Announce,)
        announcing = played.start(Announce("alice"))
        await asyncio.sleep(0)
        played.server.unanswered = ()
        played.server.refusals = [errors.already_announced("alice")] * 100
        played.session.lose()
        await asyncio.sleep(20)
        await played.client.close()
        assert (await announcing).reason == "client_left"
        assert now() < 21

    play(program)


def test_an_announce_that_stays_refused_is_told():
    async def program(played):
        played.server.unanswered = (Announce,)
        announcing = played.start(Announce("alice"))
        await asyncio.sleep(0)
        played.server.unanswered = ()
        played.server.refusals = [errors.already_announced("alice")] * 100
        played.session.lose()
        assert (await announcing).code is Code.ALREADY_EXISTS
        assert SHADOW_SECONDS <= now() < SHADOW_SECONDS + 11

    play(program)


def test_who_has_left_comes_back_as_nobody():
    async def program(played):
        await played.announced()
        await played.client.disconnect("alice")
        await played.lose()
        assert played.session.sent == []
        assert played.kinds == ["reconnecting", "resumed"]

    play(program)


def test_who_has_asked_to_leave_does_not_come_back_to_ask_again():
    async def program(played):
        await played.announced()
        played.session.tell(OfferReceived("bob", "bob_alice_1", "v=0", "offer"), 1)
        played.server.unanswered = (Disconnect,)
        leaving = played.start(Disconnect("alice"))
        await asyncio.sleep(0)
        assert played.client._calls.answering("bob") == "bob_alice_1"
        await played.lose()
        assert played.client._calls.answering("bob") == ""
        assert isinstance(await leaving, OutcomeUnknown)
        assert played.session.sent == []
        assert played.told[-1] == SessionLost("alice", ())

    play(program)


@pytest.mark.parametrize("is_new", [False, True])
def test_who_wants_to_leave_while_the_connection_is_lost_does_it_when_it_stands(is_new):
    async def program(played):
        await played.announced()
        played.server.is_new = is_new
        played.session.lose()
        leaving = played.start(Disconnect("alice"))
        assert await leaving == Disconnected("alice")
        assert [type(request) for request in played.session.requests] == [Announce, Disconnect]
        await played.lose()
        assert played.session.sent == []

    play(program)


async def given_up(played, request):
    """Asks and gives it up, when it has been written."""
    asking = played.start(request)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    return played.session.sent[-1][0]


def test_an_announce_that_is_given_up_and_carried_out_is_known():
    async def program(played):
        played.server.unanswered = (Announce,)
        number = await given_up(played, Announce("alice"))
        played.session._on_reply(number, Announced("alice", 0, (), True, "token", WINDOW))
        assert played.client._conversation._asked == {}
        played.server.unanswered = ()
        await played.lose()
        assert played.session.requests == [Announce("alice", resumable=True, resume_token="token")]
        assert played.kinds == ["reconnecting", "resumed"]

    play(program)


def test_an_announce_that_is_given_up_and_lost_is_not_repeated():
    async def program(played):
        played.server.unanswered = (Announce,)
        await given_up(played, Announce("alice"))
        await played.lose()
        assert played.session.sent == []
        assert played.client._open_requests == {}

    play(program)


@pytest.mark.parametrize("is_answered", [False, True])
def test_who_has_given_up_to_wait_for_its_leaving_does_not_come_back(is_answered):
    async def program(played):
        await played.announced()
        played.server.unanswered = (Disconnect,)
        number = await given_up(played, Disconnect("alice"))
        if is_answered:
            played.session._on_reply(number, Disconnected("alice"))
        await played.lose()
        assert played.session.sent == []
        assert played.kinds == ["reconnecting", "resumed" if is_answered else "session_lost"]

    play(program)


# Giving up on requests, and closing.


def test_a_call_that_is_cancelled_is_not_repeated():
    async def program(played):
        await played.announced()
        calls = [played.start(IceCandidate("bob", str(i))) for i in range(3)]
        await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.wait({calls[1]})
        await played.lose()
        assert [request.candidate for request in played.session.requests[1:]] == ["0", "2"]

    play(program)


def test_at_most_so_many_requests_are_unanswered():
    async def program(played):
        await played.announced()
        calls = [played.start(IceCandidate("bob", str(i))) for i in range(MAX_OPEN_REQUESTS + 2)]
        await asyncio.sleep(0.1)
        assert len(played.session.sent) == MAX_OPEN_REQUESTS + 1
        played.session._on_reply(played.session.sent[1][0], Relayed("bob"))
        assert await calls[0] == Relayed("bob")
        await asyncio.sleep(0.1)
        assert len(played.session.sent) == MAX_OPEN_REQUESTS + 2
        await played.client.close()
        assert {(await call).reason for call in calls[1:]} == {"client_left"}

    play(program)


@pytest.mark.parametrize("state", list(State))
def test_closing_ends_all_at_once_in_each_state(state):
    async def program(played):
        await played.announced()
        waiting = played.start(Offer("bob", "v=0"))
        await asyncio.sleep(0)
        if state is State.CONNECTING:
            played.server.failures = [None]
        elif state is State.RESUMING:
            played.server.refusals = [None]
        if state is State.CLOSED:
            played.session.lose(ConnectionClosed("replaced", False))
            await played.reading
        elif state is not State.STANDING:
            played.session.lose()
        while played.client._state is not state:
            await asyncio.sleep(0.01)
        question = played.start(ListPeers())
        await asyncio.sleep(0)
        closing_at, standing = now(), played.session.closed is None
        await played.client.close()
        assert now() == closing_at
        assert played.client._state is State.CLOSED
        word = "replaced" if state is State.CLOSED else "client_left"
        assert played.client.closed.reason == word
        assert (await waiting).reason == word
        if state is not State.STANDING:
            assert (await question).reason == word
        assert played.server.left == standing
        await played.client.close()

    play(program)


def test_closing_does_not_wait_for_ever_for_a_server_that_says_nothing():
    async def program(played):
        played.server.hangs = True
        closing_at = now()
        await played.client.close()
        assert now() - closing_at == 4
        assert played.server.aborted == 1

    play(program)


def test_what_was_told_before_the_end_is_still_read():
    async def program(played):
        await played.announced()
        played.session.tell(BOB, 1)
        played.session.lose(ConnectionClosed("revoked", False))
        await played.reading
        assert played.told == [BOB]

    play(program)


# Silence.


def test_a_connection_on_which_nothing_comes_counts_as_lost():
    async def program(played):
        await played.announced()
        played.server.unanswered = (ListPeers,)
        began = now()
        while len(played.server.sessions) == 1:
            await asyncio.sleep(0.1)
        assert played.server.aborted >= 1
        assert 25 + 20 <= now() - began < 25 + 21
        assert [type(request) for request in played.server.sessions[0].requests] == [Announce, ListPeers, ListPeers]
        await played.until_standing()
        assert played.kinds == ["reconnecting", "resumed"]

    server = Server()
    server.keepalive_seconds = 25.0
    play(program, server)


def test_whatever_comes_shows_that_the_connection_stands():
    async def program(played):
        await played.announced()
        played.server.unanswered = (ListPeers,)
        for number in range(1, 20):
            played.session.tell(BOB, number)
            await asyncio.sleep(12)
        assert len(played.server.sessions) == 1

    server = Server()
    server.keepalive_seconds = 25.0
    play(program, server)
