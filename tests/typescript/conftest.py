"""The TypeScript client, built once, and the programs that Node has for it."""

import shutil
import subprocess
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import time_limits
from processes import clean_environment

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "typescript"
LEAST_NODE = 20
LIMIT_SECONDS = 300

_spec = spec_from_file_location("install_foreign_clients", ROOT / "tools" / "install_foreign_clients.py")
assert _spec is not None
assert _spec.loader is not None
installer = module_from_spec(_spec)
_spec.loader.exec_module(installer)


class Node:
    """Node, in a folder of its own choice: the package's, where none is named."""

    package = PACKAGE

    def __call__(self, *words: str | Path, cwd: Path = PACKAGE, **variables: str) -> str:
        """Runs Node; returns what it prints, and fails where it does."""
        return self.run("node", *words, cwd=cwd, **variables)

    def run(self, program: str, *words: str | Path, cwd: Path = PACKAGE, **variables: str) -> str:
        """Runs a program of Node's; returns what it prints, and fails where it does."""
        time_limits.allow(2 * LIMIT_SECONDS)
        done = subprocess.run(
            [program, *map(str, words)],
            cwd=cwd,
            env=clean_environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout


@pytest.fixture(scope="session")
def node() -> Node:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node is not there")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    if int(version.stdout.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        pytest.skip(f"Node {LEAST_NODE} is wanted, and this one is {version.stdout.strip()}")
    if not installer.is_built("typescript"):
        pytest.skip("its packages are not installed: python tools/install_foreign_clients.py, or make typescript")
    return Node()


@pytest.fixture(scope="session")
def built(node: Node) -> Path:
    """The folder `dist` of the package, built of the sources as they are."""
    node("build.mjs")
    return PACKAGE / "dist"


@pytest.fixture(scope="session")
def play(node: Node) -> Callable[..., None]:
    """Plays built tests of a folder, none of which may be skipped."""
    node("build.mjs", "--tests")

    def play(folder: str, **variables: str) -> None:
        tests = sorted((PACKAGE / ".build" / "test" / folder).glob("*.test.js"))
        assert tests
        said = node("--test", "--test-reporter=tap", *tests, **variables)
        counts = dict(line[2:].split(" ", 1) for line in said.splitlines() if line.startswith(("# pass", "# skipped")))
        assert int(counts["pass"]) > 0, said
        assert counts["skipped"] == "0", said

    return play
