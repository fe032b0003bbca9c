"""Scenarios of requests that come again by their ids, from peers that have lost their sessions or have not."""

from typing import Any

from sigbridge import (
    Answer,
    AnswerReceived,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    Relayed,
    errors,
)
from sigbridge_compat.recorder import expect
from sigbridge_compat.scenario import Meeting, scenario
from sigbridge_compat.scenarios.resumable import alice_and_bob, joined, lost, resumable, resumed, showing


@scenario(peers=2, resuming=True)
async def the_same_request_is_carried_out_once(meet: Meeting) -> None:
    """A request that comes again by its id, on any way in, gets the same response and changes nothing."""
    alice, announced, bob = await alice_and_bob(meet)
    offer = await alice.call_as(11, Offer("bob", "v=0"))
    assert isinstance(offer, OfferRelayed), offer
    requests: list[tuple[int, Any, Any]] = [
        (11, Offer("bob", "v=0"), offer),
        (12, IceCandidate("bob", "c", "0", 0), Relayed("bob")),
        (13, Answer("bob", "v=1"), Relayed("bob")),
        (14, Disconnect("bob", offer.offer_id), Disconnected("bob")),
        (15, Offer("nobody", "v=0"), errors.peer_not_found("nobody")),
        (16, Offer("bob", ""), errors.invalid_params("sdp", "is missing")),
        (17, Disconnect("nobody"), Disconnected("nobody")),
    ]
    for number, request, reply in requests[1:]:
        expect(await alice.call_as(number, request), reply)
    heard = [
        OfferReceived("alice", offer.offer_id, "v=0", "offer"),
        IceCandidateReceived("alice", "c", "0", 0),
        AnswerReceived("alice", "v=1", "answer"),
        PeerDisconnected("alice", offer.offer_id),
    ]
    expect(await bob.heard(), heard)
    for number, request, reply in requests:
        expect(await alice.call_as(number, request), reply)
    await lost(alice, bob)
    again = await meet.receiver()
    expect(await again.call_as(21, showing(meet, announced, 1)), resumed(announced, "bob"))
    for number, request, reply in requests:
        expect(await again.call_as(number, request), reply)
    expect(await again.heard(), [])
    expect(await bob.heard(), [])
    expect(await again.call_as(18, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    expect(await bob.heard(), [IceCandidateReceived("alice", "c", "0", 0)])


@scenario(peers=2, resuming=True)
async def a_response_that_was_given_is_not_judged_anew(meet: Meeting) -> None:
    """A request that was refused stays refused, and one that was acknowledged acknowledged, whatever has changed."""
    alice, announced, bob = await alice_and_bob(meet)
    expect(await alice.call_as(11, Offer("carol", "v=0")), errors.peer_not_found("carol"))
    expect(await alice.call_as(12, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    carol = await meet.receiver("carol")
    await bob.call(Disconnect("bob"))
    await lost(alice, carol)
    again = await meet.receiver()
    await again.call_as(21, showing(meet, announced, 1))
    expect(await again.call_as(11, Offer("carol", "v=0")), errors.peer_not_found("carol"))
    expect(await again.call_as(12, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    expect(await again.heard(), [joined("carol"), PeerLeft("bob")])
    expect(await carol.heard(), [joined("alice"), joined("bob"), PeerLeft("bob")])


@scenario(peers=2, resuming=True)
async def an_id_is_for_one_request(meet: Meeting) -> None:
    """Another request by an id that was used is a wrong field, and changes nothing; the first stays what it was."""
    alice, announced, bob = await alice_and_bob(meet)
    wrong = errors.invalid_params("id", "is that of another request of this peer")
    expect(await alice.call_as(11, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    others = (
        IceCandidate("bob", "d", "0", 0),
        IceCandidate("bob", "c", "0", 1),
        IceCandidate("bob", "c", "0"),
        Answer("bob", "c"),
        Offer("bob", "c"),
        Disconnect("bob"),
        Disconnect("alice"),
    )
    for other in others:
        expect(await alice.call_as(11, other), wrong)
    await lost(alice, bob)
    again = await meet.receiver()
    await again.call_as(21, showing(meet, announced, 1))
    for other in others:
        expect(await again.call_as(11, other), wrong)
    expect(await again.call_as(11, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    expect(await bob.heard(), [IceCandidateReceived("alice", "c", "0", 0)])


@scenario(peers=2, resuming=True)
async def questions_are_asked_anew(meet: Meeting) -> None:
    """Lists, health, tokens and announces are never remembered: the same id asks again."""
    alice, _, bob = await alice_and_bob(meet)
    first = await alice.call_as(11, ListPeers())
    await meet.receiver("carol")
    second = await alice.call_as(11, ListPeers())
    expect((first.count, second.count), (2, 3))
    expect(await alice.call_as(11, ListPeers(page_size=1)), await alice.call(ListPeers(page_size=1)))
    expect((await alice.client.health()).status, "healthy")
    expect(await alice.call_as(11, meet.announce("alice")), errors.already_announced("alice"))
    expect(await alice.call_as(11, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    expect((await alice.call_as(11, ListPeers())).count, 3)
    expect(await alice.call_as(11, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    expect(await bob.heard(), [joined("carol"), IceCandidateReceived("alice", "c", "0", 0)])


@scenario(peers=2, resuming=True)
async def nothing_is_remembered_for_others(meet: Meeting) -> None:
    """Ids are a peer's own: another peer, and who is not resumable, may use the same ones, as often as they like."""
    alice, _, bob = await alice_and_bob(meet)
    carol = await meet.sender()
    await resumable(meet, carol, "carol")
    dave = await meet.sender("dave")
    await bob.heard()
    for guest in (alice, carol, dave, dave):
        expect(await guest.call_as(11, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
    expect(await bob.heard(), [IceCandidateReceived(name, "c", "0", 0) for name in ("alice", "carol", "dave", "dave")])


@scenario(peers=2, resuming=True)
async def who_has_left_is_remembered_no_more(meet: Meeting) -> None:
    """A new peer of the same session has its own numbers, and its own ids of requests."""
    alice, _, bob = await alice_and_bob(meet)
    for _ in range(2):
        expect(await alice.call_as(11, IceCandidate("bob", "c", "0", 0)), Relayed("bob"))
        expect(await bob.heard(), [IceCandidateReceived("alice", "c", "0", 0)])
        await alice.call_as(12, Disconnect("alice"))
        await alice.heard()
        await resumable(meet, alice, "alice")
        expect(await alice.heard_numbered(), [(1, joined("bob"))])
        expect(await bob.heard(), [PeerLeft("alice"), joined("alice")])
