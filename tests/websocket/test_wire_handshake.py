"""The WebSocket wire: handshakes, good and bad, and their deadline."""

import re

import pytest

from websocket_lines import HANDSHAKE, LIST

TEXT = 1


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


@pytest.mark.parametrize("cut", [0, 1, 50, len(HANDSHAKE) - 1])
def test_a_handshake_that_a_drain_has_ended_is_not_answered(connect, hub, clock, cut):
    line = connect(shake_hands=False)
    line.push(HANDSHAKE[:cut])
    hub.drain(clock.now)
    line.wire.drain(clock.now)
    assert line.wire.finished
    line.feed(HANDSHAKE[cut:])
    assert line.output == b""
    assert not +hub.counters.refusals


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
