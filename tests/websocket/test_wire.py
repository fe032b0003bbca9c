"""The WebSocket wire byte by byte: handshake, frames, limits, keepalive and every way to end, without a socket."""

import re
import zlib
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import PING, PONG

from sigbridge import Hub, Instant, Settings, outbox
from sigbridge.disconnects import DisconnectReason
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge.pending import Pending
from sigbridge_compat.deferred import Deferral
from sigbridge_net.wire import Client
from sigbridge_websocket.error_codes import CLOSE_CODES
from sigbridge_websocket.wire import READ_AHEAD_PONGS, WebSocketWire, text_frame, websocket_wires

TEXT, BINARY, CONT, CLOSE = 1, 2, 0, 8
LIST = b'{"jsonrpc":"2.0","method":"list_peers","id":%d}'
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def ended(hub: Hub, reason: str) -> int:
    return hub.counters.disconnects["websocket", reason]


# The handshake.


def test_a_session_begins_with_the_handshake(connect, hub):
    line = connect()
    assert line.handshake.status_code == 101
    assert hub.session_count == 1
    assert line.call("announce", peer_id="alice")["result"]["peers_count"] == 0


@pytest.mark.parametrize("path", ["/", "/ws", "/signal?x=1&y=%20", "//"])
def test_any_path_will_do(connect, path):
    assert connect(path=path).handshake.status_code == 101


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HANDSHAKE.replace(b"GET", b"POST", 1), 405),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 400),
        (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/2.0"), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""), 426),
        (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
        (HANDSHAKE.replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"), 400),
        (HANDSHAKE.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Key: "), 400),
        (HANDSHAKE.replace(b"/ws", b"/" + b"x" * 10_000), 414),
        (HANDSHAKE.replace(b"Host", b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"Host"), 431),
        (HANDSHAKE.replace(b"Host: server", b"Host: " + b"x" * 10_000), 431),
        (HANDSHAKE.replace(b"Host: server", b"Transfer-Encoding: chunked"), 400),
        (HANDSHAKE.replace(b"Host: server", b"no colon"), 400),
        (HANDSHAKE.replace(b"Host: server", b"Sec-WebSocket-Protocol: a b"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"x" * 20_000, 414),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"\x81\x00", b"garbage" * 100])
def test_handshake_abuse_gets_one_http_error(connect, hub, request_bytes, status, rest):
    line = connect(shake_hands=False)
    line.client.handshake_exc = Exception("not in use")
    line.feed(request_bytes + rest)
    head, _, body = line.output.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    length = int(re.search(rb"Content-Length: (\d+)", head)[1])
    assert len(body) == length < 12_000
    assert line.wire.finished
    assert hub.session_count == 0
    before = line.output
    line.feed(b"more")
    assert line.output == before


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        (["jsonrpc"], "jsonrpc"),
        (["jsonrpc", "bearer.dG9rZW4"], "jsonrpc"),
        (["bearer.dG9rZW4", "jsonrpc"], "jsonrpc"),
        (["other", "jsonrpc"], "other"),
        (["bearer.dG9rZW4"], None),
        (["bearer.a", "bearer.b", "x"], "x"),
    ],
)
def test_the_first_subprotocol_that_is_no_token(connect, offered, chosen):
    line = connect(subprotocols=offered)
    assert line.handshake.status_code == 101
    assert line.client.subprotocol == chosen
    assert b"bearer." not in line.output


def test_a_full_server_says_so_before_anything_is_made(connect, make_hub):
    hub = make_hub(max_sessions=1)
    connect(hub=hub)
    line = connect(hub=hub)
    assert line.handshake.status_code == 503
    assert b"SIGNALING_MAX_SESSIONS" in line.handshake.body
    assert hub.session_count == 1


def test_a_draining_server_takes_nobody_in(connect, hub, clock):
    hub.drain(clock.now)
    line = connect()
    assert line.handshake.status_code == 503
    assert line.wire.finished


def test_what_comes_with_the_handshake_is_answered_after_it(connect, frame):
    line = connect(shake_hands=False)
    line.client.handshake_exc = Exception("not in use")
    line.feed(HANDSHAKE + frame(9, b"hi") + frame(TEXT, LIST % 1))
    head, _, frames = line.output.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames.startswith(b"\x8a\x02hi\x81")
    assert frames.count(b'"id":1}') == 1


def test_a_handshake_has_a_deadline(connect, make_hub, clock):
    hub = make_hub(handshake_timeout_seconds=2)
    line = connect(hub=hub, shake_hands=False)
    line.feed(HANDSHAKE[:50])
    clock.advance(1.9)
    line.expire()
    assert not line.wire.aborted
    line.feed(HANDSHAKE[50:51])
    clock.advance(0.2)
    line.expire()
    assert line.wire.aborted


def test_a_refused_client_that_stays_is_dropped(connect, make_hub, clock):
    line = connect(hub=make_hub(close_timeout_seconds=2), shake_hands=False)
    line.client.handshake_exc = Exception("not in use")
    line.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert line.wire.finished
    line.expire()
    assert not line.wire.aborted
    clock.advance(2.1)
    line.expire()
    assert line.wire.aborted


# Frames.


def scripted(frame) -> bytes:
    return (
        HANDSHAKE
        + frame(TEXT, b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"\xc3\xa9"},"id":1}')
        + frame(TEXT, b'{"jsonrpc":"2.0","me', fin=False)
        + frame(9, b"ping")
        + frame(CONT, b"", fin=False)
        + frame(CONT, b'thod":"list_peers","id":2}')
        + frame(BINARY, LIST % 3 + b" " * 200)
        + frame(CLOSE, b"\x03\xe8")
    )


