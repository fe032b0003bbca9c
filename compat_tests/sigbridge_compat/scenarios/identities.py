"""Scenarios of identities: rights, peer ids and rooms, and what a new token in a session changes, on every way alike.

The worlds of these scenarios have `DescribedIdentities`; a server that somebody runs elsewhere is not asked for them.
"""

from sigbridge import (
    Announce,
    Announced,
    Answer,
    Authenticate,
    Authenticated,
    Code,
    Disconnect,
    IceCandidate,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerJoined,
    PeerLeft,
    SignalingError,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.identities import BAD_TOKEN, token_of
from sigbridge_compat.recorder import Recorder, expect, expect_that
from sigbridge_compat.scenario import Meeting, scenario

UNAUTHENTICATED = SignalingError(Code.UNAUTHENTICATED, "Invalid or missing API token")
SUBJECT_MISMATCH = SignalingError(Code.PERMISSION_DENIED, "Subject mismatch")


def right_missing(right: str) -> SignalingError:
    """Returns the refusal of who lacks a right."""
    return SignalingError(Code.PERMISSION_DENIED, f"Right missing: {right}", right=right)


def joined(peer_id: str) -> PeerJoined:
    """Returns the event of a peer that announced nothing but its id."""
    return PeerJoined(peer_id, NO_CAPABILITIES, {})


async def shows(guest: Recorder, token: str, subject: str) -> None:
    """Shows a token that proves this subject, without an end."""
    expect(await guest.call(Authenticate(token)), Authenticated(subject, None))


@scenario(peers=2, identities=True)
async def who_may_not_relay_is_refused_and_may_do_all_else(meet: Meeting) -> None:
    """A session that may not relay is refused relays and hang-ups; announcing, listing, receiving and leaving go on."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await shows(alice, token_of("alice", rights=("announce", "list")), "alice")
    expect(await alice.call(meet.announce("alice")), Announced("alice", 1, ("bob",)))
    await bob.heard()
    for request in (
        Offer("bob", "v=0"),
        Answer("bob", "v=0", "", "bob_alice_1"),
        IceCandidate("bob", "c"),
        Disconnect("bob"),
        Offer("nobody", "v=0"),
        Disconnect("nobody"),
    ):
        expect(await alice.refused(request), right_missing("relay"))
    expect(await alice.refused(Offer("alice", "v=0")), errors.invalid_params("to_peer_id", "is the sender itself"))
    expect(await alice.refused(Offer("bob", "")), errors.invalid_params("sdp", "is missing"))
    expect(await bob.heard(), [])
    expect_that((await alice.fence()).count == 2, "who may not relay may list")
    offer = await bob.call(Offer("alice", "v=0"))
    expect(await alice.heard(), [joined("bob"), OfferReceived("bob", offer.offer_id, "v=0", "offer")])
    await alice.call(Disconnect("alice"))
    expect(await bob.heard(), [PeerLeft("alice")])
    expect(await alice.refused(Offer("bob", "v=0")), errors.not_announced())


@scenario(peers=1, identities=True)
async def who_may_not_announce_or_list_is_refused(meet: Meeting) -> None:
    """Without the right to announce or to list, these are refused, and health is not."""
    alice = await meet.sender()
    await shows(alice, token_of("alice", rights=("relay", "observe")), "alice")
    expect(await alice.refused(meet.announce("alice")), right_missing("announce"))
    expect(await alice.refused(ListPeers(meet.room)), right_missing("list"))
    expect(await alice.refused(meet.announce("")), errors.invalid_params("peer_id", "is missing"))
    await alice.client.health()
    await shows(alice, token_of("alice", rights=("announce",)), "alice")
    expect(await alice.call(meet.announce("alice")), Announced("alice", 0, ()))
    expect(await alice.refused(ListPeers()), right_missing("list"))
    expect(await alice.refused(ListPeers("another")), errors.room_mismatch())
    await shows(alice, token_of("alice"), "alice")


@scenario(peers=2, identities=True)
async def another_subjects_id_is_refused(meet: Meeting) -> None:
    """An identity announces the peer ids and enters the rooms that its patterns name, and no others."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await shows(alice, token_of("alice", peer_ids=("alice", "alice:*"), rooms=(meet.room,)), "alice")
    for peer_id in ("bob", "carol", "Alice", "alice2", "xalice:2"):
        expect(await alice.refused(meet.announce(peer_id)), errors.peer_id_mismatch(peer_id))
    expect(await alice.refused(Announce("alice", room=f"{meet.room}-other")), errors.room_forbidden())
    expect(await alice.refused(ListPeers(f"{meet.room}-other")), errors.room_forbidden())
    expect(await bob.heard(), [])
    expect(await alice.call(meet.announce("alice:2")), Announced("alice:2", 1, ("bob",)))


@scenario(peers=2, identities=True)
async def a_new_token_counts_from_the_next_request_on(meet: Meeting) -> None:
    """Rights widen and narrow at once, for an announced peer too; a refused token changes nothing."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    await shows(alice, token_of("alice"), "alice")
    await alice.call(meet.announce("alice"))
    await shows(alice, token_of("alice", rights=("announce", "list")), "alice")
    expect(await alice.refused(Offer("bob", "v=0")), right_missing("relay"))
    expect(await alice.refused(Authenticate(BAD_TOKEN)), UNAUTHENTICATED)
    expect(await alice.refused(Authenticate(token_of("alice") + " " * 8192)), UNAUTHENTICATED)
    expect(await alice.refused(Authenticate("")), errors.invalid_params("token", "is missing"))
    expect(await alice.refused(Authenticate(token_of("bob"))), SUBJECT_MISMATCH)
    expect(await alice.refused(Authenticate(token_of())), SUBJECT_MISMATCH)
    expect(await alice.refused(Offer("bob", "v=0")), right_missing("relay"))
    await shows(alice, token_of("alice", peer_ids=("a*",), rights=("relay", "list")), "alice")
    reply = await alice.call(Offer("bob", "v=0"))
    expect_that(isinstance(reply, OfferRelayed), "the right has come back")
    await bob.call(Answer("alice", "v=0"))
    expect(await bob.heard(), [joined("alice"), OfferReceived("alice", reply.offer_id, "v=0", "offer")])


@scenario(peers=1, identities=True)
async def nobody_in_particular_becomes_somebody_once_and_before_announcing(meet: Meeting) -> None:
    """A session without a subject may show a token once, before it announces itself; a refused one does not count."""
    first = await meet.sender()
    expect(await first.refused(Authenticate(BAD_TOKEN)), UNAUTHENTICATED)
    await shows(first, token_of(), "")
    expect(await first.refused(Authenticate(token_of("alice"))), SUBJECT_MISMATCH)
    second = await meet.sender("bob")
    expect(await second.refused(Authenticate(BAD_TOKEN)), UNAUTHENTICATED)
    expect(await second.refused(Authenticate(token_of("bob"))), SUBJECT_MISMATCH)
    expect((await second.fence()).count, 1)


@scenario(peers=2, identities=True)
async def who_may_not_be_that_peer_any_more_is_revoked(meet: Meeting) -> None:
    """A token that does not allow the peer's own id or room is acknowledged, and ends the session as `revoked`."""
    alice = await meet.sender()
    await shows(alice, token_of("alice"), "alice")
    bob = await meet.receiver()
    await shows(bob, token_of("bob"), "bob")
    carol = await meet.receiver("carol")
    for guest, peer_id in ((alice, "alice"), (bob, "bob")):
        await guest.call(meet.announce(peer_id))
    await carol.heard()
    await shows(alice, token_of("alice", peer_ids=("alice:*",)), "alice")
    expect((await alice.ended()).reason, "revoked")
    await carol.until(PeerLeft("alice"))
    carol.mark()
    await shows(bob, token_of("bob", rooms=(f"{meet.room}-other",)), "bob")
    ended = await bob.ended()
    expect((ended.reason, ended.reconnect), ("revoked", False))
    await carol.until(PeerLeft("bob"))
    expect(await carol.refused(Offer("bob", "v=0")), errors.peer_not_found("bob"))


@scenario(peers=2, identities=True)
async def who_s_token_expires_is_ended(meet: Meeting) -> None:
    """A session ends as `token_expired` when its token does, announced or not; an earlier end counts, too."""
    stranger = await meet.sender()
    alice = await meet.sender()
    bob = await meet.receiver("bob")
    reply = await alice.call(Authenticate(token_of("alice", expires_in=3600.0)))
    expect_that(type(reply.expires_at) is int and reply.expires_at > 1_600_000_000, "the end in whole Unix seconds")
    await alice.call(meet.announce("alice"))
    await bob.heard()
    for guest, subject in ((alice, "alice"), (stranger, "nobody's friend")):
        expect_that((await guest.call(Authenticate(token_of(subject, expires_in=0.0)))).expires_at, "an end")
        ended = await guest.ended()
        expect((ended.reason, ended.reconnect), ("token_expired", True))
    await bob.until(PeerLeft("alice"))
