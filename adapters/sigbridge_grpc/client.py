"""A client of the gRPC protocol: one `Signal` stream, and the unary calls beside it.

Rule 1: one task writes and one reads, so that a caller that gives up never breaks a write that others need. Rule 2: the
end of the stream is told to every caller, with the server's own word for it where it sent one.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.messages import Authenticate, Health, HealthCheck, ListPeers, PeerList, Reply, Request
from sigbridge.settings.connections import CLIENT_KEEPALIVE_SECONDS
from sigbridge_grpc import status, translate
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.access import NO_ACCESS, Access
from sigbridge_net.client_session import ClientSession, again
from sigbridge_net.errors import AccessError
from sigbridge_net.reaching import tls_hint
from sigbridge_net.refusals import advice_of_status

logger = logging.getLogger("sigbridge.grpc.client")

CONNECT_TIMEOUT_SECONDS = 10.0
PROXY_PATIENCE_SECONDS = 0.5
"""Time that the server's initial metadata may take before a proxy is thought to keep it."""
CLOSE_TIMEOUT_SECONDS = 5.0
UNARY_TIMEOUT_SECONDS = 10.0

_Metadata: TypeAlias = tuple[tuple[str, str], ...]
_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

# Codes that the library gives to calls whose connection was lost, or never came to be.
_CONNECTION_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)

_CONNECTION_LOST = DisconnectReason.CONNECTION_LOST.word

# What the library makes of a stream that ended while a message was being written, whose own status is then lost, and of
# one that was reset before it had a status.
_LOST = re.compile(r"^Internal error from Core|Received RST_STREAM with error code")

# How it cites a response that is none of gRPC, but a page of a proxy or of another server.
_PAGE = re.compile(r"(?:header with status:|HTTP status) (\d{3})\b")

_ADVICE = {
    grpc.StatusCode.PERMISSION_DENIED: False,
    grpc.StatusCode.INTERNAL: True,
    grpc.StatusCode.UNKNOWN: True,
    grpc.StatusCode.RESOURCE_EXHAUSTED: True,
    grpc.StatusCode.ABORTED: True,
    grpc.StatusCode.DATA_LOSS: True,
}
"""The advice to come back, or not to, after a status with which a server says nothing else."""

# The library's tasks of a call: of a stream the one that begins it, of a unary call the one that carries it out.
_LIBRARY_TASKS = ("_initializer", "_call_response")

_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    # A page of a listing may be larger than what the library takes by default.
    ("grpc.max_receive_message_length", -1),
]


