"""Signs of life of a client's session: when something is sent, and what becomes of the replies."""

import asyncio

import pytest

from sigbridge import ConnectionClosed, PeerList, SignalingError
from sigbridge.errors import no_request, right_missing, too_many_requests
from sigbridge.messages import HealthCheck, ListPeers
from sigbridge_net.client_session import ClientSession
from skipping_loop import VirtualLoop

SECONDS = 25.0
SIGN = ListPeers(None, 1, "")


class Session(ClientSession):
    """A session whose server is a function from a request to a reply, or to None where there is none."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.sent = []

    @property
    def passed(self):
        return round(asyncio.get_running_loop().time(), 3)

    async def _send(self, number, request):
        self.sent.append((self.passed, request))
        try:
            reply = self.server(request)
        except SignalingError as refusal:
            reply = refusal
        except ConnectionClosed as closed:
            self._on_end(closed)
            return
        if reply is not None:
            self._on_reply(number, reply)

    def _abort(self):
        raise AssertionError("nobody gives it up")

    async def close(self):
        self._on_end(ConnectionClosed("client_left"))


def answers(request):
    return PeerList((), 0)


def raises(error):
    def server(request):
        raise error

    return server


def played(server, program=None, seconds=SECONDS, lasts=110.0):
    """Let a session be for so long, and a program do something in it; returns the session."""

    async def play():
        session = Session(server)
        session.keep_alive(seconds)
        try:
            if program is not None:
                await program(session)
            await asyncio.sleep(lasts - session.passed)
        finally:
            await session.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task in left)
        return session

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play())


def times(session):
    assert {request for _, request in session.sent} <= {SIGN}
    return [moment for moment, _ in session.sent]


def test_a_silent_session_says_something_in_each_interval():
    session = played(answers)
    assert times(session) == [25, 50, 75, 100]
    assert session._conversation._asked == {}


@pytest.mark.parametrize("seconds", [0, -1])
def test_without_an_interval_it_says_nothing(seconds):
    assert times(played(answers, seconds=seconds)) == []


def test_what_the_program_sends_is_a_sign_of_life():
    async def program(session):
        for _ in range(10):
            await asyncio.sleep(10)
            await session.call(HealthCheck())

    session = played(answers, program, lasts=160)
    assert [moment for moment, request in session.sent if request == SIGN] == [125, 150]


@pytest.mark.parametrize(
    "error",
    [right_missing("list"), too_many_requests("list_peers", 0.1, 60_000), no_request()],
    ids=lambda error: error.code.name,
)
def test_a_refusal_is_nobodys(error, caplog):
    """Of one without the right to list, under the rate limit, and by a server that does not know what it is asked."""
    assert times(played(raises(error))) == [25, 50, 75, 100]
    assert caplog.records == []


def test_those_that_are_not_answered_do_not_pile_up():
    session = played(lambda _: None, lasts=1000)
    assert times(session) == [25]


def test_one_that_is_answered_late_is_followed_when_its_time_has_come():
    async def program(session):
        await asyncio.sleep(60)
        session._on_reply(1, PeerList((), 0))

    session = played(lambda _: None, program, lasts=110)
    assert times(session) == [25, 60]


def test_the_programs_requests_do_not_wait_for_it():
    async def program(session):
        await asyncio.sleep(30)
        assert isinstance(await session.call(HealthCheck()), PeerList)

    session = played(lambda request: None if request == SIGN else PeerList((), 0), program)
    assert [moment for moment, request in session.sent if request == HealthCheck()] == [30]


def test_a_program_that_gives_up_does_not_end_it():
    async def program(session):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await session.call(HealthCheck())

    session = played(lambda request: PeerList((), 0) if request == SIGN else None, program, lasts=60)
    assert [moment for moment, request in session.sent if request == SIGN] == [25, 50]


def test_it_goes_with_the_connection():
    session = played(raises(ConnectionClosed("draining", True)), lasts=1000)
    assert times(session) == [25]
    assert session.closed.reason == "draining"
    assert session._keepalive._task.done()


def test_an_end_while_one_is_awaited_is_the_programs_alone(caplog):
    async def program(session):
        await asyncio.sleep(30)
        session._on_end(ConnectionClosed("connection_lost"))

    session = played(lambda _: None, program, lasts=100)
    assert times(session) == [25]
    assert session._keepalive._task.done()
    assert caplog.records == []


def test_after_the_end_none_begins():
    async def program(session):
        await session.close()
        session.keep_alive(SECONDS)

    assert times(played(answers, program)) == []
