import asyncio

from sigbridge import OfferReceived
from sigbridge_client import connect


async def main() -> None:
    async with await connect("grpc://127.0.0.1:50051") as bob:
        await bob.announce("bob")
        print("bob is waiting", flush=True)
        async for event in bob.events():
            if isinstance(event, OfferReceived):
                print(f"{event.from_peer_id} offers: {event.sdp}")
                await bob.answer(event.from_peer_id, "v=0 (bob's SDP)")
                break


asyncio.run(main())
