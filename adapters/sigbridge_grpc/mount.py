"""The service on a `grpc.aio.Server`, beside whatever else that serves.

Rule 1: one task of a stream reads, its other task writes: two writes at once lose messages in silence. Rule 2: a write
is never timed out and a read never cancelled to be tried again: either poisons the stream. Rule 3: whatever ends a
session, what waits for its client is written first where the client reads, and then the call ends with the status and
trailers of the reason. Rule 4: no text of an exception leaves the server.

A client that does not read blocks its writer, and no call of grpc.aio ends that. The hub forgets its peer at the send
deadline all the same; the call itself ends with its connection, by age at the latest. Unary calls of such a client wait
before they are carried out (`unary_backlog.py`).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import grpc.aio

from sigbridge import errors
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError
from sigbridge.floods import FloodCounts
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.messages import HealthCheck, ListPeers
from sigbridge.refused import note_refusal
from sigbridge.session import Caller, Session
from sigbridge.settings import Settings
from sigbridge_grpc import status
from sigbridge_grpc.credentials import address_of, connection_address_of
from sigbridge_grpc.interceptors import STATUS_CODES, judged_of
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.stream_turns import ConnectionTurns, StreamTurns
from sigbridge_grpc.unary_backlog import UnaryBacklog
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_net.forwarding import forwarding_of
from sigbridge_net.pacing import pace_leaving

logger = logging.getLogger("sigbridge.grpc")

Clock: TypeAlias = Callable[[], Instant]
_Context: TypeAlias = "grpc.aio.ServicerContext[object, bytes]"
"""Context of a call; what it reads is bytes, or `grpc.aio.EOF`, which has no type of its own."""

_Unary: TypeAlias = Callable[[bytes, Caller, Instant], bytes]

CANCELLATION_FOLLOWS_SECONDS = 0.01
"""A call that is cancelled or lost reads as ended first, and is cancelled within a millisecond after. So long an end is
looked at before it counts as the client's word that it leaves."""
LIBRARY_LIMIT_FACTOR = 4
"""Ratio of the library's own message limit to ours, so that ours is the one that clients meet."""
STREAMS_PER_SESSION = 2
"""Most streams for each session that the hub allows: a client that does not read outlives its own."""
LEAST_PING_INTERVAL_SECONDS = 5.0
"""Clients that ping more often than this are sent away; the library's own limit is five minutes."""


def server_options(settings: Settings) -> list[tuple[str, Any]]:
    """Returns the options with which a `grpc.aio.server` keeps the promises of `settings`."""
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", _milliseconds(settings.ping_interval_seconds)),
        ("grpc.keepalive_timeout_ms", _milliseconds(settings.ping_timeout_seconds)),
        # What really decides when a silent client is gone; it is 60 s otherwise, whatever the option above says.
        ("grpc.http2.ping_timeout_ms", _milliseconds(settings.ping_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # The often quoted `min_recv_ping_interval_without_data_ms` is ignored without a word.
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(LEAST_PING_INTERVAL_SECONDS)),
        # Two minutes otherwise, for TLS and the greeting of HTTP/2.
        ("grpc.server_handshake_timeout_ms", _milliseconds(settings.handshake_timeout_seconds)),
        # Otherwise two servers on one port both start, and each gets half of the connections.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", LIBRARY_LIMIT_FACTOR * settings.max_message_bytes),
        # What we send is bounded by what the hub makes.
        ("grpc.max_send_message_length", -1),
    ]
    if settings.grpc_max_connection_age_seconds:
        options += [
            ("grpc.max_connection_age_ms", _milliseconds(settings.grpc_max_connection_age_seconds)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(settings.shutdown_grace_seconds)),
        ]
    if settings.grpc_max_connection_idle_seconds:
        options.append(("grpc.max_connection_idle_ms", _milliseconds(settings.grpc_max_connection_idle_seconds)))
    return options


def add_signaling(
    server: grpc.aio.Server, hub: Hub, *, clock: Clock = read_clock, run_timer: bool = True
) -> "MountedSignaling":
    """Serves the hub on a gRPC server that has not been started yet.

    The hub needs a timer: with `run_timer` it runs from the first call on, until `MountedSignaling.stop`; a caller that
    runs one for this hub already passes `False`. Make the server with `server_options`.
    """
    mounted = MountedSignaling(hub, clock=clock, run_timer=run_timer)
    # No (de)serializers: what arrives is bytes, so that a message which is no protobuf can have a response.
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Signal": grpc.stream_stream_rpc_method_handler(mounted.signal),
        "GetPeers": grpc.unary_unary_rpc_method_handler(mounted.get_peers),
        "HealthCheck": grpc.unary_unary_rpc_method_handler(mounted.health_check),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    return mounted


