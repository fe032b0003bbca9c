"""One gRPC server on one port: pipelines, signaling, health and reflection, with one of everything that they share.

Rule 1: what a host shares it makes itself and hands to `add_signaling` and to its own services alike: settings, tokens,
the metrics' registry, the log. Rule 2: a server's options and interceptors are fixed when it is made, so signaling's
are given then. Rule 3: a stop turns health off, tells everybody, lets what has begun come to its end, and is over
within its grace whatever clients do.
"""

import asyncio
import logging
import time

import grpc
import grpc.aio

from pipeline_host.runner import PipelineRunner
from pipeline_host.services import EXECUTION_SERVICE_NAME, STREAMING_SERVICE_NAME, add_pipelines
from sigbridge import Hub, Settings
from sigbridge.auth import Authenticator, RefusalCounter
from sigbridge.settings import BindAddress
from sigbridge_auth.authenticators import TokenAuthenticator
from sigbridge_auth.sources import Sources
from sigbridge_grpc.discovery import HEALTH_SERVICE_NAME, StandardHealth, add_reflection
from sigbridge_grpc.interceptors import interceptors
from sigbridge_grpc.mount import add_signaling, server_options
from sigbridge_grpc.service import SERVICE_NAME as SIGNALING_SERVICE_NAME
from sigbridge_http.wire import http_wires
from sigbridge_net.carrier import Carrier
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_net.errors import ListenError
from sigbridge_net.pages import Page, Site
from sigbridge_net.tls import server_tls
from sigbridge_server.memory import MemoryWatch
from sigbridge_server.metrics import make_registry, metrics_text

logger = logging.getLogger("pipeline_host")

SERVICE_NAMES = (EXECUTION_SERVICE_NAME, STREAMING_SERVICE_NAME, SIGNALING_SERVICE_NAME)

LAST_WORDS_SECONDS = 0.5
"""Time that the responses of calls that have ended may take to leave; health watchers, who never end, are cut then."""
CUT_SECONDS = 1.0
"""Time that cutting what is left may take."""


class PipelineHost:
    """The whole host. `start` it, and `stop` it once."""

    grpc_port: int
    """The first port of every service; known after `start`."""

    http_port: int | None = None
    """The port of `/metrics`, `/healthz` and `/readyz`; known after `start`, `None` where it is off."""

    def __init__(self, settings: Settings, *, authenticator: Authenticator | None = None) -> None:
        """Makes a host; `authenticator` replaces the sources that are set.

        :raises SettingError: if a file of these is no good.
        """
        self.settings = settings
        self.hub = Hub(settings, read_clock(), stopwatch=time.perf_counter)
        self._timer = HubTimer(self.hub)
        self._memory = MemoryWatch(self.hub)
        # The hub's metrics and those of the process are in it already; the pipelines put theirs beside them.
        self.registry = make_registry(self.hub, self._timer)
        self.runner = PipelineRunner(settings, self.registry, memory_is_short=lambda: self.hub.degraded)
        if authenticator is None:
            known = TokenAuthenticator(Sources(settings), asked=settings.grpc_asks_for_token)
            authenticator = RefusalCounter(known, self.hub.counters, "grpc")
        self._server = grpc.aio.server(
            options=server_options(settings), interceptors=interceptors(authenticator, settings)
        )
        add_pipelines(self._server, self.runner)
        self._signaling = add_signaling(self._server, self.hub, run_timer=False)
        self._health = StandardHealth(self._server, SERVICE_NAMES)
        add_reflection(self._server, (*SERVICE_NAMES, HEALTH_SERVICE_NAME))
        self._http = Carrier(settings)

    async def start(self) -> None:
        """Listens on every address that is set.

        :raises ListenError: if an address is not to be had.
        :raises SettingError: if a certificate is no good.
        """
        settings = self.settings
        try:
            if settings.http_bind_address != "off":
                pages = {
                    "/metrics": self._metrics_page,
                    "/healthz": lambda: Page(200, b"alive\n"),
                    "/readyz": lambda: Page(200, b"ready\n") if self.hub.serving else Page(503, b"draining\n"),
                }
                self.http_port = await self._http.listen(settings.http_bind_address, http_wires(Site(pages), settings))
            # Last, because a server that has not been started does not give its port back.
            ports = [self._add_port(address) for address in settings.grpc_addresses]
            self.grpc_port = ports[0]
            await self._server.start()
        except BaseException:
            await self._server.stop(0)
            await self._http.close(0)
            raise
        self._timer.start()
        self._memory.start()
        await self._health.serving()

    async def stop(self) -> bool:
        """Drains all services and ends, within the grace of the settings and a little.

        Returns whether everything has ended: a node is not interrupted, and the connection of a client whose process is
        stopped ends only with its keepalive. A process that will not wait for these must leave by `os._exit`.
        """
        grace = self.settings.shutdown_grace_seconds
        if not await self._health.not_serving():
            logger.warning("a health watcher does not read")
        await asyncio.gather(self._signaling.drain(grace), self.runner.drain(grace))
        stopping = asyncio.ensure_future(self._server.stop(LAST_WORDS_SECONDS))
        await asyncio.wait((stopping,), timeout=LAST_WORDS_SECONDS + CUT_SECONDS)
        await self._http.close(LAST_WORDS_SECONDS)
        self._memory.stop()
        self._timer.stop()
        return stopping.done() and self.runner.idle

    def _metrics_page(self) -> Page:
        text, content_type = metrics_text(self.registry)
        return Page(200, text, content_type=content_type)

    def _add_port(self, bind_address: BindAddress) -> int:
        address = str(bind_address)
        tls = server_tls(self.settings)
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.certificate)],
                tls.client_authority,
                require_client_auth=tls.client_authority is not None,
            )
            return self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ListenError(f"cannot listen on {address}: address in use or not available") from None
