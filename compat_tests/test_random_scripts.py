"""Random scripts: whatever a few clients do, every way in gives the transcript that the bare hub gives.

`--scripts N`, or SIGBRIDGE_SCRIPTS=N, says how many scripts each test plays; Hypothesis shrinks one that fails.
Each run says in its head which seed it has, and `--seed` plays the same scripts again.
"""

import asyncio
import os
import zlib

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import resuming_mutants  # noqa: F401 — adds its own
import time_limits
from mutants import mutated
from sigbridge import (
    Announce,
    Answer,
    Authenticate,
    Capabilities,
    Disconnect,
    GetIceServers,
    IceCandidate,
    ListPeers,
    Offer,
)
from sigbridge import HealthCheck as AskHealth
from sigbridge_bench.progress import Progress
from sigbridge_compat.deferred import SelfCompletingDeferral
from sigbridge_compat.identities import BAD_TOKEN, token_of
from sigbridge_compat.scripts import CLIENTS, Close, ComeBack, Interrupt, Lose, Repeat, Script, Send, play
from sigbridge_compat.ways import DOTTED
from sigbridge_compat.worlds import World, bare_hub, running_server, started_server

FEW_SCRIPTS = 12
MANY_SCRIPTS = 500
"""From so many on, a test says how far it is."""
SCRIPT_SECONDS = 1.0
"""The most seconds for a script on average, on two ways in and on a machine that is busy."""
SHRINKING_SECONDS = 600.0
"""The most seconds beyond that for making a failing script short."""
PEERS = ("a", "b", "c", "d")

peer_ids = st.sampled_from(PEERS)
targets = st.sampled_from((*PEERS, *PEERS, *PEERS, "nobody", "", "a\n", "x" * 257))
sdps = st.sampled_from(("v=0\r\n", "v=0\r\n", "\x00 é 👋 \u2028\n", "s=1", ""))
candidates = st.sampled_from(("", "candidate:1", "candidate:2 \u2028", "x" * 4097))
offer_ids = st.sampled_from(("", "", "#1", "#1", "#2", "#3", "a_b_1", "x" * 1001))
rooms = st.sampled_from(("0", "0", "0", "0", "1"))


def requests_of(extensions, last_index):
    """Requests, with these extensions of capabilities and this last index of a media section."""
    capabilities = st.builds(
        Capabilities,
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from(({}, {"screen_share": True}, *extensions)),
    )
    return st.one_of(
        st.builds(Offer, targets, sdps, st.sampled_from(("", "offer", "offer", "answer"))),
        st.builds(Answer, targets, sdps, st.sampled_from(("", "answer", "pranswer", "offer")), offer_ids),
        st.builds(
            IceCandidate,
            targets,
            candidates,
            st.sampled_from((None, "", "0")),
            st.sampled_from((None, 0, last_index)),
            st.sampled_from((None, "", "ufrag")),
            offer_ids,
        ),
        st.builds(Disconnect, targets, offer_ids),
        st.builds(
            Announce, targets, capabilities, st.sampled_from(({}, {"name": "é\x00"}, {"b": "1", "a": ""})), rooms
        ),
        st.builds(
            ListPeers,
            st.sampled_from((None, "0", "1")),
            st.sampled_from((0, 1, 2)),
            st.sampled_from(("", "", "garbage")),
        ),
    )


REQUESTS = {
    False: requests_of(({"n": 1.0, "l": [None, "é"]},), 4294967295),
    # What is beyond this the dialect has no words for.
    True: requests_of(({"é": True, "": True},), 65535),
}
"""Requests, by whether a client speaks the dotted dialect."""
tokens = st.sampled_from(
    (
        # None ends a session: what follows would depend on who notices first. All may list, which proves what has come.
        token_of("one"),
        token_of("one", rights=("relay", "list")),
        token_of("one", rights=("announce", "list")),
        token_of("two", rights=("list",)),
        token_of(),
        BAD_TOKEN,
        "",
        "x" * 8193,
    )
)
clients = st.integers(0, CLIENTS - 1)


def steps_of(requests):
    """Steps of clients that send these requests."""
    return st.one_of(
        st.builds(lambda who, request: Send(who, (request,)), clients, requests),
        st.builds(lambda who, several: Send(who, tuple(several)), clients, st.lists(requests, min_size=2, max_size=4)),
        st.builds(lambda who: Send(who, (Disconnect(PEERS[who]),)), clients),
        st.builds(lambda who: Send(who, (Announce(PEERS[who], room="0"),)), clients),
        st.builds(lambda who: Send(who, (AskHealth(),)), clients),
        st.builds(Close, clients),
    )


