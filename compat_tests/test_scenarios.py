"""Every scenario, over every way in beside the reference ways, at once and with another node's slowness.

The reference ways are one of each protocol. They are paired with each other in every order, and every other way is
paired with both: as the sender with one, as the receiver with the other. All other pairings have the mark `square`;
.ci/run plays them as well. The driven ways are those of the client in TypeScript, into servers alone: by Node, and,
with that mark, by a page in Chromium.
"""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import product

import pytest

from sigbridge import Code, Disconnect
from sigbridge.counters import AWAITED_ANSWER_ENDS
from sigbridge_compat.differences import DIFFERENCES, UNSAYABLE_IN_DOTTED, UNSAYABLE_IN_JAVASCRIPT
from sigbridge_compat.scenario import Scenario
from sigbridge_compat.scenarios import DOTTED_SCENARIOS, RESUMING_SCENARIOS, SCENARIOS
from sigbridge_compat.ways import DOTTED
from sigbridge_compat.worlds import BRIEF, bare_hub
from typescript_drivers import WHY_NOT, driven_way

REFERENCES = ("grpc", "websocket")
OTHERS = ("grpcio", DOTTED)
WAYS = (*REFERENCES, *OTHERS)
ENGINES = tuple(way for way in WAYS if way != DOTTED)
PAGE = "ts-chromium"
DRIVEN = {"ts-websocket": ("node", "websocket"), "ts-grpc": ("node", "grpc"), PAGE: ("chromium", "websocket")}
"""The driven ways: in what the client in TypeScript runs, and by which protocol."""
WORLDS = ("server_world", "deferred_server_world", "hub_world", "deferred_hub_world")
BRIEF_WORLDS = ("brief_server_world", "brief_hub_world")
DRIVEN_WORLDS = ("server_world", "brief_server_world")
ALL_SCENARIOS = (*SCENARIOS.values(), *DOTTED_SCENARIOS.values(), *RESUMING_SCENARIOS.values())

REQUESTS = {"announce", "offer", "answer", "ice_candidate", "disconnect", "list_peers", "health_check", "authenticate"}
REQUESTS |= {"get_ice_servers"}
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

SQUARE = pytest.mark.square
pytestmark = pytest.mark.asyncio(loop_scope="session")


def pairings(world: str, one: Scenario | None = None) -> Iterator[tuple[str, str, bool]]:
    """The pairings (sender, receiver) of a world, and whether it is left to the full square.

    A scenario of the dotted dialect has that as its sender's way, and all ways of the world as its receiver's.
    """
    if one is not None and one.dotted:
        receivers = (*REFERENCES, DOTTED) if world.endswith("hub_world") else WAYS
        yield from ((DOTTED, receiver, False) for receiver in receivers)
        return
    of_deferral = world == "deferred_server_world"
    # What waits does so in the hub: each engine shows once as either that it bears it, and no dialect.
    beside = beside_references(ENGINES if of_deferral else WAYS)
    for sender in WAYS:
        for receiver in WAYS:
            if world.endswith("hub_world"):
                # To a hub, the ways of one protocol are one.
                if {sender, receiver} <= {*REFERENCES}:
                    yield sender, receiver, False
            else:
                is_of_references = not of_deferral and {sender, receiver} <= {*REFERENCES}
                yield sender, receiver, not is_of_references and (sender, receiver) not in beside
    if world in DRIVEN_WORLDS:
        for driven in DRIVEN:
            beside = beside_references([driven])
            for reference in REFERENCES:
                for pairing in ((driven, reference), (reference, driven)):
                    yield *pairing, pairing not in beside
            if one is not None and one.peers == 1:
                yield driven, driven, False


def beside_references(ways: Iterable[str]) -> set[tuple[str, str]]:
    """Each way as the sender with one reference way, and as the receiver with the other one."""
    first, second = REFERENCES
    senders = {(way, first if way == second else second) for way in ways}
    return senders | {(second if way == first else first, way) for way in ways}


