"""A client that speaks JSON-RPC 2.0 over WebSocket."""

import asyncio
import contextlib
import logging
from typing import Any
from urllib.parse import urlsplit

import msgspec
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed as WebSocketClosed
from websockets.exceptions import InvalidStatus, WebSocketException

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError, invalid_params
from sigbridge.messages import Request
from sigbridge_net.access import NO_ACCESS, Access, shown_url
from sigbridge_net.client_session import ClientSession
from sigbridge_net.credentials import latin1_of_utf8
from sigbridge_net.reaching import tls_hint, unix_path
from sigbridge_net.refusals import RETRY_HEADER, WORD_HEADER, closed_by_close, closed_by_refusal
from sigbridge_net.tls import client_context
from sigbridge_websocket.translate import (
    error_from_jsonrpc,
    event_from_jsonrpc,
    reply_from_jsonrpc,
    request_to_jsonrpc,
)

MAX_MESSAGE_BYTES = 16 * 2**20
"""Largest message that a client accepts: a listing of a large room is larger than what clients may send."""

_library_logger = logging.getLogger("sigbridge.websocket.client.library")
# At DEBUG the library logs headers and messages, tokens among them.
_library_logger.setLevel(logging.INFO)

_REASONS = {reason.word: reason for reason in DisconnectReason}


class WebSocketSignalingClient(ClientSession):
    """One session over WebSocket; make it with `connect`."""

    def __init__(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        super().__init__()
        self._connection = connection
        self._reader = asyncio.create_task(self._read(), name="sigbridge websocket reader")

    @classmethod
    async def connect(
        cls, url: str, *, access: Access = NO_ACCESS, open_timeout_seconds: float = 10.0
    ) -> "WebSocketSignalingClient":
        """Open a session at a `ws://` or `wss://` URL, or at a unix socket, `ws+unix:/PATH` or `wss+unix:/PATH`.

        Raises ConnectionClosed where the server cannot be reached or refuses the handshake.
        """
        parts, path = urlsplit(url), unix_path(url)
        scheme = parts.scheme.removesuffix("+unix")
        secure = scheme == "wss"
        options: dict[str, Any] = {
            "ssl": client_context(access) if secure else None,
            "additional_headers": _headers(access),
            "compression": None,
            "logger": _library_logger,
            "max_size": MAX_MESSAGE_BYTES,
            "open_timeout": open_timeout_seconds,
            "proxy": None,
        }
        hint = ""
        try:
            if path:
                opening = websockets.asyncio.client.unix_connect(path, f"{scheme}://localhost/", **options)
            else:
                opening = websockets.asyncio.client.connect(url, **options)
            connection = await opening
        except (OSError, TimeoutError, WebSocketException) as error:
            refused = error.response.status_code if isinstance(error, InvalidStatus) else 0
            if refused == 400 or (not refused and not isinstance(error, TimeoutError)):
                target = f"unix:{path}" if path else f"{parts.hostname}:{parts.port or (443 if secure else 80)}"
                hint = await tls_hint(parts.scheme, target, secure=secure)
            if isinstance(error, InvalidStatus) and not hint:
                headers = error.response.headers
                word, retry = ("".join(headers.get_all(name)[:1]) for name in (WORD_HEADER, RETRY_HEADER))
                raise closed_by_refusal(refused, word, retry) from None
            shown = shown_url(url)
            why = hint or access.hidden_in(str(error).replace(url, shown))
            raise ConnectionClosed(f"cannot connect to {shown}: {why}", False if hint else None) from None
        return cls(connection)

    async def close(self) -> None:
        """Leave and close the connection."""
        await self._connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _send(self, number: int, request: Request) -> None:
        try:
            text = request_to_jsonrpc(request, number).decode()
        except UnicodeEncodeError:
            raise invalid_params("request", "holds what is no text") from None
        try:
            await self._connection.send(text)
        except WebSocketClosed as closed:
            raise _closed(closed) from None

    async def _read(self) -> None:
        closed = ConnectionClosed(DisconnectReason.CONNECTION_LOST.word, reconnect=True)
        try:
            while True:
                self._on_message(msgspec.json.decode(await self._connection.recv()))
        except WebSocketClosed as error:
            closed = _closed(error)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            closed = ConnectionClosed(f"the server sent what is no message: {error}")
            await self._connection.close(1002)
        finally:
            self._on_end(closed)

    def _on_message(self, message: Any) -> None:
        if "method" in message:
            event = event_from_jsonrpc(message["method"], message.get("params", {}))
            if event is not None:
                self._on_event(event)
            return
        number = message["id"]
        request = self._request_of(number)
        if request is None:
            return
        if "error" in message:
            self._on_reply(number, error_from_jsonrpc(message["error"]))
            return
        try:
            self._on_reply(number, reply_from_jsonrpc(request, message["result"]))
        except msgspec.ValidationError as error:
            self._on_reply(number, SignalingError(Code.INTERNAL, f"the server's result is none: {error}"))


def _headers(access: Access) -> dict[str, str] | None:
    """The headers that show a token."""
    return {"Authorization": f"Bearer {latin1_of_utf8(access.token)}"} if access.token else None


def _closed(error: WebSocketClosed) -> ConnectionClosed:
    """What a close frame says, in the core's words."""
    word = error.rcvd.reason if error.rcvd is not None else ""
    refused = None if error.rcvd is None else closed_by_close(error.rcvd.code, word)
    if refused is not None:
        return refused
    if not word and error.rcvd is not None and error.rcvd.code in (1000, 1001):
        word = DisconnectReason.CLIENT_LEFT.word
    reason = _REASONS.get(word)
    if reason is None:
        return ConnectionClosed(word or DisconnectReason.CONNECTION_LOST.word)
    return ConnectionClosed(word, reason.reconnect)
