"""Scenarios of announcing: who is here, who is told, and in which order."""

import secrets

from sigbridge import Announced, Capabilities, ListPeers, Offer, OfferReceived, PeerInfo, PeerJoined, PeerLeft, errors
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.deviations import (
    COUNTS_NEWCOMER,
    ECHO_OF_JOINING,
    EVENT_FIRST,
    LISTS_NEWCOMER,
    NO_CAPABILITIES_TOLD,
    NO_METADATA,
    NO_ROOMS,
    NO_ROSTER,
    PEER_ORDER,
)
from sigbridge_compat.recorder import expect
from sigbridge_compat.scenario import Meeting, scenario

CAMERA = Capabilities(audio=True, video=True, extensions={"screen_share": True})


@scenario(peers=1, proves=(COUNTS_NEWCOMER, LISTS_NEWCOMER))
async def the_first_peer_finds_nobody(meet: Meeting) -> None:
    """The reply to an announce says who was there before: for the first peer of a room nobody; and nothing follows."""
    alice = await meet.sender()
    expect(await alice.call(meet.announce("alice")), Announced("alice", 0, ()))
    expect(await alice.heard(), [])


@scenario(peers=2, proves=(NO_ROSTER, ECHO_OF_JOINING, NO_METADATA, NO_CAPABILITIES_TOLD))
async def both_sides_learn_of_each_other(meet: Meeting) -> None:
    """The newcomer gets one peer_joined for each peer, each peer one for the newcomer, with all that was announced."""
    alice = await meet.sender("alice", capabilities=CAMERA, metadata={"name": "Alice"})
    expect(await alice.heard(), [])
    bob = await meet.receiver()
    expect(
        await bob.call(meet.announce("bob", capabilities=Capabilities(data=True), metadata={"name": "Bob"})),
        Announced("bob", 1, ("alice",)),
    )
    expect(await bob.heard(), [PeerJoined("alice", CAMERA, {"name": "Alice"})])
    expect(await alice.heard(), [PeerJoined("bob", Capabilities(data=True), {"name": "Bob"})])


@scenario(peers=3, proves=(NO_ROSTER, PEER_ORDER))
async def the_roster_comes_in_the_order_of_joining(meet: Meeting) -> None:
    """The ids in the reply and the peer_joined after it stand in the order in which the others joined."""
    names = ["zoe", "adam", "mia", "10", "9"]
    for number, name in enumerate(names):
        await (meet.sender if number % 2 else meet.receiver)(name)
    last = await meet.receiver()
    expect(await last.call(meet.announce("last")), Announced("last", 5, tuple(names)))
    expect(await last.heard(), [PeerJoined(name, NO_CAPABILITIES, {}) for name in names])


@scenario(peers=2, proves=(NO_ROSTER, EVENT_FIRST))
async def the_reply_comes_before_the_roster(meet: Meeting) -> None:
    """The events that an announce causes for its own sender follow its reply on the connection."""
    await meet.sender("alice")
    bob = await meet.receiver("bob")
    await bob.fence()
    expect(bob.arrivals[:2], [Announced("bob", 1, ("alice",)), PeerJoined("alice", NO_CAPABILITIES, {})], "the order")


@scenario(peers=3, proves=(NO_ROSTER, ECHO_OF_JOINING))
async def everyone_hears_everyone_once(meet: Meeting) -> None:
    """Each peer hears of each later one exactly once, in the order in which they join."""
    alice = await meet.sender("alice")
    bob = await meet.receiver("bob")
    carol = await meet.sender("carol")
    dave = await meet.receiver("dave")
    expect(await alice.heard(), [PeerJoined(name, NO_CAPABILITIES, {}) for name in ("bob", "carol", "dave")])
    expect(await bob.heard(), [PeerJoined(name, NO_CAPABILITIES, {}) for name in ("alice", "carol", "dave")])
    expect(await carol.heard(), [PeerJoined(name, NO_CAPABILITIES, {}) for name in ("alice", "bob", "dave")])
    expect(await dave.heard(), [PeerJoined(name, NO_CAPABILITIES, {}) for name in ("alice", "bob", "carol")])


@scenario(peers=2)
async def an_unannounced_session_is_nobody(meet: Meeting) -> None:
    """A session that has not announced is in no list, counts nowhere, and hears nothing of a room."""
    silent = await meet.sender()
    alice = await meet.receiver()
    expect(await alice.call(meet.announce("alice")), Announced("alice", 0, ()))
    expect(await alice.heard(), [])
    page = await silent.fence()
    expect([peer.peer_id for peer in page.peers], ["alice"])
    expect(await silent.heard(), [])


@scenario(peers=2)
async def an_id_is_taken_once_in_its_room(meet: Meeting) -> None:
    """An id that somebody has is refused; the one who has it hears nothing of it and stays reachable."""
    alice, bob = await meet.pair()
    mallory = await meet.sender()
    expect(await mallory.refused(meet.announce("bob")), errors.already_announced("bob"))
    expect(await alice.heard(), [])
    expect(await bob.heard(), [])
    reply = await alice.call(Offer("bob", "v=0"))
    expect(await bob.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])
    expect(await mallory.heard(), [])


