"""The order and the grouping of tests that several workers share, under pytest-xdist with `--dist=loadgroup`.

Tests that share something costly stay together, with one worker, which makes it once. What takes longest begins first,
so that no worker is left alone with it in the end.
"""

import fnmatch

import pytest

ONCE = {"compiled_wheel": "wheel", "whole_run": "bench"}
"""Costly fixtures, and the group of the tests that use them."""

FIRST = (
    "tests/wheel/*",
    "tests/foreign/test_h2spec.py::*",
    "tests/foreign/test_frames.py::*",
    "tests/bench/test_bench.py::*",
    "tests/deploy/test_prometheus.py::*",
)
"""Patterns of the node ids of tests that take longest, or wait longest."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        for fixture, group in ONCE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, pattern in enumerate(FIRST) if fnmatch.fnmatchcase(item.nodeid, pattern)), len(FIRST))
