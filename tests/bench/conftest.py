"""Servers that run already, to be measured."""

import contextlib

import pytest

from sigbridge import Settings
from sigbridge_server.server import Server


@pytest.fixture
async def serve():
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings):
            addresses = dict.fromkeys(("grpc_bind_address", "ws_bind_address", "http_bind_address"), "127.0.0.1:0")
            server = Server(Settings(**addresses, **settings))
            await server.start()
            stack.push_async_callback(server.stop, grace_seconds=0.5)
            return server

        yield start
