"""Records of a comparison of two builds, as a file keeps them: JSON objects, one a line, with every measured pair."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from sigbridge_bench.machine import machine
from sigbridge_bench.pair import Comparison, Samples
from sigbridge_bench.pair_plan import Engine, Figure, What
from sigbridge_bench.pair_statistics import Estimate, Pair


class PairRun(msgspec.Struct, tag_field="kind", tag="pair", kw_only=True, frozen=True):
    """Two builds were compared: which, where, and how much was asked for."""

    run: str
    """The time at which it began, ISO 8601 in UTC; its figures have the same."""
    builds: dict[str, str]
    """Environment and version of `A` and `B`."""
    variables: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Environment variables that were set for the server of `A` and of `B`; older files have none."""
    resumable: list[str] = msgspec.field(default_factory=list)
    """`A`, `B`: whose sessions were resumable; older files have none."""
    machine: dict[str, str]
    engine: Engine
    generations: int
    rounds: int
    messages: int
    sessions: int


class Paired(msgspec.Struct, tag_field="kind", tag="paired", kw_only=True, frozen=True):
    """One figure of both builds; CPU seconds of a relay or a set-up, or bytes of a session."""

    run: str
    what: What
    way: str
    of: str
    in_flight: int
    headers: str = ""
    """Client whose headers begin a call of gRPC, of sessions."""
    a: float
    b: float
    ratio: float
    low: float
    high: float
    generations: list[list[Pair]]
    """Every pair that was measured, by generation: A and B."""


def records(comparison: Comparison, samples: Samples, found: Mapping[Figure, Estimate]) -> Iterable[PairRun | Paired]:
    """Yields the lines that a file keeps of a comparison, each a JSON object."""
    plan, run = comparison.plan, comparison.began
    yield PairRun(
        run=run,
        builds={name: str(build) for name, build in comparison.builds.items()},
        variables={name: dict(variables) for name, variables in comparison.variables.items()},
        resumable=sorted(comparison.resumable),
        machine=machine(comparison.cores),
        engine=plan.engine,
        generations=plan.generations,
        rounds=plan.rounds,
        messages=plan.messages,
        sessions=plan.sessions,
    )
    for figure, of in found.items():
        yield Paired(
            run=run,
            what=figure.what,
            way=figure.way,
            of=figure.of,
            in_flight=figure.in_flight,
            headers=figure.headers,
            a=of.a,
            b=of.b,
            ratio=of.ratio,
            low=of.low,
            high=of.high,
            generations=samples[figure],
        )


def keep(file: Path, lines: Iterable[PairRun | Paired]) -> None:
    """Appends the records of a comparison to a file.

    :raises OSError: if it cannot be written
    """
    with file.open("ab") as stream:
        for line in lines:
            stream.write(msgspec.json.encode(line) + b"\n")
