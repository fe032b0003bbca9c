"""One call on each engine, frame by frame: what differs is what docs/engines.md says."""

import asyncio
from collections.abc import Callable
from typing import Self

import pytest

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NAMES = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS"),
    *("PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"),
)
END_STREAM = ACK = 0x1
CONNECTION_FRAMES = ("SETTINGS", "WINDOW_UPDATE", "PING", "GOAWAY")


class FrameProxy:
    """A proxy that notes the HTTP/2 frames that pass, both ways."""

    port: int

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.frames: list[tuple[str, str, int, int]] = []
        """Who (`client`, `server`), name, flags and length, in the order in which they passed."""
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, enough: Callable[[list[tuple[str, str, int, int]]], bool], limit_seconds: float) -> None:
        """Wait until the frames are enough."""
        async with asyncio.timeout(limit_seconds):
            while not enough(self.frames):
                self._changed.clear()
                await self._changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._server_port)
        for who, source, sink in (("client", reader, away), ("server", there, writer)):
            task = asyncio.create_task(self._pass_on(who, source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, who: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            if who == "client":
                sink.write(await source.readexactly(len(PREFACE)))
            while True:
                head = await source.readexactly(9)
                length = int.from_bytes(head[:3])
                sink.write(head + await source.readexactly(length))
                await sink.drain()
                self.frames.append((who, NAMES[head[3]] if head[3] < len(NAMES) else f"{head[3]:#x}", head[4], length))
                self._changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the connection has ended
        finally:
            sink.close()


@pytest.fixture
async def captured(shared_servers, start_client, room):
    """The server's frames of one call: announce, a candidate, half-close."""

    async def capture(engine):
        async with FrameProxy(shared_servers(engine).grpc) as proxy:
            client = await start_client("grpc-go", proxy.port)
            call = client.open()
            await call.announce(engine, room)
            await call.ask(list_peers={})
            call.half_close()
            assert (await call.end())["code"] == 0
            return proxy.frames

    return capture


async def test_one_call_on_each_engine(captured):
    native, grpcio = [await captured(engine) for engine in ("native", "grpcio")]
    for frames in (native, grpcio):
        # Of the call itself: its head at once, each answer in a frame of its own, trailers that end the stream.
        assert stream_frames(frames, "server") == ["HEADERS", "DATA", "DATA", "HEADERS END_STREAM"]
        assert stream_frames(frames, "client")[0] == "HEADERS"
        # Both sides' settings, each acknowledged.
        for who in ("client", "server"):
            settings = [flags & ACK for sender, name, flags, _ in frames if (sender, name) == (who, "SETTINGS")]
            assert sorted(settings) == [0, 1]
    # What differs: grpcio measures the bandwidth by pings of its own, we send none where the client is not silent.
    assert not [1 for who, name, flags, _ in native if (who, name) == ("server", "PING") and not flags & ACK]
    assert server_bytes(native) <= server_bytes(grpcio)


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_keepalive_of_every_client_is_accepted(engine, shared_servers, start_client, room):
    """Each client pings as often as its library lets it (grpc-go: every 10 s) or grpcio's engine wants (5 s)."""

    async def listen(name, keepalive_ms):
        async with FrameProxy(shared_servers(engine).grpc) as proxy:
            client = await start_client(name, proxy.port, keepalive_ms=keepalive_ms)
            call = client.open()
            await call.announce(name, room)
            # The third one within the least interval would be one too many.
            await proxy.until(lambda frames: answered_pings(frames) >= 2, 60)
            assert "peer_list" in await call.ask(list_peers={})
            assert not [frame for frame in proxy.frames if frame[1] == "GOAWAY"]

    async with asyncio.TaskGroup() as group:
        for name, keepalive_ms in (
            ("grpcio", 5500),
            ("grpcio-aio", 5500),
            ("grpc-js", 5500),
            ("tonic", 5500),
            ("grpc-go", 10000),
        ):
            group.create_task(listen(name, keepalive_ms))


def stream_frames(frames, who):
    return [
        f"{name} END_STREAM" if flags & END_STREAM and name in ("DATA", "HEADERS") else name
        for sender, name, flags, _ in frames
        if sender == who and name not in CONNECTION_FRAMES
    ]


def answered_pings(frames):
    return len([1 for who, name, flags, _ in frames if (who, name) == ("server", "PING") and flags & ACK])


def server_bytes(frames):
    return sum(9 + length for who, _, _, length in frames if who == "server")
