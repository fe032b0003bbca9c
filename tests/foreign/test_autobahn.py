"""WebSocket's conformance tests, by Autobahn's test suite: every case passes against an echo; docs/engines.md has the counts.

The echo is tests/shared/websocket_echo.py, a process. Compression takes minutes: 216 cases echo a thousand messages each. It
has the mark `autobahn`, as have the limits, of which `make test` plays one case of each kind; `make autobahn` plays every case.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import time_limits
from processes import Process, clean_environment
from waiting import TIME_LIMIT_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
ECHO = ROOT / "tests" / "shared" / "websocket_echo.py"
AGENT = "echo"

CASES = {
    "1 framing": 16,
    "2 pings and pongs": 11,
    "3 reserved bits": 7,
    "4 opcodes": 10,
    "5 fragmentation": 20,
    "6 UTF-8": 145,
    "7 closing": 37,
    "9 limits and performance": 54,
    "10 automatic fragmentation": 1,
    "12 compression, by payload": 90,
    "13 compression, by parameters": 126,
}
"""The number of cases in each group."""

NON_STRICT = dict.fromkeys(("6.4.3", "6.4.4"), "UTF-8 is checked when a frame is whole, not before")
"""Cases that pass, though not as strictly as the suite would like, and why."""

INFORMATIONAL = {
    "7.1.6": "whether what came before a close frame is echoed",
    "7.13.1": "what is said to the close code 5000",
    "7.13.2": "what is said to the close code 65535",
}
"""Cases that have no right outcome, and what they look at."""

OUTCOMES = ("passed", "non-strict", "informational", "failed")


_spec = spec_from_file_location("install_autobahn", ROOT / "tools" / "install_autobahn.py")
assert _spec is not None
assert _spec.loader is not None
installer = module_from_spec(_spec)
_spec.loader.exec_module(installer)

Report = dict[str, dict[str, Any]]
"""The suite's words on each case, by its number."""


def group_of(case: str) -> str:
    number = case.partition(".")[0]
    (group,) = (name for name in CASES if name.partition(" ")[0] == number)
    return group


def outcome(said: dict[str, Any]) -> str:
    """One of `OUTCOMES`: the worse one of how a case went and how its connection was closed."""
    unusual = {said["behavior"], said["behaviorClose"]} - {"OK"}
    if not unusual:
        return "passed"
    if unusual <= {"INFORMATIONAL"}:
        return "informational"
    return "non-strict" if unusual <= {"NON-STRICT", "INFORMATIONAL"} else "failed"


def cases_with(wanted: str, report: Report) -> set[str]:
    return {case for case, said in report.items() if outcome(said) == wanted}


def table(report: Report) -> dict[str, str]:
    """The rows of the document's table by their groups, as a report has them."""
    seen = {group: Counter[str]() for group in CASES if any(group_of(case) == group for case in report)}
    for case, said in report.items():
        seen[group_of(case)][outcome(said)] += 1
    return {
        group: "| " + " | ".join((group, str(counts.total()), *(str(counts[one]) for one in OUTCOMES[:3]))) + " |"
        for group, counts in seen.items()
    }


def table_of_document() -> dict[str, str]:
    document = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    section = document.partition("\n## Autobahn\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \d+ .*\|$", section, re.MULTILINE)
    return {row.split("|")[1].strip(): row for row in rows}


@pytest.fixture
def wstest() -> str:
    """The suite's program; skips the test where it is not installed."""
    if not installer.is_installed():
        pytest.skip("Autobahn's test suite is not installed: python tools/install_autobahn.py, which wants Python 2.7")
    return str(installer.WSTEST)


@pytest.fixture
def echo_port() -> Iterator[int]:
    """The port of an echo, which serves to the end and has nothing to complain of."""
    # Its coverage would be lost when it is ended, and costs time.
    environment = {
        name: value for name, value in clean_environment().items() if not name.startswith(("COV_", "COVERAGE_"))
    }
    echo = Process([sys.executable, str(ECHO)], environment=environment)
    try:
        wait_until(lambda: echo.stdout or not echo.running, "the echo's port")
        assert echo.running, echo.stderr
        yield int(echo.stdout[0])
        assert echo.running
    finally:
        echo.stop()
    assert echo.stderr == []


