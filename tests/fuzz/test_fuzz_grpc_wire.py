"""A short run of the fuzzer, and Hypothesis in its place where atheris is not installed."""

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

FUZZER = Path(__file__).with_name("fuzz_grpc_wire.py")
SECONDS = int(os.environ.get("SIGBRIDGE_FUZZ_SECONDS", "5"))


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_grpc_wire", FUZZER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzzer = _load()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_a_storm(data: bytes) -> None:
    fuzzer.play(data)


@pytest.mark.parametrize("seed", range(40))
def test_a_long_storm(seed: int) -> None:
    fuzzer.play(random.Random(seed).randbytes(8000))


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for seed in range(10):
        (seeds / str(seed)).write_bytes(random.Random(seed).randbytes(400))
    command = [sys.executable, str(FUZZER), f"-max_total_time={SECONDS}", "-max_len=2000", str(seeds)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 60, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    assert "Done " in run.stderr
