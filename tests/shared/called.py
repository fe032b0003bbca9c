"""The command `sigbridge` as a function, for tests of what it says: starting a process takes longer than most of what it does.

What it changes of the process is changed back: its handlers of signals, how many files may be open, and its log.
"""

import asyncio
import contextlib
import io
import logging
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unittest.mock import patch

import pytest

from processes import clean_environment
from sigbridge_command.command import main


class Done(NamedTuple):
    """A command that has ended: its exit code, and what it has printed."""

    returncode: int
    stdout: str
    stderr: str


async def called(capsys: pytest.CaptureFixture[str], *arguments: object, **environ: str) -> Done:
    """Calls the command in a thread, with these variables of ours and no others."""
    with patch.dict(os.environ, clean_environment(**environ), clear=True), _as_it_was():
        code = await asyncio.to_thread(_code, arguments)
    return Done(code, *capsys.readouterr())


def said_here(*arguments: object, **environ: str) -> Done:
    """Calls the command with these variables, as the main thread does of a process."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environ),
        _as_it_was(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        code = _code(arguments)
    return Done(code, out.getvalue(), errors.getvalue())


def _code(arguments: Sequence[object]) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as exited:
        return int(exited.code or 0)


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    handler, files = signal.getsignal(signal.SIGTERM), resource.getrlimit(resource.RLIMIT_NOFILE)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers.copy()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        root.setLevel(level)
        root.handlers[:] = handlers
