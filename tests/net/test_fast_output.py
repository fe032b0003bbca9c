"""Output behind which the carrier looks no further is the output of the general path, on both protocols."""

import contextlib

import msgspec
import ngh2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from grpc_lines import WiredServer
from lines import Line
from sigbridge import Hub, Settings
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_websocket.frames import PING, TEXT
from websocket_lines import WebSocketLine, masked

SIZES = st.sampled_from([0, 10, 1000, 3000])


class Both:
    """Two peers of one hub, one on each protocol, and all that was said to them."""

    def __init__(self, most: int) -> None:
        self.clock = Clock()
        self.hub = Hub(Settings(ping_interval_seconds=10, outbox_max_messages=6), self.clock.now)
        self.websocket = WebSocketLine(self.hub, self.clock)
        self.websocket.call("announce", peer_id="wanda")
        self.grpc = WiredServer(self.hub, self.clock).line()
        self.call = self.grpc.session("greta")
        self.pump()
        for line in (self.websocket, self.grpc):
            line.most = most
            # A client's key is random, and so is what the handshake says.
            line.output = b""

    def pump(self) -> None:
        self.websocket.pump()
        self.grpc.pump()

    def said(self) -> tuple[object, ...]:
        lines = (self.websocket, self.grpc)
        counters = self.hub.counters
        return [(line.output, line.wire.finished) for line in lines], counters.requests, counters.disconnects

    # What can be done; nothing of it takes what there is to say.

    def say(self, size: int) -> None:
        """Sends a candidate from WebSocket to gRPC."""
        params = {"to_peer_id": "greta", "candidate": "c" * size}
        call = {"jsonrpc": "2.0", "method": "ice_candidate", "params": params, "id": size}
        self.websocket.push(masked(TEXT, msgspec.json.encode(call)))

    def list(self, size: int) -> None:
        """Lists the room from both, with an id of that size."""
        call = {"jsonrpc": "2.0", "method": "list_peers", "id": "i" * size}
        self.websocket.push(masked(TEXT, msgspec.json.encode([call])))
        self.send(pb.SignalingRequest(request_id="i" * min(size, 100), list_peers=pb.ListPeersRequest()))

    def tell(self, size: int) -> None:
        """Sends a candidate from gRPC to WebSocket."""
        candidate = pb.IceCandidateRequest(to_peer_id="wanda", candidate="c" * size)
        self.send(pb.SignalingRequest(request_id=str(size), ice_candidate=candidate))

    def send(self, request: pb.SignalingRequest) -> None:
        with contextlib.suppress(ngh2.StreamProtocolError, ngh2.ConnectionStateError):
            # A session that reads too slowly has ended, and a connection that is silent.
            self.grpc.http2.send_data(self.call.stream_id, framed(request.SerializeToString()))
        self.grpc.push(self.grpc.http2.data_to_send())

    def ping(self, size: int) -> None:
        self.websocket.push(masked(PING, b"p" * min(size, 100)))
        with contextlib.suppress(ngh2.ConnectionStateError):
            self.grpc.http2.ping(b"12345678")
        self.grpc.push(self.grpc.http2.data_to_send())

    def wait(self, size: int) -> None:
        self.clock.advance(6)
        self.hub.expire(self.clock.now)
        for line in (self.websocket, self.grpc):
            if line.wire.due <= self.clock.now.monotonic:
                line.wire.expire(self.clock.now)

    def drain(self, size: int) -> None:
        self.hub.drain(self.clock.now)
        self.websocket.wire.drain(self.clock.now)
        self.grpc.wire.drain(self.clock.now)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["say", "tell", "list", "ping", "wait", "pump", "pump", "pump"]), SIZES), max_size=20
)


def played(actions: list[tuple[str, int]], most: int, *, fast: bool) -> tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Line, "fast", fast)
        both = Both(most)
        for name, size in [*actions, ("pump", 0), ("drain", 0), ("pump", 0)]:
            if name == "pump":
                both.pump()
            else:
                getattr(both, name)(size)
        return both.said()


@given(ACTIONS, st.sampled_from([60, 1000, 65536]))
def test_fast_output_is_what_take_output_gives(actions, most):
    assert played(actions, most, fast=True) == played(actions, most, fast=False)
