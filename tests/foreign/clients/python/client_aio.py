"""A client of grpc.aio: commands on stdin, what happens on stdout, each one JSON object a line."""

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

import grpc
import grpc.aio
from common import CONFIG, call_options, channel_options, parsed, say_end, say_response, types_of

channels: dict[str, grpc.aio.Channel] = {}
calls: dict[str, Any] = {}
requests: dict[str, asyncio.Queue[Any]] = {}
kinds: dict[str, Any] = {}
tasks: set[asyncio.Task[None]] = set()


def channel(name: str) -> grpc.aio.Channel:
    if name not in channels:
        channels[name] = grpc.aio.insecure_channel(CONFIG["address"], channel_options())
    return channels[name]


async def unary(told: dict[str, Any]) -> None:
    asked, answered = types_of(told)
    method: Any = channel(told.get("channel", "")).unary_unary(
        told["method"], asked.SerializeToString, answered.FromString
    )
    call = method(parsed(asked, told.get("request")), **call_options(told))
    with contextlib.suppress(grpc.RpcError):  # its end says why
        say_response(told["id"], await call)
    say_end(told["id"], await call.code(), await call.details(), await call.trailing_metadata())


async def converse(call_id: str, call: Any) -> None:
    writer = spawn(write(call_id, call))
    try:
        while (response := await call.read()) is not grpc.aio.EOF:
            say_response(call_id, response)
    except (grpc.RpcError, asyncio.CancelledError):
        pass  # its end says why
    say_end(call_id, await call.code(), await call.details(), await call.trailing_metadata())
    writer.cancel()


async def write(call_id: str, call: Any) -> None:
    try:
        while (request := await requests[call_id].get()) is not None:
            await call.write(request)
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        pass  # the call has ended


def open_call(told: dict[str, Any]) -> None:
    asked, answered = types_of(told)
    requests[told["id"]], kinds[told["id"]] = asyncio.Queue(), asked
    method: Any = channel(told.get("channel", "")).stream_stream(
        told["method"], asked.SerializeToString, answered.FromString
    )
    call = calls[told["id"]] = method(**call_options(told))
    spawn(converse(told["id"], call))


def spawn(coroutine: Any) -> asyncio.Task[None]:
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def main() -> None:
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        said = json.loads(line)
        match said["op"]:
            case "unary":
                spawn(unary(said))
            case "open":
                open_call(said)
            case "send":
                requests[said["id"]].put_nowait(parsed(kinds[said["id"]], said["request"]))
            case "half_close":
                requests[said["id"]].put_nowait(None)
            case "cancel":
                calls[said["id"]].cancel()
    # Calls that are still open would be waited for.
    os._exit(0)


asyncio.run(main())
