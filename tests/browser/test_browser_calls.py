"""Calls of the TypeScript client in a real browser, as servers serve them: each scenario of `calls.html`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from browsing import NEEDS_CHROMIUM, Origin, results_in
from chromium import Browsers
from sigbridge import IceCandidateReceived, OfferReceived, PeerJoined, Settings
from sigbridge.delivery import Delivery
from sigbridge.session import Peer
from sigbridge_client import connect
from sigbridge_client.webrtc import Call, Calls
from sigbridge_compat.rtc_peer import stay_on_loopback
from sigbridge_server.server import Server

PAGE = "calls.html"
OFTEN = pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.soak)])
"""Rounds of calls that cross: what goes wrong in one of many is looked for by `make soak`."""

pytestmark = NEEDS_CHROMIUM


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Server]:
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            serve_client=True,
            **settings,
        )
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def played(origin: Origin, browsers: Browsers, scenario: str, query: str = "", **settings: Any) -> dict[str, Any]:
    """Results of a scenario."""
    async with serving(**settings) as server:
        address = f"127.0.0.1:{server.websocket_port}"
        results = await results_in(origin, address, browsers, f"&scenario={scenario}{query}", page=PAGE)
    assert "error" not in results, results["error"]
    return results


# Between pages.


async def test_one_calls_and_the_other_one_hangs_up(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "call", "&rounds=5")
    assert results == {"ends": [["peer_hung_up"] * 5, ["hung_up"] * 5], "built": [5, 5]}


@OFTEN
@pytest.mark.parametrize("names", [("alice", "bob"), ("\U00010000", "\uffff")])
async def test_both_call_at_once(origin: Origin, browsers: Browsers, names: tuple[str, str], rounds: int) -> None:
    query = f"&rounds={rounds}&one={quote(names[0])}&other={quote(names[1])}"
    results = await played(origin, browsers, "glare", query)
    in_turns = ["peer_hung_up", "hung_up"] * (rounds // 2)
    assert results["ends"] == [in_turns, ["hung_up", "peer_hung_up"] * (rounds // 2)]
    assert results["crossed"] == rounds
    # A browser finds no candidates behind one rollback of some hundreds; that connection is replaced.
    assert sum(results["built"]) < 2 * rounds + 10


async def test_one_hangs_up_and_calls_again_within_ten_milliseconds(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "again", "&rounds=30")
    assert all(count >= 30 for count in results["ends"])


async def test_one_hangs_up_before_it_is_heard(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "hasty", "&rounds=20")
    assert set(results["ends"][0]) <= {"hung_up", "peer_hung_up"}


async def test_the_other_page_is_loaded_again_in_mid_call(origin: Origin, browsers: Browsers) -> None:
    assert await played(origin, browsers, "reload", "&rounds=3") == {"ends": ["peer_left"] * 3}


async def test_calls_go_on_where_sessions_resume(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "resume", "&rounds=3")
    assert results["ends"] == [["peer_hung_up"] * 3, ["hung_up"] * 3]
    assert "session_lost" not in results["events"]
    assert results["built"] == [3, 3]


async def test_an_offer_is_made_again_where_the_session_is_lost(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "lost", resume_window_seconds=0.0)
    assert results == {"ends": [[], ["peer_left"]], "endsThen": [[], ["peer_left", "peer_left"]]}


async def test_ice_is_restarted_where_a_connection_fails(origin: Origin, browsers: Browsers) -> None:
    assert await played(origin, browsers, "iceRestart") == {"restarts": 3, "ends": [[], []], "built": [1, 1]}


async def test_a_connection_is_replaced_that_never_came_about(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "restart")
    assert "failed" in results["states"]
    assert results["ends"] == [[], []]
    assert all(count > 1 for count in results["built"])


async def test_both_add_tracks_at_once_in_mid_call(origin: Origin, browsers: Browsers) -> None:
    results = await played(origin, browsers, "tracks", "&rounds=10")
    assert results == {"seen": {"alice": 10, "bob": 10}, "built": [1, 1], "ends": [[], []]}


async def test_every_end_has_its_reason(origin: Origin, browsers: Browsers) -> None:
    assert await played(origin, browsers, "ends") == {
        "notFound": "peer_not_found",
        "refused": "refused",
        "behind": "closed",
        "ends": [["peer_hung_up", "peer_hung_up", "refused", "hung_up"], ["hung_up", "hung_up"]],
    }


# A page and aiortc.


class Crossing:
    """Lets no offer of a round arrive before both peers have sent theirs; later ones pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rounds = 0
        self._held: list[tuple[Any, ...]] | None = None
        self._relay = Delivery.relay

        def relay(delivery: Delivery, *words: Any) -> None:
            self._pass(delivery, *words)

        monkeypatch.setattr(Delivery, "relay", relay)

    def begin(self) -> None:
        """Begins a round."""
        assert self._held is None, "only one has offered in the round before"
        self._held = []

    def _pass(self, delivery: Delivery, target: Peer, event: Any, *more: Any) -> None:
        if self._held is None or not isinstance(event, OfferReceived):
            self._relay(delivery, target, event, *more)
            return
        assert event.from_peer_id not in [held[2].from_peer_id for held in self._held]
        self._held.append((delivery, target, event, *more))
        if len(self._held) == 2:
            held, self._held = self._held, None
            self.rounds += 1
            for words in held:
                self._relay(*words)


