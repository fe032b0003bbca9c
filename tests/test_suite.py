"""The suite's promises: it leaves no test out, fast tests are fast ones, and on CI a skip is a failure."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import time_limits

ROOT = Path(__file__).parents[1]
TESTPATHS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"][
    "testpaths"
]
LIMIT_SECONDS = 110
COLLECTING_SECONDS = 400


def play(folder: Path, *arguments: str, **files: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest in a folder of its own, on files of these names and texts."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nmarkers = fast\n", encoding="utf-8")
    paths = os.pathsep.join(map(str, (ROOT / "tools", ROOT / "tests" / "shared")))
    # Loading the plugins that these do not need takes half of the time.
    without = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:pytest_cov")
    command = (sys.executable, "-m", "pytest", *without, "-rA", *arguments)
    return subprocess.run(
        command,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name} | {"PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def test_no_file_of_tests_is_left_out():
    time_limits.allow(COLLECTING_SECONDS + 20)
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-m", ""),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COLLECTING_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    there = {str(file.relative_to(ROOT)) for path in TESTPATHS for file in (ROOT / path).rglob("test_*.py")}
    assert collected == there


# On CI a skip is a failure.

SKIPPING = "import pytest\ndef test_one(): pass\ndef test_two(): pytest.skip('not here')\n"
MISSING = "import pytest\npytest.importorskip('no_such_module')\ndef test_three(): pass\n"


@pytest.mark.parametrize("workers", [(), ("--numprocesses", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize("text", [SKIPPING, MISSING], ids=["a test", "a module"])
def test_a_skip_fails_the_run(text, workers, tmp_path):
    passing = "def test_four(): pass\n"
    done = play(tmp_path, "-p", "no_skips", *workers, test_some=text, test_others=passing)
    assert done.returncode == 1, done.stdout
    assert "skipped, which fails on CI" in done.stdout
    assert "FAILED" not in done.stdout


def test_elsewhere_a_skip_is_none(tmp_path):
    assert play(tmp_path, test_some=SKIPPING, test_others=MISSING).returncode == 0


@pytest.mark.parametrize("workers", [(), ("--numprocesses", "2")], ids=["one process", "two workers"])
def test_an_expected_failure_is_no_skip(workers, tmp_path):
    text = "import pytest\n@pytest.mark.xfail\ndef test_one(): assert 0\ndef test_two(): pass\n"
    done = play(tmp_path, "-p", "no_skips", *workers, test_some=text)
    assert done.returncode == 0, done.stdout


# A worker that ends, by its time limit or otherwise, costs the test that it ends in and no other.

ENDING = """
import os, time, pytest
@pytest.mark.parametrize("n", range(30))
def test_some(n):
    with open(f"played-{n}", "x"): pass
    time.sleep(0.01)
    if n in (5, 6, 29): os._exit(1)
"""
ENDING_TOGETHER = """
import os, pathlib, pytest, time
@pytest.mark.parametrize("n", range(20))
def test_some(n):
    if n < 2:
        pathlib.Path(f"ends-{n}").touch()
        while not pathlib.Path(f"ends-{1 - n}").exists(): time.sleep(0.001)
        os._exit(1)
"""
HANGING = """
import threading
def test_hanging(): threading.Event().wait()
def test_some(): pass
def test_other(): pass
"""


def test_a_worker_that_ends_costs_one_test(tmp_path):
    done = play(tmp_path, "-p", "distribution", "--numprocesses", "2", test_some=ENDING)
    assert "3 failed, 27 passed" in done.stdout, done.stdout
    assert len(list(tmp_path.glob("played-*"))) == 30


def test_two_workers_that_end_together_cost_two(tmp_path):
    done = play(tmp_path, "-p", "distribution", "--numprocesses", "2", test_some=ENDING_TOGETHER)
    assert "2 failed, 18 passed" in done.stdout, done.stdout


def test_a_time_limit_costs_one_test(tmp_path):
    limit = ("-o", "faulthandler_timeout=5", "-o", "faulthandler_exit_on_timeout=true")
    done = play(tmp_path, "-p", "distribution", "--numprocesses", "2", *limit, test_some=HANGING)
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    assert "Timeout" in done.stderr
    assert "in test_hanging" in done.stderr


# Fast tests start no process and open no socket.

FAULTS = """
import asyncio, os, socket, subprocess, sys
import grpc, grpc.aio, pytest

def test_socket(): socket.socket()
def test_pair(): socket.socketpair()
def test_unnoticed():
    try: socket.create_server(("127.0.0.1", 0))
    except BaseException: pass
def test_process(): subprocess.run([sys.executable, "-c", ""])
def test_fork():
    if not os.fork(): os._exit(0)
def test_channel(): grpc.insecure_channel("127.0.0.1:1")
async def test_async_channel(): grpc.aio.insecure_channel("127.0.0.1:1")
async def test_async_server(): grpc.aio.server()
async def test_connection(): await asyncio.open_connection("127.0.0.1", 1)
async def test_async_process(): await asyncio.create_subprocess_exec("true")
@pytest.fixture
def served(): return socket.socket()
def test_fixture(served): pass
"""
SOUND = """
import asyncio
async def test_loop(): await asyncio.sleep(0)
def test_runner(): asyncio.run(asyncio.sleep(0))
def test_nothing(): pass
"""


def test_a_fast_test_that_opens_a_socket_or_starts_a_process_fails(tmp_path):
    done = play(tmp_path, "-p", "fast_tests", test_faults=FAULTS)
    count = FAULTS.count("def test_")
    assert f"{count - 1} failed, 1 error" in done.stdout, done.stdout
    assert done.stdout.count("is marked `fast`") >= count


def test_a_fast_test_has_its_event_loops(tmp_path):
    done = play(tmp_path, "-p", "fast_tests", test_sound=SOUND)
    assert "3 passed" in done.stdout, done.stdout


def test_what_is_named_as_not_fast_is_there():
    """A name that nothing has any more would be a hole for what gets it next."""
    from fnmatch import fnmatchcase

    from fast_tests import OUTSIDE

    files = [str(file.relative_to(ROOT)) for path in TESTPATHS for file in (ROOT / path).rglob("test_*.py")]
    for pattern in OUTSIDE:
        path, _, name = pattern.partition("::")
        found = [file for file in files if fnmatchcase(f"{file}::", pattern if not name else f"{path}::")]
        assert found, pattern
        if name.startswith("test_"):
            functions = "".join((ROOT / file).read_text(encoding="utf-8") for file in found)
            assert name.partition("[")[0].rstrip("*") in functions, pattern
