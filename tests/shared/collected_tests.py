"""The collected tests, which stay until the end of the run: the garbage collector need not look at them again and again.

They are a million objects in each worker; looking at them takes an eighth of the time of the fast tests.
"""

import gc
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
