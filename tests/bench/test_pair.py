"""Two builds are compared: both are started alike, and a real comparison comes out whole."""

import shutil
import sys
from dataclasses import replace

import msgspec
import pytest

import time_limits
from called import said_here
from environments import environment_with
from sigbridge_bench.errors import BenchError
from sigbridge_bench.header_blocks import CLIENTS
from sigbridge_bench.load import LoadError
from sigbridge_bench.machine import Cores
from sigbridge_bench.pair import Comparison, _cpu_since, _rested_cpu
from sigbridge_bench.pair_builds import Build
from sigbridge_bench.pair_plan import Plan
from sigbridge_bench.servers import Server

TIME_LIMIT_SECONDS = 1200
"""Of a command that takes a fraction of it on a quiet machine."""
HERE = sys.prefix
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the load needs a C compiler: gcc and libc6-dev"
)

# The servers.

BUILD = Build(HERE, "sigbridge 1", "Python 3")
BUILDS = {"A": BUILD, "B": BUILD}
TWO_CORES = Cores(0, 1)


def comparison(cores=TWO_CORES, **changes):
    return Comparison(builds=BUILDS, plan=Plan(**changes), cores=cores)


def test_both_builds_are_started_alike_and_with_a_hash_seed_of_the_generation():
    of = comparison()
    for generation in (0, 1):
        seeds = {dict(of.subject(name, generation).environment)["PYTHONHASHSEED"] for name in ("A", "B")}
        assert seeds == {str(generation + 1)}
    subject = of.subject("A", 0)
    assert subject.command == (f"{HERE}/bin/sigbridge", "serve")
    assert dict(subject.environment)["GRPC_ENGINE"] == "native"
    assert dict(subject.environment)["PYTHONPATH"] == ""


def test_what_is_set_is_set_for_one_build_and_replaces_the_benchmarks_own():
    variables = {"A": {}, "B": {"SIGNALING_MAX_MESSAGE_BYTES": "7", "SIGNALING_LOG_LEVEL": "error", "EMPTY": ""}}
    of = Comparison(builds=BUILDS, variables=variables, plan=Plan(), cores=TWO_CORES)
    a, b = (dict(of.subject(name, 0).environment) for name in ("A", "B"))
    assert {name: b[name] for name in variables["B"]} == variables["B"]
    assert a["SIGNALING_LOG_LEVEL"] == "info"
    assert b.keys() - a.keys() == {"SIGNALING_MAX_MESSAGE_BYTES", "EMPTY"}


def test_the_sessions_of_one_build_may_be_resumable():
    subjects = replace(comparison(), resumable=["B"])
    assert [subjects.subject(name, 0).resumable for name in ("A", "B")] == [False, True]


def test_sessions_show_the_tokens_that_are_given_and_a_build_may_know_them_by_something_else():
    variables = {"A": {}, "B": {"GRPC_AUTH_TOKENS": "", "SIGNALING_JWT_JWKS_FILE": "keys"}}
    of = Comparison(builds=BUILDS, variables=variables, tokens=("one", "two"), plan=Plan(), cores=TWO_CORES)
    a, b = of.subject("A", 0), of.subject("B", 0)
    assert a.tokens == b.tokens == ("one", "two")
    assert dict(a.environment)["GRPC_AUTH_TOKENS"] == "one,two"
    assert dict(b.environment)["GRPC_AUTH_TOKENS"] == ""
    assert dict(b.environment)["SIGNALING_JWT_JWKS_FILE"] == "keys"


def test_one_core_is_too_few():
    with pytest.raises(BenchError, match="there is only one"):
        comparison(Cores(None, None)).check()


def test_more_sessions_than_files_are_refused():
    with pytest.raises(BenchError, match="take fewer with --sessions"):
        comparison(sessions=10**9).check()
    comparison(sessions=10**9, only=("relays",)).check()


def test_more_sessions_than_the_load_has_are_refused(monkeypatch):
    monkeypatch.setattr("sigbridge_bench.pair.most_sessions", lambda: 10**9)
    with pytest.raises(BenchError, match="only 65536 connections are made by the load"):
        comparison(sessions=4000).check()
    comparison(sessions=4000, only=("memory",)).check()


