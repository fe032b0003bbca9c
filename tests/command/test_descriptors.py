"""A server that runs out of file descriptors, as a process: it refuses clients, says so, and answers its operator."""

import contextlib
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server_process import ServerProcess
from waiting import TIME_LIMIT_SECONDS, wait_until
from websocket_lines import HANDSHAKE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
GREETINGS = {"grpc": PREFACE, "ws": HANDSHAKE}
LIMIT = 128
CONNECTIONS = "sigbridge_connections"
REFUSED = 'sigbridge_refusals_total{protocol="tcp",reason="connections"}'
SHORT = 'sigbridge_refusals_total{protocol="tcp",reason="descriptors"}'

PATIENT = dict.fromkeys(("SIGNALING_HANDSHAKE_TIMEOUT_SEC", "SIGNALING_ANNOUNCE_TIMEOUT_SEC"), "100")
"""Settings by which clients that say no more stay for the whole test."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are set by prlimit")


@pytest.fixture
def serve() -> Iterator[Callable[..., ServerProcess]]:
    servers: list[ServerProcess] = []

    def start(**options: str) -> ServerProcess:
        servers.append(ServerProcess(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert "Traceback" not in "".join(server.stderr)


@pytest.fixture
def connect() -> Iterator[Callable[..., bool]]:
    """Connects a client of one way in, which stays where it is let in; returns whether it was."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []

        def greet(server: ServerProcess, way: str) -> bool:
            sock = stack.enter_context(
                socket.create_connection(("127.0.0.1", getattr(server, way)), TIME_LIMIT_SECONDS)
            )
            sockets.append(sock)
            with contextlib.suppress(ConnectionError):
                sock.sendall(GREETINGS[way])
                return sock.recv(1) != b""
            return False

        greet.sockets = sockets  # type: ignore[attr-defined]
        yield greet


def open_descriptors(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def is_well(server: ServerProcess) -> dict[str, float]:
    assert [server.page(path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
    return server.metrics()


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_probes_and_metrics_answer_while_clients_are_refused(serve, connect, engine):
    server = serve(ulimit=f"-n {LIMIT}", GRPC_ENGINE=engine, **PATIENT).ready()
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            # Nor do those who only connect to the operator's address take what is kept for it.
            stack.enter_context(socket.create_connection(("127.0.0.1", server.http), TIME_LIMIT_SECONDS))
        let_in = {way: sum(connect(server, way) for _ in range(LIMIT)) for way in GREETINGS}
        metrics = is_well(server)
    if engine == "native":
        # Both ways in share what there is.
        assert sum(let_in.values()) == metrics["sigbridge_connections_limit"] == LIMIT - 64
        assert metrics[REFUSED] >= 2 * LIMIT - let_in["grpc"] - let_in["ws"]
        assert metrics[CONNECTIONS] == LIMIT - 64
    else:
        # The library's connections and ours have half each; only we count who is refused.
        assert let_in == dict.fromkeys(GREETINGS, (LIMIT - 64) // 2)
        assert metrics[REFUSED] >= LIMIT - let_in["ws"]
        assert metrics[CONNECTIONS] == metrics["sigbridge_connections_limit"] == (LIMIT - 64) // 2
    assert open_descriptors(server) < LIMIT
    assert server.said("too many connections: file descriptors allow no more, see RLIMIT_NOFILE")
    for sock in connect.sockets:
        sock.close()
    wait_until(lambda: server.metrics()[CONNECTIONS] == 0, "all to have left")
    for way in GREETINGS:
        wait_until(lambda way=way: connect(server, way), f"a newcomer on {way} to be let in")


def test_clients_that_find_no_descriptor_are_turned_away(serve, connect):
    """The limit falls to what the process has open, as if others of its files had used it up."""
    server = serve().ready()
    before = server.metrics()[SHORT]
    highest = max(int(opened.name) for opened in Path(f"/proc/{server.pid}/fd").iterdir())
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
    refused = [connect(server, way) for way in GREETINGS for _ in range(40)].count(False)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
    # Some were free below the highest.
    assert refused > 40
    assert (before, is_well(server)[SHORT]) == (0, refused)
    assert [connect(server, way) for way in GREETINGS] == [True, True]
    assert server.said("no connection can be accepted: Too many open files")


def test_clients_wait_where_not_even_one_can_be_turned_away(serve):
    """The limit falls far below what the process has open, so that no descriptor can be had for anything."""
    server = serve().ready()
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (8, hard))
    with contextlib.ExitStack() as stack:
        waiting = []
        for way, greeting in GREETINGS.items():
            address = ("127.0.0.1", getattr(server, way))
            waiting.append(stack.enter_context(socket.create_connection(address, TIME_LIMIT_SECONDS)))
            waiting[-1].sendall(greeting)
        wait_until(lambda: server.said("no connection can be accepted: Too many open files"), "the log to say it")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert all(sock.recv(1) for sock in waiting)
    is_well(server)


def test_the_soft_limit_is_raised_to_the_hard_one(serve):
    server = serve(ulimit="-S -n 100").ready()
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2


def test_more_connections_than_files_are_one_warning(serve):
    server = serve(ulimit=f"-n {LIMIT}", SIGNALING_MAX_CONNECTIONS="500", GRPC_JSON_LOGGING="true").ready()
    server.stop()
    told = [line for line in server.log() if "file descriptors" in line["event"]]
    assert [(line["level"], line["variable"], line["set"], line["limit"]) for line in told] == [
        ("warning", "SIGNALING_MAX_CONNECTIONS", 500, LIMIT - 64)
    ]


def test_with_too_few_files_there_is_one_line_and_no_server(serve):
    server = serve(ulimit="-n 70")
    assert server.wait() == 1
    assert server.stdout == []
    assert server.stderr[-1] == (
        "sigbridge: the process may open 70 files: expected 80 or more (RLIMIT_NOFILE: ulimit -n, LimitNOFILE)\n"
    )
