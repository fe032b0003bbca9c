"""`sigbridge serve` as a process: what it prints, how it exits, and what it makes of signals."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from called import called
from certificates import Authority
from processes import clean_environment
from server_process import ports_of
from sigbridge import Code, ConnectionClosed, SettingError, SigbridgeError, SignalingError
from sigbridge_bench.errors import BenchError
from sigbridge_client import UrlError, connect
from sigbridge_command import command
from sigbridge_command.errors import UsageError
from sigbridge_net.errors import AccessError, ListenError
from waiting import TIME_LIMIT_SECONDS
from websocket_lines import HANDSHAKE

GRACE_SECONDS = 2


def environment(**settings: str) -> dict[str, str]:
    addresses = dict.fromkeys(("GRPC_BIND_ADDRESS", "WS_BIND_ADDRESS"), "127.0.0.1:0") | {"HTTP_BIND_ADDRESS": "off"}
    return clean_environment(**addresses | {"SIGNALING_SHUTDOWN_GRACE_SEC": str(GRACE_SECONDS)} | settings)


class Running:
    """A server in a process of its own."""

    def __init__(self, process):
        self.process = process
        self.ports = {}

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.ports['WebSocket']}"

    @property
    def grpc(self) -> str:
        return f"grpc://127.0.0.1:{self.ports['gRPC']}"

    async def ready(self) -> None:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            self.ports = await ports_of(self.process)

    async def ended(self) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()


@pytest.fixture
async def run():
    """Run `sigbridge serve`; what still runs at the end is killed."""
    started = []

    async def run(*arguments: str, **settings: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sigbridge_command",
            "serve",
            *arguments,
            env=environment(**settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Running(process)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
async def running(run):
    server = await run()
    await server.ready()
    return server


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def one_line(errors: str) -> str:
    assert errors.count("\n") == 1, errors
    assert errors.startswith("sigbridge: ")
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize(
    ("option", "engine"), [("--grpc", "native"), ("--grpc", "grpcio"), ("--ws", "native"), ("--http", "native")]
)
async def test_one_taken_port_of_a_list_is_one_line_and_exit_code_1(run, taken, option, engine, tmp_path):
    server = await run(option, f"unix:{tmp_path}/given-back,127.0.0.1:{taken}", GRPC_ENGINE=engine)
    code, errors = await server.ended()
    assert code == 1
    variable = f"{option.removeprefix('--').upper()}_BIND_ADDRESS"
    said = one_line(errors)
    assert said == f"sigbridge: cannot listen on 127.0.0.1:{taken}: Address already in use ({variable})\n"
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a name is enough


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRPC_BIND_ADDRESS", "nowhere"),
        ("WS_BIND_ADDRESS", "127.0.0.1:99999"),
        ("SIGNALING_PING_INTERVAL_SEC", "soon"),
        ("SIGNALING_MAX_SESSIONS", "0"),
        ("SIGNALING_LOG_LEVEL", "loud"),
        ("SIGNALING_TLS_CERT_FILE", "cert.pem"),
    ],
)
async def test_a_bad_setting_is_one_line_and_exit_code_1(capsys, name, value):
    code, _, errors = await called(capsys, "serve", **{name: value})
    assert code == 1
    assert ("SIGNALING_TLS_KEY_FILE" if name == "SIGNALING_TLS_CERT_FILE" else name) in one_line(errors)


async def test_a_bad_option_is_one_line_and_exit_code_1(capsys):
    code, _, errors = await called(capsys, "serve", "--grpc", "nowhere")
    assert code == 1
    assert "'nowhere'" in one_line(errors)


async def test_a_certificate_that_is_none_is_one_line_and_exit_code_1(run, tmp_path):
    path = str(tmp_path / "missing.pem")
    code, errors = await (await run(SIGNALING_TLS_CERT_FILE=path, SIGNALING_TLS_KEY_FILE=path)).ended()
    assert code == 1
    assert path in one_line(errors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_server(running, number):
    running.process.send_signal(number)
    code, errors = await running.ended()
    assert code == 0
    assert "Traceback" not in errors


async def test_a_signal_tells_both_protocols(running):
    clients = [await connect(running.grpc, resume=False), await connect(running.ws, resume=False)]
    for count, client in enumerate(clients):
        await client.announce(str(count))
    running.process.send_signal(signal.SIGTERM)
    for client in clients:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            _ = [event async for event in client.events()]
        assert (client.closed.reason, client.closed.reconnect) == ("draining", True)
        await client.close()
    code, errors = await running.ended()
    assert code == 0
    assert "Traceback" not in errors


async def stall(server: Running) -> list:
    """A client on each protocol that is being sent more than it reads, and the one that sends."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", server.ports["WebSocket"]))
    payload = b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"stalled"},"id":0}'
    await loop.sock_sendall(sock, HANDSHAKE + b"\x81" + bytes([0x80 | len(payload)]) + bytes(4) + payload)
    sender = await connect(server.ws, resume=False)
    await sender.announce("sender")
    stopped = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED, server.grpc, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        assert await stopped.stdout.readline() == b"here\n"
    stopped.send_signal(signal.SIGSTOP)
    for name in ("stalled", "stopped"):
        with contextlib.suppress(SignalingError):
            for _ in range(200):
                await sender.offer(name, "x" * 100_000)
    return [sock, sender, stopped]


