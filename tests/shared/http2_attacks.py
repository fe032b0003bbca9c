"""Attacks on an HTTP/2 server: every class that has a name, with its bound, or the reason why it needs none.

A bound is in bytes that the attacker has sent when its connection ends. Where there is none, the work is no more than
what the bytes themselves are worth; `tests/http2/measure_attacks.py` prints it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, repeat

from http2_bytes import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawClient,
    block,
    frame,
    number,
    reset,
    settings,
    window_of,
)
from sigbridge_http2.errors import ErrorCode

CHUNK_BYTES = 16384
SHORT_REQUEST = b"\x83\x86\x84\x41\x01a"
"""POST, http and / by the static table, and an authority of one byte."""


@dataclass(frozen=True)
class Attack:
    """One way to attack, as an endless stream of frames; stream 1 is open, and answered, before it begins."""

    name: str
    frames: Callable[[], Iterator[bytes]]
    bound: int | None
    reason: str
    """The way it ends, or the reason why it need not."""
    code: ErrorCode | None = ErrorCode.ENHANCE_YOUR_CALM
    """The code of the GOAWAY; None: there is none."""
    reads: bool = True
    chunk_bytes: int = CHUNK_BYTES

    def chunks(self) -> Iterator[bytes]:
        """The same, in pieces as a carrier hands them on."""
        kept = b""
        for frames in self.frames():
            kept += frames
            while len(kept) >= self.chunk_bytes:
                yield kept[: self.chunk_bytes]
                kept = kept[self.chunk_bytes :]
        yield kept


def victim() -> RawClient:
    """A connection on which a stream is open, answered, and waits for its window."""
    client = RawClient(window_of(0), max_streams=1000)
    client.receive(client.request())
    client.respond(1)
    client.server.send_data(1, bytes(1_000_000))
    client.sent()
    return client


def play(attack: Attack, most: int) -> tuple[RawClient, int]:
    """Attacks until the connection is over, or until so many bytes are sent; returns how many were."""
    client, sent = victim(), 0
    for chunk in attack.chunks():
        client.receive(chunk)
        sent += len(chunk)
        if client.server.over:
            break
        if attack.reads:
            while client.server.output(65536):
                pass
        if sent >= most:
            break
    return client, sent


def _forever(frames: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: repeat(frames)


def _request(stream_id: int, *, end: bool = False, more: bytes = b"") -> bytes:
    return frame(HEADERS, END_HEADERS | end, stream_id, SHORT_REQUEST + more)


def _streams(then: Callable[[int], bytes], *, end: bool = False, more: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A stream after the other, with something behind each request."""
    return lambda: (_request(stream_id, end=end, more=more) + then(stream_id) for stream_id in count(3, 2))


def _nothing(_: int) -> bytes:
    return b""


