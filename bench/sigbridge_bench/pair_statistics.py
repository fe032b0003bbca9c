"""From paired measurements in several generations to a ratio and its interval.

A generation is one start of both builds. Two processes of one and the same build differ by a per cent or so for as long
as they run, by where the kernel has put their memory: pairs of one generation share that error, and no number of them
averages it out. So a generation counts as one observation: the median of its pairs' ratios B/A, as a logarithm. The
estimate is the mean of these over the generations, and its interval is Student's, from their standard deviation: it
holds both what differs between generations and what scatter within them is left in their medians.

Medians are taken within a generation, because something else on the machine spoils a few pairs badly. Over generations
it is the mean, because a start that is off is no mistake of the measurement but a draw like the others. Nothing here is
random: the same pairs give the same interval.
"""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.90
"""The share of such intervals that hold the true ratio."""

# Student's t that is exceeded in one of twenty cases, by degrees of freedom from 1 on.
_T_95 = [
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
    *(1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697),
]


class Pair(NamedTuple):
    """The same thing measured of A and, right before or after, of B; both above nought and in one unit."""

    a: float
    b: float


Generations = Sequence[Sequence[Pair]]
"""The pairs of each generation."""


class Estimate(NamedTuple):
    """A ratio B/A and what it is made of."""

    a: float
    """The median of A over all pairs, in the pairs' unit."""
    b: float
    ratio: float
    low: float
    high: float
    """Within these the true ratio lies, at `CONFIDENCE`."""
    pairs: int
    generations: int

    @property
    def half_width(self) -> float:
        """Half the interval's width as a share of the ratio: 0.02 is ±2 %."""
        return (self.high - self.low) / 2 / self.ratio


def estimate(generations: Generations) -> Estimate:
    """Returns the ratio of what these pairs measured, with its interval.

    :raises ValueError: for fewer than two generations, a generation without pairs, or a value that is not above nought.
    """
    pairs = [pair for generation in generations for pair in generation]
    ratio, low, high = _interval([_median_log(generation) for generation in generations])
    a, b = (statistics.median(values) for values in zip(*pairs, strict=True))
    return Estimate(a, b, ratio, low, high, len(pairs), len(generations))


def overall(figures: Sequence[Generations]) -> Estimate:
    """Returns the ratio of several figures together: in each generation the mean of their medians, as logarithms.

    All figures are of the same generations, and count alike whatever their size; `a` and `b` are means of their
    medians.

    :raises ValueError: as `estimate` does, and if there are no figures
    """
    if not figures:
        raise ValueError("there are no figures")
    each = [estimate(generations) for generations in figures]
    logs = [statistics.fmean(map(_median_log, same)) for same in zip(*figures, strict=True)]
    a, b = statistics.fmean(one.a for one in each), statistics.fmean(one.b for one in each)
    return Estimate(a, b, *_interval(logs), sum(one.pairs for one in each), len(logs))


def _median_log(generation: Sequence[Pair]) -> float:
    """Returns the median of the pairs' logarithms of B/A.

    :raises ValueError: if there are no pairs, or a value is not above nought
    """
    if not generation:
        raise ValueError("a generation has no pairs")
    if any(pair.a <= 0 or pair.b <= 0 for pair in generation):
        raise ValueError("a value is not above nought")
    return statistics.median(math.log(pair.b / pair.a) for pair in generation)


def _interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean ratio and both ends of its interval, given each generation's logarithm.

    :raises ValueError: if there are fewer than two generations
    """
    if len(logs) < 2:
        raise ValueError("an interval needs two generations or more")
    # Beyond the table t is at most 3 % smaller.
    t = _T_95[min(len(logs) - 1, len(_T_95)) - 1]
    mean, half = statistics.fmean(logs), t * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
