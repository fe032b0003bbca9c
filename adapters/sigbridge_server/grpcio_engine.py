"""gRPC by grpc.aio: the engine by somebody else, and the one that hosts of other services use.

Rule 1: it listens last, because a grpc.aio server that has not been started does not give its port back. Rule 2: what
it cannot end, its stop says, so that the process can leave all the same.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

import grpc
import grpc.aio

from sigbridge.auth import Authenticator
from sigbridge.hub import Hub
from sigbridge.settings import Settings, parse_address
from sigbridge_grpc.discovery import StandardHealth, add_reflection
from sigbridge_grpc.interceptors import interceptors
from sigbridge_grpc.mount import add_signaling, server_options
from sigbridge_net.errors import ListenError
from sigbridge_net.tls import Read, ServerTls

logger = logging.getLogger("sigbridge.server")

CUT_SECONDS = 1.0
"""How long cutting what is left of gRPC may take."""
HEALTH_PATIENCE_SECONDS = 1.0
"""How long those who watch the standard health service may take to be told."""
_MAX_OPTION = 0x7FFFFFFF
"""The largest number that an option of the library's can be."""


class GrpcioEngine:
    """A grpc.aio server of signaling, health and reflection."""

    def __init__(self, hub: Hub, settings: Settings, authenticator: Authenticator, *, most_connections: int) -> None:
        """Makes a server of at most so many connections; the library closes others, and counts them nowhere."""
        self._settings = settings
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

    async def start(self, tls: ServerTls | None) -> int:
        """Listen and serve; returns the port. ListenError where the address is not to be had."""
        port = _add_port(self._server, self._settings, tls)
        await self._server.start()
        await self._health.serving()
        return port

    async def not_serving(self) -> None:
        """Turn the standard health service to NOT_SERVING."""
        try:
            async with asyncio.timeout(min(self._settings.shutdown_grace_seconds, HEALTH_PATIENCE_SECONDS)):
                await self._health.not_serving()
        except TimeoutError:
            logger.warning("a health watcher does not read")

    async def stop(self, grace_seconds: float) -> bool:
        """End what is left within `grace_seconds` and a little; returns whether everything has ended."""
        # Streams end by themselves, but for those whose clients do not read; these the server cuts.
        await self._mounted.drain(grace_seconds)
        stopping = asyncio.ensure_future(self._server.stop(0))
        await asyncio.wait((stopping,), timeout=CUT_SECONDS)
        return stopping.done()


def _add_port(server: grpc.aio.Server, settings: Settings, tls: ServerTls | None) -> int:
    host, port = parse_address(settings.grpc_bind_address)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _check_free(settings.grpc_bind_address)
    try:
        if tls is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, _grpc_credentials(tls)))
    except RuntimeError:
        raise ListenError(f"cannot listen on {settings.grpc_bind_address}: address in use or not available") from None


def _check_free(address: str) -> None:
    """Raise ListenError where an address is not to be had; grpc would write to stderr by itself, and not say why."""
    host, port = parse_address(address)
    try:
        family, kind, number, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(name)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None


def _grpc_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Credentials that follow `ServerTls.put`: grpc asks at every handshake whether there is something newer."""
    served = tls.present

    def configured(read: Read) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(read.key, read.certificate)], read.client_authority)

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        present = tls.present
        if served is present:
            return None
        served = present
        return configured(present)

    return grpc.dynamic_ssl_server_credentials(
        configured(served),
        # The stubs do not say that `None` means "nothing newer".
        cast("Callable[[], grpc.ServerCertificateConfiguration]", newer),
        require_client_authentication=tls.client_authority is not None,
    )
