import grpc
from sigbridge_grpc.generated import webrtc_signaling_pb2, webrtc_signaling_pb2_grpc

async def main():
    # Connect to server
    async with grpc.aio.insecure_channel('localhost:50051') as channel:
        stub = webrtc_signaling_pb2_grpc.WebRtcSignalingStub(channel)

        # Create request stream
        async def request_iterator():
            # Announce peer
            yield webrtc_signaling_pb2.SignalingRequest(
                request_id="1",
                announce=webrtc_signaling_pb2.AnnounceRequest(
                    peer_id="python-client-1",
                    capabilities=webrtc_signaling_pb2.PeerCapabilities(
                        audio=True,
                        video=True,
                        data=True
                    )
                )
            )

            # Keep stream open for more messages
            # (application would yield more requests here)

        # Open bidirectional stream
        response_stream = stub.Signal(request_iterator())

        # Handle responses
        async for response in response_stream:
            print(f"Received: {response}")

if __name__ == '__main__':
    import asyncio
    asyncio.run(main())
