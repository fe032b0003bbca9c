"""The only code that touches sockets: accept, TLS, read, write, backpressure, timers, closing.

Rule 1: one write per connection and loop tick: whoever has something to say is put on a list, and the list is flushed
once, in slices: what takes longer goes on in the next tick, before those who were put on the list meanwhile.
Rule 2: the transport's own buffer stays near a fixed mark; what does not fit waits in the session's outbox, which
counts against its bound. Rule 3: one sweep for all connections, not a timer or a task each. Rule 4: a connection is
ended by telling (the end of the stream, then waiting for the client to close) and, where that takes too long, by force.
Rule 5: of what one client sends, a wire is given a little at a time, and everybody else has a turn between.
Rule 6: above the limit of connections a new one is closed before anything is made for it.
Rule 7: as many connections may wait to be accepted as the system lets, and a few are accepted in each turn of the loop.
Rule 8: a connection that is lost lets go of its wire, which holds the connection's `wake`: what a client has left
behind is freed at once, and waits for no cyclic collector.
Rule 9: a sweep that comes late, as after a freeze of the process, ends nobody whose bytes have not been read; see
`lateness.py`.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from sigbridge.counters import Counters
from sigbridge.instant import Instant
from sigbridge.settings import Settings, parse_address
from sigbridge_net.clock import read_clock
from sigbridge_net.errors import ListenError
from sigbridge_net.lateness import Lateness
from sigbridge_net.wire import Client, GoneWire, Wire, WireFactory

logger = logging.getLogger("sigbridge.net")

WRITE_BUFFER_BYTES = 65536
"""The mark up to which a transport's own buffer is filled."""
READ_BYTES = 16384
"""What a wire is given of one client's bytes in one loop tick: of the smallest frames, some milliseconds of work."""

FLUSH_SECONDS: Final = 0.005
"""The time in one loop tick for flushing connections, while everybody else waits; the rest follows in the next."""
FLUSHES_PER_LOOK: Final = 4
"""Connections that are flushed between two looks at the clock."""
WRITES_PER_FLUSH: Final = 4
"""The writes to one connection before the others have their turn."""

ACCEPTS_PER_TURN = 16
"""Connections that one address accepts in one turn of asyncio's loop; uvloop's accepts one."""
SYSTEM_BACKLOG = Path("/proc/sys/net/core/somaxconn")
"""The file in which Linux says how many connections may wait to be accepted; it cuts what a program asks for."""
DEFAULT_BACKLOG = 4096
"""The same where nothing says it."""

WARNING_PAUSE_SECONDS = 10.0
"""Between two lines of the log about connections that are refused."""

_GONE: Final[Wire] = GoneWire()

_SWEEPS_PER_TIMEOUT = 4
_LONGEST_SWEEP_SECONDS = 0.5


