"""The only code that touches sockets: accept, TLS, read, write, backpressure, timers, closing.

Rule 1: one write per connection and loop tick: whoever has something to say is put on a list, and the list is flushed
once, in slices: what takes longer goes on in the next tick, before those who were put on the list meanwhile.
Rule 2: the transport's own buffer stays near a fixed mark; what does not fit waits in the session's outbox, which
counts against its bound. Rule 3: one sweep for all connections, not a timer or a task each. Rule 4: a connection is
ended by telling (the end of the stream, then waiting for the client to close) and, where that takes too long, by force.
Rule 5: of what one client sends, a wire is given a little at a time, and everybody else has a turn between.
Rule 6: above the limit of connections a new one is closed before anything is made for it, TLS included; so it is where
it has got one of the last descriptors, which are for others.
Rule 7: a connection that is lost lets go of its wire, which holds the connection's `wake`: what a client has left
behind is freed at once, and waits for no cyclic collector.
Rule 8: a sweep that comes late, as after a freeze of the process, ends nobody whose bytes have not been read; see
`lateness.py`. Bytes that wait here for their turn have not been read either: their client is judged by the moment since
which they wait. Rule 9: where proxies must say whose a connection is, nothing of it is looked at before they have; see
`proxy_protocol.py`.

The states of a connection, and what leads from one to the next:

    making ──connection made──▶ open ──all is written, the wire has finished──▶ ending ──the client closes──▶ gone
       └──not made──▶ gone        └──lost, aborted (the wire has failed, or its deadline has passed)──▶ gone ◀──┘

While it is open, three things hold it up, each by itself; where none does it is `_flowing`, and takes the fast path:

    writing   the transport's buffer is over its mark            until the transport says that it may go on
    reading   the wire wants no input now, or is given the rest  until a flush finds that it does
    the rest  what has come is more than one turn's share        until turn after turn the wire was given all of it
"""

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple, cast

from sigbridge.addresses import AddressSet
from sigbridge.counters import CONNECTIONS_REFUSED, DESCRIPTORS_SHORT, PROXY_HEADER, TLS_FAILED, Counters
from sigbridge.instant import NEVER, Instant
from sigbridge.refused import note_refused
from sigbridge.settings import Settings, parse_addresses
from sigbridge_net.clock import read_clock
from sigbridge_net.first_bytes import begins_like_http
from sigbridge_net.lateness import Lateness
from sigbridge_net.listening import Bound, Listener, bind
from sigbridge_net.proxy_protocol import BadProxyHeader, client_address
from sigbridge_net.tls import certificate_of, tls_failure
from sigbridge_net.wire import Client, GoneWire, Wire, WireFactory

logger = logging.getLogger("sigbridge.net")

WRITE_BUFFER_BYTES = 65536
"""The mark up to which a transport's own buffer is filled."""
READ_BYTES = 16384
"""The bytes of one client that a wire is given in one loop tick: of the smallest frames, some milliseconds of work."""

FLUSH_SECONDS: Final = 0.005
"""The time in one loop tick for flushing connections, while everybody else waits; the rest follows in the next."""
FLUSHES_PER_LOOK: Final = 4
"""Connections that are flushed between two looks at the clock."""
WRITES_PER_FLUSH: Final = 4
"""The writes to one connection before the others have their turn."""

