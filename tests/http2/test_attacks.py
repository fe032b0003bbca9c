"""Every attack that has a name, at the machine: it ends the connection within its bound, or nothing is kept of it."""

import pytest

from http2_attacks import ATTACKS, CHUNK_BYTES, Attack, play
from http2_bytes import DATA, RST_STREAM, SETTINGS, RawClient, frame, number, reset, settings
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.floods import GLITCHES_PER_SECOND, MAX_GLITCHES, MAX_UNWRITTEN_BYTES

BOUNDED = [attack for attack in ATTACKS if attack.bound is not None]
CHEAP = [attack for attack in ATTACKS if attack.bound is None]


@pytest.mark.parametrize("attack", BOUNDED, ids=lambda attack: attack.name)
def test_it_ends_the_connection_within_its_bound(attack: Attack) -> None:
    assert attack.bound is not None
    client, sent = play(attack, attack.bound + CHUNK_BYTES)
    assert client.server.broken
    assert sent <= attack.bound + CHUNK_BYTES - 1, "the carrier hands on so much at a time"
    assert client.said_why() == attack.code


@pytest.mark.parametrize("attack", CHEAP, ids=lambda attack: attack.name)
def test_nothing_is_kept_of_it(attack: Attack) -> None:
    client, sent = play(attack, 1 << 18)
    server = client.server
    assert sent >= 1 << 18
    assert not server.broken
    assert len(server._active) == 1
    assert not server._next if attack.reads else len(server._next) <= 100
    assert server._more is None
    assert len(server._unread) < CHUNK_BYTES
    assert server._decoder is not None
    assert server._decoder._table_bytes <= 4096


def test_every_class_is_named() -> None:
    names = " ".join(attack.name for attack in ATTACKS)
    for word in ("CVE-2023-44487", "CVE-2024-27316", "CVE-2025-8671", "CVE-2019-9511", "CVE-2019-9512", "CVE-2019-9513",
                 "CVE-2019-9515", "CVE-2019-9516", "CVE-2019-9518", "Huffman", "small literals", "padding"):  # fmt: skip
        assert word in names
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_a_slow_client_may_take_back_as_many_calls_as_it_likes() -> None:
    client = RawClient()
    for _ in range(3 * MAX_GLITCHES):
        client.now += 1 / GLITCHES_PER_SECOND
        stream_id = client.next_stream
        client.receive(client.request() + reset(stream_id))
    assert not client.server.broken


@pytest.mark.thorough
def test_frames_that_nobody_reads_are_bounded_whatever_causes_them() -> None:
    """Refusals behind a bucket that fills again: a client that never reads has 4 MiB of them, and no more."""
    client = RawClient(max_streams=1)
    client.receive(client.request())
    for _ in range(10 * MAX_UNWRITTEN_BYTES // 77):
        client.now += 1
        client.receive(client.request())
        if client.server.broken:
            break
    assert client.server.broken
    assert sum(map(len, client.server._more or [])) <= MAX_UNWRITTEN_BYTES
    kinds = client.kinds()
    assert (kinds[0], set(kinds)) == (RST_STREAM, {RST_STREAM})


def test_a_flood_without_a_word_leaves_the_word_to_the_user() -> None:
    client = RawClient()
    client.receive(frame(6, 0, 0, bytes(8)) * 129)
    assert client.server.broken
    client.server.goaway(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings")
    client.server.goaway()
    assert [payload[8:] for kind, _, payload in client.sent() if kind == 7] == [b"too_many_pings"]


@pytest.mark.parametrize(("flags", "payload"), [(0, b"x"), (8, b"\1xx")], ids=["plain", "padded"])
def test_data_between_empty_frames_ends_the_count(flags: int, payload: bytes) -> None:
    client = RawClient()
    client.receive(client.request())
    for _ in range(5):
        client.receive(frame(DATA, 0, 1) * 9000 + frame(DATA, flags, 1, payload))
    assert not client.server.broken


def test_what_is_out_counts_no_more() -> None:
    client = RawClient()
    for _ in range(20):
        client.now += 60
        client.receive(settings() * 500 + frame(6, 0, 0, bytes(8)) * 100)
        assert client.kinds().count(SETTINGS) == 500
    assert not client.server.broken
    assert client.server._floods.unwritten_bytes == 0


def test_streams_behind_our_goodbye_count_as_resets_do() -> None:
    client = RawClient()
    client.receive(client.request())
    client.server.goaway()
    client.sent()
    for _ in range(MAX_GLITCHES + 1):
        client.receive(client.request())
    assert client.sent() == [(7, 0, number(client.next_stream - 2) + number(ErrorCode.ENHANCE_YOUR_CALM))]
