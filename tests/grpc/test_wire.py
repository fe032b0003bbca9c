"""The gRPC wire byte by byte, against ngh2 as the client: calls, limits, patience and every way to end, no socket."""

import contextlib
import gzip
import json
import logging
import struct
from collections.abc import Iterable
from urllib.parse import unquote

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ngh2", reason="the wire needs ngh2, which has no wheel for this platform")
import ngh2

from sigbridge import Hub, Instant, Settings
from sigbridge.auth import StaticTokens
from sigbridge.disconnects import DisconnectReason
from sigbridge.pending import Pending
from sigbridge_grpc import wire as wire_module
from sigbridge_grpc.framing import Deframer, framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.http2 import MOST_PINGS_AT_ONCE, RECEIVE_WINDOW_BYTES
from sigbridge_grpc.methods import HealthBoard, signaling_methods
from sigbridge_grpc.service import FRAMED_PROTOBUF, SERVICE_NAME, SignalingService
from sigbridge_grpc.wire import (
    HELD_BACK_CALLS,
    MAX_HEADER_BYTES,
    MAX_PINGS_IN_A_ROW,
    MAX_QUESTION_BYTES,
    UNFINISHED_BYTES,
    GrpcWire,
    grpc_wires,
)
from sigbridge_net.wire import Client

SIGNAL = f"/{SERVICE_NAME}/Signal"
GET_PEERS = f"/{SERVICE_NAME}/GetPeers"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ALL = 2**40


class Clock:
    def __init__(self) -> None:
        self.now = Instant(1000.0, 1_700_000_000.0)

    def advance(self, seconds: float) -> None:
        self.now = Instant(self.now.monotonic + seconds, self.now.unix + seconds)


class Answer:
    """What has come back on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None
        self.order: list[str] = []

    @property
    def messages(self) -> list[bytes]:
        deframer = Deframer(ALL)
        deframer.feed(self.body)
        found = []
        while (message := deframer.next_message()) is not None:
            found.append(message)
        return found

    @property
    def responses(self) -> list[pb.SignalingResponse]:
        return [pb.SignalingResponse.FromString(message) for message in self.messages]

    @property
    def status(self) -> int | None:
        word = (self.trailers or self.headers).get("grpc-status")
        return None if word is None else int(word)

    @property
    def message(self) -> str:
        return unquote((self.trailers or self.headers).get("grpc-message", ""))


class Server:
    """A hub with its methods, and as many connections as are asked for."""

    def __init__(self, hub: Hub, clock: Clock, tokens: tuple[str, ...] = ()) -> None:
        self.hub = hub
        self.clock = clock
        self.board = HealthBoard()
        methods = signaling_methods(SignalingService(hub, encoding=FRAMED_PROTOBUF), self.board)
        authenticator = {"authenticator": StaticTokens(tokens)} if tokens else {}
        self.factory = grpc_wires(methods, hub.settings, **authenticator)

    def line(self, **options) -> "Line":
        return Line(self, **options)


class Line:
    """A client's HTTP/2, joined to a wire; `most` is what the carrier takes at once."""

    def __init__(self, server: Server, *, window: int | None = None, most: int = 65536, piece: int = 0) -> None:
        self.server = server
        self.clock = server.clock
        self.woken = 0
        self.most = most
        self.piece = piece
        wire = server.factory(Client("192.0.2.1"), self._wake, self.clock.now)
        assert isinstance(wire, GrpcWire)
        self.wire = wire
        self.http2 = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(auto_window_update=window is None, max_send_header_block_length=1 << 20),
        )
        self.http2.initiate_connection({} if window is None else {ngh2.Setting.INITIAL_WINDOW_SIZE: window})
        self.answers: dict[int, Answer] = {}
        self.output = b""
        self.pings_answered = 0
        self.pinged = 0
        self.pump()

    def _wake(self) -> None:
        self.woken += 1

    def pump(self) -> None:
        while True:
            sent = self.push(self.http2.data_to_send())
            received = self.pull()
            if not sent and not received:
                return

    def push(self, data: bytes) -> bool:
        """Give bytes to the wire, in pieces where the line has any."""
        size = self.piece or max(1, len(data))
        for start in range(0, len(data), size):
            self.wire.receive(data[start : start + size], self.clock.now)
        return bool(data)

    def pull(self) -> bool:
        """Take what the wire has to say; whether there was something, or it wants to be asked again."""
        woken = self.woken
        output = b"".join(self.wire.take_output(self.most, self.clock.now))
        if output:
            self.output += output
            with contextlib.suppress(ngh2.ConnectionStateError):
                # A client that has obeyed a GOAWAY hears nothing more.
                self.http2.receive_data(output)
            for event in self.http2.events():
                self._on_event(event)
        return bool(output) or self.woken > woken

    def _on_event(self, event: object) -> None:
        match event:
            case ngh2.ResponseReceived():
                answer = self.answers[event.stream_id]
                answer.headers = {name.decode(): value.decode() for name, value in event.headers}
                answer.ended = event.end_stream
                answer.order.append("headers")
            case ngh2.DataReceived():
                answer = self.answers[event.stream_id]
                answer.body += event.data
                answer.order.append("data")
            case ngh2.TrailersReceived():
                answer = self.answers[event.stream_id]
                answer.trailers = {name.decode(): value.decode() for name, value in event.headers}
                answer.ended = True
                answer.order.append("trailers")
            case ngh2.StreamReset():
                self.answers[event.stream_id].reset = event.error_code
                self.answers[event.stream_id].order.append("reset")
            case ngh2.PingAcknowledged():
                self.pings_answered += 1
            case ngh2.PingReceived():
                self.pinged += 1

    @property
    def goaways(self) -> list[tuple[int, int, bytes]]:
        """The GOAWAY frames that were sent: last stream, code and text. Read from the bytes: a client that has obeyed
        one reads no other.
        """
        found, rest = [], self.output
        while rest:
            size, kind = int.from_bytes(rest[:3], "big"), rest[3]
            if kind == 7:
                found.append((*struct.unpack("!II", rest[9:17]), rest[17 : 9 + size]))
            rest = rest[9 + size :]
        return found

    def open(self, path: str, *headers: tuple[bytes, bytes], end: bool = False, **replaced: bytes | None) -> int:
        fields: dict[bytes, bytes | None] = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": path.encode(),
            b":authority": b"server",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        for name, value in replaced.items():
            fields[{"method": b":method", "content_type": b"content-type"}.get(name, name.encode())] = value
        given = [(name, value) for name, value in fields.items() if value is not None]
        stream_id = self.http2.send_request([*given, *headers], end_stream=end)
        self.answers[stream_id] = Answer()
        return stream_id

    def call(self, path: str, *messages: bytes, headers: Iterable[tuple[bytes, bytes]] = (), **replaced) -> Answer:
        """A call that sends these messages and closes its half."""
        stream_id = self.open(path, *headers, **replaced)
        for message in messages:
            self.http2.send_data(stream_id, framed(message))
        self.http2.end_stream(stream_id)
        self.pump()
        return self.answers[stream_id]

    def session(self, peer_id: str = "") -> "SignalCall":
        call = SignalCall(self)
        if peer_id:
            call.send("announce", announce=pb.AnnounceRequest(peer_id=peer_id))
        return call

    def expire(self) -> None:
        """Let the wire do what is due, as a carrier would, and everything that follows."""
        self.server.hub.expire(self.clock.now)
        if self.wire.due <= self.clock.now.monotonic:
            self.wire.expire(self.clock.now)


