"""The WebSocket wire: requests that are told to many are taken a share at a time, and others have a turn between."""

from itertools import pairwise

import msgspec
import pytest

from sigbridge import DisconnectReason
from sigbridge.messages import Announce
from sigbridge.session import Caller
from sigbridge.share import EVENTS_PER_ELEMENT, EVENTS_PER_TURN, FRESH
from sigbridge_websocket.encoding import BARE_JSON
from sigbridge_websocket.waits import READ_AHEAD_BYTES

TEXT = 1
CLOSE = 8
CROWD = 130
"""Others in the room: an announce is told to them and they to it, a leave is told to them."""
MOST = EVENTS_PER_TURN // CROWD + 2
"""Events that each of them may hear in one turn, at most."""


class Hearer:
    """A session in the room that hears what is told to it."""

    def __init__(self, hub, clock, number):
        self.session = hub.open("websocket", BARE_JSON, lambda reason: None, clock.now, Caller(address="198.51.100.1"))
        hub.apply(self.session, Announce(f"p{number}"), None, clock.now)
        self.methods = []

    def hears(self):
        """The events that have come since it was last asked, by name."""
        new = [msgspec.json.decode(frame).get("method") for frame in self.session.outbox.take(1 << 40)]
        self.methods += new
        return new


@pytest.fixture
def crowd(hub, clock):
    hearers = [Hearer(hub, clock, number) for number in range(CROWD)]
    for one in hearers:
        one.hears()
        one.methods.clear()
    return hearers


def flush(line):
    """Lets the wire say what it has, as a carrier does in one turn; returns whether it wants another."""
    woken = line.woken
    while output := b"".join(line.wire.take_output(line.most, line.clock.now)):
        line.hear(output)
    return line.woken > woken


def come_and_go(times):
    calls = []
    for number in range(times):
        params = {"peer_id": "mallory"}
        calls.append({"jsonrpc": "2.0", "method": "announce", "params": params, "id": 2 * number})
        calls.append({"jsonrpc": "2.0", "method": "disconnect", "params": params, "id": 2 * number + 1})
    return calls


def batch(frame, times):
    return frame(TEXT, msgspec.json.encode(come_and_go(times)))


def singles(frame, times):
    return b"".join(frame(TEXT, msgspec.json.encode(call)) for call in come_and_go(times))


WAYS = pytest.mark.parametrize("say", [batch, singles])


@WAYS
def test_what_is_told_to_many_goes_on_in_later_turns(connect, crowd, frame, clock, say):
    line = connect()
    line.wire.receive(say(frame, 20), clock.now)
    turns = 1
    assert 0 < len(crowd[0].hears()) <= MOST
    while flush(line):
        turns += 1
        assert len(crowd[0].hears()) <= MOST
        assert turns < 100
    assert turns >= 20 * 3 * CROWD // (EVENTS_PER_TURN + 2 * CROWD)
    assert line.wire.reading()
    line.pump()
    # Each of the others heard of each coming before its going.
    for one in crowd:
        one.hears()
        assert one.methods == ["peer_joined", "peer_left"] * 20
    heard = line.heard()
    if say is batch:
        assert [one["id"] for one in heard[0]] == list(range(40))
        assert all("result" in one for one in heard[0])
        # What it causes for its own sender follows the array.
        assert [one["method"] for one in heard[1:]] == ["peer_joined"] * 20 * CROWD
    else:
        assert [one["id"] for one in heard if "id" in one] == list(range(40))
        assert [one["method"] for one in heard if "id" not in one] == ["peer_joined"] * 20 * CROWD


@WAYS
def test_nothing_more_of_its_sender_is_taken_meanwhile(connect, crowd, frame, clock, say):
    line = connect()
    line.wire.receive(say(frame, 4), clock.now)
    line.wire.receive(frame(TEXT, b'{"jsonrpc":"2.0","method":"health_check","id":99}'), clock.now)
    before = line.session.request_count
    line.wire.receive(frame(TEXT, b'{"jsonrpc":"2.0","method":"health_check","id":100}'), clock.now)
    assert line.session.request_count == before < 8
    line.pump()
    ids = [one["id"] for one in line.heard() if "id" in one]
    assert ids[-2:] == [99, 100]


@WAYS
def test_others_have_their_turn_between(connect, crowd, frame, clock, say):
    """The requests of another client, made while a share is spent, are carried out before what is left."""
    line, other = connect(), connect("other")
    other.heard()
    line.wire.receive(say(frame, 20), clock.now)
    done = line.session.request_count
    answers = other.say({"jsonrpc": "2.0", "method": "offer", "params": {"to_peer_id": "p0", "sdp": "v=0"}, "id": "o"})
    assert "result" in answers[-1]
    assert answers[-1]["id"] == "o"
    assert line.session.request_count == done
    assert crowd[0].hears()[-1] == "offer"


