"""The attempts of a client that has lost its connection: when it tries, and when it gives up."""

import asyncio

import pytest

from pretended_server import LOST, now, play, refused
from sigbridge import (
    Code,
    ConnectionClosed,
    Offer,
    Reconnecting,
    ServerNotice,
    errors,
)


def test_the_pauses_double_up_to_ten_seconds():
    async def program(played):
        played.server.failures = [LOST] * 9
        await played.announced()
        await played.lose()
        assert played.kinds == ["reconnecting", "resumed"]
        assert played.told[0] == Reconnecting("connection_lost", 0.1)
        pauses = [round(b - a, 2) for a, b in zip([0, *played.server.opened_at], played.server.opened_at, strict=False)]
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]

    play(program)


@pytest.mark.parametrize(("seconds", "pause"), [(59, 0.2), (60, 0.1)])
def test_the_pauses_begin_anew_after_a_minute_of_calm(seconds, pause):
    async def program(played):
        await played.lose()
        await asyncio.sleep(seconds - (now() - played.server.opened_at[-1]))
        await played.lose()
        assert [event.wait_seconds for event in played.told if isinstance(event, Reconnecting)] == [0.1, pause]

    play(program)


def test_sessions_that_never_stand_are_no_calm():
    async def program(played):
        await played.announced()
        await asyncio.sleep(100)
        played.server.refusals = [refused(Code.UNAVAILABLE)] * 3
        await played.lose()
        pauses = [
            round(b - a, 2) for a, b in zip([100, *played.server.opened_at], played.server.opened_at, strict=False)
        ]
        assert pauses == [0.1, 0.2, 0.4, 0.8]

    play(program)


def test_a_session_that_stands_for_a_moment_is_no_calm_either():
    async def program(played):
        await asyncio.sleep(100)
        for _ in range(3):
            await played.lose()
        assert [event.wait_seconds for event in played.told if isinstance(event, Reconnecting)] == [0.1, 0.2, 0.4]

    play(program)


def test_a_session_that_was_left_ends_nothing_when_it_ends():
    async def program(played):
        await played.announced()
        played.server.hangs = True
        played.server.refusals = [refused(Code.UNAVAILABLE)]
        await played.lose()
        # Its farewell has been cut short meanwhile.
        await asyncio.sleep(10)
        assert played.server.sessions[1].closed.reason == "connection_lost"
        assert len(played.server.sessions) == 3
        assert played.kinds == ["reconnecting", "resumed"]
        played.server.hangs = False

    play(program)


def test_it_stays_away_for_as_long_as_it_is_told():
    async def program(played):
        await played.lose(ConnectionClosed("overload", True, 5000))
        assert played.server.opened_at == [5.0]
        played.server.failures = [ConnectionClosed("throttled", True, 2500)]
        await played.lose()
        first, second = played.server.opened_at[1:]
        assert round(second - first, 2) == 2.5
        played.session.tell(ServerNotice("draining", "", reconnect_after_ms=4000))
        told_at = now()
        await asyncio.sleep(1)
        await played.lose(ConnectionClosed("draining", True))
        assert round(played.server.opened_at[-1] - told_at, 2) == 4.0

    play(program)


@pytest.mark.parametrize("closed", [ConnectionClosed("replaced", False), ConnectionClosed("unauthenticated", False)])
@pytest.mark.parametrize("at_the_door", [False, True])
def test_who_is_told_not_to_come_back_does_not(closed, at_the_door):
    async def program(played):
        await played.announced()
        played.server.failures = [closed]
        played.session.lose(LOST if at_the_door else closed)
        waiting = played.start(Offer("bob", "v=0"))
        await played.reading
        assert (played.client.closed.reason, played.client.closed.reconnect) == (closed.reason, False)
        assert played.kinds == (["reconnecting"] if at_the_door else [])
        assert len(played.server.opened_at) == at_the_door
        assert (await waiting).reason == closed.reason
        with pytest.raises(ConnectionClosed, match=closed.reason):
            await played.client.list_peers()

    play(program)


def test_it_gives_up_when_it_is_told_to():
    async def program(played):
        played.server.failures = [LOST] * 3 + [None]
        played.session.lose()
        await played.reading
        assert now() == 7.0
        assert played.client.closed.reason == "connection_lost"
        assert played.kinds == ["reconnecting"]

    play(program, give_up_after_seconds=7.0)


@pytest.mark.parametrize(
    "failure", [KeyError("canary"), OSError("no file"), TimeoutError(), errors.SigbridgeError("none")]
)
def test_a_source_of_tokens_that_fails_is_asked_again(failure, caplog):
    async def program(played):
        played.server.failures = [failure]
        await played.lose()
        assert played.kinds == ["reconnecting", "resumed"]
        assert "canary" not in caplog.text

    play(program)


def test_a_fault_of_its_own_ends_it(caplog):
    async def program(played):
        await played.announced()
        played.client._backoff = None
        played.session.lose()
        await played.reading
        assert played.client.closed.reason == "internal_error"
        assert "cannot reconnect" in caplog.text
        caplog.clear()

    play(program)
