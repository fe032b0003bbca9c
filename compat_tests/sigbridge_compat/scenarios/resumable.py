"""The steps that scenarios of resumable peers share: announcing one, losing its session, and coming back.

The peer that is lost has the sender's way in, and comes back by the receiver's. Others are on the receiver's.
"""

import asyncio
from typing import Any

from sigbridge import Announce, Announced, PeerJoined
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.recorder import Recorder, expect, expect_that
from sigbridge_compat.scenario import Meeting

LOOK_SECONDS = 0.02
"""The seconds between two looks of a witness at a room."""


def joined(peer_id: str) -> PeerJoined:
    """Returns the event of a peer that announced nothing but its id."""
    return PeerJoined(peer_id, NO_CAPABILITIES, {})


async def resumable(meet: Meeting, guest: Recorder, peer_id: str, **fields: Any) -> Announced:
    """Announces a guest as resumable; returns the response.

    :raises AssertionError: if the response does not say that it is.
    """
    reply = await guest.call(meet.announce(peer_id, **{"resumable": True, **fields}))
    if not isinstance(reply, Announced):
        raise AssertionError(f"the reply to an announce is {reply!r}")
    expect_that(reply.resumable is True, "the peer is resumable")
    expect_that(len(reply.resume_token) >= 22, "its token holds 128 bits and a part to look it up by")
    expect_that((reply.resume_window_seconds or 0) > 0, "it is held for some time")
    return reply


async def alice_and_bob(meet: Meeting) -> tuple[Recorder, Announced, Recorder]:
    """Returns a resumable `alice` who has heard of bob, number 1, and a `bob` who has heard of her."""
    alice = await meet.sender()
    announced = await resumable(meet, alice, "alice")
    bob = await meet.receiver("bob")
    expect(await alice.heard_numbered(), [(1, joined("bob"))])
    await bob.heard()
    return alice, announced, bob


async def lost(guest: Recorder, witness: Recorder) -> None:
    """Loses a guest's connection, and waits until a witness sees it away, or gone."""
    peer_id = guest.peer_id
    await guest.lose()
    while peer_id in await available(witness):  # noqa: ASYNC110 — no reply tells when the server has noticed
        await asyncio.sleep(LOOK_SECONDS)


async def available(witness: Recorder) -> list[str]:
    """Returns the peers of a room that are not away."""
    return [peer.peer_id for peer in (await witness.fence()).peers if peer.state == "available"]


def showing(meet: Meeting, announced: Announced, last_seq: int, **fields: Any) -> Announce:
    """Returns the announce that asks to be the peer of before."""
    return meet.announce(announced.peer_id, resume_token=announced.resume_token, last_seq=last_seq, **fields)


def resumed(announced: Announced, *others: str) -> Announced:
    """Returns the response to who is the peer of before, among these others."""
    return Announced(
        announced.peer_id,
        len(others),
        others,
        resumable=True,
        resume_token=announced.resume_token,
        resume_window_seconds=announced.resume_window_seconds,
        resumed=True,
    )


async def not_resumed(guest: Recorder, request: Announce, before: Announced, *others: str) -> Announced:
    """Announces a new peer, though a token was shown; returns the response, which has a token of its own."""
    reply = await guest.call(request)
    expect_that(reply.resume_token != before.resume_token, "a new peer has a new token")
    known = {"resume_token": reply.resume_token, "resume_window_seconds": before.resume_window_seconds}
    expect(reply, Announced(before.peer_id, len(others), others, resumable=True, resumed=False, **known))
    return reply  # type: ignore[no-any-return]
