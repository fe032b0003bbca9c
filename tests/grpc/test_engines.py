"""Both engines of gRPC, by real clients over real sockets: each test runs on either and expects the same of it."""

import asyncio
import datetime
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sigbridge import DisconnectReason, Hub, Instant, Settings
from sigbridge.auth import Authenticator, Credentials, Identity
from sigbridge.pending import Pending
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.generated import webrtc_signaling_pb2_grpc as pb_grpc
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server

Start = Callable[..., Awaitable["Served"]]
Until = Callable[[Callable[[], object]], Awaitable[None]]

TIME_LIMIT_SECONDS = 20.0
BIG_SDP = "x" * 100_000
ANY_PORT: dict[str, Any] = {
    "grpc_bind_address": "127.0.0.1:0",
    "ws_bind_address": "127.0.0.1:0",
    "http_bind_address": "off",
}


class Call:
    """A `Signal` call of bare bytes."""

    def __init__(self, call: Any) -> None:
        self.raw = call

    async def send_bytes(self, message: bytes) -> None:
        await self.raw.write(message)

    async def send(self, request_id: str = "", **request: Any) -> None:
        await self.send_bytes(pb.SignalingRequest(request_id=request_id, **request).SerializeToString())

    async def announce(self, peer_id: str) -> None:
        await self.send("a", announce=pb.AnnounceRequest(peer_id=peer_id))
        assert (await self.receive()).WhichOneof("response") == "ack"

    async def receive(self) -> pb.SignalingResponse:
        message = await self.raw.read()
        assert isinstance(message, bytes), f"the stream has ended: {self.raw}"
        return pb.SignalingResponse.FromString(message)

    async def end(self) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
        """Wait for the end, whatever is read until then."""
        try:
            while isinstance(await self.raw.read(), bytes):
                pass
        except grpc.aio.AioRpcError:
            pass
        return await self.raw.code(), await self.raw.details(), dict(await self.raw.trailing_metadata())


class Served:
    """A server with one of the engines."""

    def __init__(self, engine: str, server: Server) -> None:
        self.engine = engine
        self.native = engine == "native"
        self.server = server
        self.hub = server.hub
        self.target = f"127.0.0.1:{server.grpc_port}"
        self._channels: list[grpc.aio.Channel] = []

    def channel(
        self, *options: tuple[str, Any], credentials: grpc.ChannelCredentials | None = None
    ) -> grpc.aio.Channel:
        """A channel with a connection of its own."""
        all_options = [("grpc.use_local_subchannel_pool", 1), *options]
        if credentials is None:
            channel = grpc.aio.insecure_channel(self.target, options=all_options)
        else:
            channel = grpc.aio.secure_channel(self.target, credentials, options=all_options)
        self._channels.append(channel)
        return channel

    async def call(self, channel: grpc.aio.Channel | None = None, **options: Any) -> Call:
        """A `Signal` call that stands."""
        multi: Any = (channel or self.channel()).stream_stream(f"/{SERVICE_NAME}/Signal", None, None)
        call = multi(None, **options)
        await call.initial_metadata()
        await call.wait_for_connection()
        return Call(call)

    async def unary(
        self, method: str, message: bytes, channel: grpc.aio.Channel | None = None, **options: Any
    ) -> bytes:
        multi: Any = (channel or self.channel()).unary_unary(method, None, None)
        answer: bytes = await multi(message, **options)
        return answer

    @property
    def connections(self) -> int:
        """Connections of the carrier: with grpcio none of them is gRPC's."""
        return self.server._carrier.connection_count

    async def close_channels(self) -> None:
        for channel in self._channels:
            await channel.close(None)
        self._channels.clear()


needs_ngh2 = pytest.mark.skipif(
    find_spec("ngh2") is None, reason="the native engine needs ngh2, which has no wheel for this platform"
)


