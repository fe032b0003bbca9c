"""A WebSocket server that sends back what it is sent, as a program for Autobahn's test suite: `python websocket_echo.py`.

It listens on 127.0.0.1, on a port that the system chooses, prints that port, and serves until it is killed. It stands on
the websockets library's protocol without I/O.
"""

import asyncio

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF
from websockets.server import ServerProtocol

MAX_MESSAGE_BYTES = 2**25
"""The suite's largest messages have 16 MiB."""


class _EchoProtocol(ServerProtocol):
    """Answers each message before what came behind it is looked at."""

    def __init__(self) -> None:
        super().__init__(extensions=[ServerPerMessageDeflateFactory()], max_size=MAX_MESSAGE_BYTES)
        self._kind: Opcode = TEXT
        self._fragments: list[bytes | bytearray | memoryview] = []

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is CLOSE:
            # A message that is not whole ends with its connection. The library takes that for an error.
            self.current_size = None
        super().recv_frame(frame)
        if frame.opcode not in (TEXT, BINARY, CONT):
            return
        if frame.opcode is not CONT:
            self._kind = frame.opcode
        self._fragments.append(frame.data)
        if not frame.fin:
            return
        message = b"".join(self._fragments)
        self._fragments.clear()
        if self._kind is TEXT:
            # Raises UnicodeDecodeError, for which the library closes as it should.
            message.decode()
            self.send_text(message)
        else:
            self.send_binary(message)


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._protocol = _EchoProtocol()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
        self._write()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._write()

    def _write(self) -> None:
        for output in self._protocol.data_to_send():
            if output is SEND_EOF:
                self._transport.close()
            else:
                self._transport.write(output)


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
