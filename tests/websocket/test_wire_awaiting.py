"""WebSocket handshakes whose client is looked up: what may come and go until it is known who that is."""

import pytest

from clock import Clock
from later import ALICE, AtOnce, Full, Later
from lines import Line
from sigbridge import Hub, Settings, errors
from sigbridge.auth import Identity
from sigbridge_net.wire import Client
from sigbridge_websocket.wire import websocket_wires
from websocket_lines import HANDSHAKE, LIST, masked

TOKEN = b"Authorization: Bearer token\r\n\r\n"
REQUEST = HANDSHAKE[:-2] + TOKEN
DEFLATING = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


class AwaitedLine(Line):
    """A client whom an authenticator lets wait."""

    def __init__(self, door=None, **settings):
        self.door = Later() if door is None else door
        self.hub = Hub(Settings(**settings), Clock().now)
        super().__init__(websocket_wires(self.hub, authenticator=self.door), Clock())

    def decide(self, outcome=ALICE):
        woken = self.woken
        self.door.decide(outcome, self.clock.now)
        assert self.woken > woken
        self.pump()
        return self

    @property
    def status(self):
        return int(self.output.split(b" ", 2)[1])

    @property
    def head(self):
        return self.output.partition(b"\r\n\r\n")[0].decode().split("\r\n")


@pytest.mark.parametrize("piece", [0, 1, 7])
@pytest.mark.parametrize("request_bytes", [REQUEST, DEFLATING])
def test_what_comes_behind_the_request_is_answered_when_it_is_known_who_has_sent_it(piece, request_bytes):
    line = AwaitedLine(websocket_compression=True)
    line.piece = piece
    line.feed(request_bytes + masked(1, LIST % 1) + masked(1, LIST % 2)[:10])
    line.feed(masked(1, LIST % 2)[10:] + masked(9, b"hi"))
    assert (line.output, line.hub.session_count) == (b"", 0)
    assert [shown.token for shown in line.door.shown] == ["token"]
    line.decide()
    assert line.status == 101
    (session,) = line.hub._sessions.values()
    assert (session.identity, session.authenticator) == (ALICE, line.door)
    assert session.request_count == 2
    assert b"\x8a\x02hi" in line.output


def test_a_handshake_that_waits_says_the_same_as_one_that_need_not():
    at_once, later = AwaitedLine(AtOnce(ALICE)), AwaitedLine()
    for line in (at_once, later):
        line.feed(REQUEST + masked(1, LIST % 1))
    later.decide()
    assert later.output == at_once.output


def test_no_more_is_read_than_a_bound():
    line = AwaitedLine().feed(REQUEST)
    fed = 0
    while line.wire.reading():
        line.feed(b"x" * 4096)
        fed += 4096
    assert fed == 65536
    line.decide()
    # It was no frame.
    assert line.hub.counters.disconnects["websocket", "protocol_error"] == 1


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.unauthenticated(), 401, {"WWW-Authenticate: Bearer", "Signaling-Disconnect: unauthenticated"}),
        (
            errors.throttled(1500),
            429,
            {"Retry-After: 2", "Signaling-Disconnect: throttled", "Signaling-Retry-After-Ms: 1500"},
        ),
        (errors.out_of_memory(1), 503, {"Signaling-Disconnect: memory"}),
    ],
)
@pytest.mark.parametrize("resolved", [False, True])
def test_who_is_refused_is_told_so_and_nothing_that_it_sent_is_looked_at(error, status, headers, resolved):
    line = AwaitedLine(AtOnce(error) if resolved else None).feed(REQUEST + masked(1, LIST % 1))
    if not resolved:
        line.decide(error)
    assert line.status == status
    assert headers <= set(line.head)
    assert error.message.encode() in line.output
    assert line.wire.finished
    assert line.hub.session_count == 0
    assert not line.hub.counters.requests


def test_the_handshake_s_time_goes_on():
    line = AwaitedLine(handshake_timeout_seconds=10.0)
    line.clock.advance(6)
    line.feed(REQUEST)
    line.clock.advance(3)
    line.expire()
    assert not line.wire.aborted
    line.clock.advance(1)
    line.expire()
    assert line.wire.aborted


@pytest.mark.parametrize("way", ["eof", "lost", "late"])
def test_a_client_may_leave_meanwhile(way):
    line = AwaitedLine(handshake_timeout_seconds=1.0).feed(REQUEST + masked(1, LIST % 1))
    if way == "eof":
        line.end_input()
        assert line.wire.finished
    if way == "late":
        line.clock.advance(1)
        line.expire()
    line.wire.connection_lost(line.clock.now)
    assert line.wire._handshake is None
    line.door.decide(ALICE, line.clock.now)
    assert (line.hub.session_count, line.output) == (0, b"")


def test_who_waits_when_the_server_shuts_down_is_told_so():
    line = AwaitedLine().feed(REQUEST)
    line.hub.drain(line.clock.now)
    line.wire.drain(line.clock.now)
    line.pump()
    assert line.status == 503
    assert "Signaling-Disconnect: draining" in line.head
    assert line.wire.finished
    assert line.hub.counters.refusals["websocket", "draining"] == 1
    line.door.decide(ALICE, line.clock.now)
    line.pump()
    assert line.output.count(b"HTTP/1.1 ") == 1


def test_who_may_be_somebody_may_still_find_the_server_full():
    line = AwaitedLine(max_sessions=1)
    other = Line(websocket_wires(line.hub), line.clock).feed(HANDSHAKE)
    assert other.output.startswith(b"HTTP/1.1 101")
    line.feed(REQUEST).decide()
    assert line.status == 503
    assert "Signaling-Disconnect: sessions" in line.head


def test_a_fault_at_the_beginning_costs_one_client_and_nobody_who_waits_with_it(caplog):
    door = Later()
    broken, fine = AwaitedLine(door), AwaitedLine(door)
    broken.feed(REQUEST)
    fine.feed(REQUEST)
    broken.hub._sessions = Full()
    door.decide(ALICE, broken.clock.now)
    for line in (broken, fine):
        line.pump()
    assert (broken.status, fine.status) == (503, 101)
    assert "a session could not be opened" in caplog.text


def test_whoever_needs_no_look_up_waits_for_nothing():
    class Known:
        def authenticate(self, credentials, now):
            return Identity("bob")

    hub = Hub(Settings(), Clock().now)
    wire = websocket_wires(hub, authenticator=Known())(Client("192.0.2.1"), lambda: None, Clock().now)
    wire.receive(REQUEST, Clock().now)
    assert wire.take_output(1000, Clock().now)[0].startswith(b"HTTP/1.1 101")
    assert wire._handshake is None
