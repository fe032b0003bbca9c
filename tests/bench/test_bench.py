"""The benchmark measures: that its figures come out and are of what they say is checked here, not how large they are."""

import asyncio
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import time_limits
from called import said_here
from processes import said_by, sigbridge
from sigbridge_bench import records, run
from sigbridge_bench.header_blocks import CLIENTS
from sigbridge_bench.load import LoadError, build
from sigbridge_bench.payloads import CANDIDATE, OFFER
from sigbridge_bench.run import MEASUREMENTS
from sigbridge_bench.servers import NODE_PACKAGES, StartedServer, startable

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the load needs a C compiler: gcc and libc6-dev"
)

TIME_LIMIT_SECONDS = 100
RUN_SECONDS = 1200
"""The most seconds for the run of everything: it takes 15 where nothing else runs, and minutes where much does."""
VERY_QUICK = replace(
    run.QUICK,
    warm_up=16,
    pace_seconds=0.1,
    ceiling_from=1000.0,
    ceiling_most=2000.0,
    ceiling_seconds=0.05,
    calls=2,
    without_io=100,
)
"""The amounts of a quick run, those among them that no option changes smaller still."""
LITTLE = ("--quick", "--messages", "64", "--pairs", "2", "--sessions", "6", "--room", "5", "--storm", "20")
PAIRINGS = ["grpc-grpc", "grpc-websocket", "websocket-grpc", "websocket-websocket"]
GRPCIO = PAIRINGS[:3]


def environment(**changes):
    return {name: value for name, value in os.environ.items() if name != "CC"} | changes


