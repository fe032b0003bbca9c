"""The demo for real: its pairings, and every way in which it can end."""

import asyncio
import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from page_commands import ROOT, commands, shell
from sigbridge_command import demo
from sigbridge_command.demo_flow import Report, drawn, heading
from waiting import TIME_LIMIT_SECONDS

pytest.importorskip("aiortc")

COMMAND = [sys.executable, "-m", "sigbridge_command", "demo", "--pairing"]


class Mark:
    """A word in the environment of a process and of all that it starts, by which they are found again."""

    def __init__(self):
        self.word = f"SIGBRIDGE_TEST_MARK={secrets.token_hex(8)}"
        name, _, value = self.word.partition("=")
        self.environment = os.environ | {name: value, "CI": "true"}

    def bearers(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and self.word.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


@pytest.fixture
def mark():
    mark = Mark()
    yield mark
    for process_id in mark.bearers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


@contextlib.contextmanager
def watched(process_ids: list[int]) -> Iterator[list[int]]:
    """Descriptors (pidfds) of these processes, of those that run still: some are a library's, and soon end."""
    process_fds = []
    try:
        for process_id in process_ids:
            with contextlib.suppress(ProcessLookupError):
                process_fds.append(os.pidfd_open(process_id))
        yield process_fds
    finally:
        for process_fd in process_fds:
            os.close(process_fd)


def ended_within(process_fds: list[int], seconds: float) -> bool:
    """Returns True if all of these processes (pidfds) end in time."""
    left = set(process_fds)
    poll = select.poll()
    for process_fd in left:
        poll.register(process_fd, select.POLLIN)
    while left:
        ready = poll.poll(seconds * 1000)
        if not ready:
            return False
        for process_fd, _ in ready:
            poll.unregister(process_fd)
            left.discard(process_fd)
    return True


# Each protocol on each side; a side does not know the other's.
@pytest.mark.parametrize(
    "pairing",
    [
        "grpc-websocket",
        "websocket-grpc",
        *(pytest.param(same, marks=pytest.mark.soak) for same in ("grpc-grpc", "websocket-websocket")),
    ],
)
def test_bytes_come_through_whoever_speaks_what(pairing, mark):
    done = subprocess.run(
        [*COMMAND, pairing],
        env=mark.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()

    def first(*words: str) -> int:
        return next(number for number, line in enumerate(lines) if all(word in line for word in words))

    names = {"grpc": "gRPC", "websocket": "WebSocket"}
    caller, callee = pairing.split("-")
    assert first(f"caller ({names[caller]})", "server", f"callee ({names[callee]})") < first("announce caller")
    steps = [
        first("│── offer, ", "►│   "),
        first("│   ", "│── offer, ", "►│"),
        first("◄", "─ answer, ", "──│"),
        first("data channel open"),
        first("══ 256 bytes", "►│"),
        first("│◄═", "256 bytes"),
    ]
    assert steps == sorted(steps)
    assert first("ice_candidate, port ") < first("data channel open")
    assert "256 bytes came through each way" in lines[-1]
    assert mark.bearers() == []


async def test_the_readme_s_commands_start_it():
    demos = [line for line in commands(ROOT / "README.md") if "demo" in line]
    assert demos == ["make demo PAIRING=browser-grpc", "make demo"]
    # The other one is for tests that have a browser.
    async with shell(demos[1]) as running:
        assert await running.ended() == 0, running.stderr
    assert "gRPC and WebSocket: 256 bytes came through each way" in running.stdout


def test_it_goes_on_where_nobody_reads_what_it_prints(mark):
    command_line = [*COMMAND, "websocket-websocket"]
    with subprocess.Popen(
        command_line, env=mark.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.readline()
            running.stdout.close()
            assert running.stderr.read() == ""
            assert running.wait(TIME_LIMIT_SECONDS) == 0
        finally:
            running.kill()


@pytest.mark.parametrize("pairing", ["grpc-websocket", "browser-grpc"])
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_outlives_the_demo(number, exit_code, pairing, mark):
    with subprocess.Popen(
        [*COMMAND, pairing],
        env=mark.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            assert "server: gRPC on 127.0.0.1:" in running.stdout.readline()
            if pairing == "browser-grpc":
                while "announce backend" not in running.stdout.readline():
                    pass
            with watched(mark.bearers()) as process_fds:
                assert len(process_fds) >= 2
                running.send_signal(number)
                assert ended_within(process_fds, TIME_LIMIT_SECONDS)
            assert running.wait(TIME_LIMIT_SECONDS) == exit_code
        finally:
            running.kill()


def test_processes_are_started_without_a_fork_that_runs_handlers():
    # Those of gRPC, where a process has used it, end the new process now and then.
    forks = []
    os.register_at_fork(before=lambda: forks.append(os.getpid()))
    child = demo.ServerChild("server")

    async def start():
        async with child.running(sys.executable, "-c", "import os; print(os.getppid())"):
            await child._stdout_ended

    asyncio.run(start())
    assert forks == []


def test_without_aiortc_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiortc", None)
    assert demo.run_demo(("grpc", "websocket")) == 1
    assert capsys.readouterr().err == "sigbridge demo: needs aiortc: pip install 'sigbridge[demo]'\n"


def test_a_server_that_does_not_start_is_told_with_its_last_words(monkeypatch, capsys):
    monkeypatch.setattr(demo, "SERVE", (sys.executable, "-c", "import sys; sys.exit('no port is free')"))
    assert demo.run_demo(("grpc", "websocket")) == 1
    assert capsys.readouterr().err == "sigbridge demo: the server ended with exit code 1\n  no port is free\n"


def test_a_server_that_says_nothing_is_not_waited_for_without_end(monkeypatch, capsys):
    monkeypatch.setattr(demo, "SERVE", (sys.executable, "-c", "import signal; signal.pause()"))
    assert demo.run_demo(("grpc", "websocket"), time_limit_seconds=0.2) == 1
    assert capsys.readouterr().err == "sigbridge demo: no bytes came through within 0.2 s\n"


def test_a_peer_that_fails_ends_the_demo(monkeypatch, capsys):
    listening = "import signal; print('gRPC listening on 127.0.0.1:9'); print('WebSocket listening on 127.0.0.1:9'"
    monkeypatch.setattr(demo, "SERVE", (sys.executable, "-c", listening + ", flush=True); signal.pause()"))
    assert demo.run_demo(("websocket", "websocket")) == 1
    error = capsys.readouterr().err
    assert error.startswith("sigbridge demo: the call")
    assert "ended with exit code 1 and without its bytes" in error


def test_a_line_of_the_flow_shows_time_direction_and_text():
    assert heading("caller (gRPC)", "callee (gRPC)").split() == ["caller", "(gRPC)", "server", "callee", "(gRPC)"]
    sent = drawn(Report(10.0123, "caller", "sent", "offer"), 10.0)
    assert sent.startswith("   12.3 ms  │── offer ─")
    assert "►│   " in sent
    received = drawn(Report(10.0, "callee", "received", "offer"), 10.0)
    assert received.endswith("─►│")
    assert "│── offer ─" in received
    assert drawn(Report(10.0, "callee", "sent", "answer"), 10.0).endswith("─ answer ──│")
    assert len({len(sent), len(received), len(drawn(Report(10.0, "caller", "bytes", "5 bytes"), 10.0))}) == 1
