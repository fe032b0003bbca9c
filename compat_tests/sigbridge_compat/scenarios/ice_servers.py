"""Scenarios of ICE servers: who is given any, what they look like, and that newer ones come in time.

What a server gives is its operator's to say. The worlds of this suite give those of `worlds.ICE_SERVERS`, and TURN with
credentials; a server that somebody runs elsewhere is asked for the shape alone.
"""

from base64 import b64encode
from collections.abc import Sequence
from hmac import digest
from typing import Any

from msgspec.structs import replace

from sigbridge import Announced, Authenticate, Disconnect, GetIceServers, IceServers, IceServersChanged, errors
from sigbridge_compat.deviations import NO_ICE_SERVERS
from sigbridge_compat.identities import token_of
from sigbridge_compat.recorder import Recorder, expect, expect_that
from sigbridge_compat.scenario import Meeting, scenario
from sigbridge_compat.scenarios.identities import right_missing
from sigbridge_compat.scenarios.resumable import resumable, showing
from sigbridge_compat.tolerance import CURRENT
from sigbridge_compat.worlds import ICE_SERVERS, TURN_SECRET, TURN_URLS


def given_with(announced: Announced) -> IceServers:
    """Returns the servers that came with the reply to an announce.

    :raises AssertionError: if there are none
    """
    expect_that(announced.ice_servers is not None, "who asks is given ICE servers", announced)
    return IceServers(announced.ice_servers or (), announced.ice_servers_expire_unix_ms)


def expect_servers(servers: Sequence[Any]) -> None:
    """Checks that all servers are as `RTCIceServer` has them.

    :raises AssertionError: if one is not
    """
    for server in servers:
        urls = [server["urls"]] if isinstance(server["urls"], str) else server["urls"]
        expect_that(urls and all(isinstance(url, str) for url in urls), "urls: a text, or several")
        expect_that(set(server) <= {"urls", "username", "credential"}, "the members of an RTCIceServer")
        needs_credential = any(url.startswith(("turn:", "turns:")) for url in urls)
        expect_that(not needs_credential or len(server) == 3, "TURN has a username and a credential")


def expect_ours(given: Any, name: str) -> int:
    """Checks that these are the servers of this suite, with that peer's name in usernames; returns when they end.

    :raises AssertionError: if they are not
    """
    *fixed, turn = given.servers
    expect(fixed, list(ICE_SERVERS))
    end = given.expires_unix_ms
    expect_that(type(end) is int and end > 1_600_000_000_000 and end % 1000 == 0, "they end at a whole second", end)
    username = f"{end // 1000}:{name}"
    credential = b64encode(digest(TURN_SECRET, username.encode(), "sha1")).decode()
    expect(turn, {"urls": list(TURN_URLS), "username": username, "credential": credential})
    return int(end)


async def newer(guest: Recorder, name: str, end: int) -> int:
    """Waits for an event with servers that last longer than those that end at `end`; returns when they end.

    :raises AssertionError: if none comes in time, or the servers are others
    """
    changed = await guest.next_of(IceServersChanged)
    newest = expect_ours(changed, name)
    expect_that(newest > end, "newer servers last longer than those before", (end, newest))
    return newest


@scenario(peers=2, proves=(NO_ICE_SERVERS,))
async def who_asks_for_ice_servers_is_given_them(meet: Meeting) -> None:
    """A peer that asks is given ICE servers by its announce, and by a request; one that does not ask is given none."""
    alice = await meet.sender()
    announced = await alice.call(meet.announce("alice", ice_servers=True))
    tolerance = CURRENT.get()
    if tolerance is not None and announced.ice_servers is None:
        tolerance.note(NO_ICE_SERVERS)
        return
    with_announce = given_with(announced)
    expect(replace(announced, ice_servers=None, ice_servers_expire_unix_ms=None), Announced("alice", 0, ()))
    bob = await meet.receiver("bob")
    for given in (with_announce, await alice.call(GetIceServers()), await bob.call(GetIceServers())):
        expect_that(isinstance(given, IceServers), "ICE servers", type(given).__name__)
        expect_servers(given.servers)
        expect_that(given.expires_unix_ms is None or given.expires_unix_ms > 1_600_000_000_000, "Unix milliseconds")
        expect(len(given.servers), len(with_announce.servers))
    expect([type(event) for event in await bob.heard() if isinstance(event, IceServersChanged)], [])


