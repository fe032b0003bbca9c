"""Modules that are loaded at the start: a server that takes no JWTs does not wait for the libraries that check them."""

import subprocess
import sys

import pytest

from waiting import TIME_LIMIT_SECONDS

PROGRAM = """
import sys
import {module}
print(sorted({{"jwt", "cryptography"}} & sys.modules.keys()))
"""


def loaded_by(module: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=True,
    )
    return ran.stdout.strip()


@pytest.mark.parametrize(
    "module", ["sigbridge_auth.jwt_source", "sigbridge_server.server", "sigbridge_command.command"]
)
def test_libraries_of_keys_are_not_loaded_before_keys_are_read(module):
    assert loaded_by(module) == "[]"


def test_libraries_of_keys_are_loaded_with_keys():
    assert loaded_by("sigbridge_auth.keys") == "['cryptography', 'jwt']"
