import asyncio

from aiortc import RTCConfiguration, RTCPeerConnection

from sigbridge_client import connect
from sigbridge_client.webrtc import Call, Calls


def build(configuration: RTCConfiguration, call: Call) -> RTCPeerConnection:
    connection = RTCPeerConnection(configuration)
    channel = connection.createDataChannel("chat", negotiated=True, id=0)
    channel.on("open", lambda: channel.send("hello from alice, who came over WebSocket"))

    @channel.on("message")
    def on_message(text: str) -> None:
        print(f"{call.peer_id} says: {text}", flush=True)
        call.hang_up()

    return connection


async def main() -> None:
    async with await connect("ws://127.0.0.1:8080") as client, Calls(client, build) as calls:
        await client.announce("alice")
        print(f"the call is over: {await calls.call('bob').ended()}")


asyncio.run(main())
