"""Verdicts on two runs: a true change is found, noise is not called one, and too few rounds are said to be that."""

import itertools
import random
from collections.abc import Callable

import pytest

from sigbridge_bench import figures
from sigbridge_bench.compare import Change, changes, compare, mann_whitney, warnings
from sigbridge_bench.figures import TIMES
from sigbridge_bench.records import Cpu, Echo, Latency, Record, Run, Sessions, WithoutIo

A, B = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
SERVERS = (
    ("sigbridge", "websocket-websocket", 40.0),
    ("sigbridge", "grpc-grpc", 60.0),
    ("sigbridge", "grpc-websocket", 50.0),
    ("sigbridge-grpcio", "grpc-grpc", 150.0),
    ("ws", "websocket-websocket", 40.0),
    ("grpc-js", "grpc-grpc", 120.0),
    ("grpc.aio", "grpc-grpc", 140.0),
)


def a_run(
    run: str,
    seed: int,
    *,
    rounds: int = 8,
    slower: Callable[[str, str], float] = lambda server, pairing: 1.0,
    noise: float = 0.03,
    byte_count: int = 1000,
    machine: str = "one",
    without: tuple[str, ...] = (),
) -> list[Record]:
    """A run whose rounds scatter by so much, and whose servers take so many times as long."""
    chance = random.Random(seed)
    records: list[Record] = [
        Run(run=run, commit="c", machine={"processor": machine}, versions={"ws": "8"}, options={}, left_out=[])
    ]
    for number_of_round in range(rounds):
        for server, pairing, cost in SERVERS:
            if server in without:
                continue
            cpu = cost * 1e-6 * slower(server, pairing) * chance.lognormvariate(0, noise)
            records.append(
                Cpu(
                    run=run,
                    server=server,
                    round=number_of_round,
                    pairing=pairing,
                    message="offer",
                    in_flight=8,
                    pairs=4,
                    messages=1000,
                    seconds=cpu * 1010,
                    server_cpu=cpu * 1000,
                    load_cpu=0.01,
                    bytes_to_server=byte_count * 1000,
                    bytes_from_server=2_000_000,
                )
            )
    return records


def verdicts(found: list[Change], measure: figures.Measure = figures.CPU) -> dict[tuple[str, str], str | None]:
    return {(c.cell.key.server, c.cell.key.way): c.verdict for c in found if c.cell.measure == measure}


# The test itself.


def by_all_choices(first: list[float], second: list[float]) -> float:
    """The same chance, by writing down every way in which the values could have fallen to the two runs."""
    everything = [*first, *second]

    def wins(chosen: tuple[int, ...]) -> float:
        others = [index for index in range(len(everything)) if index not in chosen]
        pairs = [(everything[one], everything[other]) for one in chosen for other in others]
        return sum(1.0 if one > other else 0.5 if one == other else 0.0 for one, other in pairs)

    seen = wins(tuple(range(len(first))))
    all_wins = [wins(chosen) for chosen in itertools.combinations(range(len(everything)), len(first))]
    below, above = sum(each <= seen for each in all_wins), sum(each >= seen for each in all_wins)
    return min(1.0, 2 * min(below, above) / len(all_wins))


@pytest.mark.parametrize("seed", range(12))
def test_the_chance_is_that_of_all_choices_ties_included(seed: int) -> None:
    chance = random.Random(seed)
    first = [float(chance.randint(1, 8)) for _ in range(chance.randint(2, 5))]
    second = [float(chance.randint(2, 9)) for _ in range(chance.randint(2, 5))]
    found = mann_whitney(dict(enumerate(first)), dict(enumerate(second)))
    assert found.p == pytest.approx(by_all_choices(first, second))


def test_the_chance_is_the_one_of_the_tables() -> None:
    # Five and five without an overlap: 2 of 252.
    assert mann_whitney(dict(enumerate([1, 2, 3, 4, 5])), dict(enumerate([6, 7, 8, 9, 10]))).p == pytest.approx(2 / 252)
    assert mann_whitney({0: 1.0}, {0: 2.0}).p == 1.0
    assert mann_whitney(dict(enumerate([1, 2, 3])), dict(enumerate([4, 5, 6]))).least_p == pytest.approx(0.1)


def test_an_interval_is_of_the_factors_and_needs_rounds() -> None:
    two = mann_whitney(dict(enumerate([1.0, 1.0, 1.0, 1.0, 1.0])), dict(enumerate([2.0, 2.0, 2.0, 2.0, 2.0])))
    assert two.interval == (2.0, 2.0)
    assert mann_whitney({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 2.0, 2: 3.0}).interval is None
    assert mann_whitney(dict(enumerate([0.0] * 5)), dict(enumerate([1.0] * 5))).interval is None


