"""The mark `fast`: tests that start no process and open no socket, which `make test-fast` runs; and its enforcement.

Every test has the mark but those that are named here. A test that has it and opens a socket or starts a process fails,
in every run, so that the mark says the truth. The pair of sockets by which an event loop wakes itself is none of these.
"""

import contextlib
import fnmatch
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

OUTSIDE = (
    # Whole folders, and files.
    "tests/auth/test_imports*",
    "tests/browser/*",
    "tests/client/test_[!r]*",  # all but the states of clients that reconnect
    "tests/client/test_reaching*",
    "tests/client/test_resuming.py*",
    "tests/command/test_[!s]*",  # all but the table of settings
    "tests/command/test_serving*",
    "tests/deploy/*",
    "tests/examples/test_by_hand*",
    "tests/examples/test_embedding*",
    "tests/examples/test_host*",
    "tests/examples/test_mounting*",
    "tests/examples/test_serve*",
    "tests/examples/test_tls*",
    "tests/foreign/*",
    "tests/bench/test_baselines*",
    "tests/bench/test_bench*",
    "tests/bench/test_pair.py*",
    "tests/bench/test_pair_builds*",
    "tests/grpc/test_client*",
    "tests/grpc/test_discovery*",
    "tests/grpc/test_engine*",
    "tests/grpc/test_interceptors*",
    "tests/grpc/test_mount*",
    "tests/net/test_carrier*",
    "tests/net/test_first_bytes*",
    "tests/net/test_listening*",
    "tests/net/test_proxy_connections*",
    "tests/server/test_beginning.py::test_a_server_says_it_once*",
    "tests/server/test_certificate_watch.py::test_a_certificate_that_is_read_again*",
    "tests/server/test_client_script.py::test_[ai]*",
    "tests/server/test_client_script.py::test_who*",
    "tests/server/test_freeze*",
    "tests/server/test_front*",
    "tests/server/test_places*",
    "tests/server/test_server*",
    "tests/server/test_shared_ports*",
    "tests/stacks/*",
    "tests/turn/*",
    "tests/typescript/*",
    "tests/webrtc/test_real*",
    "tests/websocket/test_client*",
    "tests/wheel/*",
    "compat_tests/test_chaos*",
    "compat_tests/test_webrtc*",
    # Some tests of others.
    "compat_tests/test_random_scripts.py::test_scripts_on_[!a]*",  # all but those on a bare hub
    "compat_tests/test_random_scripts.py::test_scripts_on_all*",
    "compat_tests/test_scenarios.py::*-server-*",
    "compat_tests/test_scenarios.py::*-deferred_server-*",
    "compat_tests/test_scenarios.py::*-brief_server-*",
    "compat_tests/test_scenarios.py::test_a_meeting_leaves_nothing_behind",
    "compat_tests/test_scenarios.py::test_every_way_into_a_server_is_paired",
    "tests/fuzz/*::test_it_finds_nothing*",
    "tests/grpc/test_generated.py::test_the_checked_in_code_is_current",
    "tests/grpc/test_generated.py::test_the_stub_is_importable_where_it_lies",
    "tests/test_prose.py::test_a_checkout_*",
    "tests/server/test_memory.py::test_a_server_over_its_limit_is_degraded_from_the_start",
    "tests/server/test_metrics.py::test_a_server_that_is_short_of_memory_is_ready_all_the_same",
    "tests/server/test_metrics.py::test_health_and_readiness*",
    "tests/server/test_metrics.py::test_metrics_are_served_for_both_protocols_together",
    "tests/server/test_metrics.py::test_off_means_nowhere",
    "tests/server/test_metrics.py::test_refusals_at_every_door_are_counted*",
    "tests/server/test_tracing.py::test_from_*",
    "tests/test_errors.py::*",  # every module is imported, and one of aiortc asks ldconfig
    "tests/test_suite.py::test_[!w]*",
    "tests/test_project.py::test_the_example_of_the_document_*",
    "tests/test_project.py::test_the_examples_call_each_other_over_both_protocols",
    "tests/test_project.py::test_an_example_that_reaches_nobody_says_so",
    "tests/test_project.py::test_the_backend_of_the_readme_ends_by_ctrl_c_*",
    "tests/test_project.py::test_the_jsonrpc_session_of_a_page_*",
    "tests/test_project.py::test_the_whole_description_*",
    "tests/test_project.py::test_the_session_of_the_page_on_resuming_*",
    "tests/test_project.py::test_what_is_made_is_current*",
)
"""Patterns of the node ids of tests that do start processes or open sockets."""

_PROCESSES = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"}


_outside = re.compile("|".join(map(fnmatch.translate, OUTSIDE))).match


def _is_outside(node_id: str) -> bool:
    return _outside(node_id) is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out whole files where only fast tests are asked for: reading them takes seconds in every worker."""
    if not config.getoption("markexpr").startswith("fast") or not collection_path.is_file():
        return None
    return _is_outside(f"{collection_path.relative_to(config.rootpath)}::test") or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _is_outside(item.nodeid):
            item.add_marker("fast")


class Watch:
    """Looks out for sockets and processes while a fast test runs."""

    def __init__(self) -> None:
        self._armed = False
        self._hooked = False
        self._seen: list[str] = []
        self._watched: set[str] = set()

    @contextlib.contextmanager
    def over(self, item: pytest.Item) -> Iterator[None]:
        """Fails a fast test that opens a socket or starts a process, whether or not it notices."""
        if item.get_closest_marker("fast") is None:
            yield
            return
        if not self._hooked:
            # A hook stays until the process ends.
            sys.addaudithook(self._audit)
            self._hooked = True
        self._watch_grpc()
        self._seen.clear()
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
        if self._seen:
            pytest.fail(self._seen[0], pytrace=False)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event in _PROCESSES:
            self._object(f"starts a process: {event} {arguments[:2]}")
        elif event == "socket.__new__" and not _is_a_loops_own():
            self._object("opens a socket")

    def _object(self, what: str) -> None:
        said = f"a test that is marked `fast` {what}; those that may are named in {__file__}"
        self._seen.append(said)
        pytest.fail(said)

    def _watch_grpc(self) -> None:
        """The library's sockets are not Python's: its servers and channels are looked at as they are made."""
        for package, module, kind in (
            ("grpc", "grpc._channel", "Channel"),
            ("grpc", "grpc._server", "_Server"),
            ("grpc.aio", "grpc.aio._channel", "Channel"),
            ("grpc.aio", "grpc.aio._server", "Server"),
        ):
            if package in sys.modules and module not in self._watched:
                self._watched.add(module)
                made = getattr(importlib.import_module(module), kind)
                made.__init__ = self._objecting(made.__init__, f"{module}.{kind}")

    def _objecting(self, make: Callable[..., None], name: str) -> Callable[..., None]:
        def make_or_object(*arguments: Any, **options: Any) -> None:
            if self._armed:
                self._object(f"makes a {name}")
            make(*arguments, **options)

        return make_or_object


def _is_a_loops_own() -> bool:
    """Returns True for a socket of the pair by which an event loop wakes itself."""
    frame = sys._getframe(2)
    for _ in range(4):
        if frame.f_code.co_name == "_make_self_pipe":
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False


_watch = Watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with _watch.over(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with _watch.over(item):
        return (yield)
