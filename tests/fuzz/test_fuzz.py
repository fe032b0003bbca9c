"""A short run of each fuzzer, of the HTTP/2 machine alone and of the gRPC wire; Hypothesis where there is no atheris."""

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import time_limits

SECONDS = int(os.environ.get("SIGBRIDGE_FUZZ_SECONDS", "5"))
ENDING_SECONDS = 60
"""The most seconds for the fuzzer to begin and to end."""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZERS = [_load("fuzz_http2"), _load("fuzz_grpc_wire")]
each_fuzzer = pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda fuzzer: fuzzer.__name__)


@each_fuzzer
@settings(max_examples=3 * settings().max_examples)
@given(st.binary(max_size=600))
def test_a_storm(fuzzer: ModuleType, data: bytes) -> None:
    fuzzer.play(data)


@each_fuzzer
@pytest.mark.parametrize("seed", range(40))
def test_a_long_storm(fuzzer: ModuleType, seed: int) -> None:
    fuzzer.play(random.Random(seed).randbytes(8000))


@pytest.mark.fuzz
@each_fuzzer
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_it_finds_nothing(fuzzer: ModuleType, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for seed in range(10):
        (seeds / str(seed)).write_bytes(random.Random(seed).randbytes(400))
    time_limits.allow(SECONDS + 2 * ENDING_SECONDS)
    command = [sys.executable, str(fuzzer.__file__), f"-max_total_time={SECONDS}", "-max_len=2000", str(seeds)]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + ENDING_SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert "Done " in run.stderr
