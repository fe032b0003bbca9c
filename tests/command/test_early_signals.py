"""Signals that come while a server is being loaded, before it listens: also to the process with the number 1."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import NOT_MEASURED, clean_environment
from waiting import TIME_LIMIT_SECONDS, wait_until

GATE = """
import os, sys

class Gate:
    \"\"\"Lets nobody load the hub until the test says so.\"\"\"
    def find_spec(self, name, path=None, target=None):
        if name == "sigbridge":
            sys.meta_path.remove(self)
            open(os.environ["REACHED"], "w").close()
            open(os.environ["GATE"]).close()

sys.meta_path.insert(0, Gate())
"""
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def namespace():
    """The words that make a command the process 1 of a namespace of its own; skips where that is not permitted."""
    for words in (NAMESPACE, [*NAMESPACE, "--user", "--map-root-user"]):
        with contextlib.suppress(FileNotFoundError):
            if (
                subprocess.run(
                    [*words, "true"], capture_output=True, timeout=TIME_LIMIT_SECONDS, check=False
                ).returncode
                == 0
            ):
                return words
    pytest.skip("a PID namespace takes root, CAP_SYS_ADMIN or user namespaces, and the program unshare")


class Loading:
    """A `sigbridge` that is held up where it begins to load the hub."""

    def __init__(self, folder, *arguments, before=()):
        (folder / "sitecustomize.py").write_text(GATE)
        self._gate = folder / "gate"
        os.mkfifo(self._gate)
        reached = folder / "reached"
        addresses = dict.fromkeys(("GRPC_BIND_ADDRESS", "WS_BIND_ADDRESS", "HTTP_BIND_ADDRESS"), "127.0.0.1:0")
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "sigbridge_command", *arguments],
            env=clean_environment(
                **addresses, **NOT_MEASURED, PYTHONPATH=path, REACHED=str(reached), GATE=str(self._gate)
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: reached.exists() or self.process.poll() is not None, "the command begins to load")

    @property
    def first_child(self):
        """The child of the process that it is."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def go_on(self):
        """Lets it load; what it did not get over ends without being told."""
        wait_until(self._opened, "the command goes on, or has ended")

    def _opened(self):
        if self.process.poll() is not None:
            return True
        try:
            os.close(os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            # Nobody waits yet.
            return False
        return True

    def said(self):
        return self.process.communicate(timeout=TIME_LIMIT_SECONDS)


@pytest.fixture
def loading(tmp_path):
    started = []

    def loading(*arguments, before=()):
        started.append(Loading(tmp_path, *arguments, before=before))
        return started[-1]

    yield loading
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def ended_well(server):
    out, errors = server.said()
    assert server.process.returncode == 0, errors
    assert out == ""
    assert "stopped before the start" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_is_loaded_ends_a_server_before_it_listens(loading, number):
    server = loading("serve")
    server.process.send_signal(number)
    server.go_on()
    ended_well(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_so_it_does_the_first_process_of_a_container(loading, number):
    server = loading("serve", before=namespace())
    first = server.first_child
    assert Path(f"/proc/{first}/status").read_text().count("NSpid:\t") == 1
    os.kill(first, number)
    server.go_on()
    ended_well(server)


def test_several_signals_are_an_orderly_end_all_the_same(loading):
    server = loading("serve")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        server.process.send_signal(number)
    server.go_on()
    ended_well(server)


def test_a_hangup_while_it_is_loaded_ends_nothing(loading):
    server = loading("serve")
    server.process.send_signal(signal.SIGHUP)
    server.go_on()
    for _ in range(3):
        assert " listening on " in server.process.stdout.readline()
    server.process.send_signal(signal.SIGTERM)
    out, errors = server.said()
    assert (server.process.returncode, out) == (0, "")
    assert "Traceback" not in errors


def test_other_commands_end_by_an_interrupt_at_once_and_without_a_traceback(loading):
    command = loading("version")
    command.process.send_signal(signal.SIGINT)
    command.go_on()
    assert command.said() == ("", "")
    assert command.process.returncode == 130
