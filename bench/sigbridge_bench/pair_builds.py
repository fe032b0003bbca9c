"""An installed build: its environment, its command, the version that it says.

A build is a black box, so that older and newer ones can be compared: nothing of it is imported here, and all that is
known of it its own programs have printed.
"""

import os
import subprocess
from pathlib import Path
from typing import Literal, NamedTuple

from sigbridge_bench.errors import BenchError

Name = Literal["A", "B"]
"""The name of a build in a comparison."""

ALONE = (("PYTHONPATH", ""), ("PYTHONHOME", ""))
"""Variables with which an environment has its own packages, and not those of whoever measures it."""

VERSION_SECONDS = 60.0


class Build(NamedTuple):
    """An installed build."""

    environment: str
    """The virtual environment, as it was given."""
    version: str
    """The line that its `sigbridge version` prints."""
    python: str

    @property
    def program(self) -> Path:
        """The command of that environment."""
        return Path(self.environment).absolute() / "bin" / "sigbridge"

    def __str__(self) -> str:
        compiled = "" if "(compiled)" in self.version else ", not compiled"
        return f"{self.environment}: {self.version}{compiled}, {self.python or 'Python unknown'}"


def build_at(environment: str) -> Build:
    """Returns the build that is installed in a virtual environment.

    :raises BenchError: if none is, or it does not tell its version
    """
    build = Build(environment, "", "")
    if not build.program.is_file():
        raise BenchError(f"{environment} is not an environment with sigbridge: it has no bin/sigbridge")
    version = _first_line(str(build.program), "version")
    if not version.startswith("sigbridge "):
        raise BenchError(f"{environment} is not an environment with sigbridge: `sigbridge version` prints none")
    return Build(environment, version, _first_line(str(build.program.with_name("python")), "--version"))


def _first_line(*command: str) -> str:
    """Returns the first line that a command prints; "" if it fails."""
    environ = {**os.environ, **dict(ALONE)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=False,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""
