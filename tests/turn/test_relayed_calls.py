"""Peers that reach each other through a TURN server only, over each protocol: aiortc's, and those of a browser."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiortc import RTCConfiguration, RTCIceTransportPolicy

from browsing import NEEDS_CHROMIUM, Origin, next_results, opened_page, results_in
from served import StartServer, servers
from sigbridge import IceCandidate
from sigbridge_client import connect
from sigbridge_compat.rtc_peer import RtcPeer, stay_on_loopback
from sigbridge_compat.webrtc_call import GREETING
from sigbridge_server.server import Server
from turn_server import StartTurnServer, TurnServer, signed
from waiting import TIME_LIMIT_SECONDS, until

SECRET = "the secret of today"


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    async with servers() as start:
        yield start


def relay_only(given: RTCConfiguration) -> RTCConfiguration:
    """A configuration with the servers that the peer was given, by which it connects through a relay or not at all."""
    assert given.iceServers
    return RTCConfiguration(iceServers=given.iceServers, iceTransportPolicy=RTCIceTransportPolicy.RELAY)


def turn_settings(turn: TurnServer, folder: Path, transport: str = "udp") -> dict[str, Any]:
    secret_file = folder / "secret"
    secret_file.write_text(f"{SECRET}\n", "utf-8")
    return {"turn_urls": (turn.url(transport),), "turn_secret_file": str(secret_file)}


def url_of(server: Server, protocol: str) -> str:
    port = server.grpc_port if protocol == "grpc" else server.websocket_port
    return f"{protocol}://127.0.0.1:{port}"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(("caller_by", "callee_by"), [("grpc", "grpc"), ("grpc", "ws"), ("ws", "grpc"), ("ws", "ws")])
async def test_two_aiortc_peers_connect_by_relay_only(
    start_turn_server: StartTurnServer,
    start_server: StartServer,
    tmp_path: Path,
    caller_by: str,
    callee_by: str,
    transport: str,
) -> None:
    turn = start_turn_server(SECRET)
    server = await start_server(**turn_settings(turn, tmp_path, transport))
    said: list[Any] = []
    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        await connect(url_of(server, caller_by)) as caller,
        await connect(url_of(server, callee_by)) as callee,
    ):
        await caller.announce("alice")
        await callee.announce("bob")
        with stay_on_loopback():
            async with (
                RtcPeer(caller, observe=said.append, configure=relay_only) as alice,
                RtcPeer(callee, observe=said.append, configure=relay_only) as bob,
            ):
                outgoing, incoming = await asyncio.gather(alice.call("bob"), bob.answer_calls())
                await outgoing.send(GREETING)
                assert await incoming.receive() == GREETING
                await incoming.send(GREETING[::-1])
                assert await outgoing.receive() == GREETING[::-1]
    candidates = [each.candidate for each in said if isinstance(each, IceCandidate) and each.candidate]
    assert len(candidates) == 2
    for candidate in candidates:
        assert " typ relay " in candidate
        assert int(candidate.split()[5]) in turn.relay_ports
    for peer_id in ("alice", "bob"):
        await until(lambda peer_id=peer_id: len(turn.usernames(peer_id)) == 1)
        (name,) = turn.usernames(peer_id)
        await until(lambda name=name: min(turn.relayed_packets(name)) > 0)


# In browsers.


def query_of(peer_id: str, other: str, servers: list[dict[str, Any]], *, answers: bool) -> str:
    asked = {"me": peer_id, "other": other, "servers": json.dumps(servers)} | ({"answers": "yes"} if answers else {})
    return f"&{urlencode(asked)}"


def ice_servers(server: TurnServer, peer_id: str, transport: str = "udp") -> list[dict[str, Any]]:
    username, credential = signed(SECRET, peer_id)
    return [{"urls": [server.url(transport)], "username": username, "credential": credential}]


@NEEDS_CHROMIUM
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_two_browsers_connect_by_relay_only(
    start_turn_server: StartTurnServer, start_server: StartServer, origin: Origin, tmp_path: Path, transport: str
) -> None:
    turn, server = start_turn_server(SECRET), await start_server(serve_client=True)
    address = f"127.0.0.1:{server.websocket_port}"

    async with contextlib.AsyncExitStack() as browsers:
        for peer_id, other in (("alice", "bob"), ("bob", "alice")):
            query = query_of(peer_id, other, ice_servers(turn, peer_id, transport), answers=peer_id == "bob")
            page = opened_page(origin, address, tmp_path / peer_id, query, page="relayed.html")
            await browsers.enter_async_context(page)
        both = [await next_results(origin) for _ in range(2)]
    for results in both:
        assert "error" not in results, results
        path = results["path"]
        assert (path["local"], path["remote"], path["protocol"]) == ("relay", "relay", transport), results
        assert path["port"] in turn.relay_ports
        assert results["candidates"]
        assert all(" typ relay " in candidate for candidate in results["candidates"])
    for peer_id in ("alice", "bob"):
        await until(lambda peer_id=peer_id: len(turn.usernames(peer_id)) == 1)


@NEEDS_CHROMIUM
@pytest.mark.parametrize("protocol", ["grpc", "ws"])
async def test_a_browser_and_aiortc_connect_by_relay_only(
    start_turn_server: StartTurnServer, start_server: StartServer, origin: Origin, tmp_path: Path, protocol: str
) -> None:
    turn = start_turn_server(SECRET)
    server = await start_server(serve_client=True, **turn_settings(turn, tmp_path))
    address = f"127.0.0.1:{server.websocket_port}"
    query = query_of("alice", "bob", ice_servers(turn, "alice"), answers=False)
    with stay_on_loopback():
        async with (
            await connect(url_of(server, protocol)) as callee,
            RtcPeer(callee, configure=relay_only) as bob,
        ):
            await callee.announce("bob")

            async def answer() -> None:
                call = await bob.answer_calls()
                while True:
                    await call.send((await call.receive()).replace(b"ping", b"pong"))

            answering = asyncio.create_task(answer())
            try:
                results = await results_in(origin, address, tmp_path / "alice", query, page="relayed.html")
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
    assert "error" not in results, results
    assert (results["path"]["local"], results["path"]["remote"]) == ("relay", "relay"), results
    await until(lambda: len(turn.usernames("bob")) == 1)
    (name,) = turn.usernames("bob")
    await until(lambda: min(turn.relayed_packets(name)) > 0)
