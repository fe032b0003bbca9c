"""The report of a comparison of two builds: its ratios, in tables for a terminal, and what is slower.

Rule: no ratio stands without its interval.
"""

import math
import shlex
from collections.abc import Mapping, Sequence

from sigbridge_bench.figures import NOTHING, RANGE, number, plain, session_text, way_text
from sigbridge_bench.pair import Comparison, Samples
from sigbridge_bench.pair_builds import Name
from sigbridge_bench.pair_plan import Figure, What
from sigbridge_bench.pair_statistics import CONFIDENCE, Estimate, Generations, estimate, overall
from sigbridge_bench.rendering import Table, terminal_table, terminal_text

GOOD_HALF_WIDTH = 0.02
"""A relay whose interval is wider than this to both sides, as a share of the ratio, is pointed out."""


def estimates(samples: Samples) -> dict[Figure, Estimate]:
    """Returns each figure's ratio and interval.

    :raises ValueError: if there are fewer than two generations
    """
    return {figure: estimate(generations) for figure, generations in samples.items()}


def slower(found: Mapping[Figure, Estimate], limit_percent: float) -> list[Figure]:
    """Returns the relays that are slower in B by more than that: their whole interval lies above it."""
    return [figure for figure, of in found.items() if figure.what == "relays" and of.low > 1 + limit_percent / 100]


def heading(comparison: Comparison) -> str:
    """Returns the lines above the tables: the builds, what is set for each, and how they are measured."""
    plan, cores = comparison.plan, comparison.cores
    lines = [
        f"{name}: {build}{_set(comparison.variables[name])}{_kept(comparison, name)}"
        for name, build in comparison.builds.items()
    ]
    slices = [f"{plain(plan.messages)} messages"] if "relays" in plan.only else []
    slices += [f"{plain(plan.slice_sessions)} sessions"] if {"setup", "memory", "returns"} & set(plan.only) else []
    lines += [
        f"engine {plan.engine}; both servers on core {cores.server}, the load on core {cores.load}",
        f"{plan.generations} generations of {plan.rounds} pairs; a slice is {' or '.join(slices)}",
    ]
    return "\n".join(lines)


def _set(variables: Mapping[str, str]) -> str:
    """Says what is set, as a shell would be told it; nothing where nothing is."""
    return f", with {shlex.join(f'{name}={value}' for name, value in variables.items())}" if variables else ""


def _kept(comparison: Comparison, name: Name) -> str:
    return "; its sessions are resumable" if name in comparison.resumable else ""


_UNITS: Mapping[What, tuple[str, str, float]] = {
    "relays": ("server CPU per relay", "µs", 1e6),
    "setup": ("server CPU per session set up", "µs", 1e6),
    "memory": ("memory per idle session", "KiB", 1 / 1024),
    "returns": ("server CPU per session lost and set up again, or resumed", "µs", 1e6),
}


def tables(samples: Samples, found: Mapping[Figure, Estimate]) -> str:
    """Returns the lines of a comparison's tables, in at most 120 columns, and of how to read them."""
    parts = []
    for what, (title, unit, scale) in _UNITS.items():
        figures = [figure for figure in found if figure.what == what]
        if not figures:
            continue
        rows = [[*_words(figure), *_numbers(found[figure], scale)] for figure in figures]
        words = {"relays": ["message", "in flight", "pairing"], "setup": ["protocol", "set-ups"]}.get(
            what, ["protocol"]
        )
        if what == "relays" and len(figures) > 1:
            together: Sequence[Generations] = [samples[figure] for figure in figures]
            of = overall(together)
            rows.append(["all", "", "", NOTHING, NOTHING, *_numbers(of, scale)[2:]])
        head = [
            *words,
            f"A, {unit}",
            f"B, {unit}",
            "ratio B/A",
            f"{CONFIDENCE:.0%} interval".replace("%", " %"),
            "pairs",
        ]
        parts.append(terminal_table(Table(f"{title}, {unit}", head, len(words), rows)))
    return "\n\n".join([*parts, *map(terminal_text, _explained(found))]) + "\n"


def _words(figure: Figure) -> list[str]:
    """Returns the words by which a figure's row of the table begins."""
    if figure.what == "relays":
        return [figure.of, str(figure.in_flight), way_text(figure.way)]
    way = session_text(figure.way, figure.headers)
    return [way, figure.of] if figure.of else [way]


def _numbers(of: Estimate, scale: float) -> list[str]:
    interval = f"{of.low:.3f}{RANGE}{of.high:.3f}"
    return [number(of.a * scale), number(of.b * scale), f"{of.ratio:.3f}", interval, str(of.pairs)]


_METHOD = """\
A and B are medians over all slices. The ratio is the median of the pairs' ratios in each generation, and of these the
geometric mean; its interval is Student's over the generations, and so holds what differs from one start of a build to
the next."""


def _explained(found: Mapping[Figure, Estimate]) -> list[str]:
    """Returns paragraphs on how the intervals are made, and how good those of the relays are."""
    said = [_METHOD]
    relays = [of for figure, of in found.items() if figure.what == "relays"]
    if relays:
        widest = max(of.half_width for of in relays)
        text = f"The widest interval of a relay is {_plus_minus(widest)}"
        wide = sum(of.half_width > GOOD_HALF_WIDTH for of in relays)
        if wide:
            text += (
                f"; {wide} of {len(relays)} are wider than {_plus_minus(GOOD_HALF_WIDTH)}: the machine was busy, or "
                "more generations are needed"
            )
        said.append(f"{text}.")
    return said


def _plus_minus(half_width: float) -> str:
    return f"±{math.ceil(half_width * 1000) / 10:.1f} %"
