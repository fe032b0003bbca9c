"""The WebSocket wire: every way in which a session ends, and keepalive."""

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import PING

from sigbridge.disconnects import DisconnectReason
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge_websocket.error_codes import CLOSE_CODES
from sigbridge_websocket.waits import READ_AHEAD_PONGS
from websocket_lines import LIST, ended, masked

TEXT, CLOSE = 1, 8


@pytest.mark.parametrize("reason", list(CLOSE_CODES))
def test_the_hub_ends_a_session_with_its_reason(connect, hub, clock, reason):
    line = connect("alice")
    hub.end(line.session, reason, clock.now)
    line.pump()
    assert line.closed == (CLOSE_CODES[reason], reason.word)
    assert not line.wire.finished
    line.flush_client()
    assert line.wire.finished
    assert ended(hub, reason.word) == 1
    assert not line.wire.aborted


def test_answers_leave_before_a_close_frame(connect, hub, clock):
    bob = connect("bob")
    alice = connect("alice")
    for number in range(5):
        alice.call("offer", to_peer_id="bob", sdp=str(number))
    hub.end(bob.session, DisconnectReason.DRAINING, clock.now)
    bob.pump()
    assert [one["params"].get("sdp") for one in bob.heard()] == [None, "0", "1", "2", "3", "4"]
    assert bob.closed == (1012, "draining")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "last", [b"\x81\x00", b"\x81\x81\0\0\0\0\xff", b"\x88\x82\0\0\0\0\x03\xe8"], ids=["broken", "not_utf8", "close"]
)
def test_answers_leave_before_a_close_frame_however_many(connect, make_hub, frame, compressed, last):
    hub = make_hub(websocket_compression=compressed)
    line = connect("x" * 200, hub=hub, extensions=[ClientPerMessageDeflateFactory()] if compressed else None)
    line.feed(
        b"".join(
            frame(TEXT, b'{"jsonrpc":"2.0","method":"list_peers","id":"%b%d"}' % (b"x" * 5000, i)) for i in range(30)
        )
        + last
    )
    assert [one["id"][5000:] for one in line.heard()] == [str(i) for i in range(30)]
    assert line.closed is not None
    assert line.wire.finished


def test_what_was_sent_before_a_close_frame_is_carried_out(connect, frame):
    bob = connect("bob")
    alice = connect("alice")
    offer = b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"bob","sdp":"%d"},"id":%d}'
    alice.feed(b"".join(frame(TEXT, offer % (i, i)) for i in range(200)) + frame(CLOSE, b"\x03\xe8"))
    assert [one["id"] for one in alice.heard()] == list(range(200))
    bob.pump()
    events = bob.heard()
    assert [one["params"]["sdp"] for one in events[1:-1]] == [str(i) for i in range(200)]
    assert events[-1]["method"] == "peer_left"


def test_nothing_follows_a_close_frame(connect, hub, clock, frame):
    bob = connect("bob")
    alice = connect("alice")
    hub.end(bob.session, DisconnectReason.DRAINING, clock.now)
    bob.pump()
    before = bob.output
    bob.feed(frame(9, b"ping") + frame(TEXT, LIST % 1) + frame(9, b"pong"))
    alice.call("offer", to_peer_id="bob", sdp="x")
    clock.advance(0.1)
    bob.wire.expire(clock.now)
    bob.pump()
    assert bob.output == before
    bob.flush_client()
    assert bob.output == before
    assert bob.wire.finished


def test_pings_of_a_client_that_does_not_read_its_end_are_not_taken_for_ever(connect, hub, frame, clock):
    line = connect("alice")
    hub.end(line.session, DisconnectReason.DRAINING, clock.now)
    for _ in range(READ_AHEAD_PONGS + 1):
        assert line.wire.reading()
        line.wire.receive(frame(9, b"x" * 100), clock.now)
    assert not line.wire.reading()
    line.pump()
    assert line.wire.reading()
    assert line.closed == (1012, "draining")
    # Nothing follows a close frame, so nothing is kept for them, either.
    for _ in range(READ_AHEAD_PONGS + 1):
        line.wire.receive(frame(9, b"x" * 100), clock.now)
    assert line.wire._ahead == []
    assert line.wire.reading()


def test_messages_after_the_end_are_not_kept(connect, hub, frame, clock):
    line = connect("alice")
    for number in range(CROWDED_MESSAGES):
        line.wire.receive(frame(TEXT, LIST % number), clock.now)
    assert not line.wire.reading()
    hub.end(line.session, DisconnectReason.DRAINING, clock.now)
    for _ in range(100):
        assert line.wire.reading()
        line.wire.receive(frame(TEXT, LIST % 0), clock.now)
    assert line.wire._frames.exhausted
    line.pump()
    assert [one["id"] for one in line.heard()] == list(range(CROWDED_MESSAGES))
    assert line.closed == (1012, "draining")


def test_a_closing_handshake_has_a_deadline(connect, make_hub, clock):
    hub = make_hub(close_timeout_seconds=3)
    line = connect("alice", hub=hub)
    hub.end(line.session, DisconnectReason.DRAINING, clock.now)
    line.expire()
    clock.advance(2.9)
    line.expire()
    assert not line.wire.aborted
    clock.advance(0.2)
    line.expire()
    assert line.wire.aborted


def test_a_slow_consumer_is_given_less_time(connect, make_hub, clock):
    hub = make_hub(close_timeout_seconds=60)
    bob, alice = connect("bob", hub=hub), connect("alice", hub=hub)
    alice.call("offer", to_peer_id="bob", sdp="x")
    hub.end(bob.session, DisconnectReason.SLOW_CONSUMER, clock.now)
    bob.expire()
    assert bob.heard() == []
    assert bob.closed == (4000, "slow_consumer")
    clock.advance(1.1)
    bob.expire()
    assert bob.wire.aborted


