"""The WebSocket wire: what is not read yet, because an answer is awaited or nobody reads what there is."""

import msgspec
import pytest

from directories import KnownAtOnce
from sigbridge.outbox import CROWDED_BYTES, CROWDED_MESSAGES
from sigbridge_compat.deferred import Deferral
from websocket_lines import LIST, OFFER

TEXT = 1


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
        alice.pull()
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


def test_listings_of_who_does_not_read_are_bounded_by_the_outbox(make_hub, connect, frame, clock):
    hub = make_hub()
    peers = [connect(hub=hub) for _ in range(4)]
    for number, peer in enumerate(peers):
        peer.call("announce", peer_id=str(number), metadata={"k": "x" * 13_000})
    line = connect("alice", hub=hub)
    line.wire.receive(b"".join(frame(TEXT, LIST % i) for i in range(300)), clock.now)
    page = 60_000
    assert CROWDED_BYTES <= line.session.outbox.queued_bytes <= CROWDED_BYTES + page
    # A carrier that may write no more asks for nothing more; what it has taken makes room for as much.
    taken = sum(map(len, line.wire.take_output(65536, clock.now)))
    assert taken <= 65536 + page
    assert line.session.outbox.queued_bytes <= CROWDED_BYTES + page
    assert not line.wire.reading()


@pytest.mark.parametrize("replays", [True, False])
def test_whatever_a_batch_causes_for_its_sender_follows_the_array(make_hub, connect, replays):
    """Also a peer that leaves because it does not read what the batch has told it."""
    hub = make_hub(replay_roster=replays, outbox_max_messages=4)
    slow, sender = connect("slow", hub=hub), connect(hub=hub)
    steps = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": {"peer_id": f"sender {number // 2}"}}
        for number in range(13)
        for method in [("announce", "disconnect")[number % 2]]
    ]
    first, *others = sender.say(steps)
    assert [one["id"] for one in first] == list(range(13))
    assert [one["params"]["peer_id"] for one in others if one["method"] == "peer_left"] == ["slow"]
    assert not slow.session.open
