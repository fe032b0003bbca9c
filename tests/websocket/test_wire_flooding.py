"""WebSocket: a session that keeps sending over the rate limit, and one that does not."""

import msgspec
import pytest

from sigbridge import Code
from sigbridge_websocket.frames import TEXT
from websocket_lines import WebSocketLine, ended, masked

LIST = b'{"jsonrpc":"2.0","method":"list_peers","id":1}'
SAID = {
    "a request": LIST,
    "a request that takes the general path": b'{"jsonrpc":"2.0","method":"list_peers","params":{"x":0},"id":1}',
    "a notification": b'{"jsonrpc":"2.0","method":"ice_candidate","params":{"to_peer_id":"b","candidate":"c"}}',
    "no request": b'{"jsonrpc":"2.0"}',
    "no JSON": b"{",
    "an unknown method": b'{"jsonrpc":"2.0","method":"m","id":1}',
    "wrong params": b'{"jsonrpc":"2.0","method":"offer","params":{"sdp":5},"id":1}',
    "rpc.discover": b'{"jsonrpc":"2.0","method":"rpc.discover","id":1}',
    "an empty batch": b"[]",
    "a batch": b"[%b]" % b",".join([LIST] * 40),
    "a batch of notifications": b'[{"jsonrpc":"2.0","method":"ice_candidate","params":{"to_peer_id":"b","candidate":"c"}}]',
}


@pytest.fixture
def line(make_hub, clock):
    return WebSocketLine(make_hub(rate_per_second=1.0, rate_burst=10), clock)


def batch(count):
    return b"[%b]" % b",".join([LIST] * count)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_whatever_comes_too_often_and_too_long_is_flooding(line, clock, said):
    begun = clock.now.monotonic
    while line.closed is None and clock.now.monotonic < begun + 5:
        line.say(said)
        clock.advance(0.025)
    assert line.closed == (4003, "flooding")
    assert 2.0 <= clock.now.monotonic - begun <= 3.0
    assert ended(line.hub, "flooding") == 1
    line.end_input()
    assert line.wire.finished


def test_the_last_refusal_is_said_before_the_end(line, clock):
    heard = []
    while line.closed is None:
        heard += line.say(LIST)
        clock.advance(0.025)
    assert heard[-1]["error"]["data"]["retry_after_ms"] > 0
    assert len(heard) == line.hub.counters.requests.total()


def test_nothing_that_follows_is_carried_out(line, clock):
    while line.closed is None:
        line.say(batch(3))
        clock.advance(0.025)
    requests = line.hub.counters.requests.total()
    line.feed(masked(TEXT, batch(100)), masked(TEXT, LIST))
    assert line.hub.counters.requests.total() == requests


def test_what_is_left_of_a_batch_that_floods_is_not_carried_out(line, clock):
    for _ in range(2):
        line.say(batch(60))
        clock.advance(1.0)
    before = line.hub.counters.requests.total()
    line.say(batch(1000))
    assert line.closed == (4003, "flooding")
    assert line.hub.counters.requests.total() < before + 30


def test_one_batch_is_none_however_large(line, clock):
    (responses,) = line.say(batch(1000))
    refused = [response for response in responses if "error" in response]
    assert (len(responses), len(refused)) == (1000, 990)
    assert {response["error"]["data"]["status"] for response in refused} == {"RESOURCE_EXHAUSTED"}
    clock.advance(1.0)
    assert "result" in line.call("list_peers")
    assert (line.closed, line.hub._parts.held_off.until) == (None, {})


def test_requests_that_were_pipelined_at_once_are_none(line, clock):
    responses = []
    for _ in range(1000):
        responses += line.say(LIST)
    assert sum("error" in response for response in responses) == 990
    clock.advance(1.0)
    assert "result" in line.call("list_peers")


def test_who_waits_as_long_as_told_is_let_be(line, clock):
    for _ in range(1000):
        response = line.call("list_peers")
        if "error" in response:
            assert response["error"]["data"]["code"] == Code.RESOURCE_EXHAUSTED
            clock.advance(response["error"]["data"]["retry_after_ms"] / 1000)
    assert clock.now.monotonic > 1000 + 10
    assert line.closed is None


def test_who_has_flooded_is_refused_at_the_door_for_a_while(line, clock):
    while line.closed is None:
        line.say(LIST)
        clock.advance(0.025)
    again = WebSocketLine(line.hub, clock)
    assert again.session is None
    assert b" 429 " in again.output
    assert b"Retry-After: 5\r\n" in again.output
    assert b"Held off after flooding: try again in " in again.output
    assert line.hub.counters.refusals["websocket", "held_off"] == 1
    clock.advance(5.0)
    assert "result" in WebSocketLine(line.hub, clock).call("list_peers")


def test_the_close_says_no_more_than_the_word(line, clock):
    while line.closed is None:
        line.say(msgspec.json.encode({"jsonrpc": "2.0", "method": "secret-canary", "id": 1}))
        clock.advance(0.025)
    assert line.closed == (4003, "flooding")
