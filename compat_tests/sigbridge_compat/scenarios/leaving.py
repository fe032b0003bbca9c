"""Scenarios of leaving: by saying so, by closing, and what remains."""

import asyncio

from sigbridge import (
    Announced,
    Answer,
    AnswerReceived,
    Disconnect,
    Disconnected,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.deviations import NO_ROOMS
from sigbridge_compat.recorder import expect
from sigbridge_compat.scenario import Meeting, scenario


@scenario(peers=2)
async def closing_means_leaving(meet: Meeting) -> None:
    """The end of a session is told to everyone in its room by one peer_left, and messages to it find nobody."""
    alice, bob = await meet.pair()
    carol = await meet.sender("carol")
    await alice.heard()
    await carol.heard()
    await bob.close()
    await alice.until(PeerLeft("bob"))
    await carol.until(PeerLeft("bob"))
    expect(await alice.refused(Offer("bob", "v=0")), errors.peer_not_found("bob"))
    expect(await alice.heard(), [PeerLeft("bob")])
    expect(await carol.heard(), [PeerLeft("bob")])
    expect([peer.peer_id for peer in (await alice.fence()).peers], ["alice", "carol"])


@scenario(peers=2)
async def peer_left_comes_once_and_last(meet: Meeting) -> None:
    """All that a peer sent before it left arrives before its peer_left; nothing of it arrives afterwards."""
    alice, bob = await meet.pair()
    await asyncio.gather(*(alice.client.ice_candidate("bob", str(n)) for n in range(50)))
    await alice.close()
    await bob.until(PeerLeft("alice"))
    expect(await bob.heard(), [*(IceCandidateReceived("alice", str(n), None, 0) for n in range(50)), PeerLeft("alice")])
    await meet.sender("carol")
    expect(await bob.heard(), [PeerJoined("carol", NO_CAPABILITIES, {})])


@scenario(peers=2)
async def ones_own_id_means_leaving(meet: Meeting) -> None:
    """A disconnect with one's own id is acknowledged and tells the others peer_left; the leaver hears no event."""
    alice, bob = await meet.pair()
    expect(await alice.call(Disconnect("alice")), Disconnected("alice"))
    expect(await bob.heard(), [PeerLeft("alice")])
    expect([peer.peer_id for peer in (await bob.fence()).peers], ["bob"])
    expect(await bob.refused(Offer("alice", "v=0")), errors.peer_not_found("alice"))
    expect(await alice.refused(Offer("bob", "v=0")), errors.not_announced())
    expect(await alice.refused(Disconnect("alice")), errors.not_announced())
    await meet.receiver("carol")
    expect(await bob.heard(), [PeerJoined("carol", NO_CAPABILITIES, {})])
    expect(await alice.heard(), [])


@scenario(peers=2, proves=(NO_ROOMS,))
async def who_left_may_announce_again(meet: Meeting) -> None:
    """A session that left may announce again on the same connection: the same id, another one, another room."""
    alice, bob = await meet.pair()
    for before, peer_id in (("alice", "alice"), ("alice", "alicia"), ("alicia", "alice")):
        await alice.call(Disconnect(alice.peer_id))
        reply = await alice.client.announce(peer_id, room=meet.room)
        expect(reply, Announced(peer_id, 1, ("bob",)))
        expect(await alice.heard(), [PeerJoined("bob", NO_CAPABILITIES, {})])
        offer = await bob.call(Offer(peer_id, "v=0"))
        expect(await alice.heard(), [OfferReceived("bob", offer.offer_id, "v=0", "offer")])
        expect(await bob.heard(), [PeerLeft(before), PeerJoined(peer_id, NO_CAPABILITIES, {})])
    await alice.call(Disconnect("alice"))
    expect(await alice.client.announce("alice", room=meet.room + "-other"), Announced("alice", 0, ()))
    expect(await bob.heard(), [PeerLeft("alice")])
    expect(await alice.heard(), [])


@scenario(peers=2)
async def leaving_twice_tells_once(meet: Meeting) -> None:
    """A peer that has left by saying so and then closes is not announced as gone a second time."""
    alice, bob = await meet.pair()
    await alice.call(Disconnect("alice"))
    await alice.close()
    await meet.sender("carol")
    expect(await bob.heard(), [PeerLeft("alice"), PeerJoined("carol", NO_CAPABILITIES, {})])


@scenario(peers=2)
async def an_old_sessions_end_spares_the_new_peer(meet: Meeting) -> None:
    """An id that has gone over to another session is not removed by the end of the old session."""
    alice, bob = await meet.pair()
    await alice.call(Disconnect("alice"))
    again = await meet.receiver("alice")
    await again.heard()
    await alice.close()
    await meet.sender("carol")
    await again.heard()
    expect(
        await bob.heard(),
        [PeerLeft("alice"), PeerJoined("alice", NO_CAPABILITIES, {}), PeerJoined("carol", NO_CAPABILITIES, {})],
    )
    reply = await bob.call(Offer("alice", "v=0"))
    expect(await again.heard(), [OfferReceived("bob", reply.offer_id, "v=0", "offer")])


@scenario(peers=2)
async def naming_a_victim_removes_nobody(meet: Meeting) -> None:
    """A disconnect that names another peer is a hang-up by the sender, whom the server names: the other one stays."""
    alice, bob = await meet.pair()
    carol = await meet.receiver("carol")
    await alice.heard()
    await bob.heard()
    await carol.heard()
    expect(await alice.call(Disconnect("bob")), Disconnected("bob"))
    expect(await bob.heard(), [PeerDisconnected("alice")])
    expect(await carol.heard(), [])
    reply = await carol.call(Offer("bob", "v=0"))
    expect(await bob.heard(), [OfferReceived("carol", reply.offer_id, "v=0", "offer")])


@scenario(peers=2)
async def a_caller_may_leave_before_the_answer(meet: Meeting) -> None:
    """An answer to somebody who has left is refused; the one who answers goes on, and reaches others."""
    alice, bob = await meet.pair()
    await alice.call(Offer("bob", "v=0"))
    await bob.heard()
    await alice.close()
    await bob.until(PeerLeft("alice"))
    expect(await bob.refused(Answer("alice", "v=0")), errors.peer_not_found("alice"))
    carol = await meet.sender("carol")
    await carol.heard()
    await bob.call(Answer("carol", "v=0"))
    expect(await carol.heard(), [AnswerReceived("bob", "v=0", "answer")])
