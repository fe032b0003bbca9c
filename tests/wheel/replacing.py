"""A plugin of pytest for tests that run on compiled code: skips those that compiled code cannot obey.

It refuses that a method or function of a compiled module is replaced, or obeys the old one: compiled callers do not look
it up. What such a test says holds for the sources, where it runs.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
COMPILED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]

STAND_INS = {"test_a_failure_is_not_the_last_call", "test_a_hub_s_timer_that_is_late_does_not_call"}
"""Tests that give compiled code an object of another type than it asks for, which it refuses with a TypeError."""


def pytest_configure() -> None:
    import sigbridge.hub

    assert not sigbridge.hub.__file__.endswith(".py"), "these are the sources"
    replace = pytest.MonkeyPatch.setattr

    def setattr_or_skip(
        self: pytest.MonkeyPatch, target: object, name: object, *more: object, **options: object
    ) -> None:
        _skip_if_compiled(target, name)
        replace(self, target, name, *more, **options)  # type: ignore[call-overload]

    pytest.MonkeyPatch.setattr = setattr_or_skip  # type: ignore[method-assign]


def _skip_if_compiled(target: object, name: object) -> None:
    if isinstance(target, str):
        owner, attribute, found = target.rpartition(".")[0], target.rpartition(".")[2], True
    elif isinstance(target, ModuleType):
        owner, attribute = target.__name__, str(name)
        found = isinstance(getattr(target, attribute, None), Callable)  # type: ignore[arg-type]
    else:
        kind = target if isinstance(target, type) else type(target)
        owner, attribute, found = f"{kind.__module__}.{kind.__qualname__}", str(name), True
    if (
        found
        and any(owner == module or owner.startswith(f"{module}.") for module in COMPILED)
        and not attribute.isupper()
    ):
        pytest.skip(f"replaces {attribute} of {owner}, which is compiled")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name in STAND_INS:
            item.add_marker(pytest.mark.skip(reason="gives a stand-in to compiled code, which asks for the type"))
