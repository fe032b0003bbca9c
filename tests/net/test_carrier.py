"""Real sockets: backpressure both ways, TLS, and clients that stop, die or never begin."""

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from collections import Counter

import pytest

from client_frames import announce, close_frame, frame
from event_loops import loops, on_loop
from listening import SYSTEM_ALLOWS, backlogs
from noting import Noting
from sigbridge import Code, ConnectionClosed, Hub, PeerJoined, PeerLeft, Settings, SignalingError
from sigbridge.counters import Counters
from sigbridge_client import connect
from sigbridge_net.carrier import (
    Carrier,
)
from sigbridge_net.clock import read_clock
from sigbridge_net.errors import ListenError
from sigbridge_net.listening import ACCEPTS_PER_TURN, DEFAULT_BACKLOG, system_backlog
from sigbridge_net.tls import server_tls
from sigbridge_server.log_gathering import Gathering
from sigbridge_websocket.wire import websocket_wires
from waiting import TIME_LIMIT_SECONDS, longer_and_longer, until
from websocket_lines import HANDSHAKE


async def next_event(client, kind):
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        async for event in client.events():
            if isinstance(event, kind):
                return event
    raise AssertionError("the session has ended")


async def offered_until_refused(client, to_peer_id: str) -> tuple[SignalingError, int]:
    """Send large offers to a peer that does not read: the refusal that ends this, and how many were taken."""
    for number in range(1000):
        try:
            await client.offer(to_peer_id, "x" * 50_000)
        except SignalingError as error:
            return error, number
    raise AssertionError("nothing was refused")


class Broken:
    """A wire that fails at everything."""

    due = 0.0
    finished = aborted = False
    successor = None

    def __init__(self, where: str):
        self.where = where

    def __getattr__(self, name):
        if name == self.where:
            raise RuntimeError("broken")
        return lambda *_: {"fast_output": None, "take_output": []}.get(name, True)


@pytest.mark.parametrize("where", ["receive", "fast_output", "take_output", "expire", "receive_eof", "reading"])
async def test_a_wire_that_fails_costs_its_own_connection(serving, read_rest, where, caplog):
    async with serving(ping_interval_seconds=0.2) as served:
        port = await served.carrier.listen("127.0.0.1:0", lambda *_: Broken(where))
        good = await served.connect()
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(sock, b"x")
        if where == "receive_eof":
            sock.shutdown(socket.SHUT_WR)
        assert await read_rest(sock) == b""
        sock.close()
        await until(lambda: served.carrier.connection_count == 1)
        assert "a wire failed" in caplog.text
        await good.announce("good")
        # The sweep goes on: it drops who does not shake hands.
        await good.close()
        assert served.ended("client_left") == 1


async def test_a_taken_port_is_a_clear_error(serving):
    async with serving() as served:
        carrier = Carrier(served.settings)
        with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1:{served.port}: .*in use"):
            await carrier.listen(f"127.0.0.1:{served.port}", websocket_wires(served.hub))
        await carrier.close(0)


@loops()
def test_as_many_connections_may_wait_as_the_system_allows(loop_factory):
    on_loop(loop_factory, _as_many_as_the_system_allows())


async def _as_many_as_the_system_allows() -> None:
    carrier = Carrier(Settings())
    port = await carrier.listen("localhost:0", lambda *_: Noting())
    found = backlogs(port)
    await carrier.close(0)
    assert found == {SYSTEM_ALLOWS}
    # An event loop closes what it listens to in one of its next turns.
    await until(lambda: not backlogs(port))


def test_what_cannot_be_read_of_the_system_has_a_default(tmp_path):
    assert system_backlog(tmp_path / "missing") == DEFAULT_BACKLOG
    for text, most in (("511\n", 511), ("", DEFAULT_BACKLOG), ("many", DEFAULT_BACKLOG)):
        (tmp_path / "somaxconn").write_text(text)
        assert system_backlog(tmp_path / "somaxconn") == most


