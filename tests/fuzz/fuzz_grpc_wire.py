"""Feeds the gRPC wire bytes and splits that nobody meant: it must never raise, and must keep nothing it should not.

`python tests/fuzz/fuzz_grpc_wire.py -max_total_time=60` fuzzes with atheris; `play` is one run of any input.
"""

import gzip
import struct
import sys
from pathlib import Path
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import fuzzing

    with fuzzing.instrumenting("sigbridge", "sigbridge_grpc"):
        import sigbridge_grpc.wire  # noqa: F401

from sigbridge import Hub, Instant, Settings
from sigbridge_grpc import long_messages, turns
from sigbridge_grpc.call import GONE
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.lifetime import CLOSING
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.signal_method import SignalMethod
from sigbridge_grpc.web import GrpcWeb
from sigbridge_grpc.wire import GrpcWire, grpc_wires
from sigbridge_net.pages import Page, Site
from sigbridge_net.wire import Client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATHS = (
    f"/{SERVICE_NAME}/Signal",
    f"/{SERVICE_NAME}/Signal",
    f"/{SERVICE_NAME}/GetPeers",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/no.Such/Method",
)
PAGES = ("/healthz", f"/{SERVICE_NAME}/GetPeers", "/large", "/nothing")
SETTINGS = Settings(
    max_message_bytes=2000,
    outbox_max_messages=20,
    outbox_max_bytes=4000,
    send_deadline_seconds=3,
    max_sessions=20,
    rate_per_second=0,
)
_MOST_FRAMES = 400


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes((kind, flags)) + struct.pack("!I", stream_id) + payload


def _headers(choice: int, extra: bytes) -> bytes:
    """A header block of literals, which needs no state."""
    is_page = choice & 0xC0
    fields = [
        (b":method", b"GET" if choice & 0x40 else b"POST"),
        (b":scheme", b"http"),
        (b":path", (PAGES[choice % len(PAGES)] if is_page else PATHS[choice % len(PATHS)]).encode()),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc-web" if choice & 0x80 else b"application/grpc"),
    ]
    if is_page and choice & 8:
        fields.append((b"expect", b"100-continue"))
    if choice & 0x10:
        fields.append((b"grpc-timeout", b"%dm" % (extra[0] if extra else 1)))
    if choice & 0x20:
        fields.append((b"grpc-encoding", b"gzip"))
    return b"".join(
        b"\0" + bytes((len(name),)) + name + b"\x7f" * (len(value) >= 127) + bytes((len(value) % 127,)) + value
        for name, value in fields
    )


def _message(choice: int, payload: bytes) -> bytes:
    """A framed request, or what only looks like one."""
    name = "abcd"[choice & 3]
    match choice >> 2 & 7:
        case 0 | 1:
            request = pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id=name))
        case 2 | 3:
            request = pb.SignalingRequest(offer=pb.OfferRequest(to_peer_id=name, sdp="s" * (10 * len(payload))))
        case 4:
            request = pb.SignalingRequest(list_peers=pb.ListPeersRequest())
        case 5:
            return struct.pack("!BI", choice & 1, len(payload)) + payload
        case 6:
            # One that others wait for, and what may be its end.
            return struct.pack("!BI", 0, 100) + payload if choice & 0x40 else payload
        case _:
            return struct.pack("!BI", 0, 3000)
    body = request.SerializeToString()
    if choice & 0x80:
        body = gzip.compress(body, mtime=0)
    return struct.pack("!BI", choice >> 7, len(body)) + body