def _after(first: bytes, frames: Callable[[], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
    def both() -> Iterator[bytes]:
        yield first
        yield from frames()

    return both


LENGTH_3 = block((b"content-length", b"3"))
PRIORITIES = b"\0\0\0\0\x10"
LARGE_ENTRY = b"\x40\x01x\x7f\x81\x1e" + b"y" * 3968
GLITCHES = "1,000 at once and 33 a second are let be"
AT_ONCE = "the first ends the connection"
CHEAP = "costs what its bytes cost, and nothing is kept"

ATTACKS = (
    # Resets.
    Attack("rapid reset (CVE-2023-44487)", _streams(reset), 48_000, GLITCHES),
    Attack("rapid reset, of bodies that have begun", _streams(lambda id_: frame(DATA, 0, id_, b"x") + reset(id_)), 64_000, GLITCHES),
    Attack("MadeYouReset (CVE-2025-8671): a window of nothing", _streams(lambda id_: frame(WINDOW_UPDATE, 0, id_, number(0))), 48_000, GLITCHES),
    Attack("MadeYouReset: a window that overflows", _streams(lambda id_: frame(WINDOW_UPDATE, 0, id_, number(MAX_WINDOW)) * 2), 64_000, GLITCHES),
    Attack("MadeYouReset: a body longer than it says", _streams(lambda id_: frame(DATA, 0, id_, b"four"), more=LENGTH_3), 64_000, GLITCHES),
    Attack("MadeYouReset: a body shorter than it says", _streams(lambda id_: frame(DATA, END_STREAM, id_, b"2b"), more=LENGTH_3), 64_000, GLITCHES),
    Attack("MadeYouReset: a body that is promised and not there", _streams(_nothing, end=True, more=LENGTH_3), 64_000, GLITCHES),
    Attack("MadeYouReset: trailers without an end", _streams(lambda id_: frame(HEADERS, END_HEADERS, id_)), 48_000, GLITCHES),
    Attack("MadeYouReset: malformed trailers", _streams(lambda id_: frame(HEADERS, END_HEADERS | END_STREAM, id_, block((b"A", b"b")))), 48_000, GLITCHES),
    Attack("MadeYouReset: malformed requests", lambda: (frame(HEADERS, END_HEADERS, id_, b"\x83\x86") for id_ in count(3, 2)), 32_000, GLITCHES),
    Attack("MadeYouReset: fields without a name (CVE-2019-9516)", _streams(_nothing, more=b"\0\0\0" * 10), 64_000, GLITCHES),
    Attack("MadeYouReset: streams beyond the limit", _streams(_nothing), 48_000, GLITCHES),
    Attack("MadeYouReset: data on a stream half-closed", _streams(lambda id_: frame(DATA, 0, id_, b"x"), end=True), CHUNK_BYTES, AT_ONCE, ErrorCode.STREAM_CLOSED),
    Attack("MadeYouReset: headers on a stream half-closed", _streams(lambda id_: frame(HEADERS, END_HEADERS | END_STREAM, id_), end=True), CHUNK_BYTES, AT_ONCE, ErrorCode.STREAM_CLOSED),
    Attack("MadeYouReset: data beyond a window", _streams(lambda id_: frame(DATA, 0, id_, bytes(CHUNK_BYTES)) * 5), 6 * CHUNK_BYTES, AT_ONCE, ErrorCode.FLOW_CONTROL_ERROR),
    Attack("MadeYouReset: a priority of a wrong size", _streams(lambda id_: frame(PRIORITY, 0, id_, b"\0")), CHUNK_BYTES, AT_ONCE, ErrorCode.FRAME_SIZE_ERROR),
    Attack("MadeYouReset: a stream that depends on itself", _streams(lambda id_: frame(PRIORITY, 0, id_, number(id_) + b"\0")), CHUNK_BYTES, AT_ONCE, ErrorCode.PROTOCOL_ERROR),
    # Header blocks.
    Attack("CONTINUATION flood (CVE-2024-27316), empty", _after(frame(HEADERS, 0, 3), _forever(frame(CONTINUATION, 0, 3))), CHUNK_BYTES, "of one block 8 are let be"),
    Attack("CONTINUATION flood, full", _after(frame(HEADERS, 0, 3), _forever(frame(CONTINUATION, 0, 3, bytes(16384)))), 2 * CHUNK_BYTES, "a block has a longest length"),
    Attack("header bomb: references to one large entry", _after(_request(3, more=LARGE_ENTRY), lambda: (_request(id_, more=b"\xbe" * 16000) for id_ in count(5, 2))), 2 * CHUNK_BYTES, "decoded fields have a largest size"),
    Attack("header bomb: references within the limit", lambda: (_request(id_, end=True, more=b"\x88" * 40) + reset(id_) for id_ in count(3, 2)), 90_000, GLITCHES),
    Attack("header bomb: Huffman", lambda: (_request(id_, more=b"\0\x01x\xff\xf6\x05" + b"\0" * 885) + reset(id_) for id_ in count(3, 2)), 1_000_000, GLITCHES),
    Attack("header bomb: many small literals", lambda: (_request(id_, more=b"\0\x01a\x01b" * 50) + reset(id_) for id_ in count(3, 2)), 320_000, GLITCHES),
    Attack("header bomb: entries that push each other out", lambda: (_request(id_, more=b"\x40\x01a\x01b" * 50) + reset(id_) for id_ in count(3, 2)), 320_000, GLITCHES),
    Attack("header bomb: sizes of the table", lambda: (frame(HEADERS, END_HEADERS, id_, b"\x20\x3f\xe1\x1f" * 400 + SHORT_REQUEST) + reset(id_) for id_ in count(3, 2)), 1_700_000, GLITCHES),
    Attack("header bomb: streams that are let be", lambda: (frame(HEADERS, END_HEADERS | END_STREAM, id_, SHORT_REQUEST) for id_ in count(3, 2)), 48_000, "streams have a limit, and what is beyond counts as rapid reset does"),
    # Frames of the connection.
    Attack("settings flood (CVE-2019-9515)", _forever(settings()), 16_384, GLITCHES),
    Attack("settings flood, of windows", _forever(frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0" * 20)), 160_000, GLITCHES),
    Attack("settings flood, not read", _forever(settings()), 16_384, GLITCHES, reads=False),
    Attack("ping flood (CVE-2019-9512), not read", _forever(frame(PING, 0, 0, bytes(8))), CHUNK_BYTES, "128 are answered before the answers are out", code=None, reads=False),
    Attack("ping flood, read", _forever(frame(PING, 0, 0, bytes(8))), None, "the user hears of each and bounds them; the gRPC wire after 100", chunk_bytes=1700),
    Attack("answers to no ping, and to no settings", _forever(frame(PING, ACK, 0, bytes(8)) + frame(SETTINGS, ACK, 0)), None, CHEAP),
    Attack("priority flood (CVE-2019-9513)", _forever(frame(PRIORITY, 0, 1, PRIORITIES)), 16_384, GLITCHES),
    # Bodies and windows.
    Attack("empty-frame flood (CVE-2019-9518)", _forever(frame(DATA, 0, 1)), 98_304, "10,000 with no data between are let be"),
    Attack("padding flood", _forever(frame(DATA, PADDED, 1, b"\x00")), 114_688, "such a frame is empty"),
    Attack("padding flood, the longest", _forever(frame(DATA, PADDED, 1, b"\xff" + bytes(255))), 2_700_000, "such a frame is empty"),
    Attack("bodies byte by byte", _forever(frame(DATA, 0, 1, b"x")), 16_384 * 41, "a window that the user does not open", ErrorCode.FLOW_CONTROL_ERROR),
    Attack("window-update flood, of the connection", _forever(frame(WINDOW_UPDATE, 0, 0, number(1))), None, CHEAP),
    Attack("window-update flood, of a stream: data dribble (CVE-2019-9511)", _forever(frame(WINDOW_UPDATE, 0, 1, number(1))), None, "data leaves when output is asked for, all that the updates of a chunk let out in one frame"),
    Attack("window-update flood, not read", _forever(frame(WINDOW_UPDATE, 0, 1, number(1))), None, "windows let no data leave: it is cut when output is asked for", reads=False),
    Attack("window-update flood, of a stream that is gone", _after(_request(3) + reset(3), _forever(frame(WINDOW_UPDATE, 0, 3, number(1)))), None, CHEAP),
    # What is ignored.
    Attack("resets of a stream that is gone", _after(_request(3) + reset(3), _forever(frame(RST_STREAM, 0, 3, number(8)))), None, CHEAP),
    Attack("frames of unknown types", _forever(frame(99, 0, 1)), None, CHEAP),
)  # fmt: skip
