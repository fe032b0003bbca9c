"""Makes the kept inputs of each fuzzer anew: few and short ones that reach all that a run of some minutes has reached.

`make fuzz-corpus SECONDS=300` fuzzes for so long, two fuzzers at a time, from the inputs that are kept. What a fuzzer finds
wrong ends it all, and stays where the last line says. Inputs with telling names are findings, and stay.
"""

import hashlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzzers import FUZZERS, command, corpus, kept_inputs

MOST_INPUTS = 100
MOST_BYTES = 400
AT_ONCE = 2
_is_hash = re.compile("[0-9a-f]{40}").fullmatch


class FindingError(Exception):
    """A fuzzer has found something wrong."""


def _run(fuzzer: str, folder: Path, *options: object) -> str:
    """Runs a fuzzer; returns what it has said."""
    done = subprocess.run(
        command(fuzzer, f"-max_len={MOST_BYTES}", *options), cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FindingError(f"{done.stderr[-3000:]}\n{fuzzer} has found something: its input is in {folder}")
    return done.stderr


def _features(control_file: Path) -> Iterator[tuple[Path, set[int]]]:
    """Yields each input of a merge, and the features of the code that it reaches."""
    lines = control_file.read_text().splitlines()
    files = [Path(line) for line in lines[2 : 2 + int(lines[0])]]
    for line in lines[2 + len(files) :]:
        word, number, *rest = line.split()
        if word == "FT":
            yield files[int(number)], set(map(int, rest))


def _chosen(reached: dict[Path, set[int]], covered: set[int]) -> list[Path]:
    """Returns the inputs that reach most beyond what is covered, the shorter one first where two reach as much."""
    chosen: list[Path] = []
    left = sorted(reached, key=lambda path: (path.stat().st_size, path.name))
    while left and len(chosen) < MOST_INPUTS:
        best = max(left, key=lambda path: len(reached[path] - covered))
        if reached[best] <= covered:
            break
        chosen.append(best)
        left.remove(best)
        covered |= reached[best]
    return chosen


def make(fuzzer: str, seconds: int) -> str:
    """Fuzzes, and replaces the kept inputs of a fuzzer; returns what it has come to. Raises FindingError."""
    folder = Path(tempfile.mkdtemp(prefix=f"{fuzzer}-"))
    found, merged, kept = folder / "found", folder / "merged", corpus(fuzzer)
    for one in (found, merged, kept):
        one.mkdir(exist_ok=True)
    for seed in range(10):
        (found / f"seed-{seed}").write_bytes(random.Random(seed).randbytes(MOST_BYTES))
    said = _run(fuzzer, folder, f"-max_total_time={seconds}", found, kept)
    played = re.findall(r"Done (\d+) runs", said)
    control_file = folder / "control"
    _run(fuzzer, folder, "-set_cover_merge=1", f"-merge_control_file={control_file}", merged, found, kept)
    reached = dict(_features(control_file))
    findings = [path for path in kept_inputs(fuzzer) if not _is_hash(path.name)]
    covered = set[int]().union(*(reached.pop(path, set()) for path in findings))
    chosen = [path.read_bytes()[:MOST_BYTES] for path in _chosen(reached, covered)]
    for path in kept_inputs(fuzzer):
        if path not in findings:
            path.unlink()
    for data in chosen:
        (kept / hashlib.sha1(data).hexdigest()).write_bytes(data)
    shutil.rmtree(folder)
    size = sum(path.stat().st_size for path in kept_inputs(fuzzer))
    return f"{fuzzer}: {played[0]} runs, {len(chosen)} inputs and {len(findings)} findings, {size} bytes"


def main(seconds: int) -> int:
    """Makes the kept inputs of all fuzzers."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(make, fuzzer, seconds) for fuzzer in FUZZERS]
        try:
            for run in runs:
                print(run.result(), flush=True)
        except FindingError as finding:
            print(finding, file=sys.stderr)
            for run in runs:
                run.cancel()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
