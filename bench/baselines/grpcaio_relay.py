"""The least that a signaling relay on grpc.aio can do: announce, offer, answer, ICE candidate, each acknowledged.

No rooms, limits, metrics or checks; one read, one relay, one acknowledgement. Prints its port.
"""

import asyncio
import contextlib
import time
from collections import deque
from typing import TypeAlias

import grpc
import grpc.aio
import msgspec
import uvloop

from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

Context: TypeAlias = "grpc.aio.ServicerContext[object, pb.SignalingResponse]"
"""Context of a call; what it reads is a request, or `grpc.aio.EOF`, which has no type of its own."""

encode = msgspec.json.Encoder().encode


class Peer:
    """A stream, which takes one write at a time, and what waits for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[pb.SignalingResponse] = deque()
        self._writing: asyncio.Task[None] | None = None

    def write(self, response: pb.SignalingResponse) -> None:
        """Queues a response, which a task of the stream writes.

        A sender's own task may be cancelled in the middle of a write, and would break off the stream.
        """
        self._waiting.append(response)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def written(self) -> None:
        """Waits for what is left to be written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        """Writes the waiting events to the stream, in order, until none is left."""
        # What is left for a stream that has ended is lost.
        with contextlib.suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            while self._waiting:
                await self._context.write(self._waiting.popleft())
        self._writing = None


peers: dict[str, Peer] = {}


async def signal(_: object, context: Context) -> None:
    """Serves one stream: relays its requests to other peers, and responds to each."""
    me = ""
    peer = Peer(context)
    await context.send_initial_metadata(())
    try:
        while isinstance(request := await context.read(), pb.SignalingRequest):
            kind = request.WhichOneof("request")
            if kind == "announce":
                me = request.announce.peer_id
                peers[me] = peer
                result = encode({"peer_id": me, "peers_count": len(peers) - 1, "other_peers": []})
            else:
                to_peer_id, told, result = relay(request, kind, me)
                if (target := peers.get(to_peer_id)) is not None:
                    target.write(told)
            response = pb.SignalingResponse(request_id=request.request_id)
            response.ack.message = "ok"
            response.ack.data = result.decode()
            peer.write(response)
        await peer.written()
    finally:
        peers.pop(me, None)


def relay(request: pb.SignalingRequest, kind: str | None, me: str) -> tuple[str, pb.SignalingResponse, bytes]:
    """Returns the target's ID, the event for it, and the request's result in JSON."""
    told = pb.SignalingResponse()
    if kind == "ice_candidate":
        ice = request.ice_candidate
        candidate = told.notification.ice_candidate
        candidate.from_peer_id = me
        candidate.candidate = ice.candidate
        if ice.HasField("sdp_mid"):
            candidate.sdp_mid = ice.sdp_mid
        if ice.HasField("sdp_mline_index"):
            candidate.sdp_mline_index = ice.sdp_mline_index
        if ice.HasField("username_fragment"):
            candidate.username_fragment = ice.username_fragment
        return ice.to_peer_id, told, encode({"to_peer_id": ice.to_peer_id})
    if kind == "offer":
        to_peer_id = request.offer.to_peer_id
        offer_id = f"{me}_{to_peer_id}_{time.time_ns() // 1_000_000}"
        offer = told.notification.offer
        offer.from_peer_id = me
        offer.offer_id = offer_id
        offer.sdp = request.offer.sdp
        offer.type = "offer"
        return to_peer_id, told, encode({"offer_id": offer_id, "to_peer_id": to_peer_id})
    answer = told.notification.answer
    answer.from_peer_id = me
    answer.sdp = request.answer.sdp
    answer.type = "answer"
    return request.answer.to_peer_id, told, encode({"to_peer_id": request.answer.to_peer_id})


async def main() -> None:
    """Serves until a signal ends the process."""
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(
        signal,
        request_deserializer=pb.SignalingRequest.FromString,
        response_serializer=pb.SignalingResponse.SerializeToString,
    )
    service = "remotemedia.v1.webrtc.WebRtcSignaling"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Signal": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(main())