@pytest.fixture(params=[pytest.param("native", marks=needs_ngh2), "grpcio"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def start(engine: str) -> AsyncIterator[Start]:
    """Start a server with the engine and the given settings; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def begin(
            *, authenticator: Authenticator | None = None, directory: Any = None, **settings: Any
        ) -> Served:
            options = ANY_PORT | {"grpc_engine": engine} | settings
            server = Server(Settings(**options), authenticator=authenticator, directory=directory)
            await server.start()
            served = Served(engine, server)

            async def stop() -> None:
                await served.close_channels()
                await server.stop(grace_seconds=0.5)

            stack.push_async_callback(stop)
            return served

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield begin


def _ended(hub: Hub) -> dict[str, int]:
    return {reason: count for (protocol, reason), count in hub.counters.disconnects.items() if protocol == "grpc"}


async def test_two_peers_signal_each_other(start: Start) -> None:
    served = await start()
    a, b = await served.call(), await served.call()
    await a.announce("a")
    await b.announce("b")
    assert (await a.receive()).notification.peer_joined.peer_id == "b"
    assert (await b.receive()).notification.peer_joined.peer_id == "a"
    await a.send("1", offer=pb.OfferRequest(to_peer_id="b", sdp="v=0\r\n"))
    reply = await a.receive()
    offer = (await b.receive()).notification.offer
    assert reply.request_id == "1"
    assert (offer.from_peer_id, offer.sdp, offer.type) == ("a", "v=0\r\n", "offer")
    assert json.loads(reply.ack.data) == {"offer_id": offer.offer_id, "to_peer_id": "b"}


async def test_the_documented_client_works_and_leaves(start: Start) -> None:
    served = await start()

    async def requests() -> Any:
        yield pb.SignalingRequest(
            request_id="1",
            announce=pb.AnnounceRequest(
                peer_id="python-client-1", capabilities=pb.PeerCapabilities(audio=True, video=True, data=True)
            ),
        )

    stub: Any = pb_grpc.WebRtcSignalingStub(served.channel())
    call = stub.Signal(requests())
    assert [response.request_id async for response in call] == ["1"]
    assert await call.code() is grpc.StatusCode.OK


def test_the_synchronous_client_works(engine: str) -> None:
    """grpcio's other API, on threads of its own."""

    async def serve() -> None:
        server = Server(Settings(**ANY_PORT, grpc_engine=engine))
        await server.start()
        requests = [pb.SignalingRequest(request_id="1", announce=pb.AnnounceRequest(peer_id="a"))]

        def ask() -> list[str]:
            with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                stub: Any = pb_grpc.WebRtcSignalingStub(channel)
                assert stub.HealthCheck(pb.HealthCheckRequest(), timeout=5).status == "healthy"
                return [response.request_id for response in stub.Signal(iter(requests), timeout=5)]

        assert await asyncio.to_thread(ask) == ["1"]
        await server.stop(grace_seconds=1)

    asyncio.run(serve())


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_compressed_or_not(start: Start, compression: grpc.Compression) -> None:
    served = await start()
    call = await served.call(compression=compression)
    await call.announce("a" * 200)
    answer = await served.unary(f"/{SERVICE_NAME}/GetPeers", b"", compression=compression)
    assert pb.GetPeersResponse.FromString(answer).peers[0].peer_id == "a" * 200


async def test_bad_messages_are_answered_and_the_stream_lives(start: Start) -> None:
    served = await start()
    call = await served.call()
    for message in (b"\xff\xff", b"\x0a\x01\xff", b""):
        await call.send_bytes(message)
    await call.send("7")
    answers = [await call.receive() for _ in range(4)]
    assert [(answer.request_id, answer.error.code, answer.error.message) for answer in answers] == [
        ("", 3, "Malformed request"),
        ("", 3, "Malformed request"),
        ("", 3, "No request provided"),
        ("7", 3, "No request provided"),
    ]
    await call.announce("a")


async def test_half_close_is_leaving(start: Start) -> None:
    served = await start()
    other, call = await served.call(), await served.call()
    await other.announce("other")
    for number in range(200):
        await call.send(str(number), list_peers=pb.ListPeersRequest())
    await call.send("a", announce=pb.AnnounceRequest(peer_id="a"))
    await call.raw.done_writing()
    answers = [await call.receive() for _ in range(202)]
    assert [answer.request_id for answer in answers] == [*map(str, range(200)), "a", ""]
    code, _, trailers = await call.end()
    assert (code, trailers) == (grpc.StatusCode.OK, {"signaling-disconnect": "client_left"})
    assert (await other.receive()).notification.peer_joined.peer_id == "a"
    assert (await other.receive()).notification.peer_left.peer_id == "a"
    assert _ended(served.hub) == {"client_left": 1}


async def test_draining_tells_everybody(start: Start) -> None:
    served = await start(shutdown_grace_seconds=10)
    calls = [await served.call() for _ in range(5)]
    for number, call in enumerate(calls):
        await call.announce(str(number))
    began = time.monotonic()
    stopping = asyncio.create_task(served.server.stop())
    for call in calls:
        code, details, trailers = await call.end()
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "Session ended: draining")
        assert trailers == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}
    await stopping
    assert time.monotonic() - began < 3


