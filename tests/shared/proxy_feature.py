"""A feature of proxies: a function that looks at one, and returns what was seen of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from proxy import Front, Proxy

Observe: TypeAlias = Callable[[Front, Any], Awaitable[str]]
"""The second argument is the fixture `clients` of tests/deploy."""


@dataclass(frozen=True)
class Feature:
    name: str
    title: str
    usual: str
    observe: Observe


FEATURES: dict[str, Feature] = {}
"""By their names, in the order of the table."""


def feature(title: str, usual: str = "yes") -> Callable[[Observe], Observe]:
    """Adds a function to the features: its row of the table, and what is seen where nothing is different."""

    def add(observe: Observe) -> Observe:
        name = observe.__name__
        FEATURES[name] = Feature(name, title, usual, observe)
        return observe

    return add


def expected(proxy: Proxy, name: str) -> str:
    """Outcome of a feature behind this proxy, as its description has it."""
    difference = proxy.differences.get(name)
    return FEATURES[name].usual if difference is None else difference.seen
