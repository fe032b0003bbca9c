"""The floor: what a relay costs whose protocol costs nothing. Frames on TCP, by asyncio's transports under uvloop.

A frame is four bytes of length, the most significant first, and a payload, whose first byte says what it is:

- `H` ID newline ROOM, from a client: who it is. Answered with `A`. Unless the room is empty, everybody else in it gets
  a `J` with 150 bytes.
- `R` ID newline BODY, from a client: a relay. Answered with `A`; the target gets `E` BODY.

No limits, metrics or checks. What one read causes for one connection is one write. Prints its port.
"""

import asyncio
from struct import Struct
from typing import cast

import uvloop

LENGTH = Struct(">I")
HEAD = Struct(">Ic")
HELLO, RELAY = b"HR"
ACKNOWLEDGED = HEAD.pack(1, b"A")
JOINED = HEAD.pack(151, b"J") + bytes(150)

peers: dict[bytes, "Connection"] = {}
rooms: dict[bytes, dict["Connection", asyncio.Transport]] = {}


class Connection(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.id = self.room = self.unread = b""
        self.outgoing: list[bytes] = []
        """Output for this client of the read that is being carried out."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        # uvloop's transports are asyncio's in all but their class.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Acts upon every whole frame, and keeps the rest."""
        if self.unread:
            data = self.unread + data
        start, size = 0, len(data)
        told: list[Connection] = []
        while size - start >= 4:
            end = start + 4 + LENGTH.unpack_from(data, start)[0]
            if end > size:
                break
            separator = data.index(b"\n", start + 5, end)
            name = data[start + 5 : separator]
            if data[start + 4] == RELAY:
                target = peers.get(name)
                if target is not None:
                    if not target.outgoing:
                        told.append(target)
                    target.outgoing += (HEAD.pack(end - separator, b"E"), data[separator + 1 : end])
            elif data[start + 4] == HELLO:
                self.hello(name, data[separator + 1 : end])
            if not self.outgoing:
                told.append(self)
            self.outgoing.append(ACKNOWLEDGED)
            start = end
        self.unread = data[start:]
        for connection in told:
            connection.transport.write(b"".join(connection.outgoing))
            connection.outgoing.clear()

    def hello(self, name: bytes, room: bytes) -> None:
        """Adds the connection's peer to its room, and tells the room."""
        self.id, self.room = name, room
        peers[name] = self
        if room:
            members = rooms.setdefault(room, {})
            for transport in members.values():
                transport.write(JOINED)
            members[self] = self.transport

    def connection_lost(self, _: Exception | None) -> None:
        """Removes the connection's peer from its room, and tells the room."""
        if peers.get(self.id) is self:
            del peers[self.id]
        if self.room:
            del rooms[self.room][self]


async def main() -> None:
    """Serves until a signal ends the process."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(main())
