"""Comparison of two runs: what changed from one to the other, and whether that is more than noise.

A figure's rounds in A and its rounds in B are compared by the exact Mann-Whitney test, which asks only how often a
value of one run is above one of the other, so that one slow round does not decide. The interval of the change is the
test's own, by Hodges and Lehmann: all changes that the test would not refuse at 95 %.

Rule 1: many figures are compared at once, and of a hundred that are the same, five look different at 5 %. So the
verdicts are by Benjamini and Hochberg: of those that are said to have changed, one in twenty is expected not to have.
Rule 2: a change of less than `LEAST_EFFECT` is never called one: a new start of the same program differs by some
percent, and the rounds of a run, which share one start, do not show that. Rule 3: where no outcome at all could be told
from noise, there are too few rounds, and that is the verdict.
"""

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from sigbridge_bench import figures
from sigbridge_bench.figures import (
    NOTHING,
    OURS,
    TIMES,
    Cell,
    Key,
    Measure,
    Rounds,
    Spread,
    amounts_text,
    heading,
    message_text,
    number,
    ratio_between_runs,
    way_text,
)
from sigbridge_bench.records import Record, Run
from sigbridge_bench.rendering import Table, terminal_table, terminal_text

SURE = 0.05
LEAST_EFFECT = 0.05

Verdict = Literal["better", "worse", "perhaps better", "perhaps worse", "same", "small", "noise", "too few rounds"]

_MEASURES = (
    figures.CPU,
    figures.RELAYS,
    figures.P50,
    figures.P99,
    figures.KEPT,
    figures.BYTES_TO,
    figures.BYTES_FROM,
    figures.MEMORY,
    figures.SET_UPS,
    figures.SET_UP_CPU,
    figures.JOIN_TIME,
    figures.JOIN_CPU,
    figures.STORM_TIME,
    figures.STORM_P99,
    figures.CALL_P50,
    figures.CALL_P99,
    figures.DISTURBED_P50,
    figures.DISTURBED_P99,
    figures.WITHOUT_IO,
    figures.ECHOES,
)


class Outcome(NamedTuple):
    """Outcome of the test on two sets of rounds."""

    p: float
    """Probability that rounds differ as much as these where nothing has changed."""
    least_p: float
    """The least that it could have been with so many rounds."""
    interval: tuple[float, float] | None
    """In which B over A lies, at 95 %; none where rounds are too few for one, or a value is not above nought."""


class Change(NamedTuple):
    """A figure in both runs."""

    cell: Cell
    a: Spread
    b: Spread
    ratios: tuple[Spread, Spread] | None
    """Of both to the baseline in their own run, where both have it: what the verdict is about, then."""
    factor: float | None
    """Quotient that is judged, B over A: of the ratios where there are such; none where A is nought and B is not."""
    test: Outcome
    verdict: Verdict | None
    """Verdict on the change; none for baselines and the load, which measure the machine."""


def compare(a: list[Record], b: list[Record]) -> str:
    """Returns the text of what changed from run A to run B, at most 120 columns.

    :raises ValueError: if one is several runs.
    """
    runs = heading(a), heading(b)
    parts = [f"A: run of {runs[0].run or 'unknown date'}, commit {runs[0].commit or 'unknown'}"]
    parts.append(f"B: run of {runs[1].run or 'unknown date'}, commit {runs[1].commit or 'unknown'}")
    found = changes(a, b)
    warned = warnings(*runs)
    parts += [terminal_text(f"Warning: {text}") for text in [*warned, *_machine_moved(found)]]
    parts += ["", *(terminal_text(text) for text in _explained(found))]
    judged = [change for change in found if change.verdict is not None]
    for measure in _MEASURES:
        parts += _table([change for change in judged if change.cell.measure == measure], measure.name)
    yardsticks = [change for change in found if change.verdict is None]
    parts += _yardsticks(yardsticks)
    for name, mine, other in (("A", a, b), ("B", b, a)):
        parts += _only_in(name, mine, other)
    return "\n".join(parts) + "\n"