def test_an_interval_holds_the_true_factor_about_as_often_as_it_says() -> None:
    chance = random.Random(7)
    held = 0
    for _ in range(400):
        a = {number: chance.lognormvariate(0, 0.1) for number in range(6)}
        b = {number: 1.3 * chance.lognormvariate(0, 0.1) for number in range(6)}
        low, high = mann_whitney(a, b).interval or (0.0, 0.0)
        held += low <= 1.3 <= high
    assert 0.93 <= held / 400 <= 0.99


# Verdicts.


def test_what_became_slower_is_worse_and_all_else_is_not() -> None:
    found = changes(
        a_run(A, 1),
        a_run(B, 2, slower=lambda server, pairing: 1.25 if (server, pairing) == ("sigbridge", "grpc-grpc") else 1.0),
    )
    of = verdicts(found)
    assert of["sigbridge", "grpc-grpc"] == "worse"
    assert of["sigbridge", "websocket-websocket"] in ("same", "noise", "small")
    assert of["sigbridge-grpcio", "grpc-grpc"] in ("same", "noise", "small")
    assert verdicts(found, figures.RELAYS)["sigbridge", "grpc-grpc"] == "worse"
    assert (
        verdicts(changes(a_run(B, 2, slower=lambda *_: 1.3, without=("ws", "grpc-js", "grpc.aio")), a_run(A, 1)))[
            "sigbridge", "grpc-grpc"
        ]
        == "better"
    )


def test_noise_alone_is_hardly_ever_called_a_change() -> None:
    said = [
        verdict
        for seed in range(0, 60, 2)
        for verdict in verdicts(changes(a_run(A, seed, noise=0.1), a_run(B, seed + 1, noise=0.1))).values()
    ]
    assert sum(verdict in ("better", "worse") for verdict in said) <= 2
    assert "noise" in said


def test_a_steady_figure_is_the_same_and_a_little_change_is_small() -> None:
    assert set(verdicts(changes(a_run(A, 1, noise=0.002), a_run(B, 2, noise=0.002))).values()) <= {
        "same",
        "small",
        None,
    }
    little = changes(
        a_run(A, 1, noise=0.002), a_run(B, 2, noise=0.002, slower=lambda server, _: 1.03 if "sig" in server else 1)
    )
    assert verdicts(little)["sigbridge", "grpc-grpc"] == "small"


def test_one_change_among_many_figures_is_perhaps_one_with_few_rounds() -> None:
    slower = a_run(B, 2, rounds=4, noise=0.005, slower=lambda server, _: 1.5 if server == "sigbridge-grpcio" else 1.0)
    of = verdicts(changes(a_run(A, 1, rounds=4, noise=0.005), slower))
    assert of["sigbridge-grpcio", "grpc-grpc"] == "perhaps worse"
    assert "rounds in each run are needed" in " ".join(compare(a_run(A, 1, rounds=4), slower).split())


@pytest.mark.parametrize("rounds", [1, 3])
def test_with_too_few_rounds_there_is_no_verdict(rounds: int) -> None:
    found = changes(a_run(A, 1, rounds=rounds), a_run(B, 2, rounds=rounds, slower=lambda *_: 3.0))
    assert set(verdicts(found).values()) == {"too few rounds", None}
    assert "too few rounds" in compare(a_run(A, 1, rounds=rounds), a_run(B, 2, rounds=rounds))


def test_what_is_counted_needs_no_rounds() -> None:
    key = ("sigbridge", "grpc-grpc")
    assert verdicts(changes(a_run(A, 1, rounds=1), a_run(B, 2, rounds=1)), figures.BYTES_TO)[key] == "same"
    more = changes(a_run(A, 1, rounds=1), a_run(B, 2, rounds=1, byte_count=1100))
    assert verdicts(more, figures.BYTES_TO)[key] == "worse"
    assert verdicts(more, figures.BYTES_FROM)[key] == "same"


# Machines.