class Clock(Server):
    """A server whose CPU clock says this, and then for ever the last."""

    def __init__(self, *said):
        self.said = list(said)

    def __exit__(self, *_):
        pass

    def cpu(self):
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]


def test_the_clock_is_read_when_the_server_rests():
    assert _rested_cpu(Clock(1.0, 1.1, 1.2)) == 1.2


def test_a_slice_that_took_no_time_is_an_error():
    assert _cpu_since(1.0, Clock(1.5)) == 0.5
    with pytest.raises(LoadError, match="no time"):
        _cpu_since(1.0, Clock(1.0))


# The command.


def pair(*arguments):
    time_limits.allow(TIME_LIMIT_SECONDS)
    return said_here("bench", "pair", *arguments, CC="")


LITTLE = ("--generations", "2", "--rounds", "2", "--messages", "16", "--sessions", "30")


@pytest.fixture(scope="module")
def with_itself(tmp_path_factory):
    """A comparison of this environment with itself under other variables, and resumable: its file, and what it said."""
    file = tmp_path_factory.mktemp("pair") / "pairs.jsonl"
    given = ("--set-b", "SIGNALING_MAX_MESSAGE_BYTES=100000", "--set-b", "SOME=a=b c", "--resumable", "b")
    done = pair(HERE, HERE, *LITTLE, *given, "--json", file, "--limit", "100000")
    return file, done