def test_bytes_may_be_split_anywhere(make_hub, connect, frame, clock):
    data = scripted(frame)

    def output(*parts: bytes) -> bytes:
        line = connect(hub=make_hub(), shake_hands=False)
        line.client.handshake_exc = Exception("not in use")
        for part in parts:
            line.feed(part)
        assert line.wire.finished
        return re.sub(rb"Date: .*?\r\n", b"", line.output)

    whole = output(data)
    assert whole.count(b'"id":') == 3
    assert whole.endswith(b"\x88\x02\x03\xe8")
    # What comes at once is answered in order, except that pongs and the close frame may wait for the tick's end.
    for cut in range(1, len(data)):
        split = output(data[:cut], data[cut:])
        assert sorted(split) == sorted(whole), cut
        assert split.endswith(b"\x88\x02\x03\xe8")
    assert sorted(output(*(data[i : i + 1] for i in range(len(data))))) == sorted(whole)


PAYLOADS = st.sampled_from(
    [LIST % 1, LIST % 2 + b" " * 300, b"", b"x", "é".encode(), b"\xff", LIST % 3 + b" " * 70_000]
)
FRAMES = st.builds(
    lambda opcode, payload, fin, rsv, mask: (opcode, payload if opcode < CLOSE else payload[:125], fin, rsv, mask),
    st.sampled_from([TEXT] * 8 + [BINARY, CONT, CLOSE, 9, 10, 3]),
    PAYLOADS,
    st.sampled_from([True] * 6 + [False]),
    st.sampled_from([0] * 12 + [4]),
    st.sampled_from([True] * 12 + [False]),
)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 3000), max_size=6), st.integers(1, 16))
def test_what_is_cut_out_by_us_is_what_the_library_makes_of_it(frames, cuts, crowd):
    from tests.websocket.conftest import Clock, Line, masked

    data = b""
    for opcode, payload, fin, rsv, mask in frames:
        one = masked(opcode, payload, fin=fin, rsv=rsv)
        data += one if mask else one[:1] + bytes([one[1] & 0x7F]) + one[2:]
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    outcomes = []
    for plain in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(outbox, "CROWDED_MESSAGES", crowd)
            if not plain:
                patch.setattr(WebSocketWire, "_look", lambda self: None)
            clock = Clock()
            hub = Hub(Settings(max_message_bytes=65_536), clock.now)
            line = Line(hub, clock)
            seen_plain = line.wire._plain
            for start, end in pairwise(edges):
                line.feed(data[start:end])
            line.pump()
            pongs = [bytes(one.data) for one in line.frames if one.opcode is PONG]
            outcomes.append((line.heard(), pongs, line.closed, hub.counters.requests, hub.counters.disconnects))
            assert seen_plain is plain
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frames_of_ours_are_the_librarys(size):
    from websockets.frames import Frame, Opcode

    assert text_frame(b"x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


def test_binary_frames_are_accepted(connect, frame):
    line = connect()
    line.feed(frame(BINARY, LIST % 5))
    assert line.heard()[0]["id"] == 5


def test_ten_thousand_empty_fragments(connect, frame):
    line = connect()
    line.feed(frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 10_000 + frame(CONT, LIST % 5))
    assert line.heard()[0]["id"] == 5


@pytest.mark.parametrize("kind", ["offer", "list_peers"])
def test_text_that_is_no_utf8_ends_the_connection(connect, hub, frame, kind):
    other = connect("other")
    line = connect("alice")
    message = b'{"jsonrpc":"2.0","method":"%b","params":{"to_peer_id":"other","sdp":"\xff"},"id":1}' % kind.encode()
    line.feed(frame(TEXT, message))
    assert line.closed == (1007, "not_utf8")
    assert line.heard() == []
    assert ended(hub, "not_utf8") == 1
    other.pump()
    assert [one["method"] for one in other.heard()] == ["peer_joined", "peer_left"]
    assert not other.wire.finished


def test_utf8_may_be_cut_between_fragments(connect, frame):
    line = connect()
    message = '{"jsonrpc":"2.0","method":"é😀","id":1}'.encode()
    line.feed(frame(TEXT, message[:28], fin=False) + frame(CONT, message[28:29], fin=False) + frame(CONT, message[29:]))
    assert line.heard()[0]["error"]["message"] == "Method not found: é😀"


def test_binary_that_is_no_utf8_is_no_json(connect, frame):
    line = connect("alice")
    line.feed(frame(BINARY, b'{"jsonrpc":"2.0","method":"list_peers","params":{"x":"\xff"},"id":1}'))
    assert line.heard()[0]["error"] == {"code": -32700, "message": "Parse error"}
    assert line.closed is None


@pytest.mark.parametrize("fragments", [1, 2, 7])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_limit_of_a_message(connect, make_hub, frame, over, fragments):
    limit = 1 << 20
    hub = make_hub(max_message_bytes=limit)
    line = connect("alice", hub=hub)
    message = (LIST % 1).ljust(limit + over)
    size = len(message) // fragments + 1
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    for number, part in enumerate(parts):
        line.feed(frame(CONT if number else TEXT, part, fin=number == len(parts) - 1))
    if over <= 0:
        assert line.heard()[0]["id"] == 1
        assert line.closed is None
    else:
        assert line.closed == (1009, "message_too_big")
        assert ended(hub, "message_too_big") == 1


def test_a_length_alone_is_enough_to_refuse_a_message(connect):
    line = connect()
    line.feed(b"\x81\xff" + (2**62).to_bytes(8, "big"))
    assert line.closed == (1009, "message_too_big")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x00", id="unmasked"),
        pytest.param(b"\x83\x80\0\0\0\0", id="reserved opcode"),
        pytest.param(b"\x8b\x80\0\0\0\0", id="reserved control opcode"),
        pytest.param(b"\xc1\x80\0\0\0\0", id="RSV1"),
        pytest.param(b"\xa1\x80\0\0\0\0", id="RSV2"),
        pytest.param(b"\x91\x80\0\0\0\0", id="RSV3"),
        pytest.param(b"\x09\x80\0\0\0\0", id="fragmented ping"),
        pytest.param(b"\x89\xfe\0\x7e\0\0\0\0" + b"x" * 126, id="long ping"),
        pytest.param(b"\x80\x80\0\0\0\0", id="continuation of nothing"),
        pytest.param(b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", id="a message within another"),
        pytest.param(b"\x88\x81\0\0\0\0\x03", id="close of one byte"),
        pytest.param(b"\x88\x82\0\0\0\0\x03\xec", id="close 1004"),
        pytest.param(b"\x88\x82\0\0\0\0\x03\xed", id="close 1005"),
        pytest.param(b"\x88\x82\0\0\0\0\x00\x00", id="close 0"),
        pytest.param(b"\x88\x82\0\0\0\0\x13\x88", id="close 5000"),
    ],
)
def test_broken_rules_end_the_connection(connect, hub, data):
    line = connect("alice")
    line.feed(data)
    assert line.closed == (1002, "protocol_error")
    assert line.wire.finished
    assert hub.session_count == 0
    assert ended(hub, "protocol_error") == 1