@WAYS
@pytest.mark.parametrize("how", ["eof", "lost", "hub"])
def test_what_is_left_when_a_session_ends_is_not_carried_out(connect, crowd, frame, hub, clock, say, how):
    line = connect()
    line.wire.receive(say(frame, 20), clock.now)
    flush(line)
    done = line.session.request_count
    assert done < 40
    if how == "eof":
        line.wire.receive_eof(clock.now)
    elif how == "lost":
        line.wire.connection_lost(clock.now)
    else:
        hub.end(line.session, DisconnectReason.ANNOUNCE_TIMEOUT, clock.now)
    session = line.session
    for _ in range(10):
        flush(line)
    assert (session.request_count, session.peer) == (done, None)
    for one in crowd:
        one.hears()
        assert one.methods == ["peer_joined", "peer_left"] * (len(one.methods) // 2)
    assert hub.peer_count == CROWD


@WAYS
def test_who_rests_is_read_from_but_not_without_end(connect, crowd, frame, clock, say):
    """A client that leaves is only seen to leave where somebody reads."""
    line = connect()
    line.wire.receive(say(frame, 20), clock.now)
    while line.session.share.state == FRESH:
        flush(line)
    assert line.wire.reading()
    question = frame(TEXT, b'{"jsonrpc":"2.0","method":"health_check","id":99}')
    sent = 0
    while line.wire.reading():
        line.wire.receive(question, clock.now)
        sent += 1
    assert READ_AHEAD_BYTES // 2 < sent * len(question) <= READ_AHEAD_BYTES + len(question)
    flush(line)
    flush(line)
    line.pump()
    assert [one["id"] for one in line.heard() if "id" in one].count(99) == sent
    assert line.wire.reading()


def test_who_leaves_behind_its_calls_is_answered_first(connect, crowd, frame, clock):
    line = connect()
    line.wire.receive(singles(frame, 4) + frame(CLOSE, b"\x03\xe8"), clock.now)
    line.pump()
    assert [one["id"] for one in line.heard() if "id" in one] == list(range(8))
    assert line.closed == (1000, "")


def test_who_rests_is_alive_as_long_as_it_reads(connect, crowd, frame, hub, clock):
    settings = hub.settings
    line = connect()
    line.wire.receive(batch(frame, 20), clock.now)
    # It goes on, a share for each of many seconds, in which its pongs are not looked at.
    while flush(line):
        clock.advance(settings.ping_interval_seconds)
        line.wire.expire(clock.now)
        for one in crowd:
            one.hears()
    assert not line.wire.aborted
    assert line.session.request_count == 40


def test_who_rests_and_does_not_read_is_given_up(connect, crowd, frame, hub, clock):
    settings = hub.settings
    line = connect()
    line.wire.receive(batch(frame, 20), clock.now)
    # The carrier cannot write, and so asks for nothing.
    for _ in range(3):
        clock.advance(settings.ping_interval_seconds + settings.ping_timeout_seconds)
        line.expire()
    assert line.wire.aborted
    assert line.session.end_reason is DisconnectReason.KEEPALIVE_TIMEOUT
    assert hub.peer_count == CROWD


def test_listings_are_taken_a_share_at_a_time(connect, crowd, frame, clock):
    line = connect("alice")
    line.heard()
    line.wire.receive(
        b"".join(frame(TEXT, b'{"jsonrpc":"2.0","method":"list_peers","id":%d}' % i) for i in range(20)), clock.now
    )
    done = [line.session.request_count]
    while flush(line):
        done.append(line.session.request_count)
    line.pump()
    steps = [after - before for before, after in pairwise(done)]
    assert max(steps) <= EVENTS_PER_TURN // CROWD + 1
    assert [one["id"] for one in line.heard()] == list(range(20))


def test_a_long_batch_that_nobody_is_told_of_is_taken_a_share_at_a_time(connect, frame, clock):
    line = connect()
    calls = [{"jsonrpc": "2.0", "method": "health_check", "id": number} for number in range(1000)]
    line.wire.receive(frame(TEXT, msgspec.json.encode(calls)), clock.now)
    done = [0, line.session.request_count]
    while flush(line):
        done.append(line.session.request_count)
    assert max(after - before for before, after in pairwise(done)) <= EVENTS_PER_TURN // EVENTS_PER_ELEMENT
    line.pump()
    assert [[one["id"] for one in array] for array in line.heard()] == [list(range(1000))]


def test_a_share_is_each_turns_anew(connect, crowd, frame, clock):
    """A client that causes a little in each turn never rests."""
    line = connect()
    for _ in range(20):
        for call in come_and_go(1):
            assert "result" in line.say(call)[0]
            assert line.wire.reading()
