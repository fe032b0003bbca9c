"""ICE servers that sigbridge gives its peers, whose credentials coturn takes: by each way in, for any peer, and anew."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from served import StartServer, servers
from sigbridge import IceServersChanged, SignalingClient
from sigbridge_client import connect
from sigbridge_server.server import Server
from turn_allocations import Refused, allocated, exchange
from turn_server import StartTurnServer, TurnServer, signed
from waiting import TIME_LIMIT_SECONDS

OLD, NEW = "the secret of yesterday", "the secret of today"


@pytest.fixture
async def start() -> AsyncIterator[StartServer]:
    async with servers() as start_server, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield start_server


def turn_settings(turn: TurnServer, secret_file: Path, **settings: Any) -> dict[str, Any]:
    return {"turn_urls": (turn.url("udp"), turn.url("tcp")), "turn_secret_file": str(secret_file)} | settings


def written(path: Path, *secrets: str) -> Path:
    path.write_text("".join(f"{secret}\n" for secret in secrets), "utf-8")
    return path


@contextlib.asynccontextmanager
async def client_of(server: Server, way: str) -> AsyncIterator[SignalingClient]:
    """A client by this way in: `grpc`, `ws` or `dotted`."""
    if way == "grpc":
        connecting = connect(f"grpc://127.0.0.1:{server.grpc_port}")
    else:
        connecting = connect(
            f"ws://127.0.0.1:{server.websocket_port}", dialect="dotted" if way == "dotted" else "plain"
        )
    async with await connecting as client:
        yield client


async def are_good(turn: TurnServer, given: tuple[dict[str, Any], ...] | None) -> bool:
    """Returns True where coturn takes the credentials of the last server, by UDP and TCP; False where it does not."""
    assert given
    server = given[-1]
    assert server["urls"] == [turn.url("udp"), turn.url("tcp")]
    try:
        async with (
            allocated(turn, server["username"], server["credential"]) as one,
            allocated(turn, server["username"], server["credential"], transport="tcp") as other,
        ):
            await exchange(one, other)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("engine", ["native", "grpcio"])
@pytest.mark.parametrize("way", ["grpc", "ws", "dotted"])
async def test_coturn_takes_what_a_peer_is_given(
    start_turn_server: StartTurnServer, start: StartServer, tmp_path: Path, engine: str, way: str
) -> None:
    turn = start_turn_server(NEW)
    server = await start(grpc_engine=engine, **turn_settings(turn, written(tmp_path / "secret", NEW)))
    async with client_of(server, way) as client:
        announced = await client.announce("alice", ice_servers=True)
        asked = await client.get_ice_servers()
        for given, expires_unix_ms in (
            (announced.ice_servers, announced.ice_servers_expire_unix_ms),
            (asked.servers, asked.expires_unix_ms),
        ):
            assert await are_good(turn, given)
            assert given
            assert given[-1]["username"] == f"{(expires_unix_ms or 0) // 1000}:alice"


PEERS = {
    "a space": "alice in wonderland",
    "colons": "::alice:1:",
    "quotes": '"alice\'s"',
    "a backslash": "alice\\bob",
    "other letters": "Алиса и 爱丽丝 🐇",
    "what looks like SQL": "union of those who select",
    "percents and tildes": "%41~100%",
    "markup and formats": "<b>%s%n</b>;--",
    "the longest id": "x" * 256,
    "the longest id of spaces": " " * 256,
    "the longest id of other letters": "🐇" * 64,
    "one letter": "1",
}


@pytest.mark.parametrize("peer_id", PEERS.values(), ids=PEERS)
async def test_coturn_takes_what_any_peer_is_given(
    start_turn_server: StartTurnServer, start: StartServer, tmp_path: Path, peer_id: str
) -> None:
    turn = start_turn_server(NEW)
    server = await start(**turn_settings(turn, written(tmp_path / "secret", NEW)))
    async with client_of(server, "ws") as client:
        announced = await client.announce(peer_id, ice_servers=True)
        assert await are_good(turn, announced.ice_servers)
        assert announced.ice_servers
        assert re.fullmatch(r"[0-9]{10}:[A-Za-z0-9%~._-]+", announced.ice_servers[-1]["username"])
    assert not turn.said("ERROR")


async def test_a_peer_is_not_given_what_another_one_has(
    start_turn_server: StartTurnServer, start: StartServer, tmp_path: Path
) -> None:
    """The name of one is not that of another, however alike they look, so that coturn's quotas are each one's own."""
    turn = start_turn_server(NEW)
    server = await start(**turn_settings(turn, written(tmp_path / "secret", NEW)))
    names = set()
    alike = ("a b", "a%20b", "a%2520b", "A b", "~", "%7E", "x" * 256, "x" * 255 + "y", " " * 200, " " * 201)
    for peer_id in alike:
        async with client_of(server, "ws") as client:
            announced = await client.announce(peer_id, ice_servers=True)
            assert announced.ice_servers
            names.add(announced.ice_servers[-1]["username"].partition(":")[2])
    assert len(names) == len(alike)


async def next_servers(client: SignalingClient) -> IceServersChanged:
    async for event in client.events():
        if isinstance(event, IceServersChanged):
            return event
    raise AssertionError("no servers came")


@pytest.mark.parametrize("way", ["grpc", "ws", "dotted"])
async def test_a_new_secret_counts_at_once_and_the_one_before_is_still_good(
    start_turn_server: StartTurnServer, start: StartServer, tmp_path: Path, way: str
) -> None:
    both, later = start_turn_server(NEW, OLD), start_turn_server(NEW)
    secret_file = written(tmp_path / "secret", OLD)
    server = await start(**turn_settings(both, secret_file))
    async with client_of(server, way) as client:
        announced = await client.announce("alice", ice_servers=True)
        assert await are_good(both, announced.ice_servers)
        written(secret_file, NEW, OLD)
        server.reload()
        changed = await next_servers(client)
        assert await are_good(both, changed.servers)
        assert await are_good(both, announced.ice_servers)
        # What is made by the new secret is good where that alone is known, which the last one was not made by.
        username, credential = changed.servers[-1]["username"], changed.servers[-1]["credential"]
        async with allocated(later, username, credential):
            assert username.endswith(":alice")
        before = (announced.ice_servers or ())[-1]
        with pytest.raises(Refused):
            async with allocated(later, before["username"], before["credential"]):
                raise AssertionError("coturn has taken it")
        assert signed(OLD, "alice")[1] != credential


async def test_newer_credentials_come_as_long_as_a_peer_stays(
    start_turn_server: StartTurnServer, start: StartServer, tmp_path: Path
) -> None:
    """Each way in and each engine, all at the same time, since it takes its time."""
    turn = start_turn_server(NEW)
    settings = turn_settings(turn, written(tmp_path / "secret", NEW), turn_ttl_seconds=3.0)

    async def stays(server: Server, way: str) -> None:
        async with client_of(server, way) as client:
            announced = await client.announce(f"alice-{way}", ice_servers=True)
            end_ms = announced.ice_servers_expire_unix_ms
            for _ in range(2):
                changed = await next_servers(client)
                assert end_ms is not None
                assert changed.expires_unix_ms is not None
                assert changed.expires_unix_ms > end_ms
                end_ms = changed.expires_unix_ms
                assert await are_good(turn, changed.servers)
            # By now the first ones are over, or soon, which nobody has noticed who uses newer ones.
            while await are_good(turn, announced.ice_servers):
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for engine in ("native", "grpcio"):
            server = await start(grpc_engine=engine, **settings)
            for way in ("grpc", "ws", "dotted"):
                group.create_task(stays(server, way))