def test_a_close_reason_that_is_no_utf8(connect):
    line = connect()
    line.feed(b"\x88\x83\0\0\0\0\x03\xe8\xff")
    assert line.closed == (1007, "not_utf8")


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 3000, 4999])
def test_a_close_frame_is_echoed(connect, hub, code):
    line = connect("alice")
    line.client.send_close(code, "bye")
    line.flush_client()
    assert line.closed == (code, "bye")
    assert line.wire.finished
    assert ended(hub, "client_left") == 1


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONT, PING])
@pytest.mark.parametrize("inner", [PING, TEXT], ids=["ping", "text"])
def test_what_a_frame_with_reserved_bits_holds_is_no_frame(connect, hub, frame, opcode, inner):
    line = connect("alice")
    before = hub.counters.requests
    held = frame(inner, LIST % 1)
    whole = frame(opcode, held, rsv=4)
    line.feed(whole[: -len(held)])
    line.feed(held)
    assert line.frames[:-1] == []
    assert line.closed == (1002, "protocol_error")
    assert hub.counters.requests == before


def test_an_empty_close_frame_is_echoed(connect, hub):
    line = connect("alice")
    line.feed(b"\x88\x80\0\0\0\0")
    assert line.output.endswith(b"\x88\x00")
    assert ended(hub, "client_left") == 1


