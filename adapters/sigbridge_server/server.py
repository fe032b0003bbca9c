"""One hub and its ways in, put together: what `sigbridge serve` runs, and what tests start in-process.

Rule 1: nothing is half-started: where one address cannot be had, the others are given back. Rule 2: a stop first turns
readiness off, then tells everybody `draining`, waits for those who answer, and is over within its grace whatever
clients do. Rule 3: authentication is decided here and nowhere else: which protocol asks, and whom.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

import grpc
import grpc.aio

from sigbridge.auth import Authenticator, OpenDoor, StaticTokens
from sigbridge.elsewhere import Bus, Directory
from sigbridge.hub import Hub
from sigbridge.settings import SettingError, Settings, parse_address
from sigbridge.tracing import Tracer
from sigbridge_grpc.discovery import StandardHealth, add_reflection
from sigbridge_grpc.interceptors import interceptors
from sigbridge_grpc.mount import MountedSignaling, add_signaling, server_options
from sigbridge_http.wire import Page, Pages, http_wires
from sigbridge_net.carrier import Carrier, ListenError
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_net.tls import ServerTls, server_tls
from sigbridge_server.memory import MemoryWatch
from sigbridge_server.metrics import make_registry, metrics_text
from sigbridge_websocket.wire import websocket_wires

logger = logging.getLogger("sigbridge.server")

CUT_SECONDS = 1.0
"""How long cutting what is left of gRPC may take."""

HEALTH_PATIENCE_SECONDS = 1.0
"""How long those who watch the standard health service may take to be told."""


class Server:
    """A signaling server on one gRPC and one WebSocket address, with an HTTP address for its operator."""

    grpc_port: int
    """The port that gRPC listens on; known after `start`."""

    websocket_port: int
    """The port that WebSocket listens on; known after `start`."""

    http_port: int | None = None
    """The port of `/metrics`, `/healthz` and `/readyz`; known after `start`, `None` where it is off."""

    def __init__(
        self,
        settings: Settings,
        *,
        directory: Directory | None = None,
        bus: Bus | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        """Make a server; `authenticator` replaces the static tokens wherever a protocol asks for credentials."""
        self.settings = settings
        self.hub = Hub(
            settings,
            read_clock(),
            directory=directory,
            bus=bus,
            stopwatch=time.perf_counter,
            tracer=_tracer(settings),
        )
        tokens = authenticator or StaticTokens(settings.auth_tokens)
        asks_on_grpc = authenticator is not None or settings.grpc_asks_for_token
        asks_on_websocket = authenticator is not None or settings.websocket_asks_for_token
        self._grpc_authenticator: Authenticator = tokens if asks_on_grpc else OpenDoor()
        self._websocket_authenticator: Authenticator = tokens if asks_on_websocket else OpenDoor()
        self._timer = HubTimer(self.hub)
        self._memory = MemoryWatch(self.hub)
        self._registry = make_registry(self.hub, self._timer)
        self._carrier = Carrier(settings)
        self._tls: ServerTls | None = None
        self._grpc: grpc.aio.Server | None = None
        self._health: StandardHealth | None = None
        self._mounted: MountedSignaling | None = None

    async def start(self) -> None:
        """Listen on every address.

        Raises ListenError where one of them is not to be had, SettingError where a certificate is no good; nothing is
        listening then.
        """
        settings = self.settings
        self._tls = server_tls(settings)
        server = grpc.aio.server(
            options=server_options(settings), interceptors=interceptors(self._grpc_authenticator, settings)
        )
        self._mounted = add_signaling(server, self.hub, run_timer=False)
        self._health = StandardHealth(server)
        add_reflection(server)
        try:
            self.websocket_port = await self._carrier.listen(
                settings.ws_bind_address,
                websocket_wires(self.hub, authenticator=self._websocket_authenticator),
                tls=self._tls.context if self._tls is not None else None,
            )
            if settings.http_bind_address != "off":
                self.http_port = await self._carrier.listen(
                    settings.http_bind_address, http_wires(self._pages(), settings)
                )
            # Last, because a server that has not been started does not give its port back.
            self.grpc_port = _add_grpc_port(server, settings, self._tls)
            await server.start()
        except BaseException:
            await server.stop(0)
            await self._carrier.close(0)
            raise
        self._grpc = server
        await self._health.serving()
        self._timer.start()
        self._memory.start()
        self._warn_of_open_doors()

    async def stop(self, *, grace_seconds: float | None = None) -> bool:
        """Tell everybody `draining` and end, within `grace_seconds` (the setting, where it is not given).

        Returns whether everything has ended. The connection of a gRPC client that is stopped (not merely slow) ends
        only when its keepalive runs out; a process that will not wait for that must leave by `os._exit`.
        """
        grace = self.settings.shutdown_grace_seconds if grace_seconds is None else grace_seconds
        await self._carrier.stop_listening()
        if self._health is not None:
            try:
                async with asyncio.timeout(min(grace, HEALTH_PATIENCE_SECONDS)):
                    await self._health.not_serving()
            except TimeoutError:
                logger.warning("a health watcher does not read")
        self.hub.drain(read_clock())
        _, ended = await asyncio.gather(self._carrier.close(grace), self._stop_grpc(grace))
        self._memory.stop()
        self._timer.stop()
        return ended

    def reload_certificates(self) -> None:
        """Read the certificate files again, for new connections; SettingError where one is no good."""
        if self._tls is not None:
            self._tls.reload()

    async def _stop_grpc(self, grace: float) -> bool:
        if self._grpc is None or self._mounted is None:
            return True
        # Streams end by themselves, but for those whose clients do not read; these the server cuts.
        await self._mounted.drain(grace)
        stopping = asyncio.ensure_future(self._grpc.stop(0))
        await asyncio.wait((stopping,), timeout=CUT_SECONDS)
        return stopping.done()

    def _pages(self) -> Pages:
        def metrics() -> Page:
            text, content_type = metrics_text(self._registry)
            return Page(200, text, content_type=content_type)

        def ready() -> Page:
            return Page(503, b"draining\n") if self.hub.draining else Page(200, b"ready\n")

        pages: dict[str, Callable[[], Page]] = {
            "/metrics": metrics,
            "/healthz": lambda: Page(200, b"alive\n"),
            "/readyz": ready,
        }
        return pages

    def _warn_of_open_doors(self) -> None:
        for protocol, address, authenticator in (
            ("grpc", self.settings.grpc_bind_address, self._grpc_authenticator),
            ("websocket", self.settings.ws_bind_address, self._websocket_authenticator),
        ):
            if (
                isinstance(authenticator, OpenDoor)
                and not self.settings.tls_client_ca_file
                and not _is_loopback(address)
            ):
                logger.warning(
                    "anybody who reaches this address may signal: set GRPC_AUTH_TOKENS to ask for a token",
                    extra={"protocol": protocol, "address": address},
                )


def _tracer(settings: Settings) -> Tracer | None:
    if not settings.tracing:
        return None
    try:
        from sigbridge_server.tracing import configured_tracer
    except ImportError:
        raise SettingError("SIGNALING_TRACING is true: expected pip install 'sigbridge[tracing]' before") from None
    return configured_tracer()


def _is_loopback(address: str) -> bool:
    host, _ = parse_address(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _add_grpc_port(server: grpc.aio.Server, settings: Settings, tls: ServerTls | None) -> int:
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
    """Credentials that follow `ServerTls.reload`: grpc asks at every handshake whether there is something newer."""
    served = (tls.key, tls.certificate)

    def present() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.client_authority)

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        if served == (tls.key, tls.certificate):
            return None
        served = (tls.key, tls.certificate)
        return present()

    return grpc.dynamic_ssl_server_credentials(
        present(),
        # The stubs do not say that `None` means "nothing newer".
        cast("Callable[[], grpc.ServerCertificateConfiguration]", newer),
        require_client_authentication=tls.client_authority is not None,
    )
