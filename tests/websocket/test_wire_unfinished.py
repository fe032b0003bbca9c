"""The WebSocket wire: messages that do not become whole have their time, and all together a bound."""

import pytest

from lines import ADDRESS
from sigbridge_net.unfinished import TotalUnfinished
from sigbridge_net.wire import Client
from sigbridge_websocket.wire import websocket_wires
from websocket_lines import LIST, WebSocketLine, ended, masked

TEXT, CONTINUATION, PING = 1, 0, 9
LIMIT = 1048576
QUIET = {"announce_timeout_seconds": 100_000, "ping_interval_seconds": 100_000}


@pytest.fixture
def patient(make_hub):
    """A hub that has time for all but messages."""
    return make_hub(**QUIET)


def trickle(line: WebSocketLine, clock, pieces, seconds: float) -> float:
    """Sends the pieces, one each so many seconds, until the connection ends; returns how long that took."""
    began = clock.now.monotonic
    for piece in pieces:
        line.feed(piece)
        clock.advance(seconds)
        line.expire()
        if line.closed:
            break
    return clock.now.monotonic - began


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [1000, 20_000, LIMIT])
def test_a_message_that_comes_byte_by_byte_has_its_time(patient, connect, clock, announced, size):
    line = connect("alice" if announced else "", hub=patient)
    took = trickle(line, clock, (bytes([byte]) for byte in masked(TEXT, b"x" * size)), 0.5)
    assert line.closed == (4004, "message_timeout")
    assert ended(patient, "message_timeout") == 1
    assert 30 + size / 8000 <= took <= 31.5 + size / 8000
    assert line.wire.finished
    assert (line.wire._frames.kept_bytes, line.wire._total.kept) == (0, 0)


def test_of_a_message_without_a_size_counts_what_has_come(patient, connect, clock):
    line = connect("alice", hub=patient)
    first = masked(TEXT, b"x" * 800_000, fin=False)
    took = trickle(line, clock, (first, *[masked(CONTINUATION, b"x", fin=False)] * 1000), 1)
    assert line.closed == (4004, "message_timeout")
    assert 130 <= took <= 132


def test_fragments_without_anything_in_them_have_their_time_as_well(patient, connect, clock):
    line = connect("alice", hub=patient)
    empty = [masked(TEXT, b"", fin=False), *[masked(CONTINUATION, b"", fin=False)] * 100]
    assert trickle(line, clock, empty, 1) <= 31
    assert line.closed == (4004, "message_timeout")


def test_control_frames_in_between_buy_no_time(patient, connect, clock):
    line = connect("alice", hub=patient)
    ping = masked(PING, b"")
    trickle(line, clock, (masked(TEXT, b"x", fin=False), *[ping] * 100), 1)
    assert line.closed == (4004, "message_timeout")


@pytest.mark.parametrize("control", [True, False])
def test_a_client_whose_frames_are_always_cut_stays(patient, connect, clock, control):
    """The rest of each piece is the beginning of another frame."""
    line = connect("alice", hub=patient)
    one = masked(PING, b"12345") if control else masked(TEXT, LIST % 1)
    data = one * 200
    cut = len(one) // 2
    pieces = [data[:cut], *(data[start : start + len(one)] for start in range(cut, len(data), len(one)))]
    trickle(line, clock, pieces, 1)
    assert line.closed is None
    assert line.wire._unfinished is None
    assert control or len(line.heard()) == 200


def test_a_message_in_time_is_answered_and_nothing_is_kept(patient, connect, clock):
    line = connect("alice", hub=patient)
    message = masked(TEXT, LIST % 7)
    trickle(line, clock, (bytes([byte]) for byte in message), 29 / len(message))
    assert [one["id"] for one in line.heard()] == [7]
    assert line.wire._unfinished is None
    assert line.wire._total.kept == 0


@pytest.mark.parametrize("writes", [True, False])
def test_time_in_which_the_outbox_is_crowded_does_not_count(patient, connect, clock, writes):
    """Also where the carrier cannot write, and so asks for nothing."""
    line = connect("alice", hub=patient)
    sender = connect("bob", hub=patient)
    line.feed((masked(TEXT, LIST % 7))[:9])
    if writes:
        # The time until it is seen that nothing is read counts.
        clock.advance(20)
    for _ in range(15):
        sender.call("offer", to_peer_id="alice", sdp="x" * 100_000)
    if writes:
        assert line.wire.take_output(1, clock.now)
    assert not line.wire.reading()
    for _ in range(100):
        clock.advance(1)
        line.wire.expire(clock.now)
    assert not line.wire.aborted
    line.pump()
    assert line.wire.reading()
    clock.advance(9 if writes else 29)
    line.expire()
    assert line.closed is None
    clock.advance(2)
    line.expire()
    assert line.closed == (4004, "message_timeout")


