"""The page about embedding: its programs run as they stand there."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY, generate_latest

from sigbridge import Code, Hub, Settings, SignalingError
from sigbridge_client import ConnectionClosed, connect
from sigbridge_grpc.interceptors import interceptors
from sigbridge_grpc.mount import add_signaling, server_options
from sigbridge_net.clock import read_clock
from sigbridge_server.metrics import HubCollector
from waiting import TIME_LIMIT_SECONDS, until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "embedding.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def program(word: str) -> str:
    """The one program of the page that has this word."""
    (found,) = (text for text in PROGRAMS if word in text)
    return found


def names(word: str) -> dict[str, Any]:
    """Names that a program of the page defines."""
    defined: dict[str, Any] = {}
    exec(compile(program(word), str(PAGE), "exec"), defined)
    return defined


def test_every_program_is_tested_here():
    tested = (
        *("asyncio.run(main())", "def make_server", "def mount_on_both", "def publish", "class Accounts"),
        "class Directory",
        "def serve_those_of_files",
    )
    assert sorted(PROGRAMS) == sorted(program(word) for word in tested)


async def test_the_whole_server_runs_and_ends(tmp_path):
    path = tmp_path / "host.py"
    path.write_text(program("asyncio.run(main())"), encoding="utf-8")
    environment = os.environ | {"GRPC_BIND_ADDRESS": "127.0.0.1:0", "GRPC_AUTH_TOKENS": "dev-token"}
    with subprocess.Popen(
        [sys.executable, path], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().removeprefix("listening on port ").strip()
            target = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(target) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                request = health_pb2.HealthCheckRequest(service="remotemedia.v1.webrtc.WebRtcSignaling")
                assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(ConnectionClosed):
                await connect(f"grpc://{target}")
            async with (
                await connect(f"grpc://{target}", resume=False, token="dev-token") as alice,
                await connect(f"grpc://{target}", resume=False, token="dev-token") as bob,
            ):
                await alice.announce("alice")
                await bob.announce("bob")
                await alice.offer("bob", "v=0")
                process.send_signal(signal.SIGTERM)
                assert [type(event).__name__ async for event in bob.events()] == ["PeerJoined", "OfferReceived"]
                assert bob.closed is not None
                assert (bob.closed.reason, bob.closed.reconnect) == ("draining", True)
            assert process.wait(TIME_LIMIT_SECONDS) == 0
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


async def test_options_and_interceptors_of_the_host_are_kept():
    seen = []

    class Counting(grpc.aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(details.method)
            return await continuation(details)

    settings = Settings(auth_tokens=("token",))
    server = names("def make_server")["make_server"](settings, [("grpc.max_send_message_length", 1)], [Counting()])
    mounted = add_signaling(server, Hub(settings, read_clock()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        # Of two options with one name the first counts, which is the host's: one byte is too little for any reply.
        with pytest.raises(ConnectionClosed):
            await connect(f"grpc://127.0.0.1:{port}")
        async with await connect(f"grpc://127.0.0.1:{port}", resume=False, token="token") as alice:
            with pytest.raises((ConnectionClosed, SignalingError)):
                await alice.announce("alice")
        assert set(seen) == {"/remotemedia.v1.webrtc.WebRtcSignaling/Signal"}
    finally:
        await mounted.drain(1)
        await server.stop(0)


async def test_one_hub_on_two_servers_lets_their_clients_meet():
    hub = Hub(Settings(), read_clock())
    servers = [grpc.aio.server(options=server_options(hub.settings)) for _ in range(2)]
    timer, mounts = names("def mount_on_both")["mount_on_both"](hub, *servers)
    ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
    for server in servers:
        await server.start()
    timer.start()
    try:
        inner, outer = [await connect(f"grpc://127.0.0.1:{port}") for port in ports]
        async with inner as alice, outer as bob:
            await alice.announce("alice")
            assert (await bob.announce("bob")).other_peers == ("alice",)
            await bob.offer("alice", "v=0")
    finally:
        for mounted in mounts:
            await mounted.drain(1)
        timer.stop()
        for server in servers:
            await server.stop(0)


def test_the_hub_publishes_its_metrics_beside_the_hosts():
    before = set(REGISTRY._collector_to_names)
    names("def publish")["publish"](Hub(Settings(), read_clock()))
    try:
        assert b"grpc_webrtc_signaling_peers_total 0.0" in generate_latest(REGISTRY)
    finally:
        for collector in set(REGISTRY._collector_to_names) - before:
            assert isinstance(collector, HubCollector)
            REGISTRY.unregister(collector)


@pytest.fixture
async def mount():
    """Serves with an authenticator; the target, and the hub."""
    async with AsyncExitStack() as stack:

        async def serve(authenticator: Any, hub: Hub) -> str:
            entrance = interceptors(authenticator, hub.settings)
            server = grpc.aio.server(options=server_options(hub.settings), interceptors=entrance)
            mounted = add_signaling(server, hub)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, 0)
            stack.push_async_callback(mounted.drain, 1)
            return f"grpc://127.0.0.1:{port}"

        yield serve


async def test_an_authenticator_of_ones_own(mount: Any) -> None:
    url = await mount(names("class Accounts")["Accounts"](), Hub(Settings(), read_clock()))
    with pytest.raises(ConnectionClosed):
        await connect(url, token="token-of-carol")
    async with await connect(url, token="token-of-alice") as alice:
        with pytest.raises(SignalingError, match="Peer ID mismatch") as refused:
            await alice.announce("bob", room="lobby")
        assert refused.value.code is Code.PERMISSION_DENIED
        with pytest.raises(SignalingError, match="Room mismatch"):
            await alice.announce("alice")
        await alice.announce("alice:2", room="lobby")
        with pytest.raises(SignalingError, match="Right missing: list"):
            await alice.list_peers()
        renewed = await alice.authenticate("token-of-alice")
        assert renewed.subject == "alice"
        assert renewed.expires_at is not None
        with pytest.raises(SignalingError, match="Subject mismatch"):
            await alice.authenticate("token-of-bob")


async def test_an_authenticator_that_looks_something_up(mount: Any) -> None:
    asked = []

    async def owner_of(token: str) -> str | None:
        asked.append(token)
        await asyncio.sleep(0)
        return {"token-of-alice": "alice"}.get(token)

    url = await mount(names("class Directory")["Directory"](owner_of), Hub(Settings(), read_clock()))
    with pytest.raises(ConnectionClosed) as refused:
        await connect(url, token="token-of-carol")
    assert refused.value.reason == "unauthenticated"
    async with await connect(url, token="token-of-alice") as alice:
        with pytest.raises(SignalingError, match="Peer ID mismatch"):
            await alice.announce("bob")
        await alice.announce("alice")
    assert asked[:2] == ["token-of-carol", "token-of-alice"]


async def test_a_host_follows_the_files_of_its_tokens(tmp_path):
    file = tmp_path / "tokens"
    file.write_text('{"token": "of-alice", "subject": "alice"}')
    settings = Settings(tokens_file=str(file))
    hub = Hub(settings, read_clock())
    server, reloader = names("def serve_those_of_files")["serve_those_of_files"](settings, hub)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reloader.start()
    try:
        async with await connect(f"grpc://127.0.0.1:{port}", token="of-alice") as alice:
            await alice.announce("alice")
            file.write_text("# nobody\n")
            await until(lambda: alice.closed)
            assert alice.closed is not None
            assert alice.closed.reason == "revoked"
    finally:
        reloader.stop()
        await server.stop(0)
