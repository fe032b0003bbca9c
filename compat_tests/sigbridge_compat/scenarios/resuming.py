"""Scenarios of peers that outlive their sessions: numbers, losses, coming back, leaving for good, and tokens."""

from collections.abc import Callable

from sigbridge import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Relayed,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES, Capabilities
from sigbridge_compat.recorder import expect
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

# Numbers.


@scenario(peers=2, resuming=True)
async def who_asks_is_resumable_and_its_events_are_numbered(meet: Meeting) -> None:
    """A peer that asks gets a token and numbered events, from 1 and without a gap; the roster is numbered, too."""
    await meet.receiver("bob")
    carol = await meet.receiver("carol")
    alice = await meet.sender()
    announced = await resumable(meet, alice, "alice")
    expect((announced.peers_count, announced.other_peers, announced.resumed), (2, ("bob", "carol"), None))
    await carol.heard()
    offer = await carol.call(Offer("alice", "v=0"))
    await carol.call(IceCandidate("alice", "c", "0", 0))
    await carol.call(Answer("alice", "v=1"))
    await carol.call(Disconnect("alice", offer.offer_id))
    await carol.call(Disconnect("carol"))
    expect(
        await alice.heard_numbered(),
        [
            (1, joined("bob")),
            (2, joined("carol")),
            (3, OfferReceived("carol", offer.offer_id, "v=0", "offer")),
            (4, IceCandidateReceived("carol", "c", "0", 0)),
            (5, AnswerReceived("carol", "v=1", "answer")),
            (6, PeerDisconnected("carol", offer.offer_id)),
            (7, PeerLeft("carol")),
        ],
    )


@scenario(peers=2, resuming=True)
async def who_asks_for_nothing_is_told_nothing_of_it(meet: Meeting) -> None:
    """A peer that asks for nothing, or for notices alone, sees no number and no token, and is gone with its session."""
    witness = await meet.receiver("witness")
    for peer_id, asked in (("plain", {}), ("noticing", {"notices": True})):
        guest = await meet.sender()
        expect(await guest.call(meet.announce(peer_id, **asked)), Announced(peer_id, 1, ("witness",)))
        await witness.call(IceCandidate(peer_id, "c", "0", 0))
        expect(
            await guest.heard_numbered(), [(0, joined("witness")), (0, IceCandidateReceived("witness", "c", "0", 0))]
        )
        expect(await witness.heard(), [joined(peer_id)])
        await guest.lose()
        await witness.until(PeerLeft(peer_id))
        witness.mark()
        expect(await witness.refused(Offer(peer_id, "v=0")), errors.peer_not_found(peer_id))


