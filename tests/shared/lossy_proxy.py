"""A proxy between one client and a server that loses connections on command, and lets in by one way at a time.

The states of a connection that it carries, and what leads from one to the next:

    carrying ──reset──► gone            both sides are reset
       │ ──go silent──► silent ──► gone  what comes is thrown away, ends included; nobody is told
       │ ──drop answers──► deaf ──► gone the same, but only of what the server says; a reset follows
       │ ──cut──► cutting ──► gone       the next bytes pass in part, then both sides are closed
       └──one side ends, or the door closes──► gone

While it is held back, what the server says waits, and nothing of it is lost.

Rule 1: a way that is shut resets whoever comes, as a server that is not there would. Rule 2: what a connection loses it
loses for ever, as networks do.
"""

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from typing import Final, Self

READ_BYTES: Final = 65536
MOST_LINKS: Final = 8
"""So many of the latest connections are remembered."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Link:
    """One connection of the client, and the one to the server that carries it on."""

    def __init__(self, way: str, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.way = way
        self.came_at = time.time()
        """The time of its arrival (Unix seconds)."""
        self.state = "carrying"
        self.carried = 0
        """Bytes that have passed, in both directions together."""
        self._client = client
        self._server = server
        self._cut_share = 0.0
        self._passes = asyncio.Event()
        self._passes.set()
        self.server_has_ended = asyncio.Event()
        self.over = asyncio.Event()

    def __str__(self) -> str:
        came_at = f"{time.strftime('%H:%M:%S', time.localtime(self.came_at))},{int(self.came_at % 1 * 1000):03d}"
        return f"{came_at} {self.way}: {self.state}, {self.carried} bytes"

    @property
    def live(self) -> bool:
        return self.state == "carrying"

    def reset(self) -> None:
        """Resets both sides."""
        self.state = "gone"
        self.let_go()
        for side in (self._client, self._server):
            _reset(side)

    def go_silent(self) -> None:
        """Throws away from now on whatever comes."""
        self.state = "silent"

    def drop_answers(self) -> None:
        """Throws away from now on whatever the server says."""
        self.state = "deaf"

    def cut(self, share: float) -> None:
        """Lets that share of the next bytes pass, at least one and not all, and closes both sides."""
        self.state = "cutting"
        self._cut_share = share

    def hold_back(self) -> None:
        """Lets what the server says wait."""
        self._passes.clear()

    def let_go(self) -> None:
        """Lets pass what has waited, and what follows."""
        self._passes.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool) -> None:
        """Carries one direction until its end."""
        try:
            while data := await reader.read(READ_BYTES):
                if from_server:
                    await self._passes.wait()
                if self.state == "carrying" or (self.state == "deaf" and not from_server):
                    self.carried += len(data)
                    writer.write(data)
                    await writer.drain()
                elif self.state == "cutting":
                    if len(data) > 1:
                        self.state = "gone"
                        writer.write(data[: max(1, min(len(data) - 1, int(len(data) * self._cut_share)))])
                        self._client.close()
                        self._server.close()
                    else:
                        writer.write(data)
                elif self.state == "gone":
                    return
        except OSError:
            pass
        finally:
            if from_server:
                self.server_has_ended.set()
            if self.state != "silent":
                self.state = "gone"
                writer.close()

    async def carry(self, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        """Carries both directions until both have ended."""
        try:
            await asyncio.gather(
                self.pump(client, self._server, from_server=False),
                self.pump(server, self._client, from_server=True),
            )
        finally:
            self.state = "gone"
            self._client.close()
            self._server.close()
            self.over.set()


class LossyProxy:
    """The only way of one client to a server: a port for each way in, of which those in `open` are served."""

    def __init__(self, upstreams: Mapping[str, int]) -> None:
        """`upstreams` are the server's ports on 127.0.0.1 by the names of the ways in."""
        self.upstreams = dict(upstreams)
        self.open = set(upstreams)
        self.ports: dict[str, int] = {}
        self.turned_away = 0
        self.let_in = 0
        """Number of connections that were carried on."""
        self.link: Link | None = None
        """The latest connection."""
        self.links: deque[Link] = deque(maxlen=MOST_LINKS)
        """The latest connections, in the order in which they came."""
        self._listeners: list[asyncio.Server] = []
        self._carrying: set[asyncio.Task[None]] = set()
        self._came = asyncio.Condition()

    async def __aenter__(self) -> Self:
        for way in self.upstreams:
            listener = await asyncio.start_server(
                lambda reader, writer, way=way: self._serve(way, reader, writer),  # type: ignore[misc]
                "127.0.0.1",
                0,
            )
            self._listeners.append(listener)
            self.ports[way] = listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        for listener in self._listeners:
            listener.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def live_link(self, than: Link | None = None) -> Link:
        """Waits for a connection that carries, other than that one."""
        async with self._came:
            await self._came.wait_for(lambda: self.link is not None and self.link is not than and self.link.live)
        assert self.link is not None
        return self.link

    async def _serve(self, way: str, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        try:
            await self._carry(way, client, to_client)
        except asyncio.CancelledError:
            # The proxy itself ends; the library's streams would complain of a task that was cancelled.
            to_client.transport.abort()
        finally:
            self._carrying.discard(task)

    async def _carry(self, way: str, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if way not in self.open:
            self.turned_away += 1
            _reset(to_client)
            return
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.upstreams[way])
        except OSError:
            _reset(to_client)
            return
        self.let_in += 1
        link = Link(way, to_client, to_server)
        async with self._came:
            self.link = link
            self.links.append(link)
            self._came.notify_all()
        await link.carry(client, server)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection by a reset."""
    if writer.transport.is_closing():
        return
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
