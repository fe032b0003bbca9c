"""The places of a server, on both engines: families, lists, unix sockets, and nothing half-started."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from free_ports import free_port
from network import reached
from served import ANY_PORT, servers
from sigbridge import Settings
from sigbridge_client import connect
from sigbridge_net.errors import ListenError
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS

BOTH = {"IPv4": "127.0.0.1", "IPv6": "::1"}
IPV4 = {"IPv4": "127.0.0.1"}
IPV6 = {"IPv6": "::1"}


@pytest.fixture(params=["native", "grpcio"])
def engine(request):
    return request.param


@pytest.fixture
async def start(engine):
    async with servers() as start_server:
        yield lambda **settings: start_server(grpc_engine=engine, **settings)


def unix_sockets(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Families, in a network of their own: wildcards are nobody else's business there, and ports may be fixed.


def case(engine, grpc, ws, http="off"):
    return {"grpc_engine": engine, "grpc_bind_address": grpc, "ws_bind_address": ws, "http_bind_address": http}


def test_what_an_address_means_is_the_same_on_every_engine(engine):
    # At one port the native engine serves both protocols, whosever address it is. Each case has ports of its own:
    # clients of gRPC that have just failed at an address wait before they try it again.
    native = engine == "native"
    either, other = (BOTH, BOTH) if native else (IPV6, IPV4)
    cases = {
        "the default": ({"grpc_engine": engine}, BOTH, BOTH),
        "no host": (case(engine, ":11", ":12"), BOTH, BOTH),
        "both families": (case(engine, "[::]:21", "[::]:0"), BOTH, BOTH),
        "IPv4 alone": (case(engine, "0.0.0.0:31", "0.0.0.0:0"), IPV4, IPV4),
        "a port of IPv4's choice": (case(engine, "0.0.0.0:0", "127.0.0.1:0"), IPV4, IPV4),
        "one of each": (case(engine, "[::1]:41", "127.0.0.1:41"), either, other),
        "IPv6 beside IPv4": (case(engine, "0.0.0.0:51,[::]:51", "[::]:52,0.0.0.0:52"), BOTH, BOTH),
        "IPv6 beside another's IPv4": (case(engine, "0.0.0.0:61", "[::]:61"), other, either),
        "IPv6 beside the operator's": (case(engine, "[::1]:71", "[::]:72", "0.0.0.0:72"), IPV6, IPV6),
    }
    results = reached(*(settings for settings, *_ in cases.values()))
    seen = {name: result.get("seen", result) for name, result in zip(cases, results, strict=True)}
    assert seen == {name: {"grpc": grpc, "ws": ws} for name, (_, grpc, ws) in cases.items()}
    assert results[0]["addresses"] == {"grpc": ["[::]:50051"], "ws": ["[::]:8080"], "http": ["127.0.0.1:9090"]}
    assert results[6]["addresses"]["grpc"] == ["0.0.0.0:51", "[::]:51"]


def test_both_families_cannot_have_a_port_of_which_another_has_an_address(engine):
    (result,) = reached(case(engine, "[::]:1", "127.0.0.1:1"))
    assert result == {"error": "cannot listen on [::]:1: Address already in use (GRPC_BIND_ADDRESS)"}


# Lists.


async def test_every_address_of_a_list_serves_and_is_named(start, tmp_path):
    server = await start(
        grpc_bind_address=f"127.0.0.1:0, 127.0.0.1:0,unix:{tmp_path}/grpc",
        ws_bind_address=f"unix:{tmp_path}/ws,127.0.0.1:0",
        http_bind_address=f"127.0.0.1:0,unix:{tmp_path}/http",
    )
    assert [len(addresses) for addresses in server.addresses.values()] == [3, 2, 2]
    assert server.addresses["grpc"][0] == f"127.0.0.1:{server.grpc_port}"
    assert server.addresses["ws"] == [f"unix:{tmp_path}/ws", f"127.0.0.1:{server.websocket_port}"]
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        for scheme, name in (("grpc", "grpc"), ("ws", "ws")):
            for address in server.addresses[name]:
                joint = "+" if address.startswith("unix:") else "://"
                async with await connect(f"{scheme}{joint}{address}") as client:
                    await client.announce("alice")
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/http")
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_an_address_of_both_lists_is_shared(tmp_path):
    port = free_port()
    async with servers() as start_server:
        server = await start_server(
            grpc_bind_address=f"127.0.0.1:0,127.0.0.1:{port},unix:{tmp_path}/both",
            ws_bind_address=f"unix:{tmp_path}/both,127.0.0.1:{port},127.0.0.1:0",
        )
        assert server.addresses["grpc"][1:] == [f"127.0.0.1:{port}", f"unix:{tmp_path}/both"]
        assert server.addresses["ws"][:2] == [f"unix:{tmp_path}/both", f"127.0.0.1:{port}"]
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            for url in (f"grpc+unix:{tmp_path}/both", f"ws+unix:{tmp_path}/both", f"grpc://127.0.0.1:{port}"):
                async with await connect(url) as client:
                    await client.announce("alice")


@pytest.mark.parametrize("name", ["grpc", "ws", "http"])
async def test_where_one_of_many_is_taken_the_others_are_given_back(engine, tmp_path, name):
    """Case 58: the port is taken, or the socket is somebody's."""
    fixed = free_port()
    folder = tmp_path / "ours"
    folder.mkdir()
    for taken in ("127.0.0.1", f"unix:{tmp_path}/theirs"):
        with socket.socket(socket.AF_UNIX if taken.startswith("unix") else socket.AF_INET) as theirs:
            theirs.bind(taken.removeprefix("unix:") if taken.startswith("unix") else (taken, 0))
            theirs.listen()
            address = taken if taken.startswith("unix") else f"{taken}:{theirs.getsockname()[1]}"
            lists = {
                f"{other}_bind_address": f"127.0.0.1:{fixed if other == 'grpc' else 0},unix:{folder}/{other}"
                for other in ("grpc", "ws", "http")
            }
            lists[f"{name}_bind_address"] += f",{address}"
            server = Server(Settings(**lists, grpc_engine=engine))
            with pytest.raises(ListenError) as error:
                await server.start()
            assert (
                str(error.value) == f"cannot listen on {address}: Address already in use ({name.upper()}_BIND_ADDRESS)"
            )
        assert unix_sockets(folder) == []
        with socket.create_server(("127.0.0.1", fixed)):
            pass
    assert unix_sockets(tmp_path) == ["ours", "theirs"], "it is not ours to remove"