async def test_a_call_to_a_draining_hub(start: Start) -> None:
    served = await start()
    channel = served.channel()
    await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel)
    served.hub.drain(read_clock())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "Server is draining: connect again after a pause"
    assert dict(refused.value.trailing_metadata()) == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}


async def test_who_never_announces_is_sent_away(start: Start) -> None:
    served = await start(announce_timeout_seconds=0.1)
    call = await served.call()
    await call.send("1", list_peers=pb.ListPeersRequest())
    assert (await call.receive()).request_id == "1"
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trailers == {"signaling-disconnect": "announce_timeout", "signaling-reconnect": "yes"}


@pytest.mark.parametrize("beyond", [-1, 0, 1])
async def test_the_limit_of_a_message_is_exact(start: Start, beyond: int) -> None:
    served = await start()
    limit = served.hub.settings.max_message_bytes
    call = await served.call()
    message = pb.SignalingRequest(request_id="x" * (limit + beyond - 4)).SerializeToString()
    assert len(message) == limit + beyond
    await call.send_bytes(message)
    if beyond <= 0:
        assert (await call.receive()).error.message == "No request provided"
        await call.announce("a")
        return
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailers == {"signaling-disconnect": "message_too_big", "signaling-reconnect": "yes"}


async def test_far_above_the_limit(start: Start, until: Until) -> None:
    served = await start(max_message_bytes=10_000)
    call = await served.call()
    await call.send_bytes(b"x" * 500_000)
    assert (await call.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: served.hub.session_count == 0)


async def _fill(sender: Call, target: str) -> pb.SignalingResponse:
    """Send offers to a client that does not read, until one is refused."""
    while True:
        await sender.send("f", offer=pb.OfferRequest(to_peer_id=target, sdp=BIG_SDP))
        answer = await sender.receive()
        if answer.HasField("error"):
            return answer