class Carrier:
    """The connections of one server, over any number of listeners and protocols."""

    def __init__(
        self, settings: Settings, counters: Counters | None = None, *, clock: Callable[[], Instant] = read_clock
    ) -> None:
        """Begins without connections; `counters` counts those that are refused, and `clock` times flushes."""
        self._clock = clock
        self._settings = settings
        self._counters = counters or Counters()
        self._refused = 0
        """Connections that were refused since the log said so."""
        self._warn_at = float("-inf")
        self.begun_count = 0
        """Connections that there have been, those that are open included."""
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._to_flush: list[Connection] = []
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._lateness = Lateness()
        self._all_gone: asyncio.Event = asyncio.Event()
        self._sweep_seconds = min(
            _LONGEST_SWEEP_SECONDS,
            min(
                settings.handshake_timeout_seconds,
                settings.ping_interval_seconds,
                settings.ping_timeout_seconds,
                settings.close_timeout_seconds,
                settings.message_timeout_seconds,
            )
            / _SWEEPS_PER_TIMEOUT,
        )

    @property
    def connection_count(self) -> int:
        """Connections that are open now, those that are being closed included."""
        return len(self._connections)

    async def listen(self, address: str, wire_factory: WireFactory, *, tls: ssl.SSLContext | None = None) -> int:
        """Serve a protocol on an address (`HOST:PORT`); returns the port, which the system chose where it was 0.

        Raises ListenError where the address is taken or not ours; nothing is listening then.
        """
        loop = asyncio.get_running_loop()
        host, port = parse_address(address)
        try:
            server = await loop.create_server(
                lambda: cast(asyncio.Protocol, Connection(self, wire_factory)),
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=self._settings.handshake_timeout_seconds if tls else None,
                ssl_shutdown_timeout=self._settings.close_timeout_seconds if tls else None,
                # What asyncio accepts in one turn, too, with everybody else waiting.
                backlog=ACCEPTS_PER_TURN,
                start_serving=True,
            )
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
        self._servers.append(server)
        if self._sweep_handle is None:
            self._lateness.expect(self._clock().monotonic)
            self._sweep()
        # Asyncio's are a tuple, uvloop's a list.
        sockets: Sequence[socket.socket] = cast(Any, server).sockets
        _let_wait(sockets, system_backlog(SYSTEM_BACKLOG))
        return int(sockets[0].getsockname()[1])

    async def stop_listening(self) -> None:
        """Accept nobody any more; connections stay."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def close(self, grace_seconds: float) -> None:
        """Wait until every connection is gone; those that are not gone after `grace_seconds` are dropped."""
        await self.stop_listening()
        self._all_gone.clear()
        for connection in list(self._connections):
            connection.drain()
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

    # What connections call.

    def _has_room(self) -> bool:
        """Whether there may be one connection more; counts and reports where not."""
        limit = self._settings.connection_limit
        if len(self._connections) < limit:
            return True
        self._counters.refusals["tcp", "connections"] += 1
        self._refused += 1
        moment = read_clock().monotonic
        if moment >= self._warn_at:
            self._warn_at = moment + WARNING_PAUSE_SECONDS
            logger.warning(
                "too many connections: see SIGNALING_MAX_CONNECTIONS", extra={"limit": limit, "refused": self._refused}
            )
            self._refused = 0
        return False

    def _opened(self, connection: "Connection") -> None:
        self._connections.add(connection)
        self.begun_count += 1

    def _gone(self, connection: "Connection") -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _flush(self) -> None:
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
        "_wire_factory",
        "_write_paused",
        "wire",
    )

    def __init__(self, carrier: Carrier, wire_factory: WireFactory) -> None:
        self._carrier = carrier
        self._wire_factory = wire_factory
        self._transport: asyncio.Transport | None = None
        self._write_paused = False
        self._read_paused = False
        self._scheduled = False
        self._eof_sent = False
        self._unread = memoryview(b"")
        """What has arrived and waits for its turn; meanwhile nothing is read."""
        self._reading_on = False
        self._flowing = True
        """Whether nothing is held up: not writing, not reading, nothing that arrived."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; with TLS its handshake is done."""
        # uvloop's transports are asyncio's in all but their class.
        transport = cast(asyncio.Transport, transport)
        if not self._carrier._has_room():
            transport.abort()
            return
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = self._wire_factory(_client(transport), self.wake, read_clock())
        self._carrier._opened(self)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the wire; what they cause is written at the end of the tick."""
        if self._unread or len(data) > READ_BYTES:
            self._unread = memoryview(bytes(self._unread) + data)
            self._flowing = False
            if not self._reading_on:
                self._receive_more()
        else:
            # As `_receive` does, without a call: nearly all comes this way.
            try:
                self.wire.receive(data, read_clock())
            except Exception:
                self._failed()
        self.wake()

    def _receive(self, data: bytes) -> None:
        try:
            self.wire.receive(data, read_clock())
        except Exception:
            self._failed()

    def _receive_more(self) -> None:
        """Hand the next bytes of what waits to the wire."""
        self._reading_on = False
        data, self._unread = bytes(self._unread[:READ_BYTES]), self._unread[READ_BYTES:]
        if data:
            self._receive(data)
            self.wake()

    def _receive_rest(self) -> None:
        """Hand all that waits to the wire: its client has gone, and nothing more will come."""
        while self._unread:
            self._receive_more()

    def eof_received(self) -> None:
        """The client sends no more: let the wire have its last word, then the transport closes itself."""
        self._receive_rest()
        try:
            self.wire.receive_eof(read_clock())
        except Exception:
            self._failed()
        self.flush(read_clock())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        if self._transport is None:
            # It was refused.
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
        """Flush at the end of this tick."""
        if not self._scheduled:
            self._scheduled = True
            waiting = self._carrier._to_flush
            if not waiting:
                asyncio.get_running_loop().call_soon(self._carrier._flush)
            waiting.append(self)

    def drain(self) -> None:
        """Let the wire come to its end."""
        try:
            self.wire.drain(read_clock())
        except Exception:
            self._failed()
        self.wake()

    def expire(self, now: Instant) -> None:
        """Let the wire do what is due."""
        try:
            self.wire.expire(now)
        except Exception:
            # The sweep goes on: it is everybody's.
            self._failed()
        if self.wire.aborted:
            self.abort()
        else:
            self.wake()

    def flush(self, now: Instant) -> None:
        """Write what the wire has, as far as the transport takes it."""
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
            self._failed()

    def _write(self, transport: asyncio.Transport, now: Instant) -> None:
        """Write what there still is, then look at everything that may follow from it."""
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
        more = writes == WRITES_PER_FLUSH
        if not more and wire.finished and not (self._eof_sent or self._write_paused or transport.is_closing()):
            self._eof_sent = True
            if transport.can_write_eof():
                # Closing now would reset the connection where the client is still sending, and with it lose what
                # the client has not read yet. The wire's deadline ends the wait.
                try:
                    transport.write_eof()
                except OSError:
                    # The client has reset the connection, and the event loop has not told us yet.
                    transport.abort()
            else:
                transport.close()
        reading = wire.reading()
        if self._unread:
            if reading and not self._reading_on:
                self._reading_on = True
                asyncio.get_running_loop().call_soon(self._receive_more)
            reading = False
        self._set_reading(transport, reading)
        self._flowing = not (self._unread or self._read_paused or self._write_paused or self._eof_sent)

    def abort(self) -> None:
        """Drop the connection, with everything that is still to be written or looked at."""
        self._unread = memoryview(b"")
        if self._transport is not None:
            self._transport.abort()

    def _set_reading(self, transport: asyncio.Transport, reading: bool) -> None:
        if reading is self._read_paused and not transport.is_closing():
            self._read_paused = not reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _failed(self) -> None:
        """A fault of ours costs its own connection and no other."""
        logger.exception("a wire failed")
        self.abort()


def system_backlog(path: Path) -> int:
    """Connections that the system lets wait at one address, as a file says; `DEFAULT_BACKLOG` where none does."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return DEFAULT_BACKLOG


def _let_wait(sockets: Sequence[socket.socket], count: int) -> None:
    """Lets so many connections wait at sockets that listen already: a second `listen` changes nothing else."""
    for sock in sockets:
        # What a loop gives is no socket of its own, and cannot listen.
        with socket.fromfd(sock.fileno(), sock.family, sock.type) as twin:
            twin.listen(count)


def _client(transport: asyncio.Transport) -> Client:
    name = transport.get_extra_info("peername")
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return Client(str(name[0]) if isinstance(name, tuple) else "", names[0] if names else None)
