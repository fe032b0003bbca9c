"""The suite must fail on every mutant of the hub, and pass without one.

What a mutant keeps from arriving is waited for in vain, so these tests bring a time of their own along.
"""

import asyncio

import pytest

from mutants import MUTANTS, mutated
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import SCENARIOS
from sigbridge_compat.worlds import bare_hub
from skipping_loop import SkippingLoop

PATIENCE_SECONDS = 1.0
"""In one process everything arrives within a few turns of the loop; a mutant may keep something from arriving."""


@pytest.fixture
def run():
    """Run something on an event loop that skips every wait."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        yield runner.run


async def holds(scenario: Scenario) -> bool:
    """Returns True if a scenario holds on a new hub."""
    ways = bare_hub().ways
    try:
        await scenario.run(ways["grpc"], ways["websocket"], patience_seconds=PATIENCE_SECONDS)
    except AssertionError:
        return False
    return True


_likely: list[Scenario] = list(SCENARIOS.values())
"""All scenarios, those first that have failed last: a mutant often fails where the one before it did."""


async def first_failure() -> Scenario | None:
    """Run every scenario, up to the first that does not hold."""
    for one in _likely:
        if not await holds(one):
            _likely.remove(one)
            _likely.insert(0, one)
            return one
    return None


def test_without_a_mutant_every_scenario_holds(run):
    assert run(first_failure()) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_the_suite_fails_on(name, run):
    with mutated(name):
        failed = run(first_failure())
    assert failed is not None
    assert run(holds(failed)), "the mutant is still in"


def test_there_are_mutants_of_every_sort():
    assert len(MUTANTS) > 100
