"""The WebSocket wire: frames in bytes split anywhere, their limits and rules, and pings."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import PING, PONG

from clock import Clock
from sigbridge import Hub, Settings, outbox
from sigbridge_websocket.waits import READ_AHEAD_PONGS
from websocket_lines import HANDSHAKE, LIST, WebSocketLine, ended, masked

TEXT, BINARY, CONT, CLOSE = 1, 2, 0, 8


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


def outcome(parts: list[bytes], crowd: int):
    """The outcome of bytes that arrive in parts, where a session is crowded by so many messages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "CROWDED_MESSAGES", crowd)
        clock = Clock()
        hub = Hub(Settings(max_message_bytes=65_536), clock.now)
        line = WebSocketLine(hub, clock)
        for part in parts:
            line.feed(part)
        line.pump()
        pongs = [bytes(one.data) for one in line.frames if one.opcode is PONG]
        return line.heard(), pongs, line.closed, hub.counters.requests, hub.counters.disconnects


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 3000), max_size=6), st.integers(1, 16))
def test_what_waits_or_comes_in_parts_is_taken_all_the_same(frames, cuts, crowd):
    data = b""
    for opcode, payload, fin, rsv, mask in frames:
        one = masked(opcode, payload, fin=fin, rsv=rsv)
        data += one if mask else one[:1] + bytes([one[1] & 0x7F]) + one[2:]
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:end] for start, end in pairwise(edges)]
    assert outcome(parts, crowd) == outcome([data], 10**6)


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


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, "client_left"), (1001, "client_left")]
    + [(code, "connection_lost") for code in (1002, 1003, 1011, 3000, 4000, 4999)],
)
def test_a_close_frame_is_echoed(connect, hub, code, reason):
    line = connect("alice")
    line.client.send_close(code, "bye")
    line.flush_client()
    assert line.closed == (code, "bye")
    assert line.wire.finished
    assert ended(hub, reason) == 1


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