@loops()
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_stop_in_the_moment_in_which_a_connection_is_made_ends_it(loop_factory, encrypted, certificate):
    on_loop(loop_factory, _made_while_it_stops(certificate if encrypted else None))


async def _made_while_it_stops(certificate) -> None:
    carrier, made, closing = Carrier(Settings()), [], []

    def factory(*_):
        # The event loop has a step to do still, and this comes before it.
        closing.append(asyncio.create_task(carrier.close(1000)))
        made.append(Noting())
        return made[-1]

    tls = None
    if certificate:
        cert, key = map(str, certificate)
        tls = server_tls(Settings(tls_cert_file=cert, tls_key_file=key)).context
    port = await carrier.listen("127.0.0.1:0", factory, tls=tls)
    trust = ssl.create_default_context(cafile=str(certificate[0])) if certificate else None
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        await asyncio.gather(*closing)
    assert made[0].ends[-1] == "lost"
    assert made[0].ends.count("lost") == 1
    assert carrier.connection_count == 0


@loops()
def test_many_that_wait_are_accepted_a_few_in_each_turn(loop_factory):
    on_loop(loop_factory, _a_few_in_each_turn())


async def _a_few_in_each_turn() -> None:
    carrier = Carrier(Settings())
    turn, begun_in = 0, []

    def factory(*_):
        begun_in.append(turn)
        return Noting()

    port = await carrier.listen("127.0.0.1:0", factory)
    # They wait in the kernel: the loop has no turn meanwhile.
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(8 * ACCEPTS_PER_TURN)]
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while len(begun_in) < len(clients):
            turn += 1
            await asyncio.sleep(0)
    for client in clients:
        client.close()
    await until(lambda: carrier.connection_count == 0)
    await carrier.close(0)
    assert max(Counter(begun_in).values()) <= ACCEPTS_PER_TURN


async def test_an_address_that_is_not_ours_is_a_clear_error():
    carrier = Carrier(Settings())
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:1"):
        await carrier.listen("192.0.2.1:1", websocket_wires(Hub(Settings(), read_clock())))
    await carrier.close(0)


async def test_who_stops_reading_is_refused_more_then_ended(serving, read_rest):
    for seconds in longer_and_longer(1.0):
        async with (
            serving(
                outbox_max_bytes=100_000,
                send_deadline_seconds=seconds,
                ping_interval_seconds=60,
                close_timeout_seconds=30,
            ) as served,
            await served.connect() as alice,
            await served.connect() as carol,
        ):
            await alice.announce("alice")
            await carol.announce("carol")
            stalled = await served.raw(HANDSHAKE + announce("bob"), receive_buffer=4096)
            assert (await next_event(alice, PeerJoined)).peer_id in ("bob", "carol")
            await until(lambda served=served: served.hub.peer_count == 3)
            refused, sent = await offered_until_refused(alice, "bob")
            still_there = (await alice.list_peers()).count
            await carol.offer("alice", "v=0")
            assert (await next_event(carol, PeerLeft)).peer_id == "bob"
            assert served.ended("slow_consumer") == 1
            with pytest.raises(SignalingError) as gone:
                await alice.offer("bob", "x")
            assert gone.value.code is Code.NOT_FOUND
            await until(lambda served=served: served.carrier.connection_count == 2)
            await read_rest(stalled)
            stalled.close()
        if still_there == 3:
            # It was not ended before it was refused more; and nobody else was affected.
            break
    assert refused.code is Code.UNAVAILABLE
    assert sent >= 2


async def test_who_reads_again_learns_why_it_was_ended(serving, read_rest):
    async with (
        serving(outbox_max_bytes=100_000, send_deadline_seconds=0.5) as served,
        await served.connect() as alice,
    ):
        await alice.announce("alice")
        stalled = await served.raw(HANDSHAKE + announce("bob"), receive_buffer=4096)
        await until(lambda: served.hub.peer_count == 2)
        await offered_until_refused(alice, "bob")
        await until(lambda: served.ended("slow_consumer"))
        assert (await read_rest(stalled)).endswith(close_frame(4000, "slow_consumer"))
        stalled.close()


