"""A file keeps the whole of a comparison: what was compared, and every pair."""

import msgspec

from made_pairs import made
from sigbridge_bench.machine import Cores
from sigbridge_bench.pair import Comparison
from sigbridge_bench.pair_builds import Build
from sigbridge_bench.pair_plan import Figure, Plan
from sigbridge_bench.pair_records import Paired, PairRun, keep, records
from sigbridge_bench.pair_report import estimates

RELAY = Figure("relays", "grpc-websocket", "offer", 8)
SETUP = Figure("setup", "grpc", "by slice", headers="grpc-go")


def test_what_is_kept_comes_again_from_its_file(tmp_path):
    build = Build("/here", "sigbridge 1", "Python 3")
    variables = {"A": {}, "B": {"ONE": "off"}}
    of = Comparison(builds={"A": build, "B": build}, variables=variables, plan=Plan(), cores=Cores(0, 1))
    samples = {RELAY: made(1), SETUP: made(2)}
    lines = list(records(of, samples, estimates(samples)))
    file = tmp_path / "pairs.jsonl"
    keep(file, [])
    keep(file, lines[:1])
    keep(file, lines[1:])
    read = [msgspec.json.decode(line, type=PairRun | Paired) for line in file.read_bytes().splitlines()]
    assert read == lines
    head, *figures = read
    assert head.builds == {"A": str(build), "B": str(build)}
    assert head.variables == variables
    assert [(figure.way, figure.headers) for figure in figures] == [("grpc-websocket", ""), ("grpc", "grpc-go")]
    assert [figure.generations for figure in figures] == list(samples.values())


def test_a_run_of_before_had_no_variables():
    of = PairRun(run="", builds={}, machine={}, engine="native", generations=2, rounds=1, messages=1, sessions=1)
    line = msgspec.to_builtins(of)
    del line["variables"]
    assert msgspec.convert(line, PairRun) == of