class SignalCall:
    """A session of the line."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.stream_id = line.open(SIGNAL)
        line.pump()
        self.answer = line.answers[self.stream_id]

    def send(self, request_id: str = "", **request) -> list[pb.SignalingResponse]:
        self.send_bytes(framed(pb.SignalingRequest(request_id=request_id, **request).SerializeToString()))
        return self.answer.responses

    def send_bytes(self, data: bytes) -> None:
        self.line.http2.send_data(self.stream_id, data)
        self.line.pump()

    def half_close(self) -> None:
        self.line.http2.end_stream(self.stream_id)
        self.line.pump()

    def cancel(self) -> None:
        self.line.http2.reset_stream(self.stream_id, 8)
        self.line.pump()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, **options) -> Server:
    tokens = options.pop("auth_tokens", ())
    return Server(Hub(Settings(**options), clock.now), clock, tokens)


@pytest.fixture
def server(clock: Clock) -> Server:
    return make(clock)


def ended(server: Server) -> dict[str, int]:
    return {reason: count for (_, reason), count in server.hub.counters.disconnects.items()}


def nothing_is_left(line: Line) -> None:
    """The wire keeps nothing of calls that are over."""
    wire = line.wire
    assert (wire._calls, wire._first_touched, wire._awaiting, wire._refused, wire._resting) == ({}, None, {}, {}, {})
    assert (wire._long, wire._withheld, wire._unfinished, wire._first_by) == ({}, {}, 0, None)


# Calls.


def test_a_session_from_its_first_word_to_its_last(server: Server) -> None:
    line = server.line()
    call = line.session()
    assert call.answer.headers == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,gzip",
    }
    (reply,) = call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    assert (reply.request_id, json.loads(reply.ack.data)["peers_count"]) == ("1", 0)
    call.half_close()
    assert (call.answer.status, call.answer.trailers["signaling-disconnect"]) == (0, "client_left")
    assert (call.answer.ended, call.answer.reset) == (True, None)
    assert ended(server) == {"client_left": 1}
    nothing_is_left(line)


def test_peers_on_one_connection_and_on_others(server: Server) -> None:
    first, second = server.line(), server.line()
    a, b = first.session("a"), first.session("b")
    c = second.session("c")
    a.send("1", offer=pb.OfferRequest(to_peer_id="c", sdp="s"))
    a.send("2", offer=pb.OfferRequest(to_peer_id="b", sdp="s"))
    second.pump()
    assert b.answer.responses[-1].notification.offer.from_peer_id == "a"
    assert c.answer.responses[-1].notification.offer.from_peer_id == "a"


@pytest.mark.parametrize("most", [1, 9, 100, 65536])
@pytest.mark.parametrize("piece", [1, 2, 7, 0])
def test_any_fragmentation_says_the_same(clock: Clock, piece: int, most: int) -> None:
    line = make(clock).line(piece=piece, most=most)
    call = line.session("a")
    for number in range(3):
        call.send(str(number), list_peers=pb.ListPeersRequest())
    call.send_bytes(framed(b"\xff"))
    call.half_close()
    assert [answer.request_id for answer in call.answer.responses] == ["announce", "0", "1", "2", ""]
    assert call.answer.status == 0
    assert line.call("/no/Method").status == 12
    assert line.call(GET_PEERS, b"").status == 0


@settings(max_examples=150, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 400), max_size=60),
    most=st.integers(1, 3000),
    window=st.integers(15, 70000),
    frame=st.integers(1, 300),
)
def test_bytes_in_every_split(cuts: list[int], most: int, window: int, frame: int) -> None:
    """Input cut anywhere, output taken in any size, frames and windows of any size: the same words in the same order."""
    line = make(Clock()).line(window=window, most=most)
    stream_id = line.open(SIGNAL)
    body = framed(pb.SignalingRequest(request_id="a", announce=pb.AnnounceRequest(peer_id="a")).SerializeToString())
    for number in range(12):
        body += framed(pb.SignalingRequest(request_id=str(number) * 90).SerializeToString())
    for start in range(0, len(body), frame):
        line.http2.send_data(stream_id, body[start : start + frame])
        # One DATA frame each.
        line.push(line.http2.data_to_send())
    line.http2.end_stream(stream_id)
    data = line.http2.data_to_send()
    for cut in cuts:
        line.push(data[:cut])
        data = data[cut:]
    line.push(data)
    answer = line.answers[stream_id]
    while True:
        moved = line.pull()
        unread = len(answer.body) - getattr(answer, "read", 0)
        if unread:
            line.http2.acknowledge_received_data(unread, stream_id)
            answer.read = len(answer.body)  # type: ignore[attr-defined]
        if not line.push(line.http2.data_to_send()) and not moved:
            break
    assert [one.request_id for one in answer.responses] == ["a", *(str(number) * 90 for number in range(12))]
    assert (answer.status, answer.order[0], answer.order[-1], answer.reset) == (0, "headers", "trailers", None)
    nothing_is_left(line)


@pytest.mark.parametrize(("path", "code"), [("/no.Such/Method", 12), (f"/{SERVICE_NAME}/Nothing", 12), ("/", 12)])
def test_what_is_not_there_is_unimplemented(server: Server, path: str, code: int) -> None:
    answer = server.line().call(path, b"")
    assert (answer.status, answer.message, answer.order) == (code, f"Method not found: {path}", ["headers"])


def test_a_status_message_is_percent_encoded(server: Server) -> None:
    answer = server.line().call("/50%/\xe9", b"")
    assert answer.headers["grpc-message"].isascii()
    assert "%25" in answer.headers["grpc-message"]
    assert answer.message.startswith("Method not found: /50%/")


@pytest.mark.parametrize(
    "content_type", [b"application/grpc", b"application/grpc+proto", b"application/grpc; x=y", b"Application/gRPC"]
)
def test_content_types_of_grpc(server: Server, content_type: bytes) -> None:
    assert server.line().call(GET_PEERS, b"", content_type=content_type).status == 0


@pytest.mark.parametrize("content_type", [None, b"", b"text/html", b"application/grpc-web", b"application/grpcx"])
def test_what_is_no_grpc_is_an_unsupported_media_type(server: Server, content_type: bytes | None) -> None:
    line = server.line()
    answer = line.call(GET_PEERS, b"", content_type=content_type)
    assert (answer.headers[":status"], answer.status) == ("415", None)
    assert line.call(GET_PEERS, b"").status == 0


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS"])
def test_other_methods_of_http_are_not_allowed(server: Server, method: bytes) -> None:
    answer = server.line().call(GET_PEERS, b"", method=method)
    assert (answer.headers[":status"], answer.headers["allow"]) == ("405", "POST")


def test_a_request_without_trailers_is_refused(server: Server) -> None:
    assert server.line().call(GET_PEERS, b"", te=None).status == 13


def test_metadata_of_any_kind_is_let_through(server: Server) -> None:
    headers = [(b"x-text", b"some text"), (b"x-bin", b"AAEC/w=="), (b"x-bin", b"AAE, AgM="), (b"grpc-unknown", b"1")]
    assert server.line().call(GET_PEERS, b"", headers=headers).status == 0


def test_of_a_doubled_header_the_last_counts(server: Server) -> None:
    line = server.line()
    assert line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"x"), (b"grpc-encoding", b"identity")]).status == 0
    assert line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"x")]).status == 12


@pytest.mark.parametrize(("beyond", "code"), [(0, 0), (1, 8), (20_000, 8)])
def test_the_limit_of_headers_is_exact_and_costs_one_call(server: Server, beyond: int, code: int) -> None:
    line = server.line()
    other = line.session("a")
    fixed = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", GET_PEERS.encode()), (b":authority", b"server")]
    fixed += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
    used = sum(len(name) + len(value) + 32 for name, value in fixed)
    answer = line.call(GET_PEERS, b"", headers=[(b"x", b"v" * (MAX_HEADER_BYTES - used - 33 + beyond))])
    assert answer.status == code
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_headers_far_above_the_limit_end_the_connection(server: Server) -> None:
    line = server.line()
    line.session("a")
    for _ in range(5):
        line.open(GET_PEERS, *((b"x%d" % number, b"v" * 16000) for number in range(5)))
    line.push(line.http2.data_to_send())
    while line.wire.take_output(65536, line.clock.now):
        pass
    assert line.wire.finished
    assert ended(server) == {"protocol_error": 1}


# Tokens.


def test_tokens(clock: Clock) -> None:
    line = make(clock, auth_tokens=("secret", "tökén")).line()

    def status(*values: bytes, path: str = GET_PEERS) -> int | None:
        return line.call(path, b"", headers=[(b"authorization", value) for value in values]).status

    assert [status(), status(b"Bearer wrong"), status(b"Bearer secret", b"Bearer secret"), status(b"\xff")] == [16] * 4
    assert [status(b"Bearer secret"), status(b"secret"), status(path=CHECK)] == [0, 0, 0]
    assert [status("Bearer tökén".encode()), status("Bearer tökén".encode("latin-1"))] == [0, 16]
    assert status(path=REFLECT) == 16
    assert status(path="/no/Method") == 16
    assert line.server.hub.counters.sessions["grpc"] == 0


def test_reflection_may_be_open(clock: Clock) -> None:
    server = make(clock, auth_tokens=("secret",), reflection_requires_auth=False)
    server.factory = grpc_wires(
        signaling_methods(SignalingService(server.hub, encoding=FRAMED_PROTOBUF), server.board),
        server.hub.settings,
        authenticator=StaticTokens(("secret",)),
    )
    assert server.line().call(REFLECT, b"").status == 0


def test_an_authenticator_that_fails_tells_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def authenticate(self, credentials: object) -> object:
            raise RuntimeError("canary")

    line = server.line()
    line.wire._authenticator = Broken()  # type: ignore[assignment]
    answer = line.call(GET_PEERS, b"")
    assert (answer.status, answer.message) == (13, "Internal error")
    assert "canary" in caplog.text
    assert "canary" not in str(answer.headers)
    assert line.call(CHECK, b"").status == 0


# Messages.


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_limit_of_a_message_is_exact(clock: Clock, beyond: int, compressed: bool) -> None:
    server = make(clock, max_message_bytes=10_000)
    line = server.line()
    message = pb.SignalingRequest(request_id="x" * (10_000 + beyond - 3)).SerializeToString()
    assert len(message) == 10_000 + beyond
    call = line.session("a")
    if compressed:
        stream_id = line.open(SIGNAL, (b"grpc-encoding", b"gzip"))
        packed = gzip.compress(message)
        line.http2.send_data(stream_id, struct.pack("!BI", 1, len(packed)) + packed)
        line.pump()
        answer = line.answers[stream_id]
    else:
        call.send_bytes(framed(message))
        answer = call.answer
    if beyond <= 0:
        assert answer.responses[-1].error.message == "No request provided"
        assert answer.status is None
        return
    assert answer.status == 8
    assert (answer.trailers or answer.headers)["signaling-disconnect"] == "message_too_big"
    assert (answer.order[-1], answer.reset) == ("reset", 0)
    assert line.call(CHECK, b"").status == 0


def test_a_decompression_bomb_costs_one_call(server: Server) -> None:
    line = server.line()
    packed = gzip.compress(bytes(20_000_000))
    assert len(packed) < 1_048_576
    stream_id = line.open(SIGNAL, (b"grpc-encoding", b"gzip"))
    line.http2.send_data(stream_id, struct.pack("!BI", 1, len(packed)) + packed)
    line.pump()
    assert line.answers[stream_id].status == 8


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each compressed message has become, as the wire is told it."""
    found: list[int] = []
    count = GrpcWire._count_inflated

    def note(wire: GrpcWire, size: int) -> None:
        found.append(size)
        count(wire, size)

    monkeypatch.setattr(GrpcWire, "_count_inflated", note)
    return found