def losing_steps_of(requests):
    """Steps of clients that are resumable, lose their connections, come back and repeat requests."""
    unseen = st.sampled_from((0, 0, 1, 2, 9, -1))
    relays = requests.filter(lambda request: not isinstance(request, Announce | ListPeers))
    return st.one_of(
        st.builds(lambda who: Send(who, (Announce(PEERS[who], room="0", resumable=True),)), clients),
        st.builds(
            lambda who, as_whom, notices, asks: Send(
                who,
                (
                    Disconnect(PEERS[who]),
                    Announce(as_whom, room="0", resumable=True, notices=notices, ice_servers=asks),
                ),
            ),
            clients,
            peer_ids,
            st.booleans(),
            st.booleans(),
        ),
        st.builds(lambda who, more: Send(who, (GetIceServers(), *more)), clients, st.lists(requests, max_size=2)),
        st.builds(Lose, clients),
        st.builds(Lose, clients),
        st.builds(ComeBack, clients, clients, unseen, st.sampled_from((True, True, False))),
        st.builds(ComeBack, clients, clients),
        st.builds(Repeat, clients, st.integers(0, 3), st.sampled_from((False, False, False, True))),
        st.builds(Interrupt, clients, clients, st.lists(relays, min_size=1, max_size=4).map(tuple), st.integers(0, 8)),
    )


STEPS = {dotted: steps_of(requests) for dotted, requests in REQUESTS.items()}
LOSING_STEPS = {dotted: losing_steps_of(requests) for dotted, requests in REQUESTS.items()}
showing_tokens = st.one_of(
    st.builds(lambda who, token: Send(who, (Authenticate(token),)), clients, tokens),
    st.builds(lambda who, token: Send(who, (Authenticate(token), GetIceServers())), clients, tokens),
)


def scripts(*ways, ours):
    """Scripts whose clients use these ways in, at random; most begin with everybody in one room.

    Where the server is one of `ours` some clients show tokens, and in half of the scripts they are resumable and lose
    their connections.
    """
    steps = STEPS[DOTTED in ways]
    if not ours:
        return scripts_of(ways, steps, resumable=False)
    losing = st.one_of(steps, LOSING_STEPS[DOTTED in ways], LOSING_STEPS[DOTTED in ways], showing_tokens)
    return st.one_of(
        scripts_of(ways, st.one_of(steps, showing_tokens), resumable=False),
        scripts_of(ways, losing, resumable=True, fewest=4),
        scripts_of(ways, losing, resumable=True, fewest=4, token=token_of("one")),
    )


def scripts_of(ways, steps, *, resumable, fewest=1, token=""):
    """Scripts of these steps; with a token, all clients show it before they announce themselves."""

    def script(chosen, announced, more):
        shown = (Send(who, (Authenticate(token),)) for who in range(CLIENTS if token else 0))
        first = (Send(who, (Announce(PEERS[who], room="0", resumable=resumable),)) for who in range(announced))
        return Script(chosen, (*shown, *first, *more))

    return st.builds(
        script,
        st.tuples(*(st.sampled_from(ways) for _ in range(CLIENTS))),
        st.sampled_from((0, 2, CLIENTS, CLIENTS)),
        st.lists(steps, min_size=fewest, max_size=16),
    )


@pytest.fixture(scope="module")
def runner():
    """One event loop for all scripts."""
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def script_count(request):
    count = request.config.getoption("--scripts") or int(os.environ.get("SIGBRIDGE_SCRIPTS") or FEW_SCRIPTS)
    assert count > 0
    return count


@pytest.fixture(scope="module")
def reference(runner):
    return bare_hub()


@pytest.fixture(scope="module")
def script_server(runner, request):
    if grpc_address := request.config.getoption("--grpc"):
        yield running_server(grpc_address, request.config.getoption("--ws"))
        return
    yield from on_the_scripts_loop(runner, started_server())


@pytest.fixture(scope="module")
def script_deferred_server(runner):
    yield from on_the_scripts_loop(runner, started_server(SelfCompletingDeferral(seed=3)))


@pytest.fixture(scope="module")
def script_deferred_hub(runner):
    return bare_hub(SelfCompletingDeferral(seed=4))


def on_the_scripts_loop(runner, context):
    yield runner.run(context.__aenter__())
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def compare(request, runner, script_count, reference):
    """Plays scripts on a world and on the reference, and compares what arrived."""
    # Each test has scripts of its own.
    one_seed = zlib.crc32(f"{request.config.getoption('--seed')} {request.node.name}".encode())
    time_limits.allow(script_count * SCRIPT_SECONDS + SHRINKING_SECONDS)

    def play_and_compare(world: World, *ways: str) -> None:
        arrived = played = 0

        @seed(one_seed)
        @settings(
            max_examples=script_count,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        )
        # A server that runs elsewhere knows no tokens of ours, and may hold nobody.
        @given(scripts(*ways, ours=world.hub is not None))
        def same_transcripts(script):
            nonlocal arrived, played
            hubs = (reference.hub, world.hub) if world.hub is not None else (None, None)
            expected = runner.run(play(script, reference.ways, hub=hubs[0]))
            assert runner.run(play(script, world.ways, hub=hubs[1])) == expected
            arrived += sum(map(len, expected))
            played += 1
            progress.step(1)
            if script_count >= MANY_SCRIPTS:
                progress.say(f"{request.node.name}: {played} of {script_count} scripts, {arrived} messages compared")

        with time_limits.stderr() as stream:
            progress = Progress(script_count, stream)
            same_transcripts()
            if script_count >= MANY_SCRIPTS:
                progress.end()
                again = f"--seed={request.config.getoption('--seed')}"
                stream.write(f"{request.node.name}: {played} scripts, {arrived} messages compared, {again}\n")
        assert arrived > script_count

    return play_and_compare


