"""A client's end of a connection, without a socket: bytes are passed to the wire and taken from it by hand.

What a carrier does, a line does on request: it pushes input in any pieces, and pulls output in any size. What a
protocol makes of the bytes, its own kind of line adds: `grpc_lines`, `websocket_lines`, and the one of tests/http.
"""

from typing import Self

from clock import Clock
from sigbridge_net.wire import Client, WireFactory

ADDRESS = "192.0.2.1"
"""The address of the client of every line."""


class Line:
    """A client's end; `most` is what a carrier would take at once, `piece` the size in which input arrives, 0 for whole."""

    fast = True
    """True where it asks for `fast_output` first, as a carrier does."""

    def __init__(self, wires: WireFactory, clock: Clock, *, most: int = 65536, piece: int = 0) -> None:
        self.clock = clock
        self.most = most
        self.piece = piece
        self.woken = 0
        self.output = b""
        """All that the wire has said."""
        self.wire = wires(Client(ADDRESS), self._wake, clock.now)

    def _wake(self) -> None:
        self.woken += 1

    def push(self, data: bytes) -> bool:
        """Gives bytes to the wire; returns whether there were any."""
        size = self.piece or max(1, len(data))
        for start in range(0, len(data), size):
            self.wire.receive(data[start : start + size], self.clock.now)
        return bool(data)

    def pull(self) -> bool:
        """Takes once what the wire has to say; returns whether there was something, or it wants to be asked again."""
        wire, woken = self.wire, self.woken
        pieces = wire.fast_output(self.most, self.clock.now) if self.fast else None
        if pieces is None:
            pieces = wire.take_output(self.most, self.clock.now)
        else:
            # A carrier looks no further.
            assert wire.reading()
            assert not wire.finished
            assert wire.successor is None
            assert sum(map(len, pieces)) <= self.most
            if not pieces:
                assert wire.take_output(self.most, self.clock.now) == []
        assert all(pieces), "an empty write"
        output = b"".join(pieces)
        if output:
            self.output += output
            self.hear(output)
        return bool(output) or self.woken > woken

    def hear(self, output: bytes) -> None:
        """Reads what the wire has said, as a client of its protocol would; a bare line does not."""

    def pump(self) -> None:
        """Lets everything come to rest."""
        while self.pull():
            pass

    def feed(self, *data: bytes) -> Self:
        """Gives bytes to the wire, and lets everything come to rest after each of them."""
        for one in data:
            self.push(one)
            self.pump()
        return self

    def end_input(self) -> Self:
        """Ends the client's half of the connection."""
        self.wire.receive_eof(self.clock.now)
        self.pump()
        return self

    def expire(self) -> None:
        """Lets the wire do what is due, as a carrier's sweep does."""
        if self.wire.due <= self.clock.now.monotonic:
            self.wire.expire(self.clock.now)
