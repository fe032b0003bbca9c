"""Two builds are compared: what is said of made pairs is right, and a real comparison comes out whole."""

import math
import os
import random
import shutil
import subprocess
import sys

import msgspec
import pytest

import time_limits
from sigbridge_bench.errors import BenchError
from sigbridge_bench.figures import RANGE
from sigbridge_bench.header_blocks import CLIENTS
from sigbridge_bench.load import LoadError
from sigbridge_bench.machine import Cores
from sigbridge_bench.pair import (
    PAIRINGS,
    Build,
    Comparison,
    Figure,
    Plan,
    _cpu_since,
    _rested_cpu,
    build_at,
    estimates,
    heading,
    planned,
    slower,
    tables,
)
from sigbridge_bench.pair_statistics import Pair, estimate, overall
from sigbridge_bench.servers import Server

TIME_LIMIT_SECONDS = 400
"""Of a command that takes a fraction of it on a quiet machine."""
HERE = sys.prefix
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the load needs a C compiler: gcc and libc6-dev"
)


def made(seed, *, ratio=1.0, generations=16, pairs=8, within=0.03, between=0.0, drift=0.0, spoiled=0.0):
    """Pairs of two builds: each scatters, each generation is off by its own, the machine drifts, some are spoiled."""
    chance = random.Random(seed)
    of = []
    for generation in range(generations):
        off = chance.gauss(0, between)
        of.append([])
        for turn in range(pairs):
            machine = 20e-6 * math.exp(drift * (generation * pairs + turn))
            a, b = (machine * math.exp(chance.gauss(0, within / math.sqrt(2))) for _ in "AB")
            if chance.random() < spoiled:
                a *= 3
            of[-1].append(Pair(a, b * ratio * math.exp(off)))
    return of


# The statistics.


@pytest.mark.parametrize("ratio", [0.8, 0.97, 1.0, 1.03, 1.5])
def test_a_ratio_is_found(ratio):
    of = estimate(made(1, ratio=ratio))
    assert of.ratio == pytest.approx(ratio, rel=0.01)
    assert of.low < ratio < of.high
    assert of.b / of.a == pytest.approx(ratio, rel=0.02)
    assert (of.pairs, of.generations) == (128, 16)
    assert of.half_width < 0.01


def test_pairs_without_scatter_have_no_width():
    of = estimate([[Pair(2.0, 3.0)] * 3] * 4)
    assert of == pytest.approx((2.0, 3.0, 1.5, 1.5, 1.5, 12, 4))


def test_the_interval_is_student_s_over_generations():
    logs = (0.01, -0.02, 0.03)
    of = estimate([[Pair(1.0, math.exp(value))] for value in logs])
    mean, deviation = 0.02 / 3, math.sqrt(sum((value - 0.02 / 3) ** 2 for value in logs) / 2)
    half = 2.920 * deviation / math.sqrt(3)
    assert (of.ratio, of.low, of.high) == pytest.approx(
        (math.exp(mean), math.exp(mean - half), math.exp(mean + half)), rel=1e-9
    )


def test_what_differs_between_generations_widens_the_interval():
    even, clustered = estimate(made(2)), estimate(made(2, between=0.05))
    assert clustered.half_width > 4 * even.half_width
    # More pairs of the same generations do not hide it.
    assert estimate(made(2, pairs=100, between=0.05)).half_width > 4 * even.half_width


def test_the_interval_holds_the_truth_nine_times_of_ten():
    for generations, pairs in ((16, 8), (4, 4)):
        of = [
            estimate(made(seed, generations=generations, pairs=pairs, within=0.03, between=0.01, spoiled=0.05))
            for seed in range(1000)
        ]
        held = sum(one.low <= 1 <= one.high for one in of)
        assert 850 < held < 950


def test_a_machine_that_drifts_or_spoils_some_pairs_changes_nothing():
    assert estimate(made(3, ratio=1.02, drift=0.01)).ratio == pytest.approx(1.02, rel=0.01)
    of = estimate(made(3, ratio=1.02, spoiled=0.1))
    assert of.ratio == pytest.approx(1.02, rel=0.02)
    assert of.half_width < 0.02


def test_the_same_pairs_give_the_same_interval():
    assert estimate(made(4)) == estimate(made(4))


def test_figures_together_are_known_better_than_each():
    figures = [made(seed, ratio=1.01) for seed in range(16)]
    together = overall(figures)
    assert together.ratio == pytest.approx(1.01, rel=0.003)
    assert together.half_width < min(estimate(of).half_width for of in figures)
    assert together.pairs == 16 * 128