def is_enough(world: str, one: Scenario, sender: str, receiver: str) -> bool:
    """Returns True for the pairings that are played on a bare hub at each save.

    They are both orders of the two protocols; with another node's slowness it is one of these.
    """
    if world in BRIEF_WORLDS:
        return False
    if one.dotted:
        return True
    first, second = REFERENCES
    if one.peers == 1:
        return sender == first
    return sender != receiver if world == "hub_world" else (sender, receiver) == (first, second)


def cases(worlds):
    for world in worlds:
        for one in ALL_SCENARIOS:
            if one.brief != (world in BRIEF_WORLDS):
                continue
            for sender, receiver, square in pairings(world, one):
                if (one.peers == 1 and sender != receiver) or not one.is_for(sender, receiver):
                    continue
                # Where one peer is all, no reference way is beside another one.
                left_out = (square and one.peers > 1) or PAGE in (sender, receiver)
                marks = [SQUARE] if left_out else []
                if world.endswith("hub_world") and not is_enough(world, one, sender, receiver):
                    marks.append(pytest.mark.thorough)
                reason = DIFFERENCES.get((one.name, sender, receiver))
                if DRIVEN.keys() & {sender, receiver}:
                    reason = reason or UNSAYABLE_IN_JAVASCRIPT.get(one.name)
                if reason:
                    marks.append(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
                name = f"{one.name}-{world.removesuffix('_world')}-{sender}-{receiver}"
                yield pytest.param(world, one, sender, receiver, id=name, marks=marks)


@pytest.fixture
def ways(request, world):
    """The ways in to the world, and those of the test that are driven."""
    sides = {request.node.callspec.params[side] for side in ("sender", "receiver")}
    driven = {}
    for name in sides & DRIVEN.keys():
        runtime, protocol = DRIVEN[name]
        if reason := WHY_NOT[runtime]():
            pytest.skip(reason)
        driver = request.getfixturevalue(f"{runtime}_driver")
        driven[name] = driven_way(name, driver, world.urls[protocol])
    return world.ways | driven


def pytest_generate_tests(metafunc):
    if metafunc.function is not test_scenario:
        return
    wanted = metafunc.config.getoption("markexpr")
    worlds = [
        world for world in (*WORLDS, *BRIEF_WORLDS) if world.endswith("hub_world") or not wanted.startswith("fast")
    ]
    # There are thousands: those that are not asked for take their time in every worker.
    made = [case for case in cases(worlds) if SQUARE not in case.marks or "not (square" not in wanted]
    metafunc.parametrize(("world", "one", "sender", "receiver"), made, indirect=["world"])


async def test_scenario(world, ways, one: Scenario, sender: str, receiver: str):
    if not {sender, receiver} <= ways.keys():
        pytest.skip("a server that runs elsewhere has one engine of gRPC")
    if one.identities and world.hub is None:
        pytest.skip("a server that runs elsewhere knows no tokens of ours")
    await one.run(ways[sender], ways[receiver])


@pytest.mark.thorough
async def test_every_kind_occurs():
    """Scenarios that prove nothing would be equal everywhere: every request, event and refusal must really occur."""
    world = bare_hub()
    for one in SCENARIOS.values():
        for sender, receiver in product(REFERENCES, REFERENCES):
            if one.peers > 1 or sender == receiver:
                await one.run(world.ways[sender], world.ways[receiver])
    counters = world.hub.counters
    for protocol in REFERENCES:
        assert {kind for name, kind, word in counters.requests if name == protocol and word == "ok"} == REQUESTS
        assert {Code[word] for name, _, word in counters.requests if name == protocol and word != "ok"} == REFUSALS
        assert {kind for name, kind in counters.events if name == protocol} == EVENTS - RELAYED
    assert set(counters.relays) == set(product(REFERENCES, REFERENCES, RELAYED))


async def test_a_meeting_leaves_nothing_behind(server_world, monkeypatch):
    """A suite that other tests follow, on one server, must leave no session and no room."""
    hub = server_world.hub
    if hub is None:
        pytest.skip("only a server of this process shows what is left in its hub")
    for one in SCENARIOS.values():
        await one.run(server_world.ways["grpc"], server_world.ways["grpc" if one.peers == 1 else "websocket"])
    ended = asyncio.Event()
    endings = hub._endings  # noqa: SLF001
    end = endings._end  # noqa: SLF001

    def end_and_say_so(*what):
        result = end(*what)
        ended.set()
        return result

    monkeypatch.setattr(endings, "_end", end_and_say_so)
    async with asyncio.timeout(20):
        while hub.session_count:
            ended.clear()
            await ended.wait()
    assert (hub.session_count, hub.peer_count, hub.pending_offer_count) == (0, 0, 0)


async def test_what_the_dotted_dialect_has_alone_occurs():
    """Likewise: offers really wait and end in each way that takes no time, and messages of control are told."""
    world = bare_hub()
    for one in DOTTED_SCENARIOS.values():
        receiver = DOTTED if one.dotted == "both" else "grpc"
        await one.run(world.ways[DOTTED], world.ways[receiver])
    counters = world.hub.counters
    ends = {end for end, count in counters.awaited_answers.items() if count}
    assert ends == {*AWAITED_ANSWER_ENDS} - {"expired", "refused"}
    assert counters.relays["websocket", "websocket", "control"] > 0


@pytest.mark.thorough
async def test_what_outlives_sessions_occurs():
    """Likewise: peers are held and resumed on each protocol, requests repeated, and ids taken in every way."""
    worlds = {True: bare_hub(**BRIEF), False: bare_hub()}
    for one in RESUMING_SCENARIOS.values():
        ways = worlds[one.brief].ways
        for sender, receiver in product(REFERENCES, REFERENCES):
            await one.run(ways[sender], ways[receiver])
    counters = worlds[False].hub.counters
    held_ends = counters.held_ends + worlds[True].hub.counters.held_ends
    assert {end for end, count in held_ends.items() if count} == {"resumed", "expired", "taken", "not_resumed"}
    assert {word for word, count in counters.takeovers.items() if count} == {"held", "standing", "refused"}
    for protocol in REFERENCES:
        assert worlds[True].hub.counters.events[protocol, "ice_servers"] > 0
        assert counters.repeated_requests[protocol] > 0
        assert counters.repeated_events[protocol] > 0
        outcomes = {outcome for _, to, outcome in counters.resumes if to == protocol}
        assert outcomes == {"resumed", "replaced", "missing", "unknown"}
    pairs = {(before, after) for before, after, outcome in counters.resumes if outcome == "resumed"}
    assert pairs == {*product(REFERENCES, REFERENCES)}


async def test_the_ways_that_are_paired_are_those_of_a_server():
    assert {way for world in WORLDS for pairing in pairings(world) for way in pairing[:2]} == {*WAYS, *DRIVEN}
    everywhere = {(sender, receiver) for sender in REFERENCES for receiver in REFERENCES}
    for world in WORLDS:
        played = {(sender, receiver) for sender, receiver, square in pairings(world) if not square}
        assert played >= (beside_references(REFERENCES) if world == "deferred_server_world" else everywhere)
    played = {(sender, receiver) for sender, receiver, square in pairings("server_world") if not square}
    for other in (*OTHERS, *DRIVEN):
        assert beside_references([other]) <= played


async def test_every_way_into_a_server_is_paired(server_world):
    """A way in that a server gains, and that nobody plays on, would be a way that nobody tests."""
    if server_world.hub is None:
        pytest.skip("a server that runs elsewhere has one engine of gRPC")
    assert server_world.ways.keys() == {*WAYS}


async def test_every_scenario_says_its_rule():
    assert len(SCENARIOS) > 50
    for one in ALL_SCENARIOS:
        assert one.rule.endswith("."), one.name
        assert one.peers in (1, 2, 3), one.name
    assert {one.name for one in ALL_SCENARIOS} >= UNSAYABLE_IN_DOTTED.keys() | UNSAYABLE_IN_JAVASCRIPT.keys()


async def test_a_refusal_where_a_reply_is_taken_apart_fails():
    async def play(meet):
        (await (await meet.sender("alice")).call_as(1, Disconnect("nobody"))).offer_id  # noqa: B018

    one = Scenario("taking_apart", "A refusal has no members of a reply.", 2, play)
    with pytest.raises(AssertionError, match=r"^a reply of another shape: AttributeError"):
        await one.run(*(bare_hub().ways[way] for way in REFERENCES))
