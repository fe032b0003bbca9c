"""One hub and its ways in, put together: what `sigbridge serve` runs, and what tests start in-process.

Rule 1: nothing is half-started: where one address cannot be had, the others are given back (`places.py`).
Rule 2: a stop has two phases. While the server is *leaving*, newcomers are refused, readiness is off and everything
else works; that takes half of its grace at most, and no time where nobody has asked to be told beforehand. Then it
tells everybody `draining`, waits for those who close, and is over within its grace whatever clients do.
Rule 3: authentication is decided here and nowhere else: which protocol asks, and whom.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sigbridge.addresses import AddressSet
from sigbridge.auth import ANYBODY, Authenticator, RefusalCounter
from sigbridge.elsewhere import Bus, Directory
from sigbridge.hub import Hub
from sigbridge.pending import Pending
from sigbridge.settings import SettingError, Settings
from sigbridge.settings.proxies import PROXY
from sigbridge.standing import Judge
from sigbridge_auth.authenticators import TokenAuthenticator
from sigbridge_auth.sources import ReviewedSource, Sources
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.service import SignalingService
from sigbridge_grpc.web import GrpcWeb
from sigbridge_http.wire import http_wires
from sigbridge_net.carrier import Carrier
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_net.first_bytes import plain_on_tls, tls_on_plain
from sigbridge_net.ice_files import IceFiles
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.pacing import pace_leaving
from sigbridge_net.pages import Page, Pages, Site
from sigbridge_net.tls import HTTP1, HTTP2, ServerTls, server_tls
from sigbridge_net.unfinished import TotalUnfinished
from sigbridge_net.wire import WireFactory
from sigbridge_server.beginning import beginning
from sigbridge_server.certificate_watch import CertificateWatch
from sigbridge_server.client_script import client_pages
from sigbridge_server.descriptors import OPERATORS_LIMITS, clients_limits, descriptor_limit
from sigbridge_server.front import Front, PagesWireFactory, asks_for_websocket, front_wires
from sigbridge_server.garbage import Census
from sigbridge_server.memory import MemoryWatch
from sigbridge_server.metrics import make_registry, metrics_text
from sigbridge_server.open_doors import open_doors
from sigbridge_server.places import VARIABLES, Inherited, Places, named
from sigbridge_server.reloading import Reloadable, Reloader
from sigbridge_websocket.wire import websocket_wires

if TYPE_CHECKING:
    from sigbridge_server.grpcio_engine import GrpcioEngine
    from sigbridge_server.tracing import OpenTelemetryTracer

logger = logging.getLogger("sigbridge.server")

PROBE_PATHS = ("/healthz", "/readyz")
"""The pages that every address serves; metrics only the operator's does."""


