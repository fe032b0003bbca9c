"""`sigbridge check`: the compatibility suite against any server, as a table of scenario and pairing.

Rule 1: known deviations (`sigbridge_compat.deviations`) end no scenario; all are reported, grouped by what differs.
Rule 2: a server that cannot be spoken to is broken, whether from the start or after a while.
Source: `docs/checking.md`.
"""

import argparse
import asyncio
import json
from collections.abc import Callable

from sigbridge.errors import SigbridgeError
from sigbridge_command.access_files import hint_of, read_access
from sigbridge_command.errors import UsageError
from sigbridge_command.findings import Finding, Findings
from sigbridge_command.json_deviations import correct_json
from sigbridge_command.printable import printable
from sigbridge_command.standard_streams import complain
from sigbridge_compat.deviations import NO_ROOMS
from sigbridge_compat.probing import BrokenServerError, probe
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import DOTTED_SCENARIOS, SCENARIOS
from sigbridge_compat.tolerance import Tolerance, Traits
from sigbridge_compat.ways import DOTTED, WayIn, pairings, way_by_url
from sigbridge_net.client_session import ClientSession
from sigbridge_websocket.client import WebSocketSignalingClient

MATCHES, DIFFERS, BROKEN = 0, 1, 2
"""The exit codes; a mistake of the user's is the last one, too, since nothing was found out."""

LIMIT_SECONDS = 60.0
"""The most seconds for one scenario, however many requests it has."""


def check(options: argparse.Namespace) -> int:
    """Plays the scenarios and prints how each went; returns 0 where all hold, 1 where some differ, else 2."""
    try:
        return _check(options)
    except BrokenPipeError:
        raise
    except (SigbridgeError, OSError) as error:
        complain(f"sigbridge: {error}{hint_of(error, options)}")
        return BROKEN


def _check(options: argparse.Namespace) -> int:
    """Plays the chosen scenarios and prints the findings; returns the exit code.

    :raises UsageError: if the options name an unknown scenario or no address.
    """
    played = SCENARIOS | DOTTED_SCENARIOS if options.dialect == DOTTED else SCENARIOS
    # The tokens of the others would prove nobody to a server that somebody runs.
    known = {name: scenario for name, scenario in played.items() if not scenario.identities}
    unknown = [name for name in options.only or () if name not in known]
    if unknown:
        raise UsageError(f"--only is {unknown[0]!r}: expected one of {', '.join(known)}")
    ways = _ways(options)
    if not ways:
        raise UsageError("neither --grpc nor --ws is given: expected at least one address to check")
    chosen = [scenario for name, scenario in known.items() if not options.only or name in options.only]
    findings = Findings()
    show: Callable[[str], None] = _show_nothing if options.json else _print
    broken = ""
    try:
        asyncio.run(_play(chosen, ways, findings, options.patience, show))
    except BrokenServerError as error:
        cause = error.__cause__
        broken = f"{error}{hint_of(cause, options) if isinstance(cause, Exception) else ''}"
    verdict = BROKEN if broken else DIFFERS if findings.groups() else MATCHES
    if options.json:
        print(json.dumps(findings.report(("matches", "differs", "broken")[verdict])))
    elif findings or not broken:
        _print_findings(findings)
    if broken:
        complain(f"sigbridge: the server cannot be checked: {printable(broken)}")
    return verdict


def _ways(options: argparse.Namespace) -> list[WayIn]:
    """Returns the ways in to the servers that the options name, by both clients.

    :raises UsageError: if a dialect is given without --ws
    """
    access = read_access(options)
    if options.dialect == DOTTED and not options.ws:
        raise UsageError("--dialect is given without --ws: it is one of JSON-RPC over WebSocket")
    ways = []
    if options.grpc:
        scheme = "grpcs" if options.tls else "grpc"
        joint = "+" if options.grpc.startswith("unix:") else "://"
        ways.append(way_by_url("grpc", f"{scheme}{joint}{options.grpc}", **access))
    if options.ws:
        name = DOTTED if options.dialect == DOTTED else "websocket"
        way = way_by_url(name, options.ws, dialect=options.dialect, **access)
        ways.append(_corrected(way, options.dialect))
    return ways


def _corrected(way: WayIn, dialect: str) -> WayIn:
    """Returns a way in by WebSocket whose JSON is corrected as the running scenario tolerates it."""

    async def connect() -> ClientSession:
        """Connects, and corrects the client's JSON if it is WebSocket's."""
        client = await way.connect()
        if isinstance(client, WebSocketSignalingClient):
            correct_json(client, dialect)
        return client

    return WayIn(way.name, connect)


async def _play(
    scenarios: list[Scenario],
    ways: list[WayIn],
    findings: Findings,
    patience_seconds: float,
    show: Callable[[str], None],
) -> None:
    """Plays all scenarios.

    :raises BrokenServerError: if the server turns out to be broken before the last one.
    """
    traits = await probe(ways, patience_seconds=patience_seconds)
    columns = [f"{sender.name}-{receiver.name}" for sender, receiver in pairings(ways, 2)]
    width = max(len(scenario.name) for scenario in scenarios)
    show(f"{'scenario':<{width}}  {'  '.join(columns)}")
    for scenario in scenarios:
        cells = dict.fromkeys(columns, "")
        for sender, receiver in pairings(ways, scenario.peers):
            if not scenario.is_for(sender.name, receiver.name):
                continue
            pairing = f"{sender.name}-{receiver.name}"
            finding = await _play_one(scenario, (sender, receiver), traits, patience_seconds)
            findings.add(finding)
            cells[pairing] = finding.cell
            if finding.failure:
                # A server that is gone fails all the others, too, and tells nothing by that.
                await probe({sender.name: sender, receiver.name: receiver}.values(), patience_seconds=patience_seconds)
        row = "  ".join(cells[column].ljust(len(column)) for column in columns)
        show(f"{scenario.name:<{width}}  {row}".rstrip())


async def _play_one(
    scenario: Scenario, pairing: tuple[WayIn, WayIn], traits: Traits, patience_seconds: float
) -> Finding:
    """Plays a scenario on one pairing; returns the finding."""
    sender, receiver = pairing
    name = f"{sender.name}-{receiver.name}"
    if traits.without_rooms and NO_ROOMS in scenario.proves:
        # It would meet whoever is there.
        return Finding(scenario, name, (NO_ROOMS,), "")
    tolerance = Tolerance(traits)
    failure = ""
    try:
        await scenario.run(
            sender, receiver, patience_seconds=patience_seconds, limit_seconds=LIMIT_SECONDS, tolerance=tolerance
        )
    except AssertionError as error:
        failure = str(error).strip()
    return Finding(scenario, name, tuple(tolerance.noted), failure)


def _print_findings(findings: Findings) -> None:
    """Prints the sum and the groups, and an example of each failure on stderr."""
    groups = findings.groups()
    print(f"\n{findings.summary()}")
    if groups:
        print("\ndifferences:")
    for what, names in groups.items():
        count = f"{len(names)} scenario{'s' * (len(names) > 1)}"
        print(f"{count:>14}  {printable(what)}")
    for finding in findings.examples():
        why = "\n".join(map(printable, finding.failure.split("\n")))
        complain(f"\n{finding.scenario.name}, {finding.pairing}:\n  {why}")


def _print(line: str) -> None:
    print(line, flush=True)


def _show_nothing(_: str) -> None:
    """Ignores a line of progress."""
