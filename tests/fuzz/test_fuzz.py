"""A short run of each fuzzer, from its kept inputs and from random ones; Hypothesis where there is no atheris."""

import importlib.util
import os
import random
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import time_limits
from fuzzers import FOLDER, FUZZERS, command, corpus, kept_inputs

SECONDS = int(os.environ.get("SIGBRIDGE_FUZZ_SECONDS", "5"))
ENDING_SECONDS = 60
"""The most seconds for the fuzzer to begin and to end."""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


each_fuzzer = pytest.mark.parametrize("fuzzer", list(map(_load, FUZZERS)), ids=lambda fuzzer: fuzzer.__name__)


@pytest.mark.thorough
@each_fuzzer
def test_what_is_kept(fuzzer: ModuleType) -> None:
    inputs = kept_inputs(fuzzer.__name__)
    assert inputs
    if settings().max_examples < settings.get_profile("sigbridge").max_examples:
        # `make test-fast` plays some; every other run plays all.
        inputs = random.sample(inputs, len(inputs) // 4)
    for path in inputs:
        try:
            fuzzer.play(path.read_bytes())
        except BaseException as failure:
            failure.add_note(f"playing {path}")
            raise


@pytest.mark.thorough
@each_fuzzer
@settings(max_examples=3 * settings().max_examples)
@given(st.binary(max_size=600))
def test_a_storm(fuzzer: ModuleType, data: bytes) -> None:
    fuzzer.play(data)


@each_fuzzer
@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(5, 40))])
def test_a_long_storm(fuzzer: ModuleType, seed: int) -> None:
    fuzzer.play(random.Random(seed).randbytes(8000))


@pytest.mark.fuzz
@each_fuzzer
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_it_finds_nothing(fuzzer: ModuleType, tmp_path: Path) -> None:
    # What is found goes into the first folder, and is not kept.
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for seed in range(10):
        (seeds / str(seed)).write_bytes(random.Random(seed).randbytes(400))
    time_limits.allow(SECONDS + 2 * ENDING_SECONDS)
    options = (f"-max_total_time={SECONDS}", "-max_len=2000", seeds, corpus(fuzzer.__name__))
    run = subprocess.run(
        command(fuzzer.__name__, *options),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS + ENDING_SECONDS,
        check=False,
    )
    # The traceback is on stdout, what libFuzzer says on stderr.
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "Done " in run.stderr
