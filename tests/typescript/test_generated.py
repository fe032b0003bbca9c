"""Generated files that are checked in are current."""

import subprocess
import sys
from pathlib import Path

import pytest

from sigbridge_server.client_script import CLIENT_PATHS, FOLDER

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 60


@pytest.mark.parametrize("tool", ["generate_typescript", "generate_typescript_protos"])
def test_generated_code_is_current(node, tool):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / f"{tool}.py", "--check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CLIENT_PATHS)
def test_the_files_that_servers_serve_are_current(built, path):
    assert FOLDER.joinpath(path[1:]).read_bytes() == built.joinpath(path[1:]).read_bytes(), "run `make typescript`"
