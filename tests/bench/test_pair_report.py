"""The report of a comparison says of made pairs what is known, how well, and what is slower."""

from made_pairs import made
from sigbridge_bench.figures import RANGE
from sigbridge_bench.machine import Cores
from sigbridge_bench.pair import Comparison
from sigbridge_bench.pair_builds import Build
from sigbridge_bench.pair_plan import Figure, Plan
from sigbridge_bench.pair_report import estimates, heading, slower, tables
from sigbridge_bench.pair_statistics import Pair

BUILD = Build("/here", "sigbridge 1", "Python 3")
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


def comparison(**changes):
    plan = Plan(only=("relays",))
    return Comparison(builds={"A": BUILD, "B": BUILD}, plan=plan, cores=Cores(0, 1), **changes)


def test_a_build_says_that_it_is_not_compiled():
    said = heading(comparison())
    assert "A: /here: sigbridge 1, not compiled, Python 3" in said
    assert "a slice is 2,000 messages" in said
    assert "not compiled" not in str(BUILD._replace(version="sigbridge 1 (compiled)"))


def test_the_heading_says_what_is_set_for_which_build():
    a, b, *_ = heading(comparison(variables={"A": {}, "B": {"ONE": "off", "TWO": "a b"}})).splitlines()
    assert a == "A: /here: sigbridge 1, not compiled, Python 3"
    assert b == "B: /here: sigbridge 1, not compiled, Python 3, with ONE=off 'TWO=a b'"
