"""Fuzzing with atheris, by a fuzzer's file that is run by itself: what it instruments, and how it begins."""

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import atheris


def instrumenting(*modules: str) -> AbstractContextManager[None]:
    """Instruments what is imported meanwhile of these packages and modules: everything would take a minute."""
    return atheris.instrument_imports(include=list(modules))


def fuzz(play: Callable[[bytes], None]) -> None:
    """Plays inputs until the options of the command line end it; a failure ends the process."""
    # To merge, libFuzzer runs its command again, by a shell.
    atheris.Setup([shlex.join((sys.executable, sys.argv[0])), *sys.argv[1:]], play)
    atheris.Fuzz()
