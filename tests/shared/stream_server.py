"""A server of asyncio's streams for tests: what it does with those who come ends with it, and so do their connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@contextlib.asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[int]:
    """Does `handle` with each connection, until that returns or the client has gone; yields the port.

    When it ends, what is still being done is cancelled. What fails otherwise is raised then.
    """
    begun: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await handle(reader, writer)
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun[asyncio.create_task(handled(reader, writer))] = writer

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in begun:
            task.cancel()
        ends = await asyncio.gather(*begun, return_exceptions=True)
        for writer in begun.values():
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    for end in ends:
        if isinstance(end, Exception):
            raise end