_GONE: Final[Wire] = GoneWire()

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
        self.begun_count = 0
        """Connections that there have been, those that are open included."""
        self._listeners: list[Listener] = []
        self._connections: set[Connection] = set()
        """All that were accepted and are not gone, those whose transport is still being made included."""
        self._to_flush: list[Connection] = []
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._lateness = Lateness()
        self._all_gone: asyncio.Event = asyncio.Event()
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
        return len(self._connections)

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
        self._all_gone.clear()
        for connection in list(self._connections):
            if connection.making is not None:
                connection.making.cancel()
            connection.drain(grace_seconds)
        if self._connections:
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._all_gone.wait()
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
                # A dropped transport reports its end in the next tick, whatever its client does.
                await self._all_gone.wait()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None

    # What listeners call.

    def _take(self, sock: socket.socket, address: str, port: "_Port") -> None:
        """Begins a connection that was accepted, or closes it where there is no room."""
        if not self._has_room(sock.fileno(), address):
            sock.close()
            return
        connection = Connection(self, port.wire_factory, address)
        self._connections.add(connection)
        if port.proxies is None:
            making = self._make_at(connection, sock, port)
        else:
            making = self._make_behind_proxy(connection, sock, port, port.proxies)
        connection.making = task = asyncio.get_running_loop().create_task(making)
        task.add_done_callback(partial(connection.made, sock))

    def _make_at(self, connection: "Connection", sock: socket.socket, port: "_Port") -> Coroutine[Any, Any, object]:
        """Makes the transport of a connection to a port."""
        if port.tls is None:
            return self._make(connection, sock, None)
        return self._make_secure(connection, sock, port.tls, port.plain)

    async def _make_behind_proxy(
        self, connection: "Connection", sock: socket.socket, port: "_Port", proxies: AddressSet
    ) -> None:
        """Makes the transport of a connection as soon as it is known whose it is."""
        async with asyncio.timeout(self._settings.handshake_timeout_seconds):
            connection.address = await client_address(sock, connection.address, proxies)
        await self._make_at(connection, sock, port)

    def _make(
        self, connection: "Connection", sock: socket.socket, tls: ssl.SSLContext | None
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
        self, connection: "Connection", sock: socket.socket, tls: ssl.SSLContext | None, plain: WireFactory | None
    ) -> None:
        """Makes the transport of a connection with TLS; of one whose client speaks HTTP without it, one to tell it."""
        if plain is not None:
            async with asyncio.timeout(self._settings.handshake_timeout_seconds):
                if await begins_like_http(sock):
                    connection.becomes(plain)
                    tls = None
        await self._make(connection, sock, tls)

    def _has_room(self, descriptor: int, address: str) -> bool:
        """Returns whether there may be one connection more; counts and reports where not."""
        limits = self.limits
        if descriptor >= limits.descriptors:
            note_refused(self._counters, *DESCRIPTORS_SHORT, address, "file descriptors are short: see RLIMIT_NOFILE")
            return False
        if len(self._connections) < limits.connections:
            return True
        detail = f"too many connections: {limits.advice}"
        dropped = self._drop_idlest() if limits.idlest_gives_way else None
        note_refused(self._counters, *CONNECTIONS_REFUSED, address if dropped is None else dropped.address, detail)
        return dropped is not None

    def _drop_idlest(self) -> "Connection | None":
        """Drops the connection that has done nothing for longest, and returns it; None where there is none to drop."""
        made = [connection for connection in self._connections if not connection.is_gone]
        if not made:
            return None
        idlest = min(made, key=lambda connection: connection.wire.due)
        idlest.abort()
        self._connections.discard(idlest)
        return idlest

    def _on_shortage(self, error: OSError, turned_away: list[str]) -> None:
        """Logs that nobody could be accepted, and counts those who were turned away."""
        text = f"no connection can be accepted: {error.strerror}"
        for address in turned_away:
            note_refused(self._counters, *DESCRIPTORS_SHORT, address, text)
        if not turned_away:
            # Gathered as what is said of clients is: it comes with each look.
            logger.warning(text, extra={"remote": ""})

    # What connections call.

    def _gone(self, connection: "Connection") -> None:
        """Forgets a connection that is closed, and tells whoever waits for all of them to be."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _flush(self) -> None:
        """Flushes the connections that were woken, with a look at the clock if they are many."""
        connections, self._to_flush = self._to_flush, []
        now = self._clock()
        if len(connections) <= FLUSHES_PER_LOOK:
            for connection in connections:
                connection.flush(now)
        else:
            self._flush_many(connections, now)

    def _flush_many(self, connections: "list[Connection]", now: Instant) -> None:
        """Flushes as many connections as there is time for; the others come before those who were woken meanwhile."""
        until = now.monotonic + FLUSH_SECONDS
        for at in range(0, len(connections), FLUSHES_PER_LOOK):
            if at and self._clock().monotonic >= until:
                if not self._to_flush:
                    asyncio.get_running_loop().call_soon(self._flush)
                self._to_flush = connections[at:] + self._to_flush
                return
            for connection in connections[at : at + FLUSHES_PER_LOOK]:
                connection.flush(now)

    def _sweep(self) -> None:
        """Lets the wires whose deadline has come do what is due, and schedules the next sweep."""
        now = self._clock()
        judged_by = Instant(self._lateness.look(now.monotonic), now.unix)
        for connection in list(self._connections):
            if connection.wire.due <= judged_by.monotonic:
                connection.expire(judged_by)
        self._lateness.expect(self._clock().monotonic + self._sweep_seconds)
        self._sweep_handle = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)


class Connection:
    """One accepted connection: moves bytes between a transport and a wire.

    An `asyncio.Protocol` in all but its class, which would keep this one from being compiled.
    """

    wire: Wire

    __slots__ = (
        "_carrier",
        "_eof_sent",
        "_flowing",
        "_read_paused",
        "_reading_on",
        "_scheduled",
        "_transport",
        "_unread",
        "_unread_since",
        "_wire_factory",
        "_write_paused",
        "address",
        "making",
        "wire",
    )

    def __init__(self, carrier: Carrier, wire_factory: WireFactory, address: str = "") -> None:
        self._carrier = carrier
        self.address = address
        """The address of its client, without a port; empty where it has none. Behind a proxy it changes once."""
        self._wire_factory = wire_factory
        self.wire = _GONE
        self.making: asyncio.Task[object] | None = None
        """The making of its transport, which with TLS takes a handshake; None when that is done."""
        self._transport: asyncio.Transport | None = None
        self._write_paused = False
        self._read_paused = False
        self._scheduled = False
        self._eof_sent = False
        self._unread = memoryview(b"")
        """Bytes that have arrived and wait for their turn; meanwhile nothing is read."""
        self._unread_since = NEVER
        """The moment since which there are such, and only their turn is waited for."""
        self._reading_on = False
        self._flowing = True
        """True where nothing is held up: not writing, not reading, nothing that arrived."""

    def becomes(self, wire_factory: WireFactory) -> None:
        """Sets the kind of wire that it will have, before its transport is made."""
        self._wire_factory = wire_factory

    @property
    def is_gone(self) -> bool:
        """True while nothing can be said to its client: before its transport is made, and when that is lost."""
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins; with TLS its handshake is done."""
        # uvloop's transports are asyncio's in all but their class.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        client = Client(self.address, certificate_of(transport.get_extra_info("peercert")))
        self.wire = self._wire_factory(client, self.wake, read_clock())
        self._carrier.begun_count += 1

    def made(self, sock: socket.socket, task: asyncio.Task[object]) -> None:
        """Ends the making of its transport; a failure is logged, and counted if it is the client's."""
        self.making = None
        error = None if task.cancelled() else task.exception()
        if self.is_gone:
            # It was never made, or is lost already, which is known then.
            sock.close()
            self._carrier._gone(self)
        elif task.cancelled() or error is not None:
            # uvloop closes a transport whose making is cut off at its last step, and does not say that it is lost.
            self.abort()
            self.connection_lost(error)
        if isinstance(error, ssl.SSLError):
            note_refused(self._carrier._counters, *TLS_FAILED, self.address, tls_failure(error))
        elif isinstance(error, BadProxyHeader):
            note_refused(self._carrier._counters, *PROXY_HEADER, self.address, str(error))
        elif error is not None and not isinstance(error, OSError):
            logger.error("a connection could not be set up", exc_info=error)

    def data_received(self, data: bytes) -> None:
        """Hands bytes to the wire; what they cause is written at the end of the tick."""
        if self._unread or len(data) > READ_BYTES:
            self._unread_since = min(self._unread_since, read_clock().monotonic)
            self._unread = memoryview(bytes(self._unread) + data)
            self._flowing = False
            if not self._reading_on:
                self._receive_more()
        else:
            # As `_receive` does, without a call: nearly all comes this way.
            try:
                self.wire.receive(data, read_clock())
            except Exception:
                self._log_and_abort()
        self.wake()

    def _receive(self, data: bytes) -> None:
        """Gives bytes to the wire; if it fails, the connection is dropped."""
        try:
            self.wire.receive(data, read_clock())
        except Exception:
            self._log_and_abort()

    def _receive_more(self) -> None:
        """Hands the next bytes of what waits to the wire."""
        self._reading_on = False
        data, self._unread = bytes(self._unread[:READ_BYTES]), self._unread[READ_BYTES:]
        if not self._unread:
            self._unread_since = NEVER
        if data:
            self._receive(data)
            self.wake()

    def _receive_rest(self) -> None:
        """Hands all that waits to the wire: its client has gone, and nothing more will come."""
        while self._unread:
            self._receive_more()

    def eof_received(self) -> None:
        """Hears that the client sends no more: the wire has its last word, then the transport closes itself."""
        self._receive_rest()
        try:
            self.wire.receive_eof(read_clock())
        except Exception:
            self._log_and_abort()
        self.flush(read_clock())

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone, for whatever reason."""
        if self._transport is None:
            return
        self._transport = None
        self._receive_rest()
        try:
            self.wire.connection_lost(read_clock())
        finally:
            self.wire = _GONE
            self._carrier._gone(self)

    def pause_writing(self) -> None:
        """The transport's buffer is over its mark."""
        self._write_paused = True
        self._flowing = False

    def resume_writing(self) -> None:
        """The transport's buffer is empty enough to go on."""
        self._write_paused = False
        self.wake()

    def wake(self) -> None:
        """Flushes at the end of this tick."""
        if not self._scheduled:
            self._scheduled = True
            waiting = self._carrier._to_flush
            if not waiting:
                asyncio.get_running_loop().call_soon(self._carrier._flush)
            waiting.append(self)

    def drain(self, grace_seconds: float = NEVER) -> None:
        """Lets the wire come to its end within this time."""
        try:
            self.wire.drain(read_clock(), grace_seconds)
        except Exception:
            self._log_and_abort()
        self.wake()

    def expire(self, now: Instant) -> None:
        """Lets the wire do what is due; where bytes wait for their turn, what was due before they came."""
        if self._unread_since < now.monotonic:
            now = Instant(self._unread_since, now.unix)
            if self.wire.due > now.monotonic:
                return
        try:
            self.wire.expire(now)
        except Exception:
            # The sweep goes on: it is everybody's.
            self._log_and_abort()
        if self.wire.aborted:
            self.abort()
        else:
            self.wake()

    def flush(self, now: Instant) -> None:
        """Writes what the wire has, as far as the transport takes it."""
        self._scheduled = False
        transport = self._transport
        if transport is None:
            return
        try:
            if self._flowing and not transport.is_closing():
                output = self.wire.fast_output(WRITE_BUFFER_BYTES, now)
                if output is not None:
                    if output:
                        transport.write(output[0] if len(output) == 1 else b"".join(output))
                    return
            self._write(transport, now)
        except Exception:
            self._log_and_abort()

    def _write(self, transport: asyncio.Transport, now: Instant) -> None:
        """Writes what there still is, then looks at everything that may follow from it."""
        if self.wire.successor is not None:
            self.wire = self.wire.successor
        wire = self.wire
        writes = 0
        while not self._write_paused and not self._eof_sent and not transport.is_closing():
            if writes == WRITES_PER_FLUSH:
                # There may be more, and an end behind that.
                self.wake()
                break
            output = wire.take_output(WRITE_BUFFER_BYTES, now)
            if not output:
                break
            transport.write(output[0] if len(output) == 1 else b"".join(output))
            writes += 1
        may_end = writes < WRITES_PER_FLUSH and wire.finished
        if may_end and not (self._eof_sent or self._write_paused or transport.is_closing()):
            self._send_eof(transport)
        reading = wire.reading()
        if self._unread:
            if not reading:
                # Its client holds it up: time runs on.
                self._unread_since = NEVER
            elif not self._reading_on:
                self._unread_since = min(self._unread_since, now.monotonic)
                self._reading_on = True
                asyncio.get_running_loop().call_soon(self._receive_more)
            reading = False
        self._set_reading(transport, reading)
        self._flowing = not (self._unread or self._read_paused or self._write_paused or self._eof_sent)

    def _send_eof(self, transport: asyncio.Transport) -> None:
        """Ends the stream, and waits for the client to close; the wire's deadline ends the wait."""
        self._eof_sent = True
        if not transport.can_write_eof():
            transport.close()
            return
        # Closing now would reset the connection where the client is still sending, and with it lose what the client has
        # not read yet.
        try:
            transport.write_eof()
        except OSError:
            # The client has reset the connection, and the event loop has not told us yet.
            transport.abort()

    def abort(self) -> None:
        """Drops the connection, with everything that is still to be written or looked at."""
        self._unread = memoryview(b"")
        if self._transport is not None:
            self._transport.abort()

    def _set_reading(self, transport: asyncio.Transport, reading: bool) -> None:
        """Pauses or resumes the transport's reading, if that changes."""
        if reading is self._read_paused and not transport.is_closing():
            self._read_paused = not reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _log_and_abort(self) -> None:
        """Logs a fault of ours, and drops its connection and no other."""
        logger.exception("a wire failed")
        self.abort()
