"""The suite must fail on every mutant of the hub, and pass without one.

What a mutant keeps from arriving is waited for in vain, so these tests bring a time of their own along.
"""

import asyncio
import time

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


async def first_failure(scenarios: list[Scenario]) -> Scenario | None:
    """Runs scenarios up to the first that does not hold, and puts that before the others.

    A mutant often fails where the one before it did.
    """
    for one in scenarios:
        if not await holds(one):
            scenarios.remove(one)
            scenarios.insert(0, one)
            return one
    return None


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    """All scenarios, the quickest first, and those that have failed last before them."""
    taken = {}
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        for one in (*SCENARIOS.values(), *DOTTED_SCENARIOS.values(), *RESUMING_SCENARIOS.values()):
            began = time.process_time()
            runner.run(holds(one))
            taken[one] = time.process_time() - began
    return sorted(taken, key=taken.__getitem__)


@pytest.mark.thorough
def test_without_a_mutant_every_scenario_holds(scenarios, run):
    assert run(first_failure(scenarios)) is None


@pytest.mark.thorough
@pytest.mark.parametrize("name", MUTANTS)
def test_the_suite_fails_on(name, scenarios, run, caplog):
    with mutated(name):
        failed = run(first_failure(scenarios))
    assert failed is not None
    raised = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert not [error for error in raised if isinstance(error, TypeError)], "the mutant does not fit into the hub"
    assert run(holds(failed)), "the mutant is still in"


def test_there_are_mutants_of_every_sort():
    assert len(MUTANTS) > 170
