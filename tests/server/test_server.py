"""The server as a whole: both protocols on one hub, nothing half-started, and an end within its grace."""

import asyncio
import socket

import pytest

from certificates import Authority
from free_ports import free_port
from listening import SYSTEM_ALLOWS, backlogs
from rights import FORBIDDEN, OnlyLobby
from served import ANY_PORT, servers
from sigbridge import Code, ConnectionClosed, OfferReceived, SettingError, Settings, SignalingError
from sigbridge.hub import Phase
from sigbridge_client import connect
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.errors import ListenError
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS
from websocket_lines import HANDSHAKE


@pytest.fixture
async def start():
    async with servers() as start_server:
        yield start_server


@pytest.fixture
def taken():
    """A port of loopback that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_as_many_connections_may_wait_at_each_address_as_the_system_allows(start, engine):
    server = await start(grpc_engine=engine, http_bind_address="127.0.0.1:0")
    for port in (server.grpc_port, server.websocket_port, server.http_port):
        assert backlogs(port) == {SYSTEM_ALLOWS}


async def test_both_protocols_meet_on_one_hub(start):
    server = await start()
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}", resume=False) as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False) as bob,
    ):
        await alice.announce("alice")
        assert (await bob.announce("bob")).other_peers == ("alice",)
        await alice.offer("bob", "v=0")
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            async for event in bob.events():
                if isinstance(event, OfferReceived):
                    assert (event.from_peer_id, event.sdp) == ("alice", "v=0")
                    break
        assert (await bob.health()).metrics["sessions"] == {"grpc": 1, "websocket": 1}


@pytest.mark.parametrize("which", ["grpc", "ws"])
async def test_a_taken_port_leaves_nothing_half_started(taken, which):
    other = free_port()
    addresses = {"grpc_bind_address": f"127.0.0.1:{other}", "ws_bind_address": f"127.0.0.1:{other}"}
    server = Server(Settings(**ANY_PORT | addresses | {f"{which}_bind_address": f"127.0.0.1:{taken}"}))
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{taken}: .*in use"):
        await server.start()
    assert is_free(other)


async def test_two_servers_cannot_share_a_grpc_port(start):
    server = await start()
    with pytest.raises(ListenError):
        await start(grpc_bind_address=f"127.0.0.1:{server.grpc_port}")


async def test_a_certificate_that_is_none_leaves_nothing_half_started(tmp_path):
    (tmp_path / "bad.pem").write_text("nonsense")
    grpc_port, ws_port = free_port(), free_port()
    addresses = {"grpc_bind_address": f"127.0.0.1:{grpc_port}", "ws_bind_address": f"127.0.0.1:{ws_port}"}
    for name in ("bad.pem", "missing.pem"):
        path = str(tmp_path / name)
        with pytest.raises(SettingError, match=name):
            await Server(Settings(**ANY_PORT | addresses, tls_cert_file=path, tls_key_file=path)).start()
        assert is_free(grpc_port)
        assert is_free(ws_port)


async def test_rights_to_rooms_are_the_same_on_both_protocols(start):
    server = await start(authenticator=OnlyLobby())
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}", resume=False) as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False) as bob,
    ):
        await alice.announce("alice", room="lobby")
        for room in ("secret", "", None):
            with pytest.raises(SignalingError) as refused:
                await bob.list_peers(room=room)
            assert (refused.value.code, refused.value.message) == (Code.PERMISSION_DENIED, FORBIDDEN)
        assert [peer.peer_id for peer in (await bob.list_peers(room="lobby")).peers] == ["alice"]
        with pytest.raises(SignalingError) as refused:
            await bob.announce("bob", room="secret")
        assert (refused.value.code, refused.value.message) == (Code.PERMISSION_DENIED, FORBIDDEN)
        await bob.announce("bob", room="lobby")
        assert (await bob.list_peers()).count == 2


@pytest.mark.parametrize(("room", "trailers"), [("lobby", {"grpc-status": "0"}), ("secret", {"grpc-status": "7"})])
async def test_rights_to_rooms_are_the_same_on_grpc_web(start, room, trailers):
    server = await start(authenticator=OnlyLobby())
    body = framed(pb.GetPeersRequest(room=room).SerializeToString())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.websocket_port)
    writer.write(
        b"POST /%b/GetPeers HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc-web+proto\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (SERVICE_NAME.encode(), len(body), body)
    )
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 ")
    for name, value in trailers.items():
        assert f"{name}: {value}\r\n".encode() in answer
    assert (FORBIDDEN.encode() in answer) is (room == "secret")


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_a_server_that_leaves_takes_nobody_in_and_serves_who_is_here(start, engine):
    server = await start(grpc_engine=engine, http_bind_address="127.0.0.1:0")

    async def ready():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.split(b" ")[1]

    async with (
        asyncio.timeout(TIME_LIMIT_SECONDS),
        await connect(f"grpc://127.0.0.1:{server.grpc_port}", resume=False) as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False) as bob,
    ):
        await alice.announce("alice")
        await bob.announce("bob")
        assert await ready() == b"200"
        await server.leave()
        await server.leave()
        assert server.hub.phase is Phase.LEAVING
        assert await ready() == b"503"
        for url in (f"grpc://127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}"):
            with pytest.raises((ConnectionClosed, SignalingError)):
                async with await connect(url, resume=False) as newcomer:
                    await newcomer.announce("newcomer")
        assert (await bob.health()).status == "unhealthy"
        offered = await alice.offer("bob", "v=0")
        async for event in bob.events():
            if isinstance(event, OfferReceived):
                assert event.offer_id == offered.offer_id
                break
        assert [peer.peer_id for peer in (await bob.list_peers()).peers] == ["alice", "bob"]
        await server.stop(grace_seconds=5)
        assert server.hub.phase is Phase.DRAINING
        for client in (alice, bob):
            _ = [event async for event in client.events()]
            assert client.closed.reason == "draining"


async def test_a_stop_tells_everybody_and_gives_the_ports_back(start):
    # Longer than the test may take: nobody waits for it to pass.
    server = await start(shutdown_grace_seconds=1000)
    clients = [
        await connect(f"grpc://127.0.0.1:{server.grpc_port}", resume=False),
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False),
    ]
    for number, client in enumerate(clients):
        await client.announce(str(number))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await server.stop()
    for client in clients:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            assert len([event async for event in client.events()]) == 1
        assert (client.closed.reason, client.closed.reconnect) == ("draining", True)
        await client.close()
    assert server.hub.session_count == 0
    assert is_free(server.grpc_port)
    assert is_free(server.websocket_port)
    with pytest.raises(ConnectionClosed):
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False)


async def test_a_server_that_was_not_started_may_be_stopped():
    await Server(Settings(**ANY_PORT)).stop()


async def test_a_client_is_told_that_its_message_did_not_become_whole(start):
    server = await start(message_timeout_seconds=0.2)

    async def pieces():
        yield "{"
        await asyncio.Event().wait()

    async with (
        await connect(f"ws://127.0.0.1:{server.websocket_port}", resume=False) as client,
        asyncio.timeout(TIME_LIMIT_SECONDS),
    ):
        sending = asyncio.create_task(client._connection.send(pieces()))
        assert [event async for event in client.events()] == []
        with pytest.raises(ConnectionClosed) as closed:
            await client.announce("alice")
        assert (closed.value.reason, closed.value.reconnect) == ("message_timeout", True)
        sending.cancel()


async def test_unfinished_messages_have_one_bound_on_all_ways_in(start):
    server = await start(message_timeout_seconds=0.2, max_unfinished_bytes=200_000)
    body = (
        b"POST /%b/GetPeers HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc-web+proto\r\n"
        b"Content-Length: 100000\r\n\r\n" % SERVICE_NAME.encode()
    )
    web_reader, web = await asyncio.open_connection("127.0.0.1", server.grpc_port)
    web.write(body + bytes(90_000))
    # A frame of 300,000 bytes, as far as it comes.
    reader, writer = await asyncio.open_connection("127.0.0.1", server.websocket_port)
    writer.write(HANDSHAKE + b"\x81\xff" + (300_000).to_bytes(8, "big") + bytes(4) + bytes(200_000))
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        assert (await reader.read()).endswith(b"\x88\x0a\x03\xf5overload")
        # The smaller one goes on.
        web.write(bytes(10_000))
        assert (await web_reader.readline()).startswith(b"HTTP/1.1 200")
    for one in (web, writer):
        one.close()
        await one.wait_closed()


OPEN = "anybody who reaches this address may signal"
EVERYWHERE = {"grpc_bind_address": "0.0.0.0:0", "ws_bind_address": "[::]:0"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        (EVERYWHERE, [("grpc", "grpc and websocket"), ("ws", "grpc and websocket")]),
        (EVERYWHERE | {"auth_tokens": ("t",)}, []),
        (
            EVERYWHERE | {"auth_tokens": ("t",), "ws_require_auth": False},
            [("grpc", "websocket"), ("ws", "websocket")],
        ),
        (
            {"ws_bind_address": "0.0.0.0:0", "auth_tokens": ("t",), "grpc_require_auth": False},
            [("ws", "grpc and websocket")],
        ),
        # What these may do was thought of.
        (EVERYWHERE | {"anonymous_rights": ("list",)}, []),
        (EVERYWHERE | {"anonymous_peer_ids": ("kiosk-*",)}, []),
        (EVERYWHERE | {"anonymous_rooms": ("lobby",)}, []),
        (
            EVERYWHERE | {"grpc_engine": "grpcio", "auth_tokens": ("t",), "ws_require_auth": False},
            [("ws", "websocket")],
        ),
    ],
)
async def test_open_doors_are_told_of_at_each_start(start, caplog, settings, told):
    """Nothing but this test's own loopback ever could connect, and does not."""
    server = await start(**settings)
    records = [record for record in caplog.records if record.getMessage().startswith(OPEN)]
    assert [(record.address, record.protocol) for record in records] == [
        # By the port that the system has chosen.
        (server.addresses[name][0], protocol)
        for name, protocol in told
    ]


async def test_who_needs_a_certificate_finds_no_open_door(start, caplog, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    await start(**EVERYWHERE, tls_cert_file=certificate, tls_key_file=key, tls_client_ca_file=authority.file)
    assert OPEN not in caplog.text
    await start(**EVERYWHERE, tls_cert_file=certificate, tls_key_file=key)
    assert caplog.text.count(OPEN) == 2
