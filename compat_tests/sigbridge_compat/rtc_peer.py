"""A real WebRTC peer (aiortc) with one data channel, over any signaling client.

Rule 1: it sees the signaling server only through `SignalingClient`, so it cannot learn the protocol. Rule 2: it
negotiates nothing itself: its calls are those of `sigbridge_client.webrtc`. Rule 3: nothing leaves the machine: no STUN
server is asked, and under `stay_on_loopback` only 127.0.0.1 is a candidate.

Needs the `demo` extra (aiortc, aioice).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeAlias

import aioice.ice
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection

from sigbridge import ConnectionClosed, ConnectionEvent, Event, GetIceServers, Reply, Request, SignalingClient
from sigbridge.client import ClientEvent
from sigbridge_client.webrtc import Call, CallEnded, Calls, EndReason

__all__ = ["CHANNEL_LABEL", "CallEnded", "ObservedClient", "Observer", "RtcCall", "RtcPeer", "stay_on_loopback"]

CHANNEL_LABEL = "sigbridge"

Observer: TypeAlias = Callable[[Request | Reply | Event], None]
"""Called with every request that a peer sends, every reply and every event, as they pass."""


@contextmanager
def stay_on_loopback() -> Iterator[None]:
    """Makes 127.0.0.1 the only host candidate, in this process, for as long as the block runs."""
    before = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    try:
        yield
    finally:
        aioice.ice.get_host_addresses = before


class ObservedClient(SignalingClient):
    """A client that shows what passes; the question for ICE servers is none of a call's messages."""

    def __init__(self, client: SignalingClient, observe: Observer) -> None:
        super().__init__()
        self._client = client
        self._observe = observe

    @property
    def peer_id(self) -> str:
        """The client's."""
        return self._client.peer_id

    @property
    def closed(self) -> ConnectionClosed | None:
        """The client's."""
        return self._client.closed

    async def call(self, request: Request) -> Reply:
        """Sends a request as the client does."""
        if isinstance(request, GetIceServers):
            return await self._client.call(request)
        self._observe(request)
        reply = await self._client.call(request)
        self._observe(reply)
        return reply

    async def events(self) -> AsyncIterator[ClientEvent]:
        """Events of the client."""
        async for event in self._client.events():
            if not isinstance(event, ConnectionEvent):
                self._observe(event)
            yield event

    async def close(self) -> None:
        """Closes the client."""
        await self._client.close()


class RtcCall:
    """One call with another peer, with one data channel, which the caller makes."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.remote_peer_id = call.peer_id
        self._opened: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ending = asyncio.create_task(self._end())

    async def opened(self) -> None:
        """Waits until bytes can be sent.

        :raises CallEnded: if the call ends before.
        """
        # The future is everybody's: one caller's cancellation must not cancel it for the others.
        await asyncio.shield(self._opened)

    async def send(self, data: bytes) -> None:
        """Sends bytes over the data channel, once it is open.

        :raises CallEnded: if the call ends before.
        """
        channel = await asyncio.shield(self._opened)
        channel.send(data)

    async def receive(self) -> bytes:
        """Returns the next bytes from the other peer.

        :raises CallEnded: if the call ends first.
        """
        data = await self._received.get()
        if data is None:
            self._received.put_nowait(None)
            raise CallEnded(self.remote_peer_id, await self.call.ended())
        return data

    def make_connection(self, configuration: RTCConfiguration) -> RTCPeerConnection:
        """Returns a new connection for the call: it makes the data channel if this peer calls, and awaits it if not."""
        connection = RTCPeerConnection(configuration)
        if self.call.is_incoming:
            connection.on("datachannel", self._use)
        else:
            self._use(connection.createDataChannel(CHANNEL_LABEL))
        return connection

    def _use(self, channel: RTCDataChannel) -> None:
        channel.on("message", self._on_message)
        if channel.readyState == "open":
            self._on_open(channel)
        else:
            channel.on("open", lambda: self._on_open(channel))

    def _on_open(self, channel: RTCDataChannel) -> None:
        if not self._opened.done():
            self._opened.set_result(channel)

    def _on_message(self, data: bytes | str) -> None:
        self._received.put_nowait(data.encode() if isinstance(data, str) else data)

    async def _end(self) -> None:
        reason = await self.call.ended()
        if not self._opened.done():
            self._opened.set_exception(CallEnded(self.remote_peer_id, reason))
            # Read once here, so that a call which nobody waits for does not warn about it.
            self._opened.exception()
        self._received.put_nowait(None)


class RtcPeer:
    """An announced signaling client that makes and takes calls. Use it as an async context manager.

    It reads the client's events itself; `observe` sees all of them, and all requests and replies of calls. Connections
    are made with what `configure` makes of the configuration that the calls have.
    """

    def __init__(
        self,
        client: SignalingClient,
        *,
        observe: Observer | None = None,
        configure: Callable[[RTCConfiguration], RTCConfiguration] | None = None,
    ) -> None:
        self.client = client
        self._configure = configure
        self._calls = Calls(ObservedClient(client, observe or (lambda message: None)), self._build)
        self._incoming = aiter(self._calls)
        self._talks: dict[Call, RtcCall] = {}

    async def __aenter__(self) -> Self:
        await self._calls.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._calls.close()

    async def call(self, to_peer_id: str) -> RtcCall:
        """Calls a peer and waits until the data channel is open.

        :raises CallEnded: if the call ends before.
        """
        talk = self._talk(self._calls.call(to_peer_id))
        try:
            await talk.opened()
        except asyncio.CancelledError:
            await talk.call.hang_up()
            raise
        return talk

    async def answer_calls(self) -> RtcCall:
        """Waits for the next call to this peer whose data channel opens, and returns it.

        A call that is hung up on before is left out: its caller may call again.

        :raises CallEnded: if the client is closed before.
        """
        async for call in self._incoming:
            talk = self._talk(call)
            with suppress(CallEnded):
                await talk.opened()
                return talk
        raise CallEnded("", EndReason.CLOSED)

    async def hang_up(self, call: RtcCall) -> None:
        """Ends a call and tells the other peer."""
        await call.call.hang_up()

    def _build(self, configuration: RTCConfiguration, call: Call) -> RTCPeerConnection:
        return self._talk(call).make_connection(self._configure(configuration) if self._configure else configuration)

    def _talk(self, call: Call) -> RtcCall:
        if call not in self._talks:
            self._talks[call] = RtcCall(call)
        return self._talks[call]
