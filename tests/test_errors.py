"""The tree of errors, as it is printed at the top of `errors.py`, is that of the classes that there are."""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

from sigbridge import errors

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    path.parent.name
    for source_root in ("core", "adapters", "compat_tests", "bench")
    for path in (ROOT / source_root).glob("*/__init__.py")
)
LINE = re.compile(r"    ([│├└─ ]*)(\w+)(?: \((\w+)\))? +(\S+)")


def modules():
    """Every module of ours, but those that were generated, and `__main__`, which run something."""
    for package in map(importlib.import_module, PACKAGES):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith(".__main__") and ".generated" not in found.name:
                yield importlib.import_module(found.name)
    build = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert build is not None
    assert build.loader is not None
    hook = importlib.util.module_from_spec(build)
    build.loader.exec_module(hook)
    yield hook


@pytest.fixture(scope="module")
def real():
    """Each error there is: its name, what it descends from, and its module."""
    return {
        (error.__name__, tuple(base.__name__ for base in error.__bases__), error.__module__)
        for module in modules()
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, BaseException) and error.__module__ == module.__name__
    }


@pytest.fixture(scope="module")
def printed():
    """Each error of the picture, likewise."""
    above: list[str] = []
    found = set()
    for line in errors.__doc__.splitlines():
        if line.strip() == "Exception":
            above = ["Exception"]
            continue
        if not (match := LINE.fullmatch(line)):
            continue
        branch, name, besides, module = match.groups()
        depth = len(branch) // 4
        above = [*above[:depth], name]
        bases = (above[depth - 1] if depth else "Exception", *([besides] if besides else []))
        found.add((name, bases, module))
    return found


def test_the_tree_that_is_printed_is_the_one_there_is(printed, real):
    assert len(real) > 10
    assert sorted(printed) == sorted(real)


def test_what_is_not_under_the_root_is_printed_apart(printed, real):
    apart = {name for name, bases, _ in real if bases == ("Exception",) and name != "SigbridgeError"}
    _, _, below = errors.__doc__.partition("\n    Exception\n")
    assert {name for name, bases, _ in printed if name in below and bases == ("Exception",)} == apart
