import asyncio

from sigbridge import AnswerReceived
from sigbridge_client import connect


async def main() -> None:
    async with await connect("ws://127.0.0.1:8080") as alice:
        await alice.announce("alice")
        await alice.offer("bob", "v=0 (alice's SDP)")
        async for event in alice.events():
            if isinstance(event, AnswerReceived):
                print(f"{event.from_peer_id} answers: {event.sdp}")
                break


asyncio.run(main())
