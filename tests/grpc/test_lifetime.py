"""A connection's lifetime alone: every verb in every state, and what leads to them."""

import pytest

from clock import Clock
from http2_bytes import PREFACE, frames_of, settings
from sigbridge import Settings
from sigbridge.disconnects import DisconnectReason
from sigbridge_grpc import lifetime as states
from sigbridge_grpc.lifetime import (
    ABORTED,
    CLOSING,
    CONCLUDED,
    DRAINING,
    GREETING,
    LEAVING,
    MAX_PINGS_IN_A_ROW,
    MAX_REFUSED_CALLS,
    REFUSED_CALLS_PER_SECOND,
    SERVING,
    Lifetime,
)
from sigbridge_http2.connection import Connection

STATES = range(ABORTED + 1)


class Lived:
    """A lifetime, and the connection that it ends."""

    def __init__(self, clock: Clock, **options: float) -> None:
        self.clock = clock
        self.http2 = Connection(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
        self.lifetime = Lifetime(self.http2, Settings(**options), clock.now)
        self.http2.receive(PREFACE + settings(), 0)
        self.http2.output(65536)
        self.lifetime.greet()

    def goaways(self) -> list[tuple[int, bytes]]:
        frames = frames_of(self.http2.output(65536))
        return [(int.from_bytes(payload[4:8], "big"), payload[8:]) for kind, *_, payload in frames if kind == 7]


@pytest.fixture
def lived(clock: Clock) -> Lived:
    return Lived(clock)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", ["leave", "drain", "close", "conclude", "abort"])
def test_every_verb_in_every_state(lived: Lived, verb: str, state: int) -> None:
    lived.lifetime.state = state
    if verb in ("leave", "drain"):
        getattr(lived.lifetime, verb)(lived.clock.now, idle=False)
    elif verb == "close":
        lived.lifetime.close(lived.clock.now)
    else:
        getattr(lived.lifetime, verb)()
    ended = (CLOSING, CONCLUDED, ABORTED)
    wanted = {
        "leave": state if state in (DRAINING, *ended) else LEAVING,
        "drain": state if state in ended else DRAINING,
        "close": state if state in ended else CLOSING,
        "conclude": CONCLUDED if state == CLOSING else state,
        "abort": ABORTED,
    }
    assert lived.lifetime.state == wanted[verb]
    assert lived.goaways() == [(0, b"")] * (verb in ("leave", "drain") and state < LEAVING)


@pytest.mark.parametrize("verb", ["leave", "drain"])
def test_who_has_no_calls_is_closed_at_once_and_others_when_their_last_has_ended(clock: Clock, verb: str) -> None:
    for idle in (True, False):
        lived = Lived(clock)
        getattr(lived.lifetime, verb)(clock.now, idle=idle)
        assert (lived.lifetime.state == CLOSING) is idle
        lived.lifetime.become_idle(clock.now)
        assert lived.lifetime.state == CLOSING
        assert lived.goaways() == [(0, b"")] * 2


def test_a_connection_without_calls_goes_on(lived: Lived) -> None:
    lived.lifetime.become_idle(lived.clock.now)
    assert (lived.lifetime.state, lived.goaways()) == (SERVING, [])


def test_a_slow_reader_has_less_time_for_its_last_words(clock: Clock) -> None:
    dues = []
    for reason in (None, DisconnectReason.SLOW_CONSUMER):
        lived = Lived(clock, close_timeout_seconds=4)
        lived.lifetime.close(clock.now, reason)
        dues.append(lived.lifetime.expire_end(clock.now) - clock.now.monotonic)
        assert lived.lifetime.state == CLOSING
    assert dues == [4, 1]
    clock.advance(1)
    lived.lifetime.expire_end(clock.now)
    assert lived.lifetime.state == ABORTED


def test_pings_are_counted_while_nothing_is_said(lived: Lived) -> None:
    for _ in range(3):
        for _ in range(MAX_PINGS_IN_A_ROW):
            assert not lived.lifetime.count_ping(lived.clock.now)
        lived.lifetime.pings_in_a_row = 0
    for _ in range(MAX_PINGS_IN_A_ROW):
        lived.lifetime.count_ping(lived.clock.now)
    assert lived.lifetime.count_ping(lived.clock.now)
    assert lived.goaways() == [(11, b"too_many_pings")]


def test_refused_calls_are_counted_as_a_bucket_does(lived: Lived) -> None:
    for _ in range(3 * MAX_REFUSED_CALLS):
        lived.clock.advance(1.001 / REFUSED_CALLS_PER_SECOND)
        assert not lived.lifetime.count_refused(lived.clock.now)
    for _ in range(MAX_REFUSED_CALLS - 1):
        assert not lived.lifetime.count_refused(lived.clock.now)
    assert lived.lifetime.count_refused(lived.clock.now)
    assert lived.goaways() == [(11, b"too_many_refused_calls")]


def test_the_states_are_named_in_the_order_of_a_life() -> None:
    assert tuple(STATES) == (GREETING, SERVING, LEAVING, DRAINING, CLOSING, CONCLUDED, ABORTED)
    for table in (states._ON_LEAVE, states._ON_DRAIN, states._ON_CLOSE, states._ON_CONCLUDE):
        assert len(table) == len(STATES)
        assert all(after >= before for before, after in enumerate(table)), "nobody grows younger"
