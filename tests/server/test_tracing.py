"""Traces: one from a sender's context on either protocol, through its request, to the delivery on the other."""

import asyncio
import json
from typing import Any

import grpc.aio
import pytest
from msgspec import UNSET
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from websockets.asyncio.client import connect as connect_websocket

import sigbridge_server.tracing
from clock import NOW
from sigbridge import Announce, Hub, Offer, Settings
from sigbridge.session import Caller
from sigbridge_client import connect
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_server.server import Server
from sigbridge_server.tracing import OpenTelemetryTracer
from sigbridge_websocket.encoding import BARE_JSON
from waiting import TIME_LIMIT_SECONDS

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
PARENT = 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE:032x}-{PARENT:016x}-01"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield OpenTelemetryTracer(provider)
    provider.shutdown()


@pytest.fixture
async def server(tracer, monkeypatch):
    monkeypatch.setattr(sigbridge_server.tracing, "configured_tracer", lambda: tracer)
    server = Server(
        Settings(grpc_bind_address="127.0.0.1:0", ws_bind_address="127.0.0.1:0", http_bind_address="off", tracing=True)
    )
    await server.start()
    yield server
    await server.stop(grace_seconds=0.5)


def span(exporter, name):
    (found,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return found


async def offer_at(client):
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async for event in client.events():
            if event.kind == "offer":
                return


def assert_one_trace(exporter, sender, receiver):
    request, delivery = span(exporter, "signaling offer"), span(exporter, "deliver offer")
    assert request.context.trace_id == delivery.context.trace_id == TRACE
    assert request.parent.span_id == PARENT
    assert delivery.parent.span_id == request.context.span_id
    assert (request.kind, delivery.kind) == (SpanKind.SERVER, SpanKind.PRODUCER)
    assert request.attributes["sigbridge.protocol"] == sender
    assert delivery.attributes["sigbridge.protocol"] == receiver
    assert request.start_time <= delivery.start_time <= delivery.end_time <= request.end_time
    assert "canary" not in "".join(span.to_json() for span in exporter.get_finished_spans())


async def test_from_grpc_metadata_to_a_websocket(server, exporter):
    async with (
        await connect(f"ws://127.0.0.1:{server.websocket_port}") as bob,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        await bob.announce("bob")
        call: Any = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)(
            metadata=(("traceparent", TRACEPARENT),)
        )
        for request in (
            pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id="alice", metadata={"a": "canary"})),
            pb.SignalingRequest(offer=pb.OfferRequest(to_peer_id="bob", sdp="canary")),
        ):
            await call.write(request.SerializeToString())
        await call.done_writing()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            answers = [pb.SignalingResponse.FromString(answer) async for answer in call]
            assert [answer.WhichOneof("response") for answer in answers] == ["ack", "notification", "ack"]
            await offer_at(bob)
    assert_one_trace(exporter, "grpc", "websocket")


@pytest.mark.parametrize("extra", [{}, {"unknown": 1}], ids=["as usual", "by the general path"])
async def test_from_a_json_member_to_grpc(server, exporter, extra):
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}") as bob,
        connect_websocket(f"ws://127.0.0.1:{server.websocket_port}", proxy=None) as alice,
    ):
        await bob.announce("bob")
        await alice.send('{"jsonrpc":"2.0","id":1,"method":"announce","params":{"peer_id":"alice"}}')
        params = {"to_peer_id": "bob", "sdp": "canary", **extra}
        await alice.send(
            json.dumps({"jsonrpc": "2.0", "id": 2, "method": "offer", "traceparent": TRACEPARENT, "params": params})
        )
        await offer_at(bob)
    assert_one_trace(exporter, "websocket", "grpc")
    announce = next(s for s in exporter.get_finished_spans() if s.attributes["sigbridge.protocol"] == "websocket")
    assert announce.name == "signaling announce"
    assert announce.context.trace_id != TRACE


# At the hub.


def open_peer(hub, peer_id, traceparent=""):
    session = hub.open("websocket", BARE_JSON, lambda reason: None, NOW, Caller(traceparent=traceparent))
    hub.apply(session, Announce(peer_id), UNSET, NOW)
    return session


@pytest.mark.parametrize(
    "traceparent",
    ["", "nonsense", "00-0-0-01", f"00-{0:032x}-{0:016x}-01", "x" * 100_000, "00-\u00fc", TRACEPARENT + "\n"],
)
def test_a_context_that_is_none_begins_a_trace_of_its_own(tracer, exporter, traceparent):
    hub = Hub(Settings(), NOW, tracer=tracer)
    alice = open_peer(hub, "alice")
    open_peer(hub, "bob")
    exporter.clear()
    hub.apply(alice, Offer("bob", "v=0"), UNSET, NOW, traceparent=traceparent)
    request, delivery = span(exporter, "signaling offer"), span(exporter, "deliver offer")
    assert request.parent is None or traceparent.startswith(TRACEPARENT)
    assert delivery.context.trace_id == request.context.trace_id


def test_no_context_is_left_behind(tracer, exporter):
    hub = Hub(Settings(), NOW, tracer=tracer)
    alice = open_peer(hub, "alice", TRACEPARENT)
    assert not trace.get_current_span().get_span_context().is_valid
    hub.apply(alice, Offer("nobody", "canary"), UNSET, NOW)
    assert not trace.get_current_span().get_span_context().is_valid
    open_peer(hub, "bob")
    assert [s.context.trace_id == TRACE for s in exporter.get_finished_spans()] == [True, True, False]


def test_a_refusal_tells_nothing_of_what_was_sent(tracer, exporter):
    hub = Hub(Settings(outbox_max_messages=1), NOW, tracer=tracer)
    alice = open_peer(hub, "alice")
    open_peer(hub, "bob")
    for _ in range(3):
        hub.apply(alice, Offer("bob", "canary"), UNSET, NOW)
    text = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "canary" not in text
