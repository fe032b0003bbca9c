"""The command `sigbridge` as a function, for tests of what it says: a process of its own takes 0.1 s of the processor's."""

import asyncio
import os
from unittest.mock import patch

import pytest

from processes import clean_environment
from sigbridge_command.command import main


async def called(capsys: pytest.CaptureFixture[str], *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, run in a thread of this process with these variables."""
    with patch.dict(os.environ, clean_environment(**environ), clear=True):
        code = await asyncio.to_thread(_code, arguments)
    out, errors = capsys.readouterr()
    return code, out, errors


def _code(arguments: tuple[str, ...]) -> int:
    try:
        return main(arguments)
    except SystemExit as exited:
        return int(exited.code or 0)
