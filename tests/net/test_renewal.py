"""Fresh tokens of a client's session: when the program is asked, what is shown, and what becomes of failures."""

import asyncio
import base64
import functools
import json
import logging
import threading

import pytest

from clock import NOW
from sigbridge import ConnectionClosed, Instant, SignalingError
from sigbridge.errors import Code, invalid_params, method_not_found, no_request, unauthenticated
from sigbridge.messages import Authenticate, Authenticated, Relayed
from sigbridge_net.client_session import ClientSession
from sigbridge_net.errors import AccessError
from sigbridge_net.renewal import Renewal, ask, end_of_jwt
from skipping_loop import VirtualLoop
from waiting import TIME_LIMIT_SECONDS

CANARY = "canary"


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(end, note=""):
    """A JWT that nobody has signed, and that ends so many seconds after the beginning of the test."""
    return f"{encoded({'alg': 'none'})}.{encoded({'exp': NOW.unix + end, 'note': CANARY + note})}.{CANARY}"


class Session(ClientSession):
    """A session whose server is a function: from a token to the end of it, in seconds from the beginning."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.shown = []

    def now(self):
        passed = self.loop.time() - self.began
        return Instant(NOW.monotonic + passed, NOW.unix + passed)

    @property
    def passed(self):
        return round(self.loop.time() - self.began, 3)

    async def _send(self, number, request):
        assert isinstance(request, Authenticate)
        self.shown.append((self.passed, request.token))
        try:
            end = self.server(request.token)
        except SignalingError as refusal:
            self._on_reply(number, refusal)
        except ConnectionClosed as closed:
            self._on_end(closed)
        else:
            self._on_reply(number, Authenticated("alice", None if end is None else int(NOW.unix + end)))

    def _abort(self):
        raise NotImplementedError

    def events(self):
        raise NotImplementedError

    async def close(self):
        self._on_end(ConnectionClosed("client_left"))


def played(server, source, shown, until_seconds=100_000.0):
    """Let a session renew its tokens for as long as it does; what was shown when."""

    async def play():
        session = Session(server)
        renewal = Renewal(session, lambda: source(session), shown, clock=session.now, uniform=lambda _, most: most)
        await asyncio.wait({renewal._task}, timeout=until_seconds)
        renewal.stop()
        await asyncio.gather(renewal._task, return_exceptions=True)
        return session.shown

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play())


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "sigbridge.client"]


@pytest.fixture(autouse=True)
def no_token_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text


# The end of a JWT.


@pytest.mark.parametrize(
    ("token", "end"),
    [
        (jwt(60), NOW.unix + 60),
        (f"x.{encoded({'exp': 1})}.", 1.0),
        (f"x.{encoded({'exp': 1.5})}.y", 1.5),
        (f"x.{encoded({'exp': True})}.y", None),
        (f"x.{encoded({'exp': '1'})}.y", None),
        (f"x.{encoded({})}.y", None),
        (f"x.{encoded([1])}.y", None),
        (f"x.{encoded({'exp': 10**400})}.y", None),
        ("x.ZXhw.y", None),
        ("x.%%%.y", None),
        ("x.é.y", None),
        ("x.\udcff.y", None),
        ("..", None),
        ("an.opaque", None),
        ("a.b.c.d", None),
        ("", None),
    ],
)
def test_the_end_of_a_jwt_is_read_and_that_of_nothing_else(token, end):
    assert end_of_jwt(token) == end


# When.


def test_a_fresh_jwt_is_shown_before_the_old_one_ends():
    """With the jitter at its most: 75 s before the end, and five eighths of the way where half is less than a minute."""
    ends = iter((1600, 1640))

    async def source(session):
        end = next(ends, None)
        return None if end is None else jwt(end)

    shown = played(lambda token: end_of_jwt(token) - NOW.unix, source, jwt(600))
    assert [when for when, _ in shown] == [525, 1525]
    assert shown == [(525, jwt(1600)), (1525, jwt(1640))]


def test_the_end_of_an_opaque_token_is_what_the_server_says():
    ends = {"first": 300, "second": 1000, "third": None}
    fresh = iter(("second", "third"))

    async def source(_):
        return next(fresh)

    assert played(ends.get, source, "first") == [(5, "first"), (225, "second"), (925, "third")]


def test_the_same_token_counts_where_the_server_has_made_it_good_for_longer():
    ends = iter((300, 900, None))

    async def source(_):
        return "the-one"

    assert played(lambda _: next(ends), source, "the-one") == [(5, "the-one"), (225, "the-one"), (825, "the-one")]


def test_a_clock_that_is_wrong_asks_no_more_often_than_twice_a_minute():
    """The server took tokens that have ended long ago by the clock of the client."""

    async def source(session):
        return jwt(-1000, str(session.passed))

    shown = played(lambda token: end_of_jwt(token) - NOW.unix, source, jwt(-1000), until_seconds=300.0)
    assert len(shown) == 13
    assert shown[0][0] == 22.5


def test_a_server_whose_ends_are_always_near_does_not_have_the_program_asked_without_pause():
    number = 0

    async def source(session):
        nonlocal number
        number += 1
        return f"{number} at {session.passed}"

    shown = played(lambda token: float(token.rpartition(" ")[2]) + 0.5, source, jwt(600), until_seconds=1000.0)
    assert shown[0][0] == 525.0
    assert len(shown) < 25


@pytest.mark.parametrize("end", [11 * 365 * 86400, 1e300])
def test_what_ends_in_ten_years_never_does(end):
    async def source(_):
        raise AssertionError

    assert played(None, source, jwt(end)) == []


# Servers that know no `authenticate`, or do not say an end.


@pytest.mark.parametrize("refusal", [method_not_found("authenticate"), no_request(), unauthenticated()])
def test_a_server_that_does_not_say_the_end_is_asked_once(refusal, caplog):
    def server(_):
        raise refusal

    async def source(_):
        raise AssertionError

    assert played(server, source, "opaque") == [(5, "opaque")]
    assert [level for level, _ in lines(caplog)] == ["DEBUG"]


@pytest.mark.parametrize("refusal", [method_not_found("authenticate"), no_request()])
def test_a_server_that_knows_no_authenticate_is_shown_one_fresh_token_and_never_again(refusal, caplog):
    def server(_):
        raise refusal

    async def source(_):
        return jwt(9000)

    assert played(server, source, jwt(600)) == [(525, jwt(9000))]
    assert lines(caplog) == [
        ("WARNING", "the server accepts no fresh token: the session ends with its current one"),
    ]


def test_a_token_without_an_end_is_the_last():
    async def source(_):
        raise AssertionError

    assert played(lambda _: None, source, "opaque") == [(5, "opaque")]


# Failures.


def test_a_source_that_fails_is_asked_again_after_pauses_until_the_old_token_ends(caplog):
    asked = []

    async def source(session):
        asked.append(session.passed)
        raise OSError(f"https://idp.example/?token={CANARY}")

    assert played(None, source, jwt(600)) == []
    assert asked == [525, 526.25, 528.75, 533.75, 543.75, 562.5, 581.25]
    said = lines(caplog)
    assert len(said) == len(asked)
    assert said[0] == ("WARNING", "no fresh token yet: OSError; trying again in 1 s")
    assert said[-1] == ("WARNING", "no fresh token before the current one ends: OSError")


@pytest.mark.parametrize(
    ("fresh", "why"),
    [
        (None, "there is none"),
        ("", "there is none"),
        (17, "instead of an API token came a int: expected a text or None"),
        (jwt(600), "it is the old one still"),
    ],
)
def test_what_is_no_fresh_token_is_not_shown_and_the_next_one_is(fresh, why, caplog):
    answers = iter((fresh, jwt(9000)))

    async def source(_):
        return next(answers)

    assert played(lambda _: None, source, jwt(600)) == [(526.25, jwt(9000))]
    assert lines(caplog) == [("WARNING", f"no fresh token yet: {why}; trying again in 1 s")]


def test_an_opaque_token_that_ends_as_before_is_the_old_one(caplog):
    ends = iter((300, 300, 900, None))

    async def source(_):
        return "the-one"

    assert [when for when, _ in played(lambda _: next(ends), source, "the-one")] == [5, 225, 226.25, 825]
    assert lines(caplog) == [("WARNING", "no fresh token yet: it is the old one still; trying again in 1 s")]


def test_a_fresh_token_that_is_refused_is_a_failure_and_a_wish_to_wait_is_heeded(caplog):
    refusals = iter(
        (
            unauthenticated(),
            SignalingError(Code.RESOURCE_EXHAUSTED, CANARY, retry_after_ms=7000),
            invalid_params("token", CANARY),
        )
    )

    def server(_):
        refusal = next(refusals, None)
        if refusal is not None:
            raise refusal

    numbers = iter(range(9))

    async def source(_):
        return jwt(9000, str(next(numbers)))

    assert [when for when, _ in played(server, source, jwt(600))] == [525, 526.25, 533.25, 538.25]
    assert [text.partition(";")[0] for _, text in lines(caplog)] == [
        f"no fresh token yet: the server refused it ({code})"
        for code in ("UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    ]


def test_a_source_that_never_returns_is_given_up_and_asked_again():
    calls = []

    async def source(session):
        calls.append(session.passed)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return jwt(9000)

    assert played(lambda _: None, source, jwt(600)) == [(556.25, jwt(9000))]
    assert calls == [525, 556.25]


def test_it_stops_with_its_session(caplog):
    def server(_):
        raise ConnectionClosed("token_expired", True)

    async def source(_):
        return jwt(9000)

    assert played(server, source, jwt(600)) == [(525, jwt(9000))]
    assert lines(caplog) == []


async def test_the_end_of_a_session_ends_its_renewal():
    session = Session(None)
    session.renew_tokens(lambda: None, jwt(600))
    renewal = session._renewal
    assert not renewal.over
    await session.close()
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await asyncio.wait({renewal._task})
    assert renewal.over
    session.renew_tokens(lambda: None, jwt(600))
    assert session._renewal is renewal


async def test_a_reply_of_another_kind_ends_the_renewal_with_an_error():
    session = Session(None)
    renewal = Renewal(session, lambda: "fresh", "opaque", uniform=lambda *_: 0.0)

    async def answer(number, _):
        session._on_reply(number, Relayed("bob"))

    session._send = answer
    with pytest.raises(TypeError, match="replied Relayed where Authenticated was due"):
        await asyncio.wait_for(renewal._task, TIME_LIMIT_SECONDS)


# Asking.


class Asynchronous:
    async def __call__(self):
        return threading.current_thread().name


async def test_what_may_block_is_asked_in_a_thread_and_coroutines_are_not():
    here = threading.current_thread().name

    async def coroutine(_=None):
        return threading.current_thread().name

    assert await ask(coroutine) == here
    assert await ask(functools.partial(coroutine, 1)) == here
    assert await ask(Asynchronous()) == here
    assert await ask(lambda: threading.current_thread().name) == "sigbridge token"
    assert await ask(lambda: coroutine(1)) == here
    assert await ask(lambda: None) is None


async def test_what_a_source_raises_is_raised():
    def fails():
        raise KeyError("key")

    async def fails_too():
        raise KeyError("key")

    for source in (fails, fails_too):
        with pytest.raises(KeyError):
            await ask(source)


async def test_a_source_that_is_cancelled_is_no_good_and_who_waits_for_it_is_not_cancelled():
    fetching = asyncio.get_running_loop().create_future()

    async def source():
        return await fetching

    asking = asyncio.create_task(ask(source))
    await asyncio.sleep(0)
    fetching.cancel()
    with pytest.raises(AccessError, match="the source of API tokens was cancelled"):
        await asking
    assert not asking.cancelled()


async def test_a_source_that_blocks_holds_nothing_up():
    """The session goes on being read while the source waits, and a program need not wait for it to end."""
    let_go, asked = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def source():
        loop.call_soon_threadsafe(asked.set)
        let_go.wait(TIME_LIMIT_SECONDS)
        return "fresh"

    asking = asyncio.create_task(ask(source))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await asked.wait()
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "sigbridge token"] == [True]
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        waiting = asyncio.create_task(ask(source))
        let_go.set()
        assert await waiting == "fresh"


async def test_a_source_that_takes_too_long_is_no_good(monkeypatch):
    monkeypatch.setattr("sigbridge_net.renewal.SOURCE_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(AccessError, match=r"no API token came within 0\.01 s"):
        await ask(asyncio.Event().wait)
