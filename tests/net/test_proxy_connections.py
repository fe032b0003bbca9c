"""Connections behind the PROXY protocol on real sockets, on both event loops: with TLS or without, whole or in pieces."""

import asyncio
import contextlib
import fcntl
import logging
import socket
import ssl
import struct
import termios

import pytest

from certificates import Authority
from event_loops import loops, on_loop
from http2_bytes import PREFACE
from noting import Noting
from proxy_headers import binary, binary_of, line_of
from sigbridge import Settings
from sigbridge.addresses import AddressSet
from sigbridge.counters import PLAIN_ON_TLS, PROXY_HEADER, TLS_FAILED, TLS_ON_PLAIN, Counters
from sigbridge.settings import BindAddress
from sigbridge_net.carrier import Carrier
from sigbridge_net.first_bytes import plain_on_tls, tls_on_plain
from sigbridge_net.listening import bind
from sigbridge_net.proxy_protocol import BadProxyHeader, client_address
from sigbridge_net.tls import server_tls
from waiting import TIME_LIMIT_SECONDS, until

PROXY, CLIENT, CLIENT6 = "127.0.0.1", "203.0.113.9", "2001:db8::9"
HEADERS = {
    "a line": (line_of(CLIENT), CLIENT),
    "a line of IPv6": (line_of(CLIENT6), CLIENT6),
    "unknown": (b"PROXY UNKNOWN\r\n", PROXY),
    "binary": (binary_of(CLIENT), CLIENT),
    "binary of IPv6": (binary_of(CLIENT6), CLIENT6),
    "local": (binary(0x20, 0x00), PROXY),
}
headers = pytest.mark.parametrize(("header", "address"), HEADERS.values(), ids=HEADERS)
ENDLESS = 1000.0


class Port:
    """A carrier at one port, with TLS or without, behind proxies with these addresses."""

    def __init__(self, certificate=None, trusted=(PROXY,), path="", **settings):
        files = dict(zip(("tls_cert_file", "tls_key_file"), map(str, certificate or ()), strict=False))
        self.settings = Settings(**{"handshake_timeout_seconds": ENDLESS, **settings}, **files)
        self.counters = Counters()
        self.carrier = Carrier(self.settings, self.counters)
        self.trusted = AddressSet(trusted)
        self.address = BindAddress("", 0, path) if path else BindAddress("127.0.0.1")
        self.made = []
        """The address of each client that was let in, and its wire."""

    async def __aenter__(self):
        bound = await bind(self.address)
        tls = server_tls(self.settings)
        self.carrier.serve(
            bound,
            self._make,
            tls=None if tls is None else tls.context,
            plain=None if tls is None else plain_on_tls(self.counters, "grpc"),
            proxies=self.trusted,
        )
        self.port = bound.port
        return self

    def _make(self, client, *_):
        self.made.append((client.address, Noting()))
        return self.made[-1][1]

    async def __aexit__(self, *_):
        await self.carrier.close(0)

    def connect(self, said: bytes = b"") -> socket.socket:
        if self.address.path:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.address.path)
        else:
            sock = socket.create_connection((self.address.host, self.port), timeout=TIME_LIMIT_SECONDS)
        sock.sendall(said)
        return sock

    async def heard(self, data: bytes) -> str:
        """Waits until one client has said this; returns its address."""
        await until(lambda: self.made and self.made[0][1].received == data)
        assert len(self.made) == 1
        return self.made[0][0]

    async def all_gone(self) -> None:
        await until(lambda: self.carrier.connection_count == 0)


async def rest_of(sock: socket.socket) -> bytes:
    """All that comes until the other side ends the stream, or resets it."""
    sock.setblocking(False)
    said = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while part := await asyncio.get_running_loop().sock_recv(sock, 4096):
                said += part
    return said


def lines(caplog):
    return [
        (record.levelname, record.protocol, record.reason, record.remote)
        for record in caplog.records
        if record.name == "sigbridge.door"
    ]


# Pieces.


