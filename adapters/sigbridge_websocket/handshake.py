"""The opening handshake of one connection, without I/O, until its response is known.

Rule 1: `upgrade.py`, the fast path, reads and accepts most requests; the library reads every other, negotiates
compression, and words the refusals in HTTP. Rule 2: the library is given the request and nothing behind it, and is
forgotten with the handshake, for which it takes a `let_go`. Rule 3: a page that is refused is told by a close frame,
for which nothing is made. Source: RFC 6455, section 4; `docs/protocol.md`, section "Refused at the door".
"""

from collections.abc import Sequence
from typing import Final

from websockets.exceptions import InvalidMessage
from websockets.http11 import Request
from websockets.server import ServerProtocol

from sigbridge.auth import Authenticator, Identity
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.session import Caller
from sigbridge.settings import Settings
from sigbridge_net.credentials import utf8_of_latin1
from sigbridge_net.forwarding import Forwarding
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.refusals import close_of_refusal, refusal_of
from sigbridge_net.wire import Client
from sigbridge_websocket.compression import Compression
from sigbridge_websocket.credentials import credentials_from, offers_jsonrpc, select_subprotocol
from sigbridge_websocket.frames import CLOSE, FIN, close_payload, frame
from sigbridge_websocket.negotiation import negotiator, release
from sigbridge_websocket.upgrade import Upgrade, fast_upgrade, upgrade_response

_END_OF_HEAD: Final = b"\r\n\r\n"


class ValidRequest:
    """A valid request: what it shows of its client, and the response that accepts it."""

    __slots__ = ("authorization", "compression", "from_page", "response", "subprotocols", "user_agent")

    # Five parameters: what a request says of its client, and its response.
    def __init__(
        self,
        authorization: Sequence[str],
        subprotocols: Sequence[str],
        user_agent: str,
        response: bytes,
        *,
        from_page: bool,
    ) -> None:
        self.authorization = authorization
        self.subprotocols = subprotocols
        self.user_agent = user_agent
        self.response = response
        self.from_page = from_page
        """True where it has an origin: browsers send one, and show pages nothing of a refused handshake."""
        self.compression: Compression | None = None
        """The compression that the response agrees to, if any."""