class GrpcSignalingClient(ClientSession):
    """A session over gRPC. Begin one with `connect`."""

    def __init__(self, channel: grpc.aio.Channel, call: _Call, metadata: _Metadata = ()) -> None:
        super().__init__()
        self._metadata = metadata
        self._channel = channel
        self._call = call
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        """Messages to be written; `None` ends our side of the stream."""
        self._writer = asyncio.create_task(self._write(), name="grpc-client-writer")
        self._reader = asyncio.create_task(self._read(), name="grpc-client-reader")

    @classmethod
    async def connect(
        cls,
        target: str,
        *,
        secure: bool = False,
        access: Access = NO_ACCESS,
        keepalive_seconds: float = CLIENT_KEEPALIVE_SECONDS,
        own_connection: bool = False,
    ) -> "GrpcSignalingClient":
        """Opens a session with the server at `target` (`HOST:PORT`, or `unix:/PATH`); its stream stands on return.

        It sends a small request whenever nothing was sent for `keepalive_seconds`; 0: never. Sessions of one process
        share a connection, but those that have an `own_connection`: who comes back needs one that is not dead.

        :raises ConnectionClosed: if there is no server, or it refuses the session.
        :raises AccessError: if the token cannot be sent.
        """
        metadata = _metadata(access)
        options = [("grpc.use_local_subchannel_pool", 1)] if own_connection else []
        channel = _channel(target, secure=secure, access=access, options=options)
        call: _Call = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)(None, metadata=metadata)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                # The server's word; `wait_for_connection` alone is content when ours is sent.
                await _begin(call)
                await call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            await _end(channel, call)
            closed = _closed(error)
            if closed.reason == _CONNECTION_LOST:
                closed = await _cannot_connect(target, access.hidden_in(error.details() or ""), secure=secure)
            raise closed from error
        except TimeoutError as error:
            await _end(channel, call)
            raise ConnectionClosed(f"cannot connect to {target}: no response", reconnect=True) from error
        except BaseException:
            await _end(channel, call)
            raise
        client = cls(channel, call, metadata)
        client.keep_alive(keepalive_seconds)
        return client

    async def call(self, request: Request) -> Reply:
        """Sends one request and waits for its reply; see `SignalingClient.call`.

        :raises SignalingError: if the server refuses the request.
        :raises ConnectionClosed: if the connection ends first.
        """
        if isinstance(request, HealthCheck):
            if self._ended is not None:
                raise again(self._ended)
            try:
                return await _health(self._channel, self._metadata)
            except ConnectionClosed as lost:
                # The session's end says why, where it has come first.
                raise again(self.closed or lost) from lost
        reply = await super().call(request)
        if isinstance(request, Authenticate) and request.token.isascii() and request.token.isprintable():
            # Calls beside the session show what it shows, as far as metadata can carry that.
            self._metadata = _metadata(Access(token=request.token))
        return reply

    async def close(self) -> None:
        """Leaves and closes the connection; harmless when it is closed already.

        A server that does not end the session is waited for `CLOSE_TIMEOUT_SECONDS` at most.
        """
        self._outgoing.put_nowait(None)
        await asyncio.wait({self._reader}, timeout=CLOSE_TIMEOUT_SECONDS)
        # Ends a reader whose server does not respond.
        _cancel(self._call)
        await asyncio.gather(self._writer, self._reader, return_exceptions=True)
        await _end(self._channel, self._call)

    def _abort(self) -> None:
        _cancel(self._call)

    async def _send(self, number: int, request: Request) -> None:
        self._outgoing.put_nowait(translate.request_to_proto(request, str(number)).SerializeToString())

    async def _write(self) -> None:
        """Writes the queued messages one after the other, until None half-closes the stream."""
        write = _write_of(self._call)
        # A stream that has ended ends its writes, too; why it did is the reader's to find out.
        with contextlib.suppress(Exception):
            while (message := await self._outgoing.get()) is not None:
                await write(message)
            await self._call.done_writing()

    async def _read(self) -> None:
        """Reads messages until the stream ends, and tells the session how it ended."""
        closed = ConnectionClosed("protocol_error", False)
        try:
            while isinstance(message := await self._call.read(), bytes):
                self._take(pb.SignalingResponse.FromString(message))
            closed = status.closed_from_trailers(await self._call.trailing_metadata() or (), "client_left")
        except grpc.aio.AioRpcError as error:
            closed = _closed(error)
        except asyncio.CancelledError:
            closed = ConnectionClosed("client_left")
            raise
        except Exception:
            logger.exception("the server sent an invalid message")
        finally:
            self._call.cancel()
            self._writer.cancel()
            self._on_end(closed)

    def _take(self, response: pb.SignalingResponse) -> None:
        """Takes a message of the server: an event, or the reply to a request."""
        if response.HasField("notification"):
            event = translate.event_from_proto(response.notification)
            if event is not None:
                self._on_event(event, response.seq)
            return
        if not response.request_id.isdecimal():
            return
        number = int(response.request_id)
        request = self._request_of(number)
        if request is not None:
            self._on_reply(number, translate.reply_from_proto(response, request))


def _write_of(call: _Call) -> Callable[[bytes], Awaitable[None]]:
    """Returns the function that writes a message on a call: the one beneath the library's `write`, if there is one.

    When a stream ends while something is being written, `write` makes an error of its own the call's status, and what
    the server has said is lost.
    """
    inner = getattr(call, "_cython_call", None)
    write: Callable[[bytes], Awaitable[None]] = getattr(inner, "send_serialized_message", call.write)
    return write


async def _end(channel: grpc.aio.Channel, call: _Call) -> None:
    """Closes a channel, and lets go of its stream; see `_let_go`."""
    await channel.close(None)
    _cancel(call)
    _let_go(call)


def _let_go(call: Any) -> None:
    """Lets the library forget a call that has ended, and with which nothing is done from here on.

    A channel that is closed goes on for as long as anybody has a call of it: it keeps its connection, or connects again
    and again to a server that it has not reached. The traceback of an error has the call, and who is told of the error
    has that. Where a task of the library still works on the call, it is forgotten when that ends. Harmless when it is
    forgotten already.
    """
    for name in _LIBRARY_TASKS:
        task: asyncio.Task[Any] | None = vars(call).get(name)
        if task is not None and not task.done():
            task.add_done_callback(lambda _: vars(call).pop("_cython_call", None))
            return
    vars(call).pop("_cython_call", None)


def _cancel(call: Any) -> None:
    """Cancels a call; harmless when the library has forgotten it."""
    if hasattr(call, "_cython_call"):
        call.cancel()


async def _begin(call: _Call) -> None:
    """Waits for the server's initial metadata.

    Some proxies (nginx with TLS) keep it back until they have a message to send along. So if it does not come, a
    request is sent that means nothing: its response has no number, and nobody waits for it.

    :raises AioRpcError: if the call ends instead.
    """
    metadata = asyncio.ensure_future(call.initial_metadata())
    try:
        await asyncio.wait({metadata}, timeout=PROXY_PATIENCE_SECONDS)
        if not metadata.done():
            question = translate.request_to_proto(ListPeers(page_size=1), "")
            # Where the call has just ended, its status says why.
            with contextlib.suppress(asyncio.InvalidStateError):
                await call.write(question.SerializeToString())
        await metadata
    finally:
        metadata.cancel()


