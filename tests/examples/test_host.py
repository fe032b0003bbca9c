"""The host for real: four services on one port, what they share, their limits and their end."""

import asyncio
import itertools
import json
import logging
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from pipeline_host import runner as runner_module
from pipeline_host.client import read_manifest, tone
from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.generated import pipeline_pb2_grpc as pb_grpc
from pipeline_host.host import SERVICE_NAMES, PipelineHost
from pipeline_host.pipeline import Pipeline
from sigbridge import Code, Instant, OfferReceived, PeerJoined, Settings, SignalingError
from sigbridge.auth import Credentials, Identity
from sigbridge.errors import unauthenticated
from sigbridge_client import ConnectionClosed, connect
from sigbridge_compat.scenarios import SCENARIOS
from sigbridge_compat.ways import way_by_url
from sigbridge_grpc.generated import webrtc_signaling_pb2 as signaling_pb
from sigbridge_grpc.generated import webrtc_signaling_pb2_grpc as signaling_pb_grpc
from sigbridge_net.errors import ListenError
from sigbridge_server.logs import configure_logging
from waiting import TIME_LIMIT_SECONDS, until

PASS = {"name": "pass", "nodes": [{"id": "out", "type": "pass_through"}]}
UPPER = {"name": "upper", "nodes": [{"id": "out", "type": "text.upper"}]}
WAIT = {"name": "wait", "nodes": [{"id": "out", "type": "test.wait"}]}


def item(**data: Any) -> pb.StreamPipelineRequest:
    return pb.StreamPipelineRequest(input=pb.Data(**data))


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


def samples(text: str) -> dict[str, float]:
    """`name{labels}` without what only the process knows, to value."""
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# Pipelines.


async def test_a_pipeline_is_executed(hosted):
    outputs = await hosted.execute(read_manifest("shout"), text="Hello.")
    assert outputs == {"both": pb.Data(text="HELLO! / hello.")}
    outputs = await hosted.execute(read_manifest("invoice"), text='{"item":{"price":2.5,"count":4},"tax_percent":20}')
    assert json_format.MessageToDict(outputs["gross"].json)["gross"] == 12
    outputs = await hosted.execute(read_manifest("telephone"), audio=tone(440).audio)
    audio = outputs["narrow"].audio
    assert (audio.sample_rate_hz, len(audio.samples)) == (8000, 4 * 8000)


@pytest.mark.parametrize(
    ("manifest", "data", "says"),
    [
        ({"nodes": [{"id": "n", "type": "nothing"}]}, {"text": ""}, "Node 'n' has the unknown type 'nothing'"),
        ({}, {"text": ""}, "The manifest has no nodes"),
        (UPPER, {}, "The input is empty: it must be text, JSON or audio"),
        (UPPER, {"audio": {"sample_rate_hz": 8000}}, "The input has 0 channels"),
        (UPPER, {"json": {"bool_value": True}}, "Node 'out' takes text, but got JSON"),
    ],
)
async def test_what_is_wrong_is_said(hosted, manifest, data, says):
    code, text = await refused(hosted.execute(manifest, **data))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in text


async def test_a_long_text_of_a_client_does_not_make_a_long_status(hosted):
    code, text = await refused(hosted.execute({"nodes": [{"id": "n", "type": "😀" * 10_000}]}, text=""))
    assert (code, len(text)) == (grpc.StatusCode.INVALID_ARGUMENT, 500)


