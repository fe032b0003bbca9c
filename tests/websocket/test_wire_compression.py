"""The WebSocket wire: permessage-deflate, where it is allowed."""

import zlib

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from sigbridge.disconnects import DisconnectReason
from sigbridge.outbox import CROWDED_MESSAGES
from websocket_lines import LIST

TEXT, CLOSE = 1, 8


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


@pytest.mark.thorough
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
    assert not alice.wire._frames.exhausted
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
