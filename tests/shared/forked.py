"""The command `sigbridge`, forked from a process that has loaded it, since loading takes most of the time of a short run.

It is for tests of what servers do, not of how they start. Each worker has one process to fork, the fork server of
multiprocessing, as soon as it starts the first command.
"""

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import TextIO

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["sigbridge_command.serving", "sigbridge_server.grpcio_engine"])


class Forked:
    """A command that runs; what a test uses of it is what it uses of `subprocess.Popen`."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        (out, its_out), (errors, its_errors) = (_forks.Pipe(duplex=False) for _ in range(2))
        self._process = _forks.Process(target=_run, args=(arguments, environment, its_out, its_errors), daemon=True)
        self._process.start()
        its_out.close()
        its_errors.close()
        self.stdout, self.stderr = _lines_of(out), _lines_of(errors)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Returns its exit code, or `None` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Waits until it has ended; returns its exit code.

        :raises subprocess.TimeoutExpired: if it has not within so many seconds.
        """
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("sigbridge", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _lines_of(read: Connection) -> TextIO:
    """Returns what is written to the other end of a pipe as a file of text."""
    file = os.fdopen(os.dup(read.fileno()), encoding="utf-8")
    read.close()
    return file


def _run(arguments: list[str], environment: dict[str, str], out: Connection, errors: Connection) -> None:
    """Runs the command, as the interpreter would with `-W error`, but for what jsonrpcserver does when it is loaded."""
    for number, given in enumerate((out, errors), 1):
        os.dup2(given.fileno(), number)
        given.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["sigbridge", *arguments]
    warnings.simplefilter("error")
    from sigbridge_command.start import main

    try:
        code = main()
    except Exception:  # noqa: BLE001 - as the interpreter would print it
        traceback.print_exc()
        code = 1
    finally:
        # multiprocessing leaves them out.
        atexit._run_exitfuncs()
    sys.exit(code)