async def test_a_client_that_never_reads_is_freed_at_the_deadline(start: Start, until: Until) -> None:
    served = await start(send_deadline_seconds=0.5)
    sender, stalled = await served.call(), await served.call()
    await stalled.announce("stalled")
    await sender.announce("sender")
    assert (await sender.receive()).notification.peer_joined.peer_id == "stalled"
    assert (await _fill(sender, "stalled")).error.code == 14
    assert (await sender.receive()).notification.peer_left.peer_id == "stalled"
    assert _ended(served.hub) == {"slow_consumer": 1}
    await sender.send("2", offer=pb.OfferRequest(to_peer_id="stalled", sdp="s"))
    assert (await sender.receive()).error.code == 5
    if served.native:
        # Socket and all, though the client has still read nothing.
        await until(lambda: served.connections == 1)
    assert (await stalled.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("talked_to", [True, False])
async def test_a_stopped_client_is_gone(start: Start, until: Until, talked_to: bool) -> None:
    """At the send deadline where it is told something, else by its keepalive: the socket too, with the native engine."""
    limits = {"send_deadline_seconds": 0.5, "ping_interval_seconds": 1.0, "ping_timeout_seconds": 1.0}
    if talked_to:
        limits |= {"ping_interval_seconds": 60.0, "ping_timeout_seconds": 60.0}
    served = await start(**limits)
    client = await _client_process(served, "stopped")
    try:
        sender = await served.call()
        await sender.announce("sender")
        assert (await sender.receive()).notification.peer_joined.peer_id == "stopped"
        client.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        if talked_to:
            await _fill(sender, "stopped")
        assert (await sender.receive()).notification.peer_left.peer_id == "stopped"
        if served.native:
            await until(lambda: served.connections == 1)
        assert time.monotonic() - began < 5
        reasons = ["slow_consumer"] if talked_to else ["keepalive_timeout", "connection_lost"]
        assert [reason for reason in _ended(served.hub) if reason not in reasons] == []
    finally:
        client.kill()
        client.wait()


async def _client_process(served: Served, peer_id: str) -> subprocess.Popen[bytes]:
    """A client in a process of its own, announced and listening."""
    code = """
import sys, grpc
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb, webrtc_signaling_pb2_grpc as pb_grpc
import threading
def requests():
    yield pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id=sys.argv[2]))
    threading.Event().wait()
for response in pb_grpc.WebRtcSignalingStub(grpc.insecure_channel(sys.argv[1])).Signal(requests()):
    pass
"""
    process = subprocess.Popen([sys.executable, "-c", code, served.target, peer_id], stderr=subprocess.DEVNULL)
    while served.hub.peer_count == 0:
        await asyncio.sleep(0.005)
    return process


async def test_a_killed_client_is_gone_at_once(start: Start) -> None:
    served = await start()
    client = await _client_process(served, "killed")
    other = await served.call()
    await other.announce("other")
    assert (await other.receive()).notification.peer_joined.peer_id == "killed"
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    assert (await other.receive()).notification.peer_left.peer_id == "killed"
    assert _ended(served.hub) == {"connection_lost": 1}


@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancelled_call_is_a_lost_connection(
    start: Start, until: Until, busy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    served = await start()
    channel = served.channel()
    for _ in range(20):
        call = await served.call(channel)
        await call.announce("a")
        if busy:
            await call.send("1", list_peers=pb.ListPeersRequest())
        call.raw.cancel()
        await until(lambda: served.hub.session_count == 0)
    assert _ended(served.hub) == {"connection_lost": 20}
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


async def test_a_deadline_of_the_client(start: Start, until: Until) -> None:
    served = await start()
    call = await served.call(timeout=0.3)
    await call.announce("a")
    assert (await call.end())[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: served.hub.session_count == 0)
    assert _ended(served.hub) == {"connection_lost": 1}


async def test_a_full_server_says_so(start: Start) -> None:
    served = await start(max_sessions=1)
    call = await served.call()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "SIGNALING_MAX_SESSIONS" in str(refused.value.details())
    await call.announce("still here")
    answer = await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"")
    assert pb.HealthCheckResponse.FromString(answer).connected_peers == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
async def test_the_session_knows_where_its_client_is(start: Start, address: str) -> None:
    served = await start(grpc_bind_address=f"{address}:0")
    served.target = f"{address}:{served.server.grpc_port}"
    await served.call()
    (session,) = served.hub._sessions.values()
    assert session.remote == address.strip("[]")


async def test_calls_of_one_address_share_their_rate(start: Start) -> None:
    served = await start(rate_per_second=0.001, rate_burst=2)
    first, second = await served.call(), await served.call()
    for call, code in ((first, 0), (second, 0), (first, 8), (second, 8)):
        await call.send("1", list_peers=pb.ListPeersRequest())
        assert (await call.receive()).error.code == code
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(f"/{SERVICE_NAME}/GetPeers", b"")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["reply", "apply"])
async def test_a_fault_of_ours_ends_the_call_and_says_no_more(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    served = await start()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(served.hub, method, fail)
    channel = served.channel()
    call = await served.call(channel)
    await call.send("1", list_peers=pb.ListPeersRequest())
    code, details, trailers = await call.end()
    assert (code, details) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert trailers == {"signaling-disconnect": "internal_error", "signaling-reconnect": "yes"}
    assert "canary" in caplog.text
    assert _ended(served.hub) == {"internal_error": 1}
    await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel)