async def get_peers(
    target: str,
    *,
    room: str | None = None,
    page_size: int = 0,
    page_token: str = "",
    secure: bool = False,
    access: Access = NO_ACCESS,
) -> PeerList:
    """Returns a page of a room's peers, without a session.

    :raises SignalingError: if the request is refused.
    :raises ConnectionClosed: if there is no server.
    """
    question = translate.list_peers_to_proto(ListPeers(room, page_size, page_token), pb.GetPeersRequest)
    async with _channel(target, secure=secure, access=access) as channel:
        try:
            response = await _unary(channel, "GetPeers", question.SerializeToString(), _metadata(access))
        except ConnectionClosed as closed:
            lost = closed.reason == _CONNECTION_LOST
            hint = await _hint(target, secure=secure) if lost else ""
            if not hint:
                raise
            raise ConnectionClosed(f"cannot connect to {target}: {hint}", reconnect=False) from closed
    return translate.page_from_proto(pb.GetPeersResponse.FromString(response))


async def _health(channel: grpc.aio.Channel, metadata: _Metadata) -> Health:
    response = await _unary(channel, "HealthCheck", pb.HealthCheckRequest().SerializeToString(), metadata)
    return translate.health_from_proto(pb.HealthCheckResponse.FromString(response))


async def _unary(channel: grpc.aio.Channel, method: str, message: bytes, metadata: _Metadata) -> bytes:
    """Calls a unary method; returns its response.

    :raises SignalingError: if the server refuses it.
    :raises ConnectionClosed: if there is no connection.
    """
    call = channel.unary_unary(f"/{SERVICE_NAME}/{method}", None, None)(
        message, timeout=UNARY_TIMEOUT_SECONDS, metadata=metadata
    )
    try:
        response: bytes = await call
    except grpc.aio.AioRpcError as error:
        if _is_lost(error):
            raise _closed(error) from error
        code = translate.code_from_number(error.code().value[0])
        retry = status.retry_from_trailers(error.trailing_metadata() or ())
        extra = {} if retry is None else {"retry_after_ms": retry}
        raise SignalingError(code, error.details() or code.name, **extra) from error
    finally:
        _let_go(call)
    return response


def _metadata(access: Access) -> _Metadata:
    """Returns the metadata that carries the token.

    :raises AccessError: if the token is not ASCII.
    """
    if not access.token:
        return ()
    if not access.token.isascii():
        raise AccessError("the API token holds what gRPC cannot carry: expected letters of ASCII")
    return (("authorization", f"Bearer {access.token}"),)


def _channel(target: str, *, secure: bool, access: Access, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
    """Returns a channel to a target, with TLS if it is `secure`."""
    all_options = [*_CHANNEL_OPTIONS, *options]
    if secure:
        certificate = Path(access.certificate_file).read_bytes() if access.certificate_file else None
        # The library would end the process over a certificate without a key, or the other way round.
        key = Path(access.key_file or access.certificate_file).read_bytes() if access.certificate_file else None
        credentials = grpc.ssl_channel_credentials(access.root_certificates, key, certificate)
        # A unix socket is on this machine, and its path is no name that a certificate could have.
        named = [("grpc.ssl_target_name_override", "localhost")] if target.startswith("unix:") else []
        return grpc.aio.secure_channel(target, credentials, options=all_options + named)
    return grpc.aio.insecure_channel(target, options=all_options)


async def _cannot_connect(target: str, details: str, *, secure: bool) -> ConnectionClosed:
    """Returns the end of a connection that was never made, with a hint about TLS, else the library's reason."""
    hint = await _hint(target, secure=secure)
    page = _PAGE.search(details)
    advice = False if hint else advice_of_status(int(page[1])) if page else True
    return ConnectionClosed(f"cannot connect to {target}: {hint or details}", advice)


async def _hint(target: str, *, secure: bool) -> str:
    scheme = "grpcs" if secure else "grpc"
    return await tls_hint(f"{scheme}+unix" if target.startswith("unix:") else scheme, target, secure=secure)


def _closed(error: grpc.aio.AioRpcError) -> ConnectionClosed:
    """Reads the end of a call: the server's word, else the library's status."""
    trailers, details = error.trailing_metadata() or (), error.details() or ""
    if _is_lost(error):
        return status.closed_from_trailers(trailers, _CONNECTION_LOST)
    page = _PAGE.search(details)
    advice = advice_of_status(int(page[1])) if page else _ADVICE.get(error.code())
    return status.closed_from_trailers(trailers, error.code().name.lower(), advice)


def _is_lost(error: grpc.aio.AioRpcError) -> bool:
    """Returns whether a call has ended without the server's own status."""
    return error.code() in _CONNECTION_CODES or _LOST.search(error.details() or "") is not None