STOPPED = """
import asyncio, sys
from sigbridge_client import connect
async def main():
    client = await connect(sys.argv[1], resume=False)
    await client.announce("stopped")
    print("here", flush=True)
    async for event in client.events(): pass
asyncio.run(main())
"""


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_signal_ends_a_server_with_stalled_clients(run, signals):
    grace = GRACE_SECONDS if signals == 1 else 600
    server = await run(SIGNALING_SHUTDOWN_GRACE_SEC=str(grace), SIGNALING_CLOSE_TIMEOUT_SEC="300")
    await server.ready()
    sock, sender, stopped = await stall(server)
    try:
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            # Those who read are told before anything else ends.
            _ = [event async for event in sender.events()]
        assert sender.closed.reason == "draining"
        if signals == 2:
            assert server.process.returncode is None
            server.process.send_signal(signal.SIGTERM)
        code, errors = await server.ended()
        assert code == 0
        assert "Traceback" not in errors
    finally:
        sock.close()
        await sender.close()
        stopped.kill()
        await stopped.communicate()


async def test_a_signal_ends_a_busy_server(running):
    clients = [await connect(running.ws, resume=False), await connect(running.grpc, resume=False)]
    for count, client in enumerate(clients):
        await client.announce(str(count))

    async def talk(client, to: str) -> int:
        sent = 0
        with contextlib.suppress(Exception):
            while True:
                await client.offer(to, "x" * 1000)
                sent += 1
        return sent

    talks = [asyncio.create_task(talk(client, to)) for client, to in zip(clients, "10", strict=True)]
    await clients[0].health()
    running.process.send_signal(signal.SIGTERM)
    code, errors = await running.ended()
    assert code == 0
    assert "Traceback" not in errors
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        assert min(await asyncio.gather(*talks)) >= 0
    # grpc.aio loses the status of a stream that ends while it writes.
    for client, words in zip(clients, (("draining",), ("draining", "connection_lost")), strict=True):
        assert client.closed.reason in words
        assert client.closed.reconnect
        await client.close()


def test_the_version_and_the_help_are_printed(capsys):
    for option in ("--version", "--help"):
        with pytest.raises(SystemExit) as exit_:
            command.main([option])
        assert exit_.value.code == 0
        assert "sigbridge" in capsys.readouterr().out


@pytest.mark.parametrize("bug", [ValueError("bug"), TypeError("bug"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bug")])
def test_a_bug_is_a_traceback(monkeypatch, bug):
    def run(_):
        raise bug

    monkeypatch.setattr(command, "_version", run)
    with pytest.raises(type(bug)) as raised:
        command.main(["version"])
    assert raised.value is bug


@pytest.mark.parametrize(
    "mistake",
    [
        SigbridgeError("that"),
        UsageError("that"),
        SettingError("that"),
        ListenError("that"),
        AccessError("that"),
        UrlError("that"),
        BenchError("that"),
        SignalingError(Code.NOT_FOUND, "that"),
        OSError("that"),
    ],
)
def test_a_mistake_is_one_line(monkeypatch, capsys, mistake):
    def run(_):
        raise mistake

    monkeypatch.setattr(command, "_version", run)
    assert command.main(["version"]) == 1
    assert capsys.readouterr() == ("", "sigbridge: that\n")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"GRPC_BIND_ADDRESS=a\0b:1\n"])
def test_a_file_of_variables_that_is_no_text_is_one_line(capsys, tmp_path, content):
    file = tmp_path / "prod.env"
    file.write_bytes(content)
    assert command.main(["settings", "--env-file", str(file)]) == 1
    assert capsys.readouterr() == (
        "",
        f"sigbridge: --env-file is {str(file)!r}: expected a file of NAME=VALUE lines\n",
    )


async def test_a_name_that_no_listener_can_have_is_one_line(capsys):
    code, _, errors = await called(capsys, "serve", "--ws", "a..b:1")
    assert code == 1
    assert "WS_BIND_ADDRESS is 'a..b:1': expected addresses" in one_line(errors)


async def test_what_opentelemetry_refuses_is_one_line(run):
    for name, value in (("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "few"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "999999")):
        code, errors = await (await run(**{"SIGNALING_TRACING": "true", name: value})).ended()
        assert code == 1
        assert "SIGNALING_TRACING is true, and a variable of OpenTelemetry is wrong: " in one_line(errors)


def test_no_command_is_a_mistake(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main([])
    assert exit_.value.code == 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The files of a certificate for this machine and of its key."""
    authority = Authority(tmp_path_factory.mktemp("tls"), "localhost")
    return Path(authority.file), Path(authority.key_file)


async def test_tls_on_both_ports(run, certificate):
    cert, key = certificate
    server = await run(SIGNALING_TLS_CERT_FILE=str(cert), SIGNALING_TLS_KEY_FILE=str(key))
    await server.ready()
    trusted = cert.read_bytes()
    clients = [
        await connect(server.grpc.replace("grpc:", "grpcs:"), resume=False, root_certificates=trusted),
        await connect(server.ws.replace("ws:", "wss:"), resume=False, root_certificates=trusted),
    ]
    for count, client in enumerate(clients):
        await client.announce(str(count))
    await clients[0].offer("1", "x" * 100_000)
    await clients[1].offer("0", "x" * 100_000)
    with pytest.raises(ConnectionClosed):
        await connect(server.ws)
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            assert "offer" in [event.kind async for event in client.events()]
        assert client.closed.reason == "draining"
        await client.close()
    code, errors = await server.ended()
    assert code == 0
    assert "Traceback" not in errors


def test_an_env_file_without_a_name_is_a_mistake(capsys):
    """A variable of a shell that is not set must not start a server without its tokens."""
    assert command.main(["settings", "--env-file", ""]) == 1
    assert capsys.readouterr().err == "sigbridge: --env-file is '': expected a file of NAME=VALUE lines\n"
