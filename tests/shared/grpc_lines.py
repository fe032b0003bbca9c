"""gRPC's lines: ngh2 as the client, joined to the wire of a hub; what is kept of its calls can be looked at."""

import contextlib
import struct
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("ngh2", reason="the client is ngh2, which has no wheel for this platform")
import ngh2

from clock import Clock
from lines import Line
from sigbridge import Hub, Settings
from sigbridge.auth import StaticTokens
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.framing import Deframer, framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.wire import GrpcWire, grpc_wires
from sigbridge_http2.streams import DISMISSAL_SECONDS
from sigbridge_net.pages import Site

SIGNAL = f"/{SERVICE_NAME}/Signal"
GET_PEERS = f"/{SERVICE_NAME}/GetPeers"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


class WiredServer:
    """A hub with its methods behind wires, and as many connections as are asked for."""

    def __init__(self, hub: Hub, clock: Clock, tokens: tuple[str, ...] = (), site: Site | None = None) -> None:
        self.hub = hub
        self.clock = clock
        self.board = HealthBoard()
        methods = signaling_methods(SignalingService(hub, encoding=FRAMED_PROTOBUF), self.board)
        authenticator = {"authenticator": StaticTokens(tokens)} if tokens else {}
        self.factory = grpc_wires(methods, hub.settings, site=site, **authenticator)

    def line(self, **options: Any) -> "GrpcLine":
        return GrpcLine(self, **options)


def make_server(
    clock: Clock, *, directory: Any = None, auth_tokens: tuple[str, ...] = (), site: Site | None = None, **options: Any
) -> WiredServer:
    """A server with the given settings, and with the other nodes that `directory` stands for."""
    return WiredServer(Hub(Settings(**options), clock.now, directory=directory), clock, auth_tokens, site)


class CallOutcome:
    """All that has come back on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None
        self.order: list[str] = []

    @property
    def messages(self) -> list[bytes]:
        deframer = Deframer(2**40)
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


class GrpcLine(Line):
    """A client's HTTP/2; `window` is how much it takes in of each stream before it is told to take more."""

    wire: GrpcWire

    def __init__(self, server: WiredServer, *, window: int | None = None, **sizes: int) -> None:
        super().__init__(server.factory, server.clock, **sizes)
        self.server = server
        self.http2 = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(auto_window_update=window is None, max_send_header_block_length=1 << 20),
        )
        self.http2.initiate_connection({} if window is None else {ngh2.Setting.INITIAL_WINDOW_SIZE: window})
        self.outcomes: dict[int, CallOutcome] = {}
        self.pings_answered = 0
        self.pinged = 0
        self.pump()

    def pump(self) -> None:
        while True:
            sent = self.push(self.http2.data_to_send())
            received = self.pull()
            if not sent and not received:
                return

    def hear(self, output: bytes) -> None:
        with contextlib.suppress(ngh2.ConnectionStateError):
            # A client that has obeyed a GOAWAY hears nothing more.
            self.http2.receive_data(output)
        for event in self.http2.events():
            self._on_event(event)

    def _on_event(self, event: object) -> None:
        match event:
            case ngh2.ResponseReceived():
                outcome = self.outcomes[event.stream_id]
                outcome.headers = {name.decode(): value.decode() for name, value in event.headers}
                outcome.ended = event.end_stream
                outcome.order.append("headers")
            case ngh2.DataReceived():
                outcome = self.outcomes[event.stream_id]
                outcome.body += event.data
                outcome.order.append("data")
            case ngh2.TrailersReceived():
                outcome = self.outcomes[event.stream_id]
                outcome.trailers = {name.decode(): value.decode() for name, value in event.headers}
                outcome.ended = True
                outcome.order.append("trailers")
            case ngh2.StreamReset():
                self.outcomes[event.stream_id].reset = event.error_code
                self.outcomes[event.stream_id].order.append("reset")
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
        self.outcomes[stream_id] = CallOutcome()
        return stream_id

    def call(
        self, path: str, *messages: bytes, headers: Iterable[tuple[bytes, bytes]] = (), **replaced: Any
    ) -> CallOutcome:
        """A call that sends these messages and closes its half."""
        stream_id = self.open(path, *headers, **replaced)
        for message in messages:
            self.http2.send_data(stream_id, framed(message))
        self.http2.end_stream(stream_id)
        self.pump()
        return self.outcomes[stream_id]

    def session(self, peer_id: str = "") -> "SignalCall":
        call = SignalCall(self)
        if peer_id:
            call.send("announce", announce=pb.AnnounceRequest(peer_id=peer_id))
        return call

    def expire(self) -> None:
        """Lets the hub and the wire do what is due."""
        self.server.hub.expire(self.clock.now)
        super().expire()

    def outlast_dismissals(self) -> None:
        """Ends its side of no stream for so long that those whose responses are whole are reset."""
        self.clock.advance(DISMISSAL_SECONDS)
        self.expire()
        self.pump()


class SignalCall:
    """A session of the line."""

    def __init__(self, line: GrpcLine, *headers: tuple[bytes, bytes]) -> None:
        self.line = line
        self.stream_id = line.open(SIGNAL, *headers)
        line.pump()
        self.outcome = line.outcomes[self.stream_id]

    def send(self, request_id: str = "", **request: Any) -> list[pb.SignalingResponse]:
        self.send_bytes(framed(pb.SignalingRequest(request_id=request_id, **request).SerializeToString()))
        return self.outcome.responses

    def send_bytes(self, data: bytes) -> None:
        self.line.http2.send_data(self.stream_id, data)
        self.line.pump()

    def half_close(self) -> None:
        self.line.http2.end_stream(self.stream_id)
        self.line.pump()

    def cancel(self) -> None:
        self.line.http2.reset_stream(self.stream_id, 8)
        self.line.pump()


def ended(server: WiredServer) -> dict[str, int]:
    """Returns the number of sessions that have ended, by the reason."""
    return {reason: count for (_, reason), count in server.hub.counters.disconnects.items()}


def nothing_is_left(line: GrpcLine) -> None:
    """Asserts that the wire keeps nothing of calls that are over."""
    wire = line.wire
    assert (wire._calls, wire.first_touched, wire._turn.resting) == ({}, None, {})
    long = wire._long
    assert (long.calls, long._withheld, long._credited_early_bytes) == ({}, {}, 0)
    assert wire._door.unfinished.kept == 0