@scenario(peers=2, identities=True)
async def ice_servers_are_for_peers_that_may_relay(meet: Meeting) -> None:
    """Before an announce, after leaving and without the right to relay there are none, and an announce has none."""
    alice = await meet.sender()
    expect(await alice.refused(GetIceServers()), errors.not_announced())
    await alice.call(Authenticate(token_of("alice", rights=("announce", "list"))))
    expect(await alice.call(meet.announce("alice", ice_servers=True)), Announced("alice", 0, ()))
    expect(await alice.refused(GetIceServers()), right_missing("relay"))
    await alice.call(Authenticate(token_of("alice")))
    expect_ours(await alice.call(GetIceServers()), "alice")
    await alice.call(Authenticate(token_of("alice", rights=("announce", "list"))))
    expect(await alice.refused(GetIceServers()), right_missing("relay"))
    await alice.call(Disconnect("alice"))
    expect(await alice.refused(GetIceServers()), errors.not_announced())
    bob = await meet.receiver()
    expect_ours(given_with(await bob.call(meet.announce("bob", ice_servers=True))), "bob")


@scenario(peers=2, identities=True)
async def usernames_hold_what_turn_servers_take(meet: Meeting) -> None:
    """Of a peer's id letters, digits, `-`, `.` and `_` stand in its username, all else is encoded."""
    for guest, peer_id, name in (
        (await meet.sender(), "Alice-1.a_b", "Alice-1.a_b"),
        (await meet.receiver(), 'a:2 "é"~', "a%3A2%20%22%C3%A9%22%7E"),
    ):
        announced = await guest.call(meet.announce(peer_id, ice_servers=True))
        expect_ours(given_with(announced), name)
        expect_ours(await guest.call(GetIceServers()), name)


@scenario(peers=3, resuming=True, brief=True)
async def newer_ice_servers_come_before_the_old_ones_end(meet: Meeting) -> None:
    """A peer that asked is told of newer servers in time, without a number; one that did not is told nothing."""
    alice = await meet.sender()
    announced = await resumable(meet, alice, "alice", ice_servers=True)
    carol = await meet.receiver("carol")
    bob = await meet.receiver("bob")
    by_request = expect_ours(await bob.call(GetIceServers()), "bob")
    for guest, name, end in ((alice, "alice", expect_ours(given_with(announced), "alice")), (bob, "bob", by_request)):
        await newer(guest, name, end)
    for guest in (alice, bob, carol):
        numbered = await guest.heard_numbered()
        told = [(number, event) for number, event in numbered if isinstance(event, IceServersChanged)]
        expect([number for number, _ in told], [0] * len(told))
        ends = [event.expires_unix_ms or 0 for _, event in told]
        expect_that(ends == sorted(set(ends)), "each is told once", ends)
        expect_that(guest is not carol or not told, "who did not ask is told nothing", told)


@scenario(peers=2, resuming=True, brief=True)
async def who_comes_back_asks_again_for_ice_servers(meet: Meeting) -> None:
    """Newer servers are told to the session that asked: one that comes back asks again, and is told nothing before."""
    alice = await meet.sender()
    announced = await resumable(meet, alice, "alice", ice_servers=True)
    expect_ours(given_with(announced), "alice")
    # Each takes over from a session that stands: one that is lost may be lost for good before the next one is there.
    again = await meet.receiver()
    silent = await again.call(showing(meet, announced, 0))
    expect((silent.resumed, silent.ice_servers, silent.ice_servers_expire_unix_ms), (True, None, None))
    await alice.ended()
    last = await meet.sender()
    asking = await last.call(showing(meet, announced, 0, ice_servers=True))
    expect_that(asking.resumed, "it has come back")
    await again.ended()
    await newer(last, "alice", expect_ours(given_with(asking), "alice"))
    expect([type(event) for event in again.events], [])
