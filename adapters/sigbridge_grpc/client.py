"""A client of the gRPC protocol: one `Signal` stream, and the unary calls beside it.

Rule 1: one task writes and one reads, so that a caller that gives up never breaks a write that others need. Rule 2: the
end of the stream is told to every caller, with the server's own word for it where it sent one.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.messages import Authenticate, Health, HealthCheck, ListPeers, PeerList, Reply, Request
from sigbridge_grpc import status, translate
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.access import NO_ACCESS, Access
from sigbridge_net.client_session import ClientSession
from sigbridge_net.errors import AccessError
from sigbridge_net.reaching import tls_hint

logger = logging.getLogger("sigbridge.grpc.client")

CONNECT_TIMEOUT_SECONDS = 10.0
PROXY_PATIENCE_SECONDS = 0.5
"""How long the server's initial metadata may take before a proxy is thought to keep it."""
CLOSE_TIMEOUT_SECONDS = 5.0
UNARY_TIMEOUT_SECONDS = 10.0

_Metadata: TypeAlias = tuple[tuple[str, str], ...]
_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

# Codes that the library gives to calls whose connection was lost, or never came to be.
_CONNECTION_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)

_CONNECTION_LOST = DisconnectReason.CONNECTION_LOST.word

# What grpc.aio makes of a stream that ended while a message was being written; the server's own status is then lost.
_LOST_STATUS = "Internal error from Core"

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
        """What is to be written; `None` ends our side of the stream."""
        self._writer = asyncio.create_task(self._write(), name="grpc-client-writer")
        self._reader = asyncio.create_task(self._read(), name="grpc-client-reader")

    @classmethod
    async def connect(cls, target: str, *, secure: bool = False, access: Access = NO_ACCESS) -> "GrpcSignalingClient":
        """Open a session with the server at `target` (`HOST:PORT`, or `unix:/PATH`).

        Raises ConnectionClosed where there is no server, or it takes nobody in, AccessError where the token cannot be
        sent; the stream stands when this returns.
        """
        metadata = _metadata(access)
        channel = _channel(target, secure=secure, access=access)
        try:
            call: _Call = channel.stream_stream(f"/{SERVICE_NAME}/Signal", None, None)(None, metadata=metadata)
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                # The server's word; `wait_for_connection` alone is content when ours is sent.
                await _begin(call)
                await call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            await channel.close(None)
            closed = _closed(error)
            if closed.reason == _CONNECTION_LOST:
                closed = await _cannot_connect(target, access.hidden_in(error.details() or ""), secure=secure)
            raise closed from error
        except TimeoutError as error:
            await channel.close(None)
            raise ConnectionClosed(f"cannot connect to {target}: no answer", reconnect=True) from error
        except BaseException:
            await channel.close(None)
            raise
        return cls(channel, call, metadata)

    async def call(self, request: Request) -> Reply:
        """Send one request and wait for its reply; see `SignalingClient.call`."""
        if isinstance(request, HealthCheck):
            if self._ended is not None:
                raise ConnectionClosed(self._ended.reason, self._ended.reconnect)
            return await _health(self._channel, self._metadata)
        reply = await super().call(request)
        if isinstance(request, Authenticate) and request.token.isascii() and request.token.isprintable():
            # Calls beside the session show what it shows, as far as metadata can carry that.
            self._metadata = _metadata(Access(token=request.token))
        return reply

    async def close(self) -> None:
        """Leave and close the connection. Harmless when it is closed already."""
        self._outgoing.put_nowait(None)
        await asyncio.wait({self._reader}, timeout=CLOSE_TIMEOUT_SECONDS)
        # Ends a reader whose server does not answer.
        self._call.cancel()
        await asyncio.gather(self._writer, self._reader, return_exceptions=True)
        await self._channel.close(None)

    async def _send(self, number: int, request: Request) -> None:
        self._outgoing.put_nowait(translate.request_to_proto(request, str(number)).SerializeToString())

    async def _write(self) -> None:
        # A stream that has ended ends its writes, too; why it did is the reader's to find out.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while (message := await self._outgoing.get()) is not None:
                await self._call.write(message)
            await self._call.done_writing()

    async def _read(self) -> None:
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
            logger.exception("the server sent what is no message of the protocol")
        finally:
            self._call.cancel()
            self._writer.cancel()
            self._on_end(closed)

    def _take(self, response: pb.SignalingResponse) -> None:
        if response.HasField("notification"):
            event = translate.event_from_proto(response.notification)
            if event is not None:
                self._on_event(event)
            return
        if not response.request_id.isdecimal():
            return
        number = int(response.request_id)
        request = self._request_of(number)
        if request is not None:
            self._on_reply(number, translate.reply_from_proto(response, request))