def bench(*arguments, **environ):
    return said_here("bench", *arguments, **{"CC": "", **environ})


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A short run of everything, where nobody finds Node, on one core; the file, and what was printed.

    With a core of its own the load never sleeps, and would take as much of it as the run takes time.
    """
    build()
    file = tmp_path_factory.mktemp("run") / "results.jsonl"
    time_limits.allow(RUN_SECONDS)
    servers = "sigbridge,sigbridge-resumable,sigbridge-grpcio,tcp,ws"
    words = (*LITTLE, "--servers", servers, "--output", file)
    cores = os.sched_getaffinity(0)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(run, "QUICK", VERY_QUICK)
        os.sched_setaffinity(0, {min(cores)})
        try:
            done = bench(*words, PATH="/nowhere", TERM="dumb")
        finally:
            os.sched_setaffinity(0, cores)
    assert done.returncode == 0, done.stderr
    return file, done


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    """The file of a run that has measured nothing."""
    file = tmp_path_factory.mktemp("small") / "results.jsonl"
    head = records.Run(run="2026-01-01T00:00:00Z", commit="", machine={}, versions={}, options={}, left_out=[])
    file.write_bytes(msgspec.json.encode(head) + b"\n")
    return file


def of(file, kind):
    return [record for record in records.read(file) if isinstance(record, kind)]


def ways(found, server):
    return sorted({record.pairing for record in found if record.server == server})


# A run.


def test_a_run_says_with_what_and_where_it_ran_and_what_is_left_out(whole_run):
    file, done = whole_run
    (head,) = of(file, records.Run)
    assert {"processor", "cores", "memory", "kernel", "server's core", "load's core"} <= head.machine.keys()
    assert {"sigbridge", "python", "websockets", "grpcio", "msgspec", "protobuf"} <= head.versions.keys()
    assert "node" not in head.versions
    assert head.left_out[0] == "ws: node is not installed"
    assert any(text.startswith("sigbridge-grpcio, join: ") for text in head.left_out)
    assert head.left_out[-1].startswith("cores: server and load share the only one")
    assert "left out: ws: node is not installed" in done.stderr
    assert head.options["quick"] is True
    assert head.options["only"] == list(MEASUREMENTS)


def test_every_pairing_and_message_has_its_cpu_time_and_its_bytes(whole_run):
    found = of(whole_run[0], records.Cpu)
    assert ways(found, "sigbridge") == ways(found, "sigbridge-resumable") == PAIRINGS
    assert ways(found, "sigbridge-grpcio") == GRPCIO
    assert ways(found, "tcp") == ["tcp-tcp"]
    assert len(found) == (4 + 4 + 3 + 1) * 3 * 2
    for record in found:
        # Two pairs send as many each, and whole calls only.
        assert record.messages == {"offer": 64, "candidate": 64, "call": 72}[record.message]
        assert record.in_flight in (1, 8)
        assert record.server_cpu > 0
        assert record.seconds > 0
        least = {"offer": len(OFFER), "candidate": len(CANDIDATE)}.get(record.message)
        least = record.messages * least if least else 4 * 2 * len(OFFER) + 4 * 16 * len(CANDIDATE)
        assert least < record.bytes_to_server < 4 * least
        assert least < record.bytes_from_server < 4 * least


def test_every_other_measurement_is_there(whole_run):
    file, _ = whole_run
    latencies = of(file, records.Latency)
    assert ways(latencies, "sigbridge") == PAIRINGS
    assert ways(latencies, "sigbridge-grpcio") == GRPCIO
    for record in latencies:
        assert record.messages == 50  # 500 a second for 0.1 s
        assert 0 < record.p50 <= record.p90 <= record.p99 <= record.p999
    ceilings = of(file, records.Ceiling)
    assert ways(ceilings, "sigbridge") == PAIRINGS
    assert all(record.left is None or record.kept < record.left for record in ceilings)

    sessions = of(file, records.Sessions)
    assert {(record.server, record.protocol, record.headers) for record in sessions} == {
        *(("sigbridge", "grpc", client) for client in CLIENTS),
        ("sigbridge", "websocket", ""),
        ("sigbridge-grpcio", "grpc", "grpcio"),
        ("sigbridge-resumable", "grpc", "grpcio"),
        ("sigbridge-resumable", "websocket", ""),
    }
    assert all((record.resume_cpu is not None) is (record.server == "sigbridge-resumable") for record in sessions)
    # The kernel tells what a running process has used when that next waits, or a clock ticks: of so few it may be nothing.
    assert all(record.sessions == 6 and record.server_cpu >= 0 for record in sessions)
    assert all((record.memory is not None) is (record.headers in ("", "grpcio")) for record in sessions)
    joins = of(file, records.Join)
    assert {(record.server, record.protocol) for record in joins} == {
        ("sigbridge", "grpc"),
        ("sigbridge", "websocket"),
        ("tcp", "tcp"),
    }
    assert all(record.sessions == 5 and record.seconds > 0 for record in joins)
    storms = of(file, records.Storm)
    assert {(record.server, record.protocol) for record in storms} == {
        ("sigbridge", "grpc"),
        ("sigbridge", "websocket"),
    }
    for record in storms:
        assert record.sessions == 20
        assert record.seconds > 0
        assert record.messages > 0
        assert 0 < record.p50 <= record.p99

    calls = of(file, records.WholeCall)
    assert ways(calls, "sigbridge") == PAIRINGS
    assert all(0 < record.p50 <= record.p99 for record in calls)
    disturbed = of(file, records.Disturbance)
    assert {(record.pairing, record.by) for record in disturbed} == {
        (way, by)
        for way in ("grpc-grpc", "websocket-websocket")
        for by in ("nobody", "resets", "pings", "batch", "listing")
    }
    assert {record.crowd for record in disturbed if record.by == "batch"} == {5}
    assert {record.crowd for record in disturbed if record.by in ("nobody", "resets", "pings")} == {0}
    assert all(0 < record.p50 <= record.p99 for record in disturbed)
    stalled = of(file, records.Stall)
    assert {(record.pairing, record.peers) for record in stalled} == {("grpc-websocket", 20)}
    assert all(0 < record.p50 <= record.p99 for record in stalled)
    read = {record.listeners: record.bytes_from_server for record in stalled}
    assert max(read["none"], read["stalled"]) < read["reading"] / 2
    without_io = of(file, records.WithoutIo)
    assert {(record.pairing, record.message) for record in without_io} == {
        (way, message) for way in PAIRINGS for message in ("offer", "candidate")
    }
    assert all(record.server_cpu > 0 for record in without_io)
    (echo,) = of(file, records.Echo)
    assert echo.messages == 640
    # So short a run may be less than what a busy machine counts of CPU time.
    assert echo.load_cpu >= 0
    assert echo.seconds > 0


def test_the_tables_end_a_run_and_come_again_from_its_file(whole_run):
    file, done = whole_run
    for title in ("CPU PER RELAY", "LATENCY", "CEILING", "SESSIONS", "A WHOLE CALL", "WITHOUT I/O"):
        assert title in done.stdout
    again = bench("report", file)
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")


def test_a_report_is_written_as_pages_and_plots(whole_run, tmp_path):
    markdown, html, plots = tmp_path / "page.md", tmp_path / "page.html", tmp_path / "plots"
    done = bench("report", whole_run[0], "--markdown", markdown, "--html", html, "--plots", plots)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "](plots/cpu-offer.svg)" in markdown.read_text(encoding="utf-8")
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (plots / "cpu-offer.svg").exists()


def test_runs_are_compared(whole_run):
    done = bench("compare", whole_run[0], whole_run[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert "A and B are the same run" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "RUN", "--run", "yesterday"), "has no run yesterday: it has 20"),
        (("report", "/no/such/file"), "No such file"),
        (("compare", "RUN", __file__), "is not what `sigbridge bench` writes"),
        (("report", "/dev/null"), "/dev/null has no run"),
        (("--only", "cpu,speed"), "--only is 'cpu,speed': expected some of"),
        (("--servers", "apache"), "--servers is 'apache': expected some of sigbridge,"),
        (("--ws", "wss://localhost:1"), "the load speaks no TLS"),
        (("--grpc", "grpcs://localhost:1"), "the load speaks no TLS"),
        (("--grpc", "localhost"), "expected HOST:PORT"),
        (("--grpc", "localhost:x"), "--grpc is 'localhost:x': expected HOST:PORT"),
        (("--grpc", "a..b:1"), "--grpc is 'a..b:1': expected HOST:PORT"),
        (("--ws", "ws://[::1"), "--ws is 'ws://[::1': expected ws://HOST:PORT"),
        (("--pid", "1"), "say something of a server that --grpc or --ws names"),
        (("--ws", "ws://127.0.0.1:1"), "127.0.0.1"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, small_file):
    done = bench(*(small_file if word == "RUN" else word for word in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.startswith("sigbridge: ")
    assert done.stderr.count("\n") == 1


def test_what_there_is_to_choose_from():
    done = bench("--list")
    assert done.returncode == 0
    assert set(MEASUREMENTS) <= set(done.stdout.replace(",", " ").split())


def test_without_a_compiler_it_says_so(tmp_path):
    done = bench("--quick", PATH="/nowhere", XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "install cc (Debian: apt-get install gcc libc6-dev)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_compiler_that_cannot_be_read_is_said(tmp_path):
    done = bench("--quick", CC="gcc '", XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('sigbridge: CC is "gcc \'": expected a compiler and its arguments')
    assert done.stderr.count("\n") == 1


# A server that runs already.


def process(*arguments, **environ):
    return sigbridge(*arguments, env=environment(**environ), limit_seconds=TIME_LIMIT_SECONDS)


def addresses(server):
    return "--grpc", f"127.0.0.1:{server.grpc_port}", "--ws", f"ws://localhost:{server.websocket_port}/any?path"


async def test_a_running_server_is_measured_and_goes_on(serve, tmp_path):
    server = await serve(auth_tokens=("canary",))
    file, token = tmp_path / "results.jsonl", tmp_path / "token"
    token.write_text("canary\n")
    words = (*LITTLE, *addresses(server), "--only", "cpu,sessions,join", "--output", file, "--token-file", token)
    async with process("bench", *words, "--pid", os.getpid()) as started:
        code, out, errors = await said_by(started)
    assert code == 0, errors
    assert "attached" in out
    (head,) = of(file, records.Run)
    cores = {head.machine["server's core"], head.machine["load's core"]}
    assert cores == {str(core) for core in sorted(os.sched_getaffinity(0))[:2]}
    found = of(file, records.Cpu)
    assert ways(found, "attached") == PAIRINGS
    assert {record.server for record in found} == {"attached"}
    # The kernel tells what a running process has used when that next waits, or a clock ticks: of one it may be nothing.
    assert all(record.server_cpu >= 0 for record in found)
    assert sum(record.server_cpu for record in found) > 0
    sessions = [(record.protocol, record.headers) for record in of(file, records.Sessions)]
    assert sessions == [*(("grpc", client) for client in CLIENTS), ("websocket", "")]
    assert [record.protocol for record in of(file, records.Join)] == ["grpc", "websocket"]
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while server.hub.session_count:
            await asyncio.sleep(0.01)


async def test_without_its_process_a_server_has_no_cpu_time_and_says_so(serve, tmp_path):
    server = await serve()
    file = tmp_path / "results.jsonl"
    async with process(
        "bench", *LITTLE, "--ws", addresses(server)[-1], "--only", "cpu,sessions", "--output", file
    ) as started:
        code, _, errors = await said_by(started)
    assert code == 0, errors
    assert "left out: gRPC: no --grpc is given" in errors
    assert "left out: the server's CPU time and memory: no --pid is given" in errors
    assert {record.server_cpu for record in of(file, records.Cpu)} == {None}
    assert {record.memory for record in of(file, records.Sessions)} == {None}


@pytest.mark.parametrize("which", ["--grpc", "--ws"])
async def test_a_wrong_token_is_one_line(which, serve):
    server = await serve(auth_tokens=("canary",))
    words = dict(zip(addresses(server)[::2], addresses(server)[1::2], strict=True))
    async with process("bench", "--quick", which, words[which], SIGBRIDGE_TOKEN="crow") as started:
        code, out, errors = await said_by(started)
    assert (code, out) == (1, "")
    assert errors.startswith("sigbridge: ")
    assert errors.count("\n") == 1
    assert "unauthenticated" in errors


@pytest.mark.parametrize(("which", "scheme"), [("--grpc", ""), ("--ws", "ws://")])
async def test_what_is_no_signaling_server_is_one_line(which, scheme, serve):
    server = await serve()
    async with process("bench", "--quick", which, f"{scheme}127.0.0.1:{server.http_port}") as started:
        code, out, errors = await said_by(started)
    assert (code, out) == (1, "")
    assert errors.startswith("sigbridge: ")
    assert errors.count("\n") == 1


async def until_measured(file, started):
    """Until a run has written a figure of CPU time."""
    while not file.exists() or b'"kind":"cpu"' not in file.read_bytes():
        assert started.returncode is None
        await asyncio.sleep(0.01)


ENDLESS = ("--quick", "--rounds", "1000000", "--only", "cpu")


async def test_a_server_that_dies_ends_the_run_with_a_line(serve, tmp_path):
    file = tmp_path / "results.jsonl"
    server = await serve(rate_per_second=0)
    async with process("bench", *ENDLESS, *addresses(server), "--output", file) as started:
        await until_measured(file, started)
        await server.stop(grace_seconds=0)
        code, out, errors = await said_by(started)
    assert (code, out) == (1, "")
    last = errors.splitlines()[-1]
    assert last.startswith("sigbridge: attached ")
    assert last.endswith(f"(what was measured until then is in {file})")


async def test_a_refusal_ends_the_run_with_a_line(serve, tmp_path):
    server = await serve(rate_per_second=0.001, rate_burst=100)
    async with process("bench", *ENDLESS, *addresses(server), "--output", tmp_path / "results.jsonl") as started:
        code, out, errors = await said_by(started)
    assert (code, out) == (1, "")
    assert "the server refused what" in errors.splitlines()[-1]


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_there(pid):
    """Returns True for a process that runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_ends_the_servers_too(number, tmp_path):
    file = tmp_path / "results.jsonl"
    async with process("bench", *ENDLESS, "--servers", "sigbridge", "--output", file) as started:
        await until_measured(file, started)
        children = children_of(started.pid)
        assert len(children) == 2  # the server and the load
        started.send_signal(number)
        code, _, errors = await said_by(started)
        assert code == (-number if number == signal.SIGKILL else 128 + number)
        assert "Traceback" not in errors
        while any(map(is_there, children)):
            await asyncio.sleep(0.01)


# The servers that are started.


def test_a_server_that_does_not_start_says_why():
    (subject,), _ = startable(["sigbridge"])
    wrong = subject._replace(environment=(*subject.environment, ("SIGNALING_RATE_PER_SEC", "fast")))
    with pytest.raises(LoadError, match=r"sigbridge does not listen: it ended with exit code 1: .*RATE_PER_SEC"):
        StartedServer(wrong, None)


def test_baselines_that_are_not_here_are_named_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found, left_out = startable(["tcp", *NODE_PACKAGES])
    assert [subject.name for subject in found] == ["tcp"]
    assert left_out == [f"{name}: node is not installed" for name in NODE_PACKAGES]
    (tmp_path / "node").touch(mode=0o755)
    monkeypatch.setattr("sigbridge_bench.servers.BASELINES", tmp_path)
    assert all("packages are not installed" in text for text in startable([*NODE_PACKAGES])[1])
    monkeypatch.setattr("sigbridge_bench.servers.BASELINES", tmp_path / "nowhere")
    assert all("this is none" in text for text in startable(["tcp", "websockets", "grpc.aio", *NODE_PACKAGES])[1])