def test_pings_are_answered_while_a_message_is_on_its_way(connect, frame):
    line = connect()
    line.feed(frame(TEXT, b"[", fin=False) + frame(9, b"one") + frame(CONT, b"", fin=False) + frame(9, b""))
    assert [bytes(one.data) for one in line.frames if one.opcode is PONG] == [b"one", b""]
    line.feed(frame(CONT, b"]"))
    assert line.heard()[0]["error"]["code"] == -32600


def test_a_pong_that_nobody_asked_for_is_nothing(connect, frame):
    line = connect("alice")
    before = line.output
    line.feed(frame(10, b"x"))
    assert line.output == before


def test_pings_of_a_client_that_does_not_read_are_not_taken_for_ever(connect, hub, frame, clock):
    line = connect("alice")
    for _ in range(READ_AHEAD_PONGS + 1):
        assert line.wire.reading()
        line.wire.receive(frame(9, b"x" * 100), clock.now)
    assert not line.wire.reading()
    for _ in range(20):
        clock.advance(5)
        if line.wire.due <= clock.now.monotonic:
            line.wire.expire(clock.now)
    assert line.wire.aborted
    assert ended(hub, "keepalive_timeout") == 1


def test_pongs_that_were_read_let_reading_go_on(connect, frame, clock):
    line = connect("alice")
    line.wire.receive(frame(9, b"") * 1000, clock.now)
    assert not line.wire.reading()
    line.pump()
    assert line.wire.reading()
    assert len([one for one in line.frames if one.opcode is PONG]) == 1000


# The end.


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


@pytest.mark.parametrize("told", [False, True])
def test_pings_of_a_client_that_does_not_read_its_end_are_not_taken_for_ever(connect, hub, frame, clock, told):
    line = connect("alice")
    hub.end(line.session, DisconnectReason.DRAINING, clock.now)
    if told:
        line.pump()
    for _ in range(READ_AHEAD_PONGS + 1):
        assert line.wire.reading()
        line.wire.receive(frame(9, b"x" * 100), clock.now)
    assert not line.wire.reading()
    line.pump()
    assert line.wire.reading()
    assert line.closed == (1012, "draining")


