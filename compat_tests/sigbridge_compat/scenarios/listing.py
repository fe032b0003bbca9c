"""Scenarios of listing a room, page by page, and of the server's health."""

from sigbridge import (
    Capabilities,
    Disconnect,
    Health,
    HealthCheck,
    ListPeers,
    Offer,
    PeerInfo,
    PeerList,
    errors,
)
from sigbridge_compat.deviations import (
    NO_CAPABILITIES_LISTED,
    NO_COUNT,
    NO_LIST_BEFORE_ANNOUNCE,
    NO_METADATA_LISTED,
    NO_ROOMS,
    NO_STATE_LISTED,
    NO_TIME_LISTED,
    PEER_ORDER,
)
from sigbridge_compat.recorder import expect, expect_that
from sigbridge_compat.scenario import Meeting, scenario


@scenario(
    peers=2, proves=(PEER_ORDER, NO_METADATA_LISTED, NO_CAPABILITIES_LISTED, NO_STATE_LISTED, NO_TIME_LISTED, NO_COUNT)
)
async def a_list_shows_the_room(meet: Meeting) -> None:
    """A list shows the caller's room, itself included, in the order of joining, with all fields of each peer."""
    capabilities = Capabilities(True, False, True, {"screen_share": True})
    alice = await meet.sender("zoe", capabilities=capabilities, metadata={"name": "Zoe"})
    bob = await meet.receiver("bob")
    for caller in (alice, bob):
        page = await caller.call(ListPeers())
        moments = [peer.connected_at for peer in page.peers]
        in_seconds = all(type(moment) is int and moment > 1_600_000_000 for moment in moments)
        expect_that(in_seconds, "connected_at is in Unix seconds", moments)
        expect_that(moments == sorted(moments), "connected_at rises in the order of joining", moments)
        expect(
            page,
            PeerList(
                (
                    PeerInfo("zoe", capabilities, "available", {"name": "Zoe"}, moments[0]),
                    PeerInfo("bob", Capabilities(), "available", {}, moments[1]),
                ),
                2,
            ),
        )


@scenario(peers=2, proves=(NO_ROOMS, NO_LIST_BEFORE_ANNOUNCE))
async def a_room_can_be_listed_before_announcing(meet: Meeting) -> None:
    """A session that has not announced may list any room; an empty one is no error."""
    await meet.sender("alice")
    guest = await meet.receiver()
    page = await guest.call(ListPeers(meet.room))
    expect(([peer.peer_id for peer in page.peers], page.count), (["alice"], 1))
    expect(await guest.call(ListPeers(meet.room + "-nobody")), PeerList((), 0))


@scenario(peers=2, proves=(NO_ROOMS,))
async def a_peer_lists_its_own_room_only(meet: Meeting) -> None:
    """An announced peer may name its own room, and is refused any other, the default room included."""
    alice, _bob = await meet.pair()
    expect([peer.peer_id for peer in (await alice.call(ListPeers(meet.room))).peers], ["alice", "bob"])
    for room in ("", meet.room + "-other"):
        error = await alice.refused(ListPeers(room))
        expect(error, errors.room_mismatch())
        expect_that(error.message.startswith("Room mismatch"), "the error says Room mismatch", error.message)


@scenario(peers=2, proves=(NO_ROOMS,))
async def who_left_lists_like_a_stranger(meet: Meeting) -> None:
    """A session that has left its room may list any room again, like one that never announced."""
    alice, _bob = await meet.pair()
    await alice.call(Disconnect("alice"))
    expect([peer.peer_id for peer in (await alice.call(ListPeers(meet.room))).peers], ["bob"])
    expect(await alice.call(ListPeers(meet.room + "-other")), PeerList((), 0))


@scenario(peers=2)
async def a_list_comes_in_pages(meet: Meeting) -> None:
    """With a page size the room comes in pages, none twice and none missing; each says the count of the whole room."""
    names = ["e", "d", "c", "b", "a"]
    peers = [await (meet.sender if n % 2 else meet.receiver)(name) for n, name in enumerate(names)]
    for caller in peers[:2]:
        for size in (1, 2, 3, 4, 5, 6, 4294967295):
            found: list[str] = []
            token = ""
            while True:
                page = await caller.call(ListPeers(None, size, token))
                expect(page.count, 5)
                found += [peer.peer_id for peer in page.peers]
                token = page.next_page_token
                expect_that(bool(token) == (len(found) < 5), "a token exactly where there is more", (found, token))
                if not token:
                    break
                expect(len(page.peers), size)
            expect(found, names)


@scenario(peers=2)
async def pages_survive_change(meet: Meeting) -> None:
    """A page token stays good when peers leave or come between two pages: who stays is listed once."""
    names = ["a", "b", "c", "d", "e"]
    peers = {name: await meet.sender(name) for name in names}
    reader = await meet.receiver()
    first = await reader.call(ListPeers(meet.room, 2))
    expect([peer.peer_id for peer in first.peers], ["a", "b"])
    for name in ("b", "d"):
        await peers[name].call(Disconnect(name))
    await peers["d"].client.announce("f", room=meet.room)
    rest = await reader.call(ListPeers(meet.room, 0, first.next_page_token))
    expect([peer.peer_id for peer in rest.peers], ["c", "e", "f"])
    expect((rest.count, rest.next_page_token), (4, ""))


@scenario(peers=1)
async def a_page_token_is_the_servers_own(meet: Meeting) -> None:
    """A page token that the server did not give is a wrong field."""
    alice = await meet.sender("alice")
    for token in ("x", "garbage", "🙂", "!!!!", "YWZ0ZXI6", "YWZ0ZXI6LTE", "A" * 1000):
        expect(
            await alice.refused(ListPeers(None, 0, token)),
            errors.invalid_params("page_token", "is none that this server gave"),
        )


@scenario(peers=2)
async def health_tells_how_the_server_is(meet: Meeting) -> None:
    """Health says the status, the uptime, the connected peers, and at least the three metrics, announced or not."""
    alice, _bob = await meet.pair()
    await alice.call(Offer("bob", "v=0"))
    for caller in (alice, await meet.receiver()):
        health = await caller.call(HealthCheck())
        expect_that(isinstance(health, Health), "health_check says health", health)
        expect(health.status, "healthy")
        uptime = health.uptime_seconds
        expect_that(type(uptime) is int and uptime >= 0, "the uptime is in whole seconds", health)
        expect_that(health.connected_peers >= 2, "health counts the connected peers", health)
        metrics = health.metrics
        known = {"pending_offers", "sessions", "rooms"} <= metrics.keys()
        expect_that(known, "health has metrics of pending offers, sessions and rooms", metrics)
        expect_that(metrics["pending_offers"] >= 1, "health counts pending offers", metrics)
        expect_that(metrics["rooms"] >= 1, "health counts rooms", metrics)
        expect_that(sum(metrics["sessions"].values()) >= 2, "health counts sessions", metrics)