@scenario(peers=2)
async def who_is_refused_and_goes_removes_nobody(meet: Meeting) -> None:
    """A refused announce leaves the session unannounced: its end takes no peer away, not even that id's."""
    alice, bob = await meet.pair()
    mallory = await meet.sender()
    expect(await mallory.refused(meet.announce("bob")), errors.already_announced("bob"))
    expect(await mallory.refused(Offer("alice", "v=0")), errors.not_announced())
    await mallory.close()
    # The end of a session without a peer tells nobody anything; a newcomer's arrival comes after it.
    await meet.sender("carol")
    expect(await alice.heard(), [PeerJoined("carol", NO_CAPABILITIES, {})])
    expect(await bob.heard(), [PeerJoined("carol", NO_CAPABILITIES, {})])
    reply = await alice.call(Offer("bob", "v=0"))
    expect(await bob.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])
    expect([peer.peer_id for peer in (await alice.fence()).peers], ["alice", "bob", "carol"])


@scenario(peers=2)
async def who_is_refused_may_try_another_id(meet: Meeting) -> None:
    """A refused announce changes nothing: the next one with a free id is granted."""
    alice = await meet.sender("alice")
    bob = await meet.receiver()
    expect(await bob.refused(meet.announce("alice")), errors.already_announced("alice"))
    expect(await alice.heard(), [])
    expect(await bob.call(meet.announce("bob")), Announced("bob", 1, ("alice",)))
    expect(await bob.heard(), [PeerJoined("alice", NO_CAPABILITIES, {})])
    expect(await alice.heard(), [PeerJoined("bob", NO_CAPABILITIES, {})])


@scenario(peers=2)
async def nobody_announces_twice(meet: Meeting) -> None:
    """A session that is announced is refused another announce, whatever the id; the error names the id it has."""
    alice, bob = await meet.pair()
    for peer_id in ("alice", "bob", "carol"):
        expect(await alice.refused(meet.announce(peer_id)), errors.already_announced("alice"))
    expect(await alice.refused(meet.announce("alice", room=meet.room + "-other")), errors.already_announced("alice"))
    expect(await bob.heard(), [])
    expect([peer.peer_id for peer in (await bob.fence()).peers], ["alice", "bob"])


@scenario(peers=2)
async def an_id_is_free_again_when_its_peer_has_left(meet: Meeting) -> None:
    """The id of a peer that has left may be taken by another session, which is the one that messages reach."""
    alice, bob = await meet.pair()
    await bob.close()
    await alice.until(PeerLeft("bob"))
    again = await meet.receiver("bob")
    expect(await alice.heard(), [PeerLeft("bob"), PeerJoined("bob", NO_CAPABILITIES, {})])
    expect(await again.heard(), [PeerJoined("alice", NO_CAPABILITIES, {})])
    reply = await alice.call(Offer("bob", "v=0"))
    expect(await again.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])


@scenario(peers=2, proves=(NO_ROOMS,))
async def rooms_do_not_see_each_other(meet: Meeting) -> None:
    """Peers of different rooms hear nothing of each other, do not reach each other, and may have the same id."""
    alice, bob = await meet.pair()
    elsewhere = meet.room + "-other"
    eve = await meet.sender("bob", room=elsewhere)
    frank = await meet.receiver("frank", room=elsewhere)
    expect(await alice.heard(), [])
    expect(await bob.heard(), [])
    expect(await eve.heard(), [PeerJoined("frank", NO_CAPABILITIES, {})])
    expect(await frank.heard(), [PeerJoined("bob", NO_CAPABILITIES, {})])
    expect(await frank.refused(Offer("alice", "v=0")), errors.peer_not_found("alice"))
    expect(await alice.refused(Offer("frank", "v=0")), errors.peer_not_found("frank"))
    reply = await alice.call(Offer("bob", "v=0"))
    expect(await bob.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])
    expect(await eve.heard(), [])
    await eve.close()
    await frank.until(PeerLeft("bob"))
    expect(await alice.heard(), [])
    expect(await bob.heard(), [])


@scenario(peers=2)
async def the_default_room_is_one_for_all(meet: Meeting) -> None:
    """A peer that names no room is in the default room, where both protocols' peers see each other."""
    first, second = f"first-{secrets.token_hex(8)}", f"second-{secrets.token_hex(8)}"
    alice = await meet.sender(first, room="", metadata={"of": meet.room})
    bob = await meet.receiver(second, room="")
    await alice.until(PeerJoined(second, NO_CAPABILITIES, {}))
    reply = await alice.call(Offer(second, "v=0"))
    await bob.until(OfferReceived(first, reply.offer_id, "v=0", "offer"))
    found: list[PeerInfo] = []
    token = ""
    # Others may be here too, and more than one page of them.
    while True:
        page = await bob.call(ListPeers("", 0, token))
        found += [peer for peer in page.peers if peer.peer_id in (first, second)]
        if not (token := page.next_page_token):
            break
    expect([peer.peer_id for peer in found], [first, second])
    announced = PeerInfo(first, NO_CAPABILITIES, "available", {"of": meet.room}, found[0].connected_at)
    expect(found[0], announced)
