"""The findings of `sigbridge check`: the outcome of each scenario on each pairing, and all differences, grouped.

A difference is a known deviation, by its name, or the first line of a failure without what changes from run to run.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sigbridge_compat.scenario import Scenario

LONGEST_NAME = 160

_ROOM = re.compile(r"room-[0-9a-f]{16}(-other|-nobody)?")
_RANDOM = re.compile(r"\b(probe|watcher|first|second)-[0-9a-f]{16}\b")
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class Finding:
    """The outcome of a scenario on one pairing: the deviations that were noted, and its failure, which may be empty."""

    scenario: Scenario
    pairing: str
    noted: tuple[str, ...]
    failure: str

    @property
    def cell(self) -> str:
        """The word of the table: FAILED where what the scenario proves does not hold."""
        if self.failure or self.scenario.proves & {*self.noted}:
            return "FAILED"
        return "differs" if self.noted else "ok"

    @property
    def differences(self) -> tuple[str, ...]:
        """The names of all that differs."""
        return (*self.noted, abstracted(self.failure)) if self.failure else self.noted


class Findings:
    """The findings of one check, in the order of the scenarios."""

    def __init__(self) -> None:
        self._all: list[Finding] = []

    def __len__(self) -> int:
        """Number of runs of a scenario on a pairing."""
        return len(self._all)

    def add(self, finding: Finding) -> None:
        """Adds the finding of one run."""
        self._all.append(finding)

    def groups(self) -> dict[str, list[str]]:
        """Returns the scenarios of each difference, by its name, those of many scenarios first."""
        found: dict[str, dict[str, None]] = {}
        for finding in self._all:
            for what in finding.differences:
                found.setdefault(what, {})[finding.scenario.name] = None
        return {what: [*names] for what, names in sorted(found.items(), key=lambda group: -len(group[1]))}

    def report(self, verdict: str) -> dict[str, Any]:
        """Returns the JSON object of a check."""
        return {
            "verdict": verdict,
            "differences": [
                {"what": what, "count": len(names), "scenarios": names} for what, names in self.groups().items()
            ],
        }

    def summary(self) -> str:
        """Returns one line that says how many runs of a scenario on a pairing went how."""
        cells = Counter(finding.cell for finding in self._all)
        differ = f"{cells['differs']} differ, " if cells["differs"] else ""
        return f"{cells['ok']} passed, {differ}{cells['FAILED']} failed"

    def examples(self) -> list[Finding]:
        """Returns the first failing finding of each kind of failure; IDs and numbers make no kind of their own."""
        first: dict[str, Finding] = {}
        for finding in self._all:
            if finding.failure:
                first.setdefault(abstracted(finding.failure), finding)
        return [*first.values()]


def abstracted(failure: str) -> str:
    """Returns the first line of a failure, with rooms, random ids and numbers replaced by words."""
    line = failure.partition("\n")[0]
    for pattern, name in ((_ROOM, "ROOM"), (_RANDOM, "ID"), (_NUMBER, "N")):
        line = pattern.sub(name, line)
    return line if len(line) <= LONGEST_NAME else f"{line[:LONGEST_NAME]}…"
