"""Scenarios of refusals: the same code, the same text and the same data whatever the protocol, and nothing changes."""

from collections.abc import Iterable

from sigbridge import (
    Announce,
    Answer,
    Capabilities,
    Code,
    Disconnect,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    OfferReceived,
    PeerJoined,
    Request,
    SignalingError,
    errors,
)
from sigbridge_compat.deviations import ERROR_DATA, ERROR_TEXT, NO_DATA, NO_LIST_BEFORE_ANNOUNCE
from sigbridge_compat.recorder import Recorder, expect
from sigbridge_compat.scenario import Meeting, scenario
from sigbridge_compat.scenarios.fidelity import LIMITS

CONTROL_CHARACTERS = ("\x00", "\n", "\r", "\t", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f")


def relays_to(peer_id: str) -> Iterable[Request]:
    """Returns one request of each kind that is relayed to a target which must be there."""
    return Offer(peer_id, "v=0"), Answer(peer_id, "v=0"), IceCandidate(peer_id, "candidate")


def wrong(field: str, what: str) -> SignalingError:
    """Invalid params, as section "Errors" writes it."""
    return SignalingError(Code.INVALID_ARGUMENT, f"Invalid params: {field} {what}", field=field)


@scenario(peers=2, proves=(NO_LIST_BEFORE_ANNOUNCE, ERROR_TEXT))
async def before_announcing_only_looking_is_allowed(meet: Meeting) -> None:
    """Before an announce only list_peers and health_check work; everything else is refused and reaches nobody."""
    bob = await meet.receiver("bob")
    stranger = await meet.sender()
    refusal = SignalingError(Code.FAILED_PRECONDITION, "Not announced: call announce first")
    for request in (*relays_to("bob"), *relays_to("nobody"), Disconnect("bob"), Disconnect("nobody")):
        expect(await stranger.refused(request), refusal)
    await stranger.call(HealthCheck())
    await stranger.call(ListPeers(meet.room))
    expect(await bob.heard(), [])


@scenario(peers=1, proves=(NO_DATA, ERROR_TEXT, ERROR_DATA))
async def an_unknown_target_is_refused(meet: Meeting) -> None:
    """A message to a peer that is not in the room is refused, with its id."""
    alice = await meet.sender("alice")
    for target in ("nobody", "Alice", "alice ", "👋"):
        for request in relays_to(target):
            expect(
                await alice.refused(request),
                SignalingError(Code.NOT_FOUND, f"Peer not found: {target}", peer_id=target),
            )
    expect(await alice.heard(), [])


@scenario(peers=1)
async def signalling_oneself_is_refused(meet: Meeting) -> None:
    """A message to the sender itself is a wrong field, and does not arrive."""
    alice = await meet.sender("alice")
    for request in relays_to("alice"):
        expect(await alice.refused(request), wrong("to_peer_id", "is the sender itself"))
    expect(await alice.heard(), [])


@scenario(peers=1, proves=(NO_DATA, ERROR_TEXT, ERROR_DATA))
async def a_taken_id_says_so(meet: Meeting) -> None:
    """The refusal of a second announce names the session's own id."""
    alice = await meet.sender("alice")
    expect(
        await alice.refused(meet.announce("bob")),
        SignalingError(Code.ALREADY_EXISTS, "Peer alice already announced", peer_id="alice"),
    )


@scenario(peers=2, proves=(NO_DATA, ERROR_TEXT, ERROR_DATA))
async def missing_fields_are_named(meet: Meeting) -> None:
    """A missing field is a wrong one, and the error names it; an empty target or SDP is a missing one."""
    alice, bob = await meet.pair()
    stranger = await meet.sender()
    expect(await stranger.refused(meet.announce("")), wrong("peer_id", "is missing"))
    for request in relays_to(""):
        expect(await alice.refused(request), wrong("to_peer_id", "is missing"))
    for request in (Offer("bob", ""), Answer("bob", "")):
        expect(await alice.refused(request), wrong("sdp", "is missing"))
    expect(await alice.refused(Disconnect("")), wrong("peer_id", "is missing"))
    expect(await bob.heard(), [])


@scenario(peers=2)
async def types_are_words_of_the_protocol(meet: Meeting) -> None:
    """An offer is an `offer`, an answer an `answer` or `pranswer`; any other word is a wrong field."""
    alice, bob = await meet.pair()
    for type_ in ("answer", "pranswer", "rollback", "Offer", "offer ", " ", "👋"):
        expect(await alice.refused(Offer("bob", "v=0", type_)), wrong("type", "must be offer"))
    for type_ in ("offer", "rollback", "Answer", "pr-answer", " "):
        expect(await alice.refused(Answer("bob", "v=0", type_)), wrong("type", "must be answer or pranswer"))
    expect(await bob.heard(), [])


@scenario(peers=1)
async def control_characters_are_in_no_id(meet: Meeting) -> None:
    """Ids and rooms hold no control character (Unicode category Cc), wherever they stand."""
    alice = await meet.sender("alice")
    stranger = await meet.sender()
    for character in CONTROL_CHARACTERS:
        what = "contains control characters"
        expect(await stranger.refused(meet.announce(f"a{character}")), wrong("peer_id", what))
        expect(await stranger.refused(Announce("carol", room=f"{character}a")), wrong("room", what))
        expect(await stranger.refused(ListPeers(character)), wrong("room", what))
        for request in relays_to(character):
            expect(await alice.refused(request), wrong("to_peer_id", what))
        expect(await alice.refused(Disconnect(f"a{character}b")), wrong("peer_id", what))
    expect([peer.peer_id for peer in (await alice.fence()).peers], ["alice"])


@scenario(peers=1)
async def ids_have_a_longest(meet: Meeting) -> None:
    """Ids and rooms of more than 256 bytes of UTF-8 are wrong fields, not limits."""
    alice = await meet.sender("alice")
    stranger = await meet.sender()
    for text in ("x" * 257, "é" * 129, "👋" * 64 + "x", "x" * 70_000):
        what = "is longer than 256 bytes"
        expect(await stranger.refused(meet.announce(text)), wrong("peer_id", what))
        expect(await stranger.refused(Announce("carol", room=text)), wrong("room", what))
        expect(await stranger.refused(ListPeers(text)), wrong("room", what))
        for request in relays_to(text):
            expect(await alice.refused(request), wrong("to_peer_id", what))
        expect(await alice.refused(Disconnect(text)), wrong("peer_id", what))
    expect([peer.peer_id for peer in (await alice.fence()).peers], ["alice"])


def text_too_large(field: str, variable: str, limit: int) -> SignalingError:
    """Returns the refusal of a text of more than `limit` bytes; `variable` is the setting of that."""
    text = f"{field} is too large (limit {variable} is {limit}): send it smaller"
    return SignalingError(Code.RESOURCE_EXHAUSTED, text, limit=variable, value=limit)


async def _over(one: Recorder, field: str, variable: str, limit: int, request: Request) -> None:
    expect(await one.refused(request), text_too_large(field, variable, limit))


@scenario(peers=2)
async def texts_over_their_limit_are_refused(meet: Meeting) -> None:
    """One byte of UTF-8 over a limit is refused, which names the limit and its value; the session stays."""
    alice, bob = await meet.pair()
    sdp, candidate = LIMITS.max_sdp_bytes, LIMITS.max_candidate_bytes
    for text in ("a" * (sdp + 1), "é" * (sdp // 2) + "a", "\x00" * (sdp + 1)):
        await _over(alice, "sdp", "SIGNALING_MAX_SDP_BYTES", sdp, Offer("bob", text))
        await _over(alice, "sdp", "SIGNALING_MAX_SDP_BYTES", sdp, Answer("bob", text))
    variable = "SIGNALING_MAX_CANDIDATE_BYTES"
    for text in ("a" * (candidate + 1), "👋" * (candidate // 4) + "a"):
        await _over(alice, "candidate", variable, candidate, IceCandidate("bob", text))
        await _over(alice, "sdp_mid", variable, candidate, IceCandidate("bob", "", text))
        await _over(alice, "username_fragment", variable, candidate, IceCandidate("bob", "", None, None, text))
    expect(await bob.heard(), [])
    reply = await alice.call(Offer("bob", "v=0"))
    expect(await bob.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])


@scenario(peers=2)
async def what_is_announced_has_limits(meet: Meeting) -> None:
    """Metadata and capabilities at their limit are taken, one byte over it they are refused and nothing has changed."""
    bob = await meet.receiver("bob")
    alice = await meet.sender()
    frame = len('{"k":""}')
    most = LIMITS.max_metadata_bytes
    for text in ("x" * (most - frame + 1), "é" * ((most - frame) // 2) + "x"):
        await _over(
            alice, "metadata", "SIGNALING_MAX_METADATA_BYTES", most, meet.announce("alice", metadata={"k": text})
        )
    most = LIMITS.max_capabilities_bytes
    frame = len('{"audio":false,"video":false,"data":false,"":true}')
    over = Capabilities(extensions={"x" * (most - frame + 1): True})
    await _over(
        alice, "capabilities", "SIGNALING_MAX_CAPABILITIES_BYTES", most, meet.announce("alice", capabilities=over)
    )
    expect(await bob.heard(), [])
    metadata = {"k": "x" * (LIMITS.max_metadata_bytes - len('{"k":""}'))}
    fits = Capabilities(extensions={"x" * (most - frame): True})
    await alice.call(meet.announce("alice", metadata=metadata, capabilities=fits))
    expect(await bob.heard(), [PeerJoined("alice", fits, metadata)])


@scenario(peers=2)
async def checks_have_an_order(meet: Meeting) -> None:
    """Fields come first, then: is the sender announced, does it signal itself, is the target here."""
    alice, bob = await meet.pair()
    stranger = await meet.sender()
    too_large = "x" * (LIMITS.max_sdp_bytes + 1)
    over = text_too_large("sdp", "SIGNALING_MAX_SDP_BYTES", LIMITS.max_sdp_bytes)
    expect(await stranger.refused(Offer("", "v=0")), wrong("to_peer_id", "is missing"))
    expect(await stranger.refused(Answer("nobody", "v=0", "no")), wrong("type", "must be answer or pranswer"))
    expect(await stranger.refused(Offer("bob", too_large)), over)
    expect(await stranger.refused(Disconnect("")), wrong("peer_id", "is missing"))
    expect(await stranger.refused(Offer("nobody", "v=0")), errors.not_announced())
    expect(await alice.refused(Offer("alice", "")), wrong("sdp", "is missing"))
    expect(await alice.refused(Offer("alice", "v=0", "answer")), wrong("type", "must be offer"))
    expect(await alice.refused(Offer("alice", too_large)), over)
    expect(await alice.refused(Offer("nobody", too_large)), over)
    expect(await alice.refused(meet.announce("")), wrong("peer_id", "is missing"))
    expect(await alice.refused(ListPeers("", 0, "garbage")), wrong("page_token", "is none that this server gave"))
    expect(await bob.heard(), [])


@scenario(peers=2)
async def a_refusal_ends_nothing(meet: Meeting) -> None:
    """After any refusal the session goes on, and so do all others."""
    alice, bob = await meet.pair()
    for _ in range(5):
        for request in (Offer("", ""), Offer("nobody", "v=0"), Offer("alice", "v=0"), ListPeers(""), Disconnect("")):
            await alice.refused(request)
        reply = await alice.call(Offer("bob", "v=0"))
        expect(await bob.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])
    expect(await alice.heard(), [])
