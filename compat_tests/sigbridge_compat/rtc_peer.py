"""A real WebRTC peer (aiortc) that negotiates through any signaling client.

Rule 1: it sees the signaling server only through `SignalingClient`, so it cannot learn the protocol. Rule 2: candidates
are trickled: they are taken out of the SDP and sent as `ice_candidate` messages, the empty one last. Rule 3: nothing
leaves the machine: no STUN server is asked, and under `stay_on_loopback` only 127.0.0.1 is a candidate. Rule 4: what
it says of a call says the call's offer, and what is said of another offer than the one of its call it does not hear.

Needs the `demo` extra (aiortc, aioice).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeAlias

import aioice.ice
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription, candidate_from_sdp, candidate_to_sdp

from sigbridge import (
    Answer,
    AnswerReceived,
    Disconnect,
    Event,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    Reply,
    Request,
    SigbridgeError,
    SignalingClient,
    SignalingError,
)

CHANNEL_LABEL = "sigbridge"

Observer: TypeAlias = Callable[[Request | Reply | Event], None]
"""Called with every request that a peer sends, every reply and every event, as they pass."""


@contextmanager
def stay_on_loopback() -> Iterator[None]:
    """Make 127.0.0.1 the only host candidate, in this process, for as long as the block runs."""
    before = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    try:
        yield
    finally:
        aioice.ice.get_host_addresses = before


class CallEnded(SigbridgeError):
    """The call is over: one of the two hung up, left, or lost the connection."""


class RtcCall:
    """One WebRTC connection to one other peer, with one data channel."""

    def __init__(self, remote_peer_id: str, offer_id: str = "") -> None:
        self.remote_peer_id = remote_peer_id
        self.offer_id = ""
        """The offer that began it; empty until the server has taken it."""
        self._has_begun = asyncio.Event()
        if offer_id:
            self.begin(offer_id)
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel: RTCDataChannel | None = None
        self._opened: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closing: asyncio.Future[None] | None = None
        self.connection.on("datachannel", self._use)
        self.connection.on("connectionstatechange", self._on_state)

    async def opened(self) -> None:
        """Wait until bytes can be sent; CallEnded where the call ends before."""
        # The future is everybody's: one caller's cancellation must not cancel it for the others.
        await asyncio.shield(self._opened)

    async def send(self, data: bytes) -> None:
        """Send bytes over the data channel, once it is open."""
        channel = await asyncio.shield(self._opened)
        channel.send(data)

    async def receive(self) -> bytes:
        """The next bytes from the other peer; CallEnded where the call ends first."""
        data = await self._received.get()
        if data is None:
            self._received.put_nowait(None)
            raise CallEnded(self.remote_peer_id)
        return data

    async def close(self) -> None:
        """End the WebRTC connection, without telling the other peer by signaling. A second end waits for the first."""
        self._on_end()
        self._has_begun.set()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self.connection.close())
        # aiortc does not survive that somebody who waits for its close is cancelled.
        await asyncio.shield(self._closing)

    def begin(self, offer_id: str) -> None:
        """Say which offer began it."""
        self.offer_id = offer_id
        self._has_begun.set()

    async def has(self, offer_id: str) -> bool:
        """Returns whether a message that says this offer is of this call, as one that says none is."""
        if not offer_id:
            return True
        # The server's word comes first, but whoever asked for it may not have had its turn yet.
        await self._has_begun.wait()
        return offer_id == self.offer_id

    def create_channel(self) -> None:
        """Make the data channel, at the side that calls, before the offer is made."""
        self._use(self.connection.createDataChannel(CHANNEL_LABEL))

    def _use(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._on_message)
        if channel.readyState == "open":
            self._on_open()
        else:
            channel.on("open", self._on_open)

    def _on_open(self) -> None:
        if self._channel is not None and not self._opened.done():
            self._opened.set_result(self._channel)

    def _on_message(self, data: bytes | str) -> None:
        self._received.put_nowait(data.encode() if isinstance(data, str) else data)

    def _on_state(self) -> None:
        if self.connection.connectionState in ("failed", "closed"):
            self._on_end()

    def _on_end(self) -> None:
        if not self._opened.done():
            self._opened.set_exception(CallEnded(self.remote_peer_id))
            # Read once here, so that a call which nobody waits for does not warn about it.
            self._opened.exception()
        self._received.put_nowait(None)


class RtcPeer:
    """An announced signaling client that makes and takes calls. Use it as an async context manager.

    It reads the client's events itself; `observe` sees all of them, and all requests and replies.
    """

    def __init__(self, client: SignalingClient, *, observe: Observer | None = None) -> None:
        self.client = client
        self._observe: Observer = observe or (lambda message: None)
        self._calls: dict[str, RtcCall] = {}
        self._incoming: asyncio.Queue[RtcCall] = asyncio.Queue()
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(self, to_peer_id: str) -> RtcCall:
        """Call a peer and wait until the data channel is open.

        Raises SignalingError where the server refuses the offer, CallEnded where the other side hangs up.
        """
        call = self._calls[to_peer_id] = RtcCall(to_peer_id)
        call.create_channel()
        connection = call.connection
        try:
            await connection.setLocalDescription(await connection.createOffer())
            sdp, candidates = _without_candidates(connection.localDescription.sdp)
            reply = await self._request(Offer(to_peer_id, sdp, "offer"))
            if isinstance(reply, OfferRelayed):
                call.begin(reply.offer_id)
            await self._trickle(call, candidates)
            await call.opened()
        except BaseException:
            self._calls.pop(to_peer_id, None)
            await call.close()
            raise
        return call

    async def answer_calls(self) -> RtcCall:
        """Wait for the next call to this peer, which is answered already, and for its data channel to open."""
        call = await self._next_incoming()
        await call.opened()
        return call

    async def hang_up(self, call: RtcCall) -> None:
        """End a call and tell the other peer."""
        self._calls.pop(call.remote_peer_id, None)
        await call.close()
        await self._request(Disconnect(call.remote_peer_id, call.offer_id))

    async def close(self) -> None:
        """End all calls and stop reading events; the client stays open."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        while self._calls:
            _, call = self._calls.popitem()
            await call.close()

    async def _next_incoming(self) -> RtcCall:
        """Wait for the next incoming call; raises what ended the listener where that happens first."""
        if self._listener is None:
            raise RuntimeError("RtcPeer is used as an async context manager")
        getter = asyncio.ensure_future(self._incoming.get())
        try:
            await asyncio.wait((getter, self._listener), return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                return getter.result()
            self._listener.result()
            raise CallEnded("the signaling connection has ended")
        finally:
            getter.cancel()

    async def _listen(self) -> None:
        async for event in self.client.events():
            self._observe(event)
            match event:
                case OfferReceived():
                    await self._take_call(event)
                case AnswerReceived(from_peer_id=peer_id, sdp=sdp, type=type_):
                    if (call := self._calls.get(peer_id)) is not None:
                        await call.connection.setRemoteDescription(RTCSessionDescription(sdp, type_))
                case IceCandidateReceived(from_peer_id=peer_id, offer_id=offer_id):
                    if (call := self._calls.get(peer_id)) is not None and await call.has(offer_id):
                        await _add_candidate(call, event)
                case PeerDisconnected(peer_id=peer_id, offer_id=offer_id):
                    if (call := self._calls.get(peer_id)) is not None and await call.has(offer_id):
                        await self._end(call)
                case PeerLeft(peer_id=peer_id):
                    if (call := self._calls.get(peer_id)) is not None:
                        await self._end(call)

    async def _end(self, call: RtcCall) -> None:
        await call.close()
        self._calls.pop(call.remote_peer_id, None)

    async def _take_call(self, offer: OfferReceived) -> None:
        from_peer_id = offer.from_peer_id
        if (before := self._calls.get(from_peer_id)) is not None:
            await before.close()
        call = self._calls[from_peer_id] = RtcCall(from_peer_id, offer.offer_id)
        connection = call.connection
        await connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        sdp, candidates = _without_candidates(connection.localDescription.sdp)
        try:
            await self._request(Answer(from_peer_id, sdp, "answer", offer.offer_id))
            await self._trickle(call, candidates)
        except SignalingError:
            # The caller has gone or hung up in the meantime, which is no reason to stop taking calls.
            del self._calls[from_peer_id]
            await call.close()
            return
        self._incoming.put_nowait(call)

    async def _trickle(self, call: RtcCall, candidates: list[IceCandidate]) -> None:
        for candidate in candidates:
            await self._request(
                IceCandidate(
                    call.remote_peer_id,
                    candidate.candidate,
                    candidate.sdp_mid,
                    candidate.sdp_mline_index,
                    candidate.username_fragment,
                    call.offer_id,
                )
            )
        await self._request(IceCandidate(call.remote_peer_id, "", offer_id=call.offer_id))

    async def _request(self, request: Request) -> Reply:
        self._observe(request)
        reply = await self.client.call(request)
        self._observe(reply)
        return reply


def _without_candidates(sdp: str) -> tuple[str, list[IceCandidate]]:
    """Take the candidates out of an SDP; they come back as requests that name nobody yet."""
    candidates = [
        IceCandidate(
            "",
            "candidate:" + candidate_to_sdp(candidate),
            media.rtp.muxId,
            index,
            media.ice.usernameFragment if media.ice is not None else None,
        )
        for index, media in enumerate(SessionDescription.parse(sdp).media)
        for candidate in media.ice_candidates
    ]
    lines = [
        line for line in sdp.splitlines(keepends=True) if not line.startswith(("a=candidate:", "a=end-of-candidates"))
    ]
    return "".join(lines), candidates


async def _add_candidate(call: RtcCall, event: IceCandidateReceived) -> None:
    if not event.candidate:
        await call.connection.addIceCandidate(None)
        return
    candidate = candidate_from_sdp(event.candidate.removeprefix("candidate:"))
    candidate.sdpMid = event.sdp_mid
    candidate.sdpMLineIndex = event.sdp_mline_index
    await call.connection.addIceCandidate(candidate)