async def test_a_fault_says_nothing_of_itself(hosted, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(Pipeline, "run", fail)
    assert await refused(hosted.execute(PASS, text="")) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "canary" in caplog.text


async def test_memory_is_bounded_for_one_pipeline_and_for_all(host_it):
    hosted = await host_it(max_memory_mb=10_000)
    blow = {"nodes": [{"id": "blow", "type": "text.replace", "params": {"old": "a", "new": "b" * 60_000}}]}
    code, text = await refused(hosted.execute(blow, text="a" * 1_000_000))
    assert (code, text.partition(" could")[0]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Node 'blow'")
    hosted.host.hub.degraded = True
    code, text = await refused(hosted.execute(PASS, text=""))
    assert (code, "GRPC_MAX_MEMORY_MB is 10000" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    with pytest.raises(ConnectionClosed):
        await connect(f"grpc://{hosted.target}")
    hosted.host.hub.degraded = False
    assert await hosted.execute(PASS, text="x")


async def test_a_call_that_takes_too_long_is_ended_and_signaling_goes_on_meanwhile(host_it, gate):
    hosted = await host_it(max_timeout_seconds=2)
    waiting = asyncio.create_task(refused(hosted.execute(WAIT, text="x")))
    await gate.arrival()
    async with await connect(f"grpc://{hosted.target}") as alice:
        assert (await alice.announce("alice")).peers_count == 0
        assert await waiting == (grpc.StatusCode.DEADLINE_EXCEEDED, "The call took longer than 2 s")
    calls = samples(await hosted.metrics())
    assert calls['pipeline_calls_total{"code": "DEADLINE_EXCEEDED", "method": "ExecutePipeline"}'] == 1
    # The thread is not free before its node is.
    assert calls["pipeline_running{}"] == 1
    gate.opened.set()


async def test_each_item_of_a_stream_has_the_whole_time_limit(host_it, gate):
    hosted = await host_it(max_timeout_seconds=2)
    idle = await hosted.stream(PASS)
    call = await hosted.stream(WAIT)
    await call.write(item(text="x"))
    assert await refused(call.read()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Item 0 took longer than 2 s")
    # Longer than the limit has passed by now, but not over an item.
    await idle.write(item(text="still here"))
    assert (await idle.read()).outputs[0].data.text == "still here"


async def test_when_too_many_wait_the_next_is_refused_at_once(host_it, gate, monkeypatch):
    monkeypatch.setattr(runner_module, "MOST_WAITING", 1)
    monkeypatch.setattr(runner_module.os, "cpu_count", lambda: 1)
    hosted = await host_it()
    first = asyncio.create_task(hosted.execute(WAIT, text="1"))
    await gate.arrival()
    second = await hosted.stream(WAIT)
    await second.write(item(text="2"))
    await until(lambda: hosted.host.runner._workers.count == 2)
    code, text = await refused(hosted.execute(PASS, text="3"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == "Too many pipelines are waiting (limit 2): try again later"
    gate.opened.set()
    assert (await first)["out"].text == "1"
    assert (await second.read()).outputs[0].data.text == "2"


async def test_what_a_client_that_has_gone_waited_for_is_never_begun(host_it, gate, monkeypatch):
    monkeypatch.setattr(runner_module.os, "cpu_count", lambda: 1)
    hosted = await host_it()
    first = asyncio.create_task(hosted.execute(WAIT, text="1"))
    await gate.arrival()
    gone = asyncio.create_task(hosted.execute(WAIT, text="2"))
    await until(lambda: hosted.host.runner._workers.count == 2)
    gone.cancel()
    await until(lambda: hosted.host.runner._workers.count == 1)
    gate.opened.set()
    await first
    assert not gate.arrived.acquire(blocking=False)


# Streams.


async def test_a_stream_answers_each_item_in_order_and_keeps_its_state(hosted):
    call = await hosted.stream(json_format.MessageToDict(read_manifest("telephone"), preserving_proto_field_name=True))
    whole = np.frombuffer(tone(440).audio.samples, dtype="<f4")
    pieces = np.array_split(whole, 20)
    for piece in pieces:
        audio = pb.Audio(sample_rate_hz=48000, channels=1, samples=piece.tobytes())
        await call.write(item(audio=audio))
    await call.done_writing()
    responses = [response async for response in call]
    assert [response.item for response in responses] == list(range(20))
    made = b"".join(response.outputs[0].data.audio.samples for response in responses)
    once = await hosted.execute(read_manifest("telephone"), audio=tone(440).audio)
    np.testing.assert_allclose(
        np.frombuffer(made, "<f4"), np.frombuffer(once["narrow"].audio.samples, "<f4"), atol=1e-6
    )
    assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_that_is_not_read_is_not_read_from_and_nothing_is_lost(hosted):
    """More than the connection's windows hold is written until a write waits; then everything comes, in order."""
    call = await hosted.stream(PASS)
    filler = "x" * 100_000
    written = 0
    waiting: asyncio.Future[Any] | None = None
    for number in itertools.count():
        write = asyncio.ensure_future(call.write(item(text=f"{number} {filler}")))
        await asyncio.wait((write,), timeout=1)
        written += 1
        if not write.done():
            waiting = write
            break
        assert number < 2000, "200 MB were taken from a client that reads nothing"
    assert waiting is not None
    for number in range(written):
        response = await call.read()
        assert (response.item, response.outputs[0].data.text.partition(" ")[0]) == (number, str(number))
    await waiting
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([item(text="x")], "The first message must hold the manifest"),
        ([pb.StreamPipelineRequest()], "The first message must hold the manifest"),
        (
            [pb.StreamPipelineRequest(manifest=pb.Manifest(nodes=[pb.Node(id="a", type="pass_through")]))] * 2,
            "There is a manifest already: a stream has one",
        ),
        (
            [
                pb.StreamPipelineRequest(manifest=pb.Manifest(nodes=[pb.Node(id="a", type="text.upper")])),
                item(json={"bool_value": True}),
            ],
            "Node 'a' takes text, but got JSON",
        ),
    ],
)
async def test_a_stream_that_is_wrong_ends(hosted, requests, says):
    stub: Any = pb_grpc.StreamingPipelineServiceStub(hosted.channel())
    call = stub.StreamPipeline(iter(requests))
    assert await refused(call.read()) == (grpc.StatusCode.INVALID_ARGUMENT, says)


async def test_a_stream_without_anything_ends_well(hosted):
    stub: Any = pb_grpc.StreamingPipelineServiceStub(hosted.channel())
    call = stub.StreamPipeline(iter(()))
    assert [response async for response in call] == []
    assert await call.code() is grpc.StatusCode.OK


# What the services share.


async def test_one_token_opens_all_four_services_and_health_needs_none(host_it):
    hosted = await host_it(auth_tokens=("one", "two"))
    channel = hosted.channel()
    health: Any = health_pb2_grpc.HealthStub(channel)
    for name in ("", *SERVICE_NAMES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    signaling: Any = signaling_pb_grpc.WebRtcSignalingStub(channel)
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    streaming: Any = pb_grpc.StreamingPipelineServiceStub(channel)
    manifest = json_format.ParseDict(PASS, pb.Manifest())

    async def reflect(metadata: Any) -> Any:
        # By an iterator, since a write to a call that has been refused already hides the status.
        requests = iter((reflection_pb2.ServerReflectionRequest(list_services=""),))
        return await reflection.ServerReflectionInfo(requests, metadata=metadata).read()

    async def stream(metadata: Any) -> Any:
        call = streaming.StreamPipeline(iter((pb.StreamPipelineRequest(manifest=manifest),)), metadata=metadata)
        return await call.read()

    for metadata in ((), bearer("three"), (("authorization", "one two"),)):
        for call in (
            hosted.execute(PASS, text="x", metadata=metadata),
            stream(metadata),
            signaling.GetPeers(signaling_pb.GetPeersRequest(), metadata=metadata),
            reflect(metadata),
        ):
            assert await refused(call) == (grpc.StatusCode.UNAUTHENTICATED, "Invalid or missing API token")
    for token in ("one", "two"):
        assert await hosted.execute(PASS, text="x", metadata=bearer(token))
        assert await stream(bearer(token)) is grpc.aio.EOF
        assert (await signaling.GetPeers(signaling_pb.GetPeersRequest(), metadata=bearer(token))).count == 0
        listed = (await reflect(bearer(token))).list_services_response.service
        assert {service.name for service in listed} >= {*SERVICE_NAMES, "grpc.health.v1.Health"}
        async with await connect(f"grpc://{hosted.target}", token=token) as alice:
            await alice.announce("alice")


async def test_an_authenticator_of_ones_own_says_who_may_be_which_peer(host_it):
    class Guests:
        def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
            if credentials.token is None or not credentials.token.startswith("guest-"):
                raise unauthenticated()
            name = credentials.token.removeprefix("guest-")
            return Identity(subject=name, peer_ids=frozenset({name}), rooms=frozenset({"lobby"}))

    hosted = await host_it(Guests())
    assert await hosted.execute(PASS, text="x", metadata=bearer("guest-alice"))
    assert (await refused(hosted.execute(PASS, text="x")))[0] is grpc.StatusCode.UNAUTHENTICATED
    async with await connect(f"grpc://{hosted.target}", token="guest-alice") as alice:
        for peer_id, room in (("bob", "lobby"), ("alice", "office")):
            with pytest.raises(SignalingError) as error:
                await alice.announce(peer_id, room=room)
            assert error.value.code is Code.PERMISSION_DENIED
        await alice.announce("alice", room="lobby")


async def test_one_metrics_page_has_pipelines_and_signaling(hosted):
    await hosted.execute(PASS, text="x")
    await refused(hosted.execute({}, text="x"))
    call = await hosted.stream(UPPER)
    await call.write(item(text="x"))
    await call.read()
    async with await connect(f"grpc://{hosted.target}") as alice:
        await alice.announce("alice")
        found = samples(await hosted.metrics())
    assert found["grpc_webrtc_signaling_peers_total{}"] == 1
    assert found["grpc_webrtc_signaling_streams_active{}"] == 1
    assert found['grpc_webrtc_signaling_messages_total{"type": "announce"}'] == 1
    assert found['pipeline_calls_total{"code": "OK", "method": "ExecutePipeline"}'] == 1
    assert found['pipeline_calls_total{"code": "INVALID_ARGUMENT", "method": "ExecutePipeline"}'] == 1
    assert found['pipeline_items_total{"method": "StreamPipeline"}'] == 1
    assert found['pipeline_open_calls{"method": "StreamPipeline"}'] == 1
    assert found['pipeline_item_seconds_count{"method": "ExecutePipeline"}'] == 1
    assert "process_resident_memory_bytes{}" in found
    assert "sigbridge_event_loop_lag_seconds{}" in found


async def test_one_log_format(host_it, tmp_path):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        try:
            settings = {"json_logging": True, "auth_tokens": ("canary",)}
            configure_logging(Settings(**settings), stream=log)
            hosted = await host_it(**settings)
            await hosted.execute({**PASS, "name": "two\nlines"}, text="x", metadata=bearer("canary"))
            async with await connect(f"grpc://{hosted.target}", token="canary") as alice:
                await alice.announce("alice")
            await hosted.close()
        finally:
            root.handlers[:], level = before
            root.setLevel(level)
        log.seek(0)
        text = log.read()
    lines = [json.loads(line) for line in text.splitlines()]
    by_event = {line["event"]: line for line in lines}
    assert by_event["pipeline ended"]["pipeline"] == "two\nlines"
    assert {line["logger"] for line in lines} >= {"pipeline_host", "sigbridge.session"}
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys()
    assert by_event["pipeline ended"].keys() >= {"method", "code", "seconds", "items"}
    assert by_event["session started"].keys() >= {"session", "protocol"}
    assert "canary" not in text


# Signaling on the host's port.


async def test_two_peers_offer_and_answer(hosted):
    url = f"grpc://{hosted.target}"
    async with await connect(url) as alice, await connect(url) as bob:
        await alice.announce("alice")
        await bob.announce("bob")
        heard = alice.events()
        assert (await anext(heard)).peer_id == "bob"
        offered = await alice.offer("bob", "v=0 alice")
        events = bob.events()
        assert isinstance(await anext(events), PeerJoined)
        assert await anext(events) == OfferReceived("alice", offered.offer_id, "v=0 alice", "offer")
        await bob.answer("alice", "v=0 bob")
        assert (await anext(heard)).sdp == "v=0 bob"


@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if not one.identities])
async def test_the_scenarios_hold_on_the_hosts_port(hosted, name):
    way = way_by_url("grpc", f"grpc://{hosted.target}")
    await SCENARIOS[name].run(way, way)


# The end.


async def test_a_drain_lets_calls_end_and_tells_streams_sessions_and_watchers(host_it, gate, monkeypatch):
    monkeypatch.setattr(runner_module.os, "cpu_count", lambda: 2)
    hosted = await host_it()
    # Its connection stands before the stop, after which none is accepted any more.
    stub: Any = pb_grpc.PipelineExecutionServiceStub(hosted.channel())
    manifest = json_format.ParseDict(PASS, pb.Manifest())
    await stub.ExecutePipeline(pb.ExecutePipelineRequest(manifest=manifest, input=pb.Data(text="x")))
    health: Any = health_pb2_grpc.HealthStub(hosted.channel())
    watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE_NAMES[0]))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    alice = await connect(f"grpc://{hosted.target}", resume=False)
    await alice.announce("alice")
    idle = await hosted.stream(PASS)
    busy = await hosted.stream(WAIT)
    await busy.write(item(text="in the stream"))
    await gate.arrival()
    executing = asyncio.create_task(hosted.execute(WAIT, text="in the call"))
    await until(lambda: hosted.host.runner._workers.count == 2)

    stopping = asyncio.create_task(hosted.stop())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await refused(idle.read()) == (grpc.StatusCode.UNAVAILABLE, "Server is draining: try again after a pause")
    assert [event async for event in alice.events()] == []
    assert alice.closed is not None
    assert alice.closed.reason == "draining"
    new = stub.ExecutePipeline(pb.ExecutePipelineRequest(manifest=manifest, input=pb.Data(text="x")))
    assert await refused(new) == (grpc.StatusCode.UNAVAILABLE, "Server is draining: try again after a pause")
    assert not stopping.done()

    gate.opened.set()
    assert (await executing)["out"].text == "in the call"
    assert (await busy.read()).outputs[0].data.text == "in the stream"
    assert (await refused(busy.read()))[0] is grpc.StatusCode.UNAVAILABLE
    await stopping
    await alice.close()


async def test_a_stop_is_over_within_its_grace_whatever_runs(host_it, gate):
    hosted = await host_it(shutdown_grace_seconds=0.2)
    executing = asyncio.create_task(refused(hosted.execute(WAIT, text="x")))
    await gate.arrival()
    # The node waits for longer than this.
    async with asyncio.timeout(TIME_LIMIT_SECONDS / 2):
        assert await hosted.host.stop() is False
    hosted.stopped = True
    assert (await executing)[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("taken", ["grpc_bind_address", "http_bind_address"])
async def test_an_address_that_is_taken_is_said(host_it, taken):
    hosted = await host_it()
    port = hosted.host.grpc_port if taken == "grpc_bind_address" else hosted.host.http_port
    addresses = {"grpc_bind_address": "127.0.0.1:0", "http_bind_address": "127.0.0.1:0", taken: f"127.0.0.1:{port}"}
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
        await PipelineHost(Settings(**addresses)).start()
