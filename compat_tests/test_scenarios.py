"""Every scenario, over every pairing of a way in with a reference way, at once and with another node's slowness.

The reference ways are one of each protocol: they are paired with each other and with every other way, as sender and as
receiver. Pairings of two other ways have the mark `square`; .ci/run plays them as well.
"""

import asyncio
from collections.abc import Iterator

import pytest
import pytest_asyncio

from sigbridge import Code
from sigbridge_compat.differences import DIFFERENCES
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import SCENARIOS

REFERENCES = ("grpc", "websocket")
OTHERS = ("grpcio",)
WAYS = (*REFERENCES, *OTHERS)
WORLDS = ("server_world", "deferred_server_world", "hub_world", "deferred_hub_world")

REQUESTS = {"announce", "offer", "answer", "ice_candidate", "disconnect", "list_peers", "health_check", "authenticate"}
EVENTS = {"peer_joined", "peer_left", "offer", "answer", "ice_candidate", "peer_disconnected"}
RELAYED = EVENTS - {"peer_joined", "peer_left"}
REFUSALS = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.ALREADY_EXISTS,
    Code.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED,
    Code.FAILED_PRECONDITION,
    Code.UNAUTHENTICATED,
}

pytestmark = pytest.mark.asyncio(loop_scope="session")


def pairings(world: str) -> Iterator[tuple[str, str, bool]]:
    """The pairings (sender, receiver) of a world, and whether it is left to the full square."""
    for sender in WAYS:
        for receiver in WAYS:
            others = {sender, receiver} - {*REFERENCES}
            if world in ("hub_world", "deferred_hub_world"):
                # To a hub, the ways of one protocol are one.
                if not others:
                    yield sender, receiver, False
            elif world == "deferred_server_world":
                # What waits does so in the hub: each other way shows as sender and as receiver that it bears it.
                yield sender, receiver, bool(others) and (sender, receiver) not in beside_references()
            else:
                yield sender, receiver, len(others) > 0 and not {sender, receiver} & {*REFERENCES}


def beside_references() -> set[tuple[str, str]]:
    """Each other way as a sender to one reference way, and as a receiver from the other one."""
    first, second = REFERENCES
    return {(other, second) for other in OTHERS} | {(first, other) for other in OTHERS}


def cases(worlds):
    for world in worlds:
        for one in SCENARIOS.values():
            for sender, receiver, square in pairings(world):
                if one.peers == 1 and sender != receiver:
                    continue
                # Where one peer is all, no reference way is beside another one.
                marks = [pytest.mark.square] if square and one.peers > 1 else []
                if reason := DIFFERENCES.get((one.name, sender, receiver)):
                    marks.append(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
                name = f"{one.name}-{world.removesuffix('_world')}-{sender}-{receiver}"
                yield pytest.param(world, one, sender, receiver, id=name, marks=marks)


@pytest.mark.parametrize(("world", "one", "sender", "receiver"), list(cases(WORLDS)), indirect=["world"])
async def test_scenario(world, one: Scenario, sender: str, receiver: str):
    if not {sender, receiver} <= world.ways.keys():
        pytest.skip("a server that runs elsewhere has one engine of gRPC")
    if one.identities and world.hub is None:
        pytest.skip("a server that runs elsewhere knows no tokens of ours")
    await one.run(world.ways[sender], world.ways[receiver])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def played(server_world):
    """The counts of the server's hub after every scenario was played on every pairing of the reference ways."""
    hub = server_world.hub
    if hub is None:
        pytest.skip("only a server of this process shows its counters")
    counters = hub.counters
    before = counters.requests.copy(), counters.events.copy(), counters.relays.copy()
    for one in SCENARIOS.values():
        for sender in REFERENCES:
            for receiver in REFERENCES:
                if one.peers > 1 or sender == receiver:
                    await one.run(server_world.ways[sender], server_world.ways[receiver])
    return counters.requests - before[0], counters.events - before[1], counters.relays - before[2]


async def test_every_kind_occurs(played):
    """Scenarios that prove nothing would be equal everywhere: every request, event and refusal must really occur."""
    requests, events, relays = played
    for protocol in ("grpc", "websocket"):
        assert {kind for name, kind, word in requests if name == protocol and word == "ok"} == REQUESTS
        assert {Code[word] for name, _, word in requests if name == protocol and word != "ok"} == REFUSALS
        assert {kind for name, kind in events if name == protocol} == EVENTS - RELAYED
    assert {(sender, target, kind) for sender, target, kind in relays} == {
        (sender, target, kind)
        for sender in ("grpc", "websocket")
        for target in ("grpc", "websocket")
        for kind in RELAYED
    }


async def test_a_meeting_leaves_nothing_behind(played, server_world, monkeypatch):
    """A suite that other tests follow, on one server, must leave no session and no room."""
    hub = server_world.hub
    ended = asyncio.Event()
    end = hub._end_one  # noqa: SLF001

    def end_and_say_so(*what):
        result = end(*what)
        ended.set()
        return result

    monkeypatch.setattr(hub, "_end_one", end_and_say_so)
    async with asyncio.timeout(20):
        while hub.session_count:
            ended.clear()
            await ended.wait()
    assert (hub.session_count, hub.peer_count, hub.pending_offer_count) == (0, 0, 0)


async def test_the_ways_that_are_paired_are_those_of_a_server():
    assert {way for world in WORLDS for pairing in pairings(world) for way in pairing[:2]} == {*WAYS}
    for world in WORLDS:
        played = {(sender, receiver) for sender, receiver, square in pairings(world) if not square}
        assert played >= {(sender, receiver) for sender in REFERENCES for receiver in REFERENCES}
    played = {(sender, receiver) for sender, receiver, square in pairings("server_world") if not square}
    for other in OTHERS:
        assert played >= {pairing for one in REFERENCES for pairing in ((one, other), (other, one))}


async def test_every_way_into_a_server_is_paired(server_world):
    """A way in that a server gains, and that nobody plays on, would be a way that nobody tests."""
    if server_world.hub is None:
        pytest.skip("a server that runs elsewhere has one engine of gRPC")
    assert server_world.ways.keys() == {*WAYS}


async def test_every_scenario_says_its_rule():
    assert len(SCENARIOS) > 50
    for one in SCENARIOS.values():
        assert one.rule.endswith("."), one.name
        assert one.peers in (1, 2, 3), one.name