def test_messages_after_the_end_are_not_kept(connect, hub, frame, clock):
    line = connect("alice")
    for number in range(CROWDED_MESSAGES):
        line.wire.receive(frame(TEXT, LIST % number), clock.now)
    assert not line.wire.reading()
    hub.end(line.session, DisconnectReason.DRAINING, clock.now)
    for _ in range(100):
        assert line.wire.reading()
        line.wire.receive(frame(TEXT, LIST % 0), clock.now)
    assert line.wire._backlog == []
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


def test_a_batch_with_huge_answers_ends_as_a_slow_consumer(connect, make_hub):
    hub = make_hub(outbox_max_bytes=20_000)
    line = connect("alice", hub=hub)
    batch = [{"jsonrpc": "2.0", "method": "list_peers", "id": "x" * 1000}] * 100
    assert line.say(batch) == []
    assert line.closed == (4000, "slow_consumer")


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


def test_a_client_that_talks_is_not_pinged(connect, make_hub, clock):
    line = connect("alice", hub=make_hub(ping_interval_seconds=10))
    for _ in range(50):
        clock.advance(3)
        line.expire()
        line.say(LIST % 1)
    assert not line.frames


# What waits.


@pytest.fixture
def slow(make_hub, connect, clock):
    """A hub that waits for other nodes, and two who are announced there."""
    deferral = Deferral()
    hub = make_hub(directory=deferral, bus=deferral)
    deferral.attach(hub)
    lines = [connect(hub=hub), connect(hub=hub)]
    for name, line in zip(("alice", "bob"), lines, strict=True):
        line.say({"jsonrpc": "2.0", "method": "announce", "params": {"peer_id": name}, "id": 1})
        deferral.complete(now=clock.now)
    for line in lines:
        line.pump()
        line.heard()
    return deferral, *lines


OFFER = b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"bob","sdp":"%d"},"id":%d}'


def test_nothing_is_read_while_an_answer_is_awaited(slow, clock, frame):
    deferral, alice, bob = slow
    alice.feed(b"".join(frame(TEXT, OFFER % (i, i)) for i in range(3)) + frame(TEXT, LIST % 9))
    for number in range(3):
        assert not alice.wire.reading()
        assert len(deferral.waiting) == 1
        alice.pump()
        assert [one["id"] for one in alice.heard()] == ([number - 1] if number else [])
        woken = alice.woken
        deferral.complete(now=clock.now)
        assert alice.woken > woken
    alice.pump()
    assert alice.wire.reading()
    assert [one["id"] for one in alice.heard()] == [2, 9]
    bob.pump()
    assert [one["params"]["sdp"] for one in bob.heard()] == ["0", "1", "2"]


def test_waiting_is_idle(slow, frame):
    _, alice, _ = slow
    alice.feed(frame(TEXT, OFFER % (1, 1)) * 3)
    alice.pump()
    woken = alice.woken
    for _ in range(10):
        alice.pump()
    assert alice.woken == woken


def test_who_waits_for_an_answer_is_not_silent(slow, clock, frame):
    _, alice, _ = slow
    alice.feed(frame(TEXT, OFFER % (1, 1)))
    for _ in range(100):
        clock.advance(5)
        alice.expire()
    assert not alice.wire.aborted
    assert not alice.frames


class KnownAtOnce:
    def relay(self, room, to_peer_id, event, from_protocol, now):
        answer = Pending()
        answer.resolve(None, now)
        return answer


def test_a_long_backlog_of_answers_that_are_known_at_once(connect, make_hub, frame):
    alice = connect("alice", hub=make_hub(bus=KnownAtOnce()))
    silent = frame(TEXT, b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"bob","sdp":"x"}}') * 3000
    alice.feed(b"".join(frame(TEXT, OFFER % (i, i)) for i in range(3000)) + silent + frame(TEXT, LIST % 3000))
    assert [one["id"] for one in alice.heard()] == list(range(3001))


