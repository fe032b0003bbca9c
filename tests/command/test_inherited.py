"""Descriptors that systemd hands over: which are taken, which are said, and which end the start."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import pytest

from processes import clean_environment
from sigbridge_client import connect
from sigbridge_command.inherited import inherited_sockets
from sigbridge_net.errors import ListenError
from waiting import TIME_LIMIT_SECONDS

ACTIVATE = """
import os, sys
given = [int(word) for word in sys.argv[1].split(",")]
# Away from where they are to be.
away = [os.dup2(fd, 100 + at) for at, fd in enumerate(given)]
for at, fd in enumerate(away):
    os.dup2(fd, 3 + at)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Program that does what systemd does between fork and exec."""


@contextlib.contextmanager
def activated(sockets, names, **settings):
    """A `sigbridge serve` that systemd would have started with these sockets."""
    descriptors = [sock.fileno() for sock in sockets]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", ACTIVATE, ",".join(map(str, descriptors)), names),
            *(sys.executable, "-m", "sigbridge_command", "serve"),
        ],
        env=clean_environment(
            **{"GRPC_BIND_ADDRESS": "127.0.0.1:0", "WS_BIND_ADDRESS": "127.0.0.1:0", "HTTP_BIND_ADDRESS": "off"}
            | settings
        ),
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process):
    """Its exit code, and all that it says."""
    process.terminate()
    out, errors = process.communicate(timeout=TIME_LIMIT_SECONDS)
    return process.returncode, out, errors


async def test_what_is_named_replaces_the_address_of_its_protocol(tmp_path):
    path = str(tmp_path / "ws")
    with contextlib.ExitStack() as stack:
        grpc_socket = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix_socket = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix_socket.bind(path)
        unix_socket.listen()
        more, strange = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        sockets = (grpc_socket, unix_socket, strange, more)
        # These addresses cannot be had, and are not asked for.
        taken = dict.fromkeys(("GRPC_BIND_ADDRESS", "WS_BIND_ADDRESS"), "203.0.113.1:1")
        with activated(sockets, "grpc:ws:strange:ws", **taken) as process:
            grpc, ws = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (grpc_socket, more))
            lines = [process.stdout.readline() for _ in range(3)]
            assert lines == [
                f"gRPC listening on {grpc}\n",
                f"WebSocket listening on unix:{path}\n",
                f"WebSocket listening on {ws}\n",
            ]
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                for url in (f"grpc://{grpc}", f"ws://{ws}", f"ws+unix:{path}"):
                    async with await connect(url) as client:
                        await client.announce("alice")
            code, _, errors = await asyncio.to_thread(ended, process)
        assert code == 0
        (line,) = [line for line in errors.splitlines() if "inherited descriptor of unknown name" in line]
        assert "descriptor=5" in line
        assert "fdname='strange'" in line
        assert (tmp_path / "ws").is_socket(), "the file is systemd's"


def test_an_engine_that_cannot_take_a_descriptor_does_not_start():
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        activated([sock], "grpc", GRPC_ENGINE="grpcio") as process,
    ):
        out, errors = process.communicate(timeout=TIME_LIMIT_SECONDS)
    assert (process.returncode, out) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("sigbridge: LISTEN_FDNAMES names a descriptor grpc, which GRPC_ENGINE=grpcio cannot take: ")


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_the_address_of_websocket_is_replaced_with_either_engine(engine):
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        activated([sock], "ws", GRPC_ENGINE=engine) as process,
    ):
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1] == f"WebSocket listening on 127.0.0.1:{sock.getsockname()[1]}\n"
        assert ended(process)[0] == 0


def test_a_descriptor_that_does_not_listen_ends_the_start():
    with socket.socket() as sock, activated([sock], "ws") as process:
        out, errors = process.communicate(timeout=TIME_LIMIT_SECONDS)
    assert (process.returncode, out) == (1, "")
    assert errors == "sigbridge: the descriptor 3 is not a listening socket (LISTEN_FDNAMES)\n"


def variables(pid=None, count="1", names="ws"):
    return {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names, "PATH": "/bin"}


@pytest.mark.parametrize(
    "environ",
    [{"PATH": "/bin"}, variables(pid=1), variables(count=""), variables(count="x"), variables(count="\u0661")],
)
def test_nothing_is_taken_that_is_not_handed_to_this_process(environ):
    assert inherited_sockets(environ, first=-1) == {}
    assert environ == {"PATH": "/bin"}


def test_a_descriptor_without_a_name_is_said(caplog):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        for names in ("", "sigbridge.socket"):
            assert inherited_sockets(variables(names=names), first=sock.fileno()) == {}
        assert not os.get_inheritable(sock.fileno())
    assert [record.fdname for record in caplog.records] == ["unknown", "sigbridge.socket"]


def test_what_is_no_socket_ends_the_start():
    reader, writer = os.pipe()
    try:
        with pytest.raises(ListenError, match=f"the descriptor {reader}, named ws, is not a socket: .*LISTEN_FDNAMES"):
            inherited_sockets(variables(), first=reader)
    finally:
        os.close(reader)
        os.close(writer)