# Unix sockets.


async def test_a_unix_socket_has_its_mode_and_goes_with_the_server(start, tmp_path):
    mask = os.umask(0o077)
    try:
        server = await start(
            grpc_bind_address=f"unix:{tmp_path}/grpc", ws_bind_address=f"unix:{tmp_path}/ws", unix_mode="0624"
        )
    finally:
        assert os.umask(mask) == 0o077
    assert (server.grpc_port, server.websocket_port) == (0, 0)
    assert unix_sockets(tmp_path) == ["grpc", "ws"]
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("grpc", "ws")} == {0o624}
    await server.stop(grace_seconds=1)
    assert unix_sockets(tmp_path) == []


async def test_a_client_behind_a_unix_socket_has_no_address_and_the_log_says_unix(start, tmp_path, caplog):
    caplog.set_level("INFO", "sigbridge.session")
    server = await start(
        grpc_bind_address=f"unix:{tmp_path}/grpc",
        ws_bind_address=f"unix:{tmp_path}/ws",
        rate_per_second=0.001,
        rate_burst=1,
    )
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        for url in (f"grpc+unix:{tmp_path}/grpc", f"ws+unix:{tmp_path}/ws"):
            # Nobody counts for another: they have no address that could be limited.
            async with await connect(url) as one, await connect(url) as other:
                await one.announce("one")
                await other.announce("other")
                assert {session.remote for session in server.hub._sessions.values()} == {""}
    started = [record for record in caplog.records if record.getMessage() == "session started"]
    assert [record.remote for record in started] == ["unix"] * 4


async def test_a_socket_that_nobody_answers_at_is_replaced(start, tmp_path):
    for name in ("grpc", "ws"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(f"{tmp_path}/{name}")
    await start(grpc_bind_address=f"unix:{tmp_path}/grpc", ws_bind_address=f"unix:{tmp_path}/ws")
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        for scheme in ("grpc", "ws"):
            async with await connect(f"{scheme}+unix:{tmp_path}/{scheme}") as client:
                await client.announce("alice")


@pytest.mark.parametrize("name", ["grpc", "ws"])
async def test_a_file_that_is_no_socket_is_left_alone(engine, tmp_path, name):
    (tmp_path / "file").write_text("kept")
    settings = ANY_PORT | {f"{name}_bind_address": f"unix:{tmp_path}/file", "grpc_engine": engine}
    with pytest.raises(ListenError, match=f"there is a file that is not a socket \\({name.upper()}_BIND_ADDRESS\\)"):
        await Server(Settings(**settings)).start()
    assert (tmp_path / "file").read_text() == "kept"


async def test_a_socket_that_is_another_server_s_by_now_stays(start, tmp_path):
    server = await start(grpc_bind_address=f"unix:{tmp_path}/grpc", ws_bind_address=f"unix:{tmp_path}/ws")
    for name in ("grpc", "ws"):
        (tmp_path / name).unlink()
    async with servers() as start_other:
        await start_other(grpc_bind_address=f"unix:{tmp_path}/grpc", ws_bind_address=f"unix:{tmp_path}/ws")
        await server.stop(grace_seconds=1)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            for scheme in ("grpc", "ws"):
                async with await connect(f"{scheme}+unix:{tmp_path}/{scheme}") as client:
                    await client.announce("alice")
    assert unix_sockets(tmp_path) == []
