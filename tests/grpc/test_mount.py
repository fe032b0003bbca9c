"""The service on a real gRPC server, with faults that clients really cause."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from channels import Ended, ended_grpc, freed_at_the_deadline, listening_client
from clock import NOW
from directories import Elsewhere
from leavings import left_behind
from sigbridge import Announce, Hub, Settings
from sigbridge.outbox import CROWDED_MESSAGES
from sigbridge.share import EVENTS_PER_TURN, Share
from sigbridge_grpc.encoding import PROTOBUF
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.mount import MountedSignaling, server_options
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from waiting import longer_and_longer, until

Serve = Callable[..., Awaitable[Any]]


async def test_half_close_is_leaving(serve: Serve) -> None:
    served = await serve()
    other, call = await served.call(), await served.call()
    await other.announce("other")
    for number in range(200):
        await call.send(str(number), list_peers=pb.ListPeersRequest())
    await call.send("a", announce=pb.AnnounceRequest(peer_id="a"))
    await call.raw.done_writing()
    responses = [await call.receive() for _ in range(202)]
    assert [response.request_id for response in responses] == [*map(str, range(200)), "a", ""]
    code, _, trailers = await call.end()
    assert (code, trailers) == (grpc.StatusCode.OK, {"signaling-disconnect": "client_left"})
    assert (await other.receive()).notification.peer_joined.peer_id == "a"
    assert (await other.receive()).notification.peer_left.peer_id == "a"
    assert ended_grpc(served.hub) == {"client_left": 1}
    await until(lambda: served.mounted.stream_count == 1)


async def test_draining_tells_everybody(serve: Serve) -> None:
    served = await serve()
    calls = [await served.call() for _ in range(5)]
    for number, call in enumerate(calls):
        await call.announce(str(number))
    # Longer than the test may take: nobody waits for it to pass.
    left = await served.mounted.drain(1000)
    assert left == 0
    for call in calls:
        code, details, trailers = await call.end()
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "Session ended: draining")
        assert trailers == {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(refused.value.trailing_metadata())["signaling-disconnect"] == "draining"


async def test_far_above_the_limit_the_library_ends_the_call(serve: Serve) -> None:
    served = await serve(max_message_bytes=10_000)
    call = await served.call()
    await call.send_bytes(b"x" * 50_000)
    code, _, _ = await call.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: served.hub.session_count == 0)


async def test_a_client_that_never_reads_is_freed_at_the_deadline(serve: Serve) -> None:
    served, sender, stalled = await freed_at_the_deadline(serve, 1)
    await sender.send("2", offer=pb.OfferRequest(to_peer_id="stalled", sdp="s"))
    assert (await sender.receive()).error.code == 5
    # The call itself can be ended only when it reads again, or by its connection.
    assert served.mounted.stream_count == 2
    code, _, trailers = await stalled.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailers == {"signaling-disconnect": "slow_consumer", "signaling-reconnect": "yes"}
    await until(lambda: served.mounted.stream_count == 1)


async def all_but_one_end(served: Any, seconds: float) -> None:
    """Drains until all streams but that of a client that does not read have ended, and sees that this one stays."""
    for limit in longer_and_longer(seconds):
        left = await served.mounted.drain(limit)
        assert left >= 1
        if left == 1:
            break


async def test_a_stopped_client_is_freed_at_the_deadline(serve: Serve) -> None:
    for seconds in longer_and_longer(1):
        served = await serve(send_deadline_seconds=seconds)
        client = await listening_client(served.target, served.hub, "stopped")
        try:
            sender = await served.call()
            await sender.announce("sender")
            assert (await sender.receive()).notification.peer_joined.peer_id == "stopped"
            client.send_signal(signal.SIGSTOP)
            await sender.fill("stopped")
            assert (await sender.next_event()).peer_left.peer_id == "stopped"
            assert ended_grpc(served.hub) == {"slow_consumer": 1}
            await all_but_one_end(served, 0.2)
            break
        except (Ended, grpc.aio.AioRpcError):
            # Held up for so long, the sender has not read either.
            assert ended_grpc(served.hub).keys() == {"slow_consumer"}
        finally:
            # `server.stop` would wait for the connection of a stopped process until a ping finds it dead.
            client.kill()
            client.wait()
    await until(lambda: served.mounted.stream_count == 0)


async def test_draining_is_prompt_with_a_client_that_never_reads(serve: Serve) -> None:
    # Longer than the test may take: nobody waits for it to pass.
    served = await serve(send_deadline_seconds=1000)
    sender, stalled = await served.call(), await served.call()
    await stalled.announce("stalled")
    await sender.announce("sender")
    await sender.receive()
    await sender.fill("stalled")
    await all_but_one_end(served, 0.3)
    await served.server.stop(0)
    await until(lambda: served.mounted.stream_count == 0)
    for call in (sender, stalled):
        assert (await call.end())[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancelled_call_is_a_lost_connection(
    serve: Serve, busy: bool, caplog: pytest.LogCaptureFixture
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
    assert ended_grpc(served.hub) == {"connection_lost": 20}
    await until(lambda: served.mounted.stream_count == 0)
    assert [
        record
        for record in caplog.records
        # Of another test's loop, that has closed, grpcio says there so on every loop.
        if record.levelno >= logging.WARNING and "PollerCompletionQueue" not in record.getMessage()
    ] == []


async def test_streams_of_clients_that_never_read_are_capped(serve: Serve) -> None:
    # The deadline outlasts a busy machine's pauses: only a write that is really blocked misses it, and its stream stays.
    served = await serve(max_sessions=1, send_deadline_seconds=2)
    floods = []

    async def flood(call: Any) -> None:
        while True:
            await call.send("x" * 20_000)

    for _ in range(2):
        floods.append(asyncio.create_task(flood(await served.call())))
        await until(lambda: served.hub.session_count == 0)
    assert ended_grpc(served.hub) == {"slow_consumer": 2}
    assert served.mounted.stream_count == 2
    with pytest.raises(grpc.aio.AioRpcError, match="Too many streams that are not read"):
        await served.call()
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)


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
        await served.unary(f"/{SERVICE_NAME}/GetPeers", b"")
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "canary" in caplog.text


@pytest.mark.parametrize("how", ["cancel", "drain"])
async def test_a_session_may_end_while_a_response_is_awaited(serve: Serve, how: str) -> None:
    directory = Elsewhere()
    served = await serve(Hub(Settings(), read_clock(), directory=directory))
    call = await served.call()
    await call.send("1", announce=pb.AnnounceRequest(peer_id="a"))
    await until(lambda: directory.asked)
    if how == "cancel":
        call.raw.cancel()
    else:
        # Longer than the test may take: nobody waits for it to pass.
        assert await served.mounted.drain(1000) == 0
    await until(lambda: served.mounted.stream_count == 0)
    directory.asked[0].resolve(None, read_clock())
    assert served.hub.peer_count == 0


async def test_a_crowded_session_is_not_read_from(serve: Serve) -> None:
    served = await serve()
    call = await served.call()
    # Answers as large as their questions, which nobody reads.
    total = 400

    async def flood() -> None:
        for _ in range(total):
            await call.send("x" * 20_000)

    (session,) = served.hub._sessions.values()
    flooding = asyncio.create_task(flood())
    taken = -1
    while session.request_count != taken:
        # Until it is so because of its client: for a moment it may be, since nothing was written yet.
        await until(lambda: session.outbox.crowded)
        taken = session.request_count
        page = pb.GetPeersResponse.FromString(await served.unary(f"/{SERVICE_NAME}/GetPeers", b""))
        assert page.count == 0
    assert taken < total
    assert len(session.outbox) <= CROWDED_MESSAGES
    responses = [await call.receive() for _ in range(total)]
    assert {response.error.message for response in responses} == {"No request provided"}
    await flooding


def test_the_options_say_what_the_settings_say() -> None:
    options = dict(server_options(Settings(ping_interval_seconds=3, ping_timeout_seconds=2, max_message_bytes=1000)))
    assert options["grpc.keepalive_time_ms"] == 3000
    assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"] == 2000
    assert options["grpc.max_receive_message_length"] == 4000
    assert options["grpc.max_connection_age_ms"] == 86_400_000
    assert options["grpc.so_reuseport"] == 0
    assert dict(server_options(Settings(handshake_timeout_seconds=2)))["grpc.server_handshake_timeout_ms"] == 2000
    assert "grpc.max_connection_age_ms" not in dict(server_options(Settings(grpc_max_connection_age_seconds=0)))


class Aborted(Exception):
    """Stands for what the library raises to end a call."""


class RefusedContext:
    """Stands for the context of a call that will be refused."""

    def invocation_metadata(self):
        return ()

    def auth_context(self):
        return {}

    def peer(self):
        return "ipv4:192.0.2.1:5"

    async def abort(self, code, message, trailers):
        raise Aborted(message)


async def test_a_refused_question_leaves_nothing_behind():
    mounted = MountedSignaling(Hub(Settings(), NOW), clock=lambda: NOW, run_timer=False)

    async def ask() -> None:
        with pytest.raises(Aborted):
            await mounted.get_peers(b"\xff" * 1000, RefusedContext())

    await ask()
    with left_behind() as leavings:
        await ask()
    assert not leavings.kept, leavings.kept
    assert not leavings.cycles, leavings.cycles


async def metadata_of_all(served: Any, count: int) -> None:
    """Fills a room: a listing of it has about so many times 15 kB."""
    for number in range(count):
        call = await served.call()
        await call.send("1", announce=pb.AnnounceRequest(peer_id=str(number), metadata={"k": "x" * 15_000}))
        assert (await call.receive()).request_id == "1"


async def test_unary_calls_of_a_client_that_never_reads_wait(serve: Serve) -> None:
    ngh2 = pytest.importorskip("ngh2", reason="the client is ngh2, which has no wheel for this platform")
    served = await serve(max_unary_bytes=1_000_000)
    await metadata_of_all(served, 33)
    counters, unary = served.hub.counters, served.mounted._unary
    counted = lambda: counters.tally("grpc", "list_peers").accepted  # noqa: E731
    # Streams whose windows take little: the library may write no more of a response.
    _reader, writer = await asyncio.open_connection(*served.target.split(":"))
    http2 = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=False))
    http2.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: 100})

    def ask() -> int:
        fields = {":method": "POST", ":scheme": "http", ":path": f"/{SERVICE_NAME}/GetPeers", ":authority": "server"}
        fields |= {"te": "trailers", "content-type": "application/grpc"}
        stream_id = http2.send_request([(name.encode(), value.encode()) for name, value in fields.items()])
        http2.send_data(stream_id, b"\0\0\0\0\0")
        http2.end_stream(stream_id)
        return stream_id

    streams = [ask() for _ in range(50)]
    writer.write(http2.data_to_send())
    await until(lambda: unary.waiting_count + counted() == 50)
    assert (counted(), unary.waiting_count) == (3, 47)
    assert unary.held < 1_600_000
    # Another connection is not kept waiting.
    assert pb.GetPeersResponse.FromString(await served.unary(f"/{SERVICE_NAME}/GetPeers", b"")).count == 33
    await until(lambda: unary.held < 1_600_000)
    # Those that wait are never carried out where they are cancelled; and where one ends, the next one goes on.
    for stream_id in streams[10:]:
        http2.reset_stream(stream_id, 8)
    writer.write(http2.data_to_send())
    await until(lambda: unary.waiting_count == 7)
    assert counted() == 4
    http2.reset_stream(streams[0], 8)
    writer.write(http2.data_to_send())
    await until(lambda: unary.waiting_count == 6)
    assert counted() == 5
    # A lost connection gives back everything.
    writer.close()
    await until(lambda: (unary.held, unary.waiting_count, unary._backlogs) == (0, 0, {}))
    # The library tells calls one by one: those that were next may go on where others have ended, as far as there is room.
    assert counted() <= 5 + 3


async def test_unary_calls_that_wait_in_a_turn_are_all_answered(serve: Serve) -> None:
    served = await serve()
    await metadata_of_all(served, 10)
    channel = served.channel()
    method = channel.unary_unary(f"/{SERVICE_NAME}/GetPeers", response_deserializer=pb.GetPeersResponse.FromString)
    pages = await asyncio.gather(*(method(b"") for _ in range(100)))
    assert {page.count for page in pages} == {10}
    await until(lambda: served.mounted._unary._backlogs == {})


async def test_the_streams_of_a_connection_have_one_share(serve: Serve) -> None:
    """The rest of what they tell to a room follows in later turns, and nothing of it is lost."""
    crowd, streams = 130, 20
    share = Share()
    used: list[int] = []

    def stopwatch() -> float:
        used.append(share.used)
        return 0.0

    hub = Hub(Settings(), read_clock(), stopwatch=stopwatch)
    hearers = [hub.open("grpc", PROTOBUF, lambda reason: None, read_clock()) for _ in range(crowd)]
    for number, hearer in enumerate(hearers):
        hub.apply(hearer, Announce(f"p{number}"), "", read_clock())
    for hearer in hearers:
        hearer.outbox.clear()
    served = await serve(hub)
    channel = served.channel()
    calls = [await served.call(channel) for _ in range(streams)]
    (share,) = {session.share for session in hub._sessions.values()} - {hearer.share for hearer in hearers}
    used.clear()
    for request in ("announce", "disconnect"):
        for number, call in enumerate(calls):
            what = {"announce": pb.AnnounceRequest, "disconnect": pb.DisconnectRequest}[request]
            await call.send(request, **{request: what(peer_id=f"m{number}")})
    for call in calls:
        ids: list[str] = []
        while ids[-1:] != ["disconnect"]:
            ids += filter(None, [(await call.receive()).request_id])
        assert ids == ["announce", "disconnect"]
    # It is asked before a request and after it.
    assert len(used) == 4 * streams
    assert max(used[::2]) < EVENTS_PER_TURN
    for hearer in hearers:
        heard = [pb.SignalingResponse.FromString(frame).notification for frame in hearer.outbox.take(1 << 40)]
        kinds = [event.WhichOneof("notification") for event in heard]
        assert (kinds.count("peer_joined"), kinds.count("peer_left")) == (streams, streams)
    for call in calls:
        call.raw.cancel()
    await until(lambda: len(served.mounted._turns) == 0)
