"""Servers of the protocol that are none of ours: they say what a test tells them to, and leave out what older ones do."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from websockets.asyncio.server import ServerConnection, serve

from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME


@asynccontextmanager
async def scripted_websocket(script: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    """Yields the URL of a server that does what `script` does with each connection."""
    async with serve(script, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@asynccontextmanager
async def scripted_grpc(signal: Callable[[Any, Any], Awaitable[None]]) -> AsyncIterator[str]:
    """Yields the URL of a server whose `Signal` is `signal`, a method of `grpc.aio` that takes and gives bytes."""
    server = grpc.aio.server()
    methods: Any = {"Signal": grpc.stream_stream_rpc_method_handler(signal)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        await server.stop(0)


def answering_websocket(responses: dict[str, list[dict[str, Any]]]) -> Any:
    """A script that sends, for each method, these messages; one without a `method` gets the request's `id`."""

    async def script(connection: ServerConnection) -> None:
        async for text in connection:
            asked = json.loads(text)
            for message in responses[asked["method"]]:
                number = {} if "method" in message else {"id": asked["id"]}
                await connection.send(json.dumps({"jsonrpc": "2.0", **message, **number}))

    return script


def answering_grpc(responses: dict[str, list[pb.SignalingResponse]]) -> Any:
    """A `Signal` that sends, for each kind of request, these messages; one that is no notification gets its id."""

    async def signal(_: object, context: Any) -> None:
        await context.send_initial_metadata(())
        while isinstance(message := await context.read(), bytes):
            asked = pb.SignalingRequest.FromString(message)
            for response in responses[asked.WhichOneof("request") or ""]:
                if not response.HasField("notification"):
                    response.request_id = asked.request_id
                await context.write(response.SerializeToString())

    return signal
