"""Every fast path has one shape: it stands in the table of docs/architecture.md, has a switch, and a test that plays both."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(fast_\w+)` \| (`[^|]+`) \| [^|]+ \| [^|]+ \| `(tests/[\w/]+\.py)`, `(test_\w+)` \|$", re.MULTILINE
)


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def switches(path: Path) -> set[str]:
    """The names for which a module asks whether they are on."""
    return set(re.findall(r'is_on\("(\w+)"\)', path.read_text(encoding="utf-8")))


TABLE = {
    (name, file): (test_file, test)
    for name, files, test_file, test in ROW.findall(PAGE)
    for file in re.findall(r"`([\w/.]+)`", files)
}
SOURCES = [
    path for root in ("core", "adapters") for path in (ROOT / root).rglob("*.py") if "generated" not in path.parts
]
SWITCHED = {(name, f"{path.parent.name}/{path.name}"): path for path in SOURCES for name in switches(path)}


def test_the_table_has_every_fast_path_that_can_be_turned_off():
    assert TABLE
    assert set(TABLE) == set(SWITCHED)


def test_no_other_function_has_such_a_name():
    # A wire that has no fast path says so to the carrier, which asks them all.
    without = {
        "sigbridge_net/first_bytes.py",
        "sigbridge_net/wire.py",
        "sigbridge_http/wire.py",
        "sigbridge_server/front.py",
    }
    found = {
        (name, f"{path.parent.name}/{path.name}")
        for path in SOURCES
        for name in functions(path)
        if name.startswith("fast_")
    }
    assert found - {("fast_output", file) for file in without} == set(TABLE)


@pytest.mark.parametrize(("name", "file"), sorted(TABLE))
def test_a_fast_path_says_none_first_where_it_is_off(name, file):
    function = functions(SWITCHED[name, file])[name]
    assert function.returns is not None
    assert ast.unparse(function.returns).endswith("| None")
    first = next(one for one in function.body if isinstance(one, ast.If))
    assert f"_{name.upper()}" in ast.unparse(first.test)
    assert ast.unparse(first.body[0]) == "return None"


@pytest.mark.parametrize(("test_file", "test"), sorted(set(TABLE.values())))
def test_the_test_is_there(test_file, test):
    assert test in functions(ROOT / test_file)