async def _begin(call: _Call) -> None:
    """Wait for the server's initial metadata; AioRpcError where the call ends instead.

    Some proxies (nginx with TLS) keep it back until they have a message to send along. So a question that means nothing
    is asked where it does not come: its answer has no number, and nobody waits for it.
    """
    metadata = asyncio.ensure_future(call.initial_metadata())
    try:
        await asyncio.wait({metadata}, timeout=PROXY_PATIENCE_SECONDS)
        if not metadata.done():
            question = translate.request_to_proto(ListPeers(page_size=1), "")
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
    """A page of a room's peers, without a session.

    Raises SignalingError where it is refused, ConnectionClosed where there is no server.
    """
    question = translate.list_peers_to_proto(ListPeers(room, page_size, page_token), pb.GetPeersRequest)
    async with _channel(target, secure=secure, access=access) as channel:
        try:
            answer = await _unary(channel, "GetPeers", question.SerializeToString(), _metadata(access))
        except ConnectionClosed as closed:
            lost = closed.reason == _CONNECTION_LOST
            hint = await _hint(target, secure=secure) if lost else ""
            if not hint:
                raise
            raise ConnectionClosed(f"cannot connect to {target}: {hint}", reconnect=False) from closed
    return translate.page_from_proto(pb.GetPeersResponse.FromString(answer))


async def _health(channel: grpc.aio.Channel, metadata: _Metadata) -> Health:
    answer = await _unary(channel, "HealthCheck", pb.HealthCheckRequest().SerializeToString(), metadata)
    return translate.health_from_proto(pb.HealthCheckResponse.FromString(answer))


async def _unary(channel: grpc.aio.Channel, method: str, message: bytes, metadata: _Metadata) -> bytes:
    try:
        answer: bytes = await channel.unary_unary(f"/{SERVICE_NAME}/{method}", None, None)(
            message, timeout=UNARY_TIMEOUT_SECONDS, metadata=metadata
        )
    except grpc.aio.AioRpcError as error:
        if error.code() in _CONNECTION_CODES:
            raise _closed(error) from error
        code = translate.code_from_number(error.code().value[0])
        retry = status.retry_from_trailers(error.trailing_metadata() or ())
        extra = {} if retry is None else {"retry_after_ms": retry}
        raise SignalingError(code, error.details() or code.name, **extra) from error
    return answer


def _metadata(access: Access) -> _Metadata:
    if not access.token:
        return ()
    if not access.token.isascii():
        raise AccessError("the API token holds what gRPC cannot carry: expected letters of ASCII")
    return (("authorization", f"Bearer {access.token}"),)


def _channel(target: str, *, secure: bool, access: Access) -> grpc.aio.Channel:
    if secure:
        certificate = Path(access.certificate_file).read_bytes() if access.certificate_file else None
        # The library would end the process over a certificate without a key, or the other way round.
        key = Path(access.key_file or access.certificate_file).read_bytes() if access.certificate_file else None
        credentials = grpc.ssl_channel_credentials(access.root_certificates, key, certificate)
        # A unix socket is on this machine, and its path is no name that a certificate could have.
        named = [("grpc.ssl_target_name_override", "localhost")] if target.startswith("unix:") else []
        return grpc.aio.secure_channel(target, credentials, options=_CHANNEL_OPTIONS + named)
    return grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)


async def _cannot_connect(target: str, details: str, *, secure: bool) -> ConnectionClosed:
    """Returns the end of a connection that was never made, with what was probably meant, else the library's reason."""
    hint = await _hint(target, secure=secure)
    return ConnectionClosed(f"cannot connect to {target}: {hint or details}", reconnect=not hint)


async def _hint(target: str, *, secure: bool) -> str:
    scheme = "grpcs" if secure else "grpc"
    return await tls_hint(f"{scheme}+unix" if target.startswith("unix:") else scheme, target, secure=secure)


def _closed(error: grpc.aio.AioRpcError) -> ConnectionClosed:
    """How a call ended: the server's word, else the library's status."""
    if error.code() in _CONNECTION_CODES or (error.details() or "").startswith(_LOST_STATUS):
        return status.closed_from_trailers(error.trailing_metadata() or (), _CONNECTION_LOST)
    return status.closed_from_trailers(error.trailing_metadata() or (), error.code().name.lower())
