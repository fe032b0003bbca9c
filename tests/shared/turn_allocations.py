"""Allocations of a TURN server, each made by a client that is no WebRTC peer, which sees why it is refused."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator

from aioice import stun, turn

from turn_server import TurnServer
from waiting import TIME_LIMIT_SECONDS


class Refused(Exception):
    """A TURN server takes no allocation; `code` is that of STUN, such as 401."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code


class Received(asyncio.DatagramProtocol):
    """Keeps the datagrams that come by an allocation."""

    def __init__(self) -> None:
        self.datagrams: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.datagrams.put_nowait(data)


class Allocation:
    """A relayed address of a TURN server, at which datagrams come and from which they go."""

    def __init__(self, transport: turn.TurnTransport, received: Received) -> None:
        self._transport = transport
        self._client: turn.TurnClientProtocol = transport._TurnTransport__inner_protocol
        self._received = received
        # aioice counts its own from the other end.
        self._channels = itertools.count(0x800)

    @property
    def address(self) -> tuple[str, int]:
        address: tuple[str, int] = self._transport.get_extra_info("sockname")
        return address

    async def send(self, data: bytes, to: "Allocation") -> None:
        """Sends a datagram, once the server lets the other one send as well."""
        await self._client.send_data(data, to.address)

    async def permit(self, address: tuple[str, int]) -> None:
        """Asks that an address may send here and be sent to; raises `Refused` where it may not."""
        try:
            await self._client.channel_bind(0x4000 + next(self._channels), address)
        except stun.TransactionFailed as error:
            raise Refused(*error.response.attributes["ERROR-CODE"]) from error

    async def refresh(self) -> int:
        """Asks for more time, as all clients do now and then; returns the seconds that it is given."""
        request = stun.Message(message_method=stun.Method.REFRESH, message_class=stun.Class.REQUEST)
        request.attributes["LIFETIME"] = self._client.lifetime
        response, _ = await self._client.request_with_retry(request)
        seconds: int = response.attributes["LIFETIME"]
        return seconds

    async def receive(self) -> bytes:
        return await self._received.datagrams.get()


async def exchange(one: Allocation, other: Allocation) -> None:
    """Lets datagrams pass in both directions."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        # It may come too early: who is to be reached has to send first.
        await one.send(b"early", other)
        await other.send(b"there", one)
        await one.send(b"back", other)
        assert await one.receive() == b"there"
        while (heard := await other.receive()) != b"back":
            assert heard == b"early"


@contextlib.asynccontextmanager
async def allocated(
    server: TurnServer,
    username: str,
    credential: str,
    *,
    transport: str = "udp",
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Allocation]:
    """An allocation by these credentials, which is deleted with the block; raises `Refused` where there is none.

    By TLS it is asked for at `port`, else at the server's.
    """
    try:
        made, received = await turn.create_turn_endpoint(
            Received,
            ("127.0.0.1", port or server.port),
            username,
            credential,
            ssl=tls,
            transport="tcp" if tls else transport,
        )
    except stun.TransactionFailed as error:
        raise Refused(*error.response.attributes["ERROR-CODE"]) from error
    try:
        yield Allocation(made, received)
    finally:
        await made._close()


async def is_taken(server: TurnServer, username: str, credential: str) -> bool:
    """Returns whether a server takes these credentials."""
    try:
        async with allocated(server, username, credential):
            return True
    except Refused:
        return False