async def test_who_does_not_read_its_replies_is_not_read_further(serving):
    async with serving(send_deadline_seconds=60, ping_interval_seconds=60) as served:
        sock = await served.raw(receive_buffer=4096)
        loop = asyncio.get_running_loop()
        # Each asks for little and is answered with much.
        batch = frame(b'{"jsonrpc":"2.0","method":"rpc.discover","id":1}') * 100
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while sent < 50_000_000:
                    await loop.sock_sendall(sock, batch)
                    sent += len(batch)
        (session,) = served.hub._sessions.values()
        assert session.outbox.queued_bytes < 1_000_000
        assert sent < 50_000_000
        async with await served.connect() as other:
            assert (await other.health()).status == "healthy"
        sock.close()
        await until(lambda: served.carrier.connection_count == 0)


async def test_an_end_of_input_without_a_close_frame(serving, read_rest):
    async with serving() as served, await served.connect() as alice:
        await alice.announce("alice")
        sock = await served.raw(HANDSHAKE + announce("bob"))
        await next_event(alice, PeerJoined)
        sock.shutdown(socket.SHUT_WR)
        assert b'"result"' in await read_rest(sock)
        sock.close()
        assert (await next_event(alice, PeerLeft)).peer_id == "bob"
        assert served.ended("connection_lost") == 1


async def test_a_handshake_that_never_ends(serving, read_rest):
    async with serving(handshake_timeout_seconds=0.3) as served:
        silent, slow = await served.raw(b""), await served.raw(HANDSHAKE[:40])
        for sock in (silent, slow):
            assert await read_rest(sock) == b""
            sock.close()
        assert served.hub.session_count == 0


