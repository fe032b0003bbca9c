"""gRPC by grpc.aio: the engine by somebody else, and the one that hosts of other services use.

Rule 1: it listens last, because a grpc.aio server that has not been started does not give its port back. Rule 2: what
it cannot end, its stop says, so that the process can leave all the same. Rule 3: its addresses mean what they do with
the other engine, though the library takes `0.0.0.0` for both families and removes whatever has its socket's name.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import grpc
import grpc.aio

from sigbridge.auth import Authenticator
from sigbridge.hub import Hub
from sigbridge.settings import BindAddress, Settings, address_text
from sigbridge.settings.declare import ALL_OF_IPV4, BOTH_FAMILIES
from sigbridge_grpc.discovery import StandardHealth, add_reflection
from sigbridge_grpc.interceptors import interceptors
from sigbridge_grpc.mount import add_signaling, server_options
from sigbridge_net.errors import ListenError
from sigbridge_net.listening import Bound, UnixFile, hold, make_way, naming_address
from sigbridge_net.tls import Read, ServerTls

logger = logging.getLogger("sigbridge.server")

CUT_SECONDS = 1.0
"""Time that cutting what is left of gRPC may take."""
_MAX_OPTION = 0x7FFFFFFF
"""The largest number that an option of the library's can be."""


class GrpcioEngine:
    """A grpc.aio server of signaling, health and reflection."""

    def __init__(self, hub: Hub, settings: Settings, authenticator: Authenticator, *, most_connections: int) -> None:
        """Makes a server of at most so many connections; the library closes others, and counts them nowhere."""
        self._settings = settings
        self.port = 0
        """The first port, known after `start`; 0 where it listens on unix sockets only."""
        self._files: list[UnixFile] = []
        """The files of its unix sockets."""
        self._server = grpc.aio.server(
            options=[
                *server_options(settings),
                ("grpc.max_allowed_incoming_connections", min(most_connections, _MAX_OPTION)),
            ],
            interceptors=interceptors(authenticator, settings),
        )
        self._mounted = add_signaling(self._server, hub, run_timer=False)
        self._health = StandardHealth(self._server)
        add_reflection(self._server)

    async def start(self, tls: ServerTls | None, addresses: Sequence[BindAddress]) -> list[str]:
        """Listens and serves; returns the addresses for people.

        :raises ListenError: if an address cannot be bound.
        """
        add = _PortAdder(self._server, tls, self._settings.unix_mode_bits)
        texts, held = [], list[Bound]()
        try:
            # All of them are held before one is added, since the library gives none back.
            for address in addresses:
                with naming_address(address):
                    if address.path:
                        make_way(address.path)
                        texts.append(str(address))
                    elif _covers_ipv4(addresses, address):
                        texts.append(str(address))
                    else:
                        held.append(await hold(address))
                        texts.append(held[-1].text)
                        self.port = self.port or held[-1].port
            try:
                for bound in held:
                    add.held(bound)
                for address in addresses:
                    if address.path:
                        self._files.append(add.unix(address))
            except ListenError:
                await self._give_back()
                raise
        finally:
            for bound in held:
                bound.close()
        await self._server.start()
        await self._health.serving()
        return texts

    async def _give_back(self) -> None:
        """Gives back the addresses of a server that was not started; the library does so only after serving."""
        self._remove_files()
        await self._server.start()
        await self._server.stop(0)

    def _remove_files(self) -> None:
        for file in self._files:
            file.remove()
        self._files.clear()

    async def not_serving(self) -> None:
        """Turns the standard health service to NOT_SERVING."""
        if not await self._health.not_serving():
            logger.warning("a health watcher does not read")

    async def stop(self, grace_seconds: float) -> bool:
        """Ends what is left within `grace_seconds` and a little; returns whether everything has ended."""
        self._remove_files()
        # Streams end by themselves, but for those whose clients do not read; these the server cuts.
        await self._mounted.drain(grace_seconds)
        stopping = asyncio.ensure_future(self._server.stop(0))
        await asyncio.wait((stopping,), timeout=CUT_SECONDS)
        return stopping.done()


def _covers_ipv4(addresses: Sequence[BindAddress], address: BindAddress) -> bool:
    """Returns whether the host of both families, at the same port, has all of IPv4 already."""
    return address.host == ALL_OF_IPV4 and address.is_fixed and address._replace(host=BOTH_FAMILIES) in addresses


class _PortAdder:
    """Adds addresses to a server that has not been started.

    :raises ListenError: if the library cannot listen there.
    """

    def __init__(self, server: grpc.aio.Server, tls: ServerTls | None, unix_mode: int) -> None:
        self._server = server
        self._tls = tls
        self._unix_mode = unix_mode

    def held(self, bound: Bound) -> None:
        """Adds a host and port that sockets hold, which do not listen and so are in nobody's way."""
        for sock in bound.sockets:
            host, port, *_ = sock.getsockname()
            if host != ALL_OF_IPV4:
                self._add(address_text(host, port), bound.text)
                continue
            with _ipv6_taken(port):
                self._add(address_text(host, port), bound.text)

    def unix(self, address: BindAddress) -> UnixFile:
        """Adds a unix socket; returns its file.

        The library removes at the end whatever has the name that it knows, and takes that name from whoever has it. So
        it knows another one, which is gone when it listens.

        :raises ListenError: if it cannot be bound.
        """
        passing = str(Path(address.path).with_name(f".{secrets.token_hex(4)}"))
        # Nobody else may connect before the mode is right.
        mask = os.umask(0o777 & ~self._unix_mode)
        try:
            self._add(f"unix:{passing}", str(address))
        finally:
            os.umask(mask)
        with naming_address(address):
            try:
                os.chmod(passing, self._unix_mode)  # noqa: PTH101 - a path is a text here
                # Unlike a new name this is refused where somebody has come meanwhile.
                os.link(passing, address.path)
                return UnixFile.at(address.path)
            finally:
                os.unlink(passing)  # noqa: PTH108 - likewise

    def _add(self, target: str, text: str) -> None:
        """Adds an address to the server, with TLS if there is a certificate.

        :raises ListenError: if the library cannot listen there.
        """
        try:
            if self._tls is None:
                self._server.add_insecure_port(target)
            else:
                # Credentials serve one port: they say once what they hold, and then what is newer.
                self._server.add_secure_port(target, _grpc_credentials(self._tls))
        except RuntimeError:
            raise ListenError(f"cannot listen on {text}: address in use or not available") from None


@contextmanager
def _ipv6_taken(port: int) -> Iterator[None]:
    """Binds a port of IPv6 for a moment, so that the library listens on IPv4 alone.

    For the library `0.0.0.0` stands for both families. It tries one socket of both, and, if IPv6 has been taken, IPv4.
    """
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        # There is no IPv6.
        yield
        return
    with sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Who is in our way is in the library's, too.
        with suppress(OSError):
            sock.bind((BOTH_FAMILIES, port))
        yield


def _grpc_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Credentials that follow `ServerTls.put`: grpc asks at every handshake whether there is something newer."""
    served = tls.present

    def configured(read: Read) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(read.key, read.certificate)], read.client_authority)

    def newer_certificate() -> grpc.ServerCertificateConfiguration | None:
        """Returns the newer certificate, or None if it is still the same."""
        nonlocal served
        present = tls.present
        if served is present:
            return None
        served = present
        return configured(present)

    return grpc.dynamic_ssl_server_credentials(
        configured(served),
        # The stubs do not say that `None` means "nothing newer".
        cast("Callable[[], grpc.ServerCertificateConfiguration]", newer_certificate),
        require_client_authentication=tls.client_authority is not None,
    )