def packed_frame(message: bytes) -> bytes:
    packed = gzip.compress(message)
    return struct.pack("!BI", 1, len(packed)) + packed


def turns_taken(line: Line, inflated: list[int]) -> list[int]:
    """Let the wire have turn after turn until it wants no more; what it has decompressed in each."""
    turns = []
    while True:
        before = sum(inflated)
        woken = line.woken
        while line.wire.take_output(line.most, line.clock.now):
            pass
        turns.append(sum(inflated) - before)
        if line.woken == woken:
            return turns


def test_many_bombs_in_one_read_are_looked_at_one_in_a_turn(server: Server, inflated: list[int]) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    bomb = packed_frame(b"\xff" * limit)
    assert len(bomb) < 1200
    stream_id = line.open(SIGNAL, (b"grpc-encoding", b"gzip"))
    line.http2.send_data(stream_id, bomb * 13)
    line.push(line.http2.data_to_send())
    assert inflated == [limit]
    assert turns_taken(line, inflated)[:-1] == [0, *[limit] * 12]
    assert server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] == 13


def test_bombs_on_many_streams_share_a_turn(server: Server, inflated: list[int]) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    bomb = packed_frame(bytes(limit))
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(13)]
    line.pump()
    for stream_id in streams:
        line.http2.send_data(stream_id, bomb)
    line.push(line.http2.data_to_send())
    assert inflated == [limit]
    assert max(turns_taken(line, inflated)) == limit
    assert len(inflated) == 13


@pytest.mark.parametrize("damage", ["too big", "corrupt"])
def test_bombs_that_end_their_calls_count_as_well(server: Server, inflated: list[int], damage: str) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    if damage == "too big":
        bomb = packed_frame(bytes(limit + 1))
    else:
        packed = gzip.compress(bytes(limit))
        # The checksum is wrong, as only the last byte tells.
        packed = packed[:-8] + bytes((packed[-8] ^ 1,)) + packed[-7:]
        bomb = struct.pack("!BI", 1, len(packed)) + packed
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(8)]
    line.pump()
    for stream_id in streams:
        line.http2.send_data(stream_id, bomb)
    line.push(line.http2.data_to_send())
    assert len(inflated) == 1
    assert max(turns_taken(line, inflated)) <= limit + 1
    assert len(inflated) == 8
    assert server.hub.session_count == 0


