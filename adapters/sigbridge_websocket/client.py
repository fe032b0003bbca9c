"""A client that speaks JSON-RPC 2.0 over WebSocket."""

import asyncio
import contextlib
import logging
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed as WebSocketClosed
from websockets.exceptions import InvalidStatus, WebSocketException

from sigbridge.client import ConnectionClosed
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import MAX_UINT64, Code, SignalingError, invalid_params
from sigbridge.messages import Request
from sigbridge.settings.connections import CLIENT_KEEPALIVE_SECONDS
from sigbridge_net.access import NO_ACCESS, Access, shown_url
from sigbridge_net.client_session import ClientSession
from sigbridge_net.credentials import latin1_of_utf8
from sigbridge_net.reaching import tls_hint, unix_path
from sigbridge_net.refusals import RETRY_HEADER, WORD_HEADER, closed_by_close, closed_by_reason, closed_by_refusal
from sigbridge_net.tls import client_context
from sigbridge_websocket.client_dialects import ClientDialect
from sigbridge_websocket.client_dotted import DottedClientDialect

MAX_MESSAGE_BYTES = 16 * 2**20
"""Largest message that a client accepts: a listing of a large room is larger than what clients may send."""

_library_logger = logging.getLogger("sigbridge.websocket.client.library")
# At DEBUG the library logs headers and messages, tokens among them.
_library_logger.setLevel(logging.INFO)

PLAIN: Final = "plain"
DIALECTS: Final[dict[str, type[ClientDialect]]] = {PLAIN: ClientDialect, "dotted": DottedClientDialect}
"""The dialects of JSON-RPC that there are, by name."""


class WebSocketSignalingClient(ClientSession):
    """One session over WebSocket; make it with `connect`."""

    def __init__(self, connection: websockets.asyncio.client.ClientConnection, dialect: ClientDialect) -> None:
        super().__init__()
        self._connection = connection
        self._dialect = dialect
        self._reader = asyncio.create_task(self._read(), name="sigbridge websocket reader")

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        dialect: str = PLAIN,
        access: Access = NO_ACCESS,
        open_timeout_seconds: float = 10.0,
        keepalive_seconds: float = CLIENT_KEEPALIVE_SECONDS,
    ) -> "WebSocketSignalingClient":
        """Opens a session at a `ws://` or `wss://` URL, or at a unix socket, `ws+unix:/PATH` or `wss+unix:/PATH`.

        `dialect` is one of `DIALECTS`, in which the session is spoken. It sends a small request whenever nothing was
        sent for `keepalive_seconds`; 0: never.

        :raises ConnectionClosed: if the server cannot be reached or refuses the handshake.
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
            raise ConnectionClosed(f"cannot connect to {shown}: {why}", reconnect=not hint) from None
        client = cls(connection, DIALECTS[dialect]())
        client.keep_alive(keepalive_seconds)
        return client

    async def close(self) -> None:
        """Leaves and closes the connection; harmless when it is closed already."""
        await self._connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    def _abort(self) -> None:
        self._connection.transport.abort()

    async def _send(self, number: int, request: Request) -> None:
        """Writes one request, unless the connection has ended.

        :raises SignalingError: if it holds what is no text.
        """
        try:
            text = self._dialect.call(request, number).decode()
        except UnicodeEncodeError:
            raise invalid_params("request", "holds what is no text") from None
        # Why the connection has ended is the reader's to find out.
        with contextlib.suppress(WebSocketClosed):
            await self._connection.send(text)

    async def _read(self) -> None:
        """Reads messages until the connection ends, and tells the session how it ended."""
        closed = ConnectionClosed(DisconnectReason.CONNECTION_LOST.word, reconnect=True)
        try:
            while True:
                self._on_message(msgspec.json.decode(await self._connection.recv()))
        except WebSocketClosed as error:
            closed = _closed(error)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
            # Told at once: until the close is through, sending fails already, and knows no reason.
            self._on_end(ConnectionClosed(f"the server sent an invalid message: {error}", reconnect=False))
            await self._connection.close(1002)
        finally:
            self._on_end(closed)

    def _on_message(self, message: Any) -> None:
        """Hands a message of the server on: an event, or the response to a request.

        An event of an unknown kind, and a response to no open request, are ignored. A result of another shape refuses
        its request alone.

        :raises TypeError: if it is no object, or its method is no text.
        :raises KeyError: if it has neither a method nor an id, or neither a result nor an error.
        :raises msgspec.ValidationError: if it is an event of another shape.
        """
        if "method" in message:
            method, params = message["method"], message.get("params", {})
            if not isinstance(method, str):
                raise TypeError("a method that is no text")
            event = self._dialect.event(method, params)
            if event is not None:
                self._on_event(event, _number_of(params))
            return
        number = message["id"]
        request = self._request_of(number)
        self._dialect.responded(number, awaited=request is not None)
        if request is None:
            return
        if message.get("error") is not None:
            self._on_reply(number, self._dialect.refusal(request, message["error"]))
            return
        try:
            self._on_reply(number, self._dialect.reply(request, message["result"]))
        except msgspec.ValidationError as error:
            self._on_reply(number, SignalingError(Code.INTERNAL, f"the server's result is invalid: {error}"))


def _number_of(params: Any) -> int:
    """Returns the number of an event (`params.seq`); 0 where it has none."""
    seq = params.get("seq") if isinstance(params, dict) else None
    # A return says it, and no server takes what is none.
    return seq if type(seq) is int and seq <= MAX_UINT64 else 0


def _headers(access: Access) -> dict[str, str] | None:
    """Returns the headers that show a token."""
    return {"Authorization": f"Bearer {latin1_of_utf8(access.token)}"} if access.token else None


def _closed(error: WebSocketClosed) -> ConnectionClosed:
    """Returns the end of a connection by its close frame."""
    word = error.rcvd.reason if error.rcvd is not None else ""
    refused = None if error.rcvd is None else closed_by_close(error.rcvd.code, word)
    if refused is not None:
        return refused
    if not word and error.rcvd is not None and error.rcvd.code in (1000, 1001):
        word = DisconnectReason.CLIENT_LEFT.word
    return closed_by_reason(word)
