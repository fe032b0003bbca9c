import asyncio
from contextlib import suppress

from aiortc import RTCConfiguration, RTCPeerConnection

from sigbridge_client import connect
from sigbridge_client.webrtc import Call, Calls


def build(configuration: RTCConfiguration, call: Call) -> RTCPeerConnection:
    connection = RTCPeerConnection(configuration)
    channel = connection.createDataChannel("chat", negotiated=True, id=0)

    @channel.on("message")
    def on_message(text: str) -> None:
        print(f"{call.peer_id} says: {text}", flush=True)
        channel.send("hello from bob, who came over gRPC")

    return connection


async def main() -> None:
    async with await connect("grpc://127.0.0.1:50051") as client, Calls(client, build) as calls:
        await client.announce("bob")
        print("bob is waiting", flush=True)
        async for call in calls:
            print(f"{call.peer_id} is gone: {await call.ended()}")
            break


with suppress(KeyboardInterrupt):
    asyncio.run(main())
