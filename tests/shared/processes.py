"""Processes that tests start, in an environment without settings of a server.

Those of `python` and `sigbridge` are for tests that await, and gone when their block ends. A `Process` is for tests that do
not, or that look at what it says while it runs; who starts it stops it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from forked import Forked
from waiting import TIME_LIMIT_SECONDS

NOT_MEASURED = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
"""Variables of a process of which no coverage is measured, since that takes its time at the start and while it runs."""


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of a server, without proxies, and with these variables."""
    prefixes = ("GRPC_", "WS_", "HTTP_", "SIGNALING_", "RUST_LOG", "SIGBRIDGE_TOKEN")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes) and not name.lower().endswith("_proxy")
    }
    return kept | variables


@contextlib.asynccontextmanager
async def python(*arguments, env, stdout=asyncio.subprocess.PIPE, limit_seconds=TIME_LIMIT_SECONDS):
    """Runs Python with arguments; the block may take as long as the limit says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_seconds):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def sigbridge_words(*arguments: str) -> list[str]:
    """The words that run the command `sigbridge` of this environment."""
    return [sys.executable, "-m", "sigbridge_command", *arguments]


def sigbridge(*arguments, **options):
    """Runs the command `sigbridge`."""
    return python("-m", "sigbridge_command", *arguments, **options)


async def said_by(process):
    """Exit code, stdout and stderr of a process that ends by itself."""
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


class Process:
    """A program that runs beside the test, and every line that it says."""

    def __init__(self, command: list[str], *, environment: dict[str, str], cwd: Path | None = None) -> None:
        self._popen = self._start(command, environment, cwd)
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._readers = [
            threading.Thread(target=lines.extend, args=(iter(pipe.readline, ""),))
            for lines, pipe in ((self.stdout, self._popen.stdout), (self.stderr, self._popen.stderr))
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    def _start(
        self, command: list[str], environment: dict[str, str], cwd: Path | None
    ) -> "subprocess.Popen[str] | Forked":
        return subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Waits until it has ended and everything that it said has been read; returns its exit code."""
        code = self._popen.wait(TIME_LIMIT_SECONDS)
        for reader in self._readers:
            reader.join(TIME_LIMIT_SECONDS)
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def stop(self) -> int:
        """Ends it, by force where it takes too long, and may be called again; returns its exit code."""
        if self.running:
            self._popen.terminate()
        try:
            self._popen.wait(TIME_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            raise
        finally:
            code = self.wait()
        return code
