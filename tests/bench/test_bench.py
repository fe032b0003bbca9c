"""The benchmark measures: that its figures come out is checked here, not how large they are."""

import subprocess
import sys

from sigbridge_bench.__main__ import KINDS, Cell, report


def test_a_short_run_has_a_figure_for_every_pairing_and_message() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sigbridge_bench", "--messages", "8", "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    for pairing in ("grpc to grpc", "grpc to websocket", "websocket to grpc", "websocket to websocket"):
        for kind in KINDS:
            assert [line for line in lines if line.startswith("sigbridge ") and f"{pairing:<24}{kind:<11}" in line], (
                pairing,
                kind,
                done.stdout,
            )


def test_a_ratio_is_that_of_medians_to_the_baseline_of_the_same_protocol() -> None:
    figures: dict[Cell, list[float]] = {}
    for kind in KINDS:
        for burst in (1, 8):
            figures[Cell("sigbridge", ("grpc", "grpc"), kind, burst)] = [9.0, 10.0, 50.0]
            figures[Cell("grpc-js baseline", ("grpc", "grpc"), kind, burst)] = [20.0, 10.0, 90.0]
    lines = report(figures).splitlines()
    ours = [line for line in lines if line.startswith("sigbridge")]
    assert len(ours) == len(KINDS)
    assert all(line.count("10.0 (9.0 to 50.0) 0.50x") == 2 for line in ours)
    assert not any("x" in line.split("20.0")[1] for line in lines if line.startswith("grpc-js baseline"))
