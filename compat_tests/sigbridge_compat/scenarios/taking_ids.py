"""Scenarios of ids that are held, defended and taken, by peers that are lost and by sessions that stand."""

from sigbridge import (
    Announced,
    Authenticate,
    Code,
    Disconnect,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    PeerLeft,
    errors,
)
from sigbridge_compat.identities import token_of
from sigbridge_compat.recorder import Recorder, expect, expect_that
from sigbridge_compat.scenario import Meeting, scenario
from sigbridge_compat.scenarios.resumable import (
    alice_and_bob,
    available,
    joined,
    lost,
    not_resumed,
    resumable,
    resumed,
    showing,
)
from sigbridge_compat.scripts import UNKNOWN_TOKEN


@scenario(peers=2, resuming=True)
async def nobodys_lost_peer_defends_its_id_against_nobody(meet: Meeting) -> None:
    """Whoever announces the id of a lost peer that was nobody's in particular has it; others hear of both."""
    for asked in ({}, {"resumable": True}):
        alice, announced, bob = await alice_and_bob(meet)
        await lost(alice, bob)
        newcomer = await meet.receiver()
        reply = await newcomer.call(meet.announce("alice", **asked))
        expect((reply.peers_count, reply.other_peers, reply.resumed), (1, ("bob",), None))
        expect(await newcomer.heard(), [joined("bob")])
        expect(await bob.heard(), [PeerLeft("alice"), joined("alice")])
        late = await meet.sender()
        expect(await late.refused(showing(meet, announced, 1)), errors.already_announced("alice"))
        for guest in (newcomer, bob):
            await guest.call(Disconnect(guest.peer_id))


@scenario(peers=2, resuming=True)
async def nobody_takes_an_id_from_a_session_that_stands(meet: Meeting) -> None:
    """An id whose session stands is refused to whoever is nobody in particular, resumable or not."""
    alice, _, bob = await alice_and_bob(meet)
    taken = errors.already_announced("alice")
    newcomer = await meet.receiver()
    expect(await newcomer.refused(meet.announce("alice")), taken)
    expect(await newcomer.refused(meet.announce("alice", resumable=True)), taken)
    expect(await newcomer.refused(meet.announce("alice", resume_token=UNKNOWN_TOKEN, last_seq=1)), taken)
    expect(await newcomer.refused(meet.announce("bob", resumable=True)), errors.already_announced("bob"))
    await bob.call(IceCandidate("alice", "c", "0", 0))
    expect(await alice.heard_numbered(), [(2, IceCandidateReceived("bob", "c", "0", 0))])
    expect(await bob.heard(), [])


async def shows(guest: Recorder, token: str) -> None:
    """Shows a token."""
    await guest.call(Authenticate(token))


@scenario(peers=2, resuming=True, identities=True)
async def a_lost_peer_defends_its_id_against_others(meet: Meeting) -> None:
    """A lost peer of somebody's is resumed or replaced by its own identity alone; others are refused the id.

    To others its resume token changes nothing: they hear that the id is taken, as without it.
    """
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await shows(alice, token_of("one"))
    announced = await resumable(meet, alice, "alice")
    await bob.heard()
    await lost(alice, bob)
    taken = errors.already_announced("alice")
    nobody = await meet.receiver()
    other = await meet.receiver()
    await shows(other, token_of("two"))
    for stranger in (nobody, other):
        for request in (
            meet.announce("alice"),
            meet.announce("alice", resumable=True),
            showing(meet, announced, 1),
            showing(meet, announced, 0),
        ):
            expect(await stranger.refused(request), taken)
    expect(await bob.heard(), [])
    again = await meet.receiver()
    await shows(again, token_of("one"))
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, "bob"))
    await lost(again, bob)
    same = await meet.sender()
    await shows(same, token_of("one"))
    expect(await same.call(meet.announce("alice")), Announced("alice", 1, ("bob",)))
    expect(await bob.heard(), [PeerLeft("alice"), joined("alice")])