def test_a_session_that_ends_with_a_roster_held_back_is_told(make_hub, connect, clock):
    deferral = Deferral()
    hub = make_hub(directory=deferral, bus=deferral)
    deferral.attach(hub)
    bob, alice = connect(hub=hub), connect(hub=hub)
    announce = {"jsonrpc": "2.0", "method": "announce", "id": 1}
    bob.say(announce | {"params": {"peer_id": "bob"}})
    deferral.complete(now=clock.now)
    alice.say([announce | {"params": {"peer_id": "alice"}}, msgspec.json.decode(OFFER % (1, 1))])
    deferral.complete(now=clock.now)
    assert len(alice.session.outbox) == 1
    hub.drain(clock.now)
    alice.pump()
    assert alice.closed == (1012, "draining")


def test_who_does_not_read_is_not_read_from(connect, frame, clock):
    line = connect("alice")
    wire = line.wire
    wire.receive(b"".join(frame(TEXT, LIST % i) for i in range(500)), clock.now)
    assert len(line.session.outbox) == CROWDED_MESSAGES
    assert not wire.reading()
    line.pump()
    assert [one["id"] for one in line.heard()] == list(range(500))
    assert wire.reading()


# Compression.


@pytest.fixture
def packed(connect, make_hub):
    hub = make_hub(websocket_compression=True)

    def make(peer_id: str = "", **options):
        return connect(peer_id, hub=hub, extensions=[ClientPerMessageDeflateFactory()], **options)

    make.hub = hub
    return make


def test_compression_is_negotiated_and_both_directions_are_readable(packed, connect):
    plain = connect("plain", hub=packed.hub)
    alice = packed("alice")
    assert alice.client.extensions
    assert not plain.client.extensions
    sdp = "v=0\r\n" * 2000
    plain.call("offer", to_peer_id="alice", sdp=sdp)
    before = len(alice.output)
    alice.pump()
    assert len(alice.output) - before < 500
    assert [one["method"] for one in alice.heard()] == ["offer"]
    assert "result" in alice.call("answer", to_peer_id="plain", sdp=sdp)
    plain.pump()
    assert plain.heard()[-1]["params"]["sdp"] == sdp


def test_compression_is_off_unless_set(connect):
    assert not connect(extensions=[ClientPerMessageDeflateFactory()]).client.extensions


def test_a_compressed_session_is_told_why_it_ends(packed, clock):
    alice = packed("alice")
    packed.hub.end(alice.session, DisconnectReason.DRAINING, clock.now)
    alice.pump()
    assert alice.closed == (1012, "draining")