@pytest.fixture
def play(wstest: str, echo_port: int, tmp_path: Path) -> Callable[..., Report]:
    """Plays cases against the echo."""

    def run(*patterns: str, seconds: float) -> Report:
        reports = tmp_path / "reports"
        spec = tmp_path / "spec.json"
        server = {"agent": AGENT, "url": f"ws://127.0.0.1:{echo_port}"}
        spec.write_text(json.dumps({"outdir": str(reports), "servers": [server], "cases": patterns}), encoding="utf-8")
        done = subprocess.run(
            [wstest, "-m", "fuzzingclient", "-s", str(spec)],
            # What is for this Python is nothing for that one.
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        report: Report = json.loads((reports / "index.json").read_text(encoding="utf-8")).get(AGENT, {})
        for said in report.values():
            details = json.loads((reports / said["reportfile"]).read_text(encoding="utf-8"))
            said |= {name: details[name] for name in ("result", "resultClose")}
        return report

    return run


REPLAYS = 2
"""Times that cases are played again which have not gone as expected: the suite gives an echo a second for most."""


def expected(case: str) -> str:
    return "non-strict" if case in NON_STRICT else "informational" if case in INFORMATIONAL else "passed"


def played(play: Callable[..., Report], *patterns: str, seconds: float) -> Report:
    """The report on cases; of those that go otherwise on a busy machine, the last."""
    time_limits.allow((REPLAYS + 1) * seconds + 2 * TIME_LIMIT_SECONDS)
    report = play(*patterns, seconds=seconds)
    for _ in range(REPLAYS):
        again = [case for case, said in report.items() if outcome(said) != expected(case)]
        if again:
            report |= play(*again, seconds=seconds)
    return report


def fail_where_one_failed(report: Report) -> None:
    assert not cases_with("failed", report), "\n".join(
        f"{case}: {said['behavior']}, {said['result']} {said['behaviorClose']}, {said['resultClose']}"
        for case, said in report.items()
        if outcome(said) == "failed"
    )


@pytest.mark.parametrize(
    ("numbers", "seconds"),
    [
        pytest.param(("1", "2", "3", "4", "5", "6", "7", "10"), 300, id="rules"),
        pytest.param(("9",), 300, id="limits", marks=pytest.mark.autobahn),
    ],
)
def test_every_case_passes(numbers: tuple[str, ...], seconds: float, play: Callable[..., Report]) -> None:
    report = played(play, *(f"{number}.*" for number in numbers), seconds=seconds)
    fail_where_one_failed(report)
    assert Counter(map(group_of, report)) == {
        group: count for group, count in CASES.items() if group.partition(" ")[0] in numbers
    }
    assert cases_with("non-strict", report) == {case for case in NON_STRICT if case.partition(".")[0] in numbers}
    assert cases_with("informational", report) == {case for case in INFORMATIONAL if case.partition(".")[0] in numbers}
    in_document = table_of_document()
    assert {group: in_document.get(group) for group in table(report)} == table(report)


LIMITS = ("9.1.6", "9.2.6", "9.3.9", "9.4.9", "9.5.6", "9.6.6", "9.7.1", "9.8.1")
"""A case of each kind of the limits: the largest messages, whole and in the largest pieces, and the shortest, a thousand times."""


def test_a_case_of_each_limit_passes(play: Callable[..., Report]) -> None:
    report = played(play, *LIMITS, seconds=300)
    fail_where_one_failed(report)
    assert cases_with("passed", report) == {*report} == {*LIMITS}


COMPRESSION = (*(f"12.{number}" for number in range(1, 6)), *(f"13.{number}" for number in range(1, 8)))
"""The parts of the groups on compression, of 18 cases each. A client of the suite waits for the echo and the echo for the
client, so that one part keeps one core busy; several are played at once."""


@pytest.mark.autobahn
@pytest.mark.parametrize("part", COMPRESSION)
def test_every_case_of_compression_passes(part: str, play: Callable[..., Report]) -> None:
    report = played(play, f"{part}.*", seconds=1200)
    fail_where_one_failed(report)
    assert {case.rpartition(".")[0] for case in report} == {part}
    assert len(report) == 18
    assert cases_with("passed", report) == {*report}


def test_the_parts_of_compression_are_all_of_it() -> None:
    groups = {group.partition(" ")[0]: count for group, count in CASES.items() if "compression" in group}
    assert {group: 18 * sum(part.startswith(f"{group}.") for part in COMPRESSION) for group in groups} == groups
    # They pass, every one, as the document says.
    for group in (group for group in CASES if "compression" in group):
        assert table_of_document()[group] == f"| {group} | {CASES[group]} | {CASES[group]} | 0 | 0 |"


def test_the_document_says_what_is_expected_of_each_group() -> None:
    """It holds for all groups, whether they are played in this run or not."""
    counts = {}
    for group, row in table_of_document().items():
        cells = [int(cell) for cell in row.split("|")[2:-1]]
        counts[group] = cells
        assert cells[0] == sum(cells[1:]), row
    non_strict = Counter(map(group_of, NON_STRICT))
    informational = Counter(map(group_of, INFORMATIONAL))
    assert {group: (cells[0], *cells[2:]) for group, cells in counts.items()} == {
        group: (count, non_strict[group], informational[group]) for group, count in CASES.items()
    }


@pytest.mark.parametrize("behavior", ["FAILED", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "UNIMPLEMENTED"])
def test_what_the_suite_calls_wrong_has_failed(behavior: str) -> None:
    good = ("OK", "NON-STRICT", "INFORMATIONAL")
    for pair in (*((behavior, other) for other in good), *((other, behavior) for other in good)):
        assert outcome(dict(zip(("behavior", "behaviorClose"), pair, strict=True))) == "failed"