@pytest.fixture(scope="module")
def on_grpcio():
    """A comparison of chosen relays on gRPC's other engine, with a limit that every relay exceeds: what it said."""
    chosen = ("--engine", "grpcio", "--only", "relays", "--pairings", "grpc-websocket")
    # Minus a hundred per cent is above nothing.
    return pair(HERE, HERE, *LITTLE, "--quick", *chosen, "--limit=-100")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nowhere", HERE), "/nowhere is not an environment with sigbridge: it has no bin/sigbridge"),
        ((HERE, "/nowhere"), "/nowhere is not an environment with sigbridge"),
        ((HERE, HERE, "--only", "relays,speed"), "--only is 'relays,speed': expected some of relays, setup, memory"),
        ((HERE, HERE, "--pairings", "grpc"), "--pairings is 'grpc': expected some of grpc-grpc,"),
        ((HERE, HERE, "--only", "returns"), "--only is 'returns': expected some of relays, setup, memory"),
        ((HERE, HERE, "--resumable", "bc"), "--resumable is 'bc': expected a, b or ab"),
        ((HERE, HERE, "--engine", "steam"), "--engine is 'steam': expected one of native, grpcio"),
        ((HERE, HERE, "--engine", "native,grpcio"), "expected one of native, grpcio"),
        ((HERE, HERE, "--engine", "grpcio", "--pairings", "websocket-websocket"), "expected some of grpc-grpc,"),
        ((HERE, HERE, "--set-b", "SOME"), "--set-b is 'SOME': expected NAME=VALUE, the name of letters, digits and _"),
        ((HERE, HERE, "--set-a", "=off"), "--set-a is '=off': expected NAME=VALUE,"),
        ((HERE, HERE, "--set-a", "ONE=1", "--set-a", "SO ME=1"), "--set-a is 'SO ME=1': expected NAME=VALUE,"),
        (
            (HERE, HERE, "--set-b", "SOME=a\nb"),
            r"--set-b is 'SOME=a\nb': expected a value that can be printed in a line",
        ),
        ((HERE, HERE, "--generations", "1"), "--generations is 1: an interval needs two or more"),
        (
            (HERE, HERE, "--tokens", "/nowhere/file"),
            "--tokens is '/nowhere/file': expected a file with a token to a line",
        ),
        ((HERE, HERE, "--json", "/nowhere/file"), "No such file"),
    ],
)
def test_a_mistake_is_one_line(arguments, said):
    done = pair(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.startswith("sigbridge: ")
    assert done.stderr.count("\n") == 1


@needs_compiler
def test_a_build_that_does_not_serve_ends_it_with_a_line(tmp_path):
    broken = environment_with(tmp_path, '[ "$1" = version ] && echo sigbridge 9 && exit 0\nexit 7')
    done = pair(HERE, broken, *LITTLE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sigbridge: B does not listen: it ended with exit code 7"


@needs_compiler
def test_a_variable_that_a_build_refuses_ends_it_with_a_line():
    done = pair(HERE, HERE, *LITTLE, "--set-b", "SIGNALING_MAX_MESSAGE_BYTES=much")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("sigbridge: B does not listen: it ended with exit code 1: ")
    assert "SIGNALING_MAX_MESSAGE_BYTES is 'much'" in last


@needs_compiler
def test_a_refusal_ends_it_with_a_line(tmp_path):
    mean = environment_with(
        tmp_path,
        'if [ "$1" = serve ]; then export SIGNALING_RATE_PER_SEC=0.001 SIGNALING_RATE_BURST=5; fi\n'
        f'exec {HERE}/bin/sigbridge "$@"',
    )
    done = pair(HERE, mean, *LITTLE, "--only", "relays")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("sigbridge: B: ")
    assert "gRPC → gRPC" in last
    assert "the server refused what" in last


@needs_compiler
def test_this_environment_is_compared_with_itself(with_itself):
    file, done = with_itself
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"A: {HERE}: sigbridge ")
    assert lines[1].startswith(f"B: {HERE}: sigbridge ")
    assert ", with " not in lines[0]
    assert ", with SIGNALING_MAX_MESSAGE_BYTES=100000 'SOME=a=b c'" in lines[1]
    assert lines[2].startswith("engine native; both servers on core ")
    assert lines[3] == "2 generations of 2 pairs; a slice is 16 messages or 15 sessions"
    for title in ("server CPU per relay, µs", "server CPU per session set up, µs", "memory per idle session, KiB"):
        assert title in lines
    head, *figures = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert head["kind"] == "pair"
    assert {"run", "builds", "machine", "engine", "generations"} <= head.keys()
    assert head["variables"] == {"A": {}, "B": {"SIGNALING_MAX_MESSAGE_BYTES": "100000", "SOME": "a=b c"}}
    assert len(figures) == 16 + 12 + 2 + 2
    assert {figure["headers"] for figure in figures} == {"", *CLIENTS}
    for figure in figures:
        assert (figure["kind"], figure["run"]) == ("paired", head["run"])
        assert 0 < figure["low"] <= figure["ratio"] <= figure["high"]
        pairs = 1 if figure["what"] == "memory" or figure["of"] == "all together" else 2
        assert [len(generation) for generation in figure["generations"]] == [pairs, pairs]
        assert all(value > 0 for generation in figure["generations"] for of in generation for value in of)


@needs_compiler
def test_resumable_sessions_are_compared_with_others_of_the_same_build(with_itself):
    file, done = with_itself
    lines = done.stdout.splitlines()
    assert "resumable" not in lines[0]
    assert lines[1].endswith("; its sessions are resumable")
    assert "server CPU per session lost and set up again, or resumed, µs" in lines
    head, *figures = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert head["resumable"] == ["B"]
    assert [figure["way"] for figure in figures if figure["what"] == "returns"] == ["grpc", "websocket"]


@needs_compiler
def test_grpcio_is_compared_and_what_is_measured_is_chosen(on_grpcio):
    assert "engine grpcio" in on_grpcio.stdout
    assert on_grpcio.stdout.count("gRPC → WebSocket") == 4
    assert "gRPC → gRPC" not in on_grpcio.stdout
    assert "set up" not in on_grpcio.stdout
    assert "resum" not in on_grpcio.stdout
    assert ", with " not in on_grpcio.stdout


@needs_compiler
def test_a_limit_that_is_exceeded_is_exit_1(on_grpcio):
    assert on_grpcio.returncode == 1
    assert on_grpcio.stderr.count("takes more than -100 % more than A") == 4
    assert "ratio B/A" in on_grpcio.stdout