class Server:
    """A signaling server on one gRPC and one WebSocket address, with an HTTP address for its operator."""

    grpc_port: int
    """The first port that gRPC listens on; known after `start`, 0 where it has unix sockets only."""

    websocket_port: int
    """The same of WebSocket."""

    http_port: int | None = None
    """The same of `/metrics`, `/healthz` and `/readyz`; `None` where these are off."""

    addresses: dict[str, list[str]]
    """The addresses that it listens on, for people, by `grpc`, `ws` and `http`; known after `start`."""

    def __init__(
        self,
        settings: Settings,
        *,
        directory: Directory | None = None,
        bus: Bus | None = None,
        authenticator: Authenticator | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        """Makes a server; an `authenticator` of one's own decides on both protocols, whatever is set of tokens.

        Sockets that are `inherited` listen already, and replace the addresses of their protocol.

        :raises SettingError: if what is installed cannot do what is set, or a file of tokens or keys is invalid.
        :raises DescriptorsError: if the process may have too few descriptors.
        :raises ListenError: if what is inherited cannot be used.
        """
        self.settings = settings
        self._tracer = _tracer(settings)
        self.hub = Hub(
            settings,
            read_clock(),
            directory=directory,
            bus=bus,
            stopwatch=time.perf_counter,
            tracer=self._tracer,
        )
        decider: Authenticator | Sources = Sources(settings) if authenticator is None else authenticator
        self._sources = decider if isinstance(decider, Sources) else None
        """The sources of identities, which both protocols share; none where somebody else decides."""
        self._token_authenticators: list[TokenAuthenticator] = []
        """Those that ask the sources, one for each protocol."""
        self._grpc_authenticator = self._door("grpc", decider, asked=settings.grpc_asks_for_token)
        self._websocket_authenticator = self._door("websocket", decider, asked=settings.websocket_asks_for_token)
        self._places = Places(settings, inherited or {})
        self._timer = HubTimer(self.hub)
        self._memory = MemoryWatch(self.hub)
        self._carrier = Carrier(settings, self.hub.counters, limits=clients_limits(settings, descriptor_limit()))
        self._operators_carrier = Carrier(settings, self.hub.counters, limits=OPERATORS_LIMITS)
        """Of the operator's address, which goes on while the server drains: probes and a last scrape still ask."""
        self._registry = make_registry(
            self.hub, self._timer, self._carrier, engine=settings.grpc_engine, not_after=self._not_after
        )
        self._pages = self._make_pages()
        self._client_pages = _client_pages(settings)
        """The pages that the operator's address does not have."""
        self._health = HealthBoard()
        self.origins = AllowedOrigins(settings)
        """The origins of web pages that may connect."""
        self._reloader = Reloader(self.hub.review)
        for files in (self.origins, IceFiles(settings, self.hub.put_ice_servers)):
            if files.paths:
                self._reloader.watch(files)
        for source in self.reloadables:
            self._reloader.watch(source, source.review)
        for authenticator_of_sources in self._token_authenticators:
            authenticator_of_sources.look_again = self._reloader.look_again
        self._unfinished = TotalUnfinished(settings)
        self._tls: ServerTls | None = None
        self._certificate: CertificateWatch | None = None
        self._grpcio: GrpcioEngine | None = None

    async def start(self) -> None:
        """Listens on every address; on an error nothing is listening.

        :raises ListenError: if an address cannot be bound.
        :raises SettingError: if a certificate is invalid.
        """
        settings = self.settings
        native = settings.grpc_engine == "native"
        # With the other engine no port of the carrier speaks HTTP/2; what its own port offers, the library says.
        self._tls = server_tls(settings, (HTTP2, HTTP1) if native else (HTTP1,))
        if self._tls is not None:
            self._reloader.watch(self._tls)
            self._certificate = CertificateWatch(self._tls)
        context = self._tls.context if self._tls is not None else None
        web = GrpcWeb(
            SignalingService(self.hub),
            self._health,
            settings,
            authenticator=self._grpc_authenticator,
            origins=self.origins,
        )
        site = Site({**{path: self._pages[path] for path in PROBE_PATHS}, **self._client_pages}, web)
        front = front_wires(
            settings,
            grpc=self._grpc_wires(site) if native else None,
            websocket=websocket_wires(
                self.hub,
                authenticator=self._websocket_authenticator,
                unfinished=self._unfinished,
                origins=self.origins,
            ),
            pages=http_wires(site, settings, unfinished=self._unfinished, is_foreign=asks_for_websocket),
        )
        # Of the operator's few connections the one goes for another whose deadline is next: it must be the idlest.
        operators = http_wires(Site(self._pages), settings, kept_seconds=settings.handshake_timeout_seconds)
        # All addresses are taken before one is served: on an error nobody was let in.
        try:
            await self._take_places(native=native)
        except BaseException:
            self._places.close()
            raise
        self._serve(front, operators, context)
        self._timer.start()
        self._memory.start()
        self._reloader.start()
        self._tell_of_beginning()
        if self._certificate is not None:
            self._certificate.start()
        self._warn_of_open_doors()
        self._tell_of_few_descriptors()

    async def _take_places(self, *, native: bool) -> None:
        """Listens on every address; only the grpcio engine begins to serve at once.

        :raises ListenError: if an address cannot be bound.
        """
        places = self._places
        await places.take("ws")
        await places.take("http")
        if native:
            await places.take("grpc")
        self.websocket_port, self.grpc_port = places.port("ws"), places.port("grpc")
        self.http_port = places.port("http") if places.of_operator() else None
        self.addresses = {name: places.texts(name) for name in VARIABLES}
        if not native:
            with named(VARIABLES["grpc"]):
                engine = self._grpcio_engine()
                self.addresses["grpc"] = await engine.start(self._tls, places.addresses["grpc"])
            self.grpc_port = engine.port
            self._grpcio = engine

    def _serve(self, front: Front, operators: PagesWireFactory, context: ssl.SSLContext | None) -> None:
        """Serves all protocols at the addresses that were bound."""
        settings, counters = self.settings, self.hub.counters
        proxies = AddressSet(settings.trusted_proxies) if settings.client_address_from == PROXY else None
        for bound, protocol in self._places.of_clients():
            if context is None:
                self._carrier.serve(bound, front(tls_on_plain(counters, protocol)), proxies=proxies)
            else:
                plain = plain_on_tls(counters, protocol)
                self._carrier.serve(bound, front(None), tls=context, plain=plain, proxies=proxies)
        operators_front = front_wires(settings, grpc=None, websocket=operators, pages=operators)
        for bound in self._places.of_operator():
            self._operators_carrier.serve(bound, operators_front(tls_on_plain(counters, "http")))

    async def leave(self) -> None:
        """Takes nobody in any more and says so to probes; whoever is here goes on until `stop`."""
        self.hub.leave()
        await self._carrier.stop_listening()
        self._health.not_serving()
        if self._grpcio is not None:
            await self._grpcio.not_serving()

    async def stop(self, *, grace_seconds: float | None = None) -> bool:
        """Tells everybody `draining` and ends, within `grace_seconds` (the setting, where it is not given).

        Who asked is told in the first half of it already; see `sigbridge_net.pacing`.
        Returns whether everything has ended. With grpcio, the connection of a client that is stopped (not merely slow)
        ends only when its keepalive runs out; a process that will not wait for that must leave by `os._exit`.
        """
        grace = self.settings.shutdown_grace_seconds if grace_seconds is None else grace_seconds
        ends_at = read_clock().monotonic + grace
        await self.leave()
        await pace_leaving(self.hub, grace / 2)
        self.hub.drain(read_clock())
        grace = max(ends_at - read_clock().monotonic, 0.0)
        ended = True
        if self._grpcio is not None:
            _, ended = await asyncio.gather(self._carrier.close(grace), self._grpcio.stop(grace))
        else:
            await self._carrier.close(grace)
        # Behind those of clients: probes and metrics are served until the last of these has gone.
        await self._operators_carrier.close(0)
        self._reloader.stop()
        if self._certificate is not None:
            self._certificate.stop()
        self._memory.stop()
        self._timer.stop()
        if self._tracer is not None:
            self._tracer.finish()
        return ended

    def census(self) -> Census:
        """Returns how many connections and sessions there have been, and are."""
        carriers = (self._carrier, self._operators_carrier)
        sessions = self.hub.session_count
        return Census(
            sum(carrier.connections.begun_count for carrier in carriers)
            + self.hub.counters.disconnects.total()
            + sessions,
            sum(carrier.connection_count for carrier in carriers) + sessions,
        )

    @property
    def reloadables(self) -> tuple[ReviewedSource, ...]:
        """The sources of identities that are made of files."""
        return () if self._sources is None else self._sources.reloadables

    def reload(self) -> Pending[None]:
        """Reads every file again at once, changed or not; they are looked at once a second in any case.

        Returns what resolves when that is done. The log says which files were read, and which are no good: what these
        held before stays.
        """
        return self._reloader.reload()

    def watch(self, reloadable: Reloadable, judge: Judge | None = None) -> None:
        """Looks after another file, before `start`; see `sigbridge_server.reloading.Reloader.watch`."""
        self._reloader.watch(reloadable, judge)

    def _door(self, protocol: str, decider: Authenticator | Sources, *, asked: bool) -> Authenticator:
        """Returns the authenticator of a protocol: `decider` itself, or the sources' of tokens."""
        if isinstance(decider, Sources):
            decider = TokenAuthenticator(decider, asked=asked)
            self._token_authenticators.append(decider)
        return RefusalCounter(decider, self.hub.counters, protocol)

    def _grpc_wires(self, site: Site) -> WireFactory:
        """Returns the factory of gRPC wires, with the site for other requests.

        Imported here: the other engine needs none.
        """
        from sigbridge_grpc.methods import signaling_methods
        from sigbridge_grpc.wire import grpc_wires

        service = SignalingService(self.hub, encoding=FRAMED_PROTOBUF)
        return grpc_wires(
            signaling_methods(service, self._health),
            self.settings,
            authenticator=self._grpc_authenticator,
            unfinished=self._unfinished,
            site=site,
            counters=self.hub.counters,
        )

    def _grpcio_engine(self) -> "GrpcioEngine":
        """Returns the engine on grpc.aio.

        It is imported here, because loading it takes half a second that the wire does not need.
        """
        from sigbridge_server.grpcio_engine import GrpcioEngine

        return GrpcioEngine(
            self.hub, self.settings, self._grpc_authenticator, most_connections=self._carrier.limits.connections
        )

    def _make_pages(self) -> Pages:
        """Returns the operator's pages: metrics, liveness and readiness."""

        def metrics() -> Page:
            text, content_type = metrics_text(self._registry)
            return Page(200, text, content_type=content_type)

        def ready() -> Page:
            return Page(200, b"ready\n") if self.hub.serving else Page(503, b"draining\n")

        pages: dict[str, Callable[[], Page]] = {
            "/metrics": metrics,
            "/healthz": lambda: Page(200, b"alive\n"),
            "/readyz": ready,
        }
        return pages

    def _not_after(self) -> float | None:
        """Returns the end of the certificate that counts now, where there is one."""
        return None if self._tls is None else self._tls.present.not_after

    def _tell_of_beginning(self) -> None:
        """Logs what the server is and how it is set up; warns if clients that are there would count as silent."""
        record = beginning(
            self.settings,
            self.addresses,
            connections=self._carrier.limits.connections,
            not_after=self._not_after(),
            own_authenticator=self._sources is None,
        )
        logger.info("started", extra=record)
        least = self.settings.shortest_silence_seconds
        if 0 < self.settings.silent_client_seconds < least:
            logger.warning(
                "clients with the default keepalive, or that answer pings, count as silent",
                extra={"variable": "SIGNALING_SILENT_CLIENT_SEC", "least": least},
            )

    def _warn_of_open_doors(self) -> None:
        """Logs addresses at which anybody may signal, and JWTs of other services that count."""
        settings = self.settings
        if self._sources is None:
            return
        if not settings.tls_client_ca_file and self._sources.anonymous is ANYBODY:
            for address, protocols in open_doors(
                self.addresses,
                {"grpc": not settings.grpc_asks_for_token, "websocket": not settings.websocket_asks_for_token},
                native=settings.grpc_engine == "native",
            ):
                logger.warning(
                    "anybody who reaches this address may signal: set GRPC_AUTH_TOKENS to require a token, and do not "
                    "set GRPC_REQUIRE_AUTH or WS_REQUIRE_AUTH to false",
                    extra={"protocol": protocols, "address": address},
                )
        if settings.has_jwt_keys:
            for name in ("jwt_issuer", "jwt_audience"):
                if not getattr(settings, name):
                    logger.warning(
                        "JWTs signed for other services are accepted: set what a token must name",
                        extra={"variable": settings.infos()[name].env},
                    )

    def _tell_of_few_descriptors(self) -> None:
        """Logs that file descriptors allow fewer connections than are set."""
        settings, limit = self.settings, self._carrier.limits.connections
        if limit < settings.connection_limit:
            logger.log(
                logging.WARNING if settings.max_connections else logging.INFO,
                "file descriptors allow fewer connections than are set: raise RLIMIT_NOFILE",
                extra={"variable": "SIGNALING_MAX_CONNECTIONS", "set": settings.connection_limit, "limit": limit},
            )


def _client_pages(settings: Settings) -> Pages:
    """Returns the pages that clients load, if they are to be served."""
    if not settings.serve_client:
        return {}
    return client_pages()


def _tracer(settings: Settings) -> "OpenTelemetryTracer | None":
    """Returns the tracer, if requests are to be traced.

    :raises SettingError: if OpenTelemetry is not installed or misconfigured.
    """
    if not settings.tracing:
        return None
    try:
        # Both the loading and the making read OpenTelemetry's variables.
        from sigbridge_server.tracing import configured_tracer

        return configured_tracer()
    except ImportError:
        raise SettingError("SIGNALING_TRACING is true: expected pip install 'sigbridge[tracing]' before") from None
    except ValueError as error:
        raise SettingError(f"SIGNALING_TRACING is true, and a variable of OpenTelemetry is wrong: {error}") from None
