"""The sharing of tests among workers: `pytest --numprocesses=4`, by pytest-xdist.

Workers take one test after the other. Tests that share what is costly to make stay together, with one worker, which makes
it once. What takes longest begins first, so that no worker is left alone with it in the end.
"""

import contextlib
import fnmatch
import functools
import re
from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

TOGETHER = {
    "what waits most of its time: one worker does, while the others work": (
        "tests/server/test_freeze.py::*",
        "compat_tests/test_scenarios.py::*-brief_*",
        "compat_tests/test_scenarios.py::test_what_outlives_sessions_occurs",
        "compat_tests/test_webrtc.py::*",
    ),
    "what waits for the end of a token": ("compat_tests/test_scenarios.py::test_scenario[[]who_s_token_expires_*",),
    "the TypeScript client": ("tests/typescript/*",),
    "the WebRTC stacks, of which one loses a connection and waits": ("tests/stacks/*::test_a_call_comes_about_*",),
    "the WebRTC stacks": ("tests/stacks/*",),
    "the foreign clients of the native engine": (
        "tests/foreign/test_clients.py::*[[]native*",
        "tests/foreign/test_clients.py::*-native*",
    ),
    "the foreign clients of grpcio's": ("tests/foreign/test_clients.py::*",),
    "the browsers of pages": ("tests/browser/test_browser.py::*", "tests/browser/test_browser_page.py::*"),
    "the browsers of pages that call": ("tests/browser/test_browser_calls.py::*",),
    "the compiled wheel": ("tests/wheel/test_compiled.py::*",),
    "the run of the benchmark": (
        "tests/bench/test_bench.py::test_a_run_says_with_what_*",
        "tests/bench/test_bench.py::test_every_pairing_and_message_*",
        "tests/bench/test_bench.py::test_every_other_measurement_*",
        "tests/bench/test_bench.py::test_the_tables_end_a_run_*",
        "tests/bench/test_bench.py::test_a_report_is_written_*",
        "tests/bench/test_bench.py::test_runs_are_compared",
    ),
    "a comparison of this environment with itself": (
        "tests/bench/test_pair.py::test_this_environment_*",
        "tests/bench/test_pair.py::test_resumable_sessions_are_compared_*",
    ),
    "a comparison on grpcio's engine": (
        "tests/bench/test_pair.py::test_grpcio_is_compared_*",
        "tests/bench/test_pair.py::test_a_limit_that_is_exceeded_*",
    ),
    # Each name in brackets is that of a proxy, in tests/shared/proxies.py.
    "nginx": ("tests/deploy/test_proxies.py::*[[]nginx-*",),
    "Envoy": ("tests/deploy/test_proxies.py::*[[]Envoy-*",),
    "HAProxy": ("tests/deploy/test_proxies.py::*[[]HAProxy-*",),
    "Caddy": ("tests/deploy/test_proxies.py::*[[]Caddy-*",),
    "Apache": ("tests/deploy/test_proxies.py::*[[]Apache-*",),
    "HAProxy in mode http": ("tests/deploy/test_proxies.py::*[[]HAProxy in mode http-*",),
    "the servers that ask for tokens, by the native engine": ("tests/deploy/test_tokens.py::*[[]native*",),
    "the servers that ask for tokens, by grpcio's": ("tests/deploy/test_tokens.py::*[[]grpcio*",),
    "the server that asks for origins": ("tests/deploy/test_tokens.py::test_a_page_of_a_foreign_origin_*",),
    "a server that refuses pasted commands": (
        "tests/deploy/test_document_commands.py::test_grpcurl_is_told_*",
        "tests/deploy/test_document_commands.py::test_grpcurl_may_*",
        "tests/deploy/test_document_commands.py::test_reflection_asks_*",
        "tests/deploy/test_document_commands.py::test_wscat_is_refused_*",
    ),
    "a server for pasted commands": ("tests/deploy/test_document_commands.py::*[[]open]",),
    "one that asks for tokens": ("tests/deploy/test_document_commands.py::*[[]token]",),
    "one with TLS": ("tests/deploy/test_document_commands.py::*[[]tls]",),
    "one with both": ("tests/deploy/test_document_commands.py::*[[]token-tls]",),
    "the page whose clients are driven": ("compat_tests/test_scenarios.py::*ts-chromium*",),
    "the scenarios, those first that mutants fail": ("compat_tests/test_mutants.py::*",),
    "the clients that are driven in Node": ("compat_tests/test_scenarios.py::test_scenario[[]*-ts-*",),
}
"""Costly things, and the patterns of the node ids of the tests that share each."""

