"""Credentials that a shared secret signs, and what coturn takes of them."""

import asyncio
import contextlib
import subprocess

import pytest

from processes import clean_environment
from turn_allocations import Refused, allocated, exchange, is_taken
from turn_server import REALM, StartTurnServer, TurnServer, signed, turnadmin_in
from waiting import TIME_LIMIT_SECONDS, until

SECRET = "the secret of today"


async def refusal(server: TurnServer, username: str, credential: str) -> int:
    """Returns the code with which coturn refuses an allocation."""
    with pytest.raises(Refused) as refused:
        async with allocated(server, username, credential):
            raise AssertionError("coturn has taken it")
    return refused.value.code


async def taken(server: TurnServer, username: str, credential: str) -> None:
    """Makes two allocations and lets a datagram pass from one to the other."""
    async with (
        allocated(server, username, credential) as one,
        allocated(server, username, credential, transport="tcp") as other,
    ):
        assert {one.address[1], other.address[1]} <= set(server.relay_ports)
        await exchange(one, other)


async def test_coturn_listens_on_the_loopback_alone_and_ends_with_the_test(
    start_turn_server: StartTurnServer,
) -> None:
    server = start_turn_server(SECRET)
    async with allocated(server, *signed(SECRET, "alice")):
        assert server.local_addresses() == {"127.0.0.1"}
    server.stop()
    assert not server.running


async def test_what_the_secret_signs_is_taken(start_turn_server: StartTurnServer) -> None:
    server = start_turn_server(SECRET)
    username, credential = signed(SECRET, "alice")
    await taken(server, username, credential)
    await until(lambda: server.usernames("alice") == [username])


async def test_what_is_wrong_or_over_is_not(start_turn_server: StartTurnServer) -> None:
    server = start_turn_server(SECRET)
    username, credential = signed(SECRET, "alice")
    assert await refusal(server, *signed("another secret", "alice")) == 401
    assert await refusal(server, *signed(SECRET, "alice", seconds=-1)) == 401
    assert await refusal(server, username.replace("alice", "bob"), credential) == 401
    # A later expiry takes another signature.
    expiry = int(username.partition(":")[0])
    assert await refusal(server, f"{expiry + 1}:alice", credential) == 401
    await taken(server, username, credential)


async def test_an_allocation_outlives_its_credentials(start_turn_server: StartTurnServer) -> None:
    """coturn asks again only who is new: an allocation is refreshed by credentials that have expired."""
    server = start_turn_server(SECRET)
    async with contextlib.AsyncExitStack() as stack:
        # A busy machine may take longer than the first are good.
        for seconds in (4, 8, 16, 32):
            username, credential = signed(SECRET, "alice", seconds=seconds)
            with contextlib.suppress(Refused):
                one = await stack.enter_async_context(allocated(server, username, credential))
                break
        else:
            raise AssertionError("coturn takes none of them")
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while await is_taken(server, username, credential):
                await asyncio.sleep(0.05)
        assert await one.refresh() > 0
        async with allocated(server, *signed(SECRET, "bob")) as other:
            await exchange(one, other)


async def test_a_quota_is_of_a_peer_and_not_of_its_credentials(start_turn_server: StartTurnServer) -> None:
    server = start_turn_server(SECRET, lines=("user-quota=2",))
    async with (
        allocated(server, *signed(SECRET, "alice")),
        allocated(server, *signed(SECRET, "alice", seconds=5000)),
    ):
        assert await refusal(server, *signed(SECRET, "alice", seconds=6000)) == 486
        await taken(server, *signed(SECRET, "bob"))


# A new secret.


async def test_two_secrets_are_taken_while_one_replaces_the_other(start_turn_server: StartTurnServer) -> None:
    server = start_turn_server("new", "old")
    await taken(server, *signed("new", "alice"))
    await taken(server, *signed("old", "alice"))
    assert await refusal(server, *signed("older", "alice")) == 401


async def test_a_secret_of_its_database_counts_at_once(start_turn_server: StartTurnServer) -> None:
    server = start_turn_server("old")
    turnadmin = turnadmin_in(server.folder)

    def admin(*words: str) -> None:
        subprocess.run(
            [turnadmin, *words, "--realm", REALM, "--db", str(server.folder / "turndb")],
            env=clean_environment(),
            cwd=server.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT_SECONDS,
            check=True,
        )

    assert await refusal(server, *signed("new", "alice")) == 401
    async with allocated(server, *signed("old", "alice")):
        admin("--set-secret", "new")
        await taken(server, *signed("new", "alice"))
        await taken(server, *signed("old", "alice"))
        admin("--delete-secret", "new")
        assert await refusal(server, *signed("new", "alice")) == 401
