"""`sigbridge check`: the compatibility suite against any server, as a table of scenario and pairing."""

import argparse
import asyncio

from sigbridge_command.access_files import read_access
from sigbridge_command.errors import UsageError
from sigbridge_command.standard_streams import complain
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import SCENARIOS
from sigbridge_compat.ways import WayIn, pairings, way_by_url


def check(options: argparse.Namespace) -> int:
    """Play the scenarios and print how each went; returns 0 where all hold."""
    # The tokens of the others would prove nobody to a server that somebody runs.
    known = {name: scenario for name, scenario in SCENARIOS.items() if not scenario.identities}
    unknown = [name for name in options.only or () if name not in known]
    if unknown:
        raise UsageError(f"--only is {unknown[0]!r}: expected one of {', '.join(known)}")
    ways = _ways(options)
    if not ways:
        raise UsageError("neither --grpc nor --ws is given: expected at least one address to check")
    chosen = [scenario for name, scenario in known.items() if not options.only or name in options.only]
    failures = asyncio.run(_play(chosen, ways))
    for name, pairing, why in failures:
        complain(f"\n{name}, {pairing}:\n  {why}")
    return 1 if failures else 0


def _ways(options: argparse.Namespace) -> list[WayIn]:
    access = read_access(options)
    ways = []
    if options.grpc:
        scheme = "grpcs" if options.tls else "grpc"
        joint = "+" if options.grpc.startswith("unix:") else "://"
        ways.append(way_by_url("grpc", f"{scheme}{joint}{options.grpc}", **access))
    if options.ws:
        ways.append(way_by_url("websocket", options.ws, **access))
    return ways


async def _play(scenarios: list[Scenario], ways: list[WayIn]) -> list[tuple[str, str, str]]:
    for way in ways:
        # Where nobody answers, one line says so, and not one for each scenario.
        await (await way.connect()).close()
    failures: list[tuple[str, str, str]] = []
    columns = [f"{sender.name}-{receiver.name}" for sender, receiver in pairings(ways, 2)]
    width = max(len(scenario.name) for scenario in scenarios)
    print(f"{'scenario':<{width}}  {'  '.join(columns)}")
    played = 0
    for scenario in scenarios:
        cells = dict.fromkeys(columns, "")
        for sender, receiver in pairings(ways, scenario.peers):
            pairing = f"{sender.name}-{receiver.name}"
            played += 1
            try:
                await scenario.run(sender, receiver)
            except AssertionError as error:
                cells[pairing] = "FAILED"
                failures.append((scenario.name, pairing, str(error)))
            else:
                cells[pairing] = "ok"
        row = "  ".join(cells[column].ljust(len(column)) for column in columns)
        print(f"{scenario.name:<{width}}  {row}".rstrip(), flush=True)
    print(f"\n{played - len(failures)} passed, {len(failures)} failed")
    return failures