def test_compressed_messages_keep_their_order_over_turns(server: Server) -> None:
    line = server.line()
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(3)]
    padding = "x" * 100_000
    for stream_id in streams:
        for number in range(20):
            request = pb.SignalingRequest(request_id=f"{number:02}", announce=pb.AnnounceRequest(peer_id=padding))
            line.http2.send_data(stream_id, packed_frame(request.SerializeToString()))
        line.http2.end_stream(stream_id)
    line.pump()
    for stream_id in streams:
        answer = line.answers[stream_id]
        assert [one.request_id for one in answer.responses] == [f"{number:02}" for number in range(20)]
        assert answer.status == 0
    nothing_is_left(line)


def test_a_call_that_is_cancelled_while_it_rests(server: Server) -> None:
    line = server.line()
    bomb = packed_frame(bytes(server.hub.settings.max_message_bytes))
    streams = [line.open(SIGNAL, (b"grpc-encoding", b"gzip")) for _ in range(3)]
    for stream_id in streams:
        line.http2.send_data(stream_id, bomb * 2)
    line.push(line.http2.data_to_send())
    assert line.wire._resting
    for stream_id in streams:
        line.http2.reset_stream(stream_id, 8)
    line.pump()
    nothing_is_left(line)
    assert server.hub.session_count == 0


@pytest.mark.parametrize("touched_by", ["window", "data"])
def test_calls_that_were_held_back_go_on_a_few_in_a_turn(clock: Clock, touched_by: str) -> None:
    """Each has kept a window full of messages; one frame lets all of them go on."""
    directory = Directory()
    server = Server(Hub(Settings(), clock.now, directory=directory), clock)  # type: ignore[arg-type]
    line = server.line(most=1 << 20)
    calls = [line.session(f"p{number}") for number in range(100)]
    # Of one peer: a hundred in each of thousands of answers would take seconds.
    question = pb.SignalingRequest(list_peers=pb.ListPeersRequest(page_size=1)).SerializeToString()
    for call in calls:
        call.send_bytes(framed(question) * 60)
    for pending in directory.asked:
        pending.resolve(None, clock.now)
    if touched_by == "window":
        line.http2.set_local_window_size(1 << 24)
    else:
        for call in calls:
            line.http2.send_data(call.stream_id, framed(question))
    line.push(line.http2.data_to_send())
    turns = []
    while True:
        before, woken = server.hub.counters.requests["grpc", "list_peers", "ok"], line.woken
        while line.wire.take_output(line.most, clock.now):
            pass
        turns.append(server.hub.counters.requests["grpc", "list_peers", "ok"] - before)
        if line.woken == woken:
            break
    assert sum(turns) == 100 * (60 if touched_by == "window" else 61)
    assert max(turns) <= HELD_BACK_CALLS * 64


@pytest.mark.parametrize("size", [MAX_QUESTION_BYTES + 1, 1 << 31])
def test_methods_that_are_open_to_all_take_no_long_questions(server: Server, size: int) -> None:
    line = server.line()
    stream_id = line.open(CHECK)
    line.http2.send_data(stream_id, struct.pack("!BI", 0, size))
    line.pump()
    assert line.answers[stream_id].status == 8


@pytest.mark.parametrize("body", [b"\x01\0\0\0\0", b"\x02\0\0\0\x01x", b"\x01\0\0\0\x03abc"])
def test_a_flag_without_its_encoding_ends_the_call(server: Server, body: bytes) -> None:
    line = server.line()
    call = line.session("a")
    call.send_bytes(body)
    assert (call.answer.status, call.answer.trailers["signaling-disconnect"]) == (13, "protocol_error")


def test_encodings(server: Server) -> None:
    line = server.line()
    answer = line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"br")])
    assert (answer.status, answer.headers["grpc-accept-encoding"]) == (12, "identity,gzip")
    assert line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"gzip")]).status == 0
    for packed in (b"nonsense", gzip.compress(b"")[:-1], gzip.compress(b"") + b"x"):
        stream_id = line.open(GET_PEERS, (b"grpc-encoding", b"gzip"))
        line.http2.send_data(stream_id, struct.pack("!BI", 1, len(packed)) + packed)
        line.pump()
        assert line.answers[stream_id].status == 13


def test_half_a_message_at_the_end(server: Server) -> None:
    line = server.line()
    call = line.session("a")
    call.send_bytes(framed(b"abc")[:-1])
    call.half_close()
    assert (call.answer.status, ended(server)) == (13, {"protocol_error": 1})
    stream_id = line.open(GET_PEERS)
    line.http2.send_data(stream_id, b"\0")
    line.http2.end_stream(stream_id)
    line.pump()
    assert (line.answers[stream_id].status, line.answers[stream_id].message) == (13, "The last message is not whole")


def test_bad_requests_are_answered_and_the_stream_lives(server: Server) -> None:
    call = server.line().session()
    for message in (b"\xff\xff", b"\x0a\x01\xff", b""):
        call.send_bytes(framed(message))
    call.send("7")
    assert [(one.request_id, one.error.code, one.error.message) for one in call.answer.responses] == [
        ("", 3, "Malformed request"),
        ("", 3, "Malformed request"),
        ("", 3, "No request provided"),
        ("7", 3, "No request provided"),
    ]


# Unary calls, health, reflection.


@pytest.mark.parametrize("messages", [(), (b"", b"")])
@pytest.mark.parametrize("path", [GET_PEERS, CHECK, WATCH])
def test_a_call_of_one_question_has_one(server: Server, path: str, messages: tuple[bytes, ...]) -> None:
    line = server.line()
    assert line.call(path, *messages).status == 12
    assert server.board.watchers == set()
    nothing_is_left(line)


def test_unary_refusals_are_statuses(server: Server) -> None:
    line = server.line()
    assert (line.call(GET_PEERS, b"\xff").status, line.call(GET_PEERS, b"\x1a\x01?").status) == (3, 3)
    assert line.call(CHECK, health_pb2.HealthCheckRequest(service="x").SerializeToString()).status == 5


def test_a_unary_call_that_never_asks_ends(clock: Clock) -> None:
    line = make(clock, max_timeout_seconds=3).line()
    stream_id = line.open(GET_PEERS)
    line.pump()
    clock.advance(3)
    line.expire()
    line.pump()
    assert line.answers[stream_id].status == 4
    nothing_is_left(line)


def test_watchers_are_told_and_let_go(server: Server) -> None:
    line = server.line()
    streams = [line.open(WATCH) for _ in range(300)]
    for stream_id in streams:
        line.http2.send_data(stream_id, framed(b""))
    line.pump()
    assert len(server.board.watchers) == 300
    for stream_id in streams[:299]:
        line.http2.reset_stream(stream_id, 8)
    line.pump()
    assert len(server.board.watchers) == 1
    server.board.not_serving()
    line.wire.drain(line.clock.now)
    line.pump()
    answer = line.answers[streams[-1]]
    told = [health_pb2.HealthCheckResponse.FromString(message).status for message in answer.messages]
    assert told == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert (answer.status, server.board.watchers) == (14, set())
    assert line.wire.finished


