"""Servers of this process, on ports that the system chooses."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from sigbridge import Settings
from sigbridge.auth import Authenticator
from sigbridge_server.server import Server

ANY_PORT: dict[str, Any] = {
    "grpc_bind_address": "127.0.0.1:0",
    "ws_bind_address": "127.0.0.1:0",
    "http_bind_address": "off",
}

StartServer: TypeAlias = Callable[..., Awaitable[Server]]


@asynccontextmanager
async def servers() -> AsyncIterator[StartServer]:
    """Yields what starts a server with the given settings; all of them end with the block."""
    async with AsyncExitStack() as stack:

        async def start(
            *, authenticator: Authenticator | None = None, directory: Any = None, **settings: Any
        ) -> Server:
            server = Server(Settings(**ANY_PORT | settings), authenticator=authenticator, directory=directory)
            await server.start()
            stack.push_async_callback(server.stop, grace_seconds=0.5)
            return server

        yield start
