"""Calls between WebRTC stacks: Chromium, aiortc, Pion, werift and webrtc-rs, over every protocol that each has.

Where this project has calls for a stack (`-calls`), these call and are called by every other stack, itself included; for Pion and webrtc-rs a
program of its own stands, which negotiates as docs/webrtc.md says. Each speaks the protocol that stands first in `PROTOCOLS`. A peer
cannot tell which protocol another one speaks, nor by what it negotiates: so what is left is paired with the reference alone, Pion over gRPC,
in both directions, and the rest of the square has the mark `square`.
"""

from itertools import product

import pytest

from rtc_stacks import PROTOCOLS, RESUMES, RtcPeer
from waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAYS = [(stack, protocol) for stack, protocols in PROTOCOLS.items() for protocol in protocols]
REFERENCE = ("pion", "grpc")
FIRST = [(stack, PROTOCOLS[stack][0]) for stack in ("chromium-calls", "aiortc-calls", "werift-calls", "webrtc-rs")]
FIRST.append(REFERENCE)
ONE_EACH = [REFERENCE if stack == REFERENCE[0] else (stack, protocols[0]) for stack, protocols in PROTOCOLS.items()]


def fails(caller, callee):
    """Tells the one pairing that fails, by the faults of both: webrtc-rs opens no SCTP association as a DTLS server, nor werift where it is called."""
    return caller[0] == "webrtc-rs" and callee[0].startswith("werift")


def numbers_alike(one, other):
    """Tells pairings whose channels get the same number after glare: a browser's calls roll back, and werift numbers by its role in ICE."""
    return "werift-calls" in (one[0], other[0]) or (
        "chromium-calls" in (one[0], other[0]) and "werift" in (one[0], other[0])
    )


def is_played_always(caller, callee, *, at_once):
    """Tells pairings of `make test`; at once, the programs with werift and Chromium that negotiate themselves stand in for calls."""
    if at_once:
        ways = {*FIRST, ("werift", "ws")}
        return {caller, callee} <= ways or {caller, callee} == {("chromium", "ws"), ("werift", "ws")}
    return {caller, callee} <= set(FIRST)


def pairings(*, at_once=False, of_protocols=False):
    """All pairings of two ways that work, by one protocol of each stack; with `at_once` those alone that work whoever of two is heard.

    With `of_protocols` by every protocol, and those with the reference are played always.
    """
    ways = WAYS if of_protocols else ONE_EACH
    return [
        pytest.param(
            caller,
            callee,
            id=f"{'-'.join(caller)}-and-{'-'.join(callee)}",
            marks=()
            if is_played_always(caller, callee, at_once=at_once) or (of_protocols and REFERENCE in (caller, callee))
            else pytest.mark.square,
        )
        for caller, callee in product(ways, ways)
        if not fails(caller, callee) and not (at_once and (fails(callee, caller) or numbers_alike(caller, callee)))
    ]


async def exchange(one: RtcPeer, other: RtcPeer, text: str = "bytes"):
    """Sends bytes both ways."""
    one.tell("send", to=other.id, text=f"{text} from {one.id}")
    other.tell("send", to=one.id, text=f"{text} from {other.id}")
    await one.hears("heard", text=f"{text} from {other.id}", **{"with": other.id})
    await other.hears("heard", text=f"{text} from {one.id}", **{"with": one.id})


def is_of(offer_id: str | None, tidings: dict[str, str]) -> bool:
    """Returns False where both programs know of which offer they speak, and it is not the same."""
    return offer_id is None or tidings.get("offer_id") in (None, offer_id)


async def opened(one: RtcPeer, other: RtcPeer) -> str | None:
    """Waits until both have opened the channel of a call; returns its offer, where somebody knows it."""
    here = (await one.hears("open", **{"with": other.id})).get("offer_id")
    there = await other.hears("open", **{"with": one.id})
    assert is_of(here, there)
    return here or there.get("offer_id")


