"""Scenarios of fidelity: what arrives is what was sent, to the byte, and what was absent stays absent."""

from itertools import product
from typing import Any

from sigbridge import (
    Answer,
    AnswerReceived,
    Capabilities,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    PeerInfo,
    PeerJoined,
    Settings,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.deviations import (
    EMPTY_FOR_ABSENT,
    FRAGMENT_DROPPED,
    LIST_OF_CAPABILITIES,
    NO_BOOLEANS,
    NO_CAPABILITIES_LISTED,
    NO_CAPABILITIES_TOLD,
    NO_EXTENSIONS,
    NO_MEDIA_SECTION,
    NO_METADATA,
    NO_METADATA_LISTED,
)
from sigbridge_compat.recorder import expect
from sigbridge_compat.scenario import Meeting, scenario

LIMITS = Settings()
"""The default limits, which a server under test must have."""

TEXTS = (
    "v=0\r\ns=-\r\n",
    "v=0\ns=-\n",
    "v=0\r\ns=-",
    " \t v=0 \t ",
    "\r\n",
    "\x00",
    "a\x00b\x00",
    "\x01\x08\x0b\x0c\x1b\x1f\x7f\x80\x9f",
    "s=Grüße, мир, 世界 👋🏽 👩‍👩‍👧",
    "\u2028\u2029\ufeff\ufffe\uffff\U0010ffff",
    "e\u0301 is not \u00e9",
    '"quoted" \\ back\\u0041slash / slash <b>&amp;</b>',
    '{"sdp": null}',
    "x" * 70_000,
)
"""Texts that careless code changes: line ends, blanks, NUL, controls, code points outside the BMP, escapes."""


@scenario(peers=2)
async def sdp_arrives_to_the_byte(meet: Meeting) -> None:
    """SDP is opaque text: line ends, NUL, control characters and all of Unicode arrive as they were sent."""
    alice, bob = await meet.pair()
    for text in TEXTS:
        reply = await alice.call(Offer("bob", text))
        await alice.call(Answer("bob", text))
        expect(
            await bob.heard(),
            [OfferReceived("alice", reply.offer_id, text, "offer"), AnswerReceived("alice", text, "answer")],
        )


@scenario(peers=2, proves=(FRAGMENT_DROPPED,))
async def candidates_arrive_to_the_byte(meet: Meeting) -> None:
    """Candidates, mids and username fragments are opaque text too."""
    alice, bob = await meet.pair()
    for text in TEXTS:
        if len(text) <= LIMITS.max_candidate_bytes:
            await alice.call(IceCandidate("bob", text, text, 0, text))
            expect(await bob.heard(), [IceCandidateReceived("alice", text, text, 0, text)])


@scenario(peers=2, proves=(EMPTY_FOR_ABSENT, NO_MEDIA_SECTION, FRAGMENT_DROPPED))
async def absent_zero_and_empty_stay_three_things(meet: Meeting) -> None:
    """An absent field stays absent, `0` stays `0` and the empty string stays one, in every combination but one.

    A candidate that names no media section is of the first, since no receiver could take it; the end of candidates may
    name none.
    """
    alice, bob = await meet.pair()
    for candidate, mid, index, fragment in product(
        ("candidate", ""), (None, "", "0", "audio"), (None, 0, 1, 65535), (None, "", "k0pD")
    ):
        await alice.call(IceCandidate("bob", candidate, mid, index, fragment))
        arrives = 0 if candidate and (mid, index) == (None, None) else index
        expect(await bob.heard(), [IceCandidateReceived("alice", candidate, mid, arrives, fragment)])


@scenario(peers=2)
async def indices_of_32_bits_are_kept(meet: Meeting) -> None:
    """An index of a media section may be any whole number of 32 bits."""
    alice, bob = await meet.pair()
    for index in (65536, 2**31, 2**32 - 1):
        await alice.call(IceCandidate("bob", "candidate", None, index))
        expect(await bob.heard(), [IceCandidateReceived("alice", "candidate", None, index)])


@scenario(peers=2)
async def a_text_at_its_limit_passes(meet: Meeting) -> None:
    """Texts as large as their limits pass, also those that grow sixfold when JSON escapes them."""
    alice, bob = await meet.pair()
    for character in ("a", "\x00", '"', "é", "👋"):
        sdp = character * (LIMITS.max_sdp_bytes // len(character.encode()))
        candidate = character * (LIMITS.max_candidate_bytes // len(character.encode()))
        reply = await alice.call(Offer("bob", sdp))
        await alice.call(IceCandidate("bob", candidate, candidate, 0, candidate))
        expect(
            await bob.heard(),
            [
                OfferReceived("alice", reply.offer_id, sdp, "offer"),
                IceCandidateReceived("alice", candidate, candidate, 0, candidate),
            ],
        )


@scenario(peers=2, proves=(NO_CAPABILITIES_TOLD, NO_CAPABILITIES_LISTED, NO_BOOLEANS, LIST_OF_CAPABILITIES))
async def every_capability_is_kept(meet: Meeting) -> None:
    """Each of the three booleans is kept by itself, in events and in lists."""
    watcher = await meet.receiver("watcher")
    for audio, video, data in product((False, True), repeat=3):
        capabilities = Capabilities(audio, video, data)
        peer_id = f"peer {audio:d}{video:d}{data:d}"
        await meet.sender(peer_id, capabilities=capabilities)
        expect(await watcher.heard(), [PeerJoined(peer_id, capabilities, {})])
        expect((await watcher.fence()).peers[-1].capabilities, capabilities)


@scenario(peers=2, proves=(NO_EXTENSIONS, NO_CAPABILITIES_TOLD, NO_CAPABILITIES_LISTED))
async def extensions_that_are_true_are_kept(meet: Meeting) -> None:
    """Extensions of capabilities that are true arrive by their names, in the order in which they were given."""
    await _names_are_kept(meet, "screen_share", "", "Audio", "é 👋 \u2028 \x00", "__proto__", "AV1", "a")


@scenario(peers=2, proves=(NO_EXTENSIONS, NO_CAPABILITIES_TOLD, NO_CAPABILITIES_LISTED))
async def extensions_named_like_numbers_keep_their_order(meet: Meeting) -> None:
    """A name that is a number has no other place in that order than any other name."""
    await _names_are_kept(meet, "b", "1", "a", "0")


async def _names_are_kept(meet: Meeting, *names: str) -> None:
    """Plays that extensions of such names arrive unchanged and in order, in the event and in the list."""
    capabilities = Capabilities(False, True, True, dict.fromkeys(names, True))
    await meet.sender("alice", capabilities=capabilities)
    bob = await meet.receiver("bob")
    heard = await bob.heard()
    expect(heard, [PeerJoined("alice", capabilities, {})])
    listed = (await bob.fence()).peers[0].capabilities
    expect(listed, capabilities)
    for told in (listed, *(event.capabilities for event in heard if isinstance(event, PeerJoined))):
        expect(list(told.extensions), list(names))


@scenario(peers=2, proves=(NO_EXTENSIONS, NO_CAPABILITIES_TOLD, NO_CAPABILITIES_LISTED))
async def extensions_are_kept(meet: Meeting) -> None:
    """Every JSON value in the extensions of capabilities arrives with its type."""
    extensions: dict[str, Any] = {
        "screen_share": True,
        "off": False,
        "nothing": None,
        "codecs": ["opus", "VP8", {"name": "AV1", "profile": 0}],
        "nested": {"a": {"b": {"c": []}}, "empty": {}},
        "zero": 0,
        "negative": -1,
        "fraction": 0.1,
        "text": 'Grüße 👋 \u2028 \x00 " \\',
        "": "an empty name",
        "Audio": "another case is another name",
    }
    await _extensions_are_kept(meet, extensions)


@scenario(peers=2, proves=(NO_EXTENSIONS, NO_CAPABILITIES_TOLD, NO_CAPABILITIES_LISTED))
async def numbers_that_no_float_holds_are_kept(meet: Meeting) -> None:
    """Whole numbers beyond 53 bits arrive to the last digit, and one that is written as a fraction stays one."""
    await _extensions_are_kept(meet, {"large": 2**53 + 1, "larger": 2**63, "one point zero": 1.0})


async def _extensions_are_kept(meet: Meeting, extensions: dict[str, Any]) -> None:
    """Plays that a peer's extensions arrive unchanged in the event and in the list."""
    capabilities = Capabilities(True, False, True, extensions)
    await meet.sender("alice", capabilities=capabilities)
    bob = await meet.receiver("bob")
    expect(await bob.heard(), [PeerJoined("alice", capabilities, {})])
    expect((await bob.fence()).peers[0].capabilities, capabilities)


@scenario(peers=2, proves=(NO_METADATA, NO_METADATA_LISTED))
async def metadata_is_kept(meet: Meeting) -> None:
    """Strings in metadata arrive as they were announced, in events of both directions and in lists."""
    metadata = {
        "name": "Alice",
        "": "an empty name",
        "empty": "",
        "number": "1",
        "json": '{"a": null}',
        "text": 'Grüße 👋 \u2028 \x00 " \\ \r\n',
        "ключ": "значение",
    }
    alice = await meet.sender("alice", metadata=metadata)
    bob = await meet.receiver("bob", metadata=metadata)
    expect(await bob.heard(), [PeerJoined("alice", NO_CAPABILITIES, metadata)])
    expect(await alice.heard(), [PeerJoined("bob", NO_CAPABILITIES, metadata)])
    peers = (await bob.fence()).peers
    moments = {peer.peer_id: peer.connected_at for peer in peers}
    expect(
        list(peers),
        [
            PeerInfo(peer_id, NO_CAPABILITIES, "available", metadata, moments.get(peer_id, 0))
            for peer_id in ("alice", "bob")
        ],
    )


@scenario(peers=2)
async def ids_are_any_text_without_control_characters(meet: Meeting) -> None:
    """Ids and rooms may be any text of 1 to 256 bytes without control characters; they are told apart to the byte."""
    ids = (
        " ",
        "a",
        "A",
        "peer with spaces",
        "ピア",
        "👋" * 64,
        "é" * 128,
        "e\u0301",
        "\u00e9",
        "\u2028",
        "\u200b",
        "x" * 256,
        "../../etc/passwd",
        "a_b_c",
        '"; DROP TABLE peers; --',
        "%00",
        "null",
        "0",
    )
    room = "комната 👋 " + meet.room
    bob = await meet.receiver("bob", room=room)
    for peer_id in ids:
        peer = await meet.sender(peer_id, room=room)
        expect(await bob.heard(), [PeerJoined(peer_id, NO_CAPABILITIES, {})])
        await peer.heard()
        reply = await peer.call(Offer("bob", "v=0"))
        expect(await bob.heard(), [OfferReceived(peer_id, reply.offer_id, "v=0", "offer")])
        await bob.call(Answer(peer_id, "v=0"))
        expect(await peer.heard(), [AnswerReceived("bob", "v=0", "answer")])
    expect([peer.peer_id for peer in (await bob.fence()).peers], ["bob", *ids])