def test_reflection_knows_every_service_that_it_lists(server: Server) -> None:
    line = server.line()
    kind = reflection_pb2.ServerReflectionRequest

    def ask(**question: str) -> reflection_pb2.ServerReflectionResponse:
        answer = line.call(REFLECT, kind(**question).SerializeToString())
        assert answer.status == 0
        return reflection_pb2.ServerReflectionResponse.FromString(answer.messages[0])

    names = [service.name for service in ask(list_services="*").list_services_response.service]
    assert SERVICE_NAME in names
    for name in (*names, f"{SERVICE_NAME}.Signal"):
        assert ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto, name
    assert ask(file_containing_symbol="no.such").error_response.error_code == 5
    assert ask(file_by_filename="no/such.proto").error_response.error_code == 5
    assert line.call(REFLECT, b"\xff").status == 3


# Deadlines and cancellation.


def test_a_deadline_of_a_session(server: Server, clock: Clock) -> None:
    line = server.line()
    stream_id = line.open(SIGNAL, (b"grpc-timeout", b"1500m"))
    line.pump()
    clock.advance(1.4)
    line.expire()
    line.pump()
    assert line.answers[stream_id].status is None
    clock.advance(0.1)
    line.expire()
    line.pump()
    assert line.answers[stream_id].status == 4
    assert ended(server) == {"connection_lost": 1}
    nothing_is_left(line)


@pytest.mark.parametrize("timeout", [b"", b"1", b"123456789S", b"-1S", b"1s", b"1 S", b"S"])
def test_a_timeout_that_is_none_is_refused(server: Server, timeout: bytes) -> None:
    line = server.line()
    assert line.call(SIGNAL, headers=[(b"grpc-timeout", timeout)]).status == 13
    assert server.hub.session_count == 0


def test_a_deadline_that_passes_while_trailers_wait(server: Server, clock: Clock) -> None:
    line = server.line(window=3)
    stream_id = line.open(SIGNAL, (b"grpc-timeout", b"2S"))
    line.http2.send_data(stream_id, framed(b""))
    line.http2.end_stream(stream_id)
    line.pump()
    assert line.wire._calls
    for _ in range(30):
        clock.advance(0.5)
        line.expire()
        line.pull()
    assert line.answers[stream_id].reset == 11
    nothing_is_left(line)


def test_a_cancelled_session_is_lost(server: Server) -> None:
    line = server.line()
    other = line.session("other")
    line.session("a").cancel()
    assert other.answer.responses[-1].notification.peer_left.peer_id == "a"
    assert ended(server) == {"connection_lost": 1}


@pytest.mark.parametrize("path", [SIGNAL, GET_PEERS, "/no/Method", WATCH])
@pytest.mark.parametrize("content_type", [b"application/grpc", b"text/html"])
def test_a_call_that_is_cancelled_in_the_same_breath(server: Server, path: str, content_type: bytes) -> None:
    line = server.line()
    other = line.session("other")
    stream_id = line.open(path, content_type=content_type)
    line.http2.send_data(stream_id, framed(b""))
    data = line.http2.data_to_send()
    line.http2.reset_stream(stream_id, 8)
    line.push(data + line.http2.data_to_send())
    line.pump()
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    assert len(line.wire._calls) == 1
    assert server.board.watchers == set()


class Directory:
    """Grants a claim on command only."""

    def __init__(self) -> None:
        self.asked: list[Pending[None]] = []

    def claim(self, room: str, peer_id: str, now: Instant) -> Pending[None]:
        self.asked.append(Pending())
        return self.asked[-1]

    def release(self, room: str, peer_id: str) -> None:
        pass


@pytest.mark.parametrize("how", ["answer", "cancel", "half_close", "lost"])
def test_nothing_is_read_while_an_answer_is_awaited(clock: Clock, how: str) -> None:
    directory = Directory()
    server = Server(Hub(Settings(), clock.now, directory=directory), clock)  # type: ignore[arg-type]
    line = server.line()
    call = line.session()
    call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    assert call.send("2", list_peers=pb.ListPeersRequest()) == []
    other = line.session()
    assert other.send("3", list_peers=pb.ListPeersRequest())[0].request_id == "3"
    if how == "cancel":
        call.cancel()
    elif how == "half_close":
        call.half_close()
    elif how == "lost":
        line.wire.connection_lost(clock.now)
    directory.asked[0].resolve(None, clock.now)
    line.pump()
    answered = [one.request_id for one in call.answer.responses]
    assert answered == (["1", "2"] if how in ("answer", "half_close") else [])
    assert server.hub.peer_count == (1 if how == "answer" else 0)
    assert call.answer.status == (0 if how == "half_close" else None)


# Faults of ours.


@pytest.mark.parametrize("what", ["apply", "reply", "open"])
def test_a_method_that_raises_ends_its_call_alone(
    server: Server, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = server.line()
    other = line.session("other")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    with monkeypatch.context() as broken:
        broken.setattr(server.hub, what, fail)
        call = line.session()
        if what != "open":
            call.send("1", list_peers=pb.ListPeersRequest())
        assert (call.answer.status, call.answer.message) == (13, "Internal error")
        trailers = call.answer.trailers or call.answer.headers
        assert (trailers["signaling-disconnect"], trailers["signaling-reconnect"]) == ("internal_error", "yes")
    assert "canary" in caplog.text
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    assert server.hub.session_count == 1


def test_a_unary_method_that_raises(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = server.line()
    monkeypatch.setattr(server.hub, "query", lambda *_, **__: 1 / 0)
    answer = line.call(GET_PEERS, b"")
    assert (answer.status, answer.message) == (13, "Internal error")
    assert "ZeroDivisionError" in caplog.text
    assert line.call(CHECK, b"").status == 0


# Windows.


def test_a_client_that_never_reads_is_freed_at_the_deadline(clock: Clock) -> None:
    server = make(clock, send_deadline_seconds=5)
    stalled_line, line = server.line(window=100), server.line()
    stalled_line.session("stalled")
    sender = line.session("sender")
    for number in range(60):
        sender.send(str(number), offer=pb.OfferRequest(to_peer_id="stalled", sdp="x" * 100_000))
        stalled_line.pump()
    assert sender.answer.responses[-1].error.code == 14
    unsent = stalled_line.wire._http2.unsent(1)
    assert unsent < 2 * wire_module.SEND_AHEAD_BYTES + 110_000
    clock.advance(5.1)
    stalled_line.expire()
    stalled_line.pump()
    assert stalled_line.answers[1].reset == 11
    assert [code for _, code, _ in stalled_line.goaways] == [11]
    assert stalled_line.wire.finished
    clock.advance(1)
    stalled_line.expire()
    assert stalled_line.wire.aborted
    assert ended(server) == {"slow_consumer": 1}


def test_only_the_stream_that_is_not_read_is_reset(clock: Clock) -> None:
    server = make(clock, send_deadline_seconds=5)
    line = server.line(window=1000)
    stalled, sender = line.session("stalled"), line.session("sender")
    for number in range(60):
        sender.send(str(number), offer=pb.OfferRequest(to_peer_id="stalled", sdp="x" * 100_000))
        line.http2.acknowledge_received_data(len(sender.answer.body) - getattr(sender, "read", 0), sender.stream_id)
        sender.read = len(sender.answer.body)  # type: ignore[attr-defined]
        line.pump()
    for _ in range(12):
        clock.advance(0.5)
        line.expire()
        line.pump()
    assert stalled.answer.reset == 11
    assert sender.answer.reset is None
    assert line.goaways == []
    assert not line.wire.finished


@pytest.mark.parametrize("reason", [DisconnectReason.DRAINING, DisconnectReason.ANNOUNCE_TIMEOUT])
@pytest.mark.parametrize("reads", [True, False])
def test_last_words_behind_a_closed_window(clock: Clock, reason: DisconnectReason, reads: bool) -> None:
    server = make(clock, close_timeout_seconds=4, send_deadline_seconds=100)
    line = server.line(window=10)
    call = line.session()
    call.send_bytes(framed(b"") * 50)
    (session,) = server.hub._sessions.values()
    server.hub.end(session, reason, clock.now)
    line.pump()
    assert call.answer.status is None
    for _ in range(20):
        clock.advance(0.25)
        if reads:
            # The client reads on.
            line.http2.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 100_000})
        line.pump()
        line.expire()
    line.pump()
    if reads:
        assert call.answer.trailers["signaling-disconnect"] == reason.word
        assert (call.answer.order[-2:], call.answer.reset) == (["trailers", "reset"], 0)
    else:
        assert (call.answer.status, call.answer.reset) == (None, 11)
    nothing_is_left(line)