def changes(a: Sequence[Record], b: Sequence[Record]) -> list[Change]:
    """Returns every figure that both runs have, in the report's order, with its verdict."""
    in_a, in_b = figures.figures(a), figures.figures(b)
    found = []
    for measure in _MEASURES:
        for key in figures.keys(in_a, measure, order=_in_order):
            cell = Cell(measure, key)
            if cell not in in_b:
                continue
            values = in_a[cell], in_b[cell]
            ratios = None
            if measure.follows_machine:
                both = ratio_between_runs(in_a, cell), ratio_between_runs(in_b, cell)
                if both[0] and both[1]:
                    values = both
                    ratios = Spread.of(both[0]), Spread.of(both[1])
            found.append(
                Change(
                    cell,
                    Spread.of(in_a[cell]),
                    Spread.of(in_b[cell]),
                    ratios,
                    _factor(Spread.of(values[0]).median, Spread.of(values[1]).median),
                    mann_whitney(values[0], values[1]),
                    None,
                )
            )
    return _with_verdicts(found)


def _in_order(key: Key) -> tuple[object, ...]:
    message, *places, amounts = figures.by_way(key)
    return *places, message, amounts


def mann_whitney(a: Rounds, b: Rounds) -> Outcome:
    """Tests whether two sets of rounds differ, by the exact two-sided Mann-Whitney test; ties have their mean rank."""
    first, second = sorted(a.values()), sorted(b.values())
    ranks = _doubled_ranks(first, second)
    all_ranks = tuple(sorted([*ranks[0], *ranks[1]]))
    sums = _rank_sums(all_ranks, len(first))
    p = _from_both_sides(sums, sum(ranks[0]))
    untied = tuple(2 * rank for rank in range(1, len(all_ranks) + 1))
    least_p = min(1.0, 2 / math.comb(len(all_ranks), len(first)))
    return Outcome(p, least_p, _interval(first, second, _rank_sums(untied, len(first))))


def _doubled_ranks(first: Sequence[float], second: Sequence[float]) -> tuple[list[int], list[int]]:
    """Returns the ranks of both sides' values among all, twice as large so that the mean of tied ranks is whole."""
    everything = sorted([*first, *second])
    doubled = {}
    for value in everything:
        below = sum(1 for other in everything if other < value)
        doubled[value] = 2 * below + everything.count(value) + 1
    return [doubled[value] for value in first], [doubled[value] for value in second]


@lru_cache
def _rank_sums(ranks: tuple[int, ...], chosen: int) -> dict[int, int]:
    """Returns, for each sum, in how many ways so many of the ranks add up to it."""
    ways: list[dict[int, int]] = [{} for _ in range(chosen + 1)]
    ways[0][0] = 1
    for rank in ranks:
        for count in range(chosen, 0, -1):
            for total, number_of_ways in ways[count - 1].items():
                ways[count][total + rank] = ways[count].get(total + rank, 0) + number_of_ways
    return ways[chosen]


def _from_both_sides(sums: dict[int, int], seen: int) -> float:
    """Returns the two-sided p of a sum, given how many ways lead to each sum."""
    every = sum(sums.values())
    below = sum(ways for total, ways in sums.items() if total <= seen)
    above = sum(ways for total, ways in sums.items() if total >= seen)
    return min(1.0, 2 * min(below, above) / every)


def _interval(first: Sequence[float], second: Sequence[float], sums: dict[int, int]) -> tuple[float, float] | None:
    """Returns the Hodges-Lehmann interval of the factor at 95 %; None if there are too few rounds.

    It reaches from the k-th least to the k-th largest of all pairs' factors, k by the distribution of the test itself.
    """
    if first[0] <= 0 or second[0] <= 0:
        return None
    every = sum(sums.values())
    passed, dropped = 0, 0
    for total in sorted(sums):
        passed += sums[total]
        if passed / every > SURE / 2:
            break
        dropped += 1
    if dropped == 0:
        return None
    factors = sorted(later / earlier for earlier in first for later in second)
    return factors[dropped - 1], factors[-dropped]


def _factor(a: float, b: float) -> float | None:
    if a == b:
        return 1.0
    return b / a if a > 0 else None


def _with_verdicts(found: Sequence[Change]) -> list[Change]:
    """Returns the changes, those of Sigbridge's own servers with verdicts."""
    judged = [change for change in found if change.cell.key.server in OURS]
    limit = _benjamini_hochberg([change.test.p for change in judged if not _is_exact(change)])
    return [
        change._replace(verdict=_verdict(change, limit)) if change.cell.key.server in OURS else change
        for change in found
    ]


