"""Listing and health on the bare hub."""

import pytest

from hub_outcomes import wrong
from sigbridge import (
    Capabilities,
    Code,
    Health,
    HealthCheck,
    ListPeers,
    Offer,
    PeerInfo,
    PeerList,
    SignalingError,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.session import ANYWHERE


def test_a_list_shows_the_room_in_the_order_of_joining(stage):
    alice = stage.open("z", capabilities=Capabilities(audio=True), metadata={"n": 1})
    stage.wait(1.5)
    stage.open("a")
    expected = PeerList(
        (
            PeerInfo("z", Capabilities(audio=True), "available", {"n": 1}, 1_700_000_000),
            PeerInfo("a", NO_CAPABILITIES, "available", {}, 1_700_000_001),
        ),
        2,
    )
    assert alice.do(ListPeers()) == expected
    assert alice.do(ListPeers("")) == expected
    assert stage.open().do(ListPeers()) == expected
    assert stage.hub.query("websocket", ListPeers(), ANYWHERE, stage.now) == expected


def test_an_unannounced_session_lists_any_room(stage):
    stage.open("alice", room="one")
    stranger = stage.open()
    assert [peer.peer_id for peer in stranger.do(ListPeers("one")).peers] == ["alice"]
    assert stranger.do(ListPeers("two")) == PeerList((), 0)
    assert stranger.do(ListPeers()) == PeerList((), 0)


def test_a_peer_lists_its_own_room_only(stage):
    alice = stage.open("alice", room="one")
    assert alice.do(ListPeers()).count == alice.do(ListPeers("one")).count == 1
    for room in ("", "two"):
        assert alice.refused(ListPeers(room)) == SignalingError(
            Code.PERMISSION_DENIED, "Room mismatch: an announced peer may only list its own room"
        )


def pages(ask, **fields):
    token, found = "", []
    while True:
        page = ask(ListPeers(page_token=token, **fields))
        found.append([peer.peer_id for peer in page.peers])
        token = page.next_page_token
        if not token:
            return found


def test_pages_by_count(make_stage):
    stage = make_stage(max_page_peers=3)
    actors = [stage.open(name) for name in "abcdefg"]
    ask = actors[0].do
    assert pages(ask) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert pages(ask, page_size=2) == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]
    assert pages(ask, page_size=1) == [[name] for name in "abcdefg"]
    assert pages(ask, page_size=4294967295) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert ask(ListPeers(page_size=1)).count == 7


def test_a_full_last_page_has_no_token(make_stage):
    stage = make_stage(max_page_peers=3)
    actors = [stage.open(name) for name in "abc"]
    assert actors[0].do(ListPeers()).next_page_token == ""


def test_pages_by_bytes(make_stage):
    stage = make_stage(max_page_bytes=1200)
    actors = [stage.open(name, metadata={"k": "x" * 300}) for name in "abcde"]
    sizes = [len(page) for page in pages(actors[0].do)]
    assert sizes == [2, 2, 1]
    big = make_stage(max_page_bytes=10)
    actors = [big.open(name) for name in "ab"]
    assert pages(actors[0].do) == [["a"], ["b"]], "a page holds at least one peer"


def test_pages_survive_leaving_and_joining(stage):
    actors = {name: stage.open(name) for name in "abcd"}
    first = actors["a"].do(ListPeers(page_size=2))
    actors["b"].close()
    actors["c"].close()
    stage.open("b")
    rest = actors["a"].do(ListPeers(page_token=first.next_page_token))
    assert [peer.peer_id for peer in rest.peers] == ["d", "b"]


@pytest.mark.parametrize(
    "token", ["x", "é", "\x00", "=", "AAAA", "YWZ0ZXI6LTE", "YWZ0ZXI6MS41", "YWZ0ZXI6" + "OTk5" * 10, "A" * 10_000]
)
def test_a_page_token_that_the_server_did_not_give(stage, token):
    assert stage.open("alice").refused(ListPeers(page_token=token)) == wrong(
        "page_token", "is none that this server gave"
    )


@pytest.mark.parametrize("size", [-1, 2**32])
def test_a_page_size_has_32_bits(stage, size):
    assert stage.open("alice").refused(ListPeers(page_size=size)) == wrong(
        "page_size", "must be a whole number from 0 to 4294967295"
    )


def test_a_refused_query_raises_and_is_counted(stage):
    with pytest.raises(SignalingError):
        stage.hub.query("grpc", ListPeers("\n"), ANYWHERE, stage.now)
    assert stage.hub.counters.requests == {("grpc", "list_peers", "INVALID_ARGUMENT"): 1}


def test_health(stage):
    alice, _bob = stage.pair()
    stage.open("carol", room="other")
    alice.do(Offer("bob", "v=0"))
    stage.wait(12.9)
    expected = Health("healthy", 12, 3, {"pending_offers": 1, "sessions": {"grpc": 2, "websocket": 1}, "rooms": 2})
    assert alice.do(HealthCheck()) == expected
    assert stage.hub.query("grpc", HealthCheck(), ANYWHERE, stage.now) == expected
    stranger = stage.open()
    assert stranger.do(HealthCheck()).connected_peers == 3
