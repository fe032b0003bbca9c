"""stdout and stderr that nobody reads, or that are full, closed, or without a reader: what a server and other commands do."""

import asyncio
import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from processes import clean_environment
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS, wait_until

HOSTS = {"grpc": "127.0.0.1", "ws": "127.0.0.2", "http": "127.0.0.3"}
"""An address for each listener, by which its port is found where nobody can read it."""
LISTENING = "0A"
PIPE_BYTES = 4096


class Broken:
    """A stdout or stderr of a process that has something wrong with it."""

    def __init__(self, how):
        self.how = how
        self.fd = subprocess.DEVNULL
        self.reader = None
        self.said = bytearray()
        if how == "full":
            self.fd = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
        elif how in {"gone", "unread"}:
            self.reader, self.fd = os.pipe2(os.O_CLOEXEC)
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            if how == "gone":
                os.close(self.reader)
                self.reader = None
            else:
                # Nothing more goes into it, not even the first line.
                os.write(self.fd, b"-" * PIPE_BYTES)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.forget()
        if self.reader is not None:
            os.close(self.reader)

    def forget(self):
        """Leaves it to the process that has it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read_until(self, text, count):
        """Reads until a text has come so many times."""
        while self.said.count(text) < count:
            part = os.read(self.reader, 2**16)
            assert part, self.said
            self.said += part

    def all_lines(self):
        """Reads until the process has let go of it; returns all that was read."""
        while part := os.read(self.reader, 2**16):
            self.said += part
        return bytes(self.said).lstrip(b"-").decode().splitlines()


STREAMS = {"stdout": 1, "stderr": 2}


@contextlib.contextmanager
def started(*arguments, broken=None, **settings):
    """Runs the command; `broken` are its streams that are broken, the others are read at its end."""
    broken = broken or {}
    closed = " ".join(f"{STREAMS[name]}>&-" for name, one in broken.items() if one.how == "closed")
    streams = {name: broken[name].fd if name in broken else subprocess.PIPE for name in STREAMS}
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "sigbridge_command", *arguments],
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        **streams,
    )
    for one in broken.values():
        one.forget()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(broken, **settings):
    """A server that listens."""
    addresses = {f"{name.upper()}_BIND_ADDRESS": f"{host}:0" for name, host in HOSTS.items()}
    with started("serve", broken=broken, **addresses, **settings) as process:
        ports = wait_until(lambda: listening_ports(process), "the server listens everywhere")
        yield process, ports


def listening_ports(process):
    """The ports of a process by the names of their addresses, as soon as it has all; None until then."""
    assert process.poll() is None, process.communicate()
    sockets = set()
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(fd.readlink().name)
    if sum(name.startswith("socket:") for name in sockets) < len(HOSTS):
        # Reading the tables takes long where a run has left many connections.
        return None
    ports = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                host, port = fields[1].split(":")
                # grpcio's are of IPv6, with an address of IPv4 at their end.
                ports[".".join(map(str, reversed(bytes.fromhex(host[-8:]))))] = int(port, 16)
    return {name: ports[host] for name, host in HOSTS.items()} if ports.keys() >= set(HOSTS.values()) else None


async def sessions(ports, count):
    """So many sessions on each protocol, one after the other."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        for number in range(count):
            for scheme, name in (("grpc", "grpc"), ("ws", "ws")):
                async with await connect(f"{scheme}://{HOSTS[name]}:{ports[name]}") as client:
                    await client.announce(f"{scheme} {number}")
                    assert f"{scheme} {number}" in {peer.peer_id for peer in (await client.list_peers()).peers}


def target(process, fd):
    """The file behind a descriptor of a process."""
    return str(Path(f"/proc/{process.pid}/fd/{fd}").readlink())


