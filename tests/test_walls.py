"""The walls in pyproject.toml leave no gap: every package and module is named, and no import goes in a circle."""

import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
PACKAGES = sorted(
    path.parent.name
    for source_root in ("core", "adapters", "compat_tests", "bench")
    for path in (ROOT / source_root).glob("*/__init__.py")
)
ORDERED = {contract["containers"][0]: contract for contract in LINTER["contracts"] if "containers" in contract}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(*PACKAGES)


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Sets of modules each of which imports, over others of the set, itself."""
    reached = {module: set(graph.find_downstream_modules(module)) for module in graph.modules}
    return [
        {module, *(other for other in reached[module] if module in reached[other])}
        for module in graph.modules
        if module in reached[module] or any(module in reached[other] for other in reached[module])
    ]


def test_every_package_is_behind_a_wall():
    (between,) = (one for one in LINTER["contracts"] if one["type"] == "layers" and "containers" not in one)
    layered = [name for layer in between["layers"] for name in layer.split(" | ")]
    assert sorted(layered) == PACKAGES == sorted(LINTER["root_packages"])


@pytest.mark.parametrize("package", ORDERED)
def test_every_module_has_one_layer_in_its_package(package, graph):
    contract = ORDERED[package]
    named = [name for layer in contract["layers"] for name in layer.split(" | ")]
    assert sorted(named) == sorted(child.rpartition(".")[2] for child in graph.find_children(package))
    assert contract["exhaustive"] is True


def test_every_package_has_layers():
    assert sorted(name for name in ORDERED if "." not in name) == PACKAGES


def test_every_package_inside_of_one_has_layers_unless_it_is_generated(graph):
    inside = {module for module in graph.modules if "." in module and graph.find_children(module)}
    assert {name for name in inside if not name.endswith(".generated")} - {"sigbridge_compat.scenarios"} == {
        name for name in ORDERED if "." in name
    }


def test_no_import_goes_in_a_circle(graph):
    assert len(graph.modules) > 100
    assert circles(graph) == []


def test_a_circle_would_be_found(graph):
    lowest, highest = "sigbridge.instant", "sigbridge_command.command"
    assert lowest not in graph.find_downstream_modules(lowest)
    graph = grimp.build_graph(*PACKAGES)
    graph.add_import(importer=lowest, imported=highest)
    (found, *_) = circles(graph)
    assert {lowest, highest} <= found
