"""A client of grpcio's threads: commands on stdin, what happens on stdout, each one JSON object a line."""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from common import CONFIG, call_options, channel_options, parsed, say_end, say_response, types_of

channels: dict[str, grpc.Channel] = {}
calls: dict[str, Any] = {}
requests: dict[str, queue.SimpleQueue[Any]] = {}
kinds: dict[str, Any] = {}


def channel(name: str) -> grpc.Channel:
    if name not in channels:
        channels[name] = grpc.insecure_channel(CONFIG["address"], channel_options())
    return channels[name]


def unary(told: dict[str, Any]) -> None:
    asked, answered = types_of(told)
    method: Any = channel(told.get("channel", "")).unary_unary(
        told["method"], asked.SerializeToString, answered.FromString
    )
    future = method.future(parsed(asked, told.get("request")), **call_options(told))

    def done(_: Any) -> None:
        if future.code() is grpc.StatusCode.OK:
            say_response(told["id"], future.result())
        say_end(told["id"], future.code(), future.details(), future.trailing_metadata())

    future.add_done_callback(done)


def open_call(told: dict[str, Any]) -> None:
    asked, answered = types_of(told)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    requests[told["id"]], kinds[told["id"]] = waiting, asked
    method: Any = channel(told.get("channel", "")).stream_stream(
        told["method"], asked.SerializeToString, answered.FromString
    )

    def sending() -> Iterator[Any]:
        while (request := waiting.get()) is not None:
            yield request

    call = calls[told["id"]] = method(sending(), **call_options(told))

    def reading() -> None:
        try:
            for response in call:
                say_response(told["id"], response)
        except grpc.RpcError:
            pass  # its end says why
        say_end(told["id"], call.code(), call.details(), call.trailing_metadata())

    threading.Thread(target=reading, daemon=True).start()


for line in sys.stdin:
    said = json.loads(line)
    match said["op"]:
        case "unary":
            unary(said)
        case "open":
            open_call(said)
        case "send":
            requests[said["id"]].put(parsed(kinds[said["id"]], said["request"]))
        case "half_close":
            requests[said["id"]].put(None)
        case "cancel":
            calls[said["id"]].cancel()
# Threads that wait for a request would hold the interpreter.
os._exit(0)
