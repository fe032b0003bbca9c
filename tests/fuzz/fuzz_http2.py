"""Feeds the HTTP/2 machine bytes and splits that nobody meant: it must never raise, and must keep its accounts.

`python tests/fuzz/fuzz_http2.py -max_total_time=60` fuzzes with atheris; `play` is one run of any input.
"""

import struct
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import fuzzing

    with fuzzing.instrumenting("sigbridge_http2"):
        import sigbridge_http2.connection  # noqa: F401

from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import DataReceived, RequestReceived, StreamReset, TrailersReceived
from sigbridge_http2.floods import MAX_UNWRITTEN_BYTES
from sigbridge_http2.streams import (
    CLOSED,
    DISMISSED,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    OPEN,
    RECEIVE_WINDOW_BYTES,
    UNKNOWN_LENGTH,
)
from sigbridge_http2.windows import CREDIT_BYTES, MAX_WINDOW_BYTES, connection_window_bytes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_STREAMS = 5
_MOST_STEPS = 400
_NUMBERS = (0, 1, 3, 100, 16384, 65535, 0x7FFF0000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_BLOCKS = (
    b"\x83\x86\x84\x41\x01a",
    b"\x83\x86\x84\x41\x01a\x0f\x0d\x011",
    b"\x83\x86\x84\x41\x01a\x0f\x0d\x019",
    b"\x83\x86\x84\x66\x84\xff\xff\xff\xff",
    b"\x83\x86\x84\x41\x81\x1f\x40\x01n\x01v",
    b"\x83\x86\x84\x41\x01a\xbe\xbf",
    b"\x83\x86",
    b"\x20\x3f\xe1\x1f\x00\x01n\x01v",
    b"\x00\x01N\x01v",
    b"",
)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes((kind, flags)) + struct.pack("!I", stream_id) + payload


class Play:
    """One connection, what its user knows, and what is done to it."""

    def __init__(self, window: int) -> None:
        """Begin, with streams of which each may be sent so much."""
        self.server = Connection(max_streams=MAX_STREAMS, max_header_bytes=1000, most_header_bytes=2000)
        self.now = 1000.0
        self.next_stream = 1
        self.untaken: dict[int, int] = {}
        self.asking: set[int] = set()
        self.receive(PREFACE + _frame(4, 0, 0, b"\0\x04" + struct.pack("!I", window)), 7)

    def receive(self, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece):
            was_over = self.server.over
            for event in self.server.receive(data[start : start + piece], self.now):
                assert not was_over
                self.hear(event)

    def hear(self, event: object) -> None:
        """Asserts what a user may rely on: requests come once, and nothing of a body comes before them or behind its end."""
        if isinstance(event, RequestReceived):
            assert event.stream_id not in self.untaken
            self.untaken[event.stream_id] = 0
            if not event.end_stream:
                self.asking.add(event.stream_id)
        elif isinstance(event, DataReceived):
            assert event.stream_id in self.asking
            assert event.data or event.end_stream
            self.untaken[event.stream_id] += len(event.data)
            if event.end_stream:
                self.asking.discard(event.stream_id)
        elif isinstance(event, TrailersReceived):
            assert event.stream_id in self.asking
            self.asking.discard(event.stream_id)
        elif isinstance(event, StreamReset):
            assert event.stream_id in self.untaken
            self.asking.discard(event.stream_id)

    def send(self, choice: int, stream_id: int, size: int) -> None:
        server = self.server
        match choice % 9:
            case 0:
                server.send_headers(stream_id, [(b":status", b"200")], end=choice > 200)
            case 1 | 2:
                kept = server.send_data(stream_id, bytes(size * 300), end=choice > 200)
                assert kept == server.unsent(stream_id)
            case 3:
                server.send_trailers(stream_id, [(b"a", b"b")], at_once=choice > 200)
                assert choice <= 200 or server.unsent(stream_id) == 0
            case 4 if choice > 120:
                server.dismiss(stream_id, self.now)
                if server._streams.state_of(stream_id) == DISMISSED:
                    self.asking.discard(stream_id)
            case 4:
                server.reset(stream_id, ErrorCode.CANCEL)
            case 5 if stream_id in self.untaken:
                taken, self.untaken[stream_id] = self.untaken[stream_id], 0
                server.acknowledge(stream_id, taken)
            case 6:
                server.ping()
            case 7 if choice > 180:
                server.announce_shutdown()
            case 8 if choice > 220:
                server.goaway()
            case _:
                pass

    def take(self, most: int, times: int) -> None:
        for _ in range(times):
            data = self.server.output(most)
            assert len(data) <= most
            if not data:
                assert not self.server.wants_write
                break

    def check(self) -> None:
        """Asserts all that must hold at any time."""
        server = self.server
        blocked = server._windows.blocked or {}
        assert len(server._active) <= MAX_STREAMS
        for stream_id, stream in server._active.items():
            assert stream.id == stream_id <= server._streams.last_begun
            assert stream.state in (OPEN, HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE)
            assert 0 <= stream.receivable <= RECEIVE_WINDOW_BYTES
            assert stream.taken >= 0
            assert stream.unacknowledged_bytes >= self.untaken.get(stream_id, 0) >= 0
            assert stream.send_window + server._windows.initial <= MAX_WINDOW_BYTES
            assert bool(stream.unsent) == (stream in blocked)
            assert stream.body_left == UNKNOWN_LENGTH or stream.body_left >= 0
        assert all(server._active.get(stream.id) is stream for stream in blocked)
        dismissed = server._streams.dismissed
        assert len(dismissed) <= MAX_STREAMS // 2
        assert not dismissed.keys() & server._active.keys()
        assert [one.reset_at for one in dismissed.values()] == sorted(one.reset_at for one in dismissed.values())
        assert all(one.receivable >= 0 for one in dismissed.values())
        window = server._receive_window
        untaken = sum(stream.unacknowledged_bytes for stream in server._active.values())
        if not server.broken:
            assert window.left + window.taken + untaken == connection_window_bytes(MAX_STREAMS)
        assert 0 <= window.taken < CREDIT_BYTES or server.broken
        assert server._windows.left <= MAX_WINDOW_BYTES or server.broken
        assert server._floods.unwritten_bytes <= MAX_UNWRITTEN_BYTES + 100_000
        if server._decoder is not None:
            entries = server._decoder._entries
            assert sum(len(name) + len(value) + 32 for name, value in entries) == server._decoder._table_bytes <= 4096
        assert len(server._unread) < 9 + 16384
        assert server._streams.state_of(server._streams.last_begun + 1) == 0
        assert CLOSED not in {stream.state for stream in server._active.values()}

    def end(self) -> None:
        """Let out all that there is."""
        self.take(65536, 10_000)
        self.check()


def play(data: bytes) -> None:  # noqa: C901 - one turn for each thing that can be done
    """Take the bytes for instructions, three at a time, with a payload behind them; check after each."""
    first = data[0] if data else 0
    it = Play(first * 20)
    at = 1
    for _ in range(_MOST_STEPS):
        if at + 3 > len(data):
            break
        kind, choice, length = data[at : at + 3]
        payload = data[at + 3 : at + 3 + length % 32]
        at += 3 + length % 32
        piece = 1 + length // 4
        # One of the last six streams; mostly one that is still asking, since much on another ends the connection.
        stream_id = max(1, it.next_stream - 2 * (1 + choice % 6))
        if it.asking and length > 10:
            stream_id = sorted(it.asking)[choice % len(it.asking)]
        if it.next_stream == 1:
            kind = 0
        number = struct.pack("!I", _NUMBERS[length % len(_NUMBERS)])
        match kind % 14:
            case 0 | 1:
                block = _BLOCKS[choice % len(_BLOCKS) if choice > 150 else 0] + payload * (choice > 250)
                if length & 2:
                    split = len(block) // 2
                    it.receive(_frame(1, length & 1, it.next_stream, block[:split]), piece)
                    it.receive(_frame(9, 4, it.next_stream, block[split:]), piece)
                else:
                    it.receive(_frame(1, 4 | length & 1, it.next_stream, block), piece)
                it.next_stream += 2 + 4 * (choice > 250)
            case 2 | 3:
                it.receive(_frame(0, length & 1, stream_id, payload * (1 + choice * 3)), 1 + piece * 100)
            case 4:
                it.receive(_frame(0, 8 | length & 1, stream_id, bytes((choice % 8,)) + payload + bytes(7)), piece)
            case 5:
                it.receive(_frame(3, 0, stream_id, struct.pack("!I", 8)), piece)
            case 6:
                wider = number if choice > 200 else struct.pack("!I", 1 + choice * 10)
                it.receive(_frame(8, 0, stream_id if choice & 1 else 0, wider), piece)
            case 7:
                it.receive(
                    _frame(
                        4,
                        length & 1 and choice > 250,
                        0,
                        struct.pack("!H", choice % 8) + (number if choice > 200 else bytes((0, 0, choice, 0))),
                    ),
                    piece,
                )
            case 8:
                it.receive(_frame(6, length & 1, 0, b"12345678") * (1 + choice % 4), piece)
            case 9:
                it.take(1 + choice * 40, 1 + length)
            case 10 | 11:
                it.send(choice, stream_id, length)
            case 12:
                it.now += choice
                it.server.reset_due(it.now)
                assert it.server.resets_due > it.now
                it.receive(_frame(1, 5, stream_id, _BLOCKS[choice % len(_BLOCKS) if choice > 200 else -1]), piece)
            case _:
                if choice < 16:
                    it.receive(payload or b"\xff", piece)
                elif choice < 80:
                    it.receive(_frame(choice % 12, length & 0x2D, stream_id * (choice > 40), payload), piece)
        it.check()
        if it.server.over:
            it.end()
            it = Play(length * 20)
    it.end()


if __name__ == "__main__":
    fuzzing.fuzz(play)