@pytest.mark.parametrize("method", ["open", "query"])
async def test_a_fault_before_a_session_says_no_more(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    served = await start()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(served.hub, method, fail)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await (served.call() if method == "open" else served.unary(f"/{SERVICE_NAME}/GetPeers", b""))
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "canary" in caplog.text


async def test_the_unary_calls(start: Start) -> None:
    served = await start()
    call = await served.call()
    await call.announce("a")
    page = pb.GetPeersResponse.FromString(await served.unary(f"/{SERVICE_NAME}/GetPeers", b""))
    assert [peer.peer_id for peer in page.peers] == ["a"]
    health = pb.HealthCheckResponse.FromString(await served.unary(f"/{SERVICE_NAME}/HealthCheck", b""))
    assert (health.status, health.connected_peers) == ("healthy", 1)
    for message, text in ((b"\xff", "Malformed request"), (b"\x1a\x01?", "Invalid params: page_token")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.unary(f"/{SERVICE_NAME}/GetPeers", message)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert text in str(refused.value.details())


@pytest.mark.parametrize("method", [f"/{SERVICE_NAME}/Nothing", "/no.Such/Method"])
async def test_what_is_not_there_is_unimplemented(start: Start, method: str) -> None:
    served = await start()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(method, b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


class Directory:
    """Grants a claim on command only."""

    def __init__(self) -> None:
        self.asked: list[Pending[None]] = []

    def claim(self, room: str, peer_id: str, now: Instant) -> Pending[None]:
        self.asked.append(Pending())
        return self.asked[-1]

    def release(self, room: str, peer_id: str) -> None:
        pass


async def test_nothing_is_read_while_an_answer_is_awaited(start: Start, until: Until) -> None:
    directory = Directory()
    served = await start(directory=directory)
    call, other = await served.call(), await served.call()
    await call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    await call.send("2", list_peers=pb.ListPeersRequest())
    await until(lambda: directory.asked)
    # Another session's answer proves that the server has had the time.
    await other.send("3", list_peers=pb.ListPeersRequest())
    assert (await other.receive()).request_id == "3"
    assert served.hub.counters.requests["grpc", "list_peers", "ok"] == 1
    directory.asked[0].resolve(None, read_clock())
    assert [(await call.receive()).request_id for _ in range(2)] == ["1", "2"]


async def test_a_session_may_end_while_an_answer_is_awaited(start: Start, until: Until) -> None:
    directory = Directory()
    served = await start(directory=directory)
    call = await served.call()
    await call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    await until(lambda: directory.asked)
    call.raw.cancel()
    await until(lambda: served.hub.session_count == 0)
    directory.asked[0].resolve(None, read_clock())
    assert served.hub.peer_count == 0


async def test_a_crowded_session_is_not_read_from(start: Start, until: Until) -> None:
    served = await start()
    call = await served.call()
    # Answers as large as their questions, which nobody reads.
    total = 400

    async def flood() -> None:
        for _ in range(total):
            await call.send("x" * 20_000)

    (session,) = served.hub._sessions.values()
    flooding = asyncio.create_task(flood())
    await until(lambda: session.outbox.queued_bytes > 256 * 1024)
    taken = session.request_count
    await served.unary(f"/{SERVICE_NAME}/GetPeers", b"")
    assert session.request_count == taken < total
    answers = [await call.receive() for _ in range(total)]
    assert {answer.error.message for answer in answers} == {"No request provided"}
    await flooding


async def test_the_end_follows_what_was_queued(start: Start) -> None:
    served = await start()
    a, b = await served.call(), await served.call()
    await b.announce("b")
    await a.announce("a")
    await a.receive()
    for number in range(30):
        await a.send(str(number), offer=pb.OfferRequest(to_peer_id="b", sdp=f"{number}:{BIG_SDP[:5000]}"))
    for number in range(30):
        assert (await a.receive()).request_id == str(number)
    served.hub.drain(read_clock())
    assert (await b.receive()).notification.peer_joined.peer_id == "a"
    for number in range(30):
        assert (await b.receive()).notification.offer.sdp.startswith(f"{number}:")
    assert (await b.end())[2]["signaling-disconnect"] == "draining"


async def test_a_session_that_the_hub_ends_is_told_the_reason(start: Start) -> None:
    served = await start()
    call = await served.call()
    (session,) = served.hub._sessions.values()
    served.hub.end(session, DisconnectReason.PROTOCOL_ERROR, read_clock())
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.INTERNAL
    assert trailers == {"signaling-disconnect": "protocol_error", "signaling-reconnect": "no"}


async def test_an_old_connection_is_closed_with_its_streams(start: Start, until: Until) -> None:
    served = await start(grpc_max_connection_age_seconds=0.1, shutdown_grace_seconds=0.1)
    channel = served.channel()
    call = await served.call(channel)
    await call.announce("a")
    assert (await call.end())[0] is grpc.StatusCode.UNAVAILABLE
    await until(lambda: served.hub.session_count == 0)
    # The same channel goes on with a new connection.
    assert await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel, wait_for_ready=True)


async def test_an_idle_connection_is_closed_and_its_channel_goes_on(start: Start, until: Until) -> None:
    served = await start(grpc_max_connection_idle_seconds=0.2)
    channel = served.channel()
    for _ in range(2):
        assert await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel)
        await until(lambda: channel.get_state() is grpc.ChannelConnectivity.IDLE)


@pytest.mark.parametrize("channels", [1, 50])
async def test_many_streams(start: Start, channels: int) -> None:
    served = await start()
    held = [served.channel() for _ in range(channels)]
    calls = await asyncio.gather(*(served.call(held[number % channels]) for number in range(100)))
    for number, call in enumerate(calls):
        await call.send("1", announce=pb.AnnounceRequest(peer_id=f"p{number}"))
        assert (await call.receive()).request_id == "1"
    await calls[0].send("2", offer=pb.OfferRequest(to_peer_id="p99", sdp="s"))
    while not (answer := await calls[99].receive()).notification.HasField("offer"):
        pass
    assert answer.notification.offer.from_peer_id == "p0"
    assert served.hub.peer_count == 100


async def test_a_reset_flood_leaves_nothing_and_hurts_nobody(start: Start, until: Until) -> None:
    served = await start()
    other = await served.call()
    await other.announce("other")
    tasks = len(asyncio.all_tasks())
    channel = served.channel()
    for _ in range(15):
        multi: Any = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)
        calls = [multi(None) for _ in range(100)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
    await until(lambda: served.hub.session_count == 1)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await other.send("2", list_peers=pb.ListPeersRequest())
    assert (await other.receive()).request_id == "2"
    if served.native:
        assert sum(len(connection.wire._calls) for connection in served.server._carrier._connections) == 1


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An authority, and what it has signed: a server's certificate and a client's."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])

    def write(word: str, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, root: bool = False) -> None:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        (folder / f"{word}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        (folder / f"{word}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )

    write("root", root_name, root_key, root=True)
    for word in ("server", "alice"):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, word)])
        write(word, name, ec.generate_private_key(ec.SECP256R1()))
    return {path.name: path for path in folder.iterdir()}


