"""Carriers: accept, TLS, deadlines and closing, of all connections of one server.

Rule 1: one sweep for all connections, not a timer or a task each. Rule 2: above the limit of connections a new one is
closed before anything is made for it, TLS included; so it is where it has got one of the last descriptors, which are
for others. Rule 3: a sweep that comes late, as after a freeze of the process, ends nobody whose bytes have not been
read; see `lateness.py`. Rule 4: where proxies must say whose a connection is, nothing of it is looked at before they
have; see `proxy_protocol.py`.
"""

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, cast

from sigbridge.addresses import AddressSet
from sigbridge.counters import CONNECTIONS_REFUSED, DESCRIPTORS_SHORT, PROXY_HEADER, TLS_FAILED, Counters
from sigbridge.instant import Instant
from sigbridge.refused import note_refused
from sigbridge.settings import Settings, parse_addresses
from sigbridge_net.clock import read_clock
from sigbridge_net.connection import Connection, Connections
from sigbridge_net.first_bytes import begins_like_http
from sigbridge_net.lateness import Lateness
from sigbridge_net.listening import Bound, Listener, bind
from sigbridge_net.proxy_protocol import BadProxyHeader, client_address
from sigbridge_net.tls import tls_failure
from sigbridge_net.wire import WireFactory

logger = logging.getLogger("sigbridge.net")

_SWEEPS_PER_TIMEOUT = 4
_LONGEST_SWEEP_SECONDS = 0.5


class ConnectionLimits(NamedTuple):
    """The limits of a carrier's connections."""

    connections: int
    """The number of connections that there may be at once, those that are beginning included."""
    descriptors: int = sys.maxsize
    """A connection's descriptor must be below this. The system gives the lowest that is free, so this bounds what the
    whole process has open, whoever opened it.
    """
    advice: str = "see SIGNALING_MAX_CONNECTIONS"
    """Words for the log about the number of connections."""
    idlest_gives_way: bool = False
    """True where a new connection is let in at the limit, and the one that has done nothing for longest is dropped."""


class _Port(NamedTuple):
    """The wires and the TLS of the connections to one address."""

    wire_factory: WireFactory
    tls: ssl.SSLContext | None
    plain: WireFactory | None
    """With TLS: for those who speak HTTP without it; None: they are not told apart."""
    proxies: AddressSet | None
    """Those who must speak the PROXY protocol; None: it is not spoken there."""


