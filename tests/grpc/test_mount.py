"""The service on a real gRPC server, with faults that clients really cause."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from sigbridge import DisconnectReason, Hub, Instant, Settings
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge.pending import Pending
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.generated import webrtc_signaling_pb2_grpc as pb_grpc
from sigbridge_grpc.mount import server_options
from sigbridge_net.clock import read_clock

Serve = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]

BIG_SDP = "x" * 100_000


def _ended(hub: Hub) -> dict[str, int]:
    return {reason: count for (protocol, reason), count in hub.counters.disconnects.items() if protocol == "grpc"}


async def test_two_peers_signal_each_other(serve: Serve) -> None:
    served = await serve()
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


async def test_the_documented_client_works_and_leaves(serve: Serve) -> None:
    served = await serve()

    async def requests() -> Any:
        yield pb.SignalingRequest(
            request_id="1",
            announce=pb.AnnounceRequest(
                peer_id="python-client-1", capabilities=pb.PeerCapabilities(audio=True, video=True, data=True)
            ),
        )

    stub: Any = pb_grpc.WebRtcSignalingStub(served.channel())
    call = stub.Signal(requests())
    responses = [response async for response in call]
    assert [response.request_id for response in responses] == ["1"]
    assert await call.code() is grpc.StatusCode.OK


async def test_bad_messages_are_answered_and_the_stream_lives(serve: Serve) -> None:
    served = await serve()
    call = await served.call()
    await call.send_bytes(b"\xff\xff")
    await call.send_bytes(b"\x0a\x01\xff")
    await call.send_bytes(b"")
    await call.send("7")
    answers = [await call.receive() for _ in range(4)]
    assert [(answer.request_id, answer.error.code, answer.error.message) for answer in answers] == [
        ("", 3, "Malformed request"),
        ("", 3, "Malformed request"),
        ("", 3, "No request provided"),
        ("7", 3, "No request provided"),
    ]
    await call.announce("a")


async def test_half_close_is_leaving(serve: Serve, until: Until) -> None:
    served = await serve()
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
    await until(lambda: served.mounted.stream_count == 1)


async def test_draining_tells_everybody(serve: Serve) -> None:
    served = await serve()
    calls = [await served.call() for _ in range(5)]
    for number, call in enumerate(calls):
        await call.announce(str(number))
    began = time.monotonic()
    left = await served.mounted.drain(5)
    assert left == 0
    assert time.monotonic() - began < 1
    for call in calls:
        code, details, trailers = await call.end()
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "Session ended: draining")
        assert trailers == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(refused.value.trailing_metadata())["signaling-disconnect"] == "draining"


async def test_who_never_announces_is_sent_away(serve: Serve) -> None:
    served = await serve(announce_timeout_seconds=0.1)
    call = await served.call()
    await call.send("1", list_peers=pb.ListPeersRequest())
    assert (await call.receive()).request_id == "1"
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trailers == {"signaling-disconnect": "announce_timeout", "signaling-reconnect": "yes"}


@pytest.mark.parametrize("beyond", [-1, 0, 1])
async def test_the_limit_of_a_message_is_exact(serve: Serve, beyond: int) -> None:
    served = await serve()
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


async def test_far_above_the_limit_the_library_ends_the_call(serve: Serve, until: Until) -> None:
    served = await serve(max_message_bytes=10_000)
    call = await served.call()
    await call.send_bytes(b"x" * 50_000)
    code, _, _ = await call.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: served.hub.session_count == 0)


async def _fill(sender: Any, target: str) -> pb.SignalingResponse:
    """Send offers to a client that does not read, until one is refused."""
    while True:
        await sender.send("f", offer=pb.OfferRequest(to_peer_id=target, sdp=BIG_SDP))
        answer: pb.SignalingResponse = await sender.receive()
        if answer.HasField("error"):
            return answer


async def test_a_client_that_never_reads_is_freed_at_the_deadline(serve: Serve, until: Until) -> None:
    served = await serve(send_deadline_seconds=0.3)
    hub = served.hub
    sender, stalled = await served.call(), await served.call()
    await stalled.announce("stalled")
    await sender.announce("sender")
    assert (await sender.receive()).notification.peer_joined.peer_id == "stalled"
    refused = await _fill(sender, "stalled")
    assert refused.error.code == 14
    began = time.monotonic()
    assert (await sender.receive()).notification.peer_left.peer_id == "stalled"
    assert time.monotonic() - began < 0.6
    assert _ended(hub) == {"slow_consumer": 1}
    await sender.send("2", offer=pb.OfferRequest(to_peer_id="stalled", sdp="s"))
    assert (await sender.receive()).error.code == 5
    # The call itself can be ended only when it reads again, or by its connection.
    assert served.mounted.stream_count == 2
    code, _, trailers = await stalled.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailers == {"signaling-disconnect": "slow_consumer", "signaling-reconnect": "yes"}
    await until(lambda: served.mounted.stream_count == 1)


async def test_a_stopped_client_is_freed_at_the_deadline(serve: Serve, until: Until) -> None:
    served = await serve(send_deadline_seconds=0.3)
    client = await _client_process(served, "stopped")
    try:
        sender = await served.call()
        await sender.announce("sender")
        assert (await sender.receive()).notification.peer_joined.peer_id == "stopped"
        client.send_signal(signal.SIGSTOP)
        await _fill(sender, "stopped")
        assert (await sender.receive()).notification.peer_left.peer_id == "stopped"
        assert _ended(served.hub) == {"slow_consumer": 1}
        assert await served.mounted.drain(0.2) == 1
    finally:
        # `server.stop` would wait for the connection of a stopped process until a ping finds it dead.
        client.kill()
        client.wait()
    await until(lambda: served.mounted.stream_count == 0)


async def test_draining_is_prompt_with_a_client_that_never_reads(serve: Serve, until: Until) -> None:
    served = await serve()
    sender, stalled = await served.call(), await served.call()
    await stalled.announce("stalled")
    await sender.announce("sender")
    await sender.receive()
    await _fill(sender, "stalled")
    began = time.monotonic()
    assert await served.mounted.drain(0.3) == 1
    await served.server.stop(0)
    assert time.monotonic() - began < 1
    await until(lambda: served.mounted.stream_count == 0)


async def _client_process(served: Any, peer_id: str) -> subprocess.Popen[bytes]:
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


async def test_a_killed_client_is_gone_at_once(serve: Serve) -> None:
    served = await serve()
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
    serve: Serve, until: Until, busy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve()
    channel = served.channel()
    for _ in range(20):
        call = await served.call(channel)
        await call.announce("a")
        if busy:
            await call.send("1", list_peers=pb.ListPeersRequest())
        call.raw.cancel()
        await until(lambda: served.hub.session_count == 0)
    assert _ended(served.hub) == {"connection_lost": 20}
    await until(lambda: served.mounted.stream_count == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_full_server_says_so(serve: Serve) -> None:
    served = await serve(max_sessions=1)
    call = await served.call()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "SIGNALING_MAX_SESSIONS" in str(refused.value.details())
    await call.announce("still here")
    assert pb.HealthCheckResponse.FromString(await served.unary("HealthCheck", b"")).connected_peers == 1


async def test_streams_of_clients_that_never_read_are_capped(serve: Serve, until: Until) -> None:
    served = await serve(max_sessions=1, send_deadline_seconds=0.1)
    floods = []

    async def flood(call: Any) -> None:
        while True:
            await call.send("x" * 20_000)

    for _ in range(2):
        floods.append(asyncio.create_task(flood(await served.call())))
        await until(lambda: served.hub.session_count == 0)
    assert _ended(served.hub) == {"slow_consumer": 2}
    assert served.mounted.stream_count == 2
    with pytest.raises(grpc.aio.AioRpcError, match="Too many streams that are not read"):
        await served.call()
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
async def test_the_session_knows_where_its_client_is(serve: Serve, address: str) -> None:
    served = await serve(address=address)
    await served.call()
    (session,) = served.hub._sessions.values()
    assert session.remote == address.strip("[]")


async def test_calls_of_one_address_share_their_rate(serve: Serve) -> None:
    served = await serve(rate_per_second=0.001, rate_burst=2)
    first, second = await served.call(), await served.call()
    for call, code in ((first, 0), (second, 0), (first, 8), (second, 8)):
        await call.send("1", list_peers=pb.ListPeersRequest())
        assert (await call.receive()).error.code == code
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary("GetPeers", b"")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["reply", "apply"])
async def test_a_fault_of_ours_ends_the_call_and_says_no_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    served = await serve()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(served.hub, method, fail)
    call = await served.call()
    await call.send("1", list_peers=pb.ListPeersRequest())
    code, details, trailers = await call.end()
    assert (code, details) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert trailers == {"signaling-disconnect": "internal_error", "signaling-reconnect": "yes"}
    assert "canary" in caplog.text
    assert _ended(served.hub) == {"internal_error": 1}


async def test_a_fault_while_opening_says_no_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(served.hub, "open", fail)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served.call()
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "canary" in caplog.text


async def test_a_fault_while_writing_or_answering_says_no_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    call = await served.call()
    monkeypatch.setattr("sigbridge.outbox.Outbox.crowded", property(fail))
    await call.send("1", list_peers=pb.ListPeersRequest())
    assert (await call.end())[:2] == (grpc.StatusCode.INTERNAL, "Internal error")
    monkeypatch.setattr(served.hub, "query", fail)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served.unary("GetPeers", b"")
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "canary" in caplog.text


async def test_the_unary_calls(serve: Serve) -> None:
    served = await serve()
    call = await served.call()
    await call.announce("a")
    page = pb.GetPeersResponse.FromString(await served.unary("GetPeers", b""))
    assert [peer.peer_id for peer in page.peers] == ["a"]
    health = pb.HealthCheckResponse.FromString(await served.unary("HealthCheck", b""))
    assert (health.status, health.connected_peers) == ("healthy", 1)
    for message, text in ((b"\xff", "Malformed request"), (b"\x1a\x01?", "Invalid params: page_token")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.unary("GetPeers", message)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert text in str(refused.value.details())


class Directory:
    """Grants a claim on command only."""

    def __init__(self) -> None:
        self.asked: list[Pending[None]] = []

    def claim(self, room: str, peer_id: str, now: Instant) -> Pending[None]:
        self.asked.append(Pending())
        return self.asked[-1]

    def release(self, room: str, peer_id: str) -> None:
        pass


async def test_nothing_is_read_while_an_answer_is_awaited(serve: Serve, until: Until) -> None:
    directory = Directory()
    served = await serve(Hub(Settings(), read_clock(), directory=directory))
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


@pytest.mark.parametrize("how", ["cancel", "drain"])
async def test_a_session_may_end_while_an_answer_is_awaited(serve: Serve, until: Until, how: str) -> None:
    directory = Directory()
    served = await serve(Hub(Settings(), read_clock(), directory=directory))
    call = await served.call()
    await call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    await until(lambda: directory.asked)
    if how == "cancel":
        call.raw.cancel()
    else:
        assert await served.mounted.drain(2) == 0
    await until(lambda: served.mounted.stream_count == 0)
    directory.asked[0].resolve(None, read_clock())
    assert served.hub.peer_count == 0


async def test_a_crowded_session_is_not_read_from(serve: Serve, until: Until) -> None:
    served = await serve()
    call = await served.call()
    # Answers as large as their questions, which nobody reads.
    total = 400

    async def flood() -> None:
        for _ in range(total):
            await call.send("x" * 20_000)

    (session,) = served.hub._sessions.values()
    flooding = asyncio.create_task(flood())
    await until(lambda: session.outbox.crowded)
    taken = session.request_count
    page = pb.GetPeersResponse.FromString(await served.unary("GetPeers", b""))
    assert page.count == 0
    assert session.request_count == taken < total
    assert len(session.outbox) <= CROWDED_MESSAGES
    answers = [await call.receive() for _ in range(total)]
    assert {answer.error.message for answer in answers} == {"No request provided"}
    await flooding


async def test_the_end_follows_what_was_queued(serve: Serve) -> None:
    served = await serve()
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


async def test_a_session_that_the_hub_ends_is_told_the_reason(serve: Serve) -> None:
    served = await serve()
    call = await served.call()
    (session,) = served.hub._sessions.values()
    served.hub.end(session, DisconnectReason.PROTOCOL_ERROR, read_clock())
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.INTERNAL
    assert trailers == {"signaling-disconnect": "protocol_error", "signaling-reconnect": "no"}


async def test_an_old_connection_is_closed_with_its_streams(serve: Serve, until: Until) -> None:
    served = await serve(grpc_max_connection_age_seconds=0.1, shutdown_grace_seconds=0.1)
    call = await served.call()
    await call.announce("a")
    assert (await call.end())[0] is grpc.StatusCode.UNAVAILABLE
    await until(lambda: served.hub.session_count == 0)


def test_the_options_say_what_the_settings_say() -> None:
    options = dict(server_options(Settings(ping_interval_seconds=3, ping_timeout_seconds=2, max_message_bytes=1000)))
    assert options["grpc.keepalive_time_ms"] == 3000
    assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"] == 2000
    assert options["grpc.max_receive_message_length"] == 4000
    assert options["grpc.max_connection_age_ms"] == 86_400_000
    assert options["grpc.so_reuseport"] == 0
    assert dict(server_options(Settings(handshake_timeout_seconds=2)))["grpc.server_handshake_timeout_ms"] == 2000
    assert "grpc.max_connection_age_ms" not in dict(server_options(Settings(grpc_max_connection_age_seconds=0)))
