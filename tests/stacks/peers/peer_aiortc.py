"""Peers with aiortc that do what they are told: lines of JSON on stdin, what happens on stdout.

`tests/shared/rtc_stacks.py` has their meaning.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription, candidate_from_sdp, candidate_to_sdp
from peer_aiortc_calls import CallsPeer
from peer_of_lines import PeerOfLines

from sigbridge import (
    AnswerReceived,
    ConnectionClosed,
    IceCandidateReceived,
    OfferReceived,
    PeerDisconnected,
    PeerLeft,
    SignalingClient,
    SignalingError,
)
from sigbridge_client import connect
from sigbridge_compat.rtc_peer import stay_on_loopback


@dataclass
class Call:
    """One connection with one other peer.

    Its states, and what leads from one to the next:

        offering ──their answer──► talking      we have called: their candidates are held until then
        answering ──our answer is taken──► talking
        any ──hang-up, their leaving, their newer offer──► over
    """

    state: str
    offer_id: str = ""
    theirs: str = ""
    connection: RTCPeerConnection = field(default_factory=lambda: RTCPeerConnection(RTCConfiguration(iceServers=[])))
    channel: RTCDataChannel | None = None
    held: list[IceCandidateReceived] = field(default_factory=list)


def certificates_of(sdp: str) -> str:
    """Returns the certificates that a description names: another connection has others."""
    return ",".join(sorted({line for line in sdp.lower().splitlines() if line.startswith("a=fingerprint:")}))


class Peer(PeerOfLines):
    """One announced peer and its calls."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._calls: dict[str, Call] = {}
        self._client: SignalingClient
        self._id = ""

    # What it is told.

    async def join(self, url: str, id: str, room: str) -> None:
        self._client = await connect(url)
        self._id = id
        await self._client.announce(id, room=room)
        self.start(self._listen())
        self.say("joined")

    async def call(self, to: str) -> None:
        if to in self._calls:
            return  # they have called meanwhile, and one call is enough
        call = self._begin(to, "offering")
        self._use(to, call, call.connection.createDataChannel("talk"))
        offer = await call.connection.createOffer()
        try:
            call.offer_id = (await self._client.offer(to, offer.sdp)).offer_id
        except (SignalingError, ConnectionClosed) as error:
            self._end(to, str(error))
            return
        # Only now, so that no candidate overtakes the offer, and each can say its id.
        await self._describe(to, call, offer)

    async def hang_up(self, to: str) -> None:
        call = self._calls.get(to)
        if call is not None:
            self._end(to, "hung_up")
            await self._client.disconnect(to, offer_id=call.offer_id)

    async def call_again(self, to: str) -> None:
        await self.hang_up(to)
        await self.call(to)

    async def send(self, to: str, text: str) -> None:
        call = self._calls.get(to)
        if call is not None and call.channel is not None:
            call.channel.send(text.encode())

    async def leave(self) -> None:
        for to in list(self._calls):
            self._end(to, "left")
        await self._client.close()

    # What the server tells it.

    async def _listen(self) -> None:
        async for event in self._client.events():
            match event:
                case OfferReceived():
                    self.post(self._answer(event))
                case AnswerReceived():
                    self.post(self._on_answer(event))
                case IceCandidateReceived():
                    self.post(self._on_candidate(event))
                case PeerDisconnected():
                    self.post(self._on_hang_up(event))
                case PeerLeft(peer_id=peer_id):
                    self.post(self._on_left(peer_id))
                case _:
                    self.say_session(event)
        self.say("closed")

    async def _answer(self, offer: OfferReceived) -> None:
        peer_id = offer.from_peer_id
        before = self._calls.get(peer_id)
        # Glare: of two that call each other at once, the greater id is heard.
        if before is not None and before.state == "offering" and self._id.encode() > peer_id.encode():
            return
        # Of the connection that there is, it negotiates that anew; of another one, it is another call.
        is_same = before is not None and before.theirs == certificates_of(offer.sdp)
        if before is not None and not is_same:
            self._end(peer_id, "called_again")
        call = before if is_same and before is not None else self._begin(peer_id, "answering")
        call.offer_id, call.theirs = offer.offer_id, certificates_of(offer.sdp)
        await call.connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        answer = await call.connection.createAnswer()
        try:
            await self._client.answer(peer_id, answer.sdp, offer_id=offer.offer_id)
        except SignalingError:
            # They have hung up, or left, or call anew, which is on its way.
            self._end(peer_id, "refused")
            return
        call.state = "talking"
        await self._describe(peer_id, call, answer)

    async def _on_answer(self, answer: AnswerReceived) -> None:
        call = self._ours(answer.from_peer_id, answer.offer_id)
        if call is not None and call.state == "offering":
            await call.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
            call.state, call.theirs = "talking", certificates_of(answer.sdp)
            for candidate in call.held:
                self.start(_add(call, candidate))

    async def _on_candidate(self, event: IceCandidateReceived) -> None:
        call = self._ours(event.from_peer_id, event.offer_id)
        if call is not None and call.state == "offering":
            call.held.append(event)
        elif call is not None:
            # Beside the rest: one of a name in mDNS may take seconds.
            self.start(_add(call, event))

    async def _on_hang_up(self, event: PeerDisconnected) -> None:
        if self._ours(event.peer_id, event.offer_id) is not None:
            self._end(event.peer_id, "peer_hung_up")

    async def _on_left(self, peer_id: str) -> None:
        if peer_id in self._calls:
            self._end(peer_id, "peer_left")

    # Its connections.

    def _begin(self, to: str, state: str) -> Call:
        call = self._calls[to] = Call(state)

        def look() -> None:
            if call.connection.connectionState == "failed":
                self.say("failed", **{"with": to})

        call.connection.on("connectionstatechange", look)
        call.connection.on("datachannel", lambda channel: self._use(to, call, channel))
        return call

    async def _describe(self, to: str, call: Call, description: RTCSessionDescription) -> None:
        """Sets the local description, in which aiortc finds all candidates at once, and tells them."""
        await call.connection.setLocalDescription(description)
        try:
            for index, media in enumerate(SessionDescription.parse(call.connection.localDescription.sdp).media):
                for candidate in media.ice_candidates:
                    await self._client.ice_candidate(
                        to,
                        f"candidate:{candidate_to_sdp(candidate)}",
                        sdp_mid=media.rtp.muxId,
                        sdp_mline_index=index,
                        offer_id=call.offer_id,
                    )
            await self._client.ice_candidate(to, "", offer_id=call.offer_id)
        except SignalingError:
            return  # they have left, of which an event tells

    def _use(self, to: str, call: Call, channel: RTCDataChannel) -> None:
        def open_() -> None:
            if call.state != "over" and call.channel is None:
                call.channel = channel
                self.say("open", offer_id=call.offer_id, **{"with": to})

        def hear(data: bytes | str) -> None:
            self.say("heard", text=data if isinstance(data, str) else data.decode(), **{"with": to})

        channel.on("open", open_)
        channel.on("message", hear)
        if channel.readyState == "open":
            open_()

    def _ours(self, peer_id: str, offer_id: str) -> Call | None:
        call = self._calls.get(peer_id)
        return call if call is not None and offer_id in ("", call.offer_id) else None

    def _end(self, to: str, why: str) -> None:
        call = self._calls.pop(to)
        call.state = "over"
        self.start(call.connection.close())
        self.say("ended", why=why, offer_id=call.offer_id, **{"with": to})


async def _add(call: Call, event: IceCandidateReceived) -> None:
    """Adds a candidate of the other peer; aiortc's parser wants none of the word before the first colon."""
    if call.state == "over":
        return
    if not event.candidate:
        await call.connection.addIceCandidate(None)
        return
    candidate = candidate_from_sdp(event.candidate.removeprefix("candidate:"))
    candidate.sdpMid = event.sdp_mid
    candidate.sdpMLineIndex = event.sdp_mline_index
    await call.connection.addIceCandidate(candidate)


async def main() -> None:
    """Play until stdin ends."""
    peers: dict[int, PeerOfLines] = {}
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with stay_on_loopback():
        while line := await reader.readline():
            order = json.loads(line)
            number = order.pop("peer")
            if number not in peers:
                peers[number] = CallsPeer(number) if order.pop("calls") else Peer(number)
            peer = peers[number]
            peer.post(getattr(peer, order.pop("op"))(**order))


if __name__ == "__main__":
    asyncio.run(main())
