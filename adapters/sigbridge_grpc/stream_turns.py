"""The turns of `Signal` streams on a `grpc.aio.Server`: what the requests of one connection may cause in each.

Rule 1: the streams of a connection have one share together: they are one client's. Rule 2: once it is spent, each
stream keeps the request that it has read, and they go on in their order, one in each turn of the loop.
"""

import asyncio
from collections import deque

from sigbridge.share import FRESH, Share


class ConnectionTurns:
    """The turns of the streams of one connection."""

    def __init__(self) -> None:
        self.share = Share()
        self.stream_count = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._handle: asyncio.Handle | None = None

    async def wait(self) -> None:
        """Waits until a request may be carried out."""
        while self.share.state != FRESH or self._waiting:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._schedule()
            await turn
            if self.share.state == FRESH:
                return

    def _schedule(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begins a turn: the stream that has waited longest goes on, and the next turn is asked for if others wait."""
        self._handle = None
        self.share.begin_turn()
        while self._waiting:
            turn = self._waiting.popleft()
            # One whose call has ended is cancelled.
            if not turn.done():
                turn.set_result(None)
                break
        if self._waiting:
            self._schedule()


class StreamTurns:
    """The turns of all streams of one server, by their connections."""

    def __init__(self) -> None:
        self._connections: dict[str, ConnectionTurns] = {}

    def __len__(self) -> int:
        """Connections that have streams."""
        return len(self._connections)

    def join(self, peer: str) -> ConnectionTurns:
        """Adds a stream of a connection, which its remote address and port name; `leave` is to follow."""
        turns = self._connections.get(peer)
        if turns is None:
            turns = self._connections[peer] = ConnectionTurns()
        turns.stream_count += 1
        return turns

    def leave(self, peer: str) -> None:
        """Forgets a stream, and with the last one its connection."""
        turns = self._connections[peer]
        turns.stream_count -= 1
        if not turns.stream_count:
            del self._connections[peer]
