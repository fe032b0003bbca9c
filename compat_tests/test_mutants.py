"""The suite must fail on every mutant of the hub, and pass without one.

What a mutant keeps from arriving is waited for in vain, so these tests bring a time of their own along.
"""

import asyncio

import pytest

import resuming_mutants  # noqa: F401 — adds its own
from mutants import MUTANTS, mutated
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import DOTTED_SCENARIOS, RESUMING_SCENARIOS, SCENARIOS
from sigbridge_compat.ways import DOTTED
from sigbridge_compat.worlds import BRIEF, bare_hub
from skipping_loop import SkippingLoop

PATIENCE_SECONDS = 2 * BRIEF["turn_ttl_seconds"]
"""In one process all but credentials arrives within a few turns; a mutant may keep something from arriving."""


@pytest.fixture
def run():
    """Runs something on an event loop that skips every wait."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        yield runner.run


async def holds(scenario: Scenario) -> bool:
    """Returns True if a scenario holds on a new hub."""
    ways = (bare_hub(**BRIEF) if scenario.brief else bare_hub()).ways
    sender = DOTTED if scenario.dotted else "grpc"
    receiver = DOTTED if scenario.dotted == "both" else "websocket"
    try:
        await scenario.run(ways[sender], ways[receiver], patience_seconds=PATIENCE_SECONDS)
    except AssertionError:
        return False
    return True


_likely: list[Scenario] = [*SCENARIOS.values(), *DOTTED_SCENARIOS.values(), *RESUMING_SCENARIOS.values()]
"""All scenarios, those first that have failed last: a mutant often fails where the one before it did."""


async def first_failure() -> Scenario | None:
    """Runs every scenario, up to the first that does not hold."""
    for one in _likely:
        if not await holds(one):
            _likely.remove(one)
            _likely.insert(0, one)
            return one
    return None


def test_without_a_mutant_every_scenario_holds(run):
    assert run(first_failure()) is None


@pytest.mark.thorough
@pytest.mark.parametrize("name", MUTANTS)
def test_the_suite_fails_on(name, run):
    with mutated(name):
        failed = run(first_failure())
    assert failed is not None
    assert run(holds(failed)), "the mutant is still in"


def test_there_are_mutants_of_every_sort():
    assert len(MUTANTS) > 170