@pytest.mark.parametrize(
    "of",
    [[], [[Pair(1.0, 1.0)]], [[Pair(1.0, 1.0)], []], [[Pair(1.0, 1.0)], [Pair(0.0, 1.0)]], [[Pair(1.0, -1.0)]] * 2],
)
def test_what_makes_no_interval_is_refused(of):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        estimate(of)


def test_no_figures_together_are_refused():
    with pytest.raises(ValueError, match="no figures"):
        overall([])


# What is said.

RELAY = Figure("relays", "grpc-websocket", "offer", 8)
OTHER = Figure("relays", "grpc-grpc", "offer", 8)
SETUP = Figure("setup", "grpc", "by slice", headers="grpc-go")
MEMORY = Figure("memory", "websocket")


def test_the_tables_have_every_figure():
    samples = {
        RELAY: made(1, ratio=1.1),
        OTHER: made(2),
        SETUP: made(3),
        MEMORY: [[Pair(2048.0, 3072.0)]] * 16,
    }
    said = tables(samples, estimates(samples))
    assert max(map(len, said.splitlines())) <= 120
    row = next(line for line in said.splitlines() if "gRPC → WebSocket" in line)
    assert row.split()[:2] == ["offer", "8"]
    assert any(line.startswith("all ") and line.endswith("256") for line in said.splitlines())
    memory = said[said.index("memory per idle session, KiB") :]
    assert any(line.startswith("gRPC, grpc-go's headers  by slice ") for line in said.splitlines())
    assert f"2.00    3.00      1.500    1.500{RANGE}1.500     16" in memory
    assert "The widest interval of a relay is ±" in said
    assert "the machine was busy" not in said


def test_wide_intervals_are_pointed_out():
    samples = {RELAY: made(1, generations=4, between=0.1), OTHER: made(2, generations=4)}
    assert "1 of 2 are wider than ±2.0 %" in tables(samples, estimates(samples))


def test_the_limit_asks_for_the_whole_interval_of_a_relay():
    found = estimates({RELAY: made(1, ratio=1.05), OTHER: made(2, ratio=1.001), SETUP: made(3, ratio=2.0)})
    assert slower(found, 2) == [RELAY]
    assert slower(found, 6) == []
    unsure = estimates({RELAY: made(1, ratio=1.05, generations=3, between=0.1)})
    assert slower(unsure, 2) == []


def test_a_plan_has_a_figure_for_every_pairing_message_and_burst():
    plan = planned("native", quick=False)
    relays = [figure for figure in plan.figures if figure.what == "relays"]
    assert len(set(relays)) == 4 * 2 * 2
    assert {figure.way for figure in relays} == set(PAIRINGS)
    rest = [str(figure) for figure in plan.figures if figure.what != "relays"]
    ways = [*(f"gRPC, {name}'s headers" for name in ("grpcio", "grpc-go", "grpc-js", "tonic")), "gRPC, plain headers"]
    assert rest == [
        *(f"setup {way}, {of}" for way in [*ways, "WebSocket"] for of in ("by slice", "all together")),
        "memory gRPC, grpcio's headers",
        "memory WebSocket",
    ]


def test_sessions_are_opened_only_for_what_is_asked_for():
    openings = {only: Plan(only=(only,)) for only in ("relays", "setup", "memory")}
    assert [len(plan.kept) for plan in openings.values()] == [0, 0, 2]
    assert [len(plan.closed) for plan in openings.values()] == [0, 6, 0]
    assert Plan().connections == 2 * 8 * 1500
    assert Plan().most_at_once == 2 * 3 * 1500


def test_of_grpcio_only_what_is_its_own_is_measured():
    plan = planned("grpcio", quick=True)
    assert "websocket-websocket" not in plan.ways
    assert {opening.protocol for opening in (*plan.kept, *plan.closed)} == {"grpc"}
    assert plan.messages < planned("native", quick=True).messages


# The servers.

BUILD = Build(HERE, "sigbridge 1", "Python 3")


TWO_CORES = Cores(0, 1)


def comparison(cores=TWO_CORES, **changes):
    return Comparison(builds={"A": BUILD, "B": BUILD}, plan=Plan(**changes), cores=cores)


def test_both_builds_are_started_alike_and_with_a_hash_seed_of_the_generation():
    of = comparison()
    for generation in (0, 1):
        seeds = {dict(of.subject(name, generation).environment)["PYTHONHASHSEED"] for name in ("A", "B")}
        assert seeds == {str(generation + 1)}
    subject = of.subject("A", 0)
    assert subject.command == (f"{HERE}/bin/sigbridge", "serve")
    assert dict(subject.environment)["GRPC_ENGINE"] == "native"
    assert dict(subject.environment)["PYTHONPATH"] == ""


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