async def test_http_errors_reach_clients_that_go_on_sending(serving, read_rest):
    # Longer than its client takes to send all of that.
    async with serving(close_timeout_seconds=1000) as served:
        body = b"x" * 5_000_000
        sock = await served.raw(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        answer = b""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            # It ends; a reset would be an exception, and elsewhere the loss of what was not read yet.
            while chunk := await asyncio.get_running_loop().sock_recv(sock, 65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 400 ")
        sock.close()


@loops()
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_connection_above_the_limit_is_closed_at_once(certificate, caplog, loop_factory, encrypted):
    on_loop(loop_factory, _one_too_many(certificate if encrypted else None))
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [(record.getMessage(), record.protocol, record.remote, record.reason) for record in warnings] == [
        ("client refused", "tcp", "127.0.0.1", "connections")
    ] * 5
    assert {record.detail for record in warnings} == {"too many connections: see SIGNALING_MAX_CONNECTIONS"}
    gathering = Gathering()
    assert [gathering.take(record, 1.0) for record in warnings] == [True, *[False] * 4], "one line at once"


async def _one_too_many(certificate) -> None:
    files = {"tls_cert_file": str(certificate[0]), "tls_key_file": str(certificate[1])} if certificate else {}
    settings = Settings(max_connections=3, **files)
    made = []
    counters = Counters()
    carrier = Carrier(settings, counters)

    def factory(*given):
        made.append(Noting())
        return made[-1]

    tls = server_tls(settings)
    port = await carrier.listen("127.0.0.1:0", factory, tls=tls.context if tls else None)
    context = ssl.create_default_context(cafile=str(certificate[0])) if certificate else None
    writers = []

    async def opened():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writers.append(writer)
        return reader

    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        for number in range(3):
            await opened()
            await until(lambda number=number: len(made) == number + 1)
        for number in range(5):
            # With TLS, the end may come before the client has finished its handshake.
            with contextlib.suppress(ConnectionError):
                assert await (await opened()).read() == b""
            await until(lambda number=number: counters.refusals["tcp", "connections"] == number + 1)
        assert (len(made), carrier.connection_count) == (3, 3)
        # Who leaves makes room.
        writers[0].close()
        await until(lambda: carrier.connection_count == 2)
        writers.append((await asyncio.open_connection("127.0.0.1", port, ssl=context))[1])
        await until(lambda: len(made) == 4)
        assert carrier.connection_count == 3
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await until(lambda: carrier.connection_count == 0)
        await carrier.close(1.0)


async def test_nobody_announces_in_time(serving):
    async with serving(announce_timeout_seconds=0.3) as served:
        client = await served.connect()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            assert [event async for event in client.events()] == []
        assert (client.closed.reason, client.closed.reconnect) == ("announce_timeout", True)
        await client.close()


CHILD = """
import asyncio, sys
from sigbridge_client import connect
async def main():
    client = await connect(sys.argv[1], resume=False)
    await client.announce("child")
    print("here", flush=True)
    async for event in client.events(): pass
asyncio.run(main())
"""


@pytest.fixture
async def child():
    """Start a client in a process of its own, None if it was ended first; it is killed at the end."""
    processes = []

    async def start(port: int):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD,
            f"ws://127.0.0.1:{port}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        processes.append(process)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            said = await process.stdout.readline()
        assert said in (b"here\n", b"")
        return process if said else None

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_client_that_is_stopped(serving, child):
    for seconds in longer_and_longer(0.5):
        async with (
            serving(ping_interval_seconds=0.6 * seconds, ping_timeout_seconds=seconds) as served,
            await served.connect() as alice,
        ):
            await alice.announce("alice")
            process = await child(served.port)
            if process is None:
                # As slow as one that is stopped.
                continue
            process.send_signal(signal.SIGSTOP)
            assert (await next_event(alice, PeerLeft)).peer_id == "child"
            assert served.ended("keepalive_timeout") == 1
            await until(lambda served=served: served.carrier.connection_count == 1)
        break


async def test_a_client_that_is_killed(serving, child):
    async with serving() as served, await served.connect() as alice:
        await alice.announce("alice")
        process = await child(served.port)
        process.send_signal(signal.SIGKILL)
        assert (await next_event(alice, PeerLeft)).peer_id == "child"
        assert served.ended("connection_lost") == 1
        await until(lambda: served.carrier.connection_count == 1)


async def test_draining_tells_everybody_and_takes_nobody_in(serving):
    async with serving() as served:
        clients = [await served.connect() for _ in range(5)]
        for number, client in enumerate(clients):
            await client.announce(str(number))
        served.hub.drain(read_clock())
        with pytest.raises(ConnectionClosed, match="draining"):
            await served.connect()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            # Longer than the test may take: nobody waits for it to pass.
            await served.carrier.close(1000)
        for client in clients:
            assert not [event async for event in client.events() if isinstance(event, PeerLeft)]
            assert (client.closed.reason, client.closed.reconnect) == ("draining", True)
            await client.close()
        assert served.ended("draining") == 5


async def test_a_stalled_client_does_not_hold_up_a_close(serving):
    async with (
        serving(close_timeout_seconds=60, ping_interval_seconds=60) as served,
        await served.connect() as alice,
    ):
        await alice.announce("alice")
        stalled = await served.raw(HANDSHAKE + announce("bob"), receive_buffer=4096)
        await until(lambda: served.hub.peer_count == 2)
        await offered_until_refused(alice, "bob")
        served.hub.drain(read_clock())
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await served.carrier.close(0.5)
        assert served.carrier.connection_count == 0
        stalled.close()


async def test_tls_carries_the_same(serving, certificate):
    cert, key = certificate
    tls = server_tls(Settings(tls_cert_file=str(cert), tls_key_file=str(key)))
    async with serving(tls=tls.context) as served:
        trusted = cert.read_bytes()
        async with (
            await served.connect(root_certificates=trusted) as alice,
            await served.connect(root_certificates=trusted) as bob,
        ):
            await alice.announce("alice")
            await bob.announce("bob")
            for _ in range(20):
                await alice.offer("bob", "x" * 100_000)
            served.hub.drain(read_clock())
            events = [event async for event in bob.events()]
            assert len(events) == 21
            assert bob.closed.reason == "draining"
        with pytest.raises(ConnectionClosed):
            await connect(f"ws://127.0.0.1:{served.port}/")