def unread(sock: socket.socket) -> int:
    """The bytes that have come and were not taken."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]


@loops()
@headers
@pytest.mark.parametrize("behind", [b"", b"\x16\x03\x01", b"\r\n"])
def test_a_header_that_comes_in_two_pieces_or_byte_by_byte(loop_factory, header, address, behind):
    on_loop(loop_factory, _in_pieces(header, address, behind))


async def _in_pieces(header, address, behind):
    trusted = AddressSet([PROXY])
    cuts = [[at] for at in range(1, len(header))] + [list(range(1, len(header)))]
    for cut in cuts:
        server, client = socket.socketpair()
        with server, client:
            taking = asyncio.ensure_future(client_address(server, PROXY, trusted))
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                for start, end in zip([0, *cut], cut, strict=False):
                    client.sendall(header[start:end])
                    # All that is in it is taken, which wakes nobody without end.
                    await until(lambda server=server: unread(server) == 0)
                assert not taking.done()
                client.sendall(header[cut[-1] :] + behind)
                assert await taking == address
            assert unread(server) == len(behind)
            if behind:
                assert server.recv(100) == behind


@loops()
def test_who_waits_for_a_header_wakes_for_bytes_alone(loop_factory):
    on_loop(loop_factory, _wakes_for_bytes_alone())


async def _wakes_for_bytes_alone():
    peeks = []

    class Watched(socket.socket):
        def recv(self, size, flags=0):
            peeks.append(flags)
            return super().recv(size, flags)

    one, client = socket.socketpair()
    with Watched(fileno=one.detach()) as server, client:
        taking = asyncio.ensure_future(client_address(server, PROXY, AddressSet([PROXY])))
        client.sendall(b"PROXY UNK")
        await until(lambda: peeks.count(0) == 1)
        before = len(peeks)
        for _ in range(100):
            await asyncio.sleep(0)
        # At most the peek that finds nothing more.
        assert len(peeks) <= before + 1
        client.sendall(b"NOWN\r\n")
        assert await taking == PROXY


@loops()
@pytest.mark.parametrize("header", [line_of(CLIENT), binary_of(CLIENT)])
def test_a_connection_that_ends_within_its_header(loop_factory, header):
    on_loop(loop_factory, _ends_within(header))


async def _ends_within(header):
    for size in range(len(header)):
        server, client = socket.socketpair()
        with server:
            with client:
                client.sendall(header[:size])
            # Nothing at all is what a balancer's probe says: that is no mistake of a proxy's.
            with pytest.raises(BadProxyHeader if size else ConnectionAbortedError):
                await client_address(server, PROXY, AddressSet([PROXY]))


# On a carrier.


@loops()
@headers
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_connection_without_tls(caplog, loop_factory, header, address, later):
    on_loop(loop_factory, _without_tls(header, address, later))
    assert lines(caplog) == []


async def _without_tls(header, address, later):
    async with Port() as port:
        with port.connect(header if later else header + b"hello") as sock:
            if later:
                await until(lambda: port.made)
                sock.sendall(b"hello")
            assert await port.heard(b"hello") == address
        await port.all_gone()


@loops()
@headers
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_connection_with_tls(certificate, caplog, loop_factory, header, address, later):
    on_loop(loop_factory, _with_tls(certificate, header, address, later))
    assert lines(caplog) == []


async def _with_tls(certificate, header, address, later):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    # The client's first words, to be sent together with the header.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    loop = asyncio.get_running_loop()

    async def shake_hands(step, sock):
        while True:
            try:
                step()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, outgoing.read())
                incoming.write(await loop.sock_recv(sock, 65536))
        await loop.sock_sendall(sock, outgoing.read())

    async with Port(certificate) as port, asyncio.timeout(TIME_LIMIT_SECONDS):
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        first = outgoing.read()
        with port.connect(header if later else header + first) as sock:
            if later:
                await until(lambda: [one.address for one in port.carrier.connections.accepted] == [address])
                sock.sendall(first)
            sock.setblocking(False)
            await shake_hands(tls.do_handshake, sock)
            await shake_hands(lambda: tls.write(b"hello"), sock)
            assert await port.heard(b"hello") == address
        await port.all_gone()


@loops()
def test_a_unix_socket_is_a_proxy_s_where_that_is_said(tmp_path, loop_factory):
    on_loop(loop_factory, _unix(str(tmp_path / "s")))


async def _unix(path):
    for trusted, said, address in (
        (("unix",), line_of(CLIENT) + b"hello", CLIENT),
        (("unix",), b"PROXY UNKNOWN\r\nhello", ""),
        ((PROXY,), b"hello", ""),
    ):
        async with Port(trusted=trusted, path=path) as port:
            with port.connect(said):
                assert await port.heard(b"hello") == address
            await port.all_gone()


@loops()
@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREFACE,
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY UNKNOWN " + bytes(200),
        binary(0x21, 0x11, bytes(5000)),
        binary(0x25, 0x11),
    ],
)
def test_a_trusted_proxy_without_a_good_header_is_closed_and_told_of(certificate, caplog, loop_factory, with_tls, said):
    on_loop(loop_factory, _closed(certificate if with_tls else None, said))
    assert lines(caplog) == [("WARNING", "tcp", "proxy_header", PROXY)]
    (record,) = (record for record in caplog.records if record.name == "sigbridge.door")
    assert "PROXY protocol" in record.detail or "version" in record.detail


async def _closed(certificate, said, trusted=(PROXY,)):
    async with Port(certificate, trusted) as port:
        with port.connect(said) as sock:
            assert await rest_of(sock) == b""
            await port.all_gone()
        assert (port.made, port.counters.refusals[PROXY_HEADER]) == ([], 1)


@loops()
@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("said", [line_of(CLIENT) + PREFACE, binary_of(CLIENT) + b"\x16\x03\x01", b"\r"])
def test_others_who_send_a_header_are_closed_and_told_of(certificate, caplog, loop_factory, with_tls, said):
    on_loop(loop_factory, _closed(certificate if with_tls else None, said, trusted=("192.0.2.1",)))
    assert lines(caplog) == [("WARNING", "tcp", "proxy_header", PROXY)]


@loops()
def test_others_come_in_without_one(certificate, caplog, loop_factory):
    on_loop(loop_factory, _others(certificate))
    assert lines(caplog) == []


async def _others(certificate):
    async with Port(trusted=("192.0.2.1",)) as port:
        with port.connect(b"hello"):
            assert await port.heard(b"hello") == PROXY
    context = ssl.create_default_context(cafile=str(certificate[0]))
    async with Port(certificate, trusted=("192.0.2.1",)) as port, asyncio.timeout(TIME_LIMIT_SECONDS):
        _, writer = await asyncio.open_connection("127.0.0.1", port.port, ssl=context)
        writer.write(b"hello")
        assert await port.heard(b"hello") == PROXY
        writer.transport.abort()
        await port.all_gone()


@loops()
def test_failures_and_first_bytes_of_the_wrong_kind_are_the_client_s(tmp_path, caplog, loop_factory):
    caplog.set_level(logging.INFO, logger="sigbridge.door")
    on_loop(loop_factory, _wrong_kinds(tmp_path))
    assert [(reason, remote) for _, _, reason, remote in lines(caplog)] == [
        ("plain_on_tls", CLIENT),
        ("tls", CLIENT),
        ("tls_on_plain", CLIENT),
    ]


async def _wrong_kinds(folder):
    authority = Authority(folder, "authority")
    async with Port(authority.issue("localhost"), tls_client_ca_file=authority.file) as port:
        with port.connect(line_of(CLIENT) + b"GET / HTTP/1.1\r\n\r\n") as sock:
            assert (await rest_of(sock)).startswith(b"HTTP/1.1 400 ")
        assert port.counters.refusals[PLAIN_ON_TLS] == 1
        with port.connect(line_of(CLIENT) + b"\x16\x03\x01\0\x05wrong") as sock:
            await rest_of(sock)
        await until(lambda: port.counters.refusals[TLS_FAILED] == 1)
        await port.all_gone()
    port = Port()
    port._make = tls_on_plain(port.counters, "grpc")
    async with port:
        with port.connect(line_of(CLIENT) + b"\x16\x03\x01") as sock:
            assert (await rest_of(sock)).startswith(b"HTTP/1.1 400 ")
        assert port.counters.refusals[TLS_ON_PLAIN] == 1


@loops()
@pytest.mark.parametrize("said", [b"", b"P", b"\r\n\r\n\0\r\nQUIT\n", binary_of(CLIENT)[:-1]])
def test_a_header_has_the_time_of_a_handshake(caplog, loop_factory, said):
    on_loop(loop_factory, _in_time(said, PROXY))
    on_loop(loop_factory, _in_time(b"", "192.0.2.1"))
    assert lines(caplog) == []


async def _in_time(said, trusted):
    async with Port(trusted=(trusted,), handshake_timeout_seconds=0.1) as port:
        with port.connect(said) as sock:
            assert await rest_of(sock) == b""
            await port.all_gone()
        assert port.made == []


@loops()
def test_a_probe_that_connects_and_leaves_is_nobody_s_mistake(caplog, loop_factory):
    on_loop(loop_factory, _probe())
    assert lines(caplog) == []


async def _probe():
    async with Port() as port:
        for _ in range(3):
            port.connect().close()
        await until(lambda: len(port.carrier.connections.accepted) == 0)
        assert (port.made, port.counters.refusals[PROXY_HEADER]) == ([], 0)


@loops()
def test_a_shutdown_waits_for_no_header(loop_factory):
    on_loop(loop_factory, _shutdown())


async def _shutdown():
    async with Port() as port:
        with port.connect(b"PROXY ") as sock:
            await until(lambda: port.carrier.connection_count == 1)
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await port.carrier.close(ENDLESS)
            assert await rest_of(sock) == b""
