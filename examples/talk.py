import asyncio
from array import array
from contextlib import suppress
from math import pi, sin

from aiortc import AudioStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from sigbridge_client import connect
from sigbridge_client.webrtc import Calls


class Tone(AudioStreamTrack):
    async def recv(self):
        frame = await super().recv()  # silence, 20 ms of it, when its time has come
        times = (2 * pi * 440 * (frame.pts + n) / frame.sample_rate for n in range(frame.samples))
        frame.planes[0].update(array("h", (int(4000 * sin(time)) for time in times)))
        return frame


async def listen(track):
    with suppress(MediaStreamError):
        while frame := await track.recv():
            loudest = max(array("h", bytes(frame.planes[0])))
            print("\r" + "#" * (loudest // 500), end="\033[K", flush=True)


def build(configuration, call):
    connection = RTCPeerConnection(configuration)
    connection.addTrack(Tone())
    connection.on("track", listen)
    return connection


async def main():
    async with await connect("grpc://127.0.0.1:50051") as client, Calls(client, build) as calls:
        announced = await client.announce("backend")
        print("backend is here", flush=True)
        for peer_id in announced.other_peers:
            calls.call(peer_id)
        async for call in calls:
            print(f"{call.peer_id} calls", flush=True)


with suppress(KeyboardInterrupt):
    asyncio.run(main())
