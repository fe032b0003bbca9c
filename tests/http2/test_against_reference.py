"""The machine comes to the same as libnghttp2: random scripts, played on both.

A client that counts windows strictly looks at what each of them sends. They differ, and may, in this:

- when, and in what lumps, a client is told that it may send more;
- where frames of a body begin, and which streams are first when a connection's window opens;
- trailers behind an empty body, which the library keeps back while windows are closed, without need;
- how much of a body had left before its stream was reset, since the library cuts frames later;
- that a stream has ended on both sides, or by our own reset: the library says so, and our user knows; likewise
  of a stream that is gone before its request was told;
- where a stream's window overflows or is widened by nothing, the library ends the connection, and we the stream, as
  RFC 9113 has it (sections 6.9 and 6.9.1): not played here;
- DATA or HEADERS behind the client's own RST_STREAM, which the library ignores, and which end our connection
  (section 5.1): not played here;
- a client that has said goodbye is told of no shutdown by us, since it knows: not played here;
- what of a frame that breaks the connection was heard before: the library hands on halves of frames.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("ngh2", reason="the reference is ngh2, which has no wheel for this platform")

import hpack
import ngh2
from ngh2 import Configuration, NGH2Error, Role, Setting

from http2_bytes import MAX_WINDOW, PREFACE, REQUEST, block, frame
from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import Header
from sigbridge_http2.floods import MAX_UNWRITTEN_PINGS
from sigbridge_http2.streams import RECEIVE_WINDOW_BYTES

LIMITS = {"max_streams": 100, "max_header_bytes": 1000, "most_header_bytes": 2000}


class ReferenceHttp2:
    """HTTP/2 as the library does it."""

    def __init__(self, *, max_streams: int, max_header_bytes: int, most_header_bytes: int) -> None:
        self.broken = False
        self._connection = ngh2.Connection(
            Role.SERVER,
            Configuration(
                auto_window_update=False,
                max_inbound_header_list_size=most_header_bytes,
                max_outbound_ack=MAX_UNWRITTEN_PINGS,
            ),
        )
        self._connection.initiate_connection(
            {
                Setting.MAX_CONCURRENT_STREAMS: max_streams,
                Setting.INITIAL_WINDOW_SIZE: RECEIVE_WINDOW_BYTES,
                Setting.MAX_HEADER_LIST_SIZE: max_header_bytes,
            }
        )
        self._connection.set_local_window_size(max_streams * RECEIVE_WINDOW_BYTES)

    def receive(self, data: bytes, now: float) -> list[ngh2.Event]:
        try:
            self._connection.receive_data(data)
        except NGH2Error:
            self.broken = True
        try:
            return self._connection.events()
        except NGH2Error:
            return []

    def output(self, most: int) -> bytes:
        try:
            return self._connection.data_to_send(most)
        except NGH2Error:
            self.broken = True
            return b""

    @property
    def over(self) -> bool:
        try:
            return self.broken or not self._connection.want_read
        except NGH2Error:
            return True

    def send_headers(self, stream_id: int, headers: Iterable[Header], *, end: bool = False) -> None:
        with suppress(NGH2Error):
            self._connection.send_response(stream_id, headers, end_stream=end)

    def send_data(self, stream_id: int, data: bytes) -> None:
        with suppress(NGH2Error):
            self._connection.send_data(stream_id, data)

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        with suppress(NGH2Error):
            self._connection.send_trailers(stream_id, headers)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        with suppress(NGH2Error):
            self._connection.reset_stream(stream_id, int(code))

    def acknowledge(self, stream_id: int, size: int) -> None:
        with suppress(NGH2Error):
            self._connection.acknowledge_received_data(size, stream_id)

    def ping(self) -> None:
        with suppress(NGH2Error):
            self._connection.ping(b"sigbridg")

    def announce_shutdown(self) -> None:
        with suppress(NGH2Error):
            self._connection.send_shutdown_notice()

    def goaway(self) -> None:
        with suppress(NGH2Error):
            self._connection.send_goaway(0)


class Played:
    """One server, what its wire has learned, and what a client that counts strictly has seen."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.requests: dict[int, object] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.gone: set[int] = set()
        self.untaken: dict[int, int] = {}
        self.rest = b""
        self.first_window = 65535
        self.unanswered: list[dict[int, int]] = []
        self.decoder = hpack.Decoder()
        self.window = 65535
        self.windows: dict[int, int] = {}
        self.seen: dict[int, list[object]] = {}
        self.goaways: list[int] = []
        self.may_send = 65535
        self.pongs = 0

    def receive(self, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece):
            for event in self.server.receive(data[start : start + piece], 0.0):
                self.learn(event)

    def learn(self, event: Any) -> None:
        name = type(event).__name__
        stream_id = getattr(event, "stream_id", 0)
        if name == "RequestReceived":
            assert stream_id not in self.requests
            headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            self.requests[stream_id] = (headers, event.end_stream)
            self.bodies[stream_id] = b""
        elif name == "DataReceived":
            assert stream_id in self.requests
            assert stream_id not in self.ended
            self.bodies[stream_id] += event.data
            self.untaken[stream_id] = self.untaken.get(stream_id, 0) + len(event.data)
        elif name == "StreamReset" or (name == "StreamClosed" and event.error_code):
            self.gone.add(stream_id)
        if name == "TrailersReceived" or getattr(event, "end_stream", False):
            self.ended.add(stream_id)

    def output(self, most: int, times: int = 100_000) -> None:
        for _ in range(times):
            data = self.server.output(most)
            if not data:
                break
            assert len(data) <= most or isinstance(self.server, ReferenceHttp2)
            self.rest += data
            while len(self.rest) >= 9 and len(self.rest) >= 9 + int.from_bytes(self.rest[:3], "big"):
                end = 9 + int.from_bytes(self.rest[:3], "big")
                self.see(*struct.unpack("!BBI", self.rest[3:9]), self.rest[9:end])
                self.rest = self.rest[end:]

    def see(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Judge a frame as a client would that forgives nothing."""
        stream = self.seen.setdefault(stream_id, [])
        if stream_id:
            over = stream[-1][0] if stream and isinstance(stream[-1], tuple) else None
            assert over is None or (over == "end" and kind in (3, 8)), "a frame on a stream that is over"
        if kind == 0:
            size = len(payload)
            assert size <= 16384
            assert stream, "DATA before HEADERS"
            self.window -= size
            self.windows[stream_id] = self.windows.get(stream_id, 0) - size
            if size:
                assert self.window >= 0
                assert self.windows[stream_id] + self.first_window >= 0
            if len(stream) > 1 and isinstance(stream[-1], bytes):
                stream[-1] += payload
            elif size:
                stream.append(payload)
            if flags & 1:
                stream.append(("end", b""))
        elif kind == 1:
            headers = repr(self.decoder.decode(payload, raw=True)).encode()
            stream.append(("end", headers) if flags & 1 else headers)
        elif kind == 3:
            stream.append(("reset", payload))
        elif kind == 4 and flags & 1:
            wished = self.unanswered.pop(0)
            self.first_window = wished.get(4, self.first_window)
            if 1 in wished:
                # From here on it insists on being told.
                self.decoder.max_allowed_table_size = wished[1]
        elif kind == 6 and flags & 1:
            self.pongs += 1
        elif kind == 7:
            self.goaways.append(int.from_bytes(payload[4:8], "big"))
        elif kind == 8 and not stream_id:
            more = int.from_bytes(payload, "big")
            self.may_send += more
            assert more > 0
            assert self.may_send <= MAX_WINDOW


class Script:
    """The same for both."""

    def __init__(self, piece: int, first_window: int) -> None:
        self.both = [Played(Connection(**LIMITS)), Played(ReferenceHttp2(**LIMITS))]
        self.piece = piece
        self.next_stream = 1
        self.answered: set[int] = set()
        self.finished: set[int] = set()
        self.torn: set[int] = set()
        self.client_ended: set[int] = set()
        self.client_reset: set[int] = set()
        self.we_reset: set[int] = set()
        self.client_left = False
        self.we_left = False
        self.encoder = hpack.Encoder()
        self.settings({4: first_window}, PREFACE)

    def receive(self, data: bytes) -> None:
        for played in self.both:
            played.receive(data, self.piece)

    def settings(self, wished: dict[int, int], before: bytes = b"") -> None:
        for played in self.both:
            played.unanswered.append(wished)
        self.receive(before + frame(4, 0, 0, b"".join(struct.pack("!HI", *pair) for pair in wished.items())))

    def request(self, length: int | None, *, huffman: bool) -> bytes:
        """A header block as a client writes it, with a table."""
        fields = [*REQUEST, (b"x-stream", b"%d" % (self.next_stream % 7))]
        return self.encoder.encode(
            [*fields, *([] if length is None else [(b"content-length", b"%d" % length)])], huffman=huffman
        )

    def window(self, stream_id: int, more: int) -> None:
        for played in self.both:
            if stream_id:
                played.windows[stream_id] = played.windows.get(stream_id, 0) + more
            else:
                played.window += more
        self.receive(frame(8, 0, stream_id, struct.pack("!I", more)))

    def play(self, op: tuple[int, int, int, int]) -> None:  # noqa: C901 - one turn for each thing that can be done
        kind, choice, size, flags = op
        stream_id = max(1, self.next_stream - 2 * (1 + choice % 3))
        if kind in (1, 2, 3, 15) and stream_id in self.client_ended & self.finished | self.client_reset:
            # Where the library keeps trailers back, the stream is not over for it.
            return
        if kind in (3, 14, 15) or (kind in (1, 2) and stream_id in self.client_ended):
            # What is wrong with a frame depends on whether its stream's end is on its way.
            for played in self.both:
                played.output(70_000)
        if (kind in (1, 2) and flags & 1) or kind == 3:
            self.client_ended.add(stream_id)
        match kind:
            case 0:
                length = None if flags & 2 else size % 50
                opened = self.next_stream
                self.next_stream += 2
                if flags & 1:
                    self.client_ended.add(opened)
                if not flags & 14:
                    # What it sends may be of another length.
                    self.torn.add(opened)
                headers = self.request(None if flags & 12 else length, huffman=bool(flags & 1))
                if flags & 16:
                    between = frame(0, 0, stream_id, b"x") if flags & 32 else b""
                    self.receive(frame(1, flags & 1, opened, headers[:5]) + between + frame(9, 4, opened, headers[5:]))
                else:
                    self.receive(frame(1, 4 | flags & 1, opened, headers))
            case 1:
                self.receive(frame(0, flags & 1, stream_id, bytes((size % 251,)) * (size % 16385)))
            case 2:
                padding = size % 256
                self.receive(
                    frame(0, 8 | flags & 1, stream_id, bytes((padding,)) + b"p" * (flags * 3) + bytes(padding))
                )
            case 3:
                self.torn |= {stream_id} if flags & 4 or not flags & 3 else set()
                self.receive(frame(1, 5 if flags & 3 else 4, stream_id, block((b"B" if flags & 4 else b"b", b"c"))))
            case 4:
                self.torn.add(stream_id)
                self.client_reset.add(stream_id)
                self.receive(frame(3, 0, stream_id, struct.pack("!I", 8)))
            case 5:
                self.window(stream_id if flags & 1 else 0, (1, 7, 100, 5000, 70000)[size % 5])
            case 6:
                self.settings(
                    {
                        **({}, {4: 0}, {4: 1}, {4: 10}, {4: 1000}, {4: 65535}, {4: 100_000})[size % 7],
                        **({}, {3: 100}, {1: 100}, {1: 0})[flags % 4],
                    }
                )
            case 7:
                self.receive(frame(6, flags & 1, 0, b"12345678"))
            case 8:
                if stream_id not in self.answered and stream_id < self.next_stream:
                    self.answered.add(stream_id)
                    if flags & 7 == 7:
                        self.finished.add(stream_id)
                    for played in self.both:
                        played.server.send_headers(stream_id, [(b":status", b"200")], end=flags & 7 == 7)
                        self.write_last_words(played)
            case 9:
                if stream_id in self.answered - self.finished:
                    for played in self.both:
                        played.server.send_data(stream_id, bytes((flags,)) * (size % 40000 or 1))
            case 10:
                if stream_id in self.answered - self.finished:
                    self.finished.add(stream_id)
                    for played in self.both:
                        played.server.send_trailers(stream_id, [(b"x", b"y")])
                        self.write_last_words(played)
            case 11:
                self.finished.add(stream_id)
                self.torn.add(stream_id)
                self.we_reset.add(stream_id)
                for played in self.both:
                    played.server.reset(stream_id, ErrorCode.CANCEL)
                    played.output(70_000)
            case 12:
                self.take(stream_id)
            case 13:
                for played in self.both:
                    played.output(1 + size, 1 + flags)
            case 14:
                if size % 3 and self.client_left:
                    return
                self.we_left |= size % 3 == 2
                for played in self.both:
                    (played.server.ping, played.server.announce_shutdown, played.server.goaway)[size % 3]()
                    # What a request means that comes now depends on whether this is on its way.
                    played.output(70_000)
            case _:
                # What nobody should send; most of it ends the connection, some is ignored.
                wrong = (
                    frame(8, 0, stream_id, struct.pack("!I", 0)),
                    frame(8, 0, 0, struct.pack("!I", MAX_WINDOW)),
                    frame(8, 0, stream_id, b"abc"),
                    frame(8, 0, self.next_stream, b"\0\0\0\1"),
                    frame(0, 0, 0, b"x"),
                    frame(0, 0, self.next_stream, b"x"),
                    frame(0, 8, stream_id, b"\x05abc"),
                    frame(0, 8, stream_id),
                    frame(0, 0, stream_id | 0x80000000, b"reserved"),
                    frame(0, 0, stream_id, bytes(16385)),
                    frame(0, 0, stream_id, bytes(16384)) * 5,
                    frame(99, flags, stream_id, b"unknown"),
                    frame(2, 0, stream_id, bytes(5)),
                    frame(4, 0, 0, struct.pack("!HI", 4, MAX_WINDOW + 1)),
                    frame(4, 0, 0, b"short"),
                    frame(6, 0, 0, b"short") + frame(0, 0, stream_id, b"after"),
                    frame(7, 0, 0, bytes(8)),
                    frame(3, 0, self.next_stream, bytes(4)),
                    frame(9, 4, stream_id, b"x"),
                )[size % 19]
                if size % 19 == 0 and stream_id < self.next_stream:
                    return
                self.client_left |= size % 19 == 16
                if wrong == frame(8, 0, 0, struct.pack("!I", MAX_WINDOW)):
                    # Where nothing of the window is left, it fits.
                    self.window(0, MAX_WINDOW)
                else:
                    self.receive(wrong)
        if kind in (1, 2, 3, 15):
            # A stream that the library puts an end to for this is over when that is on its way, and not before.
            for played in self.both:
                played.output(70_000)

    def write_last_words(self, played: Played) -> None:
        """Behind our GOAWAY a connection is over with its last stream: for us when its end is said, for the library
        when that is written.
        """
        if self.we_left:
            played.output(70_000)

    def take(self, stream_id: int) -> None:
        for played in self.both:
            played.server.acknowledge(stream_id, played.untaken.pop(stream_id, 0))

    def end(self) -> None:
        """Open all windows, so that all leaves that can; then compare."""
        for stream_id in range(1, self.next_stream, 2):
            self.take(stream_id)
        self.receive(frame(6, 0, 0, b"12345678"))
        for played in self.both:
            played.output(70_000)
        ours, theirs = self.both
        if not theirs.server.over:
            self.settings({4: 1_000_000})
            if ours.window < 2**30:
                self.window(0, 2**30)
            for played in self.both:
                played.output(70_000)
            # An answer to no question: it makes the library say what has ended.
            self.receive(frame(6, 1, 0, b"12345678"))
            for played in self.both:
                played.output(70_000)
        self.compare()
        for played in self.both:
            played.server.goaway()
            played.output(70_000)
        assert ours.goaways == theirs.goaways
        assert ours.server.over == theirs.server.over

    def compare(self) -> None:
        ours, theirs = self.both
        assert ours.requests == theirs.requests
        assert ours.goaways == theirs.goaways
        assert ours.server.over == theirs.server.over
        dead = ours.server.over
        for stream_id in ours.requests:
            one, other = sorted((ours.bodies[stream_id], theirs.bodies[stream_id]), key=len)
            # No `==` of bodies: pytest would take minutes to show how they differ.
            assert other.startswith(one)
            assert dead or len(one) == len(other)
            self.compare_seen(stream_id, torn=dead or stream_id in self.torn)
        if not dead:
            assert ours.pongs == theirs.pongs
            assert ours.ended == theirs.ended
            told = ours.requests.keys() - self.we_reset - (self.client_ended & self.finished)
            assert ours.gone & told == theirs.gone & told
            assert {
                id_: stream.unacknowledged_bytes
                for id_, stream in ours.server._active.items()
                if stream.unacknowledged_bytes
            } == {}
            assert not ours.server._windows.blocked

    def compare_seen(self, stream_id: int, *, torn: bool) -> None:
        """Asserts that both clients saw the same of a stream; of one that was torn down, one saw a beginning of it."""
        seen = [played.seen.get(stream_id, []) for played in self.both]
        if torn:
            seen = [[part for part in parts if isinstance(part, bytes)] for parts in seen]
        one, other = sorted(seen, key=lambda parts: sum(map(len, parts)))
        kinds = [[(type(part), part[0] if isinstance(part, tuple) else len(part)) for part in parts] for parts in seen]
        assert torn or kinds[0] == kinds[1]
        flat = [b"".join(part if isinstance(part, bytes) else part[1] for part in parts) for parts in (one, other)]
        assert flat[1].startswith(flat[0])


op = st.tuples(
    st.one_of(st.integers(0, 14), st.sampled_from([0, 1, 5, 8, 9, 13])),
    st.integers(0, 2),
    st.integers(0, 70_000),
    st.integers(0, 63),
)
wrong_op = st.tuples(st.just(15), st.integers(0, 2), st.integers(0, 18), st.integers(0, 63))


@example(
    1, 0, [(0, 0, 0, 1), (1, 1, 0, 0), (1, 1, 0, 0), (3, 1, 0, 0), (14, 0, 22832, 0), (8, 0, 0, 7), (0, 0, 0, 48)], []
)
@settings(max_examples=int(os.environ.get("SIGBRIDGE_SCRIPTS") or 5 * settings().max_examples // 2))
@given(
    st.integers(1, 30_000),
    st.sampled_from([0, 5, 1000, 65535, 100_000]),
    st.lists(op, max_size=40),
    st.lists(st.one_of(wrong_op, op), max_size=6),
)
def test_it_comes_to_the_same(
    piece: int, first_window: int, ops: list[tuple[int, int, int, int]], more: list[tuple[int, int, int, int]]
) -> None:
    script = Script(piece, first_window)
    script.play((0, 0, 0, 2))
    for each in ops + more:
        script.play(each)
    script.end()