@pytest.mark.parametrize("how", ["lost", "eof", "drained", "fault", "silent"])
def test_who_goes_leaves_nothing(make_hub, connect, clock, how):
    hub = make_hub(announce_timeout_seconds=1000)
    line = connect("alice", hub=hub)
    line.feed(masked(TEXT, b"x" * 1000, fin=False), b"\x80")
    assert line.wire._total.kept == 1001
    if how == "lost":
        line.wire.connection_lost(clock.now)
    elif how == "eof":
        line.end_input()
    elif how == "drained":
        hub.drain(clock.now)
        line.pump()
        line.wire.connection_lost(clock.now)
    elif how == "fault":
        line.feed(b"\x01")
        assert line.closed == (1002, "protocol_error")
    else:
        for _ in range(20):
            clock.advance(15)
            line.wire.expire(clock.now)
        assert line.wire.aborted or line.wire.finished
    assert line.wire._total.kept == 0
    assert line.wire._unfinished is None


@pytest.mark.parametrize("begun", [True, False])
def test_where_the_end_has_come_no_message_is_taken_in(patient, connect, clock, begun):
    """Else all that end at once would have their messages read at once."""
    line = connect("alice", hub=patient)
    message = masked(TEXT, b"x" * 100_000)
    if begun:
        line.feed(message[:1000])
    patient.drain(clock.now)
    line.pump()
    assert line.closed == (1012, "draining")
    if not begun:
        assert not line.wire.finished
        line.feed(message[:1000])
    line.feed(message[1000:50_000])
    assert line.wire.finished
    assert (line.wire._frames.kept_bytes, line.wire._total.kept) == (0, 0)


def test_a_cut_close_frame_is_waited_for_where_the_end_has_come(patient, connect, clock):
    line = connect("alice", hub=patient)
    close = masked(8, (1000).to_bytes(2, "big"))
    line.feed(close[:3])
    patient.drain(clock.now)
    line.wire.take_output(65536, clock.now)
    assert not line.wire.finished
    line.feed(close[3:])
    assert line.wire.finished


class Crowd:
    """Connections of one server whose unfinished messages have a bound together."""

    def __init__(self, hub, clock, connect):
        self.hub, self.clock, self.connect = hub, clock, connect
        self.total = TotalUnfinished(hub.settings)

    def line(self, size: int, whole: int = LIMIT) -> WebSocketLine:
        line = self.connect(hub=self.hub, shake_hands=False)
        line.wire = websocket_wires(self.hub, unfinished=self.total)(Client(ADDRESS), line._wake, self.clock.now)
        line.client.send_request(line.client.connect())
        line.flush_client()
        data = masked(TEXT, b" " * (whole - 60) + LIST % 7)
        line.rest = data[size:]
        line.feed(data[:size])
        return line


@pytest.fixture
def crowd(make_hub, clock, connect):
    return Crowd(make_hub(max_unfinished_bytes=1_000_000, **QUIET), clock, connect)


def test_above_the_bound_nothing_more_is_read_of_the_largest(crowd, clock):
    large, small = crowd.line(600_000), crowd.line(300_000)
    assert large.wire.reading()
    woken = large.woken
    other = crowd.line(200_000)
    assert large.woken > woken
    assert not large.wire.reading()
    assert small.wire.reading()
    assert other.wire.reading()
    # It is idle until something leaves.
    large.pump()
    woken = large.woken
    for _ in range(10):
        large.pump()
        clock.advance(1)
        small.expire()
    assert large.woken == woken
    other.wire.connection_lost(clock.now)
    assert large.woken > woken
    assert large.wire.reading()
    large.feed(large.rest)
    assert [one["id"] for one in large.heard()] == [7]
    assert crowd.total.kept == 300_000


def test_without_room_the_largest_ends_as_overload(crowd, clock):
    lines = [crowd.line(size) for size in (100_000, 600_000, 200_000, 300_000)]
    small, largest, *others = lines
    assert [line.wire.reading() for line in lines] == [True, False, True, True]
    clock.advance(29.9)
    for line in lines:
        line.expire()
    assert not any(line.closed for line in lines)
    clock.advance(0.2)
    assert largest.wire.due <= clock.now.monotonic
    for line in lines:
        line.expire()
    assert largest.closed == (1013, "overload")
    assert ended(crowd.hub, "overload") == 1
    assert crowd.total.kept == 600_000
    for line in (small, *others):
        assert line.wire.reading()
        line.feed(line.rest)
        assert [one["id"] for one in line.heard()] == [7]
    assert crowd.total.kept == 0


def test_many_that_hold_half_a_message_are_bounded(crowd, clock):
    lines = []
    for _ in range(100):
        line = crowd.line(16_000)
        lines.append(line)
        # A carrier gives no more while it is not read.
        while len(line.rest) > LIMIT // 2 and line.wire.reading():
            line.feed(line.rest[:16_384])
            line.rest = line.rest[16_384:]
    assert crowd.total.kept <= 1_250_000 + 100 * 16_384
    clock.advance(31)
    for line in lines:
        line.expire()
    assert crowd.total.kept <= 1_000_000
    assert {line.closed for line in lines} == {None, (1013, "overload")}
    # Nobody else notices.
    other = crowd.connect("other", hub=crowd.hub)
    assert other.say(LIST % 3)[0]["id"] == 3