def test_scripts_on_grpc(compare, script_server):
    compare(script_server, "grpc")


def test_scripts_on_websocket(compare, script_server):
    compare(script_server, "websocket")


def test_scripts_on_the_dotted_dialect(compare, script_server):
    compare(script_server, DOTTED)


def test_scripts_on_grpcs_other_engine(compare, script_server):
    if "grpcio" not in script_server.ways:
        pytest.skip("a server that runs already has one engine")
    compare(script_server, "grpcio")


def test_scripts_on_all(compare, script_server):
    compare(script_server, *ways_of(script_server))


def test_scripts_on_all_but_the_dotted_dialect(compare, script_server):
    compare(script_server, *(way for way in ways_of(script_server) if way != DOTTED))


def test_scripts_on_all_with_another_nodes_slowness(compare, script_deferred_server):
    compare(script_deferred_server, *ways_of(script_deferred_server))


@pytest.mark.thorough
def test_scripts_on_a_hub_with_another_nodes_slowness(compare, script_deferred_hub):
    compare(script_deferred_hub, *ways_of(script_deferred_hub))


def ways_of(world: World) -> tuple[str, ...]:
    """The ways into a world, in an order that is always the same."""
    return tuple(sorted(world.ways))


EVERYTHING = Script(
    ("grpc", "websocket", "grpc", "websocket"),
    (
        *(Send(who, (Announce(PEERS[who], room="0", metadata={"n": str(who)}),)) for who in range(CLIENTS)),
        Send(0, (Offer("b", "v=0\r\n"), IceCandidate("b", "c", None, 0, ""), Offer("nobody", "v=0"))),
        Send(1, (Answer("a", "v=0\r\n"), IceCandidate("a", ""), Offer("c", "s=1"))),
        Send(2, (Disconnect("b", "#1"), Answer("b", "v=0", "", "#1"), IceCandidate("b", "c", offer_id="#1"))),
        Send(2, (Disconnect("d"), ListPeers())),
        Send(3, (Disconnect("d"),)),
        Close(0),
    ),
)


@pytest.mark.parametrize(
    "name",
    [
        "OfferReceived is dropped",
        "PeerLeft comes twice",
        "two events change places",
        "the roster comes before the reply",
        "the roster is reversed",
        "IceCandidateReceived.from_peer_id is altered",
        "an absent sdp_mid becomes ''",
        "NOT_FOUND has another text",
        "offers are never pending",
        "no answer is stale",
        "PeerDisconnected.offer_id is altered",
        "a list shows another metadata",
    ],
)
def test_a_transcript_shows(runner, name):
    """A comparison that notices nothing would be equal for ever: a fault in one of the two must show."""
    assert_a_fault_shows(runner, EVERYTHING, name)


LOSSES = Script(
    ("grpc", "websocket", "grpc", "websocket"),
    (
        *(Send(who, (Announce(PEERS[who], room="0", resumable=True),)) for who in range(3)),
        Send(0, (Offer("b", "v=0"), IceCandidate("b", "c", None, 0))),
        Lose(1),
        Send(0, (IceCandidate("b", "d", None, 0),)),
        Send(2, (IceCandidate("b", "e", None, 0),)),
        Send(2, (ListPeers(),)),
        ComeBack(1, by=0, unseen=1),
        Repeat(0, 0),
        Repeat(0, 1, otherwise=True),
        Interrupt(0, 3, (IceCandidate("b", "f", None, 0), Offer("b", "v=1")), 1),
        ComeBack(2, by=1),
        Lose(2),
        Send(3, (Announce("c", room="0"),)),
    ),
)


@pytest.mark.parametrize(
    "name",
    [
        "a number is skipped",
        "what was missed comes in reverse",
        "the last that was missed is forgotten",
        "the last that was missed comes twice",
        "an event is kept twice",
        "a request that comes again is carried out again",
        "an id is for any request",
        "a remembered outcome is altered",
        "a held peer is announced as left",
        "a held peer defends its id against all",
    ],
)
def test_a_transcript_shows_losses(runner, name):
    """Likewise, faults of peers that outlive their sessions."""
    assert_a_fault_shows(runner, LOSSES, name)


def assert_a_fault_shows(runner, script, name):
    def transcript():
        world = bare_hub()
        return runner.run(play(script, world.ways, hub=world.hub))

    expected = transcript()
    assert transcript() == expected
    with mutated(name):
        try:
            shown = transcript()
        except AssertionError:
            # What a client hands out is not what has arrived.
            return
    assert shown != expected