def deflated(size: int) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    chunk = b" " * 2**20
    data = b"".join(packer.compress(chunk) for _ in range(size >> 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


def test_a_decompression_bomb_is_refused_when_it_is_too_big(packed, frame):
    bomb = deflated(64 << 20)
    assert len(bomb) < 1 << 20
    alice = packed("alice")
    alice.feed(frame(TEXT, bomb, rsv=4))
    assert alice.closed == (1009, "message_too_big")


def test_what_is_compressed_waits_as_it_is(packed, frame, clock):
    """A client that does not read makes the server keep the bytes that it sent, not the thousand that each holds."""
    alice = packed("alice")
    packer = zlib.compressobj(wbits=-15)
    size = 100_000

    def message(number: int) -> bytes:
        text = (LIST % number).ljust(size)
        return frame(TEXT, (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)

    data = b"".join(map(message, range(300)))
    assert len(data) < 300 * size / 100
    alice.wire.receive(data, clock.now)
    assert len(alice.session.outbox) == CROWDED_MESSAGES
    assert sum(len(text) for text, _ in alice.wire._backlog) < 50 * size
    assert not alice.wire.reading()
    alice.pump()
    assert [one["id"] for one in alice.heard()] == list(range(300))
    assert alice.wire.reading()
    # What it said before it left is processed all the same.
    alice.wire.receive(b"".join(map(message, range(300))) + frame(CLOSE, b"\x03\xe8"), clock.now)
    alice.wire.receive_eof(clock.now)
    alice.pump()
    assert [one["id"] for one in alice.heard()] == list(range(300))
    assert packed.hub.counters.disconnects["websocket", "client_left"] == 1


def test_what_does_not_inflate_breaks_the_rules(packed, frame):
    alice = packed("alice")
    alice.feed(frame(TEXT, b"\xff\xff\xff\xff", rsv=4))
    assert alice.closed == (1002, "protocol_error")


# Anything at all.

NOW = Instant(1000.0, 1_700_000_000.0)
MESSAGES = st.sampled_from(
    [
        LIST % 1,
        b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"a"},"id":1}',
        b'{"jsonrpc":"2.0","method":"disconnect","params":{"peer_id":"a"}}',
        OFFER % (1, 1),
        b"[" + LIST % 1 + b"," + LIST % 2 + b"]",
        b"[",
        b"\xff",
        b"",
        b"{}",
    ]
)


@st.composite
def frames(draw):
    opcode = draw(st.sampled_from([TEXT, TEXT, BINARY, CONT, 9, 10, CLOSE, 3]))
    payload = draw(st.one_of(MESSAGES, st.binary(max_size=130)))
    fin = draw(st.sampled_from([True, True, True, False]))
    rsv = draw(st.sampled_from([0, 0, 0, 0, 0, 4, 1]))
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + length + bytes(4) + payload


ACTIONS = st.lists(
    st.one_of(
        frames(),
        frames(),
        st.binary(max_size=20),
        st.sampled_from(["take", "take", "expire", "later", "drain", "end", "end_of_input", "split"]),
    ),
    max_size=25,
)


class Storm:
    """A wire to which anything may happen, and what it said."""

    def __init__(self, *, compressed: bool):
        self.hub = Hub(Settings(websocket_compression=compressed, max_message_bytes=1000), NOW)
        self.wire = websocket_wires(self.hub)(Client("192.0.2.1"), lambda: None, NOW)
        self.now = NOW
        self.written: list[bytes] = []
        self.eof = False
        self.one_by_one = False

    def feed(self, data: bytes) -> None:
        for part in [data[i : i + 1] for i in range(len(data))] if self.one_by_one else [data]:
            if part and not self.eof:
                self.wire.receive(part, self.now)

    def take(self) -> None:
        for _ in range(1000):
            output = self.wire.take_output(65536, self.now)
            if not output:
                return
            assert all(output)
            self.written.extend(output)
        raise AssertionError("there is no end to what it says")

    def split(self) -> None:
        self.one_by_one = True

    def expire(self) -> None:
        self.wire.expire(self.now)

    def later(self) -> None:
        self.now = Instant(self.now.monotonic + 11, self.now.unix + 11)
        self.hub.expire(self.now)

    def drain(self) -> None:
        self.hub.drain(self.now)

    def end(self) -> None:
        if self.wire._session is not None:
            self.hub.end(self.wire._session, DisconnectReason.SLOW_CONSUMER, self.now)

    def end_of_input(self) -> None:
        self.wire.receive_eof(self.now)
        self.eof = True

    def check(self) -> None:
        wire = self.wire
        session = wire._session
        assert not (wire._backlog and wire.reading() and session.end_reason is None)
        if session is None or session.end_reason is not None or wire.finished:
            assert self.hub.session_count == 0
        if wire._close_written:
            assert session.end_reason is not None
            count = len(self.written)
            self.feed(b"\x89\x80\0\0\0\0")
            self.take()
            assert len(self.written) == count


@given(first=st.sampled_from([HANDSHAKE, HANDSHAKE, HANDSHAKE, b"", b"GET"]), actions=ACTIONS, compressed=st.booleans())
def test_whatever_comes_the_wire_stays_sound(first, actions, compressed):
    if compressed:
        first = first.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    storm = Storm(compressed=compressed)
    for action in [first, *actions]:
        if isinstance(action, bytes):
            storm.feed(action)
        else:
            getattr(storm, action)()
        storm.check()
    storm.take()
    storm.check()
    storm.wire.connection_lost(storm.now)
    assert storm.hub.session_count == 0
    assert storm.hub.peer_count == 0
    assert not storm.hub.counters.sessions["websocket"]
