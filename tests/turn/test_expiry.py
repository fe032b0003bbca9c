"""Two browsers whose call goes on, by relay only, past the end of the credentials with which it began."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from browsing import NEEDS_CHROMIUM, Origin, next_results, opened_page
from served import StartServer, servers
from sigbridge_client import connect
from turn_allocations import is_taken
from turn_server import StartTurnServer, signature
from waiting import TIME_LIMIT_SECONDS, until

SECRET = "the secret of today"
TTL_SECONDS = 6.0

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
async def start() -> AsyncIterator[StartServer]:
    async with servers() as start_server:
        yield start_server


async def test_two_browsers_go_on_past_the_end_of_their_first_credentials(
    start_turn_server: StartTurnServer, start: StartServer, origin: Origin, tmp_path: Path
) -> None:
    turn = start_turn_server(SECRET)
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{SECRET}\n", "utf-8")
    server = await start(
        serve_client=True, turn_urls=(turn.url(),), turn_secret_file=str(secret_file), turn_ttl_seconds=TTL_SECONDS
    )
    address = f"127.0.0.1:{server.websocket_port}"

    async def both() -> list[dict[str, Any]]:
        """Returns what the two pages post next; they wait for each other."""
        posted = [await next_results(origin) for _ in range(2)]
        for results in posted:
            assert "error" not in results, posted
        return posted

    async with AsyncExitStack() as browsers:
        for peer_id, other in (("alice", "bob"), ("bob", "alice")):
            query = urlencode({"me": peer_id, "other": other} | ({"answers": "yes"} if peer_id == "bob" else {}))
            page = opened_page(origin, address, tmp_path / peer_id, f"&{query}", page="expiring.html")
            await browsers.enter_async_context(page)
        for renewed in await both():
            username = renewed["first"]["username"]
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                while await is_taken(turn, username, signature(SECRET, username)):
                    await asyncio.sleep(0.05)
        async with await connect(f"grpc://127.0.0.1:{server.grpc_port}") as client:
            await client.announce("over")
            went_on = await both()
        for results in went_on:
            first, last = results["first"], results["last"]
            assert {first["local"], first["remote"], last["local"], last["remote"]} == {"relay"}, results
            assert {first["port"], last["port"]} <= set(turn.relay_ports)
            # One connection all the time, whose ICE was restarted.
            assert results["built"] == 1
            assert results["events"] >= 1
        ends = await both()
        assert {end["me"]: end["ended"] for end in ends} == {"alice": "hung_up", "bob": "peer_hung_up"}
    for results in went_on:
        # What coturn has carried, by the later allocations as by the first ones.
        for username in (results["first"]["username"], results["last"]["username"]):
            await until(lambda username=username: min(turn.relayed_packets(username)) > 0)
