"""A pytest plugin that writes docs/proxies.md, where a run has seen every feature of it behind every proxy.

Used by `make proxies`, as `PYTHONPATH=tools pytest -p write_proxies_page`, with one process or, by pytest-xdist, with
several.
"""

import importlib
from typing import Any

import pytest

_seen: dict[tuple[str, str], str] = {}
"""The results, by the names of proxy and feature."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes what a test has seen."""
    if report.when == "call" and report.passed:
        properties: dict[str, Any] = dict(report.user_properties)
        if "seen" in properties:
            proxy, feature, seen = properties["seen"]
            _seen[proxy, feature] = seen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes the page, or says why it stays as it is."""
    # Not sooner: what a plugin imports has no assertions that say what they saw.
    page = importlib.import_module("proxies_page")
    if missing := page.missing_in(_seen):
        terminalreporter.line(f"docs/proxies.md stays as it is, for this was not seen: {missing}", red=True)
    else:
        page.write(_seen)
