"""First bytes of the wrong kind, on both event loops: TLS at a port without it, HTTP without TLS at a port with it."""

import asyncio
import contextlib
import logging
import socket
import ssl

import pytest

from certificates import Authority
from event_loops import loops, on_loop
from http2_bytes import PREFACE
from noting import Noting
from sigbridge import Settings
from sigbridge.counters import PLAIN_ON_TLS, TLS_FAILED, TLS_ON_PLAIN, Counters
from sigbridge.settings import BindAddress
from sigbridge_net.carrier import Carrier
from sigbridge_net.first_bytes import plain_on_tls, tls_on_plain
from sigbridge_net.listening import bind
from sigbridge_net.tls import server_tls
from sigbridge_net.wire import Client
from waiting import TIME_LIMIT_SECONDS, until

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ENDLESS = 1000.0


async def rest_of(sock: socket.socket) -> bytes:
    """All that comes until the other side ends the stream; it must not be reset."""
    sock.setblocking(False)
    said = b""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while part := await asyncio.get_running_loop().sock_recv(sock, 4096):
            said += part
    return said


class Port:
    """A carrier at one port, with TLS or without, whose time limits play no part."""

    def __init__(self, certificate=None, **settings):
        files = dict(zip(("tls_cert_file", "tls_key_file"), map(str, certificate or ()), strict=False))
        self.settings = Settings(**{"handshake_timeout_seconds": ENDLESS, **settings}, **files)
        self.counters = Counters()
        self.carrier = Carrier(self.settings, self.counters)
        self.made = []

    async def __aenter__(self):
        bound = await bind(BindAddress("127.0.0.1"))
        tls = server_tls(self.settings)
        if tls is None:
            self.carrier.serve(bound, tls_on_plain(self.counters, "grpc"))
        else:
            plain = plain_on_tls(self.counters, "grpc")
            self.carrier.serve(bound, self._make, tls=tls.context, plain=plain)
        self.port = bound.port
        return self

    def _make(self, *_):
        self.made.append(Noting())
        return self.made[-1]

    async def __aexit__(self, *_):
        await self.carrier.close(0)

    def connect(self, said: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=TIME_LIMIT_SECONDS)
        sock.sendall(said)
        return sock


def lines(caplog):
    return [
        (record.reason, record.remote, record.detail.rpartition("(")[2].removesuffix(")"))
        for record in caplog.records
        if record.name == "sigbridge.door"
    ]


@loops()
@pytest.mark.parametrize("said", [REQUEST, REQUEST[:1], PREFACE, b"POST " + bytes(100_000)])
def test_http_at_a_port_with_tls_is_answered_and_closed_at_once(certificate, caplog, loop_factory, said):
    on_loop(loop_factory, _plain_on_tls(certificate, said))
    assert lines(caplog) == [("plain_on_tls", "127.0.0.1", "grpc")]


async def _plain_on_tls(certificate, said):
    async with Port(certificate) as port:
        with port.connect(said) as sock:
            answer = await rest_of(sock)
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert answer.endswith(b"\r\n\r\nThis port speaks TLS: the plain HTTP request was sent to an HTTPS port.\n")
            # Also where the client does not close, it is gone.
            await until(lambda: port.carrier.connection_count == 0)
        assert (port.counters.refusals[PLAIN_ON_TLS], port.made) == (1, [])


@loops()
def test_tls_at_a_port_with_tls_goes_on_though_its_first_byte_was_looked_at(certificate, caplog, loop_factory):
    on_loop(loop_factory, _tls_on_tls(certificate))
    assert lines(caplog) == []


async def _tls_on_tls(certificate):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    async with Port(certificate) as port, asyncio.timeout(TIME_LIMIT_SECONDS):
        _, writer = await asyncio.open_connection("127.0.0.1", port.port, ssl=context)
        writer.write(b"hello")
        await until(lambda: port.made and port.made[0].received == b"hello")
        writer.transport.abort()
        await until(lambda: port.carrier.connection_count == 0)
    assert port.counters.refusals[PLAIN_ON_TLS] == 0


@loops()
@pytest.mark.parametrize("said", [b"\0\1\2", b"get / HTTP/1.1\r\n\r\n", b""])
def test_what_is_neither_is_left_to_tls(certificate, caplog, loop_factory, said):
    on_loop(loop_factory, _neither(certificate, said))
    assert {reason for reason, *_ in lines(caplog)} <= {"tls"}


async def _neither(certificate, said):
    async with Port(certificate) as port:
        with port.connect(said) as sock:
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                # An alert in TLS, or nothing.
                assert not (await rest_of(sock)).startswith(b"HTTP")
            await until(lambda: port.carrier.connection_count == 0)
    assert port.made == []


@loops()
def test_who_says_nothing_at_a_port_with_tls_is_let_go_in_time(certificate, loop_factory):
    on_loop(loop_factory, _silent(certificate))


async def _silent(certificate):
    async with Port(certificate, handshake_timeout_seconds=0.1) as port:
        with port.connect() as sock:
            assert await rest_of(sock) == b""
            await until(lambda: port.carrier.connection_count == 0)


@loops()
def test_tls_at_a_port_without_is_told_so_and_closed_at_once(caplog, loop_factory):
    on_loop(loop_factory, _tls_on_plain())
    assert lines(caplog) == [("tls_on_plain", "127.0.0.1", "grpc")]


async def _tls_on_plain():
    async with Port() as port:
        with port.connect(b"\x16\x03\x01") as sock:
            assert (await rest_of(sock)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
            await until(lambda: port.carrier.connection_count == 0)
        assert port.counters.refusals[TLS_ON_PLAIN] == 1


def test_a_client_behind_a_unix_socket_is_named_so(clock, caplog):
    tls_on_plain(Counters(), "http")(Client(""), lambda: None, clock.now)
    assert lines(caplog) == [("tls_on_plain", "unix", "http")]


@loops()
@pytest.mark.parametrize(
    ("shows", "detail"),
    [("none", "PEER_DID_NOT_RETURN_A_CERTIFICATE"), ("a foreign one", "CERTIFICATE_VERIFY_FAILED: ")],
)
def test_a_client_without_a_good_certificate_is_told_of(tmp_path, caplog, loop_factory, shows, detail):
    caplog.set_level(logging.INFO, logger="sigbridge.door")
    on_loop(loop_factory, _without_a_good_certificate(tmp_path, shows))
    (record,) = (record for record in caplog.records if record.name == "sigbridge.door")
    assert (record.protocol, record.reason, record.remote) == ("tcp", "tls", "127.0.0.1")
    assert record.detail.startswith(detail)


async def _without_a_good_certificate(folder, shows):
    authority, foreign = Authority(folder, "authority"), Authority(folder, "foreign")
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    if shows != "none":
        context.load_cert_chain(*foreign.issue("alice"))
    async with Port(authority.issue("localhost"), tls_client_ca_file=authority.file) as port:
        with contextlib.suppress(OSError):
            # With TLS 1.3 its own part is done before the server has looked at it.
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port, ssl=context)
            with contextlib.suppress(OSError):
                await reader.read()
            writer.transport.abort()
        await until(lambda: port.counters.refusals[TLS_FAILED] == 1)
        await until(lambda: port.carrier.connection_count == 0)
        assert port.made == []