def test_a_slower_machine_cancels_out_where_there_is_a_baseline_and_is_told() -> None:
    slower = a_run(B, 2, slower=lambda *_: 1.5)
    found = changes(a_run(A, 1), slower)
    assert not {"better", "worse"} & {verdict for verdict in verdicts(found).values() if verdict}
    change = next(c for c in found if c.cell.key[:2] == ("grpc-grpc", "offer") and c.cell.key.server == "sigbridge")
    assert change.ratios is not None
    assert change.ratios[0].median == pytest.approx(0.5, rel=0.05)
    assert change.factor == pytest.approx(1.0, abs=0.08)
    text = " ".join(compare(a_run(A, 1), slower).split())
    assert "baselines and the load take +5" in text or "baselines and the load take +4" in text
    alone = verdicts(changes(a_run(A, 1, without=("ws",)), slower))
    assert alone["sigbridge", "websocket-websocket"] == "worse"
    assert alone["sigbridge", "grpc-grpc"] != "worse"


def test_what_made_all_of_ours_faster_does_not_cancel_out_of_mixed_pairings() -> None:
    faster = a_run(B, 2, slower=lambda server, _: 0.7 if server.startswith("sigbridge") else 1.0)
    assert {verdict for verdict in verdicts(changes(a_run(A, 1), faster)).values() if verdict} == {"better"}


def test_runs_that_differ_in_machine_or_versions_are_warned_of() -> None:
    text = " ".join(compare(a_run(A, 1), a_run(B, 2, machine="another")).split())
    assert "Warning: the machine differs: processor: one in A, another in B" in text
    run = a_run(A, 1)[0]
    assert isinstance(run, Run)
    other = Run(run=B, commit="", machine=run.machine, versions={"ws": "9"}, options={"rounds": 3}, left_out=[])
    assert warnings(run, other) == [
        "the versions differ: ws: 8 in A, 9 in B",
        "the runs were asked for different things: rounds",
    ]
    assert warnings(run, run) == ["A and B are the same run"]


# The text.


def test_the_table_has_both_medians_both_ratios_and_the_change() -> None:
    lines = compare(
        a_run(A, 1, noise=0), a_run(B, 2, noise=0, slower=lambda server, _: 1.1 if server == "sigbridge" else 1)
    ).splitlines()
    assert max(map(len, lines)) <= 120
    row = next(line for line in lines if line.startswith("gRPC → gRPC") and "sigbridge " in line)
    figures_of_row = row.replace(TIMES, "x").partition(" 60.0 ")[2].split()
    assert figures_of_row == ["66.0", "0.50x", "0.55x", "+10.0", "%", "+10.0", "to", "+10.0", "%", "worse"]
    assert any(line.startswith("yardsticks: server CPU per relay") for line in lines)


def test_figures_of_only_one_run_are_listed() -> None:
    sessions = Sessions(
        run=A,
        server="sigbridge",
        round=0,
        protocol="grpc",
        headers="grpc-go",
        sessions=1000,
        seconds=1,
        server_cpu=None,
        memory=None,
    )
    alone = WithoutIo(
        run=B, server="sigbridge", round=0, pairing="grpc-grpc", message="offer", messages=1, server_cpu=1
    )
    text = compare([*a_run(A, 1), sessions], [*a_run(B, 2, without=("ws",)), alone])
    only_in_a = text.partition("only in A:")[2].partition("only in B:")[0]
    assert "set-ups per second: sigbridge, gRPC, grpc-go's headers, 1,000 sessions" in only_in_a
    assert "server CPU per relay: ws, WebSocket → WebSocket, offer, 8 in flight, 4 pairs" in only_in_a
    assert "CPU per relay without I/O: sigbridge, gRPC → gRPC, offer" in text.partition("only in B:")[2]


def test_runs_that_have_nothing_in_common_are_compared_all_the_same() -> None:
    echo = Echo(run=B, server="echo", round=0, messages=10, seconds=1, load_cpu=0.1)
    assert "no figure of sigbridge in common" in compare(a_run(A, 1), [echo])
    with pytest.raises(ValueError, match="2 runs"):
        compare([*a_run(A, 1), echo], [echo])


def test_from_nought_no_share_can_be_made() -> None:
    def late(run: str, p50: float) -> list[Record]:
        return [
            Latency(
                run=run,
                server="sigbridge",
                round=number_of_round,
                pairing="grpc-grpc",
                message="offer",
                rate=10,
                messages=10,
                undelivered=0,
                p50=p50,
                p90=0,
                p99=0,
                p999=0,
                load_behind=0,
            )
            for number_of_round in range(5)
        ]

    found = changes(late(A, 0), late(B, 0.001))
    assert verdicts(found, figures.P50) == {("sigbridge", "grpc-grpc"): "worse"}
    assert "from 0" in compare(late(A, 0), late(B, 0.001))
    assert verdicts(found, figures.P99) == {("sigbridge", "grpc-grpc"): "same"}
