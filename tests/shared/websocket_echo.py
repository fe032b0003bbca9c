"""A WebSocket server that sends back what it is sent, as a program for Autobahn's test suite: `python websocket_echo.py`.

It listens on 127.0.0.1, on a port that the system chooses, prints that port, and serves until it is killed. It stands on
the handshake, frames, compression and closing of `sigbridge_websocket`, and on the carrier.
"""

import asyncio
from collections.abc import Callable

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from sigbridge import Instant, Settings
from sigbridge.auth import ALLOW_ALL
from sigbridge.instant import NEVER
from sigbridge_net.carrier import Carrier
from sigbridge_net.forwarding import Forwarding
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.wire import Client
from sigbridge_websocket.closing import CLOSED, CLOSING, OPEN, OPENING, Closing, frame_for
from sigbridge_websocket.compression import OFFERED
from sigbridge_websocket.error_codes import Fault
from sigbridge_websocket.frames import BINARY, CLOSE, FIN, PING, RSV1, FrameReader, frame
from sigbridge_websocket.handshake import Handshake

MAX_MESSAGE_BYTES = 2**25
"""The suite's largest messages have 16 MiB."""
SETTINGS = Settings(websocket_compression=True)


# How hard the library's compressor tries is not what the suite looks at, and takes a quarter of the echo's time.
OFFERED[:] = [ServerPerMessageDeflateFactory(compress_settings={"level": 1})]


class EchoWire:
    """One connection; see `sigbridge_net.wire.Wire` for what a carrier asks of it."""

    successor = None
    aborted = False

    def __init__(self, client: Client, wake: Callable[[], None], now: Instant) -> None:
        self.due = float("inf")
        self._handshake = Handshake(SETTINGS, client, ALLOW_ALL, AllowedOrigins(SETTINGS), Forwarding())
        self._closing = Closing()
        self._frames = FrameReader(MAX_MESSAGE_BYTES)
        self._output: list[bytes] = []

    @property
    def finished(self) -> bool:
        return self._closing.state == CLOSED

    def receive(self, data: bytes, now: Instant) -> None:
        if self._closing.state == OPENING:
            data = self._shake_hands(data, now)
        if data and self._closing.state <= CLOSING:
            self._frames.feed(data)
            self._echo()

    def _shake_hands(self, data: bytes, now: Instant) -> bytes:
        rest = self._handshake.receive(data, now)
        request = self._handshake.request
        if request is not None:
            self._frames = FrameReader(MAX_MESSAGE_BYTES, request.compression)
            self._output.append(request.response)
            self._closing.open()
        elif self._handshake.refusal:
            self._output.append(self._handshake.refusal)
            self._closing.respond(b"")
        return rest

    def _echo(self) -> None:
        compression = self._frames.compression
        try:
            while self._closing.state <= CLOSING:
                received = self._frames.next_frame()
                if received is None:
                    return
                opcode, payload = received.opcode, received.payload
                if opcode == CLOSE:
                    self._closing.respond(frame(FIN | CLOSE, payload))
                elif opcode == PING:
                    self._output.append(frame(FIN | opcode + 1, payload))
                elif opcode <= BINARY and compression is None:
                    self._output.append(frame(FIN | opcode, payload))
                elif opcode <= BINARY and compression is not None:
                    self._output.append(frame(FIN | RSV1 | opcode, compression.deflate(payload)))
        except Fault as fault:
            self._closing.respond(frame_for(fault.reason))

    def receive_eof(self, now: Instant) -> None:
        self._closing.respond(b"")

    def connection_lost(self, now: Instant) -> None:
        pass

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        pass

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        output, self._output = self._output, []
        if self._closing.state not in (OPENING, OPEN):
            last = self._closing.last_words()
            if last:
                output.append(last)
        return output

    def reading(self) -> bool:
        return True

    def expire(self, now: Instant) -> None:
        pass


async def _main() -> None:
    carrier = Carrier(Settings())
    print(await carrier.listen("127.0.0.1:0", EchoWire), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
