"""Listening: descriptors that are short, on both event loops, and what a carrier makes of that."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from event_loops import loops, on_loop
from noting import Noting
from sigbridge import Settings
from sigbridge.counters import Counters
from sigbridge.settings import BindAddress
from sigbridge_net import listening
from sigbridge_net.carrier import Carrier, ConnectionLimits
from sigbridge_net.listening import CLOSED, LISTENING, PAUSED, Listener, bind
from sigbridge_net.tls import server_tls
from waiting import TIME_LIMIT_SECONDS, until

REFUSED = ("tcp", "connections")
SHORT = ("tcp", "descriptors")


def highest_descriptor() -> int:
    return max(int(opened.name) for opened in Path("/proc/self/fd").iterdir())


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Leaves this process no descriptor that is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest_descriptor() + 1, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def unconnected(count: int) -> list[socket.socket]:
    """Sockets that have their descriptors already."""
    found = []
    for _ in range(count):
        found.append(socket.socket())
        found[-1].settimeout(TIME_LIMIT_SECONDS)
    return found


async def rest_of(sock: socket.socket) -> bytes:
    """All that comes until the other side ends the stream or drops it."""
    sock.setblocking(False)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        try:
            return await asyncio.get_running_loop().sock_recv(sock, 100)
        except ConnectionError:
            return b""


@loops()
def test_who_finds_no_descriptor_is_turned_away_and_counted(loop_factory, caplog):
    on_loop(loop_factory, _turned_away())
    warnings = [record for record in caplog.records if record.name == "sigbridge.net"]
    assert [record.levelname for record in warnings] == ["WARNING"], "one line, however many are refused"
    assert "no connection can be accepted: Too many open files" in caplog.text


async def _turned_away() -> None:
    made, counters = [], Counters()
    carrier = Carrier(Settings(), counters)

    def factory(*_):
        made.append(Noting())
        return made[-1]

    port = await carrier.listen("127.0.0.1:0", factory)
    clients = unconnected(40)
    with no_descriptors():
        for client in clients:
            client.connect(("127.0.0.1", port))
        for client in clients:
            assert await rest_of(client) == b""
    # The last are counted in the turn in which they learn it.
    await until(lambda: counters.refusals[SHORT] == len(clients))
    assert (made, carrier.connection_count) == ([], 0)
    # With free descriptors it goes on.
    with socket.create_connection(("127.0.0.1", port)):
        await until(lambda: len(made) == 1)
    await carrier.close(0)
    for client in clients:
        client.close()


@loops()
def test_without_a_spare_descriptor_those_who_wait_are_accepted_later(loop_factory, monkeypatch):
    monkeypatch.setattr(listening, "PAUSE_SECONDS", 0.05)
    on_loop(loop_factory, _accepted_later())


async def _accepted_later() -> None:
    taken, short = [], []
    bound = await bind(BindAddress("127.0.0.1"))
    listener = Listener(
        bound, lambda sock, _: taken.append(sock), lambda error, count: short.append((error.errno, count))
    )
    os.close(listener._spare)
    listener._spare = None
    (client,) = unconnected(1)
    with no_descriptors():
        client.connect(("127.0.0.1", bound.port))
        # Between two attempts it does not look, though somebody waits.
        await until(lambda: len(short) == 3)
        assert listener._state == PAUSED
        assert taken == []
    await until(lambda: len(taken) == 1)
    assert listener._state == LISTENING
    assert listener._spare is not None
    assert {count for _, count in short} == {0}
    listener.close()
    client.close()
    taken[0].close()


async def test_a_pause_ends_with_the_listener():
    bound = await bind(BindAddress("127.0.0.1"))
    (sock,) = bound.sockets
    listener = Listener(bound, lambda *_: None, lambda *_: None)
    listener._pause()
    listener.close()
    assert listener._resume_handle.cancelled()
    # Nor does it begin again where its timer was on its way.
    listener._resume()
    assert (listener._state, sock.fileno(), listener._spare) == (CLOSED, -1, None)


@loops()
def test_handshakes_of_tls_that_never_come_count_too(certificate, loop_factory):
    """Whoever connects and says nothing has a descriptor, though nothing else is made for it yet."""
    on_loop(loop_factory, _silent_before_tls(certificate))


async def _silent_before_tls(certificate) -> None:
    settings = Settings(max_connections=3, tls_cert_file=str(certificate[0]), tls_key_file=str(certificate[1]))
    counters = Counters()
    carrier = Carrier(settings, counters)
    port = await carrier.listen("127.0.0.1:0", lambda *_: Noting(), tls=server_tls(settings).context)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    await until(lambda: carrier.connection_count == 3)
    with socket.create_connection(("127.0.0.1", port)) as late:
        assert await rest_of(late) == b""
    assert counters.refusals[REFUSED] == 1
    # Whoever goes in the middle of that makes room, and a stop waits for nobody's handshake.
    silent[0].close()
    await until(lambda: carrier.connection_count == 2)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await carrier.close(1000)
    assert carrier.connection_count == 0
    for sock in silent:
        sock.close()


async def test_the_last_descriptors_are_for_others(caplog):
    """The system gives the lowest that is free: who gets a high one has come when all others were in use."""
    counters = Counters()
    carrier = Carrier(Settings(), counters, limits=ConnectionLimits(1000, descriptors=3))
    port = await carrier.listen("127.0.0.1:0", lambda *_: Noting())
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert await rest_of(client) == b""
    assert (counters.refusals[SHORT], counters.refusals[REFUSED]) == (1, 0)
    assert "file descriptors are short" in caplog.text
    carrier.limits = ConnectionLimits(1000, descriptors=highest_descriptor() + 10)
    with socket.create_connection(("127.0.0.1", port)):
        await until(lambda: carrier.connection_count == 1)
    await until(lambda: carrier.connection_count == 0)
    await carrier.close(0)


async def test_the_idlest_gives_way_where_there_is_always_room():
    wires, counters = [], Counters()

    def factory(*_):
        wires.append(Noting())
        wires[-1].due = 1e9 + len(wires)
        return wires[-1]

    carrier = Carrier(Settings(), counters, limits=ConnectionLimits(3, idlest_gives_way=True))
    port = await carrier.listen("127.0.0.1:0", factory)
    clients = []
    for number in range(3):
        clients.append(socket.create_connection(("127.0.0.1", port)))
        await until(lambda number=number: len(wires) == number + 1)
    # The first has done something since.
    wires[0].due = 2e9
    clients.append(socket.create_connection(("127.0.0.1", port)))
    assert await rest_of(clients[1]) == b""
    await until(lambda: len(wires) == 4)
    assert (carrier.connection_count, counters.refusals[REFUSED]) == (3, 1)
    assert {type(connection.wire) for connection in carrier._connections} == {Noting}
    for client in clients:
        client.close()
    await until(lambda: carrier.connection_count == 0)
    await carrier.close(0)
