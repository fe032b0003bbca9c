"""A pytest plugin for CI: a test that was skipped counts as a failure, because on CI everything can run.

Used as `PYTHONPATH=tools pytest -p no_skips`, with one process or, by pytest-xdist, with several.
"""

import pytest

_skipped: dict[str, None] = {}
"""The skipped tests and modules, once each: every worker collects all tests, and says so of a module."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes a skipped test; an expected failure is none."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped[report.nodeid] = None


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notes a skipped module."""
    if report.skipped:
        _skipped[report.nodeid] = None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run if anything was skipped."""
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the names of what was skipped."""
    if _skipped:
        terminalreporter.section("skipped, which fails on CI", red=True)
        for nodeid in _skipped:
            terminalreporter.line(nodeid)