class Backend:
    """A peer with aiortc, which calls a page whenever a third peer joins, and hangs up when the page says so."""

    def __init__(self, peer_id: str, page: str, crossing: Crossing | None) -> None:
        self.peer_id, self.page, self.crossing = peer_id, page, crossing
        self.ends: list[str] = []
        self.built = 0
        self.candidates: list[str] = []

    def build(self, configuration: RTCConfiguration, call: Call) -> RTCPeerConnection:
        self.built += 1
        connection = RTCPeerConnection(configuration)
        channel = connection.createDataChannel("chat", negotiated=True, id=0)

        @channel.on("open")  # type: ignore[untyped-decorator]
        def say() -> None:
            channel.send(self.peer_id)

        @channel.on("message")  # type: ignore[untyped-decorator]
        def hear(message: str) -> None:
            if message == "hang up":
                call.hang_up()

        if channel.readyState == "open":
            say()
        return connection

    async def conduct(self, url: str, rounds: int) -> None:
        """Has a third peer join once for each round, and both call then."""
        async with await connect(url) as client, Calls(client, self.build) as calls:
            await client.announce(self.peer_id)
            events = calls.events()
            async for event in events:
                if isinstance(event, PeerJoined) and event.peer_id == self.page:
                    break
            for number in range(rounds):
                if self.crossing is not None:
                    self.crossing.begin()
                async with await connect(url) as conductor:
                    await conductor.announce(f"go-{number}")
                    async for event in events:
                        if isinstance(event, IceCandidateReceived):
                            self.candidates.append(event.candidate)
                        if isinstance(event, PeerJoined) and event.peer_id == f"go-{number}":
                            break
                    call = calls.call(self.page)
                    self.ends.append(await call.ended())
                    # The page is told before the next round begins.
                    await call.hang_up()


async def conducted(
    origin: Origin,
    browsers: Browsers,
    way: str,
    names: tuple[str, str],
    rounds: int,
    crossing: Crossing | None = None,
    **browser: bool,
) -> tuple[dict[str, Any], Backend]:
    """Results of calls between a page and aiortc, which call each other at once and hang up by turns."""
    page, other = names
    async with serving() as server:
        backend = Backend(other, page, crossing)
        port = server.websocket_port if way == "ws" else server.grpc_port
        conducting = asyncio.create_task(backend.conduct(f"{way}://127.0.0.1:{port}", rounds))
        try:
            query = f"&scenario=conducted&rounds={rounds}&one={quote(page)}&other={quote(other)}"
            address = f"127.0.0.1:{server.websocket_port}"
            with stay_on_loopback():
                results = await results_in(origin, address, browsers, query, page=PAGE, **browser)
            assert "error" not in results, (results["error"], backend.ends, backend.built)
            await conducting
        finally:
            conducting.cancel()
            await asyncio.gather(conducting, return_exceptions=True)
    assert results["ends"] == ["peer_hung_up", "hung_up"] * (rounds // 2)
    assert backend.ends == ["hung_up", "peer_hung_up"] * (rounds // 2)
    return results, backend


@OFTEN
@pytest.mark.parametrize("way", ["ws", "grpc"])
@pytest.mark.parametrize("names", [("alice", "bob"), ("bob", "alice")], ids=["polite", "impolite"])
async def test_a_page_and_aiortc_call_each_other_at_once(
    origin: Origin, browsers: Browsers, way: str, names: tuple[str, str], rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossing = Crossing(monkeypatch)
    results, _ = await conducted(origin, browsers, way, names, rounds, crossing)
    assert results["crossed"] == crossing.rounds == rounds


@pytest.mark.parametrize("names", [("\uffff", "\U00010000"), ("\U00010000", "\uffff")])
async def test_both_order_ids_by_their_utf_8(
    origin: Origin, browsers: Browsers, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = await conducted(origin, browsers, "ws", names, 6, Crossing(monkeypatch))
    assert results["crossed"] == 6


async def test_a_page_that_hides_its_addresses_is_reached(origin: Origin, browsers: Browsers) -> None:
    _, backend = await conducted(origin, browsers, "ws", ("alice", "bob"), rounds=4, hides_addresses=True)
    assert any(".local " in candidate for candidate in backend.candidates)
