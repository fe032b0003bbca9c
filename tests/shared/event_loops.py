"""Both event loops that a server may run on, for tests that play on each."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest


def loops() -> pytest.MarkDecorator:
    """Gives a test `loop_factory` of each."""
    return pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop, "uvloop"])


def on_loop(loop_factory: "Callable[[], asyncio.AbstractEventLoop] | str", coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Returns the result of a coroutine on one of them."""
    if isinstance(loop_factory, str):
        loop_factory = pytest.importorskip("uvloop").Loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(coroutine)