def _is_exact(change: Change) -> bool:
    """Returns True for what is counted and the same in all rounds of a run: one round says as much as ten, then."""
    steady = change.a.least == change.a.most and change.b.least == change.b.most
    return change.cell.measure in (figures.BYTES_TO, figures.BYTES_FROM) and steady


def _benjamini_hochberg(chances: Sequence[float]) -> float:
    """Returns the largest p at which a share of no more than `SURE` of the changes is expected to be noise."""
    limit = 0.0
    for place, p in enumerate(sorted(chances), start=1):
        if p <= SURE * place / len(chances):
            limit = p
    return limit


def _verdict(change: Change, limit: float) -> Verdict:
    """Returns what a change of one figure means, where p must not exceed `limit` for it to be sure."""
    test = change.test
    effect = math.inf if change.factor is None else change.factor - 1
    better = (effect < 0) == change.cell.measure.lower_is_better
    if not _is_exact(change):
        if test.least_p > SURE:
            return "too few rounds"
        if test.p > SURE:
            if change.a.least == change.a.most == change.b.least == change.b.most:
                return "same"
            low, high = test.interval or (0.0, math.inf)
            return "same" if low >= 1 - LEAST_EFFECT and high <= 1 + LEAST_EFFECT else "noise"
    elif effect == 0:
        return "same"
    if abs(effect) < LEAST_EFFECT:
        return "small"
    if _is_exact(change) or test.p <= limit:
        return "better" if better else "worse"
    return "perhaps better" if better else "perhaps worse"


# Words.


def warnings(a: Run, b: Run) -> list[str]:
    """Returns texts that say in which parts of machine, versions and options two runs differ."""
    said = []
    for name, mine, others in (("machine", a.machine, b.machine), ("versions", a.versions, b.versions)):
        differing = [key for key in {**mine, **others} if mine.get(key) != others.get(key)]
        if differing:
            pairs = (f"{key}: {mine.get(key, NOTHING)} in A, {others.get(key, NOTHING)} in B" for key in differing)
            said.append(f"the {name} differ{'s' if name == 'machine' else ''}: {'; '.join(pairs)}")
    options = [key for key in {**a.options, **b.options} if a.options.get(key) != b.options.get(key)]
    if options:
        said.append(f"the runs were asked for different things: {', '.join(options)}")
    if a.run == b.run:
        said.append("A and B are the same run")
    return said


def _machine_moved(found: Sequence[Change]) -> list[str]:
    """Returns a warning if the baselines, whose code is the same, have become faster or slower."""
    factors = [
        change.factor if change.cell.measure.lower_is_better else 1 / change.factor
        for change in found
        if change.verdict is None and change.cell.measure.follows_machine and change.factor
    ]
    if not factors or abs(statistics.median(factors) - 1) < LEAST_EFFECT:
        return []
    moved = statistics.median(factors)
    text = f"""\
baselines and the load take {_percent(moved)} in B, in the median of {len(factors)} figures: the machine or the versions
are faster or slower. Figures that stand without a ratio are moved by about as much."""
    return [" ".join(text.split())]


_METHOD = f"""\
Better and worse: a change of {LEAST_EFFECT * 100:.0f} % or more that is told from noise among all these figures (exact
Mann-Whitney test of the rounds; Benjamini-Hochberg, so that about one in {1 / SURE:.0f} of them is noise). Perhaps: it
would be told from noise if it were the only figure that is looked at. Same: the whole interval of the change lies
within {LEAST_EFFECT * 100:.0f} %. Small: a change, but of less than that. Noise: neither a change can be told nor that
there is none. Too few rounds: whatever they had been, nothing could be told.

Where both runs have the baseline, the ratio to it in its own run is judged, round by round: a machine that is slower in
one of the runs slows both down, and that cancels out. Of mixed pairings it is the ratio to the mean of both baselines.
All else is judged as it was measured: bytes and memory do not depend on the machine's speed; latencies at a fixed rate
are in no proportion to it, and like what has no baseline say something on an equal machine only.

The rounds of a run share one start of each server. What differs from start to start shows in no round: measure a run
twice with nothing changed to see how much that is."""


