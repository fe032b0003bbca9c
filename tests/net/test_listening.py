"""Listening: descriptors that are short, on both event loops, and what a carrier makes of that."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_loops import loops, on_loop
from noting import Noting
from sigbridge import Settings
from sigbridge.counters import Counters
from sigbridge.settings import BindAddress
from sigbridge_net import listening
from sigbridge_net.carrier import Carrier, ConnectionLimits
from sigbridge_net.errors import ListenError
from sigbridge_net.listening import CLOSED, LISTENING, PAUSED, Listener, adopt, bind
from sigbridge_net.tls import server_tls
from sigbridge_server.log_gathering import Gathering
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
    refused = [record for record in caplog.records if record.getMessage() == "client refused"]
    assert {(line.levelname, line.protocol, line.remote, line.reason, line.detail) for line in refused} == {
        ("WARNING", "tcp", "127.0.0.1", "descriptors", "no connection can be accepted: Too many open files")
    }
    assert len(refused) == 40
    gathering = Gathering()
    assert sum(gathering.take(record, 1.0) for record in refused) == 1, "one line at once, however many are refused"


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
        bound, lambda sock, _: taken.append(sock), lambda error, away: short.append((error.errno, away))
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
    assert [turned_away for _, turned_away in short] == [[]] * len(short)
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
    (line,) = (record for record in caplog.records if record.getMessage() == "client refused")
    assert (line.reason, line.remote, line.detail) == (
        "descriptors",
        "127.0.0.1",
        "file descriptors are short: see RLIMIT_NOFILE",
    )
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
    assert {type(connection.wire) for connection in carrier.connections.accepted} == {Noting}
    for client in clients:
        client.close()
    await until(lambda: carrier.connection_count == 0)
    await carrier.close(0)


# Addresses.


def families(bound) -> list[socket.AddressFamily]:
    return [sock.family for sock in bound.sockets]


async def test_a_name_has_one_port_at_all_of_its_addresses(monkeypatch):
    names = [
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET, ("127.0.0.2", 0)),
        (socket.AF_INET6, ("::1", 0, 0, 0)),
    ]

    async def resolve(_):
        return names

    monkeypatch.setattr(listening, "_resolve", resolve)
    bound = await bind(BindAddress("somewhere"))
    assert {sock.getsockname()[1] for sock in bound.sockets} == {bound.port}
    assert (bound.text, len(bound.sockets)) == (f"somewhere:{bound.port}", 3)
    bound.close()


async def test_a_port_that_is_not_free_at_all_addresses_of_a_name_is_given_back(monkeypatch):
    names = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.1", 0))]

    async def resolve(_):
        return names

    monkeypatch.setattr(listening, "_resolve", resolve)
    # Nobody may bind to what another listens at, but to what is bound; so the second is refused when both listen.
    with pytest.raises(ListenError, match="cannot listen on somewhere:0: Address already in use"):
        await bind(BindAddress("somewhere"))


@pytest.mark.parametrize("ipv6_alone", [False, True])
async def test_without_ipv6_both_families_are_ipv4(monkeypatch, ipv6_alone):
    """A kernel that was started with `ipv6.disable=1` refuses such sockets."""
    taken = free_loopback_port()

    class WithoutIpv6(socket.socket):
        def __init__(self, family=-1, *arguments, **options):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **options)

        def bind(self, name):
            # Nobody else is to reach it.
            assert name == ("0.0.0.0", taken)
            super().bind(("127.0.0.1", taken))

    monkeypatch.setattr(listening.socket, "socket", WithoutIpv6)
    if ipv6_alone:
        with pytest.raises(ListenError, match=r"cannot listen on \[::\]:\d+: there is no such address"):
            await bind(BindAddress("::", taken), ipv6_alone=True)
        return
    bound = await bind(BindAddress("::", taken))
    assert (families(bound), bound.text) == ([socket.AF_INET], f"127.0.0.1:{taken}")
    bound.close()


def free_loopback_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def test_an_address_in_use_by_so_many_who_wait_is_no_stale_socket(tmp_path):
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as theirs, contextlib.ExitStack() as waiting:
        theirs.bind(path)
        theirs.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        with pytest.raises(OSError, match="Address already in use"):
            listening.make_way(path)
    assert (tmp_path / "busy").is_socket()


def test_a_socket_that_was_handed_over_is_served_and_its_file_is_not_ours(tmp_path):
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(tmp_path / "theirs"))
        with pytest.raises(ListenError, match="is not a listening socket"):
            adopt(theirs)
        theirs.listen()
        bound = adopt(theirs)
        assert (bound.text, bound.port) == (f"unix:{tmp_path}/theirs", 0)
        bound.close()
    assert (tmp_path / "theirs").is_socket()
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        bound = adopt(tcp)
        assert (bound.text, bound.port) == (f"127.0.0.1:{tcp.getsockname()[1]}", tcp.getsockname()[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(ListenError):
        adopt(datagrams)


async def test_a_carrier_listens_on_all_addresses_of_a_list_or_on_none(tmp_path):
    carrier = Carrier(Settings())
    made = []

    def factory(*_):
        made.append(Noting())
        return made[-1]

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError, match="Address already in use"),
    ):
        await carrier.listen(f"unix:{tmp_path}/first,127.0.0.1:{taken.getsockname()[1]}", factory)
    assert list(tmp_path.iterdir()) == []
    port = await carrier.listen(f"127.0.0.1:0,unix:{tmp_path}/second", factory)
    with socket.create_connection(("127.0.0.1", port)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "second"))
        await until(lambda: len(made) == 2)
    await until(lambda: carrier.connection_count == 0)
    await carrier.close(0)
    assert list(tmp_path.iterdir()) == []