async def call_and_be_hung_up_on(peer: RtcPeer, other: RtcPeer) -> None:
    peer.tell("call", to=other.id)
    await opened(peer, other)
    other.tell("hang_up", to=peer.id)
    await other.hears("ended")
    await peer.hears("ended")


def negotiates_itself(way):
    return not way[0].endswith("-calls")


@pytest.mark.parametrize(("caller", "callee"), pairings(of_protocols=True))
async def test_a_call_carries_bytes_both_ways(caller, callee, meet):
    meeting = await meet()
    alice = await meeting.join(*caller, "alice")
    bob = await meeting.join(*callee, "bob")
    before = meeting.relayed_offers
    alice.tell("call", to="bob")
    offer_id = await opened(alice, bob)
    assert (offer_id or "alice_bob_").startswith("alice_bob_")
    await exchange(alice, bob)
    bob.tell("hang_up", to="alice")
    assert is_of(offer_id, await alice.hears("ended", why="peer_hung_up"))
    assert meeting.relayed_offers == before + 1
    assert not [tidings for tidings in (*alice.said, *bob.said) if tidings["said"] == "open"]


@pytest.mark.parametrize(("smaller", "greater"), pairings(at_once=True))
async def test_of_two_that_call_each_other_at_once_the_greater_is_heard(smaller, greater, meet):
    meeting = await meet()
    # By their bytes: by what JavaScript compares, the second one is smaller.
    one = await meeting.join(*smaller, "peer \uff5e")
    two = await meeting.join(*greater, "peer \U0001f600")
    carol = await meeting.join(*REFERENCE, "carol")
    for peer, way in ((one, smaller), (two, greater)):
        if not negotiates_itself(way):
            # It asks the server for ICE servers before its first call, and could not offer while it is told nothing.
            await call_and_be_hung_up_on(peer, carol)
    before = meeting.relayed_offers
    meeting.hold_back()
    one.tell("call", to=two.id)
    two.tell("call", to=one.id)
    await until(lambda: meeting.relayed_offers == before + 2)
    meeting.let_go()
    offer_id = await opened(one, two)
    assert (offer_id or two.id).startswith(two.id)
    if negotiates_itself(smaller):
        await one.hears("ended", why="called_again")
    await exchange(one, two)
    assert meeting.relayed_offers == before + 2
    assert not [tidings for tidings in (*one.said, *two.said) if tidings["said"] in ("open", "ended")]


OF_CALLS = [way for way in FIRST if not negotiates_itself(way)]


@pytest.mark.parametrize(
    ("caller", "callee"),
    [
        # The others wait some ten seconds each, and are of the same kinds.
        pytest.param(
            caller,
            callee,
            id=f"{caller[0]}-and-{callee[0]}",
            marks=() if (caller[0], callee[0]) == ("chromium-calls", "aiortc-calls") else pytest.mark.square,
        )
        for caller, callee in product(OF_CALLS, OF_CALLS)
    ],
)
async def test_a_call_comes_about_though_who_was_called_loses_its_first_connection(caller, callee, meet):
    meeting = await meet()
    alice = await meeting.join(*caller, "alice")
    bob = await meeting.join(*callee, "bob")
    bob.tell("lose_next")
    alice.tell("call", to="bob")
    await bob.hears("lost_connection")
    # Only who calls makes a channel.
    await opened(alice, bob)
    await exchange(alice, bob)
    bob.tell("hang_up", to="alice")
    await alice.hears("ended", why="peer_hung_up")


@pytest.mark.parametrize("connects_first", [True, False], ids=["connected", "at-once"])
@pytest.mark.parametrize(("caller", "callee"), pairings())
async def test_a_call_that_follows_a_hang_up_at_once_stands(caller, callee, connects_first, meet):
    meeting = await meet()
    alice = await meeting.join(*caller, "alice")
    bob = await meeting.join(*callee, "bob")
    alice.tell("call", to="bob")
    if connects_first:
        await opened(alice, bob)
    alice.tell("call_again", to="bob")
    await alice.hears("ended", why="hung_up")
    second = (await alice.hears("open", **{"with": "bob"})).get("offer_id")
    # The first call may have opened there before it ended.
    while not is_of(second, await bob.hears("open")):
        pass
    await exchange(alice, bob)