def test_a_window_that_settings_open(server: Server) -> None:
    line = server.line(window=0)
    call = line.session("a")
    call.half_close()
    assert call.answer.body == b""
    line.http2.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 100_000})
    line.pump()
    assert (len(call.answer.responses), call.answer.status) == (1, 0)
    nothing_is_left(line)


def test_a_client_that_takes_nothing_but_goes_on_sending_is_dropped(clock: Clock) -> None:
    server = make(clock, send_deadline_seconds=5, ping_interval_seconds=2)
    line = server.line()
    line.session("a")
    for _ in range(40):
        line.http2.ping()
        line.http2.send_data(1, framed(b""))
        line.push(line.http2.data_to_send())
        clock.advance(0.5)
        line.expire()
        if line.wire.aborted:
            break
    assert line.wire.aborted
    assert clock.now.monotonic <= 1000 + 8
    assert server.hub.session_count == 0


def test_a_crowded_session_is_not_read_from(server: Server) -> None:
    line = server.line(window=1000)
    call = line.session("a")
    before = server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"]
    for _ in range(400):
        call.send("x" * 20_000)
    assert server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] - before < 100
    assert len(line.wire._calls[1].deframer.buffer) <= 65536 + 30_000  # type: ignore[union-attr]
    assert line.call(CHECK, b"").status == 0


def test_streams_that_are_held_back_leave_others_their_window(clock: Clock) -> None:
    directory = Directory()
    server = Server(Hub(Settings(), clock.now, directory=directory), clock)  # type: ignore[arg-type]
    line = server.line()
    for number in range(40):
        call = line.session(f"p{number}")
        call.send_bytes(framed(b"x" * 1000) * 70)
    assert line.call(GET_PEERS, b"").status == 0


# Messages that are not whole yet.


def kept(line: Line) -> int:
    """How much the wire keeps of what clients have sent."""
    return sum(len(call.deframer.buffer) for call in line.wire._calls.values() if call.deframer is not None)


def acknowledged(line: Line) -> int:
    """The part of it that the client may send again as much as."""
    return kept(line) - sum(call.unacknowledged for call in line.wire._calls.values())


def long_message(size: int) -> bytes:
    """A request that is refused for its id, whole and framed."""
    filler = pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id="x" * (size - 20))).SerializeToString()
    return framed(filler)


def test_messages_without_an_end_add_up_to_a_bound(server: Server) -> None:
    line = server.line()
    limit = server.hub.settings.max_message_bytes
    message = long_message(limit)
    calls = [line.session() for _ in range(100)]
    for call in calls:
        call.send_bytes(message[:-1])
        assert acknowledged(line) <= UNFINISHED_BYTES + limit
        assert kept(line) <= UNFINISHED_BYTES + limit + 100 * RECEIVE_WINDOW_BYTES
    assert kept(line) < 12 * limit
    # Nobody else notices, and messages that their windows hold go through.
    other = line.session("other")
    assert other.send("o", list_peers=pb.ListPeersRequest())[-1].request_id == "o"
    other.send_bytes(long_message(60_000))
    assert other.answer.responses[-1].error.message.startswith("Invalid params: peer_id")
    # And where the clients are honest, each message comes to its end.
    for call in calls:
        call.send_bytes(message[-1:])
    assert [len(call.answer.responses) for call in calls] == [1] * 100
    assert server.hub.session_count == 101
    for call in (*calls, other):
        call.half_close()
    nothing_is_left(line)


@pytest.mark.parametrize("how", ["cancel", "lost", "half_close"])
def test_who_goes_in_the_middle_of_a_long_message_leaves_its_room(server: Server, how: str) -> None:
    line = server.line()
    message = long_message(server.hub.settings.max_message_bytes)
    calls = [line.session() for _ in range(10)]
    for call in calls:
        call.send_bytes(message[:-1])
    assert line.wire._withheld
    if how == "lost":
        line.wire.connection_lost(line.clock.now)
    else:
        for call in calls:
            call.cancel() if how == "cancel" else call.half_close()
    nothing_is_left(line)
    assert server.hub.session_count == 0


def test_a_message_that_keeps_others_waiting_has_its_time(server: Server, clock: Clock) -> None:
    line = server.line()
    message = long_message(server.hub.settings.max_message_bytes)
    stalled, *waiting = [line.session() for _ in range(6)]
    for call in (stalled, *waiting):
        call.send_bytes(message[:-1])
    assert line.wire._withheld
    clock.advance(server.hub.settings.send_deadline_seconds - 0.1)
    line.expire()
    line.pump()
    assert stalled.answer.status is None
    clock.advance(0.2)
    assert line.wire.due <= clock.now.monotonic
    line.expire()
    line.pump()
    assert stalled.answer.status == 8
    assert stalled.answer.trailers["signaling-disconnect"] == "message_too_big"
    for call in waiting:
        call.send_bytes(message[-1:])
        assert len(call.answer.responses) == 1


def test_a_long_message_that_keeps_nobody_waiting_has_all_the_time(clock: Clock) -> None:
    server = make(clock, announce_timeout_seconds=1000, ping_interval_seconds=1000)
    line = server.line()
    message = long_message(server.hub.settings.max_message_bytes)
    call = line.session()
    call.send_bytes(message[:-1])
    for _ in range(50):
        clock.advance(10)
        line.expire()
        line.pump()
    call.send_bytes(message[-1:])
    assert len(call.answer.responses) == 1