class MountedSignaling:
    """The service as it is mounted on one server: its three methods, and the streams that are open."""

    def __init__(self, hub: Hub, *, clock: Clock, run_timer: bool) -> None:
        self._hub = hub
        self._service = SignalingService(hub)
        self._clock = clock
        self._timer = HubTimer(hub) if run_timer else None
        self._streams: set[asyncio.Task[Any]] = set()
        self._turns = StreamTurns()
        self._unary = UnaryBacklog(hub.settings)
        self._floods = FloodCounts()
        """The unary calls that the rate limit has refused, by the connection's remote address and port."""
        self._forwarding = forwarding_of(hub.settings)

    @property
    def stream_count(self) -> int:
        """Number of `Signal` calls that have not ended yet, those of clients that do not read included."""
        return len(self._streams)

    async def drain(self, grace_seconds: float) -> int:
        """Ends every session with `draining` and waits until their streams have ended, at most so many seconds.

        In the first half of these, sessions that asked for notices are told, and nobody is let in any more; with none
        of them, all end at once. Returns how many streams have not ended: their clients do not read. `server.stop`
        ends these.
        """
        ends_at = self._clock().monotonic + grace_seconds
        await pace_leaving(self._hub, grace_seconds / 2, clock=self._clock)
        self._hub.drain(self._clock())
        if self._streams:
            await asyncio.wait(self._streams, timeout=max(ends_at - self._clock().monotonic, 0.0))
        self.stop()
        return len(self._streams)

    def stop(self) -> None:
        """Stops the hub's timer, where it is run here."""
        if self._timer is not None:
            self._timer.stop()

    # The three methods. The first argument of `signal` is the iterator that grpc.aio offers instead of `context.read`.

    async def signal(self, _: object, context: _Context) -> None:
        """Serves the session of one `Signal` stream until it ends; refuses it if there are too many streams."""
        if self._timer is not None:
            self._timer.start()
        most = STREAMS_PER_SESSION * self._hub.settings.max_sessions
        if len(self._streams) >= most:
            error = errors.too_many_streams("SIGNALING_MAX_SESSIONS", most)
            note_refusal(self._hub.counters, "grpc", error, self._caller(context).address)
            await _refuse(context, error)
        peer = context.peer()
        stream = _Stream(self._service, context, self._caller(context), self._clock, self._turns.join(peer))
        task = cast(asyncio.Task[Any], asyncio.current_task())
        self._streams.add(task)
        try:
            await stream.run()
        finally:
            self._streams.discard(task)
            self._turns.leave(peer)

    async def get_peers(self, message: bytes, context: _Context) -> bytes:
        """Returns the peers of a room, without a session."""
        return await self._respond(self._service.get_peers, ListPeers.kind, message, context)

    async def health_check(self, message: bytes, context: _Context) -> bytes:
        """Responds to `HealthCheck`."""
        return await self._respond(self._service.health_check, HealthCheck.kind, message, context)

    async def _respond(self, method: _Unary, kind: str, message: bytes, context: _Context) -> bytes:
        """Carries out a unary call as soon as the backlog allows it; returns the response, or ends the call."""
        if self._timer is not None:
            # Its callers count against limits, too, and must be forgotten again.
            self._timer.start()
        try:
            return await self._unary.carry_out(context, lambda: method(message, self._caller(context), self._clock()))
        except SignalingError as refusal:
            error = refusal.bare()
            self._count_refusal(error, kind, context)
        except Exception:
            logger.exception("%s failed", method.__name__)
            error = errors.internal_error()
        return await _refuse(context, error)

    def _count_refusal(self, error: SignalingError, kind: str, context: _Context) -> None:
        """Counts a request that came too soon; its client is held off if it floods with these.

        Its connection goes on: the library has no way to end it.
        """
        retry_after_ms = error.retry_after_ms
        if retry_after_ms is None:
            return
        now, caller = self._clock(), self._caller(context)
        if caller.address != connection_address_of(context):
            # A proxy shares the connection among its clients.
            floods = self._forwarding.count_too_soon(caller.address, kind, retry_after_ms, now)
        else:
            floods = self._floods.count(context.peer(), kind, retry_after_ms, now.monotonic)
        if floods:
            self._hub.hold_off(caller.identity, caller.address, now)

    def _caller(self, context: _Context) -> Caller:
        """Returns the client of a call, by its credentials, address and metadata."""
        said = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        judged = judged_of(context)
        return Caller(
            judged.identity,
            address_of(context, self._forwarding),
            said.get("user-agent", ""),
            said.get("traceparent", ""),
            judged.authenticator,
            judged.certificate,
        )