class Handshake:
    """One connection's opening handshake: takes bytes until there is a `request`, or a `refusal`."""

    __slots__ = (
        "_authenticator",
        "_client",
        "_forwarding",
        "_head_end",
        "_identity",
        "_origins",
        "_protocol",
        "_settings",
        "refusal",
        "refused_origin",
        "request",
    )

    # Five parameters: what is set, who is let in, and the client's connection.
    def __init__(
        self,
        settings: Settings,
        client: Client,
        authenticator: Authenticator,
        origins: AllowedOrigins,
        forwarding: Forwarding,
    ) -> None:
        self._settings = settings
        self._forwarding = forwarding
        self._origins = origins
        self._client = client
        self._authenticator = authenticator
        self._head_end = b""
        """The last bytes of a request that is not whole yet."""
        self._protocol: ServerProtocol | None = None
        """The library's machine; None while the fast path may still take the request, and when it has taken it."""
        self._identity: Pending[Identity] | None = None
        """The identity of the client, where it is looked up."""
        self.request: ValidRequest | None = None
        self.refusal = b""
        """The response to what is no valid request."""
        self.refused_origin: str | None = None
        """The origin for which it is refused; None where there is another cause."""

    @property
    def address(self) -> str:
        """The address of the client; empty where it has none. Until there is a request, that of the connection."""
        return self._client.address

    def receive(self, data: bytes, now: Instant) -> bytes:
        """Reads bytes of the request, and sets `request` or `refusal` when it is whole; returns the bytes behind it."""
        if self._protocol is None:
            # Nothing has come before.
            size = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            upgrade = fast_upgrade(data[:size], self._settings, self._origins)
            if upgrade is not None:
                if self._forwarding.header:
                    value = upgrade.fields.get(self._forwarding.header)
                    self._set_client([] if value is None else [value])
                self.request = _accepted(upgrade, now)
                return data[size:]
            self._protocol = negotiator(self._settings, self._origins)
        seen = self._head_end + data
        end = seen.find(_END_OF_HEAD)
        size = len(data) if end < 0 else end + len(_END_OF_HEAD) - len(self._head_end)
        self._head_end = seen[1 - len(_END_OF_HEAD) :]
        self._take(self._protocol, data[:size])
        return data[size:]

    def identify(self, request: ValidRequest, now: Instant) -> Identity | Pending[Identity]:
        """Returns the identity of a request's client, or a `Pending` of it.

        :raises SignalingError: if its credentials are refused.
        """
        credentials = credentials_from(request.authorization, request.subprotocols, self._client)
        identity = self._authenticator.authenticate(credentials, now)
        if isinstance(identity, Pending):
            self._identity = identity
        return identity

    def caller(self, request: ValidRequest, identity: Identity) -> Caller:
        """Returns the caller that a request makes of an identity."""
        client = self._client
        return Caller(identity, client.address, request.user_agent, "", self._authenticator, client.certificate)

    def refuse(self, request: ValidRequest, error: SignalingError) -> bytes:
        """Returns the response that refuses a valid request.

        A page that speaks JSON-RPC is let in and told by a close frame at once, since it learns of nothing else.
        """
        if request.from_page and offers_jsonrpc(request.subprotocols):
            return request.response + frame(FIN | CLOSE, close_payload(*close_of_refusal(error)))
        status, headers = refusal_of(error)
        machine = negotiator(self._settings, self._origins)
        response = machine.reject(status, f"{error.message}\n")
        release(machine)
        for name, value in headers:
            response.headers[name] = value
        return response.serialize()

    def let_go(self) -> None:
        """Forgets the request and the look-up of its sender: it has its response, or its client is gone."""
        if self._protocol is not None:
            release(self._protocol)
        if self._identity is not None:
            self._identity.abandon()
            self._identity = None

    def _set_client(self, values: Sequence[str]) -> None:
        """Sets the client's address by the header of a trusted proxy."""
        client = self._client
        self._client = Client(self._forwarding.address_from(client.address, values), client.certificate)

    def _take(self, protocol: ServerProtocol, head: bytes) -> None:
        """Gives the library bytes of the request, and judges the request when it is whole."""
        protocol.receive_data(head)
        if isinstance(protocol.handshake_exc, InvalidMessage):
            # To what is no HTTP the library gives no response.
            self.refusal = protocol.reject(400, "Not an HTTP request\n").serialize()
            return
        for event in protocol.events_received():
            if isinstance(event, Request):
                self._judge(protocol, event)
                return
        self.refusal = b"".join(protocol.data_to_send())

    def _judge(self, protocol: ServerProtocol, request: Request) -> None:
        """Has the library accept or refuse a whole request, and sets `request` or `refusal` as it says."""
        if self._forwarding.header:
            self._set_client(request.headers.get_all(self._forwarding.header))
        response = protocol.accept(request)
        if response.status_code != 101:
            if response.status_code == 403:
                self.refused_origin = ", ".join(request.headers.get_all("Origin"))
            self.refusal = response.serialize()
            return
        headers = request.headers
        agents = headers.get_all("User-Agent")
        self.request = ValidRequest(
            [utf8_of_latin1(value) for value in headers.get_all("Authorization")],
            headers.get_all("Sec-WebSocket-Protocol"),
            agents[0] if agents else "",
            response.serialize(),
            from_page="Origin" in headers,
        )
        for extension in protocol.extensions:
            self.request.compression = Compression(extension)


def _accepted(upgrade: Upgrade, now: Instant) -> ValidRequest:
    """Returns the valid request of an upgrade that the fast path has read."""
    chosen = select_subprotocol(upgrade.subprotocols)
    response = upgrade_response(upgrade.key, chosen, now.unix)
    return ValidRequest(
        upgrade.authorization, upgrade.subprotocols, upgrade.user_agent, response, from_page=upgrade.from_page
    )
