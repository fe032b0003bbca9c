"""Connections: each moves bytes between its transport and its wire, and all of them are flushed together.

Rule 1: one write per connection and loop tick: whoever has something to say is put on a list, and the list is flushed
once, in slices: what takes longer goes on in the next tick, before those who were put on the list meanwhile.
Rule 2: the transport's own buffer stays near a fixed mark; what does not fit waits in the session's outbox, which
counts against its bound. Rule 3: a connection is ended by telling (the end of the stream, then waiting for the client
to close) and, where that takes too long, by force. Rule 4: of what one client sends, a wire is given a little at a
time, and everybody else has a turn between. Bytes that wait here for their turn have not been read: their client is
judged by the moment since which they wait. Rule 5: a connection that is lost lets go of its wire, which holds the
connection's `wake`: what a client has left behind is freed at once, and waits for no cyclic collector.

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
from collections.abc import Callable
from typing import Final, cast

from sigbridge.instant import NEVER, Instant
from sigbridge_net.clock import read_clock
from sigbridge_net.tls import certificate_of
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


class Connection:
    """One accepted connection: moves bytes between a transport and a wire.

    An `asyncio.Protocol` in all but its class, which would keep this one from being compiled.
    """

    wire: Wire

    __slots__ = (
        "_connections",
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

    def __init__(self, connections: "Connections", wire_factory: WireFactory, address: str = "") -> None:
        self._connections = connections
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
        """True while it waits to be flushed."""
        self._eof_sent = False
        self._unread = memoryview(b"")
        """Bytes that have arrived and wait for their turn; meanwhile nothing is read."""
        self._unread_since = NEVER
        """The moment since which there are such, and only their turn is waited for."""
        self._reading_on = False
        """True while `_receive_more` is due in one of the next ticks."""
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
        self._connections.begun_count += 1

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
            self._connections.forget(self)

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
            waiting = self._connections.to_flush
            if not waiting:
                asyncio.get_running_loop().call_soon(self._connections.flush)
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


class Connections:
    """The connections of one carrier: those that there are, and those of them that have something to say."""

    def __init__(self, clock: Callable[[], Instant] = read_clock) -> None:
        """Begins without any; `clock` times flushes."""
        self._clock = clock
        self.accepted: set[Connection] = set()
        """All that were accepted and are not gone, those whose transport is still being made included."""
        self.begun_count = 0
        """Connections that there have been, those that are open included."""
        self.all_gone = asyncio.Event()
        """Set when the last one goes; who waits for that clears it before."""
        self.to_flush: list[Connection] = []
        """Those that have something to say, which are flushed at the end of this tick."""

    def forget(self, connection: Connection) -> None:
        """Forgets a connection that is closed, and tells whoever waits for all of them to be."""
        self.accepted.discard(connection)
        if not self.accepted:
            self.all_gone.set()

    def flush(self) -> None:
        """Flushes the connections that were woken, with a look at the clock if they are many."""
        connections, self.to_flush = self.to_flush, []
        now = self._clock()
        if len(connections) <= FLUSHES_PER_LOOK:
            for connection in connections:
                connection.flush(now)
        else:
            self._flush_many(connections, now)

    def _flush_many(self, connections: list[Connection], now: Instant) -> None:
        """Flushes as many connections as there is time for; the others come before those who were woken meanwhile."""
        until = now.monotonic + FLUSH_SECONDS
        for at in range(0, len(connections), FLUSHES_PER_LOOK):
            if at and self._clock().monotonic >= until:
                if not self.to_flush:
                    asyncio.get_running_loop().call_soon(self.flush)
                self.to_flush = connections[at:] + self.to_flush
                return
            for connection in connections[at : at + FLUSHES_PER_LOOK]:
                connection.flush(now)