@scenario(peers=2, resuming=True)
async def others_are_not_told_who_is_resumable(meet: Meeting) -> None:
    """Others hear of a resumable peer what they hear of any."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    capabilities, metadata = Capabilities(True, False, True), {"name": "Alice"}
    await resumable(meet, alice, "alice", capabilities=capabilities, metadata=metadata)
    expect(await bob.heard_numbered(), [(0, PeerJoined("alice", capabilities, metadata))])
    expect([peer.state for peer in (await bob.fence()).peers], ["available", "available"])


# Losing a session and coming back.


@scenario(peers=2, resuming=True)
async def what_was_missed_comes_in_order(meet: Meeting) -> None:
    """A peer that comes back is told what it has missed, in order and with its numbers; nobody notices."""
    alice, announced, bob = await alice_and_bob(meet)
    await lost(alice, bob)
    offer = await bob.call(Offer("alice", "v=0"))
    expect(await bob.call(IceCandidate("alice", "one", "0", 0)), Relayed("alice"))
    carol = await meet.receiver("carol")
    expect(await carol.call(IceCandidate("alice", "two", "0", 0)), Relayed("alice"))
    expect(await bob.call(Disconnect("alice", offer.offer_id)), Disconnected("alice"))
    await carol.call(Disconnect("carol"))
    again = await meet.receiver()
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, "bob"))
    expect(
        await again.heard_numbered(),
        [
            (2, OfferReceived("bob", offer.offer_id, "v=0", "offer")),
            (3, IceCandidateReceived("bob", "one", "0", 0)),
            (4, joined("carol")),
            (5, IceCandidateReceived("carol", "two", "0", 0)),
            (6, PeerDisconnected("bob", offer.offer_id)),
            (7, PeerLeft("carol")),
        ],
    )
    await bob.call(IceCandidate("alice", "three", "0", 0))
    expect(await again.heard_numbered(), [(8, IceCandidateReceived("bob", "three", "0", 0))])
    expect(await bob.heard(), [joined("carol"), PeerLeft("carol")])


@scenario(peers=2, resuming=True)
async def missed_events_follow_the_response(meet: Meeting) -> None:
    """The response to who comes back is before the first event that was missed."""
    alice, announced, bob = await alice_and_bob(meet)
    await lost(alice, bob)
    await bob.call(IceCandidate("alice", "c", "0", 0))
    again = await meet.receiver()
    await again.call(showing(meet, announced, 1))
    await again.fence()
    expect(again.arrivals[:2], [resumed(announced, "bob"), IceCandidateReceived("bob", "c", "0", 0)])


@scenario(peers=2, resuming=True)
async def what_was_not_seen_comes_again(meet: Meeting) -> None:
    """Events after the last one that the application has seen come again, though they had arrived."""
    alice, announced, bob = await alice_and_bob(meet)
    sent = [IceCandidate("alice", f"{number}", "0", 0) for number in range(5)]
    for candidate in sent:
        await bob.call(candidate)
    events = [(number + 2, IceCandidateReceived("bob", f"{number}", "0", 0)) for number in range(5)]
    expect(await alice.heard_numbered(), events)
    first = [(1, joined("bob"))]
    for last_seq in (6, 4, 1, 0, 5):
        again = await meet.receiver()
        expect(await again.call(showing(meet, announced, last_seq)), resumed(announced, "bob"))
        expect(await again.heard_numbered(), (first + events)[last_seq:])
    expect(await bob.heard(), [])


@scenario(peers=2, resuming=True)
async def a_lost_peer_is_listed_as_away(meet: Meeting) -> None:
    """A held peer stays in its place, is away, and keeps what it announced; who resumes announces nothing new."""
    alice = await meet.sender()
    announced = await resumable(meet, alice, "alice", metadata={"name": "Alice"})
    bob = await meet.receiver("bob")
    before = (await bob.fence()).peers
    await lost(alice, bob)
    page = await bob.fence()
    expect(page.count, 2)
    expect([peer.peer_id for peer in page.peers], ["alice", "bob"])
    expect([peer.state for peer in page.peers], ["away", "available"])
    expect((page.peers[0].metadata, page.peers[0].connected_at), ({"name": "Alice"}, before[0].connected_at))
    newcomer = await meet.receiver()
    expect(await newcomer.call(meet.announce("carol")), Announced("carol", 2, ("alice", "bob")))
    expect(await newcomer.heard(), [PeerJoined("alice", NO_CAPABILITIES, {"name": "Alice"}), joined("bob")])
    again = await meet.receiver()
    await again.call(showing(meet, announced, 1, metadata={"name": "somebody else"}))
    expect((await bob.fence()).peers[:2], before)
    expect(await bob.heard(), [PeerJoined("alice", NO_CAPABILITIES, {"name": "Alice"}), joined("carol")])


@scenario(peers=2, resuming=True)
async def offers_of_a_lost_peer_stay_pending(meet: Meeting) -> None:
    """An offer made before a loss is answered after it, in both directions."""
    alice, announced, bob = await alice_and_bob(meet)
    made = await alice.call(Offer("bob", "v=0"))
    received = await bob.call(Offer("alice", "v=1"))
    await alice.heard()
    await lost(alice, bob)
    expect(await bob.call(Answer("alice", "v=2", offer_id=made.offer_id)), Relayed("alice"))
    again = await meet.receiver()
    await again.call(showing(meet, announced, 2))
    expect(await again.heard(), [AnswerReceived("bob", "v=2", "answer", made.offer_id)])
    expect(await again.call(Answer("bob", "v=3", offer_id=received.offer_id)), Relayed("bob"))
    expect(
        await bob.heard(),
        [
            OfferReceived("alice", made.offer_id, "v=0", "offer"),
            AnswerReceived("alice", "v=3", "answer", received.offer_id),
        ],
    )


@scenario(peers=2, resuming=True)
async def a_session_that_still_stands_is_replaced(meet: Meeting) -> None:
    """A peer that comes back while its old session stands ends that as `replaced`; nothing that was sent is lost."""
    alice, announced, bob = await alice_and_bob(meet)
    await bob.call(IceCandidate("alice", "c", "0", 0))
    again = await meet.receiver()
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, "bob"))
    ended = await alice.ended()
    expect((ended.reason, ended.reconnect), ("replaced", False))
    expect(await again.heard_numbered(), [(2, IceCandidateReceived("bob", "c", "0", 0))])
    expect(await available(bob), ["alice", "bob"])
    await bob.call(IceCandidate("alice", "d", "0", 0))
    expect(await again.heard_numbered(), [(3, IceCandidateReceived("bob", "d", "0", 0))])
    expect(await bob.heard(), [])


@scenario(peers=2, resuming=True)
async def a_peer_comes_back_as_often_as_it_is_lost(meet: Meeting) -> None:
    """Token and numbers stay the same over any number of losses, on either way in."""
    alice, announced, bob = await alice_and_bob(meet)
    for number in range(6):
        await lost(alice, bob)
        await bob.call(IceCandidate("alice", f"{number}", "0", 0))
        alice = await (meet.sender() if number % 2 else meet.receiver())
        expect(await alice.call(showing(meet, announced, number + 1)), resumed(announced, "bob"))
        expect(await alice.heard_numbered(), [(number + 2, IceCandidateReceived("bob", f"{number}", "0", 0))])
        expect(await alice.call(IceCandidate("bob", f"{number}", "0", 0)), Relayed("bob"))
    expect(await bob.heard(), [IceCandidateReceived("alice", f"{number}", "0", 0) for number in range(6)])


@scenario(peers=2, resuming=True)
async def two_lost_peers_miss_nothing_of_each_other(meet: Meeting) -> None:
    """A message that a peer sent before it was lost waits for another peer that is lost as well."""
    alice, announced, witness = await alice_and_bob(meet)
    carol = await meet.receiver()
    of_carol = await resumable(meet, carol, "carol")
    expect(await alice.heard_numbered(), [(2, joined("carol"))])
    await witness.heard()
    await lost(carol, witness)
    await alice.call(IceCandidate("carol", "one", "0", 0))
    await lost(alice, witness)
    carol = await meet.sender()
    await carol.call(showing(meet, of_carol, 2))
    expect(await carol.heard_numbered(), [(3, IceCandidateReceived("alice", "one", "0", 0))])
    await carol.call(IceCandidate("alice", "two", "0", 0))
    alice = await meet.receiver()
    await alice.call(showing(meet, announced, 2))
    expect(await alice.heard_numbered(), [(3, IceCandidateReceived("carol", "two", "0", 0))])
    expect(await witness.heard(), [])


@scenario(peers=2, resuming=True, brief=True)
async def when_the_window_has_passed_a_lost_peer_has_left(meet: Meeting) -> None:
    """A peer that does not come back in time leaves as any other does, once; its token is worth nothing then."""
    alice, announced, bob = await alice_and_bob(meet)
    await lost(alice, bob)
    await bob.until(PeerLeft("alice"))
    expect(await bob.heard(), [PeerLeft("alice")])
    expect(await bob.refused(Offer("alice", "v=0")), errors.peer_not_found("alice"))
    again = await meet.receiver()
    await not_resumed(again, showing(meet, announced, 1), announced, "bob")
    expect(await again.heard_numbered(), [(1, joined("bob"))])
    expect(await bob.heard(), [joined("alice")])


# Leaving is for good.


@scenario(peers=2, resuming=True)
async def who_leaves_does_not_come_back(meet: Meeting) -> None:
    """A peer that has asked to leave, or has closed its connection, has left at once; an announce is a new peer's."""
    alice, announced, bob = await alice_and_bob(meet)
    expect(await alice.call(Disconnect("alice")), Disconnected("alice"))
    expect(await bob.heard(), [PeerLeft("alice")])
    anew = await not_resumed(alice, showing(meet, announced, 1), announced, "bob")
    expect(await alice.heard_numbered(), [(1, joined("bob"))])
    expect(await bob.heard(), [joined("alice")])
    await alice.close()
    await bob.until(PeerLeft("alice"))
    expect(await bob.heard(), [PeerLeft("alice")])
    again = await meet.receiver()
    await not_resumed(again, showing(meet, anew, 1), anew, "bob")


