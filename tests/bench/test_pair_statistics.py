"""Pairs become a ratio and its interval: of made pairs, whose truth is known, what is said is right."""

import math

import pytest

from made_pairs import made
from sigbridge_bench.pair_statistics import Pair, estimate, overall


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


@pytest.mark.thorough
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