class _Stream:
    """One `Signal` call. The call's own task writes; a second one reads."""

    # Five parameters: whom the stream is for, and what it has there.
    def __init__(
        self, service: SignalingService, context: _Context, caller: Caller, clock: Clock, turns: ConnectionTurns
    ) -> None:
        self._service = service
        self._caller = caller
        self._turns = turns
        self._hub = service.hub
        self._context = context
        self._clock = clock
        self._to_write = asyncio.Event()
        """Set when the outbox has something, and when the session has ended."""
        self._to_read = asyncio.Event()
        """Set when the reader may go on: the response is queued, the outbox has room, or the session has ended."""

    async def run(self) -> None:
        """Opens a session, reads and writes until it ends, and ends the call with the status of the reason."""
        context = self._context
        try:
            session = self._service.open(self._caller, self._on_end, self._clock())
        except SignalingError as error:
            await _refuse(context, error)
        except Exception:
            logger.exception("a session could not be opened")
            failed = DisconnectReason.INTERNAL_ERROR
            await _abort(context, status.code_of(failed), status.message_of(failed), status.trailers_of(failed))
        session.share = self._turns.share
        session.outbox.wake = self._to_write.set
        session.on_ready = self._on_ready
        reader: asyncio.Task[None] | None = None
        try:
            # At once, so that a client knows that its stream stands before it has said anything.
            await context.send_initial_metadata(())
            reader = asyncio.create_task(self._read(session), name=f"grpc-reader-{session.id}")
            await self._write(session)
        except asyncio.CancelledError:
            # The call has ended under our hands: nobody is left to tell.
            self._close(session, DisconnectReason.CONNECTION_LOST)
            raise
        except grpc.aio.BaseError:
            self._close(session, DisconnectReason.CONNECTION_LOST)
        except Exception:
            logger.exception("session %s: writing failed", session.id)
            self._close(session, DisconnectReason.INTERNAL_ERROR)
        finally:
            if reader is not None:
                # It reads nothing any more; cancelled, it does not outlive the call.
                reader.cancel()
        reason = session.end_reason or DisconnectReason.CLIENT_LEFT
        trailers = status.trailers_of(reason, self._hub.retry_after_ms(session, reason))
        if reason is DisconnectReason.CLIENT_LEFT:
            context.set_trailing_metadata(trailers)
            return
        await _abort(context, status.code_of(reason), status.message_of(reason), trailers)

    def _on_end(self, _: DisconnectReason) -> None:
        self._to_write.set()
        self._to_read.set()

    def _on_ready(self, _: Instant) -> None:
        self._to_read.set()

    def _close(self, session: Session, reason: DisconnectReason) -> None:
        self._hub.end(session, reason, self._clock())

    async def _write(self, session: Session) -> None:
        """Writes what the outbox holds, until the session has ended and its client was told what was queued."""
        outbox = session.outbox
        give_up_at: float | None = None
        while True:
            if not session.open:
                now = self._clock().monotonic
                if give_up_at is None:
                    give_up_at = now + self._hub.settings.close_timeout_seconds
                if session.end_reason is DisconnectReason.SLOW_CONSUMER or now >= give_up_at:
                    outbox.clear()
                    return
            frame = outbox.peek()
            if frame is not None:
                # It stays in the outbox until it is written, so that the hub sees how long that takes.
                await self._context.write(frame)
                if outbox.peek() is frame:
                    outbox.pop()
                if not outbox.crowded:
                    self._to_read.set()
            elif session.open:
                self._to_write.clear()
                await self._to_write.wait()
            else:
                return

    async def _read(self, session: Session) -> None:
        """Reads requests one after the other, until the client or the hub ends the session."""
        try:
            while session.open:
                # What arrives after the session has ended, the hub refuses.
                message = await self._context.read()
                if not isinstance(message, bytes):
                    await asyncio.sleep(CANCELLATION_FOLLOWS_SECONDS)
                    self._close(session, DisconnectReason.CLIENT_LEFT)
                    return
                await self._take(session, message)
        except grpc.aio.BaseError:
            self._close(session, DisconnectReason.CONNECTION_LOST)
        except Exception:
            logger.exception("session %s: reading failed", session.id)
            self._close(session, DisconnectReason.INTERNAL_ERROR)

    async def _take(self, session: Session, message: bytes) -> None:
        """Applies one request when its turn has come, and waits until the next one may be read."""
        await self._turns.wait()
        self._service.signal(session, message, self._clock())
        while session.open and (session.awaiting or session.outbox.crowded):
            self._to_read.clear()
            await self._to_read.wait()


async def _refuse(context: _Context, error: SignalingError) -> NoReturn:
    await _abort(context, error.code, error.message, status.trailers_of_refusal(error))


async def _abort(context: _Context, code: Code, message: str, trailers: tuple[tuple[str, str], ...] = ()) -> NoReturn:
    await context.abort(STATUS_CODES[int(code)], message, trailers)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
