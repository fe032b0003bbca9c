"""grpcio's channels to a server, and calls on them that carry bare bytes."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from sigbridge import Hub
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from waiting import longer_and_longer, until

BIG_SDP = "x" * 100_000

LISTENING_CLIENT = """
import sys, grpc
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb, webrtc_signaling_pb2_grpc as pb_grpc
import threading
def requests():
    yield pb.SignalingRequest(announce=pb.AnnounceRequest(peer_id=sys.argv[2]))
    threading.Event().wait()
for response in pb_grpc.WebRtcSignalingStub(grpc.insecure_channel(sys.argv[1])).Signal(requests()):
    pass
"""


class Ended(AssertionError):
    """A call has ended where a message was due."""


class BytesCall:
    """A `Signal` call of bare bytes; `passed_over` are the events that came while a response was awaited."""

    def __init__(self, call: Any) -> None:
        self.raw = call
        self.passed_over: list[pb.SignalingNotification] = []

    async def send_bytes(self, message: bytes) -> None:
        await self.raw.write(message)

    async def send(self, request_id: str = "", **request: Any) -> None:
        await self.send_bytes(pb.SignalingRequest(request_id=request_id, **request).SerializeToString())

    async def announce(self, peer_id: str) -> None:
        await self.send("a", announce=pb.AnnounceRequest(peer_id=peer_id))
        assert (await self.receive()).WhichOneof("response") == "ack"

    async def receive(self) -> pb.SignalingResponse:
        message = await self.raw.read()
        if not isinstance(message, bytes):
            raise Ended(f"the stream has ended: {self.raw}")
        return pb.SignalingResponse.FromString(message)

    async def end(self) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
        """Waits for the end, whatever is read until then; returns its code, details and trailers."""
        try:
            while isinstance(await self.raw.read(), bytes):
                pass
        except grpc.aio.AioRpcError:
            pass
        return await self.raw.code(), await self.raw.details(), dict(await self.raw.trailing_metadata())

    async def fill(self, peer_id: str) -> pb.SignalingResponse:
        """Sends offers to a peer that does not read, until one is refused; returns the refusal.

        That says that it is unavailable; or on a busy machine, where it was ended before its outbox was full, that there
        is no such peer.
        """
        while True:
            await self.send("f", offer=pb.OfferRequest(to_peer_id=peer_id, sdp=BIG_SDP))
            while (response := await self.receive()).HasField("notification"):
                self.passed_over.append(response.notification)
            if response.HasField("error"):
                return response

    async def next_event(self) -> pb.SignalingNotification:
        """Returns the event that came first of those that nobody has looked at."""
        return self.passed_over.pop(0) if self.passed_over else (await self.receive()).notification


class Channels:
    """A server's address, and the channels that a test has opened to it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._channels: list[grpc.aio.Channel] = []

    def channel(
        self, *options: tuple[str, Any], credentials: grpc.ChannelCredentials | None = None
    ) -> grpc.aio.Channel:
        """A channel with a connection of its own."""
        all_options = [("grpc.use_local_subchannel_pool", 1), *options]
        if credentials is None:
            channel = grpc.aio.insecure_channel(self.target, options=all_options)
        else:
            channel = grpc.aio.secure_channel(self.target, credentials, options=all_options)
        self._channels.append(channel)
        return channel

    async def call(self, channel: grpc.aio.Channel | None = None, **options: Any) -> BytesCall:
        """A `Signal` call that stands."""
        multi: Any = (channel or self.channel()).stream_stream(f"/{SERVICE_NAME}/Signal", None, None)
        call = multi(None, **options)
        await call.initial_metadata()
        await call.wait_for_connection()
        return BytesCall(call)

    async def unary(
        self, method: str, message: bytes = b"", channel: grpc.aio.Channel | None = None, **options: Any
    ) -> bytes:
        """The response of a unary method."""
        multi: Any = (channel or self.channel()).unary_unary(method, None, None)
        response: bytes = await multi(message, **options)
        return response

    async def close_channels(self) -> None:
        for channel in self._channels:
            await channel.close(None)
        self._channels.clear()


async def listening_client(target: str, hub: Hub, peer_id: str) -> subprocess.Popen[bytes]:
    """A client in a process of its own, who is the hub's only peer, and listens."""
    process = subprocess.Popen([sys.executable, "-c", LISTENING_CLIENT, target, peer_id], stderr=subprocess.DEVNULL)
    await until(lambda: hub.peer_count or process.poll() is not None)
    assert process.poll() is None, "the client has ended"
    return process


def ended_grpc(hub: Hub) -> dict[str, int]:
    """Returns the number of gRPC sessions that have ended, by the reason."""
    return {reason: count for (protocol, reason), count in hub.counters.disconnects.items() if protocol == "grpc"}


async def freed_at_the_deadline(start: Callable[..., Awaitable[Any]], shortest_seconds: float) -> tuple[Any, Any, Any]:
    """Lets a peer that never reads be freed at its send deadline, the shortest that a quiet machine can keep.

    `start` serves with a deadline. Returns what it serves, the call that has filled the peer's outbox until it was
    refused, and the peer's call.
    """
    for seconds in longer_and_longer(shortest_seconds):
        served = await start(send_deadline_seconds=seconds)
        try:
            sender, stalled = await served.call(), await served.call()
            await stalled.announce("stalled")
            await sender.announce("sender")
            assert (await sender.receive()).notification.peer_joined.peer_id == "stalled"
            refused = (await sender.fill("stalled")).error.code
            assert (await sender.next_event()).peer_left.peer_id == "stalled"
        except (Ended, grpc.aio.AioRpcError):
            # Held up for so long, the sender has not read either.
            assert ended_grpc(served.hub).keys() == {"slow_consumer"}
            continue
        assert ended_grpc(served.hub) == {"slow_consumer": 1}
        if refused == 14:
            return served, sender, stalled
        # The peer was ended before its outbox was full.
        assert refused == 5
    raise AssertionError("no deadline was long enough")
