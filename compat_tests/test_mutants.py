"""The suite must fail on every mutant of the hub, and pass without one."""

import pytest

from mutants import MUTANTS, mutated
from sigbridge_compat.scenarios import SCENARIOS
from sigbridge_compat.worlds import bare_hub

PATIENCE_SECONDS = 1.0
"""In one process everything arrives within a few turns of the loop; a mutant may keep something from arriving."""


async def first_failure() -> str | None:
    """Run every scenario on a hub made now, up to the first that does not hold."""
    ways = bare_hub().ways
    for one in SCENARIOS.values():
        try:
            await one.run(ways["grpc"], ways["websocket"], patience_seconds=PATIENCE_SECONDS)
        except AssertionError:
            return one.name
    return None


async def test_without_a_mutant_every_scenario_holds():
    assert await first_failure() is None


@pytest.mark.parametrize("name", MUTANTS)
async def test_the_suite_fails_on(name):
    with mutated(name):
        failed = await first_failure()
    assert failed is not None
    assert await first_failure() is None, "the mutant is still in"


def test_there_are_mutants_of_every_sort():
    assert len(MUTANTS) > 100
