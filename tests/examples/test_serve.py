"""The host as its users start it: a process, its client, its log, its end."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import Process, clean_environment
from waiting import TIME_LIMIT_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = EXAMPLES / "pipeline_host" / "README.md"
ADDRESSES = {"GRPC_BIND_ADDRESS": "127.0.0.1:0", "HTTP_BIND_ADDRESS": "127.0.0.1:0"}


class HostProcess(Process):
    """A pipeline host, on ports that the system chose."""

    def __init__(self, **settings: str) -> None:
        super().__init__(
            [sys.executable, "-m", "pipeline_host"], environment=clean_environment(**ADDRESSES | settings), cwd=EXAMPLES
        )

    def ready(self) -> None:
        """Waits until it listens everywhere."""
        wait_until(lambda: len(self.stdout) == 2 or not self.running, "the host's listening lines")
        ports = [re.fullmatch(r"(gRPC|HTTP) listening on 127\.0\.0\.1:(\d+)\n", line) for line in self.stdout]
        assert len(ports) == 2, self.stderr
        assert all(ports), self.stdout
        self.grpc_port, self.http_port = (match[2] for match in ports if match)

    def end(self) -> tuple[int, list[str]]:
        """Asks it to end; returns its exit code, and the lines of its log."""
        self.signal(signal.SIGTERM)
        return self.wait(), [line.removesuffix("\n") for line in self.stderr]


@pytest.fixture
def served() -> Iterator[HostProcess]:
    # Keepalive is longer than a test may take: nobody waits for it.
    keepalive = dict.fromkeys(("SIGNALING_PING_INTERVAL_SEC", "SIGNALING_PING_TIMEOUT_SEC"), "1000")
    host = HostProcess(GRPC_AUTH_TOKENS="dev-token,other", GRPC_JSON_LOGGING="true", **keepalive)
    try:
        host.ready()
        yield host
    finally:
        host.stop()


def run(
    command: str, served: HostProcess, *, limit_seconds: float = TIME_LIMIT_SECONDS
) -> subprocess.CompletedProcess[str]:
    """A command of the README, at the ports that this host has."""
    command = command.replace("127.0.0.1:50051", f"127.0.0.1:{served.grpc_port}").replace(
        ":9090", f":{served.http_port}"
    )
    command = command.replace("pipeline_host.client", f"pipeline_host.client --target 127.0.0.1:{served.grpc_port}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=EXAMPLES,
        env=os.environ | {"SIGBRIDGE_TOKEN": "dev-token", "PATH": path},
        capture_output=True,
        text=True,
        timeout=limit_seconds,
        check=False,
    )


def commands(beginning: str) -> list[str]:
    """The README's commands that begin so, in its order."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(beginning)]


def test_the_commands_of_the_readme_do_what_they_say(served):
    said = [run(command, served) for command in commands("python -m pipeline_host.client")]
    said += [run(command, served) for command in commands("printf") + commands("sigbridge peers")]
    assert [(done.returncode, done.stderr) for done in said] == [(0, "")] * 6
    assert [done.stdout for done in said[:2]] == [
        "both: HELLO! / hello.\n",
        'gross: {"gross": 12.0, "item": {"count": 4.0, "price": 2.5}, "net": 10.0, "tax_percent": 20.0}\n',
    ]
    assert re.fullmatch(r"narrow: 8000 samples at 8000 Hz, level 0\.35\d\n", said[2].stdout)
    assert said[3].stdout == "0 peers\n"
    assert said[4].stdout == "both: ONE! / one.\nboth: TWO! / two.\n"
    metrics = run(
        commands("curl")[0].replace("curl -s", f"{sys.executable} {Path(__file__).parent / 'fetch.py'}"), served
    )
    assert metrics.returncode == 0, metrics.stderr
    assert 'pipeline_calls_total{code="OK",method="ExecutePipeline"} 3.0' in metrics.stdout.splitlines()
    assert 'grpc_webrtc_signaling_messages_total{type="list_peers"} 2.0' in metrics.stdout.splitlines()

    code, log = served.end()
    assert code == 0
    lines = [json.loads(line) for line in log]
    assert [line["pipeline"] for line in lines if line["event"] == "pipeline ended"] == [
        "shout",
        "invoice",
        "telephone",
        "shout",
    ]
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    assert "dev-token" not in "".join(log)


def test_the_suite_passes_on_its_port(served):
    # It plays many scenarios, and a busy machine may let the host say nothing for seconds.
    done = run(f"{commands('sigbridge check')[0]} --patience 30", served, limit_seconds=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d{2,} passed, 0 failed$", done.stdout, flags=re.MULTILINE)
    code, log = served.end()
    assert code == 0
    lines = [json.loads(line) for line in log]
    assert {line["event"] for line in lines} >= {"session started", "session ended"}
    assert {"info"} == {line["level"] for line in lines}


def test_the_client_says_in_one_line_why_a_call_failed(served):
    done = run("python -m pipeline_host.client --token wrong execute shout --text x", served)
    assert (done.returncode, done.stderr) == (1, "UNAUTHENTICATED: Invalid or missing API token\n")


def streaming_client(served: HostProcess) -> subprocess.Popen[str]:
    """A client with a stream that stands."""
    streaming = subprocess.Popen(
        [sys.executable, "-m", "pipeline_host.client", "--target", f"127.0.0.1:{served.grpc_port}", "stream", "shout"],
        cwd=EXAMPLES,
        env=os.environ | {"SIGBRIDGE_TOKEN": "dev-token"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert streaming.stdin is not None
    assert streaming.stdout is not None
    streaming.stdin.write("one.\n")
    streaming.stdin.flush()
    assert streaming.stdout.readline() == "both: ONE! / one.\n"
    return streaming


def test_a_stopped_client_does_not_hold_up_the_end(served):
    with streaming_client(served) as streaming:
        try:
            streaming.send_signal(signal.SIGSTOP)
            code, _ = served.end()
            assert code == 0
        finally:
            streaming.kill()


def test_a_stream_hears_of_the_end(served):
    with streaming_client(served) as streaming:
        try:
            assert streaming.stdin is not None
            code, log = served.end()
            streaming.stdin.close()
            assert streaming.wait(TIME_LIMIT_SECONDS) == 1
            assert streaming.stderr is not None
            assert streaming.stderr.read() == "UNAVAILABLE: Server is draining: try again after a pause\n"
        finally:
            streaming.kill()
    assert code == 0
    assert json.loads(log[-1])["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"GRPC_MAX_TIMEOUT_SEC": "soon"}, "pipeline_host: GRPC_MAX_TIMEOUT_SEC is 'soon': expected"),
        ({"GRPC_REQUIRE_AUTH": "true"}, "pipeline_host: GRPC_AUTH_TOKENS is empty"),
        ({"GRPC_BIND_ADDRESS": "203.0.113.1:1"}, "pipeline_host: cannot listen on 203.0.113.1:1"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(variables, says):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_host"],
        cwd=EXAMPLES,
        env=os.environ | ADDRESSES | variables,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    # Where gRPC cannot listen, its library has written a line of its own before.
    assert done.stderr.splitlines()[-1].startswith(says)
    assert "Traceback" not in done.stderr