def test_a_build_says_that_it_is_not_compiled():
    said = heading(comparison(only=("relays",)))
    assert f"A: {HERE}: sigbridge 1, not compiled, Python 3" in said
    assert "a slice is 2,000 messages" in said
    assert "not compiled" not in str(BUILD._replace(version="sigbridge 1 (compiled)"))


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


def pair(*arguments, **environ):
    time_limits.allow(TIME_LIMIT_SECONDS + 20)
    return subprocess.run(
        [sys.executable, "-m", "sigbridge_command", "bench", "pair", *map(str, arguments)],
        env={name: value for name, value in os.environ.items() if name != "CC"} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )


LITTLE = ("--generations", "2", "--rounds", "2", "--messages", "40", "--sessions", "100")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nowhere", HERE), "/nowhere is no environment with sigbridge: it has no bin/sigbridge"),
        ((HERE, "/nowhere"), "/nowhere is no environment with sigbridge"),
        ((HERE, HERE, "--only", "relays,speed"), "--only is 'relays,speed': expected some of relays, setup, memory"),
        ((HERE, HERE, "--pairings", "grpc"), "--pairings is 'grpc': expected some of grpc-grpc,"),
        ((HERE, HERE, "--engine", "steam"), "--engine is 'steam': expected one of native, grpcio"),
        ((HERE, HERE, "--engine", "native,grpcio"), "expected one of native, grpcio"),
        ((HERE, HERE, "--engine", "grpcio", "--pairings", "websocket-websocket"), "expected some of grpc-grpc,"),
        ((HERE, HERE, "--generations", "1"), "--generations is 1: an interval needs two or more"),
        ((HERE, HERE, "--json", "/nowhere/file"), "No such file"),
    ],
)
def test_a_mistake_is_one_line(arguments, said):
    done = pair(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.startswith("sigbridge: ")
    assert done.stderr.count("\n") == 1


def environment_with(folder, script):
    """An environment whose `sigbridge` is a script of the shell."""
    program = folder / "bin" / "sigbridge"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("script", ["echo something else", "exit 3", "#!/nowhere"])
def test_a_program_that_does_not_say_its_version_is_no_build(script, tmp_path):
    with pytest.raises(BenchError, match="does not say one"):
        build_at(str(environment_with(tmp_path, script)))


@needs_compiler
def test_a_build_that_does_not_serve_ends_it_with_a_line(tmp_path):
    broken = environment_with(tmp_path, '[ "$1" = version ] && echo sigbridge 9 && exit 0\nexit 7')
    done = pair(HERE, broken, *LITTLE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sigbridge: B does not listen: it ended with exit code 7"


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
def test_this_environment_is_compared_with_itself(tmp_path):
    file = tmp_path / "pairs.jsonl"
    done = pair(HERE, HERE, *LITTLE, "--json", file, "--limit", "100000")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"A: {HERE}: sigbridge ")
    assert lines[1].startswith(f"B: {HERE}: sigbridge ")
    assert lines[2].startswith("engine native; both servers on core ")
    assert lines[3] == "2 generations of 2 pairs; a slice is 40 messages or 50 sessions"
    for title in ("server CPU per relay, µs", "server CPU per session set up, µs", "memory per idle session, KiB"):
        assert title in lines
    head, *figures = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert head["kind"] == "pair"
    assert {"run", "builds", "machine", "engine", "generations"} <= head.keys()
    assert len(figures) == 16 + 12 + 2
    assert {figure["headers"] for figure in figures} == {"", *CLIENTS}
    for figure in figures:
        assert (figure["kind"], figure["run"]) == ("paired", head["run"])
        assert 0 < figure["low"] <= figure["ratio"] <= figure["high"]
        pairs = 1 if figure["what"] == "memory" or figure["of"] == "all together" else 2
        assert [len(generation) for generation in figure["generations"]] == [pairs, pairs]
        assert all(value > 0 for generation in figure["generations"] for of in generation for value in of)


@needs_compiler
def test_grpcio_is_compared_and_what_is_measured_is_chosen():
    done = pair(
        HERE, HERE, *LITTLE, "--quick", "--engine", "grpcio", "--only", "relays", "--pairings", "grpc-websocket"
    )
    assert done.returncode == 0, done.stderr
    assert "engine grpcio" in done.stdout
    assert done.stdout.count("gRPC → WebSocket") == 4
    assert "gRPC → gRPC" not in done.stdout
    assert "set up" not in done.stdout


@needs_compiler
def test_a_limit_that_is_exceeded_is_exit_1():
    # Minus a hundred per cent is above nothing: every relay exceeds it.
    done = pair(HERE, HERE, *LITTLE, "--only", "relays", "--pairings", "grpc-grpc", "--limit=-100")
    assert done.returncode == 1
    assert done.stderr.count("takes more than -100 % more than A") == 4
    assert "ratio B/A" in done.stdout