class SubjectsOnly:
    """Lets in whose certificate names somebody, as that somebody."""

    def authenticate(self, credentials: Credentials) -> Identity:
        return Identity(subject=credentials.certificate_subject or "")


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls(start: Start, authority: dict[str, Path], mutual: bool) -> None:
    files = {"tls_cert_file": str(authority["server.pem"]), "tls_key_file": str(authority["server.key"])}
    if mutual:
        files["tls_client_ca_file"] = str(authority["root.pem"])
    served = await start(authenticator=SubjectsOnly(), **files)
    served.target = f"localhost:{served.server.grpc_port}"
    root = authority["root.pem"].read_bytes()
    shown = (authority["alice.key"].read_bytes(), authority["alice.pem"].read_bytes()) if mutual else (None, None)
    call = await served.call(served.channel(credentials=grpc.ssl_channel_credentials(root, *shown)))
    await call.announce("a")
    (session,) = served.hub._sessions.values()
    assert session.identity.subject == ("alice" if mutual else "")
    if mutual:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.unary(
                f"/{SERVICE_NAME}/HealthCheck",
                b"",
                served.channel(credentials=grpc.ssl_channel_credentials(root)),
                timeout=5,
            )
        return
    context = ssl.create_default_context(cafile=str(authority["root.pem"]))
    context.set_alpn_protocols(["h2"])

    def negotiated() -> str | None:
        with (
            socket.create_connection(("127.0.0.1", served.server.grpc_port)) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            return secure.selected_alpn_protocol()

    assert await asyncio.to_thread(negotiated) == "h2"