class Play:
    """One connection and what is done to it."""

    def __init__(self) -> None:
        self.now = Instant(1000.0, 1_700_000_000.0)
        self.hub = Hub(SETTINGS, self.now)
        self.board = HealthBoard()
        self.woken = False
        methods = signaling_methods(SignalingService(self.hub, encoding=FRAMED_PROTOBUF), self.board)
        web = GrpcWeb(SignalingService(self.hub), self.board, SETTINGS)
        pages = {
            "/healthz": lambda: Page(200, b"alive"),
            "/large": lambda: Page(200, b"x" * 3 * SETTINGS.outbox_max_bytes),
        }
        wires = grpc_wires(methods, SETTINGS, site=Site(pages, web))
        wire = wires(Client("192.0.2.1"), self._wake, self.now)
        assert isinstance(wire, GrpcWire)
        self.wire = wire
        self.next_stream = 1
        self.lost = False

    def _wake(self) -> None:
        self.woken = True

    def receive(self, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece):
            self.wire.receive(data[start : start + piece], self.now)

    def take(self, most: int, times: int) -> None:
        """Takes output as a carrier does, until there is nothing, or until its socket is full."""
        for _ in range(times):
            output = self.wire.take_output(most, self.now)
            assert len(output) <= 1
            if not output:
                self.woken = False
                break
            assert 0 < len(output[0]) <= most

    def advance(self, seconds: float) -> None:
        self.now = Instant(self.now.monotonic + seconds, self.now.unix + seconds)
        self.hub.expire(self.now)
        if self.wire.due <= self.now.monotonic:
            self.wire.expire(self.now)

    def check(self) -> None:
        """Asserts all that must hold at any time."""
        wire = self.wire
        calls = set(wire._calls.values())
        touched, call = [], wire.first_touched
        while call is not None:
            touched.append(call)
            call = call.next_touched
        assert {call for call in touched if call.state != GONE} <= calls
        assert all(call.touched for call in touched)
        assert len(touched) == len(set(touched))
        assert set(wire._turn.resting) <= calls
        long = wire._long
        assert set(long._withheld) <= set(long.calls) <= calls
        early = sum(call.credited_early_bytes for call in long.calls)
        assert long._credited_early_bytes == early <= long_messages.UNFINISHED_BYTES + SETTINGS.max_message_bytes
        messages = [call.unfinished for call in calls if call.unfinished is not None]
        partial = 0 if wire._partial is None else wire._partial.kept
        assert wire._door.unfinished.kept == sum(message.kept for message in messages) + partial
        assert set(long.calls) <= {call for call in calls if call.unfinished is not None}
        assert not any(call.state == GONE for call in calls)
        sessions = [call.method for call in calls if isinstance(call.method, SignalMethod)]
        assert self.hub.session_count == sum(method._session.end_reason is None for method in sessions)
        assert len(self.board.watchers) <= len(calls)
        for call in calls:
            if call.deframer is not None and call.ending is None:
                assert len(call.deframer.buffer) <= SETTINGS.max_message_bytes + 5 + 65536
            assert wire._http2.unsent(call.stream_id) <= 2 * 16384 + 4 * SETTINGS.outbox_max_bytes
        if wire._lifetime.state >= CLOSING:
            assert not calls

    def end(self) -> None:
        """However it was left, it comes to an end by itself, or by the loss of its connection; nothing is left then."""
        self.take(65536, 10_000)
        self.check()
        self.wire.connection_lost(self.now)
        self.check()
        assert self.hub.session_count == 0
        assert not self.board.watchers


def play(data: bytes) -> None:
    """Take the bytes for instructions, with bounds so small that these reach them."""
    with (
        patch.multiple(long_messages, LONG_MESSAGE_BYTES=8, UNFINISHED_BYTES=40),
        patch.multiple(turns, INFLATED_BYTES=20, MAX_RESUMED_CALLS_PER_TURN=1),
    ):
        _play(data)


def _play(data: bytes) -> None:  # noqa: C901 - one turn for each thing that can be done
    """Three bytes at a time are an instruction, with a payload behind them; check after each."""
    it = Play()
    it.receive(PREFACE + _frame(4, 0, 0, b"\0\x04" + struct.pack("!I", data[0] * 20 if data else 100)), 7)
    at = 1
    for _ in range(_MOST_FRAMES):
        if at + 3 > len(data):
            break
        kind, choice, length = data[at : at + 3]
        payload = data[at + 3 : at + 3 + length % 64]
        at += 3 + length % 64
        piece = 1 + length // 8
        # One of the last eight streams, open or not; what is said on one that never was ends a connection.
        stream_id = max(1, it.next_stream - 2 * (1 + choice % 8))
        if it.next_stream == 1:
            kind = 0
        match kind % 13:
            case 0 | 1:
                flags = 0x04 | (length & 1)
                it.receive(_frame(1, flags, it.next_stream, _headers(choice, payload)), piece)
                it.next_stream += 2
            case 2 | 3 | 4:
                it.receive(_frame(0, length & 1, stream_id, _message(length, payload)), piece)
            case 5:
                it.receive(_frame(3, 0, stream_id, struct.pack("!I", 8)), piece)
            case 6:
                it.receive(_frame(8, 0, stream_id if length & 1 else 0, struct.pack("!I", 1 + choice * 10)), piece)
            case 7:
                it.receive(_frame(6, 0, 0, b"12345678"), piece)
            case 8:
                it.take(1 + choice * 4, 1 + length)
            case 9:
                it.advance(choice / 50)
            case 10:
                if choice < 16:
                    it.receive(payload or b"\xff", piece)
            case 11:
                it.receive(_frame(4, 0, 0, b"\0\x04" + struct.pack("!I", choice * 20)), piece)
            case _:
                if choice == 0:
                    it.hub.drain(it.now)
                    it.wire.drain(it.now)
                elif choice == 1:
                    it.board.not_serving()
                elif choice == 2:
                    it.wire.receive_eof(it.now)
                elif choice < 32:
                    it.receive(_frame(choice % 12, length & 0x2D, stream_id, payload), piece)
        it.check()
    it.end()


if __name__ == "__main__":
    fuzzing.fuzz(play)
