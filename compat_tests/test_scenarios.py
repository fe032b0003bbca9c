"""Every scenario, over every pairing of ways in, at once and with another node's slowness."""

import asyncio

import pytest

from sigbridge import Code
from sigbridge_compat.differences import DIFFERENCES
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import SCENARIOS

WAYS = ("grpc", "grpcio", "websocket")
PAIRINGS = [(sender, receiver) for sender in WAYS for receiver in WAYS]
WORLDS = ("server_world", "deferred_server_world", "hub_world", "deferred_hub_world")

REQUESTS = {"announce", "offer", "answer", "ice_candidate", "disconnect", "list_peers", "health_check"}
EVENTS = {"peer_joined", "peer_left", "offer", "answer", "ice_candidate", "peer_disconnected"}
RELAYED = EVENTS - {"peer_joined", "peer_left"}
REFUSALS = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.ALREADY_EXISTS,
    Code.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED,
    Code.FAILED_PRECONDITION,
}

pytestmark = pytest.mark.asyncio(loop_scope="session")


def cases(worlds):
    for world in worlds:
        for one in SCENARIOS.values():
            for sender, receiver in PAIRINGS:
                if one.peers == 1 and sender != receiver:
                    continue
                reason = DIFFERENCES.get((one.name, sender, receiver))
                marks = [pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError)] if reason else []
                name = f"{one.name}-{world.removesuffix('_world')}-{sender}-{receiver}"
                yield pytest.param(world, one, sender, receiver, id=name, marks=marks)


@pytest.mark.parametrize(("world", "one", "sender", "receiver"), list(cases(WORLDS)), indirect=["world"])
async def test_scenario(world, one: Scenario, sender: str, receiver: str):
    if not {sender, receiver} <= world.ways.keys():
        pytest.skip("a server that runs elsewhere has one engine of gRPC")
    await one.run(world.ways[sender], world.ways[receiver])


async def test_every_kind_occurs(server_world):
    """Scenarios that prove nothing would be equal everywhere: every request, event and refusal must really occur."""
    hub = server_world.hub
    if hub is None:
        pytest.skip("only a server of this process shows its counters")
    counters = hub.counters
    before = counters.requests.copy(), counters.events.copy(), counters.relays.copy()
    for one in SCENARIOS.values():
        for sender, receiver in PAIRINGS:
            await one.run(server_world.ways[sender], server_world.ways[receiver])
    requests, events, relays = counters.requests - before[0], counters.events - before[1], counters.relays - before[2]
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


async def test_a_meeting_leaves_nothing_behind(server_world, monkeypatch):
    """A suite that other tests follow, on one server, must leave no session and no room."""
    hub = server_world.hub
    if hub is None:
        pytest.skip("only a server of this process shows its sessions")
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


async def test_every_scenario_says_its_rule():
    assert len(SCENARIOS) > 50
    for one in SCENARIOS.values():
        assert one.rule.endswith("."), one.name
        assert one.peers in (1, 2, 3), one.name