def _explained(found: Sequence[Change]) -> list[str]:
    """Returns paragraphs that count the verdicts and explain how they were reached."""
    judged = [change for change in found if change.verdict is not None]
    if not judged:
        return ["The runs have no figure of sigbridge in common."]
    counts: dict[str, int] = {}
    for change in judged:
        counts[str(change.verdict)] = counts.get(str(change.verdict), 0) + 1
    order = ("worse", "better", "perhaps worse", "perhaps better", "same", "small", "noise", "too few rounds")
    said = [f"{len(judged)} figures: " + ", ".join(f"{counts[name]} {name}" for name in order if name in counts) + "."]
    said += [" ".join(text.split()) for text in _METHOD.split("\n\n")]
    rounds = min(min(change.a.rounds, change.b.rounds) for change in judged)
    needed = next(n for n in range(2, 100) if 2 / math.comb(2 * n, n) <= SURE / len(judged))
    if rounds < needed:
        text = f"""\
With {rounds} rounds, several figures must change together before one is sure. {needed} rounds in each run are needed to
be sure of a single change among {len(judged)} figures, and 4 to tell anything from noise."""
        said.append(" ".join(text.split()))
    return said


def _table(changed: Sequence[Change], name: str) -> list[str]:
    """Returns the lines of the table of one measure's changes; none if there are none."""
    if not changed:
        return []
    measure = changed[0].cell.measure
    with_ratio = any(change.ratios for change in changed)
    with_way = any(change.cell.key.way for change in changed)
    head = [*(["pairing"] if with_way else []), "server", "of", "A", "B"]
    head += [*(["ratio in A", "ratio in B"] if with_ratio else []), "change", "at 95 %", "verdict"]
    rows = []
    for change in changed:
        key = change.cell.key
        row = [*([way_text(key.way)] if with_way else []), key.server, _of(change.cell)]
        row += [_shown(change.a, measure), _shown(change.b, measure)]
        if with_ratio:
            ratios = change.ratios
            row += [f"{each.median:.2f}{TIMES}" for each in ratios] if ratios else ["", ""]
        row += [_percent(change.factor), _interval_text(change.test.interval), change.verdict or ""]
        rows.append(row)
    better = "less" if measure.lower_is_better else "more"
    judged = "; change of the ratio where there is one" if with_ratio else ""
    caption = f"{name}, {measure.unit} ({better} is better{judged})"
    return ["", terminal_table(Table(caption, head, 3 if with_way else 2, rows))]


def _of(cell: Cell) -> str:
    return ", ".join(
        text for text in (message_text(cell.key.message), amounts_text(cell.measure, cell.key.amounts)) if text
    )


def _shown(of: Spread, measure: Measure) -> str:
    return number(of.median * measure.scale)


def _percent(factor: float | None) -> str:
    """Returns a factor as a percentage of change, with its sign; "from 0" for None."""
    if factor is None:
        return "from 0"
    percent = round((factor - 1) * 100, 1)
    return f"{percent:+.1f} %".replace("-", "\N{MINUS SIGN}") if percent else "0.0 %"


def _interval_text(interval: tuple[float, float] | None) -> str:
    """Returns an interval of factors as percentages of change; a placeholder for None."""
    if interval is None:
        return NOTHING
    low, high = (_percent(end).removesuffix(" %") for end in interval)
    return f"{low} to {high} %"


def _yardsticks(changed: Sequence[Change]) -> list[str]:
    """Returns the lines on baselines and load, which are not judged and show what the machine did."""
    shown = []
    for measure in (figures.CPU, figures.RELAYS, figures.SET_UP_CPU, figures.ECHOES):
        of = [change for change in changed if change.cell.measure == measure]
        shown += _table(of, f"yardsticks: {measure.name}")
    return shown


def _only_in(name: str, mine: Sequence[Record], other: Sequence[Record]) -> list[str]:
    """Returns the lines that list the figures which run `mine` has and run `other` has not."""
    in_mine, in_other = figures.figures(mine), figures.figures(other)
    alone = [
        Cell(measure, key)
        for measure in _MEASURES
        for key in figures.keys(in_mine, measure, order=figures.by_way)
        if Cell(measure, key) not in in_other
    ]
    if not alone:
        return []
    lines = []
    for cell in alone:
        words = (cell.key.server, way_text(cell.key.way), _of(cell))
        lines.append(terminal_text(f"{cell.measure.name}: {', '.join(word for word in words if word)}"))
    return ["", f"only in {name}:", *lines]
