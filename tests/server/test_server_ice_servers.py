"""A whole server that gives ICE servers: of its settings and of files that change, on both protocols and engines."""

import asyncio
import json
import logging
from base64 import b64encode
from hmac import digest

import pytest

from served import servers
from sigbridge import Code, IceServersChanged, SettingError, SignalingError
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS, until

SECRET, LATER = "the secret that is now", "the secret that follows"
URLS = ("turn:t.example.org:3478?transport=udp", "turns:t.example.org")
FIXED = {"urls": ["stun:s.example.org"]}
WITH_CREDENTIAL = {"urls": "turn:own.example.org", "username": "someone", "credential": "a fixed credential"}


@pytest.fixture
async def start():
    async with servers() as start_server, asyncio.timeout(TIME_LIMIT_SECONDS):
        yield start_server


def credential_of(username, secret):
    return b64encode(digest(secret.encode(), username.encode(), "sha1")).decode()


def expect_turn(server, peer_id, secret):
    """The server is TURN with credentials for this peer, made by this secret."""
    end, _, name = server["username"].partition(":")
    assert end.isdigit()
    assert name == peer_id
    assert server == {
        "urls": list(URLS),
        "username": server["username"],
        "credential": credential_of(server["username"], secret),
    }


async def next_change(client):
    async for event in client.events():
        if isinstance(event, IceServersChanged):
            return event
    raise AssertionError("no more events")


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_files_that_change_reach_those_who_asked(start, tmp_path, engine, caplog):
    caplog.set_level(logging.DEBUG)
    servers_file, secret_file = tmp_path / "ice.json", tmp_path / "secret"
    servers_file.write_text(json.dumps([FIXED, WITH_CREDENTIAL]))
    secret_file.write_text(f"{SECRET}\n")
    server = await start(
        grpc_engine=engine, ice_servers=str(servers_file), turn_urls=URLS, turn_secret_file=str(secret_file)
    )
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}") as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False) as bob,
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False, dialect="dotted") as carol,
    ):
        by_announce = (await alice.announce("alice", ice_servers=True)).ice_servers
        await bob.announce("bob")
        await carol.announce("carol", ice_servers=True)
        for client, given in (
            (alice, by_announce),
            (alice, (await alice.get_ice_servers()).servers),
            (bob, (await bob.get_ice_servers()).servers),
            (carol, (await carol.get_ice_servers()).servers),
        ):
            assert given[:2] == (FIXED, WITH_CREDENTIAL)
            expect_turn(given[2], client.peer_id, SECRET)
        # As on SIGHUP.
        secret_file.write_text(f"{LATER}\n{SECRET}\n")
        server.reload()
        for client in (alice, bob, carol):
            changed = await next_change(client)
            assert changed.servers[:2] == (FIXED, WITH_CREDENTIAL)
            expect_turn(changed.servers[2], client.peer_id, LATER)
            assert changed.expires_unix_ms == int(changed.servers[2]["username"].partition(":")[0]) * 1000
        # Nobody says so: it is looked at once a second.
        servers_file.write_text("[]")
        for client in (alice, bob, carol):
            changed = await next_change(client)
            (turn,) = changed.servers
            expect_turn(turn, client.peer_id, LATER)
        # What is no good changes nothing.
        secret_file.write_text("short\n")
        server.reload()
        await until(lambda: "expected secrets of at least 16 bytes" in caplog.text)
        expect_turn((await alice.get_ice_servers()).servers[0], "alice", LATER)
    for hidden in (SECRET, LATER, "a fixed credential", by_announce[2]["credential"], turn["credential"]):
        assert hidden not in caplog.text
        assert all(hidden not in repr(vars(record)) for record in caplog.records)


async def test_newer_credentials_come_before_the_old_ones_end(start, tmp_path):
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET)
    server = await start(turn_urls=URLS, turn_secret_file=str(secret_file), turn_ttl_seconds=1.6)
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}") as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}") as bob,
    ):
        for name, client in (("alice", alice), ("bob", bob)):
            end = (await client.announce(name, ice_servers=True)).ice_servers_expire_unix_ms
            for _ in range(2):
                changed = await next_change(client)
                assert changed.expires_unix_ms > end
                end = changed.expires_unix_ms
                expect_turn(changed.servers[0], name, SECRET)


async def test_a_server_whose_files_are_no_good_does_not_start(start, tmp_path):
    with pytest.raises(SettingError, match="SIGNALING_TURN_SECRET_FILE"):
        await start(turn_urls=URLS, turn_secret_file=str(tmp_path / "missing"))
    with pytest.raises(SettingError, match="SIGNALING_ICE_SERVERS"):
        await start(ice_servers=str(tmp_path / "missing"))


async def test_a_client_that_comes_back_is_told_of_new_ones(start):
    """One who asked by a request is told of those of the next session, and of newer ones in it."""
    server = await start(ice_servers=json.dumps([FIXED]))
    for url in (f"grpc://127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}"):
        async with await connect(url) as client:
            await client.announce("alice")
            assert (await client.get_ice_servers()).servers == (FIXED,)
            client._session.give_up()
            assert (await next_change(client)).servers == (FIXED,)
            assert server.hub._parts.ice_servers.asked


async def test_before_an_announce_there_are_none(start):
    server = await start(ice_servers=json.dumps([FIXED]))
    for url in (f"grpc://127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}"):
        async with await connect(url) as client:
            with pytest.raises(SignalingError) as refused:
                await client.get_ice_servers()
            assert refused.value.code is Code.FAILED_PRECONDITION
