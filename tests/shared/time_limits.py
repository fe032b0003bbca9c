"""Time limits of tests that are known to take long; all others have the one of pyproject.toml, `faulthandler_timeout`.

Where a limit is passed, every thread's traceback is written and the process ends. Under pytest-xdist that is a worker,
whose test counts as failed and whose other tests another worker runs. Where only fast tests run, one limit holds for
all of a process: a thread of its own for each takes a second in all.
"""

import faulthandler
import os
from typing import TextIO

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

ALL_SECONDS = 600.0
"""The time of all tests of a process, where none has a limit of its own (`faulthandler_timeout` is 0)."""

_stderr: list[int] = []
"""The standard error of the run, which no test captures."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # pytest keeps it for its own time limit, and has no other name for it.
    _stderr[:] = [config.stash[fault_handler_stderr_fd_key]]
    if float(config.getini("faulthandler_timeout") or 0) == 0:
        allow(ALL_SECONDS)


def allow(seconds: float) -> None:
    """Gives the test that runs so many seconds from now on, and no longer; pytest ends a limit with its test."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr[0])


def stderr() -> TextIO:
    """The run's standard error, past what captures a test's; the caller closes it."""
    stream = os.fdopen(os.dup(_stderr[0]), "w", encoding="utf-8")
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Several workers have it, and none of them the line to itself.
        stream.isatty = lambda: False  # type: ignore[method-assign]
    return stream