class Carrier:
    """The connections of one server, over any number of listeners and protocols."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters | None = None,
        *,
        limits: ConnectionLimits | None = None,
        clock: Callable[[], Instant] = read_clock,
    ) -> None:
        """Begins without connections; `counters` counts those that are refused, and `clock` times flushes.

        The `limits` are those of the settings, where they are not given.
        """
        self._clock = clock
        self._settings = settings
        self._counters = counters or Counters()
        self.limits = limits or ConnectionLimits(settings.connection_limit)
        self.connections = Connections(clock)
        self._listeners: list[Listener] = []
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._lateness = Lateness()
        shortest = min(
            settings.handshake_timeout_seconds,
            settings.ping_interval_seconds,
            settings.ping_timeout_seconds,
            settings.close_timeout_seconds,
            settings.message_timeout_seconds,
        )
        self._sweep_seconds = min(_LONGEST_SWEEP_SECONDS, shortest / _SWEEPS_PER_TIMEOUT)

    @property
    def connection_count(self) -> int:
        """Connections that are open now, those that are being closed included."""
        return len(self.connections.accepted)

    async def listen(self, addresses: str, wire_factory: WireFactory, *, tls: ssl.SSLContext | None = None) -> int:
        """Serves a protocol on addresses, as a setting has them; returns the first's port, which the system may choose.

        :raises ListenError: if an address is taken or not ours; none of them is listened on then.
        """
        given, found = parse_addresses(addresses), list[Bound]()
        try:
            for address in given:
                alone = address.is_ipv6_alone(given)
                found.append(await bind(address, ipv6_alone=alone, unix_mode=self._settings.unix_mode_bits))
        except BaseException:
            for bound in found:
                bound.close()
            raise
        for bound in found:
            self.serve(bound, wire_factory, tls=tls)
        return found[0].port

    def serve(
        self,
        bound: Bound,
        wire_factory: WireFactory,
        *,
        tls: ssl.SSLContext | None = None,
        plain: WireFactory | None = None,
        proxies: AddressSet | None = None,
    ) -> None:
        """Serves a protocol on an address that is listened on, which goes with the carrier from now on.

        With TLS, `plain` makes the wires of those who speak HTTP without it, where it is given. `proxies` must speak
        the PROXY protocol there, and all others must not; where they are not given, it is not known.
        """
        port = _Port(wire_factory, tls, plain, proxies)
        listener = Listener(bound, lambda sock, client: self._take(sock, client, port), self._on_shortage)
        self._listeners.append(listener)
        if self._sweep_handle is None:
            self._lateness.expect(self._clock().monotonic)
            self._sweep()

    async def stop_listening(self) -> None:
        """Accepts nobody any more; connections stay."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def close(self, grace_seconds: float) -> None:
        """Waits until every connection is gone; those that are not gone after `grace_seconds` are dropped."""
        await self.stop_listening()
        self.connections.all_gone.clear()
        for connection in list(self.connections.accepted):
            if connection.making is not None:
                connection.making.cancel()
            connection.drain(grace_seconds)
        if self.connections.accepted:
            try:
                async with asyncio.timeout(grace_seconds):
                    await self.connections.all_gone.wait()
            except TimeoutError:
                for connection in list(self.connections.accepted):
                    connection.abort()
                # A dropped transport reports its end in the next tick, whatever its client does.
                await self.connections.all_gone.wait()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None

    # Connections that begin.

    def _take(self, sock: socket.socket, address: str, port: "_Port") -> None:
        """Begins a connection that was accepted, or closes it where there is no room."""
        if not self._has_room(sock.fileno(), address):
            sock.close()
            return
        connection = Connection(self.connections, port.wire_factory, address)
        self.connections.accepted.add(connection)
        if port.proxies is None:
            making = self._make_at(connection, sock, port)
        else:
            making = self._make_behind_proxy(connection, sock, port, port.proxies)
        connection.making = task = asyncio.get_running_loop().create_task(making)
        task.add_done_callback(partial(self._made, connection, sock))

    def _make_at(self, connection: Connection, sock: socket.socket, port: "_Port") -> Coroutine[Any, Any, object]:
        """Makes the transport of a connection to a port."""
        if port.tls is None:
            return self._make(connection, sock, None)
        return self._make_secure(connection, sock, port.tls, port.plain)

    async def _make_behind_proxy(
        self, connection: Connection, sock: socket.socket, port: "_Port", proxies: AddressSet
    ) -> None:
        """Makes the transport of a connection as soon as it is known whose it is."""
        async with asyncio.timeout(self._settings.handshake_timeout_seconds):
            connection.address = await client_address(sock, connection.address, proxies)
        await self._make_at(connection, sock, port)

    def _make(
        self, connection: Connection, sock: socket.socket, tls: ssl.SSLContext | None
    ) -> Coroutine[Any, Any, object]:
        """Makes the transport of a connection."""
        settings = self._settings
        return asyncio.get_running_loop().connect_accepted_socket(
            lambda: cast(asyncio.Protocol, connection),
            sock,
            ssl=tls,
            ssl_handshake_timeout=settings.handshake_timeout_seconds if tls else None,
            ssl_shutdown_timeout=settings.close_timeout_seconds if tls else None,
        )

    async def _make_secure(
        self, connection: Connection, sock: socket.socket, tls: ssl.SSLContext | None, plain: WireFactory | None
    ) -> None:
        """Makes the transport of a connection with TLS; of one whose client speaks HTTP without it, one to tell it."""
        if plain is not None:
            async with asyncio.timeout(self._settings.handshake_timeout_seconds):
                if await begins_like_http(sock):
                    connection.becomes(plain)
                    tls = None
        await self._make(connection, sock, tls)

    def _made(self, connection: Connection, sock: socket.socket, task: asyncio.Task[object]) -> None:
        """Ends the making of a connection's transport; a failure is logged, and counted if it is the client's."""
        connection.making = None
        error = None if task.cancelled() else task.exception()
        if connection.is_gone:
            # It was never made, or is lost already, which is known then.
            sock.close()
            self.connections.forget(connection)
        elif task.cancelled() or error is not None:
            # uvloop closes a transport whose making is cut off at its last step, and does not say that it is lost.
            connection.abort()
            connection.connection_lost(error)
        if isinstance(error, ssl.SSLError):
            note_refused(self._counters, *TLS_FAILED, connection.address, tls_failure(error))
        elif isinstance(error, BadProxyHeader):
            note_refused(self._counters, *PROXY_HEADER, connection.address, str(error))
        elif error is not None and not isinstance(error, OSError):
            logger.error("a connection could not be set up", exc_info=error)

    def _has_room(self, descriptor: int, address: str) -> bool:
        """Returns whether there may be one connection more; counts and reports where not."""
        limits = self.limits
        if descriptor >= limits.descriptors:
            note_refused(self._counters, *DESCRIPTORS_SHORT, address, "file descriptors are short: see RLIMIT_NOFILE")
            return False
        if len(self.connections.accepted) < limits.connections:
            return True
        detail = f"too many connections: {limits.advice}"
        dropped = self._drop_idlest() if limits.idlest_gives_way else None
        note_refused(self._counters, *CONNECTIONS_REFUSED, address if dropped is None else dropped.address, detail)
        return dropped is not None

    def _drop_idlest(self) -> Connection | None:
        """Drops the connection that has done nothing for longest, and returns it; None where there is none to drop."""
        made = [connection for connection in self.connections.accepted if not connection.is_gone]
        if not made:
            return None
        idlest = min(made, key=lambda connection: connection.wire.due)
        idlest.abort()
        self.connections.accepted.discard(idlest)
        return idlest

    def _on_shortage(self, error: OSError, turned_away: list[str]) -> None:
        """Logs that nobody could be accepted, and counts those who were turned away."""
        text = f"no connection can be accepted: {error.strerror}"
        for address in turned_away:
            note_refused(self._counters, *DESCRIPTORS_SHORT, address, text)
        if not turned_away:
            # Gathered as what is said of clients is: it comes with each look.
            logger.warning(text, extra={"remote": ""})

    # Deadlines.

    def _sweep(self) -> None:
        """Lets the wires whose deadline has come do what is due, and schedules the next sweep."""
        now = self._clock()
        judged_by = Instant(self._lateness.look(now.monotonic), now.unix)
        for connection in list(self.connections.accepted):
            if connection.wire.due <= judged_by.monotonic:
                connection.expire(judged_by)
        self._lateness.expect(self._clock().monotonic + self._sweep_seconds)
        self._sweep_handle = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)