def page(ports, path):
    connection = http.client.HTTPConnection(HOSTS["http"], ports["http"], timeout=TIME_LIMIT_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def dropped(ports):
    (line,) = (
        line for line in page(ports, "/metrics")[1].splitlines() if line.startswith("sigbridge_log_lines_dropped_total")
    )
    return float(line.split()[1])


@pytest.mark.parametrize("how", ["closed", "full", "gone", "unread"])
@pytest.mark.parametrize(
    ("names", "engine"),
    [
        (("stdout",), "native"),
        (("stderr",), "native"),
        (("stdout", "stderr"), "native"),
        # With the other engine nothing is printed in another way; its threads end in another way.
        (("stdout", "stderr"), "grpcio"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
async def test_a_server_serves_and_ends_as_ever(names, how, engine):
    with contextlib.ExitStack() as stack:
        broken = {name: stack.enter_context(Broken(how)) for name in names}
        settings = {"GRPC_ENGINE": engine, "SIGNALING_LOG_LEVEL": "debug"}
        process, ports = stack.enter_context(await asyncio.to_thread(lambda: serving(broken, **settings)))
        await sessions(ports, 3)
        for path in ("/healthz", "/readyz"):
            assert (await asyncio.to_thread(page, ports, path))[0] == 200
        if how in {"full", "gone"}:
            assert await asyncio.to_thread(dropped, ports) >= 1
        targets = {name: target(process, fd) for name, fd in STREAMS.items()}
        assert not any(one.startswith("socket:") for one in targets.values())
        assert all(targets[name] == "/dev/null" for name in names if how == "closed")
        process.send_signal(signal.SIGTERM)
        out, errors = await asyncio.to_thread(process.communicate, timeout=TIME_LIMIT_SECONDS)
        assert process.returncode == 0
        if "stdout" not in names:
            assert out.count(b" listening on ") == 3
        if "stderr" not in names:
            assert b"Traceback" not in errors
            assert errors.count(b"session ended") == 6
            assert errors.splitlines()[-1].endswith(b"stopped                        [sigbridge.server]")


def ignored(process):
    """The signals that a process ignores."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    return {number for number in signal.valid_signals() if mask >> number - 1 & 1}


def test_a_hangup_at_the_end_does_not_change_the_exit_code():
    with Broken("unread") as stderr, serving({"stderr": stderr}) as (process, _):
        process.send_signal(signal.SIGTERM)
        # The log, which nobody reads, keeps the process for a second.
        wait_until(lambda: signal.SIGTERM in ignored(process), "everybody is told")
        assert signal.SIGHUP in ignored(process)
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
        assert process.returncode == 0


async def test_a_log_that_is_read_late_has_every_line():
    with Broken("unread") as stderr, serving({"stderr": stderr}, GRPC_JSON_LOGGING="true") as (process, ports):
        await sessions(ports, 5)
        assert await asyncio.to_thread(dropped, ports) == 0
        # The last lines fit into the pipe: an end waits for a second only for who reads, who may be held up for longer.
        await asyncio.to_thread(stderr.read_until, b'"session ended"', 10)
        process.send_signal(signal.SIGTERM)
        said = await asyncio.to_thread(stderr.all_lines)
        assert await asyncio.to_thread(process.wait, TIME_LIMIT_SECONDS) == 0
        events = [json.loads(line)["event"] for line in said]
        assert events.count("session ended") == 10
        assert "stopped" in events


STUCK = """
import asyncio, os, signal, sys
from sigbridge_client import connect
async def main():
    client = await connect(sys.argv[1], resume=False)
    await client.announce("stopped")
    os.kill(os.getpid(), signal.SIGSTOP)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["closed", "full", "gone", "unread"])
def test_nor_is_an_end_held_up_that_leaves_clients_behind(how):
    keepalive = dict.fromkeys(("SIGNALING_PING_INTERVAL_SEC", "SIGNALING_PING_TIMEOUT_SEC"), "1000")
    settings = keepalive | {"GRPC_ENGINE": "grpcio", "SIGNALING_SHUTDOWN_GRACE_SEC": "0.5"}
    with (
        Broken(how) as stdout,
        Broken(how) as stderr,
        serving({"stdout": stdout, "stderr": stderr}, **settings) as (process, ports),
    ):
        url = f"grpc://{HOSTS['grpc']}:{ports['grpc']}"
        client = subprocess.Popen([sys.executable, "-c", STUCK, url], env=clean_environment())
        try:
            stat = Path(f"/proc/{client.pid}/stat")
            wait_until(lambda: stat.read_text().rpartition(") ")[2].startswith("T"), "the client stops")
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIME_LIMIT_SECONDS) == 0
        finally:
            client.kill()
            client.wait()


@pytest.mark.parametrize("how", ["closed", "full", "gone", "unread"])
def test_a_mistake_of_a_server_s_has_the_exit_code_1_whoever_hears_of_it(how):
    with Broken(how) as stderr, started("serve", "--grpc", "nowhere", broken={"stderr": stderr}) as process:
        out, _ = process.communicate(timeout=TIME_LIMIT_SECONDS)
        assert (process.returncode, out) == (1, b"")


SAYING = {
    "version": (("version",), 0),
    "--version": (("--version",), 0),
    "--help": (("--help",), 0),
    "settings": (("settings",), 0),
    "completion": (("completion", "bash"), 0),
}
"""Commands that say something on stdout, and their exit codes."""
REFUSED = {
    "a word that is none": (("nonsense",), 2),
    "nobody there": (("peers", "ws://127.0.0.1:1"), 1),
    "no file": (("settings", "--env-file", "/no/such/file"), 1),
}
"""Commands that say on stderr what is wrong."""


@pytest.mark.parametrize(
    ("command", "name", "how"),
    [
        # What each command says where nobody hears it. What is closed is opened before a command is looked at.
        *product(SAYING, ["stdout"], ["full", "gone"]),
        *product(REFUSED, ["stderr"], ["closed", "full", "gone"]),
        ("version", "stdout", "closed"),
        # Nothing is said there.
        *product(["version"], ["stderr"], ["closed", "full", "gone"]),
        *product(["nobody there"], ["stdout"], ["closed", "full", "gone"]),
    ],
)
def test_other_commands_end_without_a_traceback(command, name, how):
    arguments, code = (SAYING | REFUSED)[command]
    with Broken(how) as one, started(*arguments, broken={name: one}) as process:
        out, errors = process.communicate(timeout=TIME_LIMIT_SECONDS)
        if name == "stdout":
            assert b"Traceback" not in errors
            assert b"Exception ignored" not in errors
            if how == "full" and arguments[0] in {"version", "settings", "completion"} and code == 0:
                # Somebody wanted it, and does not have it.
                code = 1
                assert errors == b"sigbridge: [Errno 28] No space left on device\n"
        elif code == 0:
            assert out
        assert process.returncode == code


async def test_peers_and_check_and_listen_end_without_a_traceback():
    with serving({}) as (_, ports):
        url = f"ws://{HOSTS['ws']}:{ports['ws']}"
        async with asyncio.timeout(TIME_LIMIT_SECONDS), await connect(url) as alice:
            await alice.announce("alice")
            check = ("check", "--ws", url, "--only", "the_first_peer_finds_nobody")
            for how, failure in (("full", True), ("gone", False), ("closed", False)):
                # Of `check`, 1 says that a server differs.
                for arguments, code in ((("peers", url), int(failure)), (check, 2 * failure)):
                    with Broken(how) as one, started(*arguments, broken={"stdout": one}) as process:
                        _, errors = await asyncio.to_thread(process.communicate, timeout=TIME_LIMIT_SECONDS)
                        assert b"Traceback" not in errors
                        assert (process.returncode, arguments[0], how) == (code, arguments[0], how), errors
            # Of the peer that is here it has something to say.
            with Broken("gone") as one, started("listen", url, "--peer-id", "l", broken={"stdout": one}) as process:
                _, errors = await asyncio.to_thread(process.communicate, timeout=TIME_LIMIT_SECONDS)
                assert (process.returncode, errors) == (0, b"")


FORKING = """
import logging, os
from sigbridge import Settings
from sigbridge_server.logs import configure_logging
configure_logging(Settings())
logging.getLogger("x").info("parent")
for _ in range(3):
    logging.getLogger("x").info("again", extra={"remote": "192.0.2.1"})
child = os.fork()
logging.getLogger("x").info("after, in %s", "the child" if child == 0 else "the parent")
logging.shutdown()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


def log_of_host(code: str) -> bytes:
    """Runs a host's program to its end; returns what it wrote to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        stderr=subprocess.PIPE,
        timeout=TIME_LIMIT_SECONDS,
        check=True,
    )
    return done.stderr


def test_a_host_that_forks_logs_in_both_processes():
    log = log_of_host(FORKING)
    for text in (b"parent ", b"after, in the child ", b"after, in the parent "):
        assert log.count(b"] " + text) == 1, log
    # The first, and one line for the two others, which the parent has counted.
    assert log.count(b"] again ") == 2, log
    assert log.count(b" count=2 ") == 1, log


def test_a_host_s_last_lines_are_written_when_it_ends():
    code = "\n".join([*FORKING.splitlines()[:6], "for i in range(5000): logging.getLogger('x').info('line %d', i)"])
    log = log_of_host(code)
    assert log.count(b"] line ") == 5000