@pytest.mark.parametrize("how", ["receive_eof", "connection_lost"])
def test_an_end_without_a_close_frame_is_a_lost_connection(connect, hub, clock, how):
    bob = connect("bob")
    alice = connect("alice")
    getattr(bob.wire, how)(clock.now)
    bob.pump()
    alice.pump()
    assert [one["method"] for one in alice.heard()] == ["peer_left"]
    assert ended(hub, "connection_lost") == 1
    bob.wire.connection_lost(clock.now)
    assert ended(hub, "connection_lost") == 1


@pytest.mark.parametrize("compressed", [False, True])
def test_a_batch_with_huge_answers_ends_nothing(connect, make_hub, frame, compressed):
    """The array is larger than both bounds of its outbox, in which something waits already."""
    hub = make_hub(outbox_max_bytes=20_000, websocket_compression=compressed)
    line = connect("alice", hub=hub, extensions=[ClientPerMessageDeflateFactory()] if compressed else None)
    batch = [b'{"jsonrpc":"2.0","method":"list_peers","id":"%b"}' % (b"x" * 1000)] * 100
    text = b"[%b]" % b",".join(batch)
    line.feed((frame(TEXT, LIST % 1) + frame(TEXT, text)) * 3 + frame(TEXT, LIST % 2))
    heard = line.heard()
    assert [len(one) if isinstance(one, list) else one["id"] for one in heard] == [1, 100, 1, 100, 1, 100, 2]
    assert line.closed is None


def test_arrays_that_nobody_reads_have_a_bound(connect, make_hub, frame):
    """Its client has ended its half of the connection, and everything that it had sent is processed."""
    hub = make_hub(outbox_max_bytes=20_000)
    line = connect("alice", hub=hub)
    batch = b"[%b]" % b",".join([b'{"jsonrpc":"2.0","method":"list_peers","id":"%b"}' % (b"x" * 100_000)] * 5)
    session = line.session
    line.wire.receive(frame(TEXT, batch) * 10, line.clock.now)
    line.wire.receive_eof(line.clock.now)
    assert session.end_reason is DisconnectReason.SLOW_CONSUMER
    assert session.outbox.queued_bytes < 1_000_000


# Keepalive.


def test_a_silent_client_is_pinged_and_then_gone(connect, make_hub, clock):
    hub = make_hub(ping_interval_seconds=10, ping_timeout_seconds=5)
    line = connect("alice", hub=hub)
    clock.advance(10)
    line.expire()
    assert [one.opcode for one in line.frames] == [PING]
    clock.advance(4.9)
    line.expire()
    assert hub.session_count == 1
    clock.advance(0.2)
    line.expire()
    assert line.wire.aborted
    assert ended(hub, "keepalive_timeout") == 1


def test_a_client_that_answers_stays(connect, make_hub, clock):
    hub = make_hub(ping_interval_seconds=10, ping_timeout_seconds=5, announce_timeout_seconds=1e6)
    line = connect("alice", hub=hub)
    for _ in range(200):
        clock.advance(1)
        line.expire()
        line.flush_client()
    assert 15 < len([one for one in line.frames if one.opcode is PING]) < 25
    assert hub.session_count == 1


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"", masked(10, b"unasked")),
        (b"", masked(TEXT, b'{"jsonrpc":"2.0","method":"list_peers"}')),
        (masked(TEXT, b"", fin=False), masked(0, b"", fin=False)),
    ],
    ids=["pongs", "notifications", "empty fragments"],
)
def test_a_client_that_talks_and_needs_no_answer_is_pinged(connect, make_hub, clock, first, said):
    """Else a proxy between would cut it, since the server uses nothing of the connection."""
    hub = make_hub(ping_interval_seconds=10, ping_timeout_seconds=5, message_timeout_seconds=1e6)
    line = connect("alice", hub=hub)
    line.push(first)
    for _ in range(60):
        clock.advance(1)
        line.feed(said)
        line.expire()
    assert [one.opcode for one in line.frames] == [PING] * 6
    assert not line.wire.aborted
    # Whatever it said counted as heard; now it is silent.
    for _ in range(3):
        clock.advance(5)
        line.expire()
    assert line.wire.aborted
    assert ended(hub, "keepalive_timeout") == 1


def test_an_interval_shorter_than_the_timeout_is_kept(connect, make_hub, clock):
    hub = make_hub(ping_interval_seconds=2, ping_timeout_seconds=10)
    line = connect("alice", hub=hub)
    for _ in range(5):
        clock.advance(2)
        line.expire()
    assert [one.opcode for one in line.frames] == [PING] * 5
    assert hub.session_count == 1
    clock.advance(2)
    line.expire()
    assert line.wire.aborted
    assert ended(hub, "keepalive_timeout") == 1


def test_pings_that_cannot_be_written_do_not_pile_up(connect, make_hub, clock):
    hub = make_hub(ping_interval_seconds=2, ping_timeout_seconds=100, announce_timeout_seconds=1e6)
    line = connect("alice", hub=hub)
    for _ in range(40):
        clock.advance(2)
        # The carrier does not ask for output.
        line.wire.expire(clock.now)
    assert not line.wire.aborted
    line.pump()
    assert [one.opcode for one in line.frames] == [PING]


def test_a_client_that_talks_is_not_pinged(connect, make_hub, clock):
    line = connect("alice", hub=make_hub(ping_interval_seconds=10))
    for _ in range(50):
        clock.advance(3)
        line.expire()
        line.say(LIST % 1)
    assert not line.frames