def test_long_messages_take_turns(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has sent one and begins another goes behind those who wait."""
    monkeypatch.setattr(wire_module, "UNFINISHED_BYTES", 0)
    line = server.line()
    message = long_message(200_000)
    first, second = line.session(), line.session()
    first.send_bytes(message[:-1])
    second.send_bytes(message)
    assert second.answer.responses == []
    first.send_bytes(message[-1:] + message[:-1])
    assert (len(first.answer.responses), len(second.answer.responses)) == (1, 1)
    first.send_bytes(message[-1:])
    assert len(first.answer.responses) == 2
    first.half_close()
    second.half_close()
    nothing_is_left(line)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(400, 150_000), min_size=1, max_size=4), min_size=1, max_size=6),
    order=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 90_000)), max_size=40),
    room=st.sampled_from((0, 30_000, 100_000)),
)
def test_whatever_is_sent_in_whatever_pieces_arrives(
    sizes: list[list[int]], order: list[tuple[int, int]], room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_module, "UNFINISHED_BYTES", room)
        line = make(Clock()).line()
        calls = [line.session() for _ in sizes]
        bodies = [b"".join(long_message(size) for size in several) for several in sizes]
        for who, size in order:
            if who < len(calls) and bodies[who]:
                calls[who].send_bytes(bodies[who][:size])
                bodies[who] = bodies[who][size:]
                assert line.wire._unfinished <= room + 150_000
        for call, body in zip(calls, bodies, strict=True):
            if body:
                call.send_bytes(body)
        assert [len(call.answer.responses) for call in calls] == [len(several) for several in sizes]
        for call in calls:
            call.half_close()
        nothing_is_left(line)


# Floods.


def test_a_reset_flood_leaves_nothing(server: Server) -> None:
    line, other_line = server.line(), server.line()
    other = other_line.session("other")
    for _ in range(1500):
        stream_id = line.open(SIGNAL)
        line.push(line.http2.data_to_send())
        line.http2.reset_stream(stream_id, 8)
        line.push(line.http2.data_to_send())
        if not line.wire.take_output(65536, line.clock.now) and line.wire.finished:
            break
    assert line.wire.finished
    assert server.hub.session_count == 1
    nothing_is_left(line)
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_a_call_that_is_cancelled_in_the_bytes_that_begin_it_never_was(server: Server) -> None:
    line = server.line()
    kept = line.session("kept")
    for _ in range(10):
        line.http2.reset_stream(line.open(SIGNAL), 8)
    line.pump()
    assert (server.hub.session_count, ended(server)) == (1, {})
    assert kept.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    nothing_but = [call.stream_id for call in line.wire._calls.values()]
    assert nothing_but == [kept.stream_id]


def test_of_a_thousand_pings_at_once_most_are_not_looked_at(server: Server) -> None:
    line, other_line = server.line(), server.line()
    line.session("a")
    other = other_line.session("other")
    line.push(b"\0\0\x08\6\0\0\0\0\0pingpong" * 1000)
    said = b""
    while output := line.wire.take_output(65536, line.clock.now):
        said += b"".join(output)
    assert said.count(b"pingpong") == MOST_PINGS_AT_ONCE
    assert said.count(b"too_many_pings") == 1
    assert (line.wire.finished, ended(server)) == (True, {"protocol_error": 1})
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_a_ping_flood_is_sent_away(server: Server) -> None:
    line = server.line()
    line.session("a")
    for _ in range(MAX_PINGS_IN_A_ROW + 1):
        line.http2.ping()
        line.pump()
    assert [(code, text) for _, code, text in line.goaways] == [(11, b"too_many_pings")]
    assert (line.wire.finished, ended(server)) == (True, {"protocol_error": 1})


def test_a_listener_may_ping_for_days(server: Server, clock: Clock) -> None:
    line = server.line()
    line.session("a")
    for _ in range(1000):
        clock.advance(10)
        line.http2.ping()
        line.pump()
        line.expire()
    assert (line.goaways, line.pings_answered, line.wire.finished) == ([], 1000, False)


def test_pings_that_what_we_send_causes_are_no_flood(server: Server) -> None:
    line, sender_line = server.line(), server.line()
    line.session("a")
    sender = sender_line.session("b")
    for number in range(300):
        sender.send(str(number), offer=pb.OfferRequest(to_peer_id="a", sdp="s"))
        line.pump()
        line.http2.ping()
        line.pump()
    assert line.goaways == []


def test_more_streams_than_allowed_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "MAX_STREAMS", 5)
    line = server.line()
    calls = [line.session() for _ in range(5)]
    stream_id = line.open(SIGNAL)
    line.pump()
    assert line.answers[stream_id].headers == {}
    assert server.hub.session_count == 5
    calls[0].cancel()
    line.pump()
    assert line.answers[stream_id].headers[":status"] == "200"


def test_garbage_ends_the_connection_after_what_came_before(server: Server) -> None:
    line = server.line()
    call = line.session()
    line.http2.send_data(1, framed(pb.SignalingRequest(request_id="1").SerializeToString()))
    line.push(line.http2.data_to_send() + b"\xff" * 40)
    assert server.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] == 1
    line.pump()
    assert line.wire.finished
    assert ended(server) == {"protocol_error": 1}
    assert call.answer.status is None


def test_empty_fragments_without_end(server: Server) -> None:
    line = server.line()
    call = line.session("a")
    line.push((b"\0\0\0\0\0" + struct.pack("!I", call.stream_id)) * 3000)
    assert call.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"
    line.push((b"\0\0\0\0\0" + struct.pack("!I", call.stream_id)) * 30000)
    while line.wire.take_output(65536, line.clock.now):
        pass
    assert line.wire.finished
    assert server.hub.session_count == 0


@pytest.mark.parametrize("most", [1, 5, 20, 65536])
def test_continuations_without_end(server: Server, most: int) -> None:
    line = server.line(most=most)
    line.push(struct.pack("!I", 0)[1:] + b"\x01\0" + struct.pack("!I", 1))
    for _ in range(100):
        line.push(b"\0\0\0\x09\0" + struct.pack("!I", 1))
    while line.wire.take_output(most, line.clock.now):
        pass
    assert line.wire.finished


# Order.


@pytest.mark.parametrize("most", [*range(1, 40), 100, 1000, 65536])
def test_trailers_come_before_any_reset(server: Server, most: int) -> None:
    """However the output is cut, a client that has not ended its own side gets data, trailers, and only then a reset."""
    line = server.line(most=most)
    call = line.session("a")
    for number in range(5):
        call.send(str(number) * 200)
    (session,) = server.hub._sessions.values()
    server.hub.end(session, DisconnectReason.PROTOCOL_ERROR, line.clock.now)
    refused = line.open("/no/Method")
    line.pump()
    assert len(call.answer.responses) == 6
    assert call.answer.trailers["signaling-disconnect"] == "protocol_error"
    assert (call.answer.order[-2:], call.answer.reset) == (["trailers", "reset"], 0)
    assert (line.answers[refused].status, line.answers[refused].order) == (12, ["headers", "reset"])
    nothing_is_left(line)


def test_no_work_for_streams_that_say_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one message costs does not grow with the calls beside it, not even with those whose windows are closed."""
    line = server.line(window=10)
    for number in range(200):
        line.session().send(str(number) * 100)
    busy = line.session()
    line.http2.set_local_window_size(10_000_000, stream_id=busy.stream_id)
    line.pump()
    looked: list[int] = []
    push, unsent = GrpcWire._push, line.wire._http2.unsent

    def counted(wire: GrpcWire, call: wire_module.StreamCall, now: Instant) -> None:
        looked.append(call.stream_id)
        push(wire, call, now)

    def counted_unsent(stream_id: int) -> int:
        looked.append(stream_id)
        return unsent(stream_id)

    monkeypatch.setattr(GrpcWire, "_push", counted)
    monkeypatch.setattr(line.wire._http2, "unsent", counted_unsent)
    line.http2.send_data(busy.stream_id, framed(b""))
    line.push(line.http2.data_to_send())
    line.pull()
    line.pull()
    assert set(looked) == {busy.stream_id}
    assert len(looked) <= 4


# The connection's own end.


def test_draining_in_two_steps(server: Server) -> None:
    line = server.line()
    call = line.session("a")
    line.wire.drain(line.clock.now)
    line.pump()
    assert [last for last, _, _ in line.goaways] == [2**31 - 1]
    assert not line.wire.finished
    call.half_close()
    assert [last for last, _, _ in line.goaways] == [2**31 - 1, call.stream_id]
    assert (call.answer.status, line.wire.finished) == (0, True)


def test_a_drain_with_open_calls(server: Server, clock: Clock) -> None:
    line = server.line()
    calls = [line.session(str(number)) for number in range(3)]
    watch, ask, reflect = line.open(WATCH), line.open(GET_PEERS), line.open(REFLECT)
    line.http2.send_data(watch, framed(b""))
    line.pump()
    server.hub.drain(clock.now)
    line.wire.drain(clock.now)
    line.pump()
    for call in calls:
        assert (call.answer.status, call.answer.trailers["signaling-disconnect"]) == (14, "draining")
    assert [line.answers[one].status for one in (watch, ask, reflect)] == [14, None, 14]
    line.http2.send_data(ask, framed(b""))
    line.http2.end_stream(ask)
    line.pump()
    assert line.answers[ask].status == 0
    assert line.wire.finished


def test_a_call_after_the_drain_has_begun(server: Server, clock: Clock) -> None:
    line = server.line()
    line.open(GET_PEERS)
    line.pump()
    server.hub.drain(clock.now)
    stream_id = line.open(SIGNAL)
    data = line.http2.data_to_send()
    line.wire.drain(clock.now)
    line.push(data)
    line.pull()
    answer = line.answers[stream_id]
    assert (answer.status, answer.headers["signaling-disconnect"]) == (14, "draining")


def test_age_and_its_jitter(clock: Clock) -> None:
    server = make(clock, grpc_max_connection_age_seconds=100, shutdown_grace_seconds=7, ping_interval_seconds=1e6)
    lines = [server.line() for _ in range(50)]
    ages = {line.wire._old_at - clock.now.monotonic for line in lines if line.wire._old_at}
    assert len(ages) == 50
    assert all(90 <= age <= 110 for age in ages)
    line = lines[0]
    call, watch = line.session("a"), line.open(WATCH)
    line.pump()
    line.expire()
    clock.advance(110)
    line.wire.expire(clock.now)
    line.pump()
    assert (call.answer.status, len(line.goaways)) == (None, 1)
    clock.advance(7)
    line.wire.expire(clock.now)
    line.pump()
    assert (call.answer.status, call.answer.trailers["signaling-disconnect"]) == (14, "max_age")
    assert line.answers[watch].status == 14
    assert (len(line.goaways), line.wire.finished) == (2, True)


def test_a_connection_without_calls_is_closed(clock: Clock) -> None:
    server = make(clock, grpc_max_connection_idle_seconds=30, ping_interval_seconds=1000)
    line = server.line()
    assert line.call(CHECK, b"").status == 0
    call = line.session("a")
    clock.advance(60)
    line.expire()
    line.pump()
    assert line.goaways == []
    call.cancel()
    line.expire()
    assert line.wire.due == pytest.approx(clock.now.monotonic + 30)
    clock.advance(30)
    line.expire()
    line.pump()
    assert [code for _, code, _ in line.goaways] == [0, 0]
    assert line.wire.finished
    clock.advance(server.hub.settings.close_timeout_seconds)
    line.expire()
    assert line.wire.aborted


def test_who_does_not_greet_is_dropped(server: Server, clock: Clock) -> None:
    wire = server.factory(Client("192.0.2.1"), lambda: None, clock.now)
    clock.advance(9)
    wire.expire(clock.now)
    assert not wire.aborted
    clock.advance(1)
    wire.expire(clock.now)
    assert wire.aborted


def test_a_silent_client_is_pinged_and_then_gone(clock: Clock) -> None:
    server = make(clock, ping_interval_seconds=20, ping_timeout_seconds=10)
    line = server.line()
    line.session("a")
    for _ in range(3):
        clock.advance(20)
        line.expire()
        line.pump()
    assert line.pinged == 3
    clock.advance(20)
    line.expire()
    line.pull()
    clock.advance(9.9)
    line.expire()
    assert not line.wire.aborted
    clock.advance(0.1)
    line.expire()
    assert (line.wire.aborted, ended(server)) == (True, {"keepalive_timeout": 1})


@pytest.mark.parametrize("how", ["connection_lost", "receive_eof"])
def test_a_lost_connection_loses_its_sessions(server: Server, clock: Clock, how: str) -> None:
    line = server.line()
    line.session("a")
    watch = line.open(WATCH)
    line.http2.send_data(watch, framed(b""))
    line.pump()
    getattr(line.wire, how)(clock.now)
    assert ended(server) == {"connection_lost": 1}
    assert server.board.watchers == set()
    nothing_is_left(line)


def test_a_client_that_says_goodbye_and_has_no_calls(server: Server) -> None:
    line = server.line()
    call = line.session("a")
    line.http2.send_goaway(0)
    line.pump()
    assert not line.wire.finished
    call.half_close()
    assert call.answer.status == 0
    assert line.wire.finished


def test_one_fault_does_not_keep_the_others_from_their_end(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = server.line()
    line.session("a")
    line.session("b")
    close = server.hub.close
    calls = 0

    def fail_once(*what: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("canary")
        close(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(server.hub, "close", fail_once)
    line.wire.connection_lost(clock.now)
    assert server.hub.session_count == 1
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


def test_a_wire_that_has_more_to_write_is_not_settled(server):
    """The carrier asks a settled wire for nothing more, so the rest of a large message would stay."""
    line = server.line()
    alice, bob = line.session("alice"), line.session("bob")
    assert line.wire.settled
    request = pb.SignalingRequest(offer=pb.OfferRequest(to_peer_id="bob", sdp="v=0" + "s" * 1000))
    line.http2.send_data(alice.stream_id, framed(request.SerializeToString()))
    line.push(line.http2.data_to_send())
    line.most = 100
    while line.pull():
        assert line.wire.settled is not line.wire._http2.wants_write
    assert bob.answer.responses[-1].notification.offer.sdp == request.offer.sdp
