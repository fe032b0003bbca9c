"""The `sigbridge` command in the process of a test: what it prints and returns, as of a process of its own.

Starting a process of Python takes longer than most of what the command does.
"""

import contextlib
import io
import os
import resource
import signal
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

from sigbridge_command.command import main


class Done(NamedTuple):
    """A command that has ended: its exit code, and what it has printed."""

    returncode: int
    stdout: str
    stderr: str


def said_here(*arguments: object, **environ: str) -> Done:
    """Runs the command with environment variables of its own; what it changes of the process is changed back."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environ),
        _as_it_was(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        code = main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Changes back what happens at SIGTERM, and how many files may be open."""
    handler, files = signal.getsignal(signal.SIGTERM), resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
