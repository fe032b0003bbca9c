"""The table of mutants, and the making of one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias
from unittest.mock import patch

Mutation: TypeAlias = Callable[[], AbstractContextManager[Any]]

MUTANTS: dict[str, Mutation] = {}
"""All mutants, by name: each is on for as long as its context is."""


def mutant(name: str, mutation: Mutation) -> None:
    """Adds a mutant."""
    if name in MUTANTS:
        raise ValueError(f"two mutants are called {name}")
    MUTANTS[name] = mutation


def around(owner: Any, name: str, make: Any) -> Mutation:
    """Replaces a function by what `make` makes of it."""
    return lambda: patch.object(owner, name, make(getattr(owner, name)))