@pytest.mark.parametrize(("one", "other"), pairings(at_once=True))
async def test_both_hang_up_and_call_again_at_once(one, other, meet):
    meeting = await meet()
    alice = await meeting.join(*one, "alice")
    bob = await meeting.join(*other, "bob")
    alice.tell("call", to="bob")
    await opened(alice, bob)
    await exchange(alice, bob, "before")
    alice.tell("call_again", to="bob")
    bob.tell("call_again", to="alice")

    def stand():
        """Tells that both have a call whose channel is open, by what was said last."""
        for peer in (alice, bob):
            peer.check()
        said = [[tidings for tidings in peer.said if tidings["said"] in ("open", "ended")] for peer in (alice, bob)]
        last = [lines[-1] if lines else {"said": "nothing"} for lines in said]
        return last[0]["said"] == last[1]["said"] == "open" and is_of(last[0].get("offer_id"), last[1])

    await until(stand)
    await exchange(alice, bob, "after")
    assert stand()


@pytest.mark.parametrize(("loser", "other"), [pairing for pairing in pairings() if pairing.values[0][0] in RESUMES])
async def test_a_call_outlives_the_loss_of_a_session(loser, other, meet):
    meeting = await meet()
    alice = await meeting.join(*loser, "alice")
    bob = await meeting.join(*other, "bob")
    if not negotiates_itself(loser):
        # It has asked for ICE servers then, as in the test of glare.
        await call_and_be_hung_up_on(alice, await meeting.join(*REFERENCE, "carol"))
    # First while the offer waits for its acknowledgement, then while the call stands.
    link = meeting.proxies["alice"].link
    before = meeting.relayed_offers
    link.hold_back()
    alice.tell("call", to="bob")
    await until(lambda: meeting.relayed_offers == before + 1)
    link.reset()
    await alice.hears("resumed")
    offer_id = await opened(alice, bob)
    meeting.proxies["alice"].link.reset()
    await exchange(alice, bob, "meanwhile")
    await alice.hears("resumed")
    await exchange(alice, bob, "after")
    bob.tell("hang_up", to="alice")
    assert is_of(offer_id, await alice.hears("ended", why="peer_hung_up"))
    assert meeting.relayed_offers == before + 1


@pytest.mark.parametrize("other", [way for way in FIRST if not fails(way, REFERENCE)], ids=lambda way: way[0])
async def test_a_call_ends_where_a_session_that_does_not_resume_is_lost(other, meet):
    meeting = await meet()
    alice = await meeting.join(*REFERENCE, "alice")
    bob = await meeting.join(*other, "bob")
    bob.tell("call", to="alice")
    await opened(bob, alice)
    meeting.proxies["alice"].link.reset()
    await alice.hears("lost")
    await bob.hears("ended", why="peer_left")


@pytest.mark.parametrize("engine", ["grpcio"])
@pytest.mark.parametrize("way", [way for way in WAYS if way[1] == "grpc"], ids=lambda way: way[0])
async def test_a_call_over_the_other_engine_of_grpc(way, engine, meet):
    meeting = await meet(engine)
    alice = await meeting.join(*way, "alice")
    bob = await meeting.join(*REFERENCE, "bob")
    alice.tell("call", to="bob")
    await opened(alice, bob)
    await exchange(alice, bob)


async def test_every_way_is_paired_with_every_other():
    played = {tuple(pairing.values) for pairing in pairings(of_protocols=True)}
    assert {pair for pair in product(WAYS, WAYS) if pair not in played} == {
        (("webrtc-rs", "grpc"), (stack, protocol))
        for stack in ("werift", "werift-calls")
        for protocol in ("ws", "grpc")
    }
    first = {tuple(pairing.values) for pairing in pairings(of_protocols=True) if not pairing.marks}
    for way in WAYS:
        assert (way, REFERENCE) in first
        assert (REFERENCE, way) in first