FIRST = (
    *(pattern for patterns in TOGETHER.values() for pattern in patterns),
    "tests/foreign/test_h2spec.py::*",
    "tests/foreign/test_frames.py::*",
    "tests/foreign/test_autobahn.py::*",
    "tests/wheel/*",
    "tests/bench/*",
    "tests/deploy/test_prometheus.py::*",
    "compat_tests/test_chaos.py::*",
)
"""Patterns of the node ids of tests that take longest, or wait longest, in their order."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Returns what matches the node ids that one of these patterns does; `lastindex` of a match counts them from 1.

    One by one they take half a second in every worker.
    """
    return re.compile("|".join(f"({fnmatch.translate(pattern)})" for pattern in patterns))


_first = _any_of(FIRST)
_together = _any_of(pattern for patterns in TOGETHER.values() for pattern in patterns)
_shared = [name for name, patterns in TOGETHER.items() for _ in patterns]


def _turn(item: pytest.Item) -> int:
    found = _first.match(item.nodeid)
    return found.lastindex or 0 if found is not None else len(FIRST) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Runs a test in a worker, and reports its call, and a set-up or tear-down that did not pass.

    pytest's own reports those that passed as well, and each report takes as long as a short test. Where durations or a file
    of results are asked for, pytest's own runs.
    """
    options = item.config.option
    if not hasattr(item.config, "workerinput") or options.durations is not None or options.xmlpath:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@functools.cache
def _group(node_id: str) -> str:
    """Returns the name of what a test shares with others; of one that shares nothing, its own id."""
    found = _together.match(node_id)
    return _shared[(found.lastindex or 0) - 1] if found is not None else node_id


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distributes as this module says where nothing else is asked for; `--dist` asks for something else."""
    if config.getvalue("dist") != "load":
        return None
    # Not the plugin's own groups: it would know them by node ids that it changes, which pytest 9.2 does not let it.
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            """Notes that a test has been played, and forgets its group where that was the last of it.

            The plugin's own keeps all that a worker has played, and counts it anew after each test.
            """
            super().mark_test_complete(node, item_index, duration)
            group = _group(self.registered_collections[node][item_index])
            if all(self.assigned_work[node][group].values()):
                del self.assigned_work[node][group]

        def remove_node(self, node: Any) -> str | None:
            """Hands on what a worker that has ended leaves; returns the test that it ended in, if any.

            The plugin's own would run that test again, to the end of the next worker, and hand on what has been done, after
            which a worker waits for ever.
            """
            ended_in = None
            for group, tests in self.assigned_work.pop(node).items():
                left = {node_id: False for node_id, done in tests.items() if not done}
                if left and ended_in is None:
                    ended_in = next(iter(left))
                    del left[ended_in]
                if left:
                    self.workqueue[group] = left
            for other in list(self.assigned_work):
                self._reschedule(other)
            return ended_in

        def _reschedule(self, node: Any) -> None:
            # A worker that takes another one's place has not said yet what tests it knows.
            if node in self.registered_collections:
                # One that has ended, of which nothing has been said yet, plays nothing; what it has got here is handed on
                # with all that it leaves.
                with contextlib.suppress(OSError):
                    super()._reschedule(node)

    config.option.loadscopereorder = False
    return GroupScheduling(config, log)