# Tokens that are worth nothing.


@scenario(peers=2, resuming=True)
async def who_cannot_be_resumed_is_announced_anew(meet: Meeting) -> None:
    """An unknown token, or more events than there ever were, is an announce like any other, with a token of its own."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    before = await resumable(meet, alice, "carol")
    await alice.call(Disconnect("carol"))
    await bob.heard()
    stranger = await meet.receiver()
    announced = await not_resumed(
        stranger, meet.announce("carol", resume_token=UNKNOWN_TOKEN, last_seq=17), before, "bob"
    )
    expect(await stranger.heard_numbered(), [(1, joined("bob"))])
    expect(await bob.heard(), [joined("carol")])
    await lost(stranger, bob)
    again = await meet.sender()
    anew = await not_resumed(again, showing(meet, announced, 2), announced, "bob")
    expect(await again.heard_numbered(), [(1, joined("bob"))])
    expect(await bob.heard(), [PeerLeft("carol"), joined("carol")])
    expect(await again.call(ListPeers()), await bob.fence())
    await lost(again, bob)
    late = await meet.receiver()
    expect(await late.call(showing(meet, anew, 1)), resumed(anew, "bob"))


@scenario(peers=2, resuming=True)
async def a_token_is_for_its_peer_and_its_room(meet: Meeting) -> None:
    """A token that is shown for another id, or in another room, is an unknown one, and stays good for its own."""
    alice, announced, bob = await alice_and_bob(meet)
    await lost(alice, bob)
    other = await meet.receiver()
    reply = await other.call(meet.announce("carol", resume_token=announced.resume_token, last_seq=1))
    expect((reply.peer_id, reply.resumed, reply.other_peers), ("carol", False, ("alice", "bob")))
    elsewhere = await meet.receiver()
    reply = await elsewhere.call(Announce("alice", room=f"{meet.room}-other", resume_token=announced.resume_token))
    expect((reply.resumed, reply.other_peers), (False, ()))
    again = await meet.receiver()
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, "bob", "carol"))
    expect(await again.heard_numbered(), [(2, joined("carol"))])
    expect(await bob.heard(), [joined("carol")])


@scenario(peers=2, resuming=True)
async def a_token_is_good_as_a_whole(meet: Meeting) -> None:
    """A token that differs in a letter, or lacks one, or has one more, is an unknown one."""
    alice, announced, bob = await alice_and_bob(meet)
    half = len(UNKNOWN_TOKEN) // 3
    changes: tuple[Callable[[str], str], ...] = (
        lambda token: token[:half] + UNKNOWN_TOKEN[half:],
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token[:-1] + ("B" if token[-1] == "A" else "A"),
        str.swapcase,
        lambda token: token[:half],
        lambda token: token[:half] + "é" * (len(token) - half),
    )
    for change in changes:
        await lost(alice, bob)
        alice = await meet.receiver()
        request = meet.announce("alice", resume_token=change(announced.resume_token), last_seq=1)
        announced = await not_resumed(alice, request, announced, "bob")
        expect(await bob.heard(), [PeerLeft("alice"), joined("alice")])


@scenario(peers=1, resuming=True)
async def what_is_shown_is_checked(meet: Meeting) -> None:
    """A token that is none by its length is a wrong field, and changes nothing."""
    alice = await meet.sender()
    wrong = errors.invalid_params("resume_token", "is longer than 256 letters")
    expect(await alice.refused(meet.announce("alice", resume_token="x" * 257)), wrong)
    reply = await alice.call(meet.announce("alice", resume_token="x" * 256))
    expect((reply.resumed, reply.resumable), (False, True))
    await alice.call(Disconnect("alice"))
    reply = await alice.call(meet.announce("alice", resume_token="é\x00" * 18))
    expect((reply.resumed, reply.resumable), (False, True))


# Being told beforehand.


@scenario(peers=2, resuming=True)
async def notices_change_nothing_else(meet: Meeting) -> None:
    """A peer that asks to be told of what is about to happen is a peer like any other."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await resumable(meet, alice, "alice", notices=True)
    expect(await alice.heard_numbered(), [(1, joined("bob"))])
    carol = await meet.sender()
    expect(await carol.call(meet.announce("carol", notices=True)), Announced("carol", 2, ("bob", "alice")))
    expect(await carol.heard_numbered(), [(0, joined("bob")), (0, joined("alice"))])
    expect(await bob.heard(), [joined("alice"), joined("carol")])