@scenario(peers=2, resuming=True, identities=True)
async def nobodys_peer_may_become_somebodys(meet: Meeting) -> None:
    """A peer that was nobody's in particular is resumed by an identity, and is that one's from then on."""
    alice, announced, bob = await alice_and_bob(meet)
    await lost(alice, bob)
    again = await meet.receiver()
    await shows(again, token_of("one"))
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, "bob"))
    await lost(again, bob)
    for token in (None, token_of("two")):
        stranger = await meet.sender()
        if token is not None:
            await shows(stranger, token)
        expect(await stranger.refused(showing(meet, announced, 1)), errors.already_announced("alice"))
    late = await meet.sender()
    await shows(late, token_of("one"))
    expect(await late.call(showing(meet, announced, 1)), resumed(announced, "bob"))
    expect(await bob.heard(), [])


@scenario(peers=2, resuming=True, identities=True)
async def rights_are_checked_when_somebody_comes_back(meet: Meeting) -> None:
    """A session that may not announce that id any more is refused, and nothing has changed; one that may comes back."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await shows(alice, token_of("one"))
    announced = await resumable(meet, alice, "alice")
    await bob.heard()
    await lost(alice, bob)
    again = await meet.receiver()
    await shows(again, token_of("one", peer_ids=("carol",)))
    expect(await again.refused(showing(meet, announced, 1)), errors.peer_id_mismatch("alice"))
    await shows(again, token_of("one", rights=("relay", "list")))
    refusal = await again.refused(showing(meet, announced, 1))
    expect((refusal.code, refusal.extra), (Code.PERMISSION_DENIED, {"right": "announce"}))
    await shows(again, token_of("one", rights=("announce", "list")))
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, "bob"))
    refusal = await again.refused(Offer("bob", "v=0"))
    expect((refusal.code, refusal.extra), (Code.PERMISSION_DENIED, {"right": "relay"}))
    expect(await bob.heard(), [])


@scenario(peers=2, resuming=True, identities=True)
async def a_resumable_newcomer_takes_its_own_id(meet: Meeting) -> None:
    """A newcomer of the same identity that asks to be resumable takes the id; the old session ends as `replaced`."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await shows(alice, token_of("one"))
    await alice.call(meet.announce("alice"))
    await bob.heard()
    taken = errors.already_announced("alice")
    newcomer = await meet.receiver()
    expect(await newcomer.refused(meet.announce("alice", resumable=True)), taken)
    await shows(newcomer, token_of("one"))
    expect(await newcomer.refused(meet.announce("alice")), taken)
    expect(await newcomer.refused(meet.announce("alice", notices=True)), taken)
    other = await meet.receiver()
    await shows(other, token_of("two"))
    expect(await other.refused(meet.announce("alice", resumable=True)), taken)
    expect(await bob.heard(), [])
    first = await resumable(meet, newcomer, "alice")
    expect((first.peers_count, first.other_peers, first.resumed), (1, ("bob",), None))
    ended = await alice.ended()
    expect((ended.reason, ended.reconnect), ("replaced", False))
    expect(await newcomer.heard_numbered(), [(1, joined("bob"))])
    expect(await bob.heard(), [PeerLeft("alice"), joined("alice")])
    # The old incarnation's token is worth nothing, and asks to be resumable all the same.
    latest = await meet.sender()
    await shows(latest, token_of("one"))
    await not_resumed(latest, meet.announce("alice", resume_token=UNKNOWN_TOKEN), first, "bob")
    expect((await newcomer.ended()).reason, "replaced")
    expect(await bob.heard(), [PeerLeft("alice"), joined("alice")])


@scenario(peers=2, resuming=True, identities=True)
async def an_id_is_not_taken_again_and_again(meet: Meeting) -> None:
    """The same taker takes an id from sessions that stand six times a minute, and is told when it may again."""
    bob = await meet.receiver("bob")
    for count in range(7):
        guest = await (meet.sender() if count % 2 else meet.receiver())
        await shows(guest, token_of("one"))
        await resumable(meet, guest, "alice")
    await bob.heard()
    late = await meet.sender()
    await shows(late, token_of("one"))
    refusal = await late.refused(meet.announce("alice", resumable=True))
    expect(refusal.code, Code.RESOURCE_EXHAUSTED)
    expect_that(0 < (refusal.retry_after_ms or 0) <= 61_000, "it says when")
    expect(await bob.heard(), [])
    expect(await available(bob), ["bob", "alice"])
